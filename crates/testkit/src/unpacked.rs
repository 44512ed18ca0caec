//! Images of the corpus, unpacked into sparse temporary files.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use tempfile::NamedTempFile;

use crate::Corpus;

/// What is not all zeros is written in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// The raw bytes of an image, as `unpack` in `expected/ntfs/summary.json` says how to get them.
///
/// # Panics
/// Where a program that it names is missing: a test can't go on without its sample.
pub fn image(corpus: &Corpus, image: &serde_json::Value) -> NamedTempFile {
    let packed = corpus.path(image["path"].as_str().expect("a path"));
    let steps = image["unpack"].as_str().expect("how to unpack");
    let mut raw = NamedTempFile::new().expect("a temporary file");
    for step in steps.split("; ") {
        let from = File::open(&packed).expect("an image of the corpus");
        match step.split_whitespace().collect::<Vec<_>>()[..] {
            ["zstd", "-d"] => {
                let mut from = zstd::Decoder::new(from).expect("zstd");
                write_sparse(&mut from, raw.as_file_mut());
            }
            ["gunzip"] => {
                let mut from = flate2::read::MultiGzDecoder::new(from);
                write_sparse(&mut from, raw.as_file_mut());
            }
            ["xz", "-d"] | ["unxz"] => {
                let mut xz = Command::new("xz")
                    .args(["-d", "-c"])
                    .arg(&packed)
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("xz is installed");
                write_sparse(xz.stdout.as_mut().expect("piped"), raw.as_file_mut());
                assert!(xz.wait().expect("it ends").success());
            }
            ["unzip", "member", member] => unzip(from, Some(member), &mut raw),
            ["unzip"] => unzip(from, None, &mut raw),
            ["qemu-img", "convert", "-O", "raw"] => {
                // Where nothing was undone before, the image is converted as published.
                let packed_bytes = raw.as_file().metadata().expect("our own file").len();
                let source = if packed_bytes == 0 {
                    &*packed
                } else {
                    raw.path()
                };
                raw = convert(source);
            }
            _ => panic!("{packed:?}: nobody knows how to do {step:?}"),
        }
    }
    raw
}

fn convert(from: &Path) -> NamedTempFile {
    let to = NamedTempFile::new().expect("a temporary file");
    let status = Command::new("qemu-img")
        .args(["convert", "-O", "raw"])
        .args([from, to.path()])
        .status()
        .expect("qemu-img is installed");
    assert!(status.success(), "qemu-img convert {from:?}");
    to
}

fn unzip(archive: File, member: Option<&str>, raw: &mut NamedTempFile) {
    let mut archive = zip::ZipArchive::new(archive).expect("a zip archive");
    let mut member = match member {
        Some(name) => archive.by_name(name).expect("a member"),
        None => archive.by_index(0).expect("a member"),
    };
    write_sparse(&mut member, raw.as_file_mut());
}

fn write_sparse(from: &mut dyn Read, to: &mut File) {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let mut length = 0;
    loop {
        piece.clear();
        let limit = PIECE_BYTES as u64;
        let have = from
            .take(limit)
            .read_to_end(&mut piece)
            .expect("sound data");
        if have == 0 {
            break;
        }
        if piece.iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(length)).expect("our own file");
            to.write_all(&piece).expect("room");
        }
        length += have as u64;
    }
    to.set_len(length).expect("room");
    to.flush()
        .unwrap_or_else(|error: io::Error| panic!("{error}"));
}
