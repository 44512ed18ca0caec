//! Each format says the same, and reads back.

mod support;

use std::{io::Write, sync::Mutex};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Int32Type, TimestampNanosecondType, UInt64Type},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use scelle_event::{Consumer, Meaning, Observation, Sink, Span, Tlp, UtcNanos};
use scelle_timeline::{
    Format, Metadata, Options, ROW_COLUMNS, Source, Timeline, TypedTables, WARNING_COLUMNS,
    arrow_schema, row_schema, warning_schema,
};
use support::{SCHEMA, Seen, Shared, Thing, context, json_lines, made, stamp, warning};

fn options() -> Options {
    Options {
        metadata: Metadata {
            label: Some(Tlp::AmberStrict.into()),
            sources: vec![Source {
                name: "payload".to_owned(),
                payload: Some("payload".to_owned()),
                root: Some("ab\"cd".to_owned()),
            }],
        },
        ..Options::default()
    }
}

/// Some thousand records of several streams, some without a time, some with absurd ones.
fn feed(timeline: &Timeline) {
    for unit_number in 0..40u64 {
        let stream = format!("vol/dir/file-{}", unit_number % 3);
        let mut unit = timeline.unit(&context("payload", &stream, "test.things"));
        for number in 0..100u64 {
            let id = unit_number * 100 + number;
            // A fixed shuffle of the moments.
            let at = i128::from(id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8) * 1_000;
            let times = match id % 11 {
                0 => vec![],
                1 => vec![stamp(i128::from(i64::MAX) * 3 + at, Meaning::Created)],
                _ => vec![
                    stamp(at, Meaning::Created),
                    stamp(at, Meaning::Modified),
                    stamp(at / 7, Meaning::Accessed),
                ],
            };
            Seen {
                times,
                provenance: Span::new(id * 64..id * 64 + 64).numbered(id).into(),
                record: Thing {
                    name: Some(format!("C:\\dir\\name, \"{id}\"")),
                    size_bytes: id,
                    delta: (id % 2 == 0).then_some(-(id as i64)),
                    user: (id % 5 == 0).then(|| format!("S-1-5-{}", id % 7)),
                    message: format!("=SUM(C:\\dir\\name, \"{id}\")\nseen"),
                    ..Thing::default()
                },
            }
            .give(&mut unit);
        }
        unit.warn(warning(
            Span::new(unit_number..unit_number + 1).into(),
            "the name, cut",
        ));
        timeline.join(unit).expect("memory takes all");
    }
}

fn batches(bytes: &[u8]) -> (Vec<RecordBatch>, Vec<(String, Option<String>)>) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("room");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let pairs = reader
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .expect("metadata")
        .iter()
        .map(|pair| (pair.key.clone(), pair.value.clone()))
        .collect();
    let batches = reader
        .build()
        .expect("a reader")
        .collect::<Result<_, _>>()
        .expect("sound pages");
    (batches, pairs)
}

#[test]
fn parquet_reads_back_with_its_types() {
    let (rows, warnings, summary) = made(options(), Format::Parquet, feed);
    let (lines, _, _) = made(options(), Format::Jsonl, feed);
    let lines = json_lines(&lines);
    let (batches, pairs) = batches(&rows);
    assert_eq!(batches[0].schema().fields(), row_schema().fields());
    let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(count as u64, summary.rows);
    assert_eq!(count, lines.len());
    let pair = |key: &str| {
        let found = pairs.iter().find(|(name, _)| name == key);
        found.and_then(|(_, value)| value.clone())
    };
    assert_eq!(pair("scelle.tlp").as_deref(), Some("TLP:AMBER+STRICT"));
    assert_eq!(
        pair("scelle.sources").as_deref(),
        Some(r#"[{"source":"payload","payload":"payload","root":"ab\"cd"}]"#)
    );
    assert!(pair("scelle.version").is_some());

    let mut line = lines.iter();
    for batch in &batches {
        let column = |name: &str| batch.column_by_name(name).expect("a column");
        let text = |name: &str, row: usize| {
            let array = column(name);
            (!array.is_null(row)).then(|| array.as_string::<i32>().value(row).to_owned())
        };
        let word = |name: &str, row: usize| {
            let array = column(name).as_dictionary::<Int32Type>();
            let key = array.key(row)?;
            Some(array.values().as_string::<i32>().value(key).to_owned())
        };
        for row in 0..batch.num_rows() {
            let line = line.next().expect("a line a row");
            let said = |name: &str| line[name].as_str().map(str::to_owned);
            let time = column("time").as_primitive::<TimestampNanosecondType>();
            let time = (!time.is_null(row)).then(|| time.value(row));
            assert_eq!(
                time.map(|at| UtcNanos::from_nanos(at.into()).to_string()),
                said("time")
            );
            for name in ["time_text", "subject", "message"] {
                assert_eq!(text(name, row), said(name), "{name}");
            }
            for name in [
                "time_basis",
                "artefact",
                "host",
                "user",
                "stream",
                "layer",
                "source",
            ] {
                assert_eq!(word(name, row), said(name), "{name}");
            }
            for name in ["offset", "length", "record", "record_key"] {
                let array = column(name).as_primitive::<UInt64Type>();
                assert_eq!(Some(array.value(row)), line[name].as_u64(), "{name}");
            }
            let fields = column("fields").as_map().value(row);
            let (keys, values) = (
                fields.column(0).as_string::<i32>(),
                fields.column(1).as_string::<i32>(),
            );
            let want = line["fields"].as_object().expect("an object");
            assert_eq!(fields.len(), want.len());
            for (key, value) in keys.iter().zip(values) {
                let want = match &want[key.expect("a key")] {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(value, Some(&*want));
            }
            let meaning = column("meaning").as_list::<i32>().value(row);
            assert_eq!(
                meaning.len(),
                line["meaning"].as_array().expect("a list").len()
            );
        }
    }

    let (batches, _) = self::batches(&warnings);
    assert_eq!(batches[0].schema().fields(), warning_schema().fields());
    assert_eq!(batches[0].num_rows() as u64, summary.warnings);
    assert_eq!(summary.warnings, 40);
}

#[test]
fn rows_stand_in_order() {
    let (lines, _, summary) = made(options(), Format::Jsonl, feed);
    let lines = json_lines(&lines);
    let times: Vec<_> = lines.iter().map(|line| line["time"].as_str()).collect();
    let dated = lines.len() as u64 - summary.undated;
    let fits: Vec<_> = times.iter().map_while(|time| *time).collect();
    assert!(fits.is_sorted());
    assert!((fits.len() as u64) < dated, "some are dated beyond 2262");
    let beyond = &lines[fits.len()..dated as usize];
    assert!(beyond.iter().all(|line| line["time_basis"] == "utc"));
    assert!(
        lines[dated as usize..]
            .iter()
            .all(|line| line.get("time_basis").is_none())
    );
}

#[test]
fn the_schema_is_the_design_s() {
    let schema = row_schema();
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| &**field.name())
        .collect();
    assert_eq!(names, ROW_COLUMNS);
    let word = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    for (name, kind, nullable) in [
        ("time_text", DataType::Utf8, true),
        ("precision_ns", DataType::Int64, true),
        ("artefact", word.clone(), false),
        ("host", word.clone(), true),
        ("host_id", word.clone(), true),
        ("subject", DataType::Utf8, true),
        ("message", DataType::Utf8, false),
        ("user", word.clone(), true),
        ("stream", word.clone(), false),
        ("layer", word.clone(), true),
        ("offset", DataType::UInt64, false),
        ("length", DataType::UInt64, false),
        ("record", DataType::UInt64, true),
        ("record_key", DataType::UInt64, false),
        ("ordinal", DataType::UInt32, false),
        ("source", word, false),
    ] {
        let field = schema.field_with_name(name).expect("a column");
        assert_eq!(
            (field.data_type(), field.is_nullable()),
            (&kind, nullable),
            "{name}"
        );
    }
    assert_eq!(
        schema
            .field_with_name("time")
            .expect("a column")
            .data_type()
            .to_string(),
        "Timestamp(ns, \"UTC\")"
    );
    let warnings = warning_schema();
    let names: Vec<_> = warnings
        .fields()
        .iter()
        .map(|field| &**field.name())
        .collect();
    assert_eq!(names, WARNING_COLUMNS);
}

/// Reads RFC 4180: an own, strict reader, so that a bug of the writer is not shared.
fn read_csv(text: &str) -> Vec<Vec<String>> {
    let mut lines = vec![vec![String::new()]];
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        let line = lines.last_mut().expect("a line");
        let cell = line.last_mut().expect("a cell");
        match (character, quoted) {
            ('"', true) if characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            ('"', true) => quoted = false,
            (other, true) => cell.push(other),
            ('"', false) => {
                assert!(cell.is_empty(), "a quote inside a bare cell");
                quoted = true;
            }
            (',', false) => line.push(String::new()),
            ('\r', false) => {
                assert_eq!(characters.next(), Some('\n'));
                lines.push(vec![String::new()]);
            }
            (other, false) => cell.push(other),
        }
    }
    assert!(!quoted, "an open quote at the end");
    assert_eq!(lines.pop(), Some(vec![String::new()]), "the last line ends");
    lines
}

fn undo(cell: &str) -> &str {
    cell.strip_prefix('\'').unwrap_or(cell)
}

#[test]
fn csv_says_what_json_says() {
    let (csv, warnings, _) = made(options(), Format::Csv, feed);
    let (lines, _, _) = made(options(), Format::Jsonl, feed);
    let csv = read_csv(std::str::from_utf8(&csv).expect("text"));
    assert_eq!(csv[0], ROW_COLUMNS);
    let lines = json_lines(&lines);
    assert_eq!(csv.len(), lines.len() + 1);
    for (cells, line) in csv[1..].iter().zip(&lines) {
        assert_eq!(cells.len(), ROW_COLUMNS.len());
        for (name, cell) in ROW_COLUMNS.iter().zip(cells) {
            let want = match (&line[*name], *name) {
                (serde_json::Value::Null, _) => String::new(),
                (serde_json::Value::String(text), _) => text.clone(),
                (serde_json::Value::Array(list), "meaning") => list
                    .iter()
                    .map(|meaning| meaning.as_str().expect("a text"))
                    .collect::<Vec<_>>()
                    .join("+"),
                (other, "fields" | "also") => {
                    let back: serde_json::Value = serde_json::from_str(undo(cell)).expect("JSON");
                    assert_eq!(back, *other);
                    continue;
                }
                (other, _) => other.to_string(),
            };
            assert_eq!(undo(cell), want, "{name}");
        }
        assert!(cells[9].starts_with("'=SUM"), "disarmed: {}", cells[9]);
    }
    let warnings = read_csv(std::str::from_utf8(&warnings).expect("text"));
    assert_eq!(warnings[0], WARNING_COLUMNS);
    assert_eq!(warnings.len(), 41);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_csv_cell_is_harmless_and_comes_back(text in r#"[=+@'\t\r\n", a-]{0,9}|\PC{0,12}"#) {
        let (csv, _, _) = made(Options::default(), Format::Csv, |timeline| {
            let mut unit = timeline.unit(&context("s", "v/f", "test.things"));
            Seen {
                times: vec![],
                provenance: Span::new(0..1).into(),
                record: Thing { message: text.clone(), ..Thing::default() },
            }
            .give(&mut unit);
            timeline.join(unit).expect("memory takes all");
        });
        let csv = read_csv(std::str::from_utf8(&csv).expect("text"));
        let cell = &csv[1][9];
        prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
        prop_assert_eq!(undo(cell), text);
    }
}

#[test]
fn timesketch_has_what_it_demands() {
    let (lines, _, _) = made(options(), Format::Timesketch, feed);
    let (plain, _, _) = made(options(), Format::Jsonl, feed);
    for (line, plain) in json_lines(&lines).iter().zip(json_lines(&plain)) {
        let micros = line["timestamp"].as_i64().expect("a number");
        let datetime = line["datetime"].as_str().expect("a text");
        assert!(
            datetime.ends_with("+00:00") && datetime.len() == 32,
            "{datetime}"
        );
        match plain["time"].as_str() {
            Some(time) => {
                assert_eq!(datetime[..26], time[..26]);
                assert_ne!(line["timestamp_desc"], "not a time");
            }
            None if plain["time_text"].is_string() => assert!(micros > 9_000_000_000_000_000),
            None => assert_eq!(
                (micros, line["timestamp_desc"].as_str()),
                (0, Some("not a time"))
            ),
        }
        for name in ROW_COLUMNS {
            assert_eq!(line[*name], plain[*name], "{name}");
        }
    }
}

#[test]
fn typed_tables_have_native_types() {
    let (rows, losses) = (Shared::default(), Shared::default());
    let opened = Mutex::new(Vec::new());
    let tables = TypedTables::new(
        &[&SCHEMA],
        &Metadata::default(),
        |schema| {
            opened.lock().expect("no panic").push(schema.name);
            Ok(rows.clone())
        },
        losses.clone(),
    )
    .expect("memory takes all");
    assert_eq!(*opened.lock().expect("no panic"), ["test.thing"]);
    let far = UtcNanos::from_filetime(u64::MAX);
    for seen in [Some(UtcNanos::from_nanos(5_000)), Some(far), None] {
        let mut unit = tables.unit(&context("s", "v/f", "test.things"));
        unit.observe(&Observation {
            times: &[],
            provenance: Span::new(8..16).numbered(3).into(),
            record: &Thing {
                size_bytes: u64::MAX,
                is_odd: Some(false),
                bytes: Some(vec![0xFF]),
                tree: Some(vec![4]),
                seen,
                ..Thing::default()
            },
        });
        unit.warn(warning(Span::new(0..1).into(), "cut"));
        tables.join(unit).expect("memory takes all");
    }
    tables.finish().expect("memory takes all");
    let (batches, _) = batches(&rows.bytes());
    let batch = &batches[0];
    assert_eq!(batch.schema().fields(), arrow_schema(&SCHEMA).fields());
    assert_eq!(batch.num_rows(), 3);
    let column = |name: &str| batch.column_by_name(name).expect("a column");
    assert_eq!(
        column("size_bytes").as_primitive::<UInt64Type>().value(0),
        u64::MAX
    );
    assert!(!column("is_odd").as_boolean().value(0));
    assert_eq!(column("bytes").as_binary::<i32>().value(0), [0xFF]);
    assert_eq!(column("tree").as_string::<i32>().value(0), "[4]");
    let seen = column("seen").as_primitive::<TimestampNanosecondType>();
    assert_eq!(
        (seen.value(0), seen.is_null(1), seen.is_null(2)),
        (5_000, true, true)
    );
    let unfit = column("unfit").as_string::<i32>();
    assert!(unfit.is_null(0) && unfit.is_null(2));
    assert_eq!(
        unfit.value(1),
        "{\"seen\":\"+060056-05-28T05:36:10.9551615Z\"}"
    );
    assert_eq!(json_lines(&losses.bytes()).len(), 3);
}

/// A second reader, where one is there; its absence is said and not hidden.
#[test]
fn another_reader_agrees() {
    let (rows, _, summary) = made(options(), Format::Parquet, feed);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.parquet");
    std::fs::write(&path, rows).expect("a file");
    let script = "import sys, pyarrow.parquet as pq\n\
                  table = pq.read_table(sys.argv[1])\n\
                  print(table.num_rows, table.schema.field('time').type, \
                  table.column('fields')[0].as_py()[0][0])";
    let run = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .output();
    match run {
        Ok(output) if output.status.success() => assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            format!("{} timestamp[ns, tz=UTC] name", summary.rows)
        ),
        _ => eprintln!("SKIPPED, no python3 with pyarrow: a second reader's opinion"),
    }
}
