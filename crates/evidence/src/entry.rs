//! What a volume holds.

use std::{fmt, sync::Arc};

use scelle_event::{CivilNanos, EvidencePath, Moment, UtcNanos};

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
    /// Whether they are the time of a zone that the volume does not name, counted as if it were
    /// UTC (FAT, and exFAT without offsets).
    pub is_local: bool,
}

impl Times {
    /// What one of these times says.
    pub fn moment(&self, time: UtcNanos) -> Moment {
        if self.is_local {
            Moment::Local(CivilNanos::from_nanos(time.nanos()))
        } else {
            Moment::Utc(time)
        }
    }
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
    /// As they stand, or decompressed.
    Plain,
    /// Encrypted by EFS: what is read are whole sectors of ciphertext.
    Encrypted {
        /// The length of what they hold once they are decrypted.
        plain_bytes: u64,
    },
    /// Not by this version: the way they are stored is named.
    Unsupported(&'static str),
}

/// Who owns an entry, and who may do what with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Security {
    /// The owner's SID.
    pub owner: Option<Arc<str>>,
    /// The group's SID.
    pub group: Option<Arc<str>>,
    /// The whole descriptor in the security descriptor definition language ([MS-DTYP] 2.5.1).
    pub sddl: Arc<str>,
}

/// `$OBJECT_ID`: by what links find a file again. Each is a GUID as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId {
    /// Its id on this volume.
    pub object: [u8; 16],
    /// The volume on which it was first given one, its first id, and the domain; not all files
    /// have them.
    pub birth: Option<[[u8; 16]; 3]>,
}

/// A reparse point, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reparse {
    /// What kind it is ([MS-FSCC] 2.1.2.1).
    pub tag: u32,
    /// The whole of it, its tag included.
    pub data: Arc<[u8]>,
}

/// One extended attribute (`$EA`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedAttribute {
    /// Its name, in a code page that nobody states.
    pub name: EvidencePath,
    /// Its flags; 0x80 says that a program must understand it.
    pub flags: u8,
    /// Its value.
    pub value: Arc<[u8]>,
}

/// What few file systems state, and few entries have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Who owns it, and who may do what with it.
    pub security: Option<Arc<Security>>,
    /// By what links find it again.
    pub object_id: Option<ObjectId>,
    /// Its reparse point.
    pub reparse: Option<Reparse>,
    /// Its extended attributes.
    pub extended_attributes: Vec<ExtendedAttribute>,
}

/// What there still is of the bytes of a deleted stream.
///
/// That clusters are free says that no file has them now; one that came and went since may have
/// written to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remains {
    /// They lie in the entry's own record.
    Resident,
    /// Each of its clusters is free.
    Free {
        /// How many they are.
        clusters: u64,
    },
    /// Some of its clusters, or all of them, belong to other files now, whose bytes are read there.
    Taken {
        /// How many do.
        taken: u64,
        /// How many clusters it has.
        clusters: u64,
    },
    /// Nobody knows: the volume's list of free clusters can't be read, or not all of the stream's
    /// clusters are known.
    Unknown,
}

impl Remains {
    /// The name used in bundles and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Free { .. } => "free",
            Self::Taken { .. } => "taken",
            Self::Unknown => "unknown",
        }
    }

    /// How many clusters it has, and how many of them are taken; none where that is not known.
    pub const fn clusters(self) -> (u64, u64) {
        match self {
            Self::Free { clusters } => (clusters, 0),
            Self::Taken { taken, clusters } => (clusters, taken),
            Self::Resident | Self::Unknown => (0, 0),
        }
    }

    /// Whether not one of its bytes is its own any more.
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Taken { taken, clusters } if taken == clusters)
    }
}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resident => f.write_str("in its record"),
            Self::Free { clusters } => write!(f, "its {clusters} clusters are free"),
            Self::Taken { taken, clusters } => {
                write!(f, "{taken} of its {clusters} clusters were taken since")
            }
            Self::Unknown => f.write_str("whether its clusters are free is not known"),
        }
    }
}

/// One stream of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name; `None` is the unnamed one.
    pub name: Option<EvidencePath>,
    /// Its logical size in bytes.
    pub size_bytes: u64,
    /// The bytes that are allocated for it; 0 where it is resident in its record. Of a compressed
    /// stream, the bytes that its allocated units hold.
    pub allocated_bytes: u64,
    /// Whether some of it is a hole.
    pub sparse: bool,
    /// Whether its bytes can be read.
    pub state: StreamState,
    /// Of a deleted entry of an NTFS volume, what there still is of its bytes; else `None`.
    pub remains: Option<Remains>,
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
    /// What few file systems state.
    pub details: Details,
    /// Its streams, the unnamed one first.
    pub streams: Vec<StreamInfo>,
}
