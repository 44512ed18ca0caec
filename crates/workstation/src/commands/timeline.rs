//! `timeline`: what happened when, from any number of sources.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use jiff::{Timestamp, civil, tz::TimeZone};
use scelle::{
    Source,
    artefacts::{Artefact, usual},
    engine::{ParseSummary, Progress, profile::parse_size},
    event::{Label, Moment, Precision, UtcNanos},
    evidence::OpenOptions,
    timeline::{BodyFile, Format, Metadata, Options, Output, Summary, Zone},
};
use scelle_collector::{Exit, Inputs, LabelArgs, OpenArgs, RecipientArgs, Terminal};
use serde_json::json;

use super::artefacts::find;
use crate::sealed_output::{SealedFile, Sealing};

/// Records of deleted files, out of clusters that no file has.
const CARVED: &str = "ntfs.carved";
/// The artefact whose records have lines in a body file.
const BODY_ARTEFACT: &str = "ntfs.mft";

/// Write a sorted timeline of bundles, disk images, folders or files
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle timeline case.scelle.zip --out case.parquet
  scelle timeline disk.raw --format bodyfile --out disk.body
  scelle timeline a.scelle.zip b.scelle.zip --format csv --out both.csv --from 2024-05-01 --to 2024-06-01
  scelle timeline disk.raw --shadow-copies --out all.parquet    rows of `VOLUME@TIME/…` are those of a snapshot
  scelle timeline Security.evtx --format jsonl --out - | jq .message
  scelle timeline disk.raw --out case.parquet --tlp amber
  scelle timeline case.scelle.zip --out shared.parquet --lower-label green --reason 'agreed with CERT-X, 2024-06-03'

Each row leads back to its bytes: `scelle cat SOURCE STREAM --range OFFSET..LENGTH`.
What could not be read stands in a second table beside the first (case.warnings.parquet), the label
and the roots of the sources in case.parquet.metadata.json. The label is the strictest of the sources';
a source that is no bundle bears none, and counts as red unless --tlp says what it is.
Exit status: 0 complete; 1 complete, with losses that are listed; 2 not done.")]
pub(crate) struct Args {
    /// Bundles, disk images, block devices, folders, files
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// The file to write; `-` is standard output, where the format allows that
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The form of the timeline
    #[arg(long, value_enum, default_value_t = FormatName::Parquet)]
    format: FormatName,
    /// Leave out what was before: 2024-05-01, 2024-05-01T12:00:00Z
    #[arg(long, value_name = "T", value_parser = moment)]
    from: Option<UtcNanos>,
    /// Leave out what was then or later
    #[arg(long, value_name = "T", value_parser = moment)]
    to: Option<UtcNanos>,
    /// Only these artefacts
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    artefact: Vec<String>,
    /// Look for records of files in unused clusters too, which reads all of them (NTFS)
    #[arg(long)]
    carve: bool,
    /// Add what shadow copies say, and the volume itself or a newer one of them does not
    #[arg(long)]
    shadow_copies: bool,
    /// The zone of local times in the evidence, as in +02:00
    #[arg(long)]
    zone: Option<Zone>,
    /// Folder for sorted rows that exceed memory, encrypted under a key that stays in memory
    /// [default: the folder of --out; with `-`, the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    spill: Option<PathBuf>,
    /// Rows that stay in memory; for tests
    #[arg(long, value_name = "SIZE", value_parser = parse_size, hide = true)]
    row_memory: Option<u64>,
    /// Replace an existing output
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    recipients: RecipientArgs,
    #[command(flatten)]
    open: OpenArgs,
}

/// The forms of a timeline.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormatName {
    /// Columns, compressed: what query engines read
    Parquet,
    /// One JSON object a row
    Jsonl,
    /// For spreadsheets
    Csv,
    /// Sleuth Kit 3.x body file: one line a name, file-system times only
    Bodyfile,
    /// JSON Lines as Timesketch imports them
    Timesketch,
}

impl FormatName {
    /// The format of sorted rows; a body file has none.
    pub(crate) fn rows(self) -> Option<Format> {
        match self {
            Self::Parquet => Some(Format::Parquet),
            Self::Jsonl => Some(Format::Jsonl),
            Self::Csv => Some(Format::Csv),
            Self::Timesketch => Some(Format::Timesketch),
            Self::Bodyfile => None,
        }
    }

    /// The ending of a file's name.
    pub(crate) fn extension(self) -> &'static str {
        self.rows().map_or("body", Format::extension)
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let mut artefacts: Vec<&'static dyn Artefact> = match &args.artefact[..] {
        [] if args.format == FormatName::Bodyfile => vec![find(BODY_ARTEFACT)?],
        [] => usual(),
        ids => ids.iter().map(|id| find(id)).collect::<Result<_>>()?,
    };
    if args.carve && !artefacts.iter().any(|one| one.descriptor().id == CARVED) {
        artefacts.push(find(CARVED)?);
    }
    let recipients = args.recipients.read()?;
    let sealing = if recipients.is_empty() {
        None
    } else {
        let key = scelle::run_key()?;
        Some(Sealing { recipients, key })
    };
    let paths = once_a_set(&args.sources);
    let sources = paths
        .iter()
        .map(|path| {
            let source = args.open.open_with(
                path,
                &OpenOptions {
                    map: true,
                    ..OpenOptions::default()
                },
            )?;
            Ok(if args.shadow_copies {
                source.with_shadow_copies()
            } else {
                source
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut inputs = Inputs::default();
    for (path, source) in paths.into_iter().zip(&sources) {
        inputs.add_source(path, source);
    }
    let label = args.label.carry(&inputs, terminal)?;
    let options = Options {
        from: args.from,
        to: args.to,
        zone: args.zone.clone(),
        spill: args.spill.clone(),
        memory_bytes: match args.row_memory {
            Some(bytes) => usize::try_from(bytes)?,
            None => Options::MEMORY_BYTES,
        },
        ..Options::default()
    };
    let progress = Progress::default();
    if args.out.as_os_str() == "-" {
        terminal.label(&label);
    }
    let made = terminal.watch(&progress, || {
        write(
            &sources,
            &artefacts,
            options,
            &label,
            args.format,
            &args.out,
            args.force,
            sealing.as_ref(),
            &progress,
        )
    })?;
    made.tell(terminal)?;
    // What could not be opened gives no row, and no warning of a parser.
    let mut losses = made.losses();
    for loss in sources.iter().flat_map(|source| &source.evidence().losses) {
        terminal.warn(scelle::show_loss(None, loss));
        losses += 1;
    }
    Ok(Exit::with_losses(losses > 0))
}

/// The sources, but of those that are parts of one collection only the first: it is read with all
/// parts beside it.
fn once_a_set(sources: &[PathBuf]) -> Vec<&PathBuf> {
    let mut sets: Vec<Vec<PathBuf>> = Vec::new();
    let mut first = Vec::new();
    for path in sources {
        let set = scelle::parts_of(path);
        if set.len() == 1 || !sets.contains(&set) {
            first.push(path);
            sets.push(set);
        }
    }
    first
}

/// A timeline that was written.
pub(crate) struct Made {
    /// Where; empty where it went to standard output.
    pub(crate) path: Option<PathBuf>,
    /// What it bears.
    pub(crate) label: Label,
    /// What it holds; of a body file only the counts are known.
    pub(crate) summary: Summary,
    /// What each source held.
    pub(crate) parsed: Vec<ParseSummary>,
}

impl Made {
    /// How many losses there were.
    pub(crate) fn losses(&self) -> u64 {
        let unread: usize = self.parsed.iter().map(|one| one.unread.len()).sum();
        self.summary.warnings + unread as u64
    }

    fn tell(&self, terminal: &Terminal) -> Result<()> {
        for (id, why) in self.parsed.iter().flat_map(|one| &one.unread) {
            terminal.detail(format!("not read: {id}: {why}"));
        }
        // Standard output may be the timeline itself.
        if terminal.json && self.path.is_some() {
            terminal.object(&self.object())?;
            return Ok(());
        }
        let summary = &self.summary;
        terminal.note(format!(
            "{} rows{}, {} warnings; {}",
            summary.rows,
            span(summary),
            summary.warnings,
            self.label.tlp
        ));
        if summary.outside + summary.undated_left_out > 0 {
            terminal.note(format!(
                "left out: {} rows outside the range, {} without a moment in UTC",
                summary.outside, summary.undated_left_out
            ));
        }
        let unread: usize = self.parsed.iter().map(|one| one.unread.len()).sum();
        if unread > 0 {
            terminal.warn(format!(
                "{unread} streams could not be read, so nothing is known of them (--verbose lists them)"
            ));
        }
        Ok(())
    }

    /// The result as JSON.
    pub(crate) fn object(&self) -> serde_json::Value {
        let summary = &self.summary;
        let time = |at: Option<UtcNanos>| at.map(|at| Moment::Utc(at).to_iso(Precision::FILETIME));
        let artefacts: serde_json::Map<_, _> = self
            .parsed
            .iter()
            .flat_map(|one| &one.artefacts)
            .fold(std::collections::BTreeMap::new(), |mut sums, one| {
                let sum: &mut (u64, u64, u64) = sums.entry(one.artefact).or_default();
                sum.0 += one.streams;
                sum.1 += one.tally.records;
                sum.2 += one.tally.warnings;
                sums
            })
            .into_iter()
            .map(|(id, (streams, records, warnings))| {
                let counts =
                    json!({ "streams": streams, "records": records, "warnings": warnings });
                (id.to_owned(), counts)
            })
            .collect();
        let unread: Vec<_> = self
            .parsed
            .iter()
            .flat_map(|one| &one.unread)
            .map(|(id, why)| json!({ "stream": id.to_string(), "cause": why }))
            .collect();
        json!({
            "timeline": self.path.as_deref().map(Path::to_string_lossy),
            "tlp": self.label.tlp.name(),
            "tlp_lowered": lowered(&self.label),
            "rows": summary.rows,
            "warnings": summary.warnings,
            "undated": summary.undated,
            "outside": summary.outside,
            "undated_left_out": summary.undated_left_out,
            "first": time(summary.first),
            "last": time(summary.last),
            "artefacts": artefacts,
            "unread": unread,
        })
    }
}

/// How a label was lowered, as JSON; null where it was not.
pub(crate) fn lowered(label: &Label) -> Option<serde_json::Value> {
    let lowered = label.lowered.as_ref()?;
    Some(json!({ "from": lowered.from.name(), "reason": lowered.reason }))
}

/// ` from FIRST to LAST`, where there are dated rows.
pub(crate) fn span(summary: &Summary) -> String {
    let show = |at| Moment::Utc(at).to_iso(Precision::SECOND);
    match (summary.first, summary.last) {
        (Some(first), Some(last)) => format!(" from {} to {}", show(first), show(last)),
        _ => String::new(),
    }
}

/// Writes a timeline of `sources` to `out`, warnings beside it; encrypted where it is said for
/// whom. Where `options` names no folder to spill to, it is that of `out`.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one choice of the command line"
)]
pub(crate) fn write(
    sources: &[Source],
    artefacts: &[&'static dyn Artefact],
    mut options: Options,
    label: &Label,
    format: FormatName,
    out: &Path,
    force: bool,
    sealing: Option<&Sealing>,
    progress: &Progress,
) -> Result<Made> {
    options.metadata.label = Some(label.clone());
    if out.as_os_str() == "-" {
        if sealing.is_some() {
            bail!("standard output is not encrypted: name a file with --out");
        }
        if format == FormatName::Parquet {
            bail!("Parquet can't be written to standard output: name a file with --out");
        }
        options.spill.get_or_insert_with(std::env::temp_dir);
        let stdout = Box::new(BufWriter::new(io::stdout()));
        let (summary, parsed) = write_to(
            sources,
            artefacts,
            options,
            format,
            stdout,
            Box::new(io::stderr()),
            progress,
        )?;
        return Ok(Made {
            path: None,
            label: label.clone(),
            summary,
            parsed,
        });
    }
    options.spill.get_or_insert_with(|| match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    });
    // All are begun before anything is read: a name that is taken costs no work.
    let [rows, warnings, side] = files(out, format);
    let rows = SealedFile::create(&rows, force, sealing)?;
    let warnings = SealedFile::create(&warnings, force, sealing)?;
    let metadata = SealedFile::create(&side, force, sealing)?;
    let (summary, parsed) = write_to(
        sources,
        artefacts,
        options,
        format,
        rows.writer()?,
        warnings.writer()?,
        progress,
    )
    .with_context(|| format!("writing {}", out.display()))?;
    let mut writer = metadata.writer()?;
    let told = Metadata {
        label: Some(label.clone()),
        ..scelle::metadata(sources)
    };
    writeln!(writer, "{}", told.to_json())
        .and_then(|()| writer.flush())
        .with_context(|| format!("writing {}", side.display()))?;
    drop(writer);
    metadata.finish()?;
    warnings.finish()?;
    let path = rows.finish()?;
    Ok(Made {
        path: Some(path),
        label: label.clone(),
        summary,
        parsed,
    })
}

fn write_to(
    sources: &[Source],
    artefacts: &[&'static dyn Artefact],
    options: Options,
    format: FormatName,
    rows: Box<dyn Write + Send>,
    warnings: Box<dyn Write + Send>,
    progress: &Progress,
) -> Result<(Summary, Vec<ParseSummary>)> {
    if let Some(format) = format.rows() {
        let output = Output {
            format,
            rows,
            warnings,
        };
        return Ok(scelle::timeline(
            sources,
            artefacts,
            options,
            vec![output],
            progress,
        )?);
    }
    if options.from.is_some() || options.to.is_some() {
        bail!(
            "a body file has no rows to leave out by time: drop --from and --to, or use --format csv"
        );
    }
    let body = BodyFile::new(rows, warnings);
    let parsed = scelle::parse_all(sources, artefacts, &body, progress)?;
    let counts = body.finish()?;
    let summary = Summary {
        rows: counts.lines,
        warnings: counts.warnings,
        ..Summary::default()
    };
    Ok((summary, parsed))
}

/// Where the rows of a timeline go, what could not be read of its sources, and its label and their
/// roots.
pub(crate) fn files(out: &Path, format: FormatName) -> [PathBuf; 3] {
    let warnings = match format {
        // JSON lines of the same name may lie beside it, and have their own.
        FormatName::Bodyfile => beside(out, "body.warnings", "jsonl"),
        other => beside(out, "warnings", other.extension()),
    };
    [out.to_owned(), warnings, metadata_beside(out)]
}

/// Where the label of a file stands that has no place for it: `case.csv.metadata.json`. It bears the whole
/// name, since `case.parquet` may lie beside it and have another.
pub(crate) fn metadata_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or(path.as_os_str()).to_owned();
    name.push(".metadata.json");
    path.with_file_name(name)
}

/// `case.parquet` and `warnings` make `case.warnings.parquet`.
pub(crate) fn beside(path: &Path, what: &str, ending: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let mut name = stem.to_owned();
    name.push(format!(".{what}.{ending}"));
    path.with_file_name(name)
}

/// A moment as people write it; without a zone it is UTC.
fn moment(text: &str) -> Result<UtcNanos, String> {
    let utc = |at: civil::DateTime| TimeZone::UTC.to_timestamp(at);
    text.parse::<Timestamp>()
        .or_else(|_| text.parse::<civil::DateTime>().and_then(utc))
        .map(|at| UtcNanos::from_nanos(at.as_nanosecond()))
        .map_err(|_| format!("{text:?} is no moment: write 2024-05-01 or 2024-05-01T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use scelle::event::Tlp;

    use super::*;

    #[test]
    fn moments() {
        let day = moment("2024-05-01").expect("a date");
        assert_eq!(day, moment("2024-05-01T02:00:00+02:00").expect("a moment"));
        assert_eq!(day.seconds(), 1_714_521_600);
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn what_exceeds_memory_goes_to_the_folder_that_is_named() {
        let sample = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../testdata/ntfs.mft/$MFT.in"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let made = |spill: Option<PathBuf>, name: &str| {
            // The rows of the first source are packed when those of the second come.
            let open = || {
                scelle::open_with(
                    Path::new(sample),
                    &OpenOptions {
                        map: true,
                        ..OpenOptions::default()
                    },
                )
            };
            let sources = [(); 2].map(|()| open().expect("a sample"));
            let options = Options {
                memory_bytes: 0,
                spill,
                ..Options::default()
            };
            let artefacts = [find(BODY_ARTEFACT).expect("registered")];
            let (out, progress) = (folder.path().join(name), Progress::default());
            write(
                &sources,
                &artefacts,
                options,
                &Label::from(Tlp::Clear),
                FormatName::Jsonl,
                &out,
                false,
                None,
                &progress,
            )
            .map(|made| made.summary.rows)
        };
        let named = folder.path().join("spill");
        let error = made(Some(named.clone()), "a.jsonl").expect_err("no such folder yet");
        let chain: Vec<_> = error.chain().map(ToString::to_string).collect();
        assert!(chain.join(": ").contains("spill"), "{chain:?}");
        std::fs::create_dir(&named).expect("a folder");
        let rows = made(Some(named.clone()), "b.jsonl").expect("spilled");
        assert!(rows > 0);
        // Without one, the folder of the output serves.
        assert_eq!(made(None, "c.jsonl").expect("spilled"), rows);
        // Nothing stays.
        assert_eq!(std::fs::read_dir(&named).expect("a folder").count(), 0);
    }

    #[test]
    fn names_beside() {
        let beside = beside(Path::new("a/case.parquet"), "warnings", "parquet");
        assert_eq!(beside, Path::new("a/case.warnings.parquet"));
        let beside = metadata_beside(Path::new("a/case.parquet"));
        assert_eq!(beside, Path::new("a/case.parquet.metadata.json"));
    }
}
