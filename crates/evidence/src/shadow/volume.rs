//! A snapshot as a volume.

use std::{
    ops::{ControlFlow, Range},
    sync::{Arc, OnceLock},
};

use scelle_event::{EvidencePath, StreamId};
use scelle_formats::{ReadAt, ReadError};

use super::stores::Stores;
use crate::{Entry, EvidenceLoss, NtfsVolume, Volume, VolumeInfo};

/// A volume that is opened where it is first asked for something.
pub(super) struct ShadowVolume {
    pub(super) info: VolumeInfo,
    pub(super) source: Arc<dyn ReadAt>,
    pub(super) stores: Arc<Stores>,
    /// Which store is its own.
    pub(super) own: usize,
    /// The bytes of the next newer state.
    pub(super) newer: Arc<dyn ReadAt>,
    pub(super) change: OnceLock<Option<Change>>,
    pub(super) opened: OnceLock<Result<(NtfsVolume, Vec<ReadError>), ReadError>>,
}

/// How a snapshot differs from the next newer state of its volume.
pub(super) struct Change {
    newer: NtfsVolume,
    /// Bytes of the volume.
    places: Vec<Range<u64>>,
}

impl ShadowVolume {
    /// `None` where either can't be read: everything counts as changed then.
    fn change(&self) -> Option<&Change> {
        let find = || -> Result<Change, ReadError> {
            // What is damaged there is told where that state is looked at.
            let mut losses = Vec::new();
            Ok(Change {
                places: self.stores.differences(self.own)?,
                newer: NtfsVolume::open(self.newer.clone(), self.info.offset, &mut losses)?,
            })
        };
        // Why not is met again, and told, where the rest is looked at.
        self.change.get_or_init(|| find().ok()).as_ref()
    }

    fn opened(&self) -> Result<&(NtfsVolume, Vec<ReadError>), ReadError> {
        let opened = self.opened.get_or_init(|| {
            let mut losses = Vec::new();
            let mut volume = NtfsVolume::open(self.source.clone(), self.info.offset, &mut losses)?;
            volume.set_id(self.info.id.clone());
            Ok((volume, losses))
        });
        opened.as_ref().map_err(ReadError::clone)
    }

    /// Shows what could not be read of the volume as a whole; `None` where there is nothing more to show.
    fn begin(
        &self,
        visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>,
    ) -> Option<&NtfsVolume> {
        let (volume, losses) = match self.opened() {
            Ok((volume, losses)) => (Some(volume), losses.clone()),
            Err(error) => (None, vec![error]),
        };
        for loss in losses {
            if visit(Err(EvidenceLoss::of(loss))).is_break() {
                return None;
            }
        }
        volume
    }
}

impl Volume for ShadowVolume {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        if let Some(volume) = self.begin(visit) {
            volume.walk(visit);
        }
    }

    fn walk_changed(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        let Some(volume) = self.begin(visit) else {
            return;
        };
        match self.change() {
            Some(Change { newer, places }) => volume.walk_changed(newer, places, visit),
            None => volume.walk(visit),
        }
    }

    fn changes(&self) -> Option<Vec<Range<u64>>> {
        Some(self.change()?.places.clone())
    }

    fn open(&self, stream: &StreamId) -> Result<Box<dyn ReadAt>, ReadError> {
        self.opened()?.0.open(stream)
    }

    fn open_entry(
        &self,
        entry: &Entry,
        stream: Option<&EvidencePath>,
    ) -> Result<Box<dyn ReadAt>, ReadError> {
        self.opened()?.0.open_entry(entry, stream)
    }
}
