//! Keys that seal: OpenPGP signatures in one canonical form.
//!
//! A signature file is what [`SealKey::sign`] writes and nothing else: own armour (64 columns,
//! CRC-24, no header), one signature packet in its shortest form, type "binary", an unhashed
//! area with the issuer's key id alone. Only algorithms with one signature a message and key are
//! taken (EdDSA, RSA PKCS#1 v1.5): of an ECDSA signature anybody can make a second one.

use std::{io::Cursor, sync::Arc};

use pgp::{
    composed::{
        ArmorOptions, Deserializable, DetachedSignature, KeyType, SignedKeyDetails,
        SignedPublicKey, SignedSecretKey,
    },
    crypto::{hash::HashAlgorithm, public_key::PublicKeyAlgorithm},
    packet::{
        KeyFlags, OnePassSignature, PacketTrait as _, PubKeyInner, PublicKey, SecretKey,
        SignatureConfig, SignatureHasher, SignatureType, SignatureVersion, Subpacket,
        SubpacketData, UserId,
    },
    ser::Serialize as _,
    types::{KeyDetails as _, KeyVersion, Password, SignedUser, Tag, Timestamp, VerifyingKey as _},
};
use zeroize::Zeroizing;

use crate::{
    Error,
    armour::{armour, armour_certificates, dearmour},
    limits::{ARMOUR_LIMIT, MOST_CERTIFICATES},
    self_signed::{has_own, is_self_signed},
};

const NOT_SELF_SIGNED: &str = "its own key signed neither it nor a user id of it";

/// A key that seals a bundle.
#[derive(Clone)]
pub struct SealKey {
    pub(crate) secret: Arc<SignedSecretKey>,
    pub(crate) password: Arc<Password>,
    /// The least creation time of a signature, in seconds since 1970.
    pub(crate) not_before: u32,
    /// Certificates of those who vouch for it: they travel behind its own.
    pub(crate) others: Vec<SignedPublicKey>,
}

impl SealKey {
    /// Makes a run key: Ed25519 in the form that every OpenPGP program reads.
    ///
    /// `created` is the date of the plan or of the release, in seconds since 1970, and not the
    /// host's clock: a clock that is wrong would make a key that others refuse.
    ///
    /// # Errors
    /// [`Error::Key`] when the system gives no randomness or the user id is not usable.
    pub fn generate(user_id: &str, created: u32) -> Result<Self, Error> {
        let bad = |error: pgp::errors::Error| Error::key("the run key", error);
        let rng = || rand::rngs::OsRng;
        let (public, secret) = KeyType::Ed25519Legacy.generate(rng()).map_err(bad)?;
        let created_at = Timestamp::from_secs(created);
        let inner = PubKeyInner::new(
            KeyVersion::V4,
            PublicKeyAlgorithm::EdDSALegacy,
            created_at,
            None,
            public,
        )
        .map_err(bad)?;
        let public = PublicKey::from_inner(inner).map_err(bad)?;
        let secret = SecretKey::new(public.clone(), secret).map_err(bad)?;
        let id = UserId::from_str(Default::default(), user_id).map_err(bad)?;
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        flags.set_certify(true);
        // A clock that is set back meanwhile must not make later signatures older than this one.
        let not_before = now_or(created);
        let binding = signature_config(
            &secret,
            SignatureType::CertPositive,
            not_before,
            [
                SubpacketData::KeyFlags(flags),
                SubpacketData::IsPrimary(true),
            ],
        )
        .map_err(bad)?
        .sign_certification(&secret, &public, &Password::empty(), Tag::UserId, &id)
        .map_err(bad)?;
        let details = SignedKeyDetails::new(
            vec![],
            vec![],
            vec![SignedUser::new(id, vec![binding])],
            vec![],
        );
        Ok(Self {
            secret: SignedSecretKey::new(secret, details, vec![], vec![]).into(),
            password: Password::empty().into(),
            not_before,
            others: Vec::new(),
        })
    }

    /// Reads an operator's own secret key, armoured or not.
    ///
    /// # Errors
    /// [`Error::Key`] when it can't be read, its password is wrong, or its algorithm has more
    /// than one signature a message.
    pub fn read(bytes: &[u8], password: Option<&str>) -> Result<Self, Error> {
        const WHAT: &str = "the signing key";
        let (secret, _) = SignedSecretKey::from_reader_single(Cursor::new(bytes))
            .map_err(|error| no_secret(WHAT, bytes, error))?;
        if !is_self_signed(&secret.to_public_key()) {
            return Err(Error::key(WHAT, NOT_SELF_SIGNED));
        }
        if !signs_in_one_way(secret.primary_key.algorithm()) {
            return Err(Error::key(
                WHAT,
                "use an Ed25519 or RSA key: others sign one message in many ways",
            ));
        }
        let not_before = secret.primary_key.created_at().as_secs();
        let key = Self {
            secret: secret.into(),
            password: password.map_or_else(Password::empty, Password::from).into(),
            not_before,
            others: Vec::new(),
        };
        // A wrong password must show now, not when the collection is done, as must a certificate
        // that nobody reads.
        key.sign(b"")?;
        key.certificate()?;
        Ok(key)
    }

    /// The certificate, armoured; those of whoever vouches for the key follow in the same block.
    ///
    /// # Errors
    /// [`Error::Key`] when it can't be written, or is longer than one that is read.
    pub fn certificate(&self) -> Result<String, Error> {
        const WHAT: &str = "the signing key's certificate";
        let text = self.public().armoured()?;
        let count = self.others.len() + 1;
        let hint = "take signatures off it that it does not need";
        Error::unless_read(WHAT, text.len(), ARMOUR_LIMIT, hint)?;
        if count > MOST_CERTIFICATES {
            return Err(Error::key(
                WHAT,
                format!("there are {count} in one, and no more than {MOST_CERTIFICATES} are read"),
            ));
        }
        Ok(text)
    }

    /// The certificate, with those of whoever vouches for the key.
    pub fn public(&self) -> Certificate {
        Certificate {
            own: self.secret.to_public_key(),
            others: self.others.clone(),
        }
    }

    /// The secret key, armoured, under a password where one is given.
    ///
    /// # Errors
    /// [`Error::Key`] when it can't be written.
    pub fn secret_text(&self, password: Option<&str>) -> Result<Zeroizing<String>, Error> {
        let bad = |error: pgp::errors::Error| Error::key("the secret key", error);
        let mut secret = SignedSecretKey::clone(&self.secret);
        if let Some(password) = password {
            secret
                .primary_key
                .set_password(rand::rngs::OsRng, &Password::from(password))
                .map_err(bad)?;
        }
        secret
            .to_armored_string(ArmorOptions::default())
            .map(Zeroizing::new)
            .map_err(bad)
    }

    /// Makes no signature that claims to be older than this time, in seconds since 1970.
    #[must_use]
    pub fn not_before(mut self, time: u32) -> Self {
        self.not_before = self.not_before.max(time);
        self
    }

    /// The key's fingerprint, in upper-case hex.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.secret.primary_key)
    }

    /// A detached signature over `message`, armoured in the one form.
    ///
    /// # Errors
    /// [`Error::Key`] when the key can't sign.
    pub fn sign(&self, message: &[u8]) -> Result<String, Error> {
        let mut hasher = self.begin_signature()?;
        std::io::Write::write_all(&mut hasher, message).map_err(Error::Write)?;
        Ok(armour(&self.end_signature(hasher)?))
    }

    /// Begins a signature over what is written to the answer.
    pub(crate) fn begin_signature(&self) -> Result<SignatureHasher, Error> {
        signature_config(
            &self.secret.primary_key,
            SignatureType::Binary,
            now_or(self.not_before),
            [],
        )
        .and_then(SignatureConfig::into_hasher)
        .map_err(signing)
    }

    /// Ends a signature: its packet.
    pub(crate) fn end_signature(&self, hasher: SignatureHasher) -> Result<Vec<u8>, Error> {
        let signature = hasher
            .sign(&self.secret.primary_key, &self.password)
            .map_err(signing)?;
        DetachedSignature::new(signature)
            .to_bytes()
            .map_err(signing)
    }

    /// The packet that announces a signature behind what it signs.
    pub(crate) fn one_pass(&self) -> Result<Vec<u8>, Error> {
        one_pass(&self.secret.primary_key).map_err(signing)
    }
}

pub(crate) fn signing(error: pgp::errors::Error) -> Error {
    Error::key("signing", error)
}

/// Why that is no secret key; the usual reason in words that help.
pub(crate) fn no_secret(what: &'static str, bytes: &[u8], error: pgp::errors::Error) -> Error {
    if Certificate::read(bytes).is_ok() {
        return Error::key(
            what,
            "it is a certificate, the public half: name the file of the secret key that belongs to it",
        );
    }
    Error::key(what, error)
}

/// A signature in the one form: when and by whom it is made, and what is said besides.
pub(crate) fn signature_config(
    key: &SecretKey,
    typ: SignatureType,
    at: u32,
    says: impl IntoIterator<Item = SubpacketData>,
) -> Result<SignatureConfig, pgp::errors::Error> {
    let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha256);
    let head = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(at)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    config.hashed_subpackets = head
        .into_iter()
        .chain(says)
        .map(Subpacket::regular)
        .collect::<Result<_, _>>()?;
    let issuer = SubpacketData::IssuerKeyId(key.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(issuer)?];
    Ok(config)
}

fn one_pass(key: &impl pgp::types::KeyDetails) -> Result<Vec<u8>, pgp::errors::Error> {
    let mut packet = Vec::new();
    OnePassSignature::v3(
        SignatureType::Binary,
        HashAlgorithm::Sha256,
        key.algorithm(),
        key.legacy_key_id(),
    )
    .to_writer_with_header(&mut packet)?;
    Ok(packet)
}

/// The later of the host's clock and `least`, in seconds since 1970.
pub(crate) fn now_or(least: u32) -> u32 {
    Timestamp::now().as_secs().max(least)
}

fn signs_in_one_way(algorithm: PublicKeyAlgorithm) -> bool {
    matches!(
        algorithm,
        PublicKeyAlgorithm::EdDSALegacy | PublicKeyAlgorithm::Ed25519 | PublicKeyAlgorithm::RSA
    )
}

pub(crate) fn fingerprint(key: &impl pgp::types::KeyDetails) -> String {
    key.fingerprint().to_string().to_ascii_uppercase()
}

/// A certificate: of the key that sealed a bundle, or of one that is trusted.
#[derive(Clone)]
pub struct Certificate {
    pub(crate) own: SignedPublicKey,
    /// The certificates that came behind it.
    pub(crate) others: Vec<SignedPublicKey>,
}

impl Certificate {
    /// Reads a certificate, armoured or not, and those that follow it in the same block: of whoever
    /// vouches for it. They say nothing until a trusted certificate leads to them.
    ///
    /// # Errors
    /// [`Error::Key`] when one can't be read or is not signed by its own key, or where there are
    /// more than 8.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        const WHAT: &str = "the certificate";
        let bad = |error: pgp::errors::Error| Error::key(WHAT, error);
        let (found, _) = SignedPublicKey::from_reader_many(Cursor::new(bytes)).map_err(bad)?;
        let mut read = Vec::new();
        for certificate in found {
            if read.len() == MOST_CERTIFICATES {
                return Err(Error::key(
                    WHAT,
                    format!("there are more than {MOST_CERTIFICATES} in one file"),
                ));
            }
            let certificate = certificate.map_err(bad)?;
            if !is_self_signed(&certificate) {
                return Err(Error::key(WHAT, NOT_SELF_SIGNED));
            }
            read.push(certificate);
        }
        let mut read = read.into_iter();
        let own = read
            .next()
            .ok_or_else(|| Error::key(WHAT, "there is none"))?;
        Ok(Self {
            own,
            others: read.collect(),
        })
    }

    /// Its text: it, and those that came behind it.
    ///
    /// # Errors
    /// [`Error::Key`] when it can't be written.
    pub fn armoured(&self) -> Result<String, Error> {
        Ok(armour_certificates(&self.packets()?))
    }

    /// Its packets, and those of the certificates that came behind it.
    pub(crate) fn packets(&self) -> Result<Vec<u8>, Error> {
        let mut packets = Vec::new();
        for certificate in std::iter::once(&self.own).chain(&self.others) {
            certificate
                .to_writer(&mut packets)
                .map_err(|error| Error::key("the certificate", error))?;
        }
        Ok(packets)
    }

    /// The fingerprint of its primary key, in upper-case hex.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.own.primary_key)
    }

    /// The first user id that its key signed, where it is text.
    pub fn user_id(&self) -> Option<String> {
        user_id(&self.own)
    }

    /// Checks a detached signature by this key, and that its file is in the one form; gives the time
    /// that it claims, in seconds since 1970.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, message: &[u8], file: &[u8]) -> Result<u32, String> {
        let packet = dearmour(file)?;
        let signature = self.read_signature(&packet)?.signature;
        signature
            .verify(&self.own.primary_key, message)
            .map_err(|error| format!("it does not fit what it signs: {error}"))?;
        let created = signature.created().ok_or("it says no time")?;
        Ok(created.as_secs())
    }

    /// Checks the packets around signed data that was hashed before, and that they are in the
    /// one form.
    pub(crate) fn check_message(
        &self,
        announced: &[u8],
        hasher: sha2::Sha256,
        packet: &[u8],
    ) -> Result<(), String> {
        use sha2::Digest as _;

        let wanted = one_pass(&self.own.primary_key).map_err(|error| error.to_string())?;
        if announced != wanted {
            return Err("another key is announced than the one that sealed".into());
        }
        let signature = self.read_signature(packet)?.signature;
        // The part of a version 4 signature that is hashed, RFC 9580 section 5.2.4: its first
        // six bytes and its hashed area.
        let body = packet_body(packet).ok_or("it is cut")?;
        let hashed = body
            .get(4..6)
            .map(|length| 6 + usize::from(u16::from_be_bytes([length[0], length[1]])))
            .and_then(|end| body.get(..end))
            .ok_or("it is cut")?;
        let digest = hasher
            .chain_update(hashed)
            .chain_update([4, 0xFF])
            .chain_update((hashed.len() as u32).to_be_bytes())
            .finalize();
        let value = signature.signature().ok_or("its version is unknown")?;
        if signature.signed_hash_value() != digest.first_chunk().copied() {
            return Err("it does not fit what it signs: the hash begins otherwise".into());
        }
        self.own
            .primary_key
            .verify(HashAlgorithm::Sha256, &digest, value)
            .map_err(|error| format!("it does not fit what it signs: {error}"))
    }

    /// Reads a signature packet that must be in the one form, and by this certificate's key.
    fn read_signature(&self, packet: &[u8]) -> Result<DetachedSignature, String> {
        let signature = DetachedSignature::from_bytes(Cursor::new(packet))
            .map_err(|error| format!("it can't be read: {error}"))?;
        let again = signature
            .to_bytes()
            .map_err(|error| format!("it can't be read: {error}"))?;
        if again != packet {
            return Err("its packet is not in the one form".into());
        }
        let config = signature
            .signature
            .config()
            .ok_or("its version is unknown")?;
        if config.typ() != SignatureType::Binary
            || config.hash_alg != HashAlgorithm::Sha256
            || config.version() != SignatureVersion::V4
            || !signs_in_one_way(config.pub_alg)
        {
            return Err("it is of a kind that no bundle has".into());
        }
        let issuer = Subpacket::regular(SubpacketData::IssuerKeyId(
            self.own.primary_key.legacy_key_id(),
        ))
        .map_err(|error| error.to_string())?;
        if !config.unhashed_subpackets().eq([&issuer]) {
            return Err("its unhashed area holds something else than the issuer".into());
        }
        Ok(signature)
    }
}

/// The first user id that a certificate's key signed, where it is text.
pub(crate) fn user_id(certificate: &SignedPublicKey) -> Option<String> {
    let mut users = certificate.details.users.iter();
    let user = users.find(|user| has_own(certificate, user))?;
    user.id.as_str().map(str::to_owned)
}

/// The body of a packet with a length of one or two octets, or five.
fn packet_body(packet: &[u8]) -> Option<&[u8]> {
    let head = match packet.get(1)? {
        0..192 => 2,
        192..224 => 3,
        255 => 6,
        _ => return None,
    };
    packet.get(head..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_checks_and_every_bit_of_it_counts() {
        let key = SealKey::generate("run <test>", 1_700_000_000).expect("a key");
        let certificate = Certificate::read(key.certificate().expect("text").as_bytes())
            .expect("own certificate");
        assert_eq!(certificate.fingerprint(), key.fingerprint());
        let file = key.sign(b"message").expect("a signature").into_bytes();
        certificate.check(b"message", &file).expect("sound");
        assert!(certificate.check(b"massage", &file).is_err());
        let mut still = 0;
        for bit in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            still += usize::from(certificate.check(b"message", &changed).is_ok());
        }
        assert_eq!(still, 0, "flips of one bit that still check");
        let packet = dearmour(&file).expect("own armour");
        for bit in 0..packet.len() * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let file = armour(&changed);
            if certificate.check(b"message", file.as_bytes()).is_ok() {
                panic!("bit {bit} of the packet may be flipped: {packet:02x?}");
            }
        }
        let other = SealKey::generate("other", 1_700_000_000).expect("a key");
        let other = Certificate::read(other.certificate().expect("text").as_bytes()).expect("read");
        assert!(other.check(b"message", &file).is_err());
    }
}
