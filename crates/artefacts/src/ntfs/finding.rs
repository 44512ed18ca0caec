//! What in a record speaks against what it says, as a set of short names.
//!
//! A finding is a reason to look, and no proof: each has harmless causes, which stand beside it.
//! How often each is met on volumes that nobody forged is measured by a test, in
//! `tests/differences/findings.md`.

use std::fmt;

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindingKind {
    /// A short name, always the same for the same kind.
    pub name: &'static str,
    /// The artefact whose records have it.
    pub artefact: &'static str,
    /// What it is, in one sentence.
    pub says: &'static str,
    /// What brings it about without anybody forging anything.
    pub harmless: &'static str,
}

/// Every kind, in the order in which a set names them.
pub static FINDINGS: [FindingKind; 10] = [
    FindingKind {
        name: "si-created-before-fn",
        artefact: "ntfs.mft",
        says: "$STANDARD_INFORMATION was created before a $FILE_NAME of the same record",
        harmless: "installers, archivers and backups that give a file the time of its original; a move from another volume; tunnelling, where a name comes again within 15 seconds; a rename, where Windows copied older times into the name",
    },
    FindingKind {
        name: "si-zero-sub-seconds",
        artefact: "ntfs.mft",
        says: "$STANDARD_INFORMATION has a creation or a last write in whole seconds, $FILE_NAME has not",
        harmless: "archives and file systems that keep whole seconds; one time in ten million is one by chance",
    },
    FindingKind {
        name: "si-created-before-volume",
        artefact: "ntfs.mft",
        says: "$STANDARD_INFORMATION was created before the volume was",
        harmless: "installers, archivers and backups that keep the time of the original; a volume that was made from an image of files",
    },
    FindingKind {
        name: "lsn-past-log",
        artefact: "ntfs.mft",
        says: "the record was changed at an LSN that $LogFile has not come to: the log began anew since",
        harmless: "a check of the disk, or a driver other than that of Windows, that emptied the log",
    },
    FindingKind {
        name: "usn-past-journal",
        artefact: "ntfs.mft",
        says: "the record was noted at a USN that $UsnJrnl has not come to: the journal was cut or began anew since",
        harmless: "a volume whose journal was deleted by an administrator or by setup, and made again",
    },
    FindingKind {
        name: "usn-time-back",
        artefact: "ntfs.usnjrnl",
        says: "its time is more than two seconds before that of the record before it",
        harmless: "a clock that was set; a dual boot with a system of another time zone",
    },
    FindingKind {
        name: "usn-gap",
        artefact: "ntfs.usnjrnl",
        says: "the records between it and the one before it are gone, or the journal began anew here",
        harmless: "a volume that was not shut down; a copy of a journal that leaves out a part",
    },
    FindingKind {
        name: "si-created-before-usn",
        artefact: "ntfs.usnjrnl",
        says: "the file came with this record, and $STANDARD_INFORMATION now says that it was created more than two seconds earlier",
        harmless: "installers, archivers and backups that give a file the time of its original; tunnelling, where a name comes again within 15 seconds",
    },
    FindingKind {
        name: "lsn-time-back",
        artefact: "ntfs.logfile",
        says: "a record of $MFT was made more than two seconds before the one that the log has made before it",
        harmless: "a clock that was set",
    },
    FindingKind {
        name: "si-created-set-back",
        artefact: "ntfs.logfile",
        says: "the creation in $STANDARD_INFORMATION was set to an earlier time",
        harmless: "installers, archivers and backups that give a file the time of its original; tunnelling",
    },
];

/// Findings of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ntfs) struct Findings(u16);

impl Findings {
    pub(in crate::ntfs) const SI_CREATED_BEFORE_FN: Self = Self(1);
    pub(in crate::ntfs) const SI_ZERO_SUB_SECONDS: Self = Self(1 << 1);
    pub(in crate::ntfs) const SI_CREATED_BEFORE_VOLUME: Self = Self(1 << 2);
    pub(in crate::ntfs) const LSN_PAST_LOG: Self = Self(1 << 3);
    pub(in crate::ntfs) const USN_PAST_JOURNAL: Self = Self(1 << 4);
    pub(in crate::ntfs) const USN_TIME_BACK: Self = Self(1 << 5);
    pub(in crate::ntfs) const USN_GAP: Self = Self(1 << 6);
    pub(in crate::ntfs) const SI_CREATED_BEFORE_USN: Self = Self(1 << 7);
    pub(in crate::ntfs) const LSN_TIME_BACK: Self = Self(1 << 8);
    pub(in crate::ntfs) const SI_CREATED_SET_BACK: Self = Self(1 << 9);

    /// Adds one where it is so.
    pub(in crate::ntfs) fn add(&mut self, other: Self, is_so: bool) {
        if is_so {
            self.0 |= other.0;
        }
    }

    /// The names of all, joined with `+`; `None` where there is none.
    pub(in crate::ntfs) fn text(self) -> Option<String> {
        if self == Self::default() {
            return None;
        }
        let bits = FINDINGS.iter().enumerate();
        let names = bits.filter(|(bit, _)| self.0 >> bit & 1 != 0);
        let names: Vec<&str> = names.map(|(_, kind)| kind.name).collect();
        Some(names.join("+"))
    }

    /// Writes them behind a message.
    pub(in crate::ntfs) fn tell(self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.text() {
            Some(text) => write!(out, "; findings: {text}"),
            None => Ok(()),
        }
    }
}

/// 100 ns ticks of a second.
const SECOND: u64 = 10_000_000;
/// How much earlier a time has to be to be called earlier: clocks are set right in small steps,
/// and what is done at one time is written one after the other.
const TOLERANCE: u64 = 2 * SECOND;

/// Whether a time, FILETIME, is clearly before another.
pub(in crate::ntfs) fn is_before(one: u64, other: u64) -> bool {
    one != 0 && one.saturating_add(TOLERANCE) < other
}

/// Whether a time, FILETIME, is one and has no part of a second.
pub(in crate::ntfs) fn is_whole_second(ticks: u64) -> bool {
    ticks != 0 && ticks.is_multiple_of(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_names_its_findings_in_order() {
        let mut found = Findings::default();
        assert_eq!(found.text(), None);
        found.add(Findings::SI_CREATED_SET_BACK, true);
        found.add(Findings::USN_GAP, false);
        found.add(Findings::SI_CREATED_BEFORE_FN, true);
        let text = found.text().expect("two");
        assert_eq!(text, "si-created-before-fn+si-created-set-back");
    }

    #[test]
    fn every_name_is_one_kind() {
        let mut names: Vec<_> = FINDINGS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FINDINGS.len());
    }
}
