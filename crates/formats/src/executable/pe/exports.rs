//! The export table.

use std::collections::HashSet;

use super::{
    super::{Damages, source::Source, text},
    headers::{Headers, Map, directory},
};
use crate::{Cursor, DecodeError};

const SYMBOL_LIMIT: u32 = 65_536;
const NAME_LIMIT: usize = 512;
const TABLE_BYTES: usize = 40;

/// What the file offers to others.
#[derive(Clone, Debug, Default)]
pub struct Exports {
    /// The name that the file gives itself.
    pub library: Option<String>,
    /// The table's own timestamp.
    pub timestamp: u32,
    /// Every symbol with an address: the named ones first, in the order of the names.
    pub symbols: Vec<Export>,
}

/// An exported symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name; some have only a number.
    pub name: Option<String>,
    /// Its number.
    pub ordinal: u32,
    /// Where it is forwarded to (`library.symbol`), in place of code of its own.
    pub forwarder: Option<String>,
}

pub(super) fn exports(
    source: &Source<'_>,
    headers: &Headers,
    map: &Map,
    damages: &mut Damages,
) -> Option<Exports> {
    let table = headers.directory(directory::EXPORT)?;
    let at = headers.optional_at();
    let read = read(source, map, (table.rva, table.size), at, damages);
    damages.keep("exports", at, read)
}

fn read(
    source: &Source<'_>,
    map: &Map,
    (rva, size): (u32, u32),
    headers_at: u64,
    damages: &mut Damages,
) -> Result<Exports, DecodeError> {
    let at = map.locate("exports", rva.into(), headers_at)?;
    let table = source.exact("export table", at, TABLE_BYTES)?;
    let mut cur = Cursor::new(&table, at);
    cur.skip("flags", 4)?;
    let timestamp = cur.u32("timestamp")?;
    cur.skip("version", 4)?;
    let library = cur.u32("library name")?;
    let base = cur.u32("ordinal base")?;
    let function_count = cur.u32("number of functions")?;
    let name_count = cur.u32("number of names")?;
    let functions = cur.u32("functions")?;
    let names = cur.u32("names")?;
    let numbers = cur.u32("ordinals")?;

    let mut list = |what: &'static str, rva: u32, count: u32, width: usize| {
        // A hostile count is cut; what is there is still shown.
        let capped = count.min(SYMBOL_LIMIT) as usize;
        if count == 0 {
            return Ok(Vec::new());
        }
        let start = map.locate(what, rva.into(), at)?;
        let bytes = source.read(start, capped * width)?.into_owned();
        if bytes.len() < count as usize * width {
            let cause = format!(
                "{count} {what} are stated, {} were read",
                bytes.len() / width
            );
            damages.add("exports", start..start + bytes.len().max(1) as u64, cause);
        }
        Ok::<_, DecodeError>(bytes)
    };
    let functions = list("exported functions", functions, function_count, 4)?;
    let functions: Vec<u32> = functions
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    let names = list("exported names", names, name_count, 4)?;
    let numbers = list("exported ordinals", numbers, name_count, 2)?;

    let string = |rva: u32| {
        let at = map.offset(rva.into())?;
        let bytes = source.string(at, NAME_LIMIT).ok()?;
        Some(text::latin1(&bytes))
    };
    // An address inside the table is that of a text which names the real symbol.
    let forwarder = |address: u32| {
        let inside = address.checked_sub(rva).is_some_and(|offset| offset < size);
        inside.then(|| string(address)).flatten()
    };
    let mut symbols = Vec::new();
    let mut named = HashSet::new();
    let mut broken = 0u32;
    for (name, number) in names
        .as_chunks::<4>()
        .0
        .iter()
        .zip(numbers.as_chunks::<2>().0)
    {
        let number = u16::from_le_bytes(*number);
        match functions.get(usize::from(number)) {
            Some(0) => {}
            Some(address) => {
                let name = string(u32::from_le_bytes(*name));
                broken += u32::from(name.is_none());
                named.insert(u32::from(number));
                symbols.push(Export {
                    name,
                    ordinal: base.wrapping_add(number.into()),
                    forwarder: forwarder(*address),
                });
            }
            None => broken += 1,
        }
    }
    if broken != 0 {
        let cause = format!("{broken} names have no text or no function");
        damages.add("exports", at..at + TABLE_BYTES as u64, cause);
    }
    for (number, address) in (0u32..).zip(&functions) {
        if *address != 0 && !named.contains(&number) {
            symbols.push(Export {
                name: None,
                ordinal: base.wrapping_add(number),
                forwarder: forwarder(*address),
            });
        }
    }
    Ok(Exports {
        library: (library != 0).then(|| string(library)).flatten(),
        timestamp,
        symbols,
    })
}
