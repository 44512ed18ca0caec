//! A bundle that exists, or the rest of one.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::{
    Address, Error, PieceSizes, Receipt, Retry, Root, Store,
    journal::{self, Closed, Head, Journal},
    receipt::FORMAT,
    transfer::{Transfer, hex},
};

/// How a file is delivered.
#[derive(Clone, Debug, Default)]
pub struct FileOptions {
    /// How large its pieces are, where a delivery is not begun yet.
    pub sizes: PieceSizes,
    /// How long the store is waited for.
    pub retry: Retry,
    /// The bundle's root hash, where it is known.
    pub root: Option<Root>,
    /// Whether a delivery that was begun goes on although the store is reached at another place: it
    /// is the same one, under a new name.
    pub moved: bool,
}

/// What became of it.
#[derive(Debug)]
pub struct Delivered {
    /// What the store confirmed.
    pub receipt: Receipt,
    /// Bytes that an earlier delivery had sent already.
    pub sent_before: u64,
    /// Whether the store had forgotten an earlier delivery, and all was sent again.
    pub sent_again: bool,
    /// Why the receipt was not kept, where it was not: the journal stays, so that the same delivery gives it again.
    pub unkept: Option<Error>,
    /// Why the journal is still there although the receipt was kept, where it is.
    pub left: Option<Error>,
}

/// The rest of a bundle whose store was gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestOf {
    /// The address that it is to go to.
    pub to: String,
    /// Whether the bundle is ciphertext.
    pub is_encrypted: bool,
}

/// What a file is the rest of, where it is one.
///
/// # Errors
/// Where its journal can't be read, or says that the collection was cut off.
pub fn rest_of(path: &Path) -> Result<Option<RestOf>, Error> {
    let journal = journal_of(path);
    let Some(read) = journal::read(&journal)?.filter(|read| read.head.is_rest) else {
        return Ok(None);
    };
    if read.closed.is_none() {
        return Err(Error::Journal {
            path: journal,
            why: "the collection that this is the rest of was cut off, and its end is missing"
                .into(),
        });
    }
    Ok(Some(RestOf {
        to: read.head.to,
        is_encrypted: read.head.is_encrypted,
    }))
}

/// The file beside `path` that says how far its delivery has come.
pub(crate) fn journal_of(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".delivery");
    name.into()
}

/// Delivers a file, and goes on where an earlier delivery of it was cut off. `advance` hears of each
/// piece's bytes.
///
/// Nothing is removed but the journal, and that only once the caller has the receipt: `keep` is
/// called with it before, to put it on disk. Where it can't, the journal stays: delivered again, nothing is sent, and
/// the store is asked once more what it has.
///
/// # Errors
/// What the store says; where the file changed meanwhile.
pub fn deliver_file(
    path: &Path,
    store: Box<dyn Store>,
    options: FileOptions,
    advance: &dyn Fn(u64),
    keep: &dyn Fn(&Receipt) -> Result<(), Error>,
) -> Result<Delivered, Error> {
    let mut work = Work::begin(path, store, &options)?;
    let mut sent_again = false;
    let (sha256, confirmation) = loop {
        let sent = work.send(advance);
        match sent.and_then(|sha256| Ok((sha256, work.transfer.finish()?))) {
            Err(Error::Forgotten { why, .. } | Error::Refused { why, .. })
                if work.confirmed.is_some() =>
            {
                return Err(work.was_confirmed(&why));
            }
            Err(Error::Forgotten { .. }) if work.head.local_from == 0 && !sent_again => {
                sent_again = true;
                work.restart()?;
            }
            done => break done?,
        }
    };
    let host_time = Timestamp::now().to_string();
    // A disk that is full takes neither this nor the receipt, which is shown all the same.
    drop(
        work.journal()
            .and_then(|journal| journal.confirm(&host_time)),
    );
    let transfer = work.transfer;
    let receipt = Receipt {
        receipt: FORMAT,
        to: transfer.store.name(),
        endpoint: transfer.reached(),
        root: work.root,
        bytes: transfer.bytes,
        sha256,
        confirmation,
        host_time,
        pieces: transfer.sent,
    };
    let unkept = keep(&receipt).err();
    let left = match (&unkept, work.journal) {
        (None, Some(journal)) => journal.remove().err(),
        _ => None,
    };
    Ok(Delivered {
        receipt,
        unkept,
        left,
        sent_before: if sent_again { 0 } else { work.sent_before },
        sent_again,
    })
}

/// Whether a delivery that was begun is gone on with where it was begun. An upload of one store means nothing
/// to another, and whoever mistypes an endpoint must not send what he has there.
fn check_place(begun: &Head, store: &dyn Store, moved: bool) -> Result<(), String> {
    let (name, endpoint) = (store.name(), store.endpoint());
    let is_moved_file = || {
        let addresses = (begun.to.parse::<Address>(), name.parse::<Address>());
        matches!(addresses, (Ok(begun), Ok(now)) if begun.is_same_but_for_host(&now))
    };
    // Where the store was never reached, only the rest of the bundle is here, which is of use nowhere else.
    let (what, instead) = match (&begun.upload, begun.is_rest) {
        (None, _) => ("was to begin, and has not", ""),
        (Some(_), true) => ("has begun", ""),
        (Some(_), false) => ("has begun", ", or remove this file to begin another"),
    };
    if begun.to != name && !(moved && is_moved_file()) {
        return Err(format!(
            "a delivery to {} {what}: go on with it{instead}",
            begun.to
        ));
    }
    if begun.endpoint != endpoint && !moved {
        return Err(format!(
            "a delivery to {} at {} {what}, and this would go on at {endpoint}: name that place again, or say \
             with --moved that it is the same store under another name{instead}",
            begun.to, begun.endpoint
        ));
    }
    Ok(())
}

/// The root of a rest: the one that its journal has, which must be the one that was told, where both are known.
fn root_of_rest(noted: Option<Root>, told: Option<Root>) -> Result<Option<Root>, String> {
    let Some(mut noted) = noted else {
        return Ok(told);
    };
    if let Some(told) = told.filter(|told| told.root != noted.root) {
        return Err(format!(
            "the root of the bundle that this is the rest of is {}, and not {}, as was told: it is another bundle",
            noted.root, told.root
        ));
    }
    if noted.from != Root::TOLD {
        noted.from = Root::SEALED_BEFORE.into();
    }
    Ok(Some(noted))
}

/// The SHA-256 of a file, in hex.
fn sha256_of(mut file: &File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut some = vec![0; 1 << 20];
    loop {
        match file.read(&mut some)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&some[..count]),
        }
    }
}

struct Work {
    path: PathBuf,
    file: File,
    transfer: Transfer,
    /// Always there, but while it is made anew.
    journal: Option<Journal>,
    head: Head,
    /// SHA-256 of a rest, as it was written.
    rest_sha256: Option<String>,
    /// Bytes of the whole bundle.
    bytes: u64,
    sizes: PieceSizes,
    root: Option<Root>,
    sent_before: u64,
    /// When an earlier run had all of it confirmed, and could not write its receipt.
    confirmed: Option<String>,
}

impl Work {
    fn begin(path: &Path, store: Box<dyn Store>, options: &FileOptions) -> Result<Self, Error> {
        let reading = || Error::local("reading", path);
        let file = File::open(path).map_err(reading())?;
        let bytes = file.metadata().map_err(reading())?.len();
        let journal_path = journal_of(path);
        let before = journal::read(&journal_path)?;
        let mut transfer = Transfer::new(store, options.retry.clone());
        let most = transfer.store.most_pieces();
        let mut sizes = options.sizes.within(most).fitting(bytes, most);
        let mut root = options.root.clone();
        let mut rest = None;
        let mut rest_sha256 = None;
        let mut confirmed = None;
        if let Some(mut read) = before {
            let wrong = |why: String| Error::Journal {
                path: journal_path.clone(),
                why,
            };
            check_place(&read.head, &*transfer.store, options.moved).map_err(wrong)?;
            let sent = read
                .sent
                .iter()
                .try_fold(0_u64, |sum, piece| sum.checked_add(piece.bytes));
            let (Some(sent), Some(all)) = (sent, read.head.local_from.checked_add(bytes)) else {
                return Err(wrong(
                    "its numbers are of more bytes than there can be".into(),
                ));
            };
            if let Some(closed) = read.closed.take() {
                if all != closed.bytes {
                    return Err(wrong(format!(
                        "the file beside it has {bytes} bytes, and {} are missing from the bundle",
                        closed.bytes.saturating_sub(read.head.local_from)
                    )));
                }
                if let Some(written) = &closed.sha256
                    && *written != sha256_of(&file).map_err(reading())?
                {
                    return Err(wrong(format!(
                        "{} is not what was written: it was altered or damaged since, and nothing was sent; bring it back as \
                         it was kept, for this file alone says what the store has of the bundle",
                        path.display()
                    )));
                }
                root = root_of_rest(closed.root, root).map_err(wrong)?;
                rest_sha256 = closed.sha256;
            }
            sizes = PieceSizes::new(read.head.first_piece_bytes).within(most);
            let head = &read.head;
            rest = head.is_rest.then_some((head.local_from, head.is_encrypted));
            transfer.begun = read.begun();
            confirmed = read.confirmed;
            transfer.bytes = sent;
            transfer.sent = read.sent;
        }
        let begun = transfer.begin()?;
        let head = Head {
            delivery: FORMAT,
            to: transfer.store.name(),
            endpoint: transfer.store.endpoint(),
            upload: Some(begun.upload),
            first_piece_bytes: sizes.first_bytes(),
            local_from: rest.map_or(0, |(from, _)| from),
            is_rest: rest.is_some(),
            is_encrypted: rest.is_some_and(|(_, is_encrypted)| is_encrypted),
        };
        let mut work = Self {
            path: path.to_owned(),
            file,
            confirmed,
            sent_before: transfer.bytes,
            transfer,
            journal: None,
            bytes: head.local_from + bytes,
            head,
            rest_sha256,
            sizes,
            root,
        };
        work.write_journal()?;
        if let Some(host_time) = work.confirmed.clone() {
            work.journal()?.confirm(&host_time)?;
        }
        Ok(work)
    }

    /// Makes the journal anew, of what is known now.
    fn write_journal(&mut self) -> Result<(), Error> {
        // Windows renames nothing over a file that is open.
        self.journal = None;
        let closed = self.head.is_rest.then(|| Closed {
            bytes: self.bytes,
            root: self.root.clone(),
            sha256: self.rest_sha256.clone(),
        });
        let path = journal_of(&self.path);
        self.journal = Some(Journal::create(
            &path,
            &self.head,
            &self.transfer.sent,
            closed,
        )?);
        Ok(())
    }

    fn journal(&mut self) -> Result<&mut Journal, Error> {
        self.journal.as_mut().ok_or(Error::Ended)
    }

    /// Sends what was not sent, and compares what was. Gives the SHA-256 of the whole bundle, where all of it
    /// is here.
    fn send(&mut self, advance: &dyn Fn(u64)) -> Result<Option<String>, Error> {
        let reading = Error::local("reading", &self.path);
        self.file.seek(SeekFrom::Start(0)).map_err(reading)?;
        let mut hash = Sha256::new();
        let mut at = self.head.local_from;
        let mut piece = Vec::new();
        // Pieces that lie before the rest are at the store alone.
        let mut index = self.pieces_within(at);
        loop {
            piece.clear();
            let most = self.sizes.bytes(index);
            let reading = Error::local("reading", &self.path);
            (&self.file)
                .take(most)
                .read_to_end(&mut piece)
                .map_err(reading)?;
            if piece.is_empty() {
                break;
            }
            hash.update(&piece);
            if (index as usize) < self.transfer.sent.len() {
                self.compare(index, &piece)?;
            } else {
                let sent = self.transfer.put(&piece)?.clone();
                self.journal()?.add(&sent)?;
            }
            at += piece.len() as u64;
            index += 1;
            advance(piece.len() as u64);
        }
        if at != self.transfer.bytes {
            return Err(self.changed());
        }
        Ok((self.head.local_from == 0).then(|| hex(&hash.finalize())))
    }

    /// How many pieces that were sent make up so many bytes.
    fn pieces_within(&self, bytes: u64) -> u32 {
        let mut sum = 0;
        let within = self.transfer.sent.iter().take_while(|piece| {
            sum += piece.bytes;
            sum <= bytes
        });
        within.count() as u32
    }

    /// What was sent before must be what is here now.
    fn compare(&self, index: u32, piece: &[u8]) -> Result<(), Error> {
        let sent = &self.transfer.sent[index as usize];
        if sent.bytes == piece.len() as u64 && sent.sha256 == hex(&Sha256::digest(piece)) {
            return Ok(());
        }
        Err(self.changed())
    }

    fn changed(&self) -> Error {
        Error::Journal {
            path: journal_of(&self.path),
            why: format!(
                "{} is not what was being delivered: it has changed since; {}",
                self.path.display(),
                if self.head.is_rest {
                    "bring it back as it was kept, for this file alone says what the store has of the bundle"
                } else {
                    "remove this file to deliver it anew"
                }
            ),
        }
    }

    /// The store has forgotten what an earlier run had confirmed: it has made the bundle of it, and is not sent it again.
    fn was_confirmed(&self, why: &str) -> Error {
        Error::Journal {
            path: journal_of(&self.path),
            why: format!(
                "{} had confirmed all of it at {} (by the clock here), and the receipt could not be written then; now \
                 it does not say so any more ({why}). Nothing was sent: have a look at what it has with a right \
                 to read{}",
                self.transfer.store.name(),
                self.confirmed.as_deref().unwrap_or_default(),
                if self.head.is_rest {
                    ""
                } else {
                    ", or remove this file to deliver it anew"
                }
            ),
        }
    }

    /// Forgets what the store has forgotten.
    fn restart(&mut self) -> Result<(), Error> {
        self.transfer.begun = None;
        self.transfer.sent.clear();
        self.transfer.bytes = 0;
        let begun = self.transfer.begin()?;
        self.head.upload = Some(begun.upload);
        self.write_journal()
    }
}
