//! What a file of a bundle costs in memory that is opened. Alone in its process: nothing else may grow.
#![cfg(target_os = "linux")]

mod common;

use std::sync::Arc;

use common::{
    Item,
    certificates::{Reads, recipient, secret},
    encrypted::{Device, write_to},
    item, options,
};
use scelle_bundle::{Bundle, Ciphertext};
use scelle_event::EvidencePath;
use scelle_formats::{Bytes, ReadAtExt as _};
use scelle_testkit::anonymous_bytes;

/// Files of a bundle of some 100 GB.
const FILES: usize = 100_000;
/// What a bundle of any usual size may take.
const LIMIT_BYTES: usize = 256 << 20;

/// What the README states, in bytes a file.
fn stated_bytes() -> usize {
    const README: &str = include_str!("../../../README.md");
    let row = README
        .lines()
        .find_map(|line| line.strip_prefix("| file of a bundle that is opened | "))
        .expect("the README has a row for it");
    let digits: String = row
        .chars()
        .filter(|letter| *letter != ',')
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().expect("a number")
}

/// As NTFS has most of them: with a number, and a short name beside the long one.
fn file(number: usize) -> Item {
    let folder = format!("Users/someone/AppData/folder{}", number / 100);
    let path = format!("{folder}/file number {number}");
    let mut item = item(path.as_bytes(), format!("content {number}").into_bytes());
    item.entry = common::entry(path.as_bytes(), number as u64 + 1);
    let mut short = item.entry.names[0].clone();
    short.path = EvidencePath::from_bytes(format!("{folder}/FILENU~{number}").as_bytes());
    short.namespace = 2;
    item.entry.names.push(short);
    item
}

#[test]
fn an_opened_file_costs_what_is_stated() {
    let items: Vec<Item> = (0..FILES).map(file).collect();
    let recipients = [recipient(&secret("reader", Reads::VersionTwo, None))];
    let (_, device, key) = write_to(Device::default(), options("open"), &items, &recipients);
    drop(items);
    let bytes = device.content().0;
    drop(device);
    let open = || {
        let ciphertext = Ciphertext::open(Arc::new(Bytes(bytes.clone()))).expect("own");
        Bundle::open(Arc::new(ciphertext.decrypt(&key).expect("unaltered"))).expect("a bundle")
    };
    let now = || anonymous_bytes().expect("Linux tells") as usize;
    // What was made is gone, and its room is used again: only what a second one adds is its own.
    let first = open();
    let before = now();
    let second = open();
    let more = now().saturating_sub(before).saturating_sub(bytes.len());
    let each = more / FILES;
    let stated = stated_bytes();
    eprintln!("{each} bytes a file; {more} bytes for {FILES}");
    assert!(
        each <= stated,
        "{each} bytes a file, and {stated} are stated"
    );
    assert!(
        each >= stated / 3,
        "{each} bytes a file, and {stated} are stated"
    );
    assert!(more < LIMIT_BYTES, "{more} bytes");
    for bundle in [first, second] {
        assert_eq!(bundle.files().count(), FILES);
        let (member, _) = bundle.files().nth(FILES / 2).expect("there");
        let stream = bundle.open_stored(member).expect("there");
        let content = stream.read_range(0..stream.len(), 100).expect("readable");
        assert_eq!(content, format!("content {}", FILES / 2).into_bytes());
    }
}
