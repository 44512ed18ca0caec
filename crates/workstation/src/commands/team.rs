//! `team`: the profile of a team, checked and signed.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use scelle_collector::{
    Exit, Terminal, Tone, output::PartialFile, password::read_seal_key, read_small,
};
use scelle_team::{Fault, Team};
use serde_json::json;

/// Check and sign the profile of a team: who it is, and how its collectors work
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle team check team.toml                      what is wrong with it, in plain words
  scelle team check team.toml --fingerprint 0123…  is it the team's that you know?
  scelle team check team.toml --newer-than 3       is it newer than the one that you have?
  scelle team sign team.toml --key team.key.asc    the same as gpg --armor --detach-sign team.toml

The signature lies beside the file, as FILE.asc. `testdata/team/example.toml` shows every element.
Exit status: 0 all is well; 1 something is wrong, it is listed; 2 not done.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Say what is wrong with a profile and its signature
    Check {
        /// The profile
        file: PathBuf,
        #[command(flatten)]
        known: KnownArgs,
    },
    /// Sign a profile: writes FILE.asc
    Sign {
        /// The profile
        file: PathBuf,
        /// The team's secret key; its password is that of SCELLE_KEY_PASSWORD, or is asked for on the
        /// terminal
        #[arg(long, value_name = "KEY.asc")]
        key: PathBuf,
        /// Replace an existing signature
        #[arg(long)]
        force: bool,
    },
}

/// What is known of the team from elsewhere: its profile vouches for itself only.
#[derive(clap::Args, Default)]
pub(crate) struct KnownArgs {
    /// The full fingerprint that the team's key must have
    #[arg(long, value_name = "FPR")]
    fingerprint: Option<String>,
    /// The version of its profile that is known already
    #[arg(long, value_name = "VERSION")]
    newer_than: Option<u32>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    match &args.action {
        Action::Check { file, known } => tell(read(file, known)?, terminal),
        Action::Sign { file, key, force } => {
            let text = read_small(file).with_context(|| format!("reading {}", file.display()))?;
            let signature = read_seal_key(key)?.sign(&text)?;
            let path = signature_path(file);
            let mut out = PartialFile::create(&path, *force)?;
            out.write_all(signature.as_bytes())?;
            out.finish()?;
            terminal.line(path.display())?;
            Ok(Exit::COMPLETE)
        }
    }
}

/// Reads a profile and the signature beside it, and compares it with what is known.
fn read(file: &Path, known: &KnownArgs) -> Result<Result<Team, Vec<Fault>>> {
    let text = read_small(file).with_context(|| format!("reading {}", file.display()))?;
    let path = signature_path(file);
    let signature = match read_small(&path) {
        Ok(signature) => Some(signature),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let now = u32::try_from(Timestamp::now().as_second()).context("the clock is wrong")?;
    Ok(Team::read(&text, signature.as_deref(), now).and_then(|team| known.compare(team)))
}

/// A profile with which nothing is wrong.
pub(crate) fn read_sound(file: &Path, known: &KnownArgs) -> Result<Team> {
    read(file, known)?.map_err(|faults| {
        let told: Vec<_> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        anyhow::anyhow!("{} can't be used:{}", file.display(), told.concat())
    })
}

impl KnownArgs {
    fn compare(&self, team: Team) -> Result<Team, Vec<Fault>> {
        let mut faults = Vec::new();
        if let Some(wanted) = &self.fingerprint {
            let wanted = wanted.replace(char::is_whitespace, "").to_ascii_uppercase();
            if wanted != team.fingerprint {
                faults.push(Fault {
                    element: "key.fingerprint".into(),
                    what: format!(
                        "it is {}, and not {wanted}: this is not the profile of the team that you mean",
                        team.fingerprint
                    ),
                });
            }
        }
        if let Some(known) = self.newer_than.filter(|known| team.version <= *known) {
            faults.push(Fault {
                element: "version".into(),
                what: format!(
                    "it is version {}, and version {known} is known already: ask the team for the newest",
                    team.version
                ),
            });
        }
        if faults.is_empty() {
            Ok(team)
        } else {
            Err(faults)
        }
    }
}

fn tell(checked: Result<Team, Vec<Fault>>, terminal: &Terminal) -> Result<Exit> {
    if terminal.json {
        let faults = checked.as_ref().err().into_iter().flatten();
        let faults: Vec<_> = faults
            .map(|fault| json!({ "element": fault.element, "message": fault.what }))
            .collect();
        let team = checked.as_ref().ok();
        terminal.object(&json!({
            "sound": checked.is_ok(),
            "name": team.map(|team| &team.name),
            "version": team.map(|team| team.version),
            "tlp": team.map(|team| team.tlp.name()),
            "fingerprint": team.map(|team| &team.fingerprint),
            "faults": faults,
        }))?;
        return Ok(Exit::with_losses(checked.is_err()));
    }
    let team = match checked {
        Ok(team) => team,
        Err(faults) => {
            for fault in &faults {
                let element = terminal.paint(Tone::Strong, format!("{:<18}", fault.element));
                terminal.line(format!("{element} {}", fault.what))?;
            }
            return Ok(Exit::LOSSES);
        }
    };
    let hours = &team.hours;
    let mut lines = vec![
        (
            "Team",
            format!("{}, version {} of {}", team.name, team.version, team.date),
        ),
        (
            "Hours",
            format!(
                "{} to {} {}, {}",
                hours.from,
                hours.to,
                team.zone,
                hours.days.join(", ")
            ),
        ),
    ];
    for contact in &team.contacts {
        let ways: Vec<&str> = [&contact.mail, &contact.telephone]
            .into_iter()
            .filter_map(|way| way.as_deref())
            .collect();
        lines.push(("Contact", format!("{}: {}", contact.name, ways.join(", "))));
    }
    lines.extend([
        ("Label", team.tlp.name().to_owned()),
        ("Profile", team.profile.name.clone()),
        ("Key", team.fingerprint.clone()),
    ]);
    terminal.line(terminal.paint(Tone::Good, "sound, and signed by the key that stands in it"))?;
    for (name, text) in lines {
        terminal.line(format!(
            "{}{text}",
            terminal.paint(Tone::Strong, format!("{name:<11}"))
        ))?;
    }
    terminal.note("compare the key's fingerprint with the one that you know from elsewhere");
    Ok(Exit::COMPLETE)
}

fn signature_path(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".asc");
    path.into()
}

/// Refuses a file that is no place for the profile of a team.
pub(crate) fn folder_of(file: &Path) -> Result<&Path> {
    match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(folder) => Ok(folder),
        None => bail!("{} is no file", file.display()),
    }
}
