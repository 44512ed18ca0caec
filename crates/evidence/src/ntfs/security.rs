//! Security descriptors, which a volume keeps once each in `$Secure:$SDS`.

use std::{collections::HashMap, sync::Arc};

use scelle_formats::{
    ReadAt, ReadAtExt as _, ReadError,
    ntfs::{SecurityDescriptor, StoredSecurity},
};

use super::records::{MAX_SECURITY_BYTES, damaged};
use crate::Security;

/// More of the stream is not read; Windows volumes have some MiB.
const MAX_STREAM_BYTES: u64 = 64 << 20;
/// A walk forgets what it made into text past so many bytes.
const CACHED_BYTES: usize = 8 << 20;

/// Where each descriptor lies, in 12 bytes.
#[derive(Default)]
pub(super) struct Securities {
    stream: Option<Box<dyn ReadAt>>,
    /// Number, place and length, in the order of the numbers.
    places: Vec<(u32, u32, u32)>,
    /// Why there are none, or not all.
    error: Option<ReadError>,
}

/// What a walk has made into text.
#[derive(Default)]
pub(super) struct SecurityCache {
    known: HashMap<u32, Option<Arc<Security>>>,
    bytes: usize,
}

impl Securities {
    /// Reads the stream once. Of a descriptor and its copy, the first sound one is taken.
    pub(super) fn read(stream: Result<Box<dyn ReadAt>, ReadError>) -> Self {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                return Self {
                    error: Some(error),
                    ..Self::default()
                };
            }
        };
        let mut found = Self::default();
        let length = stream.len().min(MAX_STREAM_BYTES);
        let mut block = vec![0; StoredSecurity::BLOCK_BYTES];
        // Entries that lie in each other are not all looked at.
        let mut budget = length.saturating_mul(4);
        let mut at = 0;
        while at < length {
            let want = (length - at).min(block.len() as u64) as usize;
            match stream.read_full_at(at, &mut block[..want]) {
                Ok(have) => found.index(at, &block[..have], &mut budget),
                Err(error) => {
                    found.error.get_or_insert(error);
                }
            }
            at += want as u64;
        }
        if stream.len() > length {
            let why = "it is longer than any volume needs".to_owned();
            found
                .error
                .get_or_insert(damaged("$Secure:$SDS", length, why));
        }
        found.places.sort_unstable();
        found.places.dedup_by_key(|place| place.0);
        found.places.shrink_to_fit();
        found.stream = Some(stream);
        found
    }

    fn index(&mut self, base: u64, block: &[u8], budget: &mut u64) {
        let mut at = 0;
        while let Some(rest) = block.get(at..).filter(|rest| !rest.is_empty()) {
            let place = base + at as u64;
            let stated = StoredSecurity::stated_bytes(rest, place);
            let left = stated.and_then(|bytes| budget.checked_sub(bytes as u64));
            let stored = left.and_then(|left| {
                *budget = left;
                StoredSecurity::parse(rest)
            });
            match stored {
                Some(stored) => {
                    // The stream is cut off long before 32 bits are not enough.
                    let place = place as u32 + StoredSecurity::HEAD_BYTES as u32;
                    let length = stored.descriptor.len();
                    self.places.push((stored.id, place, length as u32));
                    at += StoredSecurity::HEAD_BYTES + length;
                }
                // Behind the last one lie zeros; behind a damaged one the next is looked for.
                None => at += 1,
            }
            at = at.next_multiple_of(StoredSecurity::ALIGNMENT);
        }
    }

    /// Why there are no descriptors, or not all.
    pub(super) fn error(&self) -> Option<&ReadError> {
        self.error.as_ref()
    }

    /// A descriptor by its number. What is wrong with it is added to `errors`, once a walk.
    pub(super) fn get(
        &self,
        id: u32,
        cache: &mut SecurityCache,
        errors: &mut Vec<ReadError>,
    ) -> Option<Arc<Security>> {
        // Why there is none of them was said.
        self.stream.as_ref()?;
        if let Some(known) = cache.known.get(&id) {
            return known.clone();
        }
        let made = match self.make(id) {
            Ok((security, damage)) => {
                errors.extend(damage);
                Some(security)
            }
            Err(error) => {
                errors.push(error);
                None
            }
        };
        cache.bytes += 64 + made.as_ref().map_or(0, |it| it.sddl.len());
        if cache.bytes > CACHED_BYTES {
            *cache = SecurityCache::default();
        }
        cache.known.insert(id, made.clone());
        made
    }

    fn make(&self, id: u32) -> Result<(Arc<Security>, Option<ReadError>), ReadError> {
        let absent = || ReadError::Absent {
            what: format!("security descriptor {id} of $Secure"),
        };
        let at = self.places.binary_search_by_key(&id, |place| place.0);
        let at = at.map_err(|_| absent())?;
        let (_, place, length) = self.places[at];
        let (place, end) = (u64::from(place), u64::from(place) + u64::from(length));
        let stream = self.stream.as_ref().ok_or_else(absent)?;
        let bytes = stream.read_range(place..end, MAX_SECURITY_BYTES as usize)?;
        describe(&bytes, "a security descriptor of $Secure:$SDS", place)
    }
}

/// A descriptor as text, and what is wrong with it.
pub(super) fn describe(
    bytes: &[u8],
    what: &'static str,
    offset: u64,
) -> Result<(Arc<Security>, Option<ReadError>), ReadError> {
    let found = SecurityDescriptor::parse(bytes)
        .ok_or_else(|| damaged(what, offset, "it has no revision or no head".to_owned()))?;
    let damage = found
        .damage
        .map(|why| damaged(what, offset, why.to_owned()));
    let text = |text: Option<String>| text.map(Arc::from);
    let security = Security {
        owner: text(found.owner),
        group: text(found.group),
        sddl: found.sddl.into(),
    };
    Ok((Arc::new(security), damage))
}
