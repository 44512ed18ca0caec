//! One conversation with a server: the file that is written, renamed and read back.

use std::{future::ready, ops::Range, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use russh::client::Handle;
use russh_sftp::{
    client::{Config, RawSftpSession, error::Error as SftpError},
    protocol::{FileAttributes, OpenFlags, Packet, StatusCode},
};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::connect::{Checking, Line};
use crate::{Error, Failure, Piece, SentPiece, error::printable, transfer::hex};

/// Bytes of a request: every server takes as many.
const BLOCK: usize = 32 << 10;
/// Requests on their way at once: 2 MiB.
const ON_THEIR_WAY: usize = 64;
/// A slow line takes its time for what is on its way: 210 s with 10 kB/s.
const ANSWER_SECONDS: u64 = 300;
/// So does a disk that is to keep a large file.
const SYNC_SECONDS: u64 = 900;
const FSYNC: &str = "fsync@openssh.com";
/// Renames over a file that is there, in one step.
const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// A session, and the file that is open in it.
pub(super) struct Session {
    sftp: RawSftpSession,
    /// The file that is open for writing.
    file: Option<String>,
    has_fsync: bool,
    has_posix_rename: bool,
    /// The connection, which ends with it.
    _ssh: Handle<Checking>,
}

/// The file bears its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    /// Whether the server said that it put it on its disk.
    pub(super) is_synced: bool,
    /// Whether all of it was read back, and is what was sent.
    pub(super) was_read: bool,
}

/// What a server says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Bytes(u64),
    /// It is there, and the server does not say how large it is.
    Unknown,
    Nothing,
}

/// Connects, and begins to speak SFTP; gives the fingerprint of the key that the server showed too.
pub(super) async fn open(line: &Line, was_reached: bool) -> Result<(Session, String), Failure> {
    let passing = |error: russh::Error| Failure::Passing(error.to_string());
    let (ssh, key) = line.connect(was_reached).await?;
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
        has_posix_rename: version.extensions.contains_key(POSIX_RENAME),
        sftp,
        file: None,
        _ssh: ssh,
    };
    Ok((session, key))
}

/// What is written.
pub(super) struct Target<'a> {
    pub(super) store: &'a str,
    pub(super) path: &'a str,
    /// Whether a file of that name may be replaced.
    pub(super) replace: bool,
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

    pub(super) fn exists(&self) -> Failure {
        self.refuse(
            "a file of that name exists already, perhaps this very bundle, of a delivery that was cut at its \
             end: choose another name, or replace it with --force"
                .into(),
        )
        .into()
    }
}

/// What a server said no with.
pub(super) fn code(error: &SftpError) -> Option<StatusCode> {
    match error {
        SftpError::Status(status) => Some(status.status_code),
        _ => None,
    }
}

impl Session {
    /// Makes the unfinished file.
    pub(super) async fn create(
        &mut self,
        target: &Target<'_>,
        partial: String,
    ) -> Result<(), Failure> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE;
        let opened = self
            .sftp
            .open(partial, flags, FileAttributes::empty())
            .await;
        let opened = opened.map_err(|error| target.failure("making the file", error))?;
        self.file = Some(opened.handle);
        Ok(())
    }

    /// The size of a file.
    pub(super) async fn size(&self, path: &str) -> Result<Size, SftpError> {
        match self.sftp.stat(path).await {
            Ok(found) => Ok(found.attrs.size.map_or(Size::Unknown, Size::Bytes)),
            Err(error) if code(&error) == Some(StatusCode::NoSuchFile) => Ok(Size::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a file of that name, as far as one may look: whoever may write may not always.
    pub(super) async fn is_there(&self, path: &str) -> bool {
        matches!(self.size(path).await, Ok(Size::Bytes(_) | Size::Unknown))
    }

    /// Opens what is there of the unfinished file, which must hold `bytes` at least.
    pub(super) async fn reopen(
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
        if let Some(found) = found.attrs.size.filter(|found| *found < bytes) {
            return Err(target.forgotten(format!(
                "{partial} has {found} bytes, and {bytes} were confirmed"
            )));
        }
        self.file = Some(file.clone());
        Ok(file)
    }

    pub(super) async fn write(
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
    pub(super) async fn rename(
        &mut self,
        target: &Target<'_>,
        partial: &str,
        sent: &[SentPiece],
    ) -> Result<Named, Failure> {
        let gone = || format!("{partial} is gone");
        let mut is_synced = false;
        if let Some(file) = self.file.take() {
            let bytes = sent.iter().map(|piece| piece.bytes).sum();
            // All of it must be there before anything older is replaced.
            if !self.is_all_there(target, partial, &file, bytes).await? {
                return self.was_it_renamed(target, sent, gone()).await;
            }
            is_synced = self.close(target, file).await?;
        }
        // Some servers rename over what is there.
        if !target.replace && self.is_there(target.path).await {
            return Err(target.exists());
        }
        let Err(error) = self.give_name(target, partial).await else {
            return Ok(Named {
                is_synced,
                was_read: false,
            });
        };
        if code(&error) == Some(StatusCode::NoSuchFile) {
            return self.was_it_renamed(target, sent, gone()).await;
        }
        if !target.replace && self.is_there(target.path).await {
            return Err(target.exists());
        }
        Err(target.failure("renaming the file", error))
    }

    /// Whether the unfinished file is there, and as long as what was sent: by its name, or as it is open where this user
    /// may not ask for names.
    async fn is_all_there(
        &self,
        target: &Target<'_>,
        partial: &str,
        file: &str,
        bytes: u64,
    ) -> Result<bool, Failure> {
        let failed = |error| target.failure("asking for its size", error);
        let found = match self.size(partial).await {
            Ok(Size::Nothing) => return Ok(false),
            Ok(Size::Bytes(found)) => Some(found),
            Ok(Size::Unknown) => None,
            Err(error) if code(&error).is_none() => return Err(failed(error)),
            Err(_) => match self.sftp.fstat(file).await {
                Ok(found) => found.attrs.size,
                Err(error) if code(&error).is_none() => return Err(failed(error)),
                // Nor that: then its answers to what was written must do.
                Err(_) => None,
            },
        };
        match found.filter(|found| *found != bytes) {
            None => Ok(true),
            Some(found) => {
                let why = format!("it has {found} bytes of this file, and {bytes} were sent");
                Err(target.refuse(why).into())
            }
        }
    }

    /// Says whether the server put the file on its disk.
    async fn close(&self, target: &Target<'_>, file: String) -> Result<bool, Failure> {
        if self.has_fsync {
            self.sftp.set_timeout(SYNC_SECONDS);
            let synced = self.sftp.fsync(&*file).await;
            synced.map_err(|error| target.failure("putting it on its disk", error))?;
            self.sftp.set_timeout(ANSWER_SECONDS);
        }
        let closed = self.sftp.close(file).await;
        closed.map_err(|error| target.failure("closing the file", error))?;
        Ok(self.has_fsync)
    }

    /// Renames the file. An older one is replaced in one step where the server can, so that there is always one of that
    /// name; else it is removed right before.
    async fn give_name(&self, target: &Target<'_>, partial: &str) -> Result<(), SftpError> {
        if target.replace && self.has_posix_rename {
            let names = [partial, target.path].map(|name| name.as_bytes());
            let data = names.iter().flat_map(|name| {
                let length = (name.len() as u32).to_be_bytes();
                length.into_iter().chain(name.iter().copied())
            });
            let answer = self.sftp.extended(POSIX_RENAME, data.collect()).await?;
            return match answer {
                Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
                Packet::Status(status) => Err(SftpError::Status(status)),
                _ => Err(SftpError::UnexpectedPacket),
            };
        }
        if target.replace {
            match self.sftp.remove(target.path).await {
                Err(error) if code(&error) != Some(StatusCode::NoSuchFile) => return Err(error),
                _ => {}
            }
        }
        self.sftp.rename(partial, target.path).await.map(drop)
    }

    /// The unfinished file is gone: either it was renamed, and the answer was cut off, or the server lost it. An older
    /// file of that name may be as large, so that only its bytes tell.
    pub(super) async fn was_it_renamed(
        &self,
        target: &Target<'_>,
        sent: &[SentPiece],
        gone: String,
    ) -> Result<Named, Failure> {
        match self.difference(target, sent).await {
            Ok(None) => Ok(Named {
                is_synced: false,
                was_read: true,
            }),
            Ok(Some(_)) => Err(target.forgotten(gone)),
            Err(error) if code(&error) == Some(StatusCode::NoSuchFile) => {
                Err(target.forgotten(gone))
            }
            Err(error) if code(&error) == Some(StatusCode::PermissionDenied) => {
                let why = format!(
                    "{gone}; perhaps it was renamed, and the answer was cut off, but this user may not read what \
                     bears its name now: whoever may must compare it, or deliver it under another name"
                );
                Err(target.refuse(why).into())
            }
            Err(error) => Err(target.failure("reading it back", error)),
        }
    }

    /// Reads the file back, which must be what was sent.
    pub(super) async fn read_back(
        &self,
        target: &Target<'_>,
        sent: &[SentPiece],
    ) -> Result<(), Failure> {
        let difference = self.difference(target, sent).await;
        match difference.map_err(|error| target.failure("reading it back", error))? {
            None => Ok(()),
            Some(within) => {
                let (from, to) = (within.start, within.end);
                let why = format!(
                    "what it gives back is not what was sent, within the bytes from {from} to {to}"
                );
                Err(target.refuse(why).into())
            }
        }
    }

    /// Reads the file, and compares it piece by piece: the first piece that is another, or what lies behind them all.
    async fn difference(
        &self,
        target: &Target<'_>,
        sent: &[SentPiece],
    ) -> Result<Option<Range<u64>>, SftpError> {
        let opened = self
            .sftp
            .open(target.path, OpenFlags::READ, FileAttributes::empty());
        let file = opened.await?.handle;
        let mut found = None;
        let mut end = 0;
        for piece in sent {
            let begin = end;
            end += piece.bytes;
            if !self.is_piece(&file, begin, piece).await? {
                found = Some(begin..end);
                break;
            }
        }
        if found.is_none() && !self.ends(&file, end).await? {
            found = Some(end..end + 1);
        }
        self.sftp.close(file).await?;
        Ok(found)
    }

    /// Whether a piece is in the file; one that ends before it is not.
    async fn is_piece(&self, file: &str, begin: u64, piece: &SentPiece) -> Result<bool, SftpError> {
        let mut hash = Sha256::new();
        let starts = (0..piece.bytes).step_by(BLOCK);
        let mut read = stream::iter(starts)
            .map(|at| self.block(file, begin + at, (piece.bytes - at).min(BLOCK as u64)))
            .buffered(ON_THEIR_WAY);
        loop {
            match read.try_next().await {
                Ok(Some(block)) => hash.update(&block),
                Ok(None) => return Ok(hex(&hash.finalize()) == piece.sha256),
                Err(error) if code(&error) == Some(StatusCode::Eof) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the file has no byte there any more.
    async fn ends(&self, file: &str, at: u64) -> Result<bool, SftpError> {
        match self.sftp.read(file, at, 1).await {
            Ok(_) => Ok(false),
            Err(error) if code(&error) == Some(StatusCode::Eof) => Ok(true),
            Err(error) => Err(error),
        }
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
