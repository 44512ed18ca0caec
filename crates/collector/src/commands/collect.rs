//! `collect`: evidence into one sealed bundle.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use scelle::{
    Collected, Destination, Order, Recipient, SealKey, Source,
    engine::{Plan, Profile, Progress, profile::parse_size},
    event::Tlp,
};

use super::away::Away;
use crate::{
    AwayArgs, Choices, Exit, Inputs, StateArgs, Terminal,
    collected::{show_plan, tell, warn_of_less},
    delivery::address,
    names::{bundle_name, bundle_path, executable_folder, file_name},
};

/// Collect evidence into one sealed bundle
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  collect --source disk.raw --tlp amber --out /mnt/usb
  collect --source /dev/sdb --profile full --tlp red --out case.scelle.zip
  collect --source disk.raw --dry-run                    the plan and the sizes
  collect --source disk.raw --tlp amber --out - | ssh vault 'cat > case.scelle.zip'
  collect --source disk.raw --tlp amber --out /mnt/usb --resume    go on after a cut
  collect --source folder --profile everything,team.toml --max-size 20GiB --tlp green --out .
  collect --source disk.raw --tlp red --out . --recipient cert.asc --fingerprint 0123…  encrypted
  collect --source disk.raw --tlp red --out s3://vault/ --recipient cert.asc --fingerprint 0123…

Write down the root hash that is shown at the end: `verify --root` compares it.
Exit status: 0 complete; 1 complete, with losses that are listed; 2 not done.")]
pub struct Args {
    /// Disk image, block device, volume, folder or file
    // Required, but not of a collector that is given another command.
    #[arg(long, value_name = "PATH", required = true)]
    source: Option<PathBuf>,
    /// Where the bundle goes: a folder, a file, `-`, or a store [default: the executable's folder]
    #[arg(long, value_name = "DIR|FILE|-|URL")]
    out: Option<PathBuf>,
    /// Go on with a collection that was cut off, with the options that it was begun with
    #[arg(long, conflicts_with_all = ["dry_run", "force"])]
    resume: bool,
    /// Checkpoints are at most so far apart; for tests
    #[arg(long, value_name = "SIZE", value_parser = parse_size, hide = true)]
    checkpoint_bytes: Option<u64>,
    /// Show the plan and the sizes; read nothing but metadata, write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    choices: Choices,
    #[command(flatten)]
    away: AwayArgs,
}

/// Runs the command.
///
/// # Errors
/// Where nothing could be collected; the message says why and what to do.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let source_path = args
        .source
        .as_deref()
        .context("name what is to be collected with --source")?;
    let profile = Profile::load_list(&args.choices.profile)?;
    if args.dry_run {
        let source = args.choices.open(source_path, args.outputs()?, terminal)?;
        let stated = StateArgs {
            tlp: args.choices.label(&profile).ok(),
            ..StateArgs::default()
        };
        let label = stated.carry(&Inputs::source(source_path, &source))?;
        let progress = Progress::default();
        let plan = terminal.watch(&progress, || args.choices.plan(&source, profile, &progress));
        return show_plan(&source, &plan, &label, terminal);
    }
    let tlp = args.choices.label(&profile)?;
    args.choices.time_service()?;
    // Whom it is for is settled before anything of the evidence is read.
    let recipients = args.choices.recipients.read()?;
    let is_encrypted = !recipients.is_empty();
    let source = args.choices.open(source_path, args.outputs()?, terminal)?;
    let address = address(args.out.as_deref())?;
    let job = Job {
        source: &source,
        source_path,
        profile,
        tlp,
        name: bundle_name(source_path),
        key: None,
        recipients,
        choices: &args.choices,
        course: args.course(),
    };
    let Some(address) = address else {
        args.away.check_unused()?;
        return args.collect(job, is_encrypted, terminal);
    };
    refuse_freer(&source, source_path, tlp)?;
    let name = file_name(&job.name, is_encrypted);
    let force = args.choices.force;
    Away::new(address, &args.away, &name, is_encrypted, force)?.collect(job, terminal)
}

impl Args {
    /// Collects into a file, or to standard output.
    fn collect(&self, mut job: Job<'_>, is_encrypted: bool, terminal: &Terminal) -> Result<Exit> {
        let to_stdout = self.out.as_deref() == Some(Path::new("-"));
        let destination = if to_stdout {
            if self.resume {
                bail!("standard output can't be gone on with: name the bundle with --out");
            }
            Destination::Stdout
        } else {
            let out = match &self.out {
                Some(out) => out.clone(),
                None => executable_folder()?,
            };
            let path = bundle_path(&out, job.source_path, is_encrypted);
            self.choices.check_output(job.source_path, &path)?;
            job.name = bundle_name(&path);
            let force = self.choices.force;
            Destination::File { path, force }
        };
        job.key = self.choices.seal_key()?;
        let tlp = job.tlp;
        let collected = job.collect(destination, terminal)?;
        tell(&collected, tlp, terminal, to_stdout)?;
        Ok(Exit::with_losses(collected.losses > 0))
    }

    /// Where something will be written.
    fn outputs(&self) -> Result<Vec<PathBuf>> {
        match &self.out {
            Some(out) if out == Path::new("-") => Ok(Vec::new()),
            Some(out) if address(Some(out))?.is_some() => Ok(self.away.outputs()),
            Some(out) => Ok(vec![out.clone()]),
            None => Ok(executable_folder().into_iter().collect()),
        }
    }

    fn course(&self) -> Course {
        Course {
            resume: self.resume,
            checkpoint_bytes: self.checkpoint_bytes,
        }
    }
}

/// How a collection runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Course {
    /// Whether it goes on with one that was cut off.
    pub resume: bool,
    /// The most bytes between checkpoints, where that is not the usual.
    pub checkpoint_bytes: Option<u64>,
}

/// One collection, as the command line asks for it.
pub struct Job<'a> {
    /// What is collected from.
    pub source: &'a Source,
    /// Where that is, as the operator named it.
    pub source_path: &'a Path,
    /// What is taken.
    pub profile: Profile,
    /// The label.
    pub tlp: Tlp,
    /// The bundle's name.
    pub name: String,
    /// The key that seals; without one a key is made for the run.
    pub key: Option<SealKey>,
    /// Whom it is encrypted for.
    pub recipients: Vec<Recipient>,
    /// All else that was chosen.
    pub choices: &'a Choices,
    /// How it runs.
    pub course: Course,
}

impl Job<'_> {
    /// Plans and collects into a file or to standard output.
    ///
    /// # Errors
    /// Where the bundle can't be written.
    pub fn collect(self, destination: Destination, terminal: &Terminal) -> Result<Collected> {
        let (source, resume) = (self.source, self.course.resume);
        self.collect_with(terminal, |plan, order, progress| {
            Ok(match destination {
                Destination::File { path, .. } if resume => {
                    scelle::resume(source, plan, order, &path, progress)?
                }
                destination => scelle::collect(source, plan, order, destination, progress)?,
            })
        })
    }

    /// Plans, has `write` collect, and tells what is odd.
    ///
    /// # Errors
    /// Where the bundle can't be written.
    pub(super) fn collect_with(
        self,
        terminal: &Terminal,
        write: impl FnOnce(&Plan, Order, &Progress) -> Result<Collected>,
    ) -> Result<Collected> {
        refuse_freer(self.source, self.source_path, self.tlp)?;
        let choices = self.choices;
        let incident = choices.incident(self.tlp, terminal)?;
        let timestamp = choices.time_service()?;
        let progress = Progress::default();
        let collected = terminal.watch(&progress, || -> Result<_> {
            let plan = choices.plan(self.source, self.profile, &progress);
            let order = Order {
                name: self.name,
                tlp: self.tlp,
                source: self.source_path.to_string_lossy().into_owned(),
                case: choices.case.clone(),
                operator: choices.operator.clone(),
                incident,
                compression: choices.compression.into(),
                key: self.key,
                recipients: self.recipients,
                checkpoint_bytes: self.course.checkpoint_bytes,
                prepared: None,
                timestamp,
            };
            write(&plan, order, &progress)
        })?;
        warn_of_less(&collected, terminal);
        if collected.files == 0 {
            terminal.note("`--profile everything` takes every file, `ls` shows what there is");
        }
        Ok(collected)
    }
}

/// Refuses a label that is freer than that of what is collected from: a seal lowers nothing.
pub(super) fn refuse_freer(source: &Source, path: &Path, tlp: Tlp) -> Result<()> {
    let mut inputs = Inputs::default();
    inputs.add_source(path, source);
    StateArgs::stated(tlp).carry(&inputs).map(drop)
}
