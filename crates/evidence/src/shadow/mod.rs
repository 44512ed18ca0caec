//! Volume shadow copies: earlier states of an NTFS volume, read from the volume itself.
//!
//! # What a shadow copy is
//! A *store* keeps, in blocks of 16 KiB, what the volume held before it was overwritten. A snapshot is its own store
//! laid over the next newer one, and so on, over the volume as it is. So a snapshot is a
//! [`ReadAt`](scelle_formats::ReadAt) like any disk, and what lies on it an [`NtfsVolume`] like any other.
//!
//! # What it costs
//! Opening a volume reads the catalog and one block for each store. A store's block list is read where the first byte of its snapshot,
//! or of an older one, is asked for; some 25 bytes are kept for each block that it has, for as long as the evidence is
//! open, and of all stores of a volume no more than [`MAX_DESCRIPTORS`](stores::MAX_DESCRIPTORS). Bitmaps are read through a bounded cache.
//!
//! # Damage
//! No byte is made up. Where a list can't be read to its end, whatever rests on that store can't be read, and says
//! why; newer snapshots don't. Where the catalog is damaged, a newer store may be missing: then only what a store holds
//! itself is read of any snapshot.
//!
//! # Sources
//! - libyal/libvshadow, "Volume Shadow Snapshot (VSS) format", section "Reading snapshot data".

mod blocks;
mod catalog;
mod stores;
mod volume;

use std::sync::Arc;

use scelle_event::{Moment, Precision, UtcNanos};
use scelle_formats::{ReadAt, ReadError, vss::StoreInformation};

pub use self::catalog::shadow_copies;
use crate::Volume;

/// What stands between the id of a volume and the time of its snapshot.
pub(crate) const MARK: char = '@';

/// A shadow copy, as the catalog of its volume states it.
#[derive(Clone)]
pub struct Snapshot {
    /// The volume as it was. Its id is that of the volume, `@` and the time of the snapshot (`20240501T120000Z`).
    pub volume: Arc<dyn Volume>,
    /// The same as bytes.
    pub disk: Arc<dyn ReadAt>,
    /// When it was made.
    pub created: UtcNanos,
    /// The GUID of its store, as stored.
    pub store: [u8; 16],
    /// The size of the volume then, as the catalog states it.
    pub volume_bytes: u64,
    /// Whether its data lies on the volume itself.
    pub is_here: bool,
    /// What the store says of it; `None` where that lies elsewhere or can't be read.
    pub information: Option<StoreInformation>,
}

/// The id of a snapshot, before any is told apart from another one of the same second.
fn id_of(volume: &str, created: UtcNanos) -> Arc<str> {
    let time = Moment::Utc(created).to_iso(Precision::SECOND);
    let time: String = time.chars().filter(|c| !"-:".contains(*c)).collect();
    format!("{volume}{MARK}{time}").into()
}

fn damaged(what: &'static str, offset: u64, why: impl ToString) -> ReadError {
    ReadError::Damaged {
        what,
        offset,
        why: why.to_string(),
    }
}

/// The bytes that a structure promises at a place of the volume.
fn read_block(
    source: &dyn ReadAt,
    what: &'static str,
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), ReadError> {
    use scelle_formats::ReadAtExt as _;
    source.read_exact_at(what, offset, bytes)
}
