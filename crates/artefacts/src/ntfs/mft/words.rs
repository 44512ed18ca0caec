//! Flags and numbers as words; those that nearly every entry has cost no allocation.
//!
//! Sources: [MS-FSCC] 2.6 "File Attributes", 2.1.2.1 "Reparse Tags".

/// Calls `with` with the name of a name space.
pub(in crate::ntfs) fn namespace(number: u8, with: impl FnOnce(&str)) {
    match number {
        0 => with("posix"),
        1 => with("win32"),
        2 => with("dos"),
        3 => with("win32+dos"),
        other => with(&other.to_string()),
    }
}

/// Calls `with` with the DOS attributes that are set; what has no name is a hex number.
pub(in crate::ntfs) fn attributes(bits: u32, with: impl FnOnce(Option<&str>)) {
    // What nearly every file has.
    match bits {
        0 => with(None),
        0x20 => with(Some("archive")),
        0x80 => with(Some("normal")),
        _ => joined(ATTRIBUTES, bits, with),
    }
}

/// Calls `with` with the way a stream is stored, where it is not stored plainly.
pub(in crate::ntfs) fn storage(attribute_flags: u16, with: impl FnOnce(Option<&str>)) {
    match attribute_flags {
        0 => with(None),
        _ => joined(STORAGE, attribute_flags.into(), with),
    }
}

/// Calls `with` with the times that are later in a name, as `Entry::later_in_names` gives them.
pub(in crate::ntfs) fn later(bits: u8, with: impl FnOnce(Option<&str>)) {
    match bits {
        0 => with(None),
        _ => joined(TIMES, bits.into(), with),
    }
}

/// Calls `with` with the name of a reparse tag, or its hex number.
pub(in crate::ntfs) fn reparse_tag(tag: Option<u32>, with: impl FnOnce(Option<&str>)) {
    let Some(tag) = tag else { return with(None) };
    match REPARSE_TAGS.iter().find(|(number, _)| *number == tag) {
        Some((_, name)) => with(Some(name)),
        None if tag & CLOUD_TAG_MASK == CLOUD_TAG => with(Some("cloud")),
        None => with(Some(&format!("{tag:#010x}"))),
    }
}

pub(in crate::ntfs) fn joined(names: &[(u32, &str)], bits: u32, with: impl FnOnce(Option<&str>)) {
    let mut text = String::new();
    let mut left = bits;
    for (bit, name) in names {
        if bits & bit != 0 {
            if !text.is_empty() {
                text.push('+');
            }
            text.push_str(name);
            left &= !bit;
        }
    }
    if left != 0 {
        if !text.is_empty() {
            text.push('+');
        }
        text.push_str(&format!("{left:#x}"));
    }
    with(Some(&text));
}

const TIMES: &[(u32, &str)] = &[
    (1, "created"),
    (2, "modified"),
    (4, "changed"),
    (8, "accessed"),
];

/// Flags of an attribute's header: the low byte is the compression method.
const STORAGE: &[(u32, &str)] = &[
    (0x0001, "compressed"),
    (0x4000, "encrypted"),
    (0x8000, "sparse"),
];

const ATTRIBUTES: &[(u32, &str)] = &[
    (0x0000_0001, "readonly"),
    (0x0000_0002, "hidden"),
    (0x0000_0004, "system"),
    (0x0000_0010, "directory"),
    (0x0000_0020, "archive"),
    (0x0000_0040, "device"),
    (0x0000_0080, "normal"),
    (0x0000_0100, "temporary"),
    (0x0000_0200, "sparse"),
    (0x0000_0400, "reparse-point"),
    (0x0000_0800, "compressed"),
    (0x0000_1000, "offline"),
    (0x0000_2000, "not-content-indexed"),
    (0x0000_4000, "encrypted"),
    (0x0000_8000, "integrity-stream"),
    (0x0001_0000, "virtual"),
    (0x0002_0000, "no-scrub-data"),
    (0x0004_0000, "recall-on-open"),
    (0x0008_0000, "pinned"),
    (0x0010_0000, "unpinned"),
    (0x0040_0000, "recall-on-data-access"),
    // The NTFS copies of a record's own flags.
    (0x1000_0000, "mft-directory"),
    (0x2000_0000, "mft-view-index"),
];

const REPARSE_TAGS: &[(u32, &str)] = &[
    (0xA000_0003, "mount-point"),
    (0xA000_000C, "symlink"),
    (0x8000_0006, "hsm2"),
    (0x8000_0007, "sis"),
    (0x8000_0008, "wim"),
    (0x8000_0009, "csv"),
    (0x8000_000A, "dfs"),
    (0x8000_0012, "dfsr"),
    (0x8000_0013, "dedup"),
    (0x8000_0014, "nfs"),
    (0x8000_0015, "file-placeholder"),
    (0x8000_0017, "wof"),
    (0x8000_0018, "wci"),
    (0x8000_001B, "app-exec-link"),
    (0x8000_0021, "onedrive"),
    (0x8000_0023, "af-unix"),
    (0x8000_0024, "lx-fifo"),
    (0x8000_0025, "lx-chr"),
    (0x8000_0026, "lx-blk"),
    (0x9000_001C, "projfs"),
    (0xA000_0019, "global-reparse"),
    (0xA000_001D, "lx-symlink"),
    (0xC000_0004, "hsm"),
];

/// Cloud tags differ only in the digit that this mask leaves out.
const CLOUD_TAG: u32 = 0x9000_001A;
const CLOUD_TAG_MASK: u32 = 0xFFFF_0FFF;
