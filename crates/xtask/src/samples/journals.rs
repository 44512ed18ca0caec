//! `$UsnJrnl:$J`, `$LogFile` and `$I30`: sound, damaged, and odd ones.

use scelle_testkit::{
    IndexEntry, LogChange, LogFile, MftRecord, UsnChange, UsnJournal, index_record,
};

use super::Recipe;

/// 2024-02-29 12:34:56.7890123 UTC as a FILETIME.
const DAY: u64 = 133_536_836_967_890_123;
const SECOND: u64 = 10_000_000;
const ROOT: u64 = MftRecord::reference(5, 5);
const WORK: u64 = MftRecord::reference(40, 1);
const FOLDER: u32 = 0x10;
const ARCHIVE: u32 = 0x20;

const CREATE: u32 = 0x100;
const DELETE: u32 = 0x200;
const OLD_NAME: u32 = 0x1000;
const NEW_NAME: u32 = 0x2000;
const EXTEND: u32 = 2;
const CLOSE: u32 = 0x8000_0000;

pub(super) fn recipes() -> Vec<Recipe> {
    let journals = [
        ("$UsnJrnl-$J", journal()),
        ("damaged-$J", damaged_journal()),
        ("odd-$J", odd_journal()),
    ];
    let indexes = [
        ("$I30", index()),
        ("$I30-damaged", damaged_index()),
        ("$I30-odd", odd_index()),
    ];
    let logs = [
        ("$LogFile", log((2, 0)).build()),
        ("$LogFile-damaged", damaged_log()),
        ("$LogFile-1.1", log((1, 1)).build()),
    ];
    let of = |artefact, samples: [(&'static str, Vec<u8>); 3]| {
        samples.map(|(name, bytes)| Recipe {
            artefact,
            name,
            bytes,
        })
    };
    [
        of("ntfs.usnjrnl", journals),
        of("ntfs.logfile", logs),
        of("ntfs.i30", indexes),
    ]
    .concat()
}

fn change(version: u16, step: u64, file: u64, reasons: u32, name: &str) -> UsnChange<'_> {
    UsnChange {
        version,
        file,
        parent: WORK,
        ticks: DAY + step * SECOND,
        reasons,
        attributes: ARCHIVE,
        name,
    }
}

/// A folder is made, a file in it, the folder is renamed, the file is written and removed.
fn journal() -> Vec<u8> {
    let mut journal = UsnJournal::new(0x1_0000);
    let folder = |step, reasons, name| UsnChange {
        attributes: FOLDER,
        parent: ROOT,
        ..change(2, step, WORK, reasons, name)
    };
    let file = MftRecord::reference(41, 7);
    journal.push(&folder(0, CREATE, "New folder"));
    journal.push(&folder(0, CREATE | CLOSE, "New folder"));
    journal.push(&change(2, 1, file, CREATE, "plan.txt"));
    journal.push(&change(3, 2, file, CREATE | EXTEND | CLOSE, "plan.txt"));
    journal.push(&folder(3, OLD_NAME, "New folder"));
    journal.push(&folder(3, NEW_NAME, "été 🌞"));
    journal.push(&folder(3, NEW_NAME | CLOSE, "été 🌞"));
    journal.gap(4096);
    journal.push(&change(4, 4, file, EXTEND | CLOSE, ""));
    journal.push(&change(2, 5, file, DELETE | CLOSE, "plan.txt"));
    journal.bytes().to_vec()
}

/// One record with an impossible length, one whose name leaves it, and a last one that is cut.
fn damaged_journal() -> Vec<u8> {
    let mut journal = UsnJournal::new(0);
    let file = MftRecord::reference(41, 7);
    journal.push(&change(2, 0, file, CREATE, "first.txt"));
    let length = journal.push(&change(2, 1, file, EXTEND, "no length.txt")) as usize;
    journal.push(&change(2, 2, file, EXTEND, "third.txt"));
    let name = journal.push(&change(3, 3, file, EXTEND, "no name.txt")) as usize;
    journal.push(&change(2, 4, file, EXTEND | CLOSE, "fifth.txt"));
    let last = journal.push(&change(2, 5, file, DELETE | CLOSE, "cut.txt")) as usize;
    let bytes = journal.bytes_mut();
    bytes[length] = 61;
    bytes[name + 74] = 0xFF;
    bytes.truncate(last + 70);
    bytes.clone()
}

/// Gaps that are no multiple of 8, and records across the ends of pages.
fn odd_journal() -> Vec<u8> {
    let mut journal = UsnJournal::new(0x7FFF_0000_0000_0000);
    let file = MftRecord::reference(41, 7);
    let long = "n".repeat(255);
    for step in 0..12 {
        journal.push_here(&change(2, step, file, EXTEND, &long));
    }
    journal.gap(13);
    journal.push_here(&change(2, 20, file, 0x4000_0000 | CLOSE, "after a gap.txt"));
    journal.push_here(&UsnChange {
        parent: MftRecord::reference(99, 1),
        ..change(3, 21, file, 0, "")
    });
    journal.bytes().to_vec()
}

fn entry(number: u32, name: &str) -> IndexEntry<'_> {
    IndexEntry {
        file: MftRecord::reference(number, 2),
        parent: WORK,
        times: [DAY, DAY + SECOND, DAY + 2 * SECOND, DAY + 3 * SECOND],
        size_bytes: u64::from(number) * 100,
        attributes: ARCHIVE,
        name,
    }
}

fn index() -> Vec<u8> {
    let live = [entry(50, "alpha.txt"), entry(51, "été.docx")];
    let slack = [entry(52, "removed.exe"), entry(51, "été.docx")];
    let mut bytes = index_record(0, &live, &slack);
    bytes.extend([0; 4096]);
    bytes.extend(index_record(2, &[], &[entry(53, "moved away.txt")]));
    bytes
}

/// A torn stride, an entry whose length can't be, a record that is none, one that is cut.
fn damaged_index() -> Vec<u8> {
    let live = [
        entry(50, "alpha.txt"),
        entry(51, "beta.txt"),
        entry(52, "gamma.txt"),
    ];
    let mut bytes = index_record(0, &live, &[]);
    bytes[510] ^= 0xFF;
    let mut second = index_record(1, &live, &[]);
    second[0x40 + 8] = 3;
    bytes.extend(second);
    bytes.extend([0x55; 4096]);
    bytes.extend(&index_record(3, &live, &[])[..2000]);
    bytes
}

/// Names whose own header was overwritten, and one that could be none.
fn odd_index() -> Vec<u8> {
    let slack = [
        entry(60, "headless.txt"),
        entry(61, "zero\0inside.txt"),
        entry(62, "far.txt"),
    ];
    let mut bytes = index_record(0, &[], &slack);
    // The entries' end, 0x50, is the first slack entry's header.
    bytes[0x50..0x60].fill(0xAA);
    bytes
}

/// A name as the log holds it.
fn logged_name(file: u64, name: &str) -> Vec<u8> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let key_bytes = 0x42 + 2 * units.len();
    let mut bytes = file.to_le_bytes().to_vec();
    bytes.extend(((0x10 + key_bytes).next_multiple_of(8) as u16).to_le_bytes());
    bytes.extend((key_bytes as u16).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(WORK.to_le_bytes());
    for step in 0..4 {
        bytes.extend((DAY + step * SECOND).to_le_bytes());
    }
    bytes.resize(0x50, 0);
    bytes.extend([units.len() as u8, 1]);
    bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
    bytes
}

/// A file comes, gets another name, its times are set back, and it goes; one record is longer than
/// a page has room.
fn log(version: (u16, u16)) -> LogFile {
    let file = MftRecord::reference(41, 7);
    // The log holds a record's fixups as they are in memory.
    let record = MftRecord::new(41, 7)
        .standard([DAY; 4], ARCHIVE)
        .name(
            WORK,
            1,
            &"plan.txt".encode_utf16().collect::<Vec<_>>(),
            [DAY; 4],
        )
        .build(512);
    let times = |ticks: u64| -> Vec<u8> { ticks.to_le_bytes().repeat(4) };
    let nothing = || (0, Vec::new());
    // Three pages of the ring.
    let mut log = LogFile::new(version, if version.0 >= 2 { 37 } else { 7 });
    let mut push = |transaction, offsets, redo, undo| {
        log.push(&LogChange {
            redo,
            undo,
            offsets,
            transaction,
            ..LogChange::default()
        });
    };
    push(0x40, (0, 0), (2, record.clone()), (3, Vec::new()));
    push(
        0x40,
        (0, 0),
        (14, logged_name(file, "plan.txt")),
        (15, Vec::new()),
    );
    push(0x40, (0, 0), (27, Vec::new()), nothing());
    push(
        0x58,
        (0, 0),
        (15, Vec::new()),
        (14, logged_name(file, "plan.txt")),
    );
    push(
        0x58,
        (0, 0),
        (14, logged_name(file, "été 🌞.txt")),
        (15, Vec::new()),
    );
    push(0x58, (0, 0), (27, Vec::new()), nothing());
    push(
        0x70,
        (0x38, 0x18),
        (7, times(DAY - 9 * SECOND)),
        (7, times(DAY)),
    );
    push(
        0x70,
        (0, 0),
        (20, times(DAY - 9 * SECOND)),
        (20, times(DAY)),
    );
    push(0x70, (0, 0), (8, vec![7; 2500]), (8, vec![8; 2500]));
    push(0x70, (0, 0), (0x25, Vec::new()), (0x99, Vec::new()));
    push(0x88, (0, 0), (3, Vec::new()), (2, record));
    log.checkpoint();
    log
}

/// A restart page that is lost, a torn page, a page of something else.
fn damaged_log() -> Vec<u8> {
    let mut bytes = log((2, 0)).build();
    bytes[..4].copy_from_slice(b"CHKD");
    bytes[34 * 4096 + 1022] ^= 0xFF;
    bytes[3 * 4096..4 * 4096].fill(0x55);
    bytes
}
