//! The debug directory (program database, reproducible build), the Rich header, TLS callbacks and
//! the CLR header: small tables that say how the file was made.

use std::fmt;

use md5::{Digest, Md5};

use super::{
    super::{Damages, source::Source, text},
    headers::{Directory, Headers, Map, directory},
};
use crate::{Cursor, DecodeError};

const ENTRY_LIMIT: usize = 64;
const ENTRY_BYTES: usize = 28;
const CODE_VIEW: u32 = 2;
const REPRO: u32 = 16;
const PATH_LIMIT: usize = 1024;

/// What the debug directory tells.
#[derive(Clone, Debug, Default)]
pub struct Debug {
    /// Program databases that were made beside the file.
    pub pdbs: Vec<Pdb>,
    /// Whether the build was reproducible: all timestamps are then hashes of the content.
    pub reproducible: bool,
}

/// A program database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdb {
    /// Its path on the machine that built the file.
    pub path: String,
    /// Its identity: a GUID, or for old ones (`NB10`) a timestamp.
    pub id: PdbId,
    /// How often it was written.
    pub age: u32,
}

/// The identity of a program database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PdbId {
    /// A GUID as stored.
    Guid([u8; 16]),
    /// Seconds since 1970.
    Timestamp(u32),
}

impl fmt::Display for PdbId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guid(bytes) => {
                let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
                let first = u32::from_le_bytes([*a, *b, *c, *d]);
                let second = u16::from_le_bytes([*e, *f]);
                let third = u16::from_le_bytes([*g, *h]);
                write!(out, "{first:08x}-{second:04x}-{third:04x}-")?;
                for (index, byte) in rest.iter().enumerate() {
                    let dash = if index == 2 { "-" } else { "" };
                    write!(out, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
            Self::Timestamp(seconds) => write!(out, "{seconds:08x}"),
        }
    }
}

pub(super) fn debug(
    source: &Source<'_>,
    headers: &Headers,
    map: &Map,
    damages: &mut Damages,
) -> Debug {
    let mut debug = Debug::default();
    let Some(table) = headers.directory(directory::DEBUG) else {
        return debug;
    };
    if let Err(error) = entries(
        source,
        map,
        headers.optional_at(),
        table,
        &mut debug,
        damages,
    ) {
        let at = error.offset().unwrap_or(headers.optional_at());
        damages.add("pdbs", at..at + 1, error.to_string());
    }
    debug
}

fn entries(
    source: &Source<'_>,
    map: &Map,
    headers_at: u64,
    table: Directory,
    debug: &mut Debug,
    damages: &mut Damages,
) -> Result<(), DecodeError> {
    let at = map.locate("debug directory", table.rva.into(), headers_at)?;
    let stated = table.size as usize / ENTRY_BYTES;
    let count = stated.min(ENTRY_LIMIT);
    let entries = source.exact("debug directory", at, count * ENTRY_BYTES)?;
    for (number, entry) in entries.chunks_exact(ENTRY_BYTES).enumerate() {
        let entry_at = at + (number * ENTRY_BYTES) as u64;
        let mut cur = Cursor::new(entry, entry_at);
        cur.skip("flags, timestamp, version", 12)?;
        let kind = cur.u32("debug type")?;
        let size = cur.u32("debug size")? as usize;
        let rva = cur.u32("debug address")?;
        let offset = cur.u32("debug offset")?;
        match kind {
            REPRO => debug.reproducible = true,
            CODE_VIEW => {
                let data_at = match offset {
                    0 => map.locate("debug data", rva.into(), entry_at),
                    offset => Ok(offset.into()),
                };
                let pdb = data_at.and_then(|at| {
                    let data = source.read(at, size.min(PATH_LIMIT + 24))?;
                    code_view(&data, at)
                });
                debug
                    .pdbs
                    .extend(damages.keep("pdbs", entry_at, pdb).flatten());
            }
            _ => {}
        }
    }
    if stated > count {
        return Err(DecodeError::Limit {
            field: "debug entries",
            at,
            value: stated as u64,
            limit: ENTRY_LIMIT as u64,
        });
    }
    Ok(())
}

fn code_view(data: &[u8], at: u64) -> Result<Option<Pdb>, DecodeError> {
    let mut cur = Cursor::new(data, at);
    let id = match &cur.array::<4>("CodeView signature")? {
        b"RSDS" => PdbId::Guid(cur.array("PDB GUID")?),
        b"NB10" => {
            cur.skip("CodeView offset", 4)?;
            PdbId::Timestamp(cur.u32("PDB timestamp")?)
        }
        // Debug data inside the file itself: no database.
        _ => return Ok(None),
    };
    let age = cur.u32("PDB age")?;
    Ok(Some(Pdb {
        path: text::lossless(text::until_zero(cur.rest())),
        id,
        age,
    }))
}

/// What Microsoft's linker notes of the tools that made the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rich {
    /// MD5 of all from 0x80 to the header's end, with the mask removed.
    pub hash: [u8; 16],
    /// Product and build number, and how many objects it made.
    pub tools: Vec<(u16, u16, u32)>,
}

/// The Rich header lies between the DOS program, which ends at 0x80, and the PE header. It ends
/// with `Rich` and the mask; unmasked, it begins with `DanS`.
pub(super) fn rich(source: &Source<'_>, headers: &Headers, damages: &mut Damages) -> Option<Rich> {
    const BEGIN: u64 = 0x80;
    const LONGEST: usize = 4096;
    const DANS: u32 = u32::from_le_bytes(*b"DanS");
    const RICH: u32 = u32::from_le_bytes(*b"Rich");
    let room = headers.optional_at().saturating_sub(BEGIN) as usize;
    let bytes = source.read(BEGIN, room.min(LONGEST));
    let bytes = damages.keep("rich_hash", BEGIN, bytes)?;
    let words: Vec<u32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    let end = words.iter().position(|word| *word == RICH)?;
    let mask = *words.get(end + 1)?;
    // Padding may come before the header itself. `pefile` hashes it too, and hashes are looked up
    // in lists that were made with it.
    let start = words[..end].iter().rposition(|word| word ^ mask == DANS);
    let Some(start) = start else {
        let at = BEGIN + end as u64 * 4;
        damages.add(
            "rich_hash",
            at..at + 8,
            "the Rich header has an end and no beginning",
        );
        return None;
    };
    let clear: Vec<u8> = words[..end]
        .iter()
        .flat_map(|word| (word ^ mask).to_le_bytes())
        .collect();
    let tools = words[start..end]
        .get(4..)
        .unwrap_or_default()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[id, count]| {
            let id = id ^ mask;
            ((id >> 16) as u16, id as u16, count ^ mask)
        })
        .collect();
    Some(Rich {
        hash: Md5::digest(clear).into(),
        tools,
    })
}

/// How many functions run before the entry point.
pub(super) fn tls_callbacks(
    source: &Source<'_>,
    headers: &Headers,
    map: &Map,
    damages: &mut Damages,
) -> Option<u32> {
    const LIMIT: u64 = 256;
    let table = headers.directory(directory::TLS)?;
    let width: usize = if headers.is_plus() { 8 } else { 4 };
    let pointer = |field, rva: u64| {
        let at = map.locate(field, rva, headers.optional_at())?;
        let bytes = source.exact(field, at, width)?;
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(&bytes);
        Ok::<_, DecodeError>(u64::from_le_bytes(wide))
    };
    let read = || {
        let callbacks = pointer("TLS directory", u64::from(table.rva) + 3 * width as u64)?;
        if callbacks == 0 {
            return Ok(0);
        }
        let first = callbacks.wrapping_sub(headers.image_base);
        for count in 0..LIMIT {
            let rva = first.wrapping_add(count * width as u64);
            if pointer("TLS callbacks", rva)? == 0 {
                return Ok(count as u32);
            }
        }
        Err(DecodeError::Limit {
            field: "TLS callbacks",
            at: headers.optional_at(),
            value: LIMIT + 1,
            limit: LIMIT,
        })
    };
    damages.keep("tls_callbacks", headers.optional_at(), read())
}

/// The version text of the metadata of a .NET assembly (`v4.0.30319`).
pub(super) fn clr_version(
    source: &Source<'_>,
    headers: &Headers,
    map: &Map,
    damages: &mut Damages,
) -> Option<String> {
    const METADATA_AT: u64 = 8;
    const SIGNATURE: &[u8; 4] = b"BSJB";
    const VERSION_LIMIT: usize = 255;
    let table = headers.directory(directory::CLR)?;
    let read = || {
        let at = map.locate("CLR header", table.rva.into(), headers.optional_at())?;
        let entry = source.exact("CLR header", at + METADATA_AT, 4)?;
        let rva = Cursor::new(&entry, at).u32("CLR metadata")?;
        let at = map.locate("CLR metadata", rva.into(), at)?;
        let head = source.exact("CLR metadata", at, 16)?;
        let mut cur = Cursor::new(&head, at);
        if cur.array::<4>("CLR metadata")? != *SIGNATURE {
            return Err(DecodeError::Invalid {
                field: "CLR metadata",
                at,
                why: "it does not begin with BSJB".to_owned(),
            });
        }
        cur.skip("metadata version", 8)?;
        let length = cur.u32("version length")? as usize;
        let version = source.read(at + 16, length.min(VERSION_LIMIT))?;
        Ok(text::lossless(text::until_zero(&version)))
    };
    damages.keep("dotnet_version", headers.optional_at(), read())
}
