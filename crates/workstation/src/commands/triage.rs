//! `triage`: collect, verify and timeline in one go, with a summary. The main job.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use scelle::{
    Collected, Destination, ReadKey, Verdict, Verification, VerifyOptions,
    artefacts::usual,
    engine::{ParseSummary, Profile, Progress},
    event::Tlp,
    evidence::OpenOptions,
    timeline::Options,
};
use scelle_collector::{
    AtMostArgs, Choices, Exit, Inputs, Terminal, Tone,
    collected::{describe, object, show_losses},
    commands::{
        collect::{Course, Job},
        verify,
    },
    names::{bundle_name, bundle_path, make_folder},
    output::refuse_existing,
};
use serde_json::json;

use super::timeline::{FormatName, Made, files, span, write};
use crate::sealed_output::{self, Sealing};

/// Collect, verify and make a timeline in one go
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle triage disk.raw --out case --tlp amber
  scelle triage /dev/sdb --out case --tlp red --profile full --case 2024-017 --operator 'A. Martin'
  scelle triage folder --out case --tlp green --profile everything --format csv
  scelle triage disk.raw --out case --tlp red --recipient cert.asc --fingerprint 0123…

It writes NAME.scelle.zip, NAME.timeline.parquet, NAME.timeline.warnings.parquet and
NAME.timeline.parquet.metadata.json into the folder, each with .pgp where they are encrypted for a
recipient, and shows what was found and what was lost.
Write down the root hash.
Exit status: 0 complete; 1 complete, with losses that are listed; 2 not done.")]
pub(crate) struct Args {
    /// Disk image, block device, volume, folder or file
    source: PathBuf,
    /// The folder for the bundle and the timeline
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The form of the timeline
    #[arg(long, value_enum, default_value_t = FormatName::Parquet)]
    format: FormatName,
    #[command(flatten)]
    choices: Choices,
    #[command(flatten)]
    limit: AtMostArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let profile = Profile::load_list(&args.choices.profile)?;
    let profile_name = profile.name.clone();
    let tlp = args.choices.label(&profile)?;
    args.choices.time_service()?;
    // Whom it is for is settled before anything of the evidence is read.
    let recipients = args.choices.recipients.read()?;
    let key = match args.choices.seal_key()? {
        Some(key) => key,
        None => scelle::run_key()?,
    };
    let sealing = (!recipients.is_empty()).then(|| Sealing {
        recipients: recipients.clone(),
        key: key.clone(),
    });
    let source = args
        .choices
        .open(&args.source, vec![args.out.clone()], terminal)?;
    let mut inputs = Inputs::default();
    inputs.add(tlp, format!("the bundle of {}", args.source.display()));
    let label = args.limit.carry(&inputs)?;
    // Everything that can be refused is refused before the first byte is read or written.
    let folder = args.out.join("");
    let bundle = bundle_path(&folder, &args.source, sealing.is_some());
    let name = bundle_name(&bundle);
    let timeline = args
        .out
        .join(format!("{name}.timeline.{}", args.format.extension()));
    args.choices.check_output(&args.source, &bundle)?;
    for file in files(&timeline, args.format) {
        refuse_existing(
            &sealed_output::name(&file, sealing.as_ref()),
            args.choices.force,
        )?;
    }
    let existed = args.out.exists();
    make_folder(&args.out)?;
    if !existed {
        // A folder that was just made inside the source was not there to be seen before.
        let checked = args.choices.check_output(&args.source, &bundle);
        if checked.is_err() {
            std::fs::remove_dir(&args.out).context("removing the folder again")?;
        }
        checked?;
    }

    let destination = Destination::File {
        path: bundle.clone(),
        force: args.choices.force,
    };
    let job = Job {
        source: &source,
        source_path: &args.source,
        profile,
        tlp,
        name,
        key: Some(key),
        recipients,
        choices: &args.choices,
        course: Course::default(),
    };
    let collected = job.collect(destination, terminal)?;
    let progress = Progress::default();
    let options = VerifyOptions {
        root: Some(collected.root.clone()),
        ..VerifyOptions::default()
    };
    let key = collected.session_key.clone().map(ReadKey::Session);
    let key = key.as_ref();
    let report = terminal.watch(&progress, || {
        scelle::verify_with_key(&bundle, &options, key, &progress)
    })?;
    if report.verdict != Verdict::Sealed {
        verify::tell(&report, terminal)?;
        bail!(
            "{} does not read back as it was written: the disk or the memory is at fault; collect again elsewhere",
            bundle.display()
        );
    }
    let sealed = [scelle::open_with_key(
        &bundle,
        &OpenOptions::default(),
        key,
    )?];
    let made = terminal.watch(&progress, || {
        write(
            &sealed,
            &usual(),
            Options::default(),
            &label,
            args.format,
            &timeline,
            args.choices.force,
            sealing.as_ref(),
            &progress,
        )
    })?;
    let triage = Triage {
        args,
        profile: &profile_name,
        tlp,
        collected,
        report,
        made,
        warnings: sealed_output::name(&files(&timeline, args.format)[1], sealing.as_ref()),
    };
    triage.tell(terminal)?;
    let losses = triage.collected.losses + triage.made.losses();
    Ok(Exit::with_losses(losses > 0))
}

struct Triage<'a> {
    args: &'a Args,
    profile: &'a str,
    tlp: Tlp,
    collected: Collected,
    report: Verification,
    made: Made,
    /// The table of what could not be parsed.
    warnings: PathBuf,
}

impl Triage<'_> {
    fn tell(&self, terminal: &Terminal) -> Result<()> {
        if terminal.json {
            terminal.object(&json!({
                "source": self.args.source.to_string_lossy(),
                "profile": self.profile,
                "collect": object(&self.collected, self.tlp),
                "verify": verify::object(&self.report),
                "timeline": self.made.object(),
            }))?;
            return Ok(());
        }
        let head = |text: &str| terminal.paint(Tone::Strong, format!("{text:<11}"));
        terminal.line(format!(
            "{}{} with profile {}",
            head("Triage of"),
            self.args.source.display(),
            self.profile
        ))?;
        for line in describe(&self.collected, self.tlp, terminal) {
            terminal.line(line)?;
        }
        terminal.line(format!(
            "{}{}: every byte reads back as it was written; write the root down",
            head("Verified"),
            terminal.paint(Tone::Good, self.report.verdict.name())
        ))?;
        let summary = &self.made.summary;
        if let Some(path) = &self.made.path {
            terminal.line(format!(
                "{}{}: {} rows{}",
                head("Timeline"),
                path.display(),
                summary.rows,
                span(summary)
            ))?;
        }
        let parsed = self.made.parsed.iter();
        found(parsed.clone(), terminal)?;
        self.lost(terminal)?;
        let bundle = self.collected.path.as_deref().unwrap_or(&self.args.out);
        terminal.line(format!(
            "\nNext: scelle verify {} --root {}",
            bundle.display(),
            self.collected.root
        ))?;
        Ok(())
    }

    fn lost(&self, terminal: &Terminal) -> Result<()> {
        let head = |text: &str| terminal.paint(Tone::Strong, text);
        let unread: usize = self.made.parsed.iter().map(|one| one.unread.len()).sum();
        let warnings = self.made.summary.warnings;
        if self.collected.losses == 0 && unread == 0 && warnings == 0 {
            return Ok(terminal.line(format!("\n{} nothing", head("Lost")))?);
        }
        terminal.line(format!("\n{}", head("Lost")))?;
        for (count, what) in [
            (self.collected.losses, "while collecting".to_owned()),
            (unread as u64, "streams that could not be parsed".to_owned()),
            (
                warnings,
                format!("while parsing, each in {}", self.warnings.display()),
            ),
        ] {
            if count > 0 {
                let count = terminal.paint(Tone::Doubtful, format!("{count:>10}"));
                terminal.line(format!("{count} {what}"))?;
            }
        }
        show_losses(
            &self.collected.shown_losses,
            self.collected.losses,
            terminal,
        );
        Ok(())
    }
}

/// A line for each artefact.
fn found<'a>(parsed: impl Iterator<Item = &'a ParseSummary>, terminal: &Terminal) -> Result<()> {
    let artefacts: Vec<_> = parsed.flat_map(|one| &one.artefacts).collect();
    let title = terminal.paint(Tone::Strong, "Found");
    if artefacts.is_empty() {
        return Ok(terminal.line(format!("\n{title} nothing that is understood yet"))?);
    }
    terminal.line(format!("\n{title}"))?;
    for one in artefacts {
        let damage = match one.tally.warnings {
            0 => String::new(),
            count => format!(", {count} losses"),
        };
        terminal.line(format!(
            "{:>10} records  {:<22} in {} {}{damage}",
            one.tally.records,
            one.artefact,
            one.streams,
            if one.streams == 1 {
                "stream"
            } else {
                "streams"
            }
        ))?;
    }
    Ok(())
}
