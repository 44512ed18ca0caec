//! The dynamic section: what the dynamic linker is told.

use goblin::elf::{
    dynamic::{self, Dyn},
    program_header::{self, ProgramHeader},
    section_header,
};

use super::{Damages, NAME_LIMIT, Reader, Section, decode, text};

const DYNAMIC_LIMIT: u64 = 1 << 20;
const NEEDED_LIMIT: usize = 4096;

/// What the dynamic linker is told.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    /// Libraries that must be loaded.
    pub needed: Vec<String>,
    /// The name by which others need this one.
    pub soname: Option<String>,
    /// Where to look for libraries before the environment.
    pub rpath: Option<String>,
    /// Where to look for libraries after the environment.
    pub runpath: Option<String>,
    /// Address of the symbol table.
    pub(super) symbols: Option<u64>,
    /// Address of the strings.
    pub(super) strings: Option<u64>,
    /// Address of the symbols' hash table (System V).
    pub(super) hash: Option<u64>,
    /// Address of the symbols' hash table (GNU).
    pub(super) gnu_hash: Option<u64>,
}

impl Reader<'_> {
    pub(super) fn dynamic(&self, sections: &[Section], damages: &mut Damages) -> Dynamic {
        let mut found = Dynamic::default();
        let entries = self.dynamic_entries(sections, damages);
        let value = |tag| {
            entries
                .iter()
                .find(|entry| entry.d_tag == tag)
                .map(|entry| entry.d_val)
        };
        found.symbols = value(dynamic::DT_SYMTAB);
        found.strings = value(dynamic::DT_STRTAB);
        found.hash = value(dynamic::DT_HASH);
        found.gnu_hash = value(dynamic::DT_GNU_HASH);
        let strings = found.strings.and_then(|address| self.offset(address));
        let mut string = |field: &'static str, offset: u64| {
            let Some(at) = strings.and_then(|strings| strings.checked_add(offset)) else {
                let cause = "the table of strings is not there";
                damages.add(field, 0..self.source.len(), cause);
                return None;
            };
            let name = damages.keep(field, at, self.source.string(at, NAME_LIMIT))?;
            if name.is_empty() {
                damages.add(field, at..at.saturating_add(1), "its name is not there");
                return None;
            }
            Some(text::lossless(&name))
        };
        let needed = entries
            .iter()
            .filter(|entry| entry.d_tag == dynamic::DT_NEEDED);
        for entry in needed.take(NEEDED_LIMIT) {
            found.needed.extend(string("needed", entry.d_val));
        }
        let mut named = |field, tag| value(tag).and_then(|offset| string(field, offset));
        found.soname = named("soname", dynamic::DT_SONAME);
        found.rpath = named("rpath", dynamic::DT_RPATH);
        found.runpath = named("runpath", dynamic::DT_RUNPATH);
        found
    }

    fn dynamic_entries(&self, sections: &[Section], damages: &mut Damages) -> Vec<Dyn> {
        let segment = self
            .segments
            .iter()
            .find(|segment| segment.p_type == program_header::PT_DYNAMIC)
            .map(|segment| (segment.p_offset, segment.p_filesz));
        let section = || {
            sections
                .iter()
                .find(|section| section.header.sh_type == section_header::SHT_DYNAMIC)
                .map(|section| (section.header.sh_offset, section.header.sh_size))
        };
        let Some((at, size)) = segment.or_else(section) else {
            return Vec::new();
        };
        let capped = size.min(DYNAMIC_LIMIT) as usize;
        let bytes = damages.keep("dynamic", at, self.source.read(at, capped));
        let bytes = bytes.map_or_else(Vec::new, |bytes| bytes.into_owned());
        if (bytes.len() as u64) < size {
            let cause = format!("it has {size} bytes, {} were read", bytes.len());
            damages.add(
                "dynamic",
                at..at.saturating_add(bytes.len().max(1) as u64),
                cause,
            );
        }
        // The decoder takes the place of the table from a program header: one of these bytes.
        let place = ProgramHeader {
            p_type: program_header::PT_DYNAMIC,
            p_filesz: bytes.len() as u64,
            ..ProgramHeader::default()
        };
        let entries = decode("dynamic", at, || {
            dynamic::Dynamic::parse(&bytes, &[place], self.context)
        });
        let entries = damages.keep("dynamic", at, entries).flatten();
        entries.map_or_else(Vec::new, |dynamic| dynamic.dyns)
    }
}
