//! ELF files: programs, libraries, objects and kernel modules of Linux and most other systems.
//!
//! Layout, damage rules and sources are those of [`scelle_formats::executable::elf`]. One record a
//! file; its range is the whole file, since nearly every field rests on another part of it. The
//! format holds no time.

use std::fmt;

use scelle_event::{Column, ColumnKind, Fields, Record, Schema, Tree, Value};
use scelle_formats::{
    DecodeError,
    executable::elf::{self, Elf},
};

use super::{Show, entropy, entry, list, nested_unless, texts, warn};
use crate::{Artefact, Candidate, Descriptor, Emitter, Input, ParseStream, Parser};

/// `executable.elf`.
pub struct ExecutableAndLinkable;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "executable.elf",
    summary: "Linux and Unix programs: machine, libraries, symbols, build id, compilers.",
    locations: &[
        "bin/*",
        "sbin/*",
        "usr/bin/*",
        "usr/sbin/*",
        "usr/lib/**/*.so*",
    ],
    specifications: &[
        "System V Application Binary Interface (gABI), chapters 4 and 5",
        "Linux Standard Base: Note Sections",
    ],
    schemas: &[&SCHEMA],
    companions: &[],
};

static SCHEMA: Schema = Schema {
    name: "executable.elf.file",
    doc: "An ELF file.",
    columns: &[
        Column::new("format", ColumnKind::Text, "`ELF32` or `ELF64`."),
        Column::new("byte_order", ColumnKind::Text, "`little` or `big`."),
        Column::new(
            "machine",
            ColumnKind::Text,
            "The processor that it runs on.",
        ),
        Column::new("machine_code", ColumnKind::Uint, "The same as stored."),
        Column::new(
            "file_type",
            ColumnKind::Text,
            "`EXEC`, `DYN`, `REL`, `CORE` or other.",
        ),
        Column::new(
            "os_abi",
            ColumnKind::Text,
            "The system whose conventions it follows.",
        ),
        Column::new(
            "entry_point",
            ColumnKind::Uint,
            "Address of its first instruction.",
        ),
        Column::new(
            "interpreter",
            ColumnKind::Text,
            "The program that loads it.",
        ),
        Column::new(
            "needed",
            ColumnKind::Nested,
            "Libraries that must be loaded.",
        ),
        Column::new(
            "soname",
            ColumnKind::Text,
            "The name by which others need it.",
        ),
        Column::new(
            "rpath",
            ColumnKind::Text,
            "Where to look for libraries, before the environment.",
        ),
        Column::new(
            "runpath",
            ColumnKind::Text,
            "Where to look for libraries, after the environment.",
        ),
        Column::new(
            "build_id",
            ColumnKind::Bytes,
            "The linker's identity for this build.",
        ),
        Column::new(
            "go_build_id",
            ColumnKind::Text,
            "The Go linker's identity for this build.",
        ),
        Column::new(
            "segments",
            ColumnKind::Nested,
            "Segments: kind, addresses, sizes, protection.",
        ),
        Column::new(
            "sections",
            ColumnKind::Nested,
            "Sections: kind, addresses, sizes, flags, entropy in bits a byte (four digits).",
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
            "symbol_counts",
            ColumnKind::Nested,
            "Imports and exports of the dynamic table and of the table of all symbols.",
        ),
        Column::new(
            "is_stripped",
            ColumnKind::Bool,
            "Whether the table of all symbols was removed.",
        ),
        Column::new(
            "has_debug_info",
            ColumnKind::Bool,
            "Whether it carries data for debuggers.",
        ),
        Column::new(
            "compilers",
            ColumnKind::Nested,
            "What compilers and linkers wrote into `.comment`.",
        ),
    ],
};

impl Artefact for ExecutableAndLinkable {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        elf::recognise(candidate.head())
    }

    fn parser(&self) -> Parser {
        Parser::Stream(&Self)
    }
}

impl ParseStream for ExecutableAndLinkable {
    fn parse(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<(), DecodeError> {
        let elf = Elf::read(input.stream)?;
        warn(out, 0, &elf.damages);
        out.observe(0..input.stream.len(), &[], &File(elf));
        Ok(())
    }
}

struct File(Elf);

impl Record for File {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn fields(&self, out: &mut dyn Fields) {
        let Self(elf) = self;
        let text = |text: &Option<String>, out: &mut dyn Fields| {
            out.value(Value::text(text.as_deref()));
        };
        out.value(Value::Text(if elf.wide { "ELF64" } else { "ELF32" }));
        out.value(Value::Text(if elf.little_endian {
            "little"
        } else {
            "big"
        }));
        out.value(Value::Text(elf.machine()));
        out.value(Value::Uint(elf.header.e_machine.into()));
        out.value(Value::Text(elf.kind()));
        out.value(Value::Text(&os_abi(elf.os_abi())));
        out.value(Value::Uint(elf.header.e_entry));
        text(&elf.interpreter, out);
        let names = |names: &[String], out: &mut dyn Fields| {
            nested_unless(names.is_empty(), out, |out| {
                texts(out, names.iter().map(String::as_str));
            });
        };
        names(&elf.dynamic.needed, out);
        text(&elf.dynamic.soname, out);
        text(&elf.dynamic.rpath, out);
        text(&elf.dynamic.runpath, out);
        out.value(elf.build_id.as_deref().map_or(Value::Null, Value::Bytes));
        text(&elf.go_build_id, out);
        out.value(Value::Nested(&Show(|out: &mut dyn Tree| {
            segments(elf, out)
        })));
        out.value(Value::Nested(&Show(|out: &mut dyn Tree| {
            sections(elf, out)
        })));
        names(&elf.symbols.imports, out);
        names(&elf.symbols.exports, out);
        out.value(Value::Nested(&Show(|out: &mut dyn Tree| {
            out.begin_map();
            for (name, tally) in [("dynamic", elf.symbols.dynamic), ("all", elf.symbols.all)] {
                out.key(name);
                out.begin_map();
                entry(out, "imported", Value::Uint(tally.imported));
                entry(
                    out,
                    "imported_functions",
                    Value::Uint(tally.imported_functions),
                );
                entry(out, "exported", Value::Uint(tally.exported));
                entry(
                    out,
                    "exported_functions",
                    Value::Uint(tally.exported_functions),
                );
                out.end();
            }
            out.end();
        })));
        out.value(Value::Bool(elf.is_stripped()));
        out.value(Value::Bool(elf.has_debug_info()));
        names(&elf.comments, out);
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self(elf) = self;
        let kind = match elf.kind() {
            "EXEC" => "ELF executable",
            "DYN" if elf.interpreter.is_some() => "ELF executable",
            "DYN" => "ELF library",
            "REL" => "ELF object",
            "CORE" => "ELF memory dump",
            _ => "ELF file",
        };
        let bits = if elf.wide { 64 } else { 32 };
        write!(out, "{kind}, {}, {bits}-bit", elf.machine())?;
        if !elf.little_endian {
            out.write_str(", big-endian")?;
        }
        if elf.is_stripped() {
            out.write_str(", stripped")?;
        }
        if let Some(soname) = &elf.dynamic.soname {
            write!(out, ", known as {soname}")?;
        }
        Ok(())
    }
}

fn segments(elf: &Elf, out: &mut dyn Tree) {
    list(out, &elf.segments, |out, segment| {
        out.begin_map();
        entry(out, "type", Value::Text(Elf::segment_kind(segment)));
        entry(out, "address", Value::Uint(segment.p_vaddr));
        entry(out, "memory_bytes", Value::Uint(segment.p_memsz));
        entry(out, "offset", Value::Uint(segment.p_offset));
        entry(out, "file_bytes", Value::Uint(segment.p_filesz));
        entry(out, "flags", Value::Uint(segment.p_flags.into()));
        out.end();
    });
}

fn sections(elf: &Elf, out: &mut dyn Tree) {
    list(out, &elf.sections, |out, section| {
        let header = &section.header;
        out.begin_map();
        entry(out, "name", Value::Text(&section.name));
        entry(out, "type", Value::Text(Elf::section_kind(header)));
        entry(out, "address", Value::Uint(header.sh_addr));
        entry(out, "offset", Value::Uint(header.sh_offset));
        entry(out, "bytes", Value::Uint(header.sh_size));
        entry(out, "flags", Value::Uint(header.sh_flags));
        entropy(out, section.entropy);
        out.end();
    });
}

/// The names of the gABI and of systems that registered with it.
fn os_abi(code: u8) -> String {
    let name = match code {
        0 => "System V",
        1 => "HP-UX",
        2 => "NetBSD",
        3 => "GNU/Linux",
        6 => "Solaris",
        7 => "AIX",
        8 => "IRIX",
        9 => "FreeBSD",
        10 => "Tru64",
        12 => "OpenBSD",
        13 => "OpenVMS",
        64 | 97 => "ARM",
        255 => "standalone",
        _ => return format!("#{code}"),
    };
    name.to_owned()
}
