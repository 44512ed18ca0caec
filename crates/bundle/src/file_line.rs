//! Lines of `records/files.jsonl`: one a payload file.
//!
//! A name is given as text. Where it is Unicode, the text is the name. Where it is not, the text
//! is the escaped form that timelines show, and beside it stand the exact UTF-16 code units
//! (`…_units`, four hex digits each) or, for names that never were UTF-16, the exact bytes
//! (`…_bytes`).

use scelle_event::{EvidencePath, Precision, UtcNanos, json};
use scelle_evidence::{
    Attributes, Details, Entry, EntryKind, FileId, NamedTimes, Remains, StreamState, Times,
};
use scelle_formats::{Digests, ntfs::ReparsePoint};
use serde::Deserialize;

use crate::{
    details_line::{self, DetailsLine},
    limits::NAMES_LIMIT,
    text::{parse_iso, unhex},
};

/// A range of bytes: offset and length.
pub(crate) type Piece = (u64, u64);

/// What a line says of a stream's bytes.
pub(crate) struct Content {
    /// Size of the logical stream.
    pub(crate) size: u64,
    /// Hashes of the logical stream, or why there are none.
    pub(crate) logical: Result<Digests, &'static str>,
    /// What the member holds, where that is not the logical stream.
    pub(crate) stored: Option<(Vec<Piece>, Digests)>,
    /// What could not be read: zeros stand there.
    pub(crate) unread: Vec<Piece>,
}

/// Appends a line, without its end; gives how many of the entry's names are left out.
pub(crate) fn write(
    out: &mut Vec<u8>,
    volume: &str,
    entry: &Entry,
    stream: Option<&EvidencePath>,
    member: &str,
    content: &Content,
) -> usize {
    out.extend_from_slice(b"{\"volume\":");
    json::write_text(out, volume);
    write_name(out, "path", &entry.path);
    match stream {
        Some(stream) => write_name(out, "stream", stream),
        None => out.extend_from_slice(b",\"stream\":null"),
    }
    out.extend_from_slice(b",\"member\":");
    json::write_text(out, member);
    write_key(out, "size");
    json::write_uint(out, content.size);
    match &content.logical {
        Ok(digests) => write_hashes(out, digests),
        Err(reason) => {
            out.extend_from_slice(b",\"sha256\":null,\"blake3\":null,\"reason\":");
            json::write_text(out, reason);
        }
    }
    write_key(out, "stored");
    match &content.stored {
        Some((ranges, digests)) => {
            out.extend_from_slice(b"{\"encoding\":\"ranges\",\"ranges\":");
            write_pieces(out, ranges);
            write_key(out, "size");
            json::write_uint(out, digests.size);
            write_hashes(out, digests);
            out.push(b'}');
        }
        None => out.extend_from_slice(b"null"),
    }
    write_key(out, "unread");
    write_pieces(out, &content.unread);
    let entry_number = entry.id.map(|id| id.entry);
    let sequence = entry.id.map(|id| u64::from(id.sequence));
    for (key, number) in [("mft_entry", entry_number), ("mft_sequence", sequence)] {
        write_key(out, key);
        match number {
            Some(number) => json::write_uint(out, number),
            None => out.extend_from_slice(b"null"),
        }
    }
    for (key, flag) in [("deleted", entry.deleted), ("orphan", entry.orphan)] {
        write_key(out, key);
        out.extend_from_slice(if flag { b"true" } else { b"false" });
    }
    write_key(out, "attributes");
    json::write_uint(out, entry.attributes.0.into());
    details_line::write(out, entry, stream);
    out.extend_from_slice(b",\"times\":");
    write_times(out, &entry.times);
    out.extend_from_slice(b",\"names\":[");
    let begin = out.len();
    let mut left_out = 0;
    for (at, name) in entry.names.iter().enumerate() {
        if out.len() - begin > NAMES_LIMIT {
            left_out = entry.names.len() - at;
            break;
        }
        out.extend_from_slice(if at == 0 { b"{" } else { b",{" });
        out.extend_from_slice(b"\"namespace\":");
        json::write_uint(out, name.namespace.into());
        write_name(out, "path", &name.path);
        out.extend_from_slice(b",\"times\":");
        write_times(out, &name.times);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    left_out
}

/// Appends the line of a member that stood whole behind the last checkpoint of a cut bundle: its
/// name is the member's, and of holes and times nothing is known.
pub(crate) fn write_unvouched(out: &mut Vec<u8>, member: &str, digests: &Digests) {
    let label = member.strip_prefix("data/").unwrap_or(member);
    let (volume, path) = label.split_once('/').unwrap_or(("", label));
    let entry = Entry {
        path: EvidencePath::from_bytes(path.as_bytes()),
        kind: EntryKind::File,
        id: None,
        times: Times::default(),
        names: Vec::new(),
        attributes: Attributes(0),
        deleted: false,
        orphan: false,
        link_target: None,
        details: Details::default(),
        streams: Vec::new(),
    };
    let content = Content {
        size: digests.size,
        logical: Ok(*digests),
        stored: None,
        unread: Vec::new(),
    };
    write(out, volume, &entry, None, member, &content);
    out.pop();
    out.extend_from_slice(b",\"vouched\":false}");
}

pub(crate) fn write_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_hashes(out: &mut Vec<u8>, digests: &Digests) {
    for (key, hash) in [("sha256", &digests.sha256), ("blake3", &digests.blake3)] {
        write_key(out, key);
        out.push(b'"');
        json::write_hex(out, hash);
        out.push(b'"');
    }
}

fn write_pieces(out: &mut Vec<u8>, pieces: &[Piece]) {
    out.push(b'[');
    for (at, (offset, length)) in pieces.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
        json::write_uint(out, *offset);
        out.push(b',');
        json::write_uint(out, *length);
        out.push(b']');
    }
    out.push(b']');
}

pub(crate) fn write_name(out: &mut Vec<u8>, key: &str, name: &EvidencePath) {
    write_key(out, key);
    if let Some(text) = name.as_str() {
        json::write_text(out, text);
        return;
    }
    json::write_text(out, &name.to_string());
    match wtf16(name.as_bytes()) {
        Some(units) => {
            write_key(out, &format!("{key}_units"));
            out.push(b'"');
            for unit in units {
                json::write_hex(out, &unit.to_be_bytes());
            }
        }
        None => {
            write_key(out, &format!("{key}_bytes"));
            out.push(b'"');
            json::write_hex(out, name.as_bytes());
        }
    }
    out.push(b'"');
}

/// The UTF-16 code units of WTF-8; `None` where the bytes are not WTF-8.
fn wtf16(bytes: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let good = match std::str::from_utf8(rest) {
            Ok(text) => {
                units.extend(text.encode_utf16());
                break;
            }
            Err(error) => error.valid_up_to(),
        };
        units.extend(std::str::from_utf8(&rest[..good]).ok()?.encode_utf16());
        let [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..] = rest[good..] else {
            return None;
        };
        units.push(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F));
        rest = &rest[good + 3..];
    }
    // A pair of surrogates written one by one would come back as one character.
    (EvidencePath::from_utf16(units.iter().copied()).as_bytes() == bytes).then_some(units)
}

fn write_times(out: &mut Vec<u8>, times: &Times) {
    for (at, (key, time)) in [
        ("created", times.created),
        ("modified", times.modified),
        ("changed", times.changed),
        ("accessed", times.accessed),
    ]
    .into_iter()
    .enumerate()
    {
        out.extend_from_slice(if at == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        match time {
            Some(time) => {
                let step = if time.nanos() % 100 == 0 {
                    Precision::FILETIME
                } else {
                    Precision::NANOSECOND
                };
                out.push(b'"');
                times.moment(time).write_iso(step, out);
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

/// A line as it is read. Keys that a reader needs not are passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct FileLine {
    pub(crate) volume: String,
    path: String,
    path_units: Option<String>,
    path_bytes: Option<String>,
    stream: Option<String>,
    stream_units: Option<String>,
    stream_bytes: Option<String>,
    pub(crate) member: String,
    pub(crate) size: u64,
    pub(crate) sha256: Option<String>,
    pub(crate) blake3: Option<String>,
    pub(crate) stored: Option<Stored>,
    pub(crate) unread: Vec<Piece>,
    mft_entry: Option<u64>,
    mft_sequence: Option<u16>,
    deleted: bool,
    orphan: bool,
    attributes: u32,
    /// Read apart: what is gathered for a flattened struct takes some forty times the room of a hostile line.
    #[serde(skip)]
    details: DetailsLine,
    times: TimesLine,
    names: Vec<NameLine>,
    /// `false` in a salvage, of a member that no checkpoint vouches for; else left out.
    pub(crate) vouched: Option<bool>,
}

/// What the member holds, where it is not the logical stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Stored {
    pub(crate) encoding: String,
    pub(crate) ranges: Vec<Piece>,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    pub(crate) blake3: String,
}

#[derive(Debug, Deserialize)]
struct TimesLine {
    created: Option<String>,
    modified: Option<String>,
    changed: Option<String>,
    accessed: Option<String>,
}

#[derive(Debug, Deserialize)]
struct NameLine {
    namespace: u8,
    path: String,
    path_units: Option<String>,
    path_bytes: Option<String>,
    times: TimesLine,
}

impl FileLine {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let unread = |error: serde_json::Error| format!("a line can't be read: {error}");
        let mut line: Self = serde_json::from_slice(text).map_err(unread)?;
        line.details = serde_json::from_slice(text).map_err(unread)?;
        if let Some(stored) = &line.stored {
            stored.check(line.size)?;
        }
        covered(&line.unread, line.size).ok_or("a line's unread ranges contradict its size")?;
        Ok(line)
    }

    /// The hashes that the manifests hold: of the bytes in the member.
    pub(crate) fn member_hashes(&self) -> Option<(&str, &str)> {
        match &self.stored {
            Some(stored) => Some((&stored.sha256, &stored.blake3)),
            None => Some((self.sha256.as_deref()?, self.blake3.as_deref()?)),
        }
    }

    /// Its line of `manifest-blake3.txt`.
    pub(crate) fn blake3_line(&self) -> Result<String, String> {
        let (_, blake3) = self
            .member_hashes()
            .ok_or_else(|| format!("{}: there is no hash of what is stored", self.member))?;
        Ok(format!("{blake3}  {}\n", self.member))
    }

    /// How many bytes the member holds.
    pub(crate) fn member_size(&self) -> u64 {
        self.stored.as_ref().map_or(self.size, |stored| stored.size)
    }

    pub(crate) fn path(&self) -> Result<EvidencePath, String> {
        name(&self.path, &self.path_units, &self.path_bytes)
    }

    pub(crate) fn stream(&self) -> Result<Option<EvidencePath>, String> {
        self.stream
            .as_ref()
            .map(|text| name(text, &self.stream_units, &self.stream_bytes))
            .transpose()
    }

    /// The entry that the stream belongs to, without its streams.
    pub(crate) fn entry(&self) -> Result<Entry, String> {
        let names = self
            .names
            .iter()
            .map(|line| {
                Ok(NamedTimes {
                    path: name(&line.path, &line.path_units, &line.path_bytes)?,
                    namespace: line.namespace,
                    times: line.times.read()?,
                })
            })
            .collect::<Result<_, String>>()?;
        let details = self.details.read()?;
        // What a link says of itself comes back from its reparse point.
        let point = details.reparse.as_ref();
        let point = point.and_then(|point| ReparsePoint::parse(&point.data));
        let kind = match &point {
            Some(point) if point.is_link() => EntryKind::Link,
            _ => EntryKind::File,
        };
        let target = point.and_then(|point| point.target).map(|target| {
            let units = target.chunks_exact(2);
            EvidencePath::from_utf16(units.map(|unit| u16::from_le_bytes([unit[0], unit[1]])))
        });
        Ok(Entry {
            path: self.path()?,
            kind,
            id: self.mft_entry.map(|entry| FileId {
                entry,
                sequence: self.mft_sequence.unwrap_or(0),
            }),
            times: self.times.read()?,
            names,
            attributes: Attributes(self.attributes),
            deleted: self.deleted,
            orphan: self.orphan,
            link_target: target,
            details,
            streams: Vec::new(),
        })
    }

    /// What there was of a deleted stream's bytes.
    pub(crate) fn remains(&self) -> Result<Option<Remains>, String> {
        self.details.remains()
    }

    /// How the stream is stored.
    pub(crate) fn state(&self) -> Result<StreamState, String> {
        self.details.state()
    }
}

impl Stored {
    /// Whether the ranges are in order, inside the stream, and of the stated size.
    fn check(&self, size: u64) -> Result<(), String> {
        if self.encoding != "ranges" {
            return Err(format!("the encoding {:?} is unknown", self.encoding));
        }
        covered(&self.ranges, size)
            .filter(|total| *total == self.size)
            .map(drop)
            .ok_or_else(|| "a line's stored ranges contradict its sizes".to_owned())
    }
}

/// How many bytes the ranges come to, where they are in order and inside a stream of `size` bytes.
fn covered(ranges: &[Piece], size: u64) -> Option<u64> {
    let (mut at, mut total) = (0u64, 0u64);
    for (offset, length) in ranges {
        if *offset < at || *length == 0 {
            return None;
        }
        at = offset.checked_add(*length)?;
        total += length;
    }
    (at <= size).then_some(total)
}

impl TimesLine {
    fn read(&self) -> Result<Times, String> {
        let all = [&self.created, &self.modified, &self.changed, &self.accessed];
        // Of one volume's times either all are UTC or none is.
        let is_local = all.into_iter().flatten().any(|text| !text.ends_with('Z'));
        let read = |text: &Option<String>| -> Result<Option<UtcNanos>, String> {
            text.as_ref()
                .map(|text| {
                    let utc = if is_local {
                        format!("{text}Z")
                    } else {
                        text.clone()
                    };
                    parse_iso(&utc).ok_or_else(|| format!("{text:?} is no time"))
                })
                .transpose()
        };
        Ok(Times {
            is_local,
            created: read(&self.created)?,
            modified: read(&self.modified)?,
            changed: read(&self.changed)?,
            accessed: read(&self.accessed)?,
        })
    }
}

pub(crate) fn name(
    text: &str,
    units: &Option<String>,
    bytes: &Option<String>,
) -> Result<EvidencePath, String> {
    let bad = || "a line's exact name is not hex".to_owned();
    if let Some(units) = units {
        let bytes = unhex(units).ok_or_else(bad)?;
        let units = bytes.chunks_exact(2);
        if !units.remainder().is_empty() {
            return Err(bad());
        }
        return Ok(EvidencePath::from_utf16(
            units.map(|unit| u16::from_be_bytes([unit[0], unit[1]])),
        ));
    }
    if let Some(bytes) = bytes {
        return Ok(EvidencePath::from_bytes(&unhex(bytes).ok_or_else(bad)?));
    }
    Ok(EvidencePath::from_bytes(text.as_bytes()))
}
