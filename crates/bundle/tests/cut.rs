//! Wherever a bundle is cut: nothing that was logged is lost, and `verify` is
//! never wrong about it.

mod common;

use std::{
    io::Cursor,
    sync::atomic::{AtomicU64, Ordering},
};

use common::{
    Content, Item, item, noise, options,
    unpacked::{evidence, logged, members, near},
    write_with,
};
use rayon::prelude::*;
use scelle_bundle::{
    Bundle, BundleWriter, Compression, Cut, Options, Source, Verdict, Verification, VerifyOptions,
    is_cut_at_its_head, salvage, verify,
};
use scelle_event::EvidencePath;
use scelle_formats::{Bytes, ReadAt, ReadError};

/// Bytes between two cuts: all of them would take minutes, and these take seconds.
const STEP: usize = 97;

fn ask(archive: &[u8]) -> Verification {
    verify(&Bytes(archive), &VerifyOptions::default()).expect("no option is wrong")
}

/// Where a cut may matter: the bytes around each end of a member, and some in between.
fn places(archive: &[u8], from: usize) -> Vec<usize> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).expect("a Zip archive");
    let mut places: Vec<usize> = (from..archive.len()).step_by(STEP).collect();
    for index in 0..zip.len() {
        let at = zip.by_index(index).expect("a member").header_start() as usize;
        places.extend(at.saturating_sub(1)..at + 2);
    }
    places.extend(archive.len() - 2..archive.len());
    places.retain(|at| (from..archive.len()).contains(at));
    places.sort_unstable();
    places.dedup();
    places
}

#[test]
fn cut_anywhere_it_is_salvaged() {
    for compression in [Compression::Deflate, Compression::Store] {
        let mut options = near(options("cut"));
        options.compression = compression;
        let (_, archive) = write_with(options, &evidence());
        let whole = members(&archive);
        let logged = logged(&archive);
        assert!(logged.len() > 3, "{} checkpoints", logged.len());
        places(&archive, 0).into_par_iter().for_each(|at| {
            let cut = &archive[..at];
            let answer = ask(cut);
            let due = logged
                .iter()
                .rev()
                .find(|(end, _)| *end <= at as u64)
                .map_or(0, |(_, files)| *files);
            assert_eq!(
                answer.verdict,
                Verdict::Unfinished,
                "cut at {at}: {:?}",
                answer.problems
            );
            assert_eq!(answer.files, due, "vouched for, cut at {at}");
            let result = salvage(&Bytes(cut), Vec::new(), common::key(), "test", None);
            let Ok((salvaged, out)) = result else {
                assert_eq!(due, 0, "cut at {at}: {:?}", result.err());
                return;
            };
            assert_eq!(salvaged.vouched_files, due, "cut at {at}");
            let answer = ask(&out);
            assert_eq!(
                answer.verdict,
                Verdict::Unfinished,
                "cut at {at}: {:?}",
                answer.problems
            );
            let saved = members(&out);
            let payload = |name: &&String| name.starts_with("data/");
            for name in saved.keys().filter(payload) {
                assert_eq!(saved[name], whole[name], "{name}, cut at {at}");
            }
            let count = saved.keys().filter(payload).count() as u64;
            assert_eq!(count, due + salvaged.unvouched_files);
            for (name, text) in whole.iter().take_while(|_| salvaged.is_complete) {
                if name.starts_with("manifest-") {
                    assert_eq!(&saved[name], text, "{name}, cut at {at}");
                }
            }
            let ledger = String::from_utf8_lossy(&saved["records/coverage.jsonl"]).into_owned();
            assert_eq!(
                ledger.contains("\"cut-off\""),
                !salvaged.is_complete,
                "cut at {at}"
            );
            Bundle::open(std::sync::Arc::new(Bytes(out))).expect("it can be read");
        });
    }
}

/// What a power cut leaves of an archive: its length, and zeros where it was not on the device yet.
#[test]
fn with_zeros_behind_the_cut_it_is_unfinished_too() {
    let (_, archive) = write_with(near(options("cut")), &evidence());
    let logged = logged(&archive);
    places(&archive, 0).into_par_iter().for_each(|at| {
        for length in [archive.len(), (at + 17).min(archive.len())] {
            if length - at < 16 {
                // A bit that was turned may leave as many.
                continue;
            }
            let mut zeroed = archive[..length].to_vec();
            zeroed[at..].fill(0);
            let answer = ask(&zeroed);
            assert_eq!(
                answer.verdict,
                Verdict::Unfinished,
                "zeros from {at} to {length}: {:?}",
                answer.problems
            );
            let due = logged.iter().rev().find(|(end, _)| *end <= at as u64);
            assert!(answer.files >= due.map_or(0, |(_, files)| *files));
        }
    });
    // Behind its end nothing stands, and nothing else where its end was to be.
    let mut longer = archive.clone();
    longer.extend([0; 100]);
    assert_eq!(ask(&longer).verdict, Verdict::Broken);
    let mut other = archive[..archive.len() - 30].to_vec();
    *other.last_mut().expect("bytes") ^= 1;
    assert_eq!(ask(&other).verdict, Verdict::Broken);
}

#[test]
fn what_is_no_bundle_is_no_cut_one() {
    let (_, archive) = write_with(near(options("cut")), &evidence());
    for at in [0, 5, 31, 40] {
        let mut other = archive[..300].to_vec();
        other[at] ^= 1;
        assert!(!is_cut_at_its_head(&Bytes(other)).expect("memory"), "{at}");
    }
    // A flipped bit of a length is no cut.
    let mut long = archive[..300].to_vec();
    long.resize(20 << 20, 1);
    long[21] ^= 0x80;
    assert!(!is_cut_at_its_head(&Bytes(long)).expect("memory"));
    let whole = (0..archive.len()).find(|at| Cut::survey(&Bytes(&archive[..*at])).is_ok());
    for at in 0..whole.expect("its head is whole at some place") {
        let cut = Bytes(&archive[..at]);
        assert!(is_cut_at_its_head(&cut).expect("memory"), "{at}");
    }
    for other in [&b"something else"[..], b"PK\x03\x04", b"\x01"] {
        assert_eq!(
            is_cut_at_its_head(&Bytes(other)).expect("memory"),
            other.starts_with(b"PK")
        );
    }
}

/// What a resumed collection adds: all streams that the ledger doesn't know yet.
fn resume(cut: &[u8], items: &[Item], options: Options) -> Vec<u8> {
    let source = Bytes(cut);
    let survey = Cut::survey(&source).expect("its head is there");
    let mut done = Vec::new();
    survey
        .visit_coverage(|_, path| done.push(path.map(str::to_owned)))
        .expect("its checkpoints are sound");
    let mut out = cut[..survey.kept_bytes() as usize].to_vec();
    let mut writer =
        BundleWriter::resume(&survey, std::mem::take(&mut out), options).expect("memory");
    let (before, rest) = items.split_at(done.len());
    for item in before {
        writer.pass_over(&Source::stream(&item));
    }
    writer
        .add_all(rest.len(), |index| &rest[index], |_| {})
        .expect("memory takes all");
    writer.finish().expect("memory takes all").1
}

#[test]
fn cut_anywhere_it_goes_on_to_the_same_manifests() {
    let items = evidence();
    let (_, archive) = write_with(near(options("cut")), &items);
    let whole = members(&archive);
    let begin = (0..archive.len())
        .find(|at| Cut::survey(&Bytes(&archive[..*at])).is_ok())
        .expect("its head is whole at some place");
    places(&archive, begin).into_par_iter().for_each(|at| {
        let out = resume(&archive[..at], &items, near(options("cut")));
        let answer = ask(&out);
        assert_eq!(
            answer.verdict,
            Verdict::SignerUnknown,
            "cut at {at}: {:?}",
            answer.problems
        );
        let again = members(&out);
        for name in [
            "manifest-sha256.txt",
            "manifest-blake3.txt",
            "records/files.jsonl",
            "records/warnings.jsonl",
            "records/coverage.jsonl",
        ] {
            assert_eq!(again[name], whole[name], "{name}, cut at {at}");
        }
        assert!(again.contains_key("records/signer-2.cert.asc"));
    });
}

#[test]
fn a_collection_may_be_cut_many_times() {
    let items = evidence();
    let (_, archive) = write_with(near(options("cut")), &items);
    let whole = members(&archive);
    let mut bytes = archive[..archive.len() / 4].to_vec();
    for quarter in 2..5 {
        bytes = resume(&bytes, &items, near(options("cut")));
        if quarter < 4 {
            bytes.truncate(bytes.len() * quarter / 4);
            let (salvaged, out) =
                salvage(&Bytes(&bytes[..]), Vec::new(), common::key(), "test", None)
                    .expect("a bundle");
            assert!(salvaged.vouched_files > 0);
            let answer = ask(&out);
            assert_eq!(answer.verdict, Verdict::Unfinished, "{:?}", answer.problems);
            let refused = salvage(&Bytes(&out[..]), Vec::new(), common::key(), "test", None);
            assert!(refused.is_err(), "a salvage is not salvaged again");
        }
    }
    let answer = ask(&bytes);
    assert_eq!(
        answer.verdict,
        Verdict::SignerUnknown,
        "{:?}",
        answer.problems
    );
    let again = members(&bytes);
    assert_eq!(again["manifest-blake3.txt"], whole["manifest-blake3.txt"]);
    assert!(again.contains_key("records/signer-4.cert.asc"));
}

/// Evidence that holds what looks like the end of its own member and a checkpoint behind it.
#[test]
fn evidence_that_imitates_a_bundle_misleads_nobody() {
    let (_, other) = write_with(near(options("cut")), &evidence());
    let mut fake = noise(3, 9 << 20);
    let mut crc = crc32(&fake).to_le_bytes().to_vec();
    let size = (fake.len() as u32).to_le_bytes();
    fake.extend_from_slice(b"PK\x07\x08");
    fake.append(&mut crc);
    fake.extend_from_slice(&size);
    fake.extend_from_slice(&size);
    fake.extend_from_slice(&other);
    let items = [
        item(b"a", noise(1, 2_000)),
        item(b"fake", fake.clone()),
        item(b"z", noise(2, 2_000)),
        item(b"zz", noise(2, 2_000)),
    ];
    for compression in [Compression::Store, Compression::Zstd, Compression::Deflate] {
        let mut options = near(options("cut"));
        options.compression = compression;
        let (_, archive) = write_with(options, &items);
        let logged = logged(&archive);
        for back in [1, 700, 2_500] {
            let cut = &archive[..archive.len() - back];
            let due = logged
                .iter()
                .rev()
                .find(|(end, _)| *end <= cut.len() as u64);
            let (salvaged, out) =
                salvage(&Bytes(cut), Vec::new(), common::key(), "test", None).expect("a bundle");
            assert_eq!(Some(salvaged.vouched_files), due.map(|(_, files)| *files));
            assert!(members(&out)["data/ntfs-0123456789abcdef/fake"] == fake);
        }
        // Cut behind the large member, before any checkpoint vouches for it.
        let (end, _) = logged[1];
        let at = end as usize - 3_500;
        let (salvaged, out) = salvage(
            &Bytes(&archive[..at]),
            Vec::new(),
            common::key(),
            "test",
            None,
        )
        .expect("a bundle");
        assert_eq!(ask(&out).verdict, Verdict::Unfinished);
        assert!(salvaged.vouched_files <= 2);
    }
}

/// Bytes that count how many of them are read.
struct Counted {
    bytes: Vec<u8>,
    read: AtomicU64,
}

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let count = Bytes(&self.bytes).read_at(offset, buf)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Texts that begin as the next checkpoint must, and lead, all of them, to what stands for GiBs.
#[test]
fn many_false_checkpoints_cost_little() {
    const FALSE: usize = 100;
    let (_, archive) = write_with(near(options("cut")), &evidence());
    let begin = (0..archive.len())
        .find(|at| Cut::survey(&Bytes(&archive[..*at])).is_ok())
        .expect("its head is whole at some place");
    let mut bytes = archive[..begin].to_vec();
    let name = b"cut/records/checkpoints/000001.json";
    let (header_bytes, line_bytes) = (30 + name.len() + 5, 200);
    let all = begin + FALSE * (header_bytes + line_bytes);
    for _ in 0..FALSE {
        let at = bytes.len();
        let blake3 = blake3::hash(&bytes).to_hex();
        let line = format!(
            "{{\"checkpoint\":1,\"previous\":null,\"length\":{at},\"blake3\":\"{blake3}\",\"last\":false,\n"
        );
        bytes.extend_from_slice(b"PK\x03\x04\x14\0\x08\x08\x08\0\0\0\x21\0");
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(name);
        // A block that is stored, up to where all of them go on together.
        let stored = (all - bytes.len() - 5) as u16;
        bytes.push(0);
        bytes.extend_from_slice(&stored.to_le_bytes());
        bytes.extend_from_slice(&(!stored).to_le_bytes());
        bytes.extend_from_slice(line.as_bytes());
        bytes.resize(at + header_bytes + line_bytes, b' ');
    }
    let mut deflater = flate2::Compress::new(flate2::Compression::best(), false);
    let mut unit = Vec::with_capacity(1 << 20);
    deflater
        .compress_vec(&vec![0; 8 << 20], &mut unit, flate2::FlushCompress::Full)
        .expect("room");
    for _ in 0..500 {
        bytes.extend_from_slice(&unit);
    }
    let length = bytes.len() as u64;
    let source = Counted {
        bytes,
        read: AtomicU64::new(0),
    };
    let cut = Cut::survey(&source).expect("its head is there");
    assert_eq!(cut.checkpoint(), None);
    let read = source.read.load(Ordering::Relaxed);
    assert!(read < 10 * length, "{read} bytes of {length} were read");
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// A file with more names than a segment has room for.
fn many_names(path: &[u8]) -> Item {
    let mut item = item(path, noise(1, 5_000));
    let name = item.entry.names[0].clone();
    item.entry.names = (0..60_000)
        .map(|number| {
            let mut name = name.clone();
            name.path = EvidencePath::from_bytes(format!("other/name-{number}").as_bytes());
            name
        })
        .collect();
    item
}

#[test]
fn a_checkpoint_of_any_length_is_read_back() {
    let items = [
        many_names(b"a"),
        item(b"b", noise(2, 3_000)),
        many_names(b"c"),
        item(b"d", noise(3, 3_000)),
    ];
    let (sealed, archive) = write_with(options("long"), &items);
    let texts: Vec<usize> = members(&archive)
        .into_iter()
        .filter(|(name, _)| name.starts_with("records/checkpoints/") && name.ends_with(".json"))
        .map(|(_, text)| text.len())
        .collect();
    let longest = texts.iter().max().expect("checkpoints");
    assert!(*longest > 8 << 20, "it is one segment: {texts:?}");
    let answer = ask(&archive);
    assert_eq!(
        answer.verdict,
        Verdict::SignerUnknown,
        "{:?}",
        answer.problems
    );
    let bundle = Bundle::open(std::sync::Arc::new(Bytes(archive.clone()))).expect("a bundle");
    assert_eq!(bundle.files().count(), items.len());

    // Behind the first of them, so that what follows has to do without what it would have listed.
    let (end, files) = logged(&archive)[0];
    let cut = &archive[..end as usize + 100];
    let answer = ask(cut);
    assert_eq!((answer.verdict, answer.files), (Verdict::Unfinished, files));
    let (salvaged, out) =
        salvage(&Bytes(cut), Vec::new(), common::key(), "test", None).expect("logged");
    assert_eq!(salvaged.vouched_files, files);
    let answer = ask(&out);
    assert_eq!(answer.verdict, Verdict::Unfinished, "{:?}", answer.problems);
    let source = Bytes(cut);
    let survey = Cut::survey(&source).expect("logged");
    let kept = survey.kept_bytes() as usize;
    let mut writer =
        BundleWriter::resume(&survey, Vec::new(), options("long")).expect("it goes on");
    let rest = &items[files as usize..];
    writer
        .add_all(rest.len(), |index| &rest[index], |_| {})
        .expect("room");
    let (again, out) = writer.finish().expect("room");
    let whole = [&cut[..kept], &out[..]].concat();
    let answer = ask(&whole);
    assert_eq!(
        answer.verdict,
        Verdict::SignerUnknown,
        "{:?}",
        answer.problems
    );
    assert_eq!(again.payload, sealed.payload);
}

/// What can't be read is told in few lines, and all of it.
#[test]
fn a_riddled_stream_fills_no_checkpoint() {
    let path = "far away/".repeat(3_000);
    let mut riddled = item(path.as_bytes(), vec![]);
    riddled.content = Content::Riddled(4 << 20);
    let mut vast = item(b"vast", vec![]);
    vast.content = Content::Zeros(17 << 40);
    let (_, archive) = write_with(options("riddled"), &[riddled, vast]);
    let answer = ask(&archive);
    assert_eq!(
        answer.verdict,
        Verdict::SignerUnknown,
        "{:?}",
        answer.problems
    );
    let members = members(&archive);
    let lines = |name: &str| -> Vec<serde_json::Value> {
        let lines = members[name]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect()
    };
    let warnings = &members["records/warnings.jsonl"];
    assert!(warnings.len() < 5 << 20, "{} bytes", warnings.len());
    let warnings = lines("records/warnings.jsonl");
    assert!(warnings.len() > 100);
    let files = lines("records/files.jsonl");
    assert_eq!(files.len(), 1);
    let unread = files[0]["unread"].as_array().expect("ranges");
    assert_eq!(unread.len(), 512);
    for range in unread {
        let (at, length) = (
            range[0].as_u64().expect("a number"),
            range[1].as_u64().expect("a number"),
        );
        let is_told = warnings.iter().any(|warning| {
            let told = |key: &str| warning[key].as_u64();
            told("offset").is_some_and(|from| {
                from <= at && at + length <= from + told("length").expect("a number")
            })
        });
        assert!(is_told, "{at}");
    }
    let coverage = lines("records/coverage.jsonl");
    assert_eq!(coverage[0]["outcome"], "partial");
    assert_eq!(coverage[1]["outcome"], "over-cap");
}
