//! A volume of one file: evidence that is no disk, or bytes whose structure nobody here knows.

use std::{ops::ControlFlow, sync::Arc};

use scelle_event::{EvidencePath, StreamId};
use scelle_formats::{ReadAt, ReadError};

use crate::{
    Attributes, Details, Entry, EntryKind, EvidenceLoss, StreamInfo, StreamState, Times, Volume,
    VolumeInfo,
};

/// One file as a volume.
pub struct FileVolume {
    info: VolumeInfo,
    entry: Entry,
    source: Arc<dyn ReadAt>,
}

impl FileVolume {
    /// A volume that holds `source` under `name`.
    pub fn new(info: VolumeInfo, name: &[u8], times: Times, source: Arc<dyn ReadAt>) -> Self {
        let entry = Entry {
            path: EvidencePath::from_bytes(name),
            kind: EntryKind::File,
            id: None,
            times,
            names: Vec::new(),
            attributes: Attributes::default(),
            deleted: false,
            orphan: false,
            link_target: None,
            details: Details::default(),
            streams: vec![StreamInfo {
                name: None,
                size_bytes: source.len(),
                allocated_bytes: source.len(),
                sparse: false,
                state: StreamState::Plain,
                remains: None,
            }],
        };
        Self {
            info,
            entry,
            source,
        }
    }
}

impl Volume for FileVolume {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        // It is the last entry: whether the visitor wants more makes no difference.
        visit(Ok(self.entry.clone())).is_break();
    }

    fn open(&self, stream: &StreamId) -> Result<Box<dyn ReadAt>, ReadError> {
        if stream.path != self.entry.path || stream.stream.is_some() {
            return Err(ReadError::Absent {
                what: stream.to_string(),
            });
        }
        Ok(Box::new(self.source.clone()))
    }
}
