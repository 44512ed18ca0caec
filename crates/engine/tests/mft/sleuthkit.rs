//! Lines of body files, against what `fls` of the Sleuth Kit printed.

use std::collections::{BTreeMap, BTreeSet};

use scelle_event::EvidencePath;
use scelle_evidence::{OpenOptions, open};
use scelle_formats::Bytes;
use scelle_testkit::{Corpus, image};

use crate::seen::{Line, Run, parse};

/// What `fls` prints for a FILETIME of 0: its arithmetic wraps, and is cut to 32 bits.
const ZERO_TIME_OF_FLS: i128 = 3_373_865_674;

/// The lines of our own body file, and which differences were met.
struct Comparison {
    ours: BTreeSet<Line>,
    explained: BTreeMap<&'static str, usize>,
    unexplained: Vec<Line>,
}

impl Comparison {
    fn new(run: &Run) -> Self {
        let lines = run
            .entries
            .iter()
            .flat_map(|seen| seen.body.iter().cloned());
        Self {
            ours: lines.collect(),
            explained: BTreeMap::new(),
            unexplained: Vec::new(),
        }
    }

    fn expect(&mut self, theirs: Line) {
        if self.ours.contains(&theirs) {
            return;
        }
        match self.explain(&theirs) {
            Some(class) => *self.explained.entry(class).or_default() += 1,
            None => self.unexplained.push(theirs),
        }
    }

    fn explain(&self, theirs: &Line) -> Option<&'static str> {
        let zero = [0; 4];
        if theirs.inode == "0" && theirs.size_bytes == 0 && theirs.times == zero {
            return Some("a name that only an index holds");
        }
        let times = theirs
            .times
            .map(|time| if time == ZERO_TIME_OF_FLS { 0 } else { time });
        let unwrapped = Line {
            times,
            ..theirs.clone()
        };
        if times != theirs.times && self.ours.contains(&unwrapped) {
            return Some("the time is zero");
        }
        None
    }
}

#[test]
fn body_lines_hold_those_of_fls() {
    let Some(corpus) = Corpus::find("body files of NTFS volumes") else {
        return;
    };
    let summary = corpus.expected_json("ntfs/summary.json");
    let mut explained: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let mut compared = 0;
    for entry in summary.as_array().expect("a list of images") {
        let path = entry["path"].as_str().expect("a path");
        let name = path.rsplit('/').next().expect("a name").to_owned();
        let expected = corpus.expected(&format!("ntfs/{name}.bodyfile.gz"));
        if name == "ntfs-2m.raw.gz" {
            // The Sleuth Kit does not open it.
            assert!(expected.is_empty());
            continue;
        }
        let unpacked = image(&corpus, entry);
        let evidence = open(unpacked.path(), &OpenOptions::default()).expect("an image");
        let offset = entry["volume_byte_offset"].as_u64().expect("an offset");
        let volume = evidence
            .volumes
            .iter()
            .find(|volume| volume.info().offset == offset)
            .expect("the volume");
        let stream = scelle_event::StreamId {
            volume: volume.info().id.clone(),
            path: EvidencePath::from_bytes(b"$MFT"),
            stream: None,
        };
        let run = parse(&*volume.open(&stream).expect("every volume has one"));
        let mut comparison = Comparison::new(&run);
        for line in expected.lines() {
            let line = body_line(line);
            if line.name != "/$OrphanFiles" {
                comparison.expect(line);
                compared += 1;
            }
        }
        assert!(
            comparison.unexplained.is_empty(),
            "{path}: {:#?}",
            comparison.unexplained
        );
        for (class, count) in comparison.explained {
            explained.insert((name.clone(), class), count);
        }
    }
    let explained: Vec<_> = explained
        .iter()
        .map(|((name, class), count)| (name.as_str(), *class, *count))
        .collect();
    assert_eq!(explained, EXPLAINED);
    assert!(compared > 1_000, "{compared}");
}

/// How often each difference is there; `tests/differences/bodyfile.md` says why.
const EXPLAINED: &[(&str, &str, usize)] = &[
    ("7-ntfs-undel.dd.zst", "the time is zero", 1),
    ("dfvfs-ntfs.raw.zst", "the time is zero", 1),
    ("ntfs_index.raw.gz", "a name that only an index holds", 2),
    ("testfs1.raw.zst", "the time is zero", 1),
];

/// `MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime`.
fn body_line(line: &str) -> Line {
    let mut columns: Vec<&str> = line.rsplitn(10, '|').collect();
    columns.reverse();
    let time = |at: usize| columns[at].parse().expect("seconds");
    Line {
        name: columns[0].strip_prefix("0|").expect("no hash").to_owned(),
        inode: columns[1].to_owned(),
        size_bytes: columns[5].parse().expect("a size"),
        times: [time(6), time(7), time(8), time(9)],
    }
}

#[test]
fn stand_alone_copies_are_as_fls_lists_their_volumes() {
    let Some(corpus) = Corpus::find("listings of three $MFTs") else {
        return;
    };
    for name in ["4k-large", "orphan", "unicode"] {
        let bytes = corpus.read(&format!("mft/dfir_ntfs/{name}.mft.zst"));
        let run = parse(&Bytes(bytes));
        let mut comparison = Comparison::new(&run);
        let listing = corpus.read(&format!("mft/dfir_ntfs/{name}.fls.zst"));
        let listing = String::from_utf8(listing).expect("text");
        let mut compared = 0;
        for line in listing.lines().filter(|line| !line.starts_with("V/V")) {
            comparison.expect(listed_line(line));
            compared += 1;
        }
        assert!(compared > 30, "{name}: {compared}");
        assert!(
            comparison.explained.is_empty(),
            "{name}: {:?}",
            comparison.explained
        );
        assert!(
            comparison.unexplained.is_empty(),
            "{name}: {:#?}",
            comparison.unexplained
        );
    }
}

/// `fls -l`: kinds, inode, path, then modified, accessed, changed, created, size, UID, GID.
fn listed_line(line: &str) -> Line {
    let (kind_and_inode, rest) = line.split_once(":\t").expect("an inode");
    let inode = kind_and_inode.split_once(' ').expect("kinds").1;
    let columns: Vec<&str> = rest.split('\t').collect();
    let [path, modified, accessed, changed, created, size, ..] = columns[..] else {
        panic!("{line}");
    };
    Line {
        name: format!("/{path}"),
        inode: inode.to_owned(),
        size_bytes: size.parse().expect("a size"),
        times: [accessed, modified, changed, created].map(local_time),
    }
}

/// `2019-01-20 19:53:01 (MSK)` as seconds since 1970.
pub(crate) fn local_time(text: &str) -> i128 {
    let (civil, zone) = text.split_once(" (").expect("a zone");
    let hours_east = match zone {
        "UTC)" => 0,
        "MSK)" => 3,
        "Pacific Daylight Time)" => -7,
        "AUS Eastern Standard Time)" => 10,
        _ => panic!("{zone}"),
    };
    let number = |range: std::ops::Range<usize>| civil[range].parse::<i64>().expect("digits");
    let day = scelle_event::CivilNanos::from_civil(
        number(0..4),
        number(5..7) as u8,
        number(8..10) as u8,
        (number(11..13) * 3600 + number(14..16) * 60 + number(17..19)) as u32,
        0,
    );
    day.nanos() / 1_000_000_000 - hours_east * 3600
}
