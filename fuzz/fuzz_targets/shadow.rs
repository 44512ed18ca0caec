//! Hostile shadow copies: a sound disk with two of them, patched where their structures lie.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use scelle_evidence::open_source;
use scelle_formats::{Bytes, ReadAt, ReadAtExt};

use crate::{
    image::look_at,
    made_shadows::{BLOCK, Laid, Shadow, lay},
    patch::patches,
};

static SOUND: &[u8] = include_bytes!("../../testdata/demo/workstation.raw");
/// Where the volume of that disk begins.
const VOLUME_AT: usize = 64 << 10;
/// Where nothing of it lies: the shadow copies are laid behind its files.
const AREA_BLOCKS: usize = 40;
const MAX_BYTES: usize = 64 << 10;

fn sound() -> &'static (Vec<u8>, Laid) {
    static MADE: OnceLock<(Vec<u8>, Laid)> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut disk = SOUND.to_vec();
        let volume = &mut disk[VOLUME_AT..];
        let area = (volume.len() / BLOCK - AREA_BLOCKS) * BLOCK;
        let kept = |block: u32| (block, volume[block as usize * BLOCK..][..BLOCK].to_vec());
        let shadows: Vec<Shadow> = (0..2)
            .map(|index| Shadow {
                created_filetime: 133_000_000_000_000_000 + index * 864_000_000_000,
                blocks: BTreeMap::from([kept(1), kept(2), kept(3)]),
                besides: vec![
                    (9 * BLOCK as u64, 8 * BLOCK as u64, 0, 1, 0),
                    (7 * BLOCK as u64, 0, area as u64, 2, 0xFF),
                ],
            })
            .collect();
        let laid = lay(volume, area as u64, &shadows);
        (disk, laid)
    })
}

pub fn patched(data: &[u8]) {
    let (disk, laid) = sound();
    let mut disk = disk.clone();
    let places = [0x1E00, laid.catalog_at, laid.lists_at[0], laid.lists_at[1]];
    for (place, bytes) in patches(data) {
        let at = VOLUME_AT + places[place % 4] as usize + (place / 4) % 1024;
        let end = disk.len().min(at + bytes.len());
        disk[at..end].copy_from_slice(&bytes[..end - at]);
    }
    let mut evidence = open_source("fuzz".into(), Arc::new(Bytes(disk)));
    for snapshot in &evidence.snapshots {
        let mut next = 0;
        for (range, _) in snapshot.disk.ranges() {
            assert_eq!(range.start, next, "ranges follow one another");
            next = range.end;
        }
        assert_eq!(next, snapshot.disk.len(), "ranges end with the disk");
        // An error is an answer.
        let whole = snapshot.disk.read_range(0..u64::MAX, MAX_BYTES);
        assert!(whole.is_ok_and(|bytes| bytes.len() <= MAX_BYTES) || next > 0);
    }
    evidence.volumes = evidence.with_snapshots();
    look_at(&evidence);
}
