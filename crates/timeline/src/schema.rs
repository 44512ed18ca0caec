//! The columns of the two tables.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// The columns of the timeline, in order.
pub const ROW_COLUMNS: &[&str] = &[
    "time",
    "time_text",
    "time_basis",
    "precision_ns",
    "meaning",
    "artefact",
    "host",
    "host_id",
    "subject",
    "message",
    "user",
    "fields",
    "stream",
    "layer",
    "offset",
    "length",
    "record",
    "also",
    "record_key",
    "ordinal",
    "source",
];

/// The columns of the table of warnings, in order.
pub const WARNING_COLUMNS: &[&str] = &[
    "artefact",
    "stream",
    "layer",
    "offset",
    "length",
    "record",
    "also",
    "record_key",
    "ordinal",
    "source",
    "loss",
    "cause",
];

/// The Arrow schema of the timeline.
pub fn row_schema() -> SchemaRef {
    schema(ROW_COLUMNS)
}

/// The Arrow schema of the table of warnings.
pub fn warning_schema() -> SchemaRef {
    schema(WARNING_COLUMNS)
}

fn schema(columns: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(|name| field(name)).collect::<Vec<_>>(),
    ))
}

/// A UTC timestamp as all tables have it.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

pub(crate) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// What an element of `meaning` is.
pub(crate) fn meaning_item() -> Arc<Field> {
    Arc::new(Field::new("element", dictionary(), false))
}

/// A key and a value of `fields`.
pub(crate) fn entry_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ])
}

/// The entries of `fields`.
pub(crate) fn entries() -> Arc<Field> {
    Arc::new(Field::new(
        "key_value",
        DataType::Struct(entry_fields()),
        false,
    ))
}

/// What stands in an element of `also`.
pub(crate) fn also_fields() -> Fields {
    Fields::from(vec![
        Field::new("role", DataType::Utf8, false),
        Field::new("stream", DataType::Utf8, false),
        Field::new("layer", DataType::Utf8, true),
        Field::new("offset", DataType::UInt64, false),
        Field::new("length", DataType::UInt64, false),
        Field::new("record", DataType::UInt64, true),
    ])
}

/// An element of `also`.
pub(crate) fn also_item() -> Arc<Field> {
    Arc::new(Field::new(
        "element",
        DataType::Struct(also_fields()),
        false,
    ))
}

fn field(name: &str) -> Field {
    let (kind, nullable) = match name {
        "time" => (timestamp(), true),
        "time_text" => (DataType::Utf8, true),
        "precision_ns" => (DataType::Int64, true),
        // A row whose record has no time at all has no basis either.
        "time_basis" | "host" | "host_id" | "user" | "layer" => (dictionary(), true),
        "meaning" => (DataType::List(meaning_item()), false),
        "artefact" | "stream" | "source" | "loss" => (dictionary(), false),
        "subject" => (DataType::Utf8, true),
        "message" | "cause" => (DataType::Utf8, false),
        "fields" => (DataType::Map(entries(), false), false),
        "offset" | "length" | "record_key" => (DataType::UInt64, false),
        "record" => (DataType::UInt64, true),
        "also" => (DataType::List(also_item()), false),
        "ordinal" => (DataType::UInt32, false),
        other => unreachable!("{other} is no column of a timeline"),
    };
    Field::new(name, kind, nullable)
}
