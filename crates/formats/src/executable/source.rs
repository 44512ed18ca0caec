//! Random access with a bound: small files are read once, of large ones a few pages are kept.

use std::{borrow::Cow, cell::RefCell, rc::Rc};

use crate::{DecodeError, ReadAt, ReadAtExt, ReadError};

/// Files up to this size are read whole: one read instead of hundreds, and nearly all
/// executables are smaller.
const WHOLE_BYTES: u64 = 8 << 20;
const PAGE_BYTES: usize = 32 << 10;
/// 1 MiB of pages for a file of any size.
const PAGES: usize = 32;

/// A stream that is looked at in many small places.
pub(super) struct Source<'a> {
    stream: &'a dyn ReadAt,
    len: u64,
    whole: Option<Cow<'a, [u8]>>,
    /// Numbered pages, the one used last at the end.
    pages: RefCell<Vec<(u64, Rc<[u8]>)>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(stream: &'a dyn ReadAt) -> Self {
        let len = stream.len();
        let whole = match stream.as_slice() {
            Some(bytes) => Some(Cow::Borrowed(bytes)),
            // Where a part can't be read, page by page gives the most.
            None if len <= WHOLE_BYTES => stream
                .read_range(0..len, WHOLE_BYTES as usize)
                .ok()
                .filter(|bytes| bytes.len() as u64 == len)
                .map(Cow::Owned),
            None => None,
        };
        Self {
            stream,
            len,
            whole,
            pages: RefCell::default(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Up to `count` bytes from `offset`; fewer only where the stream ends. The caller has checked
    /// `count` against a limit of its own.
    pub(super) fn read(&self, offset: u64, count: usize) -> Result<Cow<'_, [u8]>, ReadError> {
        let count = (count as u64).min(self.len.saturating_sub(offset)) as usize;
        if count == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        if let Some(whole) = &self.whole {
            let start = offset as usize;
            return Ok(Cow::Borrowed(&whole[start..start + count]));
        }
        let mut bytes = vec![0; count];
        if count > PAGE_BYTES {
            self.stream.read_exact_at("stream", offset, &mut bytes)?;
            return Ok(Cow::Owned(bytes));
        }
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let page = self.page(at / PAGE_BYTES as u64)?;
            let start = (at % PAGE_BYTES as u64) as usize;
            let part = page.get(start..).filter(|part| !part.is_empty());
            let Some(part) = part else {
                return Err(ReadError::Short {
                    what: "stream",
                    offset: at,
                    need: (count - done) as u64,
                    have: 0,
                });
            };
            let step = part.len().min(count - done);
            bytes[done..done + step].copy_from_slice(&part[..step]);
            done += step;
        }
        Ok(Cow::Owned(bytes))
    }

    /// Exactly `count` bytes of `field`.
    pub(super) fn exact(
        &self,
        field: &'static str,
        offset: u64,
        count: usize,
    ) -> Result<Cow<'_, [u8]>, DecodeError> {
        let bytes = self.read(offset, count)?;
        if bytes.len() < count {
            return Err(DecodeError::Short {
                field,
                at: offset,
                need: count as u64,
                have: bytes.len() as u64,
            });
        }
        Ok(bytes)
    }

    /// The bytes from `offset` to the next zero, at most `limit`; cut where the stream ends.
    pub(super) fn string(&self, offset: u64, limit: usize) -> Result<Vec<u8>, ReadError> {
        let bytes = self.read(offset, limit)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        Ok(bytes[..end.unwrap_or(bytes.len())].to_vec())
    }

    /// The stream's content, front to back, in blocks: `each` gets a block's offset and its bytes,
    /// or why they can't be had.
    pub(super) fn blocks(
        &self,
        range: std::ops::Range<u64>,
        mut each: impl FnMut(u64, Result<&[u8], ReadError>, u64),
    ) {
        const BLOCK: usize = 256 << 10;
        let end = range.end.min(self.len);
        if let Some(whole) = &self.whole {
            // Blocks here too: what several takers hash stays in the cache between them.
            let mut at = range.start;
            while at < end {
                let stop = end.min(at + BLOCK as u64);
                each(at, Ok(&whole[at as usize..stop as usize]), stop - at);
                at = stop;
            }
            return;
        }
        let mut buffer = vec![0; BLOCK.min(end.saturating_sub(range.start) as usize)];
        let mut at = range.start;
        while at < end {
            let count = ((end - at) as usize).min(BLOCK);
            match self
                .stream
                .read_exact_at("stream", at, &mut buffer[..count])
            {
                Ok(()) => each(at, Ok(&buffer[..count]), count as u64),
                Err(error) => each(at, Err(error), count as u64),
            }
            at += count as u64;
        }
    }

    fn page(&self, number: u64) -> Result<Rc<[u8]>, ReadError> {
        let mut pages = self.pages.borrow_mut();
        if let Some(index) = pages.iter().position(|(kept, _)| *kept == number) {
            pages[index..].rotate_left(1);
        } else {
            let start = number * PAGE_BYTES as u64;
            let bytes = self
                .stream
                .read_range(start..start + PAGE_BYTES as u64, PAGE_BYTES)?;
            if pages.len() == PAGES {
                pages.remove(0);
            }
            pages.push((number, bytes.into()));
        }
        let (_, page) = pages.last().expect("one was just found or pushed");
        Ok(Rc::clone(page))
    }
}
