//! The records of one unit, those that go on past its end read whole.

use std::ops::Range;

use scelle_formats::{
    ReadAtExt as _,
    ntfs::{MAX_USN_RECORD_BYTES, UsnItem, UsnItems, UsnRecord},
};

use crate::Unit;

/// What is met.
pub(super) enum Event<'a> {
    /// A record, and its offset in the stream.
    Record(u64, UsnRecord<'a>),
    /// Bytes that are none, and why.
    Lost(Range<u64>, String),
}

/// Shows what the unit holds from `from` on, and gives the offset where its last record ends.
pub(super) fn walk(unit: &Unit<'_>, from: u64, visit: &mut dyn FnMut(Event<'_>)) -> u64 {
    let end = unit.base + unit.bytes.len() as u64;
    let mut next = from.max(end);
    let skip = (from.saturating_sub(unit.base) as usize).min(unit.bytes.len());
    let mut items = UsnItems::new(unit.bytes, skip);
    while let Some(item) = items.next() {
        match item {
            UsnItem::Record(at, record) => visit(Event::Record(unit.base + at as u64, record)),
            UsnItem::Lost(from, to, why) => {
                let range = unit.base + from as u64..unit.base + to as u64;
                visit(Event::Lost(range, why.to_string()));
            }
            UsnItem::Cut(at) => {
                let offset = unit.base + at as u64;
                let range = offset..offset + MAX_USN_RECORD_BYTES as u64;
                // Nothing follows the stream's end.
                let bytes = if end < unit.stream_len {
                    unit.stream.read_range(range, MAX_USN_RECORD_BYTES)
                } else {
                    Ok(unit.bytes[at..].to_vec())
                };
                let cause = match bytes {
                    Ok(bytes) => match UsnRecord::decode(&bytes) {
                        Ok(record) => {
                            next = offset + record.length as u64;
                            visit(Event::Record(offset, record));
                            continue;
                        }
                        Err(why) => why.to_string(),
                    },
                    Err(error) => error.to_string(),
                };
                // What only looked like a record may hide others.
                items = UsnItems::new(unit.bytes, at + 1);
                let resumed = items.clone().find_map(|item| match item {
                    UsnItem::Record(at, _) | UsnItem::Cut(at) => Some(at),
                    UsnItem::Lost(..) => None,
                });
                let lost_to = resumed.unwrap_or(unit.bytes.len());
                visit(Event::Lost(offset..unit.base + lost_to as u64, cause));
                items = UsnItems::new(unit.bytes, lost_to);
            }
        }
    }
    next
}
