//! Names of files that the `$MFT` knows no more.

mod support;

use scelle_engine::traces::traces;
use scelle_event::EvidencePath;
use scelle_testkit::{
    IndexEntry, LogChange, LogFile, MftRecord, UsnChange, UsnJournal, index_record,
};
use support::{evidence, file, memory};

const DAY: u64 = 133_536_836_967_890_123;
const ROOT: u64 = MftRecord::reference(5, 5);
const FOLDER: u64 = MftRecord::reference(40, 1);

/// The table: a folder, a file, and a deleted one, whose number was raised.
fn mft() -> Vec<u8> {
    let record = |entry, sequence, name: &str| {
        let units: Vec<u16> = name.encode_utf16().collect();
        MftRecord::new(entry, sequence)
            .standard([DAY; 4], 0x20)
            .name(ROOT, 3, &units, [DAY; 4])
    };
    let records = [
        (0, record(0, 1, "$MFT")),
        (5, record(5, 5, ".").directory()),
        (40, record(40, 1, "work").directory()),
        (41, record(41, 7, "plan.txt")),
        (42, record(42, 4, "deleted.txt").deleted()),
    ];
    let mut bytes = Vec::new();
    for (entry, record) in records {
        bytes.resize(entry * 1024, 0);
        bytes.extend(record.build(1024));
    }
    bytes
}

fn journal() -> Vec<u8> {
    let mut journal = UsnJournal::new(0);
    let files = [
        // The file of the table, the use of its entry before, and twice one that has no record.
        (MftRecord::reference(41, 7), "plan.txt"),
        (MftRecord::reference(41, 6), "before.txt"),
        (MftRecord::reference(90, 2), "unknown.txt"),
        (MftRecord::reference(90, 2), "renamed.txt"),
        // Deleted, with its record: the number was raised.
        (MftRecord::reference(42, 3), "deleted.txt"),
    ];
    for (file, name) in files {
        journal.push(&UsnChange {
            version: 2,
            file,
            parent: ROOT,
            ticks: DAY,
            reasons: 0x8000_0100,
            attributes: 0x20,
            name,
        });
    }
    journal.bytes().to_vec()
}

fn log() -> Vec<u8> {
    let units: Vec<u16> = "logged.txt".encode_utf16().collect();
    let mut log = LogFile::new((2, 0), 37);
    log.push(&LogChange {
        redo: (
            2,
            MftRecord::new(91, 5)
                .standard([DAY; 4], 0x20)
                .name(ROOT, 3, &units, [DAY; 4])
                .build(1024),
        ),
        ..LogChange::default()
    });
    log.build()
}

fn index() -> Vec<u8> {
    let entry = |file, name| IndexEntry {
        file,
        parent: FOLDER,
        times: [DAY; 4],
        size_bytes: 9,
        attributes: 0x20,
        name,
    };
    index_record(
        0,
        &[entry(MftRecord::reference(41, 7), "plan.txt")],
        &[
            entry(MftRecord::reference(92, 1), "gap.txt"),
            entry(MftRecord::reference(92, 1), "in slack.txt"),
        ],
    )
}

#[test]
fn names_without_a_record_are_found_in_each_source() {
    // Nothing is said of files that a bundle does not hold: the table says which there are.
    let evidence = evidence(memory(vec![
        file(0, "$MFT", &mft()),
        file(2, "$LogFile", &log()),
        file(9, "$Extend/$UsnJrnl:$J", &journal()),
        file(40, "work:$I30", &index()),
    ]));
    let traces = traces(&"memory".into(), &*evidence.volumes[0]).expect("memory gives all");
    assert!(traces.unread.is_empty(), "{:?}", traces.unread);
    let found: Vec<_> = traces
        .found
        .iter()
        .map(|trace| {
            (
                trace.id.entry,
                trace.id.sequence,
                trace.artefact,
                &*trace.path,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (41, 6, "ntfs.usnjrnl", "before.txt"),
            (90, 2, "ntfs.usnjrnl", "unknown.txt"),
            (91, 5, "ntfs.logfile", "logged.txt"),
            (92, 1, "ntfs.i30", "work/gap.txt"),
        ]
    );
    assert_eq!(
        &*traces.found[1].stream,
        "ntfs-0123456789ABCDEF/$Extend/$UsnJrnl:$J"
    );
    assert_eq!(
        EvidencePath::from_bytes(b"work/gap.txt").to_string(),
        traces.found[3].path
    );
}

#[test]
fn without_a_table_nothing_is_said_to_be_missing() {
    let evidence = evidence(memory(vec![file(9, "$Extend/$UsnJrnl:$J", &journal())]));
    let traces = traces(&"memory".into(), &*evidence.volumes[0]).expect("memory gives all");
    assert!(traces.found.is_empty());
    assert_eq!(traces.unread.len(), 1);
}
