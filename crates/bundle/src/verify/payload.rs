//! Checking the payload: each member beside its line in `files.jsonl` and in both manifests.

use std::collections::VecDeque;

use rayon::prelude::*;
use scelle_formats::Digests;

use super::{
    archive::Check,
    audit::{self, AuditLog},
    salvaged::Salvaged,
    tags,
};
use crate::{
    checkpoint::LISTS,
    codec::{Method, SEGMENT_BYTES},
    file_line::{FileLine, Piece},
    limits::LINE_LIMIT,
    names,
    reader::{ArchiveReader, Member, Segment},
    stored::StreamHasher,
    text::hex,
};

/// Members that are checked side by side.
const BATCH_MEMBERS: usize = 1024;
/// What their bytes and their lines come to, at most, but for the last.
const BATCH_BYTES: u64 = 32 << 20;
/// Segments of a large member that are decoded side by side, at most.
const MOST_SEGMENTS: usize = 8;
const SHA256: &str = "manifest-sha256.txt";

/// What earlier steps found.
pub(super) struct Expected<'a> {
    /// BLAKE3 of the lines of each list over all checkpoints.
    pub(super) lists: &'a [blake3::Hash; LISTS.len()],
    pub(super) tags: &'a [Member],
    /// What the cut bundle's checkpoints say, where this is a salvage of one.
    pub(super) salvaged: Option<&'a Salvaged>,
}

/// What the payload came to.
pub(super) struct Outcome {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// BLAKE3 of `manifest-blake3.txt`.
    pub(super) payload: Option<[u8; 32]>,
    /// The time-stamping service that was asked.
    pub(super) asked_time: Option<String>,
    /// SHA-256 of each tag file that the tag manifest lists, in order; none of a damaged one.
    pub(super) tag_hashes: Vec<(String, Option<[u8; 32]>)>,
}

/// A payload member and its lines.
struct Item {
    number: u64,
    member: Member,
    line: Vec<u8>,
    sha256: Vec<u8>,
    blake3: Vec<u8>,
}

pub(super) fn check(check: &Check<'_>, expected: &Expected<'_>) -> Result<Outcome, String> {
    let mut members = check.archive.members(check.folder);
    let mut lists = Lists::new(check, expected.tags)?;
    let (mut files, mut bytes) = (0, 0u64);
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    loop {
        let member = members.next_member()?;
        let is_end = member.is_none();
        if let Some(member) = member.filter(|member| member.name.starts_with("data/")) {
            bytes = bytes.saturating_add(member.facts.size);
            if let Some([line, sha256, blake3]) = lists.of(files, &member.name)? {
                batch_bytes += member.facts.size + line.len() as u64;
                batch.push(Item {
                    number: files,
                    line,
                    sha256,
                    blake3,
                    member,
                });
            }
            files += 1;
        }
        if batch.len() >= BATCH_MEMBERS || batch_bytes >= BATCH_BYTES || is_end {
            // The largest first, so that no thread begins one when the others are done.
            batch.sort_by_key(|item: &Item| std::cmp::Reverse(item.member.facts.size));
            batch
                .par_iter()
                .with_max_len(1)
                .for_each(|item| check_item(check, item, expected.salvaged));
            batch.clear();
            batch_bytes = 0;
        }
        if is_end {
            break;
        }
    }
    lists.finish(files)?;
    let hashes: Vec<(Option<Digests>, Option<String>)> = expected
        .tags
        .par_iter()
        .map(|member| {
            let mut log = AuditLog::default();
            let is_audit = member.name == audit::NAME;
            let begin = expected
                .salvaged
                .and_then(|salvaged| salvaged.list(&member.name));
            let digests = check.hash_tag(member, is_audit.then_some(&mut log), begin);
            (digests, log.asked_time())
        })
        .collect();
    let mut tag_hashes = Vec::new();
    let (mut payload, mut asked_time) = (None, None);
    for (member, (digests, asked)) in expected.tags.iter().zip(hashes) {
        asked_time = asked_time.or(asked);
        if member.name != tags::TAG_MANIFEST && !member.name.starts_with("signatures/") {
            let sha256 = digests.map(|digests| digests.sha256);
            tag_hashes.push((member.name.clone(), sha256));
        }
        let Some(digests) = digests else { continue };
        let list = LISTS
            .iter()
            .position(|list| member.name == format!("records/{list}.jsonl"));
        if list.is_some_and(|list| expected.lists[list] != digests.blake3) {
            check
                .problems
                .of(&member.name, "its lines are not those of the checkpoints");
        }
        if member.name == "manifest-blake3.txt" {
            payload = Some(digests.blake3);
        }
    }
    Ok(Outcome {
        files,
        bytes,
        payload,
        asked_time,
        tag_hashes,
    })
}

fn check_item(check: &Check<'_>, item: &Item, salvaged: Option<&Salvaged>) {
    let name = &item.member.name;
    let problem = |what: String| check.problems.of_payload(item.number, name, what);
    let line = match FileLine::parse(&item.line) {
        Ok(line) => line,
        Err(what) => return problem(format!("records/files.jsonl: {what}")),
    };
    if line.member != *name {
        return problem(format!(
            "records/files.jsonl has {:?} in its place",
            line.member
        ));
    }
    let is_vouched = salvaged.is_none_or(|salvaged| item.number < salvaged.files);
    if (line.vouched != Some(false)) != is_vouched {
        problem("records/files.jsonl does not say truly whether it is vouched for".into());
    }
    let Some((sha256, blake3)) = line.member_hashes() else {
        return problem("records/files.jsonl has no hash of what is stored".into());
    };
    for (manifest, there, hash) in [
        (SHA256, &item.sha256, sha256),
        ("manifest-blake3.txt", &item.blake3, blake3),
    ] {
        if *there != format!("{hash}  {name}").as_bytes() {
            problem(format!("{manifest} and records/files.jsonl differ"));
        }
    }
    if line.member_size() != item.member.facts.size {
        problem(format!(
            "it has {} bytes, and records/files.jsonl says {}",
            item.member.facts.size,
            line.member_size()
        ));
    }
    if !check.asked.wants(&line) {
        return;
    }
    let none = Vec::new();
    let table = check.segments.get(name).unwrap_or(&none);
    let checked = Hashed::of(&line).check(check.archive, check.folder, &item.member, table);
    if let Err(what) = checked {
        problem(what);
    }
}

/// What a line says of its stream's bytes.
pub(super) struct Hashed {
    size: u64,
    /// Ranges that are stored, where not all is.
    ranges: Option<Vec<Piece>>,
    /// SHA-256 and BLAKE3, in hex: of what is stored, and of the logical stream.
    stored: Option<(String, String)>,
    logical: Option<(String, String)>,
}

impl Hashed {
    pub(super) fn of(line: &FileLine) -> Self {
        let hashes = line.member_hashes();
        Self {
            size: line.size,
            ranges: line.stored.as_ref().map(|stored| stored.ranges.clone()),
            stored: hashes.map(|(sha256, blake3)| (sha256.to_owned(), blake3.to_owned())),
            logical: line.sha256.clone().zip(line.blake3.clone()),
        }
    }

    /// Decodes a member, of whose segments `table` tells, and compares.
    pub(super) fn check(
        &self,
        archive: ArchiveReader<'_>,
        folder: &str,
        member: &Member,
        table: &[u64],
    ) -> Result<(), String> {
        let (stored, logical) = self.hash(archive, folder, member, table)?;
        let text = |hash: Digests| (hex(&hash.sha256), hex(&hash.blake3));
        if Some(text(stored)) != self.stored {
            return Err("it was altered: its hashes are not those of the manifests".into());
        }
        if self.ranges.is_some() && logical.map(text) != self.logical {
            return Err("the hashes of the logical stream do not fit what is stored".into());
        }
        Ok(())
    }

    /// The hashes of what a member holds, and of the logical stream where that is another.
    fn hash(
        &self,
        archive: ArchiveReader<'_>,
        folder: &str,
        member: &Member,
        table: &[u64],
    ) -> Result<(Digests, Option<Digests>), String> {
        archive.check_frame(folder, member)?;
        let pieces = match &self.ranges {
            Some(ranges) => ranges.clone(),
            None if self.size > 0 => vec![(0, self.size)],
            None => vec![],
        };
        let mut hasher = StreamHasher::new(self.size, &pieces);
        let mut crc = crc32fast::Hasher::new();
        let data_at = archive.data_at(folder, member);
        let segments = Segment::all(data_at, &member.facts, table)?;
        if segments.len() == 1 {
            archive.decode_segment(member.facts.method, &segments[0], &mut |bytes| {
                crc.update(bytes);
                hasher.update(bytes);
            })?;
        } else {
            let at_once = rayon::current_num_threads().clamp(1, MOST_SEGMENTS);
            for group in segments.chunks(at_once) {
                let parts: Vec<_> = group
                    .par_iter()
                    .map(|segment| decode_part(archive, member.facts.method, segment))
                    .collect::<Result<_, _>>()?;
                for (part, part_crc) in parts {
                    crc.combine(&part_crc);
                    hasher.update(&part);
                }
            }
        }
        if crc.finalize() != member.facts.crc32 {
            return Err("its CRC does not fit its bytes".into());
        }
        Ok(hasher.finish())
    }
}

fn decode_part(
    archive: ArchiveReader<'_>,
    method: Method,
    segment: &Segment,
) -> Result<(Vec<u8>, crc32fast::Hasher), String> {
    let mut bytes = Vec::with_capacity(segment.size.min(SEGMENT_BYTES as u64) as usize);
    let mut crc = crc32fast::Hasher::new();
    archive.decode_segment(method, segment, &mut |piece| {
        crc.update(piece);
        bytes.extend_from_slice(piece);
    })?;
    Ok((bytes, crc))
}

/// The lists of the payload, side by side: `records/files.jsonl` and both manifests.
///
/// They are held against the members by the names in the manifests, so that each file that is
/// missing, added or moved is told by its name, and the others are checked all the same.
struct Lists<'a> {
    check: &'a Check<'a>,
    tags: &'a [Member],
    readers: [LineReader<'a>; 3],
    /// The lines that no member has taken; all empty at the end.
    next: [Vec<u8>; 3],
    /// Keys of all names that are listed, once somebody asks.
    listed: Option<Vec<u64>>,
}

impl<'a> Lists<'a> {
    fn new(check: &'a Check<'a>, tags: &'a [Member]) -> Result<Self, String> {
        let readers = ["records/files.jsonl", SHA256, "manifest-blake3.txt"]
            .map(|name| LineReader::new(check, tags, name));
        let mut lists = Self {
            check,
            tags,
            readers,
            next: Default::default(),
            listed: None,
        };
        lists.take()?;
        Ok(lists)
    }

    /// The lines about the member of that number, if it stands where they have it.
    fn of(&mut self, number: u64, name: &str) -> Result<Option<[Vec<u8>; 3]>, String> {
        while !self.is_at_end() {
            let next = self.next_name();
            if next == Some(name) {
                return Ok(Some(self.take()?));
            }
            if next.is_some_and(|next| self.check.has(next)) {
                break;
            }
            self.tell_missing(number)?;
        }
        let what = if self.is_at_end() || !self.lists(name)? {
            "it was added: the manifests do not list it".to_owned()
        } else {
            let lines = self.take()?;
            let there = listed_name(&lines).unwrap_or_default();
            format!("it stands where the manifests have {there:?}: files were moved")
        };
        self.check.problems.of_payload(number, name, what);
        Ok(None)
    }

    /// Tells what is listed behind the last member.
    fn finish(mut self, number: u64) -> Result<(), String> {
        while !self.is_at_end() {
            self.tell_missing(number)?;
        }
        Ok(())
    }

    fn tell_missing(&mut self, number: u64) -> Result<(), String> {
        let lines = self.take()?;
        let problems = self.check.problems;
        match listed_name(&lines) {
            Some(name) => problems.of_payload(number, name, "it is missing"),
            None => problems.of(SHA256, "a line is not as it is written"),
        }
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        self.next.iter().all(Vec::is_empty)
    }

    fn next_name(&self) -> Option<&str> {
        listed_name(&self.next)
    }

    fn take(&mut self) -> Result<[Vec<u8>; 3], String> {
        let mut lines: [Vec<u8>; 3] = Default::default();
        for (line, reader) in lines.iter_mut().zip(&mut self.readers) {
            *line = reader.next()?;
        }
        Ok(std::mem::replace(&mut self.next, lines))
    }

    /// Whether a manifest has that name in any place.
    fn lists(&mut self, name: &str) -> Result<bool, String> {
        if self.listed.is_none() {
            let mut reader = LineReader::new(self.check, self.tags, SHA256);
            let mut keys = Vec::new();
            loop {
                let line = reader.next()?;
                if line.is_empty() {
                    break;
                }
                keys.extend(manifest_name(&line).map(names::folded_key));
            }
            keys.sort_unstable();
            self.listed = Some(keys);
        }
        let key = names::folded_key(name);
        Ok(self
            .listed
            .as_ref()
            .is_some_and(|keys| keys.binary_search(&key).is_ok()))
    }
}

/// The name in the first manifest that has one.
fn listed_name(lines: &[Vec<u8>; 3]) -> Option<&str> {
    lines[1..].iter().find_map(|line| manifest_name(line))
}

/// The name in a manifest's line: it stands behind 64 hex digits and two blanks.
fn manifest_name(line: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(line.get(66..)?).ok()?;
    (!name.is_empty()).then_some(name)
}

/// Reads a tag file line by line, a segment at a time.
struct LineReader<'a> {
    check: &'a Check<'a>,
    name: &'static str,
    method: Method,
    segments: VecDeque<Segment>,
    buffer: Vec<u8>,
    used: usize,
    failed: Option<String>,
}

impl<'a> LineReader<'a> {
    fn new(check: &'a Check<'a>, tags: &[Member], name: &'static str) -> Self {
        let none = Vec::new();
        let mut reader = Self {
            check,
            name,
            method: Method::Store,
            segments: VecDeque::new(),
            buffer: Vec::new(),
            used: 0,
            failed: None,
        };
        // What is missing or wrong of the file as a whole is told where it is hashed.
        if let Some(member) = tags::find(tags, name) {
            reader.method = member.facts.method;
            let table = check.segments.get(name).unwrap_or(&none);
            let data_at = check.archive.data_at(check.folder, member);
            match Segment::all(data_at, &member.facts, table) {
                Ok(segments) => reader.segments = segments.into(),
                Err(what) => reader.failed = Some(what),
            }
        }
        reader
    }

    /// The next line without its end; empty where there is none.
    fn next(&mut self) -> Result<Vec<u8>, String> {
        loop {
            let rest = &self.buffer[self.used..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..length].to_vec();
                self.used += length + 1;
                return Ok(line);
            }
            if rest.len() > LINE_LIMIT {
                return Err(format!("{}: a line is too long", self.name));
            }
            let Some(segment) = self.segments.pop_front() else {
                let line = rest.to_vec();
                self.used = self.buffer.len();
                return Ok(line);
            };
            self.buffer.drain(..self.used);
            self.used = 0;
            if segment.size > SEGMENT_BYTES as u64 {
                return Err(format!(
                    "{}: it is not compressed as it should be",
                    self.name
                ));
            }
            let buffer = &mut self.buffer;
            self.check
                .archive
                .decode_segment(self.method, &segment, &mut |bytes| {
                    buffer.extend_from_slice(bytes);
                })
                .map_err(|what| format!("{}: {what}", self.name))?;
        }
    }
}
