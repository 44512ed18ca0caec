//! The volumes that a bundle was collected from, as its lines of files tell them.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::Arc,
};

use scelle_event::{EvidencePath, StreamId};
use scelle_evidence::{
    Entry, EvidenceLoss, FileId, Security, StreamInfo, Volume, VolumeInfo, VolumeKind,
};
use scelle_formats::{ReadAt, ReadError};

use crate::{
    Collection, VolumeRecord,
    file_line::{FileLine, Piece},
    limits::LINE_LIMIT,
    member::{MemberReader, SparseReader},
    open::Shared,
    reader::Member,
};

/// One file of a volume.
#[derive(Clone)]
pub(crate) struct StoredFile {
    /// The archive that its member is in.
    pub(crate) part: Arc<Shared>,
    /// The entry's number in the volume.
    pub(crate) entry: usize,
    pub(crate) stream: Option<EvidencePath>,
    pub(crate) member: Member,
    size: u64,
    /// What is stored, where not all is.
    pub(crate) pieces: Option<Arc<[Piece]>>,
    unread: Arc<[Piece]>,
}

/// A volume as it was collected.
pub(crate) struct BundleVolume {
    pub(crate) info: VolumeInfo,
    pub(crate) entries: Vec<Entry>,
    pub(crate) files: Vec<StoredFile>,
    /// The files of what is not deleted, by path and stream, and of one name in writing order: eight bytes a file,
    /// since there may be millions.
    by_name: Vec<usize>,
    /// The files of what has a number, by that and the stream, the last one of a number first.
    by_entry: Vec<usize>,
}

/// Volumes as they come out of the lines of files.
pub(crate) struct Volumes {
    records: Vec<VolumeRecord>,
    volumes: Vec<BundleVolume>,
    numbers: HashMap<String, usize>,
    entries: HashMap<(usize, Option<FileId>, EvidencePath), usize>,
    securities: HashSet<Arc<Security>>,
}

impl Volumes {
    pub(crate) fn new(collection: &Collection) -> Self {
        Self {
            records: collection.volumes.clone(),
            volumes: Vec::new(),
            numbers: HashMap::new(),
            entries: HashMap::new(),
            securities: HashSet::new(),
        }
    }

    pub(crate) fn finish(self) -> Vec<Arc<BundleVolume>> {
        let indexed = self.volumes.into_iter().map(|mut volume| {
            volume.index();
            Arc::new(volume)
        });
        indexed.collect()
    }

    /// Reads `files.jsonl` of a sealed archive beside its central directory.
    pub(crate) fn take_sealed(&mut self, shared: &Arc<Shared>) -> Result<(), String> {
        let archive = shared.archive();
        let mut members = archive.members(&shared.folder);
        let lines = shared.tag("records/files.jsonl")?;
        let mut take = |line: &[u8]| -> Result<(), String> {
            let line = FileLine::parse(line)?;
            let member = loop {
                match members.next_member()? {
                    Some(member) if member.name.starts_with("data/") => break member,
                    Some(_) => {}
                    None => return Err(format!("{} is missing", line.member)),
                }
            };
            if member.name != line.member || member.facts.size != line.member_size() {
                return Err(format!(
                    "records/files.jsonl has {:?} where {:?} is",
                    line.member, member.name
                ));
            }
            self.take(shared, &line, member)
        };
        let mut rest: Vec<u8> = Vec::new();
        for segment in shared.segments(lines)? {
            let mut outcome = Ok(());
            archive.decode_segment(lines.facts.method, &segment, &mut |bytes| {
                if outcome.is_ok() {
                    outcome = take_lines(&mut rest, bytes, &mut take);
                }
            })?;
            outcome?;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err("the last line of records/files.jsonl has no end".into())
        }
    }

    /// Takes a file of an archive.
    pub(crate) fn take(
        &mut self,
        part: &Arc<Shared>,
        line: &FileLine,
        member: Member,
    ) -> Result<(), String> {
        let records = &self.records;
        let volumes = &mut self.volumes;
        let volume = *self.numbers.entry(line.volume.clone()).or_insert_with(|| {
            volumes.push(BundleVolume::new(records, &line.volume));
            volumes.len() - 1
        });
        let target = &mut volumes[volume];
        let stream = line.stream()?;
        let mut entry = line.entry()?;
        // Thousands of files share a few hundred descriptors.
        if let Some(security) = &mut entry.details.security {
            match self.securities.get(security) {
                Some(known) => *security = known.clone(),
                None => {
                    self.securities.insert(security.clone());
                }
            }
        }
        for name in &mut entry.names {
            if name.path == entry.path {
                name.path = entry.path.clone();
            }
        }
        let number = *self
            .entries
            .entry((volume, entry.id, entry.path.clone()))
            .or_insert_with(|| {
                entry.names.shrink_to_fit();
                entry.streams.reserve_exact(1);
                target.entries.push(entry);
                target.entries.len() - 1
            });
        let entry = &mut target.entries[number];
        let info = StreamInfo {
            name: stream.clone(),
            size_bytes: line.size,
            allocated_bytes: line.member_size(),
            sparse: line.stored.is_some(),
            state: line.state()?,
            remains: line.remains()?,
        };
        // The unnamed stream is shown first.
        if stream.is_none() && entry.streams.first().is_some_and(|one| one.name.is_some()) {
            entry.streams.insert(0, info);
        } else {
            entry.streams.push(info);
        }
        let stored = line.stored.as_ref();
        target.files.push(StoredFile {
            part: part.clone(),
            entry: number,
            stream,
            member,
            size: line.size,
            pieces: stored.map(|stored| stored.ranges[..].into()),
            unread: match &line.unread[..] {
                [] => Arc::default(),
                unread => unread.into(),
            },
        });
        Ok(())
    }
}

/// Takes the lines that end in `bytes`; what has no end yet waits in `rest`.
fn take_lines(
    rest: &mut Vec<u8>,
    bytes: &[u8],
    take: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), String> {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        if rest.len() + piece.len() > LINE_LIMIT {
            return Err(format!(
                "records/files.jsonl has a line of more than {LINE_LIMIT} bytes"
            ));
        }
        rest.extend_from_slice(piece);
        if let Some(line) = rest.strip_suffix(b"\n") {
            take(line)?;
            rest.clear();
        }
    }
    Ok(())
}

impl BundleVolume {
    fn new(records: &[VolumeRecord], id: &str) -> Self {
        let record = records.iter().find(|record| record.id == id);
        let kind = match record.map(|record| record.kind.as_str()) {
            Some("ntfs") => VolumeKind::Ntfs,
            Some("fat") => VolumeKind::Fat,
            Some("exfat") => VolumeKind::Exfat,
            Some("ext") => VolumeKind::Ext,
            Some("folder") => VolumeKind::Folder,
            _ if id.starts_with("ntfs-") => VolumeKind::Ntfs,
            _ => VolumeKind::File,
        };
        Self {
            info: VolumeInfo {
                id: id.into(),
                kind,
                offset: record.map_or(0, |record| record.offset),
                size_bytes: record.and_then(|record| record.size_bytes),
                label: record.and_then(|record| record.label.clone()),
                cluster_bytes: record.and_then(|record| record.cluster_bytes),
            },
            entries: Vec::new(),
            files: Vec::new(),
            by_name: Vec::new(),
            by_entry: Vec::new(),
        }
    }

    /// Makes it possible to find its files.
    fn index(&mut self) {
        self.entries.shrink_to_fit();
        self.files.shrink_to_fit();
        let is_kept = |file: &usize| !self.entry_of(*file).deleted;
        let mut by_name: Vec<usize> = (0..self.files.len()).filter(is_kept).collect();
        by_name.sort_unstable_by_key(|file| (self.name_of(*file), *file));
        let has_number = |file: &usize| self.entry_of(*file).id.is_some();
        let mut by_entry: Vec<usize> = (0..self.files.len()).filter(has_number).collect();
        by_entry.sort_unstable_by_key(|file| (self.number_of(*file), Reverse(*file)));
        (self.by_name, self.by_entry) = (by_name, by_entry);
    }

    fn entry_of(&self, file: usize) -> &Entry {
        &self.entries[self.files[file].entry]
    }

    fn name_of(&self, file: usize) -> (&EvidencePath, Option<&EvidencePath>) {
        (&self.entry_of(file).path, self.files[file].stream.as_ref())
    }

    fn number_of(&self, file: usize) -> (Option<FileId>, Option<&EvidencePath>) {
        (self.entry_of(file).id, self.files[file].stream.as_ref())
    }

    /// The file of that name, the first one where there are more.
    pub(crate) fn find(&self, path: &EvidencePath, stream: Option<&EvidencePath>) -> Option<usize> {
        let wanted = (path, stream);
        let at = self
            .by_name
            .partition_point(|file| self.name_of(*file) < wanted);
        let found = self.by_name.get(at).copied();
        found.filter(|file| self.name_of(*file) == wanted)
    }

    /// The file of the entry of that number, the last one where there are more.
    fn find_entry(&self, id: FileId, stream: Option<&EvidencePath>) -> Option<usize> {
        let wanted = (Some(id), stream);
        let at = self
            .by_entry
            .partition_point(|file| self.number_of(*file) < wanted);
        let found = self.by_entry.get(at).copied();
        found.filter(|file| self.number_of(*file) == wanted)
    }

    fn reader(&self, file: usize) -> Box<dyn ReadAt> {
        let file = &self.files[file];
        let member = MemberReader::new(&file.part, &file.member);
        if file.pieces.is_none() && file.unread.is_empty() {
            return Box::new(member);
        }
        let pieces = file.pieces.as_deref();
        Box::new(SparseReader::new(
            member,
            file.size,
            pieces,
            file.unread.clone(),
        ))
    }
}

impl Volume for BundleVolume {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        for entry in &self.entries {
            if visit(Ok(entry.clone())).is_break() {
                return;
            }
        }
    }

    fn open(&self, stream: &StreamId) -> Result<Box<dyn ReadAt>, ReadError> {
        let file = self.find(&stream.path, stream.stream.as_ref());
        let file = file.ok_or_else(|| ReadError::Absent {
            what: stream.to_string(),
        })?;
        Ok(self.reader(file))
    }

    fn open_entry(
        &self,
        entry: &Entry,
        stream: Option<&EvidencePath>,
    ) -> Result<Box<dyn ReadAt>, ReadError> {
        let by_entry = entry.id.and_then(|id| self.find_entry(id, stream));
        match by_entry {
            Some(file) => Ok(self.reader(file)),
            None => self.open(&StreamId {
                volume: self.info.id.clone(),
                path: entry.path.clone(),
                stream: stream.cloned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SEGMENT_BYTES;

    #[test]
    fn lines_are_held_up_to_their_limit() {
        let (mut rest, mut taken) = (Vec::new(), Vec::new());
        for bytes in [&b"one\ntw"[..], b"o\n", b"thr"] {
            let mut take = |line: &[u8]| {
                taken.push(line.to_vec());
                Ok(())
            };
            take_lines(&mut rest, bytes, &mut take).expect("short lines");
        }
        assert_eq!(
            (&taken[..], &rest[..]),
            (&[b"one".to_vec(), b"two".to_vec()][..], &b"thr"[..])
        );
        let piece = vec![b'x'; SEGMENT_BYTES];
        let mut pieces = 0;
        let end = loop {
            let outcome = take_lines(&mut rest, &piece, &mut |_| Ok(()));
            pieces += 1;
            if outcome.is_err() || pieces > 100 {
                break outcome;
            }
        };
        assert!(end.is_err_and(|why| why.contains("a line of more than")));
        assert!(rest.len() <= LINE_LIMIT, "{} bytes", rest.len());
        // What follows a line that is refused is not looked at.
        let mut seen = 0;
        let outcome = take_lines(&mut Vec::new(), b"a\nb\n", &mut |_| {
            seen += 1;
            Err("no".into())
        });
        assert_eq!((outcome, seen), (Err("no".into()), 1));
    }
}
