//! A BitLocker volume as Windows sees it.

use std::{ops::Range, sync::Arc};

use scelle_formats::{
    RangeKind, ReadAt, ReadAtExt as _, ReadError,
    bitlocker::{Boot, Metadata},
};

use super::{
    cipher::{MAX_SECTOR_BYTES, SectorCipher},
    conversion::Extents,
};
use crate::image::Joined;

/// What a sector of Vista's volumes begins with until it is one of NTFS again.
const VISTA_CLEAR_BYTES: u64 = 8192;

/// How the bytes of a run are had.
enum Place {
    /// As they stand, at an offset of the source.
    Clear(u64),
    /// Decrypted, from an offset of the source.
    Encrypted(u64),
    /// Vista's first sector, which is that of NTFS but for two fields.
    VistaBoot,
    /// They are BitLocker's own: zeros.
    Own,
    /// A step of a conversion was cut there.
    Cut,
}

/// The decrypted volume. Reads need no lock and keep nothing.
pub(super) struct Decrypted {
    pub(super) source: Arc<dyn ReadAt>,
    pub(super) sector_bytes: u64,
    /// None where nothing is encrypted any more.
    pub(super) cipher: Option<SectorCipher>,
    /// What is encrypted, by where it lies.
    pub(super) extents: Extents,
    /// What is BitLocker's own, in order, without overlaps.
    pub(super) own: Vec<Range<u64>>,
    /// How much of the volume's beginning lies elsewhere, and where.
    pub(super) moved: (u64, u64),
    /// The cluster of `$MFTMirr`, where this is a volume of Vista.
    pub(super) vista_mirror: Option<u64>,
    /// What a cut step of a conversion was about.
    pub(super) cut: Range<u64>,
}

impl Decrypted {
    /// Sets up the view of a volume.
    pub(super) fn new(
        source: Arc<dyn ReadAt>,
        boot: &Boot,
        metadata: &Metadata,
        cipher: Option<SectorCipher>,
        extents: Extents,
        own: Vec<Range<u64>>,
    ) -> Self {
        let sector_bytes = u64::from(boot.sector_bytes);
        let moved = u64::from(metadata.moved_sectors) * sector_bytes;
        let step = u64::from(metadata.step_bytes).next_multiple_of(sector_bytes);
        let cut_at = metadata.encrypted_bytes / sector_bytes * sector_bytes;
        let is_cut = metadata.state == scelle_formats::bitlocker::State::Dirty;
        Self {
            source,
            sector_bytes,
            cipher,
            extents,
            own: merged(own),
            moved: (moved, metadata.moved_to),
            vista_mirror: (metadata.version == 1).then_some(metadata.moved_to),
            cut: cut_at..if is_cut {
                cut_at.saturating_add(step)
            } else {
                cut_at
            },
        }
    }

    /// Where a byte lies, and for how many bytes from there that holds.
    fn locate(&self, offset: u64) -> (Place, u64) {
        let whole = self.len() - offset;
        if self.vista_mirror.is_some() && offset < VISTA_CLEAR_BYTES {
            return match offset.checked_sub(self.sector_bytes) {
                None => (Place::VistaBoot, self.sector_bytes - offset),
                Some(_) => (Place::Clear(offset), VISTA_CLEAR_BYTES - offset),
            };
        }
        let (moved, moved_to) = self.moved;
        let (at, run) = if offset < moved {
            // A place that no volume has is read as one that has nothing.
            (moved_to.saturating_add(offset), moved - offset)
        } else {
            let after = self.own.partition_point(|own| own.end <= offset);
            match self.own.get(after) {
                Some(own) if own.start <= offset => return (Place::Own, own.end - offset),
                Some(own) => (offset, own.start - offset),
                None => (offset, whole),
            }
        };
        if self.cut.contains(&at) {
            return (Place::Cut, run.min(self.cut.end - at));
        }
        let run = match self.cut.start.checked_sub(at) {
            Some(before @ 1..) if !self.cut.is_empty() => run.min(before),
            _ => run,
        };
        let (is_encrypted, extent) = self.extents.at(at);
        let place = if is_encrypted {
            Place::Encrypted(at)
        } else {
            Place::Clear(at)
        };
        (place, run.min(extent))
    }

    fn place(&self, offset: u64) -> (Place, u64) {
        let (place, run) = self.locate(offset);
        (place, run.clamp(1, self.len() - offset))
    }

    /// Reads within one run; 0 is never returned.
    fn read_run(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let (place, run) = self.place(offset);
        let count = (buf.len() as u64).min(run) as usize;
        let buf = &mut buf[..count];
        match place {
            Place::Own => {
                buf.fill(0);
                Ok(count)
            }
            Place::Clear(at) => self.stored(at, buf),
            Place::Encrypted(at) => self.decrypted(at, buf),
            Place::VistaBoot => self.vista_boot(offset, buf),
            Place::Cut => Err(ReadError::Damaged {
                what: "a part of a BitLocker volume",
                offset,
                why: "it was being converted when that was cut off; whether it is encrypted, \
                      nothing says"
                    .to_owned(),
            }),
        }
    }

    fn stored(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        match self.source.read_at(at, buf)? {
            0 => Err(self.past_end(at, buf.len())),
            have => Ok(have),
        }
    }

    fn past_end(&self, at: u64, need: usize) -> ReadError {
        ReadError::Short {
            what: "a sector of a BitLocker volume",
            offset: at,
            need: need as u64,
            have: self.source.len().saturating_sub(at).min(need as u64),
        }
    }

    fn decrypted(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let Some(cipher) = &self.cipher else {
            return self.stored(at, buf);
        };
        let within = (at % self.sector_bytes) as usize;
        let whole = buf.len() - buf.len() % self.sector_bytes as usize;
        if within > 0 || whole == 0 {
            return self.part_of_sector(cipher, at - within as u64, within, buf);
        }
        let have = self.source.read_full_at(at, &mut buf[..whole]);
        let have = match have {
            Ok(have) => have - have % self.sector_bytes as usize,
            // The first sector tells whether it is the bad one.
            Err(_) => 0,
        };
        if have == 0 {
            let one = self.sector_bytes as usize;
            return self.part_of_sector(cipher, at, 0, &mut buf[..one]);
        }
        cipher.decrypt(at, &mut buf[..have]);
        Ok(have)
    }

    /// Reads from the middle of a sector, of which all has to be read.
    fn part_of_sector(
        &self,
        cipher: &SectorCipher,
        at: u64,
        within: usize,
        buf: &mut [u8],
    ) -> Result<usize, ReadError> {
        let mut sector = [0; MAX_SECTOR_BYTES];
        let sector = &mut sector[..self.sector_bytes as usize];
        self.source
            .read_exact_at("a sector of a BitLocker volume", at, sector)?;
        cipher.decrypt(at, sector);
        let count = buf.len().min(sector.len() - within);
        buf[..count].copy_from_slice(&sector[within..within + count]);
        Ok(count)
    }

    fn vista_boot(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut sector = [0; MAX_SECTOR_BYTES];
        let sector = &mut sector[..self.sector_bytes as usize];
        self.source
            .read_exact_at("the first sector of a BitLocker volume", 0, sector)?;
        sector[3..11].copy_from_slice(b"NTFS    ");
        let mirror = self.vista_mirror.unwrap_or(0);
        sector[56..64].copy_from_slice(&mirror.to_le_bytes());
        let rest = &sector[offset as usize..];
        let count = buf.len().min(rest.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl ReadAt for Decrypted {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let want = (buf.len() as u64).min(self.len().saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < want {
            match self.read_run(offset + done as u64, &mut buf[done..want]) {
                Ok(count) => done += count,
                // What was read stands; the next read will meet the error first.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        let mut at = 0;
        let runs = std::iter::from_fn(move || {
            (at < self.len()).then(|| {
                let (place, run) = self.place(at);
                let range = at..at + run;
                at = range.end;
                let kind = match place {
                    Place::Own => RangeKind::Hole,
                    Place::Cut => RangeKind::Unreadable,
                    Place::Clear(_) | Place::Encrypted(_) | Place::VistaBoot => RangeKind::Data,
                };
                (range, kind)
            })
        });
        Box::new(Joined::new(runs))
    }
}

/// Ranges in order, joined where they meet.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut out: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}
