//! Bundles on their way to a store: an S3-compatible service, or a server that speaks SFTP.
//!
//! A bundle is sent in pieces. A piece is held in memory until the store has confirmed it, and is
//! sent again where the line was cut, so nothing needs a disk on the way. [`Delivery`] takes a
//! bundle as it is written; [`deliver_file`] one that exists, and goes on where it was before. What
//! the store confirmed, and what it did not, stands in a [`Receipt`]. Where the store is gone for
//! longer than one waits, a [`Delivery`] keeps the rest in a file, with which [`deliver_file`] goes on.
//!
//! Bytes are bytes here: whether they are ciphertext is for the caller to know.

mod address;
mod error;
mod file;
mod journal;
pub mod readers;
mod receipt;
mod retry;
mod s3;
mod secret;
mod sftp;
mod sizes;
mod store;
mod stream;
mod transfer;

pub use address::{Address, AddressError};
pub use error::Error;
pub use file::{Delivered, FileOptions, RestOf, deliver_file, rest_of};
pub use receipt::{Confirmation, Receipt, Root, SentPiece};
pub use retry::{Listener, Retry};
pub use s3::{Credentials, S3, S3Options};
pub use secret::Secret;
pub use sftp::{Sftp, SftpOptions, key_in_clear};
pub use sizes::PieceSizes;
pub use store::{Begun, Failure, Piece, Store};
pub use stream::{Delivery, Ended, Rest, StreamOptions};
