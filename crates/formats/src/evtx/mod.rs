//! Windows XML Event Log files (`.evtx`, Windows Vista and later) and their binary XML.
//!
//! # Layout (little-endian)
//! A file header, then chunks of 64 KiB that stand on their own: names and templates are
//! shared within a chunk and never across chunks.
//!
//! | offset | bytes | field of the file header                       |
//! |-------:|------:|------------------------------------------------|
//! |      0 |     8 | `ElfFile\0`                                    |
//! |      8 |     8 | number of the oldest chunk                     |
//! |     16 |     8 | number of the newest chunk                     |
//! |     24 |     8 | the next record's number                       |
//! |     32 |     4 | header size, 128                               |
//! |     36 |     4 | minor and major version: 3.1, 3.2              |
//! |     40 |     2 | where the chunks begin, 4096                   |
//! |     42 |     2 | number of chunks                               |
//! |    120 |     4 | flags: 1 dirty, 2 full                         |
//! |    124 |     4 | CRC-32 of the first 120 bytes                  |
//!
//! A record's binary XML is nearly always an instance of a template: the template is an element
//! tree with numbered holes, the instance a list of typed values. A template is compiled once into
//! a flat plan, whose members are grouped by name, and known again in other chunks; a record is then a list of
//! values that still lie in the chunk, and is shown by walking the plan.
//!
//! # Damage
//! Whatever a size, an offset or a count claims is checked against the chunk; depth, compiled
//! tokens and the text that a chunk's records unfold to are bounded ([`Decoder`]).
//!
//! # Sources
//! - libyal/libevtx, "Windows XML Event Log (EVTX) format".
//! - [MS-EVEN6] 2.2.12 to 2.2.17, BinXml; a null `DependencyId` leaves an element out.

mod cache;
mod chunk;
mod compile;
mod decoder;
mod event;
mod names;
mod plan;
mod system;
mod text;
mod value;

pub use chunk::{
    CHUNK_BYTES, CHUNK_HEADER_BYTES, CHUNK_MAGIC, ChunkHeader, Damage, Located,
    RECORD_HEADER_BYTES, record_alone, records,
};
pub use decoder::Decoder;
pub use event::{Builder, Event};
pub use plan::SystemField;
pub use text::Utf16;
pub use value::{Scalar, Sid, SystemTime};

use crate::{Cursor, DecodeError};

/// The first bytes of a file.
pub const FILE_MAGIC: &[u8; 8] = b"ElfFile\0";
/// Where the chunks begin in every file seen.
pub const FILE_HEADER_BYTES: u64 = 4096;

/// Bytes of the header that its checksum covers.
const SUMMED_BYTES: usize = 120;

/// A file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Number of the oldest chunk.
    pub oldest_chunk: u64,
    /// Number of the newest chunk.
    pub newest_chunk: u64,
    /// The number that the next record would have got.
    pub next_record: u64,
    /// Minor and major version.
    pub version: (u16, u16),
    /// Where the chunks begin.
    pub chunks_at: u16,
    /// How many chunks the header counts; 16 bits, so larger files wrap it.
    pub chunks: u16,
    /// Flags: 1 dirty, 2 full.
    pub flags: u32,
    /// Whether the checksum is right.
    pub checksum_ok: bool,
}

impl FileHeader {
    /// The log was not closed: header and last chunk may be older than the records.
    pub const DIRTY: u32 = 1;

    /// Reads a header from the first 128 bytes of a file.
    ///
    /// # Errors
    /// [`DecodeError`] where the magic is another or the bytes end.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cur = Cursor::new(bytes, 0);
        let magic = cur.array::<8>("file magic")?;
        if &magic != FILE_MAGIC {
            return Err(DecodeError::Unknown {
                field: "file magic",
                at: 0,
                value: u64::from_le_bytes(magic),
            });
        }
        let oldest_chunk = cur.u64("oldest chunk")?;
        let newest_chunk = cur.u64("newest chunk")?;
        let next_record = cur.u64("next record")?;
        cur.skip("header size", 4)?;
        let version = (cur.u16("minor version")?, cur.u16("major version")?);
        let chunks_at = cur.u16("start of chunks")?;
        let chunks = cur.u16("chunk count")?;
        cur.skip("reserved", 76)?;
        let flags = cur.u32("flags")?;
        let checksum = cur.u32("checksum")?;
        Ok(Self {
            oldest_chunk,
            newest_chunk,
            next_record,
            version,
            chunks_at,
            chunks,
            flags,
            checksum_ok: crc32fast::hash(&bytes[..SUMMED_BYTES]) == checksum,
        })
    }
}
