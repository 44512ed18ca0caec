//! File systems other than NTFS, as trees: FAT, exFAT, ext2 to ext4.
//!
//! Each knows its own directories and where a file's clusters lie ([`Tree`]); walking them, with a
//! bound for depth and a guard against circles, is the same for all.

mod exfat;
mod ext;
mod fat;

use std::{collections::HashSet, ops::ControlFlow, sync::Arc};

use scelle_event::{CivilNanos, EvidencePath, StreamId, UtcNanos};
use scelle_formats::{ReadAt, ReadError};

pub(crate) use self::{exfat::Exfat, ext::Ext, fat::Fat};
use crate::{
    Attributes, Details, Entry, EntryKind, EvidenceLoss, FileId, MAX_DEPTH, StreamInfo,
    StreamState, Times, Volume, VolumeInfo,
};

/// What of a file's fragments lies past so many is unreadable.
const MAX_RUNS: usize = 1 << 20;
/// A directory that is longer is cut, and that is said.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;

/// What a file system knows of its tree.
pub(crate) trait Tree: Send + Sync {
    /// The directory that all begins at.
    fn root(&self) -> u64;

    /// How many names the volume has room for.
    fn most_names(&self) -> u64;

    /// Shows what a directory holds, in its order.
    fn list(&self, directory: u64, show: Show<'_>) -> ControlFlow<()>;

    /// Opens the file that [`list`](Self::list) gave this number.
    fn stream(&self, number: u64) -> Result<Box<dyn ReadAt>, ReadError>;
}

/// What is called with each name of a directory.
pub(crate) type Show<'s> = &'s mut dyn FnMut(Result<Found, ReadError>) -> ControlFlow<()>;

/// A name in a directory.
pub(crate) struct Found {
    /// The entry, whose path is its name alone.
    entry: Entry,
    /// Which directory it is, where it can be listed.
    directory: Option<u64>,
}

/// A volume that is a [`Tree`].
pub(crate) struct TreeVolume<T> {
    pub(crate) info: VolumeInfo,
    pub(crate) tree: T,
}

/// A directory that is still to be listed: what is shared with its neighbours, its name, itself.
struct Pending {
    parent: Arc<EvidencePath>,
    name: Box<[u8]>,
    directory: u64,
    depth: usize,
}

impl<T: Tree> Volume for TreeVolume<T> {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        let root = self.tree.root();
        let mut seen = HashSet::from([root]);
        let mut pending = vec![Pending {
            parent: Arc::new(EvidencePath::from_bytes(b"")),
            name: Box::default(),
            directory: root,
            depth: 0,
        }];
        let (mut names, most) = (0, self.tree.most_names());
        while let Some(next) = pending.pop() {
            let path = Arc::new(joined(&next.parent, &next.name));
            let first = pending.len();
            let flow = self.tree.list(next.directory, &mut |found| {
                let lost = |entry, path: EvidencePath, error| EvidenceLoss {
                    path: Some(path),
                    entry,
                    error,
                };
                let Found {
                    mut entry,
                    directory,
                } = match found {
                    Ok(found) => found,
                    Err(error) => return visit(Err(lost(None, (*path).clone(), error))),
                };
                names += 1;
                if names > most {
                    // Directories that lie on each other: their names would not end.
                    let why = "the volume has more names than it has room for";
                    visit(Err(lost(
                        None,
                        (*path).clone(),
                        damaged("a directory", 0, why),
                    )))?;
                    return ControlFlow::Break(());
                }
                let name = entry.path;
                entry.path = joined(&path, name.as_bytes());
                let number = entry.id.map(|id| id.entry);
                let whole = entry.path.clone();
                visit(Ok(entry))?;
                let Some(directory) = directory else {
                    return ControlFlow::Continue(());
                };
                let why = if next.depth + 1 >= MAX_DEPTH {
                    "it lies too deep"
                } else if !seen.insert(directory) {
                    "it was met before: the tree has a circle, or two names for it"
                } else {
                    pending.push(Pending {
                        parent: path.clone(),
                        name: name.as_bytes().into(),
                        directory,
                        depth: next.depth + 1,
                    });
                    return ControlFlow::Continue(());
                };
                visit(Err(lost(
                    number,
                    whole,
                    damaged("a directory", directory, why),
                )))
            });
            if flow.is_break() {
                return;
            }
            // The first of them is taken on first.
            pending[first..].reverse();
        }
    }

    fn open(&self, stream: &StreamId) -> Result<Box<dyn ReadAt>, ReadError> {
        let mut number = None;
        self.walk(&mut |entry| match entry {
            Ok(entry)
                if entry.path == stream.path && !entry.deleted && !entry.streams.is_empty() =>
            {
                number = entry.id;
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        match number.filter(|_| stream.stream.is_none()) {
            Some(id) => self.tree.stream(id.entry),
            None => Err(ReadError::Absent {
                what: stream.to_string(),
            }),
        }
    }

    fn open_entry(
        &self,
        entry: &Entry,
        stream: Option<&EvidencePath>,
    ) -> Result<Box<dyn ReadAt>, ReadError> {
        match entry.id {
            Some(id) if stream.is_none() && !entry.streams.is_empty() => self.tree.stream(id.entry),
            _ => Err(ReadError::Absent {
                what: entry.path.to_string(),
            }),
        }
    }
}

fn joined(parent: &EvidencePath, name: &[u8]) -> EvidencePath {
    if parent.as_bytes().is_empty() {
        return EvidencePath::from_bytes(name);
    }
    parent.join(name)
}

fn damaged(what: &'static str, offset: u64, why: &str) -> ReadError {
    ReadError::Damaged {
        what,
        offset,
        why: why.to_owned(),
    }
}

/// A file or directory of a file system that has one stream for each.
fn entry(name: EvidencePath, number: u64, kind: EntryKind, times: Times) -> Entry {
    Entry {
        path: name,
        kind,
        id: Some(FileId {
            entry: number,
            sequence: 0,
        }),
        times,
        names: Vec::new(),
        attributes: Attributes::default(),
        deleted: false,
        orphan: false,
        link_target: None,
        details: Details::default(),
        streams: Vec::new(),
    }
}

fn stream(size_bytes: u64, allocated_bytes: u64, sparse: bool) -> StreamInfo {
    StreamInfo {
        name: None,
        size_bytes,
        allocated_bytes,
        sparse,
        state: StreamState::Plain,
        remains: None,
    }
}

/// A date and a time of FAT and exFAT, in local time unless told otherwise; `None` for none, an
/// error for what is no time.
fn dos_time(date: u16, time: u16, centiseconds: u8) -> Result<Option<UtcNanos>, ()> {
    if date == 0 {
        return Ok(None);
    }
    let year = 1980 + i64::from(date >> 9);
    let (month, day) = ((date >> 5 & 15) as u8, (date & 31) as u8);
    let (hour, minute, second) = (time >> 11, time >> 5 & 63, (time & 31) * 2);
    let last = match month {
        2 if year % 4 == 0 && year != 2100 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => 0,
    };
    if !(1..=last).contains(&day) || hour > 23 || minute > 59 || second > 59 || centiseconds > 199 {
        return Err(());
    }
    let seconds = u32::from(hour) * 3600 + u32::from(minute) * 60 + u32::from(second);
    let seconds = seconds + u32::from(centiseconds / 100);
    let nanos = u32::from(centiseconds % 100) * 10_000_000;
    let civil = CivilNanos::from_civil(year, month, day, seconds, nanos);
    Ok(Some(UtcNanos::from_nanos(civil.nanos())))
}
