//! Proofs: that one row was decoded from bytes under a bundle's seal, for whoever does not have the bundle.
//!
//! The chain is: signature, tag manifest, `bag-info.txt` (whose `Scelle-Payload` is the BLAKE3 of `manifest-blake3.txt`), a slice of
//! that manifest with the line of one member, slices of that member. `FORMAT.md` has the file's form.

mod file;
mod make;
mod slice;

use std::ops::Range;

use scelle_event::{Label, Lowered, StreamId};
use serde::{Deserialize, Serialize};

pub(crate) use make::is_signer;
pub(crate) use slice::Shown;

use crate::{records::sealed_label, text::hex};

const FORMAT: u32 = 1;
const CLAIM: &str = "claim.json";
const ROW: &str = "row.json";
const SUMS: &str = "b3sums.txt";
const MANIFEST_SLICE: &str = "manifest-blake3.slice";
const STREAM_SLICE: &str = "stream.slice";
pub(crate) const TAG_MANIFEST: &str = "tagmanifest-sha256.txt";
pub(crate) const BAG_INFO: &str = "bag-info.txt";
/// The longest row that is read.
const ROW_LIMIT: usize = 1 << 20;

/// A range of bytes as JSON has it: from, to.
type Pair = (u64, u64);

/// What a proof says of itself. What it says of the bundle and of the row is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    proof: u32,
    /// The version of the program that decoded the row.
    version: String,
    tlp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tlp_lowered: Option<LoweredClaim>,
    artefact: String,
    member: String,
    manifest_bytes: u64,
    /// Where the member's line begins in the manifest.
    manifest_line: u64,
    manifest_shown: Vec<Pair>,
    stream_bytes: u64,
    stream_shown: Vec<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoweredClaim {
    from: String,
    reason: String,
}

/// What of a row says where it comes from; the rest of it is its artefact's.
#[derive(Deserialize)]
struct RowPlace {
    artefact: String,
    stream: String,
    offset: u64,
}

/// A proof that was read, and is not checked yet: [`check`](Self::check) does that.
#[derive(Clone, Debug)]
pub struct Proof {
    claim: Claim,
    label: Label,
    row: String,
    stream: StreamId,
    offset: u64,
    pub(crate) tag_manifest: Vec<u8>,
    /// Name and text of the certificate of the key that sealed.
    pub(crate) certificate: (String, Vec<u8>),
    /// Name and text of the signature.
    pub(crate) signature: (String, Vec<u8>),
    /// Name and text of the time-stamp, where there is one.
    pub(crate) stamp: Option<(String, Vec<u8>)>,
    pub(crate) bag_info: Vec<u8>,
    manifest_slice: Vec<u8>,
    stream_slice: Vec<u8>,
}

impl Proof {
    /// Reads a proof's file.
    ///
    /// # Errors
    /// Why it is none, as a sentence that begins with "it".
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut parts = file::read(bytes)?;
        check_sums(&mut parts)?;
        let mut parts = parts.into_iter().peekable();
        let mut next = |wanted: &str, is_meant: &dyn Fn(&str) -> bool| {
            let part = parts.next_if(|(name, _)| is_meant(name));
            part.ok_or_else(|| format!("it lacks {wanted} in its place"))
        };
        let (_, claim) = next(CLAIM, &|name| name == CLAIM)?;
        let (_, row) = next(ROW, &|name| name == ROW)?;
        let (_, tag_manifest) = next(TAG_MANIFEST, &|name| name == TAG_MANIFEST)?;
        let certificate = next("a certificate", &|name| name.ends_with(".cert.asc"))?;
        let is_signature = |name: &str| name.starts_with("signatures/") && name.ends_with(".asc");
        let signature = next("a signature", &is_signature)?;
        let is_stamp = |name: &str| name.starts_with("signatures/") && name.ends_with(".tsr");
        let stamp = next("a time-stamp", &is_stamp).ok();
        let (_, bag_info) = next(BAG_INFO, &|name| name == BAG_INFO)?;
        let (_, manifest_slice) = next(MANIFEST_SLICE, &|name| name == MANIFEST_SLICE)?;
        let (_, stream_slice) = next(STREAM_SLICE, &|name| name == STREAM_SLICE)?;
        if let Some((name, _)) = parts.next() {
            return Err(format!("it holds {name}, which has no place in a proof"));
        }
        let claim = read_claim(&claim)?;
        let label = claim.label()?;
        if row.len() > ROW_LIMIT {
            return Err(format!("its row has more than {ROW_LIMIT} bytes"));
        }
        let row = String::from_utf8(row).map_err(|_| "its row is no text")?;
        let place: RowPlace =
            serde_json::from_str(&row).map_err(|error| format!("its row is none: {error}"))?;
        if place.artefact != claim.artefact {
            return Err("its row is of another artefact than it says".into());
        }
        let stream = place
            .stream
            .parse::<StreamId>()
            .map_err(|error| format!("its row names no stream: {error}"))?;
        Ok(Self {
            claim,
            label,
            row,
            stream,
            offset: place.offset,
            tag_manifest,
            certificate,
            signature,
            stamp,
            bag_info,
            manifest_slice,
            stream_slice,
        })
    }

    /// The artefact that the row is of.
    pub fn artefact(&self) -> &str {
        &self.claim.artefact
    }

    /// The version of the program that decoded the row.
    pub fn version(&self) -> &str {
        &self.claim.version
    }

    /// The row, as `timeline --format jsonl` writes it, without its line end.
    pub fn row(&self) -> &str {
        &self.row
    }

    /// The stream that the row is of.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Where the row's record begins in the stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The label of the proof, as whoever made it says; the bundle's own is under the seal.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The line of the manifest, and where it begins there, out of the slice under the payload id.
    pub(crate) fn manifest_line(&self, payload: &[u8; 32]) -> Result<[u8; 32], String> {
        let claim = &self.claim;
        let manifest = Shown::check(
            payload,
            claim.manifest_bytes,
            &ranges(&claim.manifest_shown),
            &self.manifest_slice,
        )
        .map_err(|what| format!("the slice of manifest-blake3.txt: {what}"))?;
        make::line_at(&manifest, claim.manifest_line, &claim.member)
    }

    /// The bytes of the member that are shown, under its hash.
    pub(crate) fn stream_shown(&self, hash: &[u8; 32]) -> Result<Shown, String> {
        let claim = &self.claim;
        Shown::check(
            hash,
            claim.stream_bytes,
            &ranges(&claim.stream_shown),
            &self.stream_slice,
        )
        .map_err(|what| format!("the slice of {}: {what}", claim.member))
    }

    /// The member that the row's stream is stored as.
    pub(crate) fn member(&self) -> &str {
        &self.claim.member
    }
}

impl Claim {
    fn label(&self) -> Result<Label, String> {
        let lowered = self.tlp_lowered.as_ref().map(|lowered| {
            Ok::<_, String>(Lowered {
                from: sealed_label(&lowered.from)?,
                reason: lowered.reason.clone(),
            })
        });
        Ok(Label {
            tlp: sealed_label(&self.tlp)?,
            lowered: lowered.transpose()?,
        })
    }
}

fn read_claim(text: &[u8]) -> Result<Claim, String> {
    let claim: Claim = serde_json::from_slice(text)
        .map_err(|error| format!("its claim can't be read: {error}"))?;
    if claim.proof != FORMAT {
        return Err(format!("its format {} is not known here", claim.proof));
    }
    if claim_text(&claim) != text {
        return Err("its claim is not in the one form".into());
    }
    Ok(claim)
}

fn claim_text(claim: &Claim) -> Vec<u8> {
    let mut text = serde_json::to_vec(claim).expect("a claim is plain data");
    text.push(b'\n');
    text
}

fn ranges(pairs: &[Pair]) -> Vec<Range<u64>> {
    pairs.iter().map(|(from, to)| *from..*to).collect()
}

/// A line for each part, as `b3sum` writes them.
fn sums(parts: &[file::Part]) -> Vec<u8> {
    let lines = parts.iter().map(|(name, bytes)| {
        let hash = hex(blake3::hash(bytes).as_bytes());
        format!("{hash}  {name}\n")
    });
    lines.collect::<String>().into_bytes()
}

/// Takes the sums off the parts: they tell damage from forgery, and prove nothing.
fn check_sums(parts: &mut Vec<file::Part>) -> Result<(), String> {
    match parts.pop() {
        Some((name, text)) if name == SUMS && text == sums(parts) => Ok(()),
        Some((name, _)) if name == SUMS => Err("it was altered: its checksums do not fit".into()),
        _ => Err(format!("it lacks {SUMS} in its place")),
    }
}
