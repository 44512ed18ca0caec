//! The contents of the small attributes.

use super::field::{u8_at, u16_at, u32_at, u64_at};

/// Name spaces of a `$FILE_NAME`.
#[expect(missing_docs, reason = "the names are the format's own")]
pub mod namespace {
    pub const POSIX: u8 = 0;
    pub const WIN32: u8 = 1;
    pub const DOS: u8 = 2;
    pub const WIN32_AND_DOS: u8 = 3;
}

/// `$STANDARD_INFORMATION`. Times are FILETIMEs: 100 ns ticks since 1601, UTC.
///
/// | offset | bytes | field |
/// |-------:|------:|-------|
/// |   0x00 | 4 × 8 | created, modified, record changed, accessed |
/// |   0x20 |     4 | DOS attributes |
/// |   0x30 | 4 + 4 | owner and security id, since NTFS 3.0 |
/// |   0x38 | 8 + 8 | quota charged; update sequence number, since NTFS 3.0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandardInformation {
    /// Creation.
    pub created: u64,
    /// Last change of content.
    pub modified: u64,
    /// Last change of the record.
    pub changed: u64,
    /// Last access.
    pub accessed: u64,
    /// DOS attributes.
    pub attributes: u32,
    /// The owner's number in `$Quota`, since NTFS 3.0.
    pub owner_id: Option<u32>,
    /// The descriptor's number in `$Secure`, since NTFS 3.0.
    pub security_id: Option<u32>,
    /// The last entry in the change journal, since NTFS 3.0.
    pub usn: Option<u64>,
}

impl StandardInformation {
    /// Decodes the content of the attribute; `None` where it is cut.
    #[inline]
    pub fn parse(content: &[u8]) -> Option<Self> {
        Some(Self {
            created: u64_at(content, 0x00)?,
            modified: u64_at(content, 0x08)?,
            changed: u64_at(content, 0x10)?,
            accessed: u64_at(content, 0x18)?,
            attributes: u32_at(content, 0x20)?,
            owner_id: u32_at(content, 0x30),
            security_id: u32_at(content, 0x34),
            usn: u64_at(content, 0x40),
        })
    }
}

/// `$FILE_NAME`. Times are FILETIMEs: 100 ns ticks since 1601, UTC.
///
/// | offset | bytes | field |
/// |-------:|------:|-------|
/// |   0x00 |     8 | reference of the directory |
/// |   0x08 | 4 × 8 | created, modified, record changed, accessed |
/// |   0x28 | 8 + 8 | allocated and real size, as they were when the name was written |
/// |   0x38 |     4 | DOS attributes |
/// |   0x3C |     4 | bytes of extended attributes, or the reparse tag |
/// |   0x40 | 1 + 1 | UTF-16 units of the name; name space |
/// |   0x42 |       | the name |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName<'a> {
    /// The 64-bit reference of the directory.
    pub parent: u64,
    /// Creation.
    pub created: u64,
    /// Last change of content.
    pub modified: u64,
    /// Last change of the record.
    pub changed: u64,
    /// Last access.
    pub accessed: u64,
    /// Bytes allocated, as it was when the name was written.
    pub allocated_bytes: u64,
    /// The size, as it was when the name was written.
    pub real_bytes: u64,
    /// DOS attributes; 0x1000_0000 is a directory.
    pub attributes: u32,
    /// See [`namespace`].
    pub namespace: u8,
    /// The name in UTF-16LE, as it stands.
    pub utf16le: &'a [u8],
}

impl<'a> FileName<'a> {
    /// Decodes the content of the attribute; `None` where it is cut.
    #[inline]
    pub fn parse(content: &'a [u8]) -> Option<Self> {
        let name_bytes = usize::from(u8_at(content, 0x40)?) * 2;
        Some(Self {
            parent: u64_at(content, 0x00)?,
            created: u64_at(content, 0x08)?,
            modified: u64_at(content, 0x10)?,
            changed: u64_at(content, 0x18)?,
            accessed: u64_at(content, 0x20)?,
            allocated_bytes: u64_at(content, 0x28)?,
            real_bytes: u64_at(content, 0x30)?,
            attributes: u32_at(content, 0x38)?,
            namespace: u8_at(content, 0x41)?,
            utf16le: content.get(0x42..0x42 + name_bytes)?,
        })
    }
}

/// `$VOLUME_INFORMATION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeInformation {
    /// Major version of the format: 3 since Windows 2000.
    pub major: u8,
    /// Minor version of the format: 1 since Windows XP.
    pub minor: u8,
    /// Flags; 1 is dirty.
    pub flags: u16,
}

impl VolumeInformation {
    /// Decodes the content of the attribute; `None` where it is cut.
    pub fn parse(content: &[u8]) -> Option<Self> {
        Some(Self {
            major: u8_at(content, 8)?,
            minor: u8_at(content, 9)?,
            flags: u16_at(content, 10)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_contents_are_none() {
        let mut name = vec![0; 0x42 + 4];
        name[0x40] = 2;
        name[0x41] = namespace::WIN32;
        name[0x42..].copy_from_slice(b"a\0b\0");
        let whole = FileName::parse(&name).expect("whole");
        assert_eq!((whole.utf16le, whole.namespace), (&b"a\0b\0"[..], 1));
        for length in 0..name.len() {
            assert_eq!(FileName::parse(&name[..length]), None);
        }
        let old = StandardInformation::parse(&[1; 0x30]).expect("NTFS 1.2");
        assert_eq!((old.owner_id, old.usn), (None, None));
        let new = StandardInformation::parse(&[1; 0x48]).expect("NTFS 3");
        assert_eq!(new.security_id, Some(0x0101_0101));
        assert_eq!(StandardInformation::parse(&[1; 0x23]), None);
        assert_eq!(VolumeInformation::parse(&[1; 11]), None);
    }
}
