//! Packed rows: in memory while the grant lasts, then in an encrypted file without a name.
//!
//! A spill file is made in the folder that the caller named and has no name there (where the
//! system cannot do that, it is removed when it is closed). Each block is sealed with
//! AES-256-GCM under a key that is drawn at the start and never leaves memory; the nonce is the
//! block's number. What is read back is authenticated.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use aes_gcm::{Aes256Gcm, KeyInit, Nonce, aead::AeadInPlace};

use crate::Error;

/// Keeps compressed blocks.
pub(crate) struct Spill {
    /// How many bytes of blocks may stay in memory.
    limit: usize,
    used: AtomicUsize,
    folder: Option<PathBuf>,
    file: Mutex<Option<SpillFile>>,
}

struct SpillFile {
    file: File,
    end: u64,
    blocks: u64,
    cipher: Aes256Gcm,
}

/// A block that was kept.
pub(crate) enum Stored {
    Memory(Box<[u8]>),
    File {
        offset: u64,
        length: u32,
        block: u64,
    },
}

const TAG_BYTES: usize = 16;

impl Spill {
    pub(crate) fn new(limit: usize, folder: Option<PathBuf>) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            folder,
            file: Mutex::new(None),
        }
    }

    /// Keeps a block.
    pub(crate) fn keep(&self, block: &[u8]) -> Result<Stored, Error> {
        let before = self.used.fetch_add(block.len(), Relaxed);
        if before + block.len() <= self.limit {
            return Ok(Stored::Memory(block.into()));
        }
        self.used.fetch_sub(block.len(), Relaxed);
        let Some(folder) = &self.folder else {
            return Err(Error::Memory { limit: self.limit });
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let spill = match &mut *file {
            Some(spill) => spill,
            none => none.insert(SpillFile {
                file: tempfile::tempfile_in(folder).map_err(|error| {
                    let place = folder.display();
                    io::Error::new(
                        error.kind(),
                        format!("spilling to the folder {place}: {error}"),
                    )
                })?,
                end: 0,
                blocks: 0,
                cipher: new_cipher()?,
            }),
        };
        let number = spill.blocks;
        // Whether or not it can be written, another block must not have its nonce.
        spill.blocks += 1;
        let mut sealed = Vec::with_capacity(block.len() + TAG_BYTES);
        sealed.extend_from_slice(block);
        spill
            .cipher
            .encrypt_in_place(&nonce(number), &[], &mut sealed)
            .map_err(|_| Error::Spill)?;
        spill.file.seek(SeekFrom::Start(spill.end))?;
        spill.file.write_all(&sealed)?;
        let stored = Stored::File {
            offset: spill.end,
            length: u32::try_from(sealed.len()).map_err(|_| Error::Spill)?,
            block: number,
        };
        spill.end += sealed.len() as u64;
        Ok(stored)
    }

    /// Gives a block back.
    pub(crate) fn fetch<'a>(&self, stored: &'a Stored) -> Result<Cow<'a, [u8]>, Error> {
        match *stored {
            Stored::Memory(ref block) => Ok(Cow::Borrowed(block)),
            Stored::File {
                offset,
                length,
                block,
            } => {
                let mut bytes = vec![0; length as usize];
                let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
                let spill = file.as_mut().ok_or(Error::Spill)?;
                spill.file.seek(SeekFrom::Start(offset))?;
                spill.file.read_exact(&mut bytes)?;
                let cipher = spill.cipher.clone();
                drop(file);
                cipher
                    .decrypt_in_place(&nonce(block), &[], &mut bytes)
                    .map_err(|_| Error::Spill)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn file_bytes(&self) -> Vec<u8> {
        let mut file = self.file.lock().expect("no panic");
        let mut bytes = Vec::new();
        if let Some(spill) = &mut *file {
            spill.file.seek(SeekFrom::Start(0)).expect("a file");
            spill.file.read_to_end(&mut bytes).expect("a file");
        }
        bytes
    }
}

fn new_cipher() -> io::Result<Aes256Gcm> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    Ok(Aes256Gcm::new(&key.into()))
}

/// A key serves one file, whose blocks are numbered: no nonce comes twice.
fn nonce(block: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&block.to_le_bytes());
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spills_is_unreadable_and_comes_back() {
        const CANARY: &[u8] = b"canary-canary-canary";
        let folder = tempfile::tempdir().expect("a folder");
        let spill = Spill::new(64, Some(folder.path().into()));
        let blocks: Vec<Stored> = (0..50).map(|_| spill.keep(CANARY).expect("room")).collect();
        assert!(matches!(blocks[2], Stored::Memory(_)));
        assert!(matches!(blocks[3], Stored::File { .. }));
        let bytes = spill.file_bytes();
        assert_eq!(bytes.len(), 47 * (CANARY.len() + TAG_BYTES));
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
        for block in blocks.iter().rev() {
            assert_eq!(&*spill.fetch(block).expect("its block"), CANARY);
        }
        // A changed byte is noticed.
        {
            let mut file = spill.file.lock().expect("no panic");
            let spill = file.as_mut().expect("spilled");
            spill.file.seek(SeekFrom::Start(5)).expect("a file");
            spill.file.write_all(&[bytes[5] ^ 1]).expect("a file");
        }
        assert!(matches!(spill.fetch(&blocks[3]), Err(Error::Spill)));
        assert!(spill.fetch(&blocks[4]).is_ok());
    }

    #[test]
    fn a_block_that_could_not_be_written_leaves_its_nonce_to_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let spill = Spill::new(0, Some(folder.path().into()));
        let number = |stored| match stored {
            Stored::File { block, .. } => block,
            Stored::Memory(_) => panic!("there is no room in memory"),
        };
        let first = spill.keep(b"first").expect("room");
        assert_eq!(number(first), 0);
        let closed = folder.path().join("closed");
        std::fs::write(&closed, b"").expect("a file");
        let closed = File::open(closed).expect("a file that can only be read");
        let swap = |other| {
            let mut file = spill.file.lock().expect("no panic");
            std::mem::replace(&mut file.as_mut().expect("spilled").file, other)
        };
        let open = swap(closed);
        assert!(spill.keep(b"lost").is_err());
        swap(open);
        let next = spill.keep(b"other").expect("room");
        assert_eq!(&*spill.fetch(&next).expect("its block"), b"other");
        assert_eq!(number(next), 2);
    }

    #[test]
    fn without_a_folder_the_limit_is_an_error() {
        let spill = Spill::new(10, None);
        assert!(spill.keep(&[0; 10]).is_ok());
        let error = spill.keep(&[0; 1]).err().expect("past the limit");
        assert!(matches!(error, Error::Memory { limit: 10 }));
    }
}
