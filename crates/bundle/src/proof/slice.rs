//! Slices of a stream under its BLAKE3.
//!
//! BLAKE3 is a tree: leaves of 1 KiB, pairs of nodes above them. A slice holds the leaves that were asked for, and of each node above one
//! of them the two chaining values below it (64 bytes), in the order of a walk from the root, left before right. Whoever has
//! the hash computes every node again, so that each leaf is at its place in a stream of that hash. (Tree and
//! chaining values: the BLAKE3 paper, sections 2.1 to 2.5; `left` of `len` bytes is the largest power of two of leaves below `len`.)
//!
//! # What is not shown
//! The length, unless the last leaf is among them: a stream that is said to be longer or shorter may have the same nodes.

use std::ops::Range;

use blake3::{
    Hasher,
    hazmat::{
        ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root,
        merge_subtrees_root,
    },
};
use scelle_formats::{ReadAt, ReadAtExt as _, ReadError};

/// Bytes of a leaf.
pub(crate) const LEAF_BYTES: u64 = 1024;
/// Longer streams have no BLAKE3: their leaves can't be counted.
const MOST_BYTES: u64 = 1 << 60;
const NODE_BYTES: usize = 64;
/// Bytes that are hashed at a time.
const STEP_BYTES: usize = 1 << 20;

/// Ranges, widened to leaves, in order, none of which touches another; none where they leave the stream.
pub(crate) fn leaves(len: u64, ranges: &[Range<u64>]) -> Option<Vec<Range<u64>>> {
    let mut wide: Vec<Range<u64>> = Vec::new();
    let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).collect();
    sorted.sort_unstable_by_key(|range| range.start);
    for range in sorted {
        if range.end > len || len > MOST_BYTES {
            return None;
        }
        let start = range.start / LEAF_BYTES * LEAF_BYTES;
        let end = range.end.next_multiple_of(LEAF_BYTES).min(len);
        match wide.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => wide.push(start..end),
        }
    }
    Some(wide)
}

/// Reads all of a stream, and gives its BLAKE3 and the slice of `wanted`, which are [`leaves`] and not empty.
///
/// # Errors
/// Where the stream can't be read.
pub(crate) fn cut(
    stream: &dyn ReadAt,
    wanted: &[Range<u64>],
) -> Result<(blake3::Hash, Vec<u8>), ReadError> {
    let mut slice = Vec::new();
    let len = stream.len();
    if len <= LEAF_BYTES {
        slice = exact(stream, 0..len)?;
        return Ok((blake3::hash(&slice), slice));
    }
    let cutter = Cutter { stream, wanted };
    let (left, right) = cutter.children(0..len, &mut slice)?;
    Ok((merge_subtrees_root(&left, &right, Mode::Hash), slice))
}

fn exact(stream: &dyn ReadAt, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    stream.read_exact_at("a sealed stream", range.start, &mut bytes)?;
    Ok(bytes)
}

/// Whether something of `range` is wanted.
fn is_wanted(wanted: &[Range<u64>], range: &Range<u64>) -> bool {
    let after = wanted.partition_point(|one| one.end <= range.start);
    wanted.get(after).is_some_and(|one| one.start < range.end)
}

/// The two halves of a node.
fn halves(range: &Range<u64>) -> (Range<u64>, Range<u64>) {
    let middle = range.start + left_subtree_len(range.end - range.start);
    (range.start..middle, middle..range.end)
}

struct Cutter<'a> {
    stream: &'a dyn ReadAt,
    wanted: &'a [Range<u64>],
}

impl Cutter<'_> {
    fn children(
        &self,
        range: Range<u64>,
        slice: &mut Vec<u8>,
    ) -> Result<(ChainingValue, ChainingValue), ReadError> {
        let place = slice.len();
        slice.resize(place + NODE_BYTES, 0);
        let (left, right) = halves(&range);
        let left = self.node(left, slice)?;
        let right = self.node(right, slice)?;
        slice[place..place + 32].copy_from_slice(&left);
        slice[place + 32..place + NODE_BYTES].copy_from_slice(&right);
        Ok((left, right))
    }

    fn node(&self, range: Range<u64>, slice: &mut Vec<u8>) -> Result<ChainingValue, ReadError> {
        if !is_wanted(self.wanted, &range) {
            return self.hash(range);
        }
        if range.end - range.start <= LEAF_BYTES {
            let bytes = exact(self.stream, range.clone())?;
            slice.extend_from_slice(&bytes);
            return Ok(leaf(range.start, &bytes));
        }
        let (left, right) = self.children(range, slice)?;
        Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
    }

    /// A node of which nothing is wanted.
    fn hash(&self, range: Range<u64>) -> Result<ChainingValue, ReadError> {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(range.start);
        let mut buffer = vec![0; STEP_BYTES.min((range.end - range.start) as usize)];
        let mut at = range.start;
        while at < range.end {
            let step = buffer.len().min((range.end - at) as usize);
            self.stream
                .read_exact_at("a sealed stream", at, &mut buffer[..step])?;
            hasher.update(&buffer[..step]);
            at += step as u64;
        }
        Ok(hasher.finalize_non_root())
    }
}

/// The chaining value of a leaf at its place in a larger stream.
fn leaf(at: u64, bytes: &[u8]) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(at);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// The parts of a stream that a slice shows; a read of anything else is an error.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    len: u64,
    /// Where each part begins, and its bytes.
    parts: Vec<(u64, Vec<u8>)>,
}

impl Shown {
    /// Reads a slice of the stream that has that hash, and is said to have that length.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub(crate) fn check(
        hash: &[u8; 32],
        len: u64,
        ranges: &[Range<u64>],
        slice: &[u8],
    ) -> Result<Self, String> {
        let wanted = leaves(len, ranges).ok_or("it shows what lies outside of the stream")?;
        if wanted != ranges || wanted.is_empty() {
            return Err("its ranges are not whole leaves in order".into());
        }
        let mut reader = Reader {
            wanted: &wanted,
            left: slice,
            parts: Vec::new(),
        };
        if len <= LEAF_BYTES {
            let bytes = reader.take(len as usize)?;
            if blake3::hash(bytes).as_bytes() != hash {
                return Err("its bytes are not those of the hash".into());
            }
            reader.show(0, bytes);
        } else {
            reader.children(0..len, |left, right| {
                *merge_subtrees_root(left, right, Mode::Hash).as_bytes() == *hash
            })?;
        }
        if !reader.left.is_empty() {
            return Err("it has more bytes than it shows".into());
        }
        Ok(Self {
            len,
            parts: reader.parts,
        })
    }
}

struct Reader<'a> {
    wanted: &'a [Range<u64>],
    left: &'a [u8],
    parts: Vec<(u64, Vec<u8>)>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, left) = self.left.split_at_checked(count).ok_or("it is cut")?;
        self.left = left;
        Ok(taken)
    }

    fn show(&mut self, at: u64, bytes: &[u8]) {
        match self.parts.last_mut() {
            Some((begin, last)) if *begin + last.len() as u64 == at => {
                last.extend_from_slice(bytes)
            }
            _ => self.parts.push((at, bytes.to_vec())),
        }
    }

    fn children(
        &mut self,
        range: Range<u64>,
        fits: impl FnOnce(&ChainingValue, &ChainingValue) -> bool,
    ) -> Result<(), String> {
        let values = self.take(NODE_BYTES)?;
        let (left, right) = values.split_at(32);
        let value =
            |bytes: &[u8]| ChainingValue::try_from(bytes).map_err(|_| "it is cut".to_owned());
        let (left, right) = (value(left)?, value(right)?);
        if !fits(&left, &right) {
            return Err(format!("the node over {range:?} is not that of the hash"));
        }
        let (first, second) = halves(&range);
        self.node(first, &left)?;
        self.node(second, &right)
    }

    fn node(&mut self, range: Range<u64>, wanted: &ChainingValue) -> Result<(), String> {
        if !is_wanted(self.wanted, &range) {
            return Ok(());
        }
        if range.end - range.start <= LEAF_BYTES {
            let bytes = self.take((range.end - range.start) as usize)?;
            if leaf(range.start, bytes) != *wanted {
                return Err(format!("the bytes {range:?} are not those of the hash"));
            }
            self.show(range.start, bytes);
            return Ok(());
        }
        self.children(range, |left, right| {
            merge_subtrees_non_root(left, right, Mode::Hash) == *wanted
        })
    }
}

impl ReadAt for Shown {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        if offset >= self.len || buf.is_empty() {
            return Ok(0);
        }
        let part = self.parts.partition_point(|(begin, _)| *begin <= offset);
        let shown = part.checked_sub(1).and_then(|part| {
            let (begin, bytes) = &self.parts[part];
            bytes.get(usize::try_from(offset - begin).ok()?..)
        });
        match shown {
            Some(bytes) if !bytes.is_empty() => {
                let count = bytes.len().min(buf.len());
                buf[..count].copy_from_slice(&bytes[..count]);
                Ok(count)
            }
            _ => Err(ReadError::Damaged {
                what: "a proof",
                offset,
                why: "it does not show these bytes".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use scelle_formats::Bytes;

    use super::*;

    fn noise(len: u64) -> Vec<u8> {
        let mut state = len.wrapping_mul(31) + 7;
        (0..len)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect()
    }

    #[test]
    fn slices_show_what_was_asked_for_and_nothing_else() {
        for len in [
            1,
            1023,
            1024,
            1025,
            2048,
            2049,
            5000,
            65_536,
            100_001,
            1 << 20,
        ] {
            let bytes = noise(len);
            let hash = blake3::hash(&bytes);
            let stream = Bytes(bytes.clone());
            let last = len - 1;
            for asked in [
                &[(0, 1)][..],
                &[(last, len)],
                &[(len / 3, len / 2 + 1), (last, len)],
                &[(0, len)],
            ] {
                let asked: Vec<Range<u64>> = asked.iter().map(|(from, to)| *from..*to).collect();
                let wanted = leaves(len, &asked).expect("inside");
                let (found, slice) = cut(&stream, &wanted).expect("memory");
                assert_eq!(found, hash, "{len}");
                let shown = Shown::check(hash.as_bytes(), len, &wanted, &slice).expect("sound");
                for range in &asked {
                    let read = shown.read_range(range.clone(), 1 << 20).expect("shown");
                    assert_eq!(read, bytes[range.start as usize..range.end as usize]);
                }
                for at in (0..len).step_by(509) {
                    let is_shown = wanted.iter().any(|range| range.contains(&at));
                    assert_eq!(shown.read_at(at, &mut [0]).is_ok(), is_shown, "{len} {at}");
                }
            }
        }
    }

    #[test]
    fn every_bit_of_a_slice_counts() {
        let bytes = noise(5_000);
        let hash = blake3::hash(&bytes);
        let wanted = leaves(5_000, &[1_500..1_600, 4_999..5_000]).expect("inside");
        let (_, slice) = cut(&Bytes(bytes), &wanted).expect("memory");
        let check = |slice: &[u8]| Shown::check(hash.as_bytes(), 5_000, &wanted, slice).is_ok();
        assert!(check(&slice));
        for bit in 0..slice.len() * 8 {
            let mut changed = slice.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!check(&changed), "bit {bit}");
        }
        assert!(!check(&slice[1..]) && !check(&[&slice[..], &[0]].concat()));
        for len in [4_097, 5_001, 6_000] {
            assert!(
                Shown::check(hash.as_bytes(), len, &wanted, &slice).is_err(),
                "{len}"
            );
        }
    }
}
