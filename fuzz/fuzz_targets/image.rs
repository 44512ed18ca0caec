//! Hostile disks: any bytes as one, and a sound one with hostile patches.

use std::{ops::ControlFlow, sync::Arc};

use scelle_evidence::{Entry, Evidence, Volume, open_source};
use scelle_formats::{Bytes, ReadAt, ReadAtExt, ReadError};

use crate::patch::patches;

static SOUND: &[u8] = include_bytes!("../../testdata/demo/workstation.raw");
/// Where the `$MFT` of that disk lies, nearly all of it in one piece.
const MFT_AT: usize = 81_920;
const MFT_BYTES: usize = 96 << 10;
/// Walks are cut off after so many entries, streams after so many bytes: a disk may state any
/// number of them, and the time for one input is limited.
const MAX_ENTRIES: usize = 500;
const MAX_BYTES: usize = 64 << 10;

/// Any bytes as a disk: partition tables, boot sectors, what follows.
pub fn any(data: &[u8]) {
    look_at(&open_source("fuzz".into(), Arc::new(Bytes(data.to_vec()))));
}

/// A sound disk, patched.
pub fn patched(data: &[u8]) {
    let patches = patches(data)
        .into_iter()
        .map(|(place, bytes)| {
            // Half of the places lie in the $MFT, where most of what is decoded lies.
            let at = if place & 1 == 0 {
                MFT_AT + (place >> 1) % MFT_BYTES
            } else {
                (place >> 1) % SOUND.len()
            };
            (at as u64, bytes.to_vec())
        })
        .collect();
    look_at(&open_source("fuzz".into(), Arc::new(Patched(patches))));
}

struct Patched(Vec<(u64, Vec<u8>)>);

impl ReadAt for Patched {
    fn len(&self) -> u64 {
        SOUND.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let count = Bytes(SOUND).read_at(offset, buf)?;
        let end = offset + count as u64;
        for (at, bytes) in &self.0 {
            for (place, byte) in (*at..).zip(bytes) {
                if (offset..end).contains(&place) {
                    buf[(place - offset) as usize] = *byte;
                }
            }
        }
        Ok(count)
    }
}

pub fn look_at(evidence: &Evidence) {
    for volume in &evidence.volumes {
        let mut entries = Vec::new();
        volume.walk(&mut |entry| {
            entries.extend(entry.ok());
            if entries.len() < MAX_ENTRIES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        for entry in &entries {
            read_all(volume.as_ref(), entry);
        }
        // What no walk shows, and what is found by the index of its directory.
        for name in ["$Bitmap:$UNUSED:$CLUSTERS", "$Extend/$UsnJrnl:$J"] {
            let id = format!("{}/{name}", volume.info().id).parse();
            if let Ok(stream) = volume.open(&id.expect("the name of a stream")) {
                read(stream.as_ref());
            }
        }
    }
}

fn read_all(volume: &dyn Volume, entry: &Entry) {
    for info in &entry.streams {
        if let Ok(stream) = volume.open_entry(entry, info.name.as_ref()) {
            read(stream.as_ref());
        }
    }
}

fn read(stream: &dyn ReadAt) {
    // An error is an answer; more bytes than asked for would not be.
    if let Ok(bytes) = stream.read_range(0..u64::MAX, MAX_BYTES) {
        assert!(
            bytes.len() as u64 <= stream.len(),
            "a stream ends where it says"
        );
    }
    let tail = stream.len().saturating_sub(16);
    if let Ok(bytes) = stream.read_range(tail..u64::MAX, MAX_BYTES) {
        assert!(bytes.len() <= 16, "a stream ends where it says");
    }
    let mut next = 0;
    for (range, _) in stream.ranges().take(MAX_ENTRIES) {
        assert_eq!(range.start, next, "ranges follow one another");
        assert!(range.end > range.start, "a range holds bytes");
        next = range.end;
    }
}
