//! Data runs: which clusters a non-resident attribute has.
//!
//! # Layout
//! Each run begins with a byte whose low half says how many bytes its length has, and whose high
//! half how many its place has; then length (unsigned) and place (signed, relative to the place
//! before), both little-endian and in clusters. A run without a place is a hole. A zero byte ends
//! the list.
//!
//! # Damage
//! A run that can't be ends the list with an error: each place rests on the one before.

/// Clusters that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first virtual cluster.
    pub vcn: u64,
    /// The first cluster on the volume; `None` is a hole.
    pub lcn: Option<u64>,
    /// How many clusters.
    pub clusters: u64,
}

/// A run that can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run for cluster {vcn} of the stream {why}")]
pub struct RunError {
    /// The virtual cluster at which it should begin.
    pub vcn: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The runs of one part of an attribute, in order.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    bytes: &'a [u8],
    vcn: u64,
    lcn: i64,
}

impl<'a> Runs<'a> {
    /// The runs in `bytes`, the first of which begins at `vcn`.
    pub fn new(bytes: &'a [u8], vcn: u64) -> Self {
        Self { bytes, vcn, lcn: 0 }
    }

    fn read(&mut self, head: u8) -> Result<Run, &'static str> {
        let (length_bytes, place_bytes) = (usize::from(head & 15), usize::from(head >> 4));
        if length_bytes == 0 || length_bytes > 8 || place_bytes > 8 {
            return Err("states sizes of fields that can't be");
        }
        let fields = self.bytes.get(1..1 + length_bytes + place_bytes);
        let Some((length, place)) = fields.map(|fields| fields.split_at(length_bytes)) else {
            return Err("is cut");
        };
        let clusters = unsigned(length);
        // No volume has more clusters than a positive number of 63 bits.
        if clusters == 0 || clusters > i64::MAX.cast_unsigned() {
            return Err("has a length that can't be");
        }
        let vcn = self.vcn;
        let after = vcn
            .checked_add(clusters)
            .ok_or("ends past the last cluster there can be")?;
        let lcn = if place.is_empty() {
            None
        } else {
            let place = self.lcn.checked_add(signed(place));
            let place = place.filter(|place| *place >= 0);
            self.lcn = place.ok_or("lies before the volume or past all volumes")?;
            Some(self.lcn.cast_unsigned())
        };
        self.bytes = &self.bytes[1 + length_bytes + place_bytes..];
        self.vcn = after;
        Ok(Run { vcn, lcn, clusters })
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        let head = *self.bytes.first().filter(|head| **head != 0)?;
        let vcn = self.vcn;
        Some(self.read(head).map_err(|why| {
            self.bytes = &[];
            RunError { vcn, why }
        }))
    }
}

fn unsigned(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut word = [if negative { 0xFF } else { 0 }; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(vcn: u64, lcn: Option<u64>, clusters: u64) -> Result<Run, RunError> {
        Ok(Run { vcn, lcn, clusters })
    }

    #[test]
    fn forwards_backwards_and_holes() {
        let bytes = [
            0x21, 0x18, 0x34, 0x56, // 0x18 clusters at 0x5634
            0x01, 0x10, // a hole of 0x10
            0x11, 0x04, 0xF0, // 4 at 0x5624
            0x00, 0xFF,
        ];
        let found: Vec<_> = Runs::new(&bytes, 7).collect();
        assert_eq!(
            found,
            [
                run(7, Some(0x5634), 0x18),
                run(0x1F, None, 0x10),
                run(0x2F, Some(0x5624), 4),
            ]
        );
    }

    #[test]
    fn hostile_runs_end_the_list() {
        let cases: &[&[u8]] = &[
            &[0x10, 1],                                         // no length
            &[0x91, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],              // a place of nine bytes
            &[0x11, 0, 1],                                      // no clusters
            &[0x11, 1, 0x80],                                   // before the volume
            &[0x21, 1, 2],                                      // cut
            &[0x18, 255, 255, 255, 255, 255, 255, 255, 255, 1], // 2^64 clusters
        ];
        for bytes in cases {
            let found: Vec<_> = Runs::new(bytes, 0).collect();
            assert!(matches!(found[..], [Err(_)]), "{bytes:x?}");
        }
        let far = [0x11, 1, 1, 0x11, 9, 1];
        let found: Vec<_> = Runs::new(&far, u64::MAX - 5).collect();
        assert!(found[0].is_ok() && found[1].is_err() && found.len() == 2);
    }
}
