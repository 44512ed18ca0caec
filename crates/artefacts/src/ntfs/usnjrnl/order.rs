//! What one record says of the one before it.

use scelle_formats::ntfs::{UsnRecord, reason};

use crate::ntfs::finding::{Findings, is_before};

/// No record goes on past the end of a page of so many bytes.
const PAGE_BYTES: u64 = 4096;

/// Where the journal stands: after some record, or before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// The USN after the last record.
    next: Option<u64>,
    /// The time of the last one that has one, FILETIME; 0 where none has.
    ticks: u64,
}

impl Order {
    /// Where it stands after that record.
    pub(super) fn then(self, record: &UsnRecord<'_>) -> Self {
        Self {
            next: Some(record.usn.saturating_add(record.length as u64)),
            ticks: record.ticks_100ns.unwrap_or(self.ticks),
        }
    }

    /// Where it stands after the records that led to `later`.
    pub(super) fn join(self, later: Self) -> Self {
        Self {
            next: later.next.or(self.next),
            ticks: if later.ticks == 0 {
                self.ticks
            } else {
                later.ticks
            },
        }
    }

    /// What speaks against the next record.
    pub(super) fn findings(self, record: &UsnRecord<'_>) -> Findings {
        let mut found = Findings::default();
        let ticks = record.ticks_100ns.unwrap_or(0);
        found.add(Findings::USN_TIME_BACK, is_before(ticks, self.ticks));
        if let Some(next) = self.next {
            let of_page = next.checked_next_multiple_of(PAGE_BYTES);
            let follows = record.usn == next || Some(record.usn) == of_page;
            found.add(Findings::USN_GAP, !follows);
        }
        found
    }
}

/// A file that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Made {
    /// Its reference.
    pub(super) file: u64,
    pub(super) usn: u64,
    /// When, FILETIME.
    pub(super) ticks: u64,
}

impl Made {
    /// `None` where the record says something else.
    pub(super) fn of(record: &UsnRecord<'_>) -> Option<Self> {
        Some(Self {
            file: u64::try_from(record.file)
                .ok()
                .filter(|_| record.reasons == reason::FILE_CREATE)?,
            usn: record.usn,
            ticks: record.ticks_100ns?,
        })
    }
}
