//! Symbols: what is imported from other files, and what is offered to them.

use goblin::elf::{
    section_header,
    sym::{self, Sym},
};

use super::{Damages, Dynamic, NAME_LIMIT, Reader, Section, decode, text};

/// Names that are kept, of imports and of exports each.
const NAME_COUNT_LIMIT: usize = 65_536;
/// Symbols of one table that are looked at.
const SYMBOL_LIMIT: u64 = 4 << 20;
const BLOCK: u64 = 4096;

/// Imported and exported symbols.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Names that other files must provide: from the dynamic table, or, where there is none, from
    /// the table of all symbols.
    pub imports: Vec<String>,
    /// Names that this file provides.
    pub exports: Vec<String>,
    /// Counts of the dynamic table.
    pub dynamic: Tally,
    /// Counts of the table of all symbols.
    pub all: Tally,
}

/// How many symbols of a table go out or in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Global or weak, named, and defined nowhere here.
    pub imported: u64,
    /// Those that are known to be functions.
    pub imported_functions: u64,
    /// Global or weak functions and objects that are defined here and not hidden.
    pub exported: u64,
    /// Those that are functions.
    pub exported_functions: u64,
}

/// A table of symbols and where its names lie.
struct Table {
    at: u64,
    count: u64,
    names: Option<u64>,
}

impl Reader<'_> {
    pub(super) fn symbols(
        &self,
        sections: &[Section],
        dynamic: &Dynamic,
        damages: &mut Damages,
    ) -> Symbols {
        let mut symbols = Symbols::default();
        let width = Sym::size(self.context.container) as u64;
        let of_section = |kind| {
            let section = sections
                .iter()
                .find(|section| section.header.sh_type == kind)?;
            let names = sections.get(section.header.sh_link as usize);
            Some(Table {
                at: section.header.sh_offset,
                count: section.header.sh_size / width,
                names: names.map(|names| names.header.sh_offset),
            })
        };
        let all = of_section(section_header::SHT_SYMTAB);
        let loaded = of_section(section_header::SHT_DYNSYM).or_else(|| {
            // Without sections, the number of symbols follows from their hash table.
            Some(Table {
                at: self.offset(dynamic.symbols?)?,
                count: self.hashed(dynamic)?,
                names: dynamic.strings.and_then(|address| self.offset(address)),
            })
        });
        let has_dynamic = loaded.is_some();
        if let Some(table) = loaded {
            symbols.dynamic = self.table_of_symbols(&table, Some(&mut symbols), damages);
        }
        if let Some(table) = all {
            let keep = (!has_dynamic).then_some(&mut symbols);
            symbols.all = self.table_of_symbols(&table, keep, damages);
        }
        symbols
    }

    fn table_of_symbols(
        &self,
        table: &Table,
        mut keep: Option<&mut Symbols>,
        damages: &mut Damages,
    ) -> Tally {
        let width = Sym::size(self.context.container);
        let mut tally = Tally::default();
        let (mut done, mut unnamed) = (0, 0u64);
        let stop = table.count.min(SYMBOL_LIMIT);
        while done < stop {
            let Some(at) = table.at.checked_add(done * width as u64) else {
                break;
            };
            let count = (stop - done).min(BLOCK) as usize;
            let bytes = self.source.read(at, count * width);
            let Some(bytes) = damages.keep("symbols", at, bytes) else {
                break;
            };
            let whole = bytes.len() / width;
            let symbols = decode("symbols", at, || Sym::parse(&bytes, 0, whole, self.context));
            let Some(symbols) = damages.keep("symbols", at, symbols) else {
                break;
            };
            for symbol in symbols {
                let imported = is_imported(&symbol);
                let exported = is_exported(&symbol);
                tally.imported += u64::from(imported);
                tally.exported += u64::from(exported);
                let function = is_function(&symbol);
                tally.imported_functions += u64::from(imported && function);
                tally.exported_functions += u64::from(exported && function);
                let Some(keep) = keep.as_deref_mut() else {
                    continue;
                };
                let list = match (imported, exported) {
                    (true, _) => &mut keep.imports,
                    (_, true) => &mut keep.exports,
                    _ => continue,
                };
                if list.len() == NAME_COUNT_LIMIT {
                    unnamed += 1;
                    continue;
                }
                let name = table
                    .names
                    .and_then(|names| names.checked_add(symbol.st_name as u64))
                    .and_then(|at| self.source.string(at, NAME_LIMIT).ok())
                    .filter(|name| !name.is_empty());
                match name {
                    Some(name) => list.push(text::lossless(&name)),
                    None => unnamed += 1,
                }
            }
            done += whole as u64;
            if whole < count {
                break;
            }
        }
        if done < table.count {
            let cause = format!("{} symbols are stated, {done} were read", table.count);
            damages.add("symbols", table.at..table.at.saturating_add(1), cause);
        }
        if unnamed != 0 {
            let cause = format!(
                "{unnamed} symbols have no name, or are past the limit of {NAME_COUNT_LIMIT}"
            );
            damages.add("symbols", table.at..table.at.saturating_add(1), cause);
        }
        tally
    }

    /// How many symbols the dynamic table has, by its hash table.
    fn hashed(&self, dynamic: &Dynamic) -> Option<u64> {
        let read = |at: u64| {
            let bytes = self.source.read(at, 4).ok()?;
            self.order.u32(&bytes, 0)
        };
        if let Some(at) = dynamic.hash.and_then(|address| self.offset(address)) {
            // Buckets, then chains: as many as symbols.
            return read(at.checked_add(4)?).map(u64::from);
        }
        let at = self.offset(dynamic.gnu_hash?)?;
        let buckets = u64::from(read(at)?);
        let first = read(at + 4)?;
        let bloom = u64::from(read(at + 8)?);
        let buckets_at = at + 16 + bloom * if self.order.wide { 8 } else { 4 };
        let mut last = 0;
        for bucket in 0..buckets.min(SYMBOL_LIMIT) {
            last = last.max(read(buckets_at.checked_add(bucket * 4)?)?);
        }
        let Some(chain) = last.checked_sub(first) else {
            // No symbol is hashed: all are imports.
            return Some(first.into());
        };
        let chains_at = buckets_at + buckets * 4;
        let mut index = u64::from(chain);
        while index < SYMBOL_LIMIT && read(chains_at.checked_add(index * 4)?)? & 1 == 0 {
            index += 1;
        }
        Some(u64::from(first) + index + 1)
    }
}

fn is_bound_outside(symbol: &Sym) -> bool {
    matches!(symbol.st_bind(), sym::STB_GLOBAL | sym::STB_WEAK)
}

fn is_imported(symbol: &Sym) -> bool {
    is_bound_outside(symbol)
        && symbol.st_shndx == section_header::SHN_UNDEF as usize
        && symbol.st_name != 0
}

fn is_function(symbol: &Sym) -> bool {
    matches!(symbol.st_type(), sym::STT_FUNC | sym::STT_GNU_IFUNC)
}

fn is_exported(symbol: &Sym) -> bool {
    is_bound_outside(symbol)
        && matches!(
            symbol.st_visibility(),
            sym::STV_DEFAULT | sym::STV_PROTECTED
        )
        && symbol.st_shndx != section_header::SHN_UNDEF as usize
        && matches!(
            symbol.st_type(),
            sym::STT_FUNC | sym::STT_OBJECT | sym::STT_TLS | sym::STT_GNU_IFUNC
        )
}
