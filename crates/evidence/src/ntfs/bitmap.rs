//! `$Bitmap`: which clusters belong to a file now.
//!
//! # Layout
//! One bit a cluster, the first in the lowest bit of the first byte; 1 is taken.

use scelle_formats::{RangeKind, ReadAt, ReadAtExt as _, ReadError};

use super::records::damaged;

/// Bits are counted in blocks of so many bytes.
const BLOCK_BYTES: u64 = 4096;
pub(super) const BLOCK_CLUSTERS: u64 = BLOCK_BYTES * 8;
/// How much is read at once while all bits are counted.
const STEP_BYTES: u64 = 1 << 20;
/// No volume of Windows has more than 2^32 clusters.
const MAX_BYTES: u64 = 512 << 20;

/// Which clusters are taken.
///
/// # Memory
/// 8 bytes for each 32,768 clusters.
pub(super) struct Allocation {
    /// `None` where it can't be read, or not all of it.
    stream: Option<Box<dyn ReadAt>>,
    /// How many clusters it speaks of.
    pub(super) clusters: u64,
    /// The taken ones before each block, and in all.
    before: Vec<u64>,
    error: Option<ReadError>,
}

/// The block that was looked at last.
#[derive(Debug, Default)]
pub(super) struct Block {
    number: Option<u64>,
    bytes: Vec<u8>,
}

impl Block {
    /// The bytes of a block, read where another was looked at before.
    pub(super) fn of(&mut self, bitmap: &dyn ReadAt, number: u64) -> Result<&[u8], ReadError> {
        if self.number != Some(number) {
            self.number = None;
            let start = number.saturating_mul(BLOCK_BYTES);
            let end = start.saturating_add(BLOCK_BYTES);
            self.bytes = bitmap.read_range(start..end, BLOCK_BYTES as usize)?;
            self.number = Some(number);
        }
        Ok(&self.bytes)
    }
}

impl Allocation {
    /// Reads the bitmap of a volume of so many clusters.
    pub(super) fn read(stream: Result<Box<dyn ReadAt>, ReadError>, clusters: u64) -> Self {
        let counted = stream.and_then(|stream| {
            let bytes = clusters.div_ceil(8).min(stream.len()).min(MAX_BYTES);
            let before = count(stream.as_ref(), bytes)?;
            Ok((stream, clusters.min(bytes * 8), before))
        });
        match counted {
            Ok((stream, clusters, before)) => Self {
                stream: Some(stream),
                clusters,
                before,
                error: None,
            },
            Err(error) => Self {
                stream: None,
                clusters: 0,
                before: Vec::new(),
                error: Some(error),
            },
        }
    }

    /// Why nothing is known.
    pub(super) fn error(&self) -> Option<&ReadError> {
        self.error.as_ref()
    }

    /// How many of these clusters are taken; `None` where nobody knows, or there are no such clusters.
    pub(super) fn taken(&self, lcn: u64, clusters: u64, block: &mut Block) -> Option<u64> {
        let end = lcn.checked_add(clusters)?;
        if end > self.clusters {
            return None;
        }
        let before_end = self.taken_before(end, block)?;
        Some(before_end - self.taken_before(lcn, block)?)
    }

    fn taken_before(&self, lcn: u64, block: &mut Block) -> Option<u64> {
        let number = lcn / BLOCK_CLUSTERS;
        let before = *self.before.get(number as usize)?;
        let bits = (lcn % BLOCK_CLUSTERS) as usize;
        if bits == 0 {
            return Some(before);
        }
        // It was read once already; what has changed since is a device at its end.
        let bytes = block.of(self.stream.as_deref()?, number).ok()?;
        let whole: u64 = ones(bytes.get(..bits / 8)?);
        let rest = match bits % 8 {
            0 => 0,
            rest => bytes.get(bits / 8)? & ((1 << rest) - 1),
        };
        Some(before + whole + u64::from(rest.count_ones()))
    }
}

fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words
        .iter()
        .map(|word| u64::from_le_bytes(*word).count_ones());
    let rest = rest.iter().map(|byte| byte.count_ones());
    words.chain(rest).map(u64::from).sum()
}

/// Counts the taken clusters before each block.
fn count(stream: &dyn ReadAt, bytes: u64) -> Result<Vec<u64>, ReadError> {
    if bytes == 0 {
        return Err(damaged("$Bitmap", 0, "it is empty".to_owned()));
    }
    // What is a hole would be zeros, and each cluster free: nobody made it so.
    if stream
        .ranges()
        .any(|(range, kind)| range.start < bytes && kind != RangeKind::Data)
    {
        let why = "not all of it is stored".to_owned();
        return Err(damaged("$Bitmap", 0, why));
    }
    let mut before = Vec::with_capacity(bytes.div_ceil(BLOCK_BYTES) as usize + 1);
    let (mut at, mut taken) = (0, 0);
    while at < bytes {
        let end = (at + STEP_BYTES).min(bytes);
        let piece = stream.read_range(at..end, STEP_BYTES as usize)?;
        if piece.len() as u64 != end - at {
            return Err(damaged("$Bitmap", at, "it ends too early".to_owned()));
        }
        for block in piece.chunks(BLOCK_BYTES as usize) {
            before.push(taken);
            taken += ones(block);
        }
        at = end;
    }
    before.push(taken);
    Ok(before)
}

#[cfg(test)]
mod tests {
    use scelle_formats::Bytes;

    use super::*;

    #[test]
    fn taken_clusters_are_counted_across_blocks() {
        let bytes: Vec<u8> = (0..3 * BLOCK_BYTES + 5)
            .map(|at| (at * 37 % 251) as u8)
            .collect();
        let clusters = bytes.len() as u64 * 8 - 3;
        let stream: Box<dyn ReadAt> = Box::new(Bytes(bytes.clone()));
        let allocation = Allocation::read(Ok(stream), clusters);
        let is_taken = |lcn: u64| bytes[lcn as usize / 8] >> (lcn % 8) & 1;
        let mut block = Block::default();
        for lcn in [
            0,
            1,
            7,
            8,
            32_760,
            32_767,
            32_768,
            65_535,
            98_000,
            clusters - 1,
        ] {
            for count in [0, 1, 2, 9, 40_000, clusters] {
                let expected = (lcn + count <= clusters)
                    .then(|| (lcn..lcn + count).map(|lcn| u64::from(is_taken(lcn))).sum());
                let found = allocation.taken(lcn, count, &mut block);
                assert_eq!(found, expected, "{count} from {lcn}");
            }
        }
        assert_eq!(allocation.taken(u64::MAX, 2, &mut block), None);
    }

    #[test]
    fn a_bitmap_that_can_not_be_read_says_nothing() {
        for stream in [
            Ok(Box::new(Bytes(Vec::new())) as Box<dyn ReadAt>),
            Err(ReadError::Unsupported { what: "a test" }),
        ] {
            let allocation = Allocation::read(stream, 100);
            assert!(allocation.error().is_some());
            assert_eq!(allocation.taken(0, 1, &mut Block::default()), None);
        }
    }
}
