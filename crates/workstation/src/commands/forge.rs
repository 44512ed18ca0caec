//! `forge`: makes a released collector into one that is prepared for a case.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use jiff::{Span, Timestamp};
use scelle::{
    PlannedDelivery, PlannedRecipient, PreparedPlan, StampService,
    engine::{
        Profile,
        profile::{Limits, parse_size},
    },
    event::Tlp,
    formats::ReadAtExt as _,
};
use scelle_collector::{
    Exit, Terminal, Tone,
    output::{PartialFile, refuse_existing},
    password::read_seal_key,
    planned,
};
use serde_json::json;

use super::{
    deliver_to::DeliverTo,
    key::{CERTIFICATE_ENDING, SECRET_ENDING, read_certificate, seconds},
    team::{KnownArgs, folder_of, read_sound},
};

/// Prepare a collector for a case: it then runs with no arguments and no questions
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle key new case-42 --user 'CERT Example, case 42'          once a case
  scelle forge --team team.toml --case case-42 --for linux-x64 --out collect-42
  scelle forge --team team.toml --fingerprint 0123… --case case-42 --profile full --for windows-x64 --out collect-42.exe
  scelle forge --team team.toml --case case-42 --for linux-x64 --out collect-42 --deliver-to s3://vault/case-42/
  scelle verify host.scelle.zip.pgp --key team.key.asc --trust case-42.cert.asc

The collector's own bytes stay as they are; a signed plan is put behind them, with whom
the bundle is encrypted for, label, limits, and a key that the case's key vouches for.
A team's profile vouches for itself only: --fingerprint says whose it has to be.
Whoever holds the result can seal in the case's name until the time is over, and has what the store knows its sender
by: credentials that can only write, for this case alone, are what to put there.
Exit status: 0 complete; 2 not done.")]
pub(crate) struct Args {
    /// The team's profile; its signature by the key that stands in it is checked
    #[arg(long, value_name = "TEAM.toml")]
    team: PathBuf,
    #[command(flatten)]
    known: KnownArgs,
    /// The case
    #[arg(long, value_name = "ID")]
    case: String,
    /// What to take: minimal, triage, full, everything, or TOML files of your own [default: the team's]
    #[arg(long, value_name = "NAME|FILE[,…]")]
    profile: Option<String>,
    /// The machine that it is to run on
    #[arg(long = "for", value_enum, value_name = "MACHINE")]
    machine: Machine,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The case's secret key, which signs the plan and vouches; its password is that of
    /// SCELLE_KEY_PASSWORD, or is asked for on the terminal [default: ID.key.asc beside the team's profile]
    #[arg(long, value_name = "KEY.asc")]
    case_key: Option<PathBuf>,
    /// The case's certificate, with what the team's key certified of it [default: ID.cert.asc beside
    /// the case's key, where it is there]
    #[arg(long, value_name = "CERT.asc")]
    case_cert: Option<PathBuf>,
    /// For how long the case's key vouches for it
    #[arg(long, value_name = "TIME", default_value = "30d")]
    lasts: Span,
    /// The released collector [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    collector: Option<PathBuf>,
    /// What it collects from [default: / on Linux, C:\ on Windows]
    #[arg(long, value_name = "PATH")]
    source: Option<String>,
    /// Another label than the team's, or than the profile's where that is stricter
    #[arg(long, value_name = "LABEL")]
    tlp: Option<Tlp>,
    /// Take no more than this in all
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Take no file larger than this
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_file: Option<u64>,
    /// Have this RFC 3161 service (http://…) state the time of the seal
    #[arg(long, value_name = "URL")]
    timestamp: Option<String>,
    /// Let it write onto what it collects, over what may be evidence
    #[arg(long)]
    allow_source_volume: bool,
    /// The deployment's number [default: the date and time, as 20260131120000]
    #[arg(long, value_name = "N")]
    number: Option<u64>,
    /// Replace an existing output
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    deliver_to: DeliverTo,
}

/// The machines that there are collectors for.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    /// Windows, 64 bits
    #[value(name = "windows-x64")]
    Windows,
    /// Linux, 64 bits
    #[value(name = "linux-x64")]
    Linux,
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    refuse_existing(&args.out, args.force)?;
    // Not read by clap, which shows what it refuses: people write passwords into addresses.
    let timestamp = args
        .timestamp
        .as_deref()
        .map(str::parse::<StampService>)
        .transpose()
        .context("--timestamp")?;
    let team = read_sound(&args.team, &args.known)?;
    let profile = match &args.profile {
        Some(list) => Profile::load_list(list)?,
        None => team.profile.clone(),
    };
    // A profile may be stricter than the team, and not freer.
    let tlp = args
        .tlp
        .unwrap_or(team.tlp.max(profile.tlp.unwrap_or(team.tlp)));
    let case_key = match &args.case_key {
        Some(path) => path.clone(),
        None => folder_of(&args.team)?.join(format!("{}{SECRET_ENDING}", args.case)),
    };
    if !case_key.exists() {
        bail!(
            "there is no {}: name the case's key with --case-key, or make one with `scelle key new {}`",
            case_key.display(),
            case_key
                .display()
                .to_string()
                .trim_end_matches(SECRET_ENDING)
        );
    }
    let mut case = read_seal_key(&case_key)?;
    if let Some(path) = args.case_certificate(&case_key) {
        case = case
            .with_certificate(read_certificate(&path)?)
            .with_context(|| format!("the certificate {}", path.display()))?;
    }
    let path = args.collector()?;
    let program =
        scelle::open_file(&path).with_context(|| format!("reading {}", path.display()))?;
    args.machine.check(
        &path,
        &program.read_range(0..HEAD_BYTES, HEAD_BYTES as usize)?,
    )?;
    let mut limits = team.limits;
    limits.tighten(Limits {
        max_file_bytes: args.max_file,
        max_total_bytes: args.max_size,
    });
    let now = Timestamp::now();
    let plan = PreparedPlan {
        format: 0,
        made: 0,
        until: 0,
        deployment: args.number.unwrap_or_else(|| digits(now)),
        deployment_key: String::new(),
        program_sha256: String::new(),
        team: team.name.clone(),
        team_version: team.version,
        team_blake3: team.blake3.clone(),
        case: args.case.clone(),
        tlp: tlp.name().to_owned(),
        source: args.source()?,
        profile,
        limits,
        timestamp: timestamp.map(|one| one.address().to_owned()),
        allow_source_volume: args.allow_source_volume,
        recipients: vec![PlannedRecipient {
            fingerprint: team.fingerprint.clone(),
            certificate: team.certificate.clone(),
        }],
        delivery: args.deliver_to.read(terminal)?,
        salt: String::new(),
    };
    let forged = scelle::forge(&program, plan, &case, seconds(args.lasts, now)?)?;
    write(&path, &forged.behind, &args.out, args.force)?;
    tell(&forged, &args.out, terminal)?;
    Ok(Exit::COMPLETE)
}

fn write(program: &Path, behind: &[u8], out: &Path, force: bool) -> Result<()> {
    // It holds a key, and has to be run: by whoever gets it.
    let mut file = PartialFile::create_secret_program(out, force)?;
    let writing = || format!("writing {}", out.display());
    let mut own =
        fs::File::open(program).with_context(|| format!("reading {}", program.display()))?;
    io::copy(&mut own, &mut file).with_context(writing)?;
    file.write_all(behind).with_context(writing)?;
    file.finish()?;
    Ok(())
}

fn tell(forged: &scelle::Forged, out: &Path, terminal: &Terminal) -> Result<()> {
    let plan = &forged.plan;
    let until = Timestamp::from_second(plan.until.into())?.to_string();
    let readers = plan.recipients.iter().map(|one| &*one.fingerprint);
    let readers: Vec<&str> = readers.collect();
    if terminal.json {
        terminal.object(&json!({
            "collector": out.to_string_lossy(),
            "case": plan.case,
            "tlp": plan.tlp,
            "recipients": readers,
            "deployment": plan.deployment,
            "deployment_key": plan.deployment_key,
            "plan": forged.plan_blake3,
            "program_sha256": plan.program_sha256,
            "until": until,
            "deliver_to": plan.delivery.as_ref().map(PlannedDelivery::to),
        }))?;
        return Ok(());
    }
    let delivers_to = plan
        .delivery
        .as_ref()
        .map(|delivery| format!("{}, by way of {}", delivery.to(), planned::way(delivery)));
    let delivers_to = delivers_to.unwrap_or_else(|| "no store".to_owned());
    for (name, text) in [
        ("Collector", out.display().to_string()),
        ("Case", plan.case.clone()),
        ("Label", plan.tlp.clone()),
        ("Readers", readers.join(", ")),
        (
            "Deployment",
            format!("{}, key {}", plan.deployment, plan.deployment_key),
        ),
        ("Valid until", until),
        ("Delivers to", delivers_to),
        ("Plan", forged.plan_blake3.clone()),
        ("Release", format!("SHA-256 {}", plan.program_sha256)),
    ] {
        terminal.line(format!(
            "{}{text}",
            terminal.paint(Tone::Strong, format!("{name:<12}"))
        ))?;
    }
    Ok(())
}

impl Args {
    /// The case's certificate: what was certified of it since the key was made.
    fn case_certificate(&self, key: &Path) -> Option<PathBuf> {
        if let Some(path) = &self.case_cert {
            return Some(path.clone());
        }
        let name = key.file_name()?.to_str()?.strip_suffix(SECRET_ENDING)?;
        let path = key.with_file_name(format!("{name}{CERTIFICATE_ENDING}"));
        path.exists().then_some(path)
    }

    /// What it collects from.
    fn source(&self) -> Result<String> {
        let source = self
            .source
            .clone()
            .unwrap_or_else(|| self.machine.source().to_owned());
        let is_device = [r"\\.\", r"\\?\Volume{", r"\\?\GLOBALROOT\"]
            .iter()
            .any(|begin| source.starts_with(begin));
        if self.machine == Machine::Windows && is_device {
            bail!(
                "--source {source}: this version reads no volume of a running Windows: name a folder, such as C:\\ (what \
                 Windows keeps locked is a loss then)"
            );
        }
        Ok(source)
    }

    /// The released collector.
    fn collector(&self) -> Result<PathBuf> {
        if let Some(path) = &self.collector {
            return Ok(path.clone());
        }
        let own = scelle::own_program()?;
        let path = own.with_file_name(self.machine.collector());
        if !path.is_file() {
            bail!(
                "there is no {}: name the released collector with --collector",
                path.display()
            );
        }
        Ok(path)
    }
}

/// What of a program shows what it is for.
const HEAD_BYTES: u64 = 4096;

impl Machine {
    fn collector(self) -> &'static str {
        match self {
            Self::Windows => "scelle-collector.exe",
            Self::Linux => "scelle-collector",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::Windows => r"C:\",
            Self::Linux => "/",
        }
    }

    /// Refuses a program that can't run there: an ELF or PE file for another machine.
    fn check(self, path: &Path, head: &[u8]) -> Result<()> {
        let word = |at: usize| Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?));
        let fits = match self {
            // ELF: four magic bytes, 64 bits, little-endian; `e_machine` 62 is x86-64.
            Self::Linux => head.starts_with(b"\x7FELF\x02\x01") && word(18) == Some(62),
            // PE: the offset of its header at 60; machine 0x8664 behind its four magic bytes.
            Self::Windows => {
                let at = usize::from(word(60).unwrap_or_default());
                head.starts_with(b"MZ")
                    && head.get(at..).is_some_and(|pe| pe.starts_with(b"PE\0\0"))
                    && word(at + 4) == Some(0x8664)
            }
        };
        if !fits {
            bail!(
                "{} is no program for that machine: name a collector that is with --collector",
                path.display()
            );
        }
        Ok(())
    }
}

/// A time as a number that can be read: year, month, day, hour, minute, second.
fn digits(now: Timestamp) -> u64 {
    let text = now.to_string();
    let digits = text.bytes().filter(u8::is_ascii_digit).take(14);
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dates() {
        let now: Timestamp = "2026-01-31T12:34:56.789Z".parse().expect("a time");
        assert_eq!(digits(now), 20_260_131_123_456);
    }
}
