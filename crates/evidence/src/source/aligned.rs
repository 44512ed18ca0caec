//! Reads that begin and end on a device's block boundaries.

use std::ops::Range;

use scelle_formats::{RangeKind, ReadAt, ReadError};

/// Makes any read out of reads whose offset and length are multiples of a block size, as raw
/// devices want them (Windows volumes, `O_DIRECT`).
#[derive(Clone, Debug)]
pub struct Aligned<R> {
    inner: R,
    block_bytes: usize,
}

impl<R: ReadAt> Aligned<R> {
    /// Reads of `inner` in multiples of `block_bytes`.
    pub fn new(inner: R, block_bytes: u32) -> Self {
        Self {
            inner,
            block_bytes: block_bytes.max(1) as usize,
        }
    }

    /// Reads a part of one block.
    fn read_within(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let skip = (offset % self.block_bytes as u64) as usize;
        let mut block = vec![0; self.block_bytes];
        let have = self.inner.read_at(offset - skip as u64, &mut block)?;
        let count = have.saturating_sub(skip).min(buf.len());
        buf[..count].copy_from_slice(&block[skip..skip + count]);
        Ok(count)
    }
}

impl<R: ReadAt> ReadAt for Aligned<R> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let want = (buf.len() as u64).min(self.len().saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < want {
            let at = offset + done as u64;
            let skip = (at % self.block_bytes as u64) as usize;
            let whole = (want - done) / self.block_bytes * self.block_bytes;
            let outcome = if skip == 0 && whole > 0 {
                self.inner.read_at(at, &mut buf[done..done + whole])
            } else {
                let end = want.min(done + self.block_bytes - skip);
                self.read_within(at, &mut buf[done..end])
            };
            match outcome {
                Ok(0) => break,
                Ok(count) => done += count,
                // What was read stands; the next read will meet the error first.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        self.inner.ranges()
    }
}

#[cfg(test)]
mod tests {
    use scelle_formats::{Bytes, ReadAtExt as _};

    use super::*;

    const BLOCK: usize = 64;

    /// A device that refuses what is not aligned, as Windows does.
    struct Strict(Bytes);

    impl ReadAt for Strict {
        fn len(&self) -> u64 {
            self.0.len()
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
            assert_eq!(offset % BLOCK as u64, 0, "an offset that is not aligned");
            assert_eq!(buf.len() % BLOCK, 0, "a length that is not aligned");
            self.0.read_at(offset, buf)
        }
    }

    #[test]
    fn every_read_is_made_of_aligned_ones() {
        let bytes: Vec<u8> = (0..BLOCK * 5 + 10).map(|at| at as u8).collect();
        let device = Aligned::new(Strict(Bytes(bytes.clone())), BLOCK as u32);
        for start in 0..bytes.len() + 2 {
            for length in [0, 1, 63, 64, 65, 127, 128, 200, 400] {
                let mut buf = vec![0xEE; length];
                let have = device
                    .read_full_at(start as u64, &mut buf)
                    .expect("in memory");
                let end = (start + length).min(bytes.len());
                let expected = bytes.get(start..end).unwrap_or(&[]);
                assert_eq!(buf[..have], *expected, "{start} {length}");
            }
        }
    }
}
