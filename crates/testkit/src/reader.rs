//! A recipient's key, made by code: for programs that are told of keys by files.

use pgp::{
    composed::{
        ArmorOptions, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SubkeyParamsBuilder,
    },
    crypto::{aead::AeadAlgorithm, ecc_curve::ECCCurve, sym::SymmetricKeyAlgorithm},
    types::{KeyDetails as _, Timestamp},
};

/// 2026-01-01, in seconds since 1970: the date of run keys.
const CREATED: u32 = 1_767_225_600;

/// A key that signs and one that encrypts.
pub struct ReaderKey {
    /// The certificate, armoured.
    pub certificate: String,
    /// The secret key, armoured.
    pub secret: String,
    /// The primary key's fingerprint, in upper-case hex.
    pub fingerprint: String,
}

impl ReaderKey {
    /// Makes one; `reads_version_two` says that its owner reads the newer encryption (SEIPD v2).
    pub fn make(reads_version_two: bool) -> Self {
        Self::generate(reads_version_two, None)
    }

    /// Makes one whose secret key has a password.
    pub fn protected(password: &str) -> Self {
        Self::generate(false, Some(password.to_owned()))
    }

    fn generate(reads_version_two: bool, password: Option<String>) -> Self {
        let created = Timestamp::from_secs(CREATED);
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::ECDH(ECCCurve::Curve25519Legacy))
            .can_encrypt(EncryptionCaps::All)
            .created_at(created)
            .passphrase(password.clone())
            .build()
            .expect("sound parameters");
        let aes256 = SymmetricKeyAlgorithm::AES256;
        let secret = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(created)
            .primary_user_id("reader".into())
            .feature_seipd_v2(reads_version_two)
            .preferred_symmetric_algorithms([aes256].into_iter().collect())
            .preferred_aead_algorithms([(aes256, AeadAlgorithm::Ocb)].into_iter().collect())
            .passphrase(password)
            .subkeys(vec![subkey])
            .build()
            .expect("sound parameters")
            .generate(rand::rngs::OsRng)
            .expect("the system gives randomness");
        let text = ArmorOptions::default;
        let public = secret.to_public_key();
        Self {
            certificate: public.to_armored_string(text()).expect("text"),
            secret: secret.to_armored_string(text()).expect("text"),
            fingerprint: secret.primary_key.fingerprint().to_string().to_uppercase(),
        }
    }
}
