//! The first sector of a volume.
//!
//! # Layout (little-endian)
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x03 |     8 | `NTFS` and four spaces |
//! |   0x0B |     2 | bytes a sector |
//! |   0x0D |     1 | sectors a cluster; from 0x80 on, as a negative exponent of 2 |
//! |   0x28 |     8 | sectors of the volume, the backup boot sector left out |
//! |   0x30 |     8 | first cluster of `$MFT` |
//! |   0x38 |     8 | first cluster of `$MFTMirr` |
//! |   0x40 |     1 | clusters an MFT record; negative: exponent of 2, bytes |
//! |   0x44 |     1 | clusters an index record, in the same way |
//! |   0x48 |     8 | serial number |
//!
//! # Damage
//! Sizes that no volume has end the decoding: every later offset rests on them. The signature
//! 0x55AA at the end of the sector is not asked for, since nothing rests on it.

use super::{MAX_CLUSTER_BYTES, MAX_RECORD_BYTES};
use crate::{Cursor, DecodeError};

/// What a boot sector says of its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootSector {
    /// Bytes a sector.
    pub sector_bytes: u32,
    /// Bytes a cluster: 512 B to 2 MiB.
    pub cluster_bytes: u32,
    /// Sectors of the volume; the backup boot sector follows them.
    pub sectors: u64,
    /// The first cluster of `$MFT`.
    pub mft_lcn: u64,
    /// The first cluster of `$MFTMirr`.
    pub mirror_lcn: u64,
    /// Bytes an MFT record: 1 KiB or 4 KiB where Windows made the volume.
    pub record_bytes: u32,
    /// Bytes an index record.
    pub index_bytes: u32,
    /// The serial number.
    pub serial: u64,
}

impl BootSector {
    /// How many bytes [`parse`](Self::parse) looks at.
    pub const BYTES: usize = 512;

    /// Whether the bytes claim to begin an NTFS volume.
    pub fn recognises(bytes: &[u8]) -> bool {
        bytes.get(3..11) == Some(b"NTFS    ")
    }

    /// Decodes the first sector.
    ///
    /// # Errors
    /// Where it is cut, is no NTFS boot sector, or states sizes that no volume has.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cur = Cursor::new(bytes, 0);
        cur.skip("jump", 3)?;
        let oem = cur.u64("file system name")?;
        if !Self::recognises(bytes) {
            return Err(DecodeError::Unknown {
                field: "file system name",
                at: 3,
                value: oem,
            });
        }
        let sector_bytes = u32::from(cur.u16("bytes a sector")?);
        if !sector_bytes.is_power_of_two() || !(256..=4096).contains(&sector_bytes) {
            return Err(impossible("bytes a sector", 0x0B, sector_bytes));
        }
        let factor = cur.u8("sectors a cluster")?;
        let cluster_bytes = match factor {
            0..=0x80 => Some(u32::from(factor) * sector_bytes),
            _ => 1u32
                .checked_shl(256 - u32::from(factor))
                .and_then(|sectors| sectors.checked_mul(sector_bytes)),
        };
        let cluster_bytes = cluster_bytes
            .filter(|bytes| bytes.is_power_of_two() && *bytes <= MAX_CLUSTER_BYTES)
            .ok_or_else(|| impossible("sectors a cluster", 0x0D, factor.into()))?;
        cur.skip("reserved", 0x28 - 0x0E)?;
        let sectors = cur.u64("sectors")?;
        let mft_lcn = cur.u64("first cluster of $MFT")?;
        let mirror_lcn = cur.u64("first cluster of $MFTMirr")?;
        let record = cur.u8("clusters an MFT record")?;
        cur.skip("reserved", 3)?;
        let index = cur.u8("clusters an index record")?;
        cur.skip("reserved", 3)?;
        Ok(Self {
            sector_bytes,
            cluster_bytes,
            sectors,
            mft_lcn,
            mirror_lcn,
            record_bytes: in_clusters("clusters an MFT record", 0x40, record, cluster_bytes)?,
            index_bytes: in_clusters("clusters an index record", 0x44, index, cluster_bytes)?,
            serial: cur.u64("serial number")?,
        })
    }

    /// The bytes of the volume, the backup boot sector left out.
    pub fn volume_bytes(&self) -> u64 {
        self.sectors.saturating_mul(self.sector_bytes.into())
    }

    /// The first byte of a cluster, where 64 bits hold it.
    pub fn cluster_offset(&self, lcn: u64) -> Option<u64> {
        lcn.checked_mul(self.cluster_bytes.into())
    }
}

fn in_clusters(
    field: &'static str,
    at: u64,
    value: u8,
    cluster_bytes: u32,
) -> Result<u32, DecodeError> {
    let bytes = match value.cast_signed() {
        clusters @ 0.. => u32::from(clusters.unsigned_abs()).checked_mul(cluster_bytes),
        exponent => 1u32.checked_shl(exponent.unsigned_abs().into()),
    };
    bytes
        .filter(|bytes| bytes.is_power_of_two() && (256..=MAX_RECORD_BYTES).contains(bytes))
        .ok_or_else(|| impossible(field, at, value.into()))
}

fn impossible(field: &'static str, at: u64, value: u32) -> DecodeError {
    DecodeError::Unknown {
        field,
        at,
        value: value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(factor: u8, record: i8) -> [u8; 512] {
        let mut bytes = [0; 512];
        bytes[3..11].copy_from_slice(b"NTFS    ");
        bytes[0x0B..0x0D].copy_from_slice(&512u16.to_le_bytes());
        bytes[0x0D] = factor;
        bytes[0x28..0x30].copy_from_slice(&8191u64.to_le_bytes());
        bytes[0x30] = 4;
        bytes[0x40] = record.cast_unsigned();
        bytes[0x44] = 0xF4;
        bytes[0x48] = 7;
        bytes
    }

    #[test]
    fn cluster_sizes() {
        for (factor, cluster) in [(1, 512), (8, 4096), (0x80, 65_536), (0xF4, 2 << 20)] {
            let boot = BootSector::parse(&sector(factor, -10)).expect("a sound sector");
            assert_eq!(boot.cluster_bytes, cluster, "{factor:#x}");
            assert_eq!((boot.record_bytes, boot.index_bytes), (1024, 4096));
            assert_eq!((boot.serial, boot.mft_lcn), (7, 4));
            assert_eq!(boot.volume_bytes(), 8191 * 512);
        }
        let whole = BootSector::parse(&sector(8, 1)).expect("a record a cluster");
        assert_eq!(whole.record_bytes, 4096);
    }

    #[test]
    fn sizes_that_no_volume_has() {
        for (factor, record) in [
            (0, -10),
            (3, -10),
            (0x81, -10),
            (0xF3, -10),
            (8, -31),
            (8, -128),
            (8, 0),
            (8, 127),
        ] {
            assert!(
                BootSector::parse(&sector(factor, record)).is_err(),
                "{factor:#x} {record}"
            );
        }
        let sound = sector(8, -10);
        for length in 0..0x50 {
            assert!(BootSector::parse(&sound[..length]).is_err());
        }
    }
}
