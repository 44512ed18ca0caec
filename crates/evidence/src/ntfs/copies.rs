//! What a volume keeps twice: its boot sector, and the first records of `$MFT`.

use std::sync::Arc;

use scelle_formats::{
    ReadAt, ReadAtExt as _, ReadError,
    ntfs::{BootSector, kind},
};

use super::records::{Records, Room, damaged};

/// The entry of `$MFTMirr`.
const MIRROR_ENTRY: u64 = 1;
/// The most records that are compared: a cluster of them, where clusters are large.
const MAX_MIRRORED: u64 = 64;

/// Adds to `losses` where a copy differs from its original. A copy that lies past the end of the
/// source is not there to be compared; nor is a sector of zeros, for some image formats fill up what an
/// image that was cut there lacks.
pub(super) fn compare(
    source: &Arc<dyn ReadAt>,
    sector: &[u8; BootSector::BYTES],
    boot: &BootSector,
    records: &Records,
    losses: &mut Vec<ReadError>,
) {
    let backup_at = boot.volume_bytes();
    match source.read_range(
        backup_at..backup_at.saturating_add(BootSector::BYTES as u64),
        BootSector::BYTES,
    ) {
        Ok(backup) if backup.len() < BootSector::BYTES || backup == sector => {}
        Ok(backup) if backup.iter().all(|byte| *byte == 0) => {}
        Ok(_) => losses.push(damaged(
            "the backup boot sector",
            backup_at,
            "it differs from the first sector".to_owned(),
        )),
        Err(error) => losses.push(error),
    }
    let size = records.record_bytes;
    let count = mirrored(records);
    let bytes = (count * size) as u64;
    let Some(mirror_at) = boot.cluster_offset(boot.mirror_lcn) else {
        return;
    };
    let mirror = source.read_range(mirror_at..mirror_at.saturating_add(bytes), count * size);
    let originals = records.mft.read_range(0..bytes, count * size);
    let (mirror, originals) = match (mirror, originals) {
        (Ok(mirror), Ok(originals)) => (mirror, originals),
        (Err(error), _) | (_, Err(error)) => return losses.push(error),
    };
    let pairs = mirror.chunks_exact(size).zip(originals.chunks_exact(size));
    for (number, _) in pairs.enumerate().filter(|(_, (one, other))| one != other) {
        losses.push(damaged(
            "$MFTMirr",
            mirror_at + (number * size) as u64,
            format!("its record {number} differs from that of $MFT"),
        ));
    }
}

/// How many records the mirror has, as its own entry says; one where that can't be read, which
/// every walk says.
fn mirrored(records: &Records) -> usize {
    let mut room = Room::default();
    let stated = match records.read(MIRROR_ENTRY, &mut room) {
        Ok(record) => record
            .attributes()
            .flatten()
            .filter(|attribute| attribute.kind == kind::DATA && attribute.name.is_empty())
            .find_map(|attribute| attribute.non_resident())
            .map_or(0, |part| part.real_bytes),
        Err(_) => 0,
    };
    let count = stated / records.record_bytes as u64;
    count.clamp(1, MAX_MIRRORED) as usize
}
