//! FAT, exFAT and ext4 volumes, made by other people's programs.

use std::{collections::BTreeMap, fs, ops::ControlFlow, path::Path, process::Command, sync::Arc};

use scelle_evidence::{
    Entry, EntryKind, Evidence, EvidenceLoss, OpenOptions, Volume, VolumeKind, open, open_source,
};
use scelle_formats::{Bytes, ReadAtExt as _, ReadError};
use scelle_testkit::{has_tool, run_tool, testdata};

struct Seen {
    evidence: Evidence,
    entries: BTreeMap<String, Entry>,
    losses: Vec<EvidenceLoss>,
}

impl Seen {
    fn open(path: &Path) -> Self {
        let evidence = open(path, &OpenOptions::default()).expect("a volume");
        Self::walk(evidence)
    }

    fn walk(evidence: Evidence) -> Self {
        let (mut entries, mut losses) = (BTreeMap::new(), Vec::new());
        evidence.volumes[0].walk(&mut |entry| {
            match entry {
                Ok(entry) => {
                    let name = format!("{}{}", if entry.deleted { "-" } else { "" }, entry.path);
                    assert!(entries.insert(name, entry).is_none(), "each name once");
                }
                Err(loss) => losses.push(loss),
            }
            ControlFlow::Continue(())
        });
        Self {
            evidence,
            entries,
            losses,
        }
    }

    fn volume(&self) -> &Arc<dyn Volume> {
        &self.evidence.volumes[0]
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let entry = self
            .entries
            .get(path)
            .unwrap_or_else(|| panic!("{path}: {:?}", self.names()));
        let stream = self.volume().open_entry(entry, None)?;
        assert_eq!(stream.len(), entry.streams[0].size_bytes, "{path}");
        let bytes = stream.read_range(0..u64::MAX, usize::MAX)?;
        assert_eq!(bytes.len() as u64, stream.len(), "{path}");
        Ok(bytes)
    }

    fn names(&self) -> Vec<&str> {
        self.entries.keys().map(String::as_str).collect()
    }
}

/// A folder with what file systems find hard: many names, long ones, others than ASCII, large files.
fn tree(root: &Path) {
    let write = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("room");
        fs::write(path, bytes).expect("room");
    };
    let pattern = |length: usize, seed: usize| -> Vec<u8> {
        (0..length).map(|at| (at / 3 + at * seed) as u8).collect()
    };
    write("SHORT.TXT", b"short\n");
    write("empty", b"");
    write(
        "a longer name, with dots.and.more.text",
        &pattern(70_000, 3),
    );
    write("\u{e9}t\u{e9} \u{4e2d}.bin", &pattern(4096, 5));
    write(&format!("{}.x", "n".repeat(200)), b"x");
    write("folder/deep/deeper/deepest/file.bin", &pattern(300_000, 7));
    for number in 0..300 {
        write(
            &format!("many/file number {number}.dat"),
            &pattern(number * 17, number),
        );
    }
}

/// Every file of the folder is in the volume, and nothing else that is a file.
fn compare(seen: &Seen, root: &Path) {
    let mut expected = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("our own") {
            let path = entry.expect("our own").path();
            let name = path
                .strip_prefix(root)
                .expect("below")
                .to_str()
                .expect("Unicode");
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                assert_eq!(seen.entries[name].kind, EntryKind::Directory, "{name}");
                folders.push(path);
            } else {
                expected.insert(name.to_owned(), fs::read(&path).expect("our own"));
            }
        }
    }
    assert!(seen.losses.is_empty(), "{:?}", seen.losses);
    for (name, bytes) in &expected {
        assert!(
            seen.read(name).expect("sound") == *bytes,
            "{name}: its bytes differ"
        );
    }
    let files = seen
        .entries
        .values()
        .filter(|entry| entry.kind == EntryKind::File && !entry.deleted);
    assert_eq!(files.count(), expected.len(), "{:?}", seen.names());
}

#[test]
fn fat_of_all_widths_holds_what_was_put_in() {
    if !(has_tool("mkfs.fat", "FAT volumes") && has_tool("mcopy", "FAT volumes")) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("tree");
    tree(&root);
    for (width, kib, more) in [
        ("12", "8000", "8"),
        ("16", "32000", "2"),
        ("32", "40000", "1"),
    ] {
        let name = format!("fat{width}.img");
        let arguments = [
            "-C", "-F", width, "-s", more, "-n", "SCELLE", "-i", "12345678", &name, kib,
        ];
        run_tool(folder.path(), "mkfs.fat", &arguments);
        for entry in fs::read_dir(&root).expect("our own") {
            let path = entry.expect("our own").path();
            let path = path.to_str().expect("Unicode");
            run_tool(folder.path(), "mcopy", &["-s", "-i", &name, path, "::/"]);
        }
        let seen = Seen::open(&folder.path().join(&name));
        let info = seen.volume().info();
        assert_eq!((info.kind, &*info.id), (VolumeKind::Fat, "fat-12345678"));
        assert_eq!(info.label.as_deref(), Some("SCELLE"));
        assert!(
            seen.evidence.losses.is_empty(),
            "{:?}",
            seen.evidence.losses
        );
        compare(&seen, &root);
        // Deleted, its clusters still free; then taken again.
        run_tool(
            folder.path(),
            "mdel",
            &["-i", &name, "::/a longer name, with dots.and.more.text"],
        );
        let seen = Seen::open(&folder.path().join(&name));
        let gone = "-a longer name, with dots.and.more.text";
        assert!(
            seen.read(gone).expect("still free") == fs::read(root.join(&gone[1..])).expect("ours")
        );
        let long = root.join("folder/deep/deeper/deepest/file.bin");
        let arguments = ["-i", &name, long.to_str().expect("Unicode"), "::/again.bin"];
        run_tool(folder.path(), "mcopy", &arguments);
        let seen = Seen::open(&folder.path().join(&name));
        if let Some(entry) = seen.entries.get(gone) {
            let opened = seen.volume().open_entry(entry, None);
            assert!(
                matches!(opened, Err(ReadError::Unsupported { .. })),
                "FAT{width}: taken since"
            );
        }
    }
}

#[test]
fn times_of_fat_are_local_ones() {
    if !(has_tool("mkfs.fat", "FAT times") && has_tool("mcopy", "FAT times")) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run_tool(folder.path(), "mkfs.fat", &["-C", "time.img", "1440"]);
    fs::write(folder.path().join("file"), b"x").expect("room");
    run_tool(
        folder.path(),
        "touch",
        &["-d", "2024-02-29T23:59:58Z", "file"],
    );
    let status = Command::new("mcopy")
        .args(["-m", "-i", "time.img", "file", "::/"])
        .current_dir(folder.path())
        .env("TZ", "UTC-5")
        .status();
    assert!(status.expect("mcopy runs").success());
    let seen = Seen::open(&folder.path().join("time.img"));
    let times = seen.entries["file"].times;
    assert!(times.is_local);
    let modified = times.modified.expect("a time");
    // What the clock on the wall said, five hours ahead.
    assert_eq!(
        times
            .moment(modified)
            .to_iso(scelle_event::Precision::SECOND),
        "2024-03-01T04:59:58"
    );
}

#[test]
fn exfat_holds_what_was_put_in() {
    // Made by `mkfs.exfat` and the FUSE driver: see testdata/README.md.
    let folder = testdata().join("images");
    let seen = Seen::open(&folder.join("exfat.img"));
    let info = seen.volume().info();
    assert_eq!(info.kind, VolumeKind::Exfat);
    assert_eq!(info.label.as_deref(), Some("scelle"));
    assert!(seen.losses.is_empty() && seen.evidence.losses.is_empty());
    assert_eq!(
        seen.names(),
        ["-gone.txt", "Folder", "Folder/A long name.bin", "hello.txt"]
    );
    assert_eq!(seen.read("hello.txt").expect("sound"), b"hello\n");
    assert_eq!(
        seen.read("-gone.txt").expect("its cluster is free"),
        b"hello\n"
    );
    let long = seen.read("Folder/A long name.bin").expect("sound");
    assert!(long.len() == 3000 && long.starts_with(b"00000000 scelle sample\n00000001"));
}

#[test]
fn exfat_made_here_holds_what_was_put_in() {
    let tools = ["mkfs.exfat", "mount.exfat-fuse", "losetup"];
    if !tools
        .into_iter()
        .all(|tool| has_tool(tool, "exFAT volumes"))
    {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("tree");
    tree(&root);
    let image = fs::File::create(folder.path().join("exfat.img")).expect("room");
    image.set_len(16 << 20).expect("room");
    run_tool(folder.path(), "mkfs.exfat", &["-c", "4096", "exfat.img"]);
    let device = run_tool(folder.path(), "losetup", &["-f", "--show", "exfat.img"]);
    fs::create_dir(folder.path().join("mounted")).expect("room");
    run_tool(
        folder.path(),
        "mount.exfat-fuse",
        &[device.trim(), "mounted"],
    );
    let copied = Command::new("cp")
        .args(["-r", "tree/.", "mounted/"])
        .current_dir(folder.path())
        .status();
    run_tool(folder.path(), "umount", &["mounted"]);
    run_tool(folder.path(), "losetup", &["-d", device.trim()]);
    assert!(copied.expect("cp runs").success());
    compare(&Seen::open(&folder.path().join("exfat.img")), &root);
}

#[cfg(unix)]
#[test]
fn ext2_to_ext4_hold_what_was_put_in() {
    if !has_tool("mkfs.ext4", "ext volumes") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("tree");
    tree(&root);
    std::os::unix::fs::symlink("folder/deep", root.join("short link")).expect("a link");
    std::os::unix::fs::symlink("x/".repeat(100), root.join("long link")).expect("a link");
    let mut holes = fs::File::create(root.join("sparse")).expect("room");
    {
        use std::io::{Seek as _, SeekFrom, Write as _};
        for at in [0, 5_000_000, 9_999_990] {
            holes.seek(SeekFrom::Start(at)).expect("room");
            holes.write_all(b"0123456789").expect("room");
        }
    }
    for (name, options) in [
        ("ext2.img", &["-t", "ext2", "-b", "1024"][..]),
        ("ext3.img", &["-t", "ext3", "-b", "2048"]),
        ("ext4.img", &["-t", "ext4"]),
        (
            "inline.img",
            &[
                "-t",
                "ext4",
                "-O",
                "inline_data,64bit,^has_journal",
                "-I",
                "256",
            ],
        ),
        (
            "small.img",
            &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-O",
                "^64bit,meta_bg,^resize_inode",
            ],
        ),
    ] {
        let fixed = [
            "-q",
            "-F",
            "-L",
            "scelle",
            "-U",
            "12345678-9abc-def0-1234-56789abcdef0",
        ];
        let arguments = [options, &fixed, &["-d", "tree", name, "40M"]].concat();
        run_tool(folder.path(), "mkfs.ext4", &arguments);
        let seen = Seen::open(&folder.path().join(name));
        let info = seen.volume().info();
        assert_eq!(info.kind, VolumeKind::Ext, "{name}");
        assert_eq!(&*info.id, "ext-12345678-9abc-def0-1234-56789abcdef0");
        assert_eq!(info.label.as_deref(), Some("scelle"));
        assert!(
            seen.evidence.losses.is_empty(),
            "{name}: {:?}",
            seen.evidence.losses
        );
        compare(&seen, &root);
        let target = |link: &str| {
            let entry = &seen.entries[link];
            assert_eq!(entry.kind, EntryKind::Link);
            entry.link_target.as_ref().map(ToString::to_string)
        };
        assert_eq!(target("short link").as_deref(), Some("folder/deep"));
        assert_eq!(target("long link"), Some("x/".repeat(100)));
        assert!(seen.entries["sparse"].streams[0].sparse, "{name}");
        let modified = seen.entries["SHORT.TXT"].times.modified.expect("a time");
        let stated = fs::metadata(root.join("SHORT.TXT"))
            .expect("ours")
            .modified()
            .expect("a time");
        let stated = stated
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        assert_eq!(modified.seconds(), i128::from(stated.as_secs()), "{name}");
    }
}

#[test]
fn circles_and_lies_end() {
    let bytes = fs::read(testdata().join("images/fat12.img")).expect("our own");
    // The folder's first cluster is its own folder's: a circle.
    let entry = bytes
        .windows(11)
        .position(|name| name == b"FOLDER     ")
        .expect("a folder");
    let cluster = u16::from_le_bytes([bytes[entry + 26], bytes[entry + 27]]);
    let inside = bytes
        .windows(8)
        .position(|name| name == b"ALONGN~1")
        .expect("a file");
    let mut circle = bytes.clone();
    circle[inside + 11] = 0x10;
    circle[inside + 26..inside + 28].copy_from_slice(&cluster.to_le_bytes());
    let seen = Seen::walk(open_source("fat".into(), Arc::new(Bytes(circle))));
    assert_eq!(seen.losses.len(), 1, "{:?}", seen.losses);
    assert!(seen.losses[0].error.to_string().contains("circle"));
    for name in ["fat12.img", "ext4.img", "exfat.img"] {
        let bytes = fs::read(testdata().join("images").join(name)).expect("our own");
        for cut in (0..bytes.len()).step_by(bytes.len() / 97) {
            let evidence = open_source("cut".into(), Arc::new(Bytes(bytes[..cut].to_vec())));
            for volume in &evidence.volumes {
                let mut count = 0;
                volume.walk(&mut |entry| {
                    count += 1;
                    if let Ok(entry) = entry
                        && let Ok(stream) = volume.open_entry(&entry, None)
                    {
                        // What is cut off is an error or missing; it is never made up.
                        let read = stream.read_range(0..u64::MAX, 1 << 20);
                        assert!(
                            read.is_err()
                                || read.is_ok_and(|read| read.len() as u64 <= stream.len())
                        );
                    }
                    ControlFlow::Continue(())
                });
                assert!(
                    count > 0 || !evidence.losses.is_empty(),
                    "{name} cut at {cut} says nothing"
                );
            }
        }
    }
}
