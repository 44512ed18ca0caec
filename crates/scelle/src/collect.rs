//! From a source and a plan to a sealed bundle.

use std::{
    borrow::Cow,
    io::{self, Write},
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use scelle_bundle::{
    BundleWriter, CollectionLoss, Encrypted, Listener, Options, Output, PartialFile, Sealed, Stream,
};
use scelle_engine::{Plan, Planned, Progress, Step, plan::stored_bytes};
use scelle_event::{Coverage, EvidencePath};
use scelle_evidence::{Entry, EvidenceLoss, Volume};
use scelle_formats::{ReadAt, ReadError};

use crate::{
    CollectError, Collected, Destination, Order, Source, StampService,
    collection::{collection, kind_name},
    further_part,
    known::Known,
    order::run_key,
    side::SideFile,
};

/// Streams that are handed to the writer at once; about 1 KiB each is held meanwhile.
const BATCH: usize = 1024;
/// Losses that the answer shows; all of them are in the bundle.
const LOSSES_KEPT: usize = 1000;

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
            let begun = if order.recipients.is_empty() {
                // One that another collection left here would speak of this one.
                side.remove()
            } else {
                side.begin(None)
            };
            begun.map_err(|error| failed(scelle_bundle::Error::Write(error)))?;
            let written = write(source, plan, order, file, Some(side.clone()), progress)
                .and_then(|(collected, file)| Ok((collected, file.commit()?)));
            let (mut collected, path) = written.map_err(failed)?;
            side.remove_if_possible();
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
                        writer.pass_over(&scelle_bundle::Source::stream(&&item));
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
        losses: sealed.losses.saturating_add(structural),
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
