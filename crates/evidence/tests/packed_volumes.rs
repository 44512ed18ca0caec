//! Compressed and encrypted streams, and what entries have besides, on volumes made here.

#![expect(clippy::disallowed_methods, reason = "threads read at once")]

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use scelle_event::EvidencePath;
use scelle_evidence::{EFS_STREAM, Entry, Evidence, EvidenceLoss, StreamState, open_source};
use scelle_formats::{Bytes, RangeKind, ReadAt, ReadAtExt as _, ReadError};
use scelle_testkit::{MftRecord, NtfsImage, Part};

const DATA: u32 = 0x80;
const TIMES: [u64; 4] = [130_000_000_000_000_000, 2, 3, 0];
const CLUSTER: usize = 1024;
const UNIT: usize = 16 * CLUSTER;
const RECORDS: u32 = 40;
/// The first cluster behind `$MFT`.
const FREE: u32 = 50;

fn file(entry: u32, name: &str) -> MftRecord {
    let name: Vec<u16> = name.encode_utf16().collect();
    MftRecord::new(entry, 1)
        .standard(TIMES, 0x20)
        .name(MftRecord::reference(5, 5), 3, &name, TIMES)
}

fn volume() -> NtfsImage {
    let bytes = u64::from(RECORDS) * 1024;
    let mft = file(0, "$MFT").part(
        DATA,
        "",
        &Part {
            real_bytes: bytes,
            valid_bytes: bytes,
            runs: &[(Some(4), RECORDS)],
            ..Part::default()
        },
    );
    let root = MftRecord::new(5, 5).directory().standard(TIMES, 6).name(
        MftRecord::reference(5, 5),
        3,
        &[b'.'.into()],
        TIMES,
    );
    NtfsImage::new(CLUSTER, 1024, 200, 4, 1)
        .record_at(1, 0, &mft)
        .record(0, &mft)
        .record(5, &root)
}

struct Seen {
    evidence: Evidence,
    entries: BTreeMap<u64, Entry>,
    losses: Vec<EvidenceLoss>,
}

fn see(image: NtfsImage) -> Seen {
    let evidence = open_source("made".into(), Arc::new(Bytes(image.into_bytes())));
    let (mut entries, mut losses) = (BTreeMap::new(), Vec::new());
    evidence.volumes[0].walk(&mut |found| {
        match found {
            Ok(entry) => {
                entries.insert(entry.id.map_or(0, |id| id.entry), entry);
            }
            Err(loss) => losses.push(loss),
        }
        ControlFlow::Continue(())
    });
    Seen {
        evidence,
        entries,
        losses,
    }
}

impl Seen {
    fn open(&self, entry: u64, stream: Option<&str>) -> Result<Box<dyn ReadAt>, ReadError> {
        let stream = stream.map(|name| EvidencePath::from_bytes(name.as_bytes()));
        self.evidence.volumes[0].open_entry(&self.entries[&entry], stream.as_ref())
    }
}

/// A chunk of one byte, 4096 times.
fn run_of(byte: u8) -> [u8; 6] {
    [0x03, 0xB0, 0x02, byte, 0xFC, 0x0F]
}

/// Reads everywhere, in steps of many sizes; what can't be read has to be `lost`, all else `plain`.
fn check(stream: &dyn ReadAt, plain: &[u8], lost: &[std::ops::Range<usize>]) {
    assert_eq!(stream.len(), plain.len() as u64);
    let is_lost = |at: usize| lost.iter().any(|range| range.contains(&at));
    for step in [1, 100, 1024, 4096, UNIT, 3 * UNIT + 5, plain.len() + 9] {
        let mut at = 0;
        let mut buffer = vec![1; step];
        while at < plain.len() {
            match stream.read_at(at as u64, &mut buffer) {
                Ok(count) => {
                    assert!(count > 0 && count <= step);
                    assert!(buffer[..count] == plain[at..at + count], "{at} + {step}");
                    assert!((at..at + count).all(|at| !is_lost(at)), "{at} + {step}");
                    at += count;
                }
                Err(error) => {
                    assert!(is_lost(at), "{at} + {step}: {error}");
                    at += 1 + (step - 1) % 64;
                    while step > 64 && is_lost(at) {
                        at += 1;
                    }
                }
            }
        }
        assert_eq!(stream.read_at(at as u64, &mut buffer).expect("the end"), 0);
    }
    // Many threads read at once.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for at in (thread * 777..plain.len()).step_by(3001) {
                    let mut byte = [0];
                    match stream.read_at(at as u64, &mut byte) {
                        Ok(_) => assert_eq!(byte[0], plain[at]),
                        Err(_) => assert!(is_lost(at)),
                    }
                }
            });
        }
    });
}

#[test]
fn lznt1_units_of_every_kind() {
    let mut chunks = [b'a', b'b', b'c', b'd'].map(run_of).concat();
    let stands: Vec<u8> = (0..UNIT).map(|at| (at / 3) as u8).collect();
    let mut torn = [b'e', b'f', b'g', b'h'].map(run_of).concat();
    torn[6 + 5] = 0xFF;
    chunks.extend([0, 0, 9, 9]);
    let real = 4 * UNIT + 10_000;
    let valid = 4 * UNIT + 5000;
    let runs = [
        (Some(FREE), 1),
        (None, 15 + 16),
        (Some(FREE + 10), 10),
        (Some(FREE + 30), 6),
        (Some(FREE + 1), 1),
        (None, 15),
        (Some(FREE + 2), 2),
    ];
    let packed = Part {
        flags: 1,
        exponent: 4,
        real_bytes: real as u64,
        valid_bytes: valid as u64,
        runs: &runs,
        ..Part::default()
    };
    let image = volume()
        .put(FREE.into(), &chunks)
        .put((FREE + 10).into(), &stands[..10 * CLUSTER])
        .put((FREE + 30).into(), &stands[10 * CLUSTER..])
        .put((FREE + 1).into(), &torn)
        .put((FREE + 2).into(), &[b'i', b'j'].map(run_of).concat())
        .record(30, &file(30, "packed").part(DATA, "", &packed))
        .record(
            31,
            &file(31, "bomb").part(
                DATA,
                "",
                &Part {
                    exponent: 60,
                    ..packed
                },
            ),
        )
        .record(
            32,
            &file(32, "away").part(
                DATA,
                "",
                &Part {
                    runs: &[(Some(9999), 1), (None, 15), (Some(FREE), 1)],
                    real_bytes: 2 * UNIT as u64,
                    valid_bytes: 2 * UNIT as u64,
                    ..packed
                },
            ),
        );
    let seen = see(image);
    assert!(seen.losses.is_empty(), "{:?}", seen.losses);
    let info = &seen.entries[&30].streams[0];
    assert_eq!(info.state, StreamState::Plain);
    assert_eq!(info.size_bytes, real as u64);
    assert!(info.sparse, "one unit is a hole");
    assert!(info.allocated_bytes >= 3 * UNIT as u64 && info.allocated_bytes < real as u64);

    let mut plain: Vec<u8> = Vec::new();
    let repeat = |bytes: &[u8]| {
        bytes
            .iter()
            .flat_map(|byte| [*byte; 4096])
            .collect::<Vec<u8>>()
    };
    plain.extend(repeat(b"abcd"));
    plain.extend(vec![0; UNIT]);
    plain.extend(&stands);
    plain.extend(repeat(b"e\0gh"));
    plain.extend(&repeat(b"ij")[..5000]);
    plain.resize(real, 0);
    let stream = seen.open(30, None).expect("a stream");
    let lost = 3 * UNIT + 4096..3 * UNIT + 8192;
    check(&*stream, &plain, std::slice::from_ref(&lost));
    let unit = UNIT as u64;
    let kinds: Vec<_> = stream.ranges().collect();
    assert_eq!(
        kinds,
        [
            (0..unit, RangeKind::Data),
            (unit..2 * unit, RangeKind::Hole),
            (2 * unit..valid as u64, RangeKind::Data),
            (valid as u64..real as u64, RangeKind::PastValid),
        ]
    );
    let bomb = seen.open(31, None).map(|stream| stream.len());
    assert!(matches!(bomb, Err(ReadError::Damaged { .. })), "{bomb:?}");
    let away = seen.open(32, None).expect("a stream");
    let kinds: Vec<_> = away.ranges().collect();
    assert_eq!(
        kinds,
        [
            (0..unit, RangeKind::Unreadable),
            (unit..2 * unit, RangeKind::Data)
        ]
    );
    let mut byte = [0];
    assert!(away.read_at(4096, &mut byte).is_err());
    assert_eq!(away.read_at(unit, &mut byte).expect("sound"), 1);
    assert_eq!(byte, [b'a']);
}

/// An XPRESS chunk of one byte, 4096 times.
fn xpress_run(byte: u8) -> Vec<u8> {
    let mut packed = vec![0; 256];
    packed[usize::from(byte) / 2] = if byte.is_multiple_of(2) { 0x01 } else { 0x10 };
    packed[(256 + 15) / 2] = 0x10;
    packed.extend([0, 0x40, 0, 0, 255, 0xFC, 0x0F]);
    packed
}

fn wof_point(algorithm: u32) -> Vec<u8> {
    let words = [0x8000_0017, 16, 1, 2, 1, algorithm, 0].map(u32::to_le_bytes);
    words.as_flattened().to_vec()
}

#[test]
fn wof_files() {
    let stands: Vec<u8> = (0..4096).map(|at| (at / 5) as u8).collect();
    let parts = [
        xpress_run(b'x'),
        stands.clone(),
        xpress_run(b'y'),
        b"the end".to_vec(),
    ];
    let mut stream = Vec::new();
    let mut end = 0u32;
    for part in &parts[..3] {
        end += part.len() as u32;
        stream.extend(end.to_le_bytes());
    }
    stream.extend(parts.concat());
    let mut torn = stream.clone();
    // A code of the third chunk, and the end of the second.
    torn[12 + 263 + 4096 + usize::from(b'y') / 2] = 0;
    let real = (3 * 4096 + 7) as u64;
    let hole = Part {
        flags: 0x8000,
        real_bytes: real,
        runs: &[(None, 13)],
        ..Part::default()
    };
    let runs = [(Some(FREE), 3), (Some(FREE + 8), 2)];
    let torn_runs = [(Some(FREE + 20), 3), (Some(FREE + 28), 2)];
    let kept = |runs| Part {
        real_bytes: stream.len() as u64,
        valid_bytes: stream.len() as u64,
        runs,
        ..Part::default()
    };
    let wof = |entry, name, data: &Part<'_>, algorithm| {
        file(entry, name)
            .part(DATA, "", &hole)
            .part(DATA, "WofCompressedData", data)
            .resident(0xC0, "", &wof_point(algorithm))
    };
    let image = volume()
        .put(FREE.into(), &stream[..3 * CLUSTER])
        .put((FREE + 8).into(), &stream[3 * CLUSTER..])
        .put((FREE + 20).into(), &torn[..3 * CLUSTER])
        .put((FREE + 28).into(), &torn[3 * CLUSTER..])
        .record(30, &wof(30, "sound", &kept(&runs), 0))
        .record(31, &wof(31, "torn", &kept(&torn_runs), 0))
        .record(
            32,
            &wof(32, "far", &kept(&[(Some(FREE), 3), (Some(9999), 2)]), 0),
        )
        .record(
            33,
            &wof(
                33,
                "short",
                &Part {
                    real_bytes: 9,
                    ..kept(&runs)
                },
                0,
            ),
        )
        .record(34, &wof(34, "other", &kept(&runs), 9))
        .record(
            35,
            &file(35, "without")
                .part(DATA, "", &hole)
                .resident(0xC0, "", &wof_point(0)),
        )
        .record(36, &wof(36, "lzx", &kept(&runs), 1));
    let seen = see(image);
    assert!(seen.losses.is_empty(), "{:?}", seen.losses);
    let info = &seen.entries[&30].streams[0];
    assert_eq!((info.state, info.sparse), (StreamState::Plain, false));
    assert_eq!((info.size_bytes, info.allocated_bytes), (real, real));
    assert_eq!(
        seen.entries[&30].details.reparse.as_ref().map(|it| it.tag),
        Some(0x8000_0017)
    );

    let plain = [&[b'x'; 4096][..], &stands, &[b'y'; 4096], b"the end"].concat();
    let sound = seen.open(30, None).expect("a stream");
    check(&*sound, &plain, &[]);
    assert_eq!(
        sound.ranges().collect::<Vec<_>>(),
        [(0..real, RangeKind::Data)]
    );
    let raw = seen.open(30, Some("WofCompressedData")).expect("a stream");
    assert!(raw.read_range(0..u64::MAX, 1 << 20).expect("all") == stream);

    let torn = seen.open(31, None).expect("a stream");
    check(&*torn, &plain, std::slice::from_ref(&(8192..12_288)));
    // The third run lies outside of the volume: the end of chunk 1, and all behind it.
    let far = seen.open(32, None).expect("a stream");
    check(&*far, &plain, std::slice::from_ref(&(4096..plain.len())));
    assert_eq!(
        far.ranges().collect::<Vec<_>>(),
        [
            (0..4096, RangeKind::Data),
            (4096..real, RangeKind::Unreadable)
        ]
    );
    for entry in [33, 35] {
        let opened = seen.open(entry, None).map(|stream| stream.len());
        assert!(
            matches!(opened, Err(ReadError::Damaged { .. })),
            "{opened:?}"
        );
    }
    let opened = seen.open(34, None).map(|stream| stream.len());
    assert!(
        matches!(opened, Err(ReadError::Unsupported { .. })),
        "{opened:?}"
    );
    // One LZX chunk of 12,295 bytes, of which there is none.
    let lzx = seen.open(36, None).expect("a stream");
    check(&*lzx, &plain, std::slice::from_ref(&(0..plain.len())));
}

#[test]
fn efs_is_taken_as_it_stands() {
    let cipher: Vec<u8> = (0..2048u32).map(|at| (at * 7) as u8).collect();
    let encrypted = Part {
        flags: 0x4000,
        real_bytes: 1100,
        valid_bytes: 1100,
        runs: &[(Some(FREE), 2)],
        ..Part::default()
    };
    let mut record = file(30, "secret")
        .part(DATA, "", &encrypted)
        .resident(0x100, "$EFS", b"keys")
        .resident(0x100, "$TXF_DATA", b"other")
        .build(1024);
    // The allocated length, which the record's builder takes from the real one.
    let at = record
        .windows(8)
        .position(|it| it == 1100u64.to_le_bytes())
        .expect("a size");
    record[at..at + 8].copy_from_slice(&2048u64.to_le_bytes());
    let image = volume().put(FREE.into(), &cipher).put(4 + 30, &record);
    let seen = see(image);
    assert!(seen.losses.is_empty(), "{:?}", seen.losses);
    let streams = &seen.entries[&30].streams;
    assert_eq!(streams.len(), 2);
    let plain_bytes = 1100;
    assert_eq!(streams[0].state, StreamState::Encrypted { plain_bytes });
    assert_eq!(streams[0].size_bytes, 1536, "whole sectors");
    let stream = seen.open(30, None).expect("ciphertext");
    assert!(stream.read_range(0..9999, 9999).expect("all") == cipher[..1536]);
    let name = std::str::from_utf8(EFS_STREAM).expect("ASCII");
    let keys = seen.open(30, Some(name)).expect("its keys");
    assert_eq!(keys.read_range(0..9, 9).expect("all"), b"keys");
}

fn descriptor(owner: u8) -> Vec<u8> {
    let mut bytes = vec![1, 0, 4, 0x80];
    bytes.extend([20u32, 0, 0, 32].map(u32::to_le_bytes).as_flattened());
    bytes.extend([1, 1, 0, 0, 0, 0, 0, 5, owner, 0, 0, 0]);
    bytes.extend([2, 0, 28, 0, 1, 0, 0, 0, 0, 0, 20, 0, 0xFF, 0x01, 0x1F, 0]);
    bytes.extend([1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    bytes
}

fn stored(id: u32, offset: u64, descriptor: &[u8]) -> Vec<u8> {
    let words = descriptor.as_chunks::<4>().0.iter();
    let hash = words.fold(0u32, |hash, word| {
        hash.rotate_left(3).wrapping_add(u32::from_le_bytes(*word))
    });
    let mut bytes = [hash, id].map(u32::to_le_bytes).as_flattened().to_vec();
    bytes.extend(offset.to_le_bytes());
    bytes.extend((descriptor.len() as u32 + 20).to_le_bytes());
    bytes.extend(descriptor);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}

fn with_security(entry: u32, name: &str, id: u32) -> MftRecord {
    let mut standard = vec![0; 0x48];
    standard[0x34..0x38].copy_from_slice(&id.to_le_bytes());
    let name: Vec<u16> = name.encode_utf16().collect();
    MftRecord::new(entry, 1).resident(0x10, "", &standard).name(
        MftRecord::reference(5, 5),
        3,
        &name,
        TIMES,
    )
}

#[test]
fn owners_ids_and_attributes() {
    let mut sds = stored(256, 0, &descriptor(18));
    let second = sds.len();
    sds.extend(stored(257, second as u64, &descriptor(19)));
    let third = sds.len();
    sds.extend(stored(258, third as u64, &descriptor(20)));
    // Of the second one only the copy is sound.
    let mut all = sds.clone();
    all[second + 30] ^= 1;
    all.resize(256 << 10, 0);
    all.extend(&sds);
    let runs = [(Some(FREE), 2), (None, 254), (Some(FREE + 2), 2)];
    let part = Part {
        real_bytes: all.len() as u64,
        valid_bytes: all.len() as u64,
        runs: &runs,
        ..Part::default()
    };
    let extended = b"\x14\0\0\0\x80\x03\x04\0abc\0wxyz\0\0\0\0\0\0\0\0\0\x01\0\0z\0\0\0";
    let object: Vec<u8> = (0..64).collect();
    let image = volume()
        .put(FREE.into(), &all[..sds.len()])
        .put((FREE + 2).into(), &sds)
        .record(9, &file(9, "$Secure").part(DATA, "$SDS", &part))
        .record(30, &with_security(30, "one", 256).resident(DATA, "", b"1"))
        .record(
            31,
            &with_security(31, "two", 257).resident(0x40, "", &object),
        )
        .record(
            32,
            &with_security(32, "three", 258).resident(0x40, "", &object[..16]),
        )
        .record(33, &with_security(33, "lost", 999))
        .record(34, &with_security(34, "lost too", 999))
        .record(35, &file(35, "own").resident(0x50, "", &descriptor(21)))
        .record(36, &file(36, "more").resident(0xE0, "", extended));
    let seen = see(image);
    for (entry, owner) in [(30, 18), (31, 19), (32, 20), (35, 21)] {
        let security = seen.entries[&entry].details.security.as_ref();
        let security = security.unwrap_or_else(|| panic!("entry {entry} has an owner"));
        let owner = format!("S-1-5-{owner}");
        assert_eq!(security.owner.as_deref(), Some(&owner[..]));
        assert_eq!(
            &*security.sddl,
            format!("O:{owner}D:(A;;0x1f01ff;;;S-1-1-0)")
        );
    }
    assert_eq!(seen.entries[&36].details.security, None);
    assert_eq!(seen.losses.len(), 1, "said once: {:?}", seen.losses);
    assert_eq!(seen.losses[0].entry, Some(33));
    let id = seen.entries[&31].details.object_id.expect("an object id");
    assert_eq!((id.object[1], id.birth.map(|it| it[2][15])), (1, Some(63)));
    assert_eq!(
        seen.entries[&32].details.object_id.and_then(|id| id.birth),
        None
    );
    let extended = &seen.entries[&36].details.extended_attributes;
    assert_eq!(extended.len(), 2);
    assert_eq!(extended[0].name.as_bytes(), b"abc");
    assert_eq!(
        (&extended[0].value[..], extended[0].flags),
        (&b"wxyz"[..], 0x80)
    );
}
