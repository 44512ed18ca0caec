//! What was unpacked or looked up last, in bounded memory.

use std::sync::{Arc, Mutex, PoisonError};

use scelle_formats::{ReadAt, ReadAtExt as _, ReadError};

/// What all layers of one image hold together.
const BUDGET_BYTES: usize = 48 << 20;
const SHARDS: usize = 16;
/// Larger units than a shard's share go to these first shards, so that few of them are held.
const LARGE_SHARDS: usize = 2;
/// How much of a table is read at once.
const PAGE_BYTES: u64 = 16 << 10;

/// Units of an image, the last used ones. Threads that miss the same unit at once both make it.
#[derive(Debug)]
pub(crate) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    units: Vec<Unit>,
    held_bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Unit {
    key: (u32, u64),
    used: u64,
    bytes: Arc<Vec<u8>>,
}

impl Cache {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: Default::default(),
        })
    }

    /// The unit `key` of a layer, made by `make` where it is not held.
    pub(crate) fn get(
        &self,
        key: (u32, u64),
        unit_bytes: usize,
        make: impl FnOnce() -> Result<Vec<u8>, ReadError>,
    ) -> Result<Arc<Vec<u8>>, ReadError> {
        let spread = if unit_bytes > BUDGET_BYTES / SHARDS / 2 {
            LARGE_SHARDS
        } else {
            SHARDS
        };
        let at = (key.1 as usize).wrapping_add(key.0 as usize) % spread;
        // A thread that panicked while it held the lock left whole units behind.
        let lock = || {
            self.shards[at]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(bytes) = lock().find(key) {
            return Ok(bytes);
        }
        let bytes = Arc::new(make()?);
        lock().keep(key, bytes.clone());
        Ok(bytes)
    }
}

impl Shard {
    fn find(&mut self, key: (u32, u64)) -> Option<Arc<Vec<u8>>> {
        self.clock += 1;
        let unit = self.units.iter_mut().find(|unit| unit.key == key)?;
        unit.used = self.clock;
        Some(unit.bytes.clone())
    }

    fn keep(&mut self, key: (u32, u64), bytes: Arc<Vec<u8>>) {
        if self.units.iter().any(|unit| unit.key == key) {
            return;
        }
        while self.held_bytes + bytes.len() > BUDGET_BYTES / SHARDS {
            let oldest = self
                .units
                .iter()
                .enumerate()
                .min_by_key(|(_, unit)| unit.used);
            let Some((oldest, _)) = oldest else { break };
            self.held_bytes -= self.units.swap_remove(oldest).bytes.len();
        }
        self.held_bytes += bytes.len();
        self.units.push(Unit {
            key,
            used: self.clock,
            bytes,
        });
    }
}

/// Small reads of a file's tables, made of cached pages.
pub(crate) struct Pages {
    pub(crate) file: Arc<dyn ReadAt>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) layer: u32,
}

impl Pages {
    /// Pages of a file that is the only one of its cache.
    pub(crate) fn new(file: Arc<dyn ReadAt>, cache: Arc<Cache>) -> Self {
        Self {
            file,
            cache,
            layer: 0,
        }
    }

    /// Fills `buf` from `offset`.
    pub(crate) fn read(
        &self,
        what: &'static str,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), ReadError> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let page = at / PAGE_BYTES;
            let bytes = self
                .cache
                .get((self.layer, page), PAGE_BYTES as usize, || {
                    let start = page * PAGE_BYTES;
                    self.file
                        .read_range(start..start.saturating_add(PAGE_BYTES), PAGE_BYTES as usize)
                })?;
            let rest = bytes.get((at % PAGE_BYTES) as usize..).unwrap_or(&[]);
            let count = rest.len().min(buf.len() - done);
            if count == 0 {
                return Err(ReadError::Short {
                    what,
                    offset,
                    need: buf.len() as u64,
                    have: done as u64,
                });
            }
            buf[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
        }
        Ok(())
    }

    /// `N` bytes at `offset`.
    pub(crate) fn array<const N: usize>(
        &self,
        what: &'static str,
        offset: u64,
    ) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read(what, offset, &mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_bounded_and_units_come_back() {
        let cache = Cache::new();
        for round in 0..3u64 {
            for key in 0..400u64 {
                let bytes = cache
                    .get((1, key), 1 << 20, || Ok(vec![key as u8; 1 << 20]))
                    .expect("made");
                assert_eq!(bytes[7], key as u8, "{round}");
            }
        }
        let held: usize = cache
            .shards
            .iter()
            .map(|shard| shard.lock().expect("whole").held_bytes)
            .sum();
        assert!(held <= BUDGET_BYTES && held > BUDGET_BYTES / 2, "{held}");
        cache
            .get((9, 0), 16 << 20, || Ok(vec![0; 16 << 20]))
            .expect("made");
        cache
            .get((9, 0), 16 << 20, || panic!("it is held, large as it is"))
            .expect("held");
    }
}
