//! `extract`: an export in clear, which has to be asked for, and is written down.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use scelle::engine::{Progress, profile::show_size};
use scelle_collector::{Exit, Inputs, KeyArgs, LabelArgs, Terminal};
use serde_json::json;

use super::timeline::lowered;

/// Export a bundle in clear, as a BagIt folder
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle extract case.scelle.zip --to case --in-clear
  scelle verify case/case                                 the folder can still be checked

Evidence in clear is no longer under seal, and may carry malware: say --in-clear to mean it.
Of a collection in parts, name one, with the others beside it: they become one bag, of all files and
their manifests. Each export is written down in DIR.exports.jsonl, beside the folder, with its label: a
line before the first file, and one of how it ended. The label inside stays as it was sealed. What was
written is read again and checked.
Exit status: 0 complete; 2 not done.")]
pub(crate) struct Args {
    /// The bundle
    bundle: PathBuf,
    /// The folder to write to; it must not hold anything yet
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Yes, write the evidence in clear
    #[arg(long)]
    in_clear: bool,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    if !args.in_clear {
        bail!(
            "this writes evidence in clear to {}: say --in-clear if that is what you mean; \
             `ls`, `cat` and `timeline` read the bundle as it is",
            args.to.display()
        );
    }
    if args.to.is_dir() && fs::read_dir(&args.to)?.next().is_some() {
        bail!(
            "{} is not empty: name a new folder with --to",
            args.to.display()
        );
    }
    let key = args.key.read()?;
    let source = args.key.open(&args.bundle)?;
    let facts = source
        .bundle()
        .with_context(|| format!("{} is no bundle", args.bundle.display()))?
        .clone();
    let label = args
        .label
        .carry(&Inputs::source(&args.bundle, &source), terminal)?;
    drop(source);
    fs::create_dir_all(&args.to).with_context(|| format!("making {}", args.to.display()))?;
    let progress = Progress::default();
    // Evidence in clear may lie there from the first file on, so the export is written down before it.
    let line = |state: &str| {
        json!({
            "time": Timestamp::now().to_string(),
            "state": state,
            "bundle": args.bundle.to_string_lossy(),
            "root": facts.root,
            "tlp": label.tlp.name(),
            "tlp_lowered": lowered(&label),
            "to": args.to.to_string_lossy(),
        })
    };
    write_down(&args.to, &line("begun"))?;
    let root = Some(&*facts.root);
    let extracted = terminal.watch(&progress, || {
        scelle::extract(&args.bundle, &args.to, root, key.as_ref(), &progress)
    });
    let line = match &extracted {
        Ok(extracted) => {
            let mut done = line("done");
            done["files"] = json!(extracted.files);
            done["bytes"] = json!(extracted.bytes);
            done
        }
        Err(error) => {
            let mut failed = line("failed");
            failed["error"] = json!(error.to_string());
            failed
        }
    };
    let written = write_down(&args.to, &line);
    let extracted = extracted.with_context(|| {
        let to = args.to.display();
        match fs::read_dir(&args.to).map(|mut left| left.next().is_none()) {
            Ok(true) => format!("nothing was written to {to}"),
            _ => format!("what was written to {to} is not all, and in clear"),
        }
    })?;
    written?;
    if terminal.json {
        terminal.object(&line)?;
    } else {
        terminal.line(format!(
            "{} files, {}, in clear in {}; they are {}",
            extracted.files,
            show_size(extracted.bytes),
            args.to.display(),
            label.tlp
        ))?;
    }
    Ok(Exit::COMPLETE)
}

fn write_down(folder: &Path, line: &serde_json::Value) -> Result<()> {
    let mut name = folder
        .canonicalize()
        .with_context(|| format!("finding {}", folder.display()))?
        .into_os_string();
    name.push(".exports.jsonl");
    let path = PathBuf::from(name);
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut log| {
            writeln!(log, "{line}")?;
            log.sync_all()
        })
        .with_context(|| format!("writing the export down in {}", path.display()))
}
