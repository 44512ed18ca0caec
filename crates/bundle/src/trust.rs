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
//! All is asked for one moment: that of the seal.

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
/// Reasons that are told.
const MOST_REASONS: usize = 8;

/// What a certification says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// For how long it holds, in seconds; without it, for ever.
    pub lasts_seconds: Option<u32>,
    /// Whether the key may vouch for others: for the keys of its runs.
    pub may_certify: bool,
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
        if terms.may_certify {
            says.push(SubpacketData::TrustSignature(1, FULL_TRUST));
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
    /// certificates that came behind it.
    ///
    /// # Errors
    /// Why none does, a sentence each.
    pub fn check_vouched(&self, roots: &[Self], at: u32) -> Result<(), Vec<String>> {
        let trust = Trust {
            roots,
            revocations: &[],
            signer: self,
            at,
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
}

impl<'a> Trust<'a> {
    /// The keys that vouch for the signer, one for the other, up to the one that is trusted; the
    /// signer itself where it is that. An error says why there is no such way.
    pub(crate) fn path(&self) -> Result<Vec<&'a SignedPublicKey>, Vec<String>> {
        let mut why = Vec::new();
        match self.climb(&self.signer.own, 0, &mut why) {
            Some(mut path) => {
                path.reverse();
                Ok(path)
            }
            None => {
                why.truncate(MOST_REASONS);
                Err(why)
            }
        }
    }

    /// The way from `key` up, its end first.
    fn climb(
        &self,
        key: &'a SignedPublicKey,
        level: u8,
        why: &mut Vec<String>,
    ) -> Option<Vec<&'a SignedPublicKey>> {
        if let Err(what) = self.check_key(key, level > 0) {
            why.push(format!("the key {} {what}", fingerprint(&key.primary_key)));
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
            match self.check_certification(key, voucher, level) {
                None => {}
                Some(Err(what)) => why.push(format!(
                    "that {} vouches for {} {what}",
                    fingerprint(&voucher.primary_key),
                    fingerprint(&key.primary_key)
                )),
                Some(Ok(())) => {
                    if let Some(mut path) = self.climb(voucher, level + 1, why) {
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
        std::iter::once(self.signer)
            .chain(self.roots)
            .chain(self.revocations)
            .flat_map(|one| std::iter::once(&one.own).chain(&one.others))
            .filter(move |copy| is_same(copy, key))
    }

    /// Whether a key was in force, by its own word.
    fn check_key(&self, key: &'a SignedPublicKey, certifies: bool) -> Result<(), String> {
        let mut about = Vec::new();
        for copy in self.copies(key) {
            for one in &copy.details.revocation_signatures {
                // One that another key made can't be checked here, and is heeded all the same.
                self.check_revocation(one)?;
            }
            about.extend(self_signatures(copy, self.at));
        }
        let newest = about
            .into_iter()
            .max_by_key(|one| one.created().map(Timestamp::as_secs))
            .ok_or_else(|| format!("says nothing of itself that held at {}", show(self.at)))?;
        check_time(&key.primary_key, newest, self.at, "")?;
        if certifies && !newest.key_flags().certify() {
            return Err("is not meant to vouch for others".into());
        }
        Ok(())
    }

    fn check_revocation(&self, one: &Signature) -> Result<(), String> {
        let created = one.created().map_or(0, Timestamp::as_secs);
        let is_soft = matches!(
            one.revocation_reason_code(),
            Some(
                RevocationCode::KeySuperseded
                    | RevocationCode::KeyRetired
                    | RevocationCode::CertUserIdInvalid
            )
        );
        if is_soft && created > self.at {
            return Ok(());
        }
        Err(format!("is revoked since {}", show(created)))
    }

    /// Whether `voucher` vouches for `key`, which stands `level` steps above the signer; `None`
    /// where it never said anything of it.
    fn check_certification(
        &self,
        key: &'a SignedPublicKey,
        voucher: &'a SignedPublicKey,
        level: u8,
    ) -> Option<Result<(), String>> {
        let mut answer = None;
        let users = self.copies(key).flat_map(|copy| &copy.details.users);
        let mut ids: Vec<&UserId> = users.map(|user| &user.id).collect();
        ids.dedup_by_key(|id| id.id());
        for id in ids {
            let said = self.said(key, voucher, id);
            let revoked = said
                .iter()
                .filter(|one| one.typ() == Some(SignatureType::CertRevocation))
                .find_map(|one| self.check_revocation(one).err());
            let newest = said
                .iter()
                .filter(|one| one.typ() != Some(SignatureType::CertRevocation))
                // Of those that are made already the newest counts; else the next to come is told.
                .max_by_key(|one| {
                    let created = one.created().map_or(u32::MAX, Timestamp::as_secs);
                    if created <= self.at {
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

    /// What `voucher` said of a key under a user id, in all copies that are known.
    fn said(
        &self,
        key: &'a SignedPublicKey,
        voucher: &'a SignedPublicKey,
        id: &UserId,
    ) -> Vec<&'a Signature> {
        let users = self.copies(key).flat_map(|copy| &copy.details.users);
        users
            .filter(|user| user.id.id() == id.id())
            .flat_map(|user| &user.signatures)
            // Who it says made it comes first: that costs nothing.
            .filter(|one| is_issuer(one, voucher))
            .filter(|one| {
                one.verify_third_party_certification(
                    &key.primary_key,
                    &voucher.primary_key,
                    Tag::UserId,
                    id,
                )
                .is_ok()
            })
            .collect()
    }

    /// Whether a certification held, and lets do what is done with it.
    fn check_terms(&self, one: &Signature, level: u8) -> Result<(), String> {
        let created = one
            .created()
            .map(Timestamp::as_secs)
            .ok_or("says no time")?;
        if created > self.at {
            return Err(format!(
                "holds from {}, and it is asked for {}",
                show(created),
                show(self.at)
            ));
        }
        let lasts = one
            .signature_expiration_time()
            .map_or(0, |time| time.as_secs());
        let ends = created.saturating_add(lasts);
        if lasts > 0 && ends <= self.at {
            return Err(format!(
                "held until {}, and it is asked for {}",
                show(ends),
                show(self.at)
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
        let unknown = one
            .config()
            .into_iter()
            .flat_map(|config| config.hashed_subpackets());
        if unknown
            .filter(|part| part.is_critical)
            .any(|part| !is_known(&part.data))
        {
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
