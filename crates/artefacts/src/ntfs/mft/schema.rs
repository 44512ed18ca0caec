//! The columns of an MFT entry.

use scelle_event::{Column, ColumnKind, Precision, Schema};

const TIME: ColumnKind = ColumnKind::Time(Precision::FILETIME);

/// `ntfs.mft.entry`.
///
/// What nearly every entry has stands in columns of plain types; lists are there only for the
/// entries that need them.
pub(super) static ENTRY: Schema = Schema {
    name: "ntfs.mft.entry",
    doc: "A file or folder of an NTFS volume, allocated or deleted, with all records it takes.",
    columns: COLUMNS,
};

/// `ntfs.carved.entry`.
pub(super) static CARVED: Schema = Schema {
    name: "ntfs.carved.entry",
    doc: "A record of a file, in clusters that no file has.",
    columns: COLUMNS,
};

const COLUMNS: &[Column] = &[
    Column::new("entry", ColumnKind::Uint, "Number of the base record."),
    Column::new(
        "sequence",
        ColumnKind::Uint,
        "Sequence number of the base record.",
    ),
    Column::new(
        "base_entry",
        ColumnKind::Uint,
        "For an extension record whose base record is gone: the number of that one.",
    ),
    Column::new(
        "base_sequence",
        ColumnKind::Uint,
        "For an extension record whose base record is gone: the sequence number it had.",
    ),
    Column::new(
        "in_use",
        ColumnKind::Bool,
        "Whether the entry is allocated.",
    ),
    Column::new(
        "is_directory",
        ColumnKind::Bool,
        "Whether it is a directory.",
    ),
    Column::new(
        "is_orphan",
        ColumnKind::Bool,
        "Whether the way from its best name to the root is lost.",
    ),
    Column::new(
        "path",
        ColumnKind::Text,
        "Full path of its best name (Win32 before POSIX before DOS).",
    ),
    Column::new(
        "parent_entry",
        ColumnKind::Uint,
        "Entry of that name's directory.",
    ),
    Column::new(
        "parent_sequence",
        ColumnKind::Uint,
        "Sequence number of that directory, as the name states it.",
    ),
    Column::new(
        "namespace",
        ColumnKind::Text,
        "Name space of that name: posix, win32, dos, win32+dos, or a number.",
    ),
    Column::new(
        "link_count",
        ColumnKind::Uint,
        "How many names the record says it has.",
    ),
    Column::new(
        "attributes",
        ColumnKind::Text,
        "DOS attributes ($STANDARD_INFORMATION), joined with +.",
    ),
    Column::new("si_created", TIME, "Creation ($STANDARD_INFORMATION)."),
    Column::new("si_modified", TIME, "Last write ($STANDARD_INFORMATION)."),
    Column::new(
        "si_changed",
        TIME,
        "Last change of the record ($STANDARD_INFORMATION).",
    ),
    Column::new("si_accessed", TIME, "Last access ($STANDARD_INFORMATION)."),
    Column::new(
        "fn_created",
        TIME,
        "Creation ($FILE_NAME of the best name).",
    ),
    Column::new(
        "fn_modified",
        TIME,
        "Last write ($FILE_NAME of the best name).",
    ),
    Column::new(
        "fn_changed",
        TIME,
        "Last change of the record ($FILE_NAME of the best name).",
    ),
    Column::new(
        "fn_accessed",
        TIME,
        "Last access ($FILE_NAME of the best name).",
    ),
    Column::new(
        "si_before_fn",
        ColumnKind::Text,
        "Which times of some $FILE_NAME are later than in $STANDARD_INFORMATION, joined with +.",
    ),
    Column::new(
        "size_bytes",
        ColumnKind::Uint,
        "Size of the unnamed $DATA stream.",
    ),
    Column::new(
        "allocated_bytes",
        ColumnKind::Uint,
        "Bytes allocated for it; none where it is resident.",
    ),
    Column::new(
        "is_resident",
        ColumnKind::Bool,
        "Whether its bytes lie in the record.",
    ),
    Column::new(
        "storage",
        ColumnKind::Text,
        "How it is stored, joined with +: compressed, encrypted, sparse.",
    ),
    Column::new(
        "names",
        ColumnKind::Nested,
        "Every $FILE_NAME, where there is more than one.",
    ),
    Column::new(
        "streams",
        ColumnKind::Nested,
        "The named $DATA streams, where there are any.",
    ),
    Column::new(
        "lsn",
        ColumnKind::Uint,
        "$LogFile sequence number of the base record's last change.",
    ),
    Column::new(
        "owner_id",
        ColumnKind::Uint,
        "Owner id for quotas, where it is not 0.",
    ),
    Column::new(
        "security_id",
        ColumnKind::Uint,
        "Key into $Secure, where it is not 0.",
    ),
    Column::new(
        "usn",
        ColumnKind::Uint,
        "Last entry in $UsnJrnl, where it is not 0.",
    ),
    Column::new(
        "reparse_tag",
        ColumnKind::Text,
        "Reparse tag: its name, or a hex number.",
    ),
    Column::new(
        "reparse_target",
        ColumnKind::Text,
        "Where a junction or symbolic link leads, where the record holds it.",
    ),
    Column::new("object_id", ColumnKind::Text, "$OBJECT_ID, a GUID."),
    Column::new(
        "findings",
        ColumnKind::Text,
        "What speaks against it, joined with +: a reason to look, and no proof.",
    ),
];
