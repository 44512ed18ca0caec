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
    self_signed::{check_time, newest, self_signatures},
};

impl Certificate {
    /// Checks a detached signature over a file, by this certificate's key or a signing subkey of it,
    /// at the time `now`, in seconds since 1970.
    ///
    /// # Errors
    /// What is wrong, as a sentence that begins with "it": another key's, another file's, a key
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
