//! A second opinion, on the samples that come with the `mft` crate.

use std::{collections::BTreeMap, fs};

use mft::{MftEntry, MftParser, Timestamp, attribute::MftAttributeContent};
use scelle_event::{Meaning, Moment};
use scelle_formats::Bytes;
use scelle_testkit::package_folder;

use crate::seen::{Run, Seen, parse};

/// Times of one attribute: which, what they mean, and nanoseconds since 1970.
type Times = BTreeMap<(&'static str, Meaning, i128), usize>;

#[test]
fn every_record_is_as_the_mft_crate_reads_it() {
    let folder = package_folder("mft").join("samples");
    let mut records = 0;
    for file in fs::read_dir(folder).expect("the package has samples") {
        let path = file.expect("a file").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let bytes = fs::read(&path).expect("a readable file");
        let run = parse(&Bytes(bytes.clone()));
        let mut parser = MftParser::from_buffer(bytes).expect("an $MFT");
        let theirs: Vec<MftEntry> = parser
            .iter_entries()
            .filter_map(Result::ok)
            .filter(|entry| &entry.header.signature == b"FILE")
            .collect();
        let by_place: BTreeMap<u64, &Seen> = run
            .entries
            .iter()
            .map(|seen| (seen.provenance.primary.range.start, seen))
            .collect();
        let joined: Vec<u64> = run
            .entries
            .iter()
            .flat_map(|seen| &seen.provenance.also)
            .map(|(_, span)| span.range.start)
            .collect();
        assert_eq!(theirs.len(), by_place.len() + joined.len(), "{name}");
        for entry in &theirs {
            let at = place(&run, entry);
            if !joined.contains(&at) {
                let seen = by_place
                    .get(&at)
                    .unwrap_or_else(|| panic!("{name} at {at}"));
                compare(&name, seen, entry, &theirs);
                records += 1;
            }
        }
    }
    assert!(records > 13_000, "{records}");
}

/// Where a record lies; a sample of one record has a number, but no records before it.
fn place(run: &Run, entry: &MftEntry) -> u64 {
    let size = u64::from(entry.header.total_entry_size);
    match &run.entries[..] {
        [_] => 0,
        _ => entry.header.record_number * size,
    }
}

fn compare(file: &str, seen: &Seen, entry: &MftEntry, all: &[MftEntry]) {
    let place = format!("{file}, entry {}", entry.header.record_number);
    let number = |column: &str| seen.number(column).expect("always there");
    assert_eq!(
        number("sequence"),
        u64::from(entry.header.sequence),
        "{place}"
    );
    assert_eq!(
        number("link_count"),
        u64::from(entry.header.hard_link_count),
        "{place}"
    );
    assert_eq!(
        number("lsn"),
        entry.header.metadata_transaction_journal,
        "{place}"
    );
    assert_eq!(seen.is("in_use"), entry.is_allocated(), "{place}");
    assert_eq!(seen.is("is_directory"), entry.is_dir(), "{place}");
    let base = entry.header.base_reference;
    let base = (base.entry != 0 || base.sequence != 0).then_some(base.entry);
    assert_eq!(seen.number("base_entry"), base, "{place}");

    let mut times = Times::new();
    let extensions = seen.provenance.also.iter().map(|(_, span)| span.record);
    let numbers: Vec<u64> = extensions
        .map(|record| record.expect("numbered") & 0xFFFF_FFFF_FFFF)
        .collect();
    let parts = all
        .iter()
        .filter(|other| numbers.contains(&other.header.record_number));
    for record in std::iter::once(entry).chain(parts) {
        for attribute in record.iter_attributes().filter_map(Result::ok) {
            let mut add = |name, stamps: [(Meaning, Timestamp); 4]| {
                for (meaning, at) in stamps {
                    *times
                        .entry((name, meaning, at.as_nanosecond()))
                        .or_default() += 1;
                }
            };
            match attribute.data {
                MftAttributeContent::AttrX10(standard) => add(
                    "si",
                    [
                        (Meaning::Created, standard.created),
                        (Meaning::Modified, standard.modified),
                        (Meaning::Changed, standard.mft_modified),
                        (Meaning::Accessed, standard.accessed),
                    ],
                ),
                MftAttributeContent::AttrX30(name) => add(
                    "fn",
                    [
                        (Meaning::Created, name.created),
                        (Meaning::Modified, name.modified),
                        (Meaning::Changed, name.mft_modified),
                        (Meaning::Accessed, name.accessed),
                    ],
                ),
                _ => {}
            }
        }
    }
    // A FILETIME of 0 is no time.
    times.retain(|(_, _, nanos), _| *nanos != -11_644_473_600_000_000_000);
    let mut ours = Times::new();
    for stamp in &seen.times {
        let Moment::Utc(at) = stamp.moment else {
            panic!("{place}: times of NTFS are UTC");
        };
        let attribute = stamp.attribute.expect("si or fn");
        *ours
            .entry((attribute, stamp.meaning, at.nanos()))
            .or_default() += 1;
    }
    assert_eq!(ours, times, "{place}");
    if let Some(name) = entry.find_best_name_attribute() {
        let path = seen.text("path").expect("every entry has a path");
        let name = name.name.to_utf8_string();
        let is_root = path == "/" && name == ".";
        assert!(
            is_root || path.ends_with(&format!("/{name}")),
            "{place}: {path} {name}"
        );
        assert!(!seen.message.is_empty());
    }
}
