//! Recipients' keys, sound and unsound, made by code.

use pgp::{
    composed::{
        ArmorOptions, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
        SignedSecretKey, SubkeyParamsBuilder,
    },
    crypto::{
        aead::AeadAlgorithm, ecc_curve::ECCCurve, hash::HashAlgorithm, sym::SymmetricKeyAlgorithm,
    },
    packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData},
    types::{Duration, KeyDetails as _, Password, SignedUser, Tag, Timestamp},
};
use scelle_bundle::{DecryptKey, Recipient};

use super::PLAN_DATE;

/// What reads a version of encrypted data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    VersionOne,
    VersionTwo,
}

/// A key that signs and one that encrypts, made at the plan's date.
pub(crate) fn secret(user: &str, reads: Reads, password: Option<&str>) -> SignedSecretKey {
    let password = password.map(str::to_owned);
    let created = Timestamp::from_secs(PLAN_DATE);
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::ECDH(ECCCurve::Curve25519Legacy))
        .can_encrypt(EncryptionCaps::All)
        .created_at(created)
        .passphrase(password.clone())
        .build()
        .expect("sound parameters");
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .created_at(created)
        .primary_user_id(user.into())
        .feature_seipd_v2(reads == Reads::VersionTwo)
        .preferred_symmetric_algorithms(
            [SymmetricKeyAlgorithm::AES256, SymmetricKeyAlgorithm::AES128]
                .into_iter()
                .collect(),
        )
        .preferred_aead_algorithms(
            [(SymmetricKeyAlgorithm::AES256, AeadAlgorithm::Ocb)]
                .into_iter()
                .collect(),
        )
        .passphrase(password)
        .subkeys(vec![subkey])
        .build()
        .expect("sound parameters")
        .generate(rand::rngs::OsRng)
        .expect("a key")
}

pub(crate) fn armoured(secret: &SignedSecretKey) -> String {
    secret
        .to_armored_string(ArmorOptions::default())
        .expect("text")
}

pub(crate) fn certificate(secret: &SignedSecretKey) -> String {
    public_text(&secret.to_public_key())
}

pub(crate) fn public_text(public: &SignedPublicKey) -> String {
    public
        .to_armored_string(ArmorOptions::default())
        .expect("text")
}

pub(crate) fn fingerprint(secret: &SignedSecretKey) -> String {
    secret.primary_key.fingerprint().to_string().to_uppercase()
}

pub(crate) fn recipient(secret: &SignedSecretKey) -> Recipient {
    Recipient::read(
        certificate(secret).as_bytes(),
        &fingerprint(secret),
        PLAN_DATE,
    )
    .expect("a sound certificate")
}

pub(crate) fn decrypt_key(secret: &SignedSecretKey) -> DecryptKey {
    DecryptKey::read(armoured(secret).as_bytes(), None).expect("a sound key")
}

/// Parts of a certificate that make it unusable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unsound {
    Expired,
    Revoked,
    SubkeyExpired,
    SubkeyRevoked,
    NoSubkey,
    NotForEncryption,
    NoSelfSignature,
}

const DAY: u32 = 86_400;

/// A certificate with one thing wrong, under signatures that check.
pub(crate) fn unsound(secret: &SignedSecretKey, what: Unsound) -> String {
    let mut public = secret.to_public_key();
    let key = &secret.primary_key;
    let empty = Password::empty();
    let expires = || SubpacketData::KeyExpirationTime(Duration::from_secs(DAY));
    let mut flags = KeyFlags::default();
    flags.set_encrypt_storage(true);
    let mut signing = KeyFlags::default();
    signing.set_sign(true);
    match what {
        Unsound::Expired => {
            let user = &public.details.users[0];
            let config = config(secret, SignatureType::CertPositive, vec![expires()]);
            let signature = config
                .sign_certification(key, key.public_key(), &empty, Tag::UserId, &user.id)
                .expect("signed");
            public.details.users = vec![SignedUser::new(user.id.clone(), vec![signature])];
        }
        Unsound::Revoked => {
            let config = config(secret, SignatureType::KeyRevocation, vec![]);
            let signature = config
                .sign_key(key, &empty, key.public_key())
                .expect("signed");
            public.details.revocation_signatures.push(signature);
        }
        Unsound::SubkeyExpired | Unsound::SubkeyRevoked | Unsound::NotForEncryption => {
            let (typ, data) = match what {
                Unsound::SubkeyExpired => (
                    SignatureType::SubkeyBinding,
                    vec![expires(), SubpacketData::KeyFlags(flags)],
                ),
                Unsound::SubkeyRevoked => (SignatureType::SubkeyRevocation, vec![]),
                _ => (
                    SignatureType::SubkeyBinding,
                    vec![SubpacketData::KeyFlags(signing)],
                ),
            };
            let subkey = &mut public.public_subkeys[0];
            let signature = config(secret, typ, data)
                .sign_subkey_binding(key, key.public_key(), &empty, &subkey.key)
                .expect("signed");
            if !matches!(what, Unsound::SubkeyRevoked) {
                subkey.signatures.clear();
            }
            subkey.signatures.push(signature);
        }
        Unsound::NoSubkey => public.public_subkeys.clear(),
        Unsound::NoSelfSignature => {
            // Another's signatures over another's name.
            let other = super::certificates::secret("other", Reads::VersionOne, None);
            public.details.users = other.details.users;
        }
    }
    public_text(&public)
}

fn config(
    secret: &SignedSecretKey,
    typ: SignatureType,
    data: Vec<SubpacketData>,
) -> SignatureConfig {
    let key = &secret.primary_key;
    let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(PLAN_DATE + 60)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ]
    .into_iter()
    .chain(data)
    .map(|data| Subpacket::regular(data).expect("small"))
    .collect();
    config
}
