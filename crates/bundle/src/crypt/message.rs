//! The message as it is written, step by step.

use std::io;

use sha1::{Digest as _, Sha1};

use super::{
    CHUNK_BYTES, ENCRYPTED_TAG, LITERAL_HEAD, LITERAL_TAG, MDC_HEAD, ONE_PASS_BYTES, PREFIX_BYTES,
    SALT_BYTES, Version,
    aes::{Aes, BLOCK, CfbEncryptor},
    derive::{associated_data, last_data, message_key, nonce},
    frame::{Framer, partial, put_definite},
    ocb::{Ocb, OcbChunk},
};
use crate::Output;

/// The encrypted data packet: plaintext packets in, framed ciphertext out.
pub(super) struct Message<W> {
    out: W,
    cipher: Cipher,
    /// Of the literal data: how it is cut, and what waits to be.
    inner: Framer,
    literal: Vec<u8>,
    /// Plaintext that waits for its block.
    plain: Vec<u8>,
    /// Of the ciphertext: how it is cut, and what waits to be.
    outer: Framer,
    body: Vec<u8>,
    wire: Vec<u8>,
}

/// Ciphertext as it is made.
enum Cipher {
    One { cfb: CfbEncryptor, code: Sha1 },
    Two(Box<Chunked>),
}

/// Version 2 data under way.
struct Chunked {
    ocb: Ocb,
    data: [u8; 5],
    nonce: [u8; 7],
    /// The chunk under way, its number, and its bytes so far.
    chunk: OcbChunk,
    number: u64,
    bytes: usize,
}

/// How plaintext becomes ciphertext, drawn by lot.
pub(super) struct Secrets<'a> {
    pub(super) algorithm: u8,
    pub(super) session_key: &'a [u8],
    /// Random bytes before version 1 data.
    pub(super) prefix: [u8; BLOCK],
    /// Random bytes in version 2 data.
    pub(super) salt: [u8; SALT_BYTES],
}

impl<W: Output> Message<W> {
    /// Begins the message behind its session-key packets; `one_pass` is the packet that
    /// announces the signature. `None` for a key that no cipher here has.
    pub(super) fn new(
        out: W,
        session_packets: &[u8],
        version: Version,
        secrets: &Secrets<'_>,
        one_pass: &[u8],
    ) -> Option<Self> {
        debug_assert_eq!(one_pass.len(), ONE_PASS_BYTES, "it counts in the framing");
        let mut plain = Vec::new();
        let mut body = Vec::new();
        let cipher = match version {
            Version::One => {
                let aes = Aes::new(secrets.algorithm, secrets.session_key)?;
                plain.extend_from_slice(&secrets.prefix);
                plain.extend_from_slice(&secrets.prefix[BLOCK - 2..]);
                body.push(1);
                Cipher::One {
                    cfb: CfbEncryptor::new(&aes),
                    code: Sha1::new(),
                }
            }
            Version::Two => {
                let data = associated_data(secrets.algorithm);
                let key_bytes = secrets.session_key.len();
                let (key, start) =
                    message_key(secrets.session_key, &secrets.salt, &data, key_bytes);
                let ocb = Ocb::new(Aes::new(secrets.algorithm, &key)?);
                body.extend_from_slice(&data[1..]);
                body.extend_from_slice(&secrets.salt);
                Cipher::Two(Box::new(Chunked {
                    chunk: OcbChunk::new(&ocb, &nonce(&start, 0)),
                    ocb,
                    data,
                    nonce: start,
                    number: 0,
                    bytes: 0,
                }))
            }
        };
        plain.extend_from_slice(one_pass);
        plain.push(LITERAL_TAG);
        let mut wire = session_packets.to_vec();
        wire.push(ENCRYPTED_TAG);
        let mut message = Self {
            out,
            cipher,
            inner: inner_framer(version),
            literal: Vec::new(),
            plain,
            outer: Framer::outer(),
            body: Vec::new(),
            wire,
        };
        message.put_body(&body);
        message.put_literal(&LITERAL_HEAD);
        Some(message)
    }

    /// Takes further bytes of the archive.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put_literal(bytes);
        let mut taken = 0;
        while let Some(power) = self.inner.next_piece() {
            taken = self.put_piece(power, taken);
        }
        self.literal.drain(..taken);
        self.encipher();
        self.put_wire()
    }

    /// Puts all of the archive so far on the device.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let mut taken = 0;
        for power in self.inner.flush() {
            taken = self.put_piece(power, taken);
        }
        self.literal.drain(..taken);
        self.encipher();
        self.put_wire()?;
        let mut taken = 0;
        for power in self.outer.flush() {
            taken = cut(&mut self.wire, &self.body, power, taken);
        }
        self.body.drain(..taken);
        self.out.write_all(&self.wire)?;
        self.wire.clear();
        self.out.sync()
    }

    /// Ends the message with the signature's packet; gives the output back.
    pub(super) fn finish(mut self, signature: &[u8]) -> io::Result<W> {
        let (one_more, last) = self.inner.clone().finish();
        let taken = one_more.map_or(0, |power| self.put_piece(power, 0));
        debug_assert_eq!(
            (self.literal.len() - taken) as u64,
            last,
            "the framer counts"
        );
        put_definite(&mut self.plain, last);
        self.plain.extend_from_slice(&self.literal[taken..]);
        self.plain.extend_from_slice(signature);
        self.encipher();
        let rest = std::mem::take(&mut self.plain);
        let end = self.cipher.finish(rest);
        self.put_body(&end);
        self.put_wire()?;
        let (one_more, last) = self.outer.clone().finish();
        let taken = one_more.map_or(0, |power| cut(&mut self.wire, &self.body, power, 0));
        put_definite(&mut self.wire, last);
        self.wire.extend_from_slice(&self.body[taken..]);
        self.out.write_all(&self.wire)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put_literal(&mut self, bytes: &[u8]) {
        self.literal.extend_from_slice(bytes);
        self.inner.add(bytes.len() as u64);
    }

    fn put_piece(&mut self, power: u8, taken: usize) -> usize {
        cut(&mut self.plain, &self.literal, power, taken)
    }

    fn put_body(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
        self.outer.add(bytes.len() as u64);
    }

    /// Enciphers the whole blocks that wait.
    fn encipher(&mut self) {
        let whole = self.plain.len() / BLOCK * BLOCK;
        let before = self.body.len();
        self.cipher
            .encrypt(&mut self.plain[..whole], &mut self.body);
        self.outer.add((self.body.len() - before) as u64);
        self.plain.drain(..whole);
    }

    /// Writes the usual pieces of ciphertext.
    fn put_wire(&mut self) -> io::Result<()> {
        let mut taken = 0;
        while let Some(power) = self.outer.next_piece() {
            taken = cut(&mut self.wire, &self.body, power, taken);
        }
        self.body.drain(..taken);
        self.out.write_all(&self.wire)?;
        self.wire.clear();
        Ok(())
    }
}

/// How the literal data is cut: its first length has the prefix, the one-pass signature and its
/// own tag before it.
pub(super) fn inner_framer(version: Version) -> Framer {
    Framer::inner(literal_at(version))
}

/// Where the literal data's first length stands in the plaintext.
pub(super) fn literal_at(version: Version) -> u64 {
    let prefix = match version {
        Version::One => PREFIX_BYTES,
        Version::Two => 0,
    };
    (prefix + ONE_PASS_BYTES + 1) as u64
}

/// Appends a piece of `bytes` from `taken` on, with its length; gives its end.
fn cut(out: &mut Vec<u8>, bytes: &[u8], power: u8, taken: usize) -> usize {
    let end = taken + (1 << power);
    out.push(partial(power));
    out.extend_from_slice(&bytes[taken..end]);
    end
}

impl Cipher {
    /// Enciphers whole blocks.
    fn encrypt(&mut self, plain: &mut [u8], out: &mut Vec<u8>) {
        match self {
            Self::One { cfb, code } => {
                code.update(&plain);
                cfb.encrypt(plain);
                out.extend_from_slice(plain);
            }
            Self::Two(chunked) => chunked.encrypt(plain, out),
        }
    }

    /// Enciphers the last bytes and what authenticates.
    fn finish(&mut self, mut rest: Vec<u8>) -> Vec<u8> {
        match self {
            Self::One { cfb, code } => {
                code.update(&rest);
                code.update(MDC_HEAD);
                rest.extend_from_slice(&MDC_HEAD);
                rest.extend_from_slice(&code.finalize_reset());
                let whole = rest.len() / BLOCK * BLOCK;
                let (blocks, last) = rest.split_at_mut(whole);
                cfb.encrypt(blocks);
                cfb.encrypt_last(last);
                rest
            }
            Self::Two(chunked) => chunked.finish(rest),
        }
    }
}

impl Chunked {
    fn encrypt(&mut self, mut plain: &mut [u8], out: &mut Vec<u8>) {
        while !plain.is_empty() {
            let count = plain.len().min(CHUNK_BYTES - self.bytes);
            let (now, rest) = plain.split_at_mut(count);
            self.chunk.encrypt(&self.ocb, now);
            out.extend_from_slice(now);
            self.bytes += count;
            if self.bytes == CHUNK_BYTES {
                out.extend_from_slice(&self.next_chunk(&mut []));
            }
            plain = rest;
        }
    }

    /// Ends a chunk: its tag.
    fn next_chunk(&mut self, last: &mut [u8]) -> [u8; BLOCK] {
        self.number += 1;
        self.bytes = 0;
        let next = OcbChunk::new(&self.ocb, &nonce(&self.nonce, self.number));
        std::mem::replace(&mut self.chunk, next).finish(&self.ocb, &self.data, last)
    }

    fn finish(&mut self, mut rest: Vec<u8>) -> Vec<u8> {
        let in_last = self.bytes + rest.len();
        let plain_bytes = self.number * CHUNK_BYTES as u64 + in_last as u64;
        if in_last > 0 {
            let tag = self.next_chunk(&mut rest);
            rest.extend_from_slice(&tag);
        }
        let data = last_data(&self.data, plain_bytes);
        let tag = self.chunk.clone().finish(&self.ocb, &data, &mut []);
        rest.extend_from_slice(&tag);
        rest
    }
}
