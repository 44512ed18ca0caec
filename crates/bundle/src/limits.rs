//! How much a bundle's files and lines may have: what a writer writes, every reader takes.
//!
//! A writer keeps to what users and evidence choose, or refuses before it has written anything; that of checkpoints and signers
//! ([`MANIFEST_LIMIT`], [`MOST_BREAKS`], [`SIGNERS_LIMIT`]) is past what any collection comes to. In lines none of it is as long as they like:
//!
//! | in a checkpoint's text                              | at most |
//! |-----------------------------------------------------|--------:|
//! | lines that wait, before the last stream's are added |  16 MiB |
//! | segments of one stream of 16 TiB                    |  16 MiB |
//! | its warnings                                        |   4 MiB |
//! | its ranges in `files.jsonl`, 65,536 of either kind  |   6 MiB |
//! | its names there                                     |   8 MiB |
//! | its path and details, in all lines                  |   8 MiB |

/// The text of a checkpoint.
pub(crate) const TEXT_LIMIT: u64 = 64 << 20;
/// A line of `records/*.jsonl`: each stands in a checkpoint.
pub(crate) const LINE_LIMIT: usize = TEXT_LIMIT as usize;
/// The names in a line of `records/files.jsonl`; those behind it are left out, and said.
pub(crate) const NAMES_LIMIT: usize = 8 << 20;
/// `records/collection.json`.
pub(crate) const COLLECTION_LIMIT: u64 = 16 << 20;
/// `bag-info.txt`, the most bytes of it.
pub const BAG_INFO_LIMIT: u64 = 64 << 10;
/// What of `bag-info.txt` is known at the end only: hashes and counts.
pub(crate) const BAG_INFO_ROOM: usize = 256;
/// The tag manifest; see [`stretch`].
pub(crate) const MANIFEST_LIMIT: u64 = 64 << 20;
/// A certificate with those behind it, or a signature, armoured.
pub(crate) const ARMOUR_LIMIT: u64 = 1 << 20;
/// Certificates in one file.
pub(crate) const MOST_CERTIFICATES: usize = 8;
/// The certificates of all keys that sign, together: a resumed collection has one more.
const SIGNERS_LIMIT: u64 = 64 << 20;
/// The session-key packets before a message's data: one a recipient.
pub(crate) const SESSION_PACKETS_LIMIT: usize = 1 << 20;
/// Pieces of an unusual length in a message's framing: 16 bytes each are held.
pub(crate) const MOST_BREAKS: usize = 1 << 21;

/// What certificates may still take, together [`SIGNERS_LIMIT`].
pub(crate) struct SignersRoom(u64);

impl SignersRoom {
    pub(crate) const ALL: Self = Self(SIGNERS_LIMIT);

    /// Takes so many bytes of it, or says that there is none left; from then on for ever.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), &'static str> {
        self.0 = self.0.saturating_sub(bytes);
        match self.0 {
            0 => Err("there are too many certificates"),
            _ => Ok(()),
        }
    }
}

/// Checkpoints after which their distance doubles.
const STRETCHED_AFTER: u64 = 8192;

/// By how much the distance between checkpoints is stretched once there are so many.
///
/// Each costs two lines of the tag manifest and up to 32 breaks of a message's framing, and a
/// collection may last for a year. So what may be lost when it is cut off is at most about an
/// 8,192nd part of it.
pub(crate) fn stretch(checkpoints: u64) -> u32 {
    1_u32 << (checkpoints / STRETCHED_AFTER).min(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_collections_are_read() {
        const CHECKPOINT_BYTES: u64 = 64 << 20;
        const LINE_BYTES: u64 = 100;
        let (mut bytes, mut checkpoints) = (0_u64, 0_u64);
        while bytes < 64 << 40 {
            bytes += CHECKPOINT_BYTES * u64::from(stretch(checkpoints));
            checkpoints += 1;
        }
        assert!(checkpoints * 32 <= MOST_BREAKS as u64, "{checkpoints}");
        assert!(checkpoints * 2 * LINE_BYTES <= MANIFEST_LIMIT);
    }
}
