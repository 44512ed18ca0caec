//! Words that many rows share, kept once: where rows come from, schemas, attributes.

use std::{
    cmp::Ordering,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use scelle_event::{ArtefactId, Context, Layer, Schema, Span, StreamRef};
use smallvec::SmallVec;

use crate::unit::Shared;

/// All that the rows of one stream, layer and artefact have in common.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) source: Arc<str>,
    pub(crate) stream: Arc<str>,
    pub(crate) layer: Option<&'static str>,
    pub(crate) artefact: ArtefactId,
    pub(crate) host: Option<Arc<str>>,
    pub(crate) host_id: Option<Arc<str>>,
    /// A hash of source, stream, layer and artefact: the constant part of a record's key.
    digest: [u8; 32],
}

impl Place {
    /// The stream's path, without its volume: what a row is about where its record names nothing.
    pub(crate) fn path(&self) -> &str {
        self.stream
            .split_once('/')
            .map_or(&*self.stream, |(_, path)| path)
    }

    /// The key of a record that lies there: the first 64 bits of a BLAKE3 hash.
    pub(crate) fn record_key(&self, offset: u64, length: u64, record: Option<u64>) -> u64 {
        // One block of the hash: digest, offset, length, record, and whether there is a record.
        let mut block = [0; 57];
        block[..32].copy_from_slice(&self.digest);
        block[32..40].copy_from_slice(&offset.to_le_bytes());
        block[40..48].copy_from_slice(&length.to_le_bytes());
        block[48..56].copy_from_slice(&record.unwrap_or(0).to_le_bytes());
        block[56] = record.is_some().into();
        let hash = blake3::hash(&block);
        let (head, _) = hash.as_bytes().split_at(8);
        u64::from_le_bytes(head.try_into().expect("eight bytes"))
    }

    fn new(context: &Context, stream: StreamRef, layer: Layer) -> Self {
        let stream = context
            .streams
            .get(usize::from(stream.0))
            .cloned()
            .unwrap_or_else(|| "".into());
        let layer = match layer {
            Layer::Stream => None,
            Layer::Decoded(codec) => Some(codec),
        };
        let mut hasher = blake3::Hasher::new();
        for part in [
            Some(&*context.source),
            Some(&*stream),
            layer,
            Some(context.artefact),
        ] {
            // Lengths keep neighbouring parts apart; a missing part is no empty one.
            hasher.update(
                &part
                    .map_or(u64::MAX, |part| part.len() as u64)
                    .to_le_bytes(),
            );
            hasher.update(part.unwrap_or("").as_bytes());
        }
        Self {
            source: context.source.clone(),
            stream,
            layer,
            artefact: context.artefact,
            host: context.host.clone(),
            host_id: context.host_id.clone(),
            digest: hasher.finalize().into(),
        }
    }
}

type PlaceWords = (
    ArtefactId,
    Arc<str>,
    Arc<str>,
    Layer,
    Option<Arc<str>>,
    Option<Arc<str>>,
);

/// Everything that rows name by number. Numbers depend on threads; nothing that is written does.
#[derive(Default)]
pub(crate) struct Names {
    places: Shelf<Place>,
    schemas: Shelf<&'static Schema>,
    attributes: Shelf<&'static str>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    places: HashMap<PlaceWords, u32>,
    schemas: HashMap<usize, u32>,
    attributes: HashMap<&'static str, u32>,
}

impl Names {
    pub(crate) fn place(&self, number: u32) -> &Place {
        self.places.get(number)
    }

    pub(crate) fn schema(&self, number: u32) -> &'static Schema {
        self.schemas.get(number)
    }

    pub(crate) fn attribute(&self, number: u32) -> &'static str {
        self.attributes.get(number)
    }

    /// The number of the place of a span.
    fn place_of(&self, context: &Context, span: &Span) -> u32 {
        let stream = context.streams.get(usize::from(span.stream.0));
        let words = (
            context.artefact,
            context.source.clone(),
            stream.cloned().unwrap_or_else(|| "".into()),
            span.layer,
            context.host.clone(),
            context.host_id.clone(),
        );
        self.intern(
            |known| &mut known.places,
            words,
            &self.places,
            || Place::new(context, span.stream, span.layer),
        )
    }

    fn schema_of(&self, schema: &'static Schema) -> u32 {
        let address = std::ptr::from_ref(schema).addr();
        self.intern(
            |known| &mut known.schemas,
            address,
            &self.schemas,
            || schema,
        )
    }

    fn attribute_of(&self, name: &'static str) -> u32 {
        self.intern(
            |known| &mut known.attributes,
            name,
            &self.attributes,
            || name,
        )
    }

    fn intern<K: Eq + Hash, T>(
        &self,
        map: impl FnOnce(&mut Known) -> &mut HashMap<K, u32>,
        key: K,
        shelf: &Shelf<T>,
        make: impl FnOnce() -> T,
    ) -> u32 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let map = map(&mut known);
        let next = u32::try_from(map.len()).expect("fewer than 2^32 streams");
        *map.entry(key).or_insert_with(|| {
            shelf.put(next, make());
            next
        })
    }

    /// The order of rows by source, stream and layer.
    pub(crate) fn order_of_streams(&self, a: u32, b: u32) -> Ordering {
        if a == b {
            return Ordering::Equal;
        }
        let (a, b) = (self.place(a), self.place(b));
        (&a.source, &a.stream, a.layer).cmp(&(&b.source, &b.stream, b.layer))
    }

    /// The order of rows by artefact.
    pub(crate) fn order_of_artefacts(&self, a: u32, b: u32) -> Ordering {
        if a == b {
            return Ordering::Equal;
        }
        self.place(a).artefact.cmp(self.place(b).artefact)
    }
}

/// The numbers that one unit of work has asked for: most records ask for the same again.
pub(crate) struct Numbered {
    shared: Arc<Shared>,
    context: Arc<Context>,
    places: SmallVec<[(StreamRef, Layer, u32); 2]>,
    schemas: SmallVec<[(&'static Schema, u32); 2]>,
    attributes: SmallVec<[(&'static str, u32); 4]>,
}

impl Numbered {
    pub(crate) fn new(shared: Arc<Shared>, context: Arc<Context>) -> Self {
        Self {
            shared,
            context,
            places: SmallVec::new(),
            schemas: SmallVec::new(),
            attributes: SmallVec::new(),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn artefact(&self) -> ArtefactId {
        self.context.artefact
    }

    pub(crate) fn place_of(&mut self, span: &Span) -> u32 {
        for (stream, layer, number) in &self.places {
            if *stream == span.stream && *layer == span.layer {
                return *number;
            }
        }
        let number = self.shared.names.place_of(&self.context, span);
        self.places.push((span.stream, span.layer, number));
        number
    }

    pub(crate) fn schema_of(&mut self, schema: &'static Schema) -> u32 {
        for (known, number) in &self.schemas {
            if std::ptr::eq(*known, schema) {
                return *number;
            }
        }
        let number = self.shared.names.schema_of(schema);
        self.schemas.push((schema, number));
        number
    }

    pub(crate) fn attribute_of(&mut self, name: &'static str) -> u32 {
        for (known, number) in &self.attributes {
            if *known == name {
                return *number;
            }
        }
        let number = self.shared.names.attribute_of(name);
        self.attributes.push((name, number));
        number
    }
}

/// A list that grows under one writer while others read without a lock: shelf `n` has room for
/// `FIRST << n` items, and none ever moves.
struct Shelf<T>([OnceLock<Box<[OnceLock<T>]>>; SHELVES]);

const FIRST: u32 = 64;
/// `FIRST * (2^27 - 1)` items: more than 2^32.
const SHELVES: usize = 27;

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; SHELVES])
    }
}

impl<T> Shelf<T> {
    fn seat(number: u32) -> (usize, usize) {
        let round = number / FIRST + 1;
        let shelf = round.ilog2();
        let before = u64::from(FIRST) * ((1 << shelf) - 1);
        (shelf as usize, (u64::from(number) - before) as usize)
    }

    fn get(&self, number: u32) -> &T {
        let (shelf, seat) = Self::seat(number);
        self.0[shelf]
            .get()
            .and_then(|shelf| shelf[seat].get())
            .expect("a number was given out after its item was put")
    }

    fn put(&self, number: u32, item: T) {
        let (shelf, seat) = Self::seat(number);
        let shelf = self.0[shelf].get_or_init(|| {
            let room = (FIRST as usize) << shelf;
            (0..room).map(|_| OnceLock::new()).collect()
        });
        let placed = shelf[seat].set(item).is_ok();
        debug_assert!(placed, "each number is put once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shelves_keep_their_items() {
        let shelf = Shelf::default();
        for number in 0..10_000u32 {
            shelf.put(number, number * 3);
        }
        assert!((0..10_000).all(|number| *shelf.get(number) == number * 3));
        assert_eq!(Shelf::<u8>::seat(63), (0, 63));
        assert_eq!(Shelf::<u8>::seat(64), (1, 0));
        assert!(Shelf::<u8>::seat(u32::MAX).0 < SHELVES);
    }

    #[test]
    fn keys_depend_on_each_part() {
        let context = |source: &str, stream: &str| Context {
            artefact: "a",
            source: source.into(),
            host: None,
            host_id: None,
            streams: vec![stream.into()],
        };
        let place =
            |source, stream, layer| Place::new(&context(source, stream), StreamRef::PRIMARY, layer);
        let base = place("s", "v/f", Layer::Stream);
        let key = base.record_key(1, 2, Some(0));
        assert_eq!(
            key,
            place("s", "v/f", Layer::Stream).record_key(1, 2, Some(0))
        );
        let others = [
            base.record_key(2, 2, Some(0)),
            base.record_key(1, 1, Some(0)),
            base.record_key(1, 2, None),
            base.record_key(1, 2, Some(1)),
            place("sv", "/f", Layer::Stream).record_key(1, 2, Some(0)),
            place("s", "v/f", Layer::Decoded("mam")).record_key(1, 2, Some(0)),
            place("s", "v/f", Layer::Decoded("")).record_key(1, 2, Some(0)),
        ];
        assert!(!others.contains(&key));
        assert_eq!(base.path(), "f");
    }
}
