//! What a collected stream costs in memory. Alone in its process: nothing else may grow.
#![cfg(target_os = "linux")]

mod common;

use std::io::{self, Write};

use common::{item, options};
use scelle_bundle::{BundleWriter, Output};

/// Streams that are collected while memory is measured.
const STREAMS: usize = 60_000;
/// What the documentation states, in bytes a stream.
const STATED_BYTES: usize = 512;

/// Takes all and keeps nothing.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Nowhere {}

fn anonymous_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .expect("Linux tells");
    let kib: usize = line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number");
    kib * 1024
}

#[test]
fn a_collected_stream_costs_what_is_stated() {
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
    // Buffers, pools and tables reach their size first.
    collect(0, STREAMS);
    let before = anonymous_bytes();
    collect(STREAMS, STREAMS);
    let grown = anonymous_bytes().saturating_sub(before);
    let each = grown / STREAMS;
    eprintln!("{each} bytes a stream");
    assert!(each <= STATED_BYTES, "{each} bytes a stream");
    let (sealed, _) = writer.finish().expect("nowhere is never full");
    assert_eq!(sealed.files as usize, 2 * STREAMS);
}
