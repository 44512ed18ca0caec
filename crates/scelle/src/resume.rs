//! Going on with a collection that was cut off.

use std::{io, path::Path};

use scelle_bundle::{
    BundleWriter, Cut, Error, Logged, PartialFile, Sealed, Verdict, VerifyOptions,
    is_cut_at_its_head,
};
use scelle_engine::{Plan, Progress};
use scelle_evidence::FileSource;

use crate::{
    CollectError, Collected, Order, Source, collect, collection::plan_hash, further_part,
    known::Known, side::SideFile,
};

/// Goes on with the collection that was to become `path` and was cut off: what its checkpoints
/// vouch for is kept, all else is collected as if nothing had happened, under a new key. What is
/// encrypted can't be read here, so it is left as it is, and a further part goes on from it.
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
    if !order.recipients.is_empty() {
        return further_part::resume(source, plan, order, path, progress);
    }
    let mut file = PartialFile::reopen(path)?;
    let partial = file.partial_path().to_owned();
    let cause = |why: String| CollectError::Resume {
        path: path.to_owned(),
        why,
    };
    // It must not be taken for nothing.
    if crate::key::is_ciphertext(&partial)? {
        return Err(cause(
            "the collection that was cut off is encrypted: name its recipients again".into(),
        ));
    }
    let failed = |source| CollectError::Writing {
        path: path.to_owned(),
        partial: partial.clone(),
        source,
    };
    progress.begin("reading what is there", 0, 0);
    let written = FileSource::open(&partial).map_err(|error| cause(error.to_string()))?;
    let side = SideFile::new(path, plan, &order);
    let logged = logged(&side);
    let cut = match Cut::survey(&written) {
        Ok(cut) => cut,
        Err(error) => {
            // Nothing is lost by beginning again only where there was nothing yet.
            let is_cut = is_cut_at_its_head(&written).map_err(|error| cause(error.to_string()))?;
            if !is_cut || logged != Ok(None) {
                return Err(cause(unread(&error, logged)));
            }
            file.keep(0).map_err(|error| failed(Error::Write(error)))?;
            let options = collect::options(source, plan, order, Some(side.clone()))?;
            let result = BundleWriter::create(file, options)
                .and_then(|writer| collect::fill(source, plan, writer, Known::default(), progress));
            return finish(result, &side).map_err(failed);
        }
    };
    let was = cut.collection();
    if was.plan.blake3 != Some(plan_hash(plan, &order)) || side.is_of_another() {
        return Err(cause(
            "the collection that was cut off had another plan, label or record: give the same \
             options again, or salvage it"
                .into(),
        ));
    }
    if let Ok(Some(logged)) = &logged
        && is_missing(logged, &cut)
    {
        return Err(cause(missing(logged, &cut, &side)));
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
    // Before anything is cut off: the writer would refuse it behind that.
    if was.compression != order.compression.name() {
        return Err(cause(format!(
            "the collection that was cut off was begun with {}: give the same options again",
            was.compression
        )));
    }
    file.keep(cut.kept_bytes())
        .map_err(|error| failed(Error::Write(error)))?;
    let options = collect::options(source, plan, order, Some(side.clone()))?;
    let result = BundleWriter::resume(&cut, file, options)
        .and_then(|writer| collect::fill(source, plan, writer, known, progress));
    finish(result, &side).map_err(failed)
}

/// What the side file says was logged; of one that is not there, nothing.
fn logged(side: &SideFile) -> Result<Option<Logged>, String> {
    match side.read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", side.path().display())),
        Ok(state) => state.logged(),
    }
}

/// Whether the checkpoint that was logged last is not among those that are there.
fn is_missing(logged: &Logged, cut: &Cut<'_>) -> bool {
    match cut.checkpoint() {
        Some((number, _)) if number > logged.checkpoint => false,
        Some((number, hash)) => number < logged.checkpoint || hash != logged.blake3,
        None => true,
    }
}

/// Why a file is not gone on with that can't be read as a bundle that was cut off.
fn unread(error: &Error, logged: Result<Option<Logged>, String>) -> String {
    let was = match logged {
        Ok(Some(logged)) => format!("; checkpoint {} of it was logged", logged.checkpoint),
        Ok(None) => String::new(),
        Err(what) => format!("; {what}"),
    };
    format!(
        "what is there can't be gone on with: {error}{was}. It was left as it is, since it may hold \
         what was collected: look at it with verify, or collect again under another name"
    )
}

/// Why a file is not gone on with that lacks what was logged.
fn missing(logged: &Logged, cut: &Cut<'_>, side: &SideFile) -> String {
    let there = match cut.checkpoint() {
        Some((number, _)) => format!("what is there is sound up to checkpoint {number}"),
        None => "no checkpoint of what is there is sound".to_owned(),
    };
    format!(
        "checkpoint {} was logged, and {there}, at {} bytes: behind that it was damaged. It was left \
         as it is, since going on cuts it there: salvage it first, or keep a copy; to go on all the \
         same, remove {}",
        logged.checkpoint,
        cut.kept_bytes(),
        side.path().display()
    )
}

fn finish(
    result: Result<(Collected, PartialFile), Error>,
    side: &SideFile,
) -> Result<Collected, Error> {
    let (mut collected, file) = result?;
    collected.path = Some(file.commit()?);
    side.remove_if_possible();
    Ok(collected)
}
