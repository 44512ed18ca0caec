//! `collect`: evidence into one sealed bundle.

use std::{
    env, fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use scelle::{
    Certificate, Collected, Destination, Order, Recipient, SealKey, Source, StampService,
    bundle::{Compression, grouped},
    engine::{
        Plan, Profile, Progress, Step,
        plan::stored_bytes,
        profile::{Limits, parse_size, show_size},
    },
    event::{Coverage, Outcome, Tlp},
};
use scelle_incident::{Incident, Language};
use serde_json::json;

use super::away::{Asked, Away};
use crate::{
    AwayArgs, Exit, Inputs, OpenArgs, RecipientArgs, StateArgs, Terminal, Tone,
    delivery::address,
    output::{refuse_existing, refuse_on_source},
};

/// The ending of a bundle's name.
pub const BUNDLE_ENDING: &str = ".scelle.zip";
/// What is added to it where the bundle is encrypted.
pub const ENCRYPTED_ENDING: &str = ".pgp";
/// Losses that are shown unless `--verbose` asks for all.
const LOSSES_SHOWN: usize = 10;

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

/// What is collected, and how it is sealed; `triage` has the same options.
#[derive(clap::Args, Debug)]
pub struct Choices {
    /// What to take: minimal, triage, full, everything, or TOML files of your own
    #[arg(long, value_name = "NAME|FILE[,…]", default_value = "triage")]
    pub profile: String,
    /// The label of all that is collected: clear, green, amber, amber+strict, red; required
    /// unless a profile of your own sets it
    #[arg(long, value_name = "LABEL")]
    pub tlp: Option<Tlp>,
    /// The case that the bundle belongs to
    #[arg(long)]
    pub case: Option<String>,
    /// Who collects
    #[arg(long)]
    pub operator: Option<String>,
    /// The incident record (`scelle incident new` makes one), to be sealed with the evidence
    #[arg(long, value_name = "FILE")]
    pub incident: Option<PathBuf>,
    /// Sign with this OpenPGP secret key instead of a key made for this run; its password, if
    /// it has one, is read from SCELLE_KEY_PASSWORD
    #[arg(long, value_name = "KEY")]
    pub sign_with: Option<PathBuf>,
    /// The certificate of that key, with what others certified of it; it travels in the bundle
    #[arg(long, value_name = "CERT.asc", requires = "sign_with")]
    pub certificate: Option<PathBuf>,
    /// Have this RFC 3161 service (http://…) state the time of the seal; it sees a hash, and a
    /// service that does not answer keeps nothing from being sealed
    #[arg(long, value_name = "URL")]
    pub timestamp: Option<StampService>,
    /// How evidence is compressed; `unzip` can't read zstd
    #[arg(long, value_enum, default_value_t = CompressionName::Deflate)]
    pub compression: CompressionName,
    /// Take no more than this in all, the most important first: 500MiB, 20G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: Option<u64>,
    /// Take no file larger than this
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_file: Option<u64>,
    /// Take what fits of every shadow copy too: as often as there are such copies
    #[arg(long)]
    pub shadow_copies: bool,
    /// Write even onto the volume that is collected, over what may be evidence
    #[arg(long)]
    pub allow_source_volume: bool,
    /// Replace an existing output
    #[arg(long)]
    pub force: bool,
    /// Whom it is encrypted for.
    #[command(flatten)]
    pub recipients: RecipientArgs,
    /// What opens a source of which something is encrypted.
    #[command(flatten)]
    pub open: OpenArgs,
}

/// How evidence is compressed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionName {
    /// What every tool reads
    Deflate,
    /// Faster and smaller; method 93
    Zstd,
    /// Not at all
    Store,
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
        let source = args.choices.open(source_path)?;
        let progress = Progress::default();
        let plan = terminal.watch(&progress, || args.choices.plan(&source, profile, &progress));
        return show_plan(&source, &plan, terminal);
    }
    let tlp = args.choices.label(&profile)?;
    // Whom it is for is settled before anything of the evidence is read.
    let recipients = args.choices.recipients.read()?;
    let source = args.choices.open(source_path)?;
    if let Some(address) = address(args.out.as_deref())? {
        refuse_freer(&source, source_path, tlp)?;
        let is_encrypted = !recipients.is_empty();
        let name = file_name(&bundle_name(source_path), is_encrypted);
        let force = args.choices.force;
        let asked = Asked {
            away: Away::new(address, &args.away, &name, is_encrypted, force)?,
            choices: &args.choices,
            course: args.course(),
        };
        return asked.collect(&source, source_path, profile, tlp, recipients, terminal);
    }
    args.away.check_unused()?;
    let to_stdout = args.out.as_deref() == Some(Path::new("-"));
    let out = match &args.out {
        Some(out) => out.clone(),
        None => executable_folder()?,
    };
    if args.resume && to_stdout {
        bail!("standard output can't be gone on with: name the bundle with --out");
    }
    let (destination, name) = if to_stdout {
        (Destination::Stdout, bundle_name(source_path))
    } else {
        let path = bundle_path(&out, source_path, !recipients.is_empty());
        args.choices.check_output(source_path, &path)?;
        let name = bundle_name(&path);
        let force = args.choices.force;
        (Destination::File { path, force }, name)
    };
    let collected = collect(
        &source,
        source_path,
        profile,
        tlp,
        destination,
        name,
        args.choices.seal_key()?,
        recipients,
        &args.choices,
        args.course(),
        terminal,
    )?;
    tell(&collected, tlp, terminal, to_stdout)?;
    Ok(Exit::with_losses(collected.losses > 0))
}

impl Args {
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

/// Plans and collects.
///
/// # Errors
/// Where the bundle can't be written.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one choice of the command line"
)]
pub fn collect(
    source: &Source,
    source_path: &Path,
    profile: Profile,
    tlp: Tlp,
    destination: Destination,
    name: String,
    key: Option<SealKey>,
    recipients: Vec<Recipient>,
    choices: &Choices,
    course: Course,
    terminal: &Terminal,
) -> Result<Collected> {
    let write = |plan: &Plan, order, progress: &Progress| {
        Ok(match destination {
            Destination::File { path, .. } if course.resume => {
                scelle::resume(source, plan, order, &path, progress)?
            }
            destination => scelle::collect(source, plan, order, destination, progress)?,
        })
    };
    collect_with(
        source,
        source_path,
        profile,
        tlp,
        name,
        key,
        recipients,
        choices,
        course,
        terminal,
        write,
    )
}

/// Plans, has `write` collect, and tells what is odd.
///
/// # Errors
/// Where the bundle can't be written.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one choice of the command line"
)]
pub(crate) fn collect_with(
    source: &Source,
    source_path: &Path,
    profile: Profile,
    tlp: Tlp,
    name: String,
    key: Option<SealKey>,
    recipients: Vec<Recipient>,
    choices: &Choices,
    course: Course,
    terminal: &Terminal,
    write: impl FnOnce(&Plan, Order, &Progress) -> Result<Collected>,
) -> Result<Collected> {
    refuse_freer(source, source_path, tlp)?;
    let incident = choices.incident(tlp, terminal)?;
    let progress = Progress::default();
    let collected = terminal.watch(&progress, || -> Result<_> {
        let plan = choices.plan(source, profile, &progress);
        let order = Order {
            name,
            tlp,
            source: source_path.to_string_lossy().into_owned(),
            case: choices.case.clone(),
            operator: choices.operator.clone(),
            incident,
            compression: choices.compression.into(),
            key,
            recipients,
            checkpoint_bytes: course.checkpoint_bytes,
            prepared: None,
            timestamp: choices.timestamp.clone(),
        };
        write(&plan, order, &progress)
    })?;
    if let Some(Err(what)) = &collected.stamp {
        terminal.warn(format!("there is no time-stamp: {what}"));
    }
    if collected.files == 0 {
        terminal.warn(
            "nothing was collected: no pattern of the profile matches; `--profile everything` \
             takes every file, `ls` shows what there is",
        );
    }
    Ok(collected)
}

/// Refuses a label that is freer than that of what is collected from: a seal lowers nothing.
pub(super) fn refuse_freer(source: &Source, path: &Path, tlp: Tlp) -> Result<()> {
    let mut inputs = Inputs::default();
    inputs.add_source(path, source);
    let stated = StateArgs {
        tlp: Some(tlp),
        ..StateArgs::default()
    };
    stated.carry(&inputs).map(drop)
}

impl Choices {
    /// Opens what is collected, its shadow copies among the volumes where they are asked for.
    ///
    /// # Errors
    /// Where it can't be opened.
    pub fn open(&self, source: &Path) -> Result<Source> {
        let source = self.open.open(source)?;
        Ok(if self.shadow_copies {
            source.with_shadow_copies()
        } else {
            source
        })
    }

    /// The label that was asked for, or that a profile sets.
    ///
    /// # Errors
    /// Where there is neither: none is chosen silently.
    pub fn label(&self, profile: &Profile) -> Result<Tlp> {
        self.tlp.or(profile.tlp).context(
            "no label: say who may see this evidence with --tlp clear, green, amber, \
             amber+strict or red (or set `tlp` in a profile of your own)",
        )
    }

    /// Plans what the profile asks for.
    pub fn plan(&self, source: &Source, profile: Profile, progress: &Progress) -> Plan {
        let limits = Limits {
            max_file_bytes: self.max_file,
            max_total_bytes: self.max_size,
        };
        Plan::new(source.evidence(), profile, limits, progress)
    }

    /// Refuses an output that exists, or that lies on the source.
    ///
    /// # Errors
    /// Where it does.
    pub fn check_output(&self, source: &Path, output: &Path) -> Result<()> {
        refuse_existing(output, self.force)?;
        if self.allow_source_volume {
            return Ok(());
        }
        refuse_on_source(source, output)
    }

    /// The incident record as it is sealed. What it lacks is said and keeps no evidence from being collected; a
    /// bundle with a freer label than the record's is refused.
    fn incident(&self, tlp: Tlp, terminal: &Terminal) -> Result<Option<Vec<u8>>> {
        let Some(path) = &self.incident else {
            return Ok(None);
        };
        let reading = || format!("reading the incident record {}", path.display());
        let bytes = fs::read(path).with_context(reading)?;
        let incident = Incident::read(&bytes).with_context(reading)?;
        for gap in incident.gaps() {
            terminal.warn(format!(
                "{}: {}: {}",
                path.display(),
                gap.element,
                gap.message(Language::English)
            ));
        }
        if let Some(label) = incident.label().filter(|label| *label > tlp) {
            bail!(
                "the incident record {} is {label}, the bundle would be {tlp}: seal it with --tlp {label}",
                path.display()
            );
        }
        Ok(Some(incident.to_json()))
    }

    /// The operator's own key, where one was named.
    ///
    /// # Errors
    /// Where it can't be read or used.
    pub fn seal_key(&self) -> Result<Option<SealKey>> {
        let Some(path) = &self.sign_with else {
            return Ok(None);
        };
        let bytes =
            fs::read(path).with_context(|| format!("reading the key {}", path.display()))?;
        let password = env::var("SCELLE_KEY_PASSWORD").ok();
        let key = SealKey::read(&bytes, password.as_deref())
            .with_context(|| format!("the key {}", path.display()))?;
        let Some(path) = &self.certificate else {
            return Ok(Some(key));
        };
        let naming = || format!("the certificate {}", path.display());
        let bytes = fs::read(path).with_context(naming)?;
        let key = Certificate::read(&bytes)
            .and_then(|certificate| key.with_certificate(certificate))
            .with_context(naming)?;
        Ok(Some(key))
    }
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::Deflate => Self::Deflate,
            CompressionName::Zstd => Self::Zstd,
            CompressionName::Store => Self::Store,
        }
    }
}

/// The folder that this program lies in.
pub(crate) fn executable_folder() -> Result<PathBuf> {
    let executable =
        scelle::own_program().context("where this program lies; name a place with --out")?;
    executable
        .parent()
        .map(Path::to_owned)
        .context("this program lies in no folder: name a place with --out")
}

/// Where the bundle goes: `out` itself, or a file in it that is named after the source.
pub fn bundle_path(out: &Path, source: &Path, encrypted: bool) -> PathBuf {
    let ends_in_separator = out
        .to_string_lossy()
        .ends_with(['/', std::path::MAIN_SEPARATOR]);
    if out.is_dir() || ends_in_separator {
        out.join(file_name(&bundle_name(source), encrypted))
    } else {
        out.to_owned()
    }
}

/// The file of a bundle of that name.
pub(crate) fn file_name(name: &str, encrypted: bool) -> String {
    let ending = if encrypted { ENCRYPTED_ENDING } else { "" };
    format!("{name}{BUNDLE_ENDING}{ending}")
}

/// A bundle's name: what its file is named after, without what a folder's name can't have.
pub fn bundle_name(path: &Path) -> String {
    let canonical = path.canonicalize();
    let path = canonical.as_deref().unwrap_or(path);
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let name = name.strip_suffix(ENCRYPTED_ENDING).unwrap_or(&name);
    let stem = name
        .strip_suffix(BUNDLE_ENDING)
        .or_else(|| name.strip_suffix(".zip"))
        .or_else(|| Some(name.rsplit_once('.')?.0).filter(|stem| !stem.is_empty()))
        .unwrap_or(name);
    let plain: String = stem
        .chars()
        .map(|one| {
            if one.is_ascii_alphanumeric() || "-_".contains(one) {
                one
            } else {
                '-'
            }
        })
        .take(80)
        .collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() {
        "evidence".to_owned()
    } else {
        plain.to_owned()
    }
}

/// Prints what was collected; to standard error where standard output holds the bundle.
pub(crate) fn tell(
    collected: &Collected,
    tlp: Tlp,
    terminal: &Terminal,
    to_stdout: bool,
) -> Result<()> {
    show_losses(&collected.shown_losses, collected.losses, terminal);
    if terminal.json && !to_stdout {
        terminal.object(&object(collected, tlp))?;
        return Ok(());
    }
    let lines = describe(collected, tlp, terminal);
    for line in lines {
        if to_stdout {
            terminal.note(line);
        } else {
            terminal.line(line)?;
        }
    }
    Ok(())
}

/// The result as JSON; the keys are stable.
pub fn object(collected: &Collected, tlp: Tlp) -> serde_json::Value {
    json!({
        "bundle": collected.path,
        "root": collected.root,
        "root_sha256": collected.root_sha256,
        "payload": collected.payload,
        "tlp": tlp.name(),
        "files": collected.files,
        "bytes": collected.bytes,
        "losses": collected.losses,
        "part": collected.part,
    })
}

/// The result as lines of text.
pub fn describe(collected: &Collected, tlp: Tlp, terminal: &Terminal) -> Vec<String> {
    let head = |text: &str| terminal.paint(Tone::Strong, format!("{text:<11}"));
    let path = collected
        .path
        .as_deref()
        .map_or("standard output".into(), Path::to_string_lossy);
    let mut lines = vec![
        format!("{}{path}", head("Bundle")),
        format!(
            "{}{} files, {}, {} losses",
            head("Collected"),
            collected.files,
            show_size(collected.bytes),
            collected.losses
        ),
        format!("{}{tlp}", head("Label")),
        format!("{}{}", head("Root"), grouped(&collected.root)),
        format!("{}{}", head("  SHA-256"), grouped(&collected.root_sha256)),
        format!("{}{}", head("Payload"), grouped(&collected.payload)),
    ];
    if collected.part > 1 {
        lines.push(format!(
            "{}{} of a collection that was cut off: it is read and verified with the parts before",
            head("Part"),
            collected.part
        ));
    }
    if let Some(Ok(time)) = &collected.stamp {
        lines.push(format!("{}{time}", head("Time-stamp")));
    }
    lines
}

/// Tells of each loss, the first ones at least.
pub fn show_losses(losses: &[Coverage], count: u64, terminal: &Terminal) {
    let shown = if terminal.is_verbose() {
        losses.len()
    } else {
        losses.len().min(LOSSES_SHOWN)
    };
    for loss in &losses[..shown] {
        terminal.warn(show_coverage(loss));
    }
    if count > shown as u64 {
        terminal.warn(format!(
            "{} more losses; all of them stand in the bundle's records/coverage.jsonl and records/warnings.jsonl",
            count - shown as u64
        ));
    }
}

/// A line of the ledger as a sentence.
pub fn show_coverage(line: &Coverage) -> String {
    let what = line.path.as_deref().unwrap_or(&line.target);
    let detail = line.detail.as_deref().map(|detail| format!(": {detail}"));
    format!(
        "{what}: {}{}",
        line.outcome.name(),
        detail.unwrap_or_default()
    )
}

fn show_plan(source: &Source, plan: &Plan, terminal: &Terminal) -> Result<Exit> {
    let evidence = source.evidence();
    let mut result = Ok(());
    let mut left: Vec<Coverage> = plan.coverage.clone();
    plan.visit(evidence, &mut |step| {
        match step {
            Step::Take(planned) => {
                let id = planned.id(evidence.volumes[planned.volume].as_ref());
                let size = stored_bytes(planned.info());
                result = if terminal.json {
                    terminal.object(&json!({
                        "target": &*planned.target,
                        "path": id.to_string(),
                        "size": planned.info().size_bytes,
                        "stored": size,
                    }))
                } else {
                    terminal.line(format!("{size:>14}  {id}"))
                };
            }
            Step::Leave(coverage) => left.push(coverage),
        }
        if result.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    result?;
    let lost: Vec<_> = left.iter().filter(|line| line.outcome.is_loss()).collect();
    for line in &lost {
        terminal.warn(show_coverage(line));
    }
    let absent = left
        .iter()
        .filter(|line| line.outcome == Outcome::Absent)
        .count();
    if !terminal.json {
        terminal.line(terminal.paint(
            Tone::Strong,
            format!(
                "{} streams, {}; {} that can't be taken; {absent} patterns match nothing",
                plan.streams,
                show_size(plan.bytes),
                lost.len()
            ),
        ))?;
    }
    for line in left.iter().filter(|line| line.outcome == Outcome::Absent) {
        terminal.detail(show_coverage(line));
    }
    Ok(Exit::with_losses(!lost.is_empty()))
}

/// Says why a source can't hold its own bundle, before any time is spent.
///
/// # Errors
/// Where the folder can't be made.
pub fn make_folder(folder: &Path) -> Result<()> {
    if folder.exists() && !folder.is_dir() {
        bail!("{} is a file: --out wants a folder", folder.display());
    }
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_bundles() {
        assert_eq!(bundle_name(Path::new("/x/disk one.raw")), "disk-one");
        assert_eq!(bundle_name(Path::new("case.scelle.zip")), "case");
        assert_eq!(bundle_name(Path::new("/dev/sdb")), "sdb");
        assert_eq!(bundle_name(Path::new("/")), "evidence");
        assert_eq!(
            bundle_path(Path::new("out/"), Path::new("disk.raw"), false),
            Path::new("out/disk.scelle.zip")
        );
    }
}
