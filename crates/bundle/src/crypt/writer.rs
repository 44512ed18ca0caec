//! An output that signs and encrypts what is written, on its way to another output.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pgp::{composed::RawSessionKey, crypto::sym::SymmetricKeyAlgorithm, packet::SignatureHasher};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{
    SALT_BYTES, Version,
    aes::{AES128, AES256, BLOCK},
    message::{Message, Secrets},
    recipient::Recipient,
    secret::SessionKey,
    serial::Serial,
};
use crate::{Error, Output, SealKey, limits::SESSION_PACKETS_LIMIT, text::hex};

/// The most that is taken at once: what waits in the queues is some of these.
const BLOCK_BYTES: usize = 1 << 20;

/// Makes one OpenPGP message of what is written: signed, and encrypted for every recipient.
///
/// Nothing is written in clear. Hashing for the signature, and encryption, go on beside the
/// caller's work, on its rayon pool.
pub struct Encrypted<W: Output + 'static> {
    message: Serial<Writing<W>, Arc<[u8]>>,
    signature: Serial<SignatureHasher, Arc<[u8]>>,
    has_failed: Arc<AtomicBool>,
    key: SealKey,
    session_key: SessionKey,
    session_packets_sha256: String,
}

struct Writing<W> {
    message: Message<W>,
    failed: Option<io::Error>,
    has_failed: Arc<AtomicBool>,
}

impl<W: Output + 'static> Encrypted<W> {
    /// Begins a message for `recipients`, to be signed with `key`.
    ///
    /// The newer kind of encryption is used only if each of them says that it reads it.
    ///
    /// # Errors
    /// [`Error::Key`] without recipients, or where the session key can't be encrypted for one.
    pub fn create(out: W, recipients: &[Recipient], key: SealKey) -> Result<Self, Error> {
        if recipients.is_empty() {
            return Err(Error::key("the recipients", "there are none"));
        }
        let version = if recipients.iter().all(|one| one.reads_version_two) {
            Version::Two
        } else {
            Version::One
        };
        let prefers_large = recipients.iter().all(|one| match version {
            Version::One => one.reads_aes256,
            Version::Two => one.reads_aes256_ocb,
        });
        let (algorithm, number, key_bytes) = if prefers_large {
            (SymmetricKeyAlgorithm::AES256, AES256, 32)
        } else {
            (SymmetricKeyAlgorithm::AES128, AES128, 16)
        };
        let mut session = Zeroizing::new(vec![0; key_bytes]);
        random(&mut session)?;
        let raw = RawSessionKey::from(session.clone());
        let mut packets = Vec::new();
        for recipient in recipients {
            packets.extend(recipient.session_packet(version, algorithm, &raw)?);
        }
        let (bytes, most) = (packets.len(), SESSION_PACKETS_LIMIT as u64);
        Error::unless_read("the session keys", bytes, most, "name fewer recipients")?;
        let mut secrets = Secrets {
            algorithm: number,
            session_key: &session,
            prefix: [0; BLOCK],
            salt: [0; SALT_BYTES],
        };
        random(&mut secrets.prefix)?;
        random(&mut secrets.salt)?;
        let message = Message::new(out, &packets, version, &secrets, &key.one_pass()?)
            .ok_or_else(|| Error::key("the session key", "it fits no cipher"))?;
        let has_failed = Arc::new(AtomicBool::new(false));
        let writing = Writing {
            message,
            failed: None,
            has_failed: has_failed.clone(),
        };
        Ok(Self {
            message: Serial::new(writing, Writing::write),
            signature: Serial::new(key.begin_signature()?, |hasher, bytes| {
                hasher.write_all(&bytes).expect("a hasher takes all");
            }),
            has_failed,
            key,
            session_key: SessionKey::new((version == Version::One).then_some(number), &session),
            session_packets_sha256: hex(&Sha256::digest(&packets)),
        })
    }

    /// SHA-256 of the session-key packets, in hex: it goes into the collection's record, so that
    /// nobody can exchange them.
    pub fn session_packets_sha256(&self) -> &str {
        &self.session_packets_sha256
    }

    /// The session key, to read back what was written without a recipient's key.
    pub fn session_key(&self) -> &SessionKey {
        &self.session_key
    }

    /// Ends the message: its signature, and what authenticates it. Gives the output back.
    ///
    /// # Errors
    /// [`Error::Write`] where the output took no more, [`Error::Key`] where signing fails.
    pub fn finish(self) -> Result<W, Error> {
        let packet = self.key.end_signature(self.signature.finish())?;
        let writing = self.message.finish();
        match writing.failed {
            Some(error) => Err(Error::Write(error)),
            None => writing.message.finish(&packet).map_err(Error::Write),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.has_failed.load(Ordering::Relaxed) {
            return self.message.settled(Writing::outcome);
        }
        Ok(())
    }
}

impl<W: Output + 'static> Write for Encrypted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        let block: Arc<[u8]> = bytes[..bytes.len().min(BLOCK_BYTES)].into();
        let count = block.len();
        self.signature.push(block.clone());
        self.message.push(block);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check()
    }
}

impl<W: Output + 'static> Output for Encrypted<W> {
    fn sync(&mut self) -> io::Result<()> {
        self.message.settled(|writing| {
            writing.outcome()?;
            writing.message.sync()
        })
    }
}

impl<W: Output> Writing<W> {
    fn write(&mut self, bytes: Arc<[u8]>) {
        if self.failed.is_none()
            && let Err(error) = self.message.write(&bytes)
        {
            self.failed = Some(error);
            self.has_failed.store(true, Ordering::Relaxed);
        }
    }

    fn outcome(&mut self) -> io::Result<()> {
        match &self.failed {
            // Each who asks is told; the error itself can't be copied.
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(()),
        }
    }
}

fn random(bytes: &mut [u8]) -> Result<(), Error> {
    rand::rngs::OsRng
        .try_fill_bytes(bytes)
        .map_err(|error| Error::key("the session key", error))
}
