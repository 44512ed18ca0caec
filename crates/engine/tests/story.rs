//! The life of a file on a volume in memory.

mod support;

use scelle_engine::story::{Layer, Target, story};
use scelle_event::EvidencePath;
use scelle_testkit::{
    IndexEntry, LogChange, LogFile, MftRecord, UsnChange, UsnJournal, index_record,
};
use support::{evidence, file, memory, path};

/// 2024-02-29 12:34:56.7890123 UTC as a FILETIME.
const DAY: u64 = 133_536_836_967_890_123;
const SECOND: u64 = 10_000_000;
const HOUR: u64 = 3600 * SECOND;
const ROOT: u64 = MftRecord::reference(5, 5);
const FOLDER: u64 = MftRecord::reference(40, 1);
const FILE: u64 = MftRecord::reference(41, 7);

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// `$MFT` with a folder and a file, whose own creation is `created`.
fn mft(created: u64, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |entry: usize, record: MftRecord| {
        bytes.resize(entry * 1024, 0);
        bytes.extend(record.build(1024));
    };
    put(
        0,
        MftRecord::new(0, 1).standard([DAY - HOUR; 4], 0).name(
            ROOT,
            3,
            &units("$MFT"),
            [DAY - HOUR; 4],
        ),
    );
    put(
        5,
        MftRecord::new(5, 5)
            .name(ROOT, 3, &units("."), [DAY; 4])
            .directory(),
    );
    put(
        40,
        MftRecord::new(40, 1)
            .name(ROOT, 3, &units("work"), [DAY; 4])
            .directory(),
    );
    put(
        41,
        MftRecord::new(41, 7)
            .standard([created, DAY, DAY, DAY], 0x20)
            .name(FOLDER, 3, &units(name), [DAY; 4]),
    );
    bytes
}

fn journal() -> Vec<u8> {
    let mut journal = UsnJournal::new(0);
    let change = |file, step, reasons, name| UsnChange {
        version: 2,
        file,
        parent: FOLDER,
        ticks: DAY + step * SECOND,
        reasons,
        attributes: 0x20,
        name,
    };
    let before = MftRecord::reference(41, 6);
    journal.push(&change(before, 0, 0x8000_0200, "before.txt"));
    journal.push(&change(FILE, 1, 0x100, "plan.txt"));
    journal.push(&change(FILE, 2, 0x8000_0100, "plan.txt"));
    journal.push(&change(MftRecord::reference(42, 1), 3, 0x100, "other.txt"));
    journal.bytes().to_vec()
}

fn log(created: u64) -> Vec<u8> {
    let mut log = LogFile::new((2, 0), 37);
    log.push(&LogChange {
        redo: (7, created.to_le_bytes().repeat(4)),
        undo: (7, DAY.to_le_bytes().repeat(4)),
        offsets: (0x38, 0x18),
        transaction: 0x40,
        // The second record of the eleventh cluster of four: entry 41.
        target: (10, 2),
    });
    log.build()
}

/// Sectors of 512 bytes, clusters of 4 KiB, records of 1 KiB.
fn boot_sector() -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[3..11].copy_from_slice(b"NTFS    ");
    bytes[0x0B..0x0E].copy_from_slice(&[0, 2, 8]);
    bytes[0x40] = 0xF6;
    bytes[0x44] = 1;
    bytes
}

fn index() -> Vec<u8> {
    let entry = IndexEntry {
        file: FILE,
        parent: FOLDER,
        times: [DAY; 4],
        size_bytes: 9,
        attributes: 0x20,
        name: "plan.txt",
    };
    index_record(0, &[entry], &[])
}

fn kinds(target: &Target, created: u64, name: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut record = file(41, &format!("work/{name}"), b"plan");
    record.0.id.as_mut().expect("a number").sequence = 7;
    let evidence = evidence(memory(vec![
        file(0, "$MFT", &mft(created, name)),
        file(9, "$Extend/$UsnJrnl:$J", &journal()),
        file(2, "$LogFile", &log(created)),
        file(7, "$Boot", &boot_sector()),
        file(40, "work:$I30", &index()),
        record,
    ]));
    let layers = [Layer {
        name: None,
        volume: evidence.volumes[0].as_ref(),
    }];
    let told = story(&"memory".into(), &layers, target).expect("memory gives all");
    assert_eq!(told.entries, [41]);
    let times: Vec<_> = told.events.iter().map(|event| event.at).collect();
    let dated = times.iter().take_while(|at| at.is_some()).count();
    assert!(times[..dated].is_sorted() && times[dated..].iter().all(Option::is_none));
    let artefacts = told.events.iter().map(|event| event.artefact).collect();
    let mut findings: Vec<_> = told.findings().map(|(_, finding)| finding.kind).collect();
    findings.sort_unstable();
    (artefacts, findings)
}

#[test]
fn a_plain_life_has_every_source_and_no_contradiction() {
    let target = Target::Path(path("WORK/plan.txt"));
    let (artefacts, findings) = kinds(&target, DAY, "plan.txt");
    for artefact in ["ntfs.mft", "ntfs.usnjrnl", "ntfs.i30"] {
        assert!(artefacts.contains(&artefact), "{artefact}: {artefacts:?}");
    }
    // The entry had another use, and the journal has its end.
    assert_eq!(findings, ["entry-reused"]);
}

#[test]
fn what_was_forged_is_found() {
    // A whole second, two days back, and before the volume was made; and another name.
    let forged = (DAY - 48 * HOUR) / SECOND * SECOND;
    let (_, findings) = kinds(&Target::Entry(41), forged, "other name.txt");
    let expected = [
        "entry-reused",
        "name-disagrees",
        "si-created-before-fn",
        "si-created-before-usn",
        "si-created-before-volume",
        "si-created-set-back",
        "si-zero-sub-seconds",
    ];
    assert_eq!(findings, expected);
}

#[test]
fn a_file_that_only_the_journal_knows_has_a_story() {
    let evidence = evidence(memory(vec![file(9, "$Extend/$UsnJrnl:$J", &journal())]));
    let layers = [Layer {
        name: None,
        volume: evidence.volumes[0].as_ref(),
    }];
    let gone = Target::Path(EvidencePath::from_bytes(b"$OrphanFiles/other.txt"));
    let told = story(&"memory".into(), &layers, &gone).expect("memory gives all");
    assert_eq!(told.entries, [42]);
    assert_eq!(told.events.len(), 1);
}
