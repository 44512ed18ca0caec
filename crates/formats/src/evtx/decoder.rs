//! Records to instances: which plan, and which values.

use std::ops::Range;

use crate::{Cursor, DecodeError};

use super::{
    cache::{Cache, Known, Place},
    compile::{Tokens, Workspace, compile},
    event::Event,
    plan::{Plan, Tables},
    value::kind,
};

/// How deep values may hold binary XML.
const MAX_NESTING: usize = 16;
/// How many tokens and units of text are compiled for one chunk: a chunk of nothing but tokens,
/// four times over.
pub(super) const MAX_TOKENS: u32 = 4 * 65_536;
/// How many bytes of text and values the records of one chunk may unfold to. A sound chunk shows
/// each of its bytes about once; a hostile one may refer to one large text thousands of times.
const MAX_UNFOLDED_BYTES: u64 = 16 * 65_536;
/// How many bytes of plans are kept from one chunk to the next; a large log has about 100 KiB.
const MOST_KEPT_BYTES: usize = 2 << 20;
const TEMPLATE_HEADER_BYTES: usize = 24;

/// Decodes the records of one chunk after another.
///
/// It keeps what templates were compiled to, and the values of one record at a time. What it has
/// kept shows in no result. Compiled tokens, nesting and the size that records unfold to are bounded for each chunk, so
/// that no chunk costs more than a fixed amount of time and memory.
#[derive(Debug, Default)]
pub struct Decoder {
    tables: Tables,
    work: Workspace,
    plans: Vec<Plan>,
    cache: Cache,
    /// Which template, by its offset in the chunk, is which plan.
    known: Vec<(u32, u32)>,
    unfolded_left: u64,
    slots: Vec<Slot>,
    instances: Vec<Stored>,
}

/// A value of an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Where its bytes lie in the chunk.
    pub(super) at: u32,
    pub(super) len: u16,
    /// Its type, with the array bit.
    pub(super) kind: u8,
    /// The instance that a value of binary XML holds.
    pub(super) nested: Option<Instance>,
}

impl Slot {
    pub(super) fn bytes<'a>(&self, chunk: &'a [u8]) -> &'a [u8] {
        &chunk[self.at as usize..self.at as usize + usize::from(self.len)]
    }

    pub(super) fn is_null(&self) -> bool {
        self.kind == kind::NULL
    }
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    plan: u32,
    first: u32,
    count: u32,
    /// The fragment that follows in the same bytes.
    next: Option<Instance>,
}

/// An instance of a plan: a decoded record, or what a value of it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instance(u32);

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder that notes what it reads of a chunk; nothing that it has seen before stands in for a read.
    pub fn watched() -> Self {
        let mut decoder = Self::default();
        decoder.work.seen = Some(Vec::new());
        decoder
    }

    /// What a [watched](Self::watched) decoder has read of the chunk so far, besides the bodies that it was handed: ranges in
    /// it, in any order, some of them twice.
    pub fn seen(&self) -> &[Range<usize>] {
        self.work.seen.as_deref().unwrap_or_default()
    }

    /// Forgets where the last chunk's templates lie; offsets in another chunk mean other ones.
    pub fn start_chunk(&mut self) {
        let plans = size_of_val(self.plans.as_slice());
        if self.tables.weight() + self.cache.weight() + plans > MOST_KEPT_BYTES {
            self.tables.clear();
            self.plans.clear();
            self.cache.clear();
        }
        self.known.clear();
        self.work.start_chunk(MAX_TOKENS);
        self.unfolded_left = MAX_UNFOLDED_BYTES;
    }

    /// Decodes the binary XML that lies at `body` in `chunk`, which itself lies at `base` in the
    /// stream. The values of the record before are forgotten.
    ///
    /// # Errors
    /// [`DecodeError`] where the binary XML is damaged, or past the limits.
    pub fn decode<'d>(
        &'d mut self,
        chunk: &'d [u8],
        base: u64,
        body: Range<usize>,
    ) -> Result<Event<'d>, DecodeError> {
        self.slots.clear();
        self.instances.clear();
        let at = base + body.start as u64;
        let (root, unfolds_to) = self.fragment(Bytes { chunk, base }, body, 0)?;
        if self.plan(root).root.is_empty() {
            return Err(DecodeError::Invalid {
                field: "event",
                at,
                why: "it has no element".to_owned(),
            });
        }
        let Some(left) = self.unfolded_left.checked_sub(unfolds_to) else {
            let before = MAX_UNFOLDED_BYTES - self.unfolded_left;
            return Err(DecodeError::Limit {
                field: "unfolded size of a chunk's records",
                at,
                value: unfolds_to.saturating_add(before),
                limit: MAX_UNFOLDED_BYTES,
            });
        };
        self.unfolded_left = left;
        Ok(Event::new(self, chunk, root))
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(super) fn plan(&self, instance: Instance) -> &Plan {
        &self.plans[self.instances[instance.0 as usize].plan as usize]
    }

    /// An instance, and those that follow it in the same bytes.
    pub(super) fn chain(&self, first: Instance) -> impl Iterator<Item = Instance> {
        std::iter::successors(Some(first), |instance| {
            self.instances[instance.0 as usize].next
        })
    }

    pub(super) fn slots(&self, instance: Instance) -> &[Slot] {
        let stored = self.instances[instance.0 as usize];
        &self.slots[stored.first as usize..(stored.first + stored.count) as usize]
    }

    /// Reads a fragment, and tells how many bytes it unfolds to.
    fn fragment(
        &mut self,
        bytes: Bytes<'_>,
        range: Range<usize>,
        depth: usize,
    ) -> Result<(Instance, u64), DecodeError> {
        let mut cur = bytes.cursor(range.clone());
        if depth >= MAX_NESTING {
            return Err(DecodeError::Limit {
                field: "depth of binary XML",
                at: cur.at(),
                value: depth as u64,
                limit: MAX_NESTING as u64,
            });
        }
        if let [0x0f, ..] = cur.rest() {
            cur.skip("fragment header", 4)?;
        }
        if let [0x0c, ..] = cur.rest() {
            cur.skip("token", 1)?;
            return self.instance(bytes, cur, range.end, depth);
        }
        let plan = compile(bytes.tokens(range, false), &mut self.tables, &mut self.work)?;
        let plan = self.keep(plan);
        Ok(self.store(plan, 0, 0))
    }

    /// Reads an instance of a template, after its token.
    fn instance(
        &mut self,
        bytes: Bytes<'_>,
        mut cur: Cursor<'_>,
        end: usize,
        depth: usize,
    ) -> Result<(Instance, u64), DecodeError> {
        cur.skip("template version and id", 5)?;
        let template_at = cur.u32("template offset")?;
        let in_chunk = bytes.chunk.len().min(template_at as usize);
        let head = bytes.chunk.len().min(in_chunk + TEMPLATE_HEADER_BYTES);
        self.work.saw(in_chunk..head);
        let size = bytes.template_size(template_at)?;
        if cur.at() == bytes.base + u64::from(template_at) {
            cur.skip("template", TEMPLATE_HEADER_BYTES + size)?;
        }
        let plan = self.template(bytes, template_at, size)?;
        let count = cur.u32("value count")?;
        let first = self.slots.len();
        let descriptors = cur.take("value descriptors", (count as usize).saturating_mul(4))?;
        for descriptor in descriptors.chunks_exact(4) {
            let len = u16::from_le_bytes([descriptor[0], descriptor[1]]);
            let at = (cur.at() - bytes.base) as u32;
            cur.skip("value", len.into())?;
            self.slots.push(Slot {
                at,
                len,
                kind: descriptor[2],
                nested: None,
            });
        }
        let rest = (cur.at() - bytes.base) as usize..end;
        let mut unfolds_to = u64::from(count);
        for index in first..self.slots.len() {
            let slot = self.slots[index];
            if slot.kind == kind::BINARY_XML && slot.len > 0 {
                let start = slot.at as usize;
                let range = start..start + usize::from(slot.len);
                let (nested, size) = self.fragment(bytes, range, depth + 1)?;
                self.slots[index].nested = Some(nested);
                unfolds_to = unfolds_to.saturating_add(size);
            } else {
                unfolds_to += u64::from(slot.len);
            }
        }
        let (instance, mut size) = self.store_unfolding(plan, first, count, unfolds_to);
        // A value may hold more behind its template: forwarded events have their rendering there.
        let more = match bytes.chunk.get(rest.clone()) {
            Some([0x0f, 0x01, 0x01, ..]) => true,
            Some([0x01 | 0x41 | 0x0c, ..]) => depth > 0,
            _ => false,
        };
        if more {
            let (next, more) = self.fragment(bytes, rest, depth + 1)?;
            self.instances[instance.0 as usize].next = Some(next);
            size = size.saturating_add(more);
        }
        Ok((instance, size))
    }

    fn store(&mut self, plan: u32, first: usize, count: u32) -> (Instance, u64) {
        self.store_unfolding(plan, first, count, 0)
    }

    fn store_unfolding(
        &mut self,
        plan: u32,
        first: usize,
        count: u32,
        values_unfold_to: u64,
    ) -> (Instance, u64) {
        self.instances.push(Stored {
            plan,
            first: first as u32,
            count,
            next: None,
        });
        let plan = &self.plans[plan as usize];
        let unfolds_to = values_unfold_to
            .saturating_mul(plan.most_uses.into())
            .saturating_add(plan.literal_bytes.into());
        (Instance(self.instances.len() as u32 - 1), unfolds_to)
    }

    /// The plan of the template at that offset in the chunk.
    fn template(&mut self, bytes: Bytes<'_>, at: u32, size: usize) -> Result<u32, DecodeError> {
        if let Some((_, plan)) = self.known.iter().find(|(known, _)| *known == at) {
            return Ok(*plan);
        }
        let place = bytes.place(at, size);
        self.work.saw(place.start..place.start + size);
        let known = match self.work.seen {
            Some(_) => None,
            None => self.cache.find(place),
        };
        // What was compiled before costs what it would cost now: limits are those of the chunk.
        let plan = match known.filter(|known| self.work.budget >= known.cost) {
            Some(known) => {
                self.work.budget -= known.cost;
                known.plan
            }
            None => {
                let before = self.work.budget;
                let tokens = bytes.tokens(place.start..place.start + size, true);
                let plan = compile(tokens, &mut self.tables, &mut self.work)?;
                let cost = before - self.work.budget;
                let plan = self.keep(plan);
                self.cache
                    .keep(place, &self.work.refs, Known { plan, cost });
                plan
            }
        };
        self.known.push((at, plan));
        Ok(plan)
    }

    fn keep(&mut self, plan: Plan) -> u32 {
        self.plans.push(plan);
        self.plans.len() as u32 - 1
    }
}

/// A chunk, and where it lies.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    chunk: &'a [u8],
    base: u64,
}

impl<'a> Bytes<'a> {
    fn cursor(self, range: Range<usize>) -> Cursor<'a> {
        Cursor::new(&self.chunk[range.clone()], self.base + range.start as u64)
    }

    fn tokens(self, range: Range<usize>, in_template: bool) -> Tokens<'a> {
        Tokens {
            chunk: self.chunk,
            base: self.base,
            range,
            in_template,
        }
    }

    /// The template of that size at that offset, both of which were checked.
    fn place(self, at: u32, size: usize) -> Place<'a> {
        let start = at as usize + TEMPLATE_HEADER_BYTES;
        let mut guid = [0; 16];
        guid.copy_from_slice(&self.chunk[start - 20..start - 4]);
        Place {
            chunk: self.chunk,
            guid,
            start,
            size,
        }
    }

    /// The size of the template at that offset, which fits the chunk.
    ///
    /// | offset | bytes | field             |
    /// |-------:|------:|-------------------|
    /// |      0 |     4 | the next template |
    /// |      4 |    16 | GUID              |
    /// |     20 |     4 | size of the rest  |
    fn template_size(self, at: u32) -> Result<usize, DecodeError> {
        let stored = self.chunk.get(at as usize..).unwrap_or_default();
        let mut cur = Cursor::new(stored, self.base + u64::from(at));
        cur.skip("template", TEMPLATE_HEADER_BYTES - 4)?;
        let size = cur.u32("template size")? as usize;
        cur.take("template", size)?;
        Ok(size)
    }
}
