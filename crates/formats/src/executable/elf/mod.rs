//! ELF: programs, libraries, objects and kernel modules of Linux and most other systems.
//!
//! # Layout
//! | where               | what                                                          |
//! |---------------------|---------------------------------------------------------------|
//! | 0                   | identification: magic, class, byte order, OS ABI; file header |
//! | at `e_phoff`        | program headers: segments, as the loader sees them            |
//! | at `e_shoff`        | section headers, as the linker sees them; may be stripped     |
//! | `PT_DYNAMIC`        | needed libraries, paths, where symbols and strings lie        |
//! | `PT_NOTE`, `.note*` | build id                                                      |
//!
//! The `goblin` crate decodes the headers, tables and symbols, one table at a time, from bytes
//! whose number was checked before: it never sees the file, nor a count that the file states.
//!
//! # Damage
//! Without a sound file header nothing is trusted. Any other table that is cut, points outside or
//! states an absurd size is a [`Damage`]; what was read of it stays.
//!
//! # Sources
//! - System V Application Binary Interface, chapters 4 and 5 (gABI).
//! - Linux Standard Base, "Note Sections"; GNU `DT_GNU_HASH` is observed, not specified.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use goblin::{
    container::{Container, Ctx},
    elf::{
        Elf as Goblin,
        header::{self, Header},
        program_header::{self, ProgramHeader},
        section_header::{self, SectionHeader},
    },
};

mod dynamic;
mod notes;
mod symbols;

use super::{
    Damage, Damages, Entropy,
    order::Order,
    pass::{Job, Measure, measurable, pass},
    source::Source,
    text,
};
use crate::{DecodeError, ReadAt};
pub use dynamic::Dynamic;
pub use symbols::{Symbols, Tally};

/// A table may have this many entries; the largest objects have some ten thousand sections.
const ENTRY_LIMIT: u64 = 65_536;
const HEADER_BYTES: usize = 64;
const NAME_LIMIT: usize = 1024;
const PATH_LIMIT: usize = 4096;
const COMMENT_LIMIT: usize = 64 << 10;
/// `e_phnum` where the number does not fit; it then stands in the first section header.
const PN_XNUM: u16 = 0xffff;

/// What an ELF file says of itself.
#[derive(Clone, Debug)]
pub struct Elf {
    /// The file header.
    pub header: Header,
    /// Whether numbers are stored little-endian.
    pub little_endian: bool,
    /// Whether addresses have 64 bits.
    pub wide: bool,
    /// Segments.
    pub segments: Vec<ProgramHeader>,
    /// Sections.
    pub sections: Vec<Section>,
    /// The program that loads it.
    pub interpreter: Option<String>,
    /// What the dynamic linker is told.
    pub dynamic: Dynamic,
    /// The linker's identity for this build.
    pub build_id: Option<Vec<u8>>,
    /// The Go linker's identity for this build.
    pub go_build_id: Option<String>,
    /// Imported and exported symbols.
    pub symbols: Symbols,
    /// What compilers and linkers wrote into `.comment`.
    pub comments: Vec<String>,
    /// What is damaged.
    pub damages: Vec<Damage>,
}

/// A section.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its header.
    pub header: SectionHeader,
    /// Bits of information a byte, where it has bytes and they could be read.
    pub entropy: Option<Entropy>,
}

impl Section {
    /// Where its bytes lie in the file; empty for sections without any.
    pub fn file_range(&self) -> Range<u64> {
        let start = self.header.sh_offset;
        match self.header.sh_type {
            section_header::SHT_NULL | section_header::SHT_NOBITS => start..start,
            _ => start..start.saturating_add(self.header.sh_size),
        }
    }
}

/// Whether a file with that head is an ELF file.
pub fn recognise(head: &[u8]) -> bool {
    head.starts_with(header::ELFMAG)
}

impl Elf {
    /// Reads an ELF file: its tables at random places, then its sections once.
    ///
    /// # Errors
    /// Where there is no sound file header.
    pub fn read(stream: &dyn ReadAt) -> Result<Self, DecodeError> {
        let source = Source::new(stream);
        let head = source.read(0, HEADER_BYTES)?;
        let header = decode("file header", 0, || Goblin::parse_header(&head))?;
        let invalid = |why: goblin::error::Error| DecodeError::Invalid {
            field: "file header",
            at: 0,
            why: why.to_string(),
        };
        let context = Ctx::new(
            header.container().map_err(invalid)?,
            header.endianness().map_err(invalid)?,
        );
        let mut damages = Damages::default();
        let mut reader = Reader {
            source: &source,
            context,
            order: Order {
                little: context.is_little_endian(),
                wide: context.container == Container::Big,
            },
            segments: Vec::new(),
        };
        let raw_sections = reader.sections(&header, &mut damages);
        reader.segments = reader.segments(&header, raw_sections.first(), &mut damages);
        let mut sections = reader.named(&header, raw_sections, &mut damages);
        let dynamic = reader.dynamic(&sections, &mut damages);
        let (build_id, go_build_id) = reader.build_ids(&sections, &mut damages);
        let symbols = reader.symbols(&sections, &dynamic, &mut damages);
        let interpreter = reader.interpreter(&mut damages);
        let comments = reader.comments(&sections, &mut damages);
        measure(&source, &mut sections, &mut damages);
        let segments = reader.segments;
        Ok(Self {
            little_endian: context.is_little_endian(),
            wide: context.container == Container::Big,
            header,
            segments,
            sections,
            interpreter,
            dynamic,
            build_id,
            go_build_id,
            symbols,
            comments,
            damages: damages.finish(),
        })
    }

    /// The header's name of the machine (`X86_64`), where it is a known one.
    pub fn machine(&self) -> &'static str {
        header::machine_to_str(self.header.e_machine)
    }

    /// The header's name of the kind of file (`DYN`).
    pub fn kind(&self) -> &'static str {
        header::et_to_str(self.header.e_type)
    }

    /// The name of a segment's kind (`PT_LOAD`).
    pub fn segment_kind(segment: &ProgramHeader) -> &'static str {
        program_header::pt_to_str(segment.p_type)
    }

    /// The name of a section's kind (`SHT_PROGBITS`).
    pub fn section_kind(section: &SectionHeader) -> &'static str {
        section_header::sht_to_str(section.sh_type)
    }

    /// The byte of the identification that names the system it is for.
    pub fn os_abi(&self) -> u8 {
        self.header.e_ident[header::EI_OSABI]
    }

    /// Whether the table of all symbols was removed.
    pub fn is_stripped(&self) -> bool {
        let is_table = |section: &Section| section.header.sh_type == section_header::SHT_SYMTAB;
        !self.sections.iter().any(is_table)
    }

    /// Whether it carries data for debuggers.
    pub fn has_debug_info(&self) -> bool {
        let is_debug = |name: &str| matches!(name, ".debug_info" | ".zdebug_info");
        self.sections.iter().any(|section| is_debug(&section.name))
    }
}

/// Has `goblin` decode a table; it is not ours, so a panic is an error too.
fn decode<T>(
    field: &'static str,
    at: u64,
    decode: impl FnOnce() -> goblin::error::Result<T>,
) -> Result<T, DecodeError> {
    // It only looks at bytes: nothing of ours is left half changed.
    let why = match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its decoder failed".to_owned(),
    };
    Err(DecodeError::Invalid { field, at, why })
}

struct Reader<'s> {
    source: &'s Source<'s>,
    context: Ctx,
    order: Order,
    segments: Vec<ProgramHeader>,
}

impl Reader<'_> {
    /// The bytes of a table of `count` entries, as many as are there and allowed.
    fn table(
        &self,
        field: &'static str,
        at: u64,
        count: u64,
        width: usize,
        damages: &mut Damages,
    ) -> (Vec<u8>, usize) {
        let capped = count.min(ENTRY_LIMIT) as usize;
        let bytes = damages.keep(field, at, self.source.read(at, capped * width));
        let bytes = bytes.map_or_else(Vec::new, |bytes| bytes.into_owned());
        let whole = bytes.len() / width;
        if (whole as u64) < count {
            let cause = format!("{count} entries are stated, {whole} were read");
            damages.add(
                field,
                at..at.saturating_add(bytes.len().max(1) as u64),
                cause,
            );
        }
        (bytes, whole)
    }

    fn sections(&self, header: &Header, damages: &mut Damages) -> Vec<SectionHeader> {
        let at = header.e_shoff;
        if at == 0 {
            return Vec::new();
        }
        let width = SectionHeader::size(self.context);
        check_width("sections", header.e_shentsize, width, damages);
        let mut count = u64::from(header.e_shnum);
        if count == 0 {
            // The number does not fit, and stands in the first entry.
            let (bytes, whole) = self.table("sections", at, 1, width, damages);
            let first = decode("sections", at, || {
                SectionHeader::parse_from(&bytes, 0, whole, self.context)
            });
            let first = damages.keep("sections", at, first);
            count = first
                .iter()
                .flatten()
                .next()
                .map_or(0, |first| first.sh_size);
        }
        let (bytes, whole) = self.table("sections", at, count, width, damages);
        if whole == 0 {
            return Vec::new();
        }
        let sections = decode("sections", at, || {
            SectionHeader::parse_from(&bytes, 0, whole, self.context)
        });
        damages.keep("sections", at, sections).unwrap_or_default()
    }

    fn segments(
        &self,
        header: &Header,
        first_section: Option<&SectionHeader>,
        damages: &mut Damages,
    ) -> Vec<ProgramHeader> {
        let at = header.e_phoff;
        let count = match (header.e_phnum, first_section) {
            (PN_XNUM, Some(section)) => section.sh_info.into(),
            (count, _) => u64::from(count),
        };
        if at == 0 || count == 0 {
            return Vec::new();
        }
        let width = ProgramHeader::size(self.context);
        check_width("segments", header.e_phentsize, width, damages);
        let (bytes, whole) = self.table("segments", at, count, width, damages);
        let segments = decode("segments", at, || {
            ProgramHeader::parse(&bytes, 0, whole, self.context)
        });
        damages.keep("segments", at, segments).unwrap_or_default()
    }

    /// Gives sections their names, from the section that holds them.
    fn named(
        &self,
        header: &Header,
        sections: Vec<SectionHeader>,
        damages: &mut Damages,
    ) -> Vec<Section> {
        let stated = match header.e_shstrndx {
            index if u32::from(index) == section_header::SHN_XINDEX => {
                sections.first().map_or(0, |first| first.sh_link)
            }
            index => index.into(),
        };
        // Number 0 stands for none.
        let names = sections.get(stated as usize).filter(|_| stated != 0);
        let names = names.map(|names| names.sh_offset);
        if names.is_none() && stated != 0 && !sections.is_empty() {
            let at = header.e_shoff;
            damages.add(
                "sections",
                at..at + 1,
                "the section with their names is not there",
            );
        }
        let name = |section: &SectionHeader| {
            let at = names?.checked_add(section.sh_name as u64)?;
            let name = self.source.string(at, NAME_LIMIT).ok()?;
            Some(text::lossless(&name))
        };
        sections
            .into_iter()
            .map(|header| Section {
                name: name(&header).unwrap_or_default(),
                header,
                entropy: None,
            })
            .collect()
    }

    /// The file offset of an address, by the segments that are loaded.
    fn offset(&self, address: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|segment| {
            let offset = address.checked_sub(segment.p_vaddr);
            segment.p_type == program_header::PT_LOAD
                && offset.is_some_and(|offset| offset < segment.p_filesz)
        })?;
        let offset = segment.p_offset.checked_add(address - segment.p_vaddr)?;
        (offset < self.source.len()).then_some(offset)
    }

    fn interpreter(&self, damages: &mut Damages) -> Option<String> {
        let is_interpreter = |one: &&ProgramHeader| one.p_type == program_header::PT_INTERP;
        let segment = self.segments.iter().find(is_interpreter)?;
        let limit = PATH_LIMIT.min(segment.p_filesz as usize);
        let path = self.source.string(segment.p_offset, limit);
        let path = damages.keep("interpreter", segment.p_offset, path)?;
        if path.is_empty() {
            let at = segment.p_offset;
            damages.add(
                "interpreter",
                at..at.saturating_add(1),
                "its path is not there",
            );
        }
        Some(text::lossless(&path))
    }

    fn comments(&self, sections: &[Section], damages: &mut Damages) -> Vec<String> {
        let Some(section) = sections.iter().find(|section| section.name == ".comment") else {
            return Vec::new();
        };
        let range = section.file_range();
        let size = (range.end - range.start).min(COMMENT_LIMIT as u64) as usize;
        let bytes = damages.keep(
            "compilers",
            range.start,
            self.source.read(range.start, size),
        );
        let mut comments: Vec<String> = Vec::new();
        for comment in bytes
            .iter()
            .flat_map(|bytes| bytes.split(|byte| *byte == 0))
        {
            let comment = text::lossless(comment);
            // Each object brings its compiler's; nearly all are the same.
            if !comment.is_empty() && !comments.contains(&comment) && comments.len() < 64 {
                comments.push(comment);
            }
        }
        comments
    }
}

fn check_width(field: &'static str, stated: u16, width: usize, damages: &mut Damages) {
    if usize::from(stated) != width {
        let cause = format!("an entry is said to have {stated} bytes, it has {width}");
        damages.add(field, 0..HEADER_BYTES as u64, cause);
    }
}

/// Reads all sections once, for their entropy.
fn measure(source: &Source<'_>, sections: &mut [Section], damages: &mut Damages) {
    let len = source.len();
    let ranges: Vec<_> = sections
        .iter()
        .map(|section| {
            let range = section.file_range();
            range.start.min(len)..range.end.min(len)
        })
        .collect();
    for (section, range) in sections.iter().zip(&ranges) {
        let whole = section.file_range();
        if whole.end - whole.start != range.end - range.start {
            let cause = format!(
                "section {:?} reaches past the end of the file",
                section.name
            );
            damages.add(
                "sections",
                range.start..range.end.max(range.start + 1),
                cause,
            );
        }
    }
    let measured = measurable(&ranges, len);
    if measured < ranges.len() {
        let cause = "they overlap many times; the last ones have no entropy";
        damages.add("sections", 0..len, cause);
    }
    let mut measures: Vec<_> = ranges[..measured]
        .iter()
        .map(|range| Measure::entropy(range.end - range.start))
        .collect();
    let jobs = ranges
        .iter()
        .zip(&mut measures)
        .map(|(range, measure)| Job {
            range: range.clone(),
            taker: measure,
        });
    let unread = pass(source, jobs.collect());
    for ((section, range), measure) in sections.iter_mut().zip(&ranges).zip(measures) {
        let lost = |(lost, _): &(Range<u64>, _)| lost.start < range.end && range.start < lost.end;
        if !range.is_empty() && !unread.iter().any(lost) {
            section.entropy = Some(measure.finish().entropy);
        }
    }
    for (range, error) in unread {
        damages.add("content", range, error.to_string());
    }
}
