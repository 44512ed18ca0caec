//! The message key of version 2 data: HKDF (RFC 5869) with SHA-256, RFC 9580 section 5.13.2.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{CHUNK_OCTET, ENCRYPTED_TAG, OCB, SALT_BYTES};

const HASH_BYTES: usize = 32;
const BLOCK_BYTES: usize = 64;

/// What each tag covers besides its chunk.
pub(super) fn associated_data(algorithm: u8) -> [u8; 5] {
    [ENCRYPTED_TAG, 2, algorithm, OCB, CHUNK_OCTET]
}

/// The key, of `key_bytes` bytes, and the seven bytes that every nonce begins with.
pub(super) fn message_key(
    session_key: &[u8],
    salt: &[u8; SALT_BYTES],
    info: &[u8],
    key_bytes: usize,
) -> (Zeroizing<Vec<u8>>, [u8; 7]) {
    let mut bytes = hkdf(session_key, salt, info, key_bytes + 7);
    let mut nonce = [0; 7];
    nonce.copy_from_slice(&bytes[key_bytes..]);
    bytes.truncate(key_bytes);
    (bytes, nonce)
}

/// The nonce of a chunk.
pub(super) fn nonce(start: &[u8; 7], chunk: u64) -> [u8; 15] {
    let mut nonce = [0; 15];
    nonce[..7].copy_from_slice(start);
    nonce[7..].copy_from_slice(&chunk.to_be_bytes());
    nonce
}

/// What the last tag, over no chunk, covers.
pub(super) fn last_data(data: &[u8; 5], plain_bytes: u64) -> [u8; 13] {
    let mut last = [0; 13];
    last[..5].copy_from_slice(data);
    last[5..].copy_from_slice(&plain_bytes.to_be_bytes());
    last
}

fn hkdf(secret: &[u8], salt: &[u8], info: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let key = hmac(salt, &[secret]);
    let mut out = Zeroizing::new(Vec::with_capacity(length + HASH_BYTES));
    let mut last: Vec<u8> = Vec::new();
    for number in 1u8.. {
        if out.len() >= length {
            break;
        }
        last = hmac(key.as_ref(), &[&last, info, &[number]]).to_vec();
        out.extend_from_slice(&last);
    }
    out.truncate(length);
    out
}

/// HMAC, RFC 2104; no key here is longer than a block of the hash.
fn hmac(key: &[u8], message: &[&[u8]]) -> Zeroizing<[u8; HASH_BYTES]> {
    let pad = |with: u8| {
        let mut pad = Zeroizing::new([with; BLOCK_BYTES]);
        pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        pad
    };
    let mut inner = Sha256::new_with_prefix(pad(0x36).as_ref());
    for part in message {
        inner.update(part);
    }
    let outer = Sha256::new_with_prefix(pad(0x5C).as_ref()).chain_update(inner.finalize());
    Zeroizing::new(outer.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, appendix A.1.
    #[test]
    fn derivation_is_the_standards() {
        let salt: Vec<u8> = (0..=0x0C).collect();
        let info: Vec<u8> = (0xF0..=0xF9).collect();
        let out = hkdf(&[0x0B; 22], &salt, &info, 42);
        assert_eq!(
            crate::text::hex(&out),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }
}
