//! A bundle that is delivered while it is written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::{
    Error, PieceSizes, Receipt, Retry, Root, Store,
    file::journal_of,
    journal::{Closed, Head, Journal},
    receipt::FORMAT,
    transfer::{Transfer, hex},
};

/// Before anything is collected, no further attempt is made after this.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// How a bundle is delivered while it is written.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    /// How large its pieces are.
    pub sizes: PieceSizes,
    /// How long the store is waited for.
    pub retry: Retry,
    /// The file that takes the rest where the store is gone for good.
    pub fallback: Option<PathBuf>,
    /// Whether the bundle is ciphertext, which its rest does not show: it is noted beside it.
    pub is_encrypted: bool,
}

/// Takes a bundle's bytes, and sends them piece by piece from a thread of its own.
///
/// Two pieces are in memory: the one that is filled, and the one that is sent. A writer waits
/// where the line is slower than it is.
#[derive(Debug)]
pub struct Delivery {
    piece: Vec<u8>,
    index: u32,
    sizes: PieceSizes,
    /// Full pieces to the sender, and empty room back.
    full: Option<SyncSender<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    sender: Option<JoinHandle<Result<Sent, Error>>>,
}

/// How a delivery ended.
#[derive(Debug)]
pub enum Ended {
    /// The store has all of it.
    Delivered(Box<Receipt>),
    /// The store has the first part, and the rest lies here.
    Kept(Rest),
}

/// What a store that was gone did not get.
#[derive(Debug)]
pub struct Rest {
    /// The file that holds it: deliver it to go on.
    pub path: PathBuf,
    /// Where in the bundle it begins: so much the store has.
    pub from: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// Why it is here.
    pub why: Error,
}

impl Delivery {
    /// Begins one. Where the store refuses, or can't be reached and there is no fallback, nothing
    /// is begun.
    ///
    /// # Errors
    /// What the store says; where the fallback can't be written.
    pub fn begin(store: Box<dyn Store>, options: StreamOptions) -> Result<Self, Error> {
        let StreamOptions {
            sizes,
            retry,
            fallback,
            is_encrypted,
        } = options;
        if let Some(path) = &fallback {
            refuse_existing(path)?;
            // It is needed when it is too late to name another.
            let made = File::create_new(path).map_err(Error::local("writing", path))?;
            drop(made);
            fs::remove_file(path).map_err(Error::local("removing", path))?;
        }
        let sizes = sizes.within(store.most_pieces());
        let mut transfer = Transfer::new(store, retry.clone());
        transfer.retry.patience = retry.patience.min(FIRST_PATIENCE);
        let began = transfer.begin();
        transfer.retry = retry;
        let mut sender = Sending {
            transfer,
            sizes,
            hash: Sha256::new(),
            fallback,
            is_encrypted,
            rest: None,
        };
        match began {
            Err(error @ Error::Gone { .. }) => sender.keep_rest(error)?,
            began => drop(began?),
        }
        let (full, pieces) = sync_channel(0);
        let (rooms, empty) = channel();
        let sender = thread::Builder::new()
            .name("deliver".into())
            .spawn(move || sender.run(&pieces, &rooms))
            .map_err(|error| Error::Setup(format!("no thread to send with: {error}")))?;
        Ok(Self {
            piece: Vec::new(),
            index: 0,
            sizes,
            full: Some(full),
            empty,
            sender: Some(sender),
        })
    }

    /// Sends what is left and has the store make the bundle. `root` is its root hash.
    ///
    /// # Errors
    /// What ended the delivery, where no fallback was named.
    pub fn finish(mut self, root: Option<Root>) -> Result<Ended, Error> {
        if !self.piece.is_empty() && self.hand_over().is_err() {
            return Err(self.end().err().unwrap_or(Error::Ended));
        }
        self.end()?.finish(root)
    }

    /// Gives the piece that is full to the sender.
    fn hand_over(&mut self) -> io::Result<()> {
        let piece = mem::take(&mut self.piece);
        let sent = self.full.as_ref().map(|full| full.send(piece));
        let Some(Ok(())) = sent else {
            return Err(io::Error::other(self.end().err().unwrap_or(Error::Ended)));
        };
        self.index += 1;
        // The sender has the piece now, and gave back the room of the one before.
        self.piece = self.empty.try_recv().unwrap_or_default();
        Ok(())
    }

    /// Waits for the sender.
    fn end(&mut self) -> Result<Sent, Error> {
        self.full = None;
        let ended = self.sender.take().map(JoinHandle::join);
        match ended {
            Some(Ok(sent)) => sent,
            Some(Err(_)) | None => Err(Error::Ended),
        }
    }
}

impl Write for Delivery {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.full.is_none() {
            return Err(io::Error::other(Error::Ended));
        }
        let size = usize::try_from(self.sizes.bytes(self.index)).unwrap_or(usize::MAX);
        if self.piece.is_empty() {
            self.piece.reserve_exact(size);
        }
        let taken = bytes.len().min(size - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == size {
            self.hand_over()?;
        }
        Ok(taken)
    }

    /// Does nothing: a piece that was begun can't be sent yet.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sending thread's own.
struct Sending {
    transfer: Transfer,
    sizes: PieceSizes,
    hash: Sha256,
    fallback: Option<PathBuf>,
    is_encrypted: bool,
    rest: Option<RestFile>,
}

/// All pieces were sent, or kept.
struct Sent(Sending);

struct RestFile {
    file: File,
    journal: Journal,
    rest: Rest,
    hash: Sha256,
}

impl Sending {
    fn run(mut self, pieces: &Receiver<Vec<u8>>, rooms: &Sender<Vec<u8>>) -> Result<Sent, Error> {
        for mut piece in pieces {
            self.take(&piece)?;
            piece.clear();
            // Whoever fills pieces may have its last one already.
            drop(rooms.send(piece));
        }
        Ok(Sent(self))
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.hash.update(piece);
        if self.rest.is_none() {
            match self.transfer.put(piece).map(drop) {
                Err(error) if error.is_of_store() => self.keep_rest(error)?,
                put => return put,
            }
        }
        match &mut self.rest {
            Some(rest) => rest.write(piece),
            None => Err(Error::Ended),
        }
    }

    /// From here on the bundle goes to the fallback, if there is one.
    fn keep_rest(&mut self, why: Error) -> Result<(), Error> {
        let Some(path) = &self.fallback else {
            return Err(why);
        };
        let writing = || Error::local("writing the rest of the bundle", path);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(path);
        let transfer = &self.transfer;
        let head = Head {
            delivery: FORMAT,
            to: transfer.store.name(),
            endpoint: transfer.store.endpoint(),
            upload: transfer.begun.as_ref().map(|begun| begun.upload.clone()),
            first_piece_bytes: self.sizes.first_bytes(),
            local_from: transfer.bytes,
            is_rest: true,
            is_encrypted: self.is_encrypted,
        };
        self.rest = Some(RestFile {
            file: file.map_err(writing())?,
            journal: Journal::create(&journal_of(path), &head, &transfer.sent, None)?,
            rest: Rest {
                path: path.clone(),
                from: transfer.bytes,
                bytes: 0,
                why,
            },
            hash: Sha256::new(),
        });
        Ok(())
    }
}

impl Sent {
    fn finish(self, root: Option<Root>) -> Result<Ended, Error> {
        let Self(mut sending) = self;
        if sending.rest.is_none() {
            match sending.transfer.finish() {
                Ok(confirmation) => {
                    let Sending { transfer, hash, .. } = sending;
                    let receipt = Receipt {
                        receipt: FORMAT,
                        to: transfer.store.name(),
                        endpoint: transfer.reached(),
                        root,
                        bytes: transfer.bytes,
                        sha256: Some(hex(&hash.finalize())),
                        confirmation,
                        host_time: Timestamp::now().to_string(),
                        pieces: transfer.sent,
                    };
                    return Ok(Ended::Delivered(Box::new(receipt)));
                }
                Err(error) => sending.keep_rest(error)?,
            }
        }
        sending.rest.ok_or(Error::Ended)?.close(root)
    }
}

impl RestFile {
    fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.rest.bytes += piece.len() as u64;
        self.hash.update(piece);
        let writing = Error::local("writing the rest of the bundle", &self.rest.path);
        self.file.write_all(piece).map_err(writing)
    }

    fn close(mut self, root: Option<Root>) -> Result<Ended, Error> {
        let writing = Error::local("writing the rest of the bundle", &self.rest.path);
        self.file.sync_all().map_err(writing)?;
        let Rest { from, bytes, .. } = self.rest;
        self.journal.close(Closed {
            bytes: from + bytes,
            root,
            sha256: Some(hex(&self.hash.finalize())),
        })?;
        Ok(Ended::Kept(self.rest))
    }
}

/// Refuses a fallback that is there: it would be a rest of something else.
fn refuse_existing(path: &Path) -> Result<(), Error> {
    for path in [path.to_owned(), journal_of(path)] {
        if fs::symlink_metadata(&path).is_ok() {
            return Err(Error::Setup(format!(
                "{} exists already: deliver or move away what it holds, or name another fallback",
                path.display()
            )));
        }
    }
    Ok(())
}
