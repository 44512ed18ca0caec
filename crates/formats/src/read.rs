//! Positioned reads.

use std::{ops::Range, sync::Arc};

use crate::ReadError;

/// What lies in a range of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RangeKind {
    /// Stored bytes.
    Data,
    /// A hole: nothing is stored, zeros are read.
    Hole,
    /// Allocated, but past the valid data length: zeros are read.
    PastValid,
    /// Stored, but it can't be read.
    Unreadable,
}

/// Positioned reads through `&self`, so that many threads read at once without a lock.
pub trait ReadAt: Send + Sync {
    /// The length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads at `offset` into `buf`; fewer bytes than asked for only where the stream ends or
    /// turns unreadable, 0 at or past the end.
    ///
    /// # Errors
    /// When not one byte at `offset` can be read.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError>;

    /// What lies where, from 0 to the length, without gaps, in order.
    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        Box::new(
            (!self.is_empty())
                .then(|| (0..self.len(), RangeKind::Data))
                .into_iter(),
        )
    }

    /// Where on its volume the byte at `offset` is stored as it is, and how many of those that follow it in the stream follow
    /// it there; `None` where nothing is stored, or not as it is, or it isn't known.
    fn stored_at(&self, _offset: u64) -> Option<Range<u64>> {
        None
    }

    /// The whole stream as memory, where it is memory already.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }

    /// The bytes of `range`, where these are memory already: a stream in a mapped image may lie there in
    /// pieces, each of which needs no copy.
    fn slice_at(&self, range: Range<u64>) -> Option<&[u8]> {
        let (start, end) = (range.start.try_into().ok()?, range.end.try_into().ok()?);
        self.as_slice()?.get::<Range<usize>>(start..end)
    }
}

/// What every [`ReadAt`] can do besides.
pub trait ReadAtExt: ReadAt {
    /// Fills `buf` from `offset`, as far as the stream goes; returns how many bytes were read.
    ///
    /// # Errors
    /// When a byte before the end can't be read.
    fn read_full_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let count = self.read_at(offset.saturating_add(done as u64), &mut buf[done..])?;
            if count == 0 {
                break;
            }
            done += count;
        }
        Ok(done)
    }

    /// Fills all of `buf` from `offset`.
    ///
    /// # Errors
    /// [`ReadError::Short`], naming `what`, when the stream ends before; else as `read_at`.
    fn read_exact_at(
        &self,
        what: &'static str,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), ReadError> {
        let have = self.read_full_at(offset, buf)?;
        if have < buf.len() {
            return Err(ReadError::Short {
                what,
                offset,
                need: buf.len() as u64,
                have: have as u64,
            });
        }
        Ok(())
    }

    /// The bytes of `range`, cut at the end of the stream and at `cap` bytes.
    ///
    /// # Errors
    /// When a byte before the end can't be read.
    fn read_range(&self, range: Range<u64>, cap: usize) -> Result<Vec<u8>, ReadError> {
        let end = range.end.min(self.len());
        let length = end.saturating_sub(range.start).min(cap as u64) as usize;
        let mut bytes = vec![0; length];
        let have = self.read_full_at(range.start, &mut bytes)?;
        bytes.truncate(have);
        Ok(bytes)
    }
}

impl<R: ReadAt + ?Sized> ReadAtExt for R {}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        (**self).read_at(offset, buf)
    }
    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        (**self).ranges()
    }
    fn stored_at(&self, offset: u64) -> Option<Range<u64>> {
        (**self).stored_at(offset)
    }
    fn as_slice(&self) -> Option<&[u8]> {
        (**self).as_slice()
    }
    fn slice_at(&self, range: Range<u64>) -> Option<&[u8]> {
        (**self).slice_at(range)
    }
}

macro_rules! forward {
    ($pointer:ident) => {
        impl<R: ReadAt + ?Sized> ReadAt for $pointer<R> {
            fn len(&self) -> u64 {
                (**self).len()
            }
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
                (**self).read_at(offset, buf)
            }
            fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
                (**self).ranges()
            }
            fn stored_at(&self, offset: u64) -> Option<Range<u64>> {
                (**self).stored_at(offset)
            }
            fn as_slice(&self) -> Option<&[u8]> {
                (**self).as_slice()
            }
            fn slice_at(&self, range: Range<u64>) -> Option<&[u8]> {
                (**self).slice_at(range)
            }
        }
    };
}
forward!(Arc);
forward!(Box);

/// Bytes in memory.
#[derive(Clone, Debug)]
pub struct Bytes<T = Vec<u8>>(pub T);

impl<T: AsRef<[u8]> + Send + Sync> ReadAt for Bytes<T> {
    fn len(&self) -> u64 {
        self.0.as_ref().len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let bytes = self.0.as_ref();
        let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
        let count = buf.len().min(bytes.len() - start);
        buf[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self.0.as_ref())
    }
}

/// A part of another stream: a partition, a member.
#[derive(Clone, Debug)]
pub struct Window<R> {
    inner: R,
    start: u64,
    len: u64,
}

impl<R: ReadAt> Window<R> {
    /// The bytes of `range`; what lies past the end of `inner` is not part of it.
    pub fn new(inner: R, range: Range<u64>) -> Self {
        let start = range.start.min(inner.len());
        let len = range.end.min(inner.len()).saturating_sub(start);
        Self { inner, start, len }
    }

    /// Where it begins in the other stream.
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl<R: ReadAt> ReadAt for Window<R> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let left = self.len.saturating_sub(offset);
        let count = (buf.len() as u64).min(left) as usize;
        if count == 0 {
            return Ok(0);
        }
        self.inner.read_at(self.start + offset, &mut buf[..count])
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        let (start, end) = (self.start, self.start + self.len);
        Box::new(self.inner.ranges().filter_map(move |(range, kind)| {
            let clipped = range.start.max(start)..range.end.min(end);
            (clipped.start < clipped.end)
                .then(|| (clipped.start - start..clipped.end - start, kind))
        }))
    }

    fn as_slice(&self) -> Option<&[u8]> {
        let start = usize::try_from(self.start).ok()?;
        let end = usize::try_from(self.start + self.len).ok()?;
        self.inner.as_slice()?.get(start..end)
    }

    fn slice_at(&self, range: Range<u64>) -> Option<&[u8]> {
        let is_inside = range.start <= range.end && range.end <= self.len;
        let shifted = is_inside.then(|| self.start + range.start..self.start + range.end)?;
        self.inner.slice_at(shifted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_clip() {
        let window = Window::new(Bytes(vec![1u8, 2, 3, 4, 5]), 1..99);
        assert_eq!(window.len(), 4);
        let mut buf = [0; 8];
        assert_eq!(window.read_full_at(2, &mut buf).expect("in memory"), 2);
        assert_eq!(buf[..2], [4, 5]);
        assert_eq!(window.read_at(4, &mut buf).expect("in memory"), 0);
        assert_eq!(window.as_slice(), Some(&[2u8, 3, 4, 5][..]));
        assert_eq!(window.slice_at(1..3), Some(&[3u8, 4][..]));
        assert_eq!(window.slice_at(1..5), None);
        let ranges: Vec<_> = window.ranges().collect();
        assert_eq!(ranges, [(0..4, RangeKind::Data)]);
    }
}
