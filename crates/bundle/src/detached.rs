//! Detached signatures that any OpenPGP program made, over files that people write.
//!
//! They are in no canonical form, and may be by a subkey; both are as people's own keys have it.

use std::io::Cursor;

use pgp::{
    composed::{Deserializable as _, DetachedSignature, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType},
};

use crate::{
    Certificate,
    self_signed::{check_time, newest, self_signatures, show},
    trust::is_understood,
};

impl Certificate {
    /// Checks a detached signature over a file, by this certificate's key or a signing subkey of it,
    /// at the time `now`, in seconds since 1970.
    ///
    /// # Errors
    /// What is wrong, as a sentence that begins with "it": another key's, another file's, expired, a key
    /// that is expired or revoked.
    pub fn check_file(&self, file: &[u8], signature: &[u8], now: u32) -> Result<(), String> {
        let (signature, _) = DetachedSignature::from_reader_single(Cursor::new(signature))
            .map_err(|error| format!("it is no OpenPGP signature: {error}"))?;
        let signature = signature.signature;
        if !matches!(
            signature.typ(),
            Some(SignatureType::Binary | SignatureType::Text)
        ) {
            return Err("it is no signature over a file".into());
        }
        if matches!(
            signature.hash_alg(),
            None | Some(HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160)
        ) {
            return Err("it rests on a hash that can be forged: sign again".into());
        }
        if newest(std::iter::once(&signature), now).is_none() {
            return Err(format!(
                "it does not hold at {}: it is expired, or dated later",
                show(now)
            ));
        }
        if !is_understood(&signature) {
            return Err("it says something that is not understood here and must be".into());
        }
        let primary = &self.own.primary_key;
        if !self.own.details.revocation_signatures.is_empty() {
            return Err("it is by a key that is revoked".into());
        }
        let about = self_signatures(&self.own, now);
        if about.is_empty() {
            return Err("it is by a key that says nothing of itself that holds now".into());
        }
        for one in &about {
            check_time(primary, one, now, "")
                .map_err(|what| format!("it is by a key that {what}"))?;
        }
        let by_primary = signature.verify(primary, file).is_ok();
        if by_primary && about.iter().any(|one| one.key_flags().sign()) {
            return Ok(());
        }
        let mut subkeys = self.own.public_subkeys.iter();
        if subkeys
            .any(|subkey| self.signs(subkey, now) && signature.verify(&subkey.key, file).is_ok())
        {
            return Ok(());
        }
        Err("it is another key's, or the file was changed after it was signed".into())
    }

    /// Whether a subkey was bound for signing, by both keys, and is in force.
    fn signs(&self, subkey: &SignedPublicSubKey, now: u32) -> bool {
        let primary = &self.own.primary_key;
        let own = |one: &&Signature| one.verify_subkey_binding(primary, &subkey.key).is_ok();
        let is_revocation = |one: &Signature| one.typ() == Some(SignatureType::SubkeyRevocation);
        let bindings = subkey
            .signatures
            .iter()
            .filter(|one| one.typ() == Some(SignatureType::SubkeyBinding) && own(one));
        let Some(binding) = newest(bindings, now) else {
            return false;
        };
        let by_itself = binding.embedded_signature().is_some_and(|back| {
            back.verify_primary_key_binding(&subkey.key, primary)
                .is_ok()
        });
        by_itself
            && binding.key_flags().sign()
            && !subkey.signatures.iter().any(is_revocation)
            && check_time(&subkey.key, binding, now, "").is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use pgp::{
        packet::{Notation, Subpacket, SubpacketData},
        ser::Serialize as _,
        types::{Duration, Password},
    };

    use super::*;
    use crate::{
        SealKey,
        key::{now_or, signature_config},
    };

    const FILE: &[u8] = b"version = 1\n";

    /// A signature over the file, made `at`, that says that.
    fn signed(key: &SealKey, at: u32, says: Vec<Subpacket>) -> Vec<u8> {
        let secret = &key.secret.primary_key;
        let mut config = signature_config(secret, SignatureType::Binary, at, []).expect("made");
        config.hashed_subpackets.extend(says);
        let mut hasher = config.into_hasher().expect("begun");
        hasher.write_all(FILE).expect("hashed");
        let signature = hasher.sign(secret, &Password::empty()).expect("signed");
        DetachedSignature::new(signature).to_bytes().expect("bytes")
    }

    #[test]
    fn a_signature_holds_in_its_own_time_and_if_all_of_it_is_understood() {
        let now = now_or(0) + 100;
        let key = SealKey::generate("team", now - 1000).expect("a key");
        let check = |at, says| key.public().check_file(FILE, &signed(&key, at, says), now);
        let lasts = |seconds| {
            let data = SubpacketData::SignatureExpirationTime(Duration::from_secs(seconds));
            vec![Subpacket::regular(data).expect("made")]
        };
        let notation = || {
            SubpacketData::Notation(Notation {
                readable: true,
                name: "only@example.org".into(),
                value: "for tests".into(),
            })
        };
        assert_eq!(check(now, vec![]), Ok(()));
        assert_eq!(check(now - 10, lasts(11)), Ok(()));
        assert_eq!(
            check(now, vec![Subpacket::regular(notation()).expect("made")]),
            Ok(())
        );
        for (at, says) in [(now - 10, lasts(10)), (now + 1, vec![])] {
            let refused = check(at, says).expect_err("another time");
            assert!(refused.starts_with("it does not hold at"), "{refused}");
        }
        let critical = Subpacket::critical(notation()).expect("made");
        let refused = check(now, vec![critical]).expect_err("critical");
        assert!(refused.contains("not understood"), "{refused}");
    }
}
