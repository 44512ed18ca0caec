//! Options for volumes that are encrypted.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use scelle::{
    Source,
    evidence::{OpenOptions, VolumeKeys},
};
use zeroize::Zeroizing;

use crate::{
    KeyArgs,
    small::{read_secret, read_secret_text},
};

const RECOVERY: &str = "SCELLE_RECOVERY_PASSWORD";
const PASSWORD: &str = "SCELLE_BITLOCKER_PASSWORD";
const HEADING: &str = "Reading BitLocker volumes";

/// What opens any source, whatever of it is encrypted.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct OpenArgs {
    /// What opens an encrypted bundle.
    #[command(flatten)]
    pub key: KeyArgs,
    /// What opens encrypted volumes.
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

impl OpenArgs {
    /// Opens any source.
    ///
    /// # Errors
    /// Where it can't be opened, or a key can't be read. A volume that no key opens is no error: the source has a loss
    /// that says so.
    pub fn open(&self, source: &Path) -> Result<Source> {
        self.open_with(source, &OpenOptions::default())
    }

    /// As [`open`](Self::open), with options for images.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(&self, source: &Path, options: &OpenOptions) -> Result<Source> {
        let options = OpenOptions {
            keys: self.unlock.read()?,
            ..options.clone()
        };
        self.key.open_with(source, &options)
    }
}

/// What opens BitLocker volumes. Each may be repeated, where there are several volumes.
#[derive(clap::Args, Clone, Default)]
pub struct UnlockArgs {
    /// Open BitLocker volumes with this recovery password (48 digits); others may see it in the list of
    /// processes
    #[arg(long, value_name = "DIGITS", help_heading = HEADING)]
    recovery_password: Vec<String>,
    /// The same, out of a file, one a line [default: SCELLE_RECOVERY_PASSWORD in the environment]
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    recovery_password_file: Vec<PathBuf>,
    /// Open BitLocker volumes with this password; others may see it in the list of processes
    #[arg(long, value_name = "PASSWORD", help_heading = HEADING)]
    bitlocker_password: Vec<String>,
    /// The same, out of a file that holds nothing else [default: SCELLE_BITLOCKER_PASSWORD in the
    /// environment]
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    bitlocker_password_file: Vec<PathBuf>,
    /// Open BitLocker volumes with this startup key, a file of the kind GUID.BEK
    #[arg(long, value_name = "FILE.BEK", help_heading = HEADING)]
    startup_key: Vec<PathBuf>,
}

impl std::fmt::Debug for UnlockArgs {
    /// Shows no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnlockArgs").finish_non_exhaustive()
    }
}

impl UnlockArgs {
    /// The keys.
    ///
    /// # Errors
    /// Where a file can't be read, or something in it is no key.
    pub fn read(&self) -> Result<VolumeKeys> {
        let mut keys = VolumeKeys::default();
        for text in &self.recovery_password {
            keys.add_recovery_password(text)
                .context("--recovery-password")?;
        }
        for path in &self.recovery_password_file {
            let naming = || format!("the recovery password in {}", path.display());
            let text = read_secret_text(path).with_context(naming)?;
            let lines = text.trim_start_matches('\u{FEFF}').lines();
            for line in lines.filter(|line| !line.trim().is_empty()) {
                keys.add_recovery_password(line).with_context(naming)?;
            }
        }
        for password in &self.bitlocker_password {
            keys.add_password(password);
        }
        for path in &self.bitlocker_password_file {
            let text = read_secret_text(path)
                .with_context(|| format!("the password in {}", path.display()))?;
            // An editor puts a line's end behind it.
            keys.add_password(text.trim_end_matches(['\r', '\n']));
        }
        for path in &self.startup_key {
            let naming = || format!("the startup key {}", path.display());
            let bytes = read_secret(path).with_context(naming)?;
            keys.add_startup_key(&bytes).with_context(naming)?;
        }
        self.add_from_environment(&mut keys)?;
        Ok(keys)
    }

    fn add_from_environment(&self, keys: &mut VolumeKeys) -> Result<()> {
        if self.recovery_password.is_empty()
            && self.recovery_password_file.is_empty()
            && let Ok(text) = env::var(RECOVERY).map(Zeroizing::new)
        {
            keys.add_recovery_password(&text).context(RECOVERY)?;
        }
        if self.bitlocker_password.is_empty()
            && self.bitlocker_password_file.is_empty()
            && let Ok(text) = env::var(PASSWORD).map(Zeroizing::new)
        {
            keys.add_password(&text);
        }
        Ok(())
    }
}
