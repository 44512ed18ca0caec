//! Checking an archive.

use std::collections::{HashMap, HashSet};

use scelle_formats::{Hasher, ReadAt, ReadAtExt as _};

use super::{
    Problems, Scope, Verification, VerifyOptions,
    asked::Asked,
    audit::{self, AuditLog},
    conclude, envelope,
    payload::{self, Expected},
    tags::{self, Order, Seal},
    unfinished,
};
use crate::{
    Certificate, Collection, Decrypted,
    checkpoint::{self, Head, LISTS, Segments},
    codec::Method,
    limits::{
        ARMOUR_LIMIT, BAG_INFO_LIMIT, COLLECTION_LIMIT, MANIFEST_LIMIT, SignersRoom, TEXT_LIMIT,
    },
    names,
    reader::{ArchiveReader, Member},
    stamp::STAMP_LIMIT,
    text::hex,
};

/// Bytes of the archive that are hashed at a time.
const HASH_STEP_BYTES: usize = 1 << 20;
/// More tag files than this are refused: each is kept in memory.
const MOST_TAGS: usize = 1 << 20;

/// One archive under check.
pub(super) struct Check<'a> {
    pub(super) archive: ArchiveReader<'a>,
    pub(super) folder: &'a str,
    pub(super) problems: &'a Problems,
    pub(super) asked: &'a Asked<'a>,
    /// Compressed bytes of the segments of large members.
    pub(super) segments: HashMap<String, Vec<u64>>,
    /// Keys of all members' names, sorted.
    members: Vec<u64>,
}

/// Checks an archive, and, where it is the content of a message, that it is this one's.
pub(super) fn check(
    source: &dyn ReadAt,
    options: &VerifyOptions,
    asked: &Asked<'_>,
    message: Option<&Decrypted>,
    scope: Scope,
) -> Verification {
    let mut verification = Verification::new(scope);
    let problems = Problems::default();
    let archive = match ArchiveReader::open(source) {
        Ok(archive) => archive,
        Err(what) => return unfinished::check(source, what, verification, options),
    };
    let signer = archive
        .folder()
        .and_then(|folder| {
            let mut check = Check {
                archive,
                folder: &folder,
                problems: &problems,
                asked,
                segments: HashMap::new(),
                members: Vec::new(),
            };
            check.run(message, &mut verification)
        })
        .unwrap_or_else(|what| {
            problems.note(what);
            None
        });
    conclude(verification, signer.as_ref(), problems, options)
}

impl Check<'_> {
    /// All of it; an error where the archive is too confused to go on.
    fn run(
        &mut self,
        message: Option<&Decrypted>,
        verification: &mut Verification,
    ) -> Result<Option<Certificate>, String> {
        let (tags, members) = self.survey()?;
        self.members = members;
        let read = |name: &str, limit: u64| self.read_tag(&tags, name, limit);
        let manifest = read(tags::TAG_MANIFEST, MANIFEST_LIMIT)
            .ok_or_else(|| "without its tag manifest nothing can be checked".to_owned())?;
        let signers = self.read_signers(&tags);
        let sealing = |ending: &str, limit: u64| {
            let mut found = tags.iter().rev().filter(|member| {
                member.name.starts_with("signatures/") && member.name.ends_with(ending)
            });
            let member = found.next()?;
            Some((&*member.name, read(&member.name, limit)?))
        };
        let signature = sealing(".asc", ARMOUR_LIMIT);
        let signature = signature.as_ref().map(|(name, text)| (*name, &text[..]));
        if let Some((name, text)) = sealing(".tsr", STAMP_LIMIT) {
            tags::check_stamp((name, &text), signature, verification, self.problems);
        }
        let signer = tags::check_seal(
            &Seal {
                manifest: &manifest,
                signature,
                signers: &signers,
            },
            verification,
            self.problems,
        );
        let (lists, prefixes) = self.check_checkpoints(&tags, &signers);
        let salvaged = self.check_salvaged(&tags, verification);
        let expected = Expected {
            lists: &lists,
            tags: &tags,
            salvaged: salvaged.as_ref(),
        };
        let (_, outcome) = rayon::join(
            || self.check_prefixes(&prefixes),
            || payload::check(self, &expected),
        );
        let outcome = outcome?;
        verification.files = outcome.files;
        verification.bytes = outcome.bytes;
        verification.payload = outcome.payload.map(|hash| hex(&hash));
        verification.asked_time = outcome.asked_time;
        tags::check_tag_manifest(&manifest, &outcome.tag_hashes, self.problems);
        let collection = self.read_tag(&tags, tags::COLLECTION, COLLECTION_LIMIT);
        let bag_info = self.read_tag(&tags, tags::BAG_INFO, BAG_INFO_LIMIT);
        tags::check_words(
            collection.as_deref(),
            bag_info.as_deref(),
            Some(self.folder),
            signers.first().map(|(_, certificate)| certificate),
            verification,
            self.problems,
        );
        if let Some(salvaged) = salvaged {
            verification.notes = salvaged.tell(verification.files);
        }
        if let Some(message) = message {
            let collection = collection.as_deref();
            let signer = signer.as_ref();
            envelope::check_message(
                message,
                collection,
                signer,
                self.folder,
                &tags,
                self.problems,
            );
        }
        Ok(signer)
    }

    /// Whether a member has that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.binary_search(&names::folded_key(name)).is_ok()
    }

    /// Goes over the central directory: places, names, order. Gives the tag files, and the
    /// sorted keys of all names.
    fn survey(&self) -> Result<(Vec<Member>, Vec<u64>), String> {
        let mut members = self.archive.members(self.folder);
        let mut order = Order::default();
        let mut tags = Vec::new();
        let mut files: Vec<u64> = Vec::new();
        let mut folders: HashSet<u64> = HashSet::new();
        let mut last_folder = String::new();
        while let Some(member) = members.next_member()? {
            let name = &member.name;
            if let Some(what) = names::complaint(name) {
                self.problems.of(name, format!("its name {what}"));
            }
            if let Err(what) = order.next(name) {
                self.problems.of(name, what);
            }
            // Nothing vouches for the compressed form of what stands here, only for its bytes.
            if order.is_ending() && member.facts.method != Method::Store {
                self.problems
                    .of(name, "it is compressed, and must be stored here");
            }
            files.push(names::folded_key(name));
            let parent = name.rfind('/').map_or("", |at| &name[..at]);
            if parent != last_folder {
                for (at, _) in name.match_indices('/') {
                    folders.insert(names::folded_key(&name[..at]));
                }
                parent.clone_into(&mut last_folder);
            }
            if !name.starts_with("data/") {
                if tags.len() == MOST_TAGS {
                    return Err("there are too many files beside the payload".into());
                }
                tags.push(member);
            }
        }
        if let Err(what) = order.finish() {
            self.problems.note(what);
        }
        files.sort_unstable();
        let twice = files.windows(2).find(|pair| pair[0] == pair[1]);
        let inside = files.iter().find(|file| folders.contains(file));
        for (key, what) in [
            (
                twice.map(|pair| pair[0]),
                "another member has the same name",
            ),
            (inside.copied(), "it is a file and a folder at once"),
        ] {
            if let Some(key) = key {
                let name = self.name_of(key)?;
                self.problems.of(&name, what);
            }
        }
        Ok((tags, files))
    }

    /// The first member of that key.
    fn name_of(&self, key: u64) -> Result<String, String> {
        let mut members = self.archive.members(self.folder);
        while let Some(member) = members.next_member()? {
            if names::folded_key(&member.name) == key {
                return Ok(member.name);
            }
        }
        Ok(String::new())
    }

    pub(super) fn read_tag(&self, tags: &[Member], name: &str, limit: u64) -> Option<Vec<u8>> {
        let Some(member) = tags::find(tags, name) else {
            self.problems.of(name, "it is missing");
            return None;
        };
        self.read_member(member, limit)
    }

    fn read_member(&self, member: &Member, limit: u64) -> Option<Vec<u8>> {
        let read = self.archive.read(self.folder, member, &[], limit);
        read.map_err(|what| self.problems.of(&member.name, what))
            .ok()
    }

    /// The certificates of the keys that sign, in the order in which they come into force.
    fn read_signers(&self, tags: &[Member]) -> Vec<(u64, Certificate)> {
        let mut room = SignersRoom::ALL;
        tags::signers(tags, "records/")
            .filter_map(|member| {
                let taken = room.take(member.facts.size);
                taken
                    .map_err(|what| self.problems.of(&member.name, what))
                    .ok()?;
                let text = self.read_member(member, ARMOUR_LIMIT)?;
                let read = Certificate::read(&text);
                read.map_err(|error| self.problems.of(&member.name, error.to_string()))
                    .ok()
                    .map(|certificate| (member.offset, certificate))
            })
            .collect()
    }

    /// The checkpoint that a further part goes on from, in hex.
    fn resumed_from(&self, tags: &[Member]) -> Option<String> {
        let member = tags::find(tags, tags::COLLECTION)?;
        let limit = COLLECTION_LIMIT;
        let text = self.archive.read(self.folder, member, &[], limit);
        // What is wrong with it is told where it is checked.
        let read = text.map(|text| serde_json::from_slice::<Collection>(&text));
        match read {
            Ok(Ok(collection)) if collection.salvage.is_none() => {
                Some(collection.resumes?.checkpoint_blake3)
            }
            _ => None,
        }
    }

    /// Checks the chain of checkpoints, and gathers the segments that they list.
    ///
    /// Gives the BLAKE3 of each list's lines over all checkpoints, and what each says of the
    /// archive before it.
    fn check_checkpoints(
        &mut self,
        tags: &[Member],
        signers: &[(u64, Certificate)],
    ) -> ([blake3::Hash; LISTS.len()], Vec<(String, Head)>) {
        let mut lists: [blake3::Hasher; LISTS.len()] = Default::default();
        let mut heads = Vec::new();
        let mut previous = self.resumed_from(tags);
        let mut room = self.archive.source.len();
        let is_text = |member: &Member| {
            member.name.starts_with("records/checkpoints/") && member.name.ends_with(".json")
        };
        for (at, member) in tags
            .iter()
            .enumerate()
            .filter(|(_, member)| is_text(member))
        {
            let name = &member.name;
            let Some(text) = self.read_member(member, TEXT_LIMIT) else {
                continue;
            };
            let signature = format!("{}.asc", name.trim_end_matches(".json"));
            // The one place that it may have; of any other the order of members tells.
            let file = tags.get(at + 1).filter(|next| next.name == signature);
            if file.is_none() {
                self.problems.of(&signature, "it is missing");
            }
            let in_force = signers.iter().rev().find(|(at, _)| *at < member.offset);
            if let (Some((_, signer)), Some(file)) = (
                in_force,
                file.and_then(|member| self.read_member(member, ARMOUR_LIMIT)),
            ) && let Err(what) = signer.check(&text, &file)
            {
                self.problems
                    .of(&signature, format!("the signature is not sound: {what}"));
            }
            let segments = &mut self.segments;
            let head = checkpoint::read(&text, |list, line| {
                lists[list].update(line);
                lists[list].update(b"\n");
                if list == 0 {
                    let line = Segments::read(line, &mut room)?;
                    segments.insert(line.member, line.compressed);
                }
                Ok(())
            });
            match head {
                Ok(head) => {
                    if head.checkpoint != heads.len() as u64 + 1 || head.previous != previous {
                        self.problems
                            .of(name, "it does not follow the checkpoint before");
                    }
                    if head.length != member.offset {
                        self.problems.of(
                            name,
                            "the archive before it has another length than it says",
                        );
                    }
                    heads.push((name.clone(), head));
                }
                Err(what) => self.problems.of(name, what),
            }
            previous = Some(blake3::hash(&text).to_hex().to_string());
        }
        if !heads.last().is_some_and(|(_, head)| head.last)
            || heads.iter().rev().skip(1).any(|(_, head)| head.last)
        {
            self.problems
                .note("the last checkpoint, and no other, must say that it is the last");
        }
        (lists.map(|hasher| hasher.finalize()), heads)
    }

    /// Compares what the checkpoints say of the bytes before them.
    fn check_prefixes(&self, heads: &[(String, Head)]) {
        if !self.asked.is_all() {
            return;
        }
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; HASH_STEP_BYTES];
        let mut at = 0;
        for (name, head) in heads {
            while at < head.length {
                let count = (head.length - at).min(HASH_STEP_BYTES as u64) as usize;
                match self.archive.source.read_full_at(at, &mut buffer[..count]) {
                    Ok(read) if read == count => hasher.update(&buffer[..count]),
                    Ok(_) => {
                        self.problems.of(name, "the archive before it is cut");
                        return;
                    }
                    Err(error) => {
                        self.problems.of(name, error.to_string());
                        return;
                    }
                };
                at += count as u64;
            }
            if at != head.length || hasher.finalize().to_hex().as_str() != head.blake3 {
                self.problems.of(
                    name,
                    "the archive's bytes before it are not those that it vouches for",
                );
            }
        }
    }

    /// Checks a tag file to its last byte; gives its hashes. `log` takes the bytes of the audit log;
    /// `begin` says how many of its first bytes have which BLAKE3.
    pub(super) fn hash_tag(
        &self,
        member: &Member,
        mut log: Option<&mut AuditLog>,
        begin: Option<(u64, blake3::Hash)>,
    ) -> Option<scelle_formats::Digests> {
        let name = &member.name;
        let mut hasher = Hasher::new();
        let mut crc = crc32fast::Hasher::new();
        let mut left = begin.map_or(0, |(length, _)| length);
        let mut first = blake3::Hasher::new();
        let listed = self.segments.get(name);
        let segments = listed.map_or(&[][..], Vec::as_slice);
        let outcome = self
            .archive
            .check_frame(self.folder, member)
            .and_then(|()| {
                let is_text = name.starts_with("records/checkpoints/");
                if listed.is_none() && !is_text && member.facts.has_segments() {
                    return Err("no checkpoint lists its segments".into());
                }
                self.archive
                    .decode(self.folder, member, segments, &mut |bytes| {
                        hasher.update(bytes);
                        crc.update(bytes);
                        let own = left.min(bytes.len() as u64) as usize;
                        first.update(&bytes[..own]);
                        left -= own as u64;
                        if let Some(log) = &mut log {
                            log.take(bytes);
                        }
                    })
            });
        if let Err(what) = outcome {
            self.problems.of(name, what);
            return None;
        }
        if crc.finalize() != member.facts.crc32 {
            self.problems.of(name, "its CRC does not fit its bytes");
        }
        if log.is_some_and(|log| !log.is_chained()) {
            self.problems.of(name, audit::NOT_CHAINED);
        }
        if begin.is_some_and(|(_, hash)| left > 0 || first.finalize() != hash) {
            self.problems.of(
                name,
                "it does not begin with the lines of the salvaged checkpoints",
            );
        }
        Some(hasher.finish())
    }
}
