//! A disk whose bytes lie scattered: stored, packed, in a parent, or nowhere.

use std::{ops::Range, sync::Arc};

use scelle_formats::{RangeKind, ReadAt, ReadAtExt as _, ReadError};

use super::cache::Cache;

/// Runs that are allowed for besides those that tables have room for: what lies past a file's end.
pub(super) const RUNS_BESIDES: u64 = 1 << 16;

/// Where the bytes of a run lie.
pub(crate) enum Place<'a> {
    /// As they stand, in a file at an offset.
    Stored(&'a dyn ReadAt, u64),
    /// In a unit that has to be made, at an offset of what is made of it.
    Packed {
        unit: u64,
        within: usize,
        unit_bytes: usize,
    },
    /// Nowhere: they are zeros.
    Hole,
    /// At the same offset of the parent; zeros past its end.
    Parent(&'a dyn ReadAt),
    /// They can't be had.
    Lost(ReadError),
}

/// The tables of an image format.
pub(crate) trait Layout: Send + Sync {
    /// The disk's length in bytes.
    fn len(&self) -> u64;

    /// Where the byte at `offset` lies, and for how many bytes from there that holds; at least
    /// 1. `offset` is below the length.
    fn locate(&self, offset: u64) -> (Place<'_>, u64);

    /// Runs that tables which don't share their bytes can tell of at most; no end of them where the tables
    /// were held to their file already.
    fn most_runs(&self) -> u64 {
        u64::MAX
    }

    /// Makes a unit that [`locate`](Self::locate) named.
    fn unpack(&self, _unit: u64) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::Unsupported {
            what: "a packed unit of an image that packs none",
        })
    }
}

/// A disk read through its layout.
pub(crate) struct Mapped<L> {
    pub(crate) layout: L,
    pub(crate) cache: Arc<Cache>,
    pub(crate) layer: u32,
}

impl<L: Layout> Mapped<L> {
    fn place(&self, offset: u64) -> (Place<'_>, u64) {
        let (place, run) = self.layout.locate(offset);
        (place, run.clamp(1, self.layout.len() - offset))
    }

    /// Reads within one run; 0 is never returned.
    fn read_run(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let (place, run) = self.place(offset);
        let count = (buf.len() as u64).min(run) as usize;
        let buf = &mut buf[..count];
        match place {
            Place::Stored(file, at) => match file.read_at(at, buf)? {
                0 => Err(ReadError::Short {
                    what: "a stored block of an image",
                    offset: at,
                    need: count as u64,
                    have: 0,
                }),
                have => Ok(have),
            },
            Place::Packed {
                unit,
                within,
                unit_bytes,
            } => {
                let bytes = self
                    .cache
                    .get((self.layer, unit), unit_bytes, || self.layout.unpack(unit))?;
                let rest = bytes.get(within..).unwrap_or(&[]);
                let have = rest.len().min(count);
                if have == 0 {
                    return Err(ReadError::Short {
                        what: "a packed block of an image",
                        offset,
                        need: count as u64,
                        have: 0,
                    });
                }
                buf[..have].copy_from_slice(&rest[..have]);
                Ok(have)
            }
            Place::Hole => {
                buf.fill(0);
                Ok(count)
            }
            Place::Parent(parent) => {
                let have = parent.read_full_at(offset, buf)?;
                buf[have..].fill(0);
                Ok(count)
            }
            Place::Lost(error) => Err(error),
        }
    }
}

impl<L: Layout> ReadAt for Mapped<L> {
    fn len(&self) -> u64 {
        self.layout.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let want = (buf.len() as u64).min(self.len().saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < want {
            match self.read_run(offset + done as u64, &mut buf[done..want]) {
                Ok(count) => done += count,
                // What was read stands; the next read will meet the error first.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        let mut at = 0;
        let mut left = self.layout.most_runs();
        let runs = std::iter::from_fn(move || {
            (at < self.len()).then(|| {
                let (place, run) = match left {
                    // Tables that lie on one another could be followed for years.
                    0 => (Place::Lost(shared_tables(at)), self.len() - at),
                    _ => self.place(at),
                };
                left = left.saturating_sub(1);
                let range = at..at + run;
                at = range.end;
                (range, place)
            })
        });
        Box::new(Joined::new(runs.map(|(range, place)| {
            let kind = match place {
                // A parent may have holes of its own there; to say so would cost a walk of it.
                Place::Stored(..) | Place::Packed { .. } | Place::Parent(_) => RangeKind::Data,
                Place::Hole => RangeKind::Hole,
                Place::Lost(_) => RangeKind::Unreadable,
            };
            (range, kind)
        })))
    }
}

fn shared_tables(offset: u64) -> ReadError {
    ReadError::Damaged {
        what: "the tables of a disk image",
        offset,
        why: "they tell of more than their file could hold".to_owned(),
    }
}

/// Neighbours of one kind joined: how an image cuts a disk is of no concern to whoever reads it.
pub(crate) struct Joined<I> {
    pieces: I,
    pending: Option<(Range<u64>, RangeKind)>,
}

impl<I> Joined<I> {
    pub(crate) fn new(pieces: I) -> Self {
        Self {
            pieces,
            pending: None,
        }
    }
}

impl<I: Iterator<Item = (Range<u64>, RangeKind)>> Iterator for Joined<I> {
    type Item = (Range<u64>, RangeKind);

    fn next(&mut self) -> Option<Self::Item> {
        for (range, kind) in self.pieces.by_ref() {
            match &mut self.pending {
                Some((pending, same)) if *same == kind => pending.end = range.end,
                pending => {
                    if let Some(ready) = pending.replace((range, kind)) {
                        return Some(ready);
                    }
                }
            }
        }
        self.pending.take()
    }
}

/// Files one after another: the parts of a split image, the extents of a disk.
pub(super) struct Concat {
    /// Each part, where it begins in the disk, and how long it is there.
    parts: Vec<Part>,
    len: u64,
}

struct Part {
    start: u64,
    len: u64,
    /// `None` is a hole.
    source: Option<Arc<dyn ReadAt>>,
}

impl Concat {
    pub(super) fn new() -> Self {
        Self {
            parts: Vec::new(),
            len: 0,
        }
    }

    /// Adds `len` bytes; false where the disk would be longer than any.
    pub(super) fn push(&mut self, source: Option<Arc<dyn ReadAt>>, len: u64) -> bool {
        let Some(end) = self.len.checked_add(len) else {
            return false;
        };
        if len > 0 {
            self.parts.push(Part {
                start: self.len,
                len,
                source,
            });
        }
        self.len = end;
        true
    }
}

impl Layout for Concat {
    fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, offset: u64) -> (Place<'_>, u64) {
        let at = self.parts.partition_point(|part| part.start <= offset);
        let part = &self.parts[at.saturating_sub(1)];
        let within = offset - part.start;
        let place = match &part.source {
            None => Place::Hole,
            Some(source) => Place::Stored(source, within),
        };
        (place, part.len - within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of an exbibyte whose tables name the same byte again and again.
    struct Shared;

    impl Layout for Shared {
        fn len(&self) -> u64 {
            1 << 60
        }

        fn most_runs(&self) -> u64 {
            3
        }

        fn locate(&self, offset: u64) -> (Place<'_>, u64) {
            let place = match offset % 2 {
                0 => Place::Hole,
                _ => Place::Packed {
                    unit: 0,
                    within: 0,
                    unit_bytes: 1,
                },
            };
            (place, 1)
        }
    }

    #[test]
    fn tables_that_share_their_bytes_end() {
        let disk = Mapped {
            layout: Shared,
            cache: Cache::new(),
            layer: 0,
        };
        let ranges: Vec<_> = disk.ranges().collect();
        assert_eq!(
            ranges,
            [
                (0..1, RangeKind::Hole),
                (1..2, RangeKind::Data),
                (2..3, RangeKind::Hole),
                (3..1 << 60, RangeKind::Unreadable),
            ]
        );
    }
}
