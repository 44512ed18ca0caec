//! Checking a bag that lies in a folder.

use std::{
    collections::HashSet,
    fs::{DirEntry, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use scelle_formats::{Digests, Hasher};

use super::{
    Problems, Scope, Verification, VerifyOptions,
    asked::Asked,
    audit::{self, AuditLog},
    conclude,
    tags::{self, Seal},
};
use crate::{
    Certificate,
    cut::is_signer,
    file_line::FileLine,
    limits::{
        ARMOUR_LIMIT, BAG_INFO_LIMIT, COLLECTION_LIMIT, LINE_LIMIT, MANIFEST_LIMIT, SignersRoom,
    },
    names, salvage,
    stamp::STAMP_LIMIT,
    text::hex,
    writer::SIGNER,
};

const STEP_BYTES: usize = 1 << 20;

pub(super) fn check(folder: &Path, options: &VerifyOptions, asked: &Asked<'_>) -> Verification {
    let mut verification = Verification::new(asked.scope(Scope::Bag));
    let problems = Problems::default();
    let bag = Bag {
        folder,
        problems: &problems,
        asked,
    };
    let manifest = bag.read(tags::TAG_MANIFEST, MANIFEST_LIMIT);
    let mut room = SignersRoom::ALL;
    let signers: Vec<_> = manifest.as_deref().map_or_else(Vec::new, |manifest| {
        let names = manifest.split(|byte| *byte == b'\n').filter_map(split_line);
        names
            .map(|(_, name)| name)
            .filter(|name| *name == SIGNER || is_signer(name))
            .filter_map(|name| {
                room.take(0).ok()?;
                let text = bag.read(name, ARMOUR_LIMIT)?;
                let taken = room.take(text.len() as u64);
                taken.map_err(|what| problems.of(name, what)).ok()?;
                let read = Certificate::read(&text);
                read.map_err(|error| problems.of(name, error.to_string()))
                    .ok()
                    .map(|certificate| (0, certificate))
            })
            .collect()
    });
    let signature = bag.sealing(".asc", ARMOUR_LIMIT);
    let stamp = bag.sealing(".tsr", STAMP_LIMIT);
    let sealed = signature.as_ref().map(|(name, text)| (&**name, &text[..]));
    if let Some((name, text)) = &stamp {
        tags::check_stamp((name, text), sealed, &mut verification, &problems);
    }
    let signer = manifest.as_ref().and_then(|manifest| {
        tags::check_seal(
            &Seal {
                manifest,
                signature: sealed,
                signers: &signers,
            },
            &mut verification,
            &problems,
        )
    });
    let mut known = HashSet::new();
    if let Some(manifest) = &manifest {
        let mut log = AuditLog::default();
        bag.check_tags(manifest, &mut known, &mut log);
        if !log.is_chained() {
            problems.of(audit::NAME, audit::NOT_CHAINED);
        }
        verification.asked_time = log.asked_time();
    }
    bag.check_payload(&mut verification, &mut known);
    verification.payload = bag
        .hash("manifest-blake3.txt")
        .map(|digests| hex(&digests.blake3));
    let collection = bag.read(tags::COLLECTION, COLLECTION_LIMIT);
    // That a salvage keeps what vouches is checked in its archive; here it is only told.
    if folder.join(salvage::FOLDER).is_dir() {
        verification.is_salvage = true;
        verification
            .notes
            .push("it is a salvage: check its archive to learn what is vouched for".into());
    }
    let bag_info = bag.read(tags::BAG_INFO, BAG_INFO_LIMIT);
    tags::check_words(
        collection.as_deref(),
        bag_info.as_deref(),
        None,
        signers.first().map(|(_, certificate)| certificate),
        &mut verification,
        &problems,
    );
    known.insert(names::folded_key(tags::TAG_MANIFEST));
    for (name, _) in [&signature, &stamp].into_iter().flatten() {
        known.insert(names::folded_key(name));
    }
    bag.check_extra(folder, "", &known);
    conclude(verification, signer.as_ref(), problems, options)
}

struct Bag<'a> {
    folder: &'a Path,
    problems: &'a Problems,
    asked: &'a Asked<'a>,
}

impl Bag<'_> {
    /// Where a member lies; only names that were made here lead anywhere.
    fn path(&self, name: &str) -> Option<PathBuf> {
        if let Some(what) = names::complaint(name) {
            self.problems.of(name, format!("its name {what}"));
            return None;
        }
        Some(self.folder.join(name))
    }

    fn open(&self, name: &str) -> Option<File> {
        let path = self.path(name)?;
        let opened = path.symlink_metadata().and_then(|metadata| {
            if metadata.is_file() {
                File::open(&path)
            } else {
                Err(io::Error::other("it is no plain file"))
            }
        });
        match opened {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.problems.of(name, "it is missing");
                None
            }
            Err(error) => {
                self.problems.of(name, error.to_string());
                None
            }
        }
    }

    fn read(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.open(name)?.take(limit + 1).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > limit => {
                self.problems.of(name, "it is larger than it may be");
                None
            }
            Ok(_) => Some(bytes),
            Err(error) => {
                self.problems.of(name, error.to_string());
                None
            }
        }
    }

    fn hash(&self, name: &str) -> Option<Digests> {
        self.hash_and(name, &mut |_| {})
    }

    /// Hashes a file, whose bytes `take` sees.
    fn hash_and(&self, name: &str, take: &mut dyn FnMut(&[u8])) -> Option<Digests> {
        let mut file = self.open(name)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; STEP_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Some(hasher.finish()),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    take(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.problems.of(name, error.to_string());
                    return None;
                }
            }
        }
    }

    /// The file of that ending in `signatures/`, and its name.
    fn sealing(&self, ending: &str, limit: u64) -> Option<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for name in self.list(&self.folder.join("signatures"), "signatures/") {
            let name = name.file_name().to_string_lossy().into_owned();
            if name.ends_with(ending) {
                found.push(format!("signatures/{name}"));
            }
        }
        // Any other is one that nothing lists.
        let name = found.into_iter().min()?;
        let text = self.read(&name, limit)?;
        Some((name, text))
    }

    fn check_tags(&self, manifest: &[u8], known: &mut HashSet<u64>, log: &mut AuditLog) {
        for line in manifest.split(|byte| *byte == b'\n') {
            let Some((hash, name)) = split_line(line) else {
                if !line.is_empty() {
                    self.problems
                        .of(tags::TAG_MANIFEST, "a line is not as it is written");
                }
                continue;
            };
            if !known.insert(names::folded_key(name)) {
                self.problems.of(name, "it is listed twice");
                continue;
            }
            let found = if name == audit::NAME {
                self.hash_and(name, &mut |bytes| log.take(bytes))
            } else {
                self.hash(name)
            };
            let found = found.map(|digests| hex(&digests.sha256));
            if found.is_some_and(|found| found != hash) {
                self.problems.of(
                    name,
                    "it was altered: its SHA-256 is not the tag manifest's",
                );
            }
        }
    }

    fn check_payload(&self, verification: &mut Verification, known: &mut HashSet<u64>) {
        const LISTS: [&str; 3] = [
            "records/files.jsonl",
            "manifest-sha256.txt",
            "manifest-blake3.txt",
        ];
        let open = |name: &str| self.open(name).map(BufReader::new);
        let [Some(mut files), Some(mut sha256), Some(mut blake3)] = LISTS.map(open) else {
            return;
        };
        loop {
            let mut lines: [Vec<u8>; 3] = Default::default();
            let readers = [&mut files, &mut sha256, &mut blake3];
            for ((line, reader), name) in lines.iter_mut().zip(readers).zip(LISTS) {
                if let Err(error) = read_line(reader, line) {
                    self.problems.of(name, error.to_string());
                    return;
                }
            }
            if lines.iter().all(Vec::is_empty) {
                return;
            }
            let line = match FileLine::parse(&lines[0]) {
                Ok(line) => line,
                Err(what) => {
                    self.problems.of("records/files.jsonl", what);
                    return;
                }
            };
            let name = &line.member;
            verification.files += 1;
            verification.bytes = verification.bytes.saturating_add(line.member_size());
            if !known.insert(names::folded_key(name)) {
                self.problems.of(name, "it is listed twice");
                continue;
            }
            let Some((sha256, blake3)) = line.member_hashes() else {
                self.problems.of(name, "there is no hash of it");
                continue;
            };
            if lines[1] != format!("{sha256}  {name}\n").as_bytes()
                || lines[2] != format!("{blake3}  {name}\n").as_bytes()
            {
                self.problems
                    .of(name, "the manifests and records/files.jsonl differ");
            }
            if !self.asked.wants(&line) {
                continue;
            }
            if let Some(digests) = self.hash(name)
                && (hex(&digests.sha256) != sha256 || hex(&digests.blake3) != blake3)
            {
                self.problems.of(
                    name,
                    "it was altered: its hashes are not those of the manifests",
                );
            }
        }
    }

    /// What lies in a folder of the bag; what of it can't be listed is a problem.
    fn list(&self, folder: &Path, prefix: &str) -> Vec<DirEntry> {
        let listed = std::fs::read_dir(folder).and_then(Iterator::collect);
        listed.unwrap_or_else(|error: io::Error| {
            self.problems.of(prefix, error.to_string());
            Vec::new()
        })
    }

    /// Names every file that nothing lists.
    fn check_extra(&self, folder: &Path, prefix: &str, known: &HashSet<u64>) {
        for entry in self.list(folder, prefix) {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.check_extra(&entry.path(), &format!("{name}/"), known);
            } else if !known.contains(&names::folded_key(&name)) {
                self.problems.of(&name, "it was added: nothing lists it");
            }
        }
    }
}

/// Reads a line with its end; of none there is nothing.
fn read_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<()> {
    let mut reader = reader.take(LINE_LIMIT as u64 + 1);
    reader.read_until(b'\n', line)?;
    if line.len() > LINE_LIMIT {
        return Err(io::Error::other(format!(
            "a line has more than {LINE_LIMIT} bytes"
        )));
    }
    Ok(())
}

fn split_line(line: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(line).ok()?.split_once("  ")
}
