//! Servers that speak SFTP: one file, written under a name that says that it is not whole, renamed
//! when it is.
//!
//! # Sources
//! - draft-ietf-secsh-filexfer-02, version 3 of the protocol, as OpenSSH speaks it.
//! - OpenSSH, PROTOCOL, section 4: `fsync@openssh.com`, `limits@openssh.com`.

mod connect;

use std::{future::ready, path::PathBuf, sync::Arc, time::Duration};

use connect::{Checking, Known, Line, Login};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use russh::client::Handle;
use russh_sftp::{
    client::{Config, RawSftpSession, error::Error as SftpError},
    protocol::{FileAttributes, OpenFlags, StatusCode},
};
use sha2::{Digest as _, Sha256};
use tokio::{runtime::Runtime, time::timeout};

use crate::{
    Address, Begun, Confirmation, Error, Failure, Piece, SentPiece, Store, error::printable,
    transfer::hex,
};

/// Bytes of a request: every server takes as many.
const BLOCK: usize = 32 << 10;
/// Requests on their way at once: 2 MiB.
const ON_THEIR_WAY: usize = 64;
/// A slow line takes its time for what is on its way.
const ANSWER_SECONDS: u64 = 120;
/// So does a disk that is to keep a large file.
const SYNC_SECONDS: u64 = 900;
const FSYNC: &str = "fsync@openssh.com";

/// How a server is reached.
#[derive(Clone, Debug, Default)]
pub struct SftpOptions {
    /// The fingerprints that its key may have, `SHA256:…`.
    pub host_keys: Vec<String>,
    /// A file that lists its key, as OpenSSH's `known_hosts`; else that of the user.
    pub known_hosts: Option<PathBuf>,
    /// The file of the key to log in with; else the password in `SCELLE_SFTP_PASSWORD`, or
    /// ssh-agent.
    pub key: Option<PathBuf>,
    /// Whether a file of that name may be replaced.
    pub replace: bool,
    /// Whether the file is read back and compared.
    pub read_back: bool,
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
    /// Whether the file bears its name, and was put on the server's disk before.
    renamed: Option<bool>,
    /// The fingerprint of the key that the server showed.
    shown: String,
}

struct Session {
    sftp: RawSftpSession,
    /// The file that is open for writing.
    file: Option<String>,
    has_fsync: bool,
    /// The connection, which ends with it.
    _ssh: Handle<Checking>,
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
                login: Login::new(options.key.as_deref())?,
            },
            address,
            replace: options.replace,
            read_back: options.read_back,
            session: None,
            renamed: None,
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
                    let (at, key) = open(line).await?;
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

async fn open(line: &Line) -> Result<(Session, String), Failure> {
    let passing = |error: russh::Error| Failure::Passing(error.to_string());
    let (ssh, key) = line.connect().await?;
    let ask = async {
        let channel = ssh.channel_open_session().await?;
        channel.request_subsystem(true, "sftp").await?;
        Ok(channel)
    };
    let patience = Duration::from_secs(ANSWER_SECONDS);
    let channel = timeout(patience, ask)
        .await
        .map_err(|_| Failure::Passing("it does not answer".into()))?
        .map_err(passing)?;
    let config = Config {
        request_timeout_secs: ANSWER_SECONDS,
        ..Config::default()
    };
    let sftp = RawSftpSession::new_with_config(channel.into_stream(), config);
    let version = sftp
        .init()
        .await
        .map_err(|error| Failure::Passing(error.to_string()))?;
    let session = Session {
        has_fsync: version.extensions.contains_key(FSYNC),
        sftp,
        file: None,
        _ssh: ssh,
    };
    Ok((session, key))
}

/// What is written.
struct Target<'a> {
    store: &'a str,
    path: &'a str,
    replace: bool,
}

impl Target<'_> {
    /// What a server said no with, and whether it is worth another try: it gives the same answer to a
    /// full disk as to anything that it has no word for.
    fn failure(&self, what: &str, error: SftpError) -> Failure {
        let said = printable(&format!("{what}: {error}"));
        match code(&error) {
            Some(
                StatusCode::PermissionDenied | StatusCode::NoSuchFile | StatusCode::OpUnsupported,
            ) => self.refuse(said).into(),
            _ => Failure::Passing(said),
        }
    }

    fn refuse(&self, why: String) -> Error {
        Error::Refused {
            store: self.store.to_owned(),
            why,
        }
    }

    fn forgotten(&self, why: String) -> Failure {
        Error::Forgotten {
            store: self.store.to_owned(),
            why,
        }
        .into()
    }

    fn exists(&self) -> Failure {
        self.refuse(
            "a file of that name exists already, perhaps this very bundle, of a delivery that was cut at its \
             end: choose another name, or replace it with --force"
                .into(),
        )
        .into()
    }
}

fn code(error: &SftpError) -> Option<StatusCode> {
    match error {
        SftpError::Status(status) => Some(status.status_code),
        _ => None,
    }
}

impl Session {
    /// The size of a file; `None` where there is none.
    async fn size(&self, path: &str) -> Result<Option<u64>, SftpError> {
        match self.sftp.stat(path).await {
            Ok(found) => Ok(Some(found.attrs.size.unwrap_or(0))),
            Err(error) if code(&error) == Some(StatusCode::NoSuchFile) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens what is there of the unfinished file, which must hold `bytes` at least.
    async fn reopen(
        &mut self,
        target: &Target<'_>,
        partial: &str,
        bytes: u64,
    ) -> Result<String, Failure> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let opened = self
            .sftp
            .open(partial, OpenFlags::WRITE, FileAttributes::empty())
            .await;
        let file = match opened {
            Ok(opened) => opened.handle,
            Err(error) if code(&error) == Some(StatusCode::NoSuchFile) => {
                return Err(target.forgotten(format!("{partial} is gone")));
            }
            Err(error) => return Err(target.failure("opening the file again", error)),
        };
        let found = self.sftp.fstat(&*file).await;
        let found = found.map_err(|error| target.failure("asking for its size", error))?;
        let found = found.attrs.size.unwrap_or(0);
        if found < bytes {
            return Err(target.forgotten(format!(
                "{partial} has {found} bytes, and {bytes} were confirmed"
            )));
        }
        self.file = Some(file.clone());
        Ok(file)
    }

    async fn write(
        &self,
        target: &Target<'_>,
        file: &str,
        piece: &Piece<'_>,
    ) -> Result<(), Failure> {
        let blocks = piece.bytes.chunks(BLOCK).zip(0u64..);
        let written = stream::iter(blocks).map(|(block, number)| {
            let at = piece.offset + number * BLOCK as u64;
            self.sftp.write(file, at, block.to_vec())
        });
        written
            .buffer_unordered(ON_THEIR_WAY)
            .try_for_each(|_| ready(Ok(())))
            .await
            .map_err(|error| target.failure("writing", error))
    }

    /// Puts the unfinished file on the server's disk, closes it, and gives it its name.
    async fn rename(&mut self, target: &Target<'_>, partial: &str) -> Result<bool, Failure> {
        let failed = |what, error| target.failure(what, error);
        let synced = match self.file.take() {
            Some(file) => {
                if self.has_fsync {
                    self.sftp.set_timeout(SYNC_SECONDS);
                    let synced = self.sftp.fsync(&*file).await;
                    synced.map_err(|error| failed("putting it on its disk", error))?;
                    self.sftp.set_timeout(ANSWER_SECONDS);
                }
                let closed = self.sftp.close(file).await;
                closed.map_err(|error| failed("closing the file", error))?;
                self.has_fsync
            }
            None => false,
        };
        if target.replace {
            match self.sftp.remove(target.path).await {
                Err(error) if code(&error) != Some(StatusCode::NoSuchFile) => {
                    return Err(failed("removing the older file", error));
                }
                _ => {}
            }
        }
        match self.sftp.rename(partial, target.path).await {
            Ok(_) => Ok(synced),
            Err(error) => match self.size(target.path).await {
                Ok(Some(_)) => Err(target.exists()),
                _ => Err(failed("renaming the file", error)),
            },
        }
    }

    /// Reads the file and compares each piece.
    async fn compare(&self, target: &Target<'_>, sent: &[SentPiece]) -> Result<(), Failure> {
        let failed = |error| target.failure("reading it back", error);
        let opened = self
            .sftp
            .open(target.path, OpenFlags::READ, FileAttributes::empty());
        let file = opened.await.map_err(failed)?.handle;
        let mut next = 0;
        for piece in sent {
            let offset = next;
            let mut hash = Sha256::new();
            let starts = (0..piece.bytes).step_by(BLOCK);
            let mut read = stream::iter(starts)
                .map(|at| self.block(&file, offset + at, (piece.bytes - at).min(BLOCK as u64)))
                .buffered(ON_THEIR_WAY);
            while let Some(block) = read.try_next().await.map_err(failed)? {
                hash.update(&block);
            }
            if hex(&hash.finalize()) != piece.sha256 {
                return Err(target
                    .refuse(format!(
                        "what it gives back is not what was sent, within {} bytes from {offset}",
                        piece.bytes
                    ))
                    .into());
            }
            next += piece.bytes;
        }
        self.sftp.close(file).await.map_err(failed).map(drop)
    }

    /// Bytes of a file; a server may give fewer than it is asked for at once.
    async fn block(&self, file: &str, at: u64, bytes: u64) -> Result<Vec<u8>, SftpError> {
        let mut block = Vec::new();
        while (block.len() as u64) < bytes {
            let left = bytes - block.len() as u64;
            let read = self.sftp.read(file, at + block.len() as u64, left as u32);
            let data = read.await?.data;
            if data.is_empty() || data.len() as u64 > left {
                return Err(SftpError::UnexpectedPacket);
            }
            block.extend(data);
        }
        Ok(block)
    }
}

impl Store for Sftp {
    fn name(&self) -> String {
        self.address.to_string()
    }

    fn endpoint(&self) -> String {
        let Line { host, port, .. } = &self.line;
        format!("{host}:{port} {}", self.shown)
            .trim_end()
            .to_owned()
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
            if !target.replace && matches!(session.size(target.path).await, Ok(Some(_))) {
                return Err(target.exists());
            }
            let flags = OpenFlags::WRITE | OpenFlags::CREATE;
            let opened = session.sftp.open(partial, flags, FileAttributes::empty());
            let opened = opened.await;
            session.file = Some(
                opened
                    .map_err(|error| target.failure("making the file", error))?
                    .handle,
            );
            Ok(())
        })?;
        Ok(Begun { upload })
    }

    fn put(&mut self, begun: &Begun, piece: &Piece<'_>) -> Result<String, Failure> {
        self.with(async |session, target| {
            let file = session.reopen(target, &begun.upload, piece.offset).await?;
            session.write(target, &file, piece).await
        })?;
        Ok("every write was answered with OK".into())
    }

    fn finish(&mut self, begun: &Begun, sent: &[SentPiece]) -> Result<Confirmation, Failure> {
        let bytes: u64 = sent.iter().map(|piece| piece.bytes).sum();
        let read_back = self.read_back;
        let renamed = self.renamed;
        let synced = self.with(async |session, target| {
            if renamed.is_some() {
                return Ok(renamed);
            }
            match session.reopen(target, &begun.upload, bytes).await {
                Ok(_) => session.rename(target, &begun.upload).await.map(Some),
                // It may have been renamed, and the answer cut off.
                Err(failure) => match session.size(target.path).await {
                    Ok(Some(found)) if found == bytes => Ok(None),
                    _ => Err(failure),
                },
            }
        })?;
        self.renamed = synced;
        let found = self.with(async |session, target| {
            if read_back {
                session.compare(target, sent).await?;
            }
            Ok(session.size(target.path).await)
        })?;
        confirmation(&self.line.store, bytes, found, synced, read_back)
    }
}

/// `found` is the size that the server says; `synced` whether it put the file on its disk, where its answer came.
fn confirmation(
    store: &str,
    bytes: u64,
    found: Result<Option<u64>, SftpError>,
    synced: Option<bool>,
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
        synced == Some(true),
        "it answered OK when it was asked to put the file on its disk (fsync)",
        "that the file was put on the server's disk (fsync)",
    );
    match found {
        Ok(Some(found)) if found == bytes => {
            confirmed(true, "under its name it has as many bytes as were sent", "")
        }
        Ok(found) => {
            return Err(Error::Refused {
                store: store.to_owned(),
                why: format!("it has {found:?} bytes under that name, and {bytes} were sent"),
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
