//! Where a member ends whose sizes stand behind it, when nobody has said.
//!
//! Deflate tells its own end. Zstandard frames follow each other until a descriptor does. Stored
//! bytes end before the first descriptor whose CRC and sizes fit all that precedes it; evidence
//! may hold such a thing on purpose, so an end that is found here is vouched for by nobody.

use memchr::memmem;
use scelle_formats::{ReadAt, ReadAtExt as _};

use crate::{
    codec::{Method, SEGMENT_BYTES},
    zip::{DESCRIPTOR, parse_descriptor},
};

const STEP_BYTES: usize = 1 << 20;
/// The longer form of a descriptor.
const DESCRIPTOR_BYTES: usize = 24;
const TOO_MUCH: &str = "it is longer than it may be";

/// How many bytes a member takes whose data begins at `data_at`; `None` where it is cut. It is looked
/// for in what stands for `most` bytes, and a step more.
///
/// # Errors
/// Where the source can't be read, the data is damaged, or stands for more.
pub(crate) fn find_end(
    source: &dyn ReadAt,
    method: Method,
    data_at: u64,
    most: u64,
) -> Result<Option<u64>, String> {
    match method {
        Method::Store => of_stored(source, data_at, most),
        Method::Deflate => of_deflate(source, data_at, most),
        Method::Zstd => of_zstd(source, data_at, most),
    }
}

fn read(source: &dyn ReadAt, at: u64, buffer: &mut [u8]) -> Result<usize, String> {
    source
        .read_full_at(at, buffer)
        .map_err(|error| error.to_string())
}

fn of_stored(source: &dyn ReadAt, data_at: u64, most: u64) -> Result<Option<u64>, String> {
    let mark = DESCRIPTOR.to_le_bytes();
    let mut crc = crc32fast::Hasher::new();
    let mut window = vec![0; STEP_BYTES + DESCRIPTOR_BYTES];
    let mut done = 0u64;
    loop {
        let count = read(source, data_at.saturating_add(done), &mut window)?;
        // A descriptor is looked at whole, unless the source ends in it.
        let own = if count == window.len() {
            STEP_BYTES
        } else {
            count
        };
        let mut hashed = 0;
        for hit in memmem::find_iter(&window[..count], &mark) {
            if hit >= own {
                break;
            }
            crc.update(&window[hashed..hit]);
            hashed = hit;
            let length = done + hit as u64;
            let fits = |(crc32, compressed, size): (u32, u64, u64)| {
                compressed == length && size == length && crc.clone().finalize() == crc32
            };
            if length > SEGMENT_BYTES as u64
                && parse_descriptor(&window[hit..count]).into_iter().any(fits)
            {
                return Ok(Some(length));
            }
        }
        crc.update(&window[hashed..own]);
        done += own as u64;
        if done > most {
            return Err(TOO_MUCH.into());
        }
        if own == 0 || count < window.len() {
            return Ok(None);
        }
    }
}

fn of_deflate(source: &dyn ReadAt, data_at: u64, most: u64) -> Result<Option<u64>, String> {
    use flate2::{Decompress, FlushDecompress, Status};
    let mut inflater = Decompress::new(false);
    let mut taken = vec![0; STEP_BYTES];
    let mut made = vec![0; STEP_BYTES];
    let (mut from, mut to) = (0, 0);
    loop {
        if from == to {
            from = 0;
            to = read(
                source,
                data_at.saturating_add(inflater.total_in()),
                &mut taken,
            )?;
        }
        let before = (inflater.total_in(), inflater.total_out());
        let status = inflater
            .decompress(&taken[from..to], &mut made, FlushDecompress::None)
            .map_err(|error| format!("its deflate data is damaged: {error}"))?;
        from += (inflater.total_in() - before.0) as usize;
        if inflater.total_out() > most {
            return Err(TOO_MUCH.into());
        }
        if status == Status::StreamEnd {
            return Ok(Some(inflater.total_in()));
        }
        if to == 0 && before == (inflater.total_in(), inflater.total_out()) {
            return Ok(None);
        }
    }
}

fn of_zstd(source: &dyn ReadAt, data_at: u64, most: u64) -> Result<Option<u64>, String> {
    use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};
    let damaged = |error: std::io::Error| format!("its Zstandard data is damaged: {error}");
    let mut decoder = Decoder::new().map_err(damaged)?;
    decoder
        .set_parameter(DParameter::WindowLogMax(crate::codec::ZSTD_WINDOW_LOG))
        .map_err(damaged)?;
    let mut taken = vec![0; STEP_BYTES];
    let mut made = vec![0; STEP_BYTES];
    let (mut done, mut out) = (0u64, 0u64);
    loop {
        let count = read(source, data_at.saturating_add(done), &mut taken)?;
        if count == 0 {
            return Ok(None);
        }
        let mut input = InBuffer::around(&taken[..count]);
        loop {
            let mut output = OutBuffer::around(&mut made[..]);
            let hint = decoder.run(&mut input, &mut output).map_err(damaged)?;
            out += output.pos() as u64;
            if out > most {
                return Err(TOO_MUCH.into());
            }
            if hint == 0 {
                // Between two frames: what stands there tells whether another follows.
                let at = done + input.pos() as u64;
                let mut next = [0; 4];
                let have = read(source, data_at.saturating_add(at), &mut next)?;
                if have < next.len() {
                    return Ok(None);
                }
                if u32::from_le_bytes(next) == DESCRIPTOR {
                    return Ok(Some(at));
                }
            }
            if input.pos() == count && (hint == 0 || output.pos() < STEP_BYTES) {
                break;
            }
        }
        done += count as u64;
    }
}
