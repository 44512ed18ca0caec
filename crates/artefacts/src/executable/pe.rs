//! Portable Executables, `MZ…PE`: programs, libraries and drivers of Windows, EFI applications.
//!
//! Layout, damage rules and sources are those of [`scelle_formats::executable::pe`]. One record a
//! file; its range is the whole file, since nearly every field rests on another part of it, and
//! the certificate table is named besides where there is a signature.
//!
//! # Times
//! The file header's timestamp is when the file was linked, unless the debug directory says that
//! the build was reproducible: then it is a hash of the content and no stamp is made of it. A
//! signature's time is that of its time-stamp, or what the signer says where there is none.
//! Linkers and signers write what they like: an absurd time is shown as it stands.

use std::fmt;

use scelle_event::{
    Column, ColumnKind, Fields, Meaning, Precision, Provenance, Record, Role, Schema, Span, Stamp,
    Tree, UtcNanos, Value,
};
use scelle_formats::{
    DecodeError,
    executable::pe::{self, Library, Pe, Signature, Symbol},
};

use super::{Show, entropy, entry, list, nested_unless, warn};
use crate::{Artefact, Candidate, Descriptor, Emitter, Input, ParseStream, Parser};

/// `executable.pe`.
pub struct PortableExecutable;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "executable.pe",
    summary: "Windows and EFI programs: build, imports, exports, resources, signature.",
    locations: &["**/*.exe", "**/*.dll", "**/*.sys", "**/*.efi"],
    specifications: &[
        "Microsoft: PE Format",
        "Microsoft: Windows Authenticode Portable Executable Signature Format (2008)",
        "RFC 5652, RFC 3161",
    ],
    schemas: &[&SCHEMA],
    companions: &[],
};

static SCHEMA: Schema = Schema {
    name: "executable.pe.file",
    doc: "A Portable Executable.",
    columns: &[
        Column::new("format", ColumnKind::Text, "`PE32` or `PE32+`."),
        Column::new(
            "machine",
            ColumnKind::Text,
            "The processor that it runs on.",
        ),
        Column::new("machine_code", ColumnKind::Uint, "The same as stored."),
        Column::new("subsystem", ColumnKind::Text, "What it runs under."),
        Column::new("subsystem_code", ColumnKind::Uint, "The same as stored."),
        Column::new(
            "is_dll",
            ColumnKind::Bool,
            "Whether it says that it is a library.",
        ),
        Column::new(
            "characteristics",
            ColumnKind::Uint,
            "The file header's flags.",
        ),
        Column::new(
            "dll_characteristics",
            ColumnKind::Uint,
            "The optional header's flags.",
        ),
        Column::new(
            "timestamp",
            ColumnKind::Uint,
            "The file header's timestamp as stored.",
        ),
        Column::new(
            "reproducible",
            ColumnKind::Bool,
            "Whether the build was reproducible: the timestamp is then a hash, not a time.",
        ),
        Column::new("linker", ColumnKind::Text, "The linker's version."),
        Column::new(
            "entry_point",
            ColumnKind::Uint,
            "Address of its first instruction, from the image base.",
        ),
        Column::new(
            "image_base",
            ColumnKind::Uint,
            "The address that it would like to be loaded at.",
        ),
        Column::new("image_bytes", ColumnKind::Uint, "Its size in memory."),
        Column::new(
            "sections",
            ColumnKind::Nested,
            "Sections: addresses, sizes, flags, entropy in bits a byte (four digits), SHA-256.",
        ),
        Column::new(
            "imports",
            ColumnKind::Nested,
            "Imported libraries and symbols.",
        ),
        Column::new(
            "delay_imports",
            ColumnKind::Nested,
            "Those that are resolved when first called.",
        ),
        Column::new(
            "imphash",
            ColumnKind::Bytes,
            "MD5 over imported names, as `pefile` defines it.",
        ),
        Column::new(
            "export_library",
            ColumnKind::Text,
            "The name that it gives itself.",
        ),
        Column::new("exports", ColumnKind::Nested, "Exported symbols."),
        Column::new(
            "resources",
            ColumnKind::Nested,
            "Resources by type: how many, how large.",
        ),
        Column::new(
            "version_info",
            ColumnKind::Nested,
            "The texts of its version resource.",
        ),
        Column::new(
            "file_version",
            ColumnKind::Text,
            "The file version as numbers.",
        ),
        Column::new(
            "original_filename",
            ColumnKind::Text,
            "The file name that its version resource states.",
        ),
        Column::new(
            "pdb",
            ColumnKind::Text,
            "Path of its program database on the machine that built it.",
        ),
        Column::new(
            "pdbs",
            ColumnKind::Nested,
            "All program databases: path, identity, age.",
        ),
        Column::new(
            "rich_hash",
            ColumnKind::Bytes,
            "MD5 of the unmasked Rich header, as `pefile` computes it.",
        ),
        Column::new(
            "rich_tools",
            ColumnKind::Nested,
            "Tools of the Rich header: product, build, count of objects.",
        ),
        Column::new(
            "tls_callbacks",
            ColumnKind::Uint,
            "How many functions run before the entry point.",
        ),
        Column::new(
            "is_dotnet",
            ColumnKind::Bool,
            "Whether it is a .NET assembly.",
        ),
        Column::new(
            "dotnet_version",
            ColumnKind::Text,
            "The version text of its metadata.",
        ),
        Column::new(
            "overlay_offset",
            ColumnKind::Uint,
            "Where bytes begin that no header speaks of.",
        ),
        Column::new(
            "overlay_bytes",
            ColumnKind::Uint,
            "How many there are, certificates included.",
        ),
        Column::new(
            "checksum",
            ColumnKind::Uint,
            "The optional header's checksum as stored.",
        ),
        Column::new("computed_checksum", ColumnKind::Uint, "What it should be."),
        Column::new(
            "certificate_offset",
            ColumnKind::Uint,
            "Where the header says that certificates lie.",
        ),
        Column::new(
            "certificate_bytes",
            ColumnKind::Uint,
            "How large it says that they are.",
        ),
        Column::new(
            "authentihash",
            ColumnKind::Bytes,
            "The image's SHA-256 as Authenticode defines it; only with certificates.",
        ),
        Column::new(
            "signer",
            ColumnKind::Text,
            "Subject of the certificate of the first signature.",
        ),
        Column::new(
            "digest_matches",
            ColumnKind::Bool,
            "Whether the image's hash is the one that every signature names; the signature's own arithmetic and the chain of certificates are not checked.",
        ),
        Column::new(
            "nested_signatures",
            ColumnKind::Uint,
            "How many signatures lie inside others.",
        ),
        Column::new(
            "signatures",
            ColumnKind::Nested,
            "All signatures, each before those nested in it.",
        ),
    ],
};

impl Artefact for PortableExecutable {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        pe::recognise(candidate.head(), || candidate.bytes())
    }

    fn parser(&self) -> Parser {
        Parser::Stream(&Self)
    }
}

impl ParseStream for PortableExecutable {
    fn parse(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<(), DecodeError> {
        let len = input.stream.len();
        let pe = Pe::read(input.stream)?;
        warn(out, 0, &pe.damages);
        let mut times = Vec::new();
        if !pe.debug.reproducible {
            times.extend(Stamp::unix_seconds(
                pe.headers.timestamp.into(),
                Meaning::Built,
            ));
        }
        for signature in &pe.signatures {
            if let Some((seconds, clock)) = signature.signed_at {
                let stamp = Stamp::unix_seconds(seconds, Meaning::Signed);
                times.extend(stamp.map(|stamp| stamp.in_attribute(clock.name())));
            }
        }
        let mut provenance = Provenance::from(Span::new(0..len));
        if let Some(table) = pe.certificate_table(len).filter(|table| !table.is_empty()) {
            provenance = provenance.with(Role::Basis, Span::new(table));
        }
        let built = times.iter().find(|time| time.meaning == Meaning::Built);
        let file = File {
            built: built.copied(),
            len,
            pe,
        };
        out.observe_at(provenance, &times, &file);
        Ok(())
    }
}

struct File {
    pe: Pe,
    len: u64,
    built: Option<Stamp>,
}

impl File {
    const DLL: u16 = 0x2000;

    fn is_dll(&self) -> bool {
        self.pe.headers.characteristics & Self::DLL != 0
    }

    fn signer(&self) -> Option<&pe::Signer> {
        self.pe.signatures.first()?.signer.as_ref()
    }

    /// False as soon as one signature names another hash.
    fn digest_matches(&self) -> Option<bool> {
        let answers = self.pe.signatures.iter().map(Signature::digest_matches);
        answers.reduce(|all, one| match (all, one) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        })?
    }

    fn version_text(&self, key: &str) -> Option<&str> {
        let texts = &self.pe.resources.as_ref()?.version;
        let (_, text) = texts.iter().find(|(known, _)| known == key)?;
        Some(text)
    }
}

impl Record for File {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn fields(&self, out: &mut dyn Fields) {
        let pe = &self.pe;
        let headers = &pe.headers;
        let number = |number: u32| Value::Uint(number.into());
        let text = |text: &Option<String>, out: &mut dyn Fields| {
            out.value(Value::text(text.as_deref()));
        };
        out.value(Value::Text(if headers.is_plus() {
            "PE32+"
        } else {
            "PE32"
        }));
        out.value(Value::text(named(MACHINES, headers.machine)));
        out.value(number(headers.machine.into()));
        out.value(Value::text(named(SUBSYSTEMS, headers.subsystem)));
        out.value(number(headers.subsystem.into()));
        out.value(Value::Bool(self.is_dll()));
        out.value(number(headers.characteristics.into()));
        out.value(number(headers.dll_characteristics.into()));
        out.value(number(headers.timestamp));
        out.value(Value::Bool(pe.debug.reproducible));
        out.value(Value::Text(&format!(
            "{}.{}",
            headers.linker.0, headers.linker.1
        )));
        out.value(number(headers.entry_point));
        out.value(Value::Uint(headers.image_base));
        out.value(number(headers.image_bytes));
        out.value(Value::Nested(&Show(|out: &mut dyn Tree| sections(pe, out))));
        libraries(&pe.imports, out);
        libraries(&pe.delay_imports, out);
        out.value(bytes(pe.imphash.as_ref().map(|hash| &hash[..])));
        let exports = pe.exports.as_ref();
        out.value(Value::text(
            exports.and_then(|exports| exports.library.as_deref()),
        ));
        match exports {
            Some(exports) => out.value(Value::Nested(&Show(|out: &mut dyn Tree| {
                show_exports(exports, out);
            }))),
            None => out.value(Value::Null),
        }
        let resources = pe.resources.as_ref();
        match resources {
            Some(resources) => out.value(Value::Nested(&Show(|out: &mut dyn Tree| {
                show_resources(resources, out);
            }))),
            None => out.value(Value::Null),
        }
        match resources.filter(|resources| !resources.version.is_empty()) {
            Some(resources) => out.value(Value::Nested(&Show(|out: &mut dyn Tree| {
                out.begin_map();
                for (key, text) in &resources.version {
                    entry(out, key, Value::Text(text));
                }
                out.end();
            }))),
            None => out.value(Value::Null),
        }
        let numbers = resources.and_then(|resources| resources.file_version);
        let file_version = numbers.map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}"));
        text(&file_version, out);
        out.value(Value::text(self.version_text("OriginalFilename")));
        let pdb = pe.debug.pdbs.first();
        out.value(Value::text(pdb.map(|pdb| pdb.path.as_str())));
        nested_unless(pe.debug.pdbs.is_empty(), out, |out| show_pdbs(pe, out));
        let rich = pe.rich.as_ref();
        out.value(bytes(rich.map(|rich| &rich.hash[..])));
        nested_unless(rich.is_none(), out, |out| show_tools(pe, out));
        out.value(Value::uint(pe.tls_callbacks.map(u64::from)));
        out.value(Value::Bool(pe.is_clr()));
        text(&pe.clr_version, out);
        out.value(Value::uint(pe.overlay_offset));
        out.value(Value::uint(
            pe.overlay_offset.map(|offset| self.len - offset),
        ));
        out.value(number(headers.checksum));
        out.value(Value::uint(pe.computed_checksum.map(u64::from)));
        // As stated, zeros too: that the entry is there at all says something of tiny files.
        let certificates = headers.directories.get(4);
        out.value(Value::uint(certificates.map(|entry| entry.rva.into())));
        out.value(Value::uint(certificates.map(|entry| entry.size.into())));
        out.value(bytes(pe.authentihash.as_deref()));
        out.value(Value::text(
            self.signer().map(|signer| signer.subject.as_str()),
        ));
        out.value(self.digest_matches().map_or(Value::Null, Value::Bool));
        let nested = pe
            .signatures
            .iter()
            .filter(|signature| signature.nesting > 0);
        out.value(Value::Uint(nested.count() as u64));
        nested_unless(pe.signatures.is_empty(), out, |out| {
            show_signatures(pe, out)
        });
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let headers = &self.pe.headers;
        out.write_str(if self.is_dll() {
            "PE library"
        } else {
            "PE executable"
        })?;
        match named(MACHINES, headers.machine) {
            Some(machine) => write!(out, ", {machine}")?,
            None => write!(out, ", machine {:#06x}", headers.machine)?,
        }
        if self.pe.is_clr() {
            out.write_str(", .NET")?;
        }
        match &self.built {
            Some(built) => write!(out, ", built {}", built.moment.to_iso(built.precision))?,
            None if self.pe.debug.reproducible => out.write_str(", reproducible build")?,
            None => {}
        }
        if self.pe.signatures.is_empty() {
            return out.write_str(match self.pe.certificate_table(self.len) {
                Some(_) => ", with certificates that can't be read",
                None => ", not signed",
            });
        }
        let name = self
            .signer()
            .and_then(|signer| signer.common_name.as_deref());
        write!(
            out,
            ", signed by {}",
            name.unwrap_or("someone whose certificate is not there")
        )?;
        out.write_str(match self.digest_matches() {
            Some(true) => " (digest matches)",
            Some(false) => " (digest DOES NOT match)",
            None => " (digest unknown)",
        })
    }
}

fn bytes(bytes: Option<&[u8]>) -> Value<'_> {
    bytes.map_or(Value::Null, Value::Bytes)
}

fn sections(pe: &Pe, out: &mut dyn Tree) {
    list(out, &pe.sections, |out, (section, measured)| {
        out.begin_map();
        entry(out, "name", Value::Text(&section.name));
        entry(
            out,
            "virtual_address",
            Value::Uint(section.virtual_address.into()),
        );
        entry(
            out,
            "virtual_bytes",
            Value::Uint(section.virtual_size.into()),
        );
        entry(out, "raw_offset", Value::Uint(section.raw_offset.into()));
        entry(out, "raw_bytes", Value::Uint(section.raw_size.into()));
        entry(
            out,
            "characteristics",
            Value::Uint(section.characteristics.into()),
        );
        entropy(out, measured.map(|measured| measured.entropy));
        let hash = measured
            .as_ref()
            .and_then(|measured| measured.sha256.as_ref());
        entry(out, "sha256", bytes(hash.map(|hash| &hash[..])));
        out.end();
    });
}

fn libraries(libraries: &[Library], out: &mut dyn Fields) {
    nested_unless(libraries.is_empty(), out, |out| {
        list(out, libraries, |out, library| {
            out.begin_map();
            entry(out, "library", Value::Text(&library.name));
            out.key("symbols");
            list(out, &library.symbols, |out, symbol| match symbol {
                Symbol::Name(name) => out.value(Value::Text(name)),
                Symbol::Ordinal(ordinal) => match Pe::ordinal_name(&library.name, *ordinal) {
                    Some(name) => out.value(Value::Text(name)),
                    None => out.value(Value::Text(&format!("#{ordinal}"))),
                },
            });
            out.end();
        });
    });
}

fn show_exports(exports: &pe::Exports, out: &mut dyn Tree) {
    list(out, &exports.symbols, |out, export| {
        out.begin_map();
        entry(out, "name", Value::text(export.name.as_deref()));
        entry(out, "ordinal", Value::Uint(export.ordinal.into()));
        entry(out, "forwarder", Value::text(export.forwarder.as_deref()));
        out.end();
    });
}

fn show_resources(resources: &pe::Resources, out: &mut dyn Tree) {
    list(out, &resources.kinds, |out, kind| {
        out.begin_map();
        entry(out, "type", Value::Text(&kind.name));
        entry(out, "count", Value::Uint(kind.count));
        entry(out, "bytes", Value::Uint(kind.size_bytes));
        out.end();
    });
}

fn show_pdbs(pe: &Pe, out: &mut dyn Tree) {
    list(out, &pe.debug.pdbs, |out, pdb| {
        out.begin_map();
        entry(out, "path", Value::Text(&pdb.path));
        entry(out, "id", Value::Text(&pdb.id.to_string()));
        entry(out, "age", Value::Uint(pdb.age.into()));
        out.end();
    });
}

fn show_tools(pe: &Pe, out: &mut dyn Tree) {
    let tools = pe.rich.iter().flat_map(|rich| &rich.tools);
    list(out, tools, |out, (product, build, count)| {
        out.begin_map();
        entry(out, "product", Value::Uint((*product).into()));
        entry(out, "build", Value::Uint((*build).into()));
        entry(out, "count", Value::Uint((*count).into()));
        out.end();
    });
}

fn show_signatures(pe: &Pe, out: &mut dyn Tree) {
    let time = |seconds| Value::Time(UtcNanos::from_unix_seconds(seconds), Precision::SECOND);
    list(out, &pe.signatures, |out, signature| {
        out.begin_map();
        entry(out, "offset", Value::Uint(signature.range.start));
        entry(out, "nesting", Value::Uint(signature.nesting.into()));
        entry(out, "algorithm", Value::Text(signature.algorithm.name()));
        entry(out, "digest", Value::Bytes(&signature.digest));
        entry(
            out,
            "image_digest",
            bytes(signature.image_digest.as_deref()),
        );
        let matches = signature.digest_matches();
        entry(
            out,
            "digest_matches",
            matches.map_or(Value::Null, Value::Bool),
        );
        let content = signature.content_matches;
        entry(
            out,
            "content_matches",
            content.map_or(Value::Null, Value::Bool),
        );
        if let Some(signer) = &signature.signer {
            entry(out, "subject", Value::Text(&signer.subject));
            entry(out, "issuer", Value::Text(&signer.issuer));
            entry(out, "serial", Value::Bytes(&signer.serial));
            entry(out, "thumbprint", Value::Bytes(&signer.thumbprint));
            entry(out, "not_before", time(signer.not_before));
            entry(out, "not_after", time(signer.not_after));
        }
        if let Some((seconds, clock)) = signature.signed_at {
            entry(out, "signed_at", time(seconds));
            entry(out, "signed_at_says", Value::Text(clock.name()));
        }
        entry(
            out,
            "certificates",
            Value::Uint(signature.certificate_count.into()),
        );
        out.end();
    });
}

fn named(names: &'static [(u16, &'static str)], code: u16) -> Option<&'static str> {
    let (_, name) = names.iter().find(|(known, _)| *known == code)?;
    Some(name)
}

const MACHINES: &[(u16, &str)] = &[
    (0x014c, "x86"),
    (0x0166, "MIPS R4000"),
    (0x01a2, "SH3"),
    (0x01a6, "SH4"),
    (0x01c0, "ARM"),
    (0x01c2, "ARM Thumb"),
    (0x01c4, "ARM Thumb-2"),
    (0x01f0, "PowerPC"),
    (0x0200, "Itanium"),
    (0x0ebc, "EFI byte code"),
    (0x5032, "RISC-V 32"),
    (0x5064, "RISC-V 64"),
    (0x6232, "LoongArch 32"),
    (0x6264, "LoongArch 64"),
    (0x8664, "x86-64"),
    (0xa641, "ARM64EC"),
    (0xa64e, "ARM64X"),
    (0xaa64, "ARM64"),
];

const SUBSYSTEMS: &[(u16, &str)] = &[
    (1, "native"),
    (2, "Windows GUI"),
    (3, "Windows console"),
    (5, "OS/2 console"),
    (7, "POSIX console"),
    (8, "native Windows 9x"),
    (9, "Windows CE"),
    (10, "EFI application"),
    (11, "EFI boot service driver"),
    (12, "EFI runtime driver"),
    (13, "EFI ROM"),
    (14, "Xbox"),
    (16, "Windows boot application"),
    (17, "Xbox code catalogue"),
];
