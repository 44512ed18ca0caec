//! `artefacts`: what is understood, from where, by which specification.

use anyhow::{Context, Result};
use scelle::{
    artefacts::{ALL, Artefact, Parser, by_id},
    event::ColumnKind,
};
use scelle_collector::{Exit, Terminal, Tone};
use serde_json::{Value, json};

/// Show what is understood: artefacts, their fields, the specifications they are read by
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle artefacts                       every artefact, with a sentence
  scelle artefacts show windows.evtx     where it lies, its fields, its specifications
  scelle artefacts --json                the same as JSON, all of them

Exit status: 0 complete; 2 not done.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// All that is known of one artefact
    Show {
        /// Its id, as in `windows.evtx`
        id: String,
    },
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    match &args.action {
        None if terminal.json => {
            let all: Vec<_> = ALL.iter().map(|artefact| object(*artefact)).collect();
            terminal.object(&all)?;
        }
        None => {
            for artefact in ALL {
                let descriptor = artefact.descriptor();
                let id = terminal.paint(Tone::Strong, format!("{:<22}", descriptor.id));
                terminal.line(format!("{id}{}", descriptor.summary))?;
            }
        }
        Some(Action::Show { id }) => {
            let artefact = find(id)?;
            if terminal.json {
                terminal.object(&object(artefact))?;
            } else {
                show(artefact, terminal)?;
            }
        }
    }
    Ok(Exit::COMPLETE)
}

/// The artefact of that id.
///
/// # Errors
/// Where there is none; the message names those that are known.
pub(crate) fn find(id: &str) -> Result<&'static dyn Artefact> {
    by_id(id).with_context(|| {
        let known: Vec<_> = ALL.iter().map(|one| one.descriptor().id).collect();
        format!(
            "there is no artefact {id:?}; known are {}",
            known.join(", ")
        )
    })
}

fn show(artefact: &dyn Artefact, terminal: &Terminal) -> Result<()> {
    let descriptor = artefact.descriptor();
    let head = |text: &str| terminal.paint(Tone::Strong, text);
    terminal.line(format!("{}  {}", head(descriptor.id), descriptor.summary))?;
    list(terminal, "Where", descriptor.locations.iter().copied())?;
    list(
        terminal,
        "With",
        descriptor.companions.iter().map(|one| one.location),
    )?;
    list(
        terminal,
        "Specifications",
        descriptor.specifications.iter().copied(),
    )?;
    for schema in descriptor.schemas {
        terminal.line(format!("\n{}  {}", head(schema.name), schema.doc))?;
        let width = schema.columns.iter().map(|one| one.name.len()).max();
        for column in schema.columns {
            terminal.line(format!(
                "  {:<width$}  {:<6}  {}",
                column.name,
                kind(column.kind),
                column.doc,
                width = width.unwrap_or_default()
            ))?;
        }
    }
    Ok(())
}

fn list<'a>(
    terminal: &Terminal,
    title: &str,
    lines: impl ExactSizeIterator<Item = &'a str>,
) -> Result<()> {
    if lines.len() > 0 {
        terminal.line(format!("\n{}", terminal.paint(Tone::Strong, title)))?;
    }
    for line in lines {
        terminal.line(format!("  {line}"))?;
    }
    Ok(())
}

fn object(artefact: &dyn Artefact) -> Value {
    let descriptor = artefact.descriptor();
    let schemas: Vec<_> = descriptor
        .schemas
        .iter()
        .map(|schema| {
            let columns: Vec<_> = schema
                .columns
                .iter()
                .map(|column| {
                    json!({ "name": column.name, "type": kind(column.kind), "doc": column.doc })
                })
                .collect();
            json!({ "name": schema.name, "doc": schema.doc, "columns": columns })
        })
        .collect();
    let companions: Vec<_> = descriptor
        .companions
        .iter()
        .map(|one| one.location)
        .collect();
    json!({
        "id": descriptor.id,
        "summary": descriptor.summary,
        "parser": match artefact.parser() {
            Parser::Bytes(_) => "bytes",
            Parser::Chunks(_) => "chunks",
            Parser::Stream(_) => "stream",
            _ => "other",
        },
        "locations": descriptor.locations,
        "companions": companions,
        "specifications": descriptor.specifications,
        "schemas": schemas,
    })
}

fn kind(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Bool => "bool",
        ColumnKind::Int => "int",
        ColumnKind::Uint => "uint",
        ColumnKind::Text => "text",
        ColumnKind::Bytes => "bytes",
        ColumnKind::Time(_) => "time",
        ColumnKind::Nested => "nested",
    }
}
