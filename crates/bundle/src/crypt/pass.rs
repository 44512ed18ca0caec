//! The first pass over ciphertext: is it whole and unaltered, and where does what lie?

use rayon::join;
use scelle_formats::{ReadAt, ReadAtExt as _, Window};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::{
    CHUNK_BYTES, LITERAL_HEAD, LITERAL_TAG, MDC_BYTES, MDC_HEAD, ONE_PASS_BYTES, PREFIX_BYTES,
    SIGNATURE_TAG, TAG_BYTES, Version,
    aes::BLOCK,
    frame::{Deframer, Index},
    message::literal_at,
    reader::{Ending, Keyed},
};
use crate::begun::{LEAST_ZEROS, written_end};

/// Bytes of ciphertext that are read at once.
const STEP_BYTES: usize = 1 << 20;
/// The longest signature packet: RSA with 16,384 bits, and room.
const SIGNATURE_LIMIT: usize = 4096;
const ONE_PASS_HEAD: [u8; 2] = [0xC4, 0x0D];

/// What a pass finds.
pub(super) struct Found {
    /// Where the ciphertext's pieces lie in the file, and the archive's in the plaintext.
    pub(super) outer: Index,
    pub(super) inner: Index,
    /// The packet that announces the signature, the signature, and the hash of what it signs.
    pub(super) one_pass: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) hasher: Sha256,
    pub(super) ending: Ending,
    /// Bytes that the last piece of ciphertext lacks.
    missing: u64,
    /// Bytes of the archive's end that are opened only if zeros at its end were written, and not left by a power cut.
    pub(super) doubtful: u64,
}

/// Goes over the data whose first length stands at `at`.
///
/// Where a power cut took what was never put on the device, zeros may stand in its place. Ciphertext
/// holds none in such a row, so it is taken as cut where they begin.
pub(super) fn run(source: &dyn ReadAt, at: u64, keyed: &Keyed) -> Found {
    let found = go(source, at, keyed);
    // What can't be read is no row of zeros.
    if found.ending != Ending::Whole
        && let Ok(end) = written_end(source)
        && end < source.len()
    {
        let mut cut = go(&Window::new(source, 0..end), at, keyed);
        // What was put on the device may itself end in a zero or two: there a piece ends.
        if (1..LEAST_ZEROS).contains(&cut.missing) {
            let opened = cut.inner.body;
            cut = go(&Window::new(source, 0..end + cut.missing), at, keyed);
            cut.doubtful = cut.inner.body.saturating_sub(opened);
        }
        if cut.ending == Ending::Cut {
            return cut;
        }
    }
    found
}

fn go(source: &dyn ReadAt, at: u64, keyed: &Keyed) -> Found {
    let mut pass = Pass {
        outer: Deframer::new(at),
        body: Vec::new(),
        opener: Opener::default(),
        plain: Plain::new(keyed.version()),
    };
    let ending = pass.go(source, at, keyed);
    let Pass { outer, plain, .. } = pass;
    let (outer_body, inner_body) = (outer.body(), plain.literal.body());
    let missing = outer.missing();
    let mut found = Found {
        outer: outer.index,
        inner: plain.literal.index,
        one_pass: plain
            .head
            .get(literal_at(keyed.version()) as usize - 1 - ONE_PASS_BYTES..)
            .map(|packet| packet[..packet.len().min(ONE_PASS_BYTES)].to_vec())
            .unwrap_or_default(),
        signature: plain.behind,
        hasher: plain.hasher,
        ending,
        missing,
        doubtful: 0,
    };
    found.outer.cut(outer_body);
    found.inner.cut(inner_body);
    found
}

struct Pass {
    outer: Deframer,
    /// Ciphertext that waits for its block or chunk.
    body: Vec<u8>,
    opener: Opener,
    plain: Plain,
}

impl Pass {
    fn go(&mut self, source: &dyn ReadAt, mut at: u64, keyed: &Keyed) -> Ending {
        let mut raw = vec![0; STEP_BYTES];
        let mut head = keyed.head_bytes();
        while !self.outer.is_done() {
            let count = match source.read_full_at(at, &mut raw) {
                Ok(count) => count,
                Err(error) => return Ending::Altered(format!("it can't be read: {error}")),
            };
            if count == 0 {
                return self.cut(keyed);
            }
            let framed = self.outer.push(&raw[..count], &mut self.body);
            // The head was read when the ciphertext was opened.
            let skipped = head.min(self.body.len());
            self.body.drain(..skipped);
            head -= skipped;
            let opened = self.opener.open(keyed, &mut self.body, false);
            // What was opened before the chunk that does not fit is as it was written.
            let pushed = self.plain.push(&self.opener.plain);
            if let Err(what) = opened.and(pushed) {
                return Ending::Altered(what);
            }
            match framed {
                Ok(used) => at += used as u64,
                Err(what) => return Ending::Altered(format!("its packet: {what}")),
            }
        }
        if at < source.len() {
            return Ending::Altered("there are bytes behind the message".into());
        }
        match self.end(keyed) {
            Ok(()) => Ending::Whole,
            Err(what) => Ending::Altered(what),
        }
    }

    /// The bytes end before the message: what is there of the last block or chunk is read too.
    fn cut(&mut self, keyed: &Keyed) -> Ending {
        let rest = self.opener.open_unchecked(keyed, &mut self.body);
        // Whatever stands here is not vouched for by anything: it ends the reading, no more.
        match self.plain.push(rest) {
            Ok(()) | Err(_) => Ending::Cut,
        }
    }

    fn end(&mut self, keyed: &Keyed) -> Result<(), String> {
        self.opener.open(keyed, &mut self.body, true)?;
        self.plain.push(&self.opener.plain)?;
        if !self.plain.literal.is_done() {
            return Err("the archive in it is cut".into());
        }
        if keyed.version() == Version::One {
            let Plain { behind, code, .. } = &mut self.plain;
            let split = behind
                .len()
                .checked_sub(MDC_BYTES)
                .ok_or("its modification detection code is missing")?;
            let (hashed, digest) = behind.split_at(split + 2);
            code.update(hashed);
            let computed = std::mem::replace(code, Sha1::new()).finalize();
            if hashed[split..] != MDC_HEAD || computed[..] != *digest {
                return Err("its modification detection code does not fit".into());
            }
            behind.truncate(split);
        }
        if self.plain.behind.first() != Some(&SIGNATURE_TAG) {
            return Err("its signature is missing".into());
        }
        Ok(())
    }
}

/// Ciphertext to plaintext, in order.
#[derive(Default)]
struct Opener {
    /// Version 1: the ciphertext block before.
    before: [u8; BLOCK],
    /// Version 2: the number of the next chunk.
    chunk: u64,
    plain_bytes: u64,
    plain: Vec<u8>,
}

impl Opener {
    /// Takes what can be opened of `body`, all of it where it is the end, into `plain`.
    fn open(&mut self, keyed: &Keyed, body: &mut Vec<u8>, is_end: bool) -> Result<(), String> {
        self.plain.clear();
        match keyed {
            Keyed::One(aes) => {
                let count = if is_end {
                    body.len()
                } else {
                    body.len() / BLOCK * BLOCK
                };
                let before = self.before;
                if let Some(last) = body[..count].last_chunk() {
                    self.before = *last;
                }
                self.plain.extend(body.drain(..count));
                aes.decrypt_cfb(&before, &mut self.plain);
            }
            Keyed::Two { ocb, data, .. } => {
                let mut used = 0;
                // The last tag must stay: it is no chunk's.
                while body.len() - used >= CHUNK_BYTES + 2 * TAG_BYTES {
                    self.open_chunk(keyed, &body[used..used + CHUNK_BYTES + TAG_BYTES])?;
                    used += CHUNK_BYTES + TAG_BYTES;
                }
                if is_end {
                    let rest = &body[used..];
                    let tag_at = rest
                        .len()
                        .checked_sub(TAG_BYTES)
                        .ok_or("its last tag is missing")?;
                    let (chunk, tag) = rest.split_at(tag_at);
                    if !chunk.is_empty() {
                        self.open_chunk(keyed, chunk)?;
                    }
                    let data = super::derive::last_data(data, self.plain_bytes);
                    if !ocb.open(&keyed.nonce(self.chunk), &data, &mut [], tag) {
                        return Err("its last tag does not fit".into());
                    }
                    used = body.len();
                }
                body.drain(..used);
            }
        }
        Ok(())
    }

    fn open_chunk(&mut self, keyed: &Keyed, chunk: &[u8]) -> Result<(), String> {
        let Keyed::Two { ocb, data, .. } = keyed else {
            return Err("version 1 has no chunks".into());
        };
        let missing = || format!("the tag of chunk {} does not fit", self.chunk);
        let tag_at = chunk.len().checked_sub(TAG_BYTES).ok_or_else(missing)?;
        let (bytes, tag) = chunk.split_at(tag_at);
        let from = self.plain.len();
        self.plain.extend_from_slice(bytes);
        let nonce = keyed.nonce(self.chunk);
        if bytes.is_empty() || !ocb.open(&nonce, data, &mut self.plain[from..], tag) {
            let what = missing();
            self.plain.truncate(from);
            return Err(what);
        }
        self.chunk += 1;
        self.plain_bytes += bytes.len() as u64;
        Ok(())
    }

    /// What can be read of a cut end, though nothing authenticates it.
    fn open_unchecked(&mut self, keyed: &Keyed, body: &mut Vec<u8>) -> &[u8] {
        self.plain.clear();
        match keyed {
            Keyed::One(aes) => {
                self.plain.append(body);
                aes.decrypt_cfb(&self.before, &mut self.plain);
            }
            Keyed::Two { ocb, .. } => {
                let whole = CHUNK_BYTES + TAG_BYTES;
                // A whole chunk whose tag fits is as good as one in the middle.
                if body.len() < whole || self.open_chunk(keyed, &body[..whole]).is_err() {
                    let count = body.len().min(CHUNK_BYTES) / BLOCK * BLOCK;
                    self.plain.extend_from_slice(&body[..count]);
                    ocb.decrypt_blocks(&keyed.nonce(self.chunk), 0, &mut self.plain);
                }
                body.clear();
            }
        }
        &self.plain
    }
}

/// Takes the plaintext's packets apart.
struct Plain {
    /// Prefix, one-pass signature, and the tag of the literal data.
    head: Vec<u8>,
    head_bytes: usize,
    literal: Deframer,
    /// How many bytes of the literal data's own head were seen.
    literal_head: usize,
    /// What follows the literal data: the signature, and the modification detection code.
    behind: Vec<u8>,
    hasher: Sha256,
    code: Sha1,
    archive: Vec<u8>,
}

impl Plain {
    fn new(version: Version) -> Self {
        let head_bytes = literal_at(version) as usize;
        Self {
            head: Vec::new(),
            head_bytes,
            literal: Deframer::new(head_bytes as u64),
            literal_head: 0,
            behind: Vec::new(),
            hasher: Sha256::new(),
            code: Sha1::new(),
            archive: Vec::new(),
        }
    }

    fn push(&mut self, plain: &[u8]) -> Result<(), String> {
        let missing = self.head_bytes - self.head.len();
        let (head, rest) = plain.split_at(missing.min(plain.len()));
        self.head.extend_from_slice(head);
        if missing > 0 && head.len() == missing {
            self.check_head()?;
        }
        self.archive.clear();
        let framed = self.literal.push(rest, &mut self.archive);
        let used = framed.as_ref().map_or(rest.len(), |used| *used);
        let own = (LITERAL_HEAD.len() - self.literal_head).min(self.archive.len());
        if self.archive[..own] != LITERAL_HEAD[self.literal_head..][..own] {
            return Err("its literal data is not as bundles have it".into());
        }
        self.literal_head += own;
        let (code, hasher) = (&mut self.code, &mut self.hasher);
        let archive = &self.archive[own..];
        join(
            || code.update(&plain[..head.len() + used]),
            || hasher.update(archive),
        );
        framed.map_err(|what| format!("its literal data: {what}"))?;
        self.behind.extend_from_slice(&rest[used..]);
        if self.behind.len() > SIGNATURE_LIMIT {
            return Err("there is too much behind its literal data".into());
        }
        Ok(())
    }

    fn check_head(&self) -> Result<(), String> {
        const NOT_OURS: &str = "the key does not fit, or it was altered at its beginning";
        let one_pass = self.head_bytes - 1 - ONE_PASS_BYTES;
        let repeated = one_pass == 0
            || self.head[PREFIX_BYTES - 4..PREFIX_BYTES - 2] == self.head[PREFIX_BYTES - 2..][..2];
        if !repeated
            || self.head[one_pass..][..2] != ONE_PASS_HEAD
            || self.head.last() != Some(&LITERAL_TAG)
        {
            return Err(NOT_OURS.into());
        }
        Ok(())
    }
}
