//! Tables made by hand: spread over pieces, mutated, cut.

use std::ops::Range;

use scelle_event::Role;
use scelle_formats::{Bytes, RangeKind, ReadAt, ReadError};
use scelle_testkit::MftRecord;

use crate::{
    istat::Sparse,
    seen::{Run, parse},
};

const RECORD_BYTES: usize = 1024;
const ROOT: u64 = MftRecord::reference(5, 5);
const TIMES: [u64; 4] = [133_536_836_967_890_123; 4];

fn units(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

fn named(entry: u32, sequence: u16, parent: u64, name: &str) -> MftRecord {
    MftRecord::new(entry, sequence)
        .standard(TIMES, 0x20)
        .name(parent, 1, &units(name), TIMES)
}

fn table(records: impl IntoIterator<Item = (u64, MftRecord)>) -> Run {
    let records = records
        .into_iter()
        .map(|(entry, record)| (entry, record.build(RECORD_BYTES)));
    parse(&Sparse::new(records))
}

#[test]
fn an_entry_is_whole_wherever_its_records_lie() {
    // A piece has 1024 records: base and extensions lie in three of them.
    let base = MftRecord::new(2000, 3)
        .standard(TIMES, 0x20)
        .name(ROOT, 2, &units("SHORT~1"), TIMES)
        .resident(0x80, "", b"here");
    let of_base = MftRecord::reference(2000, 3);
    let before = MftRecord::new(9, 1)
        .extension_of(of_base)
        .resident(0x80, "stream", b"there");
    let after =
        MftRecord::new(5000, 1)
            .extension_of(of_base)
            .name(ROOT, 1, &units("a long name"), TIMES);
    let stale = MftRecord::new(5001, 1)
        .extension_of(of_base)
        .name(ROOT, 1, &units("from an earlier time"), TIMES)
        .deleted();
    let below = named(5002, 1, MftRecord::reference(2000, 3), "no directory above");
    let run = table([
        (9, before),
        (2000, base),
        (5000, after),
        (5001, stale),
        (5002, below),
    ]);
    let entry = run.entry(2000);
    assert_eq!(entry.text("path"), Some("/a long name"));
    assert_eq!(entry.fields["names"].as_array().expect("a list").len(), 2);
    assert_eq!(entry.fields["streams"][0]["name"], "stream");
    let also: Vec<_> = entry
        .provenance
        .also
        .iter()
        .map(|(role, span)| (*role, span.range.start, span.record))
        .collect();
    let expected = [9u32, 5000].map(|number| {
        let at = u64::from(number) * RECORD_BYTES as u64;
        (Role::Extension, at, Some(MftRecord::reference(number, 1)))
    });
    assert_eq!(also, expected);
    assert_eq!(run.entry(5001).number("base_entry"), Some(2000));
    assert!(run.entry(5002).is("is_orphan"));
    assert_eq!(run.entries.len(), 3);
    assert!(run.warnings.is_empty(), "{:?}", run.warnings);
}

#[test]
fn an_attribute_list_that_names_a_stranger_is_a_loss() {
    let mut list = vec![0; 0x20];
    list[0] = 0x80;
    list[4] = 0x20;
    list[0x10..0x18].copy_from_slice(&MftRecord::reference(7, 1).to_le_bytes());
    let base = MftRecord::new(6, 1)
        .standard(TIMES, 0)
        .resident(0x20, "", &list)
        .name(ROOT, 3, &units("listed"), TIMES);
    let run = table([(6, base), (7, named(7, 1, ROOT, "a file of its own"))]);
    assert_eq!(run.entries.len(), 2);
    let [warning] = &run.warnings[..] else {
        panic!("{:?}", run.warnings);
    };
    assert!(warning.cause.contains("record 7"), "{}", warning.cause);
}

#[test]
fn one_entry_takes_no_more_records_than_a_list_can_name() {
    let of_base = MftRecord::reference(6, 1);
    let extensions = (16..10_016u32).map(|number| {
        let record = MftRecord::new(number, 1).extension_of(of_base).resident(
            0x80,
            &format!("s{number}"),
            b"",
        );
        (u64::from(number), record)
    });
    let run = table(
        [(6, named(6, 1, ROOT, "greedy"))]
            .into_iter()
            .chain(extensions),
    );
    assert_eq!(run.joined(), 8192);
    assert_eq!(run.entries.len(), 1 + 10_000 - 8192);
}

/// Everything that makes a parser stumble, in a few records.
fn sample() -> Vec<u8> {
    let directory = MftRecord::reference(6, 1);
    let records = [
        named(0, 1, ROOT, "$MFT").non_resident(0x80, "", 0, 1 << 20),
        named(1, 1, directory, "streams.txt")
            .resident(0x80, "", &[1; 300])
            .resident(0x80, "Zone.Identifier", b"[ZoneTransfer]"),
        MftRecord::new(2, 1)
            .extension_of(MftRecord::reference(1, 1))
            .name(directory, 2, &units("STREAM~1.TXT"), TIMES),
        named(3, 2, MftRecord::reference(3, 2), "itself").directory(),
        named(4, 2, MftRecord::reference(6, 0), "gone").deleted(),
        named(5, 5, ROOT, ".").directory(),
        named(6, 1, ROOT, "folder").directory(),
        named(7, 1, directory, "link").resident(
            0xC0,
            "",
            &[
                0x0C, 0, 0, 0xA0, 8, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 0, 65, 0, 66, 0,
            ],
        ),
    ];
    let bytes = records.iter().flat_map(|record| record.build(RECORD_BYTES));
    bytes.collect()
}

/// Everything that was found lies in the stream.
fn check(run: &Run, len: u64) {
    let spans = run.entries.iter().map(|seen| &seen.provenance);
    for provenance in spans.chain(run.warnings.iter().map(|warning| &warning.provenance)) {
        let also = provenance.also.iter().map(|(_, span)| span);
        for span in std::iter::once(&provenance.primary).chain(also) {
            assert!(span.range.start <= span.range.end && span.range.end <= len);
        }
    }
    for seen in &run.entries {
        assert!(seen.text("path").is_some_and(|path| path.starts_with('/')));
    }
    assert!(!run.entries.is_empty() || !run.warnings.is_empty());
}

#[test]
fn cut_at_every_length() {
    let bytes = sample();
    for length in (0..bytes.len())
        .step_by(7)
        .chain(bytes.len() - 40..bytes.len())
    {
        let run = parse(&Bytes(&bytes[..length]));
        check(&run, length as u64);
        let whole = length / RECORD_BYTES;
        assert!(
            run.entries.len() + run.joined() >= whole.saturating_sub(1),
            "{length}"
        );
    }
}

#[test]
fn changed_anywhere() {
    let sound = sample();
    let all = parse(&Bytes(&sound));
    assert_eq!((all.entries.len(), all.warnings.len()), (7, 0));
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..4_000 {
        let mut bytes = sound.clone();
        for _ in 0..=random(4) {
            // Mostly in headers, where lengths and offsets lie.
            let record = random(bytes.len() / RECORD_BYTES) * RECORD_BYTES;
            let part = [0x60, 0x200, RECORD_BYTES][random(3)];
            let at = record + random(part);
            let any = random(256) as u8;
            let value = [0, 1, 0x7F, 0xFF, any][random(5)];
            let run = random(8) + 1;
            for byte in bytes.iter_mut().skip(at).take(run) {
                *byte = value;
            }
        }
        let stream = Bytes(bytes);
        check(&parse(&stream), stream.len());
    }
}

/// Some bytes, and behind them a hole up to an exbibyte.
struct Vast(Vec<u8>);

impl ReadAt for Vast {
    fn len(&self) -> u64 {
        1 << 60
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let have = Bytes(&self.0).read_at(offset, buf)?;
        buf[have..].fill(0);
        Ok(buf.len())
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        let stored = self.0.len() as u64;
        let pieces = [
            (0..stored, RangeKind::Data),
            (stored..self.len(), RangeKind::Hole),
        ];
        Box::new(pieces.into_iter())
    }
}

#[test]
fn a_table_that_claims_an_exbibyte_ends() {
    let root = MftRecord::new(5, 5)
        .standard(TIMES, 0x20)
        .name(ROOT, 3, &units("."), TIMES)
        .directory();
    let mut bytes = named(0, 1, ROOT, "$MFT").build(RECORD_BYTES);
    bytes.resize(5 * RECORD_BYTES, 0);
    bytes.extend(root.build(RECORD_BYTES));
    bytes.extend(named(6, 1, ROOT, "kept").build(RECORD_BYTES));
    let run = parse(&Vast(bytes));
    assert_eq!(run.entry(6).text("path"), Some("/kept"));
    let causes: Vec<&str> = run.warnings.iter().map(|one| one.cause.as_str()).collect();
    assert!(
        causes
            .iter()
            .any(|cause| cause.contains("claims to be longer")),
        "{causes:?}"
    );
}
