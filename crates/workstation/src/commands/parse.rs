//! `parse`: one artefact's records in file order, with every field.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use scelle::{
    artefacts::{Artefact, Candidate, Input},
    engine::{Progress, Tally, run as parse},
    event::{Context, EvidencePath, JsonLines, Label, Schema},
    formats::ReadAt,
    timeline::{Metadata, Source, TypedTables},
};
use scelle_collector::{Exit, Inputs, StateArgs, Terminal, output::PartialFile, terminal::say};

use super::{
    artefacts::find,
    timeline::{beside, metadata_beside},
};

/// Print one artefact's records in file order, with every field
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle parse windows.evtx Security.evtx | jq .event_id
  scelle parse ntfs.mft '$MFT' --out mft.jsonl
  scelle parse executable.pe cmd.exe --format parquet --out cmd.parquet
  scelle cat case.scelle.zip '$MFT' | scelle parse ntfs.mft - --tlp amber

`scelle artefacts` lists the ids, `scelle artefacts show ID` the fields. Losses are written to
standard error, one JSON object a line, after the label of what goes to standard output. A file bears no label, so what is made of it is red unless --tlp says
what it is; the label stands in the Parquet file, beside JSON lines in mft.jsonl.metadata.json.
Exit status: 0 complete; 1 complete, with losses that are listed; 2 not done.")]
pub(crate) struct Args {
    /// The artefact's id, as in `windows.evtx`
    id: String,
    /// The file; `-` is standard input
    file: PathBuf,
    /// How the records are written
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Where the records go; `-` is standard output
    #[arg(long, default_value = "-")]
    out: PathBuf,
    /// Parse it although it does not look like that artefact, and replace an existing output
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    label: StateArgs,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// One JSON object a record, nulls left out
    Jsonl,
    /// A typed table, one row a record
    Parquet,
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let artefact = find(&args.id)?;
    let label = label(args, terminal)?;
    let stream = scelle::open_input(&args.file)
        .with_context(|| format!("opening {}", args.file.display()))?;
    if !args.force {
        recognise(args, artefact, stream.as_ref())?;
    }
    let name = args.file.file_name().unwrap_or(args.file.as_os_str());
    let name: Arc<str> = name.to_string_lossy().into();
    let context = Arc::new(Context {
        artefact: artefact.descriptor().id,
        source: name.clone(),
        host: None,
        host_id: None,
        streams: vec![format!("file/{name}").into()],
    });
    let input = Input::alone(stream.as_ref());
    let progress = Progress::default();
    progress.begin("parsing", stream.len(), 1);
    let writing = || format!("writing {}", args.out.display());
    let tally = if args.out.as_os_str() == "-" {
        if args.format == Format::Parquet {
            bail!("Parquet can't be written to standard output: name a file with --out");
        }
        lines(artefact, input, &context, io::stdout())?
    } else {
        let metadata = Metadata {
            label: Some(label),
            sources: vec![Source {
                name: name.to_string(),
                ..Source::default()
            }],
        };
        terminal
            .watch(&progress, || match args.format {
                Format::Jsonl => {
                    let file = PartialFile::create(&args.out, args.force)?;
                    let side = metadata_beside(&args.out);
                    let mut side = PartialFile::create(&side, args.force)?;
                    let tally = lines(artefact, input, &context, file.file()?)?;
                    writeln!(side, "{}", metadata.to_json())?;
                    side.finish()?;
                    file.finish()?;
                    Ok(tally)
                }
                Format::Parquet => tables(args, artefact, input, &context, &metadata),
            })
            .with_context(writing)?
    };
    terminal.detail(format!(
        "{} records, {} losses",
        tally.records, tally.warnings
    ));
    Ok(Exit::with_losses(tally.warnings > 0))
}

/// The label of the records. On standard output they have no place for one, so it is told, in the form of the losses.
fn label(args: &Args, terminal: &Terminal) -> Result<Label> {
    let mut inputs = Inputs::default();
    inputs.add_file(&args.file);
    if args.out.as_os_str() != "-" {
        return args.label.carry_aloud(&inputs, terminal);
    }
    let label = args.label.carry(&inputs)?;
    say(serde_json::json!({ "tlp": label.tlp.name() }));
    Ok(label)
}

/// One JSON object a record.
fn lines(
    artefact: &dyn Artefact,
    input: Input<'_>,
    context: &Arc<Context>,
    out: impl Write + Send,
) -> Result<Tally> {
    let lines = JsonLines::new(out, io::stderr());
    let tally = parse(artefact, input, context, &lines)?;
    lines.finish()?;
    Ok(tally)
}

/// One typed table a kind of record: `NAME.parquet`, or `NAME.KIND.parquet` where there are several.
fn tables(
    args: &Args,
    artefact: &dyn Artefact,
    input: Input<'_>,
    context: &Arc<Context>,
    metadata: &Metadata,
) -> Result<Tally> {
    let descriptor = artefact.descriptor();
    let path = |schema: &Schema| match descriptor.schemas {
        [_] => args.out.clone(),
        _ => {
            let kind = schema.name.strip_prefix(descriptor.id);
            beside(
                &args.out,
                kind.unwrap_or(schema.name).trim_matches('.'),
                "parquet",
            )
        }
    };
    let files = descriptor
        .schemas
        .iter()
        .map(|schema| PartialFile::create(&path(schema), args.force))
        .collect::<Result<Vec<_>>>()?;
    let mut open = files.iter();
    let tables = TypedTables::new(
        descriptor.schemas,
        metadata,
        |_| match open.next() {
            Some(file) => file.file(),
            None => Err(io::Error::other("more tables than kinds of record")),
        },
        io::stderr(),
    )?;
    let tally = parse(artefact, input, context, &tables)?;
    tables.finish()?;
    for file in files {
        file.finish()?;
    }
    Ok(tally)
}

/// Refuses what does not look like the artefact.
fn recognise(args: &Args, artefact: &dyn Artefact, stream: &dyn ReadAt) -> Result<()> {
    let name = args.file.file_name().unwrap_or(args.file.as_os_str());
    let path = EvidencePath::from_bytes(name.as_encoded_bytes());
    let candidate = Candidate::new(&path, None, stream.len(), || Some(Box::new(stream)));
    if artefact.recognises(&candidate) {
        return Ok(());
    }
    let id = artefact.descriptor().id;
    let file = args.file.display();
    if stream.is_empty() {
        bail!("{file} is empty, so it is no {id}");
    }
    let head = candidate.head();
    let head = &head[..head.len().min(16)];
    bail!(
        "{file} does not look like {id}: it has {} bytes and begins with {head:02X?}; \
         --force parses it all the same",
        stream.len()
    );
}
