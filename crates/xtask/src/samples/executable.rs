//! Executables of a few kilobytes; the layouts stand in `formats::executable`.
//!
//! `executable.pe/signed.exe` has no recipe here: `testdata/README.md` says how it was made.

use super::Recipe;

/// 2024-02-29 12:34:56 UTC.
const BUILT: u32 = 1_709_210_096;

/// Every executable.
pub(super) fn recipes() -> Vec<Recipe> {
    let mut damaged_pe = pe();
    damage_pe(&mut damaged_pe);
    let mut damaged_elf = elf();
    damage_elf(&mut damaged_elf);
    [
        ("executable.pe", "plain.exe", pe()),
        ("executable.pe", "damaged.exe", damaged_pe),
        ("executable.pe", "tiny.efi", tiny_pe()),
        ("executable.elf", "plain", elf()),
        ("executable.elf", "damaged", damaged_elf),
        ("executable.elf", "big-endian.o", big_endian_elf()),
        ("executable.macho", "universal", universal()),
        ("executable.macho", "damaged", damaged_universal()),
        ("executable.macho", "powerpc.o", powerpc_object()),
    ]
    .into_iter()
    .map(|(artefact, name, bytes)| Recipe {
        artefact,
        name,
        bytes,
    })
    .collect()
}

/// Bytes that are written at any place; what was never written is zero.
#[derive(Default)]
struct Sheet(Vec<u8>);

impl Sheet {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0[at..end].copy_from_slice(bytes);
    }

    fn words(&mut self, at: usize, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(at, &bytes);
    }

    fn halves(&mut self, at: usize, halves: &[u16]) {
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        self.put(at, &bytes);
    }

    fn longs(&mut self, at: usize, longs: &[u64]) {
        let bytes: Vec<u8> = longs.iter().flat_map(|long| long.to_le_bytes()).collect();
        self.put(at, &bytes);
    }
}

const PE_AT: usize = 0x100;
const OPTIONAL_AT: usize = PE_AT + 24;
const DIRECTORIES_AT: usize = OPTIONAL_AT + 112;
const SECTIONS_AT: usize = OPTIONAL_AT + 240;
/// The data section lies at this offset, and at this address.
const DATA: (usize, u32) = (0x600, 0x2000);

/// The address of an offset into the data section.
fn rva(offset: usize) -> u32 {
    DATA.1 + (offset - DATA.0) as u32
}

/// A PE32+ program with one of everything but a signature.
fn pe() -> Vec<u8> {
    let mut out = Sheet::default();
    out.put(0, b"MZ");
    out.words(0x3c, &[PE_AT as u32]);
    out.put(0x40, b"This sample does nothing.\r\n$");
    rich(&mut out);

    out.put(PE_AT, b"PE\0\0");
    out.halves(PE_AT + 4, &[0x8664, 2]);
    out.words(PE_AT + 8, &[BUILT, 0, 0]);
    out.halves(PE_AT + 20, &[240, 0x22]);
    out.halves(OPTIONAL_AT, &[0x20b, 0x0e0e]);
    out.words(OPTIONAL_AT + 16, &[0x1000, 0x1000]);
    out.longs(OPTIONAL_AT + 24, &[0x1_4000_0000]);
    out.words(OPTIONAL_AT + 32, &[0x1000, 0x200]);
    out.halves(OPTIONAL_AT + 40, &[6, 0, 0, 0, 6, 0]);
    out.words(OPTIONAL_AT + 56, &[0x3000, 0x400]);
    out.halves(OPTIONAL_AT + 68, &[3, 0x160]);
    out.words(OPTIONAL_AT + 108, &[16]);

    section(
        &mut out,
        0,
        b".text",
        (0x1000, 0x10),
        (0x400, 0x200),
        0x6000_0020,
    );
    section(
        &mut out,
        1,
        b".rdata",
        (DATA.1, 0x600),
        (DATA.0 as u32, 0x600),
        0x4000_0040,
    );
    out.put(0x400, &[0x31, 0xc0, 0xc3]);

    imports(&mut out, 0x600);
    exports(&mut out, 0x700);
    debug(&mut out, 0x800);
    tls(&mut out, 0x900);
    resources(&mut out, 0x980);
    out.put(0xc00, b"bytes that no header speaks of");
    let sum = checksum(&out.0);
    out.words(OPTIONAL_AT + 64, &[sum]);
    out.0
}

fn directory(out: &mut Sheet, number: usize, offset: usize, size: u32) {
    out.words(DIRECTORIES_AT + 8 * number, &[rva(offset), size]);
}

fn section(
    out: &mut Sheet,
    number: usize,
    name: &[u8],
    (address, size): (u32, u32),
    (offset, raw): (u32, u32),
    flags: u32,
) {
    let at = SECTIONS_AT + 40 * number;
    out.put(at, name);
    out.words(at + 8, &[size, address, raw, offset, 0, 0, 0, flags]);
}

fn rich(out: &mut Sheet) {
    const MASK: u32 = 0x8d0f_1a2b;
    let dans = u32::from_le_bytes(*b"DanS");
    let words = [dans, 0, 0, 0, 0x0104_7a1f, 3, 0x0102_7a1f, 1];
    let masked: Vec<u32> = words.iter().map(|word| word ^ MASK).collect();
    out.words(0x80, &masked);
    out.put(0x80 + 4 * words.len(), b"Rich");
    out.words(0x84 + 4 * words.len(), &[MASK]);
}

fn imports(out: &mut Sheet, at: usize) {
    directory(out, 1, at, 60);
    let (kernel, sockets) = (at + 0x40, at + 0x60);
    let names = at + 0x80;
    out.words(at, &[rva(kernel), 0, 0, rva(names), rva(kernel)]);
    out.words(
        at + 20,
        &[rva(sockets), 0, 0, rva(names + 0x10), rva(sockets)],
    );
    out.longs(
        kernel,
        &[rva(names + 0x20).into(), rva(names + 0x30).into(), 0],
    );
    // By number: WSAStartup, and one that has no well-known name.
    out.longs(sockets, &[1 << 63 | 115, 1 << 63 | 600, 0]);
    out.put(names, b"KERNEL32.dll");
    out.put(names + 0x10, b"WS2_32.dll");
    out.put(names + 0x22, b"ExitProcess");
    out.put(names + 0x32, b"GetTickCount64");
}

fn exports(out: &mut Sheet, at: usize) {
    directory(out, 0, at, 0x80);
    let (functions, names, numbers, texts) = (at + 0x28, at + 0x38, at + 0x40, at + 0x48);
    out.words(
        at,
        &[
            0,
            BUILT,
            0,
            rva(texts),
            1,
            3,
            2,
            rva(functions),
            rva(names),
            rva(numbers),
        ],
    );
    // Code, a forwarder, and one without a name.
    out.words(functions, &[0x1000, rva(texts + 0x20), 0x1000]);
    out.words(names, &[rva(texts + 0x0c), rva(texts + 0x14)]);
    out.halves(numbers, &[0, 1]);
    out.put(texts, b"plain.exe");
    out.put(texts + 0x0c, b"alpha");
    out.put(texts + 0x14, b"beta");
    out.put(texts + 0x20, b"NTDLL.RtlExitUser");
}

fn debug(out: &mut Sheet, at: usize) {
    directory(out, 6, at, 28);
    out.words(at + 12, &[2, 0x40, rva(at + 0x20), (at + 0x20) as u32]);
    out.put(at + 0x20, b"RSDS");
    out.put(at + 0x24, &[0xab; 16]);
    out.words(at + 0x34, &[7]);
    out.put(at + 0x38, br"C:\build\plain.pdb");
}

fn tls(out: &mut Sheet, at: usize) {
    directory(out, 9, at, 40);
    let base = 0x1_4000_0000;
    out.longs(at + 24, &[base + u64::from(rva(at + 0x30))]);
    out.longs(at + 0x30, &[base + 0x1000, base + 0x1000, 0]);
}

fn resources(out: &mut Sheet, at: usize) {
    directory(out, 2, at, 0x200);
    const BELOW: u32 = 1 << 31;
    // One type (version), one name, one language.
    for (level, (id, target)) in [(16, BELOW | 0x18), (1, BELOW | 0x30), (0x409, 0x48)]
        .into_iter()
        .enumerate()
    {
        let node = at + 0x18 * level;
        out.halves(node + 12, &[0, 1]);
        out.words(node + 16, &[id, target]);
    }
    let version = version();
    out.words(at + 0x48, &[rva(at + 0x58), version.len() as u32]);
    out.put(at + 0x58, &version);
}

/// A version resource with two texts.
fn version() -> Vec<u8> {
    fn block(key: &str, value: &[u8], units: usize, text: u16, children: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend([0, 0]);
        bytes.extend((units as u16).to_le_bytes());
        bytes.extend(text.to_le_bytes());
        bytes.extend(key.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(value);
        for child in children {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(child);
        }
        let length = bytes.len() as u16;
        bytes[..2].copy_from_slice(&length.to_le_bytes());
        bytes
    }
    let text = |key: &str, value: &str| {
        let units: Vec<u16> = value.encode_utf16().chain([0]).collect();
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        block(key, &bytes, units.len(), 1, &[])
    };
    let mut fixed = Sheet::default();
    fixed.words(0, &[0xfeef_04bd, 0x1_0000, 0x1_0002, 0x3_0004]);
    fixed.put(48, &[0; 4]);
    let table = block(
        "040904b0",
        &[],
        0,
        1,
        &[
            text("FileDescription", "Scellé sample"),
            text("OriginalFilename", "plain.exe"),
        ],
    );
    let texts = block("StringFileInfo", &[], 0, 1, &[table]);
    block("VS_VERSION_INFO", &fixed.0, fixed.0.len(), 0, &[texts])
}

/// The folded sum of 16-bit words, plus the length.
fn checksum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| {
        let high = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_le_bytes([pair[0], high]))
    });
    let sum = words.fold(0u32, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    });
    sum + bytes.len() as u32
}

/// Overlapping sections, endless imports, a tree that bites its tail, absurd counts, and
/// certificates that are none.
fn damage_pe(bytes: &mut Vec<u8>) {
    let mut out = Sheet(std::mem::take(bytes));
    // Thousands of sections that the file has no room for, two that overlap.
    out.halves(PE_AT + 6, &[0xfff0]);
    section(
        &mut out,
        0,
        b".text",
        (0x1000, 0x2000),
        (0x400, 0xffff_fe00),
        0x6000_0020,
    );
    // An import table that names itself as its own table of symbols.
    out.words(0x600, &[rva(0x600), 0, 0, rva(0x680), rva(0x600)]);
    out.words(0x614, &[rva(0x660), 0, 0, 0x7fff_ffff, rva(0x660)]);
    // 2^32 - 1 exports.
    out.words(0x714, &[u32::MAX, u32::MAX]);
    // The language directory points back at the root, and the root lists more than there is.
    out.halves(0x980 + 12, &[0xffff, 0xffff]);
    out.words(0x980 + 0x30 + 20, &[1 << 31]);
    // A TLS directory of another world.
    out.longs(0x918, &[u64::MAX]);
    // A certificate whose ASN.1 is cut.
    out.words(DIRECTORIES_AT + 8 * 4, &[0xc20, 0x18]);
    out.words(0xc20, &[0x18, 0x0002_0200]);
    out.put(
        0xc28,
        &[
            0x30, 0x82, 0x10, 0, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2, 0,
        ],
    );
    *bytes = out.0;
}

/// An EFI application whose headers overlap, without sections or directories.
fn tiny_pe() -> Vec<u8> {
    let mut out = Sheet::default();
    out.put(0, b"MZ");
    out.put(8, b"PE\0\0");
    out.halves(12, &[0xaa64, 0]);
    out.halves(8 + 20, &[0x70, 0x22]);
    let optional = 8 + 24;
    out.halves(optional, &[0x20b]);
    out.words(optional + 16, &[0x10]);
    // The section alignment is the offset of the PE header too.
    out.words(0x3c, &[8]);
    out.words(optional + 36, &[8]);
    out.halves(optional + 68, &[10]);
    out.put(optional + 0x70 + 15, &[0xc0]);
    out.0
}

const ELF_STRINGS: &[u8] =
    b"\0libc.so.6\0libsample.so.1\0$ORIGIN\0puts\0sample_run\0__gmon_start__\0";
const SECTION_NAMES: &[u8] = b"\0.interp\0.note.gnu.build-id\0.dynsym\0.dynstr\0.dynamic\0.text\0.comment\0.symtab\0.shstrtab\0";

fn at_name(names: &[u8], name: &str) -> u32 {
    let wanted = [name.as_bytes(), b"\0"].concat();
    let found = names
        .windows(wanted.len())
        .position(|window| window == wanted);
    found.expect("a name of the table") as u32
}

/// A 64-bit little-endian library for x86-64.
fn elf() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let mut out = Sheet::default();
    out.put(0, b"\x7fELF\x02\x01\x01\x03");
    out.halves(16, &[3, 62]);
    out.words(20, &[1]);
    out.longs(24, &[BASE + 0x600, 0x40, 0x800]);
    out.halves(52, &[64, 56, 4, 64, 10, 9]);

    out.put(0x200, b"/lib64/ld-linux-x86-64.so.2\0");
    out.words(0x240, &[4, 8, 3]);
    out.put(0x24c, b"GNU\0\x01\x23\x45\x67\x89\xab\xcd\xef");
    out.put(0x300, ELF_STRINGS);
    out.put(0x680, b"GCC: (Scelle) 14.0.0\0GCC: (Scelle) 14.0.0\0");
    // Symbols: name, binding and type, section, value.
    let symbols = [
        ("puts", 0x12u8, 0u16, 0u64),
        ("__gmon_start__", 0x20, 0, 0),
        ("sample_run", 0x12, 6, BASE + 0x600),
    ];
    for (number, (name, info, section, value)) in symbols.into_iter().enumerate() {
        let at = 0x400 + 24 * (number + 1);
        out.words(at, &[at_name(ELF_STRINGS, name)]);
        out.put(at + 4, &[info]);
        out.halves(at + 6, &[section]);
        out.longs(at + 8, &[value, 3]);
    }
    let string = |name: &str| u64::from(at_name(ELF_STRINGS, name));
    out.longs(
        0x500,
        &[
            1,
            string("libc.so.6"),
            14,
            string("libsample.so.1"),
            29,
            string("$ORIGIN"),
            5,
            BASE + 0x300,
            6,
            BASE + 0x400,
            10,
            ELF_STRINGS.len() as u64,
            0,
            0,
        ],
    );
    out.put(0x600, &[0x31, 0xc0, 0xc3]);
    out.put(0x700, SECTION_NAMES);

    for (number, (kind, flags, at, size)) in [
        (3u32, 4u32, 0x200u64, 28u64),
        (1, 5, 0, 0x6c0),
        (2, 6, 0x500, 0x70),
        (4, 4, 0x240, 24),
    ]
    .into_iter()
    .enumerate()
    {
        let entry = 0x40 + 56 * number;
        out.words(entry, &[kind, flags]);
        out.longs(entry + 8, &[at, BASE + at, BASE + at, size, size, 8]);
    }
    let names_len = SECTION_NAMES.len() as u64;
    let strings_len = ELF_STRINGS.len() as u64;
    let sections: [(&str, u32, u64, u64, u32); 9] = [
        (".interp", 1, 0x200, 28, 0),
        (".note.gnu.build-id", 7, 0x240, 24, 0),
        (".dynsym", 11, 0x400, 96, 4),
        (".dynstr", 3, 0x300, strings_len, 0),
        (".dynamic", 6, 0x500, 0x70, 4),
        (".text", 1, 0x600, 3, 0),
        (".comment", 1, 0x680, 42, 0),
        (".symtab", 2, 0x400, 96, 4),
        (".shstrtab", 3, 0x700, names_len, 0),
    ];
    for (number, (name, kind, at, size, link)) in sections.into_iter().enumerate() {
        let entry = 0x800 + 64 * (number + 1);
        out.words(entry, &[at_name(SECTION_NAMES, name), kind]);
        out.longs(entry + 8, &[2, BASE + at, at, size]);
        out.words(entry + 40, &[link, 1]);
    }
    out.put(0x800 + 640 - 1, &[0]);
    out.0
}

/// Overlapping and endless sections, a dynamic table without its strings, an absurd note.
fn damage_elf(bytes: &mut Vec<u8>) {
    let mut out = Sheet(std::mem::take(bytes));
    // More sections than a 16-bit field can state, by way of the first section header.
    out.halves(60, &[0]);
    out.longs(0x800 + 32, &[u64::MAX / 2]);
    // A dynamic symbol table without end, over everything.
    out.longs(0x800 + 64 * 3 + 24, &[0, u64::MAX]);
    // Strings that lie nowhere.
    out.longs(0x538, &[u64::MAX - 8]);
    out.words(0x240, &[u32::MAX, u32::MAX]);
    *bytes = out.0;
}

/// A 32-bit big-endian object for PowerPC, with no section but the empty one.
fn big_endian_elf() -> Vec<u8> {
    let mut out = vec![0; 52 + 40];
    out[..8].copy_from_slice(b"\x7fELF\x01\x02\x01\0");
    for (at, half) in [(16, 1u16), (18, 20), (40, 52), (46, 40), (48, 1)] {
        out[at..at + 2].copy_from_slice(&half.to_be_bytes());
    }
    for (at, word) in [(20, 1u32), (32, 52)] {
        out[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
    out
}

const LINKEDIT_AT: usize = 0x400;

/// A signed 64-bit program; `cpu` is the family as stored.
fn thin(cpu: u32) -> Vec<u8> {
    let mut commands: Vec<Vec<u8>> = Vec::new();
    let mut command = |kind: u32, body: &[u32], text: &[u8]| {
        let mut sheet = Sheet::default();
        sheet.words(8, body);
        sheet.put(8 + 4 * body.len(), text);
        let size = sheet.0.len().next_multiple_of(8);
        sheet.0.resize(size, 0);
        sheet.words(0, &[kind, size as u32]);
        commands.push(sheet.0);
    };
    let padded = |name: &[u8]| -> [u32; 4] {
        let mut field = [0; 16];
        field[..name.len()].copy_from_slice(name);
        std::array::from_fn(|word| {
            u32::from_le_bytes(std::array::from_fn(|byte| field[4 * word + byte]))
        })
    };
    let [a, b, c, d] = padded(b"__TEXT");
    let [e, f, g, h] = padded(b"__text");
    command(
        0x19,
        &[
            a,
            b,
            c,
            d,
            0,
            1,
            0x4000,
            0,
            0,
            0,
            0x400,
            0,
            5,
            5,
            1,
            0,
            e,
            f,
            g,
            h,
            a,
            b,
            c,
            d,
            0x380,
            1,
            8,
            0,
            0x380,
            2,
            0,
            0,
            0x8000_0400,
            0,
            0,
            0,
        ],
        &[],
    );
    let [a, b, c, d] = padded(b"__LINKEDIT");
    command(
        0x19,
        &[
            a, b, c, d, 0x4000, 1, 0x4000, 0, 0x400, 0, 0x200, 0, 1, 1, 0, 0,
        ],
        &[],
    );
    command(
        0x0c,
        &[24, 2, 0x0001_0203, 0x1_0000],
        b"/usr/lib/libSystem.B.dylib",
    );
    command(0x0e, &[12], b"/usr/lib/dyld");
    command(
        0x1b,
        &[0x1122_3344, 0x5566_7788, 0x99aa_bbcc, 0xddee_ff00],
        &[],
    );
    command(0x32, &[1, 0x000d_0000, 0x000e_0200, 0], &[]);
    command(0x8000_0028, &[0x380, 0, 0, 0], &[]);
    command(
        0x2,
        &[LINKEDIT_AT as u32, 2, LINKEDIT_AT as u32 + 0x40, 0x20],
        &[],
    );
    command(0x1d, &[LINKEDIT_AT as u32 + 0x80, 0x100], &[]);

    let mut out = Sheet::default();
    let size: usize = commands.iter().map(Vec::len).sum();
    let count = commands.len() as u32;
    out.words(
        0,
        &[0xfeed_facf, cpu, 3, 2, count, size as u32, 0x0020_0085],
    );
    let mut at = 32;
    for command in &commands {
        out.put(at, command);
        at += command.len();
    }
    out.put(0x380, &[0x20, 0, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6]);
    // One symbol that is offered, one that is needed.
    out.words(LINKEDIT_AT, &[1, 0x0000_010f]);
    out.longs(LINKEDIT_AT + 8, &[0x1_0000_0380]);
    out.words(LINKEDIT_AT + 16, &[7, 0x0100_0001]);
    out.put(LINKEDIT_AT + 0x40, b"\0_main\0_puts\0");
    out.put(LINKEDIT_AT + 0x80, &code_signature());
    out.put(LINKEDIT_AT + 0x1ff, &[0]);
    out.0
}

fn big(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// One code directory without a signer.
fn code_signature() -> Vec<u8> {
    let identifier = b"org.example.sample\0TEAM123456\0";
    let length = 52 + identifier.len() as u32;
    let mut out = big(&[0xfade_0cc0, 20 + length, 1, 0, 20]);
    out.extend(big(&[0xfade_0c02, length, 0x2_0200, 2, 0, 52, 0, 0, 0x480]));
    out.extend([32, 2, 0, 12]);
    out.extend(big(&[0, 0, 52 + 19]));
    out.extend(identifier);
    out
}

const X86_64: u32 = 0x0100_0007;
const ARM64: u32 = 0x0100_000c;
const ARM64_AT: u32 = 0x1000;
const ARCHIVE_AT: u32 = 0x2000;

/// Two programs and an archive of objects.
fn universal() -> Vec<u8> {
    let size = thin(X86_64).len() as u32;
    let mut out = Sheet::default();
    out.put(
        0,
        &big(&[
            0xcafe_babe,
            3,
            X86_64,
            3,
            0x200,
            size,
            9,
            ARM64,
            0,
            ARM64_AT,
            size,
            12,
            12,
            9,
            ARCHIVE_AT,
            8,
            12,
        ]),
    );
    out.put(0x200, &thin(X86_64));
    out.put(ARM64_AT as usize, &thin(ARM64));
    out.put(ARCHIVE_AT as usize, b"!<arch>\n");
    out.0
}

/// A command without an end, a signature of another kind, and a slice past the end.
fn damaged_universal() -> Vec<u8> {
    let mut out = Sheet(universal());
    // The third command of the first slice has no size.
    out.words(0x200 + 32 + 152 + 72 + 4, &[0]);
    out.put(ARM64_AT as usize + LINKEDIT_AT + 0x80, &[0]);
    // 2^32 - 1 symbols.
    let symbols = [0x2u32, 24, LINKEDIT_AT as u32]
        .map(u32::to_le_bytes)
        .concat();
    let slice = &out.0[ARM64_AT as usize..];
    let at = slice
        .windows(12)
        .position(|window| window == symbols)
        .expect("its table of symbols");
    out.words(ARM64_AT as usize + at + 12, &[u32::MAX]);
    out.put(8 + 40 + 8, &big(&[0xffff_0000, 0xffff_ffff]));
    out.0
}

/// A 32-bit big-endian object with one empty segment.
fn powerpc_object() -> Vec<u8> {
    let mut out = big(&[0xfeed_face, 18, 0, 1, 1, 56, 0, 1, 56]);
    out.extend([0; 16]);
    out.extend(big(&[0, 0, 0, 0, 7, 7, 0, 0]));
    out
}
