//! What opens BitLocker volumes, and the keys that are made of it.

use std::{fmt, sync::Arc};

use aes::{
    Aes256,
    cipher::consts::{U12, U16},
};
use ccm::{Ccm, KeyInit as _, aead::AeadInPlace as _};
use scelle_formats::bitlocker::{self, Sealed};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Bytes of the keys that seal other keys.
pub(super) const KEY_BYTES: usize = 32;
/// How often a password is hashed.
const STRETCHES: u64 = 1 << 20;
/// More than any file of a startup key has.
const MAX_STARTUP_BYTES: usize = 64 << 10;

/// A key that opens other keys.
pub(super) type Key = Zeroizing<[u8; KEY_BYTES]>;

/// What opens BitLocker volumes: recovery passwords, passwords, startup keys. It shows none of them.
#[derive(Clone, Default)]
pub struct VolumeKeys(Arc<Secrets>);

#[derive(Clone, Default)]
pub(super) struct Secrets {
    /// The hashes of what recovery passwords stand for.
    pub(super) recovery: Vec<Key>,
    /// The hashes of passwords.
    pub(super) passwords: Vec<Key>,
    pub(super) startup: Vec<Key>,
}

/// Why something opens no volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeKeyError {
    /// A recovery password has another number of digits.
    #[error("a recovery password has 48 digits in eight groups of six; this one has {digits}")]
    Length {
        /// How many digits there are.
        digits: usize,
    },
    /// It has something else than digits, dashes and spaces.
    #[error("a recovery password has digits, dashes and spaces only; group {group} has others")]
    Digits {
        /// The group, from 1.
        group: usize,
    },
    /// A group is none that Windows makes.
    #[error(
        "group {group} of the recovery password is mistyped: each is a multiple of 11 below 720896"
    )]
    Group {
        /// The group, from 1.
        group: usize,
    },
    /// A file is none of a startup key.
    #[error("it is no startup key (.BEK): {why}")]
    Startup {
        /// What is wrong with it.
        why: String,
    },
}

impl VolumeKeys {
    /// Adds a recovery password, as Windows prints it.
    ///
    /// # Errors
    /// Which group of digits is wrong.
    pub fn add_recovery_password(&mut self, text: &str) -> Result<(), VolumeKeyError> {
        let key = recovery_key(text)?;
        Arc::make_mut(&mut self.0).recovery.push(sha256(&*key));
        Ok(())
    }

    /// Adds a password.
    pub fn add_password(&mut self, password: &str) {
        let units = password.encode_utf16().flat_map(u16::to_le_bytes);
        let bytes = Zeroizing::new(units.collect::<Vec<u8>>());
        let once = sha256(&bytes);
        Arc::make_mut(&mut self.0).passwords.push(sha256(&*once));
    }

    /// Adds the content of a startup key's file, `GUID.BEK`.
    ///
    /// # Errors
    /// Where it is no such file.
    pub fn add_startup_key(&mut self, file: &[u8]) -> Result<(), VolumeKeyError> {
        let startup = |why: String| VolumeKeyError::Startup { why };
        if file.len() > MAX_STARTUP_BYTES {
            return Err(startup(format!("it has {} bytes", file.len())));
        }
        let (_, key) = bitlocker::startup_key(file).map_err(|error| startup(error.to_string()))?;
        let key = <[u8; KEY_BYTES]>::try_from(key)
            .map_err(|_| startup(format!("its key has {} bytes", key.len())))?;
        Arc::make_mut(&mut self.0).startup.push(Zeroizing::new(key));
        Ok(())
    }

    pub(super) fn secrets(&self) -> &Secrets {
        &self.0
    }
}

impl fmt::Debug for VolumeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Secrets {
            recovery,
            passwords,
            startup,
        } = &*self.0;
        f.debug_struct("VolumeKeys")
            .field("recovery_passwords", &recovery.len())
            .field("passwords", &passwords.len())
            .field("startup_keys", &startup.len())
            .finish()
    }
}

/// The 128 bits that a recovery password stands for: each group is 11 times 16 of them.
fn recovery_key(text: &str) -> Result<Zeroizing<[u8; 16]>, VolumeKeyError> {
    let shown = |c: &char| !matches!(c, '-' | ' ');
    let digits: Zeroizing<Vec<char>> = Zeroizing::new(text.trim().chars().filter(shown).collect());
    if let Some(at) = digits.iter().position(|c| !c.is_ascii_digit()) {
        return Err(VolumeKeyError::Digits { group: at / 6 + 1 });
    }
    if digits.len() != 48 {
        return Err(VolumeKeyError::Length {
            digits: digits.len(),
        });
    }
    let mut key = Zeroizing::new([0; 16]);
    for (number, (group, part)) in digits.chunks(6).zip(key.chunks_mut(2)).enumerate() {
        let digit = |c: &char| c.to_digit(10).unwrap_or(0);
        let value = group.iter().fold(0, |sum, c| sum * 10 + digit(c));
        let half = u16::try_from(value / 11).ok().filter(|_| value % 11 == 0);
        let half = half.ok_or(VolumeKeyError::Group { group: number + 1 })?;
        part.copy_from_slice(&half.to_le_bytes());
    }
    Ok(key)
}

pub(super) fn sha256(bytes: &[u8]) -> Key {
    Zeroizing::new(Sha256::digest(bytes).into())
}

/// What a password and a salt become: a quarter of a second of hashing, so that guessing is dear.
pub(super) fn stretch(secret: &Key, salt: &[u8; 16]) -> Key {
    // The last hash, the secret's, the salt, how often.
    let mut state = Zeroizing::new([0; 88]);
    state[32..64].copy_from_slice(&**secret);
    state[64..80].copy_from_slice(salt);
    for count in 0..STRETCHES {
        state[80..].copy_from_slice(&count.to_le_bytes());
        let hash: [u8; 32] = Sha256::digest(*state).into();
        state[..32].copy_from_slice(&hash);
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    key.copy_from_slice(&state[..KEY_BYTES]);
    key
}

/// What was sealed; `None` where this is not the key of it, or it was altered.
pub(super) fn unseal(key: &Key, sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
    let ccm: Ccm<Aes256, U16, U12> = Ccm::new(&(**key).into());
    let mut bytes = Zeroizing::new(sealed.bytes.clone());
    ccm.decrypt_in_place_detached(&sealed.nonce.into(), b"", &mut bytes, &sealed.tag.into())
        .ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of libbde's documentation.
    const SOUND: &str = "471207-278498-422125-177177-561902-537405-468006-693451";

    #[test]
    fn recovery_passwords_are_checked_group_by_group() {
        let key = recovery_key(SOUND).expect("a sound one");
        assert_eq!(key[..2], 42837_u16.to_le_bytes());
        assert_eq!(recovery_key(&SOUND.replace('-', "")), Ok(key.clone()));
        assert_eq!(recovery_key(&SOUND.replace('-', " ")), Ok(key));
        let wrong = |text: &str| recovery_key(text).expect_err("a wrong one");
        assert_eq!(wrong("471207"), VolumeKeyError::Length { digits: 6 });
        let mistyped = SOUND.replacen("278498", "278489", 1);
        assert_eq!(wrong(&mistyped), VolumeKeyError::Group { group: 2 });
        // A multiple of 11, and too large.
        let large = SOUND.replacen("278498", "720896", 1);
        assert_eq!(wrong(&large), VolumeKeyError::Group { group: 2 });
        let letters = SOUND.replacen("177177", "17717x", 1);
        assert_eq!(wrong(&letters), VolumeKeyError::Digits { group: 4 });
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut keys = VolumeKeys::default();
        keys.add_password("hunter2");
        keys.add_recovery_password(SOUND).expect("a sound one");
        let shown = format!("{keys:?}");
        assert_eq!(
            shown,
            "VolumeKeys { recovery_passwords: 1, passwords: 1, startup_keys: 0 }"
        );
    }
}
