//! `--out s3://…` and `--out sftp://…`: a bundle that goes to a store while it is made, and is not
//! stored here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use scelle::{
    Collected, Order, Source,
    engine::{Plan, Progress, profile::show_size},
    event::Tlp,
};
use scelle_deliver::{Address, Delivery, Ended, Receipt, Rest, Root, StreamOptions};
use serde_json::json;

use super::collect::Job;
use crate::{
    AwayArgs, Exit, Terminal,
    collected::{describe, object, show_losses},
    delivery::{self, Outgoing, keep_receipt, rest_path},
    names::{bundle_name, executable_folder},
};

/// A bundle that goes away.
pub(super) struct Away<'a> {
    pub(super) address: Address,
    args: &'a AwayArgs,
    receipt: PathBuf,
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
            receipt: args.delivery.receipt_path(&place.join(name)),
            fallback: args.fallback.as_deref().map(|path| rest_path(path, name)),
            address,
            args,
            is_encrypted,
            force,
        })
    }

    /// What may be written here.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        self.fallback.iter().chain([&self.receipt])
    }

    /// Begins to deliver.
    ///
    /// # Errors
    /// Where the store refuses, or can't be reached and there is no fallback.
    pub(super) fn begin(&self, terminal: &Terminal) -> Result<Outgoing> {
        let delivery = &self.args.delivery;
        delivery.tell_way(&self.address, terminal);
        let store = delivery.store(self.address.clone(), self.force)?;
        let options = StreamOptions {
            sizes: delivery.sizes(),
            retry: delivery.retry(terminal),
            fallback: self.fallback.clone(),
            is_encrypted: self.is_encrypted,
        };
        Ok(Outgoing(Delivery::begin(store, options)?))
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
        let (collected, out) = scelle::collect_into(source, plan, order, out, progress)
            .with_context(|| format!("what {} has of the bundle is not whole", self.address))?;
        progress.begin("delivering", 0, 0);
        let ended = out.0.finish(Some(Root {
            root: collected.root.clone(),
            from: Root::SEALED.into(),
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
                let is_kept = keep_receipt(receipt, &self.receipt, self.force, terminal);
                let exit = self.tell_delivered(&collected, tlp, receipt, terminal)?;
                Ok(if is_kept { exit } else { Exit::LOSSES })
            }
            Ended::Kept(rest) => {
                collected.path = Some(rest.path.clone());
                self.tell_kept(&collected, tlp, rest, terminal)
            }
        }
    }

    fn tell_delivered(
        &self,
        collected: &Collected,
        tlp: Tlp,
        receipt: &Receipt,
        terminal: &Terminal,
    ) -> Result<Exit> {
        if terminal.json {
            let mut told = object(collected, tlp);
            told["receipt"] = json!(receipt);
            told["receipt_file"] = json!(self.receipt);
            terminal.object(&told)?;
        } else {
            for line in describe(collected, tlp, terminal) {
                terminal.line(line)?;
            }
            for line in delivery::describe(receipt, terminal) {
                terminal.line(line)?;
            }
            terminal.note(format!("the receipt is {}", self.receipt.display()));
        }
        Ok(Exit::with_losses(collected.losses > 0))
    }

    /// Tells that the bundle is sealed and lies in two places.
    fn tell_kept(
        &self,
        collected: &Collected,
        tlp: Tlp,
        rest: &Rest,
        terminal: &Terminal,
    ) -> Result<Exit> {
        if terminal.json {
            let mut told = object(collected, tlp);
            told["delivered_bytes"] = json!(rest.from);
            told["rest"] = json!(rest.path);
            told["rest_bytes"] = json!(rest.bytes);
            terminal.object(&told)?;
        } else {
            for line in describe(collected, tlp, terminal) {
                terminal.line(line)?;
            }
        }
        terminal.warn(format!(
            "not delivered: {}. The store has the first {} of the bundle, which are of no use alone, \
             nor is the rest, {} in {}. Go on with: deliver {}  (to {}, with the options of delivery that \
             this run had)",
            rest.why,
            show_size(rest.from),
            show_size(rest.bytes),
            rest.path.display(),
            rest.path.display(),
            self.address
        ));
        Ok(Exit::NOT_DONE)
    }
}
