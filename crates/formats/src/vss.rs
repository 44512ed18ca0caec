//! Volume shadow snapshots (VSS): what Windows keeps on an NTFS volume for its shadow copies.
//!
//! # Layout (little-endian)
//! A volume header of at least 100 bytes lies at [`VOLUME_HEADER_AT`]; all else is in blocks of
//! [`BLOCK_BYTES`]. Header and blocks begin alike; "offset" is from the volume's beginning.
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |      0 |    16 | the GUID 3808876b-c176-4e48-b7ae-04046e6cc752 |
//! |     16 |     4 | version: 1 (Vista, 7) or 2 (8 and later) |
//! |     20 |     4 | record type: 1 volume header, 2 catalog, 3 block list, 4 store header, 5 ranges, 6 bitmap |
//! |     24 |     8 | volume header: own offset; a block: its offset from the first of its kind, or in its store |
//! |     32 |     8 | a block: its own offset |
//! |     40 |     8 | a block: the next one's offset, 0 after the last |
//! |     48 |     8 | volume header: the catalog's offset, 0 without one; store header: bytes of store information |
//! |     64 |    16 | volume header: GUID of the volume (a guess of the source's) |
//! |     80 |    16 | volume header: GUID of the volume that holds the stores (likewise) |
//!
//! | what | bytes | fields, by offset |
//! |---|---:|---|
//! | catalog entry 2 | 128 | 8 volume size, 16 store GUID, 32 sequence number, 40 flags, 48 creation (FILETIME) |
//! | catalog entry 3 | 128 | 8 block list, 16 store GUID, 32 store header, 40 ranges, 48 bitmap, 56 file reference, 64 allocated size, 72 previous bitmap |
//! | store information | | 16 shadow copy GUID, 32 set GUID, 56 attributes, 64 two strings (u16 bytes, UTF-16): operating and service machine |
//! | descriptor | 32 | 0 original offset, 8 relative offset, 16 offset of the data, 24 flags, 28 bitmap of 512-byte sectors |
//!
//! A catalog entry's type is the u64 at 0; 0 and 1 are unused ones. A descriptor of zeros is unused.
//! # Damage
//! A block that is none of its kind, or does not lie where it says, is an error: nothing in it can be trusted.
//! # Sources
//! - libyal/libvshadow, "Volume Shadow Snapshot (VSS) format", version 0.0.13.

use crate::{Cursor, DecodeError};

/// Where the volume header lies.
pub const VOLUME_HEADER_AT: u64 = 0x1E00;
/// How much of it is read: a sector.
pub const VOLUME_HEADER_BYTES: usize = 512;
/// Bytes of a block, of metadata and of data alike.
pub const BLOCK_BYTES: usize = 16 << 10;
/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 128;

const SIGNATURE: [u8; 16] = [
    0x6B, 0x87, 0x08, 0x38, 0x76, 0xC1, 0x48, 0x4E, 0xB7, 0xAE, 0x04, 0x04, 0x6E, 0x6C, 0xC7, 0x52,
];
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
const ENTRY_BYTES: usize = 128;
const DESCRIPTOR_BYTES: usize = 32;

/// Record types.
pub mod kind {
    /// The volume header.
    pub const VOLUME: u32 = 1;
    /// A block of the catalog.
    pub const CATALOG: u32 = 2;
    /// A block of a store's block list.
    pub const BLOCK_LIST: u32 = 3;
    /// A store's header.
    pub const STORE: u32 = 4;
    /// A block of a bitmap.
    pub const BITMAP: u32 = 6;
}

/// The header of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeHeader {
    /// The offset of the catalog's first block; 0 where there is no shadow copy.
    pub catalog_at: u64,
    /// A GUID of the volume, as stored.
    pub volume: [u8; 16],
    /// A GUID of the volume that holds the data of its shadow copies, as stored.
    pub storage: [u8; 16],
}

impl VolumeHeader {
    /// Reads the header; `None` where VSS was never used.
    ///
    /// # Errors
    /// Where it has the signature, and contradicts the format.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        if !bytes.starts_with(&SIGNATURE) {
            return Ok(None);
        }
        let mut cur = head(bytes, VOLUME_HEADER_AT, kind::VOLUME)?;
        expect_own(&mut cur, VOLUME_HEADER_AT)?;
        cur.skip("reserved", 16)?;
        let catalog_at = cur.u64("catalog offset")?;
        cur.skip("maximum size", 8)?;
        Ok(Some(Self {
            catalog_at,
            volume: cur.array("volume")?,
            storage: cur.array("storage volume")?,
        }))
    }
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The offset of the next block, 0 after the last.
    pub next: u64,
    /// Bytes of information after a store's header, 0 in other blocks.
    pub information_bytes: u64,
}

impl BlockHeader {
    /// Reads the header of the block of a stated kind that lies at `base` of the volume.
    ///
    /// # Errors
    /// Where it is no such block, or says that it lies elsewhere.
    pub fn parse(bytes: &[u8], base: u64, kind: u32) -> Result<Self, DecodeError> {
        let mut cur = head(bytes, base, kind)?;
        cur.skip("relative offset", 8)?;
        expect_own(&mut cur, base)?;
        Ok(Self {
            next: cur.u64("next block")?,
            information_bytes: cur.u64("size of store information")?,
        })
    }
}

/// An entry of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogEntry {
    /// There is a shadow copy.
    Snapshot {
        /// Its store's GUID, as stored.
        store: [u8; 16],
        /// The volume's size then, in bytes.
        volume_bytes: u64,
        /// What seems to be a sequence number.
        sequence: u64,
        /// When it was made (100 ns since 1601, UTC).
        created_filetime: u64,
    },
    /// Its data lies on this volume.
    Store {
        /// Its GUID, as stored.
        store: [u8; 16],
        /// Where its parts lie.
        places: StorePlaces,
    },
}

/// Where the parts of a store lie: offsets on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorePlaces {
    /// The store header.
    pub header_at: u64,
    /// The first block of its block list.
    pub list_at: u64,
    /// The first block of its bitmap.
    pub bitmap_at: u64,
    /// The first block of the previous bitmap, 0 where there is none.
    pub previous_bitmap_at: u64,
}

/// The entries of a block of the catalog that lies at `base`; unused ones are left out.
pub fn catalog_entries(
    block: &[u8],
    base: u64,
) -> impl Iterator<Item = Result<CatalogEntry, DecodeError>> + '_ {
    slots(block, base, ENTRY_BYTES).filter_map(|(bytes, at)| catalog_entry(bytes, at).transpose())
}

fn catalog_entry(bytes: &[u8], at: u64) -> Result<Option<CatalogEntry>, DecodeError> {
    let mut cur = Cursor::new(bytes, at);
    match cur.u64("catalog entry type")? {
        0 | 1 => Ok(None),
        2 => {
            let volume_bytes = cur.u64("volume size")?;
            let store = cur.array("store")?;
            let sequence = cur.u64("sequence number")?;
            cur.skip("flags", 8)?;
            Ok(Some(CatalogEntry::Snapshot {
                store,
                volume_bytes,
                sequence,
                created_filetime: cur.u64("creation")?,
            }))
        }
        3 => {
            let list_at = cur.u64("block list")?;
            let store = cur.array("store")?;
            let header_at = cur.u64("store header")?;
            cur.skip("ranges", 8)?;
            let bitmap_at = cur.u64("bitmap")?;
            cur.skip("file reference and allocated size", 16)?;
            let places = StorePlaces {
                header_at,
                list_at,
                bitmap_at,
                previous_bitmap_at: cur.u64("previous bitmap")?,
            };
            Ok(Some(CatalogEntry::Store { store, places }))
        }
        value => Err(DecodeError::Unknown {
            field: "catalog entry type",
            at,
            value,
        }),
    }
}

/// What a store says of its shadow copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInformation {
    /// The shadow copy's GUID, as stored.
    pub copy: [u8; 16],
    /// The GUID of the set that it was made with, as stored.
    pub copy_set: [u8; 16],
    /// `_VSS_VOLUME_SNAPSHOT_ATTRIBUTES`.
    pub attributes: u32,
    /// The machine that it was made on.
    pub machine: String,
}

impl StoreInformation {
    /// Reads it out of the store header's block, which lies at `base`.
    ///
    /// # Errors
    /// Where it is cut.
    pub fn parse(block: &[u8], base: u64) -> Result<Self, DecodeError> {
        let mut cur = Cursor::new(block, base);
        cur.skip("block header", BLOCK_HEADER_BYTES)?;
        cur.skip("unknown GUID", 16)?;
        let copy = cur.array("shadow copy")?;
        let copy_set = cur.array("shadow copy set")?;
        cur.skip("type and provider", 8)?;
        let attributes = cur.u32("attributes")?;
        cur.skip("reserved", 4)?;
        let machine_bytes = cur.u16("machine's size")?;
        let machine = cur.utf16("machine", usize::from(machine_bytes / 2))?;
        Ok(Self {
            copy,
            copy_set,
            attributes,
            machine: String::from_utf16_lossy(&machine),
        })
    }
}

/// Where a store keeps what a block held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The block, by its offset on the volume then.
    pub original: u64,
    /// Of a forwarder: where the next newer store has the block.
    pub relative: u64,
    /// Where its bytes lie on the volume now.
    pub data_at: u64,
    /// [`FORWARDER`](Self::FORWARDER) and the like.
    pub flags: u32,
    /// Of an overlay: which sectors of 512 bytes it has, the first in the lowest bit.
    pub bitmap: u32,
}

impl Descriptor {
    /// The bytes are those that the next newer store has elsewhere.
    pub const FORWARDER: u32 = 1;
    /// Some sectors only, and only for whoever reads this very shadow copy.
    pub const OVERLAY: u32 = 2;
    /// It is void.
    pub const UNUSED: u32 = 4;
}

/// The descriptors of a block of a block list that lies at `base`, each with its own offset; unused ones are
/// left out.
pub fn descriptors(
    block: &[u8],
    base: u64,
) -> impl Iterator<Item = Result<(u64, Descriptor), DecodeError>> + '_ {
    slots(block, base, DESCRIPTOR_BYTES)
        .filter(|(bytes, _)| bytes.iter().any(|byte| *byte != 0))
        .map(|(bytes, at)| {
            let mut cur = Cursor::new(bytes, at);
            let descriptor = Descriptor {
                original: cur.u64("original offset")?,
                relative: cur.u64("relative offset")?,
                data_at: cur.u64("data offset")?,
                flags: cur.u32("flags")?,
                bitmap: cur.u32("bitmap")?,
            };
            Ok((at, descriptor))
        })
        .filter(|descriptor| {
            let is_unused = |one: &Descriptor| one.flags & Descriptor::UNUSED != 0;
            !matches!(descriptor, Ok((_, one)) if is_unused(one))
        })
}

fn slots(block: &[u8], base: u64, size: usize) -> impl Iterator<Item = (&[u8], u64)> {
    let content = block.get(BLOCK_HEADER_BYTES..).unwrap_or(&[]);
    let first = base.saturating_add(BLOCK_HEADER_BYTES as u64);
    let place = move |index: usize| first.saturating_add((index * size) as u64);
    let slots = content.chunks_exact(size).enumerate();
    slots.map(move |(index, bytes)| (bytes, place(index)))
}

/// Checks what all records begin with.
fn head(bytes: &[u8], base: u64, kind: u32) -> Result<Cursor<'_>, DecodeError> {
    let mut cur = Cursor::new(bytes, base);
    if cur.array("signature")? != SIGNATURE {
        return Err(DecodeError::Invalid {
            field: "signature",
            at: base,
            why: "it is not that of a shadow copy's records".to_owned(),
        });
    }
    let version = cur.u32("version")?;
    if !VERSIONS.contains(&version) {
        return Err(DecodeError::Unknown {
            field: "version",
            at: base + 16,
            value: version.into(),
        });
    }
    let found = cur.u32("record type")?;
    if found != kind {
        return Err(DecodeError::Invalid {
            field: "record type",
            at: base + 20,
            why: format!("it is {found}, where {kind} is expected"),
        });
    }
    Ok(cur)
}

/// A record that was copied elsewhere, or is pointed to by a lie, betrays itself.
fn expect_own(cur: &mut Cursor<'_>, base: u64) -> Result<(), DecodeError> {
    let at = cur.at();
    let own = cur.u64("own offset")?;
    if own == base {
        return Ok(());
    }
    Err(DecodeError::Invalid {
        field: "own offset",
        at,
        why: format!("it says {own}, and lies at {base}"),
    })
}
