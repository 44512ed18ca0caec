//! One volume, stored in every way: the same payload, the same manifests.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use scelle_testkit::{Corpus, has_tool, run_tool, testdata};
use support::{only, run_scelle, text};

/// Where partitions begin that `fdisk` makes.
const PARTITION_AT: usize = 1 << 20;

/// What depends on the evidence alone.
#[derive(Debug, PartialEq, Eq)]
struct Payload {
    id: String,
    files: String,
    warnings: String,
    manifests: [String; 2],
}

fn payload(source: &Path, out: &Path) -> Payload {
    let arguments = [
        "collect",
        "--source",
        &text(source),
        "--profile",
        "everything",
        "--tlp",
        "green",
        "--out",
        &text(out),
        "--json",
    ]
    .map(str::to_owned);
    let ran = run_scelle(arguments);
    // The demonstration volume has streams that are only recorded: losses, and the same ones.
    assert!(ran.status <= 1, "{source:?}: {}", ran.err);
    let id = ran.json()["payload"].as_str().expect("an id").to_owned();
    let bundle = only(out, ".scelle.zip");
    let member = |name: &str| {
        let member = format!("*/{name}");
        run_tool(out, "unzip", &["-p", &text(&bundle), &member])
    };
    Payload {
        id,
        files: member("files.jsonl"),
        warnings: member("warnings.jsonl"),
        manifests: [member("manifest-sha256.txt"), member("manifest-blake3.txt")],
    }
}

/// The bare volume of a disk.
fn volume_of(disk: &Path) -> Vec<u8> {
    let evidence = scelle::open(disk).expect("a disk");
    let info = evidence.evidence().volumes[0].info().clone();
    let bytes = fs::read(disk).expect("our own sample");
    let start = info.offset as usize;
    // With the sector after it, which has the boot sector's backup.
    let end = (start + info.size_bytes.expect("a size") as usize + 512).min(bytes.len());
    bytes[start..end].to_vec()
}

/// A disk with one partition, of an MBR.
fn in_mbr(volume: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; PARTITION_AT];
    disk.extend(volume);
    let sectors = |bytes: usize| (bytes as u32 / 512).to_le_bytes();
    disk[0x1BE + 4] = 7;
    disk[0x1BE + 8..0x1BE + 12].copy_from_slice(&sectors(PARTITION_AT));
    disk[0x1BE + 12..0x1BE + 16].copy_from_slice(&sectors(volume.len()));
    disk[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
    disk
}

fn every_way(folder: &Path, volume: &[u8]) -> Vec<PathBuf> {
    let at = |name: &str| folder.join(name);
    fs::write(at("bare.raw"), volume).expect("room");
    fs::write(at("mbr.raw"), in_mbr(volume)).expect("room");
    let mut gpt = vec![0; PARTITION_AT];
    gpt.extend(volume);
    gpt.resize(gpt.len().next_multiple_of(512) + PARTITION_AT, 0);
    fs::write(at("gpt.raw"), gpt).expect("room");
    let partition = format!("1:2048:+{}K", volume.len().div_ceil(1024));
    run_tool(
        folder,
        "sgdisk",
        &["-n", &partition, "-t", "1:0700", "gpt.raw"],
    );
    let mut all: Vec<_> = ["bare.raw", "mbr.raw", "gpt.raw"].map(&at).into();
    for (disk, format, option, name) in [
        ("bare.raw", "vhdx", "subformat=dynamic", "bare.vhdx"),
        ("bare.raw", "vpc", "subformat=dynamic", "bare.vhd"),
        (
            "bare.raw",
            "vmdk",
            "subformat=monolithicSparse",
            "bare.vmdk",
        ),
        (
            "bare.raw",
            "vmdk",
            "subformat=streamOptimized",
            "stream.vmdk",
        ),
        ("bare.raw", "qcow2", "compat=1.1", "bare.qcow2"),
        ("mbr.raw", "vhdx", "subformat=dynamic", "mbr.vhdx"),
        (
            "gpt.raw",
            "vmdk",
            "subformat=twoGbMaxExtentSparse",
            "gpt.vmdk",
        ),
    ] {
        let arguments = [
            "convert", "-f", "raw", "-O", format, "-o", option, disk, name,
        ];
        run_tool(folder, "qemu-img", &arguments);
        all.push(at(name));
    }
    let packed = [
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-c",
        "gpt.raw",
        "gpt.qcow2",
    ];
    run_tool(folder, "qemu-img", &packed);
    all.push(at("gpt.qcow2"));
    for (disk, target, more) in [
        ("bare.raw", "none", &["-c", "none"][..]),
        ("bare.raw", "best", &["-c", "best"]),
        ("bare.raw", "parts", &["-c", "none", "-S", "1048576"]),
        ("gpt.raw", "gpt", &["-c", "fast"]),
    ] {
        let arguments = [&["-q", "-u", "-t", target], more, &[disk]].concat();
        run_tool(folder, "ewfacquire", &arguments);
        all.push(at(&format!("{target}.E01")));
    }
    all
}

fn has_tools() -> bool {
    ["qemu-img", "ewfacquire", "sgdisk", "unzip"]
        .into_iter()
        .all(|tool| has_tool(tool, "one volume in every image"))
}

fn check(volume: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut first: Option<Payload> = None;
    for (number, image) in every_way(folder.path(), volume).into_iter().enumerate() {
        let out = folder.path().join(format!("out-{number}"));
        fs::create_dir(&out).expect("room");
        let payload = payload(&image, &out);
        assert!(!payload.manifests[0].is_empty() && !payload.files.is_empty());
        match &first {
            None => first = Some(payload),
            Some(first) => {
                assert!(
                    *first == payload,
                    "{image:?}: not the payload of the bare volume"
                );
            }
        }
    }
}

#[test]
fn a_volume_is_the_same_in_every_image() {
    if has_tools() {
        check(&volume_of(&testdata().join("demo/workstation.raw")));
    }
}

#[test]
fn a_published_volume_is_the_same_in_every_image() {
    let Some(corpus) = Corpus::find("a volume in every image") else {
        return;
    };
    if has_tools() {
        check(&corpus.read("ntfs-images/7-ntfs-undel.dd.zst"));
    }
}

#[test]
fn the_hashes_of_an_e01_are_compared() {
    if !has_tool("ewfacquire", "the hashes of an E01") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(
        testdata().join("demo/workstation.raw"),
        folder.path().join("disk.raw"),
    )
    .expect("room");
    let arguments = [
        "-q", "-u", "-c", "none", "-d", "sha1", "-t", "disk", "disk.raw",
    ];
    run_tool(folder.path(), "ewfacquire", &arguments);
    let image = folder.path().join("disk.E01");
    let verify = |status| {
        let arguments = ["verify-image".to_owned(), text(&image), "--json".to_owned()];
        run_scelle(arguments).ended(status).json()
    };
    let sound = verify(0);
    assert_eq!(sound["kind"], "ewf");
    assert_eq!(sound["stored"].as_array().map(Vec::len), Some(2), "{sound}");
    for stored in sound["stored"].as_array().expect("two hashes") {
        assert_eq!(stored["matches"], true, "{sound}");
    }
    let sha256 = run_tool(folder.path(), "sha256sum", &["disk.raw"]);
    assert_eq!(sound["hashes"]["sha256"].as_str(), sha256.split(' ').next());

    // A byte that no checksum of its own covers any more: the chunk's is made anew.
    let mut bytes = fs::read(&image).expect("our own");
    let raw = fs::read(folder.path().join("disk.raw")).expect("our own");
    let chunk = 64 << 10;
    let place = bytes
        .windows(4096)
        .position(|window| window == &raw[chunk..chunk + 4096]);
    let place = place.expect("chunks are stored as they are");
    bytes[place] ^= 1;
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in &bytes[place..place + (32 << 10)] {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    let sum = place + (32 << 10);
    bytes[sum..sum + 4].copy_from_slice(&(b << 16 | a).to_le_bytes());
    fs::write(&image, &bytes).expect("room");
    let changed = verify(1);
    for stored in changed["stored"].as_array().expect("two hashes") {
        assert_eq!(stored["matches"], false, "{changed}");
    }
    // And one that the chunk's checksum tells of.
    bytes[sum] ^= 1;
    fs::write(&image, &bytes).expect("room");
    let damaged = verify(1);
    assert_eq!(
        damaged["unreadable"],
        serde_json::json!([[chunk, chunk + (32 << 10)]])
    );
    assert_eq!(damaged["stored"][0]["matches"], serde_json::Value::Null);
}
