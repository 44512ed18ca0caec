//! Whom a bundle is encrypted for: a certificate that is valid, and the one that is meant.

use std::io::Cursor;

use pgp::{
    composed::{Deserializable as _, RawSessionKey, SignedPublicKey, SignedPublicSubKey},
    crypto::{aead::AeadAlgorithm, public_key::PublicKeyAlgorithm, sym::SymmetricKeyAlgorithm},
    errors::Error as PgpError,
    packet::{
        PacketTrait as _, PublicKey, PublicKeyEncryptedSessionKey, PublicSubkey, Signature,
        SignatureType,
    },
    types::KeyDetails,
};

use super::Version;
use crate::{
    Error,
    key::{fingerprint, now_or},
    self_signed::{check_time, newest, self_signatures},
};

const WHAT: &str = "the recipient's certificate";
/// Fingerprints of version 4 and version 6 keys, in hex digits.
const FINGERPRINT_DIGITS: [usize; 2] = [40, 64];

/// Someone who will be able to read a bundle.
#[derive(Clone)]
pub struct Recipient {
    fingerprint: String,
    key: Key,
    pub(super) reads_version_two: bool,
    pub(super) reads_aes256: bool,
    pub(super) reads_aes256_ocb: bool,
}

#[derive(Clone)]
enum Key {
    Primary(Box<PublicKey>),
    Sub(Box<PublicSubkey>),
}

impl Recipient {
    /// Reads a certificate, armoured or not, that has to be the one of that full fingerprint,
    /// valid now, and able to receive. `not_before` is the date that the host's clock can't be
    /// behind, in seconds since 1970.
    ///
    /// It is encrypted to the newest valid subkey for encryption, as GnuPG does.
    ///
    /// # Errors
    /// [`Error::Key`], saying what is wrong: another fingerprint, expired, revoked, no key for
    /// encryption, no certificate.
    pub fn read(bytes: &[u8], wanted: &str, not_before: u32) -> Result<Self, Error> {
        Self::read_at(bytes, wanted, now_or(not_before))
    }

    /// As [`read`](Self::read), for a stated time, in seconds since 1970, whatever the clock says.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_at(bytes: &[u8], wanted: &str, now: u32) -> Result<Self, Error> {
        let wanted: String = wanted
            .chars()
            .filter(|one| !one.is_whitespace() && *one != ':')
            .map(|one| one.to_ascii_uppercase())
            .collect();
        let is_hex = wanted.bytes().all(|one| one.is_ascii_hexdigit());
        if !is_hex || !FINGERPRINT_DIGITS.contains(&wanted.len()) {
            return Err(Error::key(
                WHAT,
                format!(
                    "{wanted:?} is no full fingerprint: write all 40 (or 64) hex digits, since \
                     short key ids can be forged"
                ),
            ));
        }
        let (certificate, _) = SignedPublicKey::from_reader_single(Cursor::new(bytes))
            .map_err(|error| Error::key(WHAT, error))?;
        let found = fingerprint(&certificate.primary_key);
        if found != wanted {
            return Err(Error::key(
                WHAT,
                format!("its fingerprint is {found}, and not {wanted}: it is not the one meant"),
            ));
        }
        Self::check(&certificate, found.clone(), now)
            .map_err(|what| Error::key(WHAT, format!("{found} {what}")))
    }

    fn check(certificate: &SignedPublicKey, fingerprint: String, now: u32) -> Result<Self, String> {
        let primary = &certificate.primary_key;
        if !certificate.details.revocation_signatures.is_empty() {
            // One that another key made can't be checked here, and is heeded all the same.
            return Err("is revoked".into());
        }
        let about = self_signatures(certificate, now);
        if about.is_empty() {
            return Err("has no valid signature of its own key over a user id or itself".into());
        }
        for signature in &about {
            check_time(primary, signature, now, "")?;
        }
        let key = newest_for_encryption(certificate, &about, now)?;
        let prefers = |list: fn(&Signature) -> bool| about.iter().any(|one| list(one));
        Ok(Self {
            fingerprint,
            key,
            reads_version_two: prefers(|one| {
                one.features().is_some_and(pgp::packet::Features::seipd_v2)
            }),
            reads_aes256: prefers(|one| {
                one.preferred_symmetric_algs()
                    .contains(&SymmetricKeyAlgorithm::AES256)
            }),
            reads_aes256_ocb: prefers(|one| {
                one.preferred_aead_algs()
                    .contains(&(SymmetricKeyAlgorithm::AES256, AeadAlgorithm::Ocb))
            }),
        })
    }

    /// The fingerprint of the certificate, in upper-case hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The packet that holds a session key for this recipient.
    pub(super) fn session_packet(
        &self,
        version: Version,
        algorithm: SymmetricKeyAlgorithm,
        key: &RawSessionKey,
    ) -> Result<Vec<u8>, Error> {
        let bad = |error: PgpError| Error::key(WHAT, format!("{}: {error}", self.fingerprint));
        let rng = rand::rngs::OsRng;
        type Packet = PublicKeyEncryptedSessionKey;
        let packet = match (version, &self.key) {
            (Version::One, Key::Primary(to)) => {
                Packet::from_session_key_v3(rng, key, algorithm, to.as_ref())
            }
            (Version::One, Key::Sub(to)) => {
                Packet::from_session_key_v3(rng, key, algorithm, to.as_ref())
            }
            (Version::Two, Key::Primary(to)) => Packet::from_session_key_v6(rng, key, to.as_ref()),
            (Version::Two, Key::Sub(to)) => Packet::from_session_key_v6(rng, key, to.as_ref()),
        }
        .map_err(bad)?;
        let mut bytes = Vec::new();
        packet.to_writer_with_header(&mut bytes).map_err(bad)?;
        Ok(bytes)
    }
}

fn newest_for_encryption(
    certificate: &SignedPublicKey,
    about: &[&Signature],
    now: u32,
) -> Result<Key, String> {
    let primary = &certificate.primary_key;
    let mut best: Option<(Key, u32)> = None;
    let mut refused = Vec::new();
    for subkey in &certificate.public_subkeys {
        match check_subkey(primary, subkey, now) {
            Ok(false) => {}
            Ok(true) => {
                let created = subkey.key.created_at().as_secs();
                if best.as_ref().is_none_or(|(_, known)| created >= *known) {
                    best = Some((Key::Sub(Box::new(subkey.key.clone())), created));
                }
            }
            Err(what) => refused.push(what),
        }
    }
    if let Some((key, _)) = best {
        return Ok(key);
    }
    if can_encrypt(primary) && about.iter().any(|one| is_for_encryption(one)) {
        return Ok(Key::Primary(Box::new(primary.clone())));
    }
    Err(if refused.is_empty() {
        "has no key for encryption".into()
    } else {
        format!("has no valid key for encryption: {}", refused.join("; "))
    })
}

/// Whether a subkey is for encryption; an error says why it would be, but is not valid.
fn check_subkey(
    primary: &PublicKey,
    subkey: &SignedPublicSubKey,
    now: u32,
) -> Result<bool, String> {
    let own = |one: &&Signature| one.verify_subkey_binding(primary, &subkey.key).is_ok();
    let is_revocation = |one: &&Signature| one.typ() == Some(SignatureType::SubkeyRevocation);
    let bindings = subkey
        .signatures
        .iter()
        .filter(|one| one.typ() == Some(SignatureType::SubkeyBinding) && own(one));
    let Some(binding) = newest(bindings, now) else {
        return Ok(false);
    };
    if !can_encrypt(&subkey.key) || !is_for_encryption(binding) {
        return Ok(false);
    }
    let name = format!("subkey {} ", fingerprint(&subkey.key));
    if subkey.signatures.iter().any(|one| is_revocation(&one)) {
        return Err(format!("{name}is revoked"));
    }
    check_time(&subkey.key, binding, now, &name)?;
    Ok(true)
}

fn is_for_encryption(signature: &Signature) -> bool {
    let flags = signature.key_flags();
    flags.encrypt_comms() || flags.encrypt_storage()
}

fn can_encrypt(key: &impl KeyDetails) -> bool {
    matches!(
        key.algorithm(),
        PublicKeyAlgorithm::RSA
            | PublicKeyAlgorithm::ECDH
            | PublicKeyAlgorithm::X25519
            | PublicKeyAlgorithm::X448
    )
}
