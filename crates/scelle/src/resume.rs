//! Going on with a collection that was cut off.

use std::{
    collections::HashMap,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use scelle_bundle::{
    BundleWriter, Covered, Cut, Error, Logged, PartialFile, Sealed, Verdict, VerifyOptions,
};
use scelle_engine::{Plan, Progress};
use scelle_evidence::FileSource;
use scelle_formats::Digests;
use serde_json::json;

use crate::{
    Collected, Order, Source,
    collect::{self, CollectError, hex, plan_hash},
};

/// `NAME.resume`, beside a bundle that is not finished: the plan's hash, the plan's cursor, the
/// last checkpoint's hash. It holds no names.
#[derive(Clone, Debug)]
pub(crate) struct SideFile {
    path: PathBuf,
    order: String,
}

impl SideFile {
    pub(crate) fn new(bundle: &Path, plan: &Plan, order: &Order) -> Self {
        let mut path = bundle.as_os_str().to_owned();
        path.push(".resume");
        let incident = order.incident.as_deref().map(Digests::of);
        let text = json!({
            "plan": plan_hash(plan),
            "name": order.name,
            "tlp": order.tlp.name(),
            "case": order.case,
            "operator": order.operator,
            "compression": order.compression.name(),
            "incident": incident.map(|digests| hex(&digests.blake3)),
        });
        Self {
            path: path.into(),
            order: hex(&Digests::of(text.to_string().as_bytes()).blake3),
        }
    }

    /// Puts it on the device: it is replaced as a whole, so that a cut leaves the one before.
    pub(crate) fn write(&self, logged: &Logged) -> io::Result<()> {
        let text = json!({
            "plan": self.order,
            "cursor": logged.cursor,
            "checkpoint": logged.checkpoint,
            "checkpoint_blake3": logged.blake3,
        });
        let mut new = self.path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let mut file = File::create(&new)?;
        writeln!(file, "{text}")?;
        file.sync_data()?;
        drop(file);
        fs::rename(new, &self.path)
    }

    /// Removes it: the bundle is whole. One that stays behind does no harm.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // The next collection of that name writes over it.
            drop(error);
        }
    }

    /// Whether it is of another plan; one that is missing or no JSON says nothing, and the
    /// bundle says the same in clear.
    fn is_of_another(&self) -> bool {
        fs::read(&self.path)
            .map_err(drop)
            .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).map_err(drop))
            .is_ok_and(|side| side["plan"] != self.order)
    }
}

/// What a bundle knows already: which lines of coverage, and how many warnings.
pub(crate) struct Known {
    state: RandomState,
    lines: HashMap<u64, u32>,
    warnings: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            state: RandomState::new(),
            lines: HashMap::new(),
            warnings: 0,
        }
    }
}

impl Known {
    fn of(cut: &Cut<'_>) -> Result<(Self, Covered), Error> {
        let mut known = Self::default();
        let covered = cut.visit_coverage(|target, path| {
            // Secret keys: nobody names a file so that another is taken for it.
            let key = known.state.hash_one((target, path));
            *known.lines.entry(key).or_insert(0) += 1;
        })?;
        known.warnings = covered.warnings;
        Ok((known, covered))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether the bundle has that line; each is taken once.
    pub(crate) fn has(&mut self, target: &str, path: Option<&str>) -> bool {
        let key = self.state.hash_one((target, path));
        match self.lines.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => drop(self.lines.remove(&key)),
            None => return false,
        }
        true
    }

    /// Whether the bundle has the next of the warnings that come first.
    pub(crate) fn has_warning(&mut self) -> bool {
        let has = self.warnings > 0;
        self.warnings = self.warnings.saturating_sub(1);
        has
    }
}

/// Why ciphertext is left as it is.
const ENCRYPTED: &str = "a collection that is encrypted can't be gone on with by this version: keep \
                         what is there for its recipient, and collect again under another name";

/// Goes on with the collection that was to become `path` and was cut off: what its checkpoints
/// vouch for is kept, all else is collected as if nothing had happened, under a new key.
///
/// `plan` and `order` are to be those of the run that was cut.
///
/// # Errors
/// As [`collect`](crate::collect); [`CollectError::Resume`] where there is nothing to go on with,
/// or it was asked for otherwise.
pub fn resume(
    source: &Source,
    plan: &Plan,
    order: Order,
    path: &Path,
    progress: &Progress,
) -> Result<Collected, CollectError> {
    let mut file = PartialFile::reopen(path)?;
    let partial = file.partial_path().to_owned();
    let cause = |why: String| CollectError::Resume {
        path: path.to_owned(),
        why,
    };
    // Ciphertext can't be gone on with by who can't read it, and must not be taken for nothing.
    if !order.recipients.is_empty() || crate::key::is_ciphertext(&partial)? {
        return Err(cause(ENCRYPTED.into()));
    }
    let failed = |source| CollectError::Writing {
        path: path.to_owned(),
        partial: partial.clone(),
        source,
    };
    progress.begin("reading what is there", 0, 0);
    let written = FileSource::open(&partial).map_err(|error| cause(error.to_string()))?;
    let side = SideFile::new(path, plan, &order);
    let cut = match Cut::survey(&written) {
        Ok(cut) => cut,
        Err(_) => {
            // Not even its head is whole: nothing is lost by beginning again.
            file.keep(0).map_err(|error| failed(Error::Write(error)))?;
            let options = collect::options(source, plan, order, Some(side.clone()))?;
            let result = BundleWriter::create(file, options)
                .and_then(|writer| collect::fill(source, plan, writer, Known::default(), progress));
            return finish(result, &side).map_err(failed);
        }
    };
    let was = cut.collection();
    if was.plan.blake3 != Some(plan_hash(plan)) || side.is_of_another() {
        return Err(cause(
            "the collection that was cut off had another plan, label or record: give the same \
             options again, or salvage it"
                .into(),
        ));
    }
    if was.name != order.name || was.tlp != order.tlp.name() {
        return Err(cause(format!(
            "the collection that was cut off is {:?}, {}",
            was.name, was.tlp
        )));
    }
    let (known, covered) = Known::of(&cut).map_err(failed)?;
    let checked = scelle_bundle::verify(&written, &VerifyOptions::default()).map_err(failed)?;
    if matches!(checked.verdict, Verdict::Sealed | Verdict::SignerUnknown) {
        // It was sealed, and only its name is missing.
        let sealed = Sealed {
            root: checked.root.unwrap_or_default(),
            root_sha256: checked.root_sha256.unwrap_or_default(),
            payload: checked.payload.unwrap_or_default(),
            signer: checked
                .signers
                .into_iter()
                .next_back()
                .map_or_else(String::new, |one| one.fingerprint),
            tlp: was.tlp.clone(),
            files: checked.files,
            bytes: checked.bytes,
            losses: covered.losses,
            archive_bytes: scelle_formats::ReadAt::len(&written),
            stamp: checked.stamp.map(|stamp| Ok(stamp.time)),
        };
        let structural = source.evidence().losses.len() + plan.losses.len();
        let collected = collect::collected(sealed, structural as u64, Vec::new());
        return finish(Ok((collected, file)), &side).map_err(failed);
    }
    file.keep(cut.kept_bytes())
        .map_err(|error| failed(Error::Write(error)))?;
    let options = collect::options(source, plan, order, Some(side.clone()))?;
    let result = BundleWriter::resume(&cut, file, options)
        .and_then(|writer| collect::fill(source, plan, writer, known, progress));
    finish(result, &side).map_err(failed)
}

fn finish(
    result: Result<(Collected, PartialFile), Error>,
    side: &SideFile,
) -> Result<Collected, Error> {
    let (mut collected, file) = result?;
    collected.path = Some(file.commit()?);
    side.remove();
    Ok(collected)
}
