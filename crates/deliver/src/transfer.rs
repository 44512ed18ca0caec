//! One bundle on its way: pieces in order, each tried until it is there, and hashed as it goes.

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::{Begun, Confirmation, Error, Piece, Retry, SentPiece, Store};

pub(crate) struct Transfer {
    pub(crate) store: Box<dyn Store>,
    pub(crate) retry: Retry,
    pub(crate) begun: Option<Begun>,
    pub(crate) sent: Vec<SentPiece>,
    /// Bytes that the store has confirmed.
    pub(crate) bytes: u64,
}

impl Transfer {
    pub(crate) fn new(store: Box<dyn Store>, retry: Retry) -> Self {
        Self {
            store,
            retry,
            begun: None,
            sent: Vec::new(),
            bytes: 0,
        }
    }

    /// Begins, where it was not begun.
    pub(crate) fn begin(&mut self) -> Result<Begun, Error> {
        if let Some(begun) = &self.begun {
            return Ok(begun.clone());
        }
        let store = &mut self.store;
        let begun = self.retry.insist(&store.name(), || store.begin())?;
        self.begun = Some(begun.clone());
        Ok(begun)
    }

    /// How the store was reached, for the receipt.
    pub(crate) fn reached(&self) -> String {
        let endpoint = self.store.endpoint();
        match self.store.shown() {
            Some(shown) => format!("{endpoint} {shown}"),
            None => endpoint,
        }
    }

    /// Sends the next piece.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<&SentPiece, Error> {
        let begun = self.begin()?;
        let index = self.sent.len() as u32;
        if index >= self.store.most_pieces() {
            return Err(Error::TooLarge {
                store: self.store.name(),
                pieces: self.store.most_pieces(),
                bytes: self.bytes,
            });
        }
        let piece = Piece {
            index,
            offset: self.bytes,
            bytes,
            sha256: Sha256::digest(bytes).into(),
            md5: Md5::digest(bytes).into(),
        };
        let store = &mut self.store;
        let answer = self
            .retry
            .insist(&store.name(), || store.put(&begun, &piece))?;
        self.bytes += bytes.len() as u64;
        self.sent.push(SentPiece {
            piece: index,
            bytes: bytes.len() as u64,
            sha256: hex(&piece.sha256),
            md5: hex(&piece.md5),
            answer,
        });
        Ok(&self.sent[self.sent.len() - 1])
    }

    /// Has the store make the bundle of its pieces.
    pub(crate) fn finish(&mut self) -> Result<Confirmation, Error> {
        let begun = self.begin()?;
        let (store, sent) = (&mut self.store, &self.sent);
        self.retry
            .insist(&store.name(), || store.finish(&begun, sent))
    }
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
