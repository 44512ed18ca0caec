//! Every `$MFT` of the corpus.

use std::collections::BTreeMap;

use scelle_event::Loss;
use scelle_formats::Bytes;
use scelle_testkit::Corpus;

use crate::seen::{Run, Seen, parse};

#[test]
fn counts_are_those_of_mft_dump() {
    let Some(corpus) = Corpus::find("counts of $MFT records") else {
        return;
    };
    let files = corpus.expected_json("mft.json");
    for file in files.as_array().expect("a list") {
        let path = file["path"].as_str().expect("a path");
        let run = parse(&Bytes(corpus.read(path)));
        let of_base = |in_use, directory| {
            let alike = |seen: &&Seen| {
                seen.number("base_entry").is_none()
                    && seen.is("in_use") == in_use
                    && seen.is("is_directory") == directory
            };
            run.entries.iter().filter(alike).count() as u64
        };
        // `mft_dump` shows a record that is marked as torn like a deleted file; those of the corpus
        // hold nothing but the mark, and we record them as losses.
        let marked = count(&run, |loss, cause| {
            loss == Loss::Record && cause.contains("BAAD")
        });
        let alone = run
            .entries
            .iter()
            .filter(|seen| seen.number("base_entry").is_some())
            .count();
        let streams = |seen: &&Seen| seen.fields.get("streams").is_some();
        let found = BTreeMap::from([
            ("inuse_file", of_base(true, false)),
            ("inuse_dir", of_base(true, true)),
            ("deleted_file", of_base(false, false) + marked),
            ("deleted_dir", of_base(false, true)),
            ("ext", (run.joined() + alone) as u64),
            (
                "has_ads",
                run.entries.iter().filter(streams).count() as u64 + ads_seen_twice(path),
            ),
            (
                "entries",
                (run.entries.len() + run.joined()) as u64 + marked,
            ),
        ]);
        let stated = |key: &str| file["mft_dump"][key].as_u64().unwrap_or(0);
        for (key, count) in found {
            let expected = match key {
                "ext" => stated("ext_inuse_file") + stated("ext_deleted_file"),
                key => stated(key),
            };
            assert_eq!(count, expected, "{key} of {path}");
        }
    }
}

/// `mft_dump` counts an entry twice if an extension record holds named streams: as the extension
/// record, and as its base record.
fn ads_seen_twice(path: &str) -> u64 {
    u64::from(path == "mft/ez/xw/$MFT.zst")
}

fn count(run: &Run, is: impl Fn(Loss, &str) -> bool) -> u64 {
    let alike = |warning: &&scelle_event::Warning| is(warning.loss, &warning.cause);
    run.warnings.iter().filter(alike).count() as u64
}

/// A row of `mft-sample.tsv`.
struct Row<'a>(Vec<&'a str>);

#[test]
fn the_first_entries_are_those_of_mft_dump() {
    let Some(corpus) = Corpus::find("the first 400 entries of each $MFT") else {
        return;
    };
    let sample = corpus.expected("mft-sample.tsv.gz");
    let mut rows: BTreeMap<&str, Vec<Row<'_>>> = BTreeMap::new();
    for line in sample.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        rows.entry(columns[0]).or_default().push(Row(columns));
    }
    assert_eq!(rows.len(), 12);
    let mut explained: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for (path, rows) in rows {
        let run = parse(&Bytes(corpus.read(path)));
        for row in rows {
            let number: u64 = row.0[1].parse().expect("a number");
            let seen = run.entry(number);
            for (what, ours, theirs) in compare(seen, &row) {
                match explain(&run, seen, what, &ours, &theirs) {
                    Some(class) => *explained.entry(class).or_default() += 1,
                    None => unexplained.push(format!(
                        "{path} {number} {what}: {ours:?} is {theirs:?} there"
                    )),
                }
            }
        }
    }
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    let explained: Vec<_> = explained.into_iter().collect();
    assert_eq!(explained, EXPLAINED);
}

/// How often each difference is there; `tests/differences/mft.md` says why.
const EXPLAINED: &[(&str, usize)] = &[
    ("the parent's entry was reused", 17),
    ("the time is zero", 6),
    ("there are named streams only", 13),
];

/// What a row and an entry differ in: which column, ours, theirs.
fn compare(seen: &Seen, row: &Row<'_>) -> Vec<(&'static str, String, String)> {
    let directory = row.0[2].split(" | ").any(|flag| flag == "INDEX_PRESENT");
    let path = match row.0[3] {
        "." if seen.number("entry") == Some(5) => String::new(),
        path => path
            .replace("\\\\", "/")
            .replace("[Unknown]", "$OrphanFiles"),
    };
    let mut columns = vec![
        (
            "in_use",
            seen.is("in_use").to_string(),
            row.0[2].contains("ALLOCATED").to_string(),
        ),
        (
            "is_directory",
            seen.is("is_directory").to_string(),
            directory.to_string(),
        ),
        (
            "path",
            seen.text("path").unwrap_or("").to_owned(),
            format!("/{path}"),
        ),
        (
            "size_bytes",
            seen.number("size_bytes").unwrap_or(0).to_string(),
            row.0[4].to_owned(),
        ),
    ];
    let times = [
        "si_created",
        "si_modified",
        "si_accessed",
        "fn_created",
        "fn_modified",
        "fn_accessed",
    ];
    for (column, theirs) in times.into_iter().zip(&row.0[5..]) {
        columns.push((
            column,
            seen.text(column).unwrap_or("").to_owned(),
            (*theirs).to_owned(),
        ));
    }
    columns.retain(|(_, ours, theirs)| ours != theirs);
    columns
}

fn explain(run: &Run, seen: &Seen, what: &str, ours: &str, theirs: &str) -> Option<&'static str> {
    match what {
        "path" => {
            let parent = seen.number("parent_entry")?;
            let parent = run
                .entries
                .iter()
                .find(|seen| seen.number("entry") == Some(parent))?;
            let reused =
                seen.is("is_orphan") && parent.number("sequence") != seen.number("parent_sequence");
            reused.then_some("the parent's entry was reused")
        }
        "size_bytes" => {
            let first = &seen.fields["streams"][0]["size_bytes"];
            let named_only =
                seen.number("size_bytes").is_none() && first.as_u64() == theirs.parse().ok();
            named_only.then_some("there are named streams only")
        }
        _ => {
            let zero = ours.is_empty() && theirs == "1601-01-01T00:00:00.0000000Z";
            zero.then_some("the time is zero")
        }
    }
}
