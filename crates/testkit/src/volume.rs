//! Makes NTFS volumes out of records, sound ones and others.

use crate::MftRecord;

/// Sector size of every volume made here.
const SECTOR_BYTES: usize = 512;

/// The bytes of an NTFS volume under construction.
#[derive(Clone, Debug)]
pub struct NtfsImage {
    cluster_bytes: usize,
    record_bytes: usize,
    mft_lcn: u64,
    bytes: Vec<u8>,
}

impl NtfsImage {
    /// A volume of so many clusters, with its boot sector, that sector's backup after the last
    /// cluster, and nothing else. `$MFT` begins at cluster `mft_lcn`, `$MFTMirr` at `mirror_lcn`.
    pub fn new(
        cluster_bytes: usize,
        record_bytes: usize,
        clusters: usize,
        mft_lcn: u64,
        mirror_lcn: u64,
    ) -> Self {
        let mut boot = vec![0; SECTOR_BYTES];
        let sectors = cluster_bytes * clusters / SECTOR_BYTES;
        let mut put = |at: usize, field: &[u8]| boot[at..at + field.len()].copy_from_slice(field);
        put(0x03, b"NTFS    ");
        put(0x0B, &(SECTOR_BYTES as u16).to_le_bytes());
        let factor = cluster_bytes / SECTOR_BYTES;
        put(
            0x0D,
            &[match factor {
                0..=128 => factor as u8,
                _ => (256 - factor.trailing_zeros()) as u8,
            }],
        );
        put(0x28, &(sectors as u64).to_le_bytes());
        put(0x30, &mft_lcn.to_le_bytes());
        put(0x38, &mirror_lcn.to_le_bytes());
        // Both as negative exponents of two, the index records with 4 KiB.
        put(0x40, &[(256 - record_bytes.trailing_zeros()) as u8]);
        put(0x44, &[0xF4]);
        put(0x48, &0x0123_4567_89AB_CDEFu64.to_le_bytes());
        put(0x1FE, &[0x55, 0xAA]);
        let mut bytes = vec![0; cluster_bytes * clusters];
        bytes[..SECTOR_BYTES].copy_from_slice(&boot);
        bytes.extend(boot);
        Self {
            cluster_bytes,
            record_bytes,
            mft_lcn,
            bytes,
        }
    }

    /// Writes bytes from the beginning of a cluster on.
    #[must_use]
    pub fn put(mut self, lcn: u64, bytes: &[u8]) -> Self {
        let at = lcn as usize * self.cluster_bytes;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Writes a record at its place in an `$MFT` that is not fragmented.
    #[must_use]
    pub fn record(self, entry: u64, record: &MftRecord) -> Self {
        let lcn = self.mft_lcn;
        self.record_at(lcn, entry, record)
    }

    /// Writes a record so many records after the beginning of a cluster.
    #[must_use]
    pub fn record_at(mut self, lcn: u64, index: u64, record: &MftRecord) -> Self {
        let at = lcn as usize * self.cluster_bytes + index as usize * self.record_bytes;
        let record = record.build(self.record_bytes);
        self.bytes[at..at + record.len()].copy_from_slice(&record);
        self
    }

    /// The bytes of the volume, the backup of its boot sector last.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
