//! Beside dfir_ntfs. Differences: `tests/differences/journals.md`.

use std::collections::BTreeMap;

use scelle_testkit::{Corpus, LogChange, LogFile};

use super::{Row, Rows, parse, recognises};

const ID: &str = "ntfs.logfile";

/// Numbers of operations by name; dfir_ntfs shows numbers.
fn number_of(name: &str) -> String {
    let names = [
        (0, "Noop"),
        (1, "CompensationLogRecord"),
        (2, "InitializeFileRecordSegment"),
        (3, "DeallocateFileRecordSegment"),
        (5, "CreateAttribute"),
        (6, "DeleteAttribute"),
        (7, "UpdateResidentValue"),
        (8, "UpdateNonresidentValue"),
        (9, "UpdateMappingPairs"),
        (11, "SetNewAttributeSizes"),
        (12, "AddIndexEntryRoot"),
        (13, "DeleteIndexEntryRoot"),
        (14, "AddIndexEntryAllocation"),
        (15, "DeleteIndexEntryAllocation"),
        (19, "UpdateFileNameRoot"),
        (20, "UpdateFileNameAllocation"),
        (21, "SetBitsInNonresidentBitMap"),
        (22, "ClearBitsInNonresidentBitMap"),
        (27, "ForgetTransaction"),
        (28, "OpenNonresidentAttribute"),
        (29, "OpenAttributeTableDump"),
        (30, "AttributeNamesDump"),
        (31, "DirtyPageTableDump"),
        (32, "TransactionTableDump"),
        (37, "0x25"),
    ];
    let found = names.iter().find(|(_, known)| *known == name);
    let (number, _) = found.unwrap_or_else(|| panic!("operation {name}"));
    format!("redo {number}")
}

fn in_range(rows: &Rows, first: u64, last: u64) -> impl Iterator<Item = &Row> {
    rows.rows.iter().filter(move |row| {
        let lsn = row.number("lsn").expect("an LSN");
        (first..=last).contains(&lsn)
    })
}

#[test]
fn real_logs_have_the_records_that_dfir_ntfs_finds() {
    let Some(corpus) = Corpus::find("transaction logs beside dfir_ntfs") else {
        return;
    };
    let expected = corpus.expected_json("logfile.json");
    let mut compared = 0;
    for entry in expected.as_array().expect("a list") {
        let path = entry["path"].as_str().expect("a path");
        let bytes = corpus.read(path);
        let rows = parse(ID, &bytes, None);
        let theirs = &entry["dfir_ntfs"];
        if theirs.is_null() {
            // Both say that there is nothing.
            assert!(!recognises(ID, path, None, &bytes), "{path}");
            assert!(rows.rows.is_empty() && !rows.losses.is_empty(), "{path}");
            continue;
        }
        assert!(recognises(ID, path, None, &bytes), "{path}");
        let lsn = |key: &str| theirs[key].as_u64().expect("an LSN");
        let mut histogram: BTreeMap<String, u64> = BTreeMap::new();
        for row in in_range(&rows, lsn("first_lsn"), lsn("last_lsn")) {
            if row.text("event") == "checkpoint" {
                *histogram.entry("NTFSRestartArea".to_owned()).or_default() += 1;
            } else {
                *histogram.entry("NTFSLogRecord".to_owned()).or_default() += 1;
                *histogram.entry(number_of(row.text("redo"))).or_default() += 1;
            }
        }
        let theirs: BTreeMap<String, u64> =
            serde_json::from_value(theirs["histogram"].clone()).expect("numbers");
        assert_eq!(histogram, theirs, "{path}");
        // They are in the order of the log, each once.
        let lsns: Vec<_> = rows.rows.iter().map(|row| row.number("lsn")).collect();
        assert!(lsns.is_sorted_by(|one, other| one < other), "{path}");
        // What they are read for.
        let named = rows.rows.iter().filter(|row| !row.text("name").is_empty());
        assert!(named.count() > 10, "{path}");
        compared += 1;
    }
    assert_eq!(compared, 3, "logs of the corpus");
}

fn file_name(parent: u64, name: &str, ticks: u64) -> Vec<u8> {
    let mut bytes = parent.to_le_bytes().to_vec();
    for step in 0..4 {
        bytes.extend((ticks + step).to_le_bytes());
    }
    bytes.resize(0x40, 0);
    let units: Vec<u16> = name.encode_utf16().collect();
    bytes.extend([units.len() as u8, 1]);
    bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
    bytes
}

fn index_entry(file: u64, parent: u64, name: &str) -> Vec<u8> {
    let key = file_name(parent, name, DAY);
    let mut bytes = file.to_le_bytes().to_vec();
    bytes.extend(((0x10 + key.len()).next_multiple_of(8) as u16).to_le_bytes());
    bytes.extend((key.len() as u16).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(key);
    bytes
}

const DAY: u64 = 133_536_836_967_890_123;
const FILE: u64 = 40 | 3 << 48;
const ROOT: u64 = 5 | 5 << 48;

fn change(transaction: u32, redo: (u16, Vec<u8>), undo: (u16, Vec<u8>)) -> LogChange {
    LogChange {
        redo,
        undo,
        offsets: (0x38, 0x18),
        transaction,
        ..LogChange::default()
    }
}

fn script(version: (u16, u16)) -> (Vec<u8>, Vec<u64>) {
    let mut log = LogFile::new(version, 64);
    let mut lsns = vec![log.checkpoint()];
    let old = index_entry(FILE, ROOT, "old name.txt");
    let new = index_entry(FILE, ROOT, "new name.txt");
    lsns.push(log.push(&change(0x40, (15, Vec::new()), (14, old))));
    lsns.push(log.push(&change(0x40, (14, new), (15, Vec::new()))));
    lsns.push(log.push(&change(0x40, (27, Vec::new()), (1, Vec::new()))));
    // Creation set back: the old times are in the undo.
    let times = |ticks: u64| -> Vec<u8> { ticks.to_le_bytes().repeat(4) };
    lsns.push(log.push(&change(0x58, (7, times(DAY - 1_000_000)), (7, times(DAY)))));
    // Longer than a page is.
    for step in 0..40u32 {
        lsns.push(log.push(&change(0x70 + step, (8, vec![7; 700]), (8, vec![8; 600]))));
    }
    (log.build(), lsns)
}

#[test]
fn what_a_log_tells_of_a_file() {
    for version in [(1, 1), (2, 0)] {
        let (bytes, lsns) = script(version);
        assert!(recognises(ID, "$LogFile", None, &bytes));
        let rows = parse(ID, &bytes, None);
        assert!(rows.losses.is_empty(), "{version:?}: {:?}", rows.losses);
        let found: Vec<u64> = rows
            .rows
            .iter()
            .filter_map(|row| row.number("lsn"))
            .collect();
        assert_eq!(found, lsns, "{version:?}");
        let events: Vec<_> = rows
            .rows
            .iter()
            .take(5)
            .map(|row| row.text("event"))
            .collect();
        let expected = [
            "checkpoint",
            "index-name-removed",
            "renamed",
            "",
            "si-times-changed",
        ];
        assert_eq!(events, expected);
        let renamed = &rows.rows[2];
        assert_eq!(renamed.text("old_name"), "old name.txt");
        assert_eq!(renamed.text("name"), "new name.txt");
        assert_eq!(
            (renamed.number("entry"), renamed.number("sequence")),
            (Some(40), Some(3))
        );
        let set_back = &rows.rows[4];
        assert!(set_back.text("si_created") < set_back.text("old_si_created"));
        assert_eq!(set_back.times.len(), 8);
        // Records that go on in another page say where.
        let long = rows
            .rows
            .iter()
            .filter(|row| !row.provenance.also.is_empty());
        assert!(long.count() > 5);
    }
}

/// A boot sector: sectors of 512 bytes, clusters of 4 KiB, records of 1 KiB.
fn boot_sector() -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[3..11].copy_from_slice(b"NTFS    ");
    bytes[0x0B..0x0E].copy_from_slice(&[0, 2, 8]);
    bytes[0x40] = 0xF6;
    bytes[0x44] = 1;
    bytes
}

#[test]
fn the_boot_sector_tells_which_entry_is_changed() {
    let mut log = LogFile::new((2, 0), 40);
    let mut times = change(0x40, (7, vec![1; 32]), (7, vec![2; 32]));
    // The fourth record of the eleventh cluster of four.
    times.target = (10, 6);
    log.push(&times);
    let bytes = log.build();
    assert_eq!(parse(ID, &bytes, None).rows[0].number("entry"), None);
    let rows = parse(ID, &bytes, Some(&boot_sector()));
    assert_eq!(rows.rows[0].number("entry"), Some(43));
    assert!(rows.losses.is_empty());
    let rows = parse(ID, &bytes, Some(b"no boot sector"));
    assert_eq!(rows.losses[0].provenance.primary.stream.0, 1);
}

#[test]
fn torn_pages_and_lost_restart_pages_are_said() {
    let (sound, lsns) = script((2, 0));
    let mut torn = sound.clone();
    torn[34 * 4096 + 510] ^= 0xFF;
    let rows = parse(ID, &torn, None);
    assert_eq!(rows.rows.len(), lsns.len());
    assert!(
        rows.losses
            .iter()
            .any(|loss| loss.loss.name() == "field torn")
    );

    let mut headless = sound.clone();
    headless[..8192].fill(0);
    let rows = parse(ID, &headless, None);
    assert_eq!(rows.rows.len(), lsns.len());
    let losses: Vec<_> = rows.losses.iter().map(|loss| loss.loss.name()).collect();
    assert_eq!(losses, ["field restart", "field restart"]);

    // The second page of the ring is gone: what went on in it is cut.
    let mut gone = sound;
    gone[35 * 4096..36 * 4096].fill(0);
    let rows = parse(ID, &gone, None);
    assert!(rows.rows.len() < lsns.len());
    assert!(
        rows.losses
            .iter()
            .any(|loss| loss.loss.name() == "field data")
    );
}
