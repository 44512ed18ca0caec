//! What operations say of files.

use std::collections::HashMap;

use scelle_formats::ntfs::{
    Attributes, BootSector, FileName, LogOperation, StandardInformation, kind, namespace,
    push_component,
};

use super::schema::Entry;
use crate::ntfs::{
    finding::{Findings, is_before},
    mft::push_text,
};

const INITIALIZE_RECORD: u16 = 0x02;
const DEALLOCATE_RECORD: u16 = 0x03;
const CREATE_ATTRIBUTE: u16 = 0x05;
const DELETE_ATTRIBUTE: u16 = 0x06;
const UPDATE_RESIDENT: u16 = 0x07;
const ADD_INDEX_ENTRY_ROOT: u16 = 0x0C;
const DELETE_INDEX_ENTRY_ROOT: u16 = 0x0D;
const ADD_INDEX_ENTRY: u16 = 0x0E;
const DELETE_INDEX_ENTRY: u16 = 0x0F;
const UPDATE_FILE_NAME_ROOT: u16 = 0x13;
const UPDATE_FILE_NAME: u16 = 0x14;
const FORGET_TRANSACTION: u16 = 0x1B;

/// Transactions that are followed at one time, and names that went in one.
const MAX_FOLLOWED: usize = 4096;
/// Where the first attribute of a record stands, and its content in it.
const FIRST_ATTRIBUTE: u16 = 0x38;
const STANDARD_CONTENT: u16 = 0x18;

/// The name of an operation, as the documentation of NTFS has it.
pub(super) fn name_of(operation: u16) -> Option<&'static str> {
    NAMES.get(usize::from(operation)).copied()
}

const NAMES: &[&str] = &[
    "Noop",
    "CompensationLogRecord",
    "InitializeFileRecordSegment",
    "DeallocateFileRecordSegment",
    "WriteEndOfFileRecordSegment",
    "CreateAttribute",
    "DeleteAttribute",
    "UpdateResidentValue",
    "UpdateNonresidentValue",
    "UpdateMappingPairs",
    "DeleteDirtyClusters",
    "SetNewAttributeSizes",
    "AddIndexEntryRoot",
    "DeleteIndexEntryRoot",
    "AddIndexEntryAllocation",
    "DeleteIndexEntryAllocation",
    "WriteEndOfIndexBuffer",
    "SetIndexEntryVcnRoot",
    "SetIndexEntryVcnAllocation",
    "UpdateFileNameRoot",
    "UpdateFileNameAllocation",
    "SetBitsInNonresidentBitMap",
    "ClearBitsInNonresidentBitMap",
    "HotFix",
    "EndTopLevelAction",
    "PrepareTransaction",
    "CommitTransaction",
    "ForgetTransaction",
    "OpenNonresidentAttribute",
    "OpenAttributeTableDump",
    "AttributeNamesDump",
    "DirtyPageTableDump",
    "TransactionTableDump",
    "UpdateRecordDataRoot",
    "UpdateRecordDataAllocation",
];

/// A name that went.
#[derive(Debug)]
struct Gone {
    file: u64,
    parent: u64,
    name: String,
}

/// Tells what operations mean, in the order of the log.
#[derive(Debug)]
pub(super) struct Teller {
    /// Names that went in transactions that are not over.
    gone: HashMap<u32, Vec<Gone>>,
    /// How large clusters and records are.
    boot: Option<BootSector>,
    /// When the last record was made, FILETIME; 0 where none was yet.
    made: u64,
}

impl Teller {
    /// One that knows entries by their place, where the boot sector is known.
    pub(super) fn new(boot: Option<BootSector>) -> Self {
        Self {
            gone: HashMap::new(),
            boot,
            made: 0,
        }
    }

    /// The entry whose record an operation changes.
    fn target(&self, operation: &LogOperation<'_>) -> Option<u64> {
        const BLOCK_BYTES: u64 = 512;
        let boot = self.boot.filter(|_| {
            // All of these change a record of the `$MFT`.
            matches!(operation.redo, 0x02..=0x07 | 0x09 | 0x0B..=0x0D | 0x11 | 0x13 | 0x21 | 0x25)
        })?;
        let cluster = operation
            .target_vcn
            .checked_mul(boot.cluster_bytes.into())?;
        let at = cluster.checked_add(u64::from(operation.cluster_block) * BLOCK_BYTES)?;
        Some(at / u64::from(boot.record_bytes))
    }

    /// Decodes an operation into `entry`.
    pub(super) fn tell(
        &mut self,
        transaction: u32,
        operation: &LogOperation<'_>,
        entry: &mut Entry,
    ) {
        entry.operation(operation);
        entry.target = self.target(operation);
        let (redo, undo) = (operation.redo_data, operation.undo_data);
        match operation.redo {
            INITIALIZE_RECORD if redo.starts_with(b"FILE") => {
                record(redo, entry);
                entry.event = Some("file-created");
                // Nobody but the system sets this one while a record is made.
                let [.., changed, _] = entry.si;
                let goes_back = is_before(changed, self.made);
                entry.findings.add(Findings::LSN_TIME_BACK, goes_back);
                if changed != 0 {
                    self.made = changed;
                }
            }
            DEALLOCATE_RECORD => {
                // Most logs hold no more of it than its header.
                if undo.starts_with(b"FILE") {
                    record(undo, entry);
                }
                entry.event = Some("file-deleted");
            }
            CREATE_ATTRIBUTE if attribute(redo, entry) => {
                entry.event = Some("name-added");
            }
            DELETE_ATTRIBUTE if attribute(undo, entry) => {
                entry.event = Some("name-removed");
            }
            ADD_INDEX_ENTRY | ADD_INDEX_ENTRY_ROOT if index_entry(redo, entry) => {
                entry.event = Some("index-name-added");
                self.came(transaction, entry);
            }
            DELETE_INDEX_ENTRY | DELETE_INDEX_ENTRY_ROOT if index_entry(undo, entry) => {
                entry.event = Some("index-name-removed");
                self.went(transaction, entry);
            }
            UPDATE_RESIDENT if operation.record_offset == FIRST_ATTRIBUTE => {
                let Some(at) = operation.attribute_offset.checked_sub(STANDARD_CONTENT) else {
                    return;
                };
                entry.si = times_in(redo, at.into(), 0);
                entry.old_si = times_in(undo, at.into(), 0);
                if entry.si != [0; 4] || entry.old_si != [0; 4] {
                    entry.event = Some("si-times-changed");
                    let (now, before) = (entry.si[0], entry.old_si[0]);
                    let is_back = now != 0 && now < before;
                    entry.findings.add(Findings::SI_CREATED_SET_BACK, is_back);
                }
            }
            UPDATE_FILE_NAME | UPDATE_FILE_NAME_ROOT => {
                entry.names = times_in(redo, 0, 0);
                entry.old_names = times_in(undo, 0, 0);
                if entry.names != [0; 4] || entry.old_names != [0; 4] {
                    entry.event = Some("index-times-changed");
                }
            }
            FORGET_TRANSACTION => {
                self.gone.remove(&transaction);
            }
            _ => {}
        }
    }

    fn went(&mut self, transaction: u32, entry: &Entry) {
        if self.gone.len() >= MAX_FOLLOWED {
            self.gone.clear();
        }
        let names = self.gone.entry(transaction).or_default();
        if let (Some(file), Some(parent), true) =
            (entry.file, entry.parent, names.len() < MAX_FOLLOWED)
        {
            // The 8.3 alias goes with the name that it stands for.
            if entry.namespace != Some(namespace::DOS) {
                names.push(Gone {
                    file,
                    parent,
                    name: entry.name.clone(),
                });
            }
        }
    }

    fn came(&mut self, transaction: u32, entry: &mut Entry) {
        let Some(names) = self.gone.get_mut(&transaction) else {
            return;
        };
        if entry.namespace == Some(namespace::DOS) {
            return;
        }
        let found = names.iter().position(|gone| Some(gone.file) == entry.file);
        if let Some(gone) = found.map(|index| names.remove(index)) {
            let is_same = gone.name == entry.name && Some(gone.parent) == entry.parent;
            if !is_same {
                entry.event = Some("renamed");
                entry.old_name = Some(gone.name);
                entry.old_parent = Some(gone.parent);
            }
        }
    }
}

/// An MFT record as the log holds it: its fixups are not done.
fn record(bytes: &[u8], entry: &mut Entry) {
    let u16_at = |at: usize| {
        let field = bytes.get(at..)?.first_chunk::<2>()?;
        Some(u16::from_le_bytes(*field))
    };
    let (Some(first), Some(sequence)) = (u16_at(0x14), u16_at(0x10)) else {
        return;
    };
    let number = bytes.get(0x2C..).and_then(|rest| rest.first_chunk::<4>());
    if let (Some(number), true) = (number, first >= 0x30) {
        let number = u64::from(u32::from_le_bytes(*number));
        entry.file = Some(number | u64::from(sequence) << 48);
    }
    entry.is_directory = u16_at(0x16).map(|flags| flags & 2 != 0);
    for attribute in Attributes::new(bytes, first.into()).map_while(Result::ok) {
        let Some(content) = attribute.resident() else {
            continue;
        };
        match attribute.kind {
            kind::STANDARD_INFORMATION => {
                if let Some(si) = StandardInformation::parse(content) {
                    entry.si = [si.created, si.modified, si.changed, si.accessed];
                }
            }
            kind::FILE_NAME => {
                // A later name is better than the alias before it.
                if let Some(name) = FileName::parse(content)
                    && (entry.namespace.is_none() || entry.namespace == Some(namespace::DOS))
                {
                    file_name(&name, entry);
                }
            }
            _ => {}
        }
    }
}

/// An attribute of a record; whether it is a name.
fn attribute(bytes: &[u8], entry: &mut Entry) -> bool {
    let Some(Ok(attribute)) = Attributes::new(bytes, 0).next() else {
        return false;
    };
    let name = attribute
        .resident()
        .filter(|_| attribute.kind == kind::FILE_NAME)
        .and_then(FileName::parse);
    if let Some(name) = &name {
        file_name(name, entry);
    }
    name.is_some()
}

/// An entry of a directory's index; whether it is one. Other indexes hold other keys.
fn index_entry(bytes: &[u8], entry: &mut Entry) -> bool {
    let key_bytes = bytes.get(0x0A..).and_then(|rest| rest.first_chunk::<2>());
    let (Some(file), Some(key_bytes)) = (bytes.first_chunk::<8>(), key_bytes) else {
        return false;
    };
    let name = bytes.get(0x10..).and_then(FileName::parse).filter(|name| {
        name.parent >> 48 != 0
            && usize::from(u16::from_le_bytes(*key_bytes)) == 0x42 + name.utf16le.len()
    });
    if let Some(name) = &name {
        file_name(name, entry);
        entry.file = Some(u64::from_le_bytes(*file));
        entry.is_directory = Some(name.attributes & 0x1000_0000 != 0);
    }
    name.is_some()
}

fn file_name(name: &FileName<'_>, entry: &mut Entry) {
    entry.parent = Some(name.parent);
    entry.namespace = Some(name.namespace);
    let mut wtf8 = Vec::new();
    push_component(&mut wtf8, name.utf16le);
    entry.name.clear();
    push_text(&mut entry.name, &wtf8);
    entry.names = [name.created, name.modified, name.changed, name.accessed];
}

/// The times that a change of bytes holds whole, of four that follow one another from `first` on;
/// 0 for the others. The change begins at `at`.
fn times_in(bytes: &[u8], at: usize, first: usize) -> [u64; 4] {
    let mut times = [0; 4];
    for (index, time) in times.iter_mut().enumerate() {
        let field = (first + 8 * index)
            .checked_sub(at)
            .and_then(|start| bytes.get(start..)?.first_chunk::<8>());
        if let Some(field) = field {
            *time = u64::from_le_bytes(*field);
        }
    }
    times
}
