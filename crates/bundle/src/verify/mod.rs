//! Checking a bundle: everything present and unchanged, nothing extra, and who vouches for it.
//!
//! Nothing is extracted. The archive is read in order: the central directory tells where each
//! member must lie, the last checkpoint vouches for every byte before it, and every byte after it
//! is made again and compared. Memory is some buffers a thread, and 8 bytes a member.

mod archive;
mod asked;
mod audit;
mod directory;
mod envelope;
mod parts;
mod payload;
mod proof;
mod salvaged;
mod tags;
mod unfinished;

pub use proof::CheckedProof;

use std::{fmt, path::Path, sync::Mutex};

use asked::Asked;
use jiff::Timestamp;
use pgp::composed::SignedPublicKey;
use scelle_formats::ReadAt;

use crate::{
    Certificate, Ciphertext, Deployment, Error, Part, SessionKey, StampAuthority,
    key::{fingerprint, user_id},
    stamp::Stamp,
    text::written_hash,
    trust::Trust,
};

/// More problems than this are counted and not kept.
const MOST_PROBLEMS: usize = 1_000;

/// What vouches for a bundle, in the eyes of whoever asks.
#[derive(Clone, Default)]
pub struct VerifyOptions {
    /// Certificates that may vouch for the signer.
    pub trust: Vec<Certificate>,
    /// Certificates, or newer copies of them, in which revocations stand. They vouch for nobody.
    pub revocations: Vec<Certificate>,
    /// Certificates of time-stamping services, or of who issued them.
    pub authorities: Vec<StampAuthority>,
    /// The root that the operator wrote down (BLAKE3 or SHA-256), in any grouping.
    pub root: Option<String>,
    /// Check only this payload member, and what vouches for it: its name in the manifests, with or
    /// without `data/`, or that of its stream.
    pub member: Option<String>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Unchanged since it was sealed, and vouched for.
    Sealed,
    /// Unchanged since it was sealed, by nobody knows whom.
    SignerUnknown,
    /// Not as it was sealed.
    Broken,
    /// Never sealed: the collection was cut off.
    Unfinished,
}

impl Verdict {
    /// The name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::SignerUnknown => "signer-unknown",
            Self::Broken => "broken",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Something that is wrong with a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The member that it is about, where it is about one.
    pub member: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(f, "{member}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Who sealed a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Fingerprint of the key.
    pub fingerprint: String,
    /// Its first user id.
    pub user_id: Option<String>,
}

impl Signer {
    fn of(key: &SignedPublicKey) -> Self {
        Self {
            fingerprint: fingerprint(&key.primary_key),
            user_id: user_id(key),
        }
    }
}

/// What a time-stamp says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// When the signature existed, at the latest.
    pub time: Timestamp,
    /// Who says so, as its certificate calls it.
    pub service: String,
    /// Whether one of [`VerifyOptions::authorities`] stands behind it, or why none does; `None` where
    /// none was named, and so nobody does.
    pub trusted: Option<Result<(), String>>,
}

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The archive, to its last bit.
    Archive,
    /// A bag that was extracted: its files, and not the archive that it came in.
    Bag,
    /// One member, and what vouches for it.
    Member,
    /// What vouches for a member: the one that was asked for was not there.
    Seal,
    /// What a proof shows of one stream, and what vouches for it.
    Proof,
    /// All parts of a collection that was cut off and gone on with.
    Parts,
}

impl Scope {
    /// The name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Bag => "bag",
            Self::Member => "member",
            Self::Seal => "seal",
            Self::Proof => "proof",
            Self::Parts => "parts",
        }
    }
}

/// The outcome of a check.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The answer.
    pub verdict: Verdict,
    /// What was checked.
    pub scope: Scope,
    /// What is wrong; empty where nothing is.
    pub problems: Vec<Problem>,
    /// BLAKE3 of the tag manifest, in hex.
    pub root: Option<String>,
    /// SHA-256 of the tag manifest, in hex.
    pub root_sha256: Option<String>,
    /// The payload id, in hex.
    pub payload: Option<String>,
    /// TLP label.
    pub tlp: Option<String>,
    /// Whose signatures check.
    pub signers: Vec<Signer>,
    /// When the seal says that it was made, in seconds since 1970: by the clock of the host, so a
    /// claim.
    pub signed_at: Option<u32>,
    /// The keys between the signer and the certificate that vouches: of a deployment.
    pub through: Vec<Signer>,
    /// The time-stamp over the signature, where there is one.
    pub stamp: Option<Stamped>,
    /// The service that was asked for a time-stamp, by the audit log. Whether it answered is known to
    /// who sealed; whoever carries the bundle can take the answer away.
    pub asked_time: Option<String>,
    /// Whether whoever asks named [`VerifyOptions::authorities`], so that a bundle without a time-stamp
    /// lacks something.
    pub wants_stamp: bool,
    /// The deployment and the run of a prepared collector, as the bundle says.
    pub deployment: Option<Deployment>,
    /// What vouches: `root`, or fingerprints of trusted certificates.
    pub vouched_by: Vec<String>,
    /// Which part of a collection it is; of a set, which the last one is.
    pub part: u32,
    /// Payload files.
    pub files: u64,
    /// Payload bytes, before compression.
    pub bytes: u64,
    /// Of a salvage: what is vouched for, and what is missing.
    notes: Vec<String>,
    is_salvage: bool,
    read_stamp: Option<Stamp>,
}

impl Verification {
    fn new(scope: Scope) -> Self {
        Self {
            verdict: Verdict::Broken,
            scope,
            problems: Vec::new(),
            root: None,
            root_sha256: None,
            payload: None,
            tlp: None,
            signers: Vec::new(),
            signed_at: None,
            through: Vec::new(),
            stamp: None,
            asked_time: None,
            wants_stamp: false,
            deployment: None,
            read_stamp: None,
            vouched_by: Vec::new(),
            part: 1,
            files: 0,
            bytes: 0,
            notes: Vec::new(),
            is_salvage: false,
        }
    }
}

/// Checks an archive, on the caller's rayon pool.
///
/// # Errors
/// [`Error::Key`] when the root to compare with is no hash, [`Error::NoMember`] when all is right but
/// the member that is asked for is not there. What is wrong with the bundle is no error but the
/// answer.
pub fn verify(source: &dyn ReadAt, options: &VerifyOptions) -> Result<Verification, Error> {
    check_options(options)?;
    let asked = Asked::of(options);
    let scope = asked.scope(Scope::Archive);
    asked.answer(archive::check(source, options, &asked, None, scope))
}

/// Checks an encrypted bundle: its ciphertext in a first pass, then the archive in it, then the
/// message around it against what the archive says. Nothing is decrypted to a disk.
///
/// # Errors
/// As [`verify`], and [`Error::Key`] for a session key that is none of its cipher.
pub fn verify_encrypted(
    ciphertext: &Ciphertext,
    key: &SessionKey,
    options: &VerifyOptions,
) -> Result<Verification, Error> {
    check_options(options)?;
    let asked = Asked::of(options);
    asked.answer(envelope::check(ciphertext, key, options, &asked)?)
}

/// The answer about what [`Ciphertext::open`] calls [`Error::Begun`]: it is unfinished, and no key is
/// needed to say so.
pub fn verify_begun() -> Verification {
    envelope::begun()
}

/// Checks the parts of a collection that was cut off and gone on with, in whatever order: each,
/// that they go on from each other, and that none is missing.
///
/// # Errors
/// As [`verify`].
pub fn verify_parts(parts: &[Part], options: &VerifyOptions) -> Result<Verification, Error> {
    check_options(options)?;
    let asked = Asked::of(options);
    asked.answer(parts::check(parts, options, &asked))
}

/// Checks a bag that was extracted, or packed by another tool and extracted again. The answer is
/// about the bag's files; the archive that they came in is not there to be checked.
///
/// # Errors
/// As [`verify`].
pub fn verify_bag(folder: &Path, options: &VerifyOptions) -> Result<Verification, Error> {
    check_options(options)?;
    let asked = Asked::of(options);
    asked.answer(directory::check(folder, options, &asked))
}

fn check_options(options: &VerifyOptions) -> Result<(), Error> {
    match &options.root {
        Some(root) if written_hash(root).is_none() => Err(Error::key(
            "the root to compare with",
            "it is not 64 hex digits",
        )),
        _ => Ok(()),
    }
}

/// Gathers what is wrong, from many threads.
#[derive(Default)]
struct Problems {
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    kept: Vec<(u64, Problem)>,
    more: u64,
}

impl Problems {
    /// About the archive or the seal.
    fn note(&self, what: impl Into<String>) {
        self.add(0, None, what.into());
    }

    /// About a member.
    fn of(&self, member: &str, what: impl Into<String>) {
        self.add(0, Some(member.to_owned()), what.into());
    }

    /// About the payload member of that number: they are told in order.
    fn of_payload(&self, number: u64, member: &str, what: impl Into<String>) {
        self.add(number + 1, Some(member.to_owned()), what.into());
    }

    fn add(&self, order: u64, member: Option<String>, what: String) {
        let mut found = self
            .found
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if found.kept.len() < MOST_PROBLEMS {
            found.kept.push((order, Problem { member, what }));
        } else {
            found.more += 1;
        }
    }

    fn into_list(self) -> Vec<Problem> {
        let mut found = self
            .found
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        found.kept.sort_by_key(|(order, _)| *order);
        let mut list: Vec<_> = found.kept.into_iter().map(|(_, problem)| problem).collect();
        if found.more > 0 {
            list.push(Problem {
                member: None,
                what: format!("{} more problems", found.more),
            });
        }
        list
    }
}

/// Settles who vouches, once the signature is known to be sound, and with it the verdict.
fn conclude(
    mut verification: Verification,
    signer: Option<&Certificate>,
    problems: Problems,
    options: &VerifyOptions,
) -> Verification {
    if let Some(wanted) = options.root.as_deref().and_then(written_hash) {
        let roots = [&verification.root, &verification.root_sha256];
        if roots.into_iter().flatten().any(|root| *root == wanted) {
            verification.vouched_by.push("root".to_owned());
        } else {
            let have = verification.root.as_deref().unwrap_or("not known");
            problems.note(format!("the root is {have}, and not {wanted}"));
        }
    }
    let signed_at = verification.signed_at;
    let mut at = signed_at;
    verification.wants_stamp = !options.authorities.is_empty();
    if let Some(stamp) = verification.read_stamp.take() {
        let wanted = verification.wants_stamp;
        let trusted = wanted.then(|| stamp.check_by(&options.authorities));
        if trusted == Some(Ok(())) {
            // The seal was there by then, whatever the host's clock claims.
            at = u32::try_from(stamp.time.as_second()).ok();
        }
        verification.stamp = Some(Stamped {
            time: stamp.time,
            service: stamp.service(),
            trusted,
        });
    }
    let mut why_not = Vec::new();
    if let Some(signer) = signer
        && let Some(at) = at
        && !options.trust.is_empty()
    {
        let trust = Trust {
            roots: &options.trust,
            revocations: &options.revocations,
            signer,
            at,
            signed_at: signed_at.unwrap_or(at),
        };
        match trust.path() {
            Ok(path) => {
                if let Some((trusted, through)) = path.split_last() {
                    let trusted = fingerprint(&trusted.primary_key);
                    verification.vouched_by.push(trusted);
                    verification.through = through.iter().map(|key| Signer::of(key)).collect();
                }
            }
            Err(why) => why_not = why,
        }
    }
    verification.problems = problems.into_list();
    verification.verdict = if !verification.problems.is_empty() || signer.is_none() {
        Verdict::Broken
    } else if verification.vouched_by.is_empty() {
        Verdict::SignerUnknown
    } else {
        Verdict::Sealed
    };
    if verification.is_salvage && verification.verdict != Verdict::Broken {
        verification.verdict = Verdict::Unfinished;
        let notes = std::mem::take(&mut verification.notes).into_iter();
        verification
            .problems
            .extend(notes.map(|what| Problem { member: None, what }));
        return verification;
    }
    if verification.part > 1
        && verification.scope != Scope::Parts
        && verification.verdict != Verdict::Broken
    {
        verification.verdict = Verdict::Unfinished;
        verification.problems.push(Problem {
            member: None,
            what: format!(
                "it is part {} of a collection that was cut off and gone on with: name all parts, \
                 to have them checked together",
                verification.part
            ),
        });
    }
    if verification.verdict == Verdict::SignerUnknown && !options.trust.is_empty() {
        verification.problems.push(Problem {
            member: None,
            what: "none of the trusted certificates vouches for the key that sealed it".to_owned(),
        });
        let why_not = why_not.into_iter();
        verification
            .problems
            .extend(why_not.map(|what| Problem { member: None, what }));
    }
    if verification.verdict != Verdict::Sealed {
        verification.vouched_by.clear();
        verification.through.clear();
    }
    verification
}
