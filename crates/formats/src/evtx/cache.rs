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
            let there = place.chunk.get(offset..).unwrap_or_default();
            let there = there.get(NEXT_NAME_BYTES..NEXT_NAME_BYTES + stored.len());
            if there != Some(stored) {
                return false;
            }
            done = end;
        }
        ours[done..] == theirs[done..]
    }
}

const _: () = assert!(NEXT_NAME_BYTES < NAME_HEAD_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 10;

    /// A chunk with a template at `start` whose name stands at `name`, and what it refers to.
    fn chunk(start: usize, name: usize, text: &[u8; 4]) -> (Vec<u8>, Vec<NameRef>) {
        let mut chunk = vec![0; 256];
        chunk[start..start + SIZE].fill(0x55);
        chunk[start + 3..start + 7].copy_from_slice(&(name as u32).to_le_bytes());
        // The next name differs from chunk to chunk.
        chunk[name..name + 4].copy_from_slice(&[name as u8; 4]);
        chunk[name + 4..name + 8].copy_from_slice(&[7, 7, 2, 0]);
        chunk[name + 8..name + 12].copy_from_slice(text);
        let reference = NameRef {
            at: start + 3,
            inline: false,
            stored: name + 4..name + 12,
        };
        (chunk, vec![reference])
    }

    fn place(chunk: &[u8], start: usize) -> Place<'_> {
        Place {
            chunk,
            guid: [9; 16],
            start,
            size: SIZE,
        }
    }

    #[test]
    fn a_template_is_known_by_its_bytes_and_its_names() {
        let (first, names) = chunk(100, 20, b"a\0b\0");
        let mut cache = Cache::default();
        cache.keep(place(&first, 100), &names, Known { plan: 3, cost: 5 });
        let found = |chunk: &[u8], start| cache.find(place(chunk, start)).map(|known| known.plan);
        assert_eq!(found(&first, 100), Some(3));

        let (moved, _) = chunk(60, 200, b"a\0b\0");
        assert_eq!(found(&moved, 60), Some(3), "only the offsets differ");

        let (renamed, _) = chunk(60, 200, b"a\0c\0");
        assert_eq!(found(&renamed, 60), None, "another name");

        let (mut altered, _) = chunk(60, 200, b"a\0b\0");
        altered[60 + SIZE - 1] ^= 1;
        assert_eq!(found(&altered, 60), None, "another byte");

        let (mut outside, _) = chunk(60, 200, b"a\0b\0");
        outside[63..67].copy_from_slice(&250u32.to_le_bytes());
        assert_eq!(found(&outside, 60), None, "a name past the chunk's end");

        let (inline, _) = chunk(60, 67, b"a\0b\0");
        assert_eq!(found(&inline, 60), None, "the name stands in the template");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut cache = Cache::default();
        let chunk = vec![0x55; 65_536];
        for guid in 0..=255 {
            for start in 0..100 {
                let place = Place {
                    chunk: &chunk,
                    guid: [guid; 16],
                    start,
                    size: MOST_TEMPLATE_BYTES,
                };
                cache.keep(place, &[], Known { plan: 0, cost: 0 });
            }
        }
        assert!(cache.weight() <= MOST_BYTES + 2 * MOST_TEMPLATE_BYTES);
    }
}
