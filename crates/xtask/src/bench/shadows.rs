//! A volume with nine shadow copies: what other people's tools wrote to it day by day.

use std::{
    collections::BTreeMap,
    fs,
    io::{Seek, SeekFrom, Write},
    path::Path,
    process::Command,
};

use anyhow::{Context, ensure};
use scelle_testkit::shadow::{BLOCK, Shadow, lay};

use super::{log, seeded::Seeded, tree};

const SNAPSHOTS: usize = 9;
const VOLUME_BYTES: u64 = 1 << 30;
const FILES: usize = 40_000;
const FILES_A_DAY: usize = 400;
const CLUSTER: usize = 4096;
/// Event logs of about 20 MiB, as Windows has them; each day two of them grow.
const LOGS: usize = 6;
const LOG_CHUNKS: usize = 320;
const CHUNKS_A_DAY: usize = 8;
/// 2024-01-01, and a day.
const FIRST_TICKS: u64 = 133_485_408_000_000_000;
const DAY_TICKS: u64 = 864_000_000_000;

/// Makes `image`. Event logs come from the chunks of `big_log`.
pub(crate) fn volume(image: &Path, mount: &Path, big_log: &Path) -> anyhow::Result<()> {
    let chunks = fs::read(big_log).with_context(|| big_log.display().to_string())?;
    let chunks = &chunks[log::HEADER..];
    let logs = mount.join("Windows/System32/winevt/Logs");
    tree::ntfs_volume(image, VOLUME_BYTES, mount, FILES)?;
    tree::while_mounted(image, mount, || {
        fs::create_dir_all(&logs)?;
        (0..LOGS).try_for_each(|number| write_log(&logs, chunks, number, LOG_CHUNKS))
    })?;
    let mut shadows = Vec::new();
    let mut now = fs::read(image)?;
    for day in 1..=SNAPSHOTS {
        tree::while_mounted(image, mount, || {
            let mut rng = Seeded::new(100 + day as u64);
            tree::fill(&mount.join(format!("day {day}")), &mut rng, FILES_A_DAY)?;
            let length = LOG_CHUNKS + day * CHUNKS_A_DAY;
            (0..2).try_for_each(|number| write_log(&logs, chunks, number, length))
        })?;
        let before = std::mem::replace(&mut now, fs::read(image)?);
        shadows.push(Shadow {
            created_filetime: FIRST_TICKS + day as u64 * DAY_TICKS,
            blocks: changed(&before, &now),
            besides: Vec::new(),
        });
    }
    let area_at = free_area(image, &now)?;
    lay(&mut now, area_at, &shadows);
    fs::write(image, now)?;
    // The second opinion: that many stores are what libvshadow sees.
    let seen = Command::new("vshadowinfo").arg(image).output()?;
    let seen = String::from_utf8_lossy(&seen.stdout);
    ensure!(
        seen.contains(&format!("Number of stores:\t{SNAPSHOTS}")),
        "vshadowinfo does not see {SNAPSHOTS} stores: {seen}"
    );
    Ok(())
}

/// A log, or what has come to it since: its own part of all chunks, so that no two logs are alike.
fn write_log(logs: &Path, chunks: &[u8], number: usize, length: usize) -> anyhow::Result<()> {
    const ROOM: usize = LOG_CHUNKS + SNAPSHOTS * CHUNKS_A_DAY;
    let first = number * ROOM * log::CHUNK;
    // As Windows does it: what is there stays where it is.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(logs.join(format!("Log{number}.evtx")))?;
    file.write_all(&log::header(length as u16, 1))?;
    let have = file.metadata()?.len().saturating_sub(log::HEADER as u64) as usize;
    file.seek(SeekFrom::End(0))?;
    Ok(file.write_all(&chunks[first + have..first + length * log::CHUNK])?)
}

/// The blocks that differ, as they were before.
fn changed(before: &[u8], after: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    let pairs = before.chunks_exact(BLOCK).zip(after.chunks_exact(BLOCK));
    pairs
        .enumerate()
        .filter(|(_, (before, after))| before != after)
        .map(|(block, (before, _))| (block as u32, before.to_vec()))
        .collect()
}

/// Where the longest run of blocks begins that nothing uses or has ever been written to.
fn free_area(image: &Path, volume: &[u8]) -> anyhow::Result<u64> {
    let image = image.display().to_string();
    let bitmap = Command::new("icat").args([&image, "6"]).output()?.stdout;
    ensure!(!bitmap.is_empty(), "icat shows no $Bitmap of {image}");
    let in_use = |cluster: usize| {
        let byte = bitmap.get(cluster / 8).copied().unwrap_or(u8::MAX);
        byte >> (cluster % 8) & 1 == 1
    };
    let is_free = |block: usize| {
        let clusters = block * BLOCK / CLUSTER..(block + 1) * BLOCK / CLUSTER;
        let bytes = &volume[block * BLOCK..(block + 1) * BLOCK];
        !clusters.into_iter().any(in_use) && bytes.iter().all(|byte| *byte == 0)
    };
    let (mut best, mut began) = (0..0, 0);
    for block in 0..volume.len() / BLOCK {
        if !is_free(block) {
            began = block + 1;
        } else if block + 1 - began > best.len() {
            best = began..block + 1;
        }
    }
    ensure!(!best.is_empty(), "{image} has no free block");
    Ok((best.start * BLOCK) as u64)
}
