//! What a plan of many small files costs: the figures that the README states.
#![cfg(target_os = "linux")]

use std::{ops::ControlFlow, sync::Arc};

use scelle_engine::{Plan, Profile, Progress, plan::PLANNED_BYTES, profile::Limits};
use scelle_event::{EvidencePath, StreamId};
use scelle_evidence::{
    Attributes, Details, Entry, EntryKind, Evidence, EvidenceLoss, FileId, StreamInfo, StreamState,
    Times, Volume, VolumeInfo, VolumeKind,
};
use scelle_formats::{ReadAt, ReadError};
use scelle_testkit::{anonymous_bytes, peak_bytes};

const FILES: u64 = 5_000_000;
const FILE_BYTES: u64 = 700;
/// While the plan is made; each is as the README has it.
const PLANNING_BYTES: u64 = 48;
/// The profile, its patterns, what the allocator keeps.
const FIXED_BYTES: u64 = 8 << 20;

/// Files that are made as they are walked.
struct Synthetic(VolumeInfo);

impl Volume for Synthetic {
    fn info(&self) -> &VolumeInfo {
        &self.0
    }

    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        for number in 0..FILES {
            let path = format!("Users/u{}/AppData/file-{number:07}.dat", number % 100);
            let entry = Entry {
                path: EvidencePath::from_bytes(path.as_bytes()),
                kind: EntryKind::File,
                id: Some(FileId {
                    entry: number,
                    sequence: 1,
                }),
                times: Times::default(),
                names: Vec::new(),
                attributes: Attributes(0),
                deleted: false,
                orphan: false,
                link_target: None,
                details: Details::default(),
                streams: vec![StreamInfo {
                    name: None,
                    size_bytes: FILE_BYTES,
                    allocated_bytes: FILE_BYTES,
                    sparse: false,
                    state: StreamState::Plain,
                    remains: None,
                }],
            };
            if visit(Ok(entry)).is_break() {
                return;
            }
        }
    }

    fn open(&self, stream: &StreamId) -> Result<Box<dyn ReadAt>, ReadError> {
        // Planning reads nothing but the structure.
        panic!("{stream} was opened")
    }
}

#[test]
fn five_million_files_cost_what_the_readme_states() {
    let evidence = Evidence {
        name: "synthetic".into(),
        volumes: vec![Arc::new(Synthetic(VolumeInfo {
            id: "ntfs-0123456789ABCDEF".into(),
            kind: VolumeKind::Ntfs,
            offset: 0,
            size_bytes: None,
            label: None,
            cluster_bytes: None,
        }))],
        snapshots: Vec::new(),
        unlocked: Vec::new(),
        losses: Vec::new(),
    };
    let profile = Profile::load("everything").expect("built in");
    let before = anonymous_bytes().expect("Linux tells");
    let (plan, peak) =
        peak_bytes(|| Plan::new(&evidence, profile, Limits::default(), &Progress::default()));
    let kept = anonymous_bytes().expect("Linux tells") - before;
    assert_eq!(plan.streams, FILES);
    assert_eq!(plan.bytes, FILES * FILE_BYTES);
    let each = |bytes: u64| bytes as f64 / FILES as f64;
    eprintln!("{} bytes a stream, {} at most", each(kept), each(peak));
    let stated = PLANNED_BYTES as u64;
    assert!(
        kept <= FILES * stated + FIXED_BYTES,
        "{kept} bytes are kept"
    );
    assert!(kept >= FILES * stated, "{kept}: nothing was measured");
    assert!(peak <= FILES * PLANNING_BYTES + FIXED_BYTES, "{peak} bytes");
}
