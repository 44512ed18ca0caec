//! Records made by hand, and ways to feed them to a consumer.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    borrow::Cow,
    fmt,
    io::Write,
    sync::{Arc, Mutex},
};

use scelle_event::{
    Column, ColumnKind, Consumer, Context, Fields, Loss, Meaning, Moment, Nested, Observation,
    Precision, Provenance, Record, Schema, Sink, Span, Stamp, Tree, UtcNanos, Value, Warning,
};
use scelle_parallel::ordered;
use scelle_timeline::{Format, Options, Output, Summary, Timeline};

pub(crate) static SCHEMA: Schema = Schema {
    name: "test.thing",
    doc: "A thing made by hand.",
    columns: &[
        Column::new("name", ColumnKind::Text, "Its name."),
        Column::new("size_bytes", ColumnKind::Uint, "Its size."),
        Column::new("delta", ColumnKind::Int, "A signed number."),
        Column::new("is_odd", ColumnKind::Bool, "Whether it is odd."),
        Column::new("bytes", ColumnKind::Bytes, "Some bytes."),
        Column::new("seen", ColumnKind::Time(Precision::FILETIME), "A time."),
        Column::new("tree", ColumnKind::Nested, "A list."),
    ],
};

#[derive(Clone, Default)]
pub(crate) struct Thing {
    pub(crate) name: Option<String>,
    pub(crate) size_bytes: u64,
    pub(crate) delta: Option<i64>,
    pub(crate) is_odd: Option<bool>,
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) seen: Option<UtcNanos>,
    pub(crate) tree: Option<Vec<u64>>,
    pub(crate) user: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) message: String,
}

struct List<'a>(&'a [u64]);

impl Nested for List<'_> {
    fn visit(&self, out: &mut dyn Tree) {
        out.begin_list();
        for number in self.0 {
            out.value(Value::Uint(*number));
        }
        out.end();
    }
}

impl Record for Thing {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn fields(&self, out: &mut dyn Fields) {
        out.value(Value::text(self.name.as_deref()));
        out.value(Value::Uint(self.size_bytes));
        out.value(self.delta.map_or(Value::Null, Value::Int));
        out.value(self.is_odd.map_or(Value::Null, Value::Bool));
        out.value(self.bytes.as_deref().map_or(Value::Null, Value::Bytes));
        out.value(
            self.seen
                .map_or(Value::Null, |at| Value::Time(at, Precision::FILETIME)),
        );
        match &self.tree {
            Some(tree) => out.value(Value::Nested(&List(tree))),
            None => out.value(Value::Null),
        }
    }

    fn subject(&self) -> Option<Cow<'_, str>> {
        self.name.as_deref().map(Cow::Borrowed)
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(&self.message)
    }

    fn user(&self) -> Option<Cow<'_, str>> {
        self.user.as_deref().map(Cow::Borrowed)
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        self.host.as_deref().map(Cow::Borrowed)
    }
}

pub(crate) fn stamp(nanos: i128, meaning: Meaning) -> Stamp {
    Stamp {
        moment: Moment::Utc(UtcNanos::from_nanos(nanos)),
        precision: Precision::FILETIME,
        meaning,
        attribute: None,
    }
}

pub(crate) fn context(source: &str, stream: &str, artefact: &'static str) -> Arc<Context> {
    Arc::new(Context {
        artefact,
        source: source.into(),
        host: None,
        host_id: None,
        streams: vec![stream.into()],
    })
}

/// An observation that is its own.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) times: Vec<Stamp>,
    pub(crate) provenance: Provenance,
    pub(crate) record: Thing,
}

impl Seen {
    pub(crate) fn give<S: Sink>(&self, sink: &mut S) {
        sink.observe(&Observation {
            times: &self.times,
            provenance: self.provenance.clone(),
            record: &self.record,
        });
    }
}

pub(crate) fn warning(provenance: Provenance, cause: &str) -> Warning {
    Warning {
        artefact: "test.things",
        provenance,
        loss: Loss::Field("name"),
        cause: cause.to_owned(),
    }
}

/// A writer whose bytes can be looked at afterwards.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Rows, warnings and summary of a timeline that `feed` fills.
pub(crate) fn made(
    options: Options,
    format: Format,
    feed: impl FnOnce(&Timeline),
) -> (Vec<u8>, Vec<u8>, Summary) {
    let timeline = Timeline::new(options);
    feed(&timeline);
    let (rows, warnings) = (Shared::default(), Shared::default());
    let summary = timeline
        .finish(vec![Output {
            format,
            rows: Box::new(rows.clone()),
            warnings: Box::new(warnings.clone()),
        }])
        .expect("memory takes all");
    (rows.bytes(), warnings.bytes(), summary)
}

/// The lines of JSON of the rows that come of some observations of one stream.
pub(crate) fn rows(options: Options, seen: &[Seen]) -> Vec<serde_json::Value> {
    let (rows, _, _) = made(options, Format::Jsonl, |timeline| {
        let mut unit = timeline.unit(&context("image.dd", "vol/dir/file", "test.things"));
        for seen in seen {
            seen.give(&mut unit);
        }
        timeline.join(unit).expect("memory takes all");
    });
    json_lines(&rows)
}

pub(crate) fn json_lines(text: &[u8]) -> Vec<serde_json::Value> {
    std::str::from_utf8(text)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Units of records with moments in a fixed shuffle, made on any thread and joined in order.
pub(crate) fn feed(timeline: &Timeline, units: usize, records: u64) {
    let context = context("payload", "vol/$MFT", "test.things");
    ordered(
        units,
        rayon::current_num_threads() * 4,
        |number, _| {
            let mut unit = timeline.unit(&context);
            for index in 0..records {
                let id = number as u64 * records + index;
                let at = |salt: u64| {
                    let mixed = (id ^ salt << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    1_600_000_000_000_000_000 + i128::from(mixed >> 14) * 100
                };
                let path = format!("C:\\Users\\canary{}\\AppData\\file-{id}.dat", id % 97);
                Seen {
                    times: vec![
                        stamp(at(0), Meaning::Created).in_attribute("si"),
                        stamp(at(1), Meaning::Modified).in_attribute("si"),
                        stamp(at(1), Meaning::Changed).in_attribute("si"),
                        stamp(at(0), Meaning::Created).in_attribute("fn"),
                    ],
                    provenance: Span::new(id * 1024..(id + 1) * 1024).numbered(id).into(),
                    record: Thing {
                        message: format!("{path} ({id} bytes)"),
                        name: Some(path),
                        size_bytes: id,
                        delta: Some(-1),
                        is_odd: Some(id % 2 == 1),
                        tree: Some(vec![id, id + 1]),
                        ..Thing::default()
                    },
                }
                .give(&mut unit);
            }
            unit
        },
        |unit| timeline.join(unit),
    )
    .expect("within memory, or spilled");
}
