//! Sources of every kind, partition tables, and what is none of them.

use std::{fs, path::Path, sync::Arc};

use scelle_evidence::{
    Evidence, OpenError, OpenOptions, UNKNOWN_ENTRY, VolumeKind, open, open_source,
};
use scelle_formats::{Bytes, ReadAt as _, ReadError};
use scelle_testkit::{MftRecord, NtfsImage, Part};

const SECTOR: usize = 512;

/// The smallest volume that opens.
fn volume() -> Vec<u8> {
    let runs = [(Some(4), 8)];
    let part = Part {
        real_bytes: 8 << 10,
        valid_bytes: 8 << 10,
        runs: &runs,
        ..Part::default()
    };
    let table = MftRecord::new(0, 1).part(0x80, "", &part);
    NtfsImage::new(1024, 1024, 16, 4, 1)
        .record(0, &table)
        .record_at(1, 0, &table)
        .into_bytes()
}

fn opened(image: Vec<u8>) -> Evidence {
    open_source("made".into(), Arc::new(Bytes(image)))
}

fn ids(evidence: &Evidence) -> Vec<&str> {
    evidence
        .volumes
        .iter()
        .map(|volume| &*volume.info().id)
        .collect()
}

/// Puts a volume at a sector of a disk.
fn place(disk: &mut [u8], sector: usize, bytes: &[u8]) {
    disk[sector * SECTOR..sector * SECTOR + bytes.len()].copy_from_slice(bytes);
}

fn mbr_entry(disk: &mut [u8], record: usize, index: usize, kind: u8, start: u32, sectors: u32) {
    let at = record * SECTOR + 0x1BE + 16 * index;
    disk[at + 4] = kind;
    disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
    disk[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
    disk[record * SECTOR + 510..record * SECTOR + 512].copy_from_slice(&[0x55, 0xAA]);
}

#[test]
fn mbr_with_logical_partitions() {
    let volume = volume();
    let sectors = (volume.len() / SECTOR) as u32;
    let mut disk = vec![0; 400 * SECTOR];
    mbr_entry(&mut disk, 0, 0, 7, 10, sectors);
    mbr_entry(&mut disk, 0, 1, 0x0F, 100, 300);
    mbr_entry(&mut disk, 0, 2, 0x83, 60, 20);
    place(&mut disk, 10, &volume);
    // Two logical partitions in a chain, each relative to its own record.
    mbr_entry(&mut disk, 100, 0, 7, 10, sectors);
    mbr_entry(&mut disk, 100, 1, 5, 100, 100);
    place(&mut disk, 110, &volume);
    mbr_entry(&mut disk, 200, 0, 7, 20, sectors);
    place(&mut disk, 220, &volume);
    let evidence = opened(disk.clone());
    assert_eq!(
        ids(&evidence),
        [
            "ntfs-0123456789ABCDEF",
            "at-30720",
            "ntfs-0123456789ABCDEF+2",
            "ntfs-0123456789ABCDEF+3"
        ]
    );
    let offsets: Vec<_> = evidence.volumes.iter().map(|v| v.info().offset).collect();
    assert_eq!(
        offsets,
        [10, 60, 110, 220].map(|sector| sector * SECTOR as u64)
    );
    assert_eq!(evidence.volumes[1].info().kind, VolumeKind::File);
    let mut names = Vec::new();
    evidence.volumes[1].walk(&mut |entry| {
        names.push(entry.expect("one entry").path.to_string());
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(names, [UNKNOWN_ENTRY]);
    assert_eq!(
        evidence.losses.len(),
        1,
        "the unknown one: {:?}",
        evidence.losses
    );

    // A chain that comes back to itself ends, and says so.
    mbr_entry(&mut disk, 200, 1, 5, 0, 100);
    let evidence = opened(disk);
    assert_eq!(evidence.volumes.len(), 4);
    assert_eq!(evidence.losses.len(), 2, "{:?}", evidence.losses);
}

#[test]
fn what_is_encrypted_or_dynamic_is_named() {
    let mut disk = vec![0; 300 * SECTOR];
    mbr_entry(&mut disk, 0, 0, 7, 10, 50);
    mbr_entry(&mut disk, 0, 1, 0x42, 100, 50);
    mbr_entry(&mut disk, 0, 2, 0x83, 200, 50);
    place(&mut disk, 10, b"\xEB\x58\x90-FVE-FS-");
    place(&mut disk, 200, b"LUKS\xBA\xBE");
    let evidence = opened(disk);
    let losses: Vec<_> = evidence
        .losses
        .iter()
        .map(|loss| loss.error.to_string())
        .collect();
    assert_eq!(losses.len(), 4, "{losses:?}");
    for (loss, word) in losses
        .iter()
        .zip(["dynamic disk", "BitLocker", "a partition", "LUKS"])
    {
        assert!(loss.contains(word), "{loss}");
    }
    let mut bare = vec![0; 100 * SECTOR];
    place(&mut bare, 0, b"\xEB\x58\x90-FVE-FS-");
    let evidence = opened(bare);
    assert_eq!(ids(&evidence), ["at-0"]);
    assert!(evidence.losses[0].error.to_string().contains("BitLocker"));
}

/// A disk with a GPT of one NTFS partition.
fn gpt_disk(sector: usize) -> Vec<u8> {
    let volume = volume();
    let first = 64;
    let last = first + volume.len().div_ceil(sector) - 1;
    let total = last + 64;
    let mut disk = vec![0; total * sector];
    mbr_entry(&mut disk, 0, 0, 0xEE, 1, u32::MAX);
    disk[first * sector..first * sector + volume.len()].copy_from_slice(&volume);
    let mut entries = vec![0; 128 * 128];
    entries[..16].fill(0xEB);
    entries[16..32].fill(1);
    entries[32..40].copy_from_slice(&(first as u64).to_le_bytes());
    entries[40..48].copy_from_slice(&(last as u64).to_le_bytes());
    let table_sectors = entries.len() / sector;
    for (at, table) in [(1, 2), (total - 1, total - 1 - table_sectors)] {
        let mut header = vec![0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        header[10] = 1;
        header[12] = 92;
        header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        header[72..80].copy_from_slice(&(table as u64).to_le_bytes());
        header[80] = 128;
        header[84] = 128;
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        disk[at * sector..at * sector + 92].copy_from_slice(&header);
        disk[table * sector..table * sector + entries.len()].copy_from_slice(&entries);
    }
    disk
}

#[test]
fn gpt_and_its_backup() {
    for sector in [512, 4096] {
        let sound = gpt_disk(sector);
        let evidence = opened(sound.clone());
        assert_eq!(
            ids(&evidence),
            ["ntfs-0123456789ABCDEF"],
            "sectors of {sector}"
        );
        assert!(evidence.losses.is_empty(), "{:?}", evidence.losses);
        // The header's signature, its checksum, a place in it, an entry.
        for damage in [sector, sector + 16, sector + 72, 2 * sector + 32] {
            let mut disk = sound.clone();
            disk[damage] ^= 1;
            let evidence = opened(disk);
            assert_eq!(
                ids(&evidence),
                ["ntfs-0123456789ABCDEF"],
                "damage at {damage}"
            );
            assert_eq!(evidence.losses.len(), 1, "damage at {damage}");
        }
        // Both damaged: nothing is guessed, and that is said.
        let mut disk = sound;
        let backup = disk.len() - sector;
        disk[sector + 16] ^= 1;
        disk[backup + 16] ^= 1;
        let evidence = opened(disk);
        assert!(evidence.volumes.is_empty());
        assert_eq!(evidence.losses.len(), 1);
    }
}

#[test]
fn partitions_that_leave_the_disk() {
    let volume = volume();
    let mut disk = vec![0; 64 * SECTOR];
    place(&mut disk, 8, &volume);
    mbr_entry(&mut disk, 0, 0, 7, 8, u32::MAX);
    let evidence = opened(disk);
    assert_eq!(ids(&evidence), ["ntfs-0123456789ABCDEF"]);
    assert_eq!(evidence.losses.len(), 1, "{:?}", evidence.losses);
}

#[test]
fn what_is_no_image_is_one_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let noise: Vec<u8> = (0..100_000)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        })
        .collect();
    let mut boot_only = noise.clone();
    boot_only[3..11].copy_from_slice(b"NTFS    ");
    let mut table_only = vec![0; 1024];
    table_only[510..512].copy_from_slice(&[0x55, 0xAA]);
    for (name, bytes) in [
        ("noise.raw", noise),
        ("empty", Vec::new()),
        ("one-byte.img", vec![1]),
        ("text.evtx", b"not an event log\n".to_vec()),
        ("boot-only.raw", boot_only),
        ("table-only.raw", table_only),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).expect("room");
        for map in [false, true] {
            let evidence = open(
                &path,
                &OpenOptions {
                    map,
                    ..OpenOptions::default()
                },
            )
            .expect("a file");
            assert_eq!(ids(&evidence), ["file"], "{name}");
            assert_eq!(&*evidence.name, name);
            let volume = &evidence.volumes[0];
            let mut entries = Vec::new();
            volume.walk(&mut |entry| {
                entries.push(entry.expect("one entry"));
                std::ops::ControlFlow::Continue(())
            });
            assert_eq!(entries.len(), 1);
            assert_eq!(entries[0].path.as_bytes(), name.as_bytes());
            let stream = volume.open_entry(&entries[0], None).expect("the file");
            assert_eq!(stream.len(), bytes.len() as u64);
            // Only what claims to be a volume, and is not one, is worth a word.
            assert_eq!(evidence.losses.len(), usize::from(name == "boot-only.raw"));
        }
    }
}

#[test]
fn what_can_t_be_opened_says_why() {
    let options = OpenOptions::default();
    let missing = Path::new("/nonexistent/evidence.raw");
    let error = open(missing, &options).err().expect("it is not there");
    assert!(matches!(error, OpenError::Missing { .. }));
    assert_eq!(
        error.to_string(),
        "/nonexistent/evidence.raw: there is no such file or folder"
    );
    #[cfg(unix)]
    {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("socket");
        std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let error = open(&socket, &options)
            .err()
            .expect("a socket is no evidence");
        assert!(matches!(error, OpenError::Unfit { .. }), "{error}");
    }
}

#[test]
fn a_folder_is_a_volume() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("x"), b"y").expect("room");
    let evidence = open(
        folder.path(),
        &OpenOptions {
            map: true,
            ..OpenOptions::default()
        },
    )
    .expect("a folder");
    assert_eq!(ids(&evidence), ["folder"]);
    assert_eq!(evidence.volumes[0].info().kind, VolumeKind::Folder);
}

#[test]
fn an_image_that_shrinks_is_a_loss() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("volume.raw");
    fs::write(&path, volume()).expect("room");
    let evidence = open(&path, &OpenOptions::default()).expect("a volume");
    fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(4 * 1024 + 100))
        .expect("our own file");
    let mut losses = Vec::new();
    evidence.volumes[0].walk(&mut |found| {
        losses.extend(found.err());
        std::ops::ControlFlow::Continue(())
    });
    assert!(
        matches!(losses[..], [ref loss] if matches!(loss.error, ReadError::Short { .. })),
        "{losses:?}"
    );
}
