//! Reading a bundle as the volumes that it was collected from.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::{ControlFlow, Range},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use scelle_event::{EvidencePath, StreamId, Tlp};
use scelle_evidence::{
    Entry, EvidenceLoss, FileId, Security, StreamInfo, Volume, VolumeInfo, VolumeKind,
};
use scelle_formats::{Digests, RangeKind, ReadAt, ReadError};

use crate::{
    Collection, Error, FORMAT,
    checkpoint::{self, Segments, TEXT_LIMIT},
    codec::SEGMENT_BYTES,
    file_line::{FileLine, Piece},
    reader::{ArchiveReader, Member, Segment},
    text::hex,
};

/// Decoded segments that an open stream keeps: 32 MiB at most.
const KEPT_SEGMENTS: usize = 4;
/// The most bytes of a file of records that is read whole.
const RECORD_LIMIT: u64 = 64 << 20;

/// A bundle that is read, and was (or is to be) verified by [`verify`](crate::verify).
pub struct Bundle {
    /// What `records/collection.json` says.
    pub collection: Collection,
    /// TLP label.
    pub tlp: Tlp,
    /// The payload id, as `bag-info.txt` states it.
    pub payload: String,
    /// The root hash: BLAKE3 of the tag manifest, in hex.
    pub root: String,
    volumes: Vec<Arc<BundleVolume>>,
    shared: Arc<Shared>,
}

impl Bundle {
    /// Opens a bundle. It is not verified: its structure is checked as far as it is read.
    ///
    /// # Errors
    /// [`Error::Format`] where the archive or a record is not as bundles have it.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let shared = Shared::open(source).map_err(Error::Format)?;
        let shared = Arc::new(shared);
        let read = |name: &str| shared.read_tag(name).map_err(Error::Format);
        let collection: Collection = serde_json::from_slice(&read("records/collection.json")?)
            .map_err(|error| Error::format(format!("records/collection.json: {error}")))?;
        if collection.format != FORMAT {
            return Err(Error::format(format!(
                "format {} is not known here",
                collection.format
            )));
        }
        let tlp = collection
            .tlp
            .parse()
            .map_err(|error: scelle_event::ParseTlpError| Error::format(error.to_string()))?;
        let info = String::from_utf8(read("bag-info.txt")?)
            .map_err(|_| Error::format("bag-info.txt is not UTF-8"))?;
        let payload = info
            .lines()
            .find_map(|line| line.strip_prefix("Scelle-Payload: "))
            .ok_or_else(|| Error::format("bag-info.txt has no payload id"))?
            .to_owned();
        let root = hex(&Digests::of(&read("tagmanifest-sha256.txt")?).blake3);
        let volumes = read_volumes(&shared, &collection).map_err(Error::Format)?;
        Ok(Self {
            collection,
            tlp,
            payload,
            root,
            volumes,
            shared,
        })
    }

    /// The volumes that were collected from, under their ids, in the order of their first file.
    pub fn volumes(&self) -> Vec<Arc<dyn Volume>> {
        self.volumes
            .iter()
            .map(|volume| volume.clone() as Arc<dyn Volume>)
            .collect()
    }

    /// The machine that the evidence is of, where it is known.
    pub fn host(&self) -> Option<&str> {
        self.collection.host.as_deref()
    }

    /// Every payload file in writing order: its member's name and its stream.
    pub fn files(&self) -> impl Iterator<Item = (&str, StreamId)> {
        self.volumes.iter().flat_map(|volume| {
            volume.files.iter().map(|file| {
                let entry = &volume.entries[file.entry];
                let id = StreamId {
                    volume: volume.info.id.clone(),
                    path: entry.path.clone(),
                    stream: file.stream.clone(),
                };
                (&*file.member.name, id)
            })
        })
    }

    /// What a member holds, as it is stored: a sparse stream's ranges one behind the other.
    ///
    /// # Errors
    /// [`ReadError::Absent`] where there is no such member.
    pub fn open_stored(&self, member: &str) -> Result<Box<dyn ReadAt>, ReadError> {
        let found = self.volumes.iter().find_map(|volume| {
            let file = volume
                .files
                .iter()
                .find(|file| file.member.name == member)?;
            Some((volume, file))
        });
        let (volume, file) = found.ok_or_else(|| ReadError::Absent {
            what: member.to_owned(),
        })?;
        Ok(Box::new(MemberReader::new(&volume.shared, &file.member)))
    }

    /// The member that a stream is stored as, and what it holds, where that is the stream itself.
    pub(crate) fn sealed_stream(&self, id: &StreamId) -> Result<(&str, Box<dyn ReadAt>), Error> {
        let volume = self.volumes.iter().find(|one| one.info.id == id.volume);
        let key = (id.path.clone(), id.stream.clone());
        let file = volume.and_then(|volume| Some((volume, *volume.by_name.get(&key)?)));
        let (volume, file) = file.ok_or_else(|| Error::format(format!("it holds no {id}")))?;
        let file = &volume.files[file];
        if file.pieces.is_some() {
            return Err(Error::format(format!(
                "{id} is stored without its holes, and nothing under the seal that is small enough \
                 for a proof says where they are"
            )));
        }
        let reader = MemberReader::new(&volume.shared, &file.member);
        Ok((&file.member.name, Box::new(reader)))
    }

    /// The names of the bag's own files but checkpoints, in writing order.
    pub(crate) fn tag_names(&self) -> impl Iterator<Item = &str> {
        self.shared.tags.iter().map(|member| &*member.name)
    }

    /// One of the bag's own files.
    pub(crate) fn tag_text(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.shared.read_tag(name).map_err(Error::Format)
    }

    /// One of the bag's own files, read at any place.
    pub(crate) fn tag_stream(&self, name: &str) -> Result<impl ReadAt + use<>, Error> {
        let member = self.shared.tag(name).map_err(Error::Format)?;
        Ok(MemberReader::new(&self.shared, member))
    }
}

/// Where each member's segments begin, by the member's name.
type SegmentsByMember = HashMap<String, Vec<u64>>;

/// What the volumes of a bundle have in common.
struct Shared {
    source: Arc<dyn ReadAt>,
    directory: crate::zip::Directory,
    folder: String,
    tags: Vec<Member>,
    /// The checkpoints' texts, in order, and the segments that each lists, once it was read.
    checkpoints: Vec<(Member, OnceLock<SegmentsByMember>)>,
}

impl Shared {
    fn open(source: Arc<dyn ReadAt>) -> Result<Self, String> {
        let archive = ArchiveReader::open(&*source)?;
        let folder = archive.folder()?;
        let directory = archive.directory;
        let mut tags = Vec::new();
        let mut checkpoints = Vec::new();
        let mut members = archive.members(&folder);
        while let Some(member) = members.next_member()? {
            if member.name.starts_with("records/checkpoints/") {
                if member.name.ends_with(".json") {
                    checkpoints.push((member, OnceLock::new()));
                }
            } else if !member.name.starts_with("data/") {
                tags.push(member);
            }
        }
        drop(members);
        Ok(Self {
            directory,
            folder,
            tags,
            checkpoints,
            source,
        })
    }

    fn archive(&self) -> ArchiveReader<'_> {
        ArchiveReader {
            source: &*self.source,
            directory: self.directory,
        }
    }

    fn tag(&self, name: &str) -> Result<&Member, String> {
        self.tags
            .iter()
            .find(|member| member.name == name)
            .ok_or_else(|| format!("{name} is missing"))
    }

    fn read_tag(&self, name: &str) -> Result<Vec<u8>, String> {
        let member = self.tag(name)?;
        self.archive()
            .read(&self.folder, member, &[], RECORD_LIMIT)
            .map_err(|what| format!("{name}: {what}"))
    }

    /// A member's segments, out of the first checkpoint behind it where it has more than one.
    fn segments(&self, member: &Member) -> Result<Vec<Segment>, String> {
        let data_at = self.archive().data_at(&self.folder, member);
        let none = Vec::new();
        let mut table = &none;
        if member.facts.size > SEGMENT_BYTES as u64 {
            let behind = self
                .checkpoints
                .partition_point(|(checkpoint, _)| checkpoint.offset < member.offset);
            if let Some((checkpoint, read)) = self.checkpoints.get(behind) {
                let listed = match read.get() {
                    Some(listed) => listed,
                    None => {
                        let listed = self.read_segments(checkpoint)?;
                        read.get_or_init(|| listed)
                    }
                };
                table = listed.get(&member.name).unwrap_or(&none);
            }
        }
        Segment::all(data_at, &member.facts, table)
    }

    fn read_segments(&self, checkpoint: &Member) -> Result<HashMap<String, Vec<u64>>, String> {
        let text = self
            .archive()
            .read(&self.folder, checkpoint, &[], TEXT_LIMIT)?;
        let mut listed = HashMap::new();
        checkpoint::read(&text, |list, line| {
            if list == 0 {
                let line: Segments =
                    serde_json::from_slice(line).map_err(|error| error.to_string())?;
                listed.insert(line.member, line.compressed);
            }
            Ok(())
        })?;
        Ok(listed)
    }
}

/// One file of a volume.
#[derive(Clone)]
struct StoredFile {
    /// The entry's number in the volume.
    entry: usize,
    stream: Option<EvidencePath>,
    member: Member,
    size: u64,
    /// What is stored, where not all is.
    pieces: Option<Arc<[Piece]>>,
    unread: Arc<[Piece]>,
}

/// A volume as it was collected.
struct BundleVolume {
    shared: Arc<Shared>,
    info: VolumeInfo,
    entries: Vec<Entry>,
    files: Vec<StoredFile>,
    by_name: HashMap<(EvidencePath, Option<EvidencePath>), usize>,
    by_entry: HashMap<(FileId, Option<EvidencePath>), usize>,
}

/// Reads `files.jsonl` beside the central directory.
fn read_volumes(
    shared: &Arc<Shared>,
    collection: &Collection,
) -> Result<Vec<Arc<BundleVolume>>, String> {
    let archive = shared.archive();
    let mut members = archive.members(&shared.folder);
    let lines = shared.tag("records/files.jsonl")?;
    let mut volumes: Vec<BundleVolume> = Vec::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut entries: HashMap<(usize, Option<FileId>, EvidencePath), usize> = HashMap::new();
    let mut securities: HashSet<Arc<Security>> = HashSet::new();
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
        let volume = *numbers.entry(line.volume.clone()).or_insert_with(|| {
            volumes.push(BundleVolume::new(shared, collection, &line.volume));
            volumes.len() - 1
        });
        let target = &mut volumes[volume];
        let stream = line.stream()?;
        let mut entry = line.entry()?;
        // Thousands of files share a few hundred descriptors.
        if let Some(security) = &mut entry.details.security {
            match securities.get(security) {
                Some(known) => *security = known.clone(),
                None => {
                    securities.insert(security.clone());
                }
            }
        }
        let id = entry.id;
        let number = *entries
            .entry((volume, id, entry.path.clone()))
            .or_insert_with(|| {
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
        if stream.is_none() {
            entry.streams.insert(0, info);
        } else {
            entry.streams.push(info);
        }
        let file = target.files.len();
        if !entry.deleted {
            target
                .by_name
                .entry((entry.path.clone(), stream.clone()))
                .or_insert(file);
        }
        if let Some(id) = id {
            target.by_entry.insert((id, stream.clone()), file);
        }
        target.files.push(StoredFile {
            entry: number,
            stream,
            member,
            size: line.size,
            pieces: line.stored.map(|stored| stored.ranges.into()),
            unread: line.unread.into(),
        });
        Ok(())
    };
    let mut rest: Vec<u8> = Vec::new();
    let mut failed = None;
    for segment in shared.segments(lines)? {
        archive.decode_segment(lines.facts.method, &segment, &mut |bytes| {
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                rest.extend_from_slice(piece);
                if let Some(line) = rest.strip_suffix(b"\n") {
                    if failed.is_none() {
                        failed = take(line).err();
                    }
                    rest.clear();
                }
            }
        })?;
    }
    match failed {
        Some(what) => Err(what),
        None => Ok(volumes.into_iter().map(Arc::new).collect()),
    }
}

impl BundleVolume {
    fn new(shared: &Arc<Shared>, collection: &Collection, id: &str) -> Self {
        let record = collection.volumes.iter().find(|record| record.id == id);
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
            shared: shared.clone(),
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
            by_name: HashMap::new(),
            by_entry: HashMap::new(),
        }
    }

    fn reader(&self, file: usize) -> Box<dyn ReadAt> {
        let file = &self.files[file];
        let member = MemberReader::new(&self.shared, &file.member);
        if file.pieces.is_none() && file.unread.is_empty() {
            return Box::new(member);
        }
        Box::new(SparseReader {
            member,
            size: file.size,
            pieces: match &file.pieces {
                Some(pieces) => Spread::new(pieces),
                None => Spread::new(&[(0, file.size)]),
            },
            unread: file.unread.clone(),
        })
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
        let key = (stream.path.clone(), stream.stream.clone());
        let file = self.by_name.get(&key).ok_or_else(|| ReadError::Absent {
            what: stream.to_string(),
        })?;
        Ok(self.reader(*file))
    }

    fn open_entry(
        &self,
        entry: &Entry,
        stream: Option<&EvidencePath>,
    ) -> Result<Box<dyn ReadAt>, ReadError> {
        let by_entry = entry
            .id
            .and_then(|id| self.by_entry.get(&(id, stream.cloned())));
        match by_entry {
            Some(file) => Ok(self.reader(*file)),
            None => self.open(&StreamId {
                volume: self.info.id.clone(),
                path: entry.path.clone(),
                stream: stream.cloned(),
            }),
        }
    }
}

/// What one member holds, read at any place: a segment is decoded and kept for a while.
struct MemberReader {
    shared: Arc<Shared>,
    member: Member,
    segments: OnceLock<Result<Vec<Segment>, String>>,
    kept: Mutex<Vec<(usize, Arc<Vec<u8>>)>>,
}

impl MemberReader {
    fn new(shared: &Arc<Shared>, member: &Member) -> Self {
        Self {
            shared: shared.clone(),
            member: member.clone(),
            segments: OnceLock::new(),
            kept: Mutex::new(Vec::new()),
        }
    }

    fn segment(&self, number: usize, offset: u64) -> Result<Arc<Vec<u8>>, ReadError> {
        let damaged = |why: &String| ReadError::Damaged {
            what: "a bundle's member",
            offset,
            why: format!("{}: {why}", self.member.name),
        };
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = kept.iter().position(|(known, _)| *known == number) {
                let found = kept.remove(at);
                let bytes = found.1.clone();
                kept.push(found);
                return Ok(bytes);
            }
        }
        let segments = self
            .segments
            .get_or_init(|| self.shared.segments(&self.member))
            .as_ref()
            .map_err(damaged)?;
        let Some(segment) = segments.get(number) else {
            return Err(damaged(&"it has fewer segments than bytes".to_owned()));
        };
        let mut bytes = Vec::with_capacity(segment.size.min(SEGMENT_BYTES as u64) as usize);
        self.shared
            .archive()
            .decode_segment(self.member.facts.method, segment, &mut |piece| {
                bytes.extend_from_slice(piece);
            })
            .map_err(|why| damaged(&why))?;
        let bytes = Arc::new(bytes);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_SEGMENTS {
            kept.remove(0);
        }
        kept.push((number, bytes.clone()));
        Ok(bytes)
    }
}

impl ReadAt for MemberReader {
    fn len(&self) -> u64 {
        self.member.facts.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let left = self.len().saturating_sub(offset);
        let count = (buf.len() as u64).min(left) as usize;
        if count == 0 {
            return Ok(0);
        }
        if self.member.facts.method == crate::codec::Method::Store {
            let archive = self.shared.archive();
            let at = archive.data_at(&self.shared.folder, &self.member) + offset;
            return self.shared.source.read_at(at, &mut buf[..count]);
        }
        let number = (offset / SEGMENT_BYTES as u64) as usize;
        let bytes = self.segment(number, offset)?;
        let from = (offset % SEGMENT_BYTES as u64) as usize;
        let count = count.min(bytes.len().saturating_sub(from));
        buf[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }
}

/// Pieces of a stream, by their offsets: size and where they are stored.
struct Spread(BTreeMap<u64, (u64, u64)>);

impl Spread {
    fn new(pieces: &[Piece]) -> Self {
        let mut stored = 0;
        Self(
            pieces
                .iter()
                .map(|(offset, length)| {
                    let at = stored;
                    stored += length;
                    (*offset, (*length, at))
                })
                .collect(),
        )
    }
}

/// A stream read back with its holes, and with what could not be read marked.
struct SparseReader {
    member: MemberReader,
    size: u64,
    pieces: Spread,
    unread: Arc<[Piece]>,
}

impl ReadAt for SparseReader {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let left = self.size.saturating_sub(offset);
        let count = (buf.len() as u64).min(left) as usize;
        if count == 0 {
            return Ok(0);
        }
        let before = self.pieces.0.range(..=offset).next_back();
        if let Some((begin, (length, stored))) = before
            && offset - begin < *length
        {
            let count = (count as u64).min(begin + length - offset) as usize;
            return self
                .member
                .read_at(stored + (offset - begin), &mut buf[..count]);
        }
        let next = self.pieces.0.range(offset..).next();
        let until = next.map_or(self.size, |(begin, _)| *begin);
        let count = (count as u64).min(until - offset) as usize;
        buf[..count].fill(0);
        Ok(count)
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        let mut marks: Vec<(Range<u64>, RangeKind)> = Vec::new();
        let mut push = |range: Range<u64>, kind| {
            if range.start < range.end {
                marks.push((range, kind));
            }
        };
        let mut at = 0;
        let mut unread = self.unread.iter().peekable();
        for (begin, (length, _)) in &self.pieces.0 {
            push(at..*begin, RangeKind::Hole);
            at = *begin;
            let end = begin + length;
            while let Some((lost, bytes)) = unread.next_if(|(lost, _)| *lost < end) {
                let lost_at = (*lost).max(at);
                let lost_end = (lost + bytes).min(end);
                push(at..lost_at, RangeKind::Data);
                push(lost_at..lost_end, RangeKind::Unreadable);
                at = lost_end.max(at);
            }
            push(at..end, RangeKind::Data);
            at = end;
        }
        push(at..self.size, RangeKind::Hole);
        Box::new(marks.into_iter())
    }
}
