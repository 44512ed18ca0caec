//! Reasons and sources as words.
//!
//! Source: Microsoft, `winioctl.h` and the documentation of `USN_RECORD_V2`.

use super::super::mft::words::joined;

/// Calls `with` with the reasons of a record, joined with `+`.
pub(super) fn reasons(bits: u32, with: impl FnOnce(Option<&str>)) {
    // What a third of all records has.
    match bits {
        0 => with(None),
        0x8000_0000 => with(Some("close")),
        _ => joined(REASONS, bits, with),
    }
}

/// Calls `with` with who caused a record; nobody in particular for nearly all.
pub(super) fn sources(bits: u32, with: impl FnOnce(Option<&str>)) {
    match bits {
        0 => with(None),
        _ => joined(SOURCES, bits, with),
    }
}

const REASONS: &[(u32, &str)] = &[
    (0x0000_0001, "data-overwrite"),
    (0x0000_0002, "data-extend"),
    (0x0000_0004, "data-truncation"),
    (0x0000_0010, "named-data-overwrite"),
    (0x0000_0020, "named-data-extend"),
    (0x0000_0040, "named-data-truncation"),
    (0x0000_0100, "file-create"),
    (0x0000_0200, "file-delete"),
    (0x0000_0400, "ea-change"),
    (0x0000_0800, "security-change"),
    (0x0000_1000, "rename-old-name"),
    (0x0000_2000, "rename-new-name"),
    (0x0000_4000, "indexable-change"),
    (0x0000_8000, "basic-info-change"),
    (0x0001_0000, "hard-link-change"),
    (0x0002_0000, "compression-change"),
    (0x0004_0000, "encryption-change"),
    (0x0008_0000, "object-id-change"),
    (0x0010_0000, "reparse-point-change"),
    (0x0020_0000, "stream-change"),
    (0x0040_0000, "transacted-change"),
    (0x0080_0000, "integrity-change"),
    (0x0100_0000, "desired-storage-class-change"),
    (0x8000_0000, "close"),
];

const SOURCES: &[(u32, &str)] = &[
    (1, "data-management"),
    (2, "auxiliary-data"),
    (4, "replication-management"),
    (8, "client-replication-management"),
];
