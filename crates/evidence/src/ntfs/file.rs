//! What the records of one file say, put together.

use scelle_event::{EvidencePath, UtcNanos};
use scelle_formats::ntfs::{
    Attribute, Body, COMPRESSED, ENCRYPTED, ExtendedAttributes, FileName, NonResident,
    ReparsePoint, Run, SPARSE, StandardInformation, WofPoint, kind, push_component, tag,
};

use super::packed::{Algorithm, LZNT1};
use crate::{ExtendedAttribute, ObjectId, Remains, Reparse, StreamInfo, StreamState, Times};

/// The stream in which the Windows Overlay Filter keeps a file.
pub(super) const WOF_STREAM: &[u8] = b"WofCompressedData";
/// The stream that holds the keys of an encrypted file; a colon stands in no stream's name.
pub const EFS_STREAM: &[u8] = b"$EFS:$LOGGED_UTILITY_STREAM";
const EFS_NAME: &[u8] = b"$\0E\0F\0S\0";
/// EFS encrypts whole sectors.
const EFS_SECTOR_BYTES: u64 = 512;

const FILE_ATTRIBUTE_OFFLINE: u32 = 0x1000;
const FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS: u32 = 0x0040_0000;
/// The tags of files that a service keeps elsewhere differ in four bits only ([MS-FSCC] 2.1.2.1).
const CLOUD_TAG: u32 = 0x9000_001A;
const CLOUD_TAG_BITS: u32 = 0xFFFF_0FFF;
const DEDUPLICATED_TAG: u32 = 0x8000_0013;

/// A file's attributes, gathered from all of its records. One is used for every file of a walk.
#[derive(Debug, Default)]
pub(super) struct FileParts {
    pub(super) standard: Option<StandardInformation>,
    pub(super) names: Vec<NamePart>,
    pub(super) reparse: Option<Reparse>,
    pub(super) object_id: Option<ObjectId>,
    pub(super) extended: Vec<ExtendedAttribute>,
    /// `$SECURITY_DESCRIPTOR`, which files of old volumes have of their own.
    pub(super) security: Option<Vec<u8>>,
    pub(super) link_target: Option<EvidencePath>,
    /// Whether the clusters of its streams are kept, since they may be another's by now.
    pub(super) deleted: bool,
    streams: Vec<StreamPart>,
}

/// One `$FILE_NAME`.
#[derive(Debug)]
pub(super) struct NamePart {
    /// The 64-bit reference of the directory.
    pub(super) parent: u64,
    pub(super) namespace: u8,
    pub(super) times: Times,
    /// WTF-8.
    pub(super) name: Vec<u8>,
}

/// One part of a stream.
#[derive(Debug)]
struct StreamPart {
    name: Option<EvidencePath>,
    first_vcn: u64,
    size_bytes: u64,
    /// What an encrypted stream holds, once it is decrypted.
    plain_bytes: u64,
    stored_clusters: u64,
    has_hole: bool,
    flags: u16,
    /// The clusters of a deleted file's stream, holes included; `None` where it is resident.
    runs: Option<Vec<Run>>,
}

/// Says of clusters how many are taken now, where that is known.
pub(super) type Taken<'t> = &'t mut dyn FnMut(&Run) -> Option<u64>;

impl FileParts {
    /// Forgets the file before.
    pub(super) fn clear(&mut self) {
        self.standard = None;
        self.names.clear();
        self.reparse = None;
        self.object_id = None;
        self.extended.clear();
        self.security = None;
        self.link_target = None;
        self.deleted = false;
        self.streams.clear();
    }

    /// Adds an attribute; what can't be decoded of it is said.
    pub(super) fn add(&mut self, attribute: &Attribute<'_>) -> Result<(), &'static str> {
        match (attribute.kind, attribute.body) {
            (kind::STANDARD_INFORMATION, Body::Resident(content)) => {
                let parsed = StandardInformation::parse(content);
                let parsed = parsed.ok_or("$STANDARD_INFORMATION is cut")?;
                self.standard.get_or_insert(parsed);
            }
            (kind::FILE_NAME, Body::Resident(content)) => {
                let name = FileName::parse(content).ok_or("$FILE_NAME is cut")?;
                self.names.push(NamePart::new(&name));
            }
            (kind::OBJECT_ID, Body::Resident(content)) => {
                self.object_id = Some(object_id(content).ok_or("$OBJECT_ID is cut")?);
            }
            (kind::STANDARD_INFORMATION | kind::FILE_NAME, Body::NonResident(_)) => {
                return Err("an attribute that is always resident is not");
            }
            _ => {
                let part = StreamPart::new(attribute, self.deleted);
                self.streams.extend(part);
            }
        }
        Ok(())
    }

    /// Adds the content of `$EA`, wherever it was read from.
    pub(super) fn add_extended(&mut self, content: &[u8]) -> Result<(), &'static str> {
        if !self.extended.is_empty() {
            return Err("it has more than one $EA: the first is shown");
        }
        for attribute in ExtendedAttributes::new(content) {
            let attribute = attribute?;
            self.extended.push(ExtendedAttribute {
                name: EvidencePath::from_bytes(attribute.name),
                flags: attribute.flags,
                value: attribute.value.into(),
            });
        }
        Ok(())
    }

    /// Adds the content of `$REPARSE_POINT`, wherever it was read from.
    pub(super) fn add_reparse(&mut self, content: &[u8]) -> Result<(), &'static str> {
        let point = ReparsePoint::parse(content).ok_or("$REPARSE_POINT is cut")?;
        self.reparse = Some(Reparse {
            tag: point.tag,
            data: content.into(),
        });
        if point.is_link() {
            let target = point.target.ok_or("the target of a link is cut")?;
            let units = target
                .chunks_exact(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            self.link_target = Some(EvidencePath::from_utf16(units));
        }
        Ok(())
    }

    /// Whether it is a junction or a symbolic link.
    pub(super) fn is_link(&self) -> bool {
        matches!(self.tag(), Some(tag::MOUNT_POINT | tag::SYMLINK))
    }

    fn tag(&self) -> Option<u32> {
        self.reparse.as_ref().map(|reparse| reparse.tag)
    }

    /// How the unnamed stream is compressed, where WOF does that.
    pub(super) fn wof(&self) -> Option<Algorithm> {
        match WofPoint::parse(&self.reparse.as_ref()?.data)? {
            WofPoint::Stream(number) => Algorithm::of(number),
            WofPoint::Wim => None,
        }
    }

    /// The file's own times.
    pub(super) fn times(&self) -> Times {
        self.standard.as_ref().map_or_else(Times::default, |si| {
            times(si.created, si.modified, si.changed, si.accessed)
        })
    }

    /// The file's DOS attributes.
    pub(super) fn attributes(&self) -> u32 {
        self.standard.as_ref().map_or(0, |si| si.attributes)
    }

    /// Whether the bytes of a stream can be read.
    pub(super) fn state(
        &self,
        stream: Option<&EvidencePath>,
        flags: u16,
        plain_bytes: u64,
    ) -> StreamState {
        if flags & ENCRYPTED != 0 {
            return StreamState::Encrypted { plain_bytes };
        }
        if flags & COMPRESSED > LZNT1 {
            return StreamState::Unsupported("compression of an unknown kind");
        }
        let is_elsewhere = self.attributes()
            & (FILE_ATTRIBUTE_OFFLINE | FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS)
            != 0;
        match (stream, self.tag()) {
            (None, Some(tag::WOF)) if self.wof().is_none() => {
                StreamState::Unsupported("WOF compression from a WIM or of an unknown kind")
            }
            (None, Some(DEDUPLICATED_TAG)) => StreamState::Unsupported("deduplicated data"),
            (None, Some(tag)) if tag & CLOUD_TAG_BITS == CLOUD_TAG && is_elsewhere => {
                StreamState::Unsupported("data that a cloud service keeps")
            }
            _ => StreamState::Plain,
        }
    }

    /// The streams, the unnamed one first; and whether parts of one are missing or there twice.
    pub(super) fn streams(
        &mut self,
        cluster_bytes: u64,
        taken: Taken<'_>,
    ) -> (Vec<StreamInfo>, Option<&'static str>) {
        let mut parts = std::mem::take(&mut self.streams);
        parts.sort_by(|one, other| (&one.name, one.first_vcn).cmp(&(&other.name, other.first_vcn)));
        let remains = match self.deleted {
            true => remains_of(&parts, cluster_bytes, taken),
            false => Vec::new(),
        };
        let mut found: Vec<StreamInfo> = Vec::with_capacity(parts.len());
        let mut problem = None;
        for part in parts.drain(..) {
            let allocated_bytes = part.stored_clusters.saturating_mul(cluster_bytes);
            let sparse = part.has_hole || part.flags & (SPARSE | COMPRESSED) == SPARSE;
            match found.last_mut().filter(|last| last.name == part.name) {
                Some(_) if part.first_vcn == 0 => {
                    problem = Some("it has two streams of one name; the first is shown");
                }
                Some(last) => {
                    last.allocated_bytes = last.allocated_bytes.saturating_add(allocated_bytes);
                    last.sparse |= sparse;
                }
                None if part.first_vcn != 0 => {
                    problem = Some("the beginning of a stream is missing");
                }
                None => {
                    let state = self.state(part.name.as_ref(), part.flags, part.plain_bytes);
                    let mut info = StreamInfo {
                        state,
                        remains: remains_in(&remains, part.name.as_ref()),
                        name: part.name,
                        size_bytes: part.size_bytes,
                        allocated_bytes,
                        sparse,
                    };
                    // Its own clusters hold nothing; its content is elsewhere, and has no holes.
                    if info.name.is_none() && self.wof().is_some() {
                        info.allocated_bytes = info.size_bytes;
                        info.sparse = false;
                        let packed = EvidencePath::from_bytes(WOF_STREAM);
                        info.remains = remains_in(&remains, Some(&packed));
                    }
                    found.push(info);
                }
            }
        }
        self.streams = parts;
        (found, problem)
    }
}

/// What there is of each stream of a deleted file, whose parts are sorted by name and place.
fn remains_of(
    parts: &[StreamPart],
    cluster_bytes: u64,
    taken: Taken<'_>,
) -> Vec<(Option<EvidencePath>, Remains)> {
    let mut of_stream = |parts: &[StreamPart]| {
        if parts.iter().all(|part| part.runs.is_none()) {
            return Remains::Resident;
        }
        let needed = parts[0].size_bytes.div_ceil(cluster_bytes);
        let (mut next, mut clusters, mut lost) = (0, 0u64, 0u64);
        for run in parts.iter().filter_map(|part| part.runs.as_ref()).flatten() {
            if run.vcn != next {
                return Remains::Unknown;
            }
            next = run.vcn + run.clusters;
            if run.lcn.is_none() {
                continue;
            }
            let Some(count) = taken(run) else {
                return Remains::Unknown;
            };
            clusters = clusters.saturating_add(run.clusters);
            lost = lost.saturating_add(count);
        }
        match lost {
            _ if next < needed => Remains::Unknown,
            0 => Remains::Free { clusters },
            taken => Remains::Taken { taken, clusters },
        }
    };
    parts
        .chunk_by(|one, other| one.name == other.name)
        .map(|parts| (parts[0].name.clone(), of_stream(parts)))
        .collect()
}

fn remains_in(
    remains: &[(Option<EvidencePath>, Remains)],
    name: Option<&EvidencePath>,
) -> Option<Remains> {
    let found = remains.iter().find(|(of, _)| of.as_ref() == name)?;
    Some(found.1)
}

impl NamePart {
    fn new(name: &FileName<'_>) -> Self {
        let mut bytes = Vec::with_capacity(name.utf16le.len() / 2);
        push_component(&mut bytes, name.utf16le);
        Self {
            parent: name.parent,
            namespace: name.namespace,
            times: times(name.created, name.modified, name.changed, name.accessed),
            name: bytes,
        }
    }
}

impl StreamPart {
    /// `None` where the attribute is no stream.
    fn new(attribute: &Attribute<'_>, keeps_runs: bool) -> Option<Self> {
        let name = stream_of(attribute)?;
        Some(match attribute.body {
            Body::Resident(content) => Self {
                name,
                first_vcn: 0,
                size_bytes: content.len() as u64,
                plain_bytes: content.len() as u64,
                stored_clusters: 0,
                has_hole: false,
                // A resident stream stands as it is, whatever would be done to a longer one.
                flags: attribute.flags & ENCRYPTED,
                runs: None,
            },
            Body::NonResident(part) => {
                let (mut stored_clusters, mut has_hole) = (0u64, false);
                let unit = unit_clusters(attribute.flags, part.compression_exponent);
                // A damaged run ends the list here, and shows when the stream is read.
                for run in part.runs().map_while(Result::ok) {
                    let holes = match run.lcn {
                        Some(_) => 0,
                        // What a compressed unit saves is no hole.
                        None => {
                            let end = (run.vcn + run.clusters) / unit;
                            end.saturating_sub(run.vcn.div_ceil(unit)) * unit
                        }
                    };
                    has_hole |= holes > 0;
                    stored_clusters = stored_clusters.saturating_add(run.clusters - holes);
                }
                Self {
                    name,
                    first_vcn: part.first_vcn,
                    size_bytes: raw_bytes(attribute.flags, part.real_bytes, &part),
                    plain_bytes: part.real_bytes,
                    stored_clusters,
                    has_hole,
                    flags: attribute.flags,
                    runs: Some(match keeps_runs {
                        true => part.runs().map_while(Result::ok).collect(),
                        false => Vec::new(),
                    }),
                }
            }
        })
    }
}

/// Whether it is the index of a directory, which is shown as a stream of its own name, `$I30`.
/// A small directory has none: its names are in its record.
pub(super) fn is_index(attribute: &Attribute<'_>) -> bool {
    const NAME: &[u8] = b"$\0I\x003\x000\0";
    attribute.kind == kind::INDEX_ALLOCATION && attribute.name == NAME
}

/// Clusters a compression unit, 1 where nothing is compressed.
fn unit_clusters(flags: u16, exponent: u8) -> u64 {
    /// What Windows makes; parts that carry on another need not state it.
    const USUAL_EXPONENT: u8 = 4;
    match (flags & COMPRESSED, exponent) {
        (0, _) => 1,
        (_, 0) => 1 << USUAL_EXPONENT,
        (_, exponent) => 1 << exponent.min(32),
    }
}

/// How many bytes are read of a stream for so many of its content: an encrypted one is read in
/// whole sectors, since nothing less can be decrypted.
pub(super) fn raw_bytes(flags: u16, content_bytes: u64, part: &NonResident<'_>) -> u64 {
    if flags & ENCRYPTED == 0 {
        return content_bytes;
    }
    let sectors = content_bytes.div_ceil(EFS_SECTOR_BYTES);
    let whole = sectors.saturating_mul(EFS_SECTOR_BYTES);
    whole.min(part.allocated_bytes).max(content_bytes)
}

/// The name of the stream that an attribute is, or is a part of; `None` where it is none.
pub(super) fn stream_of(attribute: &Attribute<'_>) -> Option<Option<EvidencePath>> {
    match attribute.kind {
        kind::DATA => Some(stream_name(attribute.name)),
        kind::LOGGED_UTILITY_STREAM if attribute.name == EFS_NAME => {
            Some(Some(EvidencePath::from_bytes(EFS_STREAM)))
        }
        _ if is_index(attribute) => Some(stream_name(attribute.name)),
        _ => None,
    }
}

fn object_id(content: &[u8]) -> Option<ObjectId> {
    let [object, birth @ ..] = content.as_chunks::<16>().0 else {
        return None;
    };
    Some(ObjectId {
        object: *object,
        birth: birth.first_chunk().copied(),
    })
}

/// A stream's name; `None` for the unnamed one.
fn stream_name(utf16le: &[u8]) -> Option<EvidencePath> {
    if utf16le.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(utf16le.len() / 2);
    push_component(&mut bytes, utf16le);
    Some(EvidencePath::from_bytes(&bytes))
}

fn times(created: u64, modified: u64, changed: u64, accessed: u64) -> Times {
    // Zero is "never", and no stamp.
    let at = |ticks: u64| (ticks != 0).then(|| UtcNanos::from_filetime(ticks));
    Times {
        is_local: false,
        created: at(created),
        modified: at(modified),
        changed: at(changed),
        accessed: at(accessed),
    }
}
