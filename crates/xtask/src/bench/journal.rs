//! A change journal of a volume that has lived: its files made, written to and renamed, folders too.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, ensure};
use scelle_testkit::{UsnChange, UsnJournal};

use super::{mft, seeded::Seeded};

const DATA_EXTEND: u32 = 0x2;
const FILE_CREATE: u32 = 0x100;
const RENAME_OLD_NAME: u32 = 0x1000;
const RENAME_NEW_NAME: u32 = 0x2000;
const CLOSE: u32 = 0x8000_0000;
const DIRECTORY: u32 = 0x10;
const ARCHIVE: u32 = 0x20;
/// About how many bytes a record takes.
const RECORD_BYTES: u64 = 104;
/// 2024-01-01, and 10 ms between two records.
const FIRST_TICKS: u64 = 133_485_408_000_000_000;
const STEP_TICKS: u64 = 100_000;

/// What happened to a file: which file, how many renames were still to come, why it was written.
struct Change {
    file: usize,
    renames_to_come: u32,
    reasons: u32,
}

/// Writes `folder/$MFT`, a copy of `mft`, and `folder/$Extend/$UsnJrnl:$J` of about `bytes` bytes, whose
/// end agrees with it. Gives how many records the journal has.
pub(crate) fn journal(folder: &Path, mft: &Path, bytes: u64) -> anyhow::Result<u64> {
    let mft = fs::read(mft).with_context(|| mft.display().to_string())?;
    let files = mft::files(&mft)?;
    let folders: Vec<usize> = (0..files.len())
        .filter(|file| files[*file].is_directory)
        .collect();
    ensure!(!folders.is_empty(), "the volume has folders");

    // From the newest change to the oldest: what a file is called now is known, and a rename that is gone
    // back over makes it older.
    let mut rng = Seeded::new(6);
    let mut renamed: HashMap<usize, u32> = HashMap::new();
    let mut changes = Vec::new();
    while (changes.len() as u64) < bytes / RECORD_BYTES {
        let kind = rng.below(1000);
        let file = match kind {
            0..4 => folders[rng.below(folders.len())],
            _ => rng.below(files.len()),
        };
        let renames_to_come = renamed.entry(file).or_default();
        let mut push = |renames_to_come, reasons| {
            changes.push(Change {
                file,
                renames_to_come,
                reasons,
            });
        };
        match kind {
            0..20 => {
                push(*renames_to_come, RENAME_NEW_NAME | CLOSE);
                push(*renames_to_come, RENAME_NEW_NAME);
                *renames_to_come += 1;
                push(*renames_to_come, RENAME_OLD_NAME);
            }
            20..100 => {
                push(*renames_to_come, FILE_CREATE | DATA_EXTEND | CLOSE);
                push(*renames_to_come, FILE_CREATE | DATA_EXTEND);
                push(*renames_to_come, FILE_CREATE);
            }
            _ => {
                push(*renames_to_come, DATA_EXTEND | CLOSE);
                push(*renames_to_come, DATA_EXTEND);
            }
        }
    }

    let mut journal = UsnJournal::new(0);
    let mut name = String::new();
    for (number, change) in changes.iter().rev().enumerate() {
        let file = &files[change.file];
        name.clone_from(&file.name);
        if change.renames_to_come > 0 {
            name.push_str(&format!(".{}", change.renames_to_come));
        }
        journal.push(&UsnChange {
            version: 2,
            file: file.reference,
            parent: file.parent,
            ticks: FIRST_TICKS + number as u64 * STEP_TICKS,
            reasons: change.reasons,
            attributes: if file.is_directory {
                DIRECTORY
            } else {
                ARCHIVE
            },
            name: &name,
        });
    }
    fs::create_dir_all(folder.join("$Extend"))?;
    fs::write(folder.join("$MFT"), mft)?;
    fs::write(folder.join("$Extend/$UsnJrnl:$J"), journal.bytes())?;
    Ok(changes.len() as u64)
}
