//! Decoders that know bytes: positioned reads, codecs, NTFS, event logs, executables.
//!
//! A decoder is a function of its bytes: it opens no file, reads no clock, starts no thread,
//! writes no log. It gets bytes and their offset, so every position it reports can be found
//! again. Hostile bytes give an error or a smaller result, never a panic.

pub mod bitlocker;
pub mod codec;
mod cursor;
mod digest;
mod error;
pub mod evtx;
pub mod executable;
mod guid;
pub mod ntfs;
mod read;
pub mod vss;

pub use cursor::Cursor;
pub use digest::{Digests, Hasher};
pub use error::{DecodeError, ReadError};
pub use guid::guid_text;
pub use read::{Bytes, RangeKind, ReadAt, ReadAtExt, Window};
