//! What is ordered of a collection, and what comes of it.

use std::path::PathBuf;

use jiff::Timestamp;
use scelle_bundle::{Compression, Deployment, Recipient, SealKey, SessionKey};
use scelle_event::{Coverage, Tlp};

use crate::StampService;

/// The creation time of run keys, in seconds since 1970: 2026-01-01. It is the release's and not
/// the host's clock, which may be wrong.
pub(crate) const RUN_KEY_CREATED: u32 = 1_767_225_600;
const RUN_KEY_USER: &str = "Scelle run key";

/// How a collection is sealed.
pub struct Order {
    /// The bundle's name: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// The label.
    pub tlp: Tlp,
    /// The source, as the operator named it.
    pub source: String,
    /// The case.
    pub case: Option<String>,
    /// Who collects.
    pub operator: Option<String>,
    /// The incident record, as JSON.
    pub incident: Option<Vec<u8>>,
    /// How evidence is compressed.
    pub compression: Compression,
    /// The key that seals; without one a key is made for this run.
    pub key: Option<SealKey>,
    /// Checkpoints are at most so many bytes apart; without it, as far as is usual.
    pub checkpoint_bytes: Option<u64>,
    /// Whom it is encrypted for; with nobody here it is in clear.
    pub recipients: Vec<Recipient>,
    /// Of a prepared collector: what it says of itself.
    pub prepared: Option<PreparedRun>,
    /// Who is asked for the time of the seal.
    pub timestamp: Option<StampService>,
}

/// What the bundle of a prepared collector says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedRun {
    /// BLAKE3 of the signed plan's text, in hex.
    pub plan_blake3: String,
    /// SHA-256 of the program's own bytes, in hex: those of the release.
    pub program_sha256: String,
    /// The deployment and the run.
    pub deployment: Deployment,
}

impl Order {
    /// An order in clear, with a key made for the run, deflate, and nothing said of case and
    /// operator.
    pub fn new(name: impl Into<String>, tlp: Tlp, source: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tlp,
            source: source.into(),
            case: None,
            operator: None,
            incident: None,
            compression: Compression::default(),
            key: None,
            checkpoint_bytes: None,
            recipients: Vec::new(),
            prepared: None,
            timestamp: None,
        }
    }
}

/// Makes a key for one run.
///
/// # Errors
/// When the system gives no randomness.
pub fn run_key() -> Result<SealKey, scelle_bundle::Error> {
    SealKey::generate(RUN_KEY_USER, RUN_KEY_CREATED)
}

/// Reads the certificate of someone whom a bundle is to be encrypted for. It must be the one of
/// that full fingerprint, valid now, and able to receive.
///
/// # Errors
/// What is wrong with it.
pub fn recipient(certificate: &[u8], fingerprint: &str) -> Result<Recipient, scelle_bundle::Error> {
    Recipient::read(certificate, fingerprint, RUN_KEY_CREATED)
}

/// Where a bundle goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file, under `NAME.partial` until it is whole.
    File {
        /// Its final name.
        path: PathBuf,
        /// Whether it may replace what is there.
        force: bool,
    },
    /// Standard output.
    Stdout,
}

/// What was collected.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Where the bundle is; `None` where it went to standard output.
    pub path: Option<PathBuf>,
    /// The root hash, BLAKE3 in hex: what the operator writes down.
    pub root: String,
    /// Its SHA-256 sister.
    pub root_sha256: String,
    /// The payload id, BLAKE3 in hex.
    pub payload: String,
    /// What opens it, where it is encrypted: to read back what was written.
    pub session_key: Option<SessionKey>,
    /// Fingerprint of the key that sealed it.
    pub signer: String,
    /// Which part it is of a collection that was cut off and gone on with; files, bytes, root
    /// and payload id are of this part alone, losses of all.
    pub part: u32,
    /// Payload files.
    pub files: u64,
    /// Payload bytes, before compression.
    pub bytes: u64,
    /// The time-stamp, where one was asked for: its time, or why there is none.
    pub stamp: Option<Result<Timestamp, String>>,
    /// How many losses there were.
    pub losses: u64,
    /// The first of them, as lines of the ledger.
    pub shown_losses: Vec<Coverage>,
}

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// Writing or sealing failed.
    #[error(transparent)]
    Bundle(#[from] scelle_bundle::Error),
    /// Writing a named bundle failed.
    #[error(
        "{}: {source}; what was written stays as {}: make room or bring the place back and go on \
         with collect --resume, or salvage it",
        path.display(),
        partial.display()
    )]
    Writing {
        /// The bundle's final name.
        path: PathBuf,
        /// The name of what is there of it.
        partial: PathBuf,
        /// Why.
        source: scelle_bundle::Error,
    },
    /// What is there is not what the collection can go on with.
    #[error("{}: {why}", path.display())]
    Resume {
        /// The bundle's final name.
        path: PathBuf,
        /// Why.
        why: String,
    },
}
