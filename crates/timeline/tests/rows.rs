//! Rows are what the design says of each column.

mod support;

use scelle_event::{
    CivilNanos, CivilParts, Consumer, Meaning, Moment, Precision, Role, Sink, Span, Stamp,
    StreamRef, UtcNanos,
};
use scelle_timeline::{Format, Options};
use serde_json::json;
use support::{Seen, Thing, context, json_lines, made, rows, stamp, warning};

const SECOND: i128 = 1_000_000_000;

fn thing(name: &str) -> Thing {
    Thing {
        name: Some(name.to_owned()),
        message: format!("{name} was there"),
        ..Thing::default()
    }
}

#[test]
fn each_column_has_its_value() {
    let seen = Seen {
        times: vec![stamp(
            1_600_000_000 * SECOND + 123_456_700,
            Meaning::Created,
        )],
        provenance: scelle_event::Provenance::from(Span::new(100..164).numbered(7).decoded("mam"))
            .with(
                Role::Log,
                Span::new(3..5).of(StreamRef::companion(0)).numbered(0),
            ),
        record: Thing {
            name: Some("C:\\Windows\\a \"b\".exe".to_owned()),
            size_bytes: 5,
            delta: Some(-3),
            is_odd: Some(true),
            bytes: Some(vec![0xDE, 0xAD]),
            seen: Some(UtcNanos::from_filetime(u64::MAX)),
            tree: Some(vec![1, 2]),
            user: Some("S-1-5-18".to_owned()),
            host: Some("DESKTOP".to_owned()),
            message: "Ran C:\\Windows\\a \"b\".exe twice".to_owned(),
        },
    };
    let (out, _, summary) = made(Options::default(), Format::Jsonl, |timeline| {
        let mut with_log = (*context("payload", "vol/dir/f:s", "test.things")).clone();
        with_log.streams.push("vol/dir/f.log".into());
        with_log.host = Some("other".into());
        with_log.host_id = Some("S-1-5-21-1".into());
        let mut unit = timeline.unit(&std::sync::Arc::new(with_log));
        seen.give(&mut unit);
        timeline.join(unit).expect("memory takes all");
    });
    let rows = json_lines(&out);
    let key = rows[0]["record_key"].clone();
    assert!(key.is_u64());
    assert_eq!(
        rows,
        [json!({
            "time": "2020-09-13T12:26:40.123456700Z",
            "time_text": "2020-09-13T12:26:40.1234567Z",
            "time_basis": "utc",
            "precision_ns": 100,
            "meaning": ["created"],
            "artefact": "test.things",
            "host": "DESKTOP",
            "host_id": "S-1-5-21-1",
            "subject": "C:\\Windows\\a \"b\".exe",
            "message": "Ran C:\\Windows\\a \"b\".exe twice",
            "user": "S-1-5-18",
            "fields": {
                "name": "C:\\Windows\\a \"b\".exe",
                "size_bytes": 5,
                "delta": -3,
                "is_odd": true,
                "bytes": "dead",
                "seen": "+060056-05-28T05:36:10.9551615Z",
                "tree": [1, 2],
            },
            "stream": "vol/dir/f:s",
            "layer": "mam",
            "offset": 100,
            "length": 64,
            "record": 7,
            "also": [{
                "role": "log", "stream": "vol/dir/f.log", "offset": 3, "length": 2, "record": 0,
            }],
            "record_key": key,
            "ordinal": 0,
            "source": "payload",
        })]
    );
    assert_eq!(summary.rows, 1);
    assert_eq!(summary.artefacts["test.things"], 1);
    assert_eq!(summary.first, summary.last);
}

#[test]
fn equal_moments_of_one_attribute_fold() {
    let si = |at, meaning| stamp(at, meaning).in_attribute("si");
    let name = |at, meaning| stamp(at, meaning).in_attribute("fn");
    let rows = rows(
        Options::default(),
        &[Seen {
            times: vec![
                si(20, Meaning::Accessed),
                si(20, Meaning::Created),
                si(40, Meaning::Modified),
                name(20, Meaning::Created),
                name(50, Meaning::Modified),
                name(50, Meaning::Changed),
            ],
            provenance: Span::new(0..1024).into(),
            record: thing("a"),
        }],
    );
    let short: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["time"].as_str().expect("a time")[20..29].to_owned(),
                row["meaning"].to_string(),
                row["fields"]["attribute"].as_str().expect("an attribute"),
                row["ordinal"].as_u64().expect("a number"),
                row["fields"]["later_than_si"].as_str(),
            )
        })
        .collect();
    let want = |time: &str, meaning: &str, attribute, ordinal, later| {
        (
            time.to_owned(),
            meaning.to_owned(),
            attribute,
            ordinal,
            later,
        )
    };
    assert_eq!(
        short,
        [
            want("000000020", r#"["created","accessed"]"#, "si", 0, None),
            want("000000020", r#"["created"]"#, "fn", 2, None),
            want("000000040", r#"["modified"]"#, "si", 1, None),
            want(
                "000000050",
                r#"["modified","changed"]"#,
                "fn",
                3,
                Some("modified")
            ),
        ]
    );
    // All rows of one record have one key.
    assert!(
        rows.iter()
            .all(|row| row["record_key"] == rows[0]["record_key"])
    );
}

#[test]
fn the_order_is_total_for_absurd_times_too() {
    let far = UtcNanos::from_filetime(u64::MAX).nanos();
    let moments = [
        Some(i128::MIN),
        Some(-far),
        Some(i128::from(i64::MIN) - 1),
        Some(i128::from(i64::MIN)),
        Some(-1),
        Some(0),
        Some(i128::from(i64::MAX)),
        Some(i128::from(i64::MAX) + 1),
        Some(far),
        Some(i128::MAX),
        None,
    ];
    // Fed from last to first, and the later ones of equals first.
    let seen: Vec<Seen> = moments
        .iter()
        .rev()
        .map(|moment| Seen {
            times: moment
                .iter()
                .map(|at| stamp(*at, Meaning::Created))
                .collect(),
            provenance: Span::new(0..1).into(),
            record: thing(&format!("{moment:?}")),
        })
        .collect();
    let rows = rows(Options::default(), &seen);
    let order: Vec<_> = rows.iter().map(|row| row["subject"].clone()).collect();
    let want: Vec<_> = moments.iter().map(|at| json!(format!("{at:?}"))).collect();
    assert_eq!(order, want);
    for (row, moment) in rows.iter().zip(moments) {
        let fits = moment.is_some_and(|at| i64::try_from(at).is_ok());
        assert_eq!(row.get("time").is_some(), fits, "{row}");
        assert_eq!(row.get("time_text").is_some(), moment.is_some());
    }
    assert_eq!(rows[10].get("time_basis"), None);
    assert_eq!(rows[10]["meaning"], json!([]));
}

#[test]
fn ties_go_by_place_then_number() {
    let (out, _, _) = made(Options::default(), Format::Jsonl, |timeline| {
        // Each differs from the one before in one part; fed backwards.
        let places = [
            ("a", "s", None, 9..10, "z", Some(9)),
            ("b", "s", None, 9..10, "z", Some(9)),
            ("b", "t", None, 9..10, "z", Some(9)),
            ("b", "t", Some("lz"), 2..11, "z", Some(9)),
            ("b", "t", Some("lz"), 10..11, "z", Some(9)),
            ("b", "t", Some("lz"), 10..12, "b", Some(9)),
            ("b", "t", Some("lz"), 10..12, "c", None),
            ("b", "t", Some("lz"), 10..12, "c", Some(9)),
            ("b", "t", Some("lz"), 10..12, "c", Some(10)),
        ];
        for (number, (source, stream, layer, range, artefact, record)) in
            places.into_iter().enumerate().rev()
        {
            let mut span = Span::new(range);
            span.record = record;
            if let Some(layer) = layer {
                span = span.decoded(layer);
            }
            let mut unit = timeline.unit(&context(source, stream, artefact));
            Seen {
                times: vec![stamp(5, Meaning::Created)],
                provenance: span.into(),
                record: thing(&number.to_string()),
            }
            .give(&mut unit);
            timeline.join(unit).expect("memory takes all");
        }
    });
    let order: Vec<_> = json_lines(&out)
        .iter()
        .map(|row| row["subject"].as_str().expect("a subject").to_owned())
        .collect();
    assert_eq!(order, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[test]
fn ordinals_go_on_for_one_key() {
    let one = |at: i128, offset: u64| Seen {
        times: vec![
            stamp(at, Meaning::Created),
            stamp(at + 1, Meaning::Modified),
        ],
        provenance: Span::new(offset..offset + 1).into(),
        record: thing("x"),
    };
    let rows = rows(Options::default(), &[one(10, 0), one(20, 5), one(30, 0)]);
    let ordinals: Vec<_> = rows
        .iter()
        .map(|row| (row["offset"].as_u64(), row["ordinal"].as_u64()))
        .collect();
    let want = [(0, 0), (0, 1), (5, 0), (5, 1), (0, 2), (0, 3)]
        .map(|(offset, ordinal)| (Some(offset), Some(ordinal)));
    assert_eq!(ordinals, want);
}

#[test]
fn local_times_need_a_zone() {
    let local = |second_of_day| Stamp {
        moment: Moment::Local(CivilNanos::from_civil(2021, 10, 31, second_of_day, 0)),
        precision: Precision(2 * 1_000_000_000),
        meaning: Meaning::Modified,
        attribute: None,
    };
    let partial = Stamp {
        moment: Moment::Partial(CivilParts {
            month: Some(3),
            day: Some(9),
            hour: Some(1),
            minute: Some(2),
            second: Some(3),
            ..CivilParts::default()
        }),
        precision: Precision::SECOND,
        meaning: Meaning::Logged,
        attribute: None,
    };
    let seen = [Seen {
        times: vec![local(3600), local(2 * 3600 + 60), partial],
        provenance: Span::new(0..1).into(),
        record: thing("x"),
    }];
    let unknown = rows(Options::default(), &seen);
    assert!(
        unknown
            .iter()
            .all(|row| row.get("time").is_none() && row["time_basis"] == "local-unresolved")
    );
    assert_eq!(unknown[0]["time_text"], "2021-10-31T01:00:00");
    assert_eq!(unknown[0]["precision_ns"], 2_000_000_000u64);
    assert_eq!(unknown[2]["time_text"], "-----03-09T01:02:03");

    let known = rows(
        Options {
            zone: Some("Europe/Paris".parse().expect("a zone")),
            ..Options::default()
        },
        &seen,
    );
    assert_eq!(known[0]["time"], "2021-10-30T23:00:00.000000000Z");
    assert_eq!(known[0]["time_text"], "2021-10-30T23:00:00Z");
    assert_eq!(known[0]["time_basis"], "local-converted");
    assert_eq!(known[0]["fields"]["local_time"], "2021-10-31T01:00:00");
    // The clock showed this hour twice: nobody can say which.
    assert_eq!(known[1]["time_basis"], "local-unresolved");
    assert_eq!(known[2]["time_basis"], "local-unresolved");
}

#[test]
fn a_range_leaves_out_and_counts() {
    let one = |times: Vec<Stamp>, offset: u64| Seen {
        times,
        provenance: Span::new(offset..offset + 1).into(),
        record: thing("x"),
    };
    let at = |nanos| stamp(nanos, Meaning::Created);
    let options = || Options {
        from: Some(UtcNanos::from_nanos(10)),
        to: Some(UtcNanos::from_nanos(20)),
        ..Options::default()
    };
    let seen = [
        one(vec![at(9), at(10), at(19), at(20)], 0),
        one(vec![], 1),
        one(vec![at(30)], 2),
    ];
    let kept = rows(options(), &seen);
    let ordinals: Vec<_> = kept.iter().map(|row| row["ordinal"].as_u64()).collect();
    assert_eq!(
        ordinals,
        [Some(1), Some(2)],
        "numbered before anything is left out"
    );
    let (_, _, summary) = made(options(), Format::Csv, |timeline| {
        let mut unit = timeline.unit(&context("i", "v/f", "test.things"));
        seen.iter().for_each(|seen| seen.give(&mut unit));
        timeline.join(unit).expect("memory takes all");
    });
    assert_eq!(
        (summary.rows, summary.outside, summary.undated_left_out),
        (2, 3, 1)
    );
    assert_eq!(summary.first, Some(UtcNanos::from_nanos(10)));
    assert_eq!(summary.last, Some(UtcNanos::from_nanos(19)));
}

#[test]
fn what_is_unsaid_comes_from_the_stream() {
    let rows = rows(
        Options::default(),
        &[Seen {
            times: vec![],
            provenance: Span::new(0..1).into(),
            record: Thing::default(),
        }],
    );
    assert_eq!(rows[0]["subject"], "dir/file");
    for absent in [
        "host",
        "host_id",
        "user",
        "layer",
        "record",
        "also",
        "time",
        "precision_ns",
    ] {
        assert_eq!(rows[0].get(absent), None, "{absent}");
    }
}

#[test]
fn warnings_have_their_own_table() {
    let (_, out, summary) = made(Options::default(), Format::Jsonl, |timeline| {
        let mut unit = timeline.unit(&context("i", "v/f", "test.things"));
        unit.warn(warning(
            Span::new(9..12).numbered(4).into(),
            "the name is cut",
        ));
        unit.warn(warning(Span::new(2..3).into(), "first by offset"));
        timeline.join(unit).expect("memory takes all");
    });
    let lines = json_lines(&out);
    assert_eq!(summary.warnings, 2);
    assert_eq!(lines[0]["cause"], "first by offset");
    let key = lines[1]["record_key"].clone();
    assert_eq!(
        lines[1],
        json!({
            "artefact": "test.things", "stream": "v/f", "offset": 9, "length": 3, "record": 4,
            "record_key": key, "ordinal": 0, "source": "i",
            "loss": "field name", "cause": "the name is cut",
        })
    );
}
