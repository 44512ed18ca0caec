//! What speaks against what a source says.
//!
//! A finding is a reason to look, and no proof. Most are told by the record itself
//! (`scelle_artefacts::ntfs::FINDINGS`); two more need records of several sources.

use std::collections::{BTreeMap, BTreeSet};

use scelle_artefacts::ntfs::FINDINGS;
use serde_json::{Map, Value};

use super::{gather::Seen, text};

/// A contradiction, or something that seldom happens by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A short name, always the same for the same kind.
    pub kind: &'static str,
    /// What it is, in one sentence, and what harmless causes it has.
    pub text: String,
}

/// The findings of each record, in their order.
pub(super) fn find(seen: &[Seen]) -> Vec<Vec<Finding>> {
    let journal = Journal::of(seen);
    let mut uses: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let of_record = |record: &Seen| {
        let mut findings = told(record);
        if record.artefact == "ntfs.mft" {
            findings.extend(journal.compare(record));
        }
        findings.extend(reused(record, &mut uses));
        findings
    };
    seen.iter().map(of_record).collect()
}

/// What the record itself tells.
fn told(record: &Seen) -> Vec<Finding> {
    let names = text(&record.fields, "findings").unwrap_or("");
    let kinds = names
        .split('+')
        .filter_map(|name| FINDINGS.iter().find(|kind| kind.name == name));
    kinds
        .map(|kind| Finding {
            kind: kind.name,
            text: format!("{} (harmless: {})", kind.says, kind.harmless),
        })
        .collect()
}

/// Whether the entry was met in another use before.
fn reused(record: &Seen, uses: &mut BTreeMap<u64, BTreeSet<u64>>) -> Option<Finding> {
    let sequence = use_of(record)?;
    let known = uses.entry(record.entry).or_default();
    if !known.insert(sequence) || known.len() == 1 {
        return None;
    }
    let others = known.iter().filter(|other| **other != sequence);
    let others: Vec<String> = others.map(u64::to_string).collect();
    Some(Finding {
        kind: "entry-reused",
        text: format!(
            "this is use {sequence} of entry {}, others are {}",
            record.entry,
            others.join(", ")
        ),
    })
}

/// Which use of its entry a record is about. A deletion raises the number in the `$MFT`.
fn use_of(record: &Seen) -> Option<u64> {
    let sequence = record.sequence?;
    let is_deleted = record.artefact == "ntfs.mft"
        && record.fields.get("in_use").and_then(Value::as_bool) == Some(false);
    Some(if is_deleted {
        sequence.saturating_sub(1)
    } else {
        sequence
    })
}

/// The last name of each use of each entry, as the change journal has it, and its USN.
struct Journal(BTreeMap<(u64, u64), (u64, String)>);

impl Journal {
    fn of(seen: &[Seen]) -> Self {
        let mut names = BTreeMap::new();
        let mut records: Vec<&Seen> = seen
            .iter()
            .filter(|record| record.artefact == "ntfs.usnjrnl")
            .collect();
        records.sort_by_key(|record| record.order);
        for record in records {
            let reason = text(&record.fields, "reason").unwrap_or("");
            let name = text(&record.fields, "name");
            if let (Some(sequence), Some(name)) = (record.sequence, name)
                && !reason.contains("rename-old-name")
            {
                let last = (record.order, name.to_owned());
                names.insert((record.entry, sequence), last);
            }
        }
        Self(names)
    }

    /// Holds an MFT entry to it.
    fn compare(&self, record: &Seen) -> Option<Finding> {
        let (usn, name) = self.0.get(&(record.entry, use_of(record)?))?;
        let names = names_of(&record.fields);
        if names.is_empty() || names.contains(name.as_str()) {
            return None;
        }
        Some(Finding {
            kind: "name-disagrees",
            text: format!("the journal calls it {name} (USN {usn}), $FILE_NAME does not"),
        })
    }
}

/// Every name of an MFT entry.
fn names_of(fields: &Map<String, Value>) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    if let Some(path) = text(fields, "path") {
        names.extend(path.rsplit('/').next());
    }
    let listed = fields.get("names").and_then(Value::as_array);
    for name in listed.into_iter().flatten() {
        names.extend(name.get("name").and_then(Value::as_str));
    }
    names
}
