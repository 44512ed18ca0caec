//! DOS header, file header, optional header, data directories, section table; and the map from
//! addresses to file offsets that all other tables need.

use std::ops::Range;

use super::super::{Damages, source::Source, text};
use crate::{Cursor, DecodeError};

/// Past it lies nothing that Windows would load.
const SECTION_LIMIT: usize = 2048;
const SECTION_BYTES: usize = 40;
const DIRECTORY_LIMIT: usize = 16;
/// The longest optional header: PE32+ with all directories.
const OPTIONAL_BYTES: usize = 112 + 8 * DIRECTORY_LIMIT;
const FILE_HEADER_BYTES: u64 = 24;
pub(super) const PE32: u16 = 0x10b;
pub(super) const PE32_PLUS: u16 = 0x20b;
/// Where the checksum lies in both kinds of optional header.
const CHECKSUM_AT: u64 = 64;

/// The headers' fields, under the names of the PE/COFF specification where they have good ones.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the specification's own words")]
pub struct Headers {
    /// Where the signature `PE\0\0` lies.
    pub pe_offset: u64,
    pub machine: u16,
    /// As stated, whatever the table holds.
    pub section_count: u16,
    pub timestamp: u32,
    pub characteristics: u16,
    pub optional_bytes: u16,
    /// `0x10b` for PE32, `0x20b` for PE32+.
    pub magic: u16,
    pub linker: (u8, u8),
    pub entry_point: u32,
    pub image_base: u64,
    pub section_alignment: u32,
    pub file_alignment: u32,
    pub os_version: (u16, u16),
    pub image_bytes: u32,
    pub headers_bytes: u32,
    pub checksum: u32,
    pub subsystem: u16,
    pub dll_characteristics: u16,
    /// Those that the file has room for, at most 16.
    pub directories: Vec<Directory>,
}

/// An entry of the optional header's data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Its address relative to the image base; for certificates, a file offset.
    pub rva: u32,
    /// Its size in bytes.
    pub size: u32,
}

/// Numbers of the data directories.
pub(super) mod directory {
    pub(in super::super) const EXPORT: usize = 0;
    pub(in super::super) const IMPORT: usize = 1;
    pub(in super::super) const RESOURCE: usize = 2;
    pub(in super::super) const CERTIFICATE: usize = 4;
    pub(in super::super) const DEBUG: usize = 6;
    pub(in super::super) const TLS: usize = 9;
    pub(in super::super) const DELAY_IMPORT: usize = 13;
    pub(in super::super) const CLR: usize = 14;
}

impl Headers {
    pub(super) fn optional_at(&self) -> u64 {
        self.pe_offset + FILE_HEADER_BYTES
    }

    pub(super) fn checksum_at(&self) -> u64 {
        self.optional_at() + CHECKSUM_AT
    }

    /// Whether addresses have 64 bits.
    pub fn is_plus(&self) -> bool {
        self.magic == PE32_PLUS
    }

    fn directories_at(&self) -> u64 {
        self.optional_at() + if self.is_plus() { 112 } else { 96 }
    }

    pub(super) fn certificate_entry_at(&self) -> u64 {
        self.directories_at() + 8 * directory::CERTIFICATE as u64
    }

    /// The data directory of that number, where it is there and not empty.
    pub(super) fn directory(&self, number: usize) -> Option<Directory> {
        self.directories
            .get(number)
            .copied()
            .filter(|directory| directory.rva != 0)
    }

    pub(super) fn read(source: &Source<'_>, damages: &mut Damages) -> Result<Self, DecodeError> {
        let pe_offset = super::pe_offset(&source.read(0, 64)?)?;
        let file = source.exact("file header", pe_offset, FILE_HEADER_BYTES as usize)?;
        let mut cur = Cursor::new(&file, pe_offset);
        let signature = cur.array::<4>("PE signature")?;
        if signature != *b"PE\0\0" {
            return Err(DecodeError::Invalid {
                field: "PE signature",
                at: pe_offset,
                why: "it is not PE\\0\\0".to_owned(),
            });
        }
        let machine = cur.u16("machine")?;
        let section_count = cur.u16("number of sections")?;
        let timestamp = cur.u32("timestamp")?;
        cur.skip("symbol table", 8)?;
        let optional_bytes = cur.u16("size of optional header")?;
        let characteristics = cur.u16("characteristics")?;

        // Windows maps the header's page and finds zeros past the end of a tiny file.
        let optional_at = pe_offset + FILE_HEADER_BYTES;
        let mut optional = source.read(optional_at, OPTIONAL_BYTES)?.into_owned();
        let present = optional.len();
        optional.resize(OPTIONAL_BYTES, 0);
        let mut cur = Cursor::new(&optional, optional_at);
        let magic = cur.u16("optional header magic")?;
        let plus = match magic {
            PE32 => false,
            PE32_PLUS => true,
            value => {
                return Err(if present < 2 {
                    DecodeError::Short {
                        field: "optional header",
                        at: optional_at,
                        need: 2,
                        have: present as u64,
                    }
                } else {
                    DecodeError::Unknown {
                        field: "optional header magic",
                        at: optional_at,
                        value: value.into(),
                    }
                });
            }
        };
        let linker = (cur.u8("linker version")?, cur.u8("linker version")?);
        cur.skip("sizes of code and data", 12)?;
        let entry_point = cur.u32("entry point")?;
        cur.skip("base of code", 4)?;
        let image_base = if plus {
            cur.u64("image base")?
        } else {
            cur.skip("base of data", 4)?;
            cur.u32("image base")?.into()
        };
        let section_alignment = cur.u32("section alignment")?;
        let file_alignment = cur.u32("file alignment")?;
        let os_version = (cur.u16("system version")?, cur.u16("system version")?);
        cur.skip("image version", 4)?;
        cur.skip("subsystem version", 8)?;
        let image_bytes = cur.u32("size of image")?;
        let headers_bytes = cur.u32("size of headers")?;
        let checksum = cur.u32("checksum")?;
        let subsystem = cur.u16("subsystem")?;
        let dll_characteristics = cur.u16("DLL characteristics")?;
        cur.skip("stack, heap, flags", if plus { 36 } else { 20 })?;
        let stated = cur.u32("number of directories")? as usize;
        let fixed = (cur.at() - optional_at) as usize;
        if present < fixed {
            damages.add(
                "optional header",
                optional_at..source.len(),
                format!("it has {fixed} bytes, {present} are there; zeros were read for the rest"),
            );
        }
        let room = present.saturating_sub(fixed).div_ceil(8);
        let mut directories = Vec::new();
        for _ in 0..stated.min(DIRECTORY_LIMIT).min(room) {
            directories.push(Directory {
                rva: cur.u32("directory address")?,
                size: cur.u32("directory size")?,
            });
        }
        if present >= fixed && room < stated.min(DIRECTORY_LIMIT) {
            damages.add(
                "data directories",
                optional_at + fixed as u64..source.len(),
                format!("{stated} are stated, the file has room for {room}"),
            );
        }
        Ok(Self {
            pe_offset,
            machine,
            section_count,
            timestamp,
            characteristics,
            optional_bytes,
            magic,
            linker,
            entry_point,
            image_base,
            section_alignment,
            file_alignment,
            os_version,
            image_bytes,
            headers_bytes,
            checksum,
            subsystem,
            dll_characteristics,
            directories,
        })
    }
}

/// An entry of the section table.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the specification's own words")]
pub struct Section {
    /// Its name without the padding; bytes past ASCII are shown as Latin-1.
    pub name: String,
    pub virtual_size: u32,
    pub virtual_address: u32,
    pub raw_size: u32,
    pub raw_offset: u32,
    pub characteristics: u32,
}

impl Section {
    /// Where its bytes lie in the file: Windows ignores the low bits of an offset into a file
    /// whose alignment is a sector or more.
    pub(super) fn file_range(&self, file_alignment: u32, len: u64) -> Range<u64> {
        let start = u64::from(sector(self.raw_offset, file_alignment));
        start.min(len)..(start + u64::from(self.raw_size)).min(len)
    }

    /// Whether its table entry promises bytes that the file has not.
    fn overruns(&self, len: u64) -> bool {
        u64::from(self.raw_offset) + u64::from(self.raw_size) > len
    }
}

const SECTOR: u32 = 0x200;
const PAGE: u32 = 0x1000;

fn sector(offset: u32, file_alignment: u32) -> u32 {
    if file_alignment < SECTOR {
        offset
    } else {
        offset & !(SECTOR - 1)
    }
}

pub(super) fn sections(
    source: &Source<'_>,
    headers: &Headers,
    damages: &mut Damages,
) -> Vec<Section> {
    let at = headers.optional_at() + u64::from(headers.optional_bytes);
    let stated = usize::from(headers.section_count);
    let count = stated.min(SECTION_LIMIT);
    let mut sections = Vec::new();
    let table = match source.read(at, count * SECTION_BYTES) {
        Ok(table) => table,
        Err(error) => {
            damages.add("sections", at..at + 1, error.to_string());
            return sections;
        }
    };
    for (number, entry) in table.chunks_exact(SECTION_BYTES).enumerate() {
        let entry_at = at + (number * SECTION_BYTES) as u64;
        if entry.iter().all(|byte| *byte == 0) {
            damages.add(
                "sections",
                entry_at..entry_at + SECTION_BYTES as u64,
                format!("section {number} of {stated} is all zeros; the table ends there"),
            );
            return sections;
        }
        let word = |at: usize| {
            u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        let section = Section {
            name: text::latin1(text::unpadded(&entry[..8])),
            virtual_size: word(8),
            virtual_address: word(12),
            raw_size: word(16),
            raw_offset: word(20),
            characteristics: word(36),
        };
        if section.raw_size != 0 && section.overruns(source.len()) {
            damages.add(
                "sections",
                entry_at..entry_at + SECTION_BYTES as u64,
                format!("section {number} reaches past the end of the file"),
            );
        }
        sections.push(section);
    }
    if sections.len() < stated {
        damages.add(
            "sections",
            at..at + table.len().max(1) as u64,
            format!("{stated} sections are stated, {} were read", sections.len()),
        );
    }
    sections
}

/// Finds file offsets of addresses, as Windows would map the file.
pub(super) struct Map {
    len: u64,
    /// Address range and the file offset of its first byte, in the order of the table.
    spans: Vec<(Range<u64>, u64)>,
}

impl Map {
    pub(super) fn new(headers: &Headers, sections: &[Section], len: u64) -> Self {
        // Below the page size, addresses are aligned like the file.
        let alignment = if headers.section_alignment < PAGE {
            headers.file_alignment
        } else {
            headers.section_alignment
        };
        let aligned =
            |address: u32| u64::from(address - address.checked_rem(alignment).unwrap_or(0));
        let mut starts: Vec<u64> = sections
            .iter()
            .map(|section| u64::from(section.virtual_address))
            .collect();
        starts.sort_unstable();
        let spans = sections
            .iter()
            .map(|section| {
                let start = aligned(section.virtual_address);
                let offset = sector(section.raw_offset, headers.file_alignment);
                // A raw size past the end of the file misleads; then the virtual one counts.
                let size = if len.saturating_sub(offset.into()) < u64::from(section.raw_size) {
                    section.virtual_size
                } else {
                    section.virtual_size.max(section.raw_size)
                };
                let next =
                    starts.partition_point(|other| *other <= u64::from(section.virtual_address));
                let limit = starts.get(next).copied().unwrap_or(u64::MAX);
                let end = (start + u64::from(size)).min(limit.max(start));
                (start..end, u64::from(offset))
            })
            .collect();
        Self { len, spans }
    }

    /// The file offset of an address, where the file has it. What lies in no section (headers) is
    /// where its address says.
    pub(super) fn offset(&self, rva: u64) -> Option<u64> {
        let offset = match self.spans.iter().find(|(span, _)| span.contains(&rva)) {
            Some((span, offset)) => offset + (rva - span.start),
            None => rva,
        };
        (offset < self.len).then_some(offset)
    }

    /// As [`offset`](Self::offset), with an error that names what was looked for.
    pub(super) fn locate(
        &self,
        field: &'static str,
        rva: u64,
        at: u64,
    ) -> Result<u64, DecodeError> {
        self.offset(rva).ok_or_else(|| DecodeError::Invalid {
            field,
            at,
            why: format!("the file has no bytes for its address {rva:#x}"),
        })
    }
}
