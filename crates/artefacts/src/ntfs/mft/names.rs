//! The names of an `$MFT` that completes another artefact.

use std::ops::Range;

use scelle_formats::{
    DecodeError, RangeKind, ReadAt, ReadAtExt as _,
    ntfs::paths::{NameTable, entry_of, sequence_of},
};

use super::{Head, Part, Survey, UNIT_BYTES};

/// The names of all entries, and where their records lie.
pub(in crate::ntfs) struct Names {
    /// Every entry's best name and directory.
    pub(in crate::ntfs) table: NameTable,
    head: Head,
}

impl Names {
    /// Reads the names of all records, from the first to the last that is stored: a table may claim any
    /// length, and no sound one has a hole.
    ///
    /// # Errors
    /// Where it is no `$MFT`, or a part of it can't be read.
    pub(in crate::ntfs) fn read(stream: &dyn ReadAt) -> Result<Self, DecodeError> {
        let head = Head::find(stream)?;
        let mut parts = Vec::new();
        let mut at = head.start;
        let stored = stream
            .ranges()
            .take_while(|(_, kind)| matches!(kind, RangeKind::Data | RangeKind::Unreadable));
        let stored = stored.last().map_or(0, |(range, _)| range.end);
        while at < stored {
            let end = (at + UNIT_BYTES as u64).min(stored);
            let memory = stream
                .as_slice()
                .and_then(|all| all.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?));
            parts.push(match memory {
                Some(bytes) => Part::scout(&head, bytes, at),
                None => {
                    let bytes = stream.read_range(at..end, UNIT_BYTES)?;
                    if bytes.is_empty() {
                        break;
                    }
                    Part::scout(&head, &bytes, at)
                }
            });
            at = end;
        }
        Ok(Self {
            table: Survey::join(parts).table,
            head,
        })
    }

    /// When an entry was made, in the use that `reference` means, FILETIME.
    pub(in crate::ntfs) fn created(&self, mft: &dyn ReadAt, reference: u64) -> Option<u64> {
        let sequence = sequence_of(reference);
        super::with_record(&self.head, mft, entry_of(reference), |record| {
            let header = &record.header;
            // Deletion raises the number.
            let of_use = header.sequence.wrapping_sub(u16::from(!header.in_use()));
            let is_it = !header.is_extension() && of_use == sequence;
            is_it.then(|| super::standard_created(record))?
        })
    }

    /// Where the record of an entry lies.
    pub(in crate::ntfs) fn range_of(&self, entry: u64) -> Option<Range<u64>> {
        (entry >= self.head.first_entry).then(|| self.head.range_of(entry))
    }
}
