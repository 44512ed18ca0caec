//! A bundle inside an OpenPGP message: signed, then encrypted, made and read as a stream.
//!
//! ```text
//! session-key packets, one a recipient
//! encrypted data, version 1 (CFB, MDC) or 2 (OCB), in partial lengths:
//!     one-pass signature
//!     literal data, in partial lengths: the archive
//!     signature
//! ```
//!
//! The packets are framed here, so that what was written can be put on the device at any moment,
//! and ciphertext can be read at random places; keys and session keys are the `pgp` crate's work.
//! `FORMAT.md`, "Encryption", has the exact rules.

mod aes;
mod derive;
mod frame;
mod message;
mod ocb;
mod pass;
mod reader;
mod recipient;
mod secret;
mod serial;
mod writer;

pub use reader::{Ciphertext, Decrypted, Ending};
pub use recipient::Recipient;
pub use secret::{DecryptKey, SessionKey};
pub use writer::Encrypted;

/// Bytes that precede version 1 data: random ones, two of them repeated.
const PREFIX_BYTES: usize = 18;
/// Head of the modification detection code, RFC 9580 section 5.13.1.
const MDC_HEAD: [u8; 2] = [0xD3, 0x14];
const MDC_BYTES: usize = 22;
/// Version, cipher, AEAD, chunk size and salt of version 2 data.
const V2_HEAD_BYTES: usize = 36;
const SALT_BYTES: usize = 32;
/// AEAD algorithm OCB, RFC 9580 section 9.6.
const OCB: u8 = 2;
/// A chunk of 2^(10+6) bytes of plaintext has one tag.
const CHUNK_OCTET: u8 = 10;
const CHUNK_BYTES: usize = 1 << (CHUNK_OCTET + 6);
const TAG_BYTES: usize = 16;
/// Packet tags with the new format's bits, RFC 9580 section 4.2.
const SESSION_KEY_TAG: u8 = 0xC1;
const SIGNATURE_TAG: u8 = 0xC2;
const ENCRYPTED_TAG: u8 = 0xD2;
const LITERAL_TAG: u8 = 0xCB;
/// Binary, no name, no date.
const LITERAL_HEAD: [u8; 6] = [b'b', 0, 0, 0, 0, 0];
/// Length of a version 3 one-pass signature packet.
const ONE_PASS_BYTES: usize = 15;

/// The version of the encrypted data packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// CFB with a modification detection code: what GnuPG 2.2 reads.
    One,
    /// AEAD, a tag a chunk.
    Two,
}
