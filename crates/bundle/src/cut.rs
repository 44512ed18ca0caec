//! A bundle without its end: what it still holds, and what of it is vouched for.
//!
//! Nothing in it is believed because it stands there. The bytes are searched for the text of each
//! next checkpoint, and one that is found counts only if all of this holds: what lies between it
//! and the checkpoint before is exactly the members that its lines name, one behind the other;
//! it states the length and the hash of all bytes before it; it names the checkpoint before; and
//! the key whose certificate stands in the bundle has signed it. So evidence that looks like a
//! checkpoint, or like the end of a member, misleads nobody, and no compression method makes a
//! member's end hard to find.

use std::collections::HashMap;

use memchr::memmem;
use scelle_formats::{ReadAt, ReadAtExt as _};

use crate::{
    Certificate, Collection, Error,
    checkpoint::{self, Head, Segments},
    file_line::FileLine,
    limits::{ARMOUR_LIMIT, COLLECTION_LIMIT, SignersRoom, TEXT_LIMIT},
    reader::{self, Found},
    records::CoverageLine,
    writer::{COVERAGE, FILES, SIGNER, WARNINGS},
};

/// Bytes that are searched at a time.
const STEP_BYTES: usize = 1 << 20;
/// After so many texts that begin as a checkpoint does and are none, no more are searched for.
/// Evidence can hold none, since each names the hash of all before it; a cut leaves one at most.
const MOST_FALSE: u32 = 16;
/// The files that stand before the payload.
pub(crate) const HEAD: [&str; 3] = ["bagit.txt", "records/collection.json", SIGNER];

/// A bundle that was cut off, surveyed: it is read once from its beginning to its end.
///
/// Memory is a few MiB, and about 1 KiB for each checkpoint.
pub struct Cut<'a> {
    pub(crate) source: &'a dyn ReadAt,
    /// The bundle's folder, `/` included.
    pub(crate) folder: String,
    pub(crate) head: Vec<Found>,
    pub(crate) collection_text: Vec<u8>,
    pub(crate) collection: Collection,
    /// Certificates in the order in which they came into force, with their text and their member.
    pub(crate) signers: Vec<(Certificate, Vec<u8>, Found)>,
    /// The checkpoints that count, in order.
    pub(crate) marks: Vec<Mark>,
    /// BLAKE3 of all bytes.
    pub(crate) blake3: blake3::Hash,
    /// The hash of what is kept, to go on with.
    pub(crate) hasher: blake3::Hasher,
}

/// How many lines are vouched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Lines of coverage.
    pub lines: u64,
    /// Those of them that are losses.
    pub losses: u64,
    /// Warnings.
    pub warnings: u64,
}

/// A checkpoint that counts.
pub(crate) struct Mark {
    pub(crate) head: Head,
    pub(crate) text: Found,
    pub(crate) signature: Found,
    /// BLAKE3 of its text, in hex.
    pub(crate) hash: String,
    /// The signer in force.
    pub(crate) signer: usize,
    /// Payload files and bytes that it, and it alone, vouches for.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What lies before a checkpoint, in the order in which it lies there.
pub(crate) enum Piece<'a> {
    /// A payload member, the line of it, and its segments where it has more than one.
    Payload(&'a Found, &'a FileLine, &'a [u64]),
    /// One of the bag's own files.
    Tag(&'a Found),
    /// A line of a list of that number; those of files come behind their member.
    Line(usize, &'a [u8]),
}

impl<'a> Cut<'a> {
    /// Surveys the bytes of a bundle that lacks its end.
    ///
    /// # Errors
    /// [`Error::Format`] where it does not begin as a bundle does.
    pub fn survey(source: &'a dyn ReadAt) -> Result<Self, Error> {
        Self::begin(source)
            .and_then(|mut cut| {
                cut.search()?;
                Ok(cut)
            })
            .map_err(Error::Format)
    }

    /// What was asked for.
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// Number and hash (BLAKE3, in hex) of the last checkpoint that counts.
    pub fn checkpoint(&self) -> Option<(u64, &str)> {
        let last = self.marks.last()?;
        Some((last.head.checkpoint, &last.hash))
    }

    /// How many payload files and bytes are vouched for.
    pub fn vouched(&self) -> (u64, u64) {
        let add = |(files, bytes): (u64, u64), mark: &Mark| {
            (files + mark.files, bytes.saturating_add(mark.bytes))
        };
        self.marks.iter().fold((0, 0), add)
    }

    /// Up to where the bytes are vouched for.
    pub(crate) fn vouched_end(&self) -> u64 {
        match (self.marks.last(), self.head.last()) {
            (Some(mark), _) => mark.signature.end,
            (None, Some(member)) => member.end,
            (None, None) => 0,
        }
    }

    /// Up to where the bytes are kept when the collection goes on.
    pub fn kept_bytes(&self) -> u64 {
        self.vouched_end()
    }

    /// Whether all of the collection is there, and only the seal is missing.
    pub fn is_complete(&self) -> bool {
        self.marks.last().is_some_and(|mark| mark.head.last)
    }

    /// Shows target and path of each line of coverage that is vouched for, in order.
    ///
    /// # Errors
    /// [`Error::Format`] where a checkpoint can't be read again.
    pub fn visit_coverage(
        &self,
        mut see: impl FnMut(&str, Option<&str>),
    ) -> Result<Covered, Error> {
        let mut covered = Covered::default();
        for number in 0..self.marks.len() {
            self.visit(number, &mut |piece| {
                match piece {
                    Piece::Line(COVERAGE, line) => {
                        let line = CoverageLine::parse(line)?;
                        covered.lines += 1;
                        covered.losses += u64::from(line.is_loss()?);
                        see(&line.target, line.path.as_deref());
                    }
                    Piece::Line(WARNINGS, _) => covered.warnings += 1,
                    _ => {}
                }
                Ok(())
            })
            .map_err(Error::Format)?;
        }
        Ok(covered)
    }

    /// Reads the files that stand before the payload.
    fn begin(source: &'a dyn ReadAt) -> Result<Self, String> {
        const NONE: &str = "it does not begin as a bundle does";
        let first = reader::member_at(source, 0, None).map_err(|what| format!("{NONE}: {what}"))?;
        let folder = match first.name.split_once('/') {
            Some((folder, "bagit.txt")) if crate::writer::is_plain(folder) => format!("{folder}/"),
            _ => return Err(NONE.into()),
        };
        let mut head = vec![first];
        let mut texts = Vec::new();
        for (name, cap) in HEAD[1..].iter().zip([COLLECTION_LIMIT, ARMOUR_LIMIT]) {
            let at = head.last().map_or(0, |member| member.end);
            let found = reader::member_at(source, at, None)?;
            if found.name.strip_prefix(&folder) != Some(*name) {
                return Err(format!("{NONE}: {name} must stand at {at}"));
            }
            texts.push(found.read(source, cap)?);
            head.push(found);
        }
        let (Some(certificate), Some(collection_text)) = (texts.pop(), texts.pop()) else {
            return Err(NONE.into());
        };
        let wrong = |what: String| format!("records/collection.json: {what}");
        let collection: Collection =
            serde_json::from_slice(&collection_text).map_err(|error| wrong(error.to_string()))?;
        collection.label().map_err(wrong)?;
        let signer = Certificate::read(&certificate).map_err(|error| error.to_string())?;
        let member = head[2].clone();
        Ok(Self {
            source,
            folder,
            head,
            collection_text,
            collection,
            signers: vec![(signer, certificate, member)],
            marks: Vec::new(),
            blake3: blake3::hash(b""),
            hasher: blake3::Hasher::new(),
        })
    }

    /// Searches all bytes for checkpoints, and hashes them.
    fn search(&mut self) -> Result<(), String> {
        let mut hashed = Prefix::new(self.source);
        let mut at = self.vouched_end();
        hashed.advance(at)?;
        self.hasher = hashed.hasher.clone();
        let mut failed = 0;
        while failed < MOST_FALSE {
            let needle = self.next_name();
            // Hits near a window's end are seen again, whole, at the beginning of the next.
            let window = self
                .source
                .read_range(
                    at..at.saturating_add((STEP_BYTES + needle.len()) as u64),
                    STEP_BYTES + needle.len(),
                )
                .map_err(|error| error.to_string())?;
            if window.len() < needle.len() {
                break;
            }
            let mut accepted = None;
            for hit in memmem::find_iter(&window, needle.as_bytes()) {
                let name_at = at + hit as u64;
                let Some(offset) = name_at.checked_sub(crate::zip::LOCAL_BYTES as u64) else {
                    continue;
                };
                // Why one does not count is of no interest: it may be evidence.
                if self.is_begun_at(offset, &mut hashed).is_err() {
                    continue;
                }
                match self.consider(offset) {
                    Ok(mark) => {
                        accepted = Some(mark);
                        break;
                    }
                    Err(_) => failed += 1,
                }
                if failed == MOST_FALSE {
                    break;
                }
            }
            at = match accepted {
                Some(mark) => {
                    hashed.advance(mark.signature.end)?;
                    self.hasher = hashed.hasher.clone();
                    let end = mark.signature.end;
                    let is_last = mark.head.last;
                    self.marks.push(mark);
                    if is_last {
                        break;
                    }
                    end
                }
                None => {
                    let next = at + (window.len() - needle.len() + 1) as u64;
                    hashed.advance(next.saturating_sub(crate::zip::LOCAL_BYTES as u64))?;
                    next
                }
            };
        }
        hashed.advance(self.source.len())?;
        self.blake3 = hashed.hasher.finalize();
        Ok(())
    }

    /// The name that the next checkpoint has.
    fn next_name(&self) -> String {
        let number = self.marks.len() as u64 + 1;
        format!("{}records/checkpoints/{number:06}.json", self.folder)
    }

    /// Whether the next checkpoint's text seems to have its header at `offset`; little is read to
    /// tell, whatever stands there.
    fn is_begun_at(&self, offset: u64, hashed: &mut Prefix<'a>) -> Result<(), String> {
        if offset < self.vouched_end() {
            return Err("it lies in what is known".into());
        }
        let (name, text) = reader::beginning_at(self.source, offset)?;
        if name != self.next_name() {
            return Err("it bears another name".into());
        }
        let head = checkpoint::read_head(&text)?;
        self.check_head(&head, offset)?;
        if hashed.hash_of(offset)?.to_hex().as_str() != head.blake3 {
            return Err("the bytes before it are not those that it vouches for".into());
        }
        Ok(())
    }

    /// Whether a head, at `offset`, is that of the next checkpoint.
    fn check_head(&self, head: &Head, offset: u64) -> Result<(), String> {
        if head.checkpoint != self.marks.len() as u64 + 1
            || head.length != offset
            || head.previous != self.previous(self.marks.last())
        {
            return Err("it does not follow the checkpoint before".into());
        }
        Ok(())
    }

    /// Whether the checkpoint at `offset`, which begins as the next one does, counts.
    fn consider(&mut self, offset: u64) -> Result<Mark, String> {
        let text_at = reader::small_member_at(self.source, offset, TEXT_LIMIT)?;
        let text = text_at.read(self.source, TEXT_LIMIT)?;
        let signers = self.signers.len();
        let mark = self.weigh(text_at, &text);
        if mark.is_err() {
            self.signers.truncate(signers);
        }
        mark
    }

    fn weigh(&mut self, text_at: Found, text: &[u8]) -> Result<Mark, String> {
        let (mut files, mut bytes) = (0, 0u64);
        let (source, folder) = (self.source, self.folder.clone());
        let from = self.vouched_end();
        let mut signers = Vec::new();
        let head = lay_out(source, &folder, from, &text_at, text, &mut |piece| {
            match piece {
                Piece::Payload(found, ..) => {
                    files += 1;
                    bytes = bytes.saturating_add(found.facts.size);
                }
                Piece::Tag(found) if is_signer(&found.name[folder.len()..]) => {
                    signers.push(found.clone());
                }
                _ => {}
            }
            Ok(())
        })?;
        let mut room = SignersRoom::ALL;
        let held = self.signers.iter().map(|(_, text, _)| text.len() as u64);
        room.take(held.sum())?;
        for found in signers {
            let wanted = signer_name(self.signers.len() as u64 + 1);
            if found.name[folder.len()..] != wanted {
                return Err(format!("{wanted} must stand there"));
            }
            room.take(found.facts.size)?;
            let certificate = found.read(source, ARMOUR_LIMIT)?;
            let signer = Certificate::read(&certificate).map_err(|error| error.to_string())?;
            self.signers.push((signer, certificate, found));
        }
        let signature = reader::member_at(source, text_at.end, None)?;
        let wanted = format!("{}.asc", text_at.name.trim_end_matches(".json"));
        if signature.name != wanted {
            return Err(format!("{wanted} must stand behind it"));
        }
        let signer = self.signers.len() - 1;
        self.signers[signer]
            .0
            .check(text, &signature.read(source, ARMOUR_LIMIT)?)?;
        Ok(Mark {
            head,
            text: text_at,
            signature,
            hash: blake3::hash(text).to_hex().to_string(),
            signer,
            files,
            bytes,
        })
    }

    /// What a checkpoint must say of the one before: a further part goes on from another's.
    fn previous(&self, before: Option<&Mark>) -> Option<String> {
        match (before, &self.collection.resumes) {
            (Some(mark), _) => Some(mark.hash.clone()),
            (None, Some(resumes)) if self.collection.salvage.is_none() => {
                Some(resumes.checkpoint_blake3.clone())
            }
            (None, _) => None,
        }
    }

    /// Shows every whole member, in the order in which they lie there, as
    /// [`visit_rest`](Self::visit_rest) does those that nobody vouches for.
    pub(crate) fn visit_members(
        &self,
        see: &mut dyn FnMut(&Found) -> Result<(), String>,
    ) -> Result<(), String> {
        self.head.iter().try_for_each(&mut *see)?;
        for (number, mark) in self.marks.iter().enumerate() {
            self.visit(number, &mut |piece| match piece {
                Piece::Payload(found, ..) | Piece::Tag(found) => see(found),
                Piece::Line(..) => Ok(()),
            })?;
            see(&mark.text)?;
            see(&mark.signature)?;
        }
        self.visit_rest(see).map(drop)
    }

    /// Shows what the checkpoint of that number in [`marks`](Self::marks) vouches for.
    pub(crate) fn visit(
        &self,
        number: usize,
        see: &mut dyn FnMut(Piece<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let from = match number.checked_sub(1) {
            Some(before) => self.marks[before].signature.end,
            None => self.head[2].end,
        };
        let mark = &self.marks[number];
        let text = mark.text.read(self.source, TEXT_LIMIT)?;
        lay_out(self.source, &self.folder, from, &mark.text, &text, see).map(drop)
    }

    /// Shows the whole members behind what is vouched for, up to the first that is cut or not
    /// written as it should be; gives what stands there instead of a member: the name, where
    /// that can be read, and why it is none.
    pub(crate) fn visit_rest(
        &self,
        see: &mut dyn FnMut(&Found) -> Result<(), String>,
    ) -> Result<(u64, Option<String>, String), String> {
        let mut at = self.vouched_end();
        loop {
            if at == self.source.len() {
                return Ok((at, None, "the cut lies between two members".into()));
            }
            match reader::member_at(self.source, at, None) {
                Ok(found) if found.name.starts_with(&self.folder) => {
                    see(&found)?;
                    at = found.end;
                }
                Ok(_) => return Ok((at, None, "a member of no bundle".into())),
                Err(why) => {
                    let name = reader::name_at(self.source, at)
                        .and_then(|name| Some(name.strip_prefix(&self.folder)?.to_owned()));
                    return Ok((at, name, why));
                }
            }
        }
    }
}

/// The name of the certificate of that number.
pub(crate) fn signer_name(number: u64) -> String {
    match number {
        1 => SIGNER.to_owned(),
        number => format!("records/signer-{number}.cert.asc"),
    }
}

/// Whether a tag file is a certificate of the key of a resumed run.
pub(crate) fn is_signer(name: &str) -> bool {
    name.strip_prefix("records/signer-")
        .and_then(|rest| rest.strip_suffix(".cert.asc"))
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Goes over what must lie between `from` and a checkpoint: what its lines name, and nothing else.
fn lay_out(
    source: &dyn ReadAt,
    folder: &str,
    from: u64,
    checkpoint: &Found,
    text: &[u8],
    see: &mut dyn FnMut(Piece<'_>) -> Result<(), String>,
) -> Result<Head, String> {
    let until = checkpoint.offset;
    let mut room = until.saturating_sub(from);
    let mut segments: HashMap<u64, Segments> = HashMap::new();
    let mut at = from;
    let find = |at: u64, segments: &HashMap<u64, Segments>| {
        if at >= until {
            return Err("its lines name more than lies before it".to_owned());
        }
        let listed = segments.get(&at);
        let compressed = listed.map(|listed| {
            let sum = listed.compressed.iter();
            sum.fold(0u64, |sum, bytes| sum.saturating_add(*bytes))
        });
        let found = reader::member_at(source, at, compressed)?;
        let Some(name) = found.name.strip_prefix(folder) else {
            return Err(format!("{:?} lies outside the bundle's folder", found.name));
        };
        if listed.is_some_and(|listed| listed.member != name) {
            return Err("a list of segments is of another member".into());
        }
        if found.end > until {
            return Err("a member reaches into it".into());
        }
        Ok(found)
    };
    let head = checkpoint::read(text, |list, line| {
        if list == 0 {
            let line = Segments::read(line, &mut room)?;
            segments.insert(line.offset, line);
        }
        if list == FILES {
            let parsed = FileLine::parse(line)?;
            loop {
                let found = find(at, &segments)?;
                let name = &found.name[folder.len()..];
                at = found.end;
                if is_before_payload(name) {
                    see(Piece::Tag(&found))?;
                    continue;
                }
                if name != parsed.member || found.facts.size != parsed.member_size() {
                    return Err(format!("{:?} stands where {name:?} is", parsed.member));
                }
                let table = segments.get(&found.offset);
                let table = table.map_or(&[][..], |listed| &listed.compressed);
                see(Piece::Payload(&found, &parsed, table))?;
                break;
            }
        }
        see(Piece::Line(list, line))
    })?;
    while at < until {
        let found = find(at, &segments)?;
        let name = &found.name[folder.len()..];
        let is_own = is_before_payload(name)
            || (head.last
                && !name.starts_with("data/")
                && !name.starts_with("records/checkpoints/"));
        if !is_own {
            return Err(format!("none of its lines names {name:?}"));
        }
        at = found.end;
        see(Piece::Tag(&found))?;
    }
    Ok(head)
}

/// Whether a tag file may stand between checkpoints: a resumed run's certificate, what a salvage
/// was made from.
fn is_before_payload(name: &str) -> bool {
    is_signer(name) || name.starts_with("records/salvaged/")
}

/// The hash of the first bytes, of ever more of them.
struct Prefix<'a> {
    source: &'a dyn ReadAt,
    hasher: blake3::Hasher,
    at: u64,
    buffer: Vec<u8>,
}

impl<'a> Prefix<'a> {
    fn new(source: &'a dyn ReadAt) -> Self {
        Self {
            source,
            hasher: blake3::Hasher::new(),
            at: 0,
            buffer: vec![0; STEP_BYTES],
        }
    }

    /// Hashes on, up to `length`.
    fn advance(&mut self, length: u64) -> Result<(), String> {
        while self.at < length {
            let count = (length - self.at).min(self.buffer.len() as u64) as usize;
            self.source
                .read_exact_at("the archive", self.at, &mut self.buffer[..count])
                .map_err(|error| error.to_string())?;
            self.hasher.update(&self.buffer[..count]);
            self.at += count as u64;
        }
        Ok(())
    }

    /// The hash of exactly `length` bytes; what was hashed before is never more.
    fn hash_of(&mut self, length: u64) -> Result<blake3::Hash, String> {
        if self.at > length {
            return Err("what lies there was passed".into());
        }
        self.advance(length)?;
        Ok(self.hasher.finalize())
    }
}
