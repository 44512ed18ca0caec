//! All that an NTFS volume says of one file, in order: `$MFT`, `$UsnJrnl`, `$LogFile`, `$I30`.
//!
//! A file is an MFT entry. Whatever these sources say of the entry, in all of its uses, is gathered,
//! put in the order of its times, and looked at for contradictions ([`Finding`]). What has no time
//! (most operations of `$LogFile`) comes at the end, in the order of its log.
//!
//! A volume may be given in several states ([`Layer`]): as it is, and as snapshots have it. What
//! one state says and another one before it said already is left out.

mod finding;
mod gather;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use scelle_event::{ArtefactId, EvidencePath, Moment, Precision, UtcNanos};
use scelle_evidence::Volume;
use serde_json::{Map, Value};

pub use self::finding::Finding;
use self::gather::{Seen, gather};
use crate::RunError;

/// Which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every entry that has, or had in a journal, that path; upper and lower case are the same.
    Path(EvidencePath),
    /// An MFT entry, in all of its uses.
    Entry(u64),
}

/// A volume in one of its states.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// What the state is called; `None` is the volume as it is.
    pub name: Option<&'a str>,
    /// The volume in that state.
    pub volume: &'a dyn Volume,
}

/// What one source says happened at one time.
#[derive(Clone, Debug)]
pub struct Event {
    /// When; `None` where the record has no time.
    pub at: Option<UtcNanos>,
    /// The step of the clock.
    pub precision: Precision,
    /// Which artefact says so.
    pub artefact: ArtefactId,
    /// In which state of the volume, where not in the present one.
    pub layer: Option<String>,
    /// Which attribute holds the time, and what it says: `si created+modified`.
    pub what: String,
    /// The record in one line.
    pub message: String,
    /// The MFT entry.
    pub entry: u64,
    /// Which use of it, where the record says so.
    pub sequence: Option<u64>,
    /// The stream that holds the record.
    pub stream: Arc<str>,
    /// Where in it.
    pub range: Range<u64>,
    /// What speaks against it.
    pub findings: Vec<Finding>,
    /// Where the record stands in its log.
    order: u64,
}

impl Event {
    /// The time as ISO text.
    pub fn time(&self) -> Option<String> {
        self.at.map(|at| Moment::Utc(at).to_iso(self.precision))
    }
}

/// The life of a file.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The MFT entries that it is about.
    pub entries: Vec<u64>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Losses in what was read.
    pub losses: u64,
    /// What could not be read, and why.
    pub unread: Vec<(String, String)>,
}

impl Story {
    /// Every finding, of all events.
    pub fn findings(&self) -> impl Iterator<Item = (&Event, &Finding)> {
        let events = self.events.iter();
        events.flat_map(|event| event.findings.iter().map(move |finding| (event, finding)))
    }
}

/// Tells all that is said of a file.
///
/// # Errors
/// Only where the work itself can't go on.
pub fn story(source: &Arc<str>, layers: &[Layer<'_>], target: &Target) -> Result<Story, RunError> {
    let mut story = Story::default();
    let mut entries = BTreeSet::new();
    let mut known = BTreeSet::new();
    for layer in layers {
        let gathered = gather(source, layer.volume, target)?;
        entries.extend(gathered.entries.iter().copied());
        story.losses += gathered.losses;
        story.unread.extend(gathered.unread);
        let mut told = Vec::new();
        let findings = finding::find(&gathered.seen);
        for (seen, findings) in gathered.seen.iter().zip(findings) {
            for event in events(seen, layer.name, findings) {
                // The same said again by another state of the volume.
                let fact = (
                    event.at,
                    event.artefact,
                    event.what.clone(),
                    event.message.clone(),
                    event.order,
                );
                if !known.contains(&fact) {
                    story.events.push(event);
                }
                told.push(fact);
            }
        }
        known.extend(told);
    }
    story.entries = entries.into_iter().collect();
    // What has no time comes last, in the order of its log.
    story.events.sort_by(|one, other| {
        let key = |event: &Event| (event.at.is_none(), event.at, event.artefact, event.order);
        key(one)
            .cmp(&key(other))
            .then_with(|| one.range.start.cmp(&other.range.start))
            .then_with(|| one.what.cmp(&other.what))
    });
    Ok(story)
}

/// One event for each time and attribute of a record; a finding stands at the first of them.
fn events(seen: &Seen, layer: Option<&str>, findings: Vec<Finding>) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let plain = |at, precision, what: String| Event {
        at,
        precision,
        artefact: seen.artefact,
        layer: layer.map(str::to_owned),
        what,
        message: seen.message.clone(),
        entry: seen.entry,
        sequence: seen.sequence,
        stream: seen.stream.clone(),
        range: seen.range.clone(),
        findings: Vec::new(),
        order: seen.order,
    };
    for stamp in &seen.times {
        let Moment::Utc(at) = stamp.moment else {
            continue;
        };
        let attribute = stamp.attribute.unwrap_or("");
        let meaning = stamp.meaning.name();
        let same = events
            .iter_mut()
            .find(|event| event.at == Some(at) && event.what.split(' ').next() == Some(attribute));
        match same {
            Some(event) => {
                event.what.push('+');
                event.what.push_str(meaning);
            }
            None => events.push(plain(
                Some(at),
                stamp.precision,
                format!("{attribute} {meaning}"),
            )),
        }
    }
    if events.is_empty() {
        events.push(plain(None, Precision::FILETIME, String::new()));
    }
    for event in &mut events {
        event.what = event.what.trim_start().to_owned();
    }
    if let Some(first) = events.first_mut() {
        first.findings = findings;
    }
    events
}

/// A column of a record, as text.
fn text<'a>(fields: &'a Map<String, Value>, column: &str) -> Option<&'a str> {
    fields.get(column)?.as_str()
}

/// A column of a record, as a number.
fn number(fields: &Map<String, Value>, column: &str) -> Option<u64> {
    fields.get(column)?.as_u64()
}
