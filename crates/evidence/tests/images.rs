//! Disk images: each kind, made by other people's programs, is the disk that it was made of.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use scelle_evidence::{ImageKind, OpenError, OpenOptions, open, open_disk};
use scelle_formats::{RangeKind, ReadAt, ReadAtExt as _, ReadError};
use scelle_testkit::{Corpus, LogStep, Vhd, Vhdx, has_tool, run_tool, testdata};
use sha2::{Digest as _, Sha256};

fn options() -> OpenOptions {
    OpenOptions::default()
}

fn demo() -> Vec<u8> {
    fs::read(testdata().join("demo/workstation.raw")).expect("our own sample")
}

fn disk(path: &Path) -> (ImageKind, Arc<dyn ReadAt>) {
    let image = open_disk(path, &options()).unwrap_or_else(|error| panic!("{error}"));
    assert!(image.losses.is_empty(), "{path:?}: {:?}", image.losses);
    (image.kind, image.disk)
}

/// Whether a disk is `raw`, and zeros after it, however it is read.
fn check(path: &Path, kind: ImageKind, raw: &[u8]) {
    let (found, disk) = disk(path);
    assert_eq!(found, kind, "{path:?}");
    assert!(
        disk.len() >= raw.len() as u64,
        "{path:?}: {} bytes",
        disk.len()
    );
    let whole = disk
        .read_range(0..u64::MAX, usize::MAX)
        .expect("a sound image");
    assert_eq!(whole.len() as u64, disk.len(), "{path:?}");
    assert!(whole.starts_with(raw), "{path:?}: its bytes differ");
    assert!(
        whole[raw.len()..].iter().all(|byte| *byte == 0),
        "{path:?}: not padded by zeros"
    );
    // Odd places and lengths, across every kind of border.
    let mut at = 1_u64;
    for step in 1..400_u64 {
        at = (at * 7919 + step * 104_729) % disk.len();
        let mut buf = vec![0xEE; (step * 331 % 70_000) as usize];
        let have = disk.read_full_at(at, &mut buf).expect("a sound image");
        let end = (at as usize + buf.len()).min(whole.len());
        assert_eq!(&buf[..have], &whole[at as usize..end], "{path:?} at {at}");
    }
    let mut next = 0;
    for (range, kind) in disk.ranges() {
        assert_eq!(range.start, next, "{path:?}: ranges follow one another");
        next = range.end;
        let bytes = &whole[range.start as usize..range.end as usize];
        match kind {
            RangeKind::Data => {}
            RangeKind::Hole => assert!(bytes.iter().all(|byte| *byte == 0), "{path:?}: a hole"),
            other => panic!("{path:?}: {other:?} in a sound image"),
        }
    }
    assert_eq!(next, disk.len(), "{path:?}");
}

fn qemu(folder: &Path, format: &str, option: &str, name: &str) -> PathBuf {
    let mut arguments = vec!["convert", "-f", "raw", "-O", format];
    if option == "-c" {
        arguments.push("-c");
    } else if !option.is_empty() {
        arguments.extend(["-o", option]);
    }
    arguments.extend(["disk.raw", name]);
    run_tool(folder, "qemu-img", &arguments);
    folder.join(name)
}

#[test]
fn every_kind_that_qemu_writes_is_the_disk_it_was_made_of() {
    if !has_tool("qemu-img", "images of virtual machines") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let raw = demo();
    fs::write(folder.path().join("disk.raw"), &raw).expect("room");
    let kinds = [
        (ImageKind::Vhd, "vpc", "subformat=dynamic", "dynamic.vhd"),
        (
            ImageKind::Vhd,
            "vpc",
            "subformat=dynamic,force_size=on",
            "dynamic-exact.vhd",
        ),
        (
            ImageKind::Vhd,
            "vpc",
            "subformat=fixed,force_size=on",
            "fixed.vhd",
        ),
        (ImageKind::Vhdx, "vhdx", "subformat=dynamic", "dynamic.vhdx"),
        (ImageKind::Vhdx, "vhdx", "subformat=fixed", "fixed.vhdx"),
        (ImageKind::Vhdx, "vhdx", "block_size=2097152", "blocks.vhdx"),
        (
            ImageKind::Vmdk,
            "vmdk",
            "subformat=monolithicSparse",
            "sparse.vmdk",
        ),
        (
            ImageKind::Vmdk,
            "vmdk",
            "subformat=monolithicFlat",
            "flat.vmdk",
        ),
        (
            ImageKind::Vmdk,
            "vmdk",
            "subformat=twoGbMaxExtentSparse",
            "split.vmdk",
        ),
        (
            ImageKind::Vmdk,
            "vmdk",
            "subformat=twoGbMaxExtentFlat",
            "splitflat.vmdk",
        ),
        (
            ImageKind::Vmdk,
            "vmdk",
            "subformat=streamOptimized",
            "stream.vmdk",
        ),
        (ImageKind::Qcow2, "qcow2", "compat=0.10", "two.qcow2"),
        (ImageKind::Qcow2, "qcow2", "compat=1.1", "three.qcow2"),
        (ImageKind::Qcow2, "qcow2", "cluster_size=512", "small.qcow2"),
        (ImageKind::Qcow2, "qcow2", "cluster_size=2M", "large.qcow2"),
        (
            ImageKind::Qcow2,
            "qcow2",
            "extended_l2=on",
            "extended.qcow2",
        ),
        (ImageKind::Qcow2, "qcow2", "-c", "packed.qcow2"),
    ];
    for (kind, format, option, name) in kinds {
        let path = qemu(folder.path(), format, option, name);
        check(&path, kind, &raw);
        let evidence = open(&path, &options()).expect("an image");
        assert_eq!(&*evidence.name, name);
        assert!(evidence.losses.is_empty(), "{name}: {:?}", evidence.losses);
        let raw = open(&folder.path().join("disk.raw"), &options()).expect("an image");
        assert_eq!(
            evidence.volumes[0].info().id,
            raw.volumes[0].info().id,
            "{name}"
        );
    }
    let zstd = [
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-c",
        "-o",
        "compression_type=zstd",
    ];
    run_tool(
        folder.path(),
        "qemu-img",
        &[&zstd[..], &["disk.raw", "zstd.qcow2"]].concat(),
    );
    check(&folder.path().join("zstd.qcow2"), ImageKind::Qcow2, &raw);
}

#[test]
fn a_disk_over_another_is_both() {
    if !has_tool("qemu-io", "images with a parent") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let mut raw = demo();
    fs::write(at("disk.raw"), &raw).expect("room");
    qemu(folder.path(), "qcow2", "-c", "base.qcow2");
    qemu(folder.path(), "vmdk", "", "base.vmdk");
    for (format, base) in [("qcow2", "base.qcow2"), ("vmdk", "base.vmdk")] {
        let over = format!("over.{format}");
        let create = ["create", "-f", format, "-F", format, "-b", base, &over];
        run_tool(folder.path(), "qemu-img", &create);
        // A third of a cluster, all of one, zeros, and what lies past both.
        for write in ["write -P 0x5A 70000 20000", "write -P 0xA5 131072 65536"] {
            run_tool(
                folder.path(),
                "qemu-io",
                &["-f", format, "-c", write, &over],
            );
        }
        run_tool(
            folder.path(),
            "qemu-io",
            &["-f", format, "-c", "write -z 1048576 65536", &over],
        );
    }
    raw[70_000..90_000].fill(0x5A);
    raw[131_072..196_608].fill(0xA5);
    raw[1_048_576..1_114_112].fill(0);
    check(&at("over.qcow2"), ImageKind::Qcow2, &raw);
    check(&at("over.vmdk"), ImageKind::Vmdk, &raw);
    fs::remove_file(at("base.qcow2")).expect("our own");
    let Err(OpenError::Image { source, .. }) = open(&at("over.qcow2"), &options()) else {
        panic!("a disk without its parent is none");
    };
    assert!(source.to_string().contains("base.qcow2"), "{source}");
}

#[test]
fn a_path_in_an_image_leads_nowhere_but_to_its_own_folder() {
    if !has_tool("qemu-img", "images with a parent") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).expect("room");
    fs::write(folder.path().join("disk.raw"), demo()).expect("room");
    let create = [
        "create",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        "../disk.raw",
        "inner/over.qcow2",
    ];
    run_tool(folder.path(), "qemu-img", &create);
    assert!(matches!(
        open(&inner.join("over.qcow2"), &options()),
        Err(OpenError::Image {
            source: ReadError::Absent { .. },
            ..
        })
    ));
    // A link beside the image is not followed either.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../disk.raw", inner.join("disk.raw")).expect("a link");
        assert!(open(&inner.join("over.qcow2"), &options()).is_err());
        fs::remove_file(inner.join("disk.raw")).expect("our own");
    }
    fs::copy(folder.path().join("disk.raw"), inner.join("disk.raw")).expect("room");
    check(&inner.join("over.qcow2"), ImageKind::Qcow2, &demo());
    let text = "# Disk DescriptorFile\nparentCID=ffffffff\nRW 1 FLAT \"../../etc/passwd\" 0\n";
    fs::write(inner.join("escape.vmdk"), text).expect("room");
    let Err(error) = open(&inner.join("escape.vmdk"), &options()) else {
        panic!("the file is not in the folder");
    };
    assert!(
        error
            .to_string()
            .contains("\"passwd\" in the folder of the image"),
        "{error}"
    );
}

#[test]
fn every_kind_that_ewfacquire_writes_is_the_disk_it_was_made_of() {
    if !has_tool("ewfacquire", "E01 images") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let raw = demo();
    fs::write(folder.path().join("disk.raw"), &raw).expect("room");
    let kinds: [(&str, &str, &[&str]); 9] = [
        ("none.E01", "encase6", &["-c", "none"]),
        ("fast.E01", "encase6", &["-c", "fast"]),
        ("best.E01", "encase6", &["-c", "best", "-d", "sha1"]),
        ("empty.E01", "ftk", &["-c", "empty-block"]),
        ("small.E01", "encase5", &["-b", "16"]),
        ("large.E01", "encase7", &["-b", "4096", "-c", "fast"]),
        ("segments.E01", "encase6", &["-c", "none", "-S", "1048576"]),
        ("linen.E01", "linen5", &["-c", "fast"]),
        ("smart.s01", "smart", &["-c", "fast"]),
    ];
    for (name, format, more) in kinds {
        let target = name.split('.').next().expect("a stem");
        let mut arguments = vec!["-q", "-u", "-f", format, "-t", target];
        arguments.extend(more);
        arguments.push("disk.raw");
        run_tool(folder.path(), "ewfacquire", &arguments);
        let path = folder.path().join(name);
        check(&path, ImageKind::Ewf, &raw);
        let image = open_disk(&path, &options()).expect("an image");
        let md5 = run_tool(folder.path(), "md5sum", &["disk.raw"]);
        let hash = |algorithm| image.hashes.iter().find(|hash| hash.algorithm == algorithm);
        assert_eq!(
            hash("md5").map(|hash| &*hash.hex),
            md5.split(' ').next(),
            "{name}"
        );
        if more.contains(&"sha1") {
            let sha1 = run_tool(folder.path(), "sha1sum", &["disk.raw"]);
            assert_eq!(
                hash("sha1").map(|hash| &*hash.hex),
                sha1.split(' ').next(),
                "{name}"
            );
        }
    }
    missing_and_damaged_segments(folder.path(), &raw);
}

/// What is left of an image can be read, and what is not is said.
fn missing_and_damaged_segments(folder: &Path, raw: &[u8]) {
    let first = folder.join("segments.E01");
    let last = folder.join("segments.E05");
    let kept = fs::read(&last).expect("five segments");
    fs::remove_file(&last).expect("our own");
    let image = open_disk(&first, &options()).expect("four of five segments");
    let lost = format!("{:?}", image.losses);
    assert!(lost.contains("E05"), "{lost}");
    let ranges: Vec<_> = image.disk.ranges().collect();
    let [(whole, RangeKind::Data), (rest, RangeKind::Unreadable)] = &ranges[..] else {
        panic!("{ranges:?}");
    };
    assert_eq!((whole.start, rest.end), (0, raw.len() as u64));
    let end = whole.end as usize;
    let mut buf = vec![0; end];
    assert_eq!(
        image.disk.read_full_at(0, &mut buf).expect("it is there"),
        end
    );
    assert_eq!(buf, raw[..end]);
    assert!(image.disk.read_at(whole.end, &mut buf).is_err());
    fs::write(&last, kept).expect("room");

    // One byte of one chunk: that chunk is lost, its neighbours are not.
    let path = folder.join("none.E01");
    let mut bytes = fs::read(&path).expect("our own");
    let at = bytes
        .windows(4096)
        .position(|window| window == &raw[65_536..69_632]);
    bytes[at.expect("chunks are stored as they are") + 100] ^= 1;
    fs::write(&path, bytes).expect("room");
    let (_, disk) = disk(&path);
    let mut buf = vec![0; 32 << 10];
    assert!(matches!(
        disk.read_at(65_536, &mut buf),
        Err(ReadError::Damaged {
            what: "a chunk of an EWF image",
            ..
        })
    ));
    for at in [32_768, 98_304] {
        assert_eq!(
            disk.read_full_at(at as u64, &mut buf).expect("whole"),
            buf.len()
        );
        assert_eq!(buf, raw[at..at + buf.len()]);
    }
}

#[test]
fn damaged_tables_of_an_e01_have_a_copy() {
    if !has_tool("ewfacquire", "E01 images") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let raw = demo();
    fs::write(folder.path().join("disk.raw"), &raw).expect("room");
    run_tool(
        folder.path(),
        "ewfacquire",
        &["-q", "-u", "-c", "fast", "-t", "disk", "disk.raw"],
    );
    let path = folder.path().join("disk.E01");
    let sound = fs::read(&path).expect("our own");
    let place = |name: &[u8]| {
        let mut name = name.to_vec();
        name.resize(16, 0);
        sound
            .windows(16)
            .position(|window| window == name)
            .expect("a section")
    };
    let (table, copy) = (place(b"table"), place(b"table2"));
    // An entry, and the head, of the table; then an entry of its copy too.
    for at in [table + 76 + 24 + 8, table + 76 + 8] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).expect("room");
        let image = open_disk(&path, &options()).expect("the copy is sound");
        let whole = image
            .disk
            .read_range(0..u64::MAX, usize::MAX)
            .expect("a sound copy");
        assert!(whole == raw, "{at}");
        let [loss] = &image.losses[..] else {
            panic!("the damage is said: {:?}", image.losses);
        };
        assert!(
            loss.error.to_string().contains("checksum"),
            "{}",
            loss.error
        );
    }
    let mut bytes = sound.clone();
    bytes[table + 76 + 24 + 8] ^= 0x10;
    bytes[copy + 76 + 24 + 8] ^= 0x10;
    fs::write(&path, &bytes).expect("room");
    let image = open_disk(&path, &options()).expect("the first table serves as it stands");
    // The entry is off by so many bytes, and the chunk that it leads to says so.
    let lost = image.disk.read_range(0..u64::MAX, usize::MAX);
    assert!(matches!(lost, Err(ReadError::Damaged { .. })));
    let mut last = vec![0; 4096];
    let end = raw.len() - last.len();
    image
        .disk
        .read_exact_at("the end", end as u64, &mut last)
        .expect("its own entry is sound");
    assert_eq!(last, raw[end..]);
}

#[test]
fn a_split_disk_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let raw = demo();
    for (first, second, third) in [("001", "002", "003"), ("aa", "ab", "ac")] {
        let at = |part: &str| folder.path().join(format!("disk.{part}"));
        let cut = [
            &raw[..1_000_001],
            &raw[1_000_001..3_000_000],
            &raw[3_000_000..],
        ];
        for (part, bytes) in [first, second, third].into_iter().zip(cut) {
            fs::write(at(part), bytes).expect("room");
        }
        check(&at(first), ImageKind::Raw, &raw);
        let evidence = open(&at(first), &options()).expect("a split image");
        assert_eq!(&*evidence.name, format!("disk.{first}"));
        assert!(evidence.losses.is_empty());
        fs::remove_file(at(second)).expect("our own");
        assert!(
            open(&at(first), &options()).is_err(),
            "a part in the middle is missing"
        );
    }
    // What is no disk is not joined, whatever its name.
    fs::write(folder.path().join("log.001"), b"one").expect("room");
    fs::write(folder.path().join("log.002"), b"two").expect("room");
    let (_, disk) = disk(&folder.path().join("log.001"));
    assert_eq!(disk.len(), 3);
}

#[test]
fn published_images_are_what_qemu_says_they_are() {
    let Some(corpus) = Corpus::find("VHD, VHDX and QCOW2 images") else {
        return;
    };
    let summary = corpus.expected_json("ntfs/summary.json");
    let mut seen = 0;
    for image in summary.as_array().expect("a list of images") {
        let steps = image["unpack"].as_str().expect("how to unpack");
        let Some(steps) = steps.strip_suffix("qemu-img convert -O raw") else {
            continue;
        };
        let raw = scelle_testkit::image(&corpus, image);
        let mut packed = image.clone();
        packed["unpack"] = steps.trim_end_matches("; ").into();
        let file = match steps {
            "" => None,
            _ => Some(scelle_testkit::image(&corpus, &packed)),
        };
        let path = corpus.path(image["path"].as_str().expect("a path"));
        let (_, disk) = disk(file.as_ref().map_or(&path, |file| file.path()));
        let (_, expected) = self::disk(raw.path());
        assert_eq!(disk.len(), expected.len(), "{path:?}");
        assert_eq!(sha256(&*disk), sha256(&*expected), "{path:?}");
        seen += 1;
    }
    assert_eq!(seen, 4, "the corpus has its images");
}

fn sha256(disk: &dyn ReadAt) -> String {
    let mut hash = Sha256::new();
    let mut buf = vec![0; 4 << 20];
    let mut at = 0;
    while at < disk.len() {
        let have = disk.read_full_at(at, &mut buf).expect("a sound image");
        hash.update(&buf[..have]);
        at += have as u64;
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn a_differencing_vhd_is_both() {
    const BLOCK: usize = 64 << 10;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let pattern = |seed: u8| {
        (0..BLOCK)
            .map(|at| (at / 7) as u8 ^ seed)
            .collect::<Vec<u8>>()
    };
    let base = Vhd::new(4 * BLOCK, BLOCK, 1)
        .block(0, &pattern(1), 0..128)
        .block(2, &pattern(2), 0..128);
    fs::write(at("base.vhd"), base.build()).expect("room");
    let over = Vhd::new(4 * BLOCK, BLOCK, 2)
        .parent("C:\\disks\\base.vhd", 1)
        .block(0, &pattern(3), 5..77)
        .block(3, &pattern(4), 0..1);
    fs::write(at("over.vhd"), over.build()).expect("room");
    let mut expected = pattern(1);
    expected[5 * 512..77 * 512].copy_from_slice(&pattern(3)[5 * 512..77 * 512]);
    expected.resize(2 * BLOCK, 0);
    expected.extend(pattern(2));
    expected.extend(&pattern(4)[..512]);
    expected.resize(4 * BLOCK, 0);
    check(&at("over.vhd"), ImageKind::Vhd, &expected);
    // Another disk of that name is not its parent.
    fs::write(at("base.vhd"), Vhd::new(4 * BLOCK, BLOCK, 9).build()).expect("room");
    let Err(error) = open_disk(&at("over.vhd"), &options()) else {
        panic!("a disk over another disk never was");
    };
    assert!(error.to_string().contains("has not the id"), "{error}");
}

#[test]
fn a_dynamic_vhd_without_its_footer_has_a_copy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.vhd");
    let bytes = vec![0x5A; 64 << 10];
    let mut file = Vhd::new(128 << 10, 64 << 10, 1)
        .block(1, &bytes, 0..128)
        .build();
    file.truncate(file.len() - 512);
    fs::write(&path, file).expect("room");
    let image = open_disk(&path, &options()).expect("the copy serves");
    assert_eq!(image.losses.len(), 1, "{:?}", image.losses);
    let whole = image
        .disk
        .read_range(0..u64::MAX, usize::MAX)
        .expect("sound");
    assert!(whole[..64 << 10].iter().all(|byte| *byte == 0) && whole[64 << 10..] == bytes);
}

#[test]
fn a_differencing_vhdx_is_both() {
    const BLOCK: usize = 1 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let pattern = |seed: u8| {
        (0..BLOCK)
            .map(|at| (at / 11) as u8 ^ seed)
            .collect::<Vec<u8>>()
    };
    let base = Vhdx::new(4 << 20)
        .block(0, &pattern(1))
        .block(1, &pattern(2));
    fs::write(at("base.vhdx"), base.build()).expect("room");
    let over = Vhdx::new(4 << 20)
        .parent("base.vhdx")
        .partial(1, &pattern(3), 100..1999)
        .block(2, &pattern(4));
    fs::write(at("over.vhdx"), over.build()).expect("room");
    let mut expected = [pattern(1), pattern(2), pattern(4), vec![0; BLOCK]].concat();
    let own = 100 * 512..1999 * 512;
    expected[BLOCK + own.start..BLOCK + own.end].copy_from_slice(&pattern(3)[own]);
    check(&at("over.vhdx"), ImageKind::Vhdx, &expected);
    if has_tool("qemu-img", "a VHDX of our own") {
        // The base is sound to others, too; they read no differencing ones.
        run_tool(
            folder.path(),
            "qemu-img",
            &["convert", "-O", "raw", "base.vhdx", "base.raw"],
        );
        check(
            &at("base.vhdx"),
            ImageKind::Vhdx,
            &fs::read(at("base.raw")).expect("converted"),
        );
    }
}

#[test]
fn the_log_of_a_vhdx_is_read_over_the_file() {
    const BLOCK: usize = 1 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("torn.vhdx");
    let pattern: Vec<u8> = (0..BLOCK).map(|at| (at / 13) as u8).collect();
    let mut image = Vhdx::new(4 << 20).block(0, &pattern);
    let second = image.append(&pattern);
    let mut table = vec![0; 4096];
    table[..8].copy_from_slice(&Vhdx::entry(6, second - BLOCK));
    table[16..24].copy_from_slice(&Vhdx::entry(6, second));
    let wrong = vec![0xFF; 4096];
    let bat = Vhdx::BAT_AT as u64;
    // The newest entry counts; one ends over the end of the ring, and one writes over zeros.
    let image = image.log(
        254,
        &[
            &[LogStep::Write(bat, wrong)],
            &[
                LogStep::Write(bat, table),
                LogStep::Zero(second as u64 + 8192, 4096),
            ],
            &[
                LogStep::Zero(second as u64, 8192),
                LogStep::Write(second as u64, vec![0x77; 4096]),
            ],
        ],
    );
    let file = image.build();
    fs::write(&path, &file).expect("room");
    let mut third = pattern.clone();
    third[..12288].fill(0);
    third[..4096].fill(0x77);
    let expected = [pattern, vec![0; BLOCK], third, vec![0; BLOCK]].concat();
    check(&path, ImageKind::Vhdx, &expected);
    assert!(
        fs::read(&path).expect("our own") == file,
        "nothing is written"
    );
    if has_tool("qemu-img", "the log of a VHDX") {
        run_tool(
            folder.path(),
            "qemu-img",
            &["check", "-r", "all", "torn.vhdx"],
        );
        run_tool(
            folder.path(),
            "qemu-img",
            &["convert", "-O", "raw", "torn.vhdx", "played.raw"],
        );
        let played = fs::read(folder.path().join("played.raw")).expect("converted");
        assert!(played == expected, "QEMU plays it back to the same disk");
    }
}
