//! Words for what was found, when, from which bytes, and what was lost.
//!
//! A parser emits one [`Observation`] a record: every time the record holds, its decoded
//! fields, and every place it was read from. What could not be read becomes a [`Warning`].
//! Both go to a [`Sink`]; whoever wants rows, text or counts is a [`Consumer`].

mod coverage;
pub mod json;
mod label;
mod lines;
mod meaning;
mod observation;
pub mod path;
mod record;
mod sink;
mod time;
mod tlp;

pub use coverage::{Coverage, Outcome};
pub use label::{Label, Lowered};
pub use lines::{JsonLines, Lines};
pub use meaning::{Meaning, Meanings};
pub use observation::{
    ArtefactId, Layer, Loss, Observation, Provenance, Role, Span, Stamp, StreamRef, Warning,
};
pub use path::{EvidencePath, ParsePathError, StreamId};
pub use record::{Column, ColumnKind, Fields, FileLine, Nested, Record, Schema, Tree, Value};
pub use sink::{Consumer, Context, Sink};
pub use time::{CivilNanos, CivilParts, Moment, Precision, UtcNanos};
pub use tlp::{ParseTlpError, Tlp};
