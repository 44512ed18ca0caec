//! Checksums and inflation that image formats share.

use std::{cell::RefCell, io::Read as _};

use flate2::{Decompress, FlushDecompress, Status, bufread::ZlibDecoder};
use scelle_formats::ReadError;

/// Adler-32 (RFC 1950, 8.2), of bytes that follow those whose sum is `sum`; 1 to begin with.
pub(super) fn adler32(sum: u32, bytes: &[u8]) -> u32 {
    const BASE: u32 = 65521;
    /// The most bytes whose sums fit before they must be reduced.
    const MOST: usize = 5552;
    let (mut a, mut b) = (sum & 0xFFFF, sum >> 16);
    for block in bytes.chunks(MOST) {
        for byte in block {
            a += u32::from(*byte);
            b += a;
        }
        a %= BASE;
        b %= BASE;
    }
    b << 16 | a
}

/// CRC-32C (Castagnoli), of bytes that follow those whose CRC is `crc`; 0 to begin with.
pub(super) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let mut value = at as u32;
            let mut bit = 0;
            while bit < 8 {
                value = value >> 1 ^ if value & 1 == 1 { 0x82F6_3B78 } else { 0 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    !bytes.iter().fold(!crc, |crc, byte| {
        crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)]
    })
}

thread_local! {
    static ZLIB: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    static RAW: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Inflates a zlib stream (`zlib`) or a bare deflate stream to exactly `bytes` bytes; what the
/// stream holds beyond is not made.
pub(super) fn inflate(
    zlib: bool,
    what: &'static str,
    offset: u64,
    packed: &[u8],
    bytes: usize,
) -> Result<Vec<u8>, ReadError> {
    let damaged = |why: String| ReadError::Damaged { what, offset, why };
    let state = if zlib { &ZLIB } else { &RAW };
    state.with_borrow_mut(|state| {
        state.reset(zlib);
        // One byte of room more, so that the stream's checksum is read and compared.
        let mut out = Vec::with_capacity(bytes + 1);
        loop {
            let (read, made) = (state.total_in(), out.len());
            let rest = packed.get(read as usize..).unwrap_or(&[]);
            let status = state
                .decompress_vec(rest, &mut out, FlushDecompress::Finish)
                .map_err(|error| damaged(format!("it does not inflate: {error}")))?;
            let stuck = state.total_in() == read && out.len() == made;
            if status == Status::StreamEnd || out.len() > bytes || stuck {
                break;
            }
        }
        if out.len() < bytes {
            return Err(damaged(format!(
                "it inflates to {} bytes of {bytes}",
                out.len()
            )));
        }
        out.truncate(bytes);
        Ok(out)
    })
}

/// Inflates a zlib stream to its end, or to `most` bytes.
pub(super) fn inflate_up_to(
    what: &'static str,
    offset: u64,
    packed: &[u8],
    most: usize,
) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::new();
    ZlibDecoder::new(packed)
        .take(most as u64)
        .read_to_end(&mut out)
        .map_err(|error| ReadError::Damaged {
            what,
            offset,
            why: format!("it does not inflate: {error}"),
        })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_the_specifications() {
        // A well-known value, and those of RFC 3720, B.4.
        assert_eq!(adler32(1, b"Wikipedia"), 0x11E6_0398);
        assert_eq!(adler32(adler32(1, b"Wiki"), b"pedia"), 0x11E6_0398);
        assert_eq!(crc32c(0, &[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(0, &[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(crc32c(0, b"12345"), b"6789"), 0xE306_9283);
    }
}
