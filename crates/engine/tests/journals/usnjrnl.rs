//! Beside dfir_ntfs and dissect.ntfs. Differences: `tests/differences/journals.md`.

use std::{collections::BTreeMap, fmt::Write as _};

use scelle_artefacts::Input;
use scelle_formats::{Bytes, RangeKind, ReadAt, ReadError, ntfs::UsnRecord};
use scelle_testkit::{Corpus, MftRecord, UsnChange, UsnJournal};
use sha2::{Digest, Sha256};

use super::{Rows, parse, parse_input, recognises};

const ID: &str = "ntfs.usnjrnl";

/// What the expected results state of a journal.
fn summary(bytes: &[u8], rows: &Rows) -> (String, BTreeMap<String, u64>) {
    let mut hash = Sha256::new();
    let mut versions = BTreeMap::new();
    let mut line = String::new();
    for row in &rows.rows {
        let span = &row.provenance.primary;
        // The record is where its provenance says.
        let at = span.range.start as usize;
        let record = UsnRecord::decode(&bytes[at..]).expect("a record");
        assert_eq!(span.range.end - span.range.start, record.length as u64);
        assert_eq!(row.number("usn"), Some(record.usn));
        *versions.entry(format!("{}.0", record.version)).or_default() += 1;
        line.clear();
        let name = row.text("name");
        writeln!(line, "{}\t{:#010x}\t{name}", record.usn, record.reasons).expect("a String");
        hash.update(line.as_bytes());
    }
    let digest = hash.finalize();
    let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    (hex, versions)
}

#[test]
fn real_journals_read_as_dfir_ntfs_reads_them() {
    let Some(corpus) = Corpus::find("change journals beside dfir_ntfs") else {
        return;
    };
    let expected = corpus.expected_json("usnjrnl.json");
    let mut compared = 0;
    for entry in expected.as_array().expect("a list") {
        let path = entry["path"].as_str().expect("a path");
        let bytes = corpus.read(path);
        assert!(recognises(ID, path, None, &bytes), "{path}");
        let rows = parse(ID, &bytes, None);
        let theirs = &entry["dfir_ntfs"];
        let (digest, versions) = summary(&bytes, &rows);
        let count = rows.rows.len() as u64;
        assert_eq!(Some(count), theirs["records"].as_u64(), "{path}");
        for (version, count) in &versions {
            assert_eq!(theirs["versions"][version].as_u64(), Some(*count), "{path}");
        }
        for (row, which) in [(rows.rows.first(), "first"), (rows.rows.last(), "last")] {
            let row = row.expect("a record");
            assert_eq!(theirs[which][0].as_u64(), row.number("usn"), "{path}");
            // Theirs are rounded to microseconds, ours are exact.
            let time = row.times.first().map_or("", |(time, _)| &time[..24]);
            let theirs_at = theirs[which][1].as_str().expect("a time");
            assert!(theirs_at.starts_with(time), "{path}: {theirs_at}, {time}");
            assert_eq!(theirs[which][2].as_str(), Some(row.text("name")), "{path}");
        }
        assert_eq!(theirs["digest_usn_reason_name"], *digest, "{path}");
        compared += 1;
    }
    assert_eq!(compared, 9, "journals of the corpus");
}

/// A stream with a hole before its bytes.
struct Sparse {
    hole: u64,
    bytes: Vec<u8>,
}

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.hole + self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        if offset < self.hole {
            let count = (self.hole - offset).min(buf.len() as u64) as usize;
            buf[..count].fill(0);
            return Ok(count);
        }
        Bytes(&self.bytes[..]).read_at(offset - self.hole, buf)
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (std::ops::Range<u64>, RangeKind)> + '_> {
        let ranges = [
            (0..self.hole, RangeKind::Hole),
            (self.hole..self.len(), RangeKind::Data),
        ];
        Box::new(ranges.into_iter())
    }
}

#[test]
fn a_hole_of_exabytes_costs_nothing() {
    let mut journal = UsnJournal::new(1 << 60);
    let change = UsnChange {
        version: 2,
        file: MftRecord::reference(40, 1),
        parent: MftRecord::reference(5, 5),
        ticks: 1,
        reasons: 0x100,
        attributes: 0x20,
        name: "a.txt",
    };
    for _ in 0..100 {
        journal.push(&change);
    }
    let stream = Sparse {
        hole: 1 << 60,
        bytes: journal.bytes().to_vec(),
    };
    let rows = parse_input(ID, Input::alone(&stream));
    assert_eq!((rows.rows.len(), rows.losses.len()), (100, 0));
    for row in &rows.rows {
        assert_eq!(row.number("usn"), Some(row.provenance.primary.range.start));
    }
}

#[test]
fn records_across_the_ends_of_units_are_read_once() {
    // Names of every length, so that records lie across each end in another way.
    let mut journal = UsnJournal::new(0);
    let names: Vec<String> = (1..=255).map(|length| "n".repeat(length)).collect();
    let mut written = Vec::new();
    for name in names.iter().cycle() {
        if journal.bytes().len() > 3 << 20 {
            break;
        }
        written.push(journal.push_here(&UsnChange {
            version: 2,
            file: MftRecord::reference(40, 1),
            parent: MftRecord::reference(5, 5),
            ticks: 1,
            reasons: 1,
            attributes: 0x20,
            name,
        }));
    }
    let rows = parse(ID, journal.bytes(), None);
    assert!(rows.losses.is_empty(), "{:?}", rows.losses.first());
    let found: Vec<u64> = rows
        .rows
        .iter()
        .map(|row| row.provenance.primary.range.start)
        .collect();
    assert_eq!(found, written);
    let crossing = written
        .windows(2)
        .filter(|pair| pair[0] >> 20 != (pair[1] - 1) >> 20);
    assert!(crossing.count() >= 2, "the test tests something");
}
