//! Small images that are part of the repository: whole, cut at many lengths, and with lies in them.

use std::{fs, sync::Arc};

use scelle_evidence::{Image, Siblings, open_image};
use scelle_formats::{Bytes, ReadAt, ReadAtExt as _, ReadError};
use scelle_testkit::{Vhd, Vhdx, testdata};
use sha2::{Digest as _, Sha256};

const SAMPLES: [&str; 5] = [
    "small.E01",
    "sparse.vmdk",
    "stream.vmdk",
    "plain.qcow2",
    "packed.qcow2",
];

/// No file lies beside the image.
struct Alone;

impl Siblings for Alone {
    fn named(&self, _: &str) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
        Ok(None)
    }

    fn extension(&self) -> Option<String> {
        Some("E01".to_owned())
    }

    fn with_extension(&self, _: &str) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
        Ok(None)
    }
}

fn opened(bytes: Vec<u8>) -> Result<Option<Image>, ReadError> {
    open_image(Arc::new(Bytes(bytes)), &Alone)
}

fn sample(name: &str) -> Vec<u8> {
    fs::read(testdata().join("images").join(name)).expect("our own sample")
}

/// The disk that the samples were made of: lines, a hole, bytes that don't pack, a hole.
fn disk() -> Vec<u8> {
    const PART: usize = 64 << 10;
    let mut disk: Vec<u8> = (0..3000)
        .flat_map(|line| format!("{line:08x} scelle sample\n").into_bytes())
        .take(PART)
        .collect();
    disk.resize(2 * PART, 0);
    for number in 0..512 {
        disk.extend(Sha256::digest(number.to_string()));
    }
    disk.resize(3 * PART, 0);
    disk
}

fn whole(image: &Image) -> Result<Vec<u8>, ReadError> {
    image.disk.read_range(0..u64::MAX, 64 << 20)
}

#[test]
fn every_sample_is_the_disk_it_was_made_of() {
    let disk = disk();
    for name in SAMPLES {
        let image = opened(sample(name)).expect("sound").expect("an image");
        assert!(image.losses.is_empty(), "{name}: {:?}", image.losses);
        let bytes = whole(&image).expect("sound");
        assert!(bytes == disk, "{name}: its bytes differ");
    }
    let image = opened(sample("small.E01"))
        .expect("sound")
        .expect("an image");
    let sha1 = image.hashes.iter().find(|hash| hash.algorithm == "sha1");
    assert_eq!(sha1.expect("a digest").hex.len(), 40);
}

#[test]
fn a_cut_image_gives_no_bytes_that_were_not_there() {
    let disk = disk();
    for name in SAMPLES {
        let sound = sample(name);
        for cut in (0..sound.len()).step_by(sound.len() / 211) {
            let Ok(Some(image)) = opened(sound[..cut].to_vec()) else {
                continue;
            };
            // In pieces, so that what can be read is compared.
            let mut said = !image.losses.is_empty() || image.disk.len() < disk.len() as u64;
            for at in (0..image.disk.len()).step_by(4096) {
                let mut buf = [0; 4096];
                match image.disk.read_full_at(at, &mut buf) {
                    Ok(have) => {
                        let end = (at as usize + have).min(disk.len());
                        assert_eq!(buf[..have], disk[at as usize..end], "{name} cut at {cut}");
                    }
                    Err(_) => said = true,
                }
            }
            let read = whole(&image);
            said |= read.is_ok_and(|bytes| bytes == disk);
            assert!(said, "{name} cut at {cut} says nothing");
        }
    }
}

/// Claims of exabytes are refused, or cost nothing.
#[test]
fn absurd_sizes_end() {
    let claims: [(&str, Vec<u8>, usize, Vec<u8>); 6] = [
        (
            "qcow2",
            sample("plain.qcow2"),
            24,
            (1_u64 << 62).to_be_bytes().to_vec(),
        ),
        (
            "qcow2 table",
            sample("plain.qcow2"),
            36,
            u32::MAX.to_be_bytes().to_vec(),
        ),
        (
            "vmdk",
            sample("sparse.vmdk"),
            12,
            (1_u64 << 53).to_le_bytes().to_vec(),
        ),
        (
            "vmdk grain",
            sample("sparse.vmdk"),
            20,
            (1_u64 << 40).to_le_bytes().to_vec(),
        ),
        (
            "vmdk packed",
            sample("stream.vmdk"),
            44,
            u32::MAX.to_le_bytes().to_vec(),
        ),
        ("ewf", sample("small.E01"), 0, Vec::new()),
    ];
    for (name, mut bytes, at, field) in claims {
        bytes[at..at + field.len()].copy_from_slice(&field);
        if name == "ewf" {
            let place = bytes
                .windows(7)
                .position(|kind| kind == b"volume\0")
                .expect("a volume");
            let content = place + 76;
            bytes[content + 16..content + 24].copy_from_slice(&(1_u64 << 53).to_le_bytes());
        }
        if let Ok(Some(image)) = opened(bytes) {
            let len = image.disk.len();
            let mut buf = [0; 512];
            for at in [len / 2, len - 512] {
                let read = image.disk.read_at(at, &mut buf);
                assert!(read.is_err(), "{name}: none is there");
            }
            assert!(
                image.disk.ranges().take(100_000).count() < 100_000,
                "{name}"
            );
            assert!(!image.losses.is_empty(), "{name}: nothing is said");
        }
    }
    let empty = Vhdx::new(64 << 40).build();
    assert!(
        opened(empty).is_err(),
        "its table has no room for so many blocks"
    );
    let image = Vhd::new(1 << 20, 64 << 10, 1).build();
    assert_eq!(
        opened(image).expect("sound").expect("an image").disk.len(),
        1 << 20
    );
}

/// A local header of a zip archive, with the member that AFF4 containers begin with.
const AFF4: &[u8] =
    b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x15\0\0\0container.description";

#[test]
fn what_is_not_read_is_refused_by_name() {
    for (head, word) in [
        (&b"LVF\x09\r\n\xff\0"[..], "L01"),
        (b"COWD", "COWD"),
        (b"AFF10\r\n\0", "AFF"),
        (b"QFI\xfb\0\0\0\x01", "QCOW"),
        (AFF4, "export it as raw or E01"),
    ] {
        let mut bytes = head.to_vec();
        bytes.resize(4096, 0);
        let Err(error) = opened(bytes) else {
            panic!("{word} is not read");
        };
        assert!(error.to_string().contains(word), "{error}");
    }
    let mut external = sample("plain.qcow2");
    external[79] |= 4;
    assert!(matches!(
        opened(external),
        Err(ReadError::Unsupported { .. })
    ));
}
