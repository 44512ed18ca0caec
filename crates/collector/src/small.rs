//! Files that are read whole: keys, certificates, passwords, profiles, records.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// A keyring of some thousand certificates has less.
const LIMIT_BYTES: u64 = 16 << 20;

/// Reads a file that is to be small.
///
/// # Errors
/// What the system says, and where it is larger than 16 MiB: it is none that was meant.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?
        .take(LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if read as u64 > LIMIT_BYTES {
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
    String::from_utf8(read_small(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::other(format!("it is no UTF-8 text: byte {at} begins no letter"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.asc");
        let file = File::create(&path).expect("room");
        file.set_len(LIMIT_BYTES).expect("a sparse file");
        assert_eq!(
            read_small(&path).expect("it may be so large").len() as u64,
            LIMIT_BYTES
        );
        file.set_len(LIMIT_BYTES + 1).expect("a sparse file");
        let error = read_small(&path).expect_err("it is too large");
        assert!(error.to_string().contains("16777216 bytes"), "{error}");
        std::fs::write(&path, b"ab\xFF").expect("room");
        let error = read_small_text(&path).expect_err("it is no text");
        assert!(error.to_string().contains("byte 2"), "{error}");
    }
}
