//! Tables as Parquet: zstd, row groups of 128 Ki rows, each encoded by one thread.
//!
//! Row groups are cut by the number of rows and joined in order, so that the file is the same
//! for any number of threads.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, StructArray},
    datatypes::{Int64Type, SchemaRef, TimestampNanosecondType, UInt32Type, UInt64Type},
};
use parquet::{
    arrow::{
        ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata,
        arrow_writer::{
            ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
        },
    },
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
        writer::SerializedFileWriter,
    },
    schema::types::ColumnPath,
};
use rayon::prelude::*;
use scelle_parallel::ordered;

use crate::{
    Error, Metadata,
    blob::Head,
    columns::{Ends, Numbers, Texts, Words, arrow_error},
    fact::AlsoReader,
    merge::Merge,
    names::{Names, Place},
    schema::{
        also_fields, also_item, entries, entry_fields, meaning_item, row_schema, warning_schema,
    },
    view::{View, WarningView, meanings, push_text, rows_of, warnings_of},
};

/// Rows of a row group.
pub(crate) const GROUP_ROWS: usize = 128 << 10;

pub(crate) fn write_rows(
    merge: &Merge<'_>,
    out: impl Write + Send,
    metadata: &Metadata,
) -> Result<(), Error> {
    let table = TableWriter::new(row_schema(), out, metadata, tuned)?;
    table.write(merge.pieces(), |piece, group| {
        let mut batch = RowBatch::default();
        rows_of(merge, piece, |view| {
            batch.push(view);
            if batch.is_full() {
                group.write(batch.finish()?)?;
            }
            Ok(())
        })?;
        group.write(batch.finish()?)
    })
}

pub(crate) fn write_warnings(
    merge: &Merge<'_>,
    out: impl Write + Send,
    metadata: &Metadata,
) -> Result<(), Error> {
    let table = TableWriter::new(warning_schema(), out, metadata, tuned)?;
    table.write(merge.pieces(), |piece, group| {
        let mut batch = WarningBatch::default();
        warnings_of(merge, piece, |view| {
            batch.push(view);
            if batch.place.rows >= BATCH_ROWS {
                group.write(batch.finish()?)?;
            }
            Ok(())
        })?;
        group.write(batch.finish()?)
    })
}

/// Writes a table row group by row group.
pub(crate) struct TableWriter<W: Write + Send> {
    schema: SchemaRef,
    file: SerializedFileWriter<W>,
    factory: ArrowRowGroupWriterFactory,
}

impl<W: Write + Send> TableWriter<W> {
    pub(crate) fn new(
        schema: SchemaRef,
        out: W,
        metadata: &Metadata,
        tune: impl FnOnce(WriterPropertiesBuilder) -> WriterPropertiesBuilder,
    ) -> Result<Self, Error> {
        let pairs = metadata
            .pairs()
            .into_iter()
            .map(|(key, value)| KeyValue::new(key.to_owned(), value))
            .collect();
        let mut properties = tune(properties())
            .set_key_value_metadata(Some(pairs))
            .build();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let properties = Arc::new(properties);
        let parquet = ArrowSchemaConverter::new()
            .with_coerce_types(properties.coerce_types())
            .convert(&schema)?;
        let file = SerializedFileWriter::new(out, parquet.root_schema_ptr(), properties)?;
        let factory = ArrowRowGroupWriterFactory::new(&file, schema.clone());
        Ok(Self {
            schema,
            file,
            factory,
        })
    }

    /// Encodes `groups` row groups on any thread, and writes them in order.
    pub(crate) fn write(
        self,
        groups: usize,
        encode: impl Fn(usize, &mut Group<'_>) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        let Self {
            schema,
            file,
            factory,
        } = self;
        let file = Mutex::new(file);
        ordered(
            groups,
            rayon::current_num_threads() + 1,
            |number, _| {
                let mut group = Group {
                    schema: &schema,
                    columns: factory.create_column_writers(number)?,
                };
                encode(number, &mut group)?;
                group.close()
            },
            |chunks: Result<Vec<ArrowColumnChunk>, Error>| {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                append(&mut file, chunks.map_err(io::Error::from)?)
                    .map_err(|error| io::Error::from(Error::from(error)))
            },
        )?;
        let file = file.into_inner().unwrap_or_else(PoisonError::into_inner);
        end(file)
    }

    /// Writes one row group of columns that are not nested, each encoded on any thread.
    pub(crate) fn write_flat_group(&mut self, batches: &[Vec<ArrayRef>]) -> Result<(), Error> {
        let number = self.file.flushed_row_groups().len();
        let fields = self.schema.fields();
        let chunks = self
            .factory
            .create_column_writers(number)?
            .into_par_iter()
            .enumerate()
            .map(|(index, mut column)| {
                for batch in batches {
                    for leaf in compute_leaves(&fields[index], &batch[index])? {
                        column.write(&leaf)?;
                    }
                }
                Ok(column.close()?)
            })
            .collect::<Result<_, Error>>()?;
        Ok(append(&mut self.file, chunks)?)
    }

    /// Ends a file whose groups were written one by one.
    pub(crate) fn finish(self) -> Result<(), Error> {
        end(self.file)
    }
}

fn end<W: Write + Send>(mut file: SerializedFileWriter<W>) -> Result<(), Error> {
    file.finish()?;
    file.inner_mut().flush()?;
    Ok(())
}

fn append<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    chunks: Vec<ArrowColumnChunk>,
) -> parquet::errors::Result<()> {
    let mut group = file.next_row_group()?;
    for chunk in chunks {
        chunk.append_to_row_group(&mut group)?;
    }
    group.close()?;
    Ok(())
}

/// A row group that is being encoded.
pub(crate) struct Group<'a> {
    schema: &'a SchemaRef,
    columns: Vec<ArrowColumnWriter>,
}

impl Group<'_> {
    pub(crate) fn write(&mut self, arrays: Vec<ArrayRef>) -> Result<(), Error> {
        let mut columns = self.columns.iter_mut();
        for (field, array) in self.schema.fields().iter().zip(&arrays) {
            for leaf in compute_leaves(field, array)? {
                if let Some(column) = columns.next() {
                    column.write(&leaf)?;
                }
            }
        }
        Ok(())
    }

    fn close(self) -> Result<Vec<ArrowColumnChunk>, Error> {
        self.columns
            .into_iter()
            .map(|column| Ok(column.close()?))
            .collect()
    }
}

fn properties() -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(1).expect("zstd has a level 1");
    WriterProperties::builder()
        .set_created_by(concat!("scelle ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk)
}

/// What is known of the columns of a timeline and its warnings.
fn tuned(mut builder: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    // Almost every value differs from all others: a dictionary costs and saves nothing.
    for column in [
        &["time"][..],
        &["time_text"],
        &["subject"],
        &["message"],
        &["cause"],
        &["offset"],
        &["record"],
        &["record_key"],
        &["fields", "key_value", "value"],
    ] {
        builder = builder.set_column_dictionary_enabled(path(column), false);
    }
    // Sorted: steps are small.
    builder = builder
        .set_column_encoding(path(&["time"]), Encoding::DELTA_BINARY_PACKED)
        .set_column_statistics_enabled(path(&["time"]), EnabledStatistics::Page);
    for column in [
        &["message"][..],
        &["cause"],
        &["fields", "key_value", "key"],
        &["fields", "key_value", "value"],
        &["record_key"],
    ] {
        builder = builder.set_column_statistics_enabled(path(column), EnabledStatistics::None);
    }
    builder
}

fn path(parts: &[&str]) -> ColumnPath {
    ColumnPath::new(parts.iter().map(|part| (*part).to_owned()).collect())
}

/// Rows that are encoded at a time: few enough to stay in the cache.
const BATCH_ROWS: usize = 2048;
/// One row may be large, but not 2048 of them.
const BATCH_BYTES: usize = 16 << 20;

/// The columns that both tables have.
#[derive(Default)]
struct PlaceColumns {
    rows: usize,
    artefact: Words,
    stream: Words,
    layer: Words,
    offset: Numbers<UInt64Type>,
    length: Numbers<UInt64Type>,
    record: Numbers<UInt64Type>,
    also: AlsoColumns,
    record_key: Numbers<UInt64Type>,
    ordinal: Numbers<UInt32Type>,
    source: Words,
}

#[derive(Default)]
struct AlsoColumns {
    ends: Ends,
    count: usize,
    role: Texts,
    stream: Texts,
    layer: Texts,
    offset: Numbers<UInt64Type>,
    length: Numbers<UInt64Type>,
    record: Numbers<UInt64Type>,
}

impl PlaceColumns {
    fn push(
        &mut self,
        place: &Place,
        offset: u64,
        head: &Head,
        ordinal: u32,
        also: AlsoReader<'_>,
        names: &Names,
    ) {
        self.rows += 1;
        self.artefact.push(Some(place.artefact.as_bytes()));
        self.stream.push(Some(place.stream.as_bytes()));
        self.layer.push(place.layer.map(str::as_bytes));
        self.offset.push(offset);
        self.length.push(head.length);
        self.record.push(head.record);
        self.also.push(also, names);
        self.record_key.push(head.key);
        self.ordinal.push(ordinal);
        self.source.push(Some(place.source.as_bytes()));
    }
}

impl AlsoColumns {
    fn push(&mut self, also: AlsoReader<'_>, names: &Names) {
        for also in also {
            let place = names.place(also.place);
            self.count += 1;
            self.role.push(also.role.name().as_bytes());
            self.stream.push(place.stream.as_bytes());
            match place.layer {
                Some(layer) => self.layer.push(layer.as_bytes()),
                None => self.layer.push_null(),
            }
            self.offset.push(also.offset);
            self.length.push(also.length);
            self.record.push(also.record);
        }
        self.ends.push(self.count);
    }

    fn finish(&mut self) -> Result<ArrayRef, Error> {
        self.count = 0;
        let columns = vec![
            self.role.finish()?,
            self.stream.finish()?,
            self.layer.finish()?,
            self.offset.finish()?,
            self.length.finish()?,
            self.record.finish()?,
        ];
        let places = StructArray::try_new(also_fields(), columns, None).map_err(arrow_error)?;
        self.ends.list(also_item(), Arc::new(places))
    }
}

/// Some rows of the timeline as columns.
#[derive(Default)]
struct RowBatch {
    time: Numbers<TimestampNanosecondType>,
    time_text: Texts,
    time_basis: Words,
    precision: Numbers<Int64Type>,
    meaning: Words,
    meaning_ends: Ends,
    meanings: usize,
    host: Words,
    host_id: Words,
    subject: Texts,
    message: Texts,
    user: Words,
    keys: Texts,
    values: Texts,
    field_ends: Ends,
    /// Where the record's own fields begin in the last row.
    own_fields: usize,
    place: PlaceColumns,
    scratch: Vec<u8>,
}

impl RowBatch {
    fn push(&mut self, view: &View<'_>) {
        let repeats = view.is_same_record && self.place.rows > 0;
        self.time.push(view.time());
        self.time_text.push_with(|out| view.push_time_text(out));
        self.time_basis
            .push(view.row.basis.name().map(str::as_bytes));
        self.precision.push(view.precision_ns());
        for meaning in meanings(view.row.meanings) {
            self.meaning.push(Some(meaning.name().as_bytes()));
            self.meanings += 1;
        }
        self.meaning_ends.push(self.meanings);
        self.host.push(view.host());
        self.host_id
            .push(view.place.host_id.as_deref().map(str::as_bytes));
        self.subject.push(view.subject());
        if repeats {
            let last = self.message.len() - 1;
            self.message.repeat(last..last + 1);
        } else {
            self.message.push_with(|out| {
                view.fact.push_message(out);
                true
            });
        }
        self.user.push(view.fact.user);
        self.push_fields(view, repeats);
        self.place.push(
            view.place,
            view.offset,
            &view.head,
            view.row.ordinal,
            view.fact.also.clone(),
            view.names,
        );
    }

    fn push_fields(&mut self, view: &View<'_>, repeats: bool) {
        let previous = self.own_fields..self.keys.len();
        let Self { keys, values, .. } = self;
        view.row_fields(&mut self.scratch, |name, text| {
            keys.push(name.as_bytes());
            values.push(text);
        });
        self.own_fields = keys.len();
        if repeats {
            keys.repeat(previous.clone());
            values.repeat(previous);
        } else {
            view.fact.values(|name, held| {
                keys.push(name.as_bytes());
                values.push_with(|out| {
                    push_text(held, out);
                    true
                });
            });
        }
        self.field_ends.push(keys.len());
    }

    fn is_full(&self) -> bool {
        self.place.rows >= BATCH_ROWS
            || self.values.size()
                + self.message.size()
                + self.subject.size()
                + self.place.also.stream.size()
                >= BATCH_BYTES
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>, Error> {
        self.meanings = 0;
        self.own_fields = 0;
        let place = &mut self.place;
        place.rows = 0;
        let meaning = self.meaning.finish()?;
        let (keys, values) = (self.keys.finish()?, self.values.finish()?);
        let columns = vec![
            Arc::new(self.time.finish_numbers()?.with_timezone("UTC")),
            self.time_text.finish()?,
            self.time_basis.finish()?,
            self.precision.finish()?,
            self.meaning_ends.list(meaning_item(), meaning)?,
            place.artefact.finish()?,
            self.host.finish()?,
            self.host_id.finish()?,
            self.subject.finish()?,
            self.message.finish()?,
            self.user.finish()?,
            self.field_ends
                .map(entries(), entry_fields(), keys, values)?,
            place.stream.finish()?,
            place.layer.finish()?,
            place.offset.finish()?,
            place.length.finish()?,
            place.record.finish()?,
            place.also.finish()?,
            place.record_key.finish()?,
            place.ordinal.finish()?,
            place.source.finish()?,
        ];
        debug_assert!(
            columns
                .iter()
                .all(|column| column.len() == columns[0].len())
        );
        Ok(columns)
    }
}

/// Some warnings as columns.
#[derive(Default)]
struct WarningBatch {
    place: PlaceColumns,
    loss: Words,
    cause: Texts,
}

impl WarningBatch {
    fn push(&mut self, view: &WarningView<'_>) {
        self.place.push(
            view.place,
            view.offset,
            &view.head,
            view.ordinal,
            view.also.clone(),
            view.names,
        );
        self.loss.push(Some(view.loss));
        self.cause.push(view.cause);
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>, Error> {
        let place = &mut self.place;
        place.rows = 0;
        Ok(vec![
            place.artefact.finish()?,
            place.stream.finish()?,
            place.layer.finish()?,
            place.offset.finish()?,
            place.length.finish()?,
            place.record.finish()?,
            place.also.finish()?,
            place.record_key.finish()?,
            place.ordinal.finish()?,
            place.source.finish()?,
            self.loss.finish()?,
            self.cause.finish()?,
        ])
    }
}
