//! `cargo xtask demo`: makes `testdata/demo/workstation.raw`, the disk that the README's first
//! command reads.
//!
//! A disk with an MBR and one NTFS volume, as small as `mkntfs` makes one, on which a user fetched
//! a program, ran it and removed a document. It is kept in the repository, since making it takes
//! root, `mkntfs`, `ntfs-3g`, `setfattr` and a compiler for Windows; the recipe shows what is in it.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::samples;

const SECTOR: u64 = 512;
const VOLUME_AT: u64 = 128 * SECTOR;
const VOLUME_BYTES: u64 = 4 << 20;
const SERIAL: u64 = 0x5CE1_1E00_0000_0001;
/// The boot sector holds the serial number here; its copy is the volume's last sector.
const SERIAL_AT: u64 = 0x48;

/// 2024-02-29 12:00:00 UTC as a FILETIME, and a second.
const NOON: u64 = 133_536_816_000_000_000;
const SECOND: u64 = 10_000_000;

const NOTES: &[u8] = b"Call the bank. Renew the licence. Ask about the invoice.\r\n";
const HOSTS: &[u8] = b"# hosts\r\n127.0.0.1 localhost\r\n203.0.113.7 update.example\r\n";
const HISTORY: &[u8] = b"whoami\r\nStart-Process .\\invoice.exe\r\n";
const ZONE: &[u8] = b"[ZoneTransfer]\r\nZoneId=3\r\nHostUrl=https://files.example/invoice.exe\r\n";

/// A file, and when it was made and last changed, in seconds after noon.
struct Planted {
    path: String,
    bytes: Vec<u8>,
    created: u64,
    modified: u64,
}

/// Makes the image below `root`.
pub(crate) fn make(root: &Path) -> anyhow::Result<()> {
    let work = root.join("target/demo");
    fs::create_dir_all(work.join("mount"))?;
    let volume = work.join("volume.raw");
    File::create(&volume)?.set_len(VOLUME_BYTES)?;
    run(
        "mkntfs",
        &[
            "-F",
            "-Q",
            "-c",
            "512",
            "-L",
            "Workstation",
            &text(&volume)?,
        ],
    )?;
    let mount = work.join("mount");
    let options = "streams_interface=windows,noatime";
    run("ntfs-3g", &["-o", options, &text(&volume)?, &text(&mount)?])?;
    let planted = files(root, &work).and_then(|files| plant(&mount, &files));
    run("umount", &[&text(&mount)?])?;
    planted?;
    fix_serial(&volume)?;
    number_reserved_records(&volume)?;

    let image = root.join("testdata/demo/workstation.raw");
    fs::create_dir_all(image.parent().context("a folder")?)?;
    fs::write(&image, disk(&fs::read(&volume)?))?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

fn files(root: &Path, work: &Path) -> anyhow::Result<Vec<Planted>> {
    let planted = |path: &str, bytes: &[u8], created, modified| Planted {
        path: path.to_owned(),
        bytes: bytes.to_vec(),
        created,
        modified,
    };
    let program = fs::read(program(work)?)?;
    let bin = "$Recycle.Bin/S-1-5-21-1004336348-1177238915-682003330-1001";
    let shell = "Users/alice/AppData/Roaming/Microsoft/Windows/PowerShell/PSReadLine";
    let mut files = vec![
        planted("Windows/System32/drivers/etc/hosts", HOSTS, 0, 600),
        planted("Users/alice/Documents/notes.txt", NOTES, 0, 60),
        planted("Users/alice/Documents/Zoë Müller.txt", NOTES, 30, 90),
        planted("Users/alice/Downloads/invoice.exe", &program, 300, 300),
        planted(
            "Users/alice/Downloads/invoice.exe:Zone.Identifier",
            ZONE,
            300,
            300,
        ),
        planted(&format!("{shell}/ConsoleHost_history.txt"), HISTORY, 0, 330),
        planted(
            "Users/alice/AppData/Local/Temp/dropped.tmp",
            &[0x5A; 3000],
            331,
            340,
        ),
    ];
    for recipe in samples::recipes() {
        if let Some(name) = recipe.plain_recycle_bin_name() {
            let index = format!("{bin}/{name}");
            files.push(planted(&index, recipe.bytes(), 2096, 2096));
            let content = format!("{bin}/{}", name.replacen("$I", "$R", 1));
            files.push(planted(&content, &[b'x'; 1234], 10, 20));
        }
    }
    let logs = root.join("testdata/windows.evtx");
    if logs.is_dir() {
        let plain = logs.join("Security.evtx.in");
        let log = fs::read(&plain).with_context(|| plain.display().to_string())?;
        files.push(planted(
            "Windows/System32/winevt/Logs/Security.evtx",
            &log,
            0,
            350,
        ));
    }
    Ok(files)
}

/// A program that does nothing, for Windows.
fn program(work: &Path) -> anyhow::Result<PathBuf> {
    let (source, program) = (work.join("invoice.c"), work.join("invoice.exe"));
    fs::write(&source, "int start(void) { return 0; }\n")?;
    let linker = "-Wl,--no-insert-timestamp,--entry=start";
    run(
        "x86_64-w64-mingw32-gcc",
        &[
            "-nostdlib",
            "-s",
            "-Os",
            linker,
            "-o",
            &text(&program)?,
            &text(&source)?,
        ],
    )?;
    Ok(program)
}

fn plant(mount: &Path, files: &[Planted]) -> anyhow::Result<()> {
    for file in files {
        let path = mount.join(&file.path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, &file.bytes).with_context(|| path.display().to_string())?;
    }
    fs::remove_file(mount.join("Users/alice/AppData/Local/Temp/dropped.tmp"))?;
    for file in files {
        let path = mount.join(&file.path);
        if file.path.contains(':') || !path.exists() {
            continue;
        }
        let times = [file.created, file.modified, file.modified, file.modified]
            .map(|seconds| format!("{:016x}", NOON + seconds * SECOND))
            .concat();
        let value = format!("0x{times}");
        run(
            "setfattr",
            &["-n", "system.ntfs_times_be", "-v", &value, &text(&path)?],
        )?;
    }
    Ok(())
}

fn fix_serial(volume: &Path) -> anyhow::Result<()> {
    let mut file = File::options().read(true).write(true).open(volume)?;
    for sector in [0, VOLUME_BYTES - SECTOR] {
        file.seek(SeekFrom::Start(sector))?;
        let mut boot = [0; SECTOR as usize];
        file.read_exact(&mut boot)?;
        ensure!(boot[3..7] == *b"NTFS", "a boot sector at {sector}");
        file.seek(SeekFrom::Start(sector + SERIAL_AT))?;
        file.write_all(&SERIAL.to_le_bytes())?;
    }
    Ok(())
}

/// `mkntfs` leaves the own number of the reserved records at 0; Windows states it.
fn number_reserved_records(volume: &Path) -> anyhow::Result<()> {
    const RESERVED: std::ops::Range<u32> = 16..24;
    const RECORD: u64 = 1024;
    const OWN_NUMBER_AT: u64 = 0x2C;
    let mut file = File::options().read(true).write(true).open(volume)?;
    let mut boot = [0; SECTOR as usize];
    file.read_exact(&mut boot)?;
    let cluster_bytes = SECTOR * u64::from(boot[0x0D]);
    let mft = cluster_bytes * u64::from(boot[0x30]);
    for number in RESERVED {
        let at = mft + u64::from(number) * RECORD;
        let mut signature = [0; 4];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut signature)?;
        ensure!(signature == *b"FILE", "a record at {at}");
        file.seek(SeekFrom::Start(at + OWN_NUMBER_AT))?;
        file.write_all(&number.to_le_bytes())?;
    }
    Ok(())
}

/// A disk whose first partition is the volume.
fn disk(volume: &[u8]) -> Vec<u8> {
    const NTFS: u8 = 7;
    /// What stands for a place that cylinders, heads and sectors can't name.
    const NO_CHS: [u8; 3] = [0xFE, 0xFF, 0xFF];
    let mut disk = vec![0; VOLUME_AT as usize];
    disk[446] = 0x80;
    disk[447..450].copy_from_slice(&NO_CHS);
    disk[450] = NTFS;
    disk[451..454].copy_from_slice(&NO_CHS);
    disk[454..458].copy_from_slice(&((VOLUME_AT / SECTOR) as u32).to_le_bytes());
    disk[458..462].copy_from_slice(&((VOLUME_BYTES / SECTOR) as u32).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk.extend_from_slice(volume);
    disk
}

fn text(path: &Path) -> anyhow::Result<String> {
    Ok(path.to_str().context("a path in Unicode")?.to_owned())
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| program.to_owned())?;
    ensure!(
        status.success(),
        "{program} {}: {status}",
        arguments.join(" ")
    );
    Ok(())
}
