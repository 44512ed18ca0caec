//! OCB (RFC 7253) with a tag of 128 bits and a nonce of 120, as OpenPGP uses it, block by block.
//!
//! A chunk can be enciphered as its bytes come, so that a part of one can be put on the device,
//! and deciphered at any block, which the published crate's one-piece calls do not allow.

use super::aes::{Aes, BLOCK, xor};

/// Blocks that are worked on at once.
const BATCH: usize = 64;
/// Doublings that are kept: enough for 2^32 blocks a chunk.
const DOUBLINGS: usize = 32;

type Block = [u8; BLOCK];

/// A key of OCB.
#[derive(Clone)]
pub(super) struct Ocb {
    aes: Aes,
    star: Block,
    dollar: Block,
    /// L_0, L_1, …
    doubled: [Block; DOUBLINGS],
}

impl Ocb {
    pub(super) fn new(aes: Aes) -> Self {
        let mut star = [0; BLOCK];
        aes.encrypt(&mut star);
        let dollar = double(star);
        let mut doubled = [double(dollar); DOUBLINGS];
        for number in 1..DOUBLINGS {
            doubled[number] = double(doubled[number - 1]);
        }
        Self {
            aes,
            star,
            dollar,
            doubled,
        }
    }

    /// Offset_0 of a nonce.
    fn first_offset(&self, nonce: &[u8; 15]) -> Block {
        let mut top = [0; BLOCK];
        // A tag of 128 bits is written as 0; the 1 precedes a nonce of 120 bits.
        top[0] = 1;
        top[1..].copy_from_slice(nonce);
        let bottom = top[15] & 0x3F;
        top[15] &= 0xC0;
        self.aes.encrypt(&mut top);
        let mut stretch = [0; 24];
        stretch[..16].copy_from_slice(&top);
        for at in 0..8 {
            stretch[16 + at] = top[at] ^ top[at + 1];
        }
        let (bytes, bits) = (usize::from(bottom / 8), u32::from(bottom % 8));
        let mut offset = [0; BLOCK];
        for (at, byte) in offset.iter_mut().enumerate() {
            let pair = u16::from_be_bytes([stretch[bytes + at], stretch[bytes + at + 1]]);
            *byte = (pair << bits >> 8) as u8;
        }
        offset
    }

    /// HASH of associated data that is shorter than a block.
    fn hash(&self, data: &[u8]) -> Block {
        debug_assert!(
            (1..BLOCK).contains(&data.len()),
            "OpenPGP has 5 or 13 bytes"
        );
        let mut block = self.star;
        xor(&mut block, data);
        block[data.len()] ^= 0x80;
        self.aes.encrypt(&mut block);
        block
    }

    /// Deciphers whole blocks of a chunk, from block `first` on; no tag is looked at.
    pub(super) fn decrypt_blocks(&self, nonce: &[u8; 15], first: u64, bytes: &mut [u8]) {
        let mut state = OcbChunk::at(self, nonce, first);
        state.run(self, bytes, false);
    }

    /// Deciphers a chunk and tells whether its tag fits.
    pub(super) fn open(&self, nonce: &[u8; 15], data: &[u8], bytes: &mut [u8], tag: &[u8]) -> bool {
        let mut state = OcbChunk::at(self, nonce, 0);
        let whole = bytes.len() / BLOCK * BLOCK;
        let (blocks, last) = bytes.split_at_mut(whole);
        state.run(self, blocks, false);
        if !last.is_empty() {
            let pad = state.pad(self);
            xor(last, &pad);
        }
        let expected = state.tag(self, data, last);
        let different = expected
            .iter()
            .zip(tag)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        tag.len() == BLOCK && different == 0
    }
}

/// A chunk under way.
#[derive(Clone)]
pub(super) struct OcbChunk {
    offset: Block,
    checksum: Block,
    /// Whole blocks so far.
    blocks: u64,
}

impl OcbChunk {
    pub(super) fn new(ocb: &Ocb, nonce: &[u8; 15]) -> Self {
        Self::at(ocb, nonce, 0)
    }

    /// As it stands behind `blocks` blocks, its checksum apart.
    fn at(ocb: &Ocb, nonce: &[u8; 15], blocks: u64) -> Self {
        let mut offset = ocb.first_offset(nonce);
        // L_0, L_1, … were xored in at every change of a bit of the Gray code.
        let gray = blocks ^ (blocks >> 1);
        for (bit, doubled) in ocb.doubled.iter().enumerate() {
            if gray >> bit & 1 == 1 {
                xor(&mut offset, doubled);
            }
        }
        Self {
            offset,
            checksum: [0; BLOCK],
            blocks,
        }
    }

    /// Enciphers whole blocks.
    pub(super) fn encrypt(&mut self, ocb: &Ocb, bytes: &mut [u8]) {
        self.run(ocb, bytes, true);
    }

    /// Enciphers the last bytes, less than a block, and gives the tag.
    pub(super) fn finish(mut self, ocb: &Ocb, data: &[u8], last: &mut [u8]) -> Block {
        let plain: Vec<u8> = last.to_vec();
        if !last.is_empty() {
            let pad = self.pad(ocb);
            xor(last, &pad);
        }
        self.tag(ocb, data, &plain)
    }

    fn run(&mut self, ocb: &Ocb, bytes: &mut [u8], encrypt: bool) {
        let mut offsets = [0; BATCH * BLOCK];
        for batch in bytes.chunks_mut(offsets.len()) {
            for offset in offsets[..batch.len()].chunks_exact_mut(BLOCK) {
                self.blocks += 1;
                let doubled = &ocb.doubled[self.blocks.trailing_zeros() as usize % DOUBLINGS];
                xor(&mut self.offset, doubled);
                offset.copy_from_slice(&self.offset);
            }
            if encrypt {
                self.sum(batch);
            }
            xor(batch, &offsets);
            if encrypt {
                ocb.aes.encrypt(batch);
            } else {
                ocb.aes.decrypt(batch);
            }
            xor(batch, &offsets);
            if !encrypt {
                self.sum(batch);
            }
        }
    }

    fn sum(&mut self, plain: &[u8]) {
        for block in plain.chunks_exact(BLOCK) {
            xor(&mut self.checksum, block);
        }
    }

    /// The pad of a last block that is not whole; its offset is the tag's from here on.
    fn pad(&mut self, ocb: &Ocb) -> Block {
        xor(&mut self.offset, &ocb.star);
        let mut pad = self.offset;
        ocb.aes.encrypt(&mut pad);
        pad
    }

    fn tag(mut self, ocb: &Ocb, data: &[u8], last_plain: &[u8]) -> Block {
        if !last_plain.is_empty() {
            xor(&mut self.checksum, last_plain);
            self.checksum[last_plain.len()] ^= 0x80;
        }
        let mut tag = self.checksum;
        xor(&mut tag, &self.offset);
        xor(&mut tag, &ocb.dollar);
        ocb.aes.encrypt(&mut tag);
        xor(&mut tag, &ocb.hash(data));
        tag
    }
}

/// Doubling in GF(2^128), RFC 7253 section 2.
fn double(block: Block) -> Block {
    let value = u128::from_be_bytes(block);
    let carry = if value >> 127 == 1 { 0x87 } else { 0 };
    (value << 1 ^ carry).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use pgp::{
        bytes::BytesMut,
        crypto::{aead::AeadAlgorithm, sym::SymmetricKeyAlgorithm},
    };

    use super::{super::aes::AES128, *};

    /// Another implementation's ciphertext and tag, for every length up to some blocks.
    #[test]
    fn it_is_what_another_implementation_makes() {
        let key: Vec<u8> = (100..116).collect();
        let ocb = Ocb::new(Aes::new(AES128, &key).expect("a key"));
        let data = [0xD2, 2, AES128, 2, 10];
        for length in (0..200).chain([4096, 65_536]) {
            let mut nonce = [7; 15];
            nonce[14] = length as u8;
            let plain: Vec<u8> = (0..length).map(|at| (at * 31) as u8).collect();
            let mut expected = BytesMut::from(&plain[..]);
            AeadAlgorithm::Ocb
                .encrypt_in_place(
                    &SymmetricKeyAlgorithm::AES128,
                    &key,
                    &nonce,
                    &data,
                    &mut expected,
                )
                .expect("encrypted");

            let mut bytes = plain.clone();
            let whole = length / BLOCK * BLOCK;
            let half = length / 2 / BLOCK * BLOCK;
            let mut chunk = OcbChunk::new(&ocb, &nonce);
            chunk.encrypt(&ocb, &mut bytes[..half]);
            chunk.encrypt(&ocb, &mut bytes[half..whole]);
            let tag = chunk.finish(&ocb, &data, &mut bytes[whole..]);
            bytes.extend_from_slice(&tag);
            assert_eq!(bytes, expected, "{length}");

            let mut back = bytes[..length].to_vec();
            assert!(ocb.open(&nonce, &data, &mut back, &tag));
            assert_eq!(back, plain);
            let mut part = bytes[half..whole].to_vec();
            ocb.decrypt_blocks(&nonce, (half / BLOCK) as u64, &mut part);
            assert_eq!(part, plain[half..whole]);
            let mut wrong = tag;
            wrong[3] ^= 1;
            assert!(!ocb.open(&nonce, &data, &mut bytes[..length].to_vec(), &wrong));
        }
    }
}
