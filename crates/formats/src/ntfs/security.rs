//! Security descriptors: who owns a file, and who may do what with it.
//!
//! # Layout (little-endian, self-relative)
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x00 | 1 + 1 | revision 1; unused |
//! |   0x02 |     2 | control flags |
//! |   0x04 | 4 + 4 | offsets of owner and group, SIDs; 0 for none |
//! |   0x0C | 4 + 4 | offsets of SACL and DACL; 0 for none |
//!
//! A SID is a revision, a count of up to 15, 48 bits of authority (big-endian) and 32 bits each. An ACL is a
//! revision, a byte unused, 16 bits of length and of count, 16 unused; then entries: type, flags, 16 bits
//! of length, 32 bits of rights, a SID; object entries have flags and up to two GUIDs before it.
//!
//! # As text
//! In the language of [MS-DTYP] 2.5.1, with SIDs and rights in numbers: names of groups depend on
//! the machine. What stands behind a SID (conditions, attributes) is appended as `#` and hex, as is an entry
//! of unknown type; both are exact, and no longer the language.
//!
//! # Damage
//! What lies outside of the bytes is left out, and said.
//!
//! # Sources
//! - [MS-DTYP] 2.4.2 to 2.4.6 and 2.5.1.
//! - libyal/libfsntfs, "New Technologies File System (NTFS)", "The security descriptors data".

use std::fmt::Write as _;

use super::field::{u8_at, u16_at, u32_at, u64_at};
use crate::guid_text;

/// A descriptor as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityDescriptor {
    /// The owner's SID.
    pub owner: Option<String>,
    /// The group's SID.
    pub group: Option<String>,
    /// All of it.
    pub sddl: String,
    /// What is wrong with it; that part is left out.
    pub damage: Option<&'static str>,
}

const DACL_PRESENT: u16 = 0x0004;
const SACL_PRESENT: u16 = 0x0010;
const DACL_FLAGS: [(u16, &str); 3] = [(0x1000, "P"), (0x0100, "AR"), (0x0400, "AI")];
const SACL_FLAGS: [(u16, &str); 3] = [(0x2000, "P"), (0x0200, "AR"), (0x0800, "AI")];
/// Types of entries; the second says whether GUIDs may stand before the SID.
const ACE_TYPES: [(u8, bool, &str); 17] = [
    (0x00, false, "A"),
    (0x01, false, "D"),
    (0x02, false, "AU"),
    (0x03, false, "AL"),
    (0x05, true, "OA"),
    (0x06, true, "OD"),
    (0x07, true, "OU"),
    (0x08, true, "OL"),
    (0x09, false, "XA"),
    (0x0A, false, "XD"),
    (0x0B, true, "ZA"),
    (0x0D, false, "XU"),
    (0x11, false, "ML"),
    (0x12, false, "RA"),
    (0x13, false, "SP"),
    (0x14, false, "TL"),
    (0x15, false, "FL"),
];
const ACE_FLAGS: [(u8, &str); 8] = [
    (0x01, "OI"),
    (0x02, "CI"),
    (0x04, "NP"),
    (0x08, "IO"),
    (0x10, "ID"),
    (0x20, "CR"),
    (0x40, "SA"),
    (0x80, "FA"),
];
const STRING: &str = "a string takes all text";

impl SecurityDescriptor {
    /// Decodes a descriptor; `None` where it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let control = u16_at(bytes, 2).filter(|_| bytes[0] == 1)?;
        let (owner_at, group_at) = (u32_at(bytes, 4)?, u32_at(bytes, 8)?);
        let (sacl_at, dacl_at) = (u32_at(bytes, 12)?, u32_at(bytes, 16)?);
        let mut found = Self::default();
        let from = |at: u32| match at {
            0 => None,
            at => Some(bytes.get(at as usize..).unwrap_or(&[])),
        };
        for (at, letter) in [(owner_at, 'O'), (group_at, 'G')] {
            let Some(rest) = from(at) else { continue };
            let Some((sid, _)) = sid(rest) else {
                found.damage = Some("a SID lies outside of it");
                continue;
            };
            write!(found.sddl, "{letter}:{sid}").expect(STRING);
            match letter {
                'O' => found.owner = Some(sid),
                _ => found.group = Some(sid),
            }
        }
        for (at, letter, present, flags) in [
            (dacl_at, 'D', DACL_PRESENT, DACL_FLAGS),
            (sacl_at, 'S', SACL_PRESENT, SACL_FLAGS),
        ] {
            if control & present == 0 {
                continue;
            }
            write!(found.sddl, "{letter}:").expect(STRING);
            for (_, name) in flags.iter().filter(|(bit, _)| control & bit != 0) {
                found.sddl.push_str(name);
            }
            match from(at) {
                // There is one, and it is empty of all rules: everybody may do everything.
                None => found.sddl.push_str("NO_ACCESS_CONTROL"),
                Some(acl) => found.acl(acl),
            }
        }
        Some(found)
    }

    fn acl(&mut self, acl: &[u8]) {
        let (Some(length), Some(count)) = (u16_at(acl, 2), u16_at(acl, 4)) else {
            self.damage = Some("an ACL lies outside of it");
            return;
        };
        let mut rest = acl.get(8..acl.len().min(length.into())).unwrap_or(&[]);
        for _ in 0..count {
            let length = u16_at(rest, 2).map(usize::from).filter(|it| *it >= 4);
            let Some((ace, after)) = length.and_then(|it| rest.split_at_checked(it)) else {
                self.damage = Some("an entry lies outside of its ACL");
                return;
            };
            if self.ace(ace).is_none() {
                self.sddl.push_str("(#");
                self.hex(ace);
                self.sddl.push(')');
            }
            rest = after;
        }
    }

    fn ace(&mut self, ace: &[u8]) -> Option<()> {
        let (kind, flags, rights) = (u8_at(ace, 0)?, u8_at(ace, 1)?, u32_at(ace, 4)?);
        let (_, has_guids, name) = ACE_TYPES.iter().find(|(number, ..)| *number == kind)?;
        let mut at = 8;
        let mut guids = [None, None];
        if *has_guids {
            let present = u32_at(ace, at)?;
            at += 4;
            for (bit, guid) in [1, 2].into_iter().zip(&mut guids) {
                if present & bit != 0 {
                    *guid = Some(guid_text(*ace.get(at..)?.first_chunk()?));
                    at += 16;
                }
            }
        }
        let (sid, sid_bytes) = sid(ace.get(at..)?)?;
        let behind = &ace[at + sid_bytes..];
        write!(self.sddl, "({name};").expect(STRING);
        for (_, name) in ACE_FLAGS.iter().filter(|(bit, _)| flags & bit != 0) {
            self.sddl.push_str(name);
        }
        let [object, inherits] = guids.map(Option::unwrap_or_default);
        write!(self.sddl, ";{rights:#x};{object};{inherits};{sid}").expect(STRING);
        // Entries are padded to four bytes.
        if behind.len() >= 4 || behind.iter().any(|byte| *byte != 0) {
            self.sddl.push_str(";#");
            self.hex(behind);
        }
        self.sddl.push(')');
        Some(())
    }

    fn hex(&mut self, bytes: &[u8]) {
        for byte in bytes {
            write!(self.sddl, "{byte:02x}").expect(STRING);
        }
    }
}

/// The text of a SID, and how many bytes it has.
fn sid(bytes: &[u8]) -> Option<(String, usize)> {
    const MAX_PARTS: u8 = 15;
    let (revision, count) = (u8_at(bytes, 0)?, u8_at(bytes, 1)?);
    if revision != 1 || count > MAX_PARTS {
        return None;
    }
    let authority = u64::from_be_bytes(*bytes.first_chunk()?) & 0xFFFF_FFFF_FFFF;
    let mut text = match u32::try_from(authority) {
        Ok(small) => format!("S-1-{small}"),
        Err(_) => format!("S-1-{authority:#x}"),
    };
    for part in 0..usize::from(count) {
        write!(text, "-{}", u32_at(bytes, 8 + 4 * part)?).expect(STRING);
    }
    Some((text, 8 + 4 * usize::from(count)))
}

/// The bytes before a descriptor in `$Secure:$SDS`.
///
/// | offset | bytes | field |
/// |-------:|------:|-------|
/// |   0x00 |     4 | hash of the descriptor |
/// |   0x04 |     4 | its number |
/// |   0x08 |     8 | where this entry lies in the stream |
/// |   0x10 |     4 | bytes, these 20 included |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSecurity<'a> {
    /// The number by which `$STANDARD_INFORMATION` names it.
    pub id: u32,
    /// Where it says that it lies; its copy says the same.
    pub offset: u64,
    /// The descriptor.
    pub descriptor: &'a [u8],
}

impl<'a> StoredSecurity<'a> {
    /// Bytes before the descriptor.
    pub const HEAD_BYTES: usize = 20;
    /// Every second block of so many bytes is a copy of the one before.
    pub const BLOCK_BYTES: usize = 256 << 10;
    /// Where entries begin.
    pub const ALIGNMENT: usize = 16;

    /// How many bytes the entry at the beginning of `bytes` states, if it can be one that lies at
    /// `at` of the stream.
    pub fn stated_bytes(bytes: &[u8], at: u64) -> Option<usize> {
        let offset = u64_at(bytes, 0x08)?;
        let length = u32_at(bytes, 0x10)? as usize;
        let is_here = offset == at || offset.checked_add(Self::BLOCK_BYTES as u64) == Some(at);
        (is_here && (Self::HEAD_BYTES + 1..=bytes.len()).contains(&length)).then_some(length)
    }

    /// Decodes the entry at the beginning of `bytes`; `None` where there is none, or where its hash
    /// is not that of its descriptor.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let length = u32_at(bytes, 0x10)? as usize;
        let descriptor = bytes.get(Self::HEAD_BYTES..length)?;
        let hash = descriptor
            .as_chunks::<4>()
            .0
            .iter()
            .fold(0u32, |hash, word| {
                hash.rotate_left(3).wrapping_add(u32::from_le_bytes(*word))
            });
        (hash == u32_at(bytes, 0)? && !descriptor.is_empty()).then_some(Self {
            id: u32_at(bytes, 4)?,
            offset: u64_at(bytes, 8)?,
            descriptor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];

    fn descriptor() -> Vec<u8> {
        let mut bytes = vec![1, 0, 0x14, 0x94];
        for at in [20u32, 32, 0, 44] {
            bytes.extend(at.to_le_bytes());
        }
        bytes.extend(SYSTEM);
        bytes.extend([1, 1, 0, 1, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        bytes.extend([2, 0, 8 + 20 + 24 + 8, 0, 3, 0, 0, 0]);
        bytes.extend([0, 0x13, 20, 0, 0xFF, 0x01, 0x1F, 0]);
        bytes.extend(SYSTEM);
        bytes.extend([9, 0, 24, 0, 1, 0, 0, 0]);
        bytes.extend(SYSTEM);
        bytes.extend(*b"artx");
        bytes.extend([0x77, 0, 8, 0, 1, 2, 3, 4]);
        bytes
    }

    #[test]
    fn as_text() {
        let found = SecurityDescriptor::parse(&descriptor()).expect("a descriptor");
        assert_eq!(found.owner.as_deref(), Some("S-1-5-18"));
        assert_eq!(
            found.sddl,
            "O:S-1-5-18G:S-1-0x100000000-4294967295D:PAI(A;OICIID;0x1f01ff;;;S-1-5-18)\
             (XA;;0x1;;;S-1-5-18;#61727478)(#7700080001020304)S:NO_ACCESS_CONTROL"
        );
        assert_eq!(found.damage, None);
    }

    #[test]
    fn cut_anywhere_is_said() {
        let whole = descriptor();
        for length in 0..whole.len() {
            match SecurityDescriptor::parse(&whole[..length]) {
                Some(found) => assert!(found.damage.is_some(), "{length}: {found:?}"),
                None => assert!(length < 20, "{length}"),
            }
        }
    }

    #[test]
    fn stored_ones_are_checked() {
        let mut bytes = vec![0; 20];
        bytes[4] = 7;
        bytes[16] = 28;
        bytes.extend([1, 0, 0, 0, 2, 0, 0, 0]);
        bytes[0] = 10; // 1 turned left by 3, and 2
        let found = StoredSecurity::parse(&bytes).expect("its hash is right");
        assert_eq!((found.id, found.descriptor.len()), (7, 8));
        bytes[20] = 3;
        assert_eq!(StoredSecurity::parse(&bytes), None);
        for length in 0..bytes.len() {
            assert_eq!(StoredSecurity::parse(&bytes[..length]), None);
        }
    }
}
