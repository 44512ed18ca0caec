//! NTFS, from bytes to structs.
//!
//! Everything here borrows the bytes that it is given and allocates nothing for a record, so that
//! a bulk scan of an `$MFT` runs at the speed of memory. Sizes and offsets in the bytes are taken
//! for lies until they are checked.
//!
//! | bytes | decoder |
//! |-------|---------|
//! | the first sector of a volume | [`BootSector`] |
//! | an entry of `$MFT` | [`Record`], with [`Scratch`] for its fixups |
//! | what a record holds | [`Attributes`], [`Attribute`] |
//! | where a non-resident attribute lies | [`Runs`] |
//! | `$STANDARD_INFORMATION`, `$FILE_NAME` | [`StandardInformation`], [`FileName`] |
//! | `$ATTRIBUTE_LIST` | [`ListEntries`] |
//! | `$REPARSE_POINT` | [`ReparsePoint`], [`WofPoint`] |
//! | `$EA` | [`ExtendedAttributes`] |
//! | `$SECURITY_DESCRIPTOR`, `$Secure:$SDS` | [`SecurityDescriptor`], [`StoredSecurity`] |
//! | `$VOLUME_INFORMATION` | [`VolumeInformation`] |
//! | an index record of a directory | [`IndexRecord`] |
//! | `$LogFile` | [`RestartPage`], [`LogPage`], [`LogOperation`] |
//! | `$UsnJrnl:$J` | [`UsnRecord`], [`UsnItems`] |
//!
//! The names of a whole volume, and the paths that they make, are the matter of [`paths`].
//!
//! # Sources
//! - libyal/libfsntfs, "New Technologies File System (NTFS)".
//! - Linux kernel, `Documentation/filesystems/ntfs3.rst`, and the linux-ntfs project's "NTFS
//!   Documentation" by Russon and Fledel.
//! - Microsoft, [MS-FSCC] 2.1.2 "Reparse Point Data Structures".

mod attribute;
mod boot;
mod content;
mod extended;
mod field;
mod index;
mod list;
mod logfile;
mod name;
pub mod paths;
mod record;
mod reparse;
mod runs;
mod security;
mod usn;

pub use attribute::{
    Attribute, AttributeError, Attributes, Body, COMPRESSED, ENCRYPTED, NonResident, SPARSE, kind,
};
pub use boot::BootSector;
pub use content::{FileName, StandardInformation, VolumeInformation, namespace};
pub use extended::{Extended, ExtendedAttributes};
pub use index::{IndexItem, IndexName, IndexRecord, index_record_bytes};
pub use list::{ListEntries, ListEntry};
pub use logfile::{
    LOG_RECORD_HEADER_BYTES, LogOperation, LogPage, LogRecord, MAX_LOG_DATA_BYTES, RestartPage,
};
pub use name::{MAX_NAME_UNITS, push_component, push_wtf8};
pub use record::{NoRecord, Record, RecordHeader, Scratch};
pub use reparse::{ReparsePoint, WofPoint, tag};
pub use runs::{Run, RunError, Runs};
pub use security::{SecurityDescriptor, StoredSecurity};
pub use usn::{
    MAX_USN_RECORD_BYTES, MIN_USN_RECORD_BYTES, NoUsnRecord, UsnItem, UsnItems, UsnRecord, reason,
};

/// The most bytes that a cluster has: 2 MiB.
pub const MAX_CLUSTER_BYTES: u32 = 2 << 20;
/// The most bytes that an MFT record or an index record has. Windows makes 1 KiB and 4 KiB.
pub const MAX_RECORD_BYTES: u32 = 64 << 10;
