//! Ex01 images, made by recipe: libewf reads them as we do, and what is damaged in them is told.

use std::{
    fs,
    path::{Path, PathBuf},
};

use md5::{Digest as _, Md5};
use scelle_evidence::{Image, ImageKind, OpenError, OpenOptions, StoredHash, open, open_disk};
use scelle_formats::{RangeKind, ReadAt as _, ReadAtExt as _, ReadError};
use scelle_testkit::{Ex01, has_tool, run_tool, testdata};
use sha2::Sha256;

const CHUNK: usize = 32 << 10;

fn demo() -> Vec<u8> {
    fs::read(testdata().join("demo/workstation.raw")).expect("our own sample")
}

/// Writes the segments of an image, and gives the first.
fn write(folder: &Path, name: &str, files: &[Vec<u8>]) -> PathBuf {
    for (number, bytes) in files.iter().enumerate() {
        let extension = format!("Ex{:02}", number + 1);
        fs::write(folder.join(name).with_extension(extension), bytes).expect("room");
    }
    folder.join(name).with_extension("Ex01")
}

fn disk(path: &Path) -> Image {
    open_disk(path, &OpenOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn said(image: &Image) -> String {
    let losses = image.losses.iter().map(|loss| loss.error.to_string());
    losses.collect::<Vec<_>>().join("\n")
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

const PYEWF: &str = r#"
import hashlib, pyewf, sys
handle = pyewf.handle()
handle.open(sys.argv[1:])
data = handle.read_buffer_at_offset(handle.get_media_size(), 0)
print(hashlib.sha256(data).hexdigest(), handle.get_hash_value("MD5"))
"#;

#[test]
fn an_image_is_the_disk_that_it_was_made_of_and_libewf_reads_the_same() {
    let raw = demo();
    let folder = tempfile::tempdir().expect("a folder");
    let md5: [u8; 16] = Md5::digest(&raw).into();
    let others = has_tool("pyewf-python", "what is made of Ex01 images");
    // The last sectors make a chunk that is not full.
    for (name, raw, recipe) in [
        ("packed", &raw[..], Ex01::default()),
        (
            "mixed",
            &raw[..raw.len() - 7 * 512],
            Ex01 {
                mixed: true,
                ..Ex01::default()
            },
        ),
        (
            "parts",
            &raw[..],
            Ex01 {
                mixed: true,
                segment_chunks: Some(9),
                ..Ex01::default()
            },
        ),
    ] {
        let files = Ex01 {
            md5: Some(md5),
            sha1: Some([7; 20]),
            ..recipe
        }
        .build(raw);
        assert_eq!(files.len() > 1, name == "parts");
        let path = write(folder.path(), name, &files);
        let image = disk(&path);
        assert_eq!((image.kind, &*said(&image)), (ImageKind::Ewf2, ""));
        let expected = [("sha1", hex([7; 20])), ("md5", hex(md5))];
        let expected = expected.map(|(algorithm, hex)| StoredHash { algorithm, hex });
        assert_eq!(image.hashes, expected, "{name}");
        let whole = image.disk.read_range(0..u64::MAX, usize::MAX);
        assert!(whole.expect("a sound image") == raw, "{name}: other bytes");
        let mut at = 1_u64;
        for step in 1..200_u64 {
            at = (at * 7919 + step * 104_729) % image.disk.len();
            let mut buf = vec![0xEE; (step * 331 % 70_000) as usize];
            let have = image
                .disk
                .read_full_at(at, &mut buf)
                .expect("a sound image");
            let end = raw.len().min(at as usize + buf.len());
            assert!(buf[..have] == raw[at as usize..end], "{name} at {at}");
        }
        if others {
            let names: Vec<String> = (1..=files.len())
                .map(|number| format!("{name}.Ex{number:02}"))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let arguments = [&["-c", PYEWF], &names[..]].concat();
            let theirs = run_tool(folder.path(), "pyewf-python", &arguments);
            let ours = format!("{} {}\n", hex(Sha256::digest(raw)), hex(md5));
            assert_eq!(theirs, ours, "{name}");
        }
        let evidence = open(&path, &OpenOptions::default()).expect("an image");
        assert!(evidence.volumes[0].info().id.starts_with("ntfs-"), "{name}");
    }
}

#[test]
fn damage_is_told_and_takes_no_more_than_it_must() {
    let raw = demo();
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = Ex01 {
        errors: vec![(40, 8)],
        ..Ex01::default()
    };
    let sound = recipe.build(&raw).remove(0);
    let image = disk(&write(
        folder.path(),
        "errors",
        std::slice::from_ref(&sound),
    ));
    let said_of = said(&image);
    assert!(
        said_of.contains("offset 40 ") && said_of.contains("on 8 could not"),
        "{said_of}"
    );

    // The first packed chunk lies after head, device and case.
    let device = sound
        .windows(2)
        .position(|at| at == [0x78, 0x9C])
        .expect("zlib");
    let mut starts = (device..sound.len() - 1).filter(|at| sound[*at..*at + 2] == [0x78, 0x9C]);
    let chunk = starts.nth(2).expect("a chunk");
    let mut bytes = sound.clone();
    bytes[chunk + 30] ^= 0xFF;
    let image = disk(&write(folder.path(), "chunk", &[bytes]));
    let mut buf = vec![0; CHUNK];
    assert!(image.disk.read_full_at(0, &mut buf).is_err());
    let have = image
        .disk
        .read_full_at(CHUNK as u64, &mut buf)
        .expect("its neighbour");
    assert!(buf[..have] == raw[CHUNK..2 * CHUNK]);

    // The first entry of the first table, found by where it says that the chunk lies.
    let entry = (chunk as u64).to_le_bytes();
    let entry = sound
        .windows(8)
        .position(|window| window == entry)
        .expect("an entry");
    let mut bytes = sound.clone();
    bytes[entry + 8] ^= 1;
    let image = disk(&write(folder.path(), "table", &[bytes]));
    assert!(
        said(&image).contains("its checksum fails; it was used"),
        "{}",
        said(&image)
    );

    // Of a set that lacks a segment, the rest is read.
    let parts = Ex01 {
        segment_chunks: Some(40),
        ..Ex01::default()
    };
    let path = write(folder.path(), "parts", &parts.build(&raw));
    fs::remove_file(path.with_extension("Ex02")).expect("our own");
    let image = disk(&path);
    assert!(said(&image).contains(".Ex02"), "{}", said(&image));
    let have = image.disk.read_range(0..39 * CHUNK as u64, usize::MAX);
    assert!(have.expect("the first segment") == raw[..39 * CHUNK]);
    let lost = image.disk.ranges().last().expect("a range");
    assert_eq!(
        lost,
        (40 * CHUNK as u64..raw.len() as u64, RangeKind::Unreadable)
    );
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let raw = &demo()[..4 * CHUNK];
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |name: &str, bytes: Vec<u8>| {
        let path = write(folder.path(), name, &[bytes]);
        match open_disk(&path, &OpenOptions::default()) {
            Err(OpenError::Image { source, .. }) => source,
            Err(other) => panic!("{name}: {other}"),
            Ok(_) => panic!("{name} opens"),
        }
    };
    let locked = Ex01 {
        is_encrypted: true,
        ..Ex01::default()
    };
    let error = refused("locked", locked.build(raw).remove(0));
    assert!(matches!(error, ReadError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("without encryption"), "{error}");
    let sound = Ex01::default().build(raw).remove(0);
    let mut bzip2 = sound.clone();
    bzip2[10] = 2;
    let error = refused("bzip2", bzip2);
    assert!(error.to_string().contains("bzip2"), "{error}");
    let error = refused("cut", sound[..sound.len() - 5].to_vec());
    assert!(error.to_string().contains("descriptor"), "{error}");
    // Sections that lead in circles, or before the file, end.
    let last = sound.len() - 64;
    for before in [last as u64, last as u64 + 64, u64::MAX, 1] {
        let mut bytes = sound.clone();
        bytes[last + 8..last + 16].copy_from_slice(&before.to_le_bytes());
        seal(&mut bytes[last..]);
        refused("circle", bytes);
    }
}

fn seal(descriptor: &mut [u8]) {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in &descriptor[..60] {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    descriptor[60..].copy_from_slice(&(b << 16 | a).to_le_bytes());
}
