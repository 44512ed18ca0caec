//! The symbol table: what is imported, and what is offered.
//!
//! # Layout of an entry (in the file's byte order)
//! | offset | bytes  | field                                                    |
//! |-------:|-------:|----------------------------------------------------------|
//! |      0 |      4 | offset of the name in the table of strings               |
//! |      4 |      1 | debugging 0xe0, private 0x10, kind 0x0e, external 0x01   |
//! |      5 |      1 | number of the section                                    |
//! |      6 |      2 | description                                              |
//! |      8 | 4 or 8 | value                                                    |

use std::ops::Range;

use super::{Damages, Order, Source, text};

const NAME_LIMIT: usize = 1024;
/// Names that are kept, of imports and of exports each.
const NAME_COUNT_LIMIT: usize = 65_536;
const SYMBOL_LIMIT: u32 = 4 << 20;
const BLOCK: u32 = 4096;
const DEBUGGING: u8 = 0xe0;
const PRIVATE: u8 = 0x10;
const KIND: u8 = 0x0e;
const EXTERNAL: u8 = 0x01;

/// Imported and exported symbols.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Names that other files must provide.
    pub imports: Vec<String>,
    /// Names that this file provides.
    pub exports: Vec<String>,
    /// How many entries the table has, those for debuggers and local ones included.
    pub count: u64,
    pub(super) table: Option<SymbolTable>,
}

/// Where the table and its strings lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct SymbolTable {
    pub(super) at: u64,
    pub(super) count: u32,
    pub(super) strings: Strings,
}

/// A range that can be copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strings {
    start: u64,
    end: u64,
}

impl From<Range<u64>> for Strings {
    fn from(range: Range<u64>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }
}

impl Symbols {
    pub(super) fn read(
        &mut self,
        source: &Source<'_>,
        order: Order,
        table: SymbolTable,
        damages: &mut Damages,
    ) {
        let width = if order.wide { 16 } else { 12 };
        let stop = table.count.min(SYMBOL_LIMIT);
        let (mut done, mut unnamed) = (0, 0u64);
        while done < stop {
            let at = table.at + u64::from(done) * width as u64;
            let count = (stop - done).min(BLOCK);
            let bytes = source.read(at, count as usize * width);
            let Some(bytes) = damages.keep("symbols", at, bytes) else {
                break;
            };
            for entry in bytes.chunks_exact(width) {
                done += 1;
                let flags = entry[4];
                if flags & DEBUGGING != 0 || flags & EXTERNAL == 0 || flags & PRIVATE != 0 {
                    continue;
                }
                // Kind 0 without a value is undefined; with one, it is a common block.
                let value = order.word(entry, 8).unwrap_or_default();
                let list = match (flags & KIND, value) {
                    (0, 0) => &mut self.imports,
                    _ => &mut self.exports,
                };
                let name_at =
                    table.strings.start + u64::from(order.u32(entry, 0).unwrap_or_default());
                let name = (name_at < table.strings.end && list.len() < NAME_COUNT_LIMIT)
                    .then(|| source.string(name_at, NAME_LIMIT).ok())
                    .flatten()
                    .filter(|name| !name.is_empty());
                match name {
                    Some(name) => list.push(text::lossless(&name)),
                    None => unnamed += 1,
                }
            }
            if bytes.len() < count as usize * width {
                break;
            }
        }
        self.count = done.into();
        if done < table.count {
            let cause = format!("{} symbols are stated, {done} were read", table.count);
            damages.add("symbols", table.at..table.at + 1, cause);
        }
        if unnamed != 0 {
            let cause = format!(
                "{unnamed} symbols have no name, or are past the limit of {NAME_COUNT_LIMIT}"
            );
            damages.add("symbols", table.at..table.at + 1, cause);
        }
    }
}
