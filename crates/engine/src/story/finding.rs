//! What speaks against what a source says.
//!
//! A finding is a reason to look, and no proof. What often has a harmless cause says so.

use std::collections::{BTreeMap, BTreeSet};

use scelle_event::{Moment, UtcNanos};
use serde_json::{Map, Value};

use super::{gather::Seen, text};

/// A contradiction, or something that seldom happens by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A short name, always the same for the same kind.
    pub kind: &'static str,
    /// What it is, in one sentence.
    pub text: String,
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// How much earlier than the journal's a time of creation is before that is said: both are taken
/// from one clock within one operation.
const TOLERANCE_NANOS: i128 = 2 * NANOS_PER_SECOND;

/// The findings of each record, in their order.
pub(super) fn find(seen: &[Seen], volume_created: Option<UtcNanos>) -> Vec<Vec<Finding>> {
    let mut findings: Vec<Vec<Finding>> = seen.iter().map(|_| Vec::new()).collect();
    let journal = Journal::of(seen);
    let mut uses: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for (record, findings) in seen.iter().zip(&mut findings) {
        let mut add = |kind, text: String| findings.push(Finding { kind, text });
        match record.artefact {
            "ntfs.mft" => {
                times(record, volume_created, &mut add);
                journal.compare(record, &mut add);
            }
            "ntfs.usnjrnl" if journal.goes_back.contains(&record.order) => add(
                "journal-order",
                "its time is before that of an earlier record of the journal".to_owned(),
            ),
            "ntfs.logfile" => set_back(record, &mut add),
            _ => {}
        }
        let Some(sequence) = use_of(record) else {
            continue;
        };
        let known = uses.entry(record.entry).or_default();
        if known.insert(sequence) && known.len() > 1 {
            let others: Vec<String> = known
                .iter()
                .filter(|other| **other != sequence)
                .map(u64::to_string)
                .collect();
            add(
                "entry-reused",
                format!(
                    "this is use {sequence} of entry {}, others are {}",
                    record.entry,
                    others.join(", ")
                ),
            );
        }
    }
    findings
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

/// The moment of a stamp of that attribute and meaning.
fn stamp(record: &Seen, attribute: &str, meaning: &str) -> Option<UtcNanos> {
    record.times.iter().find_map(|stamp| match stamp.moment {
        Moment::Utc(at)
            if stamp.attribute == Some(attribute) && stamp.meaning.name() == meaning =>
        {
            Some(at)
        }
        _ => None,
    })
}

fn has_whole_seconds(at: UtcNanos) -> bool {
    at.nanos().rem_euclid(NANOS_PER_SECOND) == 0
}

/// What the times of an MFT entry say of each other.
fn times(
    record: &Seen,
    volume_created: Option<UtcNanos>,
    add: &mut dyn FnMut(&'static str, String),
) {
    let si = stamp(record, "si", "created");
    let name = stamp(record, "fn", "created");
    if let (Some(si), Some(name)) = (si, name)
        && si < name
    {
        add(
            "si-before-fn",
            format!(
                "$STANDARD_INFORMATION was created {si}, $FILE_NAME {name}: set back, or moved here from another volume"
            ),
        );
    }
    for meaning in ["created", "modified"] {
        let whole = stamp(record, "si", meaning).filter(|at| has_whole_seconds(*at));
        let of_name = stamp(record, "fn", meaning);
        if let Some(at) = whole
            && of_name.is_none_or(|at| !has_whole_seconds(at))
        {
            add(
                "zero-sub-seconds",
                format!(
                    "$STANDARD_INFORMATION {meaning} {at} is a whole second: set by a tool, or unpacked from an archive"
                ),
            );
        }
    }
    if let (Some(si), Some(volume)) = (si, volume_created)
        && si < volume
    {
        add(
            "before-volume",
            format!("$STANDARD_INFORMATION was created {si}, the volume {volume}"),
        );
    }
}

/// Times that an operation of the log set to earlier ones.
fn set_back(record: &Seen, add: &mut dyn FnMut(&'static str, String)) {
    if text(&record.fields, "event") != Some("si-times-changed") {
        return;
    }
    for meaning in ["created", "modified", "changed"] {
        let now = stamp(record, "si", meaning);
        let before = stamp(record, "old-si", meaning);
        if let (Some(now), Some(before)) = (now, before)
            && now < before
        {
            add(
                "time-set-back",
                format!("$STANDARD_INFORMATION {meaning} was {before} and was set to {now}"),
            );
        }
    }
}

/// What the change journal says of each use of each entry.
#[derive(Default)]
struct Journal {
    /// USNs whose time is before that of an earlier record.
    goes_back: BTreeSet<u64>,
    /// The last name of a use.
    names: BTreeMap<(u64, u64), (u64, String)>,
    /// When a use was made.
    created: BTreeMap<(u64, u64), UtcNanos>,
}

impl Journal {
    fn of(seen: &[Seen]) -> Self {
        let mut journal = Self::default();
        let mut records: Vec<&Seen> = seen
            .iter()
            .filter(|record| record.artefact == "ntfs.usnjrnl")
            .collect();
        records.sort_by_key(|record| record.order);
        let mut latest = None;
        for record in records {
            let at = record.times.first().and_then(|stamp| match stamp.moment {
                Moment::Utc(at) => Some(at),
                _ => None,
            });
            if at.is_some() && at < latest {
                journal.goes_back.insert(record.order);
            }
            latest = latest.max(at);
            let Some(sequence) = record.sequence else {
                continue;
            };
            let key = (record.entry, sequence);
            let reason = text(&record.fields, "reason").unwrap_or("");
            if let Some(name) = text(&record.fields, "name")
                && !reason.contains("rename-old-name")
            {
                journal.names.insert(key, (record.order, name.to_owned()));
            }
            if let Some(at) = at
                && reason == "file-create"
            {
                journal.created.entry(key).or_insert(at);
            }
        }
        journal
    }

    /// Holds an MFT entry to it.
    fn compare(&self, record: &Seen, add: &mut dyn FnMut(&'static str, String)) {
        let Some(sequence) = use_of(record) else {
            return;
        };
        let key = (record.entry, sequence);
        if let Some((usn, name)) = self.names.get(&key) {
            let names = names_of(&record.fields);
            if !names.is_empty() && !names.contains(name.as_str()) {
                add(
                    "name-disagrees",
                    format!("the journal calls it {name} (USN {usn}), $FILE_NAME does not"),
                );
            }
        }
        if let (Some(si), Some(made)) = (stamp(record, "si", "created"), self.created.get(&key))
            && si.nanos() + TOLERANCE_NANOS < made.nanos()
        {
            add(
                "created-before-journal",
                format!(
                    "$STANDARD_INFORMATION was created {si}, the journal saw it come {made}: set back, or copied with its times"
                ),
            );
        }
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
