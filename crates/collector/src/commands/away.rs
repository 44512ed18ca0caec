//! `--out s3://…` and `--out sftp://…`: a bundle that goes to a store while it is made, and is not
//! stored here.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use scelle::{
    Collected, Order, PlannedDelivery, Source,
    engine::{Plan, Progress, profile::show_size},
    event::Tlp,
};
use scelle_deliver::{Address, Delivery, Ended, Receipt, Rest, Root, Store, StreamOptions};
use serde_json::json;

use super::collect::Job;
use crate::{
    AwayArgs, Exit, Terminal,
    collected::{describe, object, show_losses},
    delivery::{self, Outgoing, keep_receipt, rest_path},
    names::{bundle_name, executable_folder},
    output::refuse_on_source,
    planned,
};

/// A bundle that goes away.
pub(super) struct Away<'a> {
    pub(super) address: Address,
    args: &'a AwayArgs,
    /// The store that the plan of a prepared collector names, where it goes there.
    planned: Option<&'a PlannedDelivery>,
    /// Where the receipt goes; `None` where it can't be written and is only shown.
    receipt: Option<PathBuf>,
    fallback: Option<PathBuf>,
    is_encrypted: bool,
    force: bool,
}

impl<'a> Away<'a> {
    /// One that goes to an address; to `file_name` in it, where it is a folder's.
    ///
    /// # Errors
    /// Where it would go in clear, and that was not asked for.
    pub(super) fn new(
        address: Address,
        args: &'a AwayArgs,
        file_name: &str,
        is_encrypted: bool,
        force: bool,
    ) -> Result<Self> {
        args.delivery.check_clear(is_encrypted)?;
        let address = address.with_file_name(file_name);
        let name = address.file_name().unwrap_or(file_name);
        let place = executable_folder().unwrap_or_else(|_| PathBuf::from("."));
        Ok(Self {
            receipt: Some(args.delivery.receipt_path(&place.join(name))),
            fallback: args.fallback.as_deref().map(|path| rest_path(path, name)),
            address,
            args,
            planned: None,
            is_encrypted,
            force,
        })
    }

    /// One that goes where a plan says; the rest goes into the program's folder, where nothing else is said.
    ///
    /// # Errors
    /// Where it would go in clear, or options are named that the plan settles.
    pub(super) fn planned(
        planned: &'a PlannedDelivery,
        args: &'a AwayArgs,
        file_name: &str,
        is_encrypted: bool,
    ) -> Result<Self> {
        args.delivery.check_planned()?;
        let address = planned::folder(planned.to())?;
        let mut away = Self::new(address, args, file_name, is_encrypted, false)?;
        away.planned = Some(planned);
        if away.fallback.is_none() {
            away.fallback = Some(rest_path(&executable_folder()?, file_name));
        }
        Ok(away)
    }

    /// Gives up what would go into the program's folder only because nothing else was said, where that folder lies on
    /// what is `spared`, or is tried and takes no file: a planned delivery asks nobody, and goes on without.
    pub(super) fn settle(&mut self, spared: Option<&Path>, is_tried: bool, terminal: &Terminal) {
        if self.planned.is_none() {
            return;
        }
        let why_not = |path: &Path| {
            if spared.is_some_and(|source| refuse_on_source(source, path, "").is_err()) {
                return Some(
                    "this program's folder lies, or may lie, on what is collected".to_owned(),
                );
            }
            let tried = if is_tried { try_writing(path) } else { Ok(()) };
            tried
                .err()
                .map(|why| format!("this program's folder takes no file: {why}"))
        };
        if !self.args.delivery.names_receipt()
            && let Some(why) = self.receipt.as_deref().and_then(why_not)
        {
            self.receipt = None;
            terminal.warn(format!(
                "the receipt will be shown, and not be written: {why}; --receipt FILE names a place"
            ));
        }
        if self.args.fallback.is_none()
            && let Some(why) = self.fallback.as_deref().and_then(why_not)
        {
            self.fallback = None;
            terminal.warn(format!(
                "if the store is gone for good while this runs, all that was collected is lost, for the rest \
                 has no place: {why}; --fallback DIR names one"
            ));
        }
    }

    /// What may be written here.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        self.fallback.iter().chain(&self.receipt)
    }

    /// What is said before it begins, beside the address: how a plan's store is reached, where the receipt goes, and
    /// the rest if the store is gone.
    pub(super) fn rows(&self) -> [(&'static str, String); 3] {
        let shown = |path: &Option<PathBuf>| {
            let shown = path.as_ref().map(|path| path.display().to_string());
            shown.unwrap_or_default()
        };
        [
            (
                "By way of",
                self.planned.map(planned::way).unwrap_or_default(),
            ),
            ("Receipt", shown(&self.receipt)),
            ("Else into", shown(&self.fallback)),
        ]
    }

    fn store(&self) -> Result<Box<dyn Store>> {
        match self.planned {
            Some(planned) => planned::store(planned, self.address.file_name().unwrap_or_default()),
            None => self.args.delivery.store(self.address.clone(), self.force),
        }
    }

    /// Begins to deliver.
    ///
    /// # Errors
    /// Where the store refuses, or can't be reached and there is no fallback.
    pub(super) fn begin(&self, terminal: &Terminal) -> Result<Outgoing> {
        let delivery = &self.args.delivery;
        match self.planned {
            None => delivery.tell_way(&self.address, terminal),
            Some(PlannedDelivery::S3(s3)) => {
                delivery::tell_unprotected(s3.endpoint.as_deref(), terminal);
            }
            Some(PlannedDelivery::Sftp(_)) => {}
        }
        let store = self.store()?;
        let options = StreamOptions {
            sizes: delivery.sizes(),
            retry: delivery.retry(terminal),
            fallback: self.fallback.clone(),
            is_encrypted: self.is_encrypted,
        };
        let begun = Delivery::begin(store, options);
        match self.planned {
            Some(_) => Ok(Outgoing(begun.context(
                "nothing was collected: with --out DIR the bundle is left in a folder, to be handed to \
                 whoever prepared this collector",
            )?)),
            None => Ok(Outgoing(begun?)),
        }
    }

    /// Collects into a delivery, and ends it.
    ///
    /// # Errors
    /// Where the bundle can't be sealed, or neither delivered nor kept.
    pub(super) fn write(
        &self,
        out: Outgoing,
        source: &Source,
        plan: &Plan,
        order: Order,
        progress: &Progress,
    ) -> Result<(Collected, Ended)> {
        let tlp = order.tlp.name();
        let (collected, out) = scelle::collect_into(source, plan, order, out, progress)
            .with_context(|| format!("what {} has of the bundle is not whole", self.address))?;
        progress.begin("delivering", 0, 0);
        let ended = out.0.finish(Some(Root {
            root: collected.root.clone(),
            from: Root::SEALED.into(),
            tlp: Some(tlp.into()),
        }))?;
        Ok((collected, ended))
    }

    /// Collects what the command line asks for, and delivers it.
    ///
    /// # Errors
    /// Where nothing could be collected, or it could not be delivered and was not kept.
    pub(super) fn collect(self, mut job: Job<'_>, terminal: &Terminal) -> Result<Exit> {
        if job.course.resume {
            bail!(
                "what a store has of a bundle can't be gone on with by collecting: collect again, and \
                 name a --fallback, which `deliver` goes on with"
            );
        }
        for path in self.outputs() {
            job.choices.check_output(job.source_path, path)?;
        }
        job.name = bundle_name(Path::new(self.address.file_name().unwrap_or_default()));
        job.key = job.choices.seal_key()?;
        let (source, tlp) = (job.source, job.tlp);
        let out = self.begin(terminal)?;
        let mut ended = None;
        let collected = job.collect_with(terminal, |plan, order, progress| {
            let (collected, how) = self.write(out, source, plan, order, progress)?;
            ended = Some(how);
            Ok(collected)
        })?;
        let ended = ended.context("the delivery has not ended")?;
        self.tell(collected, &ended, tlp, terminal)
    }

    /// Writes the receipt, and tells what was collected and delivered.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub(super) fn tell(
        &self,
        mut collected: Collected,
        ended: &Ended,
        tlp: Tlp,
        terminal: &Terminal,
    ) -> Result<Exit> {
        show_losses(&collected.shown_losses, collected.losses, terminal);
        match ended {
            Ended::Delivered(receipt) => {
                collected.path = Some(receipt.to.clone().into());
                let kept = self.receipt.as_deref();
                let kept = kept.filter(|path| keep_receipt(receipt, path, self.force, terminal));
                let exit = tell_delivered(&collected, tlp, receipt, kept, terminal)?;
                let is_unkept = self.receipt.is_some() && kept.is_none();
                Ok(if is_unkept { Exit::LOSSES } else { exit })
            }
            Ended::Kept(rest) => {
                collected.path = Some(rest.path.clone());
                self.tell_kept(&collected, tlp, rest, terminal)
            }
        }
    }

    /// Tells that the bundle is sealed and lies in two places.
    fn tell_kept(
        &self,
        collected: &Collected,
        tlp: Tlp,
        rest: &Rest,
        terminal: &Terminal,
    ) -> Result<Exit> {
        let shown = if terminal.json {
            let mut told = object(collected, tlp);
            told["delivered_bytes"] = json!(rest.from);
            told["rest"] = json!(rest.path.to_string_lossy());
            told["rest_bytes"] = json!(rest.bytes);
            terminal.object(&told)
        } else {
            let mut lines = describe(collected, tlp, terminal).into_iter();
            lines.try_for_each(|line| terminal.line(line))
        };
        // Nobody may read that; what is to be done is said all the same.
        if let Err(error) = shown {
            terminal.warn(format!("writing the result: {error}"));
        }
        let path = rest.path.display();
        let next = match self.planned {
            Some(planned) => format!(
                "Keep it and {path}.delivery, and hand both to whoever prepared this collector, who goes on with: scelle deliver \
                 {path}{}  (to {}, with what the store knows its sender by)",
                planned::options(planned),
                self.address
            ),
            None => format!(
                "Go on with: deliver {path}  (to {}, with the options of delivery that this run had)",
                self.address
            ),
        };
        let state = match rest.from {
            0 => format!(
                "The store has nothing of the bundle; all of it, {}, is in {path}",
                show_size(rest.bytes)
            ),
            from => format!(
                "The store has the first {} of the bundle, which are of no use alone, nor is the rest, {} in {path}",
                show_size(from),
                show_size(rest.bytes)
            ),
        };
        terminal.warn(format!("not delivered: {}. {state}. {next}", rest.why));
        Ok(Exit::NOT_DONE)
    }
}

/// Tells what was collected and delivered; `kept` is where the receipt was written.
fn tell_delivered(
    collected: &Collected,
    tlp: Tlp,
    receipt: &Receipt,
    kept: Option<&Path>,
    terminal: &Terminal,
) -> Result<Exit> {
    if terminal.json {
        let mut told = object(collected, tlp);
        told["receipt"] = json!(receipt);
        told["receipt_file"] = json!(kept.map(Path::to_string_lossy));
        terminal.object(&told)?;
    } else {
        for line in describe(collected, tlp, terminal) {
            terminal.line(line)?;
        }
        for line in delivery::describe(receipt, terminal) {
            terminal.line(line)?;
        }
        if let Some(path) = kept {
            terminal.note(format!("the receipt is {}", path.display()));
        }
    }
    Ok(Exit::with_losses(collected.losses > 0))
}

/// Whether a file can be made there, which is not there yet; it is not left behind.
fn try_writing(path: &Path) -> io::Result<()> {
    File::create_new(path)?;
    fs::remove_file(path)
}
