//! One reading of the content for everyone who wants all of its bytes.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::{Entropy, entropy::Histogram, source::Source};
use crate::ReadError;

/// Takes the bytes of a range, in order.
pub(super) trait Take {
    /// The next bytes; `at` is their offset in the stream.
    fn take(&mut self, at: u64, bytes: &[u8]);
}

/// Some ranges of a stream and what takes their bytes.
pub(super) struct Job<'t> {
    pub(super) range: Range<u64>,
    pub(super) taker: &'t mut dyn Take,
}

/// Feeds every job from one reading of the stream. Returns what could not be read: those bytes
/// were handed to nobody.
pub(super) fn pass(source: &Source<'_>, mut jobs: Vec<Job<'_>>) -> Vec<(Range<u64>, ReadError)> {
    jobs.retain(|job| job.range.start < job.range.end.min(source.len()));
    jobs.sort_by_key(|job| job.range.start);
    let mut unread: Vec<(Range<u64>, ReadError)> = Vec::new();
    // Jobs before `next` have begun; those that have ended are dropped from `open`.
    let (mut next, mut open) = (0, Vec::new());
    let Some(start) = jobs.first().map(|job| job.range.start) else {
        return unread;
    };
    let end = jobs.iter().map(|job| job.range.end).max().unwrap_or(start);
    source.blocks(start..end, |at, bytes, count| {
        let block = at..at + count;
        while jobs
            .get(next)
            .is_some_and(|job| job.range.start < block.end)
        {
            open.push(next);
            next += 1;
        }
        match bytes {
            Ok(bytes) => {
                for index in &open {
                    let job: &mut Job<'_> = &mut jobs[*index];
                    let from = job.range.start.max(block.start);
                    let to = job.range.end.min(block.end);
                    if from < to {
                        let part = &bytes[(from - at) as usize..(to - at) as usize];
                        job.taker.take(from, part);
                    }
                }
            }
            Err(error) if !open.is_empty() => match unread.last_mut() {
                Some((lost, _)) if lost.end == block.start => lost.end = block.end,
                _ => unread.push((block.clone(), error)),
            },
            Err(_) => {}
        }
        open.retain(|index| jobs[*index].range.end > block.end);
    });
    unread
}

/// Entropy and, where it is asked for, SHA-256 of one section.
///
/// It holds its counts only while its bytes come by: a file may have many thousand sections.
pub(super) struct Measure {
    left: u64,
    histogram: Option<Box<Histogram>>,
    sha256: Option<Sha256>,
    entropy: Entropy,
}

impl Measure {
    /// Both, of a section of that size.
    pub(super) fn hashed(size_bytes: u64) -> Self {
        Self {
            sha256: Some(Sha256::new()),
            ..Self::entropy(size_bytes)
        }
    }

    /// Entropy alone, of a section of that size.
    pub(super) fn entropy(size_bytes: u64) -> Self {
        Self {
            left: size_bytes,
            histogram: None,
            sha256: None,
            entropy: Entropy(0),
        }
    }

    pub(super) fn finish(self) -> Measured {
        Measured {
            entropy: self.entropy,
            sha256: self.sha256.map(|hash| hash.finalize().into()),
        }
    }
}

impl Take for Measure {
    fn take(&mut self, _at: u64, bytes: &[u8]) {
        let histogram = self
            .histogram
            .get_or_insert_with(|| Box::new(Histogram::new()));
        histogram.add(bytes);
        self.left = self.left.saturating_sub(bytes.len() as u64);
        if self.left == 0 {
            self.entropy = histogram.entropy();
            self.histogram = None;
        }
        if let Some(hash) = &mut self.sha256 {
            hash.update(bytes);
        }
    }
}

/// What a measuring pass found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Bits of information a byte.
    pub entropy: Entropy,
    /// SHA-256 of the bytes, where the format's lists of known sections use it.
    pub sha256: Option<[u8; 32]>,
}

/// Measures up to as many ranges as make sense for a file of that size: sections may overlap, and
/// a hostile table would have each byte hashed thousands of times.
pub(super) fn measurable(ranges: &[Range<u64>], len: u64) -> usize {
    const OVERLAP: u64 = 4;
    let mut left = len.saturating_mul(OVERLAP);
    ranges
        .iter()
        .take_while(|range| {
            let size = range.end.min(len).saturating_sub(range.start);
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        })
        .count()
}
