//! Collectors that a CERT prepared: a signed plan behind the program's own bytes.
//!
//! # Layout
//! The program's own bytes stay as they are; behind them stand, one behind the other:
//!
//! | bytes | what |
//! |------:|------|
//! |     n | the plan, as JSON |
//! |     n | its signature by the case's key, in the one form of bundles |
//! |     n | the case's certificate, with what others certified of it; it travels in the bundles |
//! |     n | the deployment's secret key, with what the case's certified of it |
//! |    16 | four lengths, little-endian, 32 bits each |
//! |    32 | BLAKE3 of all of that |
//! |    16 | `Scelle plan v1\r\n` |
//!
//! # What that proves
//! A change of any bit is found before the plan is followed. Whoever puts another case's certificate,
//! plan and key in their place makes another collector, whose bundles the case's certificate does
//! not vouch for; the host can't know, `verify --trust` does. The deployment's key is no secret
//! to whoever holds the file, which is why it is certified for a stated time only. Nor is what the
//! store knows the sender by, where the plan names a store.

use jiff::Timestamp;
use scelle_bundle::{Certificate, Deployment, Error, Recipient, SealKey, Terms};
use scelle_engine::{Profile, profile::Limits};
use scelle_event::Tlp;
use scelle_formats::{Digests, Hasher, ReadAt, ReadAtExt as _, ReadError};
use serde::{Deserialize, Serialize};

use crate::{PlannedDelivery, PreparedRun, collection::hex, open_file, own_program};

const MAGIC: &[u8; 16] = b"Scelle plan v1\r\n";
const PARTS: usize = 4;
/// Lengths, hash, magic.
const END_BYTES: usize = PARTS * 4 + 32 + MAGIC.len();
/// All that stands behind a program.
const MOST_BYTES: u64 = 8 << 20;
const FORMAT: u32 = 2;
const RUN_USER: &str = "Scelle run key";
const BLOCK_BYTES: usize = 1 << 20;

/// What a prepared collector does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreparedPlan {
    /// The number of the format; set by [`forge`].
    pub format: u32,
    /// When it was made, in seconds since 1970: no clock is believed that is behind; set by [`forge`].
    pub made: u32,
    /// When the deployment's certification ends, in seconds since 1970; set by [`forge`].
    pub until: u32,
    /// The deployment's number.
    pub deployment: u64,
    /// The fingerprint of the deployment's key; set by [`forge`].
    pub deployment_key: String,
    /// SHA-256 of the program's own bytes, in hex; set by [`forge`].
    pub program_sha256: String,
    /// The team, as its profile names it.
    pub team: String,
    /// The version of the team's profile.
    pub team_version: u32,
    /// BLAKE3 of the team's profile, in hex.
    pub team_blake3: String,
    /// The case.
    pub case: String,
    /// The label, by its name.
    pub tlp: String,
    /// What is collected from.
    pub source: String,
    /// What is collected.
    pub profile: Profile,
    /// The most that is collected.
    pub limits: Limits,
    /// The time-stamping service that is asked for the time of the seal.
    pub timestamp: Option<String>,
    /// Whether the bundle may lie on what is collected.
    pub allow_source_volume: bool,
    /// Whom bundles are encrypted for.
    pub recipients: Vec<PlannedRecipient>,
    /// The store that bundles go to; else they are left in the program's folder.
    pub delivery: Option<PlannedDelivery>,
    /// What nobody knows who does not hold the collector; set by [`forge`]. Bundles state the plan's hash, from which
    /// else a poor password could be guessed.
    pub salt: String,
}

/// Whom bundles are encrypted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedRecipient {
    /// The full fingerprint.
    pub fingerprint: String,
    /// The certificate, armoured.
    pub certificate: String,
}

impl PreparedPlan {
    /// The label.
    ///
    /// # Errors
    /// Where it is none.
    pub fn label(&self) -> Result<Tlp, scelle_event::ParseTlpError> {
        self.tlp.parse()
    }

    /// Whom bundles are encrypted for, as their certificates are at a time.
    fn readers(&self, at: u32) -> Result<Vec<Recipient>, Error> {
        let recipients = self.recipients.iter();
        recipients
            .map(|one| Recipient::read_at(one.certificate.as_bytes(), &one.fingerprint, at))
            .collect()
    }
}

/// Why a prepared collector refuses to run. Nothing was read of the host, and nothing written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreparedError {
    /// The program can't be read.
    #[error("reading this program: {0}")]
    Read(#[from] ReadError),
    /// What stands behind the program is not what was put there.
    #[error(
        "this prepared collector was altered or damaged: {0}; nothing was collected: ask whoever \
         prepared it for a new copy"
    )]
    Altered(String),
    /// It can't be used, or no longer.
    #[error("the plan of this prepared collector can't be followed: {0}; ask for a new one")]
    Unusable(#[source] Error),
}

/// A collector's own plan, checked.
pub struct Prepared {
    /// What it does.
    pub plan: PreparedPlan,
    /// BLAKE3 of the plan's text, in hex.
    pub plan_blake3: String,
    /// Why its time is over, where the host's clock is right: nobody will vouch for its bundles, or they are encrypted
    /// for a key that has expired.
    pub doubt: Option<String>,
    recipients: Vec<Recipient>,
    deployment: SealKey,
}

impl Prepared {
    /// The plan of the running program; `None` where it has none.
    ///
    /// # Errors
    /// [`PreparedError`], where there is one that must not be followed.
    pub fn of_this_program() -> Result<Option<Self>, PreparedError> {
        // A program that can't be found has no plan that could be followed.
        match own_program().and_then(|path| open_file(&path)) {
            Ok(file) => Self::read(&file),
            Err(_) => Ok(None),
        }
    }

    /// The plan behind a program; `None` where there is none.
    ///
    /// # Errors
    /// As [`of_this_program`](Self::of_this_program).
    pub fn read(program: &dyn ReadAt) -> Result<Option<Self>, PreparedError> {
        Self::read_at(program, 0)
    }

    /// As [`read`](Self::read), where the host's clock says `clock` or later, in seconds since 1970.
    ///
    /// # Errors
    /// As [`of_this_program`](Self::of_this_program).
    pub fn read_at(program: &dyn ReadAt, clock: u32) -> Result<Option<Self>, PreparedError> {
        let Some((parts, own_bytes)) = split(program)? else {
            return Ok(None);
        };
        let altered = |what: &str| PreparedError::Altered(what.to_owned());
        let wrong = |what: &str, why: &dyn std::fmt::Display| {
            PreparedError::Altered(format!("{what}: {why}"))
        };
        let [text, signature, case, deployment] = &parts;
        let case = Certificate::read(case).map_err(|why| wrong("the case's certificate", &why))?;
        case.check(text, signature)
            .map_err(|why| wrong("the signature of the plan", &why))?;
        let plan: PreparedPlan =
            serde_json::from_slice(text).map_err(|why| wrong("the plan", &why))?;
        if plan.format != FORMAT {
            return Err(altered("the plan is of a format that is not known here"));
        }
        plan.label().map_err(|why| wrong("the plan", &why))?;
        if plan.delivery.is_some() && plan.recipients.is_empty() {
            return Err(altered("the plan delivers a bundle that is not encrypted"));
        }
        plan.profile
            .check()
            .map_err(|why| wrong("the plan", &why))?;
        let deployment = SealKey::read(deployment, None)
            .map_err(|why| wrong("the deployment's key", &why))?
            .vouched_by(&case);
        if deployment.fingerprint() != plan.deployment_key {
            return Err(altered(
                "the deployment's key is not the one that the plan names",
            ));
        }
        let sha256 = program_sha256(program, own_bytes)?;
        if sha256 != plan.program_sha256 {
            return Err(altered(
                "the program is not the one that the plan was made for",
            ));
        }
        // A key for a try, made as a run's is, and read as whoever verifies reads it.
        let run = SealKey::generate(RUN_USER, plan.made)
            .and_then(|key| key.certified_by(&deployment))
            .and_then(|key| Certificate::read(key.certificate()?.as_bytes()))
            .map_err(PreparedError::Unusable)?;
        let roots = std::slice::from_ref(&case);
        let now = now_or(clock.max(plan.made));
        // At the plan's date; the certification of a run is made now.
        deployment
            .public()
            .check_vouched(roots, &[], plan.made)
            .map_err(|why| wrong("the deployment's certificate", &why.join("; ")))?;
        let vouched = run.check_vouched(roots, &[], now);
        let vouched = vouched.map_err(|why| why.join("; "));
        if let Err(why) = &vouched
            && now < plan.until
        {
            return Err(wrong("the deployment's certificate", why));
        }
        // As of the plan's date too: what is encrypted for a key that has expired since can be read all the same, and the
        // host's clock may be wrong.
        let recipients = plan.readers(plan.made).map_err(PreparedError::Unusable)?;
        let expired = plan.readers(now).err().map(|why| why.to_string());
        let doubts: Vec<String> = vouched.err().into_iter().chain(expired).collect();
        Ok(Some(Self {
            plan_blake3: hex(&Digests::of(text).blake3),
            plan,
            doubt: (!doubts.is_empty()).then(|| doubts.join("; ")),
            recipients,
            deployment,
        }))
    }

    /// Whom bundles are encrypted for.
    pub fn recipients(&self) -> Vec<Recipient> {
        self.recipients.clone()
    }

    /// A key for one run, vouched for by the deployment's, and what its bundle says of it.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn begin(&self) -> Result<(SealKey, PreparedRun), Error> {
        let key = SealKey::generate(RUN_USER, self.plan.made)?.certified_by(&self.deployment)?;
        let prepared = PreparedRun {
            plan_blake3: self.plan_blake3.clone(),
            program_sha256: self.plan.program_sha256.clone(),
            deployment: Deployment::of_run(self.plan.deployment, &key.fingerprint()),
        };
        Ok((key, prepared))
    }
}

/// What stands behind a program, in order, and how many bytes are the program's own.
type Parts = ([Vec<u8>; PARTS], u64);

/// Takes a file apart; `None` where nothing stands behind the program.
fn split(program: &dyn ReadAt) -> Result<Option<Parts>, PreparedError> {
    let altered = |what: &str| PreparedError::Altered(what.to_owned());
    let size = program.len();
    let Some(at) = size.checked_sub(END_BYTES as u64) else {
        return Ok(None);
    };
    let end = program.read_range(at..size, END_BYTES)?;
    let Some((head, hash)) = end
        .strip_suffix(MAGIC)
        .and_then(<[u8]>::split_last_chunk::<32>)
    else {
        return Ok(None);
    };
    let lengths: Vec<u64> = head
        .chunks_exact(4)
        .map(|length| u32::from_le_bytes([length[0], length[1], length[2], length[3]]).into())
        .collect();
    let total: u64 = lengths.iter().sum();
    let own_bytes = at
        .checked_sub(total)
        .filter(|_| total <= MOST_BYTES)
        .ok_or_else(|| altered("the lengths at its end can't be"))?;
    let parts = program.read_range(own_bytes..at, total as usize)?;
    let digests = Digests::of(&[&parts, head].concat());
    if digests.blake3 != *hash {
        return Err(altered("its hash is not that of what stands there"));
    }
    let mut rest = &parts[..];
    let mut read: [Vec<u8>; PARTS] = Default::default();
    for (part, length) in read.iter_mut().zip(lengths) {
        let (own, more) = rest
            .split_at_checked(length as usize)
            .ok_or_else(|| altered("it is cut"))?;
        *part = own.to_vec();
        rest = more;
    }
    Ok(Some((read, own_bytes)))
}

fn program_sha256(program: &dyn ReadAt, own_bytes: u64) -> Result<String, ReadError> {
    let mut hasher = Hasher::new();
    let mut at = 0;
    while at < own_bytes {
        let until = own_bytes.min(at + BLOCK_BYTES as u64);
        let block = program.read_range(at..until, BLOCK_BYTES)?;
        if block.is_empty() {
            break;
        }
        hasher.update(&block);
        at += block.len() as u64;
    }
    Ok(hex(&hasher.finish().sha256))
}

fn now_or(least: u32) -> u32 {
    u32::try_from(Timestamp::now().as_second())
        .unwrap_or(u32::MAX)
        .max(least)
}

/// Why no collector was prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgeError {
    /// The program can't be read.
    #[error("reading the collector: {0}")]
    Read(#[from] ReadError),
    /// The program has a plan already.
    #[error("the collector is prepared already: name one as it was released")]
    Prepared,
    /// The case's key can't be used.
    #[error(transparent)]
    Key(#[from] Error),
    /// Whoever is to read the bundles can't be encrypted for until the plan ends.
    #[error(
        "until this collector's time is over, bundles could not be encrypted for who is to read them: {0}; \
         make it last for a shorter time, or have that certificate prolonged"
    )]
    Reader(#[source] Error),
    /// The result would not run.
    #[error("the collector that was made would refuse to run: {0}")]
    Refuses(#[from] PreparedError),
    /// The clock of this machine is before 1970 or past 2106.
    #[error("the clock of this machine is wrong")]
    Clock,
}

/// What was put behind a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Forged {
    /// The plan, filled in.
    pub plan: PreparedPlan,
    /// BLAKE3 of its text, in hex: bundles state it.
    pub plan_blake3: String,
    /// What stands behind the program's own bytes.
    pub behind: Vec<u8>,
}

/// Makes what turns a released collector into a prepared one: a key for the deployment, certified by
/// the case's for `lasts_seconds` from now on, and the plan, signed by the case's key.
///
/// # Errors
/// [`ForgeError`]; what would refuse to run on a host is told here.
pub fn forge(
    program: &dyn ReadAt,
    mut plan: PreparedPlan,
    case: &SealKey,
    lasts_seconds: u32,
) -> Result<Forged, ForgeError> {
    if split(program)?.is_some() {
        return Err(ForgeError::Prepared);
    }
    let made = u32::try_from(Timestamp::now().as_second()).map_err(|_| ForgeError::Clock)?;
    let user = format!("Scelle deployment {} ({})", plan.deployment, plan.case);
    let deployment = SealKey::generate(&user, made)?;
    let terms = Terms {
        lasts_seconds: Some(lasts_seconds),
        levels: 1,
    };
    let certified = case.certify(&deployment.public(), &terms)?;
    let deployment = deployment.with_certificate(certified)?;
    plan.format = FORMAT;
    // The clock may have gone on since: nothing is dated later than the plan.
    plan.made = now_or(made);
    plan.until = made.saturating_add(lasts_seconds);
    plan.readers(plan.until).map_err(ForgeError::Reader)?;
    plan.deployment_key = deployment.fingerprint();
    let secret = deployment.secret_text(None)?;
    plan.salt = hex(&Digests::of(secret.as_bytes()).blake3);
    plan.program_sha256 = program_sha256(program, program.len())?;
    let mut text = serde_json::to_vec_pretty(&plan).expect("a plan is plain data");
    text.push(b'\n');
    let case_certificate = case.certificate()?;
    let parts = [
        &text[..],
        case.sign(&text)?.as_bytes(),
        case_certificate.as_bytes(),
        secret.as_bytes(),
    ]
    .map(<[u8]>::to_vec);
    let mut behind = parts.concat();
    for part in &parts {
        let length = u32::try_from(part.len()).expect("parts are small");
        behind.extend_from_slice(&length.to_le_bytes());
    }
    behind.extend_from_slice(&Digests::of(&behind).blake3);
    behind.extend_from_slice(MAGIC);
    let forged = Forged {
        plan_blake3: hex(&Digests::of(&text).blake3),
        plan,
        behind,
    };
    Prepared::read(&Joined(program, &forged.behind))?;
    Ok(forged)
}

/// A program and what stands behind it.
struct Joined<'a>(&'a dyn ReadAt, &'a [u8]);

impl ReadAt for Joined<'_> {
    fn len(&self) -> u64 {
        self.0.len() + self.1.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let own = self.0.len();
        if offset < own {
            let count = (buf.len() as u64).min(own - offset) as usize;
            return self.0.read_at(offset, &mut buf[..count]);
        }
        scelle_formats::Bytes(self.1).read_at(offset - own, buf)
    }
}
