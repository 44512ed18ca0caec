//! How far a delivery has come, on disk: JSON lines, one for what was begun, one for each piece
//! that the store has confirmed, one when the file beside it is whole, one when the store has confirmed all.
//!
//! Lines are only added. A last line that was cut off is taken for not written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Begun, Error, Root, SentPiece, receipt::FORMAT, sizes::MOST_FIRST};

/// More than the pieces of any bundle take. Whoever goes on with a delivery may have the journal from a host that nobody trusts.
const MAX_BYTES: u64 = 64 << 20;

/// What was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The form of these lines.
    pub(crate) delivery: u32,
    pub(crate) to: String,
    pub(crate) endpoint: String,
    /// The store's name of it; null where it was never begun.
    pub(crate) upload: Option<String>,
    pub(crate) first_piece_bytes: u64,
    /// Where in the bundle the file here begins.
    pub(crate) local_from: u64,
    /// Whether the file here was written because the store was gone.
    pub(crate) is_rest: bool,
    /// Of a rest: whether the bundle is ciphertext.
    #[serde(default)]
    pub(crate) is_encrypted: bool,
}

/// The file here is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Closed {
    /// Bytes of the whole bundle.
    pub(crate) bytes: u64,
    pub(crate) root: Option<Root>,
    /// SHA-256 of the file here, in hex: the root is that of what was written, whoever had it since.
    #[serde(default)]
    pub(crate) sha256: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Head(Head),
    Piece(SentPiece),
    Closed {
        closed: Closed,
    },
    /// The store has confirmed the whole, by the host's clock at that time: a receipt is to be written.
    Confirmed {
        confirmed: String,
    },
}

impl Line {
    /// What it says that may come to a terminal.
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Head(head) => {
                let upload = head.upload.as_deref();
                vec![&head.to, &head.endpoint, upload.unwrap_or_default()]
            }
            Self::Piece(piece) => vec![&piece.sha256, &piece.md5, &piece.answer],
            Self::Closed { closed } => {
                let root = closed.root.iter();
                let root = root.flat_map(|root| [&*root.root, &*root.from]);
                root.chain(closed.sha256.as_deref()).collect()
            }
            Self::Confirmed { confirmed } => vec![confirmed],
        }
    }
}

/// A journal that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) head: Head,
    pub(crate) sent: Vec<SentPiece>,
    /// Where the file here is whole.
    pub(crate) closed: Option<Closed>,
    /// When the store had confirmed all, and no receipt was written.
    pub(crate) confirmed: Option<String>,
}

/// A journal that is written.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Begins one; an older one of that name is replaced as a whole. `closed` says that the file beside it is whole.
    pub(crate) fn create(
        path: &Path,
        head: &Head,
        sent: &[SentPiece],
        closed: Option<Closed>,
    ) -> Result<Self, Error> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let write = || -> io::Result<File> {
            let mut text = line(&Line::Head(head.clone()))?;
            for piece in sent {
                text.extend(line(&Line::Piece(piece.clone()))?);
            }
            if let Some(closed) = closed {
                text.extend(line(&Line::Closed { closed })?);
            }
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            drop(file);
            fs::rename(&new, path)?;
            OpenOptions::new().append(true).open(path)
        };
        Ok(Self {
            file: write().map_err(Error::local("writing the journal", path))?,
            path: path.to_owned(),
        })
    }

    /// Adds a piece that the store has confirmed.
    pub(crate) fn add(&mut self, piece: &SentPiece) -> Result<(), Error> {
        self.append(&Line::Piece(piece.clone()))
    }

    /// Says that the file beside it is whole.
    pub(crate) fn close(&mut self, closed: Closed) -> Result<(), Error> {
        self.append(&Line::Closed { closed })
    }

    /// Says that the store has confirmed all.
    pub(crate) fn confirm(&mut self, host_time: &str) -> Result<(), Error> {
        self.append(&Line::Confirmed {
            confirmed: host_time.to_owned(),
        })
    }

    /// Removes it: there is a receipt.
    pub(crate) fn remove(self) -> Result<(), Error> {
        drop(self.file);
        fs::remove_file(&self.path).map_err(Error::local("removing the journal", &self.path))
    }

    fn append(&mut self, what: &Line) -> Result<(), Error> {
        line(what)
            .and_then(|text| self.file.write_all(&text))
            .and_then(|()| self.file.sync_data())
            .map_err(Error::local("writing the journal", &self.path))
    }
}

fn line(what: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(what)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads a journal; `None` where there is none, or not even its first line.
///
/// # Errors
/// Where it can't be read, or is none.
pub(crate) fn read(path: &Path) -> Result<Option<Read>, Error> {
    let mut text = Vec::new();
    let file = File::open(path);
    match file.and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::local("reading the journal", path)(error)),
    };
    let wrong = |why: String| Error::Journal {
        path: path.to_owned(),
        why: format!(
            "{why}; beside a whole bundle it can be removed, and the delivery begins anew; beside a rest it alone \
             says what the store has"
        ),
    };
    if text.len() as u64 > MAX_BYTES {
        return Err(wrong(format!(
            "it has more than {MAX_BYTES} bytes, as no journal has"
        )));
    }
    parse(&text).map_err(wrong)
}

/// What a journal says; `None` where there is not even a first line. It may come from a host that nobody trusts.
///
/// # Errors
/// A sentence that says why it is none.
pub(crate) fn parse(text: &[u8]) -> Result<Option<Read>, String> {
    // What lies behind the last line's end was cut off.
    let whole = text.iter().rposition(|byte| *byte == b'\n');
    let lines = text[..whole.map_or(0, |end| end + 1)].split_inclusive(|byte| *byte == b'\n');
    let mut read = None;
    for (number, one) in lines.enumerate() {
        let number = number + 1;
        let one: Line = serde_json::from_slice(one)
            .map_err(|error| format!("line {number} is no line of a journal: {error}"))?;
        if one.texts().concat().chars().any(char::is_control) {
            return Err(format!(
                "line {number} holds control characters, as no line of a journal does"
            ));
        }
        match (one, &mut read) {
            (Line::Head(head), None) if head.first_piece_bytes > MOST_FIRST => {
                return Err(format!(
                    "it speaks of pieces of {} bytes, and none begins with more than {MOST_FIRST}",
                    head.first_piece_bytes
                ));
            }
            (Line::Head(head), None) if head.delivery == FORMAT => {
                read = Some(Read {
                    head,
                    sent: Vec::new(),
                    closed: None,
                    confirmed: None,
                });
            }
            (Line::Head(head), None) => {
                return Err(format!(
                    "it has form {}, and this version reads {FORMAT}",
                    head.delivery
                ));
            }
            (Line::Piece(piece), Some(read)) if piece.piece as usize == read.sent.len() => {
                read.sent.push(piece);
            }
            (Line::Closed { closed }, Some(read)) => {
                read.closed = Some(closed);
            }
            (Line::Confirmed { confirmed }, Some(read)) => read.confirmed = Some(confirmed),
            _ => return Err(format!("line {number} stands where it can't")),
        }
    }
    Ok(read)
}

impl Read {
    pub(crate) fn begun(&self) -> Option<Begun> {
        let upload = self.head.upload.clone()?;
        Some(Begun { upload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(number: u32) -> SentPiece {
        SentPiece {
            piece: number,
            bytes: 5,
            sha256: "00".into(),
            md5: "00".into(),
            answer: "\"etag\"".into(),
        }
    }

    #[test]
    fn a_journal_is_read_up_to_its_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let head = Head {
            delivery: FORMAT,
            to: "s3://b/k".into(),
            endpoint: "https://s3".into(),
            upload: Some("id".into()),
            first_piece_bytes: 8 << 20,
            local_from: 0,
            is_rest: false,
            is_encrypted: false,
        };
        let mut journal = Journal::create(&path, &head, &[piece(0)], None).expect("written");
        journal.add(&piece(1)).expect("written");
        let two = fs::read(&path).expect("there");
        let closed = Closed {
            bytes: 10,
            root: None,
            sha256: Some("00".into()),
        };
        journal.close(closed.clone()).expect("written");
        let all = fs::read(&path).expect("there");
        for cut in 0..=all.len() {
            fs::write(&path, &all[..cut]).expect("written");
            let read = read(&path).expect("a journal");
            let pieces = read.as_ref().map(|read| read.sent.len());
            assert_eq!(
                read.is_some_and(|read| read.closed.is_some()),
                cut == all.len()
            );
            if cut >= two.len() {
                assert_eq!(pieces, Some(2), "{cut}");
            }
        }
        // Begun again, it is closed from the beginning.
        drop(Journal::create(&path, &head, &[piece(0)], Some(closed.clone())).expect("written"));
        let again = read(&path).expect("a journal").expect("it has lines");
        assert_eq!((again.sent.len(), again.closed), (1, Some(closed)));
        let vast = Head {
            first_piece_bytes: 1 << 40,
            ..head.clone()
        };
        drop(Journal::create(&path, &vast, &[], None).expect("written"));
        let refused = read(&path).expect_err("no piece is so large");
        assert!(refused.to_string().contains("pieces of"), "{refused}");
        let steering = Head {
            endpoint: "https://s3\u{1b}[2J".into(),
            ..head.clone()
        };
        drop(Journal::create(&path, &steering, &[], None).expect("written"));
        let refused = read(&path).expect_err("it steers a terminal").to_string();
        assert!(
            refused.contains("line 1") && !refused.contains('\u{1b}'),
            "{refused}"
        );
        fs::write(&path, [&two[..], b"{\"piece\":7}\n"].concat()).expect("written");
        let refused = read(&path).expect_err("no such line");
        assert!(refused.to_string().contains("line 4"), "{refused}");
    }
}
