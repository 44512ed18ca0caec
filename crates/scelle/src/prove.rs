//! Proofs of single rows: made of a bundle, checked without it.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use scelle_artefacts::{Artefact, by_id, usual};
use scelle_bundle::{Bundle, Problem, Proof, Verdict, Verification, VerifyOptions};
use scelle_engine::{
    Progress, RunError,
    alone::{AloneError, At, Watched, check_alone, run_alone},
    parse,
    parse::parse_stream_at,
};
use scelle_event::{Context, Label, StreamId};
use scelle_evidence::FileSource;
use scelle_formats::{ReadAt, ReadError};
use scelle_timeline::{Format, Options, Output, Timeline};
use serde::Deserialize;

use crate::{
    OpenError, ReadKey, Source,
    key::{ciphertext, decrypt},
};

/// The name that volumes of NTFS begin with.
const NTFS: &str = "ntfs-";

/// Which row of a timeline is meant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RowAt {
    /// Its artefact.
    pub artefact: String,
    /// Its stream, as the timeline names it.
    pub stream: String,
    /// Where its record begins.
    pub offset: u64,
    /// Its record's key, where that is known.
    pub record_key: Option<u64>,
    /// Its number among those of the record; needed where there are several.
    pub ordinal: Option<u32>,
}

/// Why a proof can't be made or read. What is wrong with one that was read is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The bundle, or a stream of it, can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The bundle can't be read, or says too little for a proof.
    #[error("{}: {source}", path.display())]
    Bundle {
        /// Which bundle.
        path: PathBuf,
        /// Why.
        source: scelle_bundle::Error,
    },
    /// The question makes no sense.
    #[error(transparent)]
    Options(#[from] scelle_bundle::Error),
    /// No artefact is called so.
    #[error("{0:?} is no artefact; `scelle artefacts` lists them")]
    Artefact(String),
    /// There is no such row.
    #[error("the timeline has no such row: {0}")]
    NoRow(String),
    /// The record does not stand alone.
    #[error(transparent)]
    Alone(#[from] AloneError),
    /// Decoded alone, the record gives another row than in its stream.
    #[error(
        "what is read of the stream for this record alone gives another row than the whole of it: it can't be proven by itself"
    )]
    Differs,
    /// It is no proof.
    #[error("this is no proof: {0}")]
    NoProof(String),
    /// The rows can't be made.
    #[error(transparent)]
    Rows(#[from] scelle_timeline::Error),
    /// The rows can't be taken.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A file that proves one row of a bundle's timeline to whoever has not the bundle; it bears `label`.
///
/// It works on the caller's rayon pool, and reads all of the row's stream. What it gives was checked as
/// [`check_proof`] does.
///
/// # Errors
/// Where the bundle can't be read, there is no such row, or the row rests on too much.
pub fn prove(
    path: &Path,
    key: Option<&ReadKey>,
    row: &RowAt,
    label: &Label,
) -> Result<Vec<u8>, ProveError> {
    let failed = |source| ProveError::Bundle {
        path: path.to_owned(),
        source,
    };
    let bundle = open(path, key).map_err(failed)?;
    let source = Source::of_bundle(&bundle);
    let artefact = artefact(&row.artefact)?;
    let (id, stream) = source.stream(&row.stream)?;
    check_alone(artefact, stream.len())?;
    let volumes = &source.evidence().volumes;
    let volume = volumes
        .iter()
        .find(|volume| volume.info().id == id.volume)
        .ok_or_else(|| ProveError::NoRow(format!("there is no volume {}", id.volume)))?;
    let name = &source.evidence().name;
    let whole = rows(|timeline| -> Result<(), ProveError> {
        let only = At {
            consumer: timeline,
            at: row.offset,
        };
        let (volume, at) = (volume.as_ref(), row.offset);
        parse_stream_at(name, volume, &id, &stream, artefact, at, &only)?;
        Ok(())
    })?;
    let wanted = pick(&whole, row)?;
    let watched = Watched::new(&stream);
    let alone = rows_alone(artefact, name, &id, row.offset, &watched)?;
    if !alone.contains(wanted) {
        return Err(ProveError::Differs);
    }
    let proof = bundle
        .prove(&row.artefact, &id, wanted, &watched.read(), label)
        .map_err(failed)?;
    let back = check_proof(&proof, &VerifyOptions::default())?;
    match back.verification.verdict {
        Verdict::Sealed | Verdict::SignerUnknown => Ok(proof),
        _ => {
            let problem = back.verification.problems.first().map(ToString::to_string);
            let why = format!("its seal is not sound: {}", problem.unwrap_or_default());
            Err(failed(scelle_bundle::Error::Format(why)))
        }
    }
}

/// A proof that was checked.
pub struct CheckedRow {
    /// What was checked, what is wrong, who vouches for it. Its label is the bundle's.
    pub verification: Verification,
    /// The row, as `timeline --format jsonl` writes it. It is proven unless the verdict is [`Verdict::Broken`].
    pub row: String,
    /// The label of the proof.
    pub label: Label,
}

/// Checks a proof: the seal, that the bytes which it shows are under it, and that they give the row and read nothing else.
///
/// # Errors
/// Where it is none, or the question makes no sense.
pub fn check_proof(bytes: &[u8], options: &VerifyOptions) -> Result<CheckedRow, ProveError> {
    let proof = Proof::read(bytes).map_err(ProveError::NoProof)?;
    let mut checked = proof.check(options)?;
    if let Some(stream) = &checked.stream {
        let payload = checked.verification.payload.clone().unwrap_or_default();
        if let Err(what) = gives_row(&proof, &payload, stream) {
            checked.verification.verdict = Verdict::Broken;
            checked.verification.vouched_by.clear();
            checked.verification.through.clear();
            checked.verification.problems = vec![Problem { member: None, what }];
        }
    }
    Ok(CheckedRow {
        verification: checked.verification,
        row: proof.row().to_owned(),
        label: proof.label().clone(),
    })
}

/// Whether the bytes that are shown give the row.
fn gives_row(proof: &Proof, payload: &str, stream: &dyn ReadAt) -> Result<(), String> {
    let artefact = artefact(proof.artefact()).map_err(|error| error.to_string())?;
    let rows = rows_alone(
        artefact,
        &payload.into(),
        proof.stream(),
        proof.offset(),
        stream,
    )
    .map_err(|error| format!("the bytes that it shows give no row: {error}"))?;
    if rows.iter().any(|row| row == proof.row()) {
        return Ok(());
    }
    let made_by = proof.version();
    let here = env!("CARGO_PKG_VERSION");
    Err(if made_by == here {
        "the bytes that it shows give another row: it was altered".to_owned()
    } else {
        format!(
            "the bytes that it shows give another row here, in version {here}; it was made by version {made_by}: check it with that"
        )
    })
}

/// The rows of a record, from no more of its stream than it rests on.
fn rows_alone(
    artefact: &dyn Artefact,
    source: &Arc<str>,
    id: &StreamId,
    offset: u64,
    stream: &dyn ReadAt,
) -> Result<Vec<String>, ProveError> {
    let base = id.volume.split('@').next().unwrap_or_default();
    let context = Arc::new(Context {
        artefact: artefact.descriptor().id,
        source: source.clone(),
        host: None,
        host_id: id.volume.starts_with(NTFS).then(|| base.into()),
        streams: vec![id.to_string().into()],
    });
    rows(|timeline| Ok(run_alone(artefact, id, offset, stream, &context, timeline)?))
}

/// The lines of a timeline of what `fill` finds.
fn rows(fill: impl FnOnce(&Timeline) -> Result<(), ProveError>) -> Result<Vec<String>, ProveError> {
    let mut lines = Vec::new();
    let timeline = Timeline::new(Options::default());
    fill(&timeline)?;
    timeline.finish(vec![Output {
        format: Format::Jsonl,
        rows: Box::new(&mut lines),
        warnings: Box::new(io::sink()),
    }])?;
    let text = String::from_utf8_lossy(&lines);
    Ok(text.lines().map(str::to_owned).collect())
}

/// The row that is meant, among those that begin at its place.
fn pick<'a>(rows: &'a [String], wanted: &RowAt) -> Result<&'a String, ProveError> {
    let mut fitting = rows.iter().filter(|row| {
        let Ok(row) = serde_json::from_str::<RowAt>(row) else {
            return false;
        };
        let same = |wanted: Option<u64>, has: Option<u64>| wanted.is_none() || wanted == has;
        same(wanted.record_key, row.record_key)
            && same(wanted.ordinal.map(u64::from), row.ordinal.map(u64::from))
    });
    let place = format!(
        "{} of {} at {}",
        wanted.artefact, wanted.stream, wanted.offset
    );
    let first = fitting.next().ok_or_else(|| {
        ProveError::NoRow(format!(
            "no record begins there, or none with that number: {place}"
        ))
    })?;
    match fitting.count() {
        0 => Ok(first),
        more => Err(ProveError::NoRow(format!(
            "the record has {} rows, so say which: add #0 to #{more}, its `ordinal`, to {place}",
            more + 1
        ))),
    }
}

fn artefact(id: &str) -> Result<&'static dyn Artefact, ProveError> {
    by_id(id).ok_or_else(|| ProveError::Artefact(id.to_owned()))
}

fn open(path: &Path, key: Option<&ReadKey>) -> Result<Bundle, scelle_bundle::Error> {
    if let Some(ciphertext) = ciphertext(path)? {
        return Bundle::open(Arc::new(decrypt(&ciphertext, key)?));
    }
    let file = FileSource::open(path).map_err(|error| ReadError::io(0, error))?;
    Bundle::open(Arc::new(file))
}

/// The rows of the record of that key, wherever it lies in `source`: all of it is parsed.
///
/// # Errors
/// Where the rows don't fit into memory.
pub fn rows_of_key(
    source: &Source,
    key: u64,
    progress: &Progress,
) -> Result<Vec<RowAt>, ProveError> {
    let mut finder = Finder {
        needle: format!("\"record_key\":{key},").into_bytes(),
        line: Vec::new(),
        found: Vec::new(),
    };
    let timeline = Timeline::new(Options::default());
    parse(source.evidence(), &usual(), &timeline, progress)?;
    timeline.finish(vec![Output {
        format: Format::Jsonl,
        rows: Box::new(&mut finder),
        warnings: Box::new(io::sink()),
    }])?;
    let found = finder.found.into_iter();
    Ok(found.filter(|row| row.record_key == Some(key)).collect())
}

/// Keeps the lines in which something stands.
struct Finder {
    needle: Vec<u8>,
    line: Vec<u8>,
    found: Vec<RowAt>,
}

impl Write for Finder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if !self.line.ends_with(b"\n") {
                continue;
            }
            let mut places = self.line.windows(self.needle.len());
            if places.any(|place| place == self.needle)
                && let Ok(row) = serde_json::from_slice(&self.line)
            {
                self.found.push(row);
            }
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
