//! `salvage`: what a bundle that was cut off still holds.

use std::path::PathBuf;

use anyhow::{Result, bail};
use scelle::{SalvageOrder, bundle::grouped, engine::Progress};
use serde_json::json;

use crate::{Exit, KeyArgs, RecipientArgs, Terminal, Tone, terminal::plain};

/// Save what a bundle that was cut off still holds
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  salvage case.scelle.zip.partial --out saved.scelle.zip
  verify saved.scelle.zip                                unfinished: what is vouched for, what is missing
  salvage case.scelle.zip.pgp.partial --key secret.asc --out saved.scelle.zip.pgp \\
    --recipient cert.asc --fingerprint 0123…             an encrypted one, to be encrypted again

The cut bundle is only read, and an encrypted one becomes nothing in clear but by --in-clear. If the source is still at hand, `collect --resume` goes on instead.
Exit status: 0 all that was collected is there; 1 saved, with losses, or out of ciphertext that was altered; 2 not done.")]
pub struct Args {
    /// The bundle that was cut off
    cut: PathBuf,
    /// The bundle to make of it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Yes, write in clear what was encrypted
    #[arg(long, conflicts_with = "recipient")]
    in_clear: bool,
    /// Replace an existing output
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    recipients: RecipientArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Runs the command.
///
/// # Errors
/// Where nothing can be saved.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    if args.out.is_dir() {
        bail!("{} is a folder: --out wants a file", args.out.display());
    }
    let key = args.key.read()?;
    let order = SalvageOrder {
        key: key.as_ref(),
        recipients: args.recipients.read()?,
        in_clear: args.in_clear,
        force: args.force,
    };
    let progress = Progress::default();
    let saved = terminal.watch(&progress, || {
        scelle::salvage(&args.cut, &args.out, order, &progress)
    })?;
    let exit = Exit::with_losses(!saved.is_complete || saved.altered.is_some());
    if terminal.json {
        terminal.object(&json!({
            "bundle": args.out.to_string_lossy(),
            "root": saved.sealed.root,
            "payload": saved.sealed.payload,
            "tlp": saved.sealed.tlp,
            "checkpoint": saved.checkpoint,
            "vouched_files": saved.vouched_files,
            "unvouched_files": saved.unvouched_files,
            "complete": saved.is_complete,
            "altered": saved.altered,
        }))?;
        return Ok(exit);
    }
    let head = |text: &str| terminal.paint(Tone::Strong, format!("{text:<11}"));
    terminal.line(format!("{}{}", head("Bundle"), args.out.display()))?;
    terminal.line(format!(
        "{}{} files that a checkpoint vouches for, {} more that are whole",
        head("Saved"),
        saved.vouched_files,
        saved.unvouched_files
    ))?;
    terminal.line(format!("{}{}", head("Label"), plain(&saved.sealed.tlp)))?;
    terminal.line(format!("{}{}", head("Root"), grouped(&saved.sealed.root)))?;
    if let Some(altered) = &saved.altered {
        terminal.warn(format!(
            "{}: somebody or something changed it since it was written",
            plain(altered)
        ));
    }
    match (saved.is_complete, &saved.altered) {
        (true, None) => terminal.note("all that was collected is there: only the end was missing"),
        (true, Some(_)) => terminal.note("all that was collected is there, and vouched for"),
        (false, _) => {
            terminal.warn("what the plan asked for behind that is missing; the ledger says cut-off")
        }
    }
    Ok(exit)
}
