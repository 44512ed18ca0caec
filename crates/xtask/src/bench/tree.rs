//! An NTFS volume full of files, and trees of files to hash.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::Context;

use super::{measure::run, seeded::Seeded};

pub(crate) const WORDS: &[&str] = &[
    "system",
    "update",
    "config",
    "driver",
    "cache",
    "report",
    "policy",
    "network",
    "user",
    "service",
    "shell",
    "security",
    "local",
    "roaming",
    "temp",
    "data",
    "index",
    "backup",
    "audit",
    "device",
    "print",
    "setup",
    "media",
    "font",
    "theme",
    "kernel",
    "runtime",
    "assembly",
    "component",
    "package",
    "manifest",
    "catalog",
    "session",
];
const ENDINGS: &[&str] = &[
    "dll", "exe", "sys", "mui", "dat", "log", "txt", "xml", "json", "ini", "cat", "png", "js",
    "lnk", "db", "etl", "inf", "tmp", "bin", "docx", "pdf",
];
const TOPS: &[&str] = &[
    "Windows/System32",
    "Windows/WinSxS",
    "Windows/SysWOW64",
    "Windows/servicing/Packages",
    "Program Files",
    "Program Files (x86)",
    "ProgramData/Microsoft",
    "Users/alice/AppData/Local",
    "Users/alice/Documents",
    "Users/bob/Downloads",
    "Users/Zoë Müller/Desktop",
    "inetpub/logs",
];
const FILES_A_DIRECTORY: usize = 14;
const MAX_DEPTH: usize = 8;

/// Makes `image`, an NTFS volume of that size with `files` files in folders two to nine deep: two in
/// five of them resident, some with long or foreign names, with streams, and one in twenty removed again.
pub(crate) fn ntfs_volume(
    image: &Path,
    bytes: u64,
    mount: &Path,
    files: usize,
) -> anyhow::Result<()> {
    File::create(image)?.set_len(bytes)?;
    let text = image.display().to_string();
    run("mkntfs", &["-F", "-Q", "-q", "-c", "4096", &text])?;
    while_mounted(image, mount, || fill(mount, &mut Seeded::new(1), files))
}

/// Does something while a volume is mounted.
pub(crate) fn while_mounted(
    image: &Path,
    mount: &Path,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    fs::create_dir_all(mount)?;
    let (image, at) = (image.display().to_string(), mount.display().to_string());
    let options = "streams_interface=windows,big_writes,noatime";
    run("ntfs-3g", &["-o", options, &image, &at])?;
    let done = work();
    run("umount", &[&at])?;
    done
}

/// Adds so many files.
pub(crate) fn fill(root: &Path, rng: &mut Seeded, files: usize) -> anyhow::Result<()> {
    let pool = rng.bytes(1 << 16);
    let mut folders: Vec<String> = TOPS.iter().map(|top| (*top).to_owned()).collect();
    for folder in &folders {
        fs::create_dir_all(root.join(folder))?;
    }
    let mut current = folders[0].clone();
    let mut removed = Vec::new();
    for number in 0..files {
        if rng.below(FILES_A_DIRECTORY) == 0 {
            current = folder(rng, &folders);
            fs::create_dir_all(root.join(&current))?;
            folders.push(current.clone());
        } else if rng.permille(200) {
            current.clone_from(&folders[rng.below(folders.len())]);
        }
        let name = name(rng, number);
        let path = format!("{}/{current}/{name}", root.display());
        let size = match rng.below(100) {
            0..40 => rng.below(600),
            40..95 => rng.between(1024, 8192),
            _ => rng.between(8192, 1 << 16),
        };
        fs::write(&path, &pool[..size.min(pool.len())]).with_context(|| path.clone())?;
        if rng.permille(30) {
            let zone =
                format!("[ZoneTransfer]\r\nZoneId=3\r\nHostUrl=https://a.example/{number}\r\n");
            fs::write(format!("{path}:Zone.Identifier"), zone)?;
        }
        if rng.permille(50) {
            removed.push(path);
        }
    }
    for path in removed {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn folder(rng: &mut Seeded, folders: &[String]) -> String {
    let mut parent = folders[rng.below(folders.len())].as_str();
    if parent.matches('/').count() >= MAX_DEPTH {
        parent = rng.pick(TOPS);
    }
    let number = rng.next();
    let name = match rng.below(10) {
        0 => format!(
            "{{{:08X}-{:04X}-{:012X}}}",
            number >> 32,
            number as u16,
            rng.next() >> 16
        ),
        1 => format!(
            "amd64_microsoft-windows-{}-{}_31bf3856ad364e35_10.0.{}_none_{number:016x}",
            rng.pick(WORDS),
            rng.pick(WORDS),
            rng.between(17_000, 22_631)
        ),
        _ => format!("{}{:05x}", rng.pick(WORDS), number & 0xF_FFFF),
    };
    format!("{parent}/{name}")
}

fn name(rng: &mut Seeded, number: usize) -> String {
    let mut stem = format!("{}{number:x}", rng.pick(WORDS));
    match rng.below(100) {
        0..6 => {
            for _ in 0..rng.between(8, 20) {
                stem.push('_');
                stem.push_str(rng.pick(WORDS));
            }
            stem.truncate(200);
        }
        6..9 => stem.insert_str(0, "Übersicht_取引_"),
        _ => {}
    }
    format!("{stem}.{}", rng.pick(ENDINGS))
}

/// Files of `total` bytes in all, of sizes around 40 KiB and now and then of 256 MiB, no two alike.
pub(crate) fn mixed_sizes(root: &Path, total: u64) -> anyhow::Result<()> {
    const LARGEST: u64 = 256 << 20;
    const MEDIAN: f64 = 40_000.0;
    const SPREAD: f64 = 1.9;
    let mut rng = Seeded::new(3);
    let pool = rng.bytes(64 << 20);
    let mut left = total;
    let mut number = 0u64;
    while left > 0 {
        let size = if number.is_multiple_of(4000) {
            LARGEST
        } else {
            ((MEDIAN.ln() + SPREAD * rng.normal()).exp() as u64).clamp(1, LARGEST)
        };
        let size = size.min(left);
        let folder = root.join(format!("{:02}", number % 97));
        fs::create_dir_all(&folder)?;
        let mut file = File::create(folder.join(format!("{number:06}.bin")))?;
        let head = number.to_le_bytes();
        let mut rest = size;
        let first = rest.min(8) as usize;
        file.write_all(&head[..first])?;
        rest -= first as u64;
        while rest > 0 {
            let from = rng.below(pool.len());
            let part = &pool[from..pool.len().min(from + rest as usize)];
            file.write_all(part)?;
            rest -= part.len() as u64;
        }
        left -= size;
        number += 1;
    }
    Ok(())
}
