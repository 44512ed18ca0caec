//! The structures of a BitLocker volume: its first sector, its metadata, a startup key's file.
//!
//! # Layout (little-endian)
//! The first sector has `-FVE-FS-` where NTFS has its name or, of BitLocker To Go, looks like FAT. A GUID in it is followed by
//! the offsets of three copies of the metadata (u64 each), and a second kind of GUID by two offsets more, of what a
//! conversion under way is written down in. Windows Vista has no GUID but, at 56, the cluster of the first copy.
//!
//! | offset | bytes | block of metadata |
//! |---:|---:|---|
//! | 0 | 8 | `-FVE-FS-` |
//! | 8 | 2 | size of block, version 2 in units of 16 bytes |
//! | 10 | 2 | version: 1 (Vista), 2 (Windows 7 and later) |
//! | 12 | 2 | state: 1 decrypted, 2 a step of a conversion was cut, 3 paused, 4 encrypted, 5 converting |
//! | 16 | 8 | bytes from the beginning that are encrypted; 0 where all are |
//! | 24 | 4 | bytes of the step that was cut |
//! | 28 | 4 | sectors of the volume's beginning that lie elsewhere |
//! | 32 | 24 | offsets of the three copies |
//! | 56 | 8 | where these sectors lie; version 1: the cluster of `$MFTMirr` |
//! | 64 | 48 | data set: size, version, header's size (48), size again, volume GUID (16), nonce (4), method (2), 2, FILETIME |
//! | 112 | | entries |
//!
//! After the block: size (2), version (2), the CRC-32 of the block and, in version 2, an entry with its SHA-256, sealed with the volume
//! master key. An entry is: size (2), role (2), kind (2), version (2), body. Bodies of kinds that matter:
//!
//! | kind | body |
//! |---:|---|
//! | 1 | key: method (2), flags (2), bytes |
//! | 2 | UTF-16 text |
//! | 3 | stretch: method (2), flags (2), salt (16) |
//! | 5 | AES-CCM: nonce (12), tag (16), an entry of kind 1 that it seals |
//! | 8 | a protector: GUID (16), FILETIME, 2, type (2), entries |
//! | 9 | an external key: GUID (16), FILETIME, entries |
//!
//! # Damage
//! A copy whose CRC fails still parses; who reads it says so, or takes another copy. Entries end where one
//! has no sound size.
//! # Sources
//! - libyal, libbde, "BitLocker Drive Encryption (BDE) format".
//! - Fox-IT, dissect.fve: names of the states, the checksum of a block, and all of `FVE-EOW` (observed in Windows 10's driver).

use crate::{Cursor, DecodeError};

/// Bytes of a first sector.
pub const BOOT_BYTES: usize = 512;
/// A block, and what follows it, have no more bytes in version 2, of which it is cut.
pub const BLOCK_BYTES: usize = 64 << 10;
/// What version 1 keeps for a block.
pub const BLOCK_BYTES_V1: usize = 16 << 10;

/// At 3 of a first sector, and at the beginning of a metadata block.
pub const SIGNATURE: &[u8; 8] = b"-FVE-FS-";
/// 4967D63B-2E29-4AD8-8399-F6A339E3D001.
const GUID: [u8; 16] = 0x3BD6_6749_292E_D84A_8399_F6A3_39E3_D001_u128.to_be_bytes();
/// 92A84D3B-DD80-4D0E-9E4E-B1E3284EAED8.
const CONVERTING_GUID: [u8; 16] = 0x3B4D_A892_80DD_0E4D_9E4E_B1E3_284E_AED8_u128.to_be_bytes();
const HEADER_BYTES: usize = 64;
const DATA_SET_BYTES: usize = 48;
const ENTRY_BYTES: usize = 8;

/// What the first sector of a BitLocker volume says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Bytes of a sector: 512 to 4096.
    pub sector_bytes: u32,
    /// Bytes of a cluster, where it makes sense.
    pub cluster_bytes: u32,
    /// Where the copies of the metadata lie; Vista names only the first here.
    pub metadata_at: [Option<u64>; 3],
    /// Where the copies of the state of a conversion lie.
    pub conversion_at: [Option<u64>; 2],
}

impl Boot {
    /// Reads a first sector; `None` where it is not that of a BitLocker volume.
    pub fn recognise(sector: &[u8; BOOT_BYTES]) -> Option<Self> {
        let find = |guid: [u8; 16]| sector.windows(16).position(|window| window == guid);
        let offset = |at: usize| {
            let bytes = sector.get(at..at + 8)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes)).filter(|offset| *offset > 0)
        };
        let sector_bytes = u32::from(u16::from_le_bytes([sector[11], sector[12]]));
        let is_size = sector_bytes.is_power_of_two() && (512..=4096).contains(&sector_bytes);
        let sector_bytes = if is_size { sector_bytes } else { 512 };
        let mut boot = Self {
            sector_bytes,
            cluster_bytes: sector_bytes * u32::from(sector[13]).max(1),
            metadata_at: [None; 3],
            conversion_at: [None; 2],
        };
        if let Some(at) = find(CONVERTING_GUID) {
            boot.metadata_at = [16, 24, 32].map(|field| offset(at + field));
            boot.conversion_at = [40, 48].map(|field| offset(at + field));
        } else if let Some(at) = find(GUID) {
            boot.metadata_at = [16, 24, 32].map(|field| offset(at + field));
        } else if &sector[3..11] == SIGNATURE {
            let cluster = offset(56);
            boot.metadata_at[0] =
                cluster.and_then(|cluster| cluster.checked_mul(boot.cluster_bytes.into()));
        } else {
            return None;
        }
        Some(boot)
    }
}

/// How far a volume is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is not any more, or not yet.
    Decrypted,
    /// A step of its conversion was cut off.
    Dirty,
    /// Its conversion is paused.
    Paused,
    /// All of it is.
    Encrypted,
    /// It is being converted.
    Converting,
    /// What no specification names.
    Other(u16),
}

impl State {
    fn new(number: u16) -> Self {
        match number {
            1 => Self::Decrypted,
            2 => Self::Dirty,
            3 => Self::Paused,
            4 => Self::Encrypted,
            5 => Self::Converting,
            other => Self::Other(other),
        }
    }
}

/// A block of metadata.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// 1 or 2.
    pub version: u16,
    /// How far the volume is encrypted.
    pub state: State,
    /// From where on nothing is encrypted; 0 where everything is.
    pub encrypted_bytes: u64,
    /// How many bytes from there on a cut step was about.
    pub step_bytes: u32,
    /// Sectors of the volume's beginning that lie elsewhere; 0 in version 1.
    pub moved_sectors: u32,
    /// Where these lie; in version 1 the cluster of `$MFTMirr`.
    pub moved_to: u64,
    /// Where the three copies lie.
    pub metadata_at: [u64; 3],
    /// The volume's GUID.
    pub volume_guid: [u8; 16],
    /// Who can open the volume.
    pub protectors: Vec<Protector>,
    /// The key of the sectors, sealed with the volume master key.
    pub sector_key: Option<Sealed>,
    /// The bytes that CRC and hash are of: the block.
    pub block: Vec<u8>,
    /// The CRC-32 that is stored of them.
    pub crc: u32,
    /// Their SHA-256, sealed with the volume master key.
    pub hash: Option<Sealed>,
}

/// Who can open a volume: the volume master key, sealed for somebody.
#[derive(Clone, Debug)]
pub struct Protector {
    /// Its GUID.
    pub guid: [u8; 16],
    /// What it is: below 0x100 a clear key, 0x800 a recovery password, and so on.
    pub kind: u16,
    /// What its password is stretched with.
    pub salt: Option<[u8; 16]>,
    /// The key of a volume whose protection is suspended.
    pub clear_key: Option<Vec<u8>>,
    /// The volume master key.
    pub master_key: Option<Sealed>,
}

/// What AES-CCM seals.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// FILETIME and counter.
    pub nonce: [u8; 12],
    /// The tag.
    pub tag: [u8; 16],
    /// The ciphertext.
    pub bytes: Vec<u8>,
}

impl Sealed {
    fn parse(body: &[u8]) -> Option<Self> {
        let (nonce, rest) = body.split_first_chunk()?;
        let (tag, bytes) = rest.split_first_chunk()?;
        Some(Self {
            nonce: *nonce,
            tag: *tag,
            bytes: bytes.to_vec(),
        })
    }
}

impl Metadata {
    /// Reads a block that lies at `at` of the volume, and what follows it.
    ///
    /// # Errors
    /// Where it is not such a block, or its sizes contradict one another.
    pub fn parse(bytes: &[u8], at: u64) -> Result<Self, DecodeError> {
        let mut cur = Cursor::new(bytes, at);
        let signature: [u8; 8] = cur.array("signature")?;
        if &signature != SIGNATURE {
            return Err(DecodeError::Unknown {
                field: "signature",
                at,
                value: u64::from_le_bytes(signature),
            });
        }
        let size = usize::from(cur.u16("size")?);
        let version = cur.u16("version")?;
        let size = match version {
            1 => size,
            2 => size * 16,
            value => {
                return Err(DecodeError::Unknown {
                    field: "version",
                    at: at + 10,
                    value: value.into(),
                });
            }
        };
        let state = State::new(cur.u16("state")?);
        cur.skip("next state", 2)?;
        let encrypted_bytes = cur.u64("encrypted bytes")?;
        let step_bytes = cur.u32("bytes of a step")?;
        let moved_sectors = cur.u32("moved sectors")?;
        let metadata_at = [
            cur.u64("first copy")?,
            cur.u64("second copy")?,
            cur.u64("third copy")?,
        ];
        let moved_to = cur.u64("moved to")?;
        let block = bytes
            .get(..size)
            .filter(|block| block.len() >= HEADER_BYTES + DATA_SET_BYTES);
        let block = block.ok_or_else(|| DecodeError::Invalid {
            field: "size",
            at: at + 8,
            why: format!("{size} bytes, of {} that there are", bytes.len()),
        })?;
        let mut metadata = Self {
            version,
            state,
            encrypted_bytes,
            step_bytes,
            moved_sectors: if version == 1 { 0 } else { moved_sectors },
            moved_to,
            metadata_at,
            volume_guid: [0; 16],
            protectors: Vec::new(),
            sector_key: None,
            block: block.to_vec(),
            crc: 0,
            hash: None,
        };
        metadata.data_set(&block[HEADER_BYTES..], at + HEADER_BYTES as u64)?;
        metadata.validation(&bytes[size..], at + size as u64)?;
        Ok(metadata)
    }

    fn data_set(&mut self, bytes: &[u8], at: u64) -> Result<(), DecodeError> {
        let set = DataSet::parse(bytes, at)?;
        self.volume_guid = set.guid;
        for entry in entries(set.entries) {
            match (entry.role, entry.kind) {
                (2, 8) => self.protectors.extend(Protector::parse(entry.body)),
                (3, 5) if self.sector_key.is_none() => self.sector_key = Sealed::parse(entry.body),
                // Windows 8 and later say it twice.
                (15, 15) if self.moved_sectors == 0 && self.version > 1 => {
                    let size = entry.body.get(8..16).and_then(<[u8]>::first_chunk);
                    let size = size.map_or(0, |size| u64::from_le_bytes(*size));
                    self.moved_sectors = (size / 512).try_into().unwrap_or(0);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn validation(&mut self, bytes: &[u8], at: u64) -> Result<(), DecodeError> {
        let mut cur = Cursor::new(bytes, at);
        cur.skip("size and version of the checks", 4)?;
        self.crc = cur.u32("CRC-32")?;
        if self.version > 1 {
            let hash = entries(cur.rest()).next();
            self.hash = hash.and_then(|entry| Sealed::parse(entry.body));
        }
        Ok(())
    }

    /// Whether the block is what its CRC is of.
    pub fn is_sound(&self) -> bool {
        crc32fast::hash(&self.block) == self.crc
    }

    /// How many bytes each copy of the metadata takes, for sectors and clusters of these sizes.
    pub fn area_bytes(&self, boot: &Boot) -> u64 {
        let (size, unit) = match self.version {
            1 => (BLOCK_BYTES_V1 as u64, boot.cluster_bytes),
            _ => (BLOCK_BYTES as u64, boot.sector_bytes),
        };
        size.next_multiple_of(unit.into())
    }
}

/// What metadata and files of startup keys share.
struct DataSet<'a> {
    guid: [u8; 16],
    entries: &'a [u8],
}

impl<'a> DataSet<'a> {
    fn parse(bytes: &'a [u8], at: u64) -> Result<Self, DecodeError> {
        let mut cur = Cursor::new(bytes, at);
        let size = cur.u32("size of a data set")? as usize;
        cur.skip("version", 4)?;
        let header = cur.u32("size of a data set's header")? as usize;
        cur.skip("size again", 4)?;
        let guid = cur.array("GUID")?;
        cur.skip("nonce", 4)?;
        cur.skip("method", 2)?;
        let entries = (header >= DATA_SET_BYTES)
            .then(|| bytes.get(header..size.min(bytes.len())))
            .flatten()
            .ok_or_else(|| DecodeError::Invalid {
                field: "size of a data set",
                at,
                why: format!("{size} bytes, {header} of them a header"),
            })?;
        Ok(Self { guid, entries })
    }
}

impl Protector {
    fn parse(body: &[u8]) -> Option<Self> {
        const PROPERTIES_AT: usize = 28;
        let mut protector = Self {
            guid: *body.first_chunk()?,
            kind: u16::from_le_bytes(*body.get(26..28)?.first_chunk()?),
            salt: None,
            clear_key: None,
            master_key: None,
        };
        for entry in entries(&body[PROPERTIES_AT..]) {
            match entry.kind {
                1 => protector.clear_key = entry.body.get(4..).map(<[u8]>::to_vec),
                3 => protector.salt = entry.body.get(4..).and_then(<[u8]>::first_chunk).copied(),
                5 => protector.master_key = Sealed::parse(entry.body),
                _ => {}
            }
        }
        Some(protector)
    }
}

struct Entry<'a> {
    role: u16,
    kind: u16,
    body: &'a [u8],
}

/// The entries of a list, up to the first without a sound size.
fn entries(mut rest: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let head: &[u8; ENTRY_BYTES] = rest.first_chunk()?;
        let [size, role, kind] =
            [0, 2, 4].map(|field| u16::from_le_bytes([head[field], head[field + 1]]));
        let size = usize::from(size);
        let body = rest.get(ENTRY_BYTES..size)?;
        rest = &rest[size..];
        Some(Entry { role, kind, body })
    })
}

/// A key, as it stands in what was sealed: its method and its bytes.
///
/// # Errors
/// Where the bytes hold no key.
pub fn key(plain: &[u8]) -> Result<(u16, &[u8]), DecodeError> {
    let entry = entries(plain).next().filter(|entry| entry.kind == 1);
    let found = entry.and_then(|entry| entry.body.split_first_chunk::<4>());
    match found {
        Some((head, bytes)) => Ok((u16::from_le_bytes([head[0], head[1]]), bytes)),
        None => Err(DecodeError::Invalid {
            field: "key",
            at: 0,
            why: "no entry of that kind was sealed".to_owned(),
        }),
    }
}

/// The key in a startup key's file (`.BEK`), and the GUID of the protector that it is of.
///
/// # Errors
/// Where it is no such file.
pub fn startup_key(file: &[u8]) -> Result<([u8; 16], &[u8]), DecodeError> {
    let set = DataSet::parse(file, 0)?;
    entries(set.entries)
        .filter(|entry| entry.kind == 9)
        .find_map(|entry| {
            let guid = entry.body.first_chunk()?;
            let key = entries(entry.body.get(24..)?).find(|entry| entry.kind == 1)?;
            Some((*guid, key.body.get(4..)?))
        })
        .ok_or_else(|| DecodeError::Invalid {
            field: "external key",
            at: DATA_SET_BYTES as u64,
            why: "the file holds none".to_owned(),
        })
}

/// The state of a conversion that encrypts what is written (`FVE-EOW`, Windows 10 and later).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// Bytes that one bit speaks of.
    pub chunk_bytes: u32,
    /// Bytes that each region keeps for steps under way.
    pub log_bytes: u32,
    /// Bytes of this structure.
    pub size: u16,
    /// Where each region's bitmap lies.
    pub bitmaps_at: Vec<u64>,
}

impl Conversion {
    /// Reads it from bytes that lie at `at`.
    ///
    /// # Errors
    /// Where it is not one, or its CRC fails.
    pub fn parse(bytes: &[u8], at: u64) -> Result<Self, DecodeError> {
        let mut cur = Cursor::new(bytes, at);
        signature(&mut cur, b"FVE-EOW\0")?;
        let header = usize::from(cur.u16("size of header")?);
        let size = cur.u16("size")?;
        cur.skip("sector size and more", 8)?;
        let chunk_bytes = cur.u32("bytes of a chunk")?;
        let log_bytes = cur.u32("bytes of a log")?;
        checked(bytes, at, 36, size.into())?;
        let offsets = bytes.get(header..size.into()).unwrap_or(&[]);
        Ok(Self {
            chunk_bytes,
            log_bytes,
            size,
            bitmaps_at: offsets
                .chunks_exact(8)
                .map(|offset| u64::from_le_bytes(*offset.first_chunk().expect("eight bytes")))
                .collect(),
        })
    }
}

/// Which chunks of a region are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionMap {
    /// Where the region begins, in bytes.
    pub region_at: u64,
    /// How long it is.
    pub region_bytes: u64,
    /// Where its log lies.
    pub log_at: u64,
    /// Bytes of this structure, with its records.
    pub size: u32,
    /// How many bits there are.
    pub bits: u32,
    /// One bit a chunk, the lowest first; set where it is encrypted.
    pub bitmap: Vec<u8>,
}

impl ConversionMap {
    /// Bytes that are read of it at most.
    pub const MAX_BYTES: usize = 4 << 10;

    /// Reads it from bytes that lie at `at`; of its records, the newest that is sound counts.
    ///
    /// # Errors
    /// Where it is not one, its CRC fails, or none of its records is sound.
    pub fn parse(bytes: &[u8], at: u64) -> Result<Self, DecodeError> {
        let mut cur = Cursor::new(bytes, at);
        signature(&mut cur, b"FVE-EOWBM\0")?;
        cur.skip("size of header", 2)?;
        let size = cur.u32("size")?;
        cur.skip("number", 4)?;
        let region_at = cur.u64("region")?;
        let region_bytes = cur.u64("bytes of a region")?;
        let log_at = cur.u64("log")?;
        let records = [cur.u32("first record")?, cur.u32("second record")?];
        checked(bytes, at, 56, records[0].min(records[1]) as usize)?;
        let newest = records
            .iter()
            .filter_map(|record| {
                let bytes = bytes.get(*record as usize..)?;
                read_record(bytes, at + u64::from(*record)).ok()
            })
            .max_by_key(|(sequence, ..)| *sequence);
        let (_, bits, bitmap) = newest.ok_or_else(|| DecodeError::Invalid {
            field: "record of a bitmap",
            at,
            why: "none of them is sound".to_owned(),
        })?;
        Ok(Self {
            region_at,
            region_bytes,
            log_at,
            size,
            bits,
            bitmap,
        })
    }
}

/// A record of a bitmap: its number, how many bits it has, and these.
fn read_record(bytes: &[u8], at: u64) -> Result<(u64, u32, Vec<u8>), DecodeError> {
    let mut cur = Cursor::new(bytes, at);
    signature(&mut cur, b"FVE-EOWBR\0")?;
    let header = usize::from(cur.u16("size of header")?);
    let size = cur.u32("size")? as usize;
    let bits = cur.u32("bits")?;
    let sequence = cur.u64("sequence number")?;
    checked(bytes, at, 32, size)?;
    let bitmap = bytes.get(header..size).unwrap_or(&[]);
    let bits = bits.min(bitmap.len() as u32 * 8);
    Ok((sequence, bits, bitmap.to_vec()))
}

fn signature(cur: &mut Cursor<'_>, expected: &'static [u8]) -> Result<(), DecodeError> {
    let at = cur.at();
    let found = cur.take("signature", expected.len())?;
    if found == expected {
        return Ok(());
    }
    Err(DecodeError::Invalid {
        field: "signature",
        at,
        why: format!("it is not {}", expected.escape_ascii()),
    })
}

/// Compares the CRC-32 of the first `size` bytes, in which it counts as zeros.
fn checked(bytes: &[u8], at: u64, field: usize, size: usize) -> Result<(), DecodeError> {
    let invalid = |why: String| DecodeError::Invalid {
        field: "CRC-32",
        at: at + field as u64,
        why,
    };
    let summed = bytes.get(..size).filter(|summed| summed.len() >= field + 4);
    let summed = summed.ok_or_else(|| invalid(format!("{size} bytes of {}", bytes.len())))?;
    let (before, rest) = summed.split_at(field);
    let (stored, after) = rest.split_at(4);
    let mut crc = crc32fast::Hasher::new();
    for part in [before, &[0; 4], after] {
        crc.update(part);
    }
    if crc.finalize().to_le_bytes() == stored {
        Ok(())
    } else {
        Err(invalid("it fails".to_owned()))
    }
}
