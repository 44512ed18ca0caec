//! Arrow arrays, built from bytes without a `String` a value.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow::{
    array::{
        ArrayRef, DictionaryArray, GenericByteArray, Int32Array, ListArray, MapArray,
        PrimitiveArray, StructArray,
    },
    buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{
        ArrowPrimitiveType, BinaryType, ByteArrayType, Field, Fields, Int32Type, Utf8Type,
    },
};

use crate::Error;

/// Which values are there.
#[derive(Default)]
struct Valid {
    bits: Vec<bool>,
    any_null: bool,
}

impl Valid {
    fn push(&mut self, valid: bool) {
        self.bits.push(valid);
        self.any_null |= !valid;
    }

    fn take(&mut self) -> Option<NullBuffer> {
        let nulls = self
            .any_null
            .then(|| NullBuffer::from(self.bits.as_slice()));
        self.bits.clear();
        self.any_null = false;
        nulls
    }
}

/// Texts, one after the other.
#[derive(Default)]
pub(crate) struct Texts {
    ends: Vec<i32>,
    bytes: Vec<u8>,
    valid: Valid,
}

impl Texts {
    /// Appends what `write` writes; false from it means null.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let valid = write(&mut self.bytes);
        self.end(valid);
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.end(true);
    }

    pub(crate) fn push_null(&mut self) {
        self.end(false);
    }

    /// Appends the texts of that range once more.
    pub(crate) fn repeat(&mut self, range: Range<usize>) {
        let start = self.start_of(range.start);
        let end = self.start_of(range.end);
        let base = self.bytes.len();
        self.bytes.extend_from_within(start..end);
        for index in range {
            let end = self.ends[index] as usize - start + base;
            self.ends.push(end as i32);
            self.valid.push(self.valid.bits[index]);
        }
    }

    fn start_of(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            Some(before) => self.ends[before] as usize,
            None => 0,
        }
    }

    fn end(&mut self, valid: bool) {
        // A batch is cut long before its bytes reach 2 GiB: see `is_full`.
        self.ends.push(self.bytes.len() as i32);
        self.valid.push(valid);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, Error> {
        Ok(Arc::new(self.finish_as::<Utf8Type>()?))
    }

    /// The same as bytes that need not be text.
    pub(crate) fn finish_bytes(&mut self) -> Result<ArrayRef, Error> {
        Ok(Arc::new(self.finish_as::<BinaryType>()?))
    }

    fn finish_as<T: ByteArrayType<Offset = i32>>(&mut self) -> Result<GenericByteArray<T>, Error> {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.append(&mut self.ends);
        let capacity = self.bytes.len();
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity));
        GenericByteArray::try_new(
            OffsetBuffer::new(offsets.into()),
            Buffer::from_vec(bytes),
            self.valid.take(),
        )
        .map_err(arrow_error)
    }
}

/// Texts of which few differ.
#[derive(Default)]
pub(crate) struct Words {
    keys: Vec<i32>,
    valid: Valid,
    values: Texts,
    known: HashMap<Box<[u8]>, i32>,
    last: Option<(Box<[u8]>, i32)>,
}

impl Words {
    pub(crate) fn push(&mut self, word: Option<&[u8]>) {
        let Some(word) = word else {
            self.keys.push(0);
            self.valid.push(false);
            return;
        };
        let key = match &self.last {
            Some((last, key)) if **last == *word => *key,
            _ => self.look_up(word),
        };
        self.keys.push(key);
        self.valid.push(true);
    }

    fn look_up(&mut self, word: &[u8]) -> i32 {
        let key = match self.known.get(word) {
            Some(key) => *key,
            None => {
                let key = self.values.len() as i32;
                self.values.push(word);
                self.known.insert(word.into(), key);
                key
            }
        };
        self.last = Some((word.into(), key));
        key
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, Error> {
        self.known.clear();
        self.last = None;
        let keys = Int32Array::try_new(std::mem::take(&mut self.keys).into(), self.valid.take());
        let values = self.values.finish()?;
        let words = keys.and_then(|keys| DictionaryArray::<Int32Type>::try_new(keys, values));
        Ok(Arc::new(words.map_err(arrow_error)?))
    }
}

/// Truths, and where one is missing.
#[derive(Default)]
pub(crate) struct Bools(Vec<Option<bool>>);

impl Bools {
    pub(crate) fn push(&mut self, value: Option<bool>) {
        self.0.push(value);
    }

    pub(crate) fn take(&mut self) -> Vec<Option<bool>> {
        std::mem::take(&mut self.0)
    }
}

/// Numbers of one width.
pub(crate) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    valid: Valid,
}

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            valid: Valid::default(),
        }
    }
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    pub(crate) fn push(&mut self, value: impl Into<Option<T::Native>>) {
        let value = value.into();
        self.valid.push(value.is_some());
        self.values.push(value.unwrap_or_default());
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, Error> {
        Ok(Arc::new(self.finish_numbers()?))
    }

    pub(crate) fn finish_numbers(&mut self) -> Result<PrimitiveArray<T>, Error> {
        let values = ScalarBuffer::from(std::mem::take(&mut self.values));
        PrimitiveArray::try_new(values, self.valid.take()).map_err(arrow_error)
    }
}

/// Where each row's part of a list ends.
#[derive(Default)]
pub(crate) struct Ends(Vec<i32>);

impl Ends {
    pub(crate) fn push(&mut self, end: usize) {
        self.0.push(end as i32);
    }

    fn take(&mut self) -> OffsetBuffer<i32> {
        let mut offsets = Vec::with_capacity(self.0.len() + 1);
        offsets.push(0);
        offsets.append(&mut self.0);
        OffsetBuffer::new(offsets.into())
    }

    pub(crate) fn list(&mut self, item: Arc<Field>, values: ArrayRef) -> Result<ArrayRef, Error> {
        let list = ListArray::try_new(item, self.take(), values, None);
        Ok(Arc::new(list.map_err(arrow_error)?))
    }

    pub(crate) fn map(
        &mut self,
        entries: Arc<Field>,
        fields: Fields,
        keys: ArrayRef,
        values: ArrayRef,
    ) -> Result<ArrayRef, Error> {
        let map = StructArray::try_new(fields, vec![keys, values], None)
            .and_then(|pairs| MapArray::try_new(entries, self.take(), pairs, None, false));
        Ok(Arc::new(map.map_err(arrow_error)?))
    }
}

pub(crate) fn arrow_error(error: arrow::error::ArrowError) -> Error {
    Error::Parquet(error.into())
}
