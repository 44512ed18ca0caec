//! The resource tree: three levels of directories (type, name, language) over data entries.

use std::collections::BTreeMap;

use super::{
    super::{Damages, source::Source},
    headers::{Headers, Map, directory},
    version,
};
use crate::{Cursor, DecodeError};

/// Entries of all directories together. Directories may point at each other; as the depth is
/// fixed, this bounds the walk.
const ENTRY_LIMIT: usize = 16_384;
const DEPTH: usize = 3;
const DIRECTORY_BYTES: usize = 16;
const VERSION_LIMIT: usize = 64 << 10;
/// Version resources that are read: one a language.
const VERSION_COUNT_LIMIT: usize = 64;
const VERSION_TYPE: u32 = 16;
const SUBDIRECTORY: u32 = 1 << 31;

/// What the resource tree holds.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// By type, in the order of the types' names: how many resources and bytes.
    pub kinds: Vec<Kind>,
    /// The texts of the version resources, in the order of the file; the first of a name counts.
    pub version: Vec<(String, String)>,
    /// File version as numbers, most significant first.
    pub file_version: Option<[u16; 4]>,
}

/// The resources of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The type's known name, `#` and its number, or its own name.
    pub name: String,
    /// How many there are.
    pub count: u64,
    /// Their sizes together, as stated.
    pub size_bytes: u64,
}

pub(super) fn resources(
    source: &Source<'_>,
    headers: &Headers,
    map: &Map,
    damages: &mut Damages,
) -> Option<Resources> {
    let table = headers.directory(directory::RESOURCE)?;
    let root = map.locate("resources", table.rva.into(), headers.optional_at());
    let root = damages.keep("resources", headers.optional_at(), root)?;
    let mut walk = Walk {
        source,
        map,
        root,
        left: ENTRY_LIMIT,
        kinds: BTreeMap::new(),
        versions: Vec::new(),
    };
    if let Err(error) = walk.directory(root, 0, None) {
        let at = error.offset().unwrap_or(root);
        damages.add("resources", at..at + 1, error.to_string());
    }
    let mut resources = Resources::default();
    for (at, size) in walk.versions {
        let read = source
            .exact("version resource", at, size)
            .and_then(|bytes| version::read(&bytes, at, &mut resources));
        damages.keep("version_info", at, read);
    }
    resources.kinds = walk
        .kinds
        .into_iter()
        .map(|(name, (count, size_bytes))| Kind {
            name,
            count,
            size_bytes,
        })
        .collect();
    Some(resources)
}

struct Walk<'s> {
    source: &'s Source<'s>,
    map: &'s Map,
    root: u64,
    left: usize,
    kinds: BTreeMap<String, (u64, u64)>,
    /// Where version resources lie, and their sizes.
    versions: Vec<(u64, usize)>,
}

impl Walk<'_> {
    /// One damaged branch does not end the walk: its first error is returned after the others.
    fn directory(&mut self, at: u64, depth: usize, kind: Option<u32>) -> Result<(), DecodeError> {
        let head = self
            .source
            .exact("resource directory", at, DIRECTORY_BYTES)?;
        let mut cur = Cursor::new(&head, at);
        cur.skip("flags, timestamp, version", 12)?;
        let count = usize::from(cur.u16("named entries")?) + usize::from(cur.u16("entries")?);
        let table_at = at + DIRECTORY_BYTES as u64;
        let table = self.source.read(table_at, count * 8)?.into_owned();
        let mut result = if table.len() < count * 8 {
            Err(DecodeError::Short {
                field: "resource directory",
                at: table_at,
                need: count as u64 * 8,
                have: table.len() as u64,
            })
        } else {
            Ok(())
        };
        for (number, entry) in table.as_chunks::<8>().0.iter().enumerate() {
            let entry_at = table_at + number as u64 * 8;
            self.left = self.left.checked_sub(1).ok_or(DecodeError::Limit {
                field: "resource entries",
                at: entry_at,
                value: ENTRY_LIMIT as u64 + 1,
                limit: ENTRY_LIMIT as u64,
            })?;
            let mut cur = Cursor::new(entry, entry_at);
            let name = cur.u32("resource name")?;
            let target = cur.u32("resource target")?;
            let kind = kind.unwrap_or(name);
            let below = self.root + u64::from(target & !SUBDIRECTORY);
            let done = match (target & SUBDIRECTORY != 0, depth + 1 < DEPTH) {
                (true, true) => self.directory(below, depth + 1, Some(kind)),
                (true, false) => Err(DecodeError::Invalid {
                    field: "resource directory",
                    at: entry_at,
                    why: format!("it lies deeper than {DEPTH} levels"),
                }),
                (false, _) => self.data(below, kind),
            };
            if matches!(done, Err(DecodeError::Limit { .. })) {
                return done;
            }
            result = result.and(done);
        }
        result
    }

    fn data(&mut self, at: u64, kind: u32) -> Result<(), DecodeError> {
        let entry = self.source.exact("resource data entry", at, 16)?;
        let mut cur = Cursor::new(&entry, at);
        let rva = cur.u32("resource address")?;
        let size = cur.u32("resource size")?;
        let name = self.kind_name(kind);
        let (count, size_bytes) = self.kinds.entry(name).or_default();
        *count += 1;
        *size_bytes += u64::from(size);
        if kind == VERSION_TYPE {
            if self.versions.len() == VERSION_COUNT_LIMIT {
                return Err(DecodeError::Limit {
                    field: "version resources",
                    at,
                    value: VERSION_COUNT_LIMIT as u64 + 1,
                    limit: VERSION_COUNT_LIMIT as u64,
                });
            }
            let data = self.map.locate("version", rva.into(), at)?;
            self.versions
                .push((data, (size as usize).min(VERSION_LIMIT)));
        }
        Ok(())
    }

    fn kind_name(&self, kind: u32) -> String {
        if kind & SUBDIRECTORY == 0 {
            return KINDS
                .iter()
                .find(|(number, _)| *number == kind)
                .map_or_else(|| format!("#{kind}"), |(_, name)| (*name).to_owned());
        }
        // A named type: a length in UTF-16 code units, and the name.
        let at = self.root + u64::from(kind & !SUBDIRECTORY);
        let name = self.source.read(at, 2 + 2 * 64).ok().and_then(|bytes| {
            let (length, rest) = bytes.split_first_chunk::<2>()?;
            let units = usize::from(u16::from_le_bytes(*length));
            let units = rest.as_chunks::<2>().0.iter().take(units);
            Some(
                char::decode_utf16(units.map(|unit| u16::from_le_bytes(*unit)))
                    .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect(),
            )
        });
        name.unwrap_or_else(|| "?".to_owned())
    }
}

/// The numbered types of the PE/COFF specification and `winuser.h`.
const KINDS: &[(u32, &str)] = &[
    (1, "cursor"),
    (2, "bitmap"),
    (3, "icon"),
    (4, "menu"),
    (5, "dialog"),
    (6, "string"),
    (7, "font-directory"),
    (8, "font"),
    (9, "accelerator"),
    (10, "data"),
    (11, "message-table"),
    (12, "cursor-group"),
    (14, "icon-group"),
    (16, "version"),
    (17, "dialog-include"),
    (19, "plug-and-play"),
    (20, "vxd"),
    (21, "animated-cursor"),
    (22, "animated-icon"),
    (23, "html"),
    (24, "manifest"),
];
