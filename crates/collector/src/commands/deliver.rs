//! `deliver`: a bundle that exists, to a store.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use scelle::{bundle::grouped, engine::Progress};
use scelle_deliver::{Address, FileOptions, Root, deliver_file, rest_of};
use serde_json::json;

use crate::{
    DeliveryArgs, Exit, Terminal, Tone,
    delivery::describe,
    names::{bundle_name, written_root},
    output::refuse_existing,
    terminal::plain,
};

/// Deliver a bundle to a store, and get its receipt
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  deliver case.scelle.zip.pgp --to s3://vault/2026/ --root 1234abcd…
  deliver case.scelle.zip.pgp --to s3://vault/case.pgp --endpoint https://store.example.org
  deliver case.scelle.zip.pgp.rest                 what `collect --fallback` kept

Where the line is cut, the piece is sent again; where the program is, the same command goes on:
NAME.delivery says how far it came, and where: a delivery goes on nowhere else. The receipt says what the store confirmed. Nothing is removed
but NAME.delivery, once the receipt is written; where it can't be, the same command asks for it again and sends nothing twice.
Exit status: 0 delivered; 1 delivered, and the receipt could not be written; 2 not done.")]
pub struct Args {
    /// The bundle, or the rest of one
    bundle: PathBuf,
    /// Where it goes; a rest knows
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The root hash that was written down: compared where the bundle or its rest shows one, else for the receipt
    #[arg(long, value_name = "HASH")]
    root: Option<String>,
    /// Replace what the store has of that name, and an older receipt
    #[arg(long)]
    force: bool,
    /// Go on with a delivery at another endpoint or host than it was begun at: it is the same store
    /// under another name
    #[arg(long)]
    moved: bool,
    #[command(flatten)]
    delivery: DeliveryArgs,
}

/// Runs the command.
///
/// # Errors
/// Where it could not be delivered; the message says why and what to do.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let path = &args.bundle;
    let (address, root) = match rest_of(path)? {
        Some(rest) => {
            args.delivery.check_clear(rest.is_encrypted)?;
            let root = args.told()?;
            (args.to.as_ref().unwrap_or(&rest.to).parse()?, root)
        }
        None => (args.address()?, args.root()?),
    };
    let receipt_path = args.delivery.receipt_path(path);
    refuse_existing(&receipt_path, args.force)?;
    args.delivery.tell_way(&address, terminal);
    let store = args.delivery.store(address, args.force)?;
    let options = FileOptions {
        sizes: args.delivery.sizes(),
        retry: args.delivery.retry(terminal),
        root,
        moved: args.moved,
    };
    let size = fs::metadata(path)
        .with_context(|| format!("reading {}", path.display()))?
        .len();
    let progress = Progress::default();
    progress.begin("delivering", size, 0);
    let delivered = terminal.watch(&progress, || {
        let advance = |bytes| progress.advance(bytes, 0);
        deliver_file(path, store, options, &advance, &|receipt| {
            receipt.write(&receipt_path, args.force)
        })
    })?;
    if let Some(error) = &delivered.unkept {
        terminal.warn(format!(
            "{error}; keep what is shown here, or give the same command again: {}.delivery stays, nothing is sent \
             twice, and the store is asked once more what it has",
            path.display()
        ));
    }
    if let Some(error) = &delivered.left {
        terminal.warn(format!("{error}; remove it by hand: there is a receipt"));
    }
    let exit = Exit::with_losses(delivered.unkept.is_some());
    if delivered.sent_again {
        terminal.warn("the store had forgotten what it had: all of it was sent again");
    } else if delivered.sent_before > 0 {
        terminal.note(format!(
            "{} bytes were there already, of a delivery that was cut off",
            delivered.sent_before
        ));
    }
    let receipt = &delivered.receipt;
    if terminal.json {
        terminal.object(&json!({
            "tlp": receipt.root.as_ref().and_then(|root| root.tlp.as_deref()),
            "receipt": receipt,
            "receipt_file": delivered.unkept.is_none().then(|| receipt_path.to_string_lossy()),
        }))?;
        return Ok(exit);
    }
    let head = |text: &str| terminal.paint(Tone::Strong, format!("{text:<11}"));
    for line in describe(receipt, terminal) {
        terminal.line(line)?;
    }
    match &receipt.root {
        Some(root) => {
            terminal.line(format!("{}{}", head("Root"), grouped(&root.root)))?;
            terminal.line(format!("{}{}", head("  from"), root.from))?;
            if let Some(tlp) = &root.tlp {
                terminal.line(format!("{}{}", head("Label"), plain(tlp)))?;
            }
        }
        None => terminal.warn(
            "the receipt names no root hash: an encrypted bundle does not show it; --root takes it",
        ),
    }
    if delivered.unkept.is_none() {
        terminal.line(format!("{}{}", head("Receipt"), receipt_path.display()))?;
    }
    Ok(exit)
}

impl Args {
    fn address(&self) -> Result<Address> {
        let to = self.to.as_deref().context("name the store with --to")?;
        let address: Address = to.parse()?;
        let name = self.bundle.file_name().map(|name| name.to_string_lossy());
        Ok(address.with_file_name(&name.unwrap_or_default()))
    }

    /// The root that was written down.
    fn told(&self) -> Result<Option<Root>> {
        let told = self.root.as_deref().map(written_root).transpose()?;
        Ok(told.map(|root| Root {
            root,
            from: Root::TOLD.into(),
            tlp: None,
        }))
    }

    /// The bundle's root: read, where it is in clear, else as it was told.
    fn root(&self) -> Result<Option<Root>> {
        let path = &self.bundle;
        let told = self.told()?;
        let is_encrypted =
            scelle::is_ciphertext(path).with_context(|| format!("reading {}", path.display()))?;
        self.delivery.check_clear(is_encrypted)?;
        if is_encrypted {
            return Ok(told);
        }
        let source = scelle::open(path)?;
        let Some(facts) = source.bundle() else {
            bail!(
                "{} is no bundle: collect {} into one first",
                path.display(),
                bundle_name(Path::new(path))
            );
        };
        if told.is_some_and(|told| told.root != facts.root) {
            bail!(
                "the root of {} is {}, and not what --root says: it is another bundle",
                path.display(),
                grouped(&facts.root)
            );
        }
        Ok(Some(Root {
            root: facts.root.clone(),
            from: "read from the bundle".into(),
            tlp: Some(facts.tlp.name().into()),
        }))
    }
}
