//! The walk over every record of a volume.

use std::{collections::BTreeSet, ops::ControlFlow};

use scelle_event::EvidencePath;
use scelle_formats::{
    ReadError,
    ntfs::{
        Attribute, FileName, NoRecord, Record, Scratch, kind,
        paths::{
            EntryUse, MAX_DIRECTORY_BYTES, Name, NamePart, NameTable, PathCache, ROOT_ENTRY,
            Standing, name_rank,
        },
    },
};

use super::{
    NtfsVolume,
    bitmap::Block,
    file::FileParts,
    nameless,
    records::{Records, Room, no_record},
    security::{SecurityCache, describe},
};
use crate::{Attributes, Details, Entry, EntryKind, EvidenceLoss, FileId, NamedTimes};

/// What an entry's names may come to. A file has at most 1,024, which in folders of a usual depth is
/// far less; but users make paths of 32,767 characters, and the names of many entries are held at
/// once.
const MAX_NAMES_BYTES: usize = 1 << 20;

type Visit<'v> = &'v mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>;

pub(super) fn walk(volume: &NtfsVolume, visit: Visit<'_>) {
    let names = names(&volume.records);
    // Whether the visitor ended it makes no difference any more.
    Walk::new(volume, &names).run(visit).is_break();
}

/// The best name of every entry. What can't be read is left out here, and said by the second
/// pass.
pub(super) fn names(records: &Records) -> NameTable {
    let mut part = NamePart::new(0, usize::try_from(records.count).unwrap_or(usize::MAX));
    let mut scratch = Scratch::new();
    let mut blocks = records.blocks();
    while let Some(block) = blocks.next() {
        let Ok(block) = block else { continue };
        for (number, bytes) in (block.first..).zip(block.bytes.chunks_exact(records.record_bytes)) {
            if let Ok(record) = Record::decode(bytes, &mut scratch) {
                add_names(&mut part, number, &record);
            }
        }
    }
    NameTable::join(vec![part.shrunk()])
}

fn add_names(part: &mut NamePart, number: u64, record: &Record<'_>) {
    let header = &record.header;
    if !header.is_extension() {
        part.record(EntryUse {
            entry: number,
            sequence: header.sequence,
            in_use: header.in_use(),
            directory: header.is_directory(),
        });
    }
    for attribute in record.attributes().flatten() {
        let name = (attribute.kind == kind::FILE_NAME)
            .then(|| attribute.resident().and_then(FileName::parse))
            .flatten();
        if let Some(name) = name {
            let name = Name {
                parent: name.parent,
                namespace: name.namespace,
                utf16le: name.utf16le,
            };
            if header.is_extension() {
                part.extension_name(header.base, header.in_use(), name);
            } else {
                part.name(number, name);
            }
        }
    }
}

/// The second pass.
pub(super) struct Walk<'v> {
    volume: &'v NtfsVolume,
    names: &'v NameTable,
    cache: PathCache,
    parts: FileParts,
    room: Room,
    budget: super::records::Budget,
    /// What went wrong with the entry that is being put together.
    errors: Vec<ReadError>,
    path: Vec<u8>,
    securities: SecurityCache,
    /// Whether it was said already why descriptors are missing.
    said_securities: bool,
    /// The part of `$Bitmap` that was asked last.
    block: Block,
    /// Whether it was said already why nobody knows which clusters are free.
    said_allocation: bool,
    /// Whether entries are shown with their details.
    with_details: bool,
}

impl<'v> Walk<'v> {
    pub(super) fn new(volume: &'v NtfsVolume, names: &'v NameTable) -> Self {
        Self {
            volume,
            names,
            cache: PathCache::new(),
            parts: FileParts::default(),
            room: Room::default(),
            budget: volume.records.budget(),
            errors: Vec::new(),
            path: Vec::new(),
            securities: SecurityCache::default(),
            said_securities: false,
            block: Block::default(),
            said_allocation: false,
            with_details: true,
        }
    }

    /// Shows entries without their details.
    pub(super) fn without_details(mut self) -> Self {
        self.with_details = false;
        self
    }

    pub(super) fn run(&mut self, visit: Visit<'_>) -> ControlFlow<()> {
        let records = &self.volume.records;
        let mut scratch = Scratch::new();
        let mut blocks = records.blocks();
        while let Some(block) = blocks.next() {
            let block = match block {
                Ok(block) => block,
                Err(gap) => {
                    lose(visit, gap.first, None, gap.error)?;
                    continue;
                }
            };
            let slots = block.bytes.chunks_exact(records.record_bytes);
            for (number, bytes) in (block.first..).zip(slots) {
                match Record::decode(bytes, &mut scratch) {
                    Ok(record) if record.header.is_extension() => {}
                    Ok(record) => self.show(number, &record, visit)?,
                    Err(NoRecord::Unused) => {}
                    Err(why) => {
                        let error = no_record(number, records.record_bytes, why);
                        lose(visit, number, None, error)?;
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Shows some entries, in their order.
    pub(super) fn run_over(
        &mut self,
        numbers: &BTreeSet<u64>,
        visit: Visit<'_>,
    ) -> ControlFlow<()> {
        let mut room = Room::default();
        for number in numbers {
            match self.volume.records.read(*number, &mut room) {
                Ok(record) if record.header.is_extension() => {}
                Ok(record) => self.show(*number, &record, visit)?,
                Err(error) => lose(visit, *number, None, error)?,
            }
        }
        ControlFlow::Continue(())
    }

    fn show(&mut self, number: u64, record: &Record<'_>, visit: Visit<'_>) -> ControlFlow<()> {
        let entry = self.entry(number, record);
        let path = entry.path.clone();
        visit(Ok(entry))?;
        for error in self.errors.drain(..) {
            lose(visit, number, Some(&path), error)?;
        }
        ControlFlow::Continue(())
    }

    fn entry(&mut self, number: u64, record: &Record<'_>) -> Entry {
        let (volume, records) = (self.volume, &self.volume.records);
        let (parts, errors) = (&mut self.parts, &mut self.errors);
        parts.clear();
        parts.deleted = self.with_details && !record.header.in_use();
        if record.torn {
            errors.push(records.in_record(number, "its fixups don't match".into()));
        }
        let mut see = |found: Result<&Attribute<'_>, ReadError>| {
            let outcome = found.and_then(|attribute| volume.add(number, attribute, parts));
            errors.extend(outcome.err());
        };
        records.attributes(number, record, &mut self.room, &mut self.budget, &mut see);
        let (names, best) = self.name_paths(number);
        let (path, orphan) = match best {
            Some((path, standing)) => (path, standing == Standing::Orphan),
            None => (EvidencePath::from_bytes(&nameless(number)), true),
        };
        let cluster_bytes = self.volume.records.cluster_bytes;
        let (block, errors) = (&mut self.block, &mut self.errors);
        let said = &mut self.said_allocation;
        let (streams, problem) = self.parts.streams(cluster_bytes, &mut |run| {
            let allocation = volume.allocation();
            if !std::mem::replace(said, true) {
                errors.extend(allocation.error().cloned());
            }
            allocation.taken(run.lcn?, run.clusters, block)
        });
        if let Some(problem) = problem {
            let error = self.volume.records.in_record(number, problem.to_owned());
            self.errors.push(error);
        }
        let kind = if self.parts.is_link() {
            EntryKind::Link
        } else if record.header.is_directory() {
            EntryKind::Directory
        } else {
            EntryKind::File
        };
        let details = self.details(number);
        Entry {
            path,
            kind,
            id: Some(FileId {
                entry: number,
                sequence: record.header.sequence,
            }),
            times: self.parts.times(),
            names,
            attributes: Attributes(self.parts.attributes()),
            deleted: !record.header.in_use(),
            orphan,
            link_target: self.parts.link_target.take(),
            details,
            streams,
        }
    }

    fn details(&mut self, number: u64) -> Details {
        if !self.with_details {
            return Details::default();
        }
        let standard = self.parts.standard.as_ref();
        let id = standard.and_then(|standard| standard.security_id);
        let security = match (id.filter(|id| *id != 0), self.parts.security.take()) {
            (Some(id), _) => {
                let securities = self.volume.securities();
                if !std::mem::replace(&mut self.said_securities, true) {
                    self.errors.extend(securities.error().cloned());
                }
                securities.get(id, &mut self.securities, &mut self.errors)
            }
            (None, Some(own)) => {
                let place = number * self.volume.records.record_bytes as u64;
                match describe(&own, "$SECURITY_DESCRIPTOR of an MFT record", place) {
                    Ok((security, damage)) => {
                        self.errors.extend(damage);
                        Some(security)
                    }
                    Err(error) => {
                        self.errors.push(error);
                        None
                    }
                }
            }
            (None, None) => None,
        };
        Details {
            security,
            object_id: self.parts.object_id,
            reparse: self.parts.reparse.take(),
            extended_attributes: std::mem::take(&mut self.parts.extended),
        }
    }

    /// The full path of each name, and the best of them.
    fn name_paths(&mut self, number: u64) -> (Vec<NamedTimes>, Option<(EvidencePath, Standing)>) {
        let count = self.parts.names.len();
        let left_out = self.names_left_out(number);
        let mut names = Vec::with_capacity(count - left_out.len());
        let mut best: Option<(EvidencePath, u8, Standing)> = None;
        for at in 0..count {
            let rank = name_rank(self.parts.names[at].namespace);
            let is_best = best.as_ref().is_none_or(|(_, known, _)| rank > *known);
            let is_kept = !left_out.contains(&at);
            if !is_best && !is_kept {
                continue;
            }
            let standing = self.name_path(number, at);
            let path = EvidencePath::from_bytes(&self.path);
            if is_best {
                best = Some((path.clone(), rank, standing));
            }
            if is_kept {
                let name = &self.parts.names[at];
                names.push(NamedTimes {
                    path,
                    namespace: name.namespace,
                    times: name.times,
                });
            }
        }
        if !left_out.is_empty() {
            let why = format!(
                "the paths of its {count} names are longer than {MAX_NAMES_BYTES} bytes: the \
                 longest {} are left out",
                left_out.len()
            );
            self.errors.push(self.volume.records.in_record(number, why));
        }
        (names, best.map(|(path, _, standing)| (path, standing)))
    }

    /// Puts the full path of a name into `self.path`.
    fn name_path(&mut self, number: u64, at: usize) -> Standing {
        self.path.clear();
        // The root is its own directory, under the name of a dot.
        if number == ROOT_ENTRY {
            return Standing::Rooted;
        }
        let name = &self.parts.names[at];
        let (cache, path) = (&mut self.cache, &mut self.path);
        self.names.push_path(cache, name.parent, &name.name, path)
    }

    /// Which names have no room: the longest, so that nobody hides a usual one behind others.
    fn names_left_out(&mut self, number: u64) -> BTreeSet<usize> {
        let count = self.parts.names.len();
        // Few names have room however long they are.
        if count < MAX_NAMES_BYTES / (2 * MAX_DIRECTORY_BYTES as usize) {
            return BTreeSet::new();
        }
        let mut lengths = Vec::with_capacity(count);
        for at in 0..count {
            self.name_path(number, at);
            lengths.push((self.path.len() + size_of::<NamedTimes>(), at));
        }
        lengths.sort_unstable();
        let mut sum = 0_usize;
        let fits = lengths.iter().take_while(|(length, _)| {
            sum += *length;
            sum <= MAX_NAMES_BYTES
        });
        let fits = fits.count();
        lengths[fits..].iter().map(|(_, at)| *at).collect()
    }
}

fn lose(
    visit: Visit<'_>,
    number: u64,
    path: Option<&EvidencePath>,
    error: ReadError,
) -> ControlFlow<()> {
    visit(Err(EvidenceLoss {
        path: path.cloned(),
        entry: Some(number),
        error,
    }))
}
