//! How encrypted bundles are opened: with a secret key, or by asking GnuPG.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use scelle_bundle::{Ciphertext, DecryptKey, Decrypted, Error, SessionKey, read_secret};
use scelle_evidence::FileSource;
use scelle_formats::{ReadAtExt as _, ReadError};

/// The program that is asked for session keys.
const GPG: &str = "gpg";
/// How the lines begin that are for programs.
const STATUS: &[u8] = b"[GNUPG:]";
/// How the line of a session key begins.
const ANSWER: &[u8] = b"[GNUPG:] SESSION_KEY ";
/// More than it ever says: some hundred bytes of each session-key packet.
const ANSWER_LIMIT: usize = 16 << 20;
/// Bytes that show whether a file is an encrypted bundle.
const HEAD_BYTES: usize = 1 << 16;

/// What opens an encrypted bundle.
pub enum ReadKey {
    /// A recipient's secret key.
    Secret(Box<DecryptKey>),
    /// `gpg`, which has its agent, or a smart card through it, open the session key. It needs
    /// GnuPG on the search path with the recipient's key known to it, and reads the older kind
    /// of encryption only (version 2.2).
    Agent,
    /// The session key itself, of whoever has just written the bundle.
    Session(SessionKey),
}

impl ReadKey {
    /// The session key of a bundle.
    ///
    /// # Errors
    /// [`Error::Key`], saying why this key opens none of its session-key packets.
    pub fn session_key(&self, ciphertext: &Ciphertext) -> Result<SessionKey, Error> {
        match self {
            Self::Secret(key) => ciphertext.session_key(key),
            Self::Agent => ask_gpg(&ciphertext.head_message()?),
            Self::Session(key) => Ok(key.clone()),
        }
    }
}

/// Opens a file as ciphertext, where it is an encrypted bundle.
pub(crate) fn ciphertext(path: &Path) -> Result<Option<Ciphertext>, Error> {
    if !is_ciphertext(path)? {
        return Ok(None);
    }
    let file = FileSource::open(path).map_err(unread)?;
    Ciphertext::open(Arc::new(file)).map(Some)
}

/// Whether a file begins as an encrypted bundle does.
///
/// # Errors
/// Where it can't be read.
pub fn is_ciphertext(path: &Path) -> Result<bool, Error> {
    let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Ok(false);
    }
    let file = FileSource::open(path).map_err(unread)?;
    let head = file.read_range(0..HEAD_BYTES as u64, HEAD_BYTES)?;
    Ok(Ciphertext::is_begun_by(&head))
}

fn unread(error: io::Error) -> Error {
    ReadError::io(0, error).into()
}

/// Authenticates all of an encrypted bundle, and gives its archive.
pub(crate) fn decrypt(ciphertext: &Ciphertext, key: Option<&ReadKey>) -> Result<Decrypted, Error> {
    let key = needed(key)?.session_key(ciphertext)?;
    ciphertext.decrypt(&key)
}

/// The key, or an error that says that there must be one.
pub(crate) fn needed(key: Option<&ReadKey>) -> Result<&ReadKey, Error> {
    key.ok_or(Error::Encrypted)
}

/// Has GnuPG open the session key. `message` holds the session-key packets and the first bytes
/// of the data; no evidence is given to it, and what it decrypts is thrown away.
#[expect(
    clippy::disallowed_methods,
    reason = "it waits for a pipe, and computes nothing"
)]
fn ask_gpg(message: &[u8]) -> Result<SessionKey, Error> {
    let bad = |why: String| Error::Key {
        what: "asking gpg for the session key",
        why,
    };
    let started = Command::new(GPG)
        .args(["--batch", "--status-fd", "2", "--show-session-key"])
        .args(["--decrypt", "-"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut gpg = started.map_err(|error| {
        bad(format!(
            "{GPG} does not start: {error}; name the key itself instead"
        ))
    })?;
    let input = gpg.stdin.take();
    // It says something of every packet while it reads: who writes all first, and then listens, may wait for ever.
    let (written, answer) = thread::scope(|scope| {
        let writing =
            scope.spawn(move || input.map_or(Ok(()), |mut input| input.write_all(message)));
        let said = gpg.stderr.take();
        let answer = said.map(|said| read_secret(said, ANSWER_LIMIT)).transpose();
        let waited = gpg.wait();
        let answer = answer.and_then(|answer| waited.map(|_| answer.unwrap_or_default()));
        (writing.join(), answer)
    });
    match written {
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(bad(error.to_string()));
        }
        Ok(_) => {}
        Err(_) => return Err(bad("writing to it failed".into())),
    }
    // It ends with an error, since the message is cut; the session key comes before.
    let answer = answer.map_err(|error| bad(error.to_string()))?;
    let mut lines = answer.split(|byte| *byte == b'\n');
    let key = lines.find_map(|line| line.strip_prefix(ANSWER));
    match key.and_then(|key| std::str::from_utf8(key).ok()) {
        Some(key) => SessionKey::parse(key),
        None => {
            let said: Vec<_> = answer
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty() && !line.starts_with(STATUS))
                .map(String::from_utf8_lossy)
                .collect();
            Err(bad(format!("it gives none ({})", said.join("; "))))
        }
    }
}
