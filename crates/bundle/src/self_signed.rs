//! What a certificate says of itself at a moment: the signatures of its own key.

use pgp::{
    composed::SignedPublicKey,
    packet::{Signature, SignatureType},
    types::{KeyDetails, SignedUser, Tag, Timestamp},
};

/// The newest signature of the primary key over itself, and over each user id that is not
/// revoked: what holds of the certificate.
pub(crate) fn self_signatures(certificate: &SignedPublicKey, now: u32) -> Vec<&Signature> {
    let primary = &certificate.primary_key;
    let direct = certificate
        .details
        .direct_signatures
        .iter()
        .filter(|one| one.typ() == Some(SignatureType::Key) && one.verify_key(primary).is_ok());
    let users = certificate.details.users.iter().filter_map(|user| {
        let own = |one: &&Signature| {
            one.verify_certification(primary, Tag::UserId, &user.id)
                .is_ok()
        };
        let newest = newest(user.signatures.iter().filter(own), now)?;
        (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
    });
    newest(direct, now).into_iter().chain(users).collect()
}

/// The newest of those that are made already and still hold.
pub(crate) fn newest<'a>(
    signatures: impl Iterator<Item = &'a Signature>,
    now: u32,
) -> Option<&'a Signature> {
    signatures
        .filter(|one| {
            let Some(created) = one.created().map(Timestamp::as_secs) else {
                return false;
            };
            let lasts = one
                .signature_expiration_time()
                .map_or(0, |time| time.as_secs());
            created <= now && (lasts == 0 || created.saturating_add(lasts) > now)
        })
        .max_by_key(|one| one.created().map(Timestamp::as_secs))
}

/// Whether a key is made already and not expired, by what a signature says of it.
pub(crate) fn check_time(
    key: &impl KeyDetails,
    signature: &Signature,
    now: u32,
    what: &str,
) -> Result<(), String> {
    let created = key.created_at().as_secs();
    if created > now {
        return Err(format!(
            "{what}was made at {}, and the clock says {}",
            show(created),
            show(now)
        ));
    }
    let lasts = signature
        .key_expiration_time()
        .map_or(0, |time| time.as_secs());
    let ends = created.saturating_add(lasts);
    if lasts > 0 && ends <= now {
        return Err(format!("{what}is expired since {}", show(ends)));
    }
    Ok(())
}

pub(crate) fn show(seconds: u32) -> String {
    jiff::Timestamp::from_second(i64::from(seconds))
        .map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Whether the key signed itself, or a user id of its own, at any time.
pub(crate) fn is_self_signed(certificate: &SignedPublicKey) -> bool {
    let primary = &certificate.primary_key;
    let mut direct = certificate.details.direct_signatures.iter();
    let mut users = certificate.details.users.iter();
    direct.any(|one| one.typ() == Some(SignatureType::Key) && one.verify_key(primary).is_ok())
        || users.any(|user| has_own(certificate, user))
}

/// Whether the key signed that user id.
pub(crate) fn has_own(certificate: &SignedPublicKey, user: &SignedUser) -> bool {
    user.signatures.iter().any(|one| {
        one.typ() != Some(SignatureType::CertRevocation)
            && one
                .verify_certification(&certificate.primary_key, Tag::UserId, &user.id)
                .is_ok()
    })
}
