//! The bundle's own records: what stands in `records/`.

use std::{collections::BTreeMap, ops::Range};

use scelle_event::{Coverage, Outcome, Tlp, json};
use serde::{Deserialize, Serialize};

/// The number of the format that this version writes and reads.
pub const FORMAT: u32 = 1;

/// `records/collection.json`: what was asked for, by which tool, on which machine.
///
/// Fields that only later kinds of bundles fill are null in others and always there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// The format's number, [`FORMAT`]; set by the writer.
    pub format: u32,
    /// The bundle's name, which is its folder's; set by the writer.
    pub name: String,
    /// TLP 2.0 label, as [`Tlp::name`] writes it; any other text is refused.
    pub tlp: String,
    /// The program that collected.
    pub tool: Tool,
    /// The case, as the operator names it.
    pub case: Option<String>,
    /// Who collected.
    pub operator: Option<String>,
    /// The machine that the evidence is of, as far as it is known.
    pub host: Option<String>,
    /// The source, as the operator named it.
    pub source: String,
    /// What was asked for.
    pub plan: Plan,
    /// Clocks as they were read at the start: name and text.
    pub clocks: BTreeMap<String, String>,
    /// Time zones: of the machine that collected, of the evidence where it is known.
    pub time_zones: BTreeMap<String, String>,
    /// The volumes.
    pub volumes: Vec<VolumeRecord>,
    /// How payload files are compressed; set by the writer.
    pub compression: String,
    /// Which part of a set this is, from 1; set by the writer.
    pub part: u32,
    /// What a resumed collection goes on from.
    pub resumes: Option<Resumed>,
    /// What a salvage was made from.
    pub salvage: Option<Salvaged>,
    /// SHA-256 of the session-key packets before an encrypted bundle's data.
    pub session_packets_sha256: Option<String>,
    /// The deployment and run that a prepared collector counts.
    pub deployment: Option<Deployment>,
}

impl Collection {
    /// The label. Under a seal it is written in one way only.
    pub(crate) fn label(&self) -> Result<Tlp, String> {
        sealed_label(&self.tlp)
    }
}

/// The label of that very name: any other spelling is one that other tools read otherwise, or not at all.
pub(crate) fn sealed_label(text: &str) -> Result<Tlp, String> {
    let label = text.parse().ok();
    label
        .filter(|label: &Tlp| label.name() == text)
        .ok_or_else(|| format!("it bears no TLP label, but {text:?}"))
}

/// The program that collected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its executable, where that could be read.
    pub sha256: Option<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// BLAKE3 of the plan's text, where it has one.
    pub blake3: Option<String>,
    /// The profiles' names.
    pub profiles: Vec<String>,
    /// The limits that were set: name and value.
    pub limits: BTreeMap<String, String>,
}

/// A volume that was collected from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRecord {
    /// Its id, the same however it was reached.
    pub id: String,
    /// `ntfs`, `folder` or `file`.
    pub kind: String,
    /// Where it begins in its source, in bytes.
    pub offset: u64,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
    /// Its label.
    pub label: Option<String>,
    /// Bytes a cluster.
    pub cluster_bytes: Option<u32>,
    /// The letters that the host's system gave it.
    pub drive_letters: Vec<String>,
    /// The device that it was read from.
    pub device: Option<String>,
    /// How it was encrypted, where it was, and what opened it: never the secret itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionRecord>,
}

/// How a volume was encrypted, and what opened it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptionRecord {
    /// `bitlocker`.
    pub kind: String,
    /// How its sectors are encrypted.
    pub method: String,
    /// The encrypted volume's GUID.
    pub volume_guid: String,
    /// What opened it: `recovery password`, and so on; `nothing` where no key was needed.
    pub protector: String,
    /// That protector's GUID.
    pub protector_guid: Option<String>,
}

/// What a resumed collection goes on from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumed {
    /// BLAKE3 of the last checkpoint that was kept.
    pub checkpoint_blake3: String,
    /// Its number.
    pub checkpoint: u64,
}

/// What a salvage was made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Salvaged {
    /// BLAKE3 of the cut bundle.
    pub archive_blake3: String,
    /// Its length in bytes.
    pub archive_bytes: u64,
    /// The last checkpoint that vouches.
    pub checkpoint: Option<u64>,
}

/// The numbers of a prepared collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The deployment.
    pub number: u64,
    /// The run.
    pub run: u64,
}

impl Deployment {
    /// Of the run whose key has that fingerprint, in hex: its number is the first 32 bits of it, so that nothing has to be
    /// kept on the host.
    pub fn of_run(number: u64, fingerprint: &str) -> Self {
        let begin = fingerprint.get(..8).unwrap_or_default();
        Self {
            number,
            run: u64::from_str_radix(begin, 16).unwrap_or_default(),
        }
    }
}

/// Appends a line of `records/coverage.jsonl`, without its end.
pub(crate) fn write_coverage(out: &mut Vec<u8>, coverage: &Coverage) {
    out.extend_from_slice(b"{\"target\":");
    json::write_text(out, &coverage.target);
    out.extend_from_slice(b",\"path\":");
    write_optional(out, coverage.path.as_deref());
    out.extend_from_slice(b",\"outcome\":");
    json::write_text(out, coverage.outcome.name());
    out.extend_from_slice(b",\"detail\":");
    write_optional(out, coverage.detail.as_deref());
    out.push(b'}');
}

/// What a line of `records/coverage.jsonl` is about.
#[derive(Debug, Deserialize)]
pub(crate) struct CoverageLine {
    pub(crate) target: String,
    pub(crate) path: Option<String>,
    outcome: String,
}

impl CoverageLine {
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line)
            .map_err(|error| format!("a line of coverage can't be read: {error}"))
    }

    pub(crate) fn is_loss(&self) -> Result<bool, String> {
        let known = Outcome::ALL.iter().find(|one| one.name() == self.outcome);
        let known = known.ok_or_else(|| format!("the outcome {:?} is unknown", self.outcome))?;
        Ok(known.is_loss())
    }
}

/// A loss that was met while collecting: a line of `records/warnings.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionLoss {
    /// The stream, as a timeline names it; `None` where no stream is touched.
    pub path: Option<String>,
    /// The range of bytes, where one is known.
    pub range: Option<Range<u64>>,
    /// What happened.
    pub cause: String,
}

/// Appends a line of `records/warnings.jsonl`, without its end.
pub(crate) fn write_loss(out: &mut Vec<u8>, loss: &CollectionLoss) {
    out.extend_from_slice(b"{\"path\":");
    write_optional(out, loss.path.as_deref());
    let (offset, length) = match &loss.range {
        Some(range) => (Some(range.start), Some(range.end - range.start)),
        None => (None, None),
    };
    for (key, value) in [("offset", offset), ("length", length)] {
        out.extend_from_slice(format!(",\"{key}\":").as_bytes());
        match value {
            Some(value) => json::write_uint(out, value),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b",\"cause\":");
    json::write_text(out, &loss.cause);
    out.push(b'}');
}

/// One thing that the tool did: a line of `records/audit.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act<'a> {
    /// What was done: `start`, `read`, `skip`, `finish`, …
    pub action: &'a str,
    /// What it was done to.
    pub subject: &'a str,
    /// By which way a stream was read: `folder`, `volume`, …
    pub way: Option<&'a str>,
    /// More, where there is more.
    pub detail: Option<&'a str>,
}

/// The audit log's chain: each line carries the BLAKE3 of the line before.
#[derive(Default)]
pub(crate) struct AuditChain {
    previous: Option<blake3::Hash>,
    count: u64,
    /// Of a log that is read: the time-stamping service that was asked.
    pub(crate) asked_time: Option<String>,
}

/// That a service is asked for the time of the seal.
pub(crate) const ASK_TIME: &str = "ask-time";

impl AuditChain {
    /// Appends the next line, without its end.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, at: &str, act: &Act<'_>) {
        let begin = out.len();
        self.count += 1;
        out.extend_from_slice(b"{\"seq\":");
        json::write_uint(out, self.count);
        out.extend_from_slice(b",\"previous\":");
        match &self.previous {
            Some(hash) => json::write_text(out, &hash.to_hex()),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"at\":");
        json::write_text(out, at);
        out.extend_from_slice(b",\"action\":");
        json::write_text(out, act.action);
        out.extend_from_slice(b",\"subject\":");
        json::write_text(out, act.subject);
        out.extend_from_slice(b",\"way\":");
        write_optional(out, act.way);
        out.extend_from_slice(b",\"detail\":");
        write_optional(out, act.detail);
        out.push(b'}');
        self.previous = Some(blake3::hash(&out[begin..]));
    }

    /// Checks that `line` is the next one.
    pub(crate) fn check(&mut self, line: &[u8]) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Link {
            seq: u64,
            previous: Option<String>,
            action: String,
            subject: String,
        }
        self.count += 1;
        let link: Link = serde_json::from_slice(line)
            .map_err(|error| format!("line {} can't be read: {error}", self.count))?;
        let previous = self.previous.map(|hash| hash.to_hex().to_string());
        if link.seq != self.count || link.previous != previous {
            return Err(format!(
                "line {} does not follow the line before",
                self.count
            ));
        }
        self.previous = Some(blake3::hash(line));
        if link.action == ASK_TIME {
            self.asked_time = Some(link.subject);
        }
        Ok(())
    }
}

pub(crate) fn write_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => json::write_text(out, text),
        None => out.extend_from_slice(b"null"),
    }
}
