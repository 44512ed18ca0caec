//! Mach-O files: programs and libraries of macOS and its siblings, thin and universal.
//!
//! Layout, damage rules and sources are those of [`scelle_formats::executable::macho`]. One record
//! an architecture: its range is the slice, and the offsets in its fields count from there; a
//! universal binary's header is named besides. The format holds no time but those inside a
//! signature's cryptographic message, which is not decoded.

use std::fmt;

use scelle_event::{
    Column, ColumnKind, Fields, Loss, Provenance, Record, Role, Schema, Span, Tree, Value,
};
use scelle_formats::{
    DecodeError, Window,
    executable::macho::{self, Entry, MachO},
};

use super::{Show, entropy, entry, list, nested_unless, texts, warn};
use crate::{Artefact, Candidate, Descriptor, Emitter, Input, ParseStream, Parser};

/// `executable.macho`.
pub struct MachObject;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "executable.macho",
    summary: "Programs of macOS: architectures, libraries, symbols, code signature.",
    locations: &[
        "Applications/**/Contents/MacOS/*",
        "usr/local/bin/*",
        "Library/**/*.dylib",
    ],
    specifications: &[
        "Apple xnu: mach-o/loader.h, mach-o/fat.h, mach-o/nlist.h",
        "Apple xnu: kern/cs_blobs.h",
    ],
    schemas: &[&SCHEMA, &SLICE_SCHEMA],
    companions: &[],
};

static SCHEMA: Schema = Schema {
    name: "executable.macho.file",
    doc: "A Mach-O file, or one architecture of a universal one.",
    columns: &[
        Column::new(
            "slice",
            ColumnKind::Uint,
            "The number of the architecture in a universal binary, from 0.",
        ),
        Column::new(
            "machine",
            ColumnKind::Text,
            "The processor that it runs on.",
        ),
        Column::new(
            "cpu_type",
            ColumnKind::Uint,
            "The processor's family as stored.",
        ),
        Column::new(
            "cpu_subtype",
            ColumnKind::Uint,
            "The processor's model as stored.",
        ),
        Column::new("byte_order", ColumnKind::Text, "`little` or `big`."),
        Column::new(
            "file_type",
            ColumnKind::Text,
            "`EXECUTE`, `DYLIB`, `BUNDLE`, `OBJECT` or other.",
        ),
        Column::new("flags", ColumnKind::Uint, "The header's flags."),
        Column::new(
            "command_count",
            ColumnKind::Uint,
            "How many load commands the header states.",
        ),
        Column::new(
            "commands",
            ColumnKind::Nested,
            "The load commands that are there.",
        ),
        Column::new(
            "segments",
            ColumnKind::Nested,
            "Segments and sections: addresses, sizes, entropy in bits a byte (four digits).",
        ),
        Column::new(
            "dylibs",
            ColumnKind::Nested,
            "Libraries, in the order of the commands, its own name included.",
        ),
        Column::new("rpaths", ColumnKind::Nested, "Where to look for libraries."),
        Column::new("dylinker", ColumnKind::Text, "The program that loads it."),
        Column::new(
            "uuid",
            ColumnKind::Bytes,
            "The linker's identity for this build.",
        ),
        Column::new(
            "platforms",
            ColumnKind::Nested,
            "The platforms that it was built for: oldest version, development kit.",
        ),
        Column::new(
            "source_version",
            ColumnKind::Text,
            "The version of its source.",
        ),
        Column::new(
            "entry_offset",
            ColumnKind::Uint,
            "Where it begins to run, as an offset.",
        ),
        Column::new(
            "entry_point",
            ColumnKind::Uint,
            "Where it begins to run, as an address.",
        ),
        Column::new(
            "is_encrypted",
            ColumnKind::Bool,
            "Whether part of it is encrypted.",
        ),
        Column::new(
            "imported_symbols",
            ColumnKind::Nested,
            "Names that other files must provide.",
        ),
        Column::new(
            "exported_symbols",
            ColumnKind::Nested,
            "Names that it provides.",
        ),
        Column::new(
            "symbol_count",
            ColumnKind::Uint,
            "How many entries its table of symbols has.",
        ),
        Column::new(
            "has_code_signature",
            ColumnKind::Bool,
            "Whether a load command names a code signature.",
        ),
        Column::new(
            "identifier",
            ColumnKind::Text,
            "The identifier that is signed.",
        ),
        Column::new(
            "team",
            ColumnKind::Text,
            "The team of the developer who signed.",
        ),
        Column::new(
            "cdhash",
            ColumnKind::Bytes,
            "The hash of the code directory, cut to 20 bytes.",
        ),
        Column::new(
            "is_adhoc",
            ColumnKind::Bool,
            "Whether the signature has hashes only, and no signer.",
        ),
        Column::new(
            "code_directories",
            ColumnKind::Nested,
            "All code directories: hash function, flags, cdhash.",
        ),
        Column::new(
            "signature_message_bytes",
            ColumnKind::Uint,
            "The size of the signer's cryptographic message; 8 or less means none.",
        ),
        Column::new(
            "entitlements",
            ColumnKind::Text,
            "What the program asks to be allowed, an XML property list.",
        ),
    ],
};

static SLICE_SCHEMA: Schema = Schema {
    name: "executable.macho.slice",
    doc: "An architecture of a universal binary that is no Mach-O file: an archive of objects, mostly.",
    columns: &[
        Column::new(
            "slice",
            ColumnKind::Uint,
            "The number of the architecture in a universal binary, from 0.",
        ),
        Column::new(
            "machine",
            ColumnKind::Text,
            "The processor that it runs on.",
        ),
        Column::new(
            "cpu_type",
            ColumnKind::Uint,
            "The processor's family as stored.",
        ),
        Column::new(
            "cpu_subtype",
            ColumnKind::Uint,
            "The processor's model as stored.",
        ),
        Column::new("content", ColumnKind::Text, "`archive`, or `unknown`."),
    ],
};

impl Artefact for MachObject {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        macho::recognise(candidate.head(), candidate.size_bytes)
    }

    fn parser(&self) -> Parser {
        Parser::Stream(&Self)
    }
}

impl ParseStream for MachObject {
    fn parse(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<(), DecodeError> {
        let stream = input.stream;
        let len = stream.len();
        let Some(slices) = macho::slices(stream)? else {
            let macho = MachO::read(stream)?;
            warn(out, 0, &macho.damages);
            let file = File { slice: None, macho };
            out.observe(0..len, &[], &file);
            return Ok(());
        };
        // Slices may overlap, and a hostile file would have its bytes read for each of them.
        let mut left = len.saturating_mul(OVERLAP);
        for (number, slice) in slices.iter().enumerate() {
            let range = slice.range.start.min(len)..slice.range.end.min(len);
            let header = Span::new(0..8 + 20 * slices.len() as u64);
            if range.end - range.start != slice.range.end - slice.range.start {
                let cause = format!("architecture {number} reaches past the end of the file");
                out.warn(range.clone(), Loss::Field("slice"), cause);
            }
            let size = range.end - range.start;
            if size > left {
                let cause = format!("architecture {number} overlaps others many times");
                out.warn(range, Loss::Record, cause);
                continue;
            }
            left -= size;
            let place = Provenance::from(Span::new(range.clone())).with(Role::Container, header);
            let window = Window::new(stream, range.clone());
            match macho::content(&window) {
                macho::Content::MachO => match MachO::read(&window) {
                    Ok(macho) => {
                        warn(out, range.start, &macho.damages);
                        let slice = Some(number as u64);
                        out.observe_at(place, &[], &File { slice, macho });
                    }
                    Err(error) => out.warn(range, Loss::Record, error.to_string()),
                },
                content => {
                    if content == macho::Content::Unknown {
                        let cause = format!("architecture {number} is no Mach-O file");
                        out.warn(range, Loss::Field("content"), cause);
                    }
                    let slice = Slice {
                        number: number as u64,
                        cpu: slice.cpu,
                        is_archive: content == macho::Content::Archive,
                    };
                    out.observe_at(place, &[], &slice);
                }
            }
        }
        Ok(())
    }
}

/// How often the bytes of a universal binary are read at most.
const OVERLAP: u64 = 2;

struct File {
    slice: Option<u64>,
    macho: MachO,
}

impl Record for File {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn fields(&self, out: &mut dyn Fields) {
        let macho = &self.macho;
        let text = |text: &Option<String>, out: &mut dyn Fields| {
            out.value(Value::text(text.as_deref()));
        };
        let names = |names: &[String], out: &mut dyn Fields| {
            nested_unless(names.is_empty(), out, |out| {
                texts(out, names.iter().map(String::as_str));
            });
        };
        out.value(Value::uint(self.slice));
        out.value(Value::text(macho.cpu_name()));
        out.value(Value::Uint(macho.cpu.0.into()));
        out.value(Value::Uint(macho.cpu.1.into()));
        out.value(Value::Text(if macho.little_endian {
            "little"
        } else {
            "big"
        }));
        out.value(Value::Text(macho.kind()));
        out.value(Value::Uint(macho.flags.into()));
        out.value(Value::Uint(macho.command_count.into()));
        out.value(Value::Nested(&Show(|out: &mut dyn Tree| {
            texts(out, macho.commands.iter().copied());
        })));
        out.value(Value::Nested(&Show(|out: &mut dyn Tree| {
            segments(macho, out)
        })));
        nested_unless(macho.dylibs.is_empty(), out, |out| dylibs(macho, out));
        names(&macho.rpaths, out);
        text(&macho.dylinker, out);
        out.value(
            macho
                .uuid
                .as_ref()
                .map_or(Value::Null, |uuid| Value::Bytes(uuid)),
        );
        nested_unless(macho.platforms.is_empty(), out, |out| platforms(macho, out));
        text(&macho.source_version, out);
        let (offset, address) = match macho.entry {
            Some(Entry::Offset(offset)) => (Some(offset), None),
            Some(Entry::Address(address)) => (None, Some(address)),
            None => (None, None),
        };
        out.value(Value::uint(offset));
        out.value(Value::uint(address));
        out.value(Value::Bool(macho.encrypted));
        names(&macho.symbols.imports, out);
        names(&macho.symbols.exports, out);
        out.value(Value::Uint(macho.symbols.count));
        out.value(Value::Bool(macho.signature_range.is_some()));
        let signature = macho.signature.as_ref();
        let best = signature.and_then(|signature| signature.best());
        out.value(Value::text(
            best.and_then(|best| best.identifier.as_deref()),
        ));
        out.value(Value::text(best.and_then(|best| best.team.as_deref())));
        let cdhash = best.and_then(|best| best.cdhash.as_ref());
        out.value(cdhash.map_or(Value::Null, |hash| Value::Bytes(hash)));
        let adhoc = signature.map(|signature| signature.is_adhoc());
        out.value(adhoc.map_or(Value::Null, Value::Bool));
        nested_unless(signature.is_none(), out, |out| directories(macho, out));
        out.value(Value::uint(
            signature.map(|signature| signature.cms_bytes.into()),
        ));
        let entitlements = signature.and_then(|signature| signature.entitlements.as_deref());
        out.value(Value::text(entitlements));
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let macho = &self.macho;
        out.write_str(match macho.kind() {
            "EXECUTE" => "Mach-O executable",
            "DYLIB" | "DYLIB_STUB" => "Mach-O library",
            "BUNDLE" => "Mach-O plug-in",
            "OBJECT" => "Mach-O object",
            "KEXT_BUNDLE" => "Mach-O kernel extension",
            "CORE" => "Mach-O memory dump",
            "DSYM" => "Mach-O debug data",
            _ => "Mach-O file",
        })?;
        cpu(macho.cpu, out)?;
        if self.slice.is_some() {
            out.write_str(", in a universal binary")?;
        }
        let best = macho
            .signature
            .as_ref()
            .and_then(|signature| signature.best());
        let Some(best) = best else {
            return out.write_str(match macho.signature_range {
                Some(_) => ", with a code signature that can't be read",
                None => ", not signed",
            });
        };
        let identifier = best.identifier.as_deref().unwrap_or("(no identifier)");
        write!(out, ", signed as {identifier}")?;
        match &best.team {
            Some(team) => write!(out, " by team {team}"),
            None if macho.signature.as_ref().is_some_and(|one| one.is_adhoc()) => {
                out.write_str(" without a signer")
            }
            None => Ok(()),
        }
    }
}

struct Slice {
    number: u64,
    cpu: (u32, u32),
    is_archive: bool,
}

impl Record for Slice {
    fn schema(&self) -> &'static Schema {
        &SLICE_SCHEMA
    }

    fn fields(&self, out: &mut dyn Fields) {
        out.value(Value::Uint(self.number));
        out.value(Value::text(macho::cpu_name(self.cpu)));
        out.value(Value::Uint(self.cpu.0.into()));
        out.value(Value::Uint(self.cpu.1.into()));
        out.value(Value::Text(if self.is_archive {
            "archive"
        } else {
            "unknown"
        }));
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(if self.is_archive {
            "Archive of objects"
        } else {
            "Unknown content"
        })?;
        cpu(self.cpu, out)?;
        out.write_str(", in a universal binary")
    }
}

fn cpu(cpu: (u32, u32), out: &mut dyn fmt::Write) -> fmt::Result {
    match macho::cpu_name(cpu) {
        Some(name) => write!(out, ", {name}"),
        None => write!(out, ", processor {:#x}", cpu.0),
    }
}

fn segments(macho: &MachO, out: &mut dyn Tree) {
    list(out, &macho.segments, |out, segment| {
        out.begin_map();
        entry(out, "name", Value::Text(&segment.name));
        entry(out, "address", Value::Uint(segment.address.start));
        entry(
            out,
            "memory_bytes",
            Value::Uint(segment.address.end - segment.address.start),
        );
        entry(out, "offset", Value::Uint(segment.file.start));
        entry(
            out,
            "file_bytes",
            Value::Uint(segment.file.end - segment.file.start),
        );
        entry(
            out,
            "max_protection",
            Value::Uint(segment.max_protection.into()),
        );
        entry(out, "protection", Value::Uint(segment.protection.into()));
        out.key("sections");
        list(out, &segment.sections, |out, section| {
            out.begin_map();
            entry(out, "name", Value::Text(&section.name));
            entry(out, "segment", Value::Text(&section.segment));
            entry(out, "address", Value::Uint(section.address));
            entry(out, "bytes", Value::Uint(section.size));
            entry(out, "offset", Value::Uint(section.file.start));
            entry(out, "flags", Value::Uint(section.flags.into()));
            entropy(out, section.entropy);
            out.end();
        });
        out.end();
    });
}

fn dylibs(macho: &MachO, out: &mut dyn Tree) {
    list(out, &macho.dylibs, |out, dylib| {
        out.begin_map();
        entry(out, "path", Value::Text(&dylib.path));
        entry(out, "use", Value::Text(dylib.kind.name()));
        entry(out, "version", Value::Text(&dylib.version));
        out.end();
    });
}

fn platforms(macho: &MachO, out: &mut dyn Tree) {
    list(out, &macho.platforms, |out, platform| {
        out.begin_map();
        entry(out, "name", Value::Text(&platform.name));
        entry(out, "minimum", Value::Text(&platform.minimum));
        entry(out, "sdk", Value::Text(&platform.sdk));
        out.end();
    });
}

fn directories(macho: &MachO, out: &mut dyn Tree) {
    let directories = macho
        .signature
        .iter()
        .flat_map(|signature| &signature.directories);
    list(out, directories, |out, directory| {
        out.begin_map();
        entry(out, "hash_type", Value::Uint(directory.hash_type.into()));
        entry(out, "flags", Value::Uint(directory.flags.into()));
        if let Some(hash) = &directory.cdhash {
            entry(out, "cdhash", Value::Bytes(hash));
        }
        entry(
            out,
            "identifier",
            Value::text(directory.identifier.as_deref()),
        );
        entry(out, "team", Value::text(directory.team.as_deref()));
        out.end();
    });
}
