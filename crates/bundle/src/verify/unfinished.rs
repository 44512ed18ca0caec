//! A bundle that lacks its end: what it still holds, and what of it is vouched for.

use scelle_formats::{ReadAt, ReadAtExt as _, Window};

use super::{Problem, Signer, Verdict, Verification, VerifyOptions};
use crate::{
    Cut,
    begun::{is_cut_at_its_head, is_cut_member, written_end},
    codec::Method,
    reader,
    zip::Directory,
};

/// Bytes of a central directory that are compared at a time.
const STEP_BYTES: usize = 64 << 10;

/// Answers for an archive without a sound end: `what` is wrong with the end.
///
/// Where it begins as a bundle and stops somewhere, it is unfinished; where it goes on as no bundle
/// does, it is broken.
pub(super) fn check(
    source: &dyn ReadAt,
    what: String,
    mut verification: Verification,
    options: &VerifyOptions,
) -> Verification {
    let mut problems = vec![what];
    verification.verdict = match Cut::survey(source) {
        Ok(cut) => tell(&cut, &mut problems, &mut verification),
        Err(_) if is_cut_at_its_head(source).is_ok_and(|is_cut| is_cut) => {
            problems.push("the collection was cut off before anything was collected".into());
            problems.push("go on with collect --resume".into());
            Verdict::Unfinished
        }
        Err(error) => {
            problems.push(error.to_string());
            problems.push("no checkpoint vouches for any of it".into());
            let begins = reader::member_at(source, 0, None).is_ok_and(|member| {
                let name = member.name.split_once('/');
                name.is_some_and(|(folder, name)| {
                    name == "bagit.txt" && crate::writer::is_plain(folder)
                })
            });
            if begins {
                Verdict::Unfinished
            } else {
                Verdict::Broken
            }
        }
    };
    if verification.verdict == Verdict::Unfinished && options.root.is_some() {
        problems.push("without its tag manifest it has no root to compare".into());
    }
    verification.problems = problems
        .into_iter()
        .map(|what| Problem { member: None, what })
        .collect();
    verification
}

/// Says what is there; gives the verdict.
fn tell(cut: &Cut<'_>, problems: &mut Vec<String>, verification: &mut Verification) -> Verdict {
    let (mut files, mut seal) = (0u64, None);
    let rest = cut.visit_rest(&mut |found| {
        let name = &found.name[cut.folder.len()..];
        files += u64::from(name.starts_with("data/"));
        if name.starts_with("signatures/") {
            seal = Some(found.name.clone());
        }
        Ok(())
    });
    verification.tlp = Some(cut.collection.tlp.clone());
    (verification.files, verification.bytes) = cut.vouched();
    for (certificate, ..) in &cut.signers {
        verification.signers.push(Signer {
            fingerprint: certificate.fingerprint(),
            user_id: certificate.user_id(),
        });
    }
    match (seal, &rest) {
        (None, _) => problems.push(
            "the collection was cut off: the tag manifest and its signature are missing".into(),
        ),
        (Some(seal), Ok((at, ..))) if is_end_cut(cut, *at, &seal).is_ok_and(|is_cut| is_cut) => {
            problems.push(
                "the collection was cut off behind its seal: the archive's end is missing".into(),
            );
        }
        (Some(_), _) => {
            problems.push("its seal is there, and what follows is not as written".into());
            return Verdict::Broken;
        }
    }
    problems.push(match cut.marks.last() {
        Some(mark) => format!(
            "checkpoint {} vouches for the first {} bytes and the {} payload files in them, by the \
             key {} that travels with it",
            mark.head.checkpoint,
            mark.head.length,
            verification.files,
            cut.signers[mark.signer].0.fingerprint()
        ),
        None => "no checkpoint vouches for any of it".into(),
    });
    let is_complete = cut.marks.last().is_some_and(|mark| mark.head.last);
    match rest {
        _ if is_complete => {
            problems.push("all that was collected is vouched for; only the end is missing".into());
        }
        Ok((at, ..)) => problems.push(format!(
            "not vouched for: {files} whole payload files behind that, and the last {} bytes; \
             missing: whatever else the plan asked for",
            cut.source.len() - at
        )),
        Err(what) => problems.push(what),
    }
    problems.push("salvage it, or go on with collect --resume".into());
    Verdict::Unfinished
}

/// Whether what follows the seal, a member of that name, is what is written there, as far as it goes:
/// the answer of a time-stamping service, the central directory. Zeros may stand behind it.
fn is_end_cut(cut: &Cut<'_>, at: u64, seal: &str) -> Result<bool, String> {
    let source = cut.source;
    let end = written_end(source).map_err(|error| error.to_string())?;
    let end = end.max(at);
    if let Some(signature) = seal.strip_suffix(".asc") {
        let (written, name) = (Window::new(source, 0..end), format!("{signature}.tsr"));
        let is_stamp = is_cut_member(&written, at, &name, Method::Store);
        if is_stamp.map_err(|error| error.to_string())? {
            return Ok(true);
        }
    }
    let (mut compared, mut is_same) = (at, true);
    let mut compare = |bytes: &mut Vec<u8>| -> Result<(), String> {
        let there = source
            .read_range(compared.min(end)..end, bytes.len())
            .map_err(|error| error.to_string())?;
        is_same &= bytes.starts_with(&there);
        compared += bytes.len() as u64;
        bytes.clear();
        Ok(())
    };
    let (mut bytes, mut members, mut directory) = (Vec::new(), 0, 0);
    cut.visit_members(&mut |found| {
        let before = bytes.len();
        found.facts.central(&found.name, found.offset, &mut bytes);
        members += 1;
        directory += (bytes.len() - before) as u64;
        if bytes.len() >= STEP_BYTES {
            compare(&mut bytes)?;
        }
        Ok(())
    })?;
    Directory {
        members,
        offset: at,
        bytes: directory,
    }
    .end(&mut bytes);
    compare(&mut bytes)?;
    Ok(is_same && source.len() <= compared)
}
