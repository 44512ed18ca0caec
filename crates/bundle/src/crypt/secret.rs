//! Keys that open a bundle.

use std::{fmt, io::Cursor};

use pgp::{
    composed::{Deserializable as _, PlainSessionKey, SignedSecretKey},
    packet::PublicKeyEncryptedSessionKey,
    types::{DecryptionKey, EskType, Password, PkeskVersion},
};
use zeroize::Zeroizing;

use super::aes::{AES128, AES256};
use crate::{
    Error,
    key::{fingerprint, no_secret},
    text::hex,
};

const WHAT: &str = "the key to read with";

/// A recipient's secret key.
pub struct DecryptKey {
    secret: SignedSecretKey,
    password: Password,
}

impl DecryptKey {
    /// Reads a secret key, armoured or not.
    ///
    /// # Errors
    /// [`Error::Key`] when it can't be read. Whether the password fits shows when the key is
    /// used.
    pub fn read(bytes: &[u8], password: Option<&str>) -> Result<Self, Error> {
        let (secret, _) = SignedSecretKey::from_reader_single(Cursor::new(bytes))
            .map_err(|error| no_secret(WHAT, bytes, error))?;
        Ok(Self {
            secret,
            password: password.map_or_else(Password::empty, Password::from),
        })
    }

    /// Whether it can only be used with a password.
    pub fn is_protected(&self) -> bool {
        let primary = self.secret.primary_key.secret_params().is_encrypted();
        let mut others = self.secret.secret_subkeys.iter();
        primary || others.any(|one| one.key.secret_params().is_encrypted())
    }

    /// The fingerprint of its primary key, in upper-case hex.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.secret.primary_key)
    }

    /// The session key in one of the packets; the error says why in none.
    pub(super) fn session_key(
        &self,
        packets: &[PublicKeyEncryptedSessionKey],
    ) -> Result<SessionKey, Error> {
        let mut why = None;
        for packet in packets {
            let primary = &self.secret.primary_key;
            if packet.match_identity(primary.public_key()) {
                match self.open(packet, primary) {
                    Ok(key) => return Ok(key),
                    Err(error) => why = Some(error),
                }
            }
            for subkey in &self.secret.secret_subkeys {
                if packet.match_identity(subkey.key.public_key()) {
                    match self.open(packet, &subkey.key) {
                        Ok(key) => return Ok(key),
                        Err(error) => why = Some(error),
                    }
                }
            }
        }
        Err(Error::key(
            WHAT,
            why.unwrap_or_else(|| {
                format!(
                    "the bundle is not encrypted for {}; it is for the keys {}: name the secret key of one of \
                     these",
                    self.fingerprint(),
                    packets.iter().map(show).collect::<Vec<_>>().join(", ")
                )
            }),
        ))
    }

    fn open(
        &self,
        packet: &PublicKeyEncryptedSessionKey,
        key: &impl DecryptionKey,
    ) -> Result<SessionKey, String> {
        let typ = match packet.version() {
            PkeskVersion::V6 => EskType::V6,
            _ => EskType::V3_4,
        };
        let values = packet.values().map_err(|error| error.to_string())?;
        let plain = key
            .decrypt(&self.password, values, typ)
            .map_err(|error| format!("it can't be unlocked, is the password right? ({error})"))?
            .map_err(|error| format!("it does not open the session key: {error}"))?;
        match &plain {
            PlainSessionKey::V3_4 { sym_alg, key } => {
                Ok(SessionKey::new(Some(u8::from(*sym_alg)), key.as_ref()))
            }
            PlainSessionKey::V6 { key } => Ok(SessionKey::new(None, key.as_ref())),
            PlainSessionKey::V5 { .. } => Err("its session key is of a kind no bundle has".into()),
        }
    }
}

/// Whom a session-key packet is for.
fn show(packet: &PublicKeyEncryptedSessionKey) -> String {
    match (packet.id(), packet.fingerprint()) {
        (Ok(id), _) => id.to_string().to_ascii_uppercase(),
        (_, Ok(Some(fingerprint))) => fingerprint.to_string().to_ascii_uppercase(),
        _ => "of someone unnamed".into(),
    }
}

/// What a message is encrypted with. It is wiped when it is dropped.
#[derive(Clone)]
pub struct SessionKey {
    pub(super) algorithm: Option<u8>,
    pub(super) key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

impl SessionKey {
    pub(super) fn new(algorithm: Option<u8>, key: &[u8]) -> Self {
        Self {
            algorithm,
            key: Zeroizing::new(key.to_vec()),
        }
    }

    /// The text that [`parse`](Self::parse) reads, to hand the session key to another program.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let algorithm = self.algorithm.unwrap_or(match self.key.len() {
            16 => AES128,
            _ => AES256,
        });
        let mut digits = Zeroizing::new(hex(&self.key));
        digits.make_ascii_uppercase();
        Zeroizing::new(format!("{algorithm}:{}", *digits))
    }

    /// As `gpg --show-session-key` prints it: the cipher's number, a colon, hex digits.
    ///
    /// # Errors
    /// [`Error::Key`] for any other text, and ciphers that no bundle has.
    pub fn parse(text: &str) -> Result<Self, Error> {
        const NOT_ONE: &str = "it is no session key: write 9:HEX, as gpg --show-session-key does";
        let not_one = || Error::key("the session key", NOT_ONE);
        let (algorithm, digits) = text.trim().split_once(':').ok_or_else(not_one)?;
        let algorithm: u8 = algorithm.parse().map_err(|_| not_one())?;
        if !matches!(algorithm, AES128 | AES256) || !digits.len().is_multiple_of(2) {
            return Err(not_one());
        }
        // Its room is there before it is filled: nothing is left behind where it would have grown.
        let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
        for pair in digits.as_bytes().chunks(2) {
            let byte = std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok());
            bytes.push(byte.ok_or_else(not_one)?);
        }
        Ok(Self::new(Some(algorithm), &bytes))
    }
}
