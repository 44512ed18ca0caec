//! Mach-O: programs and libraries of macOS and its siblings, thin and universal.
//!
//! # Layout
//! | where             | what                                                              |
//! |-------------------|-------------------------------------------------------------------|
//! | 0, universal only | magic, count; for each architecture processor, offset, size (big-endian) |
//! | start of a slice  | magic (byte order and width), processor, kind, count of commands  |
//! | after the header  | load commands: kind, size, content                                |
//! | by segment        | sections                                                          |
//! | in `__LINKEDIT`   | symbols, strings, code signature                                  |
//!
//! The `goblin` crate decodes load commands, one at a time, from bytes whose number was checked
//! before: it never sees the file, nor a count that the file states.
//!
//! # Damage
//! A slice without a known magic is shown with what the universal header says of it. A command
//! whose size is wrong ends the commands; one that can't be decoded is passed over.
//!
//! # Sources
//! - Apple, `mach-o/loader.h`, `mach-o/fat.h`, `mach-o/nlist.h` (xnu).
//! - Apple, `kern/cs_blobs.h` (xnu): code signatures.

use std::ops::Range;

use goblin::mach::{
    constants::cputype::{self, get_arch_name_from_types},
    header::filetype_to_str,
};

mod commands;
mod fat;
mod signature;
mod symbols;

use super::{
    Damage, Damages, Entropy,
    order::Order,
    pass::{Job, Measure, measurable, pass},
    source::Source,
    text,
};
use crate::{DecodeError, ReadAt};
pub use commands::{Dylib, DylibKind, Entry, Platform};
pub use fat::{Content, Slice, content, recognise, slices};
pub use signature::{CodeDirectory, CodeSignature};
pub use symbols::Symbols;

/// What a Mach-O file, or one slice of a universal one, says of itself. Offsets count from the
/// start of the slice.
#[derive(Clone, Debug)]
pub struct MachO {
    /// Processor family and model as stored.
    pub cpu: (u32, u32),
    /// Whether numbers are stored little-endian.
    pub little_endian: bool,
    /// Whether addresses have 64 bits.
    pub wide: bool,
    /// The kind of file as stored.
    pub file_type: u32,
    /// The header's flags.
    pub flags: u32,
    /// How many load commands the header states.
    pub command_count: u32,
    /// The names of the load commands that were read.
    pub commands: Vec<&'static str>,
    /// Segments and their sections.
    pub segments: Vec<Segment>,
    /// Libraries, in the order of the commands, its own name included.
    pub dylibs: Vec<Dylib>,
    /// Where to look for libraries.
    pub rpaths: Vec<String>,
    /// The program that loads it.
    pub dylinker: Option<String>,
    /// The linker's identity for this build.
    pub uuid: Option<[u8; 16]>,
    /// The platforms that it was built for.
    pub platforms: Vec<Platform>,
    /// The version of its source.
    pub source_version: Option<String>,
    /// Where it begins to run.
    pub entry: Option<Entry>,
    /// Whether part of it is encrypted.
    pub encrypted: bool,
    /// Imported and exported symbols.
    pub symbols: Symbols,
    /// Where the header says that a code signature lies.
    pub signature_range: Option<Range<u64>>,
    /// The code signature, where it could be read.
    pub signature: Option<CodeSignature>,
    /// What is damaged.
    pub damages: Vec<Damage>,
}

/// A segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its name without the padding; what is not UTF-8 is shown as Latin-1.
    pub name: String,
    /// Where it lies in memory.
    pub address: Range<u64>,
    /// Where it lies in the slice.
    pub file: Range<u64>,
    /// What it may at most be used for: read 1, write 2, execute 4.
    pub max_protection: u32,
    /// What it may be used for at first.
    pub protection: u32,
    /// Its sections.
    pub sections: Vec<Section>,
}

/// A section of a segment.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// The segment that it says it belongs to.
    pub segment: String,
    /// Where it lies in memory.
    pub address: u64,
    /// Its size in memory.
    pub size: u64,
    /// Where it lies in the slice; empty where it has no bytes there.
    pub file: Range<u64>,
    /// Kind and attributes.
    pub flags: u32,
    /// Bits of information a byte, where it has bytes and they could be read.
    pub entropy: Option<Entropy>,
}

impl MachO {
    /// Reads a slice: its tables at random places, then its sections once.
    ///
    /// # Errors
    /// Where there is no known magic, or the header is cut.
    pub fn read(stream: &dyn ReadAt) -> Result<Self, DecodeError> {
        let source = Source::new(stream);
        let mut damages = Damages::default();
        let mut macho = commands::read(&source, &mut damages)?;
        let order = Order {
            little: macho.little_endian,
            wide: macho.wide,
        };
        if let Some(table) = macho.symbols.table {
            macho.symbols.read(&source, order, table, &mut damages);
        }
        if let Some(range) = &macho.signature_range {
            let signature = signature::read(&source, range.clone());
            macho.signature = damages.keep("code_directories", range.start, signature);
        }
        measure(&source, &mut macho.segments, &mut damages);
        macho.damages = damages.finish();
        Ok(macho)
    }

    /// The processor's name (`x86_64`), where it is a known one.
    pub fn cpu_name(&self) -> Option<&'static str> {
        cpu_name(self.cpu)
    }

    /// The kind of file (`EXECUTE`).
    pub fn kind(&self) -> &'static str {
        filetype_to_str(self.file_type)
    }
}

/// The name of a processor, of its family where the model is unknown.
pub fn cpu_name((family, model): (u32, u32)) -> Option<&'static str> {
    // The highest byte holds capabilities, not the model.
    let model = model & !cputype::CPU_SUBTYPE_MASK;
    get_arch_name_from_types(family, model).or(match family {
        cputype::CPU_TYPE_X86 => Some("i386"),
        cputype::CPU_TYPE_X86_64 => Some("x86_64"),
        cputype::CPU_TYPE_ARM => Some("arm"),
        cputype::CPU_TYPE_ARM64 => Some("arm64"),
        cputype::CPU_TYPE_ARM64_32 => Some("arm64_32"),
        cputype::CPU_TYPE_POWERPC => Some("ppc"),
        cputype::CPU_TYPE_POWERPC64 => Some("ppc64"),
        _ => None,
    })
}

/// Reads all sections once, for their entropy.
fn measure(source: &Source<'_>, segments: &mut [Segment], damages: &mut Damages) {
    let len = source.len();
    let sections: Vec<&mut Section> = segments
        .iter_mut()
        .flat_map(|segment| &mut segment.sections)
        .collect();
    let mut ranges = Vec::with_capacity(sections.len());
    for section in &sections {
        let range = section.file.start.min(len)..section.file.end.min(len);
        if range.end - range.start != section.file.end - section.file.start {
            let cause = format!(
                "section {:?} reaches past the end of the file",
                section.name
            );
            damages.add(
                "segments",
                range.start..range.end.max(range.start + 1),
                cause,
            );
        }
        ranges.push(range);
    }
    let measured = measurable(&ranges, len);
    if measured < ranges.len() {
        let cause = "its sections overlap many times; the last ones have no entropy";
        damages.add("segments", 0..len, cause);
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
    for ((section, range), measure) in sections.into_iter().zip(&ranges).zip(measures) {
        let lost = |(lost, _): &(Range<u64>, _)| lost.start < range.end && range.start < lost.end;
        if !range.is_empty() && !unread.iter().any(lost) {
            section.entropy = Some(measure.finish().entropy);
        }
    }
    for (range, error) in unread {
        damages.add("content", range, error.to_string());
    }
}
