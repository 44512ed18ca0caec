//! An image as memory. The only place of the project where `unsafe` is allowed.
//!
//! # Invariants
//! - A map is made only where the caller asks for it, for an image or a file of its own: never
//!   for a device, a folder's content, a network or a live source.
//! - The map is read-only, and nothing here writes to the file.
//! - Bytes that change under the map are read as they are at that moment; every decoder takes
//!   them for hostile and checks each value where it uses it, so a change can't break a check
//!   that was made before on the same copy.
//! - A file that is cut while it is mapped ends the process (`SIGBUS`) at the next access past
//!   its new end. That is why positioned reads are the default, and why a caller that asks for a
//!   map vouches that nobody cuts the file.
#![expect(
    unsafe_code,
    reason = "a map of a file is memory that others can change; see the invariants above"
)]

use std::{fs::File, io};

use memmap2::Mmap;
use scelle_formats::{Bytes, ReadAt, ReadError};

/// A file of the caller's own, mapped into memory.
#[derive(Debug)]
pub struct MapSource(Bytes<Mmap>);

impl MapSource {
    /// Maps a regular file. The caller vouches that nobody cuts it while it is open.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::InvalidInput`] where it is no regular file.
    pub fn new(file: &File) -> io::Result<Self> {
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "only a regular file can be mapped",
            ));
        }
        // SAFETY: the map is read-only and private to this type, and the module's invariants
        // hold: the caller asked for it and vouches that the file is not cut.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self(Bytes(map)))
    }
}

impl ReadAt for MapSource {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.0.read_at(offset, buf)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.0.as_slice()
    }
}
