//! Typed tables: one Parquet file a kind of record, one row a record, native types.
//!
//! Rows keep the order of the input. Before the schema's own columns stand `offset`, `length`
//! and `record`; after them `unfit`, which holds, as JSON, the rare value that its column's type
//! cannot: a time outside 1677 to 2262. Each column's description is in its metadata.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray},
    datatypes::{
        DataType, Field, Int64Type, Schema as ArrowSchema, SchemaRef, TimestampNanosecondType,
        UInt64Type,
    },
};
use scelle_event::{
    Column, ColumnKind, Consumer, Context, Fields, Observation, Schema, Sink, Value, Warning, json,
};

use crate::{
    Error, Metadata,
    columns::{Bools, Numbers, Texts, arrow_error},
    parquet_out::{GROUP_ROWS, TableWriter},
    schema::timestamp,
};

/// Writes each kind of record to a Parquet file of its own, and warnings as JSON lines.
pub struct TypedTables<R: Write + Send, W> {
    schemas: Arc<[&'static Schema]>,
    state: Mutex<State<R, W>>,
}

struct State<R: Write + Send, W> {
    tables: Vec<Table<R>>,
    warnings: W,
}

/// How many bytes of records may wait for their row group to be full.
const GROUP_BYTES: usize = 96 << 20;

struct Table<R: Write + Send> {
    writer: TableWriter<R>,
    /// Batches of the row group that is not full yet.
    waiting: Vec<Vec<ArrayRef>>,
    rows: usize,
    bytes: usize,
}

impl<R: Write + Send, W: Write + Send> TypedTables<R, W> {
    /// Tables of these schemas (an artefact's descriptor lists its own), one writer each.
    ///
    /// # Errors
    /// What the writers answer.
    pub fn new(
        schemas: &[&'static Schema],
        metadata: &Metadata,
        mut open: impl FnMut(&'static Schema) -> io::Result<R>,
        warnings: W,
    ) -> Result<Self, Error> {
        let tables = schemas
            .iter()
            .map(|schema| {
                Ok(Table {
                    writer: TableWriter::new(arrow_schema(schema), open(schema)?, metadata, plain)?,
                    waiting: Vec::new(),
                    rows: 0,
                    bytes: 0,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            schemas: schemas.into(),
            state: Mutex::new(State { tables, warnings }),
        })
    }

    /// Writes what still waits, and ends the files.
    ///
    /// # Errors
    /// What the writers answer.
    pub fn finish(self) -> Result<(), Error> {
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        for mut table in state.tables {
            table.flush()?;
            table.writer.finish()?;
        }
        state.warnings.flush()?;
        Ok(())
    }
}

/// Records differ too much from each other to know which columns repeat: the encoder finds out.
fn plain(
    builder: parquet::file::properties::WriterPropertiesBuilder,
) -> parquet::file::properties::WriterPropertiesBuilder {
    builder
}

impl<R: Write + Send> Table<R> {
    fn take(&mut self, mut batch: Vec<ArrayRef>) -> Result<(), Error> {
        loop {
            let rows = batch[0].len();
            let room = GROUP_ROWS - self.rows;
            let fits = rows.min(room);
            let part: Vec<ArrayRef> = batch.iter().map(|array| array.slice(0, fits)).collect();
            self.rows += fits;
            // What the values need, not what their buffers could hold: it must not depend on luck.
            for array in &part {
                let size = array.to_data().get_slice_memory_size();
                self.bytes += size.map_err(arrow_error)?;
            }
            self.waiting.push(part);
            if self.rows == GROUP_ROWS || self.bytes >= GROUP_BYTES {
                self.flush()?;
            }
            if fits == rows {
                return Ok(());
            }
            batch = batch
                .iter()
                .map(|array| array.slice(fits, rows - fits))
                .collect();
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.rows > 0 {
            self.writer.write_flat_group(&self.waiting)?;
        }
        self.waiting.clear();
        self.rows = 0;
        self.bytes = 0;
        Ok(())
    }
}

/// The Arrow schema of a kind of record.
pub fn arrow_schema(schema: &Schema) -> SchemaRef {
    let mut fields = vec![
        Field::new("offset", DataType::UInt64, false),
        Field::new("length", DataType::UInt64, false),
        Field::new("record", DataType::UInt64, true),
    ];
    fields.extend(schema.columns.iter().map(field));
    fields.push(Field::new("unfit", DataType::Utf8, true));
    let metadata = HashMap::from([("scelle.schema".to_owned(), schema.name.to_owned())]);
    Arc::new(ArrowSchema::new_with_metadata(fields, metadata))
}

fn field(column: &Column) -> Field {
    let mut metadata = HashMap::from([("doc".to_owned(), column.doc.to_owned())]);
    let kind = match column.kind {
        ColumnKind::Bool => DataType::Boolean,
        ColumnKind::Int => DataType::Int64,
        ColumnKind::Uint => DataType::UInt64,
        ColumnKind::Text | ColumnKind::Nested => DataType::Utf8,
        ColumnKind::Bytes => DataType::Binary,
        ColumnKind::Time(precision) => {
            metadata.insert("precision_ns".to_owned(), precision.0.to_string());
            timestamp()
        }
    };
    Field::new(column.name, kind, true).with_metadata(metadata)
}

/// The records of one unit, as columns.
pub struct TypedUnit {
    schemas: Arc<[&'static Schema]>,
    tables: Vec<Option<Builder>>,
    warnings: Vec<u8>,
}

struct Builder {
    offset: Numbers<UInt64Type>,
    length: Numbers<UInt64Type>,
    record: Numbers<UInt64Type>,
    columns: Vec<Typed>,
    unfit: Texts,
}

enum Typed {
    Bool(Bools),
    Int(Numbers<Int64Type>),
    Uint(Numbers<UInt64Type>),
    Text(Texts),
    Bytes(Texts),
    Time(Numbers<TimestampNanosecondType>),
}

impl<R: Write + Send, W: Write + Send> Consumer for TypedTables<R, W> {
    type Unit = TypedUnit;

    fn unit(&self, _context: &Arc<Context>) -> TypedUnit {
        TypedUnit {
            schemas: self.schemas.clone(),
            tables: self.schemas.iter().map(|_| None).collect(),
            warnings: Vec::new(),
        }
    }

    fn join(&self, unit: TypedUnit) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.warnings.write_all(&unit.warnings)?;
        for (table, builder) in state.tables.iter_mut().zip(unit.tables) {
            if let Some(mut builder) = builder {
                table.take(builder.finish()?)?;
            }
        }
        Ok(())
    }
}

impl Sink for TypedUnit {
    fn observe(&mut self, observation: &Observation<'_>) {
        let schema = observation.record.schema();
        let Some(number) = self
            .schemas
            .iter()
            .position(|known| std::ptr::eq(*known, schema))
        else {
            debug_assert!(false, "{} is not in the descriptor", schema.name);
            return;
        };
        self.tables[number]
            .get_or_insert_with(|| Builder::new(schema))
            .push(observation);
    }

    fn warn(&mut self, warning: Warning) {
        json::write_warning(&mut self.warnings, &warning);
        self.warnings.push(b'\n');
    }
}

impl Builder {
    fn new(schema: &Schema) -> Self {
        let typed = |column: &Column| match column.kind {
            ColumnKind::Bool => Typed::Bool(Bools::default()),
            ColumnKind::Int => Typed::Int(Numbers::default()),
            ColumnKind::Uint => Typed::Uint(Numbers::default()),
            ColumnKind::Text | ColumnKind::Nested => Typed::Text(Texts::default()),
            ColumnKind::Bytes => Typed::Bytes(Texts::default()),
            ColumnKind::Time(_) => Typed::Time(Numbers::default()),
        };
        Self {
            offset: Numbers::default(),
            length: Numbers::default(),
            record: Numbers::default(),
            columns: schema.columns.iter().map(typed).collect(),
            unfit: Texts::default(),
        }
    }

    fn push(&mut self, observation: &Observation<'_>) {
        let span = &observation.provenance.primary;
        self.offset.push(span.range.start);
        self.length
            .push(span.range.end.saturating_sub(span.range.start));
        self.record.push(span.record);
        let mut unfit = Vec::new();
        let mut values = Values {
            columns: self
                .columns
                .iter_mut()
                .zip(observation.record.schema().columns),
            unfit: &mut unfit,
        };
        observation.record.fields(&mut values);
        // A record that says less than its schema leaves the rest null.
        for (column, _) in values.columns {
            column.push_null();
        }
        self.unfit.push_with(|out| {
            if unfit.is_empty() {
                return false;
            }
            out.push(b'{');
            out.extend_from_slice(&unfit);
            out.push(b'}');
            true
        });
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>, Error> {
        let mut arrays = vec![
            self.offset.finish()?,
            self.length.finish()?,
            self.record.finish()?,
        ];
        for column in &mut self.columns {
            arrays.push(match column {
                Typed::Bool(values) => Arc::new(BooleanArray::from(values.take())),
                Typed::Int(values) => values.finish()?,
                Typed::Uint(values) => values.finish()?,
                Typed::Text(values) => values.finish()?,
                Typed::Bytes(values) => values.finish_bytes()?,
                Typed::Time(values) => Arc::new(values.finish_numbers()?.with_timezone("UTC")),
            });
        }
        arrays.push(self.unfit.finish()?);
        Ok(arrays)
    }
}

struct Values<'a> {
    columns: std::iter::Zip<std::slice::IterMut<'a, Typed>, std::slice::Iter<'static, Column>>,
    unfit: &'a mut Vec<u8>,
}

impl Fields for Values<'_> {
    fn value(&mut self, value: Value<'_>) {
        let Some((typed, column)) = self.columns.next() else {
            debug_assert!(false, "more values than columns");
            return;
        };
        if !typed.push(value) {
            typed.push_null();
            if !self.unfit.is_empty() {
                self.unfit.push(b',');
            }
            json::write_text(self.unfit, column.name);
            self.unfit.push(b':');
            json::write_value(self.unfit, value);
        }
    }
}

impl Typed {
    fn push_null(&mut self) {
        match self {
            Self::Bool(values) => values.push(None),
            Self::Int(values) => values.push(None),
            Self::Uint(values) => values.push(None),
            Self::Text(values) | Self::Bytes(values) => values.push_null(),
            Self::Time(values) => values.push(None),
        }
    }

    /// Takes a value, or answers false where the type can't hold it.
    fn push(&mut self, value: Value<'_>) -> bool {
        match (self, value) {
            (column, Value::Null) => column.push_null(),
            (Self::Bool(values), Value::Bool(value)) => values.push(Some(value)),
            (Self::Int(values), Value::Int(value)) => values.push(value),
            (Self::Uint(values), Value::Uint(value)) => values.push(value),
            (Self::Text(values), Value::Text(value)) => values.push(value.as_bytes()),
            (Self::Text(values), Value::Nested(value)) => values.push_with(|out| {
                json::write_nested(out, value);
                true
            }),
            (Self::Bytes(values), Value::Bytes(value)) => values.push(value),
            (Self::Time(values), Value::Time(at, _)) => match at.to_i64_nanos() {
                Some(nanos) => values.push(nanos),
                None => return false,
            },
            _ => return false,
        }
        true
    }
}
