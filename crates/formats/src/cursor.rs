//! A little-endian reader over a slice that knows where the slice lies.

use crate::DecodeError;

/// Reads fields one after another; every error names the field and its offset in the stream.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    base: u64,
    pos: usize,
}

macro_rules! numbers {
    ($($name:ident: $type:ty,)*) => {
        $(
            #[doc = concat!("The next `", stringify!($type), "`, little-endian.")]
            ///
            /// # Errors
            /// [`DecodeError::Short`] when the bytes end before it does.
            pub fn $name(&mut self, field: &'static str) -> Result<$type, DecodeError> {
                let bytes = self.array(field)?;
                Ok(<$type>::from_le_bytes(bytes))
            }
        )*
    };
}

impl<'a> Cursor<'a> {
    /// A reader of `bytes`, whose first byte lies at `base` in the stream.
    pub fn new(bytes: &'a [u8], base: u64) -> Self {
        Self {
            bytes,
            base,
            pos: 0,
        }
    }

    numbers! {
        u8: u8,
        u16: u16,
        u32: u32,
        u64: u64,
        i32: i32,
        i64: i64,
    }

    /// Where the next byte lies in the stream.
    pub fn at(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.pos
    }

    /// The bytes that are left, without reading them.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.pos..]
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        match self.rest().first_chunk::<N>() {
            Some(bytes) => {
                self.pos += N;
                Ok(*bytes)
            }
            None => Err(self.short(field, N as u64)),
        }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest().get(..count) {
            Some(bytes) => {
                self.pos += count;
                Ok(bytes)
            }
            None => Err(self.short(field, count as u64)),
        }
    }

    /// Passes over `count` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn skip(&mut self, field: &'static str, count: usize) -> Result<(), DecodeError> {
        self.take(field, count).map(|_| ())
    }

    /// The next `units` UTF-16 code units, little-endian, as they stand.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn utf16(&mut self, field: &'static str, units: usize) -> Result<Vec<u16>, DecodeError> {
        let need = units.saturating_mul(2);
        let bytes = self.take(field, need)?;
        Ok(bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect())
    }

    fn short(&self, field: &'static str, need: u64) -> DecodeError {
        DecodeError::Short {
            field,
            at: self.at(),
            need,
            have: self.left() as u64,
        }
    }
}
