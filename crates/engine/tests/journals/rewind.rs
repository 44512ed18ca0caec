//! Paths as they were: a script of what a user does, and what each record should say.

use std::collections::BTreeMap;

use scelle_event::Role;
use scelle_testkit::{MftRecord, UsnChange, UsnJournal};

use super::{Rows, parse};

const ID: &str = "ntfs.usnjrnl";
const ROOT: u64 = MftRecord::reference(5, 5);
const CREATE: u32 = 0x100;
const DELETE: u32 = 0x200;
const OLD_NAME: u32 = 0x1000;
const NEW_NAME: u32 = 0x2000;
const EXTEND: u32 = 2;
const CLOSE: u32 = 0x8000_0000;

/// A volume that writes a journal of what is done to it, and what path each record has.
struct Script {
    journal: UsnJournal,
    /// Entry to its sequence number, directory, name, and whether it is a directory.
    files: BTreeMap<u32, (u16, u32, String, bool)>,
    paths: Vec<String>,
    gap_every: usize,
}

impl Script {
    fn new() -> Self {
        Self {
            journal: UsnJournal::new(0),
            files: BTreeMap::new(),
            paths: Vec::new(),
            gap_every: usize::MAX,
        }
    }

    fn reference(&self, entry: u32) -> u64 {
        match entry {
            5 => ROOT,
            _ => MftRecord::reference(entry, self.files[&entry].0),
        }
    }

    fn path(&self, entry: u32) -> String {
        match entry {
            5 => String::new(),
            _ => {
                let (_, parent, name, _) = &self.files[&entry];
                format!("{}/{name}", self.path(*parent))
            }
        }
    }

    fn note(&mut self, entry: u32, reasons: u32) {
        let (sequence, parent, name, is_directory) = self.files[&entry].clone();
        let path = self.path(entry);
        self.paths.push(path);
        self.journal.push(&UsnChange {
            version: 2 + (self.paths.len() % 2) as u16,
            file: MftRecord::reference(entry, sequence),
            parent: self.reference(parent),
            ticks: 133_536_836_967_890_123 + self.paths.len() as u64,
            reasons,
            attributes: if is_directory { 0x10 } else { 0x20 },
            name: &name,
        });
        if self.paths.len().is_multiple_of(self.gap_every) {
            self.journal.gap(4096);
        }
    }

    fn create(&mut self, entry: u32, parent: u32, name: &str, is_directory: bool) {
        let sequence = self.files.get(&entry).map_or(1, |file| file.0 + 1);
        let file = (sequence, parent, name.to_owned(), is_directory);
        self.files.insert(entry, file);
        self.note(entry, CREATE);
        self.note(entry, CREATE | CLOSE);
    }

    fn write(&mut self, entry: u32) {
        self.note(entry, EXTEND);
        self.note(entry, EXTEND | CLOSE);
    }

    fn rename(&mut self, entry: u32, parent: u32, name: &str) {
        self.note(entry, OLD_NAME);
        let file = self.files.get_mut(&entry).expect("a file");
        file.1 = parent;
        file.2 = name.to_owned();
        self.note(entry, NEW_NAME);
        self.note(entry, NEW_NAME | CLOSE);
    }

    fn delete(&mut self, entry: u32) {
        self.note(entry, DELETE | CLOSE);
    }

    /// The `$MFT` as it is now, without the entries that are `gone`.
    fn mft(&self, gone: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let root = MftRecord::new(5, 5)
            .name(ROOT, 3, &units("."), [1; 4])
            .directory();
        bytes.resize(5 * 1024, 0);
        bytes.extend(root.build(1024));
        for (entry, (sequence, parent, name, is_directory)) in &self.files {
            bytes.resize(*entry as usize * 1024, 0);
            let is_gone = gone.contains(entry);
            // A deletion raises the sequence number.
            let mut record = MftRecord::new(*entry, sequence + u16::from(is_gone));
            record = record.name(self.reference(*parent), 3, &units(name), [1; 4]);
            if *is_directory {
                record = record.directory();
            }
            if is_gone {
                record = record.deleted();
            }
            bytes.extend(record.build(1024));
        }
        bytes
    }
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn paths(rows: &Rows) -> Vec<&str> {
    assert!(rows.losses.is_empty(), "{:?}", rows.losses);
    rows.rows.iter().map(|row| row.text("path")).collect()
}

/// Folders in folders, renamed, moved, removed, and their entries used again.
fn played(gap_every: usize) -> Script {
    let mut script = Script::new();
    script.gap_every = gap_every;
    script.create(40, 5, "Users", true);
    script.create(41, 40, "alice", true);
    script.create(42, 41, "Documents", true);
    script.create(50, 42, "plan.txt", false);
    script.rename(41, 40, "bob");
    script.write(50);
    script.rename(42, 5, "Taken");
    script.write(50);
    script.rename(40, 5, "Utilisateurs été");
    script.write(50);
    script.create(43, 41, "Documents", true);
    script.create(51, 43, "second.txt", false);
    // Into one another the other way round.
    script.rename(42, 43, "below");
    script.write(50);
    script.rename(50, 43, "moved.txt");
    script.rename(42, 5, "Taken again");
    script.delete(42);
    script.create(42, 41, "another use", true);
    script.create(52, 42, "third.txt", false);
    script.rename(41, 5, "aside");
    script.rename(41, 40, "carol");
    script.write(52);
    script.write(51);
    script.delete(51);
    script
}

#[test]
fn every_record_has_the_path_it_had_then() {
    for gap_every in [usize::MAX, 7, 1] {
        let mut script = played(gap_every);
        // A file among them that the journal never named a directory of: only the $MFT knows it.
        script
            .files
            .insert(60, (3, 5, "old folder".to_owned(), true));
        script
            .files
            .insert(61, (3, 60, "old file".to_owned(), false));
        script.write(61);
        script.rename(60, 40, "new folder");
        script.write(61);
        let mft = script.mft(&[51]);
        let rows = parse(ID, script.journal.bytes(), Some(&mft));
        assert_eq!(paths(&rows), script.paths);
        assert!(rows.rows.iter().all(|row| row.fields["is_orphan"] == false));
        let last = rows.rows.last().expect("records");
        let (role, span) = &last.provenance.also[0];
        assert_eq!((*role, span.stream.0), (Role::Companion, 1));
        assert!(mft[span.range.start as usize..].starts_with(b"FILE"));
    }
}

#[test]
fn a_journal_alone_knows_what_it_saw() {
    let script = played(usize::MAX);
    let rows = parse(ID, script.journal.bytes(), None);
    assert_eq!(paths(&rows), script.paths);
    assert!(rows.rows.iter().all(|row| row.provenance.also.is_empty()));
}

#[test]
fn a_deleted_directory_of_the_table_is_known_by_its_children() {
    let mut script = Script::new();
    script.files.insert(60, (3, 5, "gone".to_owned(), true));
    script.files.insert(61, (3, 60, "file".to_owned(), false));
    script.write(61);
    let rows = parse(ID, script.journal.bytes(), Some(&script.mft(&[60])));
    assert_eq!(paths(&rows), script.paths);
}

#[test]
fn what_is_not_known_is_said_and_loops_end() {
    let mut journal = UsnJournal::new(0);
    let change = |file, parent, name, attributes| UsnChange {
        version: 2,
        file: MftRecord::reference(file, 1),
        parent: MftRecord::reference(parent, 1),
        ticks: 1,
        reasons: EXTEND,
        attributes,
        name,
    };
    // A loop of directories, a chain that is too long, and a directory that nobody knows.
    for entry in 100..200 {
        let next = if entry == 199 { 100 } else { entry + 1 };
        journal.push(&change(entry, next, "loop", 0x10));
    }
    for entry in 1000..5000 {
        journal.push(&change(entry, entry + 1, "deep", 0x10));
    }
    for (entry, parent) in [(1, 100), (2, 150), (3, 1000), (4, 9999)] {
        journal.push(&change(entry, parent, "file", 0x20));
    }
    let rows = parse(ID, journal.bytes(), None);
    let last = &rows.rows[rows.rows.len() - 4..];
    assert!(last.iter().all(|row| row.fields["is_orphan"] == true));
    assert_eq!(last[0].text("path"), "/$OrphanFiles/loop/file");
    assert_eq!(last[1].text("path"), "/$OrphanFiles/loop/file");
    assert_eq!(last[2].text("path").matches("/deep").count(), 1024);
    assert_eq!(last[3].text("path"), "/$OrphanFiles/file");
}

#[test]
fn a_table_that_is_none_is_a_loss_in_the_companion() {
    let script = played(usize::MAX);
    let rows = parse(ID, script.journal.bytes(), Some(b"no table"));
    assert_eq!(rows.rows.len(), script.paths.len());
    let [loss] = &rows.losses[..] else {
        panic!("{:?}", rows.losses);
    };
    assert_eq!(loss.loss.name(), "field path");
    assert_eq!(loss.provenance.primary.stream.0, 1);
}
