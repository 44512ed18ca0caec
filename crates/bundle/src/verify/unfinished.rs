//! A bundle that lacks its end: what it still holds, and what of it is vouched for.

use scelle_formats::ReadAt;

use super::{Problem, Signer, Verdict, Verification, VerifyOptions};
use crate::{Cut, reader};

/// Answers for an archive without a sound end: `what` is wrong with the end.
///
/// Where it begins as a bundle and stops before its seal, it is unfinished; else it is broken.
pub(super) fn check(
    source: &dyn ReadAt,
    what: String,
    mut verification: Verification,
    options: &VerifyOptions,
) -> Verification {
    let mut problems = vec![what];
    verification.verdict = match Cut::survey(source) {
        Ok(cut) => tell(&cut, &mut problems, &mut verification),
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
    let (mut files, mut is_sealed) = (0u64, false);
    let rest = cut.visit_rest(&mut |found| {
        let name = &found.name[cut.folder.len()..];
        files += u64::from(name.starts_with("data/"));
        is_sealed |= name.starts_with("signatures/");
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
    if is_sealed {
        problems.push("its seal is there, and what follows is not as written".into());
        return Verdict::Broken;
    }
    problems
        .push("the collection was cut off: the tag manifest and its signature are missing".into());
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
