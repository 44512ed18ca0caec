//! The header and the load commands.

use std::{ops::Range, panic::catch_unwind};

use goblin::mach::{
    load_command::{CommandVariant, LoadCommand, cmd_to_str},
    parse_magic_and_ctx,
};

use super::{Damages, MachO, Order, Section, Segment, Source, Symbols, symbols::SymbolTable, text};
use crate::DecodeError;

/// Bytes of load commands; the largest programs have some tens of kilobytes.
const COMMANDS_LIMIT: usize = 4 << 20;
const COMMAND_LIMIT: u32 = 16_384;
const SECTION_LIMIT: usize = 16_384;
const HEADER_BYTES: usize = 28;
const COMMAND_HEAD: usize = 8;
const SECTION_BYTES: usize = 68;
const SECTION_64_BYTES: usize = 80;
/// Kinds of section without bytes in the file.
const ZERO_FILL: [u32; 3] = [0x1, 0xc, 0x12];

/// A library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dylib {
    /// How it is used.
    pub kind: DylibKind,
    /// Its path.
    pub path: String,
    /// Its version (`1.2.3`).
    pub version: String,
}

/// How a library is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DylibKind {
    /// The file's own name.
    Id,
    /// It must be there.
    Load,
    /// It may be missing.
    Weak,
    /// What it offers is offered again.
    Reexport,
    /// It is loaded when first needed.
    Lazy,
    /// It needs this one too.
    Upward,
}

impl DylibKind {
    /// The name used in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Load => "load",
            Self::Weak => "weak",
            Self::Reexport => "reexport",
            Self::Lazy => "lazy",
            Self::Upward => "upward",
        }
    }
}

/// A platform that a file was built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its name, or its number.
    pub name: String,
    /// The oldest version that it runs on.
    pub minimum: String,
    /// The version of the software development kit.
    pub sdk: String,
}

/// Where a program begins to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An offset into the slice.
    Offset(u64),
    /// An address.
    Address(u64),
}

/// Byte order and width of a file with that magic.
pub(super) fn order(magic: [u8; 4]) -> Option<Order> {
    let (_, context) = parse_magic_and_ctx(&magic, 0).ok()?;
    let context = context?;
    Some(Order {
        little: context.is_little_endian(),
        wide: context.is_big(),
    })
}

pub(super) fn read(source: &Source<'_>, damages: &mut Damages) -> Result<MachO, DecodeError> {
    let head = source.exact("Mach-O header", 0, HEADER_BYTES)?;
    let magic = [head[0], head[1], head[2], head[3]];
    let order = order(magic).ok_or(DecodeError::Unknown {
        field: "Mach-O magic",
        at: 0,
        value: u32::from_be_bytes(magic).into(),
    })?;
    let word = |at| order.u32(&head, at).unwrap_or_default();
    let (count, size) = (word(16), word(20) as usize);
    let commands_at = HEADER_BYTES as u64 + if order.wide { 4 } else { 0 };
    let mut macho = MachO {
        cpu: (word(4), word(8)),
        little_endian: order.little,
        wide: order.wide,
        file_type: word(12),
        flags: word(24),
        command_count: count,
        commands: Vec::new(),
        segments: Vec::new(),
        dylibs: Vec::new(),
        rpaths: Vec::new(),
        dylinker: None,
        uuid: None,
        platforms: Vec::new(),
        source_version: None,
        entry: None,
        encrypted: false,
        symbols: Symbols::default(),
        signature_range: None,
        signature: None,
        damages: Vec::new(),
    };
    let bytes = source.read(commands_at, size.min(COMMANDS_LIMIT));
    let Some(bytes) = damages.keep("commands", commands_at, bytes) else {
        return Ok(macho);
    };
    let mut walk = Walk {
        order,
        bytes: &bytes,
        base: commands_at,
        damages,
        section_count: 0,
    };
    let read = walk.commands(&mut macho, count);
    if read < count || bytes.len() < size {
        let cause = format!(
            "{count} commands of {size} bytes are stated, {read} of {} bytes were read",
            bytes.len()
        );
        damages.add(
            "commands",
            commands_at..commands_at + bytes.len().max(1) as u64,
            cause,
        );
    }
    Ok(macho)
}

struct Walk<'b, 'd> {
    order: Order,
    bytes: &'b [u8],
    base: u64,
    damages: &'d mut Damages,
    section_count: usize,
}

impl Walk<'_, '_> {
    /// Reads up to `count` commands; returns how many there were.
    fn commands(&mut self, macho: &mut MachO, count: u32) -> u32 {
        let mut at = 0;
        for number in 0..count.min(COMMAND_LIMIT) {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let kind = self.order.u32(rest, 0);
            let size = self.order.u32(rest, 4);
            let (Some(kind), Some(size)) = (kind, size) else {
                return number;
            };
            let range = self.base + at as u64..self.base + at as u64 + COMMAND_HEAD as u64;
            let Some(command) = rest
                .get(..size as usize)
                .filter(|_| size as usize >= COMMAND_HEAD)
            else {
                let cause = format!("command {number} is said to have {size} bytes");
                self.damages.add("commands", range, cause);
                return number;
            };
            macho.commands.push(cmd_to_str(kind));
            if let Err(cause) = self.command(macho, command) {
                self.damages
                    .add("commands", range, format!("command {number}: {cause}"));
            }
            at += size as usize;
        }
        count.min(COMMAND_LIMIT)
    }

    fn command(&mut self, macho: &mut MachO, command: &[u8]) -> Result<(), String> {
        // The decoder is not ours, and takes the byte order from a magic of its own.
        let little = self.order.little;
        let decoded = catch_unwind(|| {
            let magic = if little { 0xcffa_edfe_u32 } else { 0xfeed_facf };
            let (_, context) = parse_magic_and_ctx(&magic.to_be_bytes(), 0)?;
            let context = context.ok_or(goblin::error::Error::BadMagic(magic.into()))?;
            LoadCommand::parse(command, &mut 0, context.le)
        });
        let decoded = match decoded {
            Ok(Ok(decoded)) => decoded.command,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("its decoder failed".to_owned()),
        };
        let path = |offset: u32| {
            let path = command.get(offset as usize..).unwrap_or_default();
            text::lossless(text::until_zero(path))
        };
        let mut dylib = |kind, dylib: goblin::mach::load_command::Dylib| {
            macho.dylibs.push(Dylib {
                kind,
                path: path(dylib.name),
                version: version(dylib.current_version),
            });
        };
        match decoded {
            CommandVariant::Segment32(segment) => {
                let file = span(segment.fileoff.into(), segment.filesize.into());
                macho.segments.push(Segment {
                    name: text::lossless(text::until_zero(&segment.segname)),
                    address: span(segment.vmaddr.into(), segment.vmsize.into()),
                    file,
                    max_protection: segment.maxprot,
                    protection: segment.initprot,
                    sections: self.sections(command, 56, segment.nsects)?,
                });
            }
            CommandVariant::Segment64(segment) => {
                macho.segments.push(Segment {
                    name: text::lossless(text::until_zero(&segment.segname)),
                    address: span(segment.vmaddr, segment.vmsize),
                    file: span(segment.fileoff, segment.filesize),
                    max_protection: segment.maxprot,
                    protection: segment.initprot,
                    sections: self.sections(command, 72, segment.nsects)?,
                });
            }
            CommandVariant::IdDylib(command) => dylib(DylibKind::Id, command.dylib),
            CommandVariant::LoadDylib(command) => dylib(DylibKind::Load, command.dylib),
            CommandVariant::LoadWeakDylib(command) => dylib(DylibKind::Weak, command.dylib),
            CommandVariant::ReexportDylib(command) => dylib(DylibKind::Reexport, command.dylib),
            CommandVariant::LazyLoadDylib(command) => dylib(DylibKind::Lazy, command.dylib),
            CommandVariant::LoadUpwardDylib(command) => dylib(DylibKind::Upward, command.dylib),
            CommandVariant::Rpath(command) => macho.rpaths.push(path(command.path)),
            CommandVariant::LoadDylinker(command) => macho.dylinker = Some(path(command.name)),
            CommandVariant::Uuid(command) => macho.uuid = Some(command.uuid),
            CommandVariant::BuildVersion(command) => macho.platforms.push(Platform {
                name: platform(command.platform),
                minimum: version(command.minos),
                sdk: version(command.sdk),
            }),
            CommandVariant::VersionMinMacosx(command) => macho.min("macos", command),
            CommandVariant::VersionMinIphoneos(command) => macho.min("ios", command),
            CommandVariant::VersionMinTvos(command) => macho.min("tvos", command),
            CommandVariant::VersionMinWatchos(command) => macho.min("watchos", command),
            CommandVariant::SourceVersion(command) => {
                macho.source_version = Some(source_version(command.version));
            }
            CommandVariant::Main(command) => macho.entry = Some(Entry::Offset(command.entryoff)),
            CommandVariant::Unixthread(command) => {
                let address = command.instruction_pointer(macho.cpu.0);
                macho.entry = Some(Entry::Address(address.map_err(|error| error.to_string())?));
            }
            CommandVariant::EncryptionInfo32(command) => macho.encrypted |= command.cryptid != 0,
            CommandVariant::EncryptionInfo64(command) => macho.encrypted |= command.cryptid != 0,
            CommandVariant::Symtab(command) => {
                macho.symbols.table = Some(SymbolTable {
                    at: command.symoff.into(),
                    count: command.nsyms,
                    strings: span(command.stroff.into(), command.strsize.into()).into(),
                });
            }
            CommandVariant::CodeSignature(command) => {
                let range = span(command.dataoff.into(), command.datasize.into());
                macho.signature_range = Some(range);
            }
            _ => {}
        }
        Ok(())
    }

    fn sections(
        &mut self,
        command: &[u8],
        head: usize,
        count: u32,
    ) -> Result<Vec<Section>, String> {
        let width = if self.order.wide {
            SECTION_64_BYTES
        } else {
            SECTION_BYTES
        };
        let entries = command.get(head..).unwrap_or_default().chunks_exact(width);
        if entries.len() < count as usize {
            return Err(format!(
                "{count} sections are stated, it has room for {}",
                entries.len()
            ));
        }
        self.section_count += count as usize;
        if self.section_count > SECTION_LIMIT {
            return Err(format!("there are more than {SECTION_LIMIT} sections"));
        }
        let section = |entry: &[u8]| {
            let word = |at| self.order.u32(entry, at);
            let (address, size, offset, flags) = if self.order.wide {
                let long = |at| self.order.u64(entry, at);
                (long(32)?, long(40)?, word(48)?, word(64)?)
            } else {
                (word(32)?.into(), word(36)?.into(), word(40)?, word(56)?)
            };
            let start = u64::from(offset);
            let kind = flags & 0xff;
            Some(Section {
                name: text::lossless(text::until_zero(&entry[..16])),
                segment: text::lossless(text::until_zero(&entry[16..32])),
                address,
                size,
                file: if ZERO_FILL.contains(&kind) {
                    start..start
                } else {
                    span(start, size)
                },
                flags,
                entropy: None,
            })
        };
        Ok(entries.take(count as usize).filter_map(section).collect())
    }
}

impl MachO {
    fn min(&mut self, name: &str, command: goblin::mach::load_command::VersionMinCommand) {
        self.platforms.push(Platform {
            name: name.to_owned(),
            minimum: version(command.version),
            sdk: version(command.sdk),
        });
    }
}

fn span(start: u64, size: u64) -> Range<u64> {
    start..start.saturating_add(size)
}

/// 16, 8 and 8 bits.
fn version(packed: u32) -> String {
    format!("{}.{}.{}", packed >> 16, packed >> 8 & 0xff, packed & 0xff)
}

/// 24 and four times 10 bits.
fn source_version(packed: u64) -> String {
    let part = |shift: u32| packed >> shift & 0x3ff;
    format!(
        "{}.{}.{}.{}.{}",
        packed >> 40,
        part(30),
        part(20),
        part(10),
        part(0)
    )
}

fn platform(number: u32) -> String {
    const NAMES: [&str; 12] = [
        "macos",
        "ios",
        "tvos",
        "watchos",
        "bridgeos",
        "mac-catalyst",
        "ios-simulator",
        "tvos-simulator",
        "watchos-simulator",
        "driverkit",
        "visionos",
        "visionos-simulator",
    ];
    let name = (number as usize)
        .checked_sub(1)
        .and_then(|index| NAMES.get(index));
    name.map_or_else(|| format!("#{number}"), |name| (*name).to_owned())
}
