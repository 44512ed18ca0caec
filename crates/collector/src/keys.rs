//! Options for encryption, and for reading what is encrypted.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};
use scelle::{DecryptKey, ReadKey, Recipient, Source, evidence::OpenOptions};
use zeroize::Zeroizing;

use crate::{
    password,
    small::{read_secret, read_small},
};

/// How an encrypted bundle is read.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct KeyArgs {
    /// Read an encrypted bundle with this OpenPGP secret key
    #[arg(long, value_name = "FILE", help_heading = "Reading encrypted bundles")]
    key: Option<PathBuf>,
    /// The file that holds the password of --key, where it has one [default: SCELLE_KEY_PASSWORD in
    /// the environment; else it is asked for on the terminal]
    #[arg(
        long,
        value_name = "FILE",
        requires = "key",
        help_heading = "Reading encrypted bundles"
    )]
    key_password_file: Option<PathBuf>,
    /// Read an encrypted bundle with a key that gpg-agent has, or a smart card through it; `gpg`
    /// must be on the search path
    #[arg(
        long,
        conflicts_with = "key",
        help_heading = "Reading encrypted bundles"
    )]
    key_agent: bool,
    /// Asked for once, however many sources there are.
    #[arg(skip)]
    password: OnceLock<Zeroizing<String>>,
}

impl KeyArgs {
    /// The key, where one was named.
    ///
    /// # Errors
    /// Where its file can't be read, or it is protected and there is no password.
    pub fn read(&self) -> Result<Option<ReadKey>> {
        if self.key_agent {
            return Ok(Some(ReadKey::Agent));
        }
        let Some(path) = &self.key else {
            return Ok(None);
        };
        let naming = || format!("the key {}", path.display());
        let bytes = read_secret(path).with_context(naming)?;
        let mut key = DecryptKey::read(&bytes, None).with_context(naming)?;
        if key.is_protected() {
            let password = self.password(path)?;
            key = DecryptKey::read(&bytes, Some(password)).with_context(naming)?;
        }
        Ok(Some(ReadKey::Secret(Box::new(key))))
    }

    /// Opens any source; an encrypted bundle with the key that was named.
    ///
    /// # Errors
    /// Where it can't be opened.
    pub fn open(&self, source: &Path) -> Result<Source> {
        self.open_with(source, &OpenOptions::default())
    }

    /// As [`open`](Self::open), with options for images.
    ///
    /// # Errors
    /// Where it can't be opened.
    pub fn open_with(&self, source: &Path, options: &OpenOptions) -> Result<Source> {
        let key = self.read()?;
        Ok(scelle::open_with_key(source, options, key.as_ref())?)
    }

    fn password(&self, key: &Path) -> Result<&str> {
        if let Some(password) = self.password.get() {
            return Ok(password);
        }
        let found = password::of_key(key, self.key_password_file.as_deref())?;
        Ok(self.password.get_or_init(|| found))
    }
}

/// Whom a bundle is encrypted for.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RecipientArgs {
    /// Encrypt for the owner of this OpenPGP certificate; may be repeated
    #[arg(
        long,
        value_name = "CERT.asc",
        requires = "fingerprint",
        help_heading = "Encryption"
    )]
    recipient: Vec<PathBuf>,
    /// The full fingerprint that the certificate must have, in the order of --recipient
    #[arg(
        long,
        value_name = "FPR",
        requires = "recipient",
        help_heading = "Encryption"
    )]
    fingerprint: Vec<String>,
}

impl RecipientArgs {
    /// Reads and checks the certificates.
    ///
    /// # Errors
    /// Where one is not the one meant, expired, revoked, or can't receive.
    pub fn read(&self) -> Result<Vec<Recipient>> {
        let (certificates, fingerprints) = (self.recipient.len(), self.fingerprint.len());
        if certificates != fingerprints {
            bail!(
                "each --recipient needs its --fingerprint: there are {certificates} certificates \
                 and {fingerprints} fingerprints"
            );
        }
        self.recipient
            .iter()
            .zip(&self.fingerprint)
            .map(|(path, fingerprint)| {
                let naming = || format!("the recipient {}", path.display());
                let bytes = read_small(path).with_context(naming)?;
                scelle::recipient(&bytes, fingerprint).with_context(naming)
            })
            .collect()
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.recipient.is_empty() && self.fingerprint.is_empty()
    }
}
