//! Codecs against vectors, hand-made input, what libwim compresses, and damage.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test asks another tool"
)]

use std::{env, io::Write as _, process};

use proptest::prelude::*;
use scelle_formats::codec::{lznt1, lzx, xpress_huffman};
use scelle_testkit::Corpus;
use sha2::{Digest as _, Sha256};

/// The size of the prefetch file in `lz_huffman.raw`: it states it itself.
const PREFETCH_BYTES: usize = 153_064;

fn xpress(input: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; bytes];
    let outcome = xpress_huffman::Decoder::new().decode(input, &mut out);
    outcome.is_ok().then_some(out)
}

fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The texts between quotes of a line of Go, their escapes undone.
fn quoted(line: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut text, mut rest) = (Vec::new(), None::<Vec<u8>>, line);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, &mut text) {
            (b'"', None) => text = Some(Vec::new()),
            (b'"', Some(_)) => found.extend(text.take()),
            (b'\\', Some(text)) => {
                let (kind, after) = rest.split_first().expect("an escape");
                rest = after;
                text.push(match kind {
                    b'x' => {
                        let digits = std::str::from_utf8(&rest[..2]).expect("digits");
                        rest = &rest[2..];
                        u8::from_str_radix(digits, 16).expect("digits")
                    }
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    other => *other,
                });
            }
            (byte, Some(text)) => text.push(*byte),
            (_, None) => {}
        }
    }
    found
}

#[test]
fn vectors_of_the_corpus() {
    let Some(corpus) = Corpus::find("codec vectors") else {
        return;
    };
    let vectors = corpus.read("codec-vectors/xpress_huffman_vectors.txt");
    let lines = vectors.split(|byte| *byte == b'\n').map(quoted);
    let mut met = 0;
    for vector in lines.filter(|parts| !parts.is_empty()) {
        let [name, packed, plain] = &vector[..] else {
            panic!("a name and two texts");
        };
        let name = String::from_utf8_lossy(name);
        assert!(
            xpress(packed, plain.len()).as_ref() == Some(plain),
            "{name}"
        );
        met += 1;
    }
    assert_eq!(met, 7);

    // Three blocks.
    let prefetch = corpus.read("codec-vectors/lz_huffman.raw");
    let plain = xpress(&prefetch, PREFETCH_BYTES).expect("a prefetch file");
    assert_eq!(&plain[4..8], b"SCCA");
    assert_eq!(plain[12..16], (PREFETCH_BYTES as u32).to_le_bytes());

    // Sizes stand before it.
    let packed = corpus.read("codec-vectors/notatin/lznt1_buffer");
    let plain = corpus.read("codec-vectors/notatin/lznt1_decoded_buffer");
    assert_eq!(packed[4..8], (plain.len() as u32).to_le_bytes());
    for room in [plain.len(), 4096, 8192] {
        let mut out = vec![1; room];
        let made = lznt1::decode(&packed[8..], &mut out).expect("sound");
        assert!(out[..made] == plain[..], "{room}");
    }
}

/// `expected/wof.json` was made with libfwnt, which translates a call that lies just before the
/// tail of chunk 11; see `tests/differences/ntfs.md`.
#[test]
fn the_wof_stream_of_the_corpus() {
    const DIFFERS: usize = 393_206;
    let Some(corpus) = Corpus::find("a WOF stream") else {
        return;
    };
    let expected = corpus.expected_json("wof.json");
    let size = expected["uncompressed_size"].as_u64().expect("a size") as usize;
    let stream = corpus.read(expected["path"].as_str().expect("a path"));
    let table_bytes = expected["chunk_offset_table_bytes"]
        .as_u64()
        .expect("a size") as usize;
    let (table, chunks) = stream.split_at(table_bytes);
    let mut ends: Vec<usize> = table
        .as_chunks::<4>()
        .0
        .iter()
        .map(|entry| u32::from_le_bytes(*entry) as usize)
        .collect();
    ends.push(chunks.len());
    let mut plain = vec![0; size];
    let mut decoder = lzx::Decoder::new();
    let mut start = 0;
    for (end, out) in ends.into_iter().zip(plain.chunks_mut(lzx::CHUNK_BYTES)) {
        let chunk = &chunks[start..end];
        start = end;
        if chunk.len() == out.len() {
            out.copy_from_slice(chunk);
        } else {
            decoder.decode(chunk, out).expect("sound");
        }
    }
    // The call goes to the beginning of a function, behind the padding of the one before.
    let target = plain[DIFFERS + 1..][..4].try_into().expect("four bytes");
    let target = DIFFERS + 5 + u32::from_le_bytes(target) as usize;
    assert_eq!(
        plain[target - 4..][..7],
        [0xC3, 0xCC, 0xCC, 0xCC, 0x55, 0x8B, 0xEC]
    );
    // As libfwnt has it.
    let place = (DIFFERS % lzx::CHUNK_BYTES) as u32;
    let field = &mut plain[DIFFERS + 1..][..4];
    let relative = u32::from_le_bytes(field.try_into().expect("four bytes"));
    field.copy_from_slice(&relative.wrapping_sub(place).to_le_bytes());
    assert_eq!(
        Some(&sha256(&plain)[..]),
        expected["uncompressed_sha256"].as_str()
    );
}

#[test]
fn lznt1_by_hand() {
    // A literal and a match of 4095 with itself.
    let run = |byte| [0x03, 0xB0, 0x02, byte, 0xFC, 0x0F];
    let both = [run(b'a'), run(b'b')].concat();
    let mut out = vec![0; 8192];
    assert_eq!(lznt1::decode(&both, &mut out).expect("sound"), 8192);
    assert!(out[..4096].iter().all(|byte| *byte == b'a'));
    assert!(out[4096..].iter().all(|byte| *byte == b'b'));

    // One that stands as it is and ends early, and another one behind it.
    let short = [&[0x02, 0x30, 1, 2, 3][..], &run(b'c')[..], &[0, 0, 9, 9]].concat();
    out.fill(7);
    assert_eq!(lznt1::decode(&short, &mut out).expect("sound"), 8192);
    assert_eq!(out[..3], [1, 2, 3]);
    assert!(out[3..4096].iter().all(|byte| *byte == 0));

    // Damage costs its own chunk.
    let mut torn = [run(b'a'), run(b'b'), run(b'c')].concat();
    torn[6 + 5] = 0xFF;
    let mut out = vec![7; 3 * 4096];
    let mut damage = Vec::new();
    let made = lznt1::decode_chunks(&torn, &mut out, &mut |range, why| damage.push((range, why)));
    assert_eq!(made, 3 * 4096);
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].0, 4096..8192);
    assert!(out[..4096].iter().all(|byte| *byte == b'a'));
    assert!(out[4096..8192].iter().all(|byte| *byte == 0));
    assert!(out[8192..].iter().all(|byte| *byte == b'c'));
    let error = lznt1::decode(&torn, &mut out).expect_err("damage");
    assert_eq!(error.made, 4096);
}

#[test]
fn xpress_by_hand() {
    // Literal `a` is 0, a match at distance 1 whose length goes on is 1.
    let mut packed = vec![0; 256];
    packed[usize::from(b'a') / 2] = 0x10;
    packed[(256 + 15) / 2] = 0x10;
    packed.extend([0, 0x40, 0, 0]);
    let with = |more: &[u8]| [&packed[..], more].concat();
    for (more, length) in [
        (&[3][..], 18 + 3),
        (&[254], 18 + 254),
        (&[255, 0xFC, 0x0F], 4095),
        (&[255, 0, 0, 0xFC, 0xFF, 0, 0], 65_535),
    ] {
        let found = xpress(&with(more), 1 + length).expect("sound");
        assert!(found.iter().all(|byte| *byte == b'a'), "{length}");
        assert_eq!(xpress(&with(more), length), None, "a match past the end");
    }
    assert_eq!(
        xpress(&with(&[255, 14, 0]), 18),
        None,
        "a length that can't be"
    );
    assert_eq!(xpress(&packed[..255], 1), None);
    assert_eq!(xpress(&[0; 300], 1), None, "no code at all");
    assert_eq!(xpress(&[], 0), Some(vec![]));
}

/// One block that is not compressed, of an odd size, and one behind it whose only code is a
/// match; its distance is one of those that the first block states.
#[test]
fn lzx_by_hand() {
    // 3 bits: 3; 1 bit: 0; 16 bits: 5; padding.
    let mut packed = vec![0x00, 0x60, 0x00, 0x50];
    packed.extend([3u32, 2, 1].map(u32::to_le_bytes).as_flattened());
    packed.extend(*b"abcde\0");
    let mut out = [0; 5];
    let mut decoder = lzx::Decoder::new();
    decoder.decode(&packed, &mut out).expect("sound");
    assert_eq!(&out, b"abcde");
    for length in 0..packed.len() - 1 {
        decoder
            .decode(&packed[..length], &mut out)
            .expect_err("it is cut");
    }
    let mut more = [0; 6];
    decoder
        .decode(&packed, &mut more)
        .expect_err("no second block");
    let mut most = vec![0; lzx::CHUNK_BYTES + 1];
    decoder.decode(&packed, &mut most).expect_err("too much");
}

/// Compresses standard input with libwim: type, chunk size; gives the length of each chunk, 32 bits, and
/// the chunk, 0 and the plain bytes where it did not shrink.
const LIBWIM: &str = r#"
import ctypes, struct, sys
w = ctypes.CDLL("libwim.so.15")
w.wimlib_create_compressor.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p)]
w.wimlib_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
w.wimlib_compress.restype = ctypes.c_size_t
kind, size = int(sys.argv[1]), int(sys.argv[2])
c = ctypes.c_void_p()
assert w.wimlib_create_compressor(kind, size, 50, ctypes.byref(c)) == 0
data, buf = sys.stdin.buffer.read(), ctypes.create_string_buffer(size)
for at in range(0, len(data), size):
    d = data[at:at + size]
    n = w.wimlib_compress(d, len(d), buf, len(d) - 1, c) if len(d) > 1 else 0
    sys.stdout.buffer.write(struct.pack("<I", n) + (buf.raw[:n] if n else d))
"#;

fn libwim(kind: u8, chunk_bytes: usize, plain: &[u8]) -> Option<Vec<u8>> {
    let mut child = process::Command::new("python3")
        .args(["-c", LIBWIM, &kind.to_string(), &chunk_bytes.to_string()])
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::piped())
        .stderr(process::Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let plain = plain.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&plain));
    let output = child.wait_with_output().expect("it ends");
    let written = writer.join().expect("no panic");
    (output.status.success() && written.is_ok()).then_some(output.stdout)
}

/// Text, code, runs, noise, and calls.
fn mixture() -> Vec<u8> {
    let mut bytes = include_bytes!("codecs.rs").repeat(3);
    let mut state = 1u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..30_000 {
        bytes.extend([0xE8, (noise() % 5) as u8, (noise() % 3) as u8, 0, 0]);
    }
    bytes.extend((0..40_000).map(|_| noise() as u8));
    bytes.extend(vec![0; 70_000]);
    bytes.extend((0..90_000).map(|_| (noise() % 7) as u8));
    bytes.extend(
        env::current_exe()
            .ok()
            .and_then(|it| std::fs::read(it).ok())
            .map_or_else(Vec::new, |mut own| {
                own.truncate(1 << 20);
                own
            }),
    );
    bytes
}

#[test]
fn what_libwim_compresses() {
    let plain = mixture();
    for (name, kind, chunk_bytes) in [
        ("XPRESS 4K", 1, 4096),
        ("XPRESS 8K", 1, 8192),
        ("XPRESS 16K", 1, 16_384),
        ("LZX", 2, lzx::CHUNK_BYTES),
    ] {
        let Some(packed) = libwim(kind, chunk_bytes, &plain) else {
            assert!(
                env::var_os("SCELLE_REQUIRE_TOOLS").is_none(),
                "libwim can't be asked, and SCELLE_REQUIRE_TOOLS is set"
            );
            eprintln!("SKIPPED, no libwim and Python: what libwim compresses");
            return;
        };
        let (mut rest, mut made, mut shrunk) = (&packed[..], Vec::new(), 0);
        let (mut xpress, mut lzx) = (xpress_huffman::Decoder::new(), lzx::Decoder::new());
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            let mut out = vec![0; chunk_bytes.min(plain.len() - made.len())];
            if length == 0 {
                let (plain, after) = after.split_at(out.len());
                out.copy_from_slice(plain);
                rest = after;
            } else {
                let (chunk, after) = after.split_at(length);
                rest = after;
                shrunk += 1;
                match kind {
                    1 => xpress.decode(chunk, &mut out),
                    _ => lzx.decode(chunk, &mut out),
                }
                .unwrap_or_else(|error| panic!("{name}, {} bytes: {error}", made.len()));
            }
            made.extend(out);
        }
        assert!(made == plain, "{name}");
        assert!(shrunk > 5, "{name}");
    }
}

/// A block of each form that can be decoded, to be damaged.
fn sound_inputs() -> Vec<Vec<u8>> {
    let mut xpress = vec![0x55; 256];
    xpress[..224].fill(0x88);
    xpress[224..].fill(0x77);
    xpress.extend((0..2000u32).map(|at| ((at * 7919) >> 3) as u8));
    let lznt1 = [0x03, 0xB0, 0x02, b'a', 0xFC, 0x0F].repeat(4);
    let lzx: Vec<u8> = (0..3000u32).map(|at| ((at * 40_503) >> 5) as u8).collect();
    vec![xpress, lznt1, lzx]
}

fn decode_all(input: &[u8], room: usize) {
    let mut out = vec![0; room];
    let mut ranges = Vec::new();
    let made = lznt1::decode_chunks(input, &mut out, &mut |range, _| ranges.push(range));
    assert!(made <= room);
    assert!(ranges.is_sorted_by(|one, two| one.end <= two.start));
    assert!(ranges.iter().all(|range| range.end <= room));
    for outcome in [
        xpress_huffman::Decoder::new().decode(input, &mut out),
        lzx::Decoder::new().decode(input, &mut out),
    ] {
        if let Err(error) = outcome {
            assert!(error.made <= room);
        }
    }
}

#[test]
fn cut_at_every_length() {
    for input in sound_inputs() {
        for length in 0..input.len() {
            decode_all(&input[..length], 9000);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(input in prop::collection::vec(any::<u8>(), 0..3000), room in 0usize..70_000) {
        decode_all(&input, room);
    }

    #[test]
    fn damaged_bytes(
        which in 0usize..3,
        patches in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        room in 0usize..40_000,
    ) {
        let mut input = sound_inputs().swap_remove(which);
        for (at, byte) in patches {
            let at = at.index(input.len());
            input[at] = byte;
        }
        decode_all(&input, room);
    }
}
