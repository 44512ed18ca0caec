//! What a volume holds.

use scelle_event::{EvidencePath, UtcNanos};

/// An NTFS file reference, or an inode with its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// MFT entry number, or inode number.
    pub entry: u64,
    /// Sequence number of the entry's use, 0 where the file system has none.
    pub sequence: u16,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link or junction; it is recorded and never followed.
    Link,
    /// A device, a pipe, a socket.
    Special,
}

/// The times of an entry, as its file system states them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Creation.
    pub created: Option<UtcNanos>,
    /// Last change of content.
    pub modified: Option<UtcNanos>,
    /// Last change of metadata.
    pub changed: Option<UtcNanos>,
    /// Last access.
    pub accessed: Option<UtcNanos>,
}

/// One of an entry's names, with the times kept beside that name (`$FILE_NAME`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTimes {
    /// The full path through this name.
    pub path: EvidencePath,
    /// NTFS name space: 0 POSIX, 1 Win32, 2 DOS, 3 Win32 and DOS.
    pub namespace: u8,
    /// The times kept beside the name.
    pub times: Times,
}

/// DOS attribute bits as NTFS and FAT store them, 0 elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(pub u32);

/// Whether a stream's bytes can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamState {
    /// As they stand.
    Plain,
    /// Not by this version: the way they are stored is named.
    Unsupported(&'static str),
}

/// One stream of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name; `None` is the unnamed one.
    pub name: Option<EvidencePath>,
    /// Its logical size in bytes.
    pub size_bytes: u64,
    /// The bytes that are allocated for it; 0 where it is resident in its record.
    pub allocated_bytes: u64,
    /// Whether some of it is a hole.
    pub sparse: bool,
    /// Whether its bytes can be read.
    pub state: StreamState,
}

/// One entry of a volume: a file, a directory, a link; allocated or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its full path, through its best name (Win32 before POSIX before DOS).
    pub path: EvidencePath,
    /// What it is.
    pub kind: EntryKind,
    /// Its number, where the file system has one.
    pub id: Option<FileId>,
    /// Its times (`$STANDARD_INFORMATION` on NTFS).
    pub times: Times,
    /// Every name that it has, with the times kept beside each.
    pub names: Vec<NamedTimes>,
    /// Its DOS attributes.
    pub attributes: Attributes,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Whether its way to the root is lost; its path then begins at `$OrphanFiles`.
    pub orphan: bool,
    /// Where a link leads, as the evidence states it.
    pub link_target: Option<EvidencePath>,
    /// Its streams, the unnamed one first.
    pub streams: Vec<StreamInfo>,
}
