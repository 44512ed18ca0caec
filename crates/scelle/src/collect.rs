//! From a source and a plan to a sealed bundle.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    env,
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use scelle_bundle::{
    BundleWriter, Collection, CollectionLoss, Compression, Deployment, Encrypted, EncryptionRecord,
    Listener, Options, Output, PartialFile, Recipient, SealKey, Sealed, SessionKey, Stream, Tool,
    VolumeRecord,
};
use scelle_engine::{Plan, Planned, Progress, Step, plan::stored_bytes};
use scelle_event::{Coverage, EvidencePath, Tlp};
use scelle_evidence::{Entry, EvidenceLoss, Unlocked, Volume, VolumeKind};
use scelle_formats::{Hasher, ReadAt, ReadAtExt, ReadError};

use crate::{
    Source, StampService, further_part, known::Known, open_file, own_program, side::SideFile,
};

/// The creation time of run keys, in seconds since 1970: 2026-01-01. It is the release's and not
/// the host's clock, which may be wrong.
pub(crate) const RUN_KEY_CREATED: u32 = 1_767_225_600;
const RUN_KEY_USER: &str = "Scelle run key";
/// Streams that are handed to the writer at once; about 1 KiB each is held meanwhile.
const BATCH: usize = 1024;
/// Losses that the answer shows; all of them are in the bundle.
const LOSSES_KEPT: usize = 1000;

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

/// Collects what `plan` says from `source` into one sealed bundle.
///
/// It works on the caller's rayon pool. What can't be read is listed in the bundle and counted
/// in the answer, and ends nothing.
///
/// # Errors
/// Where the bundle can't be written or sealed. A file then keeps the name `….partial`.
pub fn collect(
    source: &Source,
    plan: &Plan,
    order: Order,
    destination: Destination,
    progress: &Progress,
) -> Result<Collected, CollectError> {
    match destination {
        Destination::Stdout => {
            let (mut collected, mut out) =
                write(source, plan, order, Stdout(io::stdout()), None, progress)?;
            out.flush().map_err(scelle_bundle::Error::Write)?;
            collected.path = None;
            Ok(collected)
        }
        Destination::File { path, force } => {
            let side = SideFile::new(&path, plan, &order);
            if !order.recipients.is_empty() && !force {
                further_part::refuse(&path, &side)?;
            }
            let file = PartialFile::create(&path, force)?;
            let partial = file.partial_path().to_owned();
            let failed = |source| CollectError::Writing {
                path: path.clone(),
                partial: partial.clone(),
                source,
            };
            if !order.recipients.is_empty() {
                side.begin(None)
                    .map_err(|error| failed(scelle_bundle::Error::Write(error)))?;
            }
            let written = write(source, plan, order, file, Some(side.clone()), progress)
                .and_then(|(collected, file)| Ok((collected, file.commit()?)));
            let (mut collected, path) = written.map_err(failed)?;
            side.remove();
            collected.path = Some(path);
            Ok(collected)
        }
    }
}

/// Collects into any output: as [`collect`], for whoever carries the bytes on. The output is given back; what it
/// makes of them is its own affair.
///
/// # Errors
/// Where the bundle can't be written or sealed.
pub fn collect_into<W: Output + 'static>(
    source: &Source,
    plan: &Plan,
    order: Order,
    out: W,
    progress: &Progress,
) -> Result<(Collected, W), CollectError> {
    Ok(write(source, plan, order, out, None, progress)?)
}

fn write<W: Output + 'static>(
    source: &Source,
    plan: &Plan,
    mut order: Order,
    out: W,
    side: Option<SideFile>,
    progress: &Progress,
) -> Result<(Collected, W), scelle_bundle::Error> {
    let recipients = std::mem::take(&mut order.recipients);
    let mut options = options(source, plan, order, side)?;
    if recipients.is_empty() {
        let writer = BundleWriter::create(out, options)?;
        return fill(source, plan, writer, Known::default(), progress);
    }
    let out = Encrypted::create(out, &recipients, options.key.clone())?;
    options.collection.session_packets_sha256 = Some(out.session_packets_sha256().to_owned());
    let session_key = out.session_key().clone();
    let writer = BundleWriter::create(out, options)?;
    let (mut collected, out) = fill(source, plan, writer, Known::default(), progress)?;
    collected.session_key = Some(session_key);
    Ok((collected, out.finish()?))
}

/// How the writer is set up.
pub(crate) fn options(
    source: &Source,
    plan: &Plan,
    order: Order,
    side: Option<SideFile>,
) -> Result<Options, scelle_bundle::Error> {
    let collection = collection(source, plan, &order);
    let key = match order.key {
        Some(key) => key,
        None => run_key()?,
    };
    let mut options = Options::new(order.name, collection, key);
    options.compression = order.compression;
    options.incident = order.incident;
    options.stamp = order.timestamp.map(StampService::stamper);
    options.checkpoint_bytes = order.checkpoint_bytes.unwrap_or(options.checkpoint_bytes);
    options.logged = side.map(|side| -> Listener { Box::new(move |logged| side.write(logged)) });
    Ok(options)
}

/// Writes what the bundle doesn't know yet, and seals it.
pub(crate) fn fill<W: Output>(
    source: &Source,
    plan: &Plan,
    mut writer: BundleWriter<W>,
    mut known: Known,
    progress: &Progress,
) -> Result<(Collected, W), scelle_bundle::Error> {
    let evidence = source.evidence();
    if writer.is_closed() || known.is_all() {
        // All was collected before the cut; what has come since is not part of it.
        let structural = evidence.losses.len() + plan.losses.len();
        let (sealed, out) = writer.finish()?;
        return Ok((collected(sealed, structural as u64, Vec::new()), out));
    }
    progress.begin("collecting", plan.bytes, plan.streams);
    let mut shown: Vec<Coverage> = Vec::new();
    let mut structural = 0;
    for (volume, loss) in evidence.losses.iter().map(|loss| (None, loss)).chain(
        plan.losses
            .iter()
            .map(|(number, loss)| (Some(*number), loss)),
    ) {
        let volume = volume.map(|number| evidence.volumes[number].as_ref());
        let (line, coverage) = structural_loss(volume, loss);
        if !known.has_warning() {
            writer.warn(&line)?;
        }
        keep(&mut shown, coverage);
        structural += 1;
    }
    for line in &plan.coverage {
        if !known.has(&line.target, line.path.as_deref())? {
            writer.cover(line)?;
        }
        keep(&mut shown, line.clone());
    }

    let mut batch = Vec::with_capacity(BATCH);
    let mut result = Ok(());
    plan.visit(evidence, &mut |step| {
        match step {
            Step::Take(planned) => {
                let volume = evidence.volumes[planned.volume].clone();
                let item = Item { volume, planned };
                match known.has_stream(&item) {
                    Ok(false) => batch.push(item),
                    Ok(true) => {
                        if known.is_elsewhere() {
                            writer.pass_over(&scelle_bundle::Source::stream(&&item));
                        }
                        progress.advance(stored_bytes(item.planned.info()), 1);
                    }
                    Err(error) => result = Err(error),
                }
            }
            Step::Leave(line) => {
                // In the order of the plan: what was visited before is written before.
                result = match known.has(&line.target, line.path.as_deref()) {
                    Ok(true) => Ok(()),
                    Ok(false) => add(&mut writer, &mut batch, &mut shown, progress)
                        .and_then(|()| writer.cover(&line)),
                    Err(error) => Err(error),
                };
                keep(&mut shown, line);
            }
        }
        if result.is_ok() && batch.len() >= BATCH {
            result = add(&mut writer, &mut batch, &mut shown, progress);
        }
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    result?;
    known.finish()?;
    add(&mut writer, &mut batch, &mut shown, progress)?;

    progress.begin("sealing", 0, 0);
    let (sealed, out) = writer.finish()?;
    Ok((collected(sealed, structural, shown), out))
}

/// Writes a batch, and notes what was lost of it.
fn add<W: Output>(
    writer: &mut BundleWriter<W>,
    batch: &mut Vec<Item>,
    shown: &mut Vec<Coverage>,
    progress: &Progress,
) -> Result<(), scelle_bundle::Error> {
    let losses = Mutex::new(Vec::new());
    let items = &*batch;
    writer.add_all(
        items.len(),
        |index| &items[index],
        |added| {
            let item = &items[added.index];
            progress.advance(stored_bytes(item.planned.info()), 1);
            if added.outcome.is_loss() {
                let line = Coverage {
                    target: item.planned.target.to_string(),
                    path: Some(item.planned.id(item.volume.as_ref()).to_string()),
                    outcome: added.outcome,
                    detail: added.cause.clone(),
                };
                losses
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        },
    )?;
    for line in losses.into_inner().unwrap_or_else(PoisonError::into_inner) {
        keep(shown, line);
    }
    batch.clear();
    Ok(())
}

fn keep(shown: &mut Vec<Coverage>, line: Coverage) {
    if line.outcome.is_loss() && shown.len() < LOSSES_KEPT {
        shown.push(line);
    }
}

pub(crate) fn collected(sealed: Sealed, structural: u64, shown_losses: Vec<Coverage>) -> Collected {
    Collected {
        path: None,
        part: 1,
        root: sealed.root,
        root_sha256: sealed.root_sha256,
        payload: sealed.payload,
        session_key: None,
        signer: sealed.signer,
        stamp: sealed.stamp,
        files: sealed.files,
        bytes: sealed.bytes,
        losses: sealed.losses + structural,
        shown_losses,
    }
}

/// A loss of a volume's structure, as a warning of the bundle and as a line to show.
fn structural_loss(volume: Option<&dyn Volume>, loss: &EvidenceLoss) -> (CollectionLoss, Coverage) {
    let path = match (volume, &loss.path) {
        (Some(volume), Some(path)) => Some(format!("{}/{path}", volume.info().id)),
        (Some(volume), None) => Some(volume.info().id.to_string()),
        (None, path) => path.as_ref().map(EvidencePath::to_string),
    };
    let entry = loss.entry.map(|entry| format!("entry {entry}: "));
    let cause = format!("{}{}", entry.unwrap_or_default(), loss.error);
    let warning = CollectionLoss {
        path: path.clone(),
        range: None,
        cause: cause.clone(),
    };
    let shown = Coverage {
        target: "structure".to_owned(),
        path,
        outcome: scelle_event::Outcome::Partial,
        detail: Some(cause),
    };
    (warning, shown)
}

/// A planned stream, as the writer wants it.
struct Item {
    volume: Arc<dyn Volume>,
    planned: Planned,
}

impl Known {
    /// Whether there is a line of that stream.
    fn has_stream(&mut self, item: &Item) -> Result<bool, scelle_bundle::Error> {
        if self.is_empty() {
            return Ok(false);
        }
        let id = item.planned.id(item.volume.as_ref()).to_string();
        self.has(&item.planned.target, Some(&id))
    }
}

impl scelle_bundle::Source for &Item {
    fn stream(&self) -> Stream<'_> {
        Stream {
            volume: Cow::Borrowed(&self.volume.info().id),
            entry: Cow::Borrowed(self.planned.entry.as_ref()),
            stream: self.planned.info().name.as_ref().map(Cow::Borrowed),
            target: Cow::Borrowed(&self.planned.target),
            way: Cow::Borrowed(kind_name(self.volume.as_ref())),
        }
    }

    fn open(&self) -> Result<Box<dyn ReadAt>, ReadError> {
        let entry: &Entry = &self.planned.entry;
        self.volume
            .open_entry(entry, self.planned.info().name.as_ref())
    }
}

fn kind_name(volume: &dyn Volume) -> &'static str {
    match volume.info().kind {
        VolumeKind::Ntfs => "ntfs",
        VolumeKind::Fat => "fat",
        VolumeKind::Exfat => "exfat",
        VolumeKind::Ext => "ext",
        VolumeKind::Folder => "folder",
        VolumeKind::File => "file",
        _ => "other",
    }
}

fn collection(source: &Source, plan: &Plan, order: &Order) -> Collection {
    let profile = &plan.profile;
    let limits = [
        ("max_file_bytes", profile.limits.max_file_bytes),
        ("max_total_bytes", profile.limits.max_total_bytes),
    ];
    let volumes = source.evidence().volumes.iter();
    Collection {
        tlp: order.tlp.name().to_owned(),
        tool: Tool {
            name: "scelle".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sha256: match &order.prepared {
                Some(prepared) => Some(prepared.program_sha256.clone()),
                None => own_program().and_then(|path| sha256(&path)).ok(),
            },
        },
        case: order.case.clone(),
        operator: order.operator.clone(),
        source: order.source.clone(),
        plan: scelle_bundle::Plan {
            blake3: Some(plan_hash(plan, order)),
            profiles: profile.name.split('+').map(str::to_owned).collect(),
            limits: limits
                .into_iter()
                .filter_map(|(name, limit)| Some((name.to_owned(), limit?.to_string())))
                .collect(),
        },
        clocks: BTreeMap::from([("collector".to_owned(), Timestamp::now().to_string())]),
        time_zones: time_zone()
            .map(|zone| ("collector".to_owned(), zone))
            .into_iter()
            .collect(),
        volumes: volumes
            .map(|volume| volume_record(volume.as_ref(), &source.evidence().unlocked))
            .collect(),
        deployment: order.prepared.as_ref().map(|one| one.deployment.clone()),
        ..Collection::default()
    }
}

/// The hash of what was asked for: the signed plan, or profile and limits.
pub(crate) fn plan_hash(plan: &Plan, order: &Order) -> String {
    if let Some(prepared) = &order.prepared {
        return prepared.plan_blake3.clone();
    }
    let text = serde_json::to_vec(&plan.profile).expect("a profile is plain data");
    hex(&scelle_formats::Digests::of(&text).blake3)
}

fn volume_record(volume: &dyn Volume, unlocked: &[Unlocked]) -> VolumeRecord {
    let info = volume.info();
    // A snapshot was opened with its volume.
    let unlocked = unlocked.iter().find(|one| *one.volume == *info.base_id());
    VolumeRecord {
        id: info.id.to_string(),
        kind: kind_name(volume).to_owned(),
        offset: info.offset,
        size_bytes: info.size_bytes,
        label: info.label.clone(),
        cluster_bytes: info.cluster_bytes,
        drive_letters: Vec::new(),
        device: None,
        encryption: unlocked.map(|one| EncryptionRecord {
            kind: "bitlocker".to_owned(),
            method: one.method.to_owned(),
            volume_guid: one.guid.clone(),
            protector: one.protector.to_owned(),
            protector_guid: one.protector_guid.clone(),
        }),
    }
}

/// The zone of the machine that collects, where the system names it.
fn time_zone() -> Option<String> {
    if let Ok(zone) = env::var("TZ")
        && !zone.is_empty()
    {
        return Some(zone);
    }
    let target = std::fs::read_link("/etc/localtime").ok()?;
    let target = target.to_str()?;
    Some(target.rsplit_once("zoneinfo/")?.1.to_owned())
}

fn sha256(path: &Path) -> io::Result<String> {
    const BLOCK_BYTES: usize = 1 << 20;
    let file = open_file(path)?;
    let mut hasher = Hasher::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = 0;
    loop {
        let have = file.read_full_at(at, &mut block)?;
        if have == 0 {
            return Ok(hex(&hasher.finish().sha256));
        }
        hasher.update(&block[..have]);
        at += have as u64;
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    scelle_event::json::write_hex(&mut out, bytes);
    String::from_utf8(out).expect("hex is text")
}

/// Standard output, as a place for a bundle.
struct Stdout(io::Stdout);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Output for Stdout {}
