//! Import and delay-import tables, and the hash over imported names.

use md5::{Digest, Md5};

use super::{
    super::{Damages, source::Source, text},
    Pe,
    headers::{Headers, Map, directory},
    ordinals,
};

const LIBRARY_LIMIT: usize = 4096;
/// Symbols of all libraries together; the largest programs import some thousands.
const SYMBOL_LIMIT: usize = 65_536;
const NAME_LIMIT: usize = 512;
const DESCRIPTOR_BYTES: u64 = 20;
const DELAY_DESCRIPTOR_BYTES: u64 = 32;
/// A table whose entries repeat this often, or lie this far apart, is no table of names.
const REPEAT_LIMIT: usize = 15;
const SPREAD_LIMIT: u64 = 128 << 20;
/// The name under which the hash counts a library whose name is no file name.
const INVALID_LIBRARY: &str = "*invalid*";

/// A library and what is imported from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Its file name as written; bytes past ASCII are shown as Latin-1.
    pub name: String,
    /// What is imported, in the order of the table.
    pub symbols: Vec<Symbol>,
}

/// An imported symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbol {
    /// By name.
    Name(String),
    /// By number.
    Ordinal(u16),
}

/// How many symbols may still be read.
struct Budget(usize);

impl Budget {
    fn report(&self, field: &'static str, headers: &Headers, len: u64, damages: &mut Damages) {
        if self.0 == 0 {
            let cause = format!("more than {SYMBOL_LIMIT} symbols; the rest was left out");
            damages.add(field, headers.optional_at()..len, cause);
        }
    }
}

pub(super) fn imports(
    source: &Source<'_>,
    headers: &Headers,
    map: &Map,
    damages: &mut Damages,
) -> Vec<Library> {
    let Some(table) = headers.directory(directory::IMPORT) else {
        return Vec::new();
    };
    let mut libraries = Vec::new();
    let mut budget = Budget(SYMBOL_LIMIT);
    for number in 0..LIBRARY_LIMIT as u64 {
        let rva = u64::from(table.rva) + number * DESCRIPTOR_BYTES;
        let at = match map.locate("imports", rva, headers.optional_at()) {
            Ok(at) => at,
            Err(error) => {
                damages.add(
                    "imports",
                    headers.optional_at()..source.len(),
                    error.to_string(),
                );
                return libraries;
            }
        };
        let entry = match source.exact("import descriptor", at, DESCRIPTOR_BYTES as usize) {
            Ok(entry) => entry,
            Err(error) => {
                damages.add("imports", at..source.len(), error.to_string());
                return libraries;
            }
        };
        let words = words::<5>(&entry);
        if words == [0; 5] {
            budget.report("imports", headers, source.len(), damages);
            return libraries;
        }
        let [lookup, _, _, name, addresses] = words.map(u64::from);
        // A lookup table that lies before its descriptor ends there at the latest.
        let next = rva + DESCRIPTOR_BYTES;
        let room = [lookup, addresses]
            .iter()
            .filter_map(|table| next.checked_sub(*table))
            .filter(|room| *room != 0)
            .max()
            .unwrap_or(source.len() - at);
        let thunks = Thunks {
            source,
            map,
            headers,
            room,
        };
        let symbols = thunks.symbols([lookup, addresses], at, &mut budget, damages);
        if let Some(symbols) = symbols.filter(|symbols| !symbols.is_empty()) {
            let name = library_name(source, map, name, at, damages);
            // An empty name is nobody's.
            if !name.is_empty() {
                libraries.push(Library { name, symbols });
            }
        }
    }
    damages.add(
        "imports",
        headers.optional_at()..source.len(),
        format!("more than {LIBRARY_LIMIT} libraries; the rest was left out"),
    );
    libraries
}

pub(super) fn delay_imports(
    source: &Source<'_>,
    headers: &Headers,
    map: &Map,
    damages: &mut Damages,
) -> Vec<Library> {
    const ADDRESSES_ARE_RELATIVE: u64 = 1;
    let Some(table) = headers.directory(directory::DELAY_IMPORT) else {
        return Vec::new();
    };
    let mut libraries = Vec::new();
    let mut budget = Budget(SYMBOL_LIMIT);
    for number in 0..LIBRARY_LIMIT as u64 {
        let rva = u64::from(table.rva) + number * DELAY_DESCRIPTOR_BYTES;
        let entry = map
            .locate("delay_imports", rva, headers.optional_at())
            .and_then(|at| {
                let size = DELAY_DESCRIPTOR_BYTES as usize;
                Ok((at, source.exact("delay_imports", at, size)?))
            });
        let Some((at, entry)) = damages.keep("delay_imports", headers.optional_at(), entry) else {
            return libraries;
        };
        let words = words::<8>(&entry);
        if words == [0; 8] {
            budget.report("delay_imports", headers, source.len(), damages);
            return libraries;
        }
        let [attributes, name, _, addresses, lookup, ..] = words.map(u64::from);
        let relative = |address: u64| match attributes & ADDRESSES_ARE_RELATIVE {
            0 => address.wrapping_sub(headers.image_base),
            _ => address,
        };
        let thunks = Thunks {
            source,
            map,
            headers,
            room: source.len(),
        };
        let tables = [relative(lookup), relative(addresses)];
        let symbols = thunks.symbols(tables, at, &mut budget, damages);
        let name = library_name(source, map, relative(name), at, damages);
        if !name.is_empty() {
            // A library without a readable table was reported; it is needed all the same.
            let symbols = symbols.into_iter().flatten().collect();
            libraries.push(Library { name, symbols });
        }
    }
    damages.add(
        "delay_imports",
        headers.optional_at()..source.len(),
        format!("more than {LIBRARY_LIMIT} libraries; the rest was left out"),
    );
    libraries
}

fn words<const N: usize>(entry: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(entry.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

fn library_name(
    source: &Source<'_>,
    map: &Map,
    rva: u64,
    at: u64,
    damages: &mut Damages,
) -> String {
    let name = map
        .locate("imported library", rva, at)
        .and_then(|at| Ok(source.string(at, NAME_LIMIT)?));
    match damages.keep("imports", at, name) {
        Some(name) if name.iter().all(|byte| is_file_name(*byte)) => text::latin1(&name),
        _ => INVALID_LIBRARY.to_owned(),
    }
}

/// Reads a library's tables of what is imported.
struct Thunks<'s> {
    source: &'s Source<'s>,
    map: &'s Map,
    headers: &'s Headers,
    /// How many bytes a table can have.
    room: u64,
}

impl Thunks<'_> {
    fn size(&self) -> usize {
        if self.headers.is_plus() { 8 } else { 4 }
    }

    fn ordinal_flag(&self) -> u64 {
        if self.headers.is_plus() {
            1 << 63
        } else {
            1 << 31
        }
    }

    /// The symbols of the lookup table, or, where it has none, of the address table; `None` where
    /// one of them points at nothing.
    fn symbols(
        &self,
        tables: [u64; 2],
        at: u64,
        budget: &mut Budget,
        damages: &mut Damages,
    ) -> Option<Vec<Symbol>> {
        let thunks = tables
            .into_iter()
            .map(|table| self.thunks(table, budget))
            .find(|thunks| !thunks.is_empty())
            .unwrap_or_default();
        if thunks.is_empty() {
            damages.add(
                "imports",
                at..at + 20,
                "a library has no readable table of symbols",
            );
            return None;
        }
        let mut symbols = Vec::with_capacity(thunks.len());
        let mut unnamed = 0u32;
        for thunk in thunks {
            if thunk & self.ordinal_flag() != 0 {
                match thunk as u16 {
                    0 => unnamed += 1,
                    ordinal => symbols.push(Symbol::Ordinal(ordinal)),
                }
                continue;
            }
            // Two bytes of hint come before the name.
            let name = self
                .map
                .locate("imported name", thunk, at)
                .and_then(|_| self.map.locate("imported name", thunk + 2, at))
                .and_then(|at| Ok(self.source.string(at, NAME_LIMIT)?));
            let name = damages.keep("imports", at, name)?;
            if name.is_empty() || !name.iter().all(|byte| is_symbol_name(*byte)) {
                unnamed += 1;
            } else {
                symbols.push(Symbol::Name(text::latin1(&name)));
            }
        }
        if unnamed != 0 {
            let cause = format!("{unnamed} imported symbols have no valid name");
            damages.add("imports", at..at + 20, cause);
        }
        Some(symbols)
    }

    /// The entries of a table up to its end; none where it can't be one.
    fn thunks(&self, start: u64, budget: &mut Budget) -> Vec<u64> {
        let mut thunks = Vec::new();
        let mut repeats = 0;
        let (mut low, mut high) = (u64::MAX, 0);
        let mut seen = std::collections::HashSet::new();
        let mut rva = start;
        while start != 0 && rva - start < self.room && budget.0 != 0 {
            budget.0 -= 1;
            let Some(entry) = self
                .map
                .offset(rva)
                .and_then(|at| self.source.exact("import", at, self.size()).ok())
            else {
                return Vec::new();
            };
            let thunk = match *entry {
                [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
                [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
                _ => return Vec::new(),
            };
            if thunk == 0 || (start..=rva).contains(&thunk) {
                break;
            }
            if thunk & self.ordinal_flag() != 0 {
                if thunk & 0x7fff_ffff > 0xffff {
                    return Vec::new();
                }
            } else {
                repeats += usize::from(!seen.insert(thunk));
                (low, high) = (low.min(thunk), high.max(thunk));
                if repeats >= REPEAT_LIMIT || high - low > SPREAD_LIMIT {
                    return Vec::new();
                }
            }
            thunks.push(thunk);
            rva += self.size() as u64;
        }
        thunks
    }
}

fn is_file_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'()-@^_`{}~+,.;=[]\\/".contains(&byte)
}

fn is_symbol_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._?@$()<>".contains(&byte)
}

/// The MD5 of `library.symbol,…` in the order of the table, all in lower case, the endings
/// `.dll`, `.ocx` and `.sys` left out, ordinals by their known names: as Mandiant published it.
pub(super) fn imphash(libraries: &[Library]) -> Option<[u8; 16]> {
    if libraries.is_empty() {
        return None;
    }
    let mut hash = Md5::new();
    let mut first = true;
    for library in libraries {
        let file = library.name.to_lowercase();
        let stem = [".dll", ".ocx", ".sys"]
            .iter()
            .find_map(|ending| file.strip_suffix(ending))
            .unwrap_or(&file);
        for symbol in &library.symbols {
            if !first {
                hash.update(b",");
            }
            first = false;
            hash.update(stem);
            hash.update(b".");
            match symbol {
                Symbol::Name(name) => hash.update(name.to_lowercase()),
                Symbol::Ordinal(ordinal) => match ordinals::name(file.as_bytes(), *ordinal) {
                    Some(name) => hash.update(name.to_lowercase()),
                    None => hash.update(format!("ord{ordinal}")),
                },
            }
        }
    }
    Some(hash.finalize().into())
}

impl Pe {
    /// The exported name behind an import by ordinal, where it is a well-known one.
    pub fn ordinal_name(library: &str, ordinal: u16) -> Option<&'static str> {
        ordinals::name(library.to_lowercase().as_bytes(), ordinal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imphash_of_names_and_ordinals() {
        let libraries = [
            Library {
                name: "KERNEL32.dll".to_owned(),
                symbols: vec![Symbol::Name("ExitProcess".to_owned())],
            },
            Library {
                name: "WS2_32.dll".to_owned(),
                symbols: vec![Symbol::Ordinal(115), Symbol::Ordinal(999)],
            },
        ];
        let expected = Md5::digest(b"kernel32.exitprocess,ws2_32.wsastartup,ws2_32.ord999");
        assert_eq!(imphash(&libraries), Some(expected.into()));
        assert_eq!(imphash(&[]), None);
    }
}
