//! What all pieces of an `$MFT` know: every name, and which records carry on which.

use std::sync::{Mutex, MutexGuard, PoisonError};

use scelle_event::Stamp;
use scelle_formats::ntfs::paths::{EntryUse, Name, NamePart, NameTable, entry_of};
use scelle_formats::ntfs::{FileName, Record, Scratch, kind};

use super::{Head, entry::Entry, gather::Buffers};

/// What one piece adds.
pub struct Part {
    names: NamePart,
    extensions: Vec<Extension>,
}

/// An extension record: whose it says it is.
struct Extension {
    base: u64,
    entry: u64,
    in_use: bool,
}

/// Shared by all pieces.
///
/// # Memory
/// [`NameTable`]'s bytes for each entry, and [`BYTES_PER_EXTENSION`] for each extension record.
pub struct Survey {
    pub(super) table: NameTable,
    /// Base entry and extension entry, sorted.
    extensions: Vec<(u64, u64)>,
    tools: Mutex<Vec<Tools>>,
}

/// What a survey keeps for each extension record.
pub const BYTES_PER_EXTENSION: usize = size_of::<(u64, u64)>();

/// The most extension records that one entry has: its attribute list is 256 KiB at most, and lists
/// each attribute in at least 32 bytes. Others that claim to be part of it are shown alone.
const MAX_EXTENSIONS: usize = (256 << 10) / 32;

/// Buffers that are used for one record after another.
#[derive(Default)]
pub(super) struct Tools {
    pub(super) scratch: Scratch,
    pub(super) extension_scratch: Scratch,
    pub(super) extension_bytes: Vec<u8>,
    pub(super) buffers: Buffers,
    pub(super) entry: Entry,
    pub(super) stamps: Vec<Stamp>,
    /// The entries of the extension records of one base record.
    pub(super) joined: Vec<u64>,
}

impl Part {
    /// Reads the names in one piece.
    pub(super) fn scout(head: &Head, bytes: &[u8], base: u64) -> Self {
        let first_entry = head.entry_at(base);
        let mut part = Self {
            names: NamePart::new(first_entry, bytes.len().div_ceil(head.record_bytes)),
            extensions: Vec::new(),
        };
        let mut scratch = Scratch::new();
        for (entry, bytes) in (first_entry..).zip(bytes.chunks_exact(head.record_bytes)) {
            // Names nearly always end before the first protected word: nothing has to be copied.
            let mut sound = match Record::decode_start(bytes) {
                Ok(start) => part.record(entry, &start),
                Err(_) => continue,
            };
            if !sound && let Ok(record) = Record::decode(bytes, &mut scratch) {
                sound = part.names_of(entry, &record);
            }
            if !sound && let Ok(whole) = Record::decode_whole(bytes, &mut scratch) {
                part.names_of(entry, &whole);
            }
        }
        part.names = part.names.shrunk();
        part.extensions.shrink_to_fit();
        part
    }

    /// Says what the record is and which names it holds, and whether they could all be read.
    fn record(&mut self, entry: u64, record: &Record<'_>) -> bool {
        let header = &record.header;
        if header.is_extension() {
            self.extensions.push(Extension {
                base: header.base,
                entry,
                in_use: header.in_use(),
            });
        } else {
            self.names.record(EntryUse {
                entry,
                sequence: header.sequence,
                in_use: header.in_use(),
                directory: header.is_directory(),
            });
        }
        self.names_of(entry, record)
    }

    fn names_of(&mut self, entry: u64, record: &Record<'_>) -> bool {
        let header = &record.header;
        for attribute in record.attributes() {
            // Damage is reported by whoever parses the record. Attributes are sorted by kind.
            let attribute = match attribute {
                Ok(attribute) if attribute.kind <= kind::FILE_NAME => attribute,
                Err(error) if error.kind <= kind::FILE_NAME => return false,
                _ => break,
            };
            if attribute.kind != kind::FILE_NAME {
                continue;
            }
            let Some(name) = attribute.resident().and_then(FileName::parse) else {
                continue;
            };
            let name = Name {
                parent: name.parent,
                namespace: name.namespace,
                utf16le: name.utf16le,
            };
            if header.is_extension() {
                self.names
                    .extension_name(header.base, header.in_use(), name);
            } else {
                self.names.name(entry, name);
            }
        }
        true
    }
}

impl Survey {
    /// Joins the pieces.
    pub(super) fn join(parts: Vec<Part>) -> Self {
        let (names, claims): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .map(|part| (part.names, part.extensions))
            .unzip();
        let table = NameTable::join(names);
        let mut extensions: Vec<(u64, u64)> = claims
            .into_iter()
            .flatten()
            .filter(|claim| table.owns(claim.base, claim.in_use))
            .map(|claim| (entry_of(claim.base), claim.entry))
            .collect();
        extensions.sort_unstable();
        let mut run = (u64::MAX, 0);
        extensions.retain(|(base, _)| {
            run = if run.0 == *base {
                (*base, run.1 + 1)
            } else {
                (*base, 1)
            };
            run.1 <= MAX_EXTENSIONS
        });
        extensions.shrink_to_fit();
        Self {
            table,
            extensions,
            tools: Mutex::new(Vec::new()),
        }
    }

    /// The bytes that it holds in memory.
    pub fn heap_bytes(&self) -> usize {
        self.table.heap_bytes() + self.extensions.capacity() * BYTES_PER_EXTENSION
    }

    /// Puts the entries of the extension records that belong to `base` into `out`, sorted.
    pub(super) fn extensions_of(&self, base: u64, out: &mut Vec<u64>) {
        out.clear();
        let from = self.extensions.partition_point(|(of, _)| *of < base);
        let of_base = self.extensions[from..]
            .iter()
            .take_while(|(of, _)| *of == base);
        out.extend(of_base.map(|(_, entry)| *entry));
    }

    /// Whether an extension record is shown with its base record.
    pub(super) fn is_joined(&self, base: u64, extension: u64) -> bool {
        self.extensions
            .binary_search(&(entry_of(base), extension))
            .is_ok()
    }

    /// Lends buffers, those that another piece used before where there are any.
    pub(super) fn with_tools<T>(&self, work: impl FnOnce(&mut Tools) -> T) -> T {
        let lent = self.tools().pop();
        let mut tools = lent.unwrap_or_default();
        let result = work(&mut tools);
        self.tools().push(tools);
        result
    }

    fn tools(&self) -> MutexGuard<'_, Vec<Tools>> {
        // Buffers are emptied before each use, whatever a panic left in them.
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
