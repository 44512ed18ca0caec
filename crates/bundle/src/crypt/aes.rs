//! AES with either key size, and cipher feedback over whole blocks.

use aes::{
    Aes128, Aes256,
    cipher::{
        Block, BlockDecrypt as _, BlockEncrypt as _, BlockEncryptMut as _, InnerIvInit as _,
        KeyInit as _, inout::InOutBuf,
    },
};
use cfb_mode::Encryptor;

/// Bytes of a block.
pub(super) const BLOCK: usize = 16;
/// Blocks that are enciphered at once: the processor works on several.
const BATCH: usize = 64;

/// AES with a key.
#[derive(Clone)]
pub(super) enum Aes {
    Aes128(Box<Aes128>),
    Aes256(Box<Aes256>),
}

impl Aes {
    /// By the algorithm's number in RFC 9580, section 9.3; `None` for any other than AES-128 and
    /// AES-256, and where the key's length is not the algorithm's.
    pub(super) fn new(algorithm: u8, key: &[u8]) -> Option<Self> {
        match algorithm {
            AES128 => Some(Self::Aes128(Box::new(Aes128::new_from_slice(key).ok()?))),
            AES256 => Some(Self::Aes256(Box::new(Aes256::new_from_slice(key).ok()?))),
            _ => None,
        }
    }

    /// Enciphers whole blocks, each for itself.
    pub(super) fn encrypt(&self, bytes: &mut [u8]) {
        let (blocks, tail) = InOutBuf::from(bytes).into_chunks();
        debug_assert!(tail.is_empty(), "whole blocks");
        match self {
            Self::Aes128(aes) => aes.encrypt_blocks_inout(blocks),
            Self::Aes256(aes) => aes.encrypt_blocks_inout(blocks),
        }
    }

    /// Deciphers whole blocks, each for itself.
    pub(super) fn decrypt(&self, bytes: &mut [u8]) {
        let (blocks, tail) = InOutBuf::from(bytes).into_chunks();
        debug_assert!(tail.is_empty(), "whole blocks");
        match self {
            Self::Aes128(aes) => aes.decrypt_blocks_inout(blocks),
            Self::Aes256(aes) => aes.decrypt_blocks_inout(blocks),
        }
    }

    /// Cipher feedback, backwards: `bytes` begin at a block; `before` is the ciphertext block
    /// before them (zeros before the first).
    pub(super) fn decrypt_cfb(&self, before: &[u8; BLOCK], bytes: &mut [u8]) {
        let mut before = *before;
        let mut pads = [0; BATCH * BLOCK];
        for batch in bytes.chunks_mut(pads.len()) {
            let whole = batch.len().next_multiple_of(BLOCK);
            pads[..BLOCK].copy_from_slice(&before);
            let shifted = whole - BLOCK;
            pads[BLOCK..whole].copy_from_slice(&batch[..shifted]);
            if let Some(last) = batch[shifted..].first_chunk() {
                before = *last;
            }
            self.encrypt(&mut pads[..whole]);
            xor(batch, &pads);
        }
    }
}

/// Numbers of ciphers, RFC 9580 section 9.3.
pub(super) const AES128: u8 = 7;
pub(super) const AES256: u8 = 9;

/// Cipher feedback, forwards; it goes on from call to call.
pub(super) enum CfbEncryptor {
    Aes128(Box<Encryptor<Aes128>>),
    Aes256(Box<Encryptor<Aes256>>),
}

impl CfbEncryptor {
    pub(super) fn new(aes: &Aes) -> Self {
        // OpenPGP's initial vector is zero, RFC 9580 section 5.13.1.
        let zero = Block::<Aes128>::default();
        match aes {
            Aes::Aes128(aes) => Self::Aes128(Box::new(Encryptor::inner_iv_init(
                aes.as_ref().clone(),
                &zero,
            ))),
            Aes::Aes256(aes) => Self::Aes256(Box::new(Encryptor::inner_iv_init(
                aes.as_ref().clone(),
                &zero,
            ))),
        }
    }

    /// Enciphers whole blocks.
    pub(super) fn encrypt(&mut self, bytes: &mut [u8]) {
        let (blocks, tail) = InOutBuf::from(bytes).into_chunks();
        debug_assert!(tail.is_empty(), "whole blocks");
        match self {
            Self::Aes128(cfb) => cfb.encrypt_blocks_inout_mut(blocks),
            Self::Aes256(cfb) => cfb.encrypt_blocks_inout_mut(blocks),
        }
    }

    /// Enciphers the last bytes, less than a block of them.
    pub(super) fn encrypt_last(&mut self, bytes: &mut [u8]) {
        let mut block = [0; BLOCK];
        block[..bytes.len()].copy_from_slice(bytes);
        self.encrypt(&mut block);
        bytes.copy_from_slice(&block[..bytes.len()]);
    }
}

/// Xors as many bytes as there are in `bytes`.
pub(super) fn xor(bytes: &mut [u8], pad: &[u8]) {
    for (byte, pad) in bytes.iter_mut().zip(pad) {
        *byte ^= pad;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cipher_feedback_is_what_it_is_defined_as() {
        let key: Vec<u8> = (0..32).collect();
        let aes = Aes::new(AES256, &key).expect("a key");
        let plain: Vec<u8> = (0..1000u32).map(|byte| (byte * 7) as u8).collect();
        let mut bytes = plain.clone();
        let mut cfb = CfbEncryptor::new(&aes);
        let whole = bytes.len() / BLOCK * BLOCK;
        cfb.encrypt(&mut bytes[..320]);
        cfb.encrypt(&mut bytes[320..whole]);
        cfb.encrypt_last(&mut bytes[whole..]);
        // Block by block, as it is defined.
        let mut before = [0; BLOCK];
        for (cipher, plain) in bytes.chunks(BLOCK).zip(plain.chunks(BLOCK)) {
            aes.encrypt(&mut before);
            let mut expected = plain.to_vec();
            xor(&mut expected, &before);
            assert_eq!(cipher, expected);
            before[..cipher.len()].copy_from_slice(cipher);
        }
        let mut back = bytes.clone();
        aes.decrypt_cfb(&[0; BLOCK], &mut back);
        assert_eq!(back, plain);
        let mut middle = bytes[160..977].to_vec();
        aes.decrypt_cfb(bytes[144..160].first_chunk().expect("a block"), &mut middle);
        assert_eq!(middle, plain[160..977]);
    }

    #[test]
    fn only_whole_keys_are_taken() {
        assert!(Aes::new(AES128, &[0; 32]).is_none());
        assert!(Aes::new(8, &[0; 24]).is_none());
    }
}
