//! The bag's own files: their order, the seal over them, what they say of each other.

use std::collections::HashSet;

use scelle_formats::Digests;

use super::{Problems, Signer, Verification};
use crate::{
    Certificate, Collection, Deployment, FORMAT, cut::signer_name, reader::Member, salvage,
    stamp::Stamp, text::hex, writer::SIGNER,
};

pub(super) const COLLECTION: &str = "records/collection.json";
pub(super) const TAG_MANIFEST: &str = "tagmanifest-sha256.txt";
pub(super) const BAG_INFO: &str = "bag-info.txt";
/// The files that stand before the payload.
const FIRST: [&str; 3] = ["bagit.txt", COLLECTION, SIGNER];
/// The files that stand behind it, up to the last checkpoint.
const BEHIND: [&str; 8] = [
    "records/files.jsonl",
    "records/coverage.jsonl",
    "records/warnings.jsonl",
    "records/audit.jsonl",
    INCIDENT,
    "manifest-sha256.txt",
    "manifest-blake3.txt",
    BAG_INFO,
];
const INCIDENT: &str = "records/incident.json";

/// Where a bundle's writer stands, as its members tell.
#[derive(Default)]
pub(super) struct Order {
    count: usize,
    checkpoints: u64,
    /// A checkpoint's text was seen and its signature must follow.
    wants_signature: bool,
    /// How many certificates of resumed runs were seen.
    resumed: u64,
    has_payload: bool,
    salvaged: Salvaged,
    /// How many of [`BEHIND`] are passed.
    behind: usize,
    is_last_done: bool,
    has_manifest: bool,
    signatures: usize,
}

impl Order {
    /// Takes the next member; says what is wrong with its place.
    pub(super) fn next(&mut self, name: &str) -> Result<(), String> {
        const WRONG: &str = "it has no place here";
        let at = self.count;
        self.count += 1;
        if let Some(first) = FIRST.get(at) {
            return if name == *first {
                Ok(())
            } else {
                Err(format!("{first} must stand here"))
            };
        }
        if let Some(name) = name.strip_prefix(salvage::FOLDER)
            && self.behind == 0
            && self.checkpoints == 0
            && !self.has_payload
        {
            return self.salvaged.next(name);
        }
        if self.wants_signature {
            self.wants_signature = false;
            let wanted = format!("records/checkpoints/{:06}.asc", self.checkpoints);
            return if name == wanted {
                self.is_last_done = self.behind == BEHIND.len();
                Ok(())
            } else {
                Err(format!("{wanted} must stand here"))
            };
        }
        if self.is_last_done {
            if !self.has_manifest && name == signer_name(self.resumed + 2) {
                self.resumed += 1;
                return Ok(());
            }
            return match (self.has_manifest, self.signatures) {
                (false, _) if name == TAG_MANIFEST => {
                    self.has_manifest = true;
                    Ok(())
                }
                (true, 0) if name.starts_with("signatures/") && name.ends_with(".asc") => {
                    self.signatures = 1;
                    Ok(())
                }
                // That it bears the signature's name is checked with what it says.
                (true, 1) if name.starts_with("signatures/") && name.ends_with(".tsr") => {
                    self.signatures = 2;
                    Ok(())
                }
                _ => Err(WRONG.into()),
            };
        }
        if name == format!("records/checkpoints/{:06}.json", self.checkpoints + 1)
            && (self.behind == 0 || self.behind == BEHIND.len())
        {
            self.checkpoints += 1;
            self.wants_signature = true;
            return Ok(());
        }
        if name.starts_with("data/") && self.behind == 0 {
            self.has_payload = true;
            return Ok(());
        }
        if name == signer_name(self.resumed + 2) && self.behind == 0 {
            self.resumed += 1;
            return Ok(());
        }
        let expected = BEHIND.get(self.behind).copied();
        if expected == Some(name) {
            self.behind += 1;
            return Ok(());
        }
        if expected == Some(INCIDENT) && BEHIND.get(self.behind + 1).copied() == Some(name) {
            self.behind += 2;
            return Ok(());
        }
        Err(match expected {
            Some(expected) if self.behind > 0 => format!("{expected} must stand here"),
            _ => WRONG.into(),
        })
    }

    /// Whether the member taken last is the last checkpoint or stands behind it.
    pub(super) fn is_ending(&self) -> bool {
        self.behind == BEHIND.len() && (self.wants_signature || self.is_last_done)
    }

    /// Says what is missing at the end.
    pub(super) fn finish(&self) -> Result<(), &'static str> {
        if self.salvaged.wants_signature {
            Err("a salvaged checkpoint lacks its signature")
        } else if self.signatures > 0 {
            Ok(())
        } else if self.has_manifest {
            Err("the signature is missing")
        } else {
            Err("the tag manifest is missing")
        }
    }
}

/// The records that a salvage keeps of the cut bundle.
#[derive(Default)]
struct Salvaged {
    count: usize,
    resumed: u64,
    checkpoints: u64,
    wants_signature: bool,
}

impl Salvaged {
    fn next(&mut self, name: &str) -> Result<(), String> {
        let at = self.count;
        self.count += 1;
        let number = self.checkpoints;
        let wanted = match at {
            0 => "collection.json".to_owned(),
            1 => "signer.cert.asc".to_owned(),
            _ if self.wants_signature => format!("checkpoints/{number:06}.asc"),
            _ if Some(name) == signer_name(self.resumed + 2).strip_prefix("records/") => {
                self.resumed += 1;
                return Ok(());
            }
            _ => {
                self.checkpoints += 1;
                format!("checkpoints/{:06}.json", number + 1)
            }
        };
        self.wants_signature = at > 1 && !self.wants_signature;
        if name == wanted {
            Ok(())
        } else {
            Err(format!("{}{wanted} must stand here", salvage::FOLDER))
        }
    }
}

/// The seal: the tag manifest, the signature over it, the certificate of who signed.
pub(super) struct Seal<'a> {
    pub(super) manifest: &'a [u8],
    /// Name and text of the signature.
    pub(super) signature: Option<(&'a str, &'a [u8])>,
    /// The certificates of the keys that sign, in the order in which they come into force.
    pub(super) signers: &'a [(u64, Certificate)],
}

/// Checks the seal; gives the signer where the signature is sound.
pub(super) fn check_seal(
    seal: &Seal<'_>,
    verification: &mut Verification,
    problems: &Problems,
) -> Option<Certificate> {
    let digests = Digests::of(seal.manifest);
    verification.root = Some(hex(&digests.blake3));
    verification.root_sha256 = Some(hex(&digests.sha256));
    // What is missing or wrong of a certificate is told where it is read.
    let (_, certificate) = seal.signers.last()?;
    let Some((name, text)) = seal.signature else {
        problems.note("the signature is missing");
        return None;
    };
    if name != format!("signatures/{}.asc", certificate.fingerprint()) {
        problems.of(name, "it bears another name than the signer's fingerprint");
        return None;
    }
    match certificate.check(seal.manifest, text) {
        Ok(at) => verification.signed_at = Some(at),
        Err(what) => {
            problems.of(name, format!("the signature is not sound: {what}"));
            return None;
        }
    }
    verification.signers.push(Signer::of(&certificate.own));
    Some(certificate.clone())
}

/// Checks a time-stamp over the signature.
pub(super) fn check_stamp(
    (name, text): (&str, &[u8]),
    signature: Option<(&str, &[u8])>,
    verification: &mut Verification,
    problems: &Problems,
) {
    let Some((signed, signature)) = signature else {
        return;
    };
    if name.strip_suffix(".tsr") != signed.strip_suffix(".asc") {
        problems.of(name, "it bears another name than the signature");
        return;
    }
    match Stamp::read(text, signature) {
        Ok(stamp) => verification.read_stamp = Some(stamp),
        Err(what) => problems.of(name, format!("the time-stamp is not sound: {what}")),
    }
}

/// Compares the tag manifest with what the tag files hash to, in writing order; there is no hash
/// of a file that can't be read, which is told already.
pub(super) fn check_tag_manifest(
    manifest: &[u8],
    tags: &[(String, Option<[u8; 32]>)],
    problems: &Problems,
) {
    let mut listed = Vec::new();
    for line in manifest.split_inclusive(|byte| *byte == b'\n') {
        let text = std::str::from_utf8(line).ok();
        match text.and_then(|text| text.strip_suffix('\n')?.split_once("  ")) {
            Some(pair) => listed.push(pair),
            None => problems.of(TAG_MANIFEST, "a line is not as it is written"),
        }
    }
    let there: HashSet<&str> = tags.iter().map(|(name, _)| &**name).collect();
    let names: HashSet<&str> = listed.iter().map(|(_, name)| *name).collect();
    let mut lines = listed.into_iter().peekable();
    for (name, sha256) in tags {
        while let Some((_, missing)) = lines.next_if(|(_, listed)| !there.contains(listed)) {
            problems.of(missing, "it is missing");
        }
        if !names.contains(&**name) {
            problems.of(name, "it was added: the tag manifest does not list it");
            continue;
        }
        match lines.next() {
            Some((hash, listed)) if listed == name => {
                if sha256.is_some_and(|sha256| hex(&sha256) != hash) {
                    problems.of(
                        name,
                        "it was altered: its SHA-256 is not the tag manifest's",
                    );
                }
            }
            _ => problems.of(name, "the tag manifest has another file in its place"),
        }
    }
    for (_, missing) in lines {
        problems.of(missing, "it is missing, or listed twice");
    }
}

/// What `collection.json` and `bag-info.txt` say.
pub(super) fn check_words(
    collection: Option<&[u8]>,
    bag_info: Option<&[u8]>,
    folder: Option<&str>,
    begun_by: Option<&Certificate>,
    verification: &mut Verification,
    problems: &Problems,
) {
    match collection.map(serde_json::from_slice::<Collection>) {
        Some(Ok(collection)) => {
            if collection.format != FORMAT {
                problems.of(
                    COLLECTION,
                    format!("format {} is not known here", collection.format),
                );
            }
            if folder.is_some_and(|folder| folder.trim_end_matches('/') != collection.name) {
                problems.of(COLLECTION, "it names another bundle");
            }
            verification.part = collection.part;
            if collection.part == 0 || (collection.part > 1) != collection.resumes.is_some() {
                problems.of(COLLECTION, "it does not say truly which part it is");
            }
            if collection.salvage.is_some() != verification.is_salvage {
                problems.of(
                    COLLECTION,
                    "it does not say truly whether the bundle is a salvage",
                );
            }
            if let Err(error) = collection.label() {
                problems.of(COLLECTION, error);
            }
            // A salvage is begun by the key of whoever made it.
            let begun_by = begun_by.filter(|_| collection.salvage.is_none());
            if let (Some(said), Some(key)) = (&collection.deployment, begun_by)
                && *said != Deployment::of_run(said.number, &key.fingerprint())
            {
                problems.of(
                    COLLECTION,
                    "its run's number is not that of the key that began it",
                );
            }
            verification.tlp = Some(collection.tlp);
            verification.deployment = collection.deployment;
        }
        Some(Err(error)) => problems.of(COLLECTION, format!("it can't be read: {error}")),
        None => problems.of(COLLECTION, "it is missing"),
    }
    let Some(info) = bag_info.and_then(|text| std::str::from_utf8(text).ok()) else {
        problems.of(BAG_INFO, "it is missing or no text");
        return;
    };
    let value = |label: &str| {
        info.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| *key == label)
            .map(|(_, value)| value)
    };
    if value("Scelle-Payload") != verification.payload.as_deref() {
        problems.of(BAG_INFO, "its payload id is not the payload manifest's");
    }
    let oxum = format!("{}.{}", verification.bytes, verification.files);
    if value("Payload-Oxum") != Some(&oxum) {
        problems.of(BAG_INFO, format!("its Payload-Oxum is not {oxum}"));
    }
    if value("Scelle-TLP") != verification.tlp.as_deref() {
        problems.of(BAG_INFO, "its TLP label is not the collection's");
    }
}

/// The members that are certificates of the keys that sign, in order.
pub(super) fn signers<'a>(
    tags: &'a [Member],
    folder: &'static str,
) -> impl Iterator<Item = &'a Member> {
    tags.iter().filter(move |member| {
        let name = member.name.strip_prefix(folder);
        name.is_some_and(|name| {
            !name.contains('/') && name.starts_with("signer") && name.ends_with(".cert.asc")
        })
    })
}

/// The tag files, found by name.
pub(super) fn find<'a>(tags: &'a [Member], name: &str) -> Option<&'a Member> {
    tags.iter().find(|member| member.name == name)
}
