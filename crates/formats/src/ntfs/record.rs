//! One entry of `$MFT`.
//!
//! # Layout (little-endian)
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x00 |     4 | `FILE`; `BAAD` where a check of the disk found it torn |
//! |   0x04 |     2 | offset of the update sequence |
//! |   0x06 |     2 | 16-bit words of it: one number, then one word a stride of 512 bytes |
//! |   0x08 |     8 | `$LogFile` sequence number |
//! |   0x10 |     2 | sequence number: which use of the entry this is |
//! |   0x12 |     2 | names that count as hard links |
//! |   0x14 |     2 | offset of the first attribute |
//! |   0x16 |     2 | flags: 1 in use, 2 directory, 4 in `$Extend`, 8 view index |
//! |   0x18 |     4 | bytes used |
//! |   0x1C |     4 | bytes allocated |
//! |   0x20 |     8 | reference of the base record; 0 in a base record |
//! |   0x28 |     2 | id of the next attribute |
//! |   0x2C |     4 | the entry's own number, since Windows XP |
//!
//! The last two bytes of each stride of 512 are kept in the update sequence; in their place stands
//! the sequence's number, so that a write that stopped half-way shows.
//!
//! # Damage
//! A stride whose end is not the number was torn; the record is decoded all the same, with the
//! kept bytes put back, and says so. What claims to lie past the record's end is cut there.

use super::{
    Attributes,
    field::{u16_at, u32_at, u64_at},
};

/// How far apart the protected words stand, whatever the device's sectors are.
const STRIDE: usize = 512;
/// The bytes up to and with the id of the next attribute.
const HEADER_BYTES: usize = 0x2A;

/// What stands in a record's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// `$LogFile` sequence number of the last change.
    pub lsn: u64,
    /// Which use of the entry this is.
    pub sequence: u16,
    /// Names that count as hard links.
    pub links: u16,
    /// Offset of the first attribute.
    pub first_attribute: u16,
    /// [`IN_USE`](Self::IN_USE) and its like.
    pub flags: u16,
    /// Bytes used, as stated.
    pub used_bytes: u32,
    /// Bytes allocated, as stated.
    pub allocated_bytes: u32,
    /// The 64-bit reference of the base record; 0 in a base record.
    pub base: u64,
}

impl RecordHeader {
    /// The entry is allocated.
    pub const IN_USE: u16 = 1;
    /// It has an index of file names: it is a directory.
    pub const DIRECTORY: u16 = 2;
    /// It has an index of something else.
    pub const VIEW_INDEX: u16 = 8;

    #[inline]
    fn parse(bytes: &[u8]) -> Result<Self, NoRecord> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(NoRecord::Short)?;
        match &header[..4] {
            b"FILE" => {}
            b"BAAD" => return Err(NoRecord::Bad),
            [0, 0, 0, 0] => return Err(NoRecord::Unused),
            other => {
                return Err(NoRecord::Signature([
                    other[0], other[1], other[2], other[3],
                ]));
            }
        }
        let (u16_in, u32_in) = (
            |at| u16_at(header, at).unwrap_or(0),
            |at| u32_at(header, at).unwrap_or(0),
        );
        Ok(Self {
            lsn: u64_at(header, 0x08).unwrap_or(0),
            sequence: u16_in(0x10),
            links: u16_in(0x12),
            first_attribute: u16_in(0x14),
            flags: u16_in(0x16),
            used_bytes: u32_in(0x18),
            allocated_bytes: u32_in(0x1C),
            base: u64_at(header, 0x20).unwrap_or(0),
        })
    }

    /// Whether the entry is allocated.
    pub fn in_use(&self) -> bool {
        self.flags & Self::IN_USE != 0
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.flags & Self::DIRECTORY != 0
    }

    /// Whether it goes on with what a base record begins.
    pub fn is_extension(&self) -> bool {
        self.base != 0
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRecord {
    /// Nothing was ever written here: the signature is zero.
    #[error("never used")]
    Unused,
    /// A check of the disk marked it as torn.
    #[error("marked as torn (BAAD)")]
    Bad,
    /// Other bytes stand where `FILE` should.
    #[error("no FILE signature, but {0:02x?}")]
    Signature([u8; 4]),
    /// Fewer bytes than a header has.
    #[error("shorter than a record's header")]
    Short,
}

/// Room for a record whose fixups have to be undone; one for each thread serves every record.
#[derive(Clone, Debug, Default)]
pub struct Scratch(Vec<u8>);

impl Scratch {
    /// Empty room; it grows to the size of the largest record that is decoded.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A decoded record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What stands in its first bytes.
    pub header: RecordHeader,
    /// Whether a stride's end was not as its update sequence says.
    pub torn: bool,
    /// Its bytes from the first on, fixups undone, up to the last used one.
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Decodes the bytes of one record. They are copied into `scratch` only where used bytes have
    /// to be put back, which a record that uses less than its first 510 bytes has none of.
    ///
    /// # Errors
    /// Where they are no record.
    #[inline]
    pub fn decode(bytes: &'a [u8], scratch: &'a mut Scratch) -> Result<Self, NoRecord> {
        Self::decode_up_to(bytes, scratch, |header| header.used_bytes as usize)
    }

    /// Decodes a record whose attributes do not fit the bytes that it says are used: all of its
    /// bytes are taken for used.
    ///
    /// # Errors
    /// Where they are no record.
    pub fn decode_whole(bytes: &'a [u8], scratch: &'a mut Scratch) -> Result<Self, NoRecord> {
        Self::decode_up_to(bytes, scratch, |_| usize::MAX)
    }

    /// Decodes what lies before the first word that the update sequence protects, which needs no
    /// copy. Attributes past it are shown as damaged; whether the record is torn is not looked at.
    ///
    /// # Errors
    /// Where they are no record.
    #[inline]
    pub fn decode_start(bytes: &'a [u8]) -> Result<Self, NoRecord> {
        let header = RecordHeader::parse(bytes)?;
        let used = bytes.len().min(header.used_bytes as usize);
        Ok(Self {
            header,
            torn: false,
            bytes: &bytes[..used.min(STRIDE - 2)],
        })
    }

    #[inline]
    fn decode_up_to(
        bytes: &'a [u8],
        scratch: &'a mut Scratch,
        used: impl FnOnce(&RecordHeader) -> usize,
    ) -> Result<Self, NoRecord> {
        let header = RecordHeader::parse(bytes)?;
        let used = bytes.len().min(used(&header));
        let update = Update::of(bytes);
        let bytes = if used <= STRIDE - 2 {
            &bytes[..used]
        } else {
            scratch.0.clear();
            scratch.0.extend_from_slice(&bytes[..used]);
            for (stride, kept) in update.kept() {
                let at = stride * STRIDE + STRIDE - 2;
                for (to, from) in scratch.0.iter_mut().skip(at).zip(kept) {
                    *to = *from;
                }
            }
            &scratch.0
        };
        Ok(Self {
            header,
            torn: update.torn,
            bytes,
        })
    }

    /// Its bytes, fixups undone, up to the last used one.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its attributes, in order.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes, self.header.first_attribute.into())
    }

    /// The entry's own number, which Windows has written since XP.
    pub fn own_number(&self) -> Option<u32> {
        (self.header.first_attribute >= 0x30)
            .then(|| u32_at(self.bytes, 0x2C))
            .flatten()
    }
}

/// A record's update sequence, checked.
struct Update<'a> {
    /// Two bytes for each stride.
    words: &'a [u8],
    torn: bool,
}

impl<'a> Update<'a> {
    #[inline]
    fn of(bytes: &'a [u8]) -> Self {
        let (offset, words) = (
            u16_at(bytes, 0x04).unwrap_or(0),
            u16_at(bytes, 0x06).unwrap_or(0),
        );
        let strides = bytes.len() / STRIDE;
        let start = usize::from(offset);
        let count = usize::from(words).saturating_sub(1);
        let sequence = bytes
            .get(start..)
            .and_then(|rest| rest.split_first_chunk::<2>());
        let (number, words) = match sequence {
            // The sequence may not lie on a word that it protects.
            Some((number, rest)) if count >= strides && start + 2 + 2 * strides <= STRIDE - 2 => {
                (number, &rest[..2 * strides])
            }
            _ => {
                return Self {
                    words: &[],
                    torn: true,
                };
            }
        };
        let torn = bytes
            .chunks_exact(STRIDE)
            .any(|stride| stride[STRIDE - 2..] != *number);
        Self { words, torn }
    }

    fn kept(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        self.words.chunks_exact(2).enumerate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of 1 KiB with no attributes, which claims to use `used` bytes.
    fn record(used: u32) -> Vec<u8> {
        let mut bytes = vec![0xAA; 1024];
        bytes[..HEADER_BYTES].fill(0);
        bytes[..4].copy_from_slice(b"FILE");
        bytes[4] = 0x30;
        bytes[6] = 3;
        bytes[0x10] = 9;
        bytes[0x14] = 0x38;
        bytes[0x16] = 3;
        bytes[0x18..0x1C].copy_from_slice(&used.to_le_bytes());
        bytes[0x30..0x36].copy_from_slice(&[7, 1, 0x11, 0x22, 0x33, 0x44]);
        bytes[510..512].copy_from_slice(&[7, 1]);
        bytes[1022..].copy_from_slice(&[7, 1]);
        bytes
    }

    #[test]
    fn fixups_are_undone() {
        let bytes = record(1024);
        let mut scratch = Scratch::new();
        let record = Record::decode(&bytes, &mut scratch).expect("a record");
        assert!(!record.torn && record.header.in_use() && record.header.is_directory());
        assert_eq!(record.bytes()[509..513], [0xAA, 0x11, 0x22, 0xAA]);
        assert_eq!(record.bytes()[1021..], [0xAA, 0x33, 0x44]);
    }

    #[test]
    fn a_small_record_is_not_copied() {
        let bytes = record(510);
        let mut scratch = Scratch::new();
        let record = Record::decode(&bytes, &mut scratch).expect("a record");
        assert_eq!(record.bytes().as_ptr(), bytes.as_ptr());
        assert_eq!(record.bytes().len(), 510);
    }

    #[test]
    fn a_lie_about_the_used_bytes_hides_nothing() {
        let bytes = record(64);
        let mut scratch = Scratch::new();
        let record = Record::decode_whole(&bytes, &mut scratch).expect("a record");
        assert_eq!(record.header.used_bytes, 64);
        assert_eq!(record.bytes().len(), 1024);
        assert_eq!(record.bytes()[1021..], [0xAA, 0x33, 0x44]);
    }

    #[test]
    fn the_start_needs_no_fixups() {
        let bytes = record(1024);
        let start = Record::decode_start(&bytes).expect("a record");
        assert_eq!(start.header.used_bytes, 1024);
        assert_eq!(start.bytes(), &bytes[..510]);
        let short = record(64);
        assert_eq!(
            Record::decode_start(&short)
                .expect("a record")
                .bytes()
                .len(),
            64
        );
        assert!(Record::decode_start(&[0; 1024]).is_err());
    }

    #[test]
    fn torn_strides_show() {
        for at in [510, 511, 1022, 1023] {
            for used in [400, 1024] {
                let mut bytes = record(used);
                bytes[at] ^= 1;
                let mut scratch = Scratch::new();
                let record = Record::decode(&bytes, &mut scratch).expect("a record");
                assert!(record.torn, "byte {at}");
            }
        }
        let mut bytes = record(1024);
        bytes[6] = 2;
        let mut scratch = Scratch::new();
        assert!(Record::decode(&bytes, &mut scratch).expect("a record").torn);
    }

    #[test]
    fn what_is_no_record() {
        let mut scratch = Scratch::new();
        let mut decode = |bytes: &[u8]| Record::decode(bytes, &mut scratch).map(|_| ());
        assert_eq!(decode(&[0; 1024]), Err(NoRecord::Unused));
        assert_eq!(decode(b"FILE"), Err(NoRecord::Short));
        assert_eq!(decode(&[b'x'; 99]), Err(NoRecord::Signature(*b"xxxx")));
        let mut bad = record(64);
        bad[..4].copy_from_slice(b"BAAD");
        assert_eq!(decode(&bad), Err(NoRecord::Bad));
    }

    #[test]
    fn lies_are_cut() {
        for (offset, words) in [(u16::MAX, 3), (0x30, u16::MAX), (508, 3), (0x30, 0)] {
            for used in [0, 42, 700, u32::MAX] {
                let mut bytes = record(used);
                bytes[4..6].copy_from_slice(&offset.to_le_bytes());
                bytes[6..8].copy_from_slice(&words.to_le_bytes());
                let mut scratch = Scratch::new();
                let record = Record::decode(&bytes, &mut scratch).expect("a record");
                assert!(record.bytes().len() <= 1024);
                assert_eq!(record.attributes().filter(Result::is_ok).count(), 0);
            }
        }
    }
}
