//! What a timeline is asked for, and what it answers.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    path::PathBuf,
    str::FromStr,
};

use scelle_event::{ArtefactId, Label, Lowered, UtcNanos, json};

use crate::Zone;

/// The version of the columns and of their meaning; it stands in each file's metadata.
pub const SCHEMA_VERSION: u32 = 1;

/// What a timeline keeps, and within what bounds it works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows before this moment are left out, and counted.
    pub from: Option<UtcNanos>,
    /// Rows at or after this moment are left out, and counted.
    pub to: Option<UtcNanos>,
    /// The zone of local times, where it is known.
    pub zone: Option<Zone>,
    /// How many bytes of rows may stay in memory; past it they spill, or the work ends.
    pub memory_bytes: usize,
    /// The folder for what exceeds memory, encrypted under a key that never leaves memory.
    pub spill: Option<PathBuf>,
    /// What the files say of themselves.
    pub metadata: Metadata,
}

impl Options {
    /// The memory of rows that leaves a whole run under 512 MiB on eight threads.
    pub const MEMORY_BYTES: usize = 320 << 20;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            zone: None,
            memory_bytes: Self::MEMORY_BYTES,
            spill: None,
            metadata: Metadata::default(),
        }
    }
}

/// What a timeline's files say of themselves. Nothing in it speaks of the moment of making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The label of the files: the strictest of the sources', or what was said instead.
    pub label: Option<Label>,
    /// Where the rows come from.
    pub sources: Vec<Source>,
}

/// One source of a timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name, as the column `source` has it.
    pub name: String,
    /// The bundle's payload id.
    pub payload: Option<String>,
    /// The bundle's root hash.
    pub root: Option<String>,
}

impl Metadata {
    /// The pairs that a Parquet file carries.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            ("scelle.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("scelle.timeline_version", SCHEMA_VERSION.to_string()),
        ];
        if let Some(label) = &self.label {
            pairs.push(("scelle.tlp", label.tlp.name().to_owned()));
            if let Some(lowered) = &label.lowered {
                pairs.push(("scelle.tlp_lowered", text(lowered_json(lowered))));
            }
        }
        pairs.push(("scelle.sources", text(self.sources_json())));
        pairs
    }

    /// The same as a JSON object: what stands beside a text file that can't carry it inside.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        out.extend_from_slice(b"{\"version\":");
        json::write_text(&mut out, env!("CARGO_PKG_VERSION"));
        out.extend_from_slice(b",\"timeline_version\":");
        json::write_uint(&mut out, SCHEMA_VERSION.into());
        if let Some(label) = &self.label {
            out.extend_from_slice(b",\"tlp\":");
            json::write_text(&mut out, label.tlp.name());
            if let Some(lowered) = &label.lowered {
                out.extend_from_slice(b",\"tlp_lowered\":");
                out.extend_from_slice(&lowered_json(lowered));
            }
        }
        out.extend_from_slice(b",\"sources\":");
        out.extend_from_slice(&self.sources_json());
        out.push(b'}');
        text(out)
    }

    fn sources_json(&self) -> Vec<u8> {
        let mut out = vec![b'['];
        for (number, source) in self.sources.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"source\":");
            json::write_text(&mut out, &source.name);
            for (key, value) in [("payload", &source.payload), ("root", &source.root)] {
                if let Some(value) = value {
                    out.push(b',');
                    json::write_text(&mut out, key);
                    out.push(b':');
                    json::write_text(&mut out, value);
                }
            }
            out.push(b'}');
        }
        out.push(b']');
        out
    }
}

/// What a label was lowered from, and why.
fn lowered_json(lowered: &Lowered) -> Vec<u8> {
    let mut out = b"{\"from\":".to_vec();
    json::write_text(&mut out, lowered.from.name());
    out.extend_from_slice(b",\"reason\":");
    json::write_text(&mut out, &lowered.reason);
    out.push(b'}');
    out
}

fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).expect("JSON of texts is text")
}

/// A format of sorted rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Parquet: what the query engine reads.
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// RFC 4180, safe to open in a spreadsheet.
    Csv,
    /// JSON lines as Timesketch imports them.
    Timesketch,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Parquet, Self::Jsonl, Self::Csv, Self::Timesketch];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Timesketch => "timesketch",
        }
    }

    /// The ending of a file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl | Self::Timesketch => "jsonl",
            Self::Csv => "csv",
        }
    }

    /// Whether a file of this format carries [`Metadata`] itself.
    pub const fn holds_metadata(self) -> bool {
        matches!(self, Self::Parquet)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no format of a timeline: use parquet, jsonl, csv or timesketch")]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| ParseFormatError(text.to_owned()))
    }
}

/// Where a finished timeline goes.
pub struct Output<'a> {
    /// In which form.
    pub format: Format,
    /// Takes the rows.
    pub rows: Box<dyn Write + Send + 'a>,
    /// Takes the warnings, in the same form (Timesketch: plain JSON lines).
    pub warnings: Box<dyn Write + Send + 'a>,
}

/// What a timeline holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows written.
    pub rows: u64,
    /// Warnings written.
    pub warnings: u64,
    /// Rows written that have no moment in UTC; they stand last.
    pub undated: u64,
    /// Rows left out because their moment lies outside what was asked for.
    pub outside: u64,
    /// Rows left out because a range was asked for and they have no moment in UTC.
    pub undated_left_out: u64,
    /// Rows written of each artefact.
    pub artefacts: BTreeMap<ArtefactId, u64>,
    /// The earliest moment written.
    pub first: Option<UtcNanos>,
    /// The latest moment written.
    pub last: Option<UtcNanos>,
}

/// Why a timeline can't be made. Damaged evidence is no reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading back or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The Parquet encoder refused.
    #[error("writing Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The rows exceed the memory that was granted, and no folder to spill to was named.
    #[error(
        "the rows need more than {limit} bytes of memory: grant more, or name a folder to spill to"
    )]
    Memory {
        /// The bytes granted.
        limit: usize,
    },
    /// What was spilled did not come back as it was.
    #[error("the spill file was changed while it was in use")]
    Spill,
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            other => Self::other(other),
        }
    }
}
