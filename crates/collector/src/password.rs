//! Passwords of secret keys: out of a file, out of the environment, else from whoever sits at the terminal.

use std::{env, path::Path};

use anyhow::{Context, Result, bail, ensure};
use console::Term;
use scelle::{Certificate, DecryptKey, SealKey};
use zeroize::Zeroizing;

#[cfg(unix)]
use crate::echo::unseen;
use crate::small::{read_secret, read_secret_text, read_small};

/// Where the password of a key is looked for in the environment.
pub const VARIABLE: &str = "SCELLE_KEY_PASSWORD";

/// The password of the protected key in the file `key`: what `file` holds, else what the environment has, else what
/// is typed.
///
/// # Errors
/// Where the file can't be read, or there is nobody to ask.
pub fn of_key(key: &Path, file: Option<&Path>) -> Result<Zeroizing<String>> {
    if let Some(path) = file {
        let text = read_secret_text(path)
            .with_context(|| format!("reading the password in {}", path.display()))?;
        // An editor puts a line's end behind it.
        return Ok(Zeroizing::new(
            text.trim_end_matches(['\r', '\n']).to_owned(),
        ));
    }
    if let Some(password) = of_environment()? {
        return Ok(password);
    }
    ask(&format!("Password of the key {}: ", key.display()))?.with_context(|| {
        format!(
            "the key {} is protected, and there is no terminal to ask for its password: give it in {VARIABLE}, or, of \
             --key, in a file with --key-password-file",
            key.display()
        )
    })
}

/// The password in the environment; an empty one is none.
///
/// # Errors
/// Where it is no Unicode text.
pub fn of_environment() -> Result<Option<Zeroizing<String>>> {
    match env::var(VARIABLE) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty()).map(Into::into)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => bail!("the password in {VARIABLE} is no Unicode text"),
    }
}

/// A password for a key that is to be made, typed twice.
///
/// # Errors
/// Where there is nobody to ask, it is empty, or is not the same both times.
pub fn for_new_key(key: &Path) -> Result<Zeroizing<String>> {
    let asked = ask(&format!("Password for the new key {}: ", key.display()))?;
    let Some(password) = asked else {
        bail!(
            "there is no terminal to ask for a password: leave --ask-password out, and give it in {VARIABLE}"
        );
    };
    ensure!(
        !password.is_empty(),
        "the password is empty: without --ask-password the key has none"
    );
    let again = ask("The same once more: ")?;
    ensure!(
        again.as_ref() == Some(&password),
        "that is another password: nothing was made"
    );
    Ok(password)
}

/// Reads a key to sign with; its password is looked for and asked for where it has one.
///
/// # Errors
/// Where it can't be read or used.
pub fn read_seal_key(path: &Path) -> Result<SealKey> {
    let naming = || format!("the key {}", path.display());
    let bytes = read_secret(path).with_context(naming)?;
    let is_protected = DecryptKey::read(&bytes, None).is_ok_and(|key| key.is_protected());
    let password = is_protected.then(|| of_key(path, None)).transpose()?;
    let password = password.as_ref().map(|text| text.as_str());
    SealKey::read(&bytes, password).with_context(naming)
}

/// Reads a key to sign with, and the certificate that is to travel with what it signs, where one is named.
///
/// # Errors
/// As [`read_seal_key`], and where the certificate can't be read, or is another key's.
pub fn read_certified_key(path: &Path, certificate: Option<&Path>) -> Result<SealKey> {
    let key = read_seal_key(path)?;
    let Some(path) = certificate else {
        return Ok(key);
    };
    let naming = || format!("the certificate {}", path.display());
    let bytes = read_small(path).with_context(naming)?;
    Certificate::read(&bytes)
        .and_then(|certificate| key.with_certificate(certificate))
        .with_context(naming)
}

/// What is typed, unseen, on the terminal; `None` where standard error is none.
fn ask(question: &str) -> Result<Option<Zeroizing<String>>> {
    let terminal = Term::stderr();
    if !terminal.is_term() {
        return Ok(None);
    }
    let asking = "asking for a password";
    terminal.write_str(question).context(asking)?;
    let typed = unseen(|| terminal.read_secure_line()).context(asking)?;
    Ok(Some(typed.into()))
}

/// Windows hands over keys, and shows none: there is no echo to be given back.
#[cfg(not(unix))]
fn unseen<T>(ask: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    ask()
}
