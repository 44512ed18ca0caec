//! Makes a proof of what a bundle holds.

use std::ops::Range;

use scelle_event::{Label, StreamId};
use scelle_formats::{ReadAt, ReadAtExt as _};

use super::{
    BAG_INFO, CLAIM, Claim, FORMAT, LoweredClaim, MANIFEST_SLICE, Pair, ROW, STREAM_SLICE, SUMS,
    TAG_MANIFEST, claim_text, file,
    slice::{cut, leaves},
    sums,
};
use crate::{
    Bundle, Error,
    names::plain_name,
    text::{hex, unhex},
};

/// Hash, and two blanks.
const LINE_HEAD_BYTES: u64 = 66;
const MANIFEST: &str = "manifest-blake3.txt";
/// Bytes of the manifest that are searched at a time.
const STEP_BYTES: usize = 1 << 20;

impl Bundle {
    /// A file that proves that `row` (as `timeline --format jsonl` writes it) was decoded from `shown` of a stream: for whoever
    /// has the root, or trusts who sealed.
    ///
    /// It reads all of the stream. That the row follows from these bytes is for the caller to know, and for
    /// [`Proof::check`](super::Proof::check) to be told.
    ///
    /// # Errors
    /// [`Error::Format`] where the bundle is no sound one, or is one whose seal says nothing of a stream's place.
    pub fn prove(
        &self,
        artefact: &str,
        id: &StreamId,
        row: &str,
        shown: &[Range<u64>],
        label: &Label,
    ) -> Result<Vec<u8>, Error> {
        let (member, stream) = self.sealed_stream(id)?;
        if member != plain_name(id) {
            return Err(Error::format(format!(
                "{id} is stored as {member}, since another file has its plain name: nothing under the seal \
                 that is small enough for a proof says so"
            )));
        }
        let shown = leaves(stream.len(), shown)
            .filter(|shown| !shown.is_empty())
            .ok_or_else(|| Error::format(format!("the row lies outside of {id}")))?;
        let (hash, stream_slice) = cut(&stream, &shown)?;
        let manifest = self.tag_stream(MANIFEST)?;
        let at = find_line(&manifest, member)?;
        let line = at.saturating_sub(1)..at + LINE_HEAD_BYTES + member.len() as u64 + 1;
        let listed = line_at(&manifest, at, member).map_err(Error::Format)?;
        if listed != *hash.as_bytes() {
            return Err(Error::format(format!(
                "{member} was altered: its BLAKE3 is not that of the manifest"
            )));
        }
        let manifest_shown =
            leaves(manifest.len(), &[line]).ok_or_else(|| Error::format("the manifest is cut"))?;
        let (_, manifest_slice) = cut(&manifest, &manifest_shown)?;
        let claim = Claim {
            proof: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tlp: label.tlp.name().to_owned(),
            tlp_lowered: label.lowered.as_ref().map(|lowered| LoweredClaim {
                from: lowered.from.name().to_owned(),
                reason: lowered.reason.clone(),
            }),
            artefact: artefact.to_owned(),
            member: member.to_owned(),
            manifest_bytes: manifest.len(),
            manifest_line: at,
            manifest_shown: pairs(&manifest_shown),
            stream_bytes: stream.len(),
            stream_shown: pairs(&shown),
        };
        let mut parts = vec![
            (CLAIM.to_owned(), claim_text(&claim)),
            (ROW.to_owned(), row.as_bytes().to_vec()),
        ];
        parts.extend(self.seal_parts()?);
        parts.push((BAG_INFO.to_owned(), self.tag_text(BAG_INFO)?));
        parts.push((MANIFEST_SLICE.to_owned(), manifest_slice));
        parts.push((STREAM_SLICE.to_owned(), stream_slice));
        parts.push((SUMS.to_owned(), sums(&parts)));
        let whole = file::write(&parts);
        if whole.len() > file::FILE_LIMIT {
            return Err(Error::format(format!(
                "the proof would have {} bytes, and {} is the most: the bundle has too many checkpoints, or the row \
                 rests on too much",
                whole.len(),
                file::FILE_LIMIT
            )));
        }
        Ok(whole)
    }

    /// The tag manifest, the certificate of the key that sealed, the signature, and the time-stamp where there is one.
    fn seal_parts(&self) -> Result<Vec<file::Part>, Error> {
        let names: Vec<&str> = self.tag_names().collect();
        let signer = names.iter().rfind(|name| is_signer(name));
        let signature = |ending: &'static str| {
            let is_it =
                move |name: &&&str| name.starts_with("signatures/") && name.ends_with(ending);
            names.iter().find(is_it)
        };
        let missing = |what: &str| Error::format(format!("{what} is missing"));
        let wanted = [
            Some(&TAG_MANIFEST),
            Some(signer.ok_or_else(|| missing("the signer's certificate"))?),
            Some(signature(".asc").ok_or_else(|| missing("the signature"))?),
            signature(".tsr"),
        ];
        let wanted = wanted.into_iter().flatten();
        wanted
            .map(|name| Ok(((*name).to_owned(), self.tag_text(name)?)))
            .collect()
    }
}

/// Whether a tag file is the certificate of a key that signs: the last of them sealed.
pub(crate) fn is_signer(name: &str) -> bool {
    name.strip_prefix("records/signer")
        .is_some_and(|rest| rest.ends_with(".cert.asc") && !rest.contains('/'))
}

fn pairs(ranges: &[Range<u64>]) -> Vec<Pair> {
    ranges
        .iter()
        .map(|range| (range.start, range.end))
        .collect()
}

/// Where the line of a member begins in the manifest.
fn find_line(manifest: &dyn ReadAt, member: &str) -> Result<u64, Error> {
    let mut at = 0;
    let mut rest: Vec<u8> = Vec::new();
    let mut read_to = 0;
    while read_to < manifest.len() {
        let step = manifest.read_range(read_to..read_to + STEP_BYTES as u64, STEP_BYTES)?;
        if step.is_empty() {
            return Err(Error::format("the manifest ends before its stated size"));
        }
        read_to += step.len() as u64;
        rest.extend(step);
        let mut done = 0;
        while let Some(end) = memchr::memchr(b'\n', &rest[done..]) {
            let line = &rest[done..done + end];
            if line.get(LINE_HEAD_BYTES as usize..) == Some(member.as_bytes()) {
                return Ok(at);
            }
            done += end + 1;
            at += end as u64 + 1;
        }
        rest.drain(..done);
        if rest.len() > STEP_BYTES {
            return Err(Error::format("a line of the manifest has no end"));
        }
    }
    Err(Error::format(format!(
        "the manifest does not list {member}"
    )))
}

/// The hash that the line which begins at `at` gives a member. A whole line must stand there: a member's name may look like a line.
pub(crate) fn line_at(manifest: &dyn ReadAt, at: u64, member: &str) -> Result<[u8; 32], String> {
    const NO_LINE: &str = "manifest-blake3.txt has no line of the member where the proof says";
    let mut wanted = vec![0; LINE_HEAD_BYTES as usize];
    let from = at.saturating_sub(1);
    let length = LINE_HEAD_BYTES + member.len() as u64 + 1 + (at - from);
    let mut line = vec![0; length as usize];
    manifest
        .read_exact_at(MANIFEST, from, &mut line)
        .map_err(|error| format!("{NO_LINE}: {error}"))?;
    if at > 0 && line.remove(0) != b'\n' {
        return Err(NO_LINE.into());
    }
    wanted.copy_from_slice(&line[..LINE_HEAD_BYTES as usize]);
    let hash = str::from_utf8(&wanted[..64]).ok().and_then(unhex);
    let hash: Option<[u8; 32]> = hash.and_then(|hash| hash.try_into().ok());
    let hash = hash.ok_or(NO_LINE)?;
    let whole = format!("{}  {member}\n", hex(&hash));
    if whole.as_bytes() != line {
        return Err(NO_LINE.into());
    }
    Ok(hash)
}
