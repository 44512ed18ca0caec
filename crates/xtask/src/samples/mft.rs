//! `$MFT` files: a sound one, a damaged one, and one that is cut out of the middle. And clusters that no
//! file has, with records in them.

use scelle_testkit::MftRecord;

use super::Recipe;

/// 2024-02-29 12:34:56.7890123 UTC as a FILETIME.
const DAY: u64 = 133_536_836_967_890_123;
const HOUR: u64 = 36_000_000_000;
const ROOT: u64 = MftRecord::reference(5, 5);
const WIN32: u8 = 1;
const DOS: u8 = 2;
const WIN32_AND_DOS: u8 = 3;
const ARCHIVE: u32 = 0x20;
const DATA: u32 = 0x80;

pub(super) fn recipes() -> Vec<Recipe> {
    let tables = [
        ("$MFT", sound()),
        ("$MFT-damaged", damaged()),
        ("middle.bin", middle()),
    ];
    let [plain, torn, odd] = unused();
    let unused = [
        ("plain-$UNUSED", plain),
        ("damaged-$UNUSED", torn),
        ("odd-$UNUSED", odd),
    ];
    let of = |artefact, samples: [(&'static str, Vec<u8>); 3]| {
        samples.map(|(name, bytes)| Recipe {
            artefact,
            name,
            bytes,
        })
    };
    [of("ntfs.mft", tables), of("ntfs.carved", unused)].concat()
}

/// Unused clusters: with whole records; with a torn one and a cut one; with records at odd sectors, one
/// that extends another, one of 4 KiB, and text that begins as a record does.
fn unused() -> [Vec<u8>; 3] {
    let old = file(77, 3, ROOT, "old plan.txt").resident(DATA, "", b"what it held");
    let folder = directory(78, 4, MftRecord::reference(77, 9), "old folder");
    let plain = [
        old.build(1024),
        vec![0; 1536],
        folder.deleted().build(1024),
        b"text".repeat(100),
    ]
    .concat();
    let mut torn = old.build(1024);
    torn[1022] ^= 0xFF;
    let mut damaged = [torn, old.build(1024)].concat();
    damaged.truncate(1900);
    let more = MftRecord::new(79, 1)
        .extension_of(MftRecord::reference(77, 3))
        .resident(DATA, "stream", b"more");
    let odd = [
        old.build(4096),
        vec![b'x'; 512],
        more.build(1024),
        b"FILE this is none".to_vec(),
        vec![0; 495],
        b"FILE0 too short".to_vec(),
    ]
    .concat();
    [plain, damaged, odd]
}

fn units(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

fn times(at: u64) -> [u64; 4] {
    [at, at + HOUR, at + 2 * HOUR, at + 3 * HOUR]
}

/// A file in a directory, its times in the name an hour later than elsewhere.
fn file(entry: u32, sequence: u16, parent: u64, name: &str) -> MftRecord {
    MftRecord::new(entry, sequence)
        .standard(times(DAY), ARCHIVE)
        .name(parent, WIN32_AND_DOS, &units(name), times(DAY + HOUR))
}

fn directory(entry: u32, sequence: u16, parent: u64, name: &str) -> MftRecord {
    MftRecord::new(entry, sequence)
        .standard(times(DAY), 0)
        .name(parent, WIN32_AND_DOS, &units(name), times(DAY))
        .directory()
}

/// Records at the places that their numbers say, zeros between them.
fn table(record_bytes: usize, records: &[(u32, MftRecord)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (entry, record) in records {
        bytes.resize(*entry as usize * record_bytes, 0);
        bytes.extend(record.build(record_bytes));
    }
    bytes
}

fn sound() -> Vec<u8> {
    let alice = MftRecord::reference(7, 2);
    let gone = MftRecord::reference(9, 3);
    let streams = file(8, 1, alice, "setup.exe")
        .resident(DATA, "", b"MZ")
        .resident(DATA, "Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")
        .non_resident(DATA, "plan", 0, 1_000_000);
    // Two names, one of them with an 8.3 alias; the second lies in an extension record.
    let names = MftRecord::new(10, 1)
        .standard(times(DAY), ARCHIVE)
        .name(alice, DOS, &units("REPORT~1.DOC"), times(DAY))
        .name(alice, WIN32, &units("Rapport d’été 🌞.docx"), times(DAY))
        .resident(DATA, "", b"");
    let more = MftRecord::new(11, 1)
        .extension_of(MftRecord::reference(10, 1))
        .name(ROOT, WIN32, &units("hard link.docx"), times(DAY))
        .resident(DATA, "notes", b"in the extension record");
    // A junction: tag, lengths, and the target twice.
    let target = units(r"\??\C:\Target");
    let mut point = vec![0; 16];
    point[..4].copy_from_slice(&0xA000_0003u32.to_le_bytes());
    point[10] = target.len() as u8 * 2;
    point.extend(target.iter().flat_map(|unit| unit.to_le_bytes()));
    let junction = directory(12, 1, ROOT, "junction").resident(0xC0, "", &point);
    let id: Vec<u8> = (0..16).collect();
    let with_id = MftRecord::new(15, 1)
        .standard(times(DAY), ARCHIVE)
        .name(alice, WIN32_AND_DOS, &units("linked.txt"), times(DAY))
        .resident(0x40, "", &id)
        .non_resident(DATA, "", 0, 5000);
    table(
        1024,
        &[
            (
                0,
                file(0, 1, ROOT, "$MFT").non_resident(DATA, "", 0, 16 * 1024),
            ),
            (5, directory(5, 5, ROOT, ".")),
            (7, directory(7, 2, ROOT, "alice")),
            (8, streams),
            // Deletion raised its number; what it held still states the one before.
            (9, directory(9, 4, alice, "gone").deleted()),
            (10, names),
            (11, more),
            (12, junction),
            (
                13,
                file(13, 6, gone, "secret.txt")
                    .resident(DATA, "", b"secret")
                    .deleted(),
            ),
            (
                14,
                file(14, 2, MftRecord::reference(7, 1), "orphan.txt").deleted(),
            ),
            (15, with_id),
        ],
    )
}

fn damaged() -> Vec<u8> {
    let mut bytes = table(
        1024,
        &[
            (0, directory(0, 1, ROOT, "before")),
            (
                1,
                file(1, 1, ROOT, "torn.txt").resident(DATA, "", &[7; 600]),
            ),
            (2, file(2, 1, ROOT, "marked.txt")),
            (3, file(3, 1, ROOT, "overwritten.txt")),
            (4, file(4, 1, ROOT, "cut name.txt")),
            (5, directory(5, 5, ROOT, ".")),
            // Each is in the other.
            (6, directory(6, 1, MftRecord::reference(7, 1), "loop a")),
            (7, directory(7, 1, MftRecord::reference(6, 1), "loop b")),
            (8, file(8, 1, MftRecord::reference(7, 1), "in a loop.txt")),
            (9, file(9, 1, MftRecord::reference(1, 1), "in a file.txt")),
            (
                10,
                MftRecord::new(10, 1)
                    .extension_of(MftRecord::reference(1, 9))
                    .name(ROOT, WIN32, &units("left over.txt"), times(DAY)),
            ),
            (11, file(12, 1, ROOT, "in the wrong place.txt")),
            (
                12,
                file(12, 1, ROOT, "hidden past the end.txt").resident(DATA, "", b"there"),
            ),
            (13, MftRecord::new(13, 1)),
            (14, file(14, 1, ROOT, "the last one is cut.txt")),
        ],
    );
    let at = |entry: usize| entry * 1024;
    // The end of the first stride is not as the update sequence says.
    bytes[at(1) + 510] ^= 0xFF;
    bytes[at(2)..at(2) + 4].copy_from_slice(b"BAAD");
    bytes[at(3)..at(3) + 16].fill(0xAA);
    // The name claims to be longer than its attribute.
    let name_units = at(4) + 0x48 + 0x60 + 0x18 + 0x40;
    bytes[name_units] = 0xFF;
    // The used bytes end inside of the name.
    bytes[at(12) + 0x18..at(12) + 0x1C].copy_from_slice(&(0x48u32 + 0x60 + 0x30).to_le_bytes());
    bytes.truncate(at(14) + 700);
    bytes
}

/// 4 KiB records from entry 40 on, after the end of something else.
fn middle() -> Vec<u8> {
    let mut lone = units("lone \u{1F31E} surrogate/slash");
    lone[5] = 0x41;
    let mut bytes = vec![b'x'; 100];
    for record in [
        directory(40, 1, ROOT, "kept"),
        file(41, 1, MftRecord::reference(40, 1), "named.txt").resident(DATA, "", &[9; 3000]),
        MftRecord::new(42, 3)
            .standard([0, u64::MAX, i64::MAX as u64, 1], u32::MAX)
            .name(MftRecord::reference(40, 1), 0, &lone, [u64::MAX - 1; 4]),
    ] {
        bytes.extend(record.build(4096));
    }
    bytes
}
