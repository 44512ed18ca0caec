//! Streams that are compressed unit by unit.

mod lznt1;
mod wof;

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use scelle_formats::{RangeKind, ReadAt, ReadError};

pub(super) use self::{
    lznt1::{LZNT1, Lznt1},
    wof::{Algorithm, Wof},
};

/// How much is kept of what was decompressed, for reads of less than a unit.
const KEPT_BYTES: usize = 512 << 10;

/// What lies where in a stream.
type Ranges<'a> = Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + 'a>;
/// Which ranges of a unit could not be had, in order, and why.
type Damage = Vec<(Range<usize>, ReadError)>;

/// How a stream is cut into units, and what each stands for.
pub(super) trait Units: Send + Sync {
    /// What a thread needs to decompress.
    type State: Default + Send;

    /// The logical length.
    fn real_bytes(&self) -> u64;

    /// Zeros are read from here on.
    fn valid_bytes(&self) -> u64;

    /// What a unit stands for.
    fn unit_bytes(&self) -> usize;

    /// What this one stands for, which may be less.
    fn bytes_of(&self, number: u64) -> usize;

    /// Says which units are to be decoded next.
    fn ahead(&self, _numbers: Range<u64>, _state: &mut Self::State) {}

    /// Decodes a unit into `out`, which has [`bytes_of`](Self::bytes_of) bytes.
    fn decode(&self, number: u64, state: &mut Self::State, out: &mut [u8]) -> Damage;

    /// As [`ReadAt::ranges`].
    fn ranges(&self) -> Ranges<'_>;
}

/// What one unit stands for.
struct Unit {
    bytes: Vec<u8>,
    damage: Damage,
}

/// A stream of compressed units, read as what they stand for.
pub(super) struct Packed<U: Units> {
    units: U,
    kept: Mutex<VecDeque<(u64, Arc<Unit>)>>,
    states: Mutex<Vec<U::State>>,
}

impl<U: Units> Packed<U> {
    pub(super) fn new(units: U) -> Self {
        Self {
            units,
            kept: Mutex::default(),
            states: Mutex::default(),
        }
    }

    /// Reads before the valid length.
    fn read_units(
        &self,
        offset: u64,
        buf: &mut [u8],
        state: &mut U::State,
    ) -> Result<usize, ReadError> {
        let unit_bytes = self.units.unit_bytes() as u64;
        let last = offset + (buf.len() as u64).saturating_sub(1);
        self.units
            .ahead(offset / unit_bytes..last / unit_bytes + 1, state);
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (number, within) = (at / unit_bytes, (at % unit_bytes) as usize);
            let bytes = self.units.bytes_of(number);
            let (count, error) = match buf[done..].get_mut(..bytes) {
                // All of it is wanted, and there is room for it.
                Some(room) if within == 0 => {
                    let damage = self.units.decode(number, state, room);
                    match damage.into_iter().next() {
                        Some((range, error)) => (range.start, Some(error)),
                        None => (bytes, None),
                    }
                }
                _ => self
                    .unit(number, bytes, state)
                    .copy(within, &mut buf[done..]),
            };
            done += count;
            match error {
                Some(error) if done == 0 => return Err(error),
                // What was read stands; the next read meets the error first.
                Some(_) => break,
                None => {}
            }
        }
        Ok(done)
    }

    /// A unit that is kept, or is from now on.
    fn unit(&self, number: u64, bytes: usize, state: &mut U::State) -> Arc<Unit> {
        {
            let mut kept = locked(&self.kept);
            if let Some(at) = kept.iter().position(|(known, _)| *known == number)
                && let Some(found) = kept.remove(at)
            {
                let unit = found.1.clone();
                kept.push_back(found);
                return unit;
            }
        }
        // Others read meanwhile; two may decode the same.
        let mut room = vec![0; bytes];
        let damage = self.units.decode(number, state, &mut room);
        let unit = Arc::new(Unit {
            bytes: room,
            damage,
        });
        let mut kept = locked(&self.kept);
        while kept.len() >= (KEPT_BYTES / self.units.unit_bytes()).max(1) {
            kept.pop_front();
        }
        kept.push_back((number, unit.clone()));
        unit
    }
}

impl Unit {
    /// Copies what is sound from `within` on, and says how much that was, and what follows.
    fn copy(&self, within: usize, buf: &mut [u8]) -> (usize, Option<ReadError>) {
        let next = self.damage.iter().find(|(range, _)| range.end > within);
        let end = next.map_or(self.bytes.len(), |(range, _)| range.start.max(within));
        let sound = self.bytes.get(within..end).unwrap_or(&[]);
        let count = sound.len().min(buf.len());
        buf[..count].copy_from_slice(&sound[..count]);
        let error = next.filter(|_| count == sound.len() && count < buf.len());
        (count, error.map(|(_, error)| error.clone()))
    }
}

impl<U: Units> ReadAt for Packed<U> {
    fn len(&self) -> u64 {
        self.units.real_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let want = (buf.len() as u64).min(self.len().saturating_sub(offset)) as usize;
        let valid = self.units.valid_bytes().saturating_sub(offset);
        let stored = valid.min(want as u64) as usize;
        let (front, back) = buf[..want].split_at_mut(stored);
        let mut done = 0;
        if !front.is_empty() {
            let state = locked(&self.states).pop();
            let mut state = state.unwrap_or_default();
            let outcome = self.read_units(offset, front, &mut state);
            locked(&self.states).push(state);
            done = outcome?;
        }
        if done == stored {
            back.fill(0);
            done = want;
        }
        Ok(done)
    }

    fn ranges(&self) -> Ranges<'_> {
        self.units.ranges()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
