//! Reading a bundle as the volumes that it was collected from.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fmt,
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};

use memchr::memmem;
use scelle_event::{EvidencePath, StreamId, Tlp};
use scelle_evidence::{
    Entry, EvidenceLoss, FileId, Security, StreamInfo, Volume, VolumeInfo, VolumeKind,
};
use scelle_formats::{Digests, ReadAt, ReadError};

use crate::{
    Certificate, Collection, Error, FORMAT, Part, VolumeRecord,
    checkpoint::{self, Segments},
    codec::SEGMENT_BYTES,
    file_line::{FileLine, Piece},
    limits::{LINE_LIMIT, TEXT_LIMIT},
    member::{MemberReader, SparseReader},
    parts::{Placed, Set},
    proof::{BAG_INFO, TAG_MANIFEST, is_signer},
    reader::{ArchiveReader, Member, Segment},
    text::hex,
    zip::Directory,
};

/// The most bytes of a file of records that is read whole.
const RECORD_LIMIT: u64 = 64 << 20;
const SAYS_MORE: &str = "the bundle was altered: `verify` says more";

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
    /// The archive that is sealed: the last part, where there are several.
    shared: Arc<Shared>,
}

impl Bundle {
    /// Opens a bundle. It is not verified: its seal is checked, that its label and what else the collection says of itself are
    /// under it, and its structure as far as it is read. Who sealed it is not asked.
    ///
    /// # Errors
    /// [`Error::Format`] where the archive or a record is not as bundles have it, the seal does not hold, or it is a part
    /// of a set.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let shared = Arc::new(Shared::open(source).map_err(Error::Format)?);
        let collection = shared.collection()?;
        // What a salvage has of a part stands alone.
        if collection.part > 1 && collection.salvage.is_none() {
            return Err(Error::format(format!(
                "it is part {} of a collection that was cut off and gone on with: name all parts",
                collection.part
            )));
        }
        let payload = shared.payload()?;
        let mut volumes = Volumes::new(&collection);
        volumes.take_sealed(&shared).map_err(Error::Format)?;
        Self::of(shared, collection, payload, volumes)
    }

    /// Opens the parts of a collection that was cut off and gone on with, in whatever order. They
    /// are not verified, but for the seal, as [`open`](Self::open) checks it, and the checkpoints by which they go on from each other.
    ///
    /// # Errors
    /// [`Error::Format`] where they are no complete set, or a record is not as bundles have it.
    pub fn open_parts(parts: &[Part]) -> Result<Self, Error> {
        let mut set = Set::arrange(parts);
        set.check().map_err(Error::Format)?;
        let Some(last) = set.parts.pop() else {
            return Err(Error::format("there are no parts"));
        };
        let sealed = Arc::new(Shared::open(last.archive()).map_err(Error::Format)?);
        let collection = sealed.collection()?;
        let is_other = |part: &&Placed<'_>| part.cut.collection.tlp != collection.tlp;
        if let Some(other) = set.parts.iter().find(is_other) {
            return Err(Error::format(format!(
                "{}: it has another label than the last part; {SAYS_MORE}",
                other.part.name
            )));
        }
        let mut volumes = Volumes::new(&collection);
        let mut payload = blake3::Hasher::new();
        for part in &set.parts {
            let shared = Arc::new(Shared::of_part(part));
            part.visit_files(&mut |found, line, _| {
                payload.update(line.blake3_line()?.as_bytes());
                volumes.take(&shared, line, part.member(found))
            })
            .map_err(Error::Format)?;
        }
        last.visit_files(&mut |_, line, _| {
            payload.update(line.blake3_line()?.as_bytes());
            Ok(())
        })
        .and_then(|()| volumes.take_sealed(&sealed))
        .map_err(Error::Format)?;
        Self::of(
            sealed,
            collection,
            hex(payload.finalize().as_bytes()),
            volumes,
        )
    }

    fn of(
        shared: Arc<Shared>,
        collection: Collection,
        payload: String,
        volumes: Volumes,
    ) -> Result<Self, Error> {
        let tlp = collection
            .label()
            .map_err(|what| Error::format(format!("records/collection.json: {what}")))?;
        let root = shared.check_seal().map_err(Error::Format)?;
        Ok(Self {
            collection,
            tlp,
            payload,
            root,
            volumes: volumes.finish(),
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
        let mut files = self.volumes.iter().flat_map(|volume| &volume.files);
        let file = files.find(|file| file.member.name == member);
        let file = file.ok_or_else(|| ReadError::Absent {
            what: member.to_owned(),
        })?;
        Ok(Box::new(MemberReader::new(&file.part, &file.member)))
    }

    /// The member that a stream is stored as, and what it holds, where that is the stream itself.
    pub(crate) fn sealed_stream(&self, id: &StreamId) -> Result<(&str, Box<dyn ReadAt>), Error> {
        let volume = self.volumes.iter().find(|one| one.info.id == id.volume);
        let stream = id.stream.as_ref();
        let file = volume.and_then(|volume| volume.files.get(volume.find(&id.path, stream)?));
        let file = file.ok_or_else(|| Error::format(format!("it holds no {id}")))?;
        if file.pieces.is_some() {
            return Err(Error::format(format!(
                "{id} is stored without its holes, and nothing under the seal that is small enough \
                 for a proof says where they are"
            )));
        }
        let reader = MemberReader::new(&file.part, &file.member);
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

/// What the streams of an archive have in common.
pub(crate) struct Shared {
    pub(crate) source: Arc<dyn ReadAt>,
    directory: Directory,
    pub(crate) folder: String,
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

    /// A part that was cut: it has no central directory, and its checkpoints tell what is where.
    pub(crate) fn of_part(part: &Placed<'_>) -> Self {
        let texts = part.cut.marks.iter().map(|mark| &mark.text);
        Self {
            source: part.archive(),
            directory: Directory::NONE,
            folder: part.cut.folder.clone(),
            tags: Vec::new(),
            checkpoints: texts
                .map(|text| (part.member(text), OnceLock::new()))
                .collect(),
        }
    }

    fn collection(&self) -> Result<Collection, Error> {
        let text = self.read_tag("records/collection.json");
        let collection: Collection = serde_json::from_slice(&text.map_err(Error::Format)?)
            .map_err(|error| Error::format(format!("records/collection.json: {error}")))?;
        if collection.format != FORMAT {
            return Err(Error::format(format!(
                "format {} is not known here",
                collection.format
            )));
        }
        Ok(collection)
    }

    /// Checks that the label, and all else that the collection says of itself, is what was sealed; gives the root.
    fn check_seal(&self) -> Result<String, String> {
        let last = |is_it: &dyn Fn(&str) -> bool, what: &str| {
            let mut names = self.tags.iter().map(|member| &*member.name);
            let name = names.rfind(|name| is_it(name));
            name.ok_or_else(|| format!("{what} is missing"))
        };
        let signer = last(&is_signer, "the signer's certificate")?;
        let is_signature = |name: &str| name.starts_with("signatures/") && name.ends_with(".asc");
        let signature = last(&is_signature, "the signature")?;
        let manifest = self.read_tag(TAG_MANIFEST)?;
        for name in ["records/collection.json", BAG_INFO, signer] {
            let line = format!(
                "{}  {name}\n",
                hex(&Digests::of(&self.read_tag(name)?).sha256)
            );
            if memmem::find(&manifest, line.as_bytes()).is_none() {
                return Err(format!("{name} is not what was sealed; {SAYS_MORE}"));
            }
        }
        let of_signer = |what: &dyn fmt::Display| format!("{signer}: {what}");
        Certificate::read(&self.read_tag(signer)?)
            .map_err(|error| of_signer(&error))?
            .check(&manifest, &self.read_tag(signature)?)
            .map_err(|what| format!("the seal does not hold: {what}; {SAYS_MORE}"))?;
        Ok(hex(&Digests::of(&manifest).blake3))
    }

    /// The payload id, as `bag-info.txt` states it.
    fn payload(&self) -> Result<String, Error> {
        let info = self.read_tag("bag-info.txt").map_err(Error::Format)?;
        let info =
            String::from_utf8(info).map_err(|_| Error::format("bag-info.txt is not UTF-8"))?;
        info.lines()
            .find_map(|line| line.strip_prefix("Scelle-Payload: "))
            .map(str::to_owned)
            .ok_or_else(|| Error::format("bag-info.txt has no payload id"))
    }

    pub(crate) fn archive(&self) -> ArchiveReader<'_> {
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
    pub(crate) fn segments(&self, member: &Member) -> Result<Vec<Segment>, String> {
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
                        let before = behind.checked_sub(1).map(|at| &self.checkpoints[at].0);
                        let room = checkpoint.offset - before.map_or(0, |before| before.offset);
                        let listed = self.read_segments(checkpoint, room)?;
                        read.get_or_init(|| listed)
                    }
                };
                table = listed.get(&member.name).unwrap_or(&none);
            }
        }
        Segment::all(data_at, &member.facts, table)
    }

    /// What a checkpoint lists of the `room` bytes before it.
    fn read_segments(
        &self,
        checkpoint: &Member,
        mut room: u64,
    ) -> Result<SegmentsByMember, String> {
        let text = self
            .archive()
            .read(&self.folder, checkpoint, &[], TEXT_LIMIT)?;
        let mut listed = HashMap::new();
        checkpoint::read(&text, |list, line| {
            if list == 0 {
                let line = Segments::read(line, &mut room)?;
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
    /// The archive that its member is in.
    part: Arc<Shared>,
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
    info: VolumeInfo,
    entries: Vec<Entry>,
    files: Vec<StoredFile>,
    /// The files of what is not deleted, by path and stream, and of one name in writing order: eight bytes a file,
    /// since there may be millions.
    by_name: Vec<usize>,
    /// The files of what has a number, by that and the stream, the last one of a number first.
    by_entry: Vec<usize>,
}

/// Volumes as they come out of the lines of files.
struct Volumes {
    records: Vec<VolumeRecord>,
    volumes: Vec<BundleVolume>,
    numbers: HashMap<String, usize>,
    entries: HashMap<(usize, Option<FileId>, EvidencePath), usize>,
    securities: HashSet<Arc<Security>>,
}

impl Volumes {
    fn new(collection: &Collection) -> Self {
        Self {
            records: collection.volumes.clone(),
            volumes: Vec::new(),
            numbers: HashMap::new(),
            entries: HashMap::new(),
            securities: HashSet::new(),
        }
    }

    fn finish(self) -> Vec<Arc<BundleVolume>> {
        let indexed = self.volumes.into_iter().map(|mut volume| {
            volume.index();
            Arc::new(volume)
        });
        indexed.collect()
    }

    /// Reads `files.jsonl` of a sealed archive beside its central directory.
    fn take_sealed(&mut self, shared: &Arc<Shared>) -> Result<(), String> {
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
    fn take(&mut self, part: &Arc<Shared>, line: &FileLine, member: Member) -> Result<(), String> {
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
    fn find(&self, path: &EvidencePath, stream: Option<&EvidencePath>) -> Option<usize> {
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
