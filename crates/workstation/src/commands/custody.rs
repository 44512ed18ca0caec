//! `custody`: who had a bundle, what they did with it, when and why.

use std::{
    fs::{self, File},
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use jiff::{Timestamp, tz::TimeZone};
use scelle::{
    OpenError,
    bundle::{
        Custody, CustodyAction, CustodyLine, CustodyOptions, CustodyProblem, Deed, Error, grouped,
    },
    event::Tlp,
    evidence::OpenOptions,
};
use scelle_collector::{
    Exit, KeyArgs, Terminal, Tone,
    commands::verify::read_certificates,
    names::{bundle_name, written_root},
    password::read_certified_key,
    terminal::plain,
};
use serde_json::{Value, json};

const ENDING: &str = ".custody.jsonl";

/// Keep a bundle's chain of custody: a signed file beside it that says who had it, when and why
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle custody add case.scelle.zip received --by 'A. Martin' --why 'seizure 7' --sign-with ana.key.asc
  scelle custody add case.scelle.zip moved --by 'A. Martin' --place 'room 4 to the safe' --why 'kept there' --sign-with ana.key.asc
  scelle custody show case.scelle.zip
  scelle custody verify case.scelle.zip --trust case.cert.asc --head 1234abcd…
  scelle custody verify case.scelle.zip --trust case.cert.asc --revocations ana.cert.asc   her key was stolen since

The file is NAME.custody.jsonl. Each line is signed, and chained to the one before and to the bundle's root. `add` shows the
hash of its line: write it down, or tell it to who hands the bundle over. Lines that are cut off the end are missed by nobody else:
`verify --head HASH` looks for the line that was written down.
Exit status of verify: 0 whole; 1 something was altered, dropped, reordered or added, and it says which line; 2 could not be
checked; 3 whole, but nobody vouches for a signer, or a line is of a time to come.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Add a line
    Add(AddArgs),
    /// Print the lines
    Show {
        #[command(flatten)]
        chain: ChainArgs,
    },
    /// Check that no line was altered, dropped, reordered or added
    Verify {
        #[command(flatten)]
        chain: ChainArgs,
    },
}

#[derive(clap::Args)]
struct AddArgs {
    /// The bundle
    bundle: PathBuf,
    /// What was done with it
    #[arg(value_enum)]
    action: ActionName,
    /// Who did it
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Where, or from where to where
    #[arg(long, value_name = "TEXT")]
    place: Option<String>,
    /// When, with its offset or zone: 2024-06-03T10:00:00+02:00 [default: now]
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// The zone of the time that is written, as in Europe/Paris [default: this system's]
    #[arg(long, value_name = "ZONE", conflicts_with = "time")]
    zone: Option<String>,
    /// Sign with this OpenPGP secret key (`scelle key new` makes one); its password is that of
    /// SCELLE_KEY_PASSWORD, or is asked for on the terminal
    #[arg(long, value_name = "KEY.asc")]
    sign_with: PathBuf,
    /// The certificate of that key, with what others certified of it; it travels in the line
    #[arg(long, value_name = "CERT.asc")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    of: OfArgs,
}

#[derive(clap::Args)]
struct ChainArgs {
    /// The bundle
    bundle: PathBuf,
    /// The hash of a line that was written down: it must be there
    #[arg(long, value_name = "HASH")]
    head: Option<String>,
    /// The certificate of whoever vouches for the signers
    #[arg(long, value_name = "CERT.asc")]
    trust: Vec<PathBuf>,
    /// A certificate, or a newer copy of one, in which a revocation stands; it vouches for nobody
    #[arg(long, value_name = "CERT.asc", requires = "trust")]
    revocations: Vec<PathBuf>,
    #[command(flatten)]
    of: OfArgs,
}

/// What is known of a bundle.
struct Known {
    root: Option<String>,
    tlp: Option<Tlp>,
}

/// Which chain, and of what.
#[derive(clap::Args)]
struct OfArgs {
    /// The bundle's root, where it is encrypted and can't be opened here
    #[arg(long, value_name = "HASH")]
    root: Option<String>,
    /// The file of the chain [default: NAME.custody.jsonl beside the bundle]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum ActionName {
    /// Somebody took it over
    Received,
    /// It was brought or sent elsewhere
    Moved,
    /// It was read
    Opened,
    /// Something was made of it that leaves
    Exported,
    /// Another copy of it was made
    Copied,
    /// It was given back
    Returned,
    /// It was destroyed
    Destroyed,
}

impl From<ActionName> for CustodyAction {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::Received => Self::Received,
            ActionName::Moved => Self::Moved,
            ActionName::Opened => Self::Opened,
            ActionName::Exported => Self::Exported,
            ActionName::Copied => Self::Copied,
            ActionName::Returned => Self::Returned,
            ActionName::Destroyed => Self::Destroyed,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    match &args.action {
        Action::Add(args) => add(args, terminal),
        Action::Show { chain } => show(chain, terminal),
        Action::Verify { chain } => verify(chain, terminal),
    }
}

fn add(args: &AddArgs, terminal: &Terminal) -> Result<Exit> {
    let key = read_certified_key(&args.sign_with, args.certificate.as_deref())?;
    let deed = Deed {
        time: time(args.time.as_deref(), args.zone.as_deref())?,
        action: args.action.into(),
        by: args.by.trim().to_owned(),
        place: args.place.as_deref().map(|place| place.trim().to_owned()),
        why: args.why.trim().to_owned(),
    };
    let Known { root, tlp } = args.of.known(&args.bundle)?;
    let file = args.of.chain_file(&args.bundle);
    let mut chain = if file.exists() {
        let options = CustodyOptions {
            root: root.clone(),
            ..CustodyOptions::default()
        };
        read(&file, &options)?
    } else {
        Custody::default()
    };
    match root {
        Some(root) => chain.about(root),
        None if chain.root().is_none() => bail!(
            "{} is encrypted, so its root is not known here: open it with --key, or write it with --root",
            args.bundle.display()
        ),
        None => {}
    }
    let line = chain
        .next_line(&bundle_name(&args.bundle), deed, &key)
        .with_context(|| format!("adding to {}", file.display()))?;
    append(&file, &line).with_context(|| format!("writing {}", file.display()))?;
    // Read again from the disk: what is told is what stands there.
    let chain = read(&file, &CustodyOptions::default())?;
    if let Some(problem) = chain.problems.first() {
        bail!(
            "{} does not read back as it was written: {problem}",
            file.display()
        );
    }
    let last = chain
        .lines
        .last()
        .context("the line that was added is not there")?;
    if terminal.json {
        terminal.object(&object(last, tlp))?;
    } else {
        tell_label(tlp, terminal);
        terminal.line(format!("{}  line {}", file.display(), last.line))?;
        terminal.line(format!(
            "{}  write this down: it is what tells that the end is there",
            grouped(&last.hash)
        ))?;
    }
    Ok(Exit::COMPLETE)
}

/// The bundle's label, where it is known: of an encrypted bundle nobody says it without its key.
fn tell_label(tlp: Option<Tlp>, terminal: &Terminal) {
    if let Some(tlp) = tlp {
        terminal.label(&tlp.into());
    }
}

/// Puts a line behind the others, and on the device.
fn append(file: &Path, line: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

fn show(args: &ChainArgs, terminal: &Terminal) -> Result<Exit> {
    let (chain, tlp) = args.read()?;
    if !terminal.json {
        tell_label(tlp, terminal);
    }
    for line in &chain.lines {
        if terminal.json {
            terminal.object(&object(line, tlp))?;
        } else {
            print(line, terminal)?;
        }
    }
    let ahead = chain.lines.iter().filter_map(|line| {
        let what = line.ahead.clone()?;
        let line = Some(line.line);
        Some(CustodyProblem { line, what })
    });
    for told in chain.problems.iter().cloned().chain(ahead) {
        terminal.warn(plain(&told.to_string()));
    }
    Ok(Exit::with_losses(!chain.problems.is_empty()))
}

fn print(line: &CustodyLine, terminal: &Terminal) -> Result<()> {
    let deed = &line.deed;
    let place = deed
        .place
        .as_deref()
        .map(|place| format!(", {}", plain(place)));
    terminal.line(format!(
        "{:>4}  {}  {} by {}{}: {}",
        line.number,
        plain(&deed.time),
        terminal.paint(Tone::Strong, deed.action.name()),
        plain(&deed.by),
        place.unwrap_or_default(),
        plain(&deed.why)
    ))?;
    let user = line.signer.user_id.as_deref().unwrap_or("");
    let text = format!(
        "      signed by {} {}  line {}",
        line.signer.fingerprint,
        plain(user),
        line.hash
    );
    terminal.line(terminal.paint(Tone::Faint, text))?;
    Ok(())
}

fn verify(args: &ChainArgs, terminal: &Terminal) -> Result<Exit> {
    let (chain, tlp) = args.read()?;
    let strangers: Vec<CustodyProblem> = chain
        .lines
        .iter()
        .filter(|line| !matches!(line.vouched, Some(Ok(()))))
        .map(stranger)
        .collect();
    let whole = chain.problems.is_empty();
    let exit = match (whole, strangers.is_empty()) {
        (false, _) => Exit::LOSSES,
        (true, false) => Exit::SIGNER_UNKNOWN,
        (true, true) => Exit::COMPLETE,
    };
    let verdict = match (whole, strangers.is_empty()) {
        (false, _) => "broken",
        (true, false) => "signer-unknown",
        (true, true) => "whole",
    };
    let head = chain.lines.last().map(|line| &*line.hash);
    let texts =
        |list: &[CustodyProblem]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
    if terminal.json {
        terminal.object(&json!({
            "verdict": verdict,
            "tlp": tlp.map(Tlp::name),
            "lines": chain.lines.len(),
            "root": chain.root(),
            "head": head,
            "head_checked": args.head.is_some(),
            "problems": texts(&chain.problems),
            "strangers": texts(&strangers),
        }))?;
        return Ok(exit);
    }
    tell_label(tlp, terminal);
    let (tone, answer) = match verdict {
        "whole" => (Tone::Good, "whole"),
        "broken" => (Tone::Bad, "broken"),
        _ => (Tone::Doubtful, "whole, but not all signers are known"),
    };
    terminal.line(format!(
        "{}: {} lines",
        terminal.paint(tone, answer),
        chain.lines.len()
    ))?;
    for problem in chain.problems.iter().chain(&strangers) {
        terminal.line(format!("  {}", plain(&problem.to_string())))?;
    }
    if let Some(head) = head {
        terminal.line(format!("Last line  {}", grouped(head)))?;
    }
    if args.head.is_none() {
        terminal.note("whether lines were cut off the end is known by the hash of the last one that was written down: --head");
    }
    Ok(exit)
}

/// Says that nobody vouches for who signed a line.
fn stranger(line: &CustodyLine) -> CustodyProblem {
    let why = match (&line.vouched, &line.ahead) {
        (Some(Err(why)), _) if !why.is_empty() => format!(": {}", why.join("; ")),
        (_, Some(ahead)) => format!(": {ahead}"),
        _ => String::new(),
    };
    CustodyProblem {
        line: Some(line.line),
        what: format!(
            "nobody who is trusted vouches for its key {}{why}",
            line.signer.fingerprint
        ),
    }
}

impl ChainArgs {
    /// The chain, and the bundle's label where it can be read.
    fn read(&self) -> Result<(Custody, Option<Tlp>)> {
        let Known { root, tlp } = self.of.known(&self.bundle)?;
        let options = CustodyOptions {
            root,
            head: self.head.clone(),
            trust: read_certificates(&self.trust)?,
            revocations: read_certificates(&self.revocations)?,
            now: None,
        };
        Ok((read(&self.of.chain_file(&self.bundle), &options)?, tlp))
    }
}

fn read(file: &Path, options: &CustodyOptions) -> Result<Custody> {
    let reading = || format!("reading the chain of custody {}", file.display());
    let open = File::open(file).with_context(reading)?;
    Custody::read(BufReader::new(open), options).with_context(reading)
}

impl OfArgs {
    /// Beside a bundle, under its name.
    fn chain_file(&self, bundle: &Path) -> PathBuf {
        match &self.file {
            Some(file) => file.clone(),
            None => bundle.with_file_name(format!("{}{ENDING}", bundle_name(bundle))),
        }
    }

    /// The root of a bundle, as it is written or as the bundle says, and its label, where it can be opened.
    fn known(&self, bundle: &Path) -> Result<Known> {
        let written = self.root.as_deref().map(written_root).transpose()?;
        let opened =
            scelle::open_with_key(bundle, &OpenOptions::default(), self.key.read()?.as_ref());
        let source = match opened {
            Ok(source) => source,
            Err(OpenError::Bundle {
                source: Error::Encrypted,
                ..
            }) => {
                return Ok(Known {
                    root: written,
                    tlp: None,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let facts = source
            .bundle()
            .with_context(|| format!("{} is no bundle", bundle.display()))?;
        match written {
            Some(written) if written != facts.root => bail!(
                "the root of {} is {}, and not {written}",
                bundle.display(),
                facts.root
            ),
            _ => Ok(Known {
                root: Some(facts.root.clone()),
                tlp: Some(facts.tlp),
            }),
        }
    }
}

/// When it was done, with the zone.
fn time(text: Option<&str>, zone: Option<&str>) -> Result<String> {
    if let Some(text) = text {
        text.parse::<Timestamp>().with_context(|| {
            format!("{text:?} is no time with an offset; an example is 2024-06-03T10:00:00+02:00")
        })?;
        return Ok(text.to_owned());
    }
    let zone = match zone {
        Some(name) => TimeZone::get(name).with_context(|| {
            format!("there is no time zone {name:?}; an example is Europe/Paris")
        })?,
        None => TimeZone::system(),
    };
    let now = Timestamp::now().to_zoned_datetime(zone);
    // Whole seconds: the finer digits of a clock say nothing here.
    let now = now
        .round(jiff::Unit::Second)
        .context("the clock is wrong")?;
    Ok(now.to_string())
}

fn object(line: &CustodyLine, tlp: Option<Tlp>) -> Value {
    json!({
        "tlp": tlp.map(Tlp::name),
        "line": line.line,
        "number": line.number,
        "bundle": line.bundle,
        "root": line.root,
        "time": line.deed.time,
        "action": line.deed.action.name(),
        "by": line.deed.by,
        "place": line.deed.place,
        "why": line.deed.why,
        "signer": { "fingerprint": line.signer.fingerprint, "user_id": line.signer.user_id },
        "signed_at": Timestamp::from_second(line.signed_at.into()).ok().map(|at| at.to_string()),
        "hash": line.hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_bears_its_zone() {
        let paris = time(None, Some("Europe/Paris")).expect("a time");
        assert!(paris.ends_with("[Europe/Paris]"), "{paris}");
        let stated = "2024-06-03T10:00:00+02:00";
        assert_eq!(time(Some(stated), None).expect("a time"), stated);
        assert!(time(Some("2024-06-03T10:00:00"), None).is_err());
        assert!(time(None, Some("Mars/Base")).is_err());
    }
}
