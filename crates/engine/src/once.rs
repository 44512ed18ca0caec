//! Hands on of snapshots only what no newer state of the volume said already.

use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, Hash, Hasher},
    io,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use scelle_event::{Consumer, Context, Observation, Sink, Warning, json};
use scelle_evidence::Volume;

/// A consumer that is told a fact of a snapshot once.
///
/// A fact is what an artefact says of a stream, by path: the record, with its times; where in the stream it lies is no part of it.
/// Of each, 128 bits of a hash are kept. What is known changes between volumes alone, so threads make no difference.
pub(crate) struct Once<'a, C> {
    inner: &'a C,
    known: Arc<RwLock<Facts>>,
    /// What the volume that is being parsed says.
    fresh: Mutex<Vec<u128>>,
    is_snapshot: AtomicBool,
}

/// Hashes of facts, which need not be hashed again.
type Facts = HashSet<u128, BuildHasherDefault<Folded>>;

/// A hash as it is.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Takes what a value would be hashed by, as bytes.
struct Plain<'a>(&'a mut Vec<u8>);

impl Hasher for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

impl<'a, C> Once<'a, C> {
    pub(crate) fn new(inner: &'a C) -> Self {
        Self {
            inner,
            known: Arc::default(),
            fresh: Mutex::default(),
            is_snapshot: AtomicBool::new(false),
        }
    }

    /// Says which volume is parsed next.
    pub(crate) fn begin(&self, volume: &dyn Volume) {
        let info = volume.info();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        known.reserve(fresh.len());
        known.extend(fresh.drain(..));
        self.is_snapshot.store(info.base_id() != &*info.id, Relaxed);
    }
}

impl<C: Consumer> Consumer for Once<'_, C> {
    type Unit = Unit<C>;

    fn unit(&self, context: &Arc<Context>) -> Self::Unit {
        let stream = context.streams.first().map_or("", |id| &**id);
        let mut about = context.artefact.as_bytes().to_vec();
        // The volume is none of it.
        about.extend_from_slice(
            stream
                .split_once('/')
                .map_or(stream, |(_, path)| path)
                .as_bytes(),
        );
        Unit {
            inner: self.inner.unit(context),
            known: self.known.clone(),
            is_snapshot: self.is_snapshot.load(Relaxed),
            head: about.len(),
            about,
            fresh: Vec::new(),
        }
    }

    fn join(&self, unit: Self::Unit) -> io::Result<()> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.extend(unit.fresh);
        drop(fresh);
        self.inner.join(unit.inner)
    }
}

pub(crate) struct Unit<C: Consumer> {
    inner: C::Unit,
    known: Arc<RwLock<Facts>>,
    is_snapshot: bool,
    /// Artefact and path, and behind them the fact that is looked at.
    about: Vec<u8>,
    head: usize,
    fresh: Vec<u128>,
}

impl<C: Consumer> Unit<C> {
    /// Whether what was just put behind the head is to be handed on.
    fn is_new(&mut self) -> bool {
        let hash = blake3::hash(&self.about);
        self.about.truncate(self.head);
        let (half, _) = hash.as_bytes().split_first_chunk().expect("32 bytes");
        let fact = u128::from_le_bytes(*half);
        let known = || self.known.read().unwrap_or_else(PoisonError::into_inner);
        if self.is_snapshot && known().contains(&fact) {
            return false;
        }
        self.fresh.push(fact);
        true
    }
}

impl<C: Consumer> Sink for Unit<C> {
    fn observe(&mut self, observation: &Observation<'_>) {
        json::write_record(&mut self.about, observation.record);
        observation.times.hash(&mut Plain(&mut self.about));
        if self.is_new() {
            self.inner.observe(observation);
        }
    }

    fn warn(&mut self, warning: Warning) {
        let text = format!(
            "{:?}{}{:?}",
            warning.loss, warning.cause, warning.provenance
        );
        self.about.extend_from_slice(text.as_bytes());
        if self.is_new() {
            self.inner.warn(warning);
        }
    }
}
