//! A volume in memory.

use std::{ops::ControlFlow, sync::Arc};

use scelle_event::{EvidencePath, StreamId};
use scelle_evidence::{
    Attributes, Details, Entry, EntryKind, Evidence, EvidenceLoss, FileId, NamedTimes, StreamInfo,
    StreamState, Times, Volume, VolumeInfo, VolumeKind,
};
use scelle_formats::{Bytes, ReadAt, ReadError};

pub(crate) struct Memory {
    info: VolumeInfo,
    pub(crate) files: Vec<(Entry, Vec<u8>)>,
}

pub(crate) fn path(text: &str) -> EvidencePath {
    EvidencePath::from_bytes(text.as_bytes())
}

/// A file; `text` is its path, with `:name` for a stream besides the unnamed one.
pub(crate) fn file(number: u64, text: &str, bytes: &[u8]) -> (Entry, Vec<u8>) {
    let (main, stream) = match text.split_once(':') {
        Some((main, stream)) => (main, Some(path(stream))),
        None => (text, None),
    };
    let info = |name| StreamInfo {
        name,
        size_bytes: bytes.len() as u64,
        allocated_bytes: bytes.len() as u64,
        sparse: false,
        state: StreamState::Plain,
        remains: None,
    };
    let entry = Entry {
        path: path(main),
        kind: EntryKind::File,
        id: Some(FileId {
            entry: number,
            sequence: 1,
        }),
        times: Times::default(),
        names: vec![NamedTimes {
            path: path(main),
            namespace: 1,
            times: Times::default(),
        }],
        attributes: Attributes(0),
        deleted: false,
        orphan: false,
        link_target: None,
        details: Details::default(),
        streams: [info(None)]
            .into_iter()
            .chain(stream.map(|name| info(Some(name))))
            .collect(),
    };
    (entry, bytes.to_vec())
}

pub(crate) fn memory(files: Vec<(Entry, Vec<u8>)>) -> Memory {
    Memory {
        info: VolumeInfo {
            id: "ntfs-0123456789ABCDEF".into(),
            kind: VolumeKind::Ntfs,
            offset: 0,
            size_bytes: None,
            label: None,
            cluster_bytes: None,
        },
        files,
    }
}

pub(crate) fn evidence(volume: Memory) -> Evidence {
    Evidence {
        name: "memory".into(),
        volumes: vec![Arc::new(volume)],
        snapshots: Vec::new(),
        unlocked: Vec::new(),
        losses: Vec::new(),
    }
}

impl Volume for Memory {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        for (entry, _) in &self.files {
            if visit(Ok(entry.clone())).is_break() {
                return;
            }
        }
    }

    fn open(&self, stream: &StreamId) -> Result<Box<dyn ReadAt>, ReadError> {
        let found = self
            .files
            .iter()
            .find(|(entry, _)| entry.path == stream.path);
        match found {
            Some((_, bytes)) => Ok(Box::new(Bytes(bytes.clone()))),
            None => Err(ReadError::Absent {
                what: stream.to_string(),
            }),
        }
    }
}
