//! `$REPARSE_POINT`: links, and files that a filter keeps elsewhere.
//!
//! # Layout (little-endian)
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x00 |     4 | tag |
//! |   0x04 |     2 | bytes of data |
//! |   0x08 | 2 + 2 | links: offset and length of the substitute name, in the name buffer |
//! |   0x0C | 2 + 2 | links: offset and length of the name to print |
//! |   0x10 |     4 | symbolic links only: 1 is relative |
//! |        |       | the name buffer |
//! |   0x08 | 4 + 4 | WOF: version 1; provider: 1 a WIM, 2 a stream of the file |
//! |   0x10 | 4 + 4 | WOF, provider 2: version 1; algorithm: 0, 2, 3 XPRESS of 4, 8, 16 KiB; 1 LZX |

use super::field::{u16_at, u32_at};

/// Tags that this project knows ([MS-FSCC] 2.1.2.1).
pub mod tag {
    /// A junction, or a volume mounted in a folder.
    pub const MOUNT_POINT: u32 = 0xA000_0003;
    /// A symbolic link.
    pub const SYMLINK: u32 = 0xA000_000C;
    /// A file that the Windows Overlay Filter keeps compressed in a stream of its own, or in a
    /// WIM.
    pub const WOF: u32 = 0x8000_0017;
}

/// What a reparse point says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReparsePoint<'a> {
    /// See [`mod@tag`].
    pub tag: u32,
    /// The name that the system follows, UTF-16LE; links only.
    pub target: Option<&'a [u8]>,
    /// The name that is shown to people, UTF-16LE; links only, and not all of them.
    pub shown: Option<&'a [u8]>,
    /// Whether the target is relative to the link.
    pub relative: bool,
}

impl<'a> ReparsePoint<'a> {
    /// Decodes the content of the attribute; `None` where it has no tag. A link whose names lie
    /// outside of it has no target.
    pub fn parse(content: &'a [u8]) -> Option<Self> {
        let tag = u32_at(content, 0)?;
        let (buffer_at, relative) = match tag {
            tag::MOUNT_POINT => (0x10, false),
            tag::SYMLINK => (
                0x14,
                u32_at(content, 0x10).is_some_and(|flags| flags & 1 != 0),
            ),
            _ => (usize::MAX, false),
        };
        let name = |at: usize| {
            let start = buffer_at.checked_add(usize::from(u16_at(content, at)?))?;
            let length = usize::from(u16_at(content, at + 2)?);
            content.get(start..start.checked_add(length)?)
        };
        Some(Self {
            tag,
            target: name(0x08),
            shown: name(0x0C).filter(|name| !name.is_empty()),
            relative,
        })
    }

    /// Whether it is a link: a junction, a mounted volume or a symbolic link.
    pub fn is_link(&self) -> bool {
        matches!(self.tag, tag::MOUNT_POINT | tag::SYMLINK)
    }
}

/// Where the Windows Overlay Filter keeps the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WofPoint {
    /// In a WIM elsewhere.
    Wim,
    /// In the stream `WofCompressedData`, by this algorithm: 0, 2 and 3 are XPRESS with chunks of 4,
    /// 8 and 16 KiB, 1 is LZX with chunks of 32 KiB.
    Stream(u32),
}

impl WofPoint {
    /// Decodes the content of the attribute; `None` where it says nothing of the kind.
    pub fn parse(content: &[u8]) -> Option<Self> {
        if u32_at(content, 0)? != tag::WOF || u32_at(content, 0x08)? != 1 {
            return None;
        }
        match u32_at(content, 0x0C)? {
            1 => Some(Self::Wim),
            2 if u32_at(content, 0x10)? == 1 => Some(Self::Stream(u32_at(content, 0x14)?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_cuts() {
        let mut link = vec![0; 0x14 + 8];
        link[..4].copy_from_slice(&tag::SYMLINK.to_le_bytes());
        link[0x0A] = 4;
        link[0x0C] = 4;
        link[0x0E] = 4;
        link[0x10] = 1;
        link[0x14..].copy_from_slice(b"a\0b\0c\0d\0");
        let whole = ReparsePoint::parse(&link).expect("a tag");
        assert!(whole.is_link() && whole.relative);
        assert_eq!(whole.target, Some(&b"a\0b\0"[..]));
        assert_eq!(whole.shown, Some(&b"c\0d\0"[..]));
        for length in 0..link.len() {
            let cut = ReparsePoint::parse(&link[..length]);
            assert_eq!(cut.is_some(), length >= 4);
            assert_eq!(cut.and_then(|cut| cut.shown), None);
        }
        link[..4].copy_from_slice(&tag::WOF.to_le_bytes());
        let wof = ReparsePoint::parse(&link).expect("a tag");
        assert_eq!((wof.target, wof.is_link()), (None, false));
    }

    #[test]
    fn wof_points() {
        let words = [tag::WOF, 16, 1, 2, 1, 3];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(WofPoint::parse(&bytes), Some(WofPoint::Stream(3)));
        for length in 0..bytes.len() {
            assert_eq!(WofPoint::parse(&bytes[..length]), None);
        }
        let mut wim = bytes.clone();
        wim[0x0C] = 1;
        assert_eq!(WofPoint::parse(&wim), Some(WofPoint::Wim));
        wim[0x08] = 2;
        assert_eq!(WofPoint::parse(&wim), None);
    }
}
