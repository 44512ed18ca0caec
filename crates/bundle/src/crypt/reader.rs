//! Reading ciphertext at random places, once a pass over it has shown what it is.

use std::{io::Cursor, sync::Arc};

use pgp::packet::{PacketHeader, PublicKeyEncryptedSessionKey};
use pgp::types::{PacketHeaderVersion, PacketLength, Tag};
use scelle_formats::{ReadAt, ReadAtExt as _, ReadError, Window};
use sha2::{Digest as _, Sha256};

use super::{
    CHUNK_BYTES, CHUNK_OCTET, ENCRYPTED_TAG, LITERAL_HEAD, MDC_BYTES, OCB, SALT_BYTES,
    SESSION_KEY_TAG, TAG_BYTES, V2_HEAD_BYTES, Version,
    aes::{AES128, AES256, Aes, BLOCK},
    derive::{associated_data, message_key, nonce},
    frame::{Deframer, Expected, Framer, Index},
    message::{inner_framer, literal_at},
    ocb::Ocb,
    pass::{self, Found},
    secret::{DecryptKey, SessionKey},
};
use crate::{Certificate, Error, limits::SESSION_PACKETS_LIMIT, text::hex};

const NOT_OURS: &str = "its packets are not cut as a bundle's are";
/// The longest session-key packet: RSA with 16,384 bits, and room.
const SESSION_PACKET_LIMIT: usize = 4096;

/// An encrypted bundle, before it is known whether it can be read.
pub struct Ciphertext {
    source: Arc<dyn ReadAt>,
    session_packets: Vec<u8>,
    packets: Vec<PublicKeyEncryptedSessionKey>,
    /// Where the first length of the encrypted data stands.
    data_at: u64,
    /// Version, and what belongs to it, of the encrypted data.
    head: Vec<u8>,
}

/// How ciphertext ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every byte is authenticated.
    Whole,
    /// It stops before the message ends: a collection that was cut off, or a file that was.
    Cut,
    /// It is not as it was written; what is wrong.
    Altered(String),
}

impl Ciphertext {
    /// Whether bytes begin as an encrypted bundle does: with session-key packets, then encrypted
    /// data in pieces. `head` may be cut.
    pub fn is_begun_by(head: &[u8]) -> bool {
        let mut rest = head;
        while rest.first() == Some(&SESSION_KEY_TAG) {
            match split_packet(rest) {
                Some((body, next)) if matches!(body.first(), Some(3 | 6)) => rest = next,
                Some(_) => return false,
                None => return is_packet_cut(rest),
            }
        }
        let next = [SESSION_KEY_TAG, ENCRYPTED_TAG];
        rest.len() < head.len() && rest.first().is_none_or(|tag| next.contains(tag))
    }

    /// Reads what stands before the encrypted data.
    ///
    /// # Errors
    /// [`Error::Format`] where it is no encrypted bundle, [`Error::Begun`] where it was cut off before
    /// there was anything to decrypt, [`Error::Read`] where it can't be read.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self, Error> {
        const NO_BUNDLE: &str = "it is not encrypted as bundles are";
        let (mut packets, mut session_packets) = (Vec::new(), Vec::new());
        let mut at = 0;
        let head = loop {
            let bytes = source.read_range(at..u64::MAX, SESSION_PACKET_LIMIT)?;
            if bytes.first() == Some(&ENCRYPTED_TAG) {
                break bytes;
            }
            let is_all = at + bytes.len() as u64 == source.len();
            if is_all && is_packet_cut(&bytes) {
                return Err(Error::Begun);
            }
            let Some((body, rest)) =
                split_packet(&bytes).filter(|_| bytes.first() == Some(&SESSION_KEY_TAG))
            else {
                return Err(Error::format(NO_BUNDLE));
            };
            let length = bytes.len() - rest.len();
            let header = PacketHeader::from_parts(
                PacketHeaderVersion::New,
                Tag::PublicKeyEncryptedSessionKey,
                PacketLength::Fixed(body.len() as u32),
            );
            let packet = header
                .and_then(|header| {
                    PublicKeyEncryptedSessionKey::try_from_reader(header, Cursor::new(body))
                })
                .map_err(|error| Error::format(format!("a session-key packet: {error}")))?;
            packets.push(packet);
            session_packets.extend_from_slice(&bytes[..length]);
            at += length as u64;
            if session_packets.len() > SESSION_PACKETS_LIMIT {
                return Err(Error::format("it has too many recipients"));
            }
        };
        let mut body = Vec::new();
        let framed = Deframer::new(0).push(&head[1..], &mut body);
        framed.map_err(|what| Error::format(format!("its packet: {what}")))?;
        let is_all = at + head.len() as u64 == source.len();
        let head = match body[..] {
            [] if is_all => return Err(Error::Begun),
            [2, ..] if is_all && body.len() < V2_HEAD_BYTES => return Err(Error::Begun),
            [1, ..] => 1,
            [2, AES128 | AES256, OCB, CHUNK_OCTET, ..] => V2_HEAD_BYTES,
            _ => return Err(Error::format(NO_BUNDLE)),
        };
        if packets.is_empty() || body.len() < head {
            return Err(Error::format(NO_BUNDLE));
        }
        body.truncate(head);
        Ok(Self {
            source,
            session_packets,
            packets,
            data_at: at + 1,
            head: body,
        })
    }

    /// The session-key packets and the beginning of the encrypted data, as a message that
    /// another program can be asked for its session key with.
    ///
    /// # Errors
    /// [`Error::Read`] where it can't be read.
    pub fn head_message(&self) -> Result<Vec<u8>, Error> {
        const BEGINNING: usize = 64;
        let mut message = self.session_packets.clone();
        let bytes = self
            .source
            .read_range(self.data_at..u64::MAX, BEGINNING + 1)?;
        let mut body = Vec::new();
        let framed = Deframer::new(0).push(&bytes, &mut body);
        framed.map_err(|what| Error::format(format!("its packet: {what}")))?;
        message.extend_from_slice(&[ENCRYPTED_TAG, body.len() as u8]);
        message.extend_from_slice(&body);
        Ok(message)
    }

    /// The session key, by a recipient's secret key.
    ///
    /// # Errors
    /// [`Error::Key`] where that key opens none of the session-key packets.
    pub fn session_key(&self, key: &DecryptKey) -> Result<SessionKey, Error> {
        key.session_key(&self.packets)
    }

    /// Authenticates every byte, in one pass, and gives the archive.
    ///
    /// # Errors
    /// [`Error::Format`] where the ciphertext is cut or was altered, [`Error::Key`] for a session
    /// key that does not fit.
    pub fn decrypt(&self, key: &SessionKey) -> Result<Decrypted, Error> {
        let decrypted = self.salvage(key)?;
        match &decrypted.ending {
            Ending::Whole => Ok(decrypted),
            Ending::Cut => Err(Error::format(
                "the ciphertext is cut: nothing authenticates what is there; salvage saves what it \
                 holds, and with the parts that go on from it, beside it, it is read as one",
            )),
            Ending::Altered(what) => Err(Error::format(format!(
                "the ciphertext was altered: {what}; salvage saves what its checkpoints vouch for \
                 before that"
            ))),
        }
    }

    /// Gives as much of the archive as is there, whether it is authenticated or not:
    /// [`Decrypted::ending`] tells. This is how a bundle that was cut off is read; only its
    /// signed checkpoints vouch for what it holds then.
    ///
    /// # Errors
    /// [`Error::Key`] for a session key that is none for this message's cipher.
    pub fn salvage(&self, key: &SessionKey) -> Result<Decrypted, Error> {
        let keyed = Keyed::new(&self.head, key)
            .ok_or_else(|| Error::key("the session key", "it fits no cipher of this message"))?;
        let Found {
            outer,
            inner,
            one_pass,
            signature,
            hasher,
            ending,
            doubtful,
            ..
        } = pass::run(&*self.source, self.data_at, &keyed);
        let len = inner.body.saturating_sub(LITERAL_HEAD.len() as u64);
        Ok(Decrypted {
            source: self.source.clone(),
            keyed,
            outer,
            inner,
            len,
            ending,
            doubtful,
            envelope: Envelope {
                session_packets_sha256: hex(&Sha256::digest(&self.session_packets)),
                one_pass,
                signature,
                hasher,
            },
            data_at: self.data_at,
        })
    }
}

/// Whether there is but the beginning of a session-key packet, or nothing.
fn is_packet_cut(bytes: &[u8]) -> bool {
    let version = match bytes {
        [] | [SESSION_KEY_TAG] => return true,
        [SESSION_KEY_TAG, 0..192, version @ ..] => version,
        [SESSION_KEY_TAG, 192..224, rest @ ..] => rest.get(1..).unwrap_or_default(),
        _ => return false,
    };
    split_packet(bytes).is_none() && matches!(version.first(), None | Some(3 | 6))
}

/// The first packet's body, and what follows it.
fn split_packet(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, length) = match *bytes.get(1..)? {
        [length @ 0..192, ..] => (2, usize::from(length)),
        [first @ 192..224, second, ..] => (
            3,
            ((usize::from(first) - 192) << 8) + usize::from(second) + 192,
        ),
        _ => return None,
    };
    bytes[head..].split_at_checked(length)
}

/// Ciphers with their keys.
pub(super) enum Keyed {
    One(Aes),
    Two {
        ocb: Box<Ocb>,
        data: [u8; 5],
        start: [u8; 7],
    },
}

impl Keyed {
    fn new(head: &[u8], key: &SessionKey) -> Option<Self> {
        let (version, rest) = head.split_first()?;
        if *version == 1 {
            return Some(Self::One(Aes::new(key.algorithm?, &key.key)?));
        }
        let algorithm = *rest.first()?;
        let salt: &[u8; SALT_BYTES] = rest.last_chunk()?;
        let data = associated_data(algorithm);
        let key_bytes = if algorithm == AES128 { 16 } else { 32 };
        if key.key.len() != key_bytes {
            return None;
        }
        let (key, start) = message_key(&key.key, salt, &data, key_bytes);
        Some(Self::Two {
            ocb: Box::new(Ocb::new(Aes::new(algorithm, &key)?)),
            data,
            start,
        })
    }

    pub(super) fn version(&self) -> Version {
        match self {
            Self::One(_) => Version::One,
            Self::Two { .. } => Version::Two,
        }
    }

    /// Bytes of the body before ciphertext.
    pub(super) fn head_bytes(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Two { .. } => V2_HEAD_BYTES,
        }
    }

    pub(super) fn nonce(&self, chunk: u64) -> [u8; 15] {
        match self {
            Self::One(_) => [0; 15],
            Self::Two { start, .. } => nonce(start, chunk),
        }
    }
}

/// The archive inside an encrypted bundle, read at any place; nothing of it is kept.
///
/// What is held for it does not grow with its size: 16 bytes for each piece of an unusual length,
/// of which a checkpoint makes some twenty.
pub struct Decrypted {
    source: Arc<dyn ReadAt>,
    keyed: Keyed,
    outer: Index,
    inner: Index,
    len: u64,
    ending: Ending,
    doubtful: u64,
    envelope: Envelope,
    data_at: u64,
}

impl Decrypted {
    /// How the ciphertext ends, and with that whether what is read here is authenticated.
    pub fn ending(&self) -> &Ending {
        &self.ending
    }

    /// The same without the last bytes, where those may have been written as zeros, or never; `None` where nothing is in doubt.
    pub(crate) fn without_doubtful(&self) -> Option<Window<&Self>> {
        let end = self.len.saturating_sub(self.doubtful);
        (self.doubtful > 0).then(|| Window::new(self, 0..end))
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Checks that the packets are cut as a writer cuts them that put the archive on the device
    /// at each of `synced`: there is one form, and no other.
    pub(crate) fn check_framing(&self, synced: &[u64]) -> Result<(), String> {
        let flushes = [synced, &[self.len]].concat();
        let (inner, outer) = self.expected(&flushes)?;
        let plain = self.inner.end + self.envelope.signature.len() as u64;
        let body = match self.keyed.version() {
            Version::One => self.cipher_bytes(plain) + MDC_BYTES as u64,
            Version::Two => {
                let open = !plain.is_multiple_of(CHUNK_BYTES as u64);
                self.cipher_bytes(plain) + (1 + u64::from(open)) * TAG_BYTES as u64
            }
        };
        if inner.finish(self.inner.body)? != self.inner || outer.finish(body)? != self.outer {
            return Err(NOT_OURS.into());
        }
        Ok(())
    }

    /// As [`check_framing`](Self::check_framing), up to the last of `synced`, whatever follows.
    pub(crate) fn check_framing_until(&self, synced: &[u64]) -> Result<(), String> {
        let (inner, outer) = self.expected(synced)?;
        if !inner.begins(&self.inner) || !outer.begins(&self.outer) {
            return Err(NOT_OURS.into());
        }
        Ok(())
    }

    /// How literal and encrypted data must lie, where the archive was put on the device so often.
    fn expected(&self, synced: &[u64]) -> Result<(Expected, Expected), String> {
        let version = self.keyed.version();
        let head = LITERAL_HEAD.len() as u64;
        let flushes: Vec<u64> = synced.iter().map(|at| at + head).collect();
        let inner = Expected::flushed(inner_framer(version), literal_at(version), &flushes)?;
        let flushes: Vec<u64> = inner
            .ends
            .iter()
            .map(|end| self.cipher_bytes(end / BLOCK as u64 * BLOCK as u64))
            .collect();
        let outer = Expected::flushed(Framer::outer(), self.data_at, &flushes)?;
        Ok((inner, outer))
    }

    /// Bytes of the encrypted data's body for so much plaintext.
    fn cipher_bytes(&self, plain: u64) -> u64 {
        let tags = match self.keyed.version() {
            Version::One => 0,
            Version::Two => plain / CHUNK_BYTES as u64 * TAG_BYTES as u64,
        };
        self.keyed.head_bytes() as u64 + plain + tags
    }

    /// Ciphertext, from a place behind the data's version.
    fn read_body(&self, mut at: u64, mut buf: &mut [u8]) -> Result<(), ReadError> {
        while !buf.is_empty() {
            let cut = || ReadError::Damaged {
                what: "the ciphertext",
                offset: at,
                why: "it ends before what is read".into(),
            };
            let (held, left) = self.outer.find(at).ok_or_else(cut)?;
            let count = left.min(buf.len() as u64) as usize;
            let (now, rest) = buf.split_at_mut(count);
            self.source.read_exact_at("the ciphertext", held, now)?;
            at += count as u64;
            buf = rest;
        }
        Ok(())
    }

    /// Plaintext from `at` on, all of it inside one piece of the literal data.
    fn read_plain(&self, at: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let block = BLOCK as u64;
        let head = self.keyed.head_bytes() as u64;
        match &self.keyed {
            Keyed::One(aes) => {
                let from = at / block * block;
                let before = from.saturating_sub(block);
                let end = at + buf.len() as u64;
                let mut bytes = vec![0; (end - before) as usize];
                self.read_body(head + before, &mut bytes)?;
                let (feedback, cipher) = bytes.split_at_mut((from - before) as usize);
                let feedback = feedback.first_chunk().copied().unwrap_or_default();
                aes.decrypt_cfb(&feedback, cipher);
                buf.copy_from_slice(&cipher[(at - from) as usize..]);
            }
            Keyed::Two { ocb, .. } => {
                let chunk_bytes = CHUNK_BYTES as u64;
                let (mut at, mut buf) = (at, buf);
                while !buf.is_empty() {
                    let (chunk, within) = (at / chunk_bytes, at % chunk_bytes);
                    let count = (chunk_bytes - within).min(buf.len() as u64);
                    let from = within / block * block;
                    let to = (within + count).next_multiple_of(block);
                    let mut bytes = vec![0; (to - from) as usize];
                    let body = head + chunk * (chunk_bytes + TAG_BYTES as u64) + from;
                    self.read_body(body, &mut bytes)?;
                    ocb.decrypt_blocks(&self.keyed.nonce(chunk), from / block, &mut bytes);
                    let (now, rest) = buf.split_at_mut(count as usize);
                    let skip = (within - from) as usize;
                    now.copy_from_slice(&bytes[skip..skip + count as usize]);
                    at += count;
                    buf = rest;
                }
            }
        }
        Ok(())
    }
}

impl ReadAt for Decrypted {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            if at >= self.len {
                break;
            }
            let Some((plain, left)) = self.inner.find(at + LITERAL_HEAD.len() as u64) else {
                break;
            };
            let count = left.min((buf.len() - done) as u64) as usize;
            self.read_plain(plain, &mut buf[done..done + count])?;
            done += count;
        }
        Ok(done)
    }
}

/// What stands around the archive, for whoever knows who should have signed it.
#[derive(Clone)]
pub(crate) struct Envelope {
    session_packets_sha256: String,
    one_pass: Vec<u8>,
    signature: Vec<u8>,
    hasher: Sha256,
}

impl Envelope {
    /// Compares the session-key packets with what the sealed record says of them.
    pub(crate) fn check_session_packets(&self, recorded: Option<&str>) -> Result<(), String> {
        if recorded == Some(&*self.session_packets_sha256) {
            return Ok(());
        }
        Err(format!(
            "the session-key packets have the SHA-256 {}, and records/collection.json says {}",
            self.session_packets_sha256,
            recorded.unwrap_or("that there are none")
        ))
    }

    /// Checks the message's own signature.
    pub(crate) fn check_signature(&self, signer: &Certificate) -> Result<(), String> {
        signer
            .check_message(&self.one_pass, self.hasher.clone(), &self.signature)
            .map_err(|what| format!("the message's signature: {what}"))
    }
}
