//! Secrets that are read from files and pipes.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// Holds most keys and passwords.
const FIRST_BYTES: usize = 64 << 10;

/// Reads all of a secret; what is read is wiped when it is dropped. A `Vec` that grows by itself would leave
/// what it held before behind it, so here each place that was too small is wiped as well.
///
/// # Errors
/// What reading answers, and where there are more than `limit` bytes.
pub fn read_secret(mut input: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let most = limit.saturating_add(1);
    let mut bytes = Zeroizing::new(vec![0; FIRST_BYTES.min(most)]);
    let mut have = 0;
    loop {
        if have == most {
            return Err(io::Error::other(format!(
                "it has more than {limit} bytes, so it is not what was meant"
            )));
        }
        if have == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; have.saturating_mul(2).min(most)]);
            larger[..have].copy_from_slice(&bytes);
            bytes = larger;
        }
        match input.read(&mut bytes[have..]) {
            Ok(0) => {
                bytes.truncate(have);
                return Ok(bytes);
            }
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it has in small pieces, as a pipe does.
    struct Pipe<'a>(&'a [u8]);

    impl Read for Pipe<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let count = buf.len().min(4093);
            self.0.read(&mut buf[..count])
        }
    }

    #[test]
    fn a_secret_of_any_length_is_read_whole() {
        let text: Vec<u8> = (0..3 * FIRST_BYTES + 1).map(|at| at as u8).collect();
        for len in [
            0,
            1,
            FIRST_BYTES - 1,
            FIRST_BYTES,
            FIRST_BYTES + 1,
            text.len(),
        ] {
            let read = read_secret(Pipe(&text[..len]), len).expect("it is no longer");
            assert_eq!(*read, text[..len], "{len}");
        }
        for limit in [0, 1, FIRST_BYTES, text.len() - 1] {
            let error = read_secret(Pipe(&text), limit).expect_err("it is longer");
            assert!(
                error.to_string().contains(&format!("{limit} bytes")),
                "{error}"
            );
        }
    }
}
