//! Files that are read whole: keys, certificates, passwords, profiles, records.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    str::Utf8Error,
};

use scelle::bundle;
use zeroize::{Zeroize as _, Zeroizing};

/// A keyring of some thousand certificates has less.
const LIMIT_BYTES: usize = 16 << 20;

/// Reads a file that is to be small.
///
/// # Errors
/// What the system says, and where it is larger than 16 MiB: it is none that was meant.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?
        .take(LIMIT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if read > LIMIT_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {LIMIT_BYTES} bytes, so it is not the file that was meant"
        )));
    }
    Ok(bytes)
}

/// Reads a text that is to be small.
///
/// # Errors
/// As [`read_small`], and where it is not UTF-8.
pub fn read_small_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_small(path)?).map_err(|error| no_text(error.utf8_error()))
}

/// Reads a file that holds a secret; what was read is wiped when it is dropped.
///
/// # Errors
/// As [`read_small`].
pub(crate) fn read_secret(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    bundle::read_secret(File::open(path)?, LIMIT_BYTES)
}

/// Reads a text that is a secret; what was read is wiped when it is dropped.
///
/// # Errors
/// As [`read_small_text`].
pub fn read_secret_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut bytes = read_secret(path)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let what = no_text(error.utf8_error());
            error.into_bytes().zeroize();
            Err(what)
        }
    }
}

fn no_text(error: Utf8Error) -> io::Error {
    let at = error.valid_up_to();
    io::Error::other(format!("it is no UTF-8 text: byte {at} begins no letter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.asc");
        let file = File::create(&path).expect("room");
        file.set_len(LIMIT_BYTES as u64).expect("a sparse file");
        let read = read_small(&path).expect("it may be so large");
        assert_eq!(read.len(), LIMIT_BYTES);
        let read = read_secret(&path).expect("it may be so large");
        assert_eq!(read.len(), LIMIT_BYTES);
        file.set_len(LIMIT_BYTES as u64 + 1).expect("a sparse file");
        let errors = [
            read_small(&path).expect_err("it is too large"),
            read_secret(&path).expect_err("it is too large"),
        ];
        for error in errors {
            assert!(error.to_string().contains("16777216 bytes"), "{error}");
        }
        std::fs::write(&path, b"ab\xFF").expect("room");
        let errors = [
            read_small_text(&path).expect_err("it is no text"),
            read_secret_text(&path).expect_err("it is no text"),
        ];
        for error in errors {
            assert!(error.to_string().contains("byte 2"), "{error}");
        }
        std::fs::write(&path, "d\u{e9}").expect("room");
        let read = read_secret_text(&path).expect("it is text");
        assert_eq!(*read, "d\u{e9}");
    }
}
