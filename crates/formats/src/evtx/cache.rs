//! Templates that were compiled before, in this chunk or in another.
//!
//! The same template stands in nearly every chunk of a log, and only the offsets of its names
//! differ. It is known again where all its bytes are the same, and the offsets lead to the same
//! names: what it compiles to, and what that costs, follows from these alone.

use std::collections::HashMap;

use super::names::{NAME_HEAD_BYTES, NameRef};

/// How many templates of one GUID and size are told apart; logs have one or two.
const MOST_ALIKE: usize = 4;
/// Larger templates are not remembered; those of Windows have 1 to 8 KiB.
const MOST_TEMPLATE_BYTES: usize = 16 << 10;
/// How many bytes of templates are remembered, whatever they were compiled to.
const MOST_BYTES: usize = 1 << 20;
/// The next name, before a name's hash: it depends on the chunk.
const NEXT_NAME_BYTES: usize = 4;

/// What was compiled, by what it was compiled from.
#[derive(Debug, Default)]
pub(super) struct Cache {
    alike: HashMap<([u8; 16], u32), Vec<u32>>,
    entries: Vec<Entry>,
    names: Vec<Name>,
    bytes: Vec<u8>,
}

/// A template that was compiled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) plan: u32,
    /// How many tokens and units of text it took.
    pub(super) cost: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    known: Known,
    /// Where its bytes begin in [`Cache::bytes`].
    bytes: usize,
    /// Its names: a range of [`Cache::names`].
    names: (usize, usize),
}

/// An offset of a name in a template.
#[derive(Clone, Copy, Debug)]
struct Name {
    /// Where the offset stands in the template.
    at: usize,
    /// Whether the name follows it, and so is compared with the template's bytes.
    inline: bool,
    /// Hash, length and units of a name that stands elsewhere: a range of [`Cache::bytes`].
    stored: (usize, usize),
}

/// Where a template lies: its tokens are `start..start + size` of the chunk.
#[derive(Clone, Copy)]
pub(super) struct Place<'c> {
    pub(super) chunk: &'c [u8],
    pub(super) guid: [u8; 16],
    pub(super) start: usize,
    pub(super) size: usize,
}

impl<'c> Place<'c> {
    fn tokens(&self) -> &'c [u8] {
        &self.chunk[self.start..self.start + self.size]
    }

    fn key(&self) -> ([u8; 16], u32) {
        (self.guid, self.size as u32)
    }
}

impl Cache {
    pub(super) fn clear(&mut self) {
        self.alike.clear();
        self.entries.clear();
        self.names.clear();
        self.bytes.clear();
    }

    /// About how many bytes it holds.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len()
            + self.names.len() * size_of::<Name>()
            + self.entries.len() * (size_of::<Entry>() + size_of::<([u8; 16], u32)>())
    }

    /// What the same template was compiled to.
    pub(super) fn find(&self, place: Place<'_>) -> Option<Known> {
        let alike = self.alike.get(&place.key())?.iter();
        alike
            .map(|index| &self.entries[*index as usize])
            .find(|entry| self.is_same(entry, place))
            .map(|entry| entry.known)
    }

    /// Remembers a template, whose names are `names`.
    pub(super) fn keep(&mut self, place: Place<'_>, names: &[NameRef], known: Known) {
        if place.size > MOST_TEMPLATE_BYTES || self.weight() > MOST_BYTES {
            return;
        }
        let alike = self.alike.entry(place.key()).or_default();
        if alike.len() >= MOST_ALIKE {
            return;
        }
        alike.push(self.entries.len() as u32);
        let bytes = self.bytes.len();
        self.bytes.extend_from_slice(place.tokens());
        let first = self.names.len();
        for name in names {
            let start = self.bytes.len();
            if !name.inline {
                self.bytes
                    .extend_from_slice(&place.chunk[name.stored.clone()]);
            }
            self.names.push(Name {
                at: name.at - place.start,
                inline: name.inline,
                stored: (start, self.bytes.len()),
            });
        }
        self.entries.push(Entry {
            known,
            bytes,
            names: (first, self.names.len()),
        });
    }

    fn is_same(&self, entry: &Entry, place: Place<'_>) -> bool {
        let theirs = place.tokens();
        let ours = &self.bytes[entry.bytes..entry.bytes + place.size];
        let mut done = 0;
        for name in &self.names[entry.names.0..entry.names.1] {
            let end = name.at + 4;
            if ours[done..name.at] != theirs[done..name.at] {
                return false;
            }
            let Some(offset) = theirs.get(name.at..end).and_then(<[u8]>::first_chunk) else {
                return false;
            };
            let offset = u32::from_le_bytes(*offset) as usize;
            if name.inline != (offset == place.start + end) {
                return false;
            }
            if name.inline {
                done = (end + NEXT_NAME_BYTES).min(place.size);
                continue;
            }
            let stored = &self.bytes[name.stored.0..name.stored.1];
            let from = offset + NEXT_NAME_BYTES;
            if place.chunk.get(from..from + stored.len()) != Some(stored) {
                return false;
            }
            done = end;
        }
        ours[done..] == theirs[done..]
    }
}

const _: () = assert!(NEXT_NAME_BYTES < NAME_HEAD_BYTES);
