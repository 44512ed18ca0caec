//! A bundle that lacks its end: what it still holds, and what of it is vouched for.

use scelle_formats::{ReadAt, ReadAtExt as _};

use super::{Problem, Signer, Verdict, Verification, VerifyOptions};
use crate::{
    Certificate, checkpoint,
    codec::Method,
    key::ARMOUR_LIMIT,
    reader::decode_at,
    writer::SIGNER,
    zip::{self, Facts},
};

/// The longest local header: fixed part, name, Zip64 field.
const HEADER_BYTES: usize = 30 + 1024;
/// The most bytes of a checkpoint that are read.
const CHECKPOINT_LIMIT: u64 = 64 << 20;

/// Answers for an archive without a sound end: `what` is wrong with the end.
///
/// Where it begins as a bundle and stops before its seal, it is unfinished; else it is broken.
pub(super) fn check(
    source: &dyn ReadAt,
    what: String,
    mut verification: Verification,
    options: &VerifyOptions,
) -> Verification {
    let walk = Walk::run(source);
    verification.verdict = match walk.stopped {
        Stop::NoBundle | Stop::Sealed => Verdict::Broken,
        Stop::Cut => Verdict::Unfinished,
    };
    let mut problems = vec![what];
    match walk.stopped {
        Stop::NoBundle => problems.push("it does not begin as a bundle does".into()),
        Stop::Sealed => {
            problems.push("its seal is there, and what follows is not as written".into())
        }
        Stop::Cut => {
            verification.files = walk.files;
            problems.push(format!(
                "the collection was cut off: {} whole members are there, the tag manifest is not",
                walk.members
            ));
            problems.push(match walk.vouched {
                Some((number, length)) => format!(
                    "checkpoint {number} vouches for the first {length} bytes, by the key {} \
                     that travels with it",
                    walk.signer
                        .as_ref()
                        .map_or("", |signer| &signer.fingerprint)
                ),
                None => "no checkpoint vouches for any of it".into(),
            });
            if options.root.is_some() {
                problems.push("without its tag manifest it has no root to compare".into());
            }
            verification.signers.extend(walk.signer);
        }
    }
    verification.problems = problems
        .into_iter()
        .map(|what| Problem { member: None, what })
        .collect();
    verification
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    NoBundle,
    Cut,
    Sealed,
}

/// What a walk from header to header finds.
struct Walk {
    stopped: Stop,
    members: u64,
    files: u64,
    signer: Option<Signer>,
    /// The last checkpoint whose signature, chain and prefix are sound, and its prefix.
    vouched: Option<(u64, u64)>,
}

impl Walk {
    fn run(source: &dyn ReadAt) -> Self {
        let mut walk = Self {
            stopped: Stop::NoBundle,
            members: 0,
            files: 0,
            signer: None,
            vouched: None,
        };
        let mut certificate: Option<Certificate> = None;
        let mut waiting: Option<(u64, Vec<u8>)> = None;
        let mut previous: Option<String> = None;
        let mut prefix = Prefix::default();
        let mut at = 0;
        while let Some((name, facts, data_at, end)) = next_member(source, at) {
            let Some((folder, name)) = name.split_once('/') else {
                break;
            };
            if walk.members == 0 && (name != "bagit.txt" || !crate::writer::is_plain(folder)) {
                break;
            }
            walk.stopped = Stop::Cut;
            walk.members += 1;
            walk.files += u64::from(name.starts_with("data/"));
            if name.starts_with("signatures/") {
                walk.stopped = Stop::Sealed;
                break;
            }
            if name == SIGNER {
                certificate = read(source, &facts, data_at, ARMOUR_LIMIT)
                    .and_then(|text| Certificate::read(&text).ok());
            } else if name.starts_with("records/checkpoints/") && name.ends_with(".json") {
                waiting = read(source, &facts, data_at, CHECKPOINT_LIMIT).map(|text| (at, text));
            } else if name.starts_with("records/checkpoints/")
                && let (Some((offset, text)), Some(certificate)) = (waiting.take(), &certificate)
                && let Some(file) = read(source, &facts, data_at, ARMOUR_LIMIT)
                && certificate.check(&text, &file).is_ok()
                && let Ok(head) = checkpoint::read(&text, |_, _| Ok(()))
                && head.length == offset
                && head.previous == previous
                && prefix.hash(source, offset).as_deref() == Some(&*head.blake3)
            {
                walk.vouched = Some((head.checkpoint, head.length));
                previous = Some(blake3::hash(&text).to_hex().to_string());
                walk.signer = Some(Signer {
                    fingerprint: certificate.fingerprint(),
                    user_id: certificate.user_id(),
                });
            }
            at = end;
        }
        walk
    }
}

/// The member whose local header is at `at`: name, facts, where its data begins, where it ends.
/// `None` where no whole member is there.
fn next_member(source: &dyn ReadAt, at: u64) -> Option<(String, Facts, u64, u64)> {
    let end = at.checked_add(HEADER_BYTES as u64)?;
    let header = source.read_range(at..end, HEADER_BYTES).ok()?;
    let (mut facts, name, length) = zip::parse_local(&header)?;
    let name = name.to_owned();
    let data_at = at.checked_add(length as u64)?;
    if zip::local_has_descriptor(&header) {
        // The size is in the descriptor behind the data; its end shows by decoding.
        let (compressed, size, crc32) = decode_at(source, facts.method, data_at)?;
        facts = Facts {
            method: facts.method,
            crc32,
            compressed,
            size,
        };
    }
    let mut descriptor = Vec::new();
    facts.descriptor(&mut descriptor);
    let end = data_at
        .checked_add(facts.compressed)?
        .checked_add(descriptor.len() as u64)?;
    if end > source.len() {
        return None;
    }
    Some((name, facts, data_at, end))
}

fn read(source: &dyn ReadAt, facts: &Facts, data_at: u64, cap: u64) -> Option<Vec<u8>> {
    if facts.size > cap {
        return None;
    }
    let mut bytes = Vec::new();
    let mut at = data_at;
    let end = data_at + facts.compressed;
    facts
        .method
        .decode(
            facts.size,
            true,
            &mut |buffer| {
                let count = (end - at).min(buffer.len() as u64) as usize;
                let count = source
                    .read_full_at(at, &mut buffer[..count])
                    .map_err(|error| error.to_string())?;
                at += count as u64;
                Ok(count)
            },
            &mut |piece| bytes.extend_from_slice(piece),
        )
        .ok()?;
    (facts.method != Method::Store || bytes.len() as u64 == facts.compressed).then_some(bytes)
}

/// The hash of the archive's first bytes, of ever more of them.
#[derive(Default)]
struct Prefix {
    hasher: blake3::Hasher,
    at: u64,
}

impl Prefix {
    fn hash(&mut self, source: &dyn ReadAt, length: u64) -> Option<String> {
        let mut buffer = vec![0; 1 << 20];
        while self.at < length {
            let count = (length - self.at).min(buffer.len() as u64) as usize;
            source
                .read_exact_at("the archive", self.at, &mut buffer[..count])
                .ok()?;
            self.hasher.update(&buffer[..count]);
            self.at += count as u64;
        }
        Some(self.hasher.finalize().to_hex().to_string())
    }
}
