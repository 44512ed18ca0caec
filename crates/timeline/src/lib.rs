//! Events to rows: one schema, total order, and the exchange formats.
//!
//! [`Timeline`] takes observations as an [`event::Consumer`](scelle_event::Consumer), makes one
//! row of each distinct moment, sorts the rows within stated memory and writes them, warnings
//! beside them. [`BodyFile`] writes Sleuth Kit lines in the order of the records.

mod body;
mod options;
mod zone;

pub use body::{BodyCounts, BodyFile, BodyUnit};
pub use options::{
    Error, Format, Metadata, Options, Output, ParseFormatError, SCHEMA_VERSION, Source, Summary,
};
pub use zone::{ParseZoneError, Zone};
