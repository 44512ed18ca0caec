//! The hash functions of signatures, and the two sums over the whole file.

use std::ops::Range;

use sha2::Digest;

use super::super::pass::Take;

/// A hash function that signatures use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    pub(super) fn from_oid(oid: &str) -> Option<Self> {
        Some(match oid {
            "1.2.840.113549.2.5" => Self::Md5,
            "1.3.14.3.2.26" => Self::Sha1,
            "2.16.840.1.101.3.4.2.1" => Self::Sha256,
            "2.16.840.1.101.3.4.2.2" => Self::Sha384,
            "2.16.840.1.101.3.4.2.3" => Self::Sha512,
            _ => return None,
        })
    }

    /// The name used in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    pub(super) fn hasher(self) -> Hasher {
        match self {
            Self::Md5 => Hasher::Md5(md5::Md5::new()),
            Self::Sha1 => Hasher::Sha1(sha1::Sha1::new()),
            Self::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Self::Sha384 => Hasher::Sha384(sha2::Sha384::new()),
            Self::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
        }
    }
}

/// A hash in the making.
pub(super) enum Hasher {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hash) => hash.update(bytes),
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Md5(hash) => hash.finalize().to_vec(),
            Self::Sha1(hash) => hash.finalize().to_vec(),
            Self::Sha256(hash) => hash.finalize().to_vec(),
            Self::Sha384(hash) => hash.finalize().to_vec(),
            Self::Sha512(hash) => hash.finalize().to_vec(),
        }
    }
}

/// The image's hash as Authenticode defines it: all of the file but its checksum, the directory
/// entry of the certificate table, and that table itself.
pub(super) struct ImageDigest {
    skip: Vec<Range<u64>>,
    hash: Hasher,
}

impl ImageDigest {
    pub(super) fn new(algorithm: Algorithm, skip: [Range<u64>; 3]) -> Self {
        let mut skip = Vec::from(skip);
        skip.sort_by_key(|range| range.start);
        Self {
            skip,
            hash: algorithm.hasher(),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.hash.finish()
    }
}

impl Take for ImageDigest {
    fn take(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        let mut from = at;
        for skip in &self.skip {
            let to = skip.start.clamp(from, end);
            self.hash
                .update(&bytes[(from - at) as usize..(to - at) as usize]);
            from = from.max(skip.end.min(end));
        }
        self.hash.update(&bytes[(from - at) as usize..]);
    }
}

/// The checksum of the optional header, as `ImageHlp` computes it: the folded sum of the file's
/// 16-bit words, the field itself as zero, plus the file's length.
pub(super) struct Checksum {
    field: Range<u64>,
    sum: u64,
    len: u64,
}

impl Checksum {
    pub(super) fn new(field_at: u64, len: u64) -> Self {
        Self {
            field: field_at..field_at + 4,
            sum: 0,
            len,
        }
    }

    pub(super) fn finish(self) -> u32 {
        let mut sum = self.sum;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum + self.len) as u32
    }
}

impl Take for Checksum {
    /// Blocks begin at multiples of four and, but for the last, end there.
    fn take(&mut self, at: u64, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<4>();
        for words in words.chunks(1 << 16) {
            let sum: u64 = words
                .iter()
                .map(|word| u64::from(u32::from_le_bytes(*word)))
                .sum();
            self.sum += sum;
        }
        let weight = |offset: u64, byte: u8| u64::from(byte) << (8 * (offset % 4));
        for (offset, byte) in (0u64..).zip(rest) {
            self.sum += weight(offset, *byte);
        }
        for offset in self.field.clone() {
            if let Some(byte) = offset
                .checked_sub(at)
                .and_then(|index| bytes.get(index as usize))
            {
                self.sum -= weight(offset, *byte);
            }
        }
        // 2^32 is 1 in this sum, so it may be folded at any time.
        self.sum = (self.sum & 0xffff_ffff) + (self.sum >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_digest_skips_across_blocks() {
        let bytes: Vec<u8> = (0..100).collect();
        let mut digest = ImageDigest::new(Algorithm::Sha256, [90..100, 10..14, 20..28]);
        for (at, block) in (0u64..).step_by(12).zip(bytes.chunks(12)) {
            digest.take(at, block);
        }
        let kept: Vec<u8> = (0..10).chain(14..20).chain(28..90).collect();
        assert_eq!(digest.finish(), sha2::Sha256::digest(kept).to_vec());
    }

    #[test]
    fn checksum_by_the_book() {
        // Words 1, 2 and 0xffff, and a field of four bytes that does not count.
        let bytes = [1, 0, 2, 0, 9, 9, 9, 9, 0xff, 0xff, 5];
        let mut sum = Checksum::new(4, bytes.len() as u64);
        sum.take(0, &bytes[..8]);
        sum.take(8, &bytes[8..]);
        assert_eq!(sum.finish(), 3 + 5 + 11);
    }
}
