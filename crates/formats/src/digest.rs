//! Several hashes of the same bytes, in one pass.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// How many bytes go through one hash before the next takes them: they are then still in the
/// processor's first caches.
const STEP: usize = 16 * 1024;

/// The hashes of a run of bytes, and how many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// BLAKE3, 256 bits.
    pub blake3: [u8; 32],
    /// SHA-256.
    pub sha256: [u8; 32],
    /// MD5, where it was asked for.
    pub md5: Option<[u8; 16]>,
    /// SHA-1, where it was asked for.
    pub sha1: Option<[u8; 20]>,
    /// How many bytes were hashed.
    pub size: u64,
}

/// Takes bytes in order and hashes them with BLAKE3 and SHA-256, and more on request.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    blake3: blake3::Hasher,
    sha256: Sha256,
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    size: u64,
}

impl Hasher {
    /// BLAKE3 and SHA-256.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, and MD5: for lists of known files that have nothing better.
    #[must_use]
    pub fn with_md5(mut self) -> Self {
        self.md5 = Some(Md5::new());
        self
    }

    /// The same, and SHA-1: for lists of known files that have nothing better.
    #[must_use]
    pub fn with_sha1(mut self) -> Self {
        self.sha1 = Some(Sha1::new());
        self
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        // BLAKE3 works on several kibibytes at once, so its steps may be as large as the others'.
        for step in bytes.chunks(STEP) {
            self.blake3.update(step);
            self.sha256.update(step);
            if let Some(md5) = &mut self.md5 {
                md5.update(step);
            }
            if let Some(sha1) = &mut self.sha1 {
                sha1.update(step);
            }
        }
        self.size += bytes.len() as u64;
    }

    /// Takes `count` zeros: what a hole reads as.
    pub fn update_zeros(&mut self, mut count: u64) {
        const ZEROS: [u8; STEP] = [0; STEP];
        while count > 0 {
            let step = count.min(STEP as u64) as usize;
            self.update(&ZEROS[..step]);
            count -= step as u64;
        }
    }

    /// The hashes of all that was taken.
    pub fn finish(self) -> Digests {
        Digests {
            blake3: self.blake3.finalize().into(),
            sha256: self.sha256.finalize().into(),
            md5: self.md5.map(|md5| md5.finalize().into()),
            sha1: self.sha1.map(|sha1| sha1.finalize().into()),
            size: self.size,
        }
    }
}

impl Digests {
    /// The hashes of bytes in memory: BLAKE3 and SHA-256.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all");
            text
        })
    }

    #[test]
    fn published_values_of_abc() {
        let mut hasher = Hasher::new().with_md5().with_sha1();
        hasher.update(b"a");
        hasher.update(b"bc");
        let digests = hasher.finish();
        assert_eq!(digests.size, 3);
        assert_eq!(
            hex(&digests.blake3),
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
        assert_eq!(
            hex(&digests.sha256),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            digests.md5.map(|md5| hex(&md5)).as_deref(),
            Some("900150983cd24fb0d6963f7d28e17f72")
        );
        assert_eq!(
            digests.sha1.map(|sha1| hex(&sha1)).as_deref(),
            Some("a9993e364706816aba3e25717850c26c9cd0d89d")
        );
    }

    #[test]
    fn steps_and_zeros_change_nothing() {
        let mut bytes = vec![7; 3 * STEP + 11];
        bytes.extend_from_slice(&[0; STEP + 5]);
        let mut hasher = Hasher::new();
        hasher.update(&bytes[..STEP + 1]);
        hasher.update(&bytes[STEP + 1..3 * STEP + 11]);
        hasher.update_zeros(STEP as u64 + 5);
        assert_eq!(hasher.finish(), Digests::of(&bytes));
    }
}
