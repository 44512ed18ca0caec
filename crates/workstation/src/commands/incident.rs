//! `incident`: the record that a CERT asks for; made, checked, rendered.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use jiff::{Timestamp, tz::TimeZone};
use scelle::event::Label;
use scelle_collector::{
    Exit, Inputs, LabelArgs, StateArgs, Terminal, Tone,
    output::{PartialFile, refuse_existing},
    read_small,
    terminal::plain,
};
use scelle_incident::{Document, Incident, Language, iodef, template};
use serde_json::json;

use super::team::{KnownArgs, read_sound};

/// Make, check and render the incident record that goes with a bundle
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle incident new incident.toml --lang fr         a form with a comment on each element
  scelle incident check incident.toml                 what is still missing, in plain words
  scelle incident render incident.toml --format pdf --lang fr --team team.toml --out rapport.pdf
  scelle incident render incident.toml --format iodef --out incident.xml --at-most amber
  scelle collect --source disk.raw --tlp amber --incident incident.toml --out .     sealed with the evidence

Exit status: 0 complete; 1 elements are missing, they are listed; 2 not done.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Write an empty record to fill in
    New {
        /// The file to write, or `-`
        file: PathBuf,
        /// The language of its comments: fr or en
        #[arg(long, value_name = "LANG", default_value = "en")]
        lang: Language,
        /// Replace an existing file
        #[arg(long)]
        force: bool,
    },
    /// Say what a record still lacks
    Check {
        /// The record: TOML as a person writes it, or JSON as it is sealed
        file: PathBuf,
        /// The language of the messages: fr or en
        #[arg(long, value_name = "LANG", default_value = "en")]
        lang: Language,
    },
    /// Render a record for people, or for another team's tools
    Render {
        /// The record: TOML as a person writes it, or JSON as it is sealed
        file: PathBuf,
        /// The form
        #[arg(long, value_enum, default_value_t = Form::Markdown)]
        format: Form,
        /// The language: fr or en
        #[arg(long, value_name = "LANG", default_value = "en")]
        lang: Language,
        /// Show times in this zone as well: Europe/Paris
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// Show times in the zone of the team with this profile as well; its signature is checked
        #[arg(long, value_name = "TEAM.toml", conflicts_with = "zone")]
        team: Option<PathBuf>,
        /// The file to write [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Replace an existing file
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        label: LabelArgs,
    },
}

/// A form that a record is rendered in.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Markdown
    #[value(alias = "md")]
    Markdown,
    /// One HTML page
    Html,
    /// PDF, A4
    Pdf,
    /// IODEF 2.0, RFC 7970
    Iodef,
}

/// Runs the command.
///
/// # Errors
/// Where the record can't be read or the result can't be written.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    match &args.action {
        Action::New { file, lang, force } => {
            write_out(Some(file), *force, template(*lang).as_bytes())?;
            terminal.note(format!(
                "fill in {}, then: scelle incident check {}",
                file.display(),
                file.display()
            ));
            Ok(Exit::COMPLETE)
        }
        Action::Check { file, lang } => {
            let incident = read(file, *lang)?;
            let label = StateArgs::default().carry(&Inputs::incident(file, &incident))?;
            check(&incident, &label, *lang, terminal)
        }
        Action::Render {
            file,
            format,
            lang,
            zone,
            team,
            out,
            force,
            label,
        } => {
            let mut incident = read(file, *lang)?;
            // A record without a label is not rendered, unless one is said.
            if incident.label().is_some() || label.state.tlp.is_some() {
                let inputs = Inputs::incident(file, &incident);
                incident.relabel(label.carry(&inputs, terminal)?);
            }
            let zone = match team {
                Some(team) => Some(read_sound(team, &KnownArgs::default())?.zone),
                None => zone.clone(),
            };
            let zone = zone
                .map(|name| {
                    TimeZone::get(&name).with_context(|| {
                        format!("there is no time zone {name:?}; an example is Europe/Paris")
                    })
                })
                .transpose()?;
            let rendered = render(&incident, *format, *lang, zone.as_ref())
                .with_context(|| format!("rendering {}", file.display()))?;
            write_out(out.as_deref(), *force, &rendered)?;
            let gaps = incident.gaps();
            for gap in &gaps {
                terminal.warn(format!("{}: {}", gap.element, plain(&gap.message(*lang))));
            }
            Ok(Exit::with_losses(!gaps.is_empty()))
        }
    }
}

fn read(file: &Path, language: Language) -> Result<Incident> {
    let bytes = read_small(file)
        .with_context(|| format!("reading the incident record {}", file.display()))?;
    Incident::read(&bytes)
        .map_err(|error| anyhow!("{}: {}", file.display(), error.message(language)))
}

fn check(
    incident: &Incident,
    label: &Label,
    language: Language,
    terminal: &Terminal,
) -> Result<Exit> {
    let gaps = incident.gaps();
    if !terminal.json {
        terminal.label(label);
    }
    if terminal.json {
        let missing: Vec<_> = gaps
            .iter()
            .map(|gap| json!({ "element": gap.element, "message": gap.message(language) }))
            .collect();
        terminal.object(&json!({
            "complete": gaps.is_empty(),
            "tlp": label.tlp.name(),
            "missing": missing,
        }))?;
    } else if gaps.is_empty() {
        terminal.line(terminal.paint(
            Tone::Good,
            match language {
                Language::French => "complet : tous les éléments demandés sont là",
                Language::English => "complete: every element that is asked for is there",
            },
        ))?;
    } else {
        for gap in &gaps {
            let element = terminal.paint(Tone::Strong, format!("{:<28}", gap.element));
            terminal.line(format!("{element} {}", plain(&gap.message(language))))?;
        }
    }
    Ok(Exit::with_losses(!gaps.is_empty()))
}

fn render(
    incident: &Incident,
    form: Form,
    language: Language,
    zone: Option<&TimeZone>,
) -> Result<Vec<u8>> {
    if form == Form::Iodef {
        return Ok(iodef::write(incident, language, Timestamp::now())?);
    }
    let document = Document::new(incident, language, zone)?;
    Ok(match form {
        Form::Markdown => document.to_markdown().into_bytes(),
        Form::Html => document.to_html().into_bytes(),
        Form::Pdf | Form::Iodef => document.to_pdf()?,
    })
}

fn write_out(path: Option<&Path>, force: bool, bytes: &[u8]) -> Result<()> {
    match path {
        Some(path) if path != Path::new("-") => {
            refuse_existing(path, force)?;
            let mut file = PartialFile::create(path, force)?;
            file.write_all(bytes)
                .with_context(|| format!("writing {}", path.display()))?;
            file.finish()?;
        }
        _ => {
            let mut out = io::stdout().lock();
            match out.write_all(bytes).and_then(|()| out.flush()) {
                Ok(()) => {}
                // Whoever read it has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => bail!("writing to standard output: {error}"),
            }
        }
    }
    Ok(())
}
