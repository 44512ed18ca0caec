//! Checking what an encrypted bundle's archive came in.

use super::{
    Problem, Problems, Scope, Verdict, Verification, VerifyOptions, archive, asked::Asked, tags,
};
use crate::{
    Certificate, Ciphertext, Collection, Decrypted, Ending, Error, SessionKey, reader::Member,
};

const ALTERED: &str = "the ciphertext was altered";
const CUT: &str = "the ciphertext is cut: its end, which authenticates it, is not there";

/// Checks ciphertext, and then the archive in it.
pub(super) fn check(
    ciphertext: &Ciphertext,
    key: &SessionKey,
    options: &VerifyOptions,
    asked: &Asked<'_>,
) -> Result<Verification, Error> {
    let decrypted = ciphertext.salvage(key)?;
    let scope = asked.scope(Scope::Archive);
    let problem = match decrypted.ending() {
        Ending::Whole => {
            let message = Some(&decrypted);
            return Ok(archive::check(&decrypted, options, asked, message, scope));
        }
        // No byte of it reaches a parser: whoever altered it may have made it to harm one.
        Ending::Altered(what) => {
            let mut verification = Verification::new(Scope::Archive);
            verification.problems.push(Problem {
                member: None,
                what: format!(
                    "{ALTERED}: {what}; nothing in it was looked at: take another copy of the file, or, \
                     where there is none, salvage what its checkpoints vouch for before that"
                ),
            });
            return Ok(verification);
        }
        Ending::Cut => Problem {
            member: None,
            what: CUT.into(),
        },
    };
    let mut verification = check_cut(&decrypted, options, asked, scope);
    verification.problems.insert(0, problem);
    verification.vouched_by.clear();
    verification.through.clear();
    if verification.verdict != Verdict::Broken {
        verification.verdict = Verdict::Unfinished;
    }
    Ok(verification)
}

/// Checks an archive whose message is cut, with and without the bytes that may never have been written.
pub(super) fn check_cut(
    decrypted: &Decrypted,
    options: &VerifyOptions,
    asked: &Asked<'_>,
    scope: Scope,
) -> Verification {
    let answer = archive::check(decrypted, options, asked, None, scope);
    if answer.verdict != Verdict::Broken {
        return answer;
    }
    let shorter = decrypted.without_doubtful();
    shorter
        .map(|shorter| archive::check(&shorter, options, asked, None, scope))
        .filter(|again| again.verdict != Verdict::Broken)
        .unwrap_or(answer)
}

/// The answer about ciphertext that was cut off before there was anything to decrypt.
pub(super) fn begun() -> Verification {
    let mut verification = Verification::new(Scope::Archive);
    verification.verdict = Verdict::Unfinished;
    verification.problems.push(Problem {
        member: None,
        what: format!("{}; go on with collect --resume", Error::Begun),
    });
    verification
}

/// Compares the message around an archive with what the archive says of it.
pub(super) fn check_message(
    decrypted: &Decrypted,
    collection: Option<&[u8]>,
    signer: Option<&Certificate>,
    folder: &str,
    members: &[Member],
    problems: &Problems,
) {
    let recorded = collection
        .and_then(|text| serde_json::from_slice::<Collection>(text).ok())
        .and_then(|collection| collection.session_packets_sha256);
    let envelope = decrypted.envelope();
    if let Err(what) = envelope.check_session_packets(recorded.as_deref()) {
        problems.of(tags::COLLECTION, what);
    }
    if let Some(signer) = signer
        && let Err(what) = envelope.check_signature(signer)
    {
        problems.note(what);
    }
    // A writer puts everything on the device behind each checkpoint's signature.
    let synced: Option<Vec<u64>> = members
        .iter()
        .filter(|member| {
            member.name.starts_with("records/checkpoints/") && member.name.ends_with(".asc")
        })
        .map(|member| {
            let span = member.facts.span(&format!("{folder}{}", member.name))?;
            member.offset.checked_add(span)
        })
        .collect();
    match synced {
        Some(synced) => {
            if let Err(what) = decrypted.check_framing(&synced) {
                problems.note(what);
            }
        }
        None => problems.note("a checkpoint's place is past all bounds"),
    }
}
