//! Reading a bundle as the volumes that it was collected from.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use memchr::memmem;
use scelle_event::{StreamId, Tlp};
use scelle_evidence::Volume;
use scelle_formats::{Digests, ReadAt, ReadError};

use crate::{
    Certificate, Collection, Error, FORMAT, Part,
    checkpoint::{self, Segments},
    codec::SEGMENT_BYTES,
    limits::TEXT_LIMIT,
    member::MemberReader,
    parts::{Placed, Set},
    proof::{BAG_INFO, TAG_MANIFEST, is_signer},
    reader::{ArchiveReader, Member, Segment},
    text::hex,
    volumes::{BundleVolume, Volumes},
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

    pub(crate) fn tag(&self, name: &str) -> Result<&Member, String> {
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
