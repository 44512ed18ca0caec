//! Compression in blocks, so that many threads work on one file and the bytes don't tell.
//!
//! A stream is cut by offset into segments of [`SEGMENT_BYTES`], and a segment into blocks. A
//! deflate block is primed with the 32 KiB before it in its segment and ends on a byte (sync
//! flush); a Zstandard block is a frame. A segment can therefore be decoded alone: large members
//! are checked in parallel and read at random places.

use std::cell::RefCell;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use rayon::prelude::*;

/// What can be decoded alone.
pub(crate) const SEGMENT_BYTES: usize = 8 << 20;
/// What one thread compresses at a time with deflate.
pub(crate) const BLOCK_BYTES: usize = 512 << 10;
/// The same with Zstandard, whose frames share nothing: 1.6 % larger than with 4 MiB, and small
/// enough that no thread waits long for another.
const ZSTD_BLOCK_BYTES: usize = 1 << 20;
/// How far back deflate can refer.
pub(crate) const DICTIONARY_BYTES: usize = 32 << 10;
/// Of zlib-rs: within 3 % of `pigz -6` in size, at under half its cost.
const DEFLATE_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// The largest window that a frame may ask for: 8 MiB. What is written here asks for 2 MiB.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 23;
/// A final deflate block that holds nothing. Put after a segment that is not the last, it ends
/// the stream if, and only if, the segment ended between two blocks and on a byte.
const EMPTY_FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// How payload files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Deflate: every Zip tool reads it.
    #[default]
    Deflate,
    /// Zstandard, method 93: smaller and faster; `unzip` and Windows can't read it.
    Zstd,
    /// None.
    Store,
}

impl Compression {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Deflate, Self::Zstd, Self::Store]
            .into_iter()
            .find(|one| one.name() == name)
    }

    pub(crate) fn method(self) -> Method {
        match self {
            Self::Deflate => Method::Deflate,
            Self::Zstd => Method::Zstd,
            Self::Store => Method::Store,
        }
    }

    /// The name used in `collection.json` and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Store => "store",
        }
    }
}

/// A member's compression method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Store,
    Deflate,
    Zstd,
}

impl Method {
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Store => 0,
            Self::Deflate => 8,
            Self::Zstd => 93,
        }
    }

    pub(crate) fn from_number(number: u16) -> Option<Self> {
        [Self::Store, Self::Deflate, Self::Zstd]
            .into_iter()
            .find(|method| method.number() == number)
    }

    /// The most bytes that one compressed byte can stand for.
    pub(crate) fn highest_ratio(self) -> u64 {
        match self {
            Self::Store => 1,
            // The format's own limit is 1032.
            Self::Deflate => 1_040,
            // A block of 128 KiB can be four bytes.
            Self::Zstd => 40_000,
        }
    }

    fn block_bytes(self) -> usize {
        match self {
            Self::Store => SEGMENT_BYTES,
            Self::Deflate => BLOCK_BYTES,
            Self::Zstd => ZSTD_BLOCK_BYTES,
        }
    }

    /// Compresses segments on the caller's rayon pool: per segment its compressed blocks and
    /// their CRCs. `is_last` says that the stream ends here.
    pub(crate) fn encode(self, bytes: &[u8], is_last: bool) -> Vec<Block> {
        (0..self.blocks_of(bytes))
            .into_par_iter()
            .map(|block| self.encode_nth(bytes, block, is_last))
            .collect()
    }

    /// The same of a whole stream, on this thread alone.
    pub(crate) fn encode_here(self, bytes: &[u8]) -> Vec<Block> {
        (0..self.blocks_of(bytes))
            .map(|block| self.encode_nth(bytes, block, true))
            .collect()
    }

    fn blocks_of(self, bytes: &[u8]) -> usize {
        bytes.len().div_ceil(self.block_bytes()).max(1)
    }

    fn encode_nth(self, bytes: &[u8], block: usize, is_last: bool) -> Block {
        let at = block * self.block_bytes();
        let end = bytes.len().min(at + self.block_bytes());
        let is_first = at.is_multiple_of(SEGMENT_BYTES);
        let history = if is_first { at } else { at - DICTIONARY_BYTES };
        let is_last = is_last && end == bytes.len();
        self.encode_block(&bytes[history..at], &bytes[at..end], is_last)
    }

    /// Compresses one block, primed with what lies before it in its segment.
    pub(crate) fn encode_block(self, history: &[u8], bytes: &[u8], is_last: bool) -> Block {
        let data = match self {
            Self::Store => bytes.to_vec(),
            Self::Deflate => deflate(history, bytes, is_last),
            Self::Zstd => zstd_frame(bytes),
        };
        let mut crc = crc32fast::Hasher::new();
        crc.update(bytes);
        Block {
            data,
            crc,
            size: bytes.len(),
        }
    }

    /// Decodes one segment of `size` bytes: `input` gives its compressed bytes, none at their
    /// end, and `output` takes what they stand for, in order. `is_last` says that the member ends
    /// with it.
    ///
    /// A segment is sound if it holds exactly `size` bytes and ends where its input ends, between
    /// two blocks: then what segments give is what one decoder of the whole member gives.
    pub(crate) fn decode(
        self,
        size: u64,
        is_last: bool,
        input: &mut dyn FnMut(&mut [u8]) -> Result<usize, String>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<(), String> {
        match self {
            Self::Store => unstore(size, input, output),
            Self::Deflate => inflate(size, is_last, input, output),
            Self::Zstd => unzstd(size, input, output),
        }
    }

    /// The first bytes, `most` of them where there are as many, of what `data` stands for; `data` may
    /// be cut anywhere. Of Zstandard it gives nothing.
    pub(crate) fn begin(self, data: &[u8], most: usize) -> Result<Vec<u8>, String> {
        let mut made = vec![0; most];
        let count = match self {
            Self::Store => {
                let count = most.min(data.len());
                made[..count].copy_from_slice(&data[..count]);
                count
            }
            Self::Deflate => {
                let mut inflater = Decompress::new(false);
                inflater
                    .decompress(data, &mut made, FlushDecompress::None)
                    .map_err(|error| format!("its deflate data is damaged: {error}"))?;
                inflater.total_out() as usize
            }
            Self::Zstd => 0,
        };
        made.truncate(count);
        Ok(made)
    }
}

/// One compressed block.
pub(crate) struct Block {
    pub(crate) data: Vec<u8>,
    pub(crate) crc: crc32fast::Hasher,
    /// Bytes before compression.
    pub(crate) size: usize,
}

thread_local! {
    // A compressor is some 300 KiB, which small files would spend their time on.
    static DEFLATER: RefCell<Compress> =
        RefCell::new(Compress::new(flate2::Compression::new(DEFLATE_LEVEL), false));
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

fn deflate(history: &[u8], bytes: &[u8], is_last: bool) -> Vec<u8> {
    const IN_MEMORY: &str = "deflating memory to memory can't fail";
    DEFLATER.with_borrow_mut(|deflater| {
        deflater.reset();
        if !history.is_empty() {
            deflater.set_dictionary(history).expect(IN_MEMORY);
        }
        let mut out = Vec::with_capacity(bytes.len() / 2 + 256);
        let flush = if is_last {
            FlushCompress::Finish
        } else {
            FlushCompress::Sync
        };
        loop {
            let done = deflater.total_in() as usize;
            let status = deflater
                .compress_vec(&bytes[done..], &mut out, flush)
                .expect(IN_MEMORY);
            let is_flushed = deflater.total_in() as usize == bytes.len()
                && out.len() < out.capacity()
                && !is_last;
            if status == Status::StreamEnd || is_flushed {
                out.shrink_to_fit();
                return out;
            }
            out.reserve(out.capacity().max(4096));
        }
    })
}

/// Bytes that a decoder takes and gives at a time: few enough to stay in a processor's cache.
const STEP_BYTES: u64 = 64 << 10;
const TOO_MUCH: &str = "it holds more than its size says";
const TOO_LITTLE: &str = "it holds less than its size says";

fn unstore(
    size: u64,
    input: &mut dyn FnMut(&mut [u8]) -> Result<usize, String>,
    output: &mut dyn FnMut(&[u8]),
) -> Result<(), String> {
    let mut buffer = vec![0; STEP_BYTES as usize];
    let mut done = 0;
    loop {
        let count = input(&mut buffer)?;
        if count == 0 {
            break;
        }
        done += count as u64;
        if done > size {
            return Err(TOO_MUCH.into());
        }
        output(&buffer[..count]);
    }
    if done < size {
        return Err(TOO_LITTLE.into());
    }
    Ok(())
}

fn inflate(
    size: u64,
    is_last: bool,
    input: &mut dyn FnMut(&mut [u8]) -> Result<usize, String>,
    output: &mut dyn FnMut(&[u8]),
) -> Result<(), String> {
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let mut taken = vec![0; STEP_BYTES as usize];
        let mut made = vec![0; (size + 1).min(2 * STEP_BYTES) as usize];
        let (mut from, mut to) = (0, 0);
        let mut at_end = false;
        let mut done = 0;
        loop {
            if from == to && !at_end {
                from = 0;
                to = input(&mut taken)?;
                if to == 0 {
                    at_end = true;
                    if !is_last {
                        to = EMPTY_FINAL_BLOCK.len();
                        taken[..to].copy_from_slice(&EMPTY_FINAL_BLOCK);
                    }
                }
            }
            let before = (inflater.total_in(), inflater.total_out());
            let status = inflater
                .decompress(&taken[from..to], &mut made, FlushDecompress::None)
                .map_err(|error| format!("its deflate data is damaged: {error}"))?;
            let count = (inflater.total_out() - before.1) as usize;
            from += (inflater.total_in() - before.0) as usize;
            done += count as u64;
            if done > size {
                return Err(TOO_MUCH.into());
            }
            output(&made[..count]);
            if status == Status::StreamEnd {
                break;
            }
            if at_end && before == (inflater.total_in(), inflater.total_out()) {
                return Err("its deflate data ends too early".into());
            }
        }
        if from != to || (!at_end && input(&mut taken)? != 0) || (!is_last && !at_end) {
            return Err("its deflate data ends before its last byte".into());
        }
        if done < size {
            return Err(TOO_LITTLE.into());
        }
        Ok(())
    })
}

fn unzstd(
    size: u64,
    input: &mut dyn FnMut(&mut [u8]) -> Result<usize, String>,
    output: &mut dyn FnMut(&[u8]),
) -> Result<(), String> {
    use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};
    let damaged = |error: std::io::Error| format!("its Zstandard data is damaged: {error}");
    let mut decoder = Decoder::new().map_err(damaged)?;
    decoder
        .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
        .map_err(damaged)?;
    let mut taken = vec![0; STEP_BYTES as usize];
    let mut made = vec![0; 2 * STEP_BYTES as usize];
    let mut done = 0;
    let mut is_between_frames = true;
    loop {
        let count = input(&mut taken)?;
        if count == 0 {
            break;
        }
        let mut source = InBuffer::around(&taken[..count]);
        loop {
            let mut target = OutBuffer::around(&mut made[..]);
            let hint = decoder.run(&mut source, &mut target).map_err(damaged)?;
            is_between_frames = hint == 0;
            let count = target.pos();
            done += count as u64;
            if done > size {
                return Err(TOO_MUCH.into());
            }
            output(&made[..count]);
            // A further call at a frame's end would begin to wait for another frame.
            if source.pos() == source.src.len() && (hint == 0 || count < made.len()) {
                break;
            }
        }
    }
    if !is_between_frames {
        return Err("its Zstandard data ends too early".into());
    }
    if done < size {
        return Err(TOO_LITTLE.into());
    }
    Ok(())
}

fn zstd_frame(bytes: &[u8]) -> Vec<u8> {
    thread_local! {
        static ENCODER: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    }
    const IN_MEMORY: &str = "compressing memory to memory can't fail";
    ENCODER.with_borrow_mut(|slot| {
        let encoder = slot.get_or_insert_with(|| {
            zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("the level is one of Zstandard's")
        });
        encoder.compress(bytes).expect(IN_MEMORY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        (0..length)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at / 1000 % 3 == 0 {
                    (state >> 24) as u8
                } else {
                    (at % 251) as u8
                }
            })
            .collect()
    }

    fn decode(method: Method, data: &[u8], size: usize, is_last: bool) -> Result<Vec<u8>, String> {
        let mut rest = data;
        let mut out = Vec::new();
        method.decode(
            size as u64,
            is_last,
            &mut |buffer| {
                let count = rest.len().min(buffer.len()).min(777);
                buffer[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                Ok(count)
            },
            &mut |bytes| out.extend_from_slice(bytes),
        )?;
        Ok(out)
    }

    fn join(blocks: &[Block]) -> Vec<u8> {
        blocks.iter().flat_map(|block| block.data.clone()).collect()
    }

    #[test]
    fn segments_decode_alone_and_together() {
        use std::io::Read as _;
        let bytes = sample(SEGMENT_BYTES + BLOCK_BYTES + 12_345);
        let blocks = Method::Deflate.encode(&bytes, true);
        let whole = join(&blocks);
        let mut plain = Vec::new();
        flate2::read::DeflateDecoder::new(&whole[..])
            .read_to_end(&mut plain)
            .expect("one stream");
        assert!(plain == bytes, "the joined blocks are one deflate stream");

        let first = join(&blocks[..SEGMENT_BYTES / BLOCK_BYTES]);
        let out = decode(Method::Deflate, &first, SEGMENT_BYTES, false).expect("first segment");
        assert!(out == bytes[..SEGMENT_BYTES]);
        let rest = &whole[first.len()..];
        let left = bytes.len() - SEGMENT_BYTES;
        let out = decode(Method::Deflate, rest, left, true).expect("last segment");
        assert!(out == bytes[SEGMENT_BYTES..]);
        // Cut one byte elsewhere, and it is no segment.
        let short = &first[..first.len() - 1];
        assert!(decode(Method::Deflate, short, SEGMENT_BYTES, false).is_err());
        assert!(decode(Method::Deflate, &first, SEGMENT_BYTES - 1, false).is_err());
        assert!(decode(Method::Deflate, &first, SEGMENT_BYTES, true).is_err());
        assert!(
            decode(
                Method::Deflate,
                &whole[..first.len() + 1],
                SEGMENT_BYTES,
                false
            )
            .is_err()
        );
    }

    #[test]
    fn every_method_reads_back() {
        for length in [
            0,
            1,
            100,
            BLOCK_BYTES,
            BLOCK_BYTES + 1,
            ZSTD_BLOCK_BYTES + 9,
        ] {
            let bytes = sample(length);
            for method in [Method::Store, Method::Deflate, Method::Zstd] {
                let data = join(&method.encode(&bytes, true));
                let out = decode(method, &data, length, true).expect("sound data");
                assert!(out == bytes, "{method:?} of {length} bytes");
                assert!(decode(method, &data, length + 1, true).is_err());
                if length > 0 {
                    assert!(decode(method, &data, length - 1, true).is_err());
                    assert!(decode(method, &data[..data.len() - 1], length, true).is_err());
                }
            }
        }
    }
}
