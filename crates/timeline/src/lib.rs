//! Events to rows: one schema, total order, and the exchange formats.
//!
//! [`Timeline`] takes observations as an [`event::Consumer`](scelle_event::Consumer), makes one
//! row of each distinct moment, sorts the rows within stated memory and writes them, warnings
//! beside them. [`BodyFile`] writes Sleuth Kit lines in the order of the records.

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
