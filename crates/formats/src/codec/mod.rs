//! Codecs that Windows stores bytes with.
//!
//! | codec | who uses it |
//! |-------|-------------|
//! | [`lznt1`] | compressed streams of NTFS, registry and event data |
//! | [`xpress_huffman`] | WOF (4, 8 and 16 KiB chunks), Prefetch, hibernation files |
//! | [`lzx`] | WOF (32 KiB chunks), in the form that WIM files have |
//!
//! All of them decode into a slice that the caller made, so that a bomb can't grow; all that is
//! read of a damaged input is either right or an error. A flipped bit that still gives a valid
//! stream can't be told: none of these formats has a checksum.

mod bits;
mod copy;
mod huffman;
pub mod lznt1;
pub mod lzx;
pub mod xpress_huffman;

use bits::Bits;
use copy::copy_match;
use huffman::Codes;

/// Why bytes could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("after {made} bytes: {why}")]
pub struct CodecError {
    /// How many bytes were made before.
    pub made: usize,
    /// What is wrong.
    pub why: &'static str,
}
