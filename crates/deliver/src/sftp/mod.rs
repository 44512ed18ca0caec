//! Servers that speak SFTP: one file, written under a name that says that it is not whole, renamed
//! when it is.
//!
//! # Sources
//! - draft-ietf-secsh-filexfer-02, version 3 of the protocol, as OpenSSH speaks it.
//! - OpenSSH, PROTOCOL, section 4: `posix-rename@openssh.com`, `fsync@openssh.com`.

mod connect;
mod known_hosts;
mod session;

use std::{env, path::PathBuf, sync::Arc};

pub use connect::key_in_clear;
use connect::{Known, Line, Login};
pub(crate) use known_hosts::Listed;
use russh_sftp::client::error::Error as SftpError;
use session::{Named, Session, Size, Target, code};
use tokio::runtime::Runtime;

use crate::{
    Address, Begun, Confirmation, Error, Failure, Piece, Secret, SentPiece, Store, transfer::hex,
};

/// How a server is reached.
#[derive(Clone, Debug, Default)]
pub struct SftpOptions {
    /// The fingerprints that its key may have, `SHA256:…`.
    pub host_keys: Vec<String>,
    /// A file that lists its key, as OpenSSH's `known_hosts`.
    pub known_hosts: Option<PathBuf>,
    /// The file of the key to log in with; else with the password, else through ssh-agent.
    pub key: Option<PathBuf>,
    /// That key itself; no file is read then.
    pub key_text: Option<Secret>,
    /// The password of that file, or text.
    pub key_password: Option<Secret>,
    /// The password to log in with.
    pub password: Option<Secret>,
    /// The socket of ssh-agent; not on Windows.
    pub agent: Option<PathBuf>,
    /// Whether a file of that name may be replaced.
    pub replace: bool,
    /// Whether the file is read back and compared.
    pub read_back: bool,
}

impl SftpOptions {
    /// The name of the variable for [`password`](Self::password).
    pub const PASSWORD: &str = "SCELLE_SFTP_PASSWORD";
    /// The name of the variable for [`key_password`](Self::key_password).
    pub const KEY_PASSWORD: &str = "SCELLE_SSH_KEY_PASSWORD";

    /// The same, with what it does not say taken from the environment: the passwords, the socket of ssh-agent
    /// (`SSH_AUTH_SOCK`), and the file of known hosts of the user.
    #[must_use]
    pub fn or_environment(mut self) -> Self {
        let socket = env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
        let usual = env::home_dir().map(|home| home.join(".ssh").join("known_hosts"));
        self.agent = self.agent.or_else(|| socket.map(PathBuf::from));
        self.known_hosts = self.known_hosts.or(usual);
        self.password = self
            .password
            .or_else(|| Secret::from_environment(Self::PASSWORD));
        self.key_password = self
            .key_password
            .or_else(|| Secret::from_environment(Self::KEY_PASSWORD));
        self
    }
}

/// One file of a server that speaks SFTP.
pub struct Sftp {
    runtime: Runtime,
    address: Address,
    path: String,
    line: Line,
    replace: bool,
    read_back: bool,
    session: Option<Session>,
    /// How the file got its name, once it bears it.
    named: Option<Named>,
    /// The fingerprint of the key that the server showed.
    shown: String,
}

impl Sftp {
    /// A server that is not asked anything yet.
    ///
    /// # Errors
    /// Where nobody says what key the server has, or there is nothing to log in with.
    pub fn new(address: Address, options: SftpOptions) -> Result<Self, Error> {
        let Address::Sftp {
            user,
            host,
            port,
            path,
        } = &address
        else {
            return Err(Error::Setup(format!("{address} is no address of SFTP")));
        };
        if path.is_empty() || path.ends_with('/') {
            return Err(Error::Setup(format!("{address} names no file")));
        }
        let known = Known::new(
            host,
            *port,
            &options.host_keys,
            options.known_hosts.as_deref(),
        )?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Error::Setup(format!("no thread to send with: {error}")))?;
        Ok(Self {
            runtime,
            path: path.clone(),
            line: Line {
                store: address.to_string(),
                host: host.clone(),
                port: *port,
                user: user.clone(),
                known: Arc::new(known),
                login: Login::new(&options)?,
            },
            address,
            replace: options.replace,
            read_back: options.read_back,
            session: None,
            named: None,
            shown: String::new(),
        })
    }

    /// Does something over a connection, which is made where there is none, and given up where it fails.
    fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Session, &Target<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self {
            runtime,
            line,
            session,
            shown,
            path,
            replace,
            ..
        } = self;
        let target = Target {
            store: &line.store,
            path,
            replace: *replace,
        };
        runtime.block_on(async {
            let mut at = match session.take() {
                Some(at) => at,
                None => {
                    let (at, key) = session::open(line, !shown.is_empty()).await?;
                    *shown = key;
                    at
                }
            };
            let done = work(&mut at, &target).await?;
            *session = Some(at);
            Ok(done)
        })
    }
}

impl Sftp {
    /// A journal names the file that is written to, and may come from a host that nobody trusts: it can name none but a part of
    /// what is delivered.
    fn check_own(&self, begun: &Begun) -> Result<(), Failure> {
        if is_part_of(&self.path, &begun.upload) {
            return Ok(());
        }
        Err(Error::Setup(format!(
            "the journal of the delivery names {:?}, which is no part of {}: it was altered; remove it, and the delivery begins anew",
            begun.upload,
            self.name()
        ))
        .into())
    }
}

/// Whether `upload` is what [`Sftp::begin`](Store::begin) calls a part of the file `path`.
fn is_part_of(path: &str, upload: &str) -> bool {
    let token = upload
        .strip_prefix(path)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(".partial"));
    token
        .is_some_and(|token| token.len() == 8 && token.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl Store for Sftp {
    fn name(&self) -> String {
        self.address.to_string()
    }

    fn endpoint(&self) -> String {
        let Line { host, port, .. } = &self.line;
        format!("{host}:{port}")
    }

    fn shown(&self) -> Option<String> {
        Some(self.shown.clone()).filter(|shown| !shown.is_empty())
    }

    fn most_pieces(&self) -> u32 {
        u32::MAX
    }

    fn begin(&mut self) -> Result<Begun, Failure> {
        let mut token = [0; 4];
        getrandom::fill(&mut token)
            .map_err(|error| Error::Setup(format!("no randomness: {error}")))?;
        let upload = format!("{}.{}.partial", self.path, hex(&token));
        let partial = upload.clone();
        self.with(async move |session, target| {
            // Whoever may write may not always look.
            if !target.replace && session.is_there(target.path).await {
                return Err(target.exists());
            }
            session.create(target, partial).await
        })?;
        Ok(Begun { upload })
    }

    fn put(&mut self, begun: &Begun, piece: &Piece<'_>) -> Result<String, Failure> {
        self.check_own(begun)?;
        self.with(async |session, target| {
            let file = session.reopen(target, &begun.upload, piece.offset).await?;
            session.write(target, &file, piece).await
        })?;
        Ok("every write was answered with OK".into())
    }

    fn finish(&mut self, begun: &Begun, sent: &[SentPiece]) -> Result<Confirmation, Failure> {
        self.check_own(begun)?;
        let bytes: u64 = sent.iter().map(|piece| piece.bytes).sum();
        let named = match self.named {
            Some(named) => named,
            None => self.with(async |session, target| {
                match session.reopen(target, &begun.upload, bytes).await {
                    Ok(_) => session.rename(target, &begun.upload, sent).await,
                    Err(Failure::Final(Error::Forgotten { why, .. })) => {
                        session.was_it_renamed(target, sent, why).await
                    }
                    Err(failure) => Err(failure),
                }
            })?,
        };
        self.named = Some(named);
        let reads_back = self.read_back && !named.was_read;
        let found = self.with(async |session, target| {
            if reads_back {
                session.read_back(target, sent).await?;
            }
            match session.size(target.path).await {
                // The line, and not the server: another one is made for the next try.
                Err(error) if code(&error).is_none() => Err(Failure::Passing(error.to_string())),
                found => Ok(found),
            }
        })?;
        let read_back = self.read_back || named.was_read;
        confirmation(&self.line.store, bytes, found, named.is_synced, read_back)
    }
}

/// `found` is the size that the server says; `is_synced` whether it said that it put the file on its disk.
fn confirmation(
    store: &str,
    bytes: u64,
    found: Result<Size, SftpError>,
    is_synced: bool,
    read_back: bool,
) -> Result<Confirmation, Failure> {
    let mut said = Confirmation::default();
    let mut confirmed = |yes: bool, what: &str, not: &str| {
        if yes {
            said.confirmed.push(what.into());
        } else {
            said.unconfirmed.push(not.into());
        }
    };
    confirmed(
        true,
        "the server answered every write with OK, and gave the file its name when all of it was written",
        "",
    );
    confirmed(
        is_synced,
        "it answered OK when it was asked to put the file on its disk (fsync)",
        "that the file was put on the server's disk (fsync)",
    );
    match found {
        Ok(Size::Bytes(found)) if found == bytes => {
            confirmed(true, "under its name it has as many bytes as were sent", "")
        }
        Ok(Size::Unknown) => confirmed(
            false,
            "",
            "the size: the server did not say it when it was asked",
        ),
        Ok(found) => {
            let has = match found {
                Size::Bytes(found) => format!("{found} bytes"),
                Size::Unknown | Size::Nothing => "nothing".into(),
            };
            return Err(Error::Refused {
                store: store.to_owned(),
                why: format!("it has {has} under that name, and {bytes} bytes were sent"),
            }
            .into());
        }
        Err(error) if code(&error).is_none() => return Err(Failure::Passing(error.to_string())),
        Err(_) => confirmed(
            false,
            "",
            "the size: the server does not let this user look",
        ),
    }
    confirmed(
        read_back,
        "it was read back, and every piece has the SHA-256 of what was sent",
        "that it reads back as it was sent: --read-back asks for it",
    );
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_part_of_the_file_is_written_to() {
        let path = "/in/case.scelle.zip.pgp";
        assert!(is_part_of(path, "/in/case.scelle.zip.pgp.0badcafe.partial"));
        for other in [
            "/home/ana/.ssh/authorized_keys",
            "/in/case.scelle.zip.pgp",
            "/in/case.scelle.zip.pgp.partial",
            "/in/case.scelle.zip.pgp.../../x.partial",
            "/in/case.scelle.zip.pgp.0badcafe.partial/x",
        ] {
            assert!(!is_part_of(path, other), "{other}");
        }
    }
}
