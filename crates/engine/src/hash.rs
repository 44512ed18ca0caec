//! Hashes of many streams, all of them in one pass over the bytes.
//!
//! Streams are taken on by size, the largest first, each by the next free thread, through a buffer
//! that stays in that core's cache. One that would keep a thread busy when all others are done is
//! split instead: BLAKE3 works on its blocks on all free threads, the serial hashes beside it. So
//! neither many small files nor one large file leaves a core idle.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use md5::Md5;
use scelle_formats::{ReadAt, ReadAtExt, ReadError};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::Progress;

/// What one thread reads at a time: it is still in its core's cache when it is hashed.
const BLOCK_BYTES: usize = 256 << 10;
/// What goes through one hash before the next takes it.
const STEP_BYTES: usize = 16 << 10;
/// A block that two threads hash.
const SHARED_BLOCK_BYTES: usize = 512 << 10;
/// BLAKE3 alone splits a block among threads: large blocks split better.
const TREE_BLOCK_BYTES: usize = 8 << 20;

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// BLAKE3, 32 bytes.
    Blake3,
    /// SHA-256.
    Sha256,
    /// SHA-1: for lists of known files, proves nothing.
    Sha1,
    /// MD5: for lists of known files, proves nothing.
    Md5,
}

impl Algorithm {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Self; 4] = [Self::Blake3, Self::Sha256, Self::Sha1, Self::Md5];

    /// Its name on the command line and as a JSON key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase().replace('-', "");
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == wanted)
            .ok_or_else(|| format!("{text:?} is no hash: use blake3, sha256, sha1 or md5"))
    }
}

/// The hashes of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// How many bytes were hashed.
    pub bytes: u64,
    /// The hashes as lower-case hex, in the order that was asked for.
    pub hashes: Vec<(Algorithm, String)>,
}

/// Hashes streams with each of `algorithms`, and hands the results on in input order.
///
/// `sizes` are what is known of the streams' sizes; `open` opens one of them, on any thread.
/// It works on the caller's rayon pool.
pub fn hash_all<R: ReadAt, E: From<ReadError> + Send>(
    sizes: &[u64],
    algorithms: &[Algorithm],
    progress: &Progress,
    open: impl Fn(usize) -> Result<R, E> + Sync,
    hand_on: impl FnMut(usize, Result<Hashed, E>) + Send,
) {
    progress.begin("hashing", sizes.iter().sum(), sizes.len() as u64);
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|number| std::cmp::Reverse(sizes[*number]));
    // What is left when each is taken on.
    let mut left: u64 = sizes.iter().sum();
    let splits: Vec<bool> = order
        .iter()
        .map(|number| {
            left -= sizes[*number];
            let others = rayon::current_num_threads() as u64 - 1;
            // Of a single one (it may be a pipe) the size may not be known.
            sizes.len() == 1
                || sizes[*number] >= SHARED_BLOCK_BYTES as u64
                    && sizes[*number] > left / others.max(1)
        })
        .collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new((BTreeMap::new(), 0, hand_on));
    rayon::scope(|scope| {
        for _ in 0..rayon::current_num_threads().min(sizes.len()) {
            scope.spawn(|_| {
                let mut buffer = Vec::new();
                loop {
                    let place = next.fetch_add(1, Relaxed);
                    let Some(number) = order.get(place) else {
                        break;
                    };
                    let hashed = open(*number).and_then(|stream| {
                        let task = Task {
                            algorithms,
                            progress,
                            splits: splits[place],
                        };
                        Ok(task.hash(&stream, &mut buffer)?)
                    });
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    let (ready, joined, hand_on) = &mut *results;
                    ready.insert(*number, hashed);
                    while let Some(hashed) = ready.remove(joined) {
                        hand_on(*joined, hashed);
                        *joined += 1;
                    }
                }
            });
        }
    });
}

/// Hashes one stream with each of `algorithms`, on all threads of the caller's rayon pool.
///
/// # Errors
/// Where a byte of it can't be read: a hash of less than all would mislead.
pub fn hash(
    stream: &dyn ReadAt,
    algorithms: &[Algorithm],
    progress: &Progress,
) -> Result<Hashed, ReadError> {
    let task = Task {
        algorithms,
        progress,
        splits: true,
    };
    task.hash(stream, &mut Vec::new())
}

/// How a stream is hashed.
struct Task<'a> {
    algorithms: &'a [Algorithm],
    progress: &'a Progress,
    /// Whether other threads are to help.
    splits: bool,
}

impl Task<'_> {
    fn hash(&self, stream: &dyn ReadAt, buffer: &mut Vec<u8>) -> Result<Hashed, ReadError> {
        let wants = |algorithm| self.algorithms.contains(&algorithm);
        let mut tree = wants(Algorithm::Blake3).then(blake3::Hasher::new);
        let mut serial = Serial {
            sha256: wants(Algorithm::Sha256).then(Sha256::new),
            sha1: wants(Algorithm::Sha1).then(Sha1::new),
            md5: wants(Algorithm::Md5).then(Md5::new),
        };
        let block = match (self.splits, serial.is_empty()) {
            (false, _) => BLOCK_BYTES,
            (true, false) => SHARED_BLOCK_BYTES,
            (true, true) => TREE_BLOCK_BYTES,
        };
        let mut feed = |bytes: &[u8]| {
            match &mut tree {
                None => serial.update(bytes),
                // Below this, handing work to another thread costs more than it saves.
                Some(tree) if !self.splits || bytes.len() < SHARED_BLOCK_BYTES / 4 => {
                    let step = if serial.is_empty() {
                        BLOCK_BYTES
                    } else {
                        STEP_BYTES
                    };
                    for step in bytes.chunks(step) {
                        tree.update(step);
                        serial.update(step);
                    }
                }
                Some(tree) if serial.is_empty() => {
                    tree.update_rayon(bytes);
                }
                Some(tree) => {
                    rayon::join(|| serial.update(bytes), || tree.update(bytes));
                }
            }
            self.progress.advance(bytes.len() as u64, 0);
        };
        let mut bytes = 0;
        if let Some(memory) = stream.as_slice() {
            memory.chunks(block).for_each(&mut feed);
            bytes = memory.len() as u64;
        } else {
            let room = usize::try_from(stream.len()).map_or(block, |len| len.clamp(1, block));
            if buffer.len() < room {
                buffer.resize(room, 0);
            }
            loop {
                let have = stream.read_full_at(bytes, &mut buffer[..room])?;
                if have == 0 {
                    break;
                }
                feed(&buffer[..have]);
                bytes += have as u64;
            }
        }
        self.progress.advance(0, 1);
        let mut tree = tree.map(|tree| tree.finalize().to_hex().to_string());
        let hashes = self
            .algorithms
            .iter()
            .filter_map(|algorithm| {
                let hex = match algorithm {
                    Algorithm::Blake3 => tree.take(),
                    Algorithm::Sha256 => serial.sha256.take().map(|one| hex(&one.finalize())),
                    Algorithm::Sha1 => serial.sha1.take().map(|one| hex(&one.finalize())),
                    Algorithm::Md5 => serial.md5.take().map(|one| hex(&one.finalize())),
                };
                Some((*algorithm, hex?))
            })
            .collect();
        Ok(Hashed { bytes, hashes })
    }
}

/// The hashes that take their bytes one block after another.
struct Serial {
    sha256: Option<Sha256>,
    sha1: Option<Sha1>,
    md5: Option<Md5>,
}

impl Serial {
    fn is_empty(&self) -> bool {
        self.sha256.is_none() && self.sha1.is_none() && self.md5.is_none()
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    scelle_event::json::write_hex(&mut out, bytes);
    String::from_utf8(out).expect("hex is text")
}

#[cfg(test)]
mod tests {
    use scelle_formats::Bytes;

    use super::*;

    #[test]
    fn known_hashes_in_input_order() {
        let streams: Vec<Vec<u8>> = vec![
            b"abc".to_vec(),
            vec![0; 3 << 20],
            Vec::new(),
            (0..1_000_000u32).flat_map(u32::to_le_bytes).collect(),
        ];
        let sizes: Vec<u64> = streams.iter().map(|one| one.len() as u64).collect();
        let mut seen = Vec::new();
        hash_all(
            &sizes,
            &Algorithm::ALL,
            &Progress::default(),
            |number| Ok::<_, ReadError>(Bytes(&streams[number])),
            |number, hashed| seen.push((number, hashed.expect("memory"))),
        );
        let numbers: Vec<_> = seen.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        let hashes: Vec<_> = seen[0]
            .1
            .hashes
            .iter()
            .map(|(_, hex)| hex.as_str())
            .collect();
        assert_eq!(
            hashes,
            [
                "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "a9993e364706816aba3e25717850c26c9cd0d89d",
                "900150983cd24fb0d6963f7d28e17f72",
            ]
        );
        for (number, hashed) in &seen {
            let whole = blake3::hash(&streams[*number]).to_hex().to_string();
            assert_eq!(hashed.hashes[0].1, whole);
            assert_eq!(hashed.bytes, sizes[*number]);
        }
    }

    #[test]
    fn a_stream_that_is_read_gives_the_same() {
        struct Slow(Vec<u8>);
        impl ReadAt for Slow {
            fn len(&self) -> u64 {
                self.0.len() as u64
            }
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
                let short = buf.len().min(100_003);
                Bytes(&self.0).read_at(offset, &mut buf[..short])
            }
        }
        let bytes: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
        let at = Progress::default();
        let mapped = hash(&Bytes(&bytes), &Algorithm::ALL, &at).expect("memory");
        let read = hash(&Slow(bytes), &Algorithm::ALL, &at).expect("memory");
        assert_eq!(mapped, read);
    }
}
