//! A volume that claims exabytes, in loops and bombs: whatever is asked of it ends, and stays small.
#![cfg(target_os = "linux")]

use std::{
    io,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use scelle_artefacts::ALL;
use scelle_engine::{
    Plan, Profile, Progress, parse,
    profile::Limits,
    story::{Layer, Target, story},
    traces::traces,
};
use scelle_event::{Consumer, Context, Observation, Sink, Warning};
use scelle_evidence::{Entry, Evidence, open_source};
use scelle_formats::{Bytes, ReadAtExt as _};
use scelle_testkit::{MftRecord, NtfsImage, Part, anonymous_bytes, peak_bytes};

/// What the brief of a hostile image allows.
const MOST_BYTES: u64 = 512 << 20;
/// Far more than it takes, and far less than following one claim would.
const MOST_TIME: Duration = Duration::from_secs(120);

const DATA: u32 = 0x80;
const LIST: u32 = 0x20;
const INDEX: u32 = 0xA0;
const REPARSE: u32 = 0xC0;
const EXABYTE: u64 = 1 << 60;
const CLUSTER: usize = 4096;
const CLUSTERS: usize = 600;
const MFT_LCN: u64 = 4;
const RECORDS: u64 = 1200;
const TIMES: [u64; 4] = [130_000_000_000_000_000; 4];
const ROOT: u64 = MftRecord::reference(5, 5);

fn file(entry: u32, parent: u64, name: &str) -> MftRecord {
    let name: Vec<u16> = name.encode_utf16().collect();
    MftRecord::new(entry, 1)
        .standard(TIMES, 0x20)
        .name(parent, 3, &name, TIMES)
}

fn bomb(flags: u16, runs: &[(Option<u32>, u32)]) -> Part<'_> {
    Part {
        real_bytes: EXABYTE,
        valid_bytes: EXABYTE,
        flags,
        exponent: if flags & 0xFF == 0 { 0 } else { 4 },
        runs,
        ..Part::default()
    }
}

/// An attribute list that names so many records from one on.
fn list(first: u32, count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in first..first + count {
        let mut listed = DATA.to_le_bytes().to_vec();
        listed.extend([32, 0, 0, 0x1A]);
        listed.extend([0; 8]);
        listed.extend(MftRecord::reference(entry, 1).to_le_bytes());
        listed.resize(32, 0);
        bytes.extend(listed);
    }
    bytes
}

fn image() -> Vec<u8> {
    let far = u32::MAX >> 1;
    let hole = [(None, u32::MAX)];
    let everywhere = [(Some(0), far); 20];
    let mft = [
        (
            Some(MFT_LCN as u32),
            (RECORDS * 1024 / CLUSTER as u64) as u32,
        ),
        (None, u32::MAX),
    ];
    let after = MFT_LCN as u32 + (RECORDS * 1024 / CLUSTER as u64) as u32;
    let some = [(Some(after), 100), (None, u32::MAX), (Some(after), 100)];
    let table = file(0, ROOT, "$MFT").part(DATA, "", &bomb(0, &mft));
    let mut made = NtfsImage::new(CLUSTER, 1024, CLUSTERS, MFT_LCN, 1)
        .record_at(1, 0, &table)
        .record(0, &table)
        .record(
            2,
            &file(2, ROOT, "$LogFile").part(DATA, "", &bomb(0, &some)),
        )
        .record(5, &file(5, ROOT, ".").directory())
        .record(
            6,
            &file(6, ROOT, "$Bitmap").part(DATA, "", &bomb(0, &[(Some(after), 200)])),
        )
        .record(
            9,
            &file(9, ROOT, "$Secure").part(DATA, "$SDS", &bomb(0, &hole)),
        )
        .record(11, &file(11, ROOT, "$Extend").directory())
        .record(
            24,
            &file(24, MftRecord::reference(11, 1), "$UsnJrnl").part(
                DATA,
                "$J",
                &bomb(0x8000, &some),
            ),
        );
    let mut put = |entry: u32, record: MftRecord| {
        made = made.clone().record(entry.into(), &record);
    };
    for at in 0..50 {
        // Deleted, with clusters all over and past the volume.
        let runs = bomb(0, &everywhere);
        put(
            40 + at,
            file(40 + at, ROOT, "gone.bin")
                .deleted()
                .part(DATA, "", &runs),
        );
        // LZNT1 and WOF of an exabyte.
        let runs = bomb(1, if at % 2 == 0 { &hole } else { &some });
        put(
            100 + at,
            file(100 + at, ROOT, "packed.bin").part(DATA, "", &runs),
        );
        let mut point = 0x8000_0017u32.to_le_bytes().to_vec();
        point.extend([16, 0, 0, 0]);
        for field in [1, 2, 1, at % 4] {
            point.extend(field.to_le_bytes());
        }
        put(
            160 + at,
            file(160 + at, ROOT, "wof.exe")
                .part(DATA, "", &bomb(0x8000, &hole))
                .part(DATA, "WofCompressedData", &bomb(0, &some))
                .resident(REPARSE, "", &point),
        );
        // Lists that name each other's records; loops of directories; indexes of an exabyte.
        put(
            220 + at,
            file(220 + at, ROOT, "listed").resident(LIST, "", &list(220, 20)),
        );
        let other = MftRecord::reference(280 + (at + 1) % 50, 1);
        put(280 + at, file(280 + at, other, "loop").directory());
        put(
            340 + at,
            file(340 + at, ROOT, "folder")
                .directory()
                .part(INDEX, "$I30", &bomb(0, &some)),
        );
    }
    // Folders in folders, under the longest of names.
    let long = "n".repeat(250);
    for entry in 400..RECORDS as u32 {
        let parent = if entry == 400 {
            ROOT
        } else {
            MftRecord::reference(entry - 1, 1)
        };
        put(entry, file(entry, parent, &long).directory());
    }
    let mut bytes = made.into_bytes();
    // Sectors of the volume.
    bytes[0x28..0x30].copy_from_slice(&(u64::MAX >> 1).to_le_bytes());
    bytes
}

struct Nothing;

impl Consumer for Nothing {
    type Unit = Self;

    fn unit(&self, _context: &Arc<Context>) -> Self {
        Self
    }

    fn join(&self, _unit: Self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Nothing {
    fn observe(&mut self, _observation: &Observation<'_>) {}

    fn warn(&mut self, _warning: Warning) {}
}

/// Asks all that can be asked; gives how many entries there are.
fn exhaust(evidence: &Evidence) -> usize {
    let volume = &*evidence.volumes[0];
    let mut entries: Vec<Entry> = Vec::new();
    volume.walk(&mut |found| {
        entries.extend(found.ok());
        ControlFlow::Continue(())
    });
    let mut buffer = vec![0; 1 << 20];
    for entry in &entries {
        for stream in &entry.streams {
            let Ok(opened) = volume.open_entry(entry, stream.name.as_ref()) else {
                continue;
            };
            assert!(opened.ranges().count() < 1 << 20);
            for at in [0, EXABYTE / 3, EXABYTE - 4096] {
                // What can't be read is said by whoever needs it.
                drop(opened.read_full_at(at, &mut buffer));
            }
        }
    }
    let progress = Progress::default();
    let everything = Profile::load("everything").expect("built in");
    let plan = Plan::new(evidence, everything, Limits::default(), &progress);
    assert!(plan.streams > 0 && !plan.losses.is_empty());
    parse(evidence, ALL, &Nothing, &progress).expect("nothing fails");
    let layers = [Layer { name: None, volume }];
    for target in [Target::Entry(40), Target::Entry(399), Target::Entry(700)] {
        story(&evidence.name, &layers, &target).expect("nothing fails");
    }
    traces(&evidence.name, volume).expect("nothing fails");
    entries.len()
}

#[test]
fn a_hostile_volume_stays_small() {
    let evidence = open_source("hostile".into(), Arc::new(Bytes(image())));
    assert_eq!(evidence.volumes.len(), 1, "{:?}", evidence.losses);
    assert!(anonymous_bytes().is_some(), "memory is measured");
    let began = Instant::now();
    let (entries, peak) = peak_bytes(|| exhaust(&evidence));
    assert!(entries as u64 > RECORDS - 100, "{entries}");
    assert!(peak < MOST_BYTES, "{} MiB", peak >> 20);
    let took = began.elapsed();
    assert!(took < MOST_TIME, "{took:?}");
}
