//! Single entries, against what Go's `ntfs` library printed of them.

use std::collections::BTreeMap;

use scelle_formats::{ReadAt, ReadError};
use scelle_testkit::Corpus;

use crate::{
    seen::{Seen, parse},
    sleuthkit::local_time,
};

const RECORD_BYTES: u64 = 1024;

/// Records at their places, and nothing between them.
pub(crate) struct Sparse {
    len: u64,
    records: BTreeMap<u64, Vec<u8>>,
}

impl Sparse {
    pub(crate) fn new(records: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Self {
        let records: BTreeMap<u64, Vec<u8>> = records.into_iter().collect();
        let last = records.keys().last().expect("some records");
        Self {
            len: (last + 1) * RECORD_BYTES,
            records,
        }
    }
}

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let count = (buf.len() as u64).min(self.len.saturating_sub(offset)) as usize;
        buf[..count].fill(0);
        let end = offset + count as u64;
        for (number, bytes) in self
            .records
            .range(offset / RECORD_BYTES..end.div_ceil(RECORD_BYTES))
        {
            let start = number * RECORD_BYTES;
            let from = offset.max(start);
            let to = end.min(start + RECORD_BYTES);
            buf[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
        }
        Ok(count)
    }
}

/// The size of `$J` in `usn_with_two_vcns`: as `istat.txt` has it, and as the record does.
const JOURNAL_LISTED_BYTES: u64 = 6_352_128_616;
const JOURNAL_STORED_BYTES: u64 = 6_352_113_880;

/// A folder, the entry that its `istat.txt` describes, and its records with their numbers.
type Case = (&'static str, u64, &'static [(&'static str, u64)]);

const CASES: &[Case] = &[
    (
        "highly_fragmented_mft",
        0,
        &[
            ("0xc0000000.bin", 0),
            ("0xc0003c00.bin", 15),
            ("0xc0004000.bin", 16),
            ("0xc0004400.bin", 17),
        ],
    ),
    (
        "large_file_small_init",
        46,
        &[("0xc0000000.bin", 0), ("0xc000b800.bin", 46)],
    ),
    (
        "usn_with_two_vcns",
        68_310,
        &[
            ("0xc0000000.bin", 0),
            ("0xc42b5800.bin", 68_310),
            ("0x9fbe87800.bin", 205_870),
            ("0x9fd70d400.bin", 230_981),
        ],
    ),
];

#[test]
fn entries_are_as_istat_shows_them() {
    let Some(corpus) = Corpus::find("single MFT entries") else {
        return;
    };
    for (name, number, records) in CASES {
        let folder = format!("mft/go-ntfs/tests/{name}");
        let records = records
            .iter()
            .map(|(file, entry)| (*entry, corpus.read(&format!("{folder}/{file}"))));
        let run = parse(&Sparse::new(records));
        let istat = corpus.read(&format!("{folder}/istat.txt"));
        let istat = String::from_utf8(istat).expect("text");
        compare(run.entry(*number), &istat);
        assert!(run.warnings.is_empty(), "{name}: {:?}", run.warnings);
    }
}

fn compare(seen: &Seen, istat: &str) {
    let line = |start: &str| {
        let line = istat.lines().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("no {start}")).trim()
    };
    let number = |column| seen.number(column).expect("always there").to_string();
    assert_eq!(number("lsn"), line("$LogFile Sequence Number:"));
    assert_eq!(number("link_count"), line("Links:"));
    let (_, sequence) = line("Entry:").split_once("Sequence: ").expect("a sequence");
    assert_eq!(number("sequence"), sequence);
    let security = line("Security ID:").split(' ').next().expect("a number");
    assert_eq!(number("security_id"), security);
    if istat.contains("Last User Journal") {
        assert_eq!(
            number("usn"),
            line("Last User Journal Update Sequence Number:")
        );
    }

    // The first four times are $STANDARD_INFORMATION's, then come four of each name.
    let times: Vec<(&str, i128)> = istat
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .filter(|(label, _)| {
            matches!(
                *label,
                "Created" | "File Modified" | "MFT Modified" | "Accessed"
            )
        })
        .map(|(label, time)| (label, local_time(&cut_fraction(time))))
        .collect();
    let ours: Vec<i128> = seen
        .times
        .iter()
        .map(|stamp| match stamp.moment {
            scelle_event::Moment::Utc(at) => at.seconds(),
            _ => panic!("times of NTFS are UTC"),
        })
        .collect();
    assert_eq!(
        times.iter().map(|(_, time)| *time).collect::<Vec<_>>(),
        ours
    );

    // Every $DATA and index, with ids that are unique in the entry.
    for line in istat.lines().filter(|line| line.starts_with("Type: $DATA")) {
        let (_, id) = line.split_once('(').expect("an id");
        let (id, rest) = id.split_once(')').expect("an id");
        let (_, name) = rest.split_once("Name: ").expect("a name");
        let stream = match name.split(' ').next() {
            Some("N/A") | None => String::new(),
            Some(name) => format!(":{name}"),
        };
        let (_, size) = rest.split_once("size: ").expect("a size");
        let size: u64 = size
            .split(' ')
            .next()
            .expect("a number")
            .parse()
            .expect("a size");
        let inode = format!("{}-{id}", seen.number("entry").expect("always there"));
        // The journal of a live volume grew between the copy of the record and the listing.
        let grown = (stream == ":$J").then_some((JOURNAL_LISTED_BYTES, JOURNAL_STORED_BYTES));
        let size = match grown {
            Some((listed, stored)) if listed == size => stored,
            _ => size,
        };
        let found = seen.body.iter().any(|line| {
            line.inode == inode && line.size_bytes == size && line.name.ends_with(&stream)
        });
        assert!(found, "{inode}{stream} {size}: {:#?}", seen.body);
    }
}

/// `2022-08-21 13:59:17.434687300 (…)` without the fraction.
fn cut_fraction(time: &str) -> String {
    let (seconds, rest) = time.split_once('.').expect("a fraction");
    let (_, zone) = rest.split_once(' ').expect("a zone");
    format!("{seconds} {zone}")
}
