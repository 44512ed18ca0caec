//! The stores of a volume, and how a snapshot is put together of them.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{Arc, OnceLock},
};

use scelle_formats::{
    ReadAt, ReadError,
    vss::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, StorePlaces, descriptors, kind},
};

use super::{
    blocks::{BLOCK, Blocks, Held},
    damaged, read_block,
};
use crate::image::{
    cache::{Cache, Pages},
    mapped::{Layout, Place},
};

/// Blocks that all stores of a volume may speak of: 128 GiB of what was overwritten.
pub(super) const MAX_DESCRIPTORS: usize = 8 << 20;
/// Blocks that a block of a bitmap speaks of; whole words of 64.
const BITMAP_BLOCKS: u64 = (BLOCK_BYTES - BLOCK_HEADER_BYTES) as u64 * 8;

/// Every store of a volume, the oldest first.
pub(super) struct Stores {
    source: Arc<dyn ReadAt>,
    pub(super) cache: Arc<Cache>,
    pages: Pages,
    stores: Vec<Store>,
    /// Why a newer store than is known may be missing.
    incomplete: Option<ReadError>,
}

struct Store {
    /// `None` where it lies on another volume.
    places: Option<StorePlaces>,
    blocks: OnceLock<Result<Blocks, ReadError>>,
    bitmaps: OnceLock<Result<Bitmaps, ReadError>>,
}

/// Where the blocks of a store's bitmaps lie, in order.
struct Bitmaps {
    current: Vec<u64>,
    previous: Option<Vec<u64>>,
}

impl Stores {
    pub(super) fn new(
        source: Arc<dyn ReadAt>,
        places: impl Iterator<Item = Option<StorePlaces>>,
        incomplete: Option<ReadError>,
    ) -> Self {
        let cache = Cache::new();
        Self {
            pages: Pages::new(source.clone(), cache.clone()),
            source,
            cache,
            stores: places
                .map(|places| Store {
                    places,
                    blocks: OnceLock::new(),
                    bitmaps: OnceLock::new(),
                })
                .collect(),
            incomplete,
        }
    }

    /// The blocks of a store. Lists are read from the newest on, so that which of them exceeds the limit of all depends
    /// on nobody's order.
    fn blocks(&self, index: usize) -> &Result<Blocks, ReadError> {
        if let Some(known) = self.stores[index].blocks.get() {
            return known;
        }
        let mut left = MAX_DESCRIPTORS;
        for store in self.stores[index + 1..].iter().rev() {
            let known = store.blocks.get_or_init(|| self.load(store, left));
            left -= known.as_ref().map_or(0, |blocks| blocks.read.min(left));
        }
        let store = &self.stores[index];
        store.blocks.get_or_init(|| self.load(store, left))
    }

    /// Where a snapshot may hold something else than the next newer state of the volume, in order.
    ///
    /// # Errors
    /// Where that can't be known: a store is damaged, or may be missing.
    pub(super) fn differences(&self, own: usize) -> Result<Vec<Range<u64>>, ReadError> {
        if let Some(why) = &self.incomplete {
            return Err(why.clone());
        }
        let blocks = self.blocks(own).as_ref().map_err(ReadError::clone)?;
        let mut changed: Vec<u32> = blocks.held.keys().copied().collect();
        changed.extend(blocks.overlays.keys());
        if own + 1 < self.stores.len() {
            // What only the reader of the newer one sees.
            let newer = self.blocks(own + 1).as_ref().map_err(ReadError::clone)?;
            changed.extend(newer.overlays.keys());
        }
        let changed = changed.into_iter().map(u64::from);
        let mut changed: Vec<Range<u64>> = changed.map(|block| block..block + 1).collect();
        // What nobody used is zeros to the reader of the newest one, and to nobody else.
        if own + 2 >= self.stores.len() {
            changed.extend(self.freed()?);
        }
        changed.sort_unstable_by_key(|blocks| blocks.start);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for blocks in changed {
            let range = blocks.start * BLOCK..blocks.end * BLOCK;
            match ranges.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => ranges.push(range),
            }
        }
        Ok(ranges)
    }

    /// The blocks that the newest store says nobody used.
    fn freed(&self) -> Result<Vec<Range<u64>>, ReadError> {
        let newest = self.stores.len() - 1;
        let bitmaps = self.bitmaps(newest).as_ref().map_err(ReadError::clone)?;
        let told = bitmaps.current.len() as u64 * BITMAP_BLOCKS;
        let end = told
            .min(self.source.len().div_ceil(BLOCK))
            .min(u32::MAX.into());
        let mut freed: Vec<Range<u64>> = Vec::new();
        let mut block = 0;
        while block < end {
            let (is_free, same) = self.is_free(newest, block as u32)?;
            match freed.last_mut() {
                Some(last) if is_free && last.end == block => last.end += same,
                _ if is_free => freed.push(block..block + same),
                _ => {}
            }
            block += same;
        }
        Ok(freed)
    }

    fn load(&self, store: &Store, limit: usize) -> Result<Blocks, ReadError> {
        const WHAT: &str = "the block list of a shadow copy";
        let Some(places) = &store.places else {
            return Err(elsewhere());
        };
        let mut blocks = Blocks::default();
        self.follow(WHAT, places.list_at, kind::BLOCK_LIST, |bytes, at| {
            for descriptor in descriptors(bytes, at) {
                let (at, descriptor) = descriptor.map_err(|why| damaged(WHAT, at, why))?;
                if blocks.read == limit {
                    let why = format!(
                        "all lists of the volume together have more than {MAX_DESCRIPTORS} entries"
                    );
                    return Err(damaged(WHAT, at, why));
                }
                let added = blocks.add(&descriptor);
                added.map_err(|why| damaged(WHAT, at, why))?;
            }
            Ok(true)
        })?;
        Ok(blocks)
    }

    /// Goes through a chain of blocks, until there is none or `see` has seen enough.
    fn follow(
        &self,
        what: &'static str,
        first: u64,
        kind: u32,
        mut see: impl FnMut(&[u8], u64) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let mut seen = HashSet::new();
        let mut bytes = vec![0; BLOCK_BYTES];
        let mut at = first;
        while at != 0 {
            if !seen.insert(at) {
                return Err(damaged(what, at, "its blocks go round in a circle"));
            }
            read_block(&self.source, what, at, &mut bytes)?;
            let header =
                BlockHeader::parse(&bytes, at, kind).map_err(|why| damaged(what, at, why))?;
            if !see(&bytes, at)? {
                break;
            }
            at = header.next;
        }
        Ok(())
    }

    fn bitmaps(&self, index: usize) -> &Result<Bitmaps, ReadError> {
        let store = &self.stores[index];
        store.bitmaps.get_or_init(|| {
            let Some(places) = &store.places else {
                return Err(elsewhere());
            };
            let previous_at = places.previous_bitmap_at;
            Ok(Bitmaps {
                current: self.bitmap(places.bitmap_at)?,
                previous: (previous_at != 0)
                    .then(|| self.bitmap(previous_at))
                    .transpose()?,
            })
        })
    }

    fn bitmap(&self, first: u64) -> Result<Vec<u64>, ReadError> {
        let needed = self.source.len().div_ceil(BLOCK).div_ceil(BITMAP_BLOCKS);
        let mut places = Vec::new();
        self.follow(
            "the bitmap of a shadow copy",
            first,
            kind::BITMAP,
            |_, at| {
                places.push(at);
                Ok((places.len() as u64) < needed)
            },
        )?;
        Ok(places)
    }

    /// Whether the newest store says that nobody used a block, and for how many blocks from there that holds.
    fn is_free(&self, index: usize, block: u32) -> Result<(bool, u64), ReadError> {
        let bitmaps = self.bitmaps(index).as_ref().map_err(ReadError::clone)?;
        let word = u64::from(block) / 64;
        let mut free = self.word(&bitmaps.current, word)?;
        if let Some(previous) = &bitmaps.previous {
            free &= self.word(previous, word)?;
        }
        let bit = block % 64;
        let rest = free >> bit;
        let is_free = rest & 1 == 1;
        let same = if is_free {
            rest.trailing_ones()
        } else {
            rest.trailing_zeros()
        };
        Ok((is_free, same.min(64 - bit).into()))
    }

    /// 64 bits of a bitmap; none are set past its end.
    fn word(&self, bitmap: &[u64], word: u64) -> Result<u64, ReadError> {
        const WORDS: u64 = BITMAP_BLOCKS / 64;
        let Some(block_at) = bitmap.get((word / WORDS) as usize) else {
            return Ok(0);
        };
        let at = block_at + BLOCK_HEADER_BYTES as u64 + word % WORDS * 8;
        let bytes = self.pages.array("the bitmap of a shadow copy", at)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn elsewhere() -> ReadError {
    ReadError::Unsupported {
        what: "a shadow copy whose data lies on another volume",
    }
}

/// A snapshot as a disk.
pub(super) struct View {
    pub(super) stores: Arc<Stores>,
    /// Which store is its own.
    pub(super) own: usize,
    pub(super) len: u64,
}

impl View {
    fn place(&self, offset: u64) -> Result<(Place<'_>, u64), ReadError> {
        let stores = &*self.stores;
        let newest = stores.stores.len() - 1;
        let mut run = self.len - offset;
        // Where the byte is, as the store that is looked at counts.
        let mut at = offset;
        for index in self.own..=newest {
            let blocks = stores.blocks(index).as_ref().map_err(ReadError::clone)?;
            let number = at / BLOCK;
            let Ok(block) = u32::try_from(number) else {
                let why = "it is longer than the 64 TiB that are supported";
                return Err(damaged("a shadow copy", at, why));
            };
            let within = at % BLOCK;
            let is_own = index == self.own;
            if let Some(overlay) = blocks.overlays.get(&block).filter(|_| is_own) {
                let (is_there, same) = overlay.covers(within);
                run = run.min(same);
                if is_there {
                    return Ok((self.stored(overlay.data_at + within), run));
                }
            }
            match blocks.held.get(&block) {
                Some(Held::Data(data_at)) => {
                    return Ok((self.stored(data_at + within), run.min(BLOCK - within)));
                }
                Some(Held::Forward(to)) => {
                    run = run.min(BLOCK - within);
                    at = to + within;
                    if index == newest {
                        break;
                    }
                    continue;
                }
                None => {}
            }
            if let Some(next) = blocks.next_after(block) {
                run = run.min(u64::from(next) * BLOCK - at);
            }
            // Only the newest store is asked what was free, and only for its own snapshot.
            let is_newest = index == newest && stores.incomplete.is_none();
            if is_own && is_newest && !blocks.forwarded.contains_key(&block) {
                let (is_free, same) = stores.is_free(index, block)?;
                run = run.min((number + same) * BLOCK - at);
                if is_free {
                    return Ok((Place::Hole, run));
                }
            }
        }
        match &stores.incomplete {
            Some(error) => Err(error.clone()),
            None => Ok((self.stored(at), run)),
        }
    }

    fn stored(&self, at: u64) -> Place<'_> {
        Place::Stored(&*self.stores.source, at)
    }
}

impl Layout for View {
    fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, offset: u64) -> (Place<'_>, u64) {
        self.place(offset).unwrap_or_else(|error| {
            // What can't be read is found out block by block: another one may be kept whole.
            (Place::Lost(error), BLOCK - offset % BLOCK)
        })
    }
}
