//! Events to rows: one schema, total order, and the exchange formats.
//!
//! [`Timeline`] takes observations as an [`event::Consumer`](scelle_event::Consumer), makes one
//! row of each distinct moment, sorts the rows within stated memory and writes them as Parquet,
//! JSON lines, CSV or Timesketch, warnings beside them. [`BodyFile`] writes Sleuth Kit lines and
//! [`TypedTables`] writes typed Parquet, both in the order of the records.
//!
//! # How rows are sorted
//! Each unit of work encodes its records on its own thread, once each however many rows they have
//! (`blob`, `fact`), and beside them an entry of 32 bytes a row. The entries are sorted, not the
//! records. Past half of the granted memory they are written out in order, in compressed blocks
//! (`run`), which stay in memory or, past the other half, go to an encrypted file without a name
//! (`spill`). At the end the runs are merged by their keys into pieces of a fixed number of rows
//! (`merge`); each piece is encoded by one thread, and the pieces are written in order.
//!
//! The order of rows is total, so nothing that is written depends on threads or memory.

mod blob;
mod body;
mod columns;
mod fact;
mod merge;
mod names;
mod options;
mod parquet_out;
mod run;
mod schema;
mod spill;
mod text_out;
mod timeline;
mod typed;
mod unit;
mod view;
mod zone;

pub use body::{BodyCounts, BodyFile, BodyUnit};
pub use options::{
    Error, Format, Metadata, Options, Output, ParseFormatError, SCHEMA_VERSION, Source, Summary,
};
pub use schema::{ROW_COLUMNS, WARNING_COLUMNS, row_schema, warning_schema};
pub use timeline::Timeline;
pub use typed::{TypedTables, TypedUnit, arrow_schema};
pub use unit::Unit;
pub use zone::{ParseZoneError, Zone};
