//! What a collected stream costs in memory. Alone in its process: nothing else may grow.
#![cfg(target_os = "linux")]

mod common;

use common::{Nowhere, item, options};
use scelle_bundle::BundleWriter;
use scelle_testkit::anonymous_bytes;

/// Streams before memory is first looked at, and again as many before the second look:
/// `SCELLE_MEMORY_STREAMS=2500000` is a plan of five million. Buffers of work under way come and go by some 5 MiB,
/// which has to be little beside what so many streams cost.
const STREAMS: usize = 600_000;

/// What the README states, in bytes a stream.
fn stated_bytes() -> usize {
    const README: &str = include_str!("../../../README.md");
    let row = README
        .lines()
        .find_map(|line| line.strip_prefix("| stream that is collected | "))
        .expect("the README has a row for it");
    let digits = row.split(|letter: char| !letter.is_ascii_digit()).next();
    digits
        .and_then(|digits| digits.parse().ok())
        .expect("a number")
}

#[test]
fn a_collected_stream_costs_what_is_stated() {
    let streams = std::env::var("SCELLE_MEMORY_STREAMS")
        .map_or(STREAMS, |text| text.parse().expect("a number"));
    let mut writer = BundleWriter::create(Nowhere, options("memory")).expect("a writer");
    // Each is made when its turn comes, so that the plan itself costs nothing here.
    let source = |number: usize| {
        let path = format!(
            "Users/someone/AppData/folder{}/file number {number}",
            number / 100
        );
        let mut item = item(path.as_bytes(), format!("content {number}").into_bytes());
        item.entry = common::entry(item.entry.path.as_bytes(), number as u64 + 1);
        item
    };
    let mut collect = |from: usize, count: usize| {
        writer
            .add_all(count, |index| common::Owned(source(from + index)), |_| {})
            .expect("nowhere is never full");
    };
    let now = || anonymous_bytes().expect("Linux tells") as usize;
    // Buffers, pools and tables reach their size first.
    collect(0, streams);
    let before = now();
    collect(streams, streams);
    let after = now();
    let each = after.saturating_sub(before) / streams;
    let stated = stated_bytes();
    eprintln!(
        "{each} bytes a stream; {after} bytes for {} streams",
        2 * streams
    );
    assert!(
        each <= stated,
        "{each} bytes a stream, and {stated} are stated"
    );
    // A number that is far from the truth says nothing either.
    assert!(
        each >= stated / 3,
        "{each} bytes a stream, and {stated} are stated"
    );
    let (sealed, _) = writer.finish().expect("nowhere is never full");
    assert_eq!(sealed.files as usize, 2 * streams);
    let sealing = now().saturating_sub(after);
    eprintln!("{sealing} bytes more while sealing");
}
