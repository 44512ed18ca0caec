//! Who vouches for a key: certifications, from the key that sealed up to one that is trusted.
//!
//! The words are OpenPGP's own, so that other programs make and check them as well (RFC 9580,
//! sections 5.2.1 and 5.2.3):
//!
//! - a certification (types 0x10 to 0x13) of a user id vouches for the key, from its making to
//!   its expiration;
//! - one that is a trust signature of level `n`, of the full amount, lets that key vouch for
//!   others, down to `n` steps;
//! - a certification revocation (0x30) by the same key takes it back; a key revocation (0x20)
//!   takes all back that the key signed. With the reasons "superseded", "retired" and "user id
//!   no longer valid" that holds from its making; with any other, or none, for ever.
//!
//! All is asked for one moment: that of the seal. Where a time-stamp tells it, what a run's key says of itself and what was said of
//! it are asked for the moment that the host's clock gave to the seal, if that is later: the same clock dated them.
//!
//! # Bounds
//! Certificates come from strangers, of up to a MiB each, with levels and other keys in them counted. Of what others say in them,
//! [`MOST_CHECKS`] certifications are looked at.

use std::collections::{HashMap, HashSet};

use pgp::{
    composed::{SignedPublicKey, SignedSecretKey},
    crypto::hash::HashAlgorithm,
    packet::{RevocationCode, Signature, SignatureType, SubpacketData, UserId},
    types::{Duration, KeyDetails, Password, Tag, Timestamp},
};

use crate::{
    Certificate, Error, SealKey,
    key::{fingerprint, now_or, signature_config, signing},
    self_signed::{check_time, has_own, self_signatures, show},
};

/// Steps from the key that sealed to the one that is trusted: run, deployment, case, team.
const MOST_STEPS: u8 = 3;
/// The amount of a trust signature that vouches alone, RFC 9580 section 5.2.3.21.
const FULL_TRUST: u8 = 120;
/// Certifications that are checked for one answer: some seconds' work.
const MOST_CHECKS: u32 = 20_000;
/// Reasons that are told.
const MOST_REASONS: usize = 8;

/// What a certification says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// For how long it holds, in seconds; without it, for ever.
    pub lasts_seconds: Option<u32>,
    /// How many steps down the key may vouch for others: not at all, 1 for the keys of its runs or people, 2 for those
    /// of a case's deployments too.
    pub levels: u8,
}

impl SealKey {
    /// Vouches for another key: a certification of each of its user ids, added to its certificate.
    ///
    /// # Errors
    /// [`Error::Key`] when the key can't sign, or the certificate has no user id of its own.
    pub fn certify(&self, certificate: &Certificate, terms: &Terms) -> Result<Certificate, Error> {
        let mut says = Vec::new();
        if let Some(seconds) = terms.lasts_seconds {
            let lasts = Duration::from_secs(seconds);
            says.push(SubpacketData::SignatureExpirationTime(lasts));
        }
        if terms.levels > 0 {
            says.push(SubpacketData::TrustSignature(terms.levels, FULL_TRUST));
        }
        let at = now_or(self.not_before.max(created(certificate)));
        self.sign_users(certificate, SignatureType::CertGeneric, at, &says)
    }

    /// Takes back what [`certify`](Self::certify) said, for ever.
    ///
    /// # Errors
    /// As [`certify`](Self::certify).
    pub fn revoke(&self, certificate: &Certificate) -> Result<Certificate, Error> {
        let reason =
            SubpacketData::RevocationReason(RevocationCode::NoReason, b"".as_slice().into());
        let at = now_or(self.not_before.max(created(certificate)));
        self.sign_users(certificate, SignatureType::CertRevocation, at, &[reason])
    }

    /// Has `voucher` vouch for this key; its certificate, and those behind it, travel with this
    /// key's from now on.
    ///
    /// # Errors
    /// [`Error::Key`] when `voucher` can't sign.
    pub fn certified_by(self, voucher: &Self) -> Result<Self, Error> {
        let certified = voucher.certify(&self.public(), &Terms::default())?;
        let voucher = voucher.public();
        self.with_certificate(Certificate {
            own: certified.own,
            others: std::iter::once(voucher.own).chain(voucher.others).collect(),
        })
    }

    /// Has the certificate of whoever vouches for this key, and those behind it, travel with this key's.
    #[must_use]
    pub fn vouched_by(mut self, voucher: &Certificate) -> Self {
        self.others = std::iter::once(&voucher.own)
            .chain(&voucher.others)
            .cloned()
            .collect();
        self
    }

    /// Takes what others certified of this key into it, so that it travels along.
    ///
    /// # Errors
    /// [`Error::Key`] where the certificate is another key's.
    pub fn with_certificate(mut self, certificate: Certificate) -> Result<Self, Error> {
        if !is_same_key(&certificate.own.primary_key, &self.secret.primary_key) {
            return Err(Error::key(
                "the certificate",
                format!(
                    "it is of the key {}, and not of {}",
                    certificate.fingerprint(),
                    self.fingerprint()
                ),
            ));
        }
        let mut secret = SignedSecretKey::clone(&self.secret);
        secret.details = certificate.own.details;
        self.secret = secret.into();
        self.others = certificate.others;
        Ok(self)
    }

    fn sign_users(
        &self,
        certificate: &Certificate,
        typ: SignatureType,
        at: u32,
        says: &[SubpacketData],
    ) -> Result<Certificate, Error> {
        let mut certified = certificate.clone();
        let key = &self.secret.primary_key;
        let own: Vec<bool> = certificate
            .own
            .details
            .users
            .iter()
            .map(|user| has_own(&certificate.own, user))
            .collect();
        if !own.contains(&true) {
            return Err(Error::key(
                "certifying",
                "the certificate has no user id of its own",
            ));
        }
        for (user, own) in certified.own.details.users.iter_mut().zip(own) {
            if own {
                let signed = self.sign_user(key, typ, at, says, &certificate.own, &user.id);
                user.signatures.push(signed.map_err(signing)?);
            }
        }
        Ok(certified)
    }

    fn sign_user(
        &self,
        key: &pgp::packet::SecretKey,
        typ: SignatureType,
        at: u32,
        says: &[SubpacketData],
        certificate: &SignedPublicKey,
        user: &UserId,
    ) -> Result<Signature, pgp::errors::Error> {
        let password: &Password = &self.password;
        signature_config(key, typ, at, says.iter().cloned())?.sign_certification_third_party(
            key,
            password,
            &certificate.primary_key,
            Tag::UserId,
            user,
        )
    }
}

impl Certificate {
    /// Whether one of `roots` vouches for this key at a time in seconds since 1970, over the
    /// certificates that came behind it, and none of `revocations` takes that back. Those vouch
    /// for nobody.
    ///
    /// # Errors
    /// Why none does, a sentence each.
    pub fn check_vouched(
        &self,
        roots: &[Self],
        revocations: &[Self],
        at: u32,
    ) -> Result<(), Vec<String>> {
        let trust = Trust {
            roots,
            revocations,
            signer: self,
            at,
            signed_at: at,
        };
        trust.path().map(drop)
    }
}

fn created(certificate: &Certificate) -> u32 {
    certificate.own.primary_key.created_at().as_secs()
}

/// Looks for a way from a key to one that is trusted.
pub(crate) struct Trust<'a> {
    /// Whom the asker trusts.
    pub(crate) roots: &'a [Certificate],
    /// Certificates in which the asker knows of revocations.
    pub(crate) revocations: &'a [Certificate],
    /// The key that sealed, and what came with it.
    pub(crate) signer: &'a Certificate,
    /// The moment that it is asked for, in seconds since 1970.
    pub(crate) at: u32,
    /// When the signer says that it was, which is heeded where it is later.
    pub(crate) signed_at: u32,
}

/// A search for one answer.
struct Climb {
    why: Vec<String>,
    /// The keys that were looked at, by fingerprint and level: none is looked at twice.
    seen: HashSet<(String, u8)>,
    checks_left: u32,
    /// Whether there was one more to check: then nothing is known of what was not, which may take something back.
    is_exhausted: bool,
}

impl Climb {
    /// Whether one more certification is checked.
    fn may_check(&mut self) -> bool {
        self.is_exhausted |= self.checks_left == 0;
        self.checks_left = self.checks_left.saturating_sub(1);
        !self.is_exhausted
    }
}

impl<'a> Trust<'a> {
    /// The keys that vouch for the signer, one for the other, up to the one that is trusted; the
    /// signer itself where it is that. An error says why there is no such way.
    pub(crate) fn path(&self) -> Result<Vec<&'a SignedPublicKey>, Vec<String>> {
        let mut climb = Climb {
            why: Vec::new(),
            seen: HashSet::new(),
            checks_left: MOST_CHECKS,
            is_exhausted: false,
        };
        let found = self.climb(&self.signer.own, 0, &mut climb);
        if let Some(mut path) = found.filter(|_| !climb.is_exhausted) {
            path.reverse();
            return Ok(path);
        }
        let mut why = climb.why;
        if climb.is_exhausted {
            why.insert(
                0,
                format!(
                    "the certificates hold more than {MOST_CHECKS} certifications: not all were looked at"
                ),
            );
        }
        why.truncate(MOST_REASONS);
        Err(why)
    }

    /// The moment that is asked for of a key that stands `level` steps above the signer, and of what is said of it.
    fn moment(&self, level: u8) -> u32 {
        if level == 0 {
            self.at.max(self.signed_at)
        } else {
            self.at
        }
    }

    /// The way from `key` up, its end first.
    fn climb(
        &self,
        key: &'a SignedPublicKey,
        level: u8,
        climb: &mut Climb,
    ) -> Option<Vec<&'a SignedPublicKey>> {
        if !climb.seen.insert((fingerprint(&key.primary_key), level)) {
            return None;
        }
        if let Err(what) = self.check_key(key, level) {
            let key = fingerprint(&key.primary_key);
            climb.why.push(format!("the key {key} {what}"));
            return None;
        }
        let roots = self.roots.iter().map(|root| &root.own);
        if let Some(root) = roots.clone().find(|root| is_same(root, key)) {
            return Some(vec![root]);
        }
        if level == MOST_STEPS {
            return None;
        }
        // A trusted one comes first: the shortest way is the one that is told.
        for voucher in roots.chain(&self.signer.others) {
            if is_same(voucher, key) {
                continue;
            }
            match self.check_certification(key, voucher, level, climb) {
                None => {}
                Some(Err(what)) => climb.why.push(format!(
                    "that {} vouches for {} {what}",
                    fingerprint(&voucher.primary_key),
                    fingerprint(&key.primary_key)
                )),
                Some(Ok(())) => {
                    if let Some(mut path) = self.climb(voucher, level + 1, climb) {
                        if !path.last().is_some_and(|last| is_same(last, voucher)) {
                            path.push(voucher);
                        }
                        return Some(path);
                    }
                }
            }
        }
        None
    }

    /// Everything that is known of a key.
    fn copies(&self, key: &'a SignedPublicKey) -> impl Iterator<Item = &'a SignedPublicKey> {
        // What is known to be taken back is heard first, however much the signer sends along.
        let known = self.revocations.iter().chain(self.roots);
        known
            .chain(std::iter::once(self.signer))
            .flat_map(|one| std::iter::once(&one.own).chain(&one.others))
            .filter(move |copy| is_same(copy, key))
    }

    /// Whether a key was in force, by its own word.
    fn check_key(&self, key: &'a SignedPublicKey, level: u8) -> Result<(), String> {
        let at = self.moment(level);
        let mut about = Vec::new();
        for copy in self.copies(key) {
            for one in &copy.details.revocation_signatures {
                // One that another key made can't be checked here, and is heeded all the same.
                check_revocation(one, at)?;
            }
            about.extend(self_signatures(copy, at));
        }
        let newest = about
            .into_iter()
            .max_by_key(|one| one.created().map(Timestamp::as_secs))
            .ok_or_else(|| format!("says nothing of itself that held at {}", show(at)))?;
        check_time(&key.primary_key, newest, at, "")?;
        if level > 0 && !newest.key_flags().certify() {
            return Err("is not meant to vouch for others".into());
        }
        Ok(())
    }

    /// Whether `voucher` vouches for `key`, which stands `level` steps above the signer; `None`
    /// where it never said anything of it.
    fn check_certification(
        &self,
        key: &'a SignedPublicKey,
        voucher: &'a SignedPublicKey,
        level: u8,
        climb: &mut Climb,
    ) -> Option<Result<(), String>> {
        let at = self.moment(level);
        let mut answer = None;
        for said in self.said(key, voucher, climb) {
            let revoked = said
                .iter()
                .filter(|one| one.typ() == Some(SignatureType::CertRevocation))
                .find_map(|one| check_revocation(one, at).err());
            let newest = said
                .iter()
                .filter(|one| one.typ() != Some(SignatureType::CertRevocation))
                // Of those that are made already the newest counts; else the next to come is told.
                .max_by_key(|one| {
                    let created = one.created().map_or(u32::MAX, Timestamp::as_secs);
                    if created <= at {
                        (true, created)
                    } else {
                        (false, u32::MAX - created)
                    }
                });
            match (revoked, newest) {
                (_, None) => {}
                (Some(what), Some(_)) => answer = answer.or(Some(Err(what))),
                (None, Some(one)) => match self.check_terms(one, level) {
                    Ok(()) => return Some(Ok(())),
                    Err(what) => answer = answer.or(Some(Err(what))),
                },
            }
        }
        answer
    }

    /// What `voucher` said of a key, in all copies that are known: of each user id, in their order.
    fn said(
        &self,
        key: &'a SignedPublicKey,
        voucher: &'a SignedPublicKey,
        climb: &mut Climb,
    ) -> Vec<Vec<&'a Signature>> {
        let (mut said, mut places) = (Vec::new(), HashMap::new());
        for user in self.copies(key).flat_map(|copy| &copy.details.users) {
            let place = *places.entry(user.id.id()).or_insert_with(|| {
                said.push(Vec::new());
                said.len() - 1
            });
            // Who it says made it comes first: that costs nothing.
            let theirs = user
                .signatures
                .iter()
                .filter(|one| is_issuer(one, voucher) && climb.may_check());
            said[place].extend(theirs.filter(|one| {
                one.verify_third_party_certification(
                    &key.primary_key,
                    &voucher.primary_key,
                    Tag::UserId,
                    &user.id,
                )
                .is_ok()
            }));
        }
        said
    }

    /// Whether a certification held, and lets do what is done with it.
    fn check_terms(&self, one: &Signature, level: u8) -> Result<(), String> {
        let at = self.moment(level);
        let created = one
            .created()
            .map(Timestamp::as_secs)
            .ok_or("says no time")?;
        if created > at {
            return Err(format!(
                "holds from {}, and it is asked for {}",
                show(created),
                show(at)
            ));
        }
        let lasts = one
            .signature_expiration_time()
            .map_or(0, |time| time.as_secs());
        let ends = created.saturating_add(lasts);
        if lasts > 0 && ends <= at {
            return Err(format!(
                "held until {}, and it is asked for {}",
                show(ends),
                show(at)
            ));
        }
        if matches!(
            one.hash_alg(),
            None | Some(
                HashAlgorithm::None
                    | HashAlgorithm::Md5
                    | HashAlgorithm::Sha1
                    | HashAlgorithm::Ripemd160
            )
        ) {
            return Err("rests on a hash that can be forged".into());
        }
        if !is_understood(one) {
            return Err("says something that is not understood here and must be".into());
        }
        if level == 0 {
            return Ok(());
        }
        match one.trust_signature() {
            Some((depth, FULL_TRUST..)) if depth >= level && one.regular_expression().is_none() => {
                Ok(())
            }
            _ => Err("does not let it vouch for others".into()),
        }
    }
}

/// Heeds a revocation, as far as it holds for a moment.
fn check_revocation(one: &Signature, at: u32) -> Result<(), String> {
    let created = one.created().map_or(0, Timestamp::as_secs);
    let is_soft = matches!(
        one.revocation_reason_code(),
        Some(
            RevocationCode::KeySuperseded
                | RevocationCode::KeyRetired
                | RevocationCode::CertUserIdInvalid
        )
    );
    if is_soft && created > at {
        return Ok(());
    }
    Err(format!("is revoked since {}", show(created)))
}

fn is_same(one: &SignedPublicKey, other: &SignedPublicKey) -> bool {
    is_same_key(&one.primary_key, &other.primary_key)
}

/// Whether two packets hold one key: their headers may have another form.
fn is_same_key(one: &impl KeyDetails, other: &impl KeyDetails) -> bool {
    one.fingerprint() == other.fingerprint() && one.public_params() == other.public_params()
}

fn is_issuer(signature: &Signature, key: &SignedPublicKey) -> bool {
    let key = &key.primary_key;
    let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
    signature.issuer_key_id().contains(&&id)
        || signature.issuer_fingerprint().contains(&&fingerprint)
}

/// Whether a signature has no part that must be understood and is not.
pub(crate) fn is_understood(one: &Signature) -> bool {
    let parts = one
        .config()
        .into_iter()
        .flat_map(|config| config.hashed_subpackets());
    parts
        .filter(|part| part.is_critical)
        .all(|part| is_known(&part.data))
}

/// Parts of a signature that are heeded, or change nothing here.
fn is_known(part: &SubpacketData) -> bool {
    !matches!(
        part,
        SubpacketData::Notation(_)
            | SubpacketData::RegularExpression(_)
            | SubpacketData::Experimental(..)
            | SubpacketData::Other(..)
            | SubpacketData::SignatureTarget(..)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: u32 = 1_767_225_600;

    /// Whoever has a key that was taken back sends along so much that a search would end before it hears of that.
    #[test]
    fn a_flood_of_certifications_hides_no_revocation() {
        let [case, run] = ["case", "run"].map(|id| SealKey::generate(id, MADE).expect("a key"));
        let terms = Terms::default();
        let certified = case.certify(&run.public(), &terms).expect("certified");
        let revoked = case.revoke(&certified).expect("revoked");
        let mut flooded = certified.clone();
        let users = &mut flooded.own.details.users;
        let own = users[0].signatures.last().expect("the case's").clone();
        let flood = std::iter::repeat_n(own, MOST_CHECKS as usize);
        users[0].signatures.extend(flood);
        let at = MADE + 1_000_000_000;
        let trust = [case.public()];
        assert!(certified.check_vouched(&trust, &[], at).is_ok());
        for signer in [&certified, &flooded] {
            let why = signer
                .check_vouched(&trust, std::slice::from_ref(&revoked), at)
                .expect_err("it was taken back");
            let is_heard = why.iter().any(|one| one.contains("is revoked since"));
            assert!(is_heard, "{why:?}");
        }
        let why = flooded
            .check_vouched(&trust, &[], at)
            .expect_err("too many");
        assert!(why[0].contains("not all were looked at"), "{why:?}");
    }
}
