//! A snapshot as a volume.

use std::{
    ops::ControlFlow,
    sync::{Arc, OnceLock},
};

use scelle_event::{EvidencePath, StreamId};
use scelle_formats::{ReadAt, ReadError};

use crate::{Entry, EvidenceLoss, NtfsVolume, Volume, VolumeInfo};

/// A volume that is opened where it is first asked for something.
pub(super) struct ShadowVolume {
    pub(super) info: VolumeInfo,
    pub(super) source: Arc<dyn ReadAt>,
    pub(super) opened: OnceLock<Result<(NtfsVolume, Vec<ReadError>), ReadError>>,
}

impl ShadowVolume {
    fn opened(&self) -> Result<&(NtfsVolume, Vec<ReadError>), ReadError> {
        let opened = self.opened.get_or_init(|| {
            let mut losses = Vec::new();
            let mut volume = NtfsVolume::open(self.source.clone(), self.info.offset, &mut losses)?;
            volume.set_id(self.info.id.clone());
            Ok((volume, losses))
        });
        opened.as_ref().map_err(ReadError::clone)
    }
}

impl Volume for ShadowVolume {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        let (volume, losses) = match self.opened() {
            Ok((volume, losses)) => (Some(volume), losses.clone()),
            Err(error) => (None, vec![error]),
        };
        for loss in losses {
            if visit(Err(EvidenceLoss::of(loss))).is_break() {
                return;
            }
        }
        if let Some(volume) = volume {
            volume.walk(visit);
        }
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
