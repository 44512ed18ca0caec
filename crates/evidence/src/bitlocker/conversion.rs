//! Which parts of a volume are encrypted while it is being converted.

use std::{ops::Range, sync::Arc};

use scelle_formats::{
    ReadAt, ReadAtExt as _, ReadError,
    bitlocker::{Boot, Conversion, ConversionMap, Metadata, State},
};

/// More changes between clear and encrypted than any conversion leaves: 16 bytes each.
const MAX_EXTENTS: usize = 1 << 20;

/// What is encrypted, by where it lies.
pub(super) struct Extents {
    /// Where something begins, and whether it is encrypted; in order, from 0 on.
    starts: Vec<(u64, bool)>,
}

impl Extents {
    /// Encrypted up to an offset, clear from there on.
    fn up_to(encrypted: u64) -> Self {
        Self {
            starts: match encrypted {
                0 => vec![(0, false)],
                u64::MAX => vec![(0, true)],
                _ => vec![(0, true), (encrypted, false)],
            },
        }
    }

    /// Whether a place is encrypted, and for how many bytes from there that holds.
    pub(super) fn at(&self, offset: u64) -> (bool, u64) {
        let after = self.starts.partition_point(|(start, _)| *start <= offset);
        let is_encrypted = after.checked_sub(1).is_some_and(|at| self.starts[at].1);
        let end = self.starts.get(after).map_or(u64::MAX, |(start, _)| *start);
        (is_encrypted, end - offset)
    }

    /// Says of a place, which is not before any that was spoken of, and of all after it.
    fn push(&mut self, start: u64, is_encrypted: bool) -> bool {
        if self
            .starts
            .last()
            .is_some_and(|last| last.1 == is_encrypted)
        {
            return true;
        }
        match self.starts.last_mut() {
            Some(last) if last.0 == start => last.1 = is_encrypted,
            _ => self.starts.push((start, is_encrypted)),
        }
        self.starts.len() < MAX_EXTENTS
    }
}

/// What is encrypted of a volume, and what BitLocker keeps for a conversion under way.
pub(super) fn extents(
    source: &Arc<dyn ReadAt>,
    boot: &Boot,
    metadata: &Metadata,
    losses: &mut Vec<ReadError>,
) -> (Extents, Vec<Range<u64>>) {
    let sector = u64::from(boot.sector_bytes);
    let plain = match metadata.state {
        State::Decrypted => Extents::up_to(0),
        _ if metadata.encrypted_bytes == 0 => Extents::up_to(u64::MAX),
        _ => Extents::up_to(metadata.encrypted_bytes / sector * sector),
    };
    let mut own = Vec::new();
    let mut why = Vec::new();
    for at in boot.conversion_at.into_iter().flatten() {
        match maps(source, at, sector) {
            Ok((conversion, maps)) => {
                let kept = u64::from(conversion.size).next_multiple_of(sector);
                let copies = boot.conversion_at.into_iter().flatten();
                own.extend(copies.map(|at| at..at.saturating_add(kept)));
                for (at, map) in &maps {
                    own.push(*at..at.saturating_add(map.size.into()));
                    let log = u64::from(conversion.log_bytes);
                    own.push(map.log_at..map.log_at.saturating_add(log));
                }
                losses.append(&mut why);
                if metadata.state == State::Decrypted {
                    return (plain, own);
                }
                let chunk = u64::from(conversion.chunk_bytes);
                losses.extend(maps.iter().filter_map(|(at, map)| short(*at, map, chunk)));
                return match join(&plain, chunk, maps) {
                    Some(extents) => (extents, own),
                    None => {
                        losses.push(damaged(at, "it is more torn than any conversion leaves it"));
                        (plain, own)
                    }
                };
            }
            Err(error) => why.push(error),
        }
    }
    losses.append(&mut why);
    (plain, own)
}

/// What is to be said of a map whose bits don't reach the end of its region.
fn short(at: u64, map: &ConversionMap, chunk: u64) -> Option<ReadError> {
    let reached = u64::from(map.bits).saturating_mul(chunk);
    (reached < map.region_bytes).then(|| {
        let why = format!(
            "its bits are of {reached} bytes, its region has {}; of the rest the metadata alone say whether it is encrypted",
            map.region_bytes
        );
        damaged(at, &why)
    })
}

/// Reads the maps of every region, in the order of the regions, and where they lie.
fn maps(
    source: &Arc<dyn ReadAt>,
    at: u64,
    sector: u64,
) -> Result<(Conversion, Vec<(u64, ConversionMap)>), ReadError> {
    let invalid = |at: u64, why: &dyn ToString| damaged(at, &why.to_string());
    let bytes = source.read_range(at..at.saturating_add(u16::MAX.into()), u16::MAX.into())?;
    let conversion = Conversion::parse(&bytes, at).map_err(|error| invalid(at, &error))?;
    if conversion.chunk_bytes == 0 || u64::from(conversion.chunk_bytes) % sector != 0 {
        return Err(invalid(at, &"its chunks are no sectors"));
    }
    let mut maps = Vec::with_capacity(conversion.bitmaps_at.len());
    for at in &conversion.bitmaps_at {
        let end = at.saturating_add(ConversionMap::MAX_BYTES as u64);
        let bytes = source.read_range(*at..end, ConversionMap::MAX_BYTES)?;
        let map = ConversionMap::parse(&bytes, *at).map_err(|error| invalid(*at, &error))?;
        if map.region_at % sector != 0 || map.region_at.checked_add(map.region_bytes).is_none() {
            return Err(invalid(*at, &"its region is none"));
        }
        maps.push((*at, map));
    }
    maps.sort_by_key(|(_, map)| map.region_at);
    Ok((conversion, maps))
}

/// What the maps say of their regions, and `plain` of all else; `None` where that is too much.
fn join(plain: &Extents, chunk: u64, maps: Vec<(u64, ConversionMap)>) -> Option<Extents> {
    let mut joined = Extents { starts: Vec::new() };
    let mut at = 0;
    for (_, map) in maps {
        // A region that lies in another has been spoken of.
        let start = map.region_at.max(at);
        // What its bits don't reach, it says nothing of.
        let reached = u64::from(map.bits)
            .saturating_mul(chunk)
            .min(map.region_bytes);
        let end = map.region_at + reached;
        if end <= start {
            continue;
        }
        if !copy(&mut joined, plain, at..start) {
            return None;
        }
        for bit in 0..u64::from(map.bits) {
            let from = map.region_at.saturating_add(bit.saturating_mul(chunk));
            if from >= end {
                break;
            }
            let byte = map.bitmap.get((bit / 8) as usize).copied().unwrap_or(0);
            let is_encrypted = byte >> (bit % 8) & 1 == 1;
            if !joined.push(from.max(start), is_encrypted) {
                return None;
            }
        }
        at = end;
    }
    copy(&mut joined, plain, at..u64::MAX).then_some(joined)
}

/// Takes over what is said of a range.
fn copy(joined: &mut Extents, plain: &Extents, range: Range<u64>) -> bool {
    let mut at = range.start;
    while at < range.end {
        let (is_encrypted, run) = plain.at(at);
        if !joined.push(at, is_encrypted) {
            return false;
        }
        at = at.saturating_add(run);
    }
    true
}

fn damaged(offset: u64, why: &str) -> ReadError {
    ReadError::Damaged {
        what: "the state of a BitLocker volume's conversion",
        offset,
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(region_at: u64, region_bytes: u64, bits: u32, bitmap: &[u8]) -> (u64, ConversionMap) {
        let map = ConversionMap {
            region_at,
            region_bytes,
            log_at: 0,
            size: 0,
            bits,
            bitmap: bitmap.to_vec(),
        };
        (0, map)
    }

    #[test]
    fn maps_are_joined_with_what_lies_between_them() {
        let plain = Extents::up_to(1000);
        let maps = vec![
            map(100, 300, 3, &[0b101]),
            // It begins in the one before.
            map(350, 150, 2, &[0b10]),
            map(600, 100, 1, &[0]),
        ];
        let joined = join(&plain, 100, maps).expect("few");
        let expected = [
            (0, true),
            (200, false),
            (300, true),
            (400, false),
            (450, true),
            (600, false),
            (700, true),
            (1000, false),
        ];
        assert_eq!(joined.starts, expected);
        assert_eq!(joined.at(199), (true, 1));
        assert_eq!(joined.at(1000), (false, u64::MAX - 1000));
    }

    #[test]
    fn of_what_no_bit_reaches_the_metadata_tell() {
        let maps = vec![map(100, 1000, 2, &[0b00])];
        assert!(short(0, &maps[0].1, 100).is_some());
        assert!(short(0, &maps[0].1, 500).is_none());
        let joined = join(&Extents::up_to(1000), 100, maps).expect("few");
        let expected = [(0, true), (100, false), (300, true), (1000, false)];
        assert_eq!(joined.starts, expected);
    }

    #[test]
    fn more_than_any_conversion_leaves_is_refused() {
        let torn = map(0, u64::MAX - 1, 8 << 20, &vec![0x55; 1 << 20]);
        assert!(join(&Extents::up_to(1), 512, vec![torn]).is_none());
    }
}
