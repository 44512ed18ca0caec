//! The one payload member that is asked for, where not all are.

use std::sync::atomic::{AtomicBool, Ordering};

use scelle_event::StreamId;

use super::{Problem, Scope, Verdict, Verification, VerifyOptions};
use crate::{Error, file_line::FileLine};

const PAYLOAD: &str = "data/";

/// What is asked for, and whether it was there to be checked.
pub(super) struct Asked<'a> {
    /// None where all is asked for.
    name: Option<&'a str>,
    was_there: AtomicBool,
}

impl<'a> Asked<'a> {
    pub(super) fn of(options: &'a VerifyOptions) -> Self {
        Self {
            name: options.member.as_deref(),
            was_there: AtomicBool::new(false),
        }
    }

    /// Whether every member is asked for.
    pub(super) fn is_all(&self) -> bool {
        self.name.is_none()
    }

    /// What is checked where it would be `whole`.
    pub(super) fn scope(&self, whole: Scope) -> Scope {
        if self.is_all() { whole } else { Scope::Member }
    }

    /// Whether the member of that line is to be checked.
    pub(super) fn wants(&self, line: &FileLine) -> bool {
        let Some(name) = self.name else { return true };
        let wants = is_name_of(name, line);
        if wants {
            self.was_there.store(true, Ordering::Relaxed);
        }
        wants
    }

    /// The answer: what was asked for and is not there was not checked, however right all else is.
    pub(super) fn answer(&self, mut verification: Verification) -> Result<Verification, Error> {
        let Some(name) = self.name else {
            return Ok(verification);
        };
        if self.was_there.load(Ordering::Relaxed) {
            return Ok(verification);
        }
        if matches!(
            verification.verdict,
            Verdict::Sealed | Verdict::SignerUnknown
        ) {
            return Err(Error::NoMember(name.to_owned()));
        }
        // Without a root not even the seal was looked at.
        let is_seal_checked = verification.root.is_some();
        verification.scope = if is_seal_checked {
            Scope::Seal
        } else {
            Scope::Archive
        };
        verification.problems.push(Problem {
            member: None,
            what: format!("{name:?} was not checked: no line that can be read is about it"),
        });
        Ok(verification)
    }
}

/// Whether that names the member of the line: as the manifests do, with or without `data/`, or as
/// `ls` and a timeline name its stream.
fn is_name_of(name: &str, line: &FileLine) -> bool {
    let member = &*line.member;
    if name == member || member.strip_prefix(PAYLOAD) == Some(name) {
        return true;
    }
    let (Ok(path), Ok(stream)) = (line.path(), line.stream()) else {
        return false;
    };
    let id = StreamId {
        volume: line.volume.as_str().into(),
        path,
        stream,
    };
    id.to_string() == name
}
