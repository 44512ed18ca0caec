//! `profiles`: what each profile takes.

use anyhow::Result;
use scelle::engine::{
    Profile,
    profile::{BUILT_IN, Target, show_size},
};
use serde::Serialize;

use crate::{Exit, Terminal, Tone};

/// List, show and compare profiles: what is collected, as data
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  profiles                              the built-in profiles
  profiles show triage                  every pattern of one
  profiles diff triage full             what `full` takes besides
  profiles show team.toml --json        a profile of your own, as it is understood

A profile of your own is a TOML file; it may extend the built-in ones:

  name = \"team\"
  summary = \"What our team takes.\"
  tlp = \"TLP:AMBER\"
  extends = [\"triage\"]
  [limits]
  max_file = \"2 GiB\"
  [[targets]]
  id = \"web-shop\"
  summary = \"Logs of the shop\"
  paths = [\"Shop/logs/**/*.log\"]")]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// The built-in profiles
    List,
    /// Every target and pattern of a profile
    Show {
        /// Built-in name or TOML file
        profile: String,
    },
    /// What two profiles take differently
    Diff {
        /// Built-in name or TOML file
        a: String,
        /// Built-in name or TOML file
        b: String,
    },
}

/// Runs the command.
///
/// # Errors
/// Where a profile can't be read.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => list(terminal),
        Action::Show { profile } => show(&Profile::load(profile)?, terminal),
        Action::Diff { a, b } => diff(&Profile::load(a)?, &Profile::load(b)?, terminal),
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    summary: &'a str,
    targets: usize,
}

fn list(terminal: &Terminal) -> Result<Exit> {
    let profiles = BUILT_IN
        .iter()
        .map(|(name, _)| Profile::load(name))
        .collect::<Result<Vec<_>, _>>()?;
    if terminal.json {
        let listed: Vec<_> = profiles
            .iter()
            .map(|profile| Listed {
                name: &profile.name,
                summary: &profile.summary,
                targets: profile.targets.len(),
            })
            .collect();
        terminal.object(&listed)?;
    } else {
        for profile in &profiles {
            let name = terminal.paint(Tone::Strong, format!("{:<12}", profile.name));
            terminal.line(format!(
                "{name}{:>3} targets  {}",
                profile.targets.len(),
                profile.summary
            ))?;
        }
    }
    Ok(Exit::COMPLETE)
}

fn show(profile: &Profile, terminal: &Terminal) -> Result<Exit> {
    if terminal.json {
        terminal.object(profile)?;
        return Ok(Exit::COMPLETE);
    }
    terminal.line(format!(
        "{}  {}",
        terminal.paint(Tone::Strong, &profile.name),
        profile.summary
    ))?;
    if let Some(tlp) = profile.tlp {
        terminal.line(format!("label: {tlp}"))?;
    }
    for (what, limit) in [
        ("one file", profile.limits.max_file_bytes),
        ("all files", profile.limits.max_total_bytes),
    ] {
        if let Some(bytes) = limit {
            terminal.line(format!("limit of {what}: {}", show_size(bytes)))?;
        }
    }
    for target in &profile.targets {
        terminal.line("")?;
        terminal.line(format!(
            "{}  {}{}",
            terminal.paint(Tone::Strong, &target.id),
            target.summary,
            terminal.paint(Tone::Faint, remarks(target))
        ))?;
        for path in &target.paths {
            terminal.line(format!("    {path}"))?;
        }
        if !target.siblings.is_empty() {
            let endings = target.siblings.join(" ");
            terminal.line(format!("    each also with {endings}"))?;
        }
    }
    Ok(Exit::COMPLETE)
}

fn remarks(target: &Target) -> String {
    let mut remarks = Vec::new();
    if let Some(bytes) = target.max_file_bytes {
        remarks.push(format!("up to {} a file", show_size(bytes)));
    }
    if target.deleted {
        remarks.push("deleted entries".to_owned());
    }
    if target.opt_in {
        remarks.push("opt-in".to_owned());
    }
    if let Some(why) = &target.left_out {
        remarks.push(format!("left out: {why}"));
    }
    if remarks.is_empty() {
        String::new()
    } else {
        format!("  ({})", remarks.join(", "))
    }
}

#[derive(Serialize)]
struct Diff<'a> {
    a: &'a str,
    b: &'a str,
    only_a: Vec<&'a Target>,
    only_b: Vec<&'a Target>,
    changed: Vec<Changed<'a>>,
}

#[derive(Serialize)]
struct Changed<'a> {
    a: &'a Target,
    b: &'a Target,
}

fn diff(a: &Profile, b: &Profile, terminal: &Terminal) -> Result<Exit> {
    let find = |profile: &'_ Profile, id: &str| {
        let position = profile.targets.iter().position(|target| target.id == id);
        position.unwrap_or(usize::MAX)
    };
    let diff = Diff {
        a: &a.name,
        b: &b.name,
        only_a: missing(a, b),
        only_b: missing(b, a),
        changed: a
            .targets
            .iter()
            .filter_map(|one| {
                let two = b.targets.get(find(b, &one.id))?;
                (one != two).then_some(Changed { a: one, b: two })
            })
            .collect(),
    };
    if terminal.json {
        terminal.object(&diff)?;
        return Ok(Exit::COMPLETE);
    }
    for (tone, sign, targets) in [
        (Tone::Bad, "-", &diff.only_a),
        (Tone::Good, "+", &diff.only_b),
    ] {
        for target in targets {
            let head = format!(
                "{sign} {}  {}{}",
                target.id,
                target.summary,
                remarks(target)
            );
            terminal.line(terminal.paint(tone, head))?;
            for path in target.patterns() {
                terminal.line(format!("{sign}     {path}"))?;
            }
        }
    }
    for changed in &diff.changed {
        terminal.line(terminal.paint(Tone::Doubtful, format!("~ {}", changed.a.id)))?;
        let (one, two): (Vec<_>, Vec<_>) = (
            changed.a.patterns().collect(),
            changed.b.patterns().collect(),
        );
        for path in one.iter().filter(|path| !two.contains(path)) {
            terminal.line(format!("-     {path}"))?;
        }
        for path in two.iter().filter(|path| !one.contains(path)) {
            terminal.line(format!("+     {path}"))?;
        }
        let (was, is) = (remarks(changed.a), remarks(changed.b));
        if was != is {
            terminal.line(format!("-    {was}\n+    {is}"))?;
        }
    }
    Ok(Exit::COMPLETE)
}

/// The targets of `a` that `b` has none of the same name of.
fn missing<'a>(a: &'a Profile, b: &Profile) -> Vec<&'a Target> {
    let known = |id: &str| b.targets.iter().any(|target| target.id == id);
    a.targets
        .iter()
        .filter(|target| !known(&target.id))
        .collect()
}
