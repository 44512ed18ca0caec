//! Portable Executables: programs, libraries and drivers of Windows, and EFI applications.
//!
//! # Layout
//! | where                      | what                                                       |
//! |----------------------------|------------------------------------------------------------|
//! | 0                          | DOS header `MZ`; at 0x3c, 4 bytes: offset of the PE header |
//! | after the DOS program      | Rich header (Microsoft's linker only), masked              |
//! | PE header                  | `PE\0\0`, file header, optional header, data directories   |
//! | after the optional header  | section table                                              |
//! | in sections, by address    | imports, exports, resources, debug, TLS, CLR header        |
//! | at a file offset           | certificate table                                          |
//! | after all of that          | overlay                                                    |
//!
//! # Damage
//! Without a PE signature or a known kind of optional header nothing is trusted. Any other table
//! that is cut, points outside, loops or states an absurd size is a [`Damage`]; what was read of
//! it stays.
//!
//! # Sources
//! - Microsoft, "PE Format" (the PE/COFF specification).
//! - Where the specification is silent on how Windows maps odd files (low bits of offsets, raw
//!   sizes past the end), the rules are observed, as `pefile` documents them.

use crate::{DecodeError, ReadAt};

mod debug;
mod der_shape;
mod digest;
mod exports;
mod headers;
mod imports;
mod name;
mod ordinals;
mod resources;
mod signature;
mod version;

pub use super::pass::Measured;
use super::{
    Damage, Damages,
    pass::{Job, Measure, measurable, pass},
    source::Source,
};
pub use debug::{Debug, Pdb, PdbId, Rich};
pub use digest::Algorithm;
use digest::{Checksum, ImageDigest};
pub use exports::{Export, Exports};
use headers::Map;
pub use headers::{Directory, Headers, Section};
pub use imports::{Library, Symbol};
pub use resources::{Kind, Resources};
pub use signature::{Clock, Signature, Signer};

/// What an executable says of itself.
#[derive(Clone, Debug)]
pub struct Pe {
    /// The headers.
    pub headers: Headers,
    /// The section table, and what the bytes of each section are, where they could be read.
    pub sections: Vec<(Section, Option<Measured>)>,
    /// Imports, in the order of the table.
    pub imports: Vec<Library>,
    /// Imports that are resolved when first called.
    pub delay_imports: Vec<Library>,
    /// The hash over imported names.
    pub imphash: Option<[u8; 16]>,
    /// Exports, where there is a table.
    pub exports: Option<Exports>,
    /// Resources, where there are any.
    pub resources: Option<Resources>,
    /// The debug directory.
    pub debug: Debug,
    /// The Rich header.
    pub rich: Option<Rich>,
    /// How many functions run before the entry point, where there is a TLS directory.
    pub tls_callbacks: Option<u32>,
    /// The version text of its metadata, where it is a .NET assembly.
    pub clr_version: Option<String>,
    /// Where bytes begin that no header speaks of.
    pub overlay_offset: Option<u64>,
    /// The checksum as it should be.
    pub computed_checksum: Option<u32>,
    /// The image's SHA-256 as Authenticode defines it, where there is a certificate table.
    pub authentihash: Option<Vec<u8>>,
    /// Authenticode signatures, each before those that are nested in it.
    pub signatures: Vec<Signature>,
    /// What is damaged.
    pub damages: Vec<Damage>,
}

const DOS_HEADER_BYTES: u64 = 64;
const PE_OFFSET_AT: usize = 0x3c;

/// Where the PE header should lie, by the first 64 bytes of a file.
fn pe_offset(dos: &[u8]) -> Result<u64, DecodeError> {
    let invalid = |why: &str| DecodeError::Invalid {
        field: "DOS header",
        at: 0,
        why: why.to_owned(),
    };
    if !dos.starts_with(b"MZ") {
        return Err(invalid("it does not begin with MZ"));
    }
    let field = dos.get(PE_OFFSET_AT..).and_then(|rest| rest.first_chunk());
    let field = field.ok_or(DecodeError::Short {
        field: "DOS header",
        at: 0,
        need: DOS_HEADER_BYTES,
        have: dos.len() as u64,
    })?;
    Ok(u32::from_le_bytes(*field).into())
}

/// Whether a file with that head is a Portable Executable; `bytes` is asked for the signature
/// where the head is too short to have it.
pub fn recognise<'a>(head: &[u8], bytes: impl FnOnce() -> Option<&'a dyn ReadAt>) -> bool {
    const SIGNATURE: &[u8; 4] = b"PE\0\0";
    let Ok(offset) = pe_offset(head) else {
        return false;
    };
    if let Some(found) = usize::try_from(offset)
        .ok()
        .and_then(|offset| head.get(offset..)?.first_chunk::<4>())
    {
        return found == SIGNATURE;
    }
    let mut found = [0; 4];
    bytes().is_some_and(|bytes| {
        crate::ReadAtExt::read_full_at(bytes, offset, &mut found).is_ok_and(|count| count == 4)
    }) && found == *SIGNATURE
}

impl Pe {
    /// Reads a Portable Executable: its tables at random places, then its content once.
    ///
    /// # Errors
    /// Where there is no PE header, or none of a known kind.
    pub fn read(stream: &dyn ReadAt) -> Result<Self, DecodeError> {
        let source = Source::new(stream);
        let mut damages = Damages::default();
        let headers = Headers::read(&source, &mut damages)?;
        let sections = headers::sections(&source, &headers, &mut damages);
        let map = Map::new(&headers, &sections, source.len());
        let imports = imports::imports(&source, &headers, &map, &mut damages);
        let mut pe = Self {
            imphash: imports::imphash(&imports),
            imports,
            delay_imports: imports::delay_imports(&source, &headers, &map, &mut damages),
            exports: exports::exports(&source, &headers, &map, &mut damages),
            resources: resources::resources(&source, &headers, &map, &mut damages),
            debug: debug::debug(&source, &headers, &map, &mut damages),
            rich: debug::rich(&source, &headers, &mut damages),
            tls_callbacks: debug::tls_callbacks(&source, &headers, &map, &mut damages),
            clr_version: debug::clr_version(&source, &headers, &map, &mut damages),
            overlay_offset: overlay(&headers, &sections, &map, source.len()),
            computed_checksum: None,
            authentihash: None,
            signatures: signature::signatures(&source, &headers, &mut damages),
            sections: sections
                .into_iter()
                .map(|section| (section, None))
                .collect(),
            headers,
            damages: Vec::new(),
        };
        pe.content(&source, &mut damages);
        pe.damages = damages.finish();
        Ok(pe)
    }

    /// Whether it is a .NET assembly.
    pub fn is_clr(&self) -> bool {
        self.headers.directory(headers::directory::CLR).is_some()
    }

    /// Where the certificate table lies, as far as the file has it.
    pub fn certificate_table(&self, len: u64) -> Option<std::ops::Range<u64>> {
        signature::table(&self.headers, len)
    }

    /// Reads all content once: sections, checksum, and the image's hashes.
    fn content(&mut self, source: &Source<'_>, damages: &mut Damages) {
        let len = source.len();
        let ranges: Vec<_> = self
            .sections
            .iter()
            .map(|(section, _)| section.file_range(self.headers.file_alignment, len))
            .collect();
        let measured = measurable(&ranges, len);
        if measured < ranges.len() {
            let cause = "they overlap many times; the last ones have neither entropy nor hash";
            damages.add("sections", 0..len, cause);
        }
        let mut measures: Vec<_> = ranges[..measured]
            .iter()
            .map(|range| Measure::hashed(range.end - range.start))
            .collect();
        let mut checksum = Checksum::new(self.headers.checksum_at(), len);

        // SHA-256 always, since lists of known files have it; the others where they were signed.
        let mut algorithms: Vec<Algorithm> = Vec::new();
        let table = signature::table(&self.headers, len);
        if table.is_some() {
            algorithms.push(Algorithm::Sha256);
        }
        for signature in &self.signatures {
            if !algorithms.contains(&signature.algorithm) {
                algorithms.push(signature.algorithm);
            }
        }
        let field = self.headers.checksum_at();
        let entry = self.headers.certificate_entry_at();
        let skip = [
            field..field + 4,
            entry..entry + 8,
            table.unwrap_or(len..len),
        ];
        let mut digests: Vec<_> = algorithms
            .iter()
            .map(|algorithm| ImageDigest::new(*algorithm, skip.clone()))
            .collect();

        let mut jobs = vec![Job {
            range: 0..len,
            taker: &mut checksum,
        }];
        for (range, measure) in ranges.iter().zip(&mut measures) {
            jobs.push(Job {
                range: range.clone(),
                taker: measure,
            });
        }
        for digest in &mut digests {
            jobs.push(Job {
                range: 0..len,
                taker: digest,
            });
        }
        let unread = pass(source, jobs);
        let complete = unread.is_empty();
        for ((section, range), measure) in self.sections.iter_mut().zip(&ranges).zip(measures) {
            let lost = |(lost, _): &(std::ops::Range<u64>, _)| {
                lost.start < range.end && range.start < lost.end
            };
            if !unread.iter().any(lost) {
                section.1 = Some(measure.finish());
            }
        }
        for (range, error) in unread {
            damages.add("content", range, error.to_string());
        }
        if complete {
            self.computed_checksum = Some(checksum.finish());
            for (algorithm, digest) in algorithms.into_iter().zip(digests) {
                let digest = digest.finish();
                for signature in &mut self.signatures {
                    if signature.algorithm == algorithm {
                        signature.image_digest = Some(digest.clone());
                    }
                }
                if algorithm == Algorithm::Sha256 {
                    self.authentihash = Some(digest);
                }
            }
        }
    }
}

/// Where bytes begin that no header speaks of: after the last of the optional header, the sections
/// and the data directories that lie whole inside the file; certificates don't count.
fn overlay(headers: &Headers, sections: &[Section], map: &Map, len: u64) -> Option<u64> {
    let sections = sections
        .iter()
        .map(|section| (section.raw_offset.into(), section.raw_size));
    let directories = headers
        .directories
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != headers::directory::CERTIFICATE)
        .filter_map(|(_, directory)| Some((map.offset(directory.rva.into())?, directory.size)));
    let end = std::iter::once((headers.optional_at(), headers.optional_bytes.into()))
        .chain(sections)
        .chain(directories)
        .map(|(start, size): (u64, u32)| start + u64::from(size))
        .filter(|end| *end <= len)
        .max()
        .unwrap_or(0);
    (end < len).then_some(end)
}
