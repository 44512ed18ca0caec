//! What a store does.

use crate::{Confirmation, Error, SentPiece};

/// A piece of a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Its number, from 0.
    pub index: u32,
    /// Where in the bundle it begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// Their MD5, which S3 compares.
    pub md5: [u8; 16],
}

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// It may do so if it is asked again: the line was cut, it is busy.
    Passing(String),
    /// It won't.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// A delivery that a store has begun to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// What the store calls it: the upload id of S3, the unfinished file's name of SFTP.
    pub upload: String,
}

/// Takes one bundle, piece by piece.
///
/// Each call does its work once and says whether it is worth another try; it is the caller who
/// waits and tries again. A call that is repeated after it was cut must do no harm.
pub trait Store: Send {
    /// How it is called in messages: the address.
    fn name(&self) -> String;

    /// Where it is reached: the same each time, and known before it is.
    fn endpoint(&self) -> String;

    /// What it proved to be when it was reached, where that is not in its address: the fingerprint of its key.
    fn shown(&self) -> Option<String> {
        None
    }

    /// The most pieces that it takes.
    fn most_pieces(&self) -> u32;

    /// Begins.
    ///
    /// # Errors
    /// As all of these: where the store can't, or won't.
    fn begin(&mut self) -> Result<Begun, Failure>;

    /// Takes a piece; answers what the store said of it.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    fn put(&mut self, begun: &Begun, piece: &Piece<'_>) -> Result<String, Failure>;

    /// Makes the bundle of its pieces, under its name.
    ///
    /// # Errors
    /// See [`begin`](Self::begin).
    fn finish(&mut self, begun: &Begun, sent: &[SentPiece]) -> Result<Confirmation, Failure>;
}
