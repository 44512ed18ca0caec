//! Shannon entropy without floating point: the last bit of a logarithm differs between platforms,
//! and stored results must not.

use std::fmt;

/// Bits of information a byte, in ten-thousandths: 0 (one value only) to 80,000 (all 256 alike).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entropy(pub u32);

impl fmt::Display for Entropy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:04}", self.0 / 10_000, self.0 % 10_000)
    }
}

/// How often each byte value occurs.
#[derive(Clone)]
pub(super) struct Histogram {
    counts: [u64; 256],
}

/// From so many bytes on, the four rows of [`Histogram::add`] pay.
const ROWS_FROM: usize = 1024;

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: [0; 256] }
    }

    /// Counts the bytes of a block, which has less than 2^32.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if bytes.len() >= ROWS_FROM {
            // Four rows, so that neighbouring equal bytes don't wait for each other's count.
            let mut rows = [[0u32; 256]; 4];
            let (quads, tail) = bytes.as_chunks::<4>();
            for quad in quads {
                for (row, byte) in rows.iter_mut().zip(quad) {
                    row[usize::from(*byte)] += 1;
                }
            }
            for row in rows {
                for (count, more) in self.counts.iter_mut().zip(row) {
                    *count += u64::from(more);
                }
            }
            rest = tail;
        }
        for byte in rest {
            self.counts[usize::from(*byte)] += 1;
        }
    }

    /// log2(n) − Σ c·log2(c) / n, rounded to the nearest ten-thousandth; 0 for no bytes at all.
    pub(super) fn entropy(&self) -> Entropy {
        let (mut total, mut weighted) = (0u64, 0u128);
        for count in self.counts.into_iter().filter(|count| *count != 0) {
            total += count;
            weighted += u128::from(count) * u128::from(log2(count));
        }
        if total == 0 {
            return Entropy(0);
        }
        let mean = weighted / u128::from(total);
        let bits = u128::from(log2(total)).saturating_sub(mean);
        Entropy(((bits * 10_000 + (1 << (FRACTION - 1))) >> FRACTION) as u32)
    }
}

/// Binary digits after the point of [`log2`].
const FRACTION: u32 = 40;

/// The binary logarithm of a number above 0, rounded down, with [`FRACTION`] binary digits: each
/// squaring of the mantissa gives one.
fn log2(number: u64) -> u64 {
    let whole = number.ilog2();
    let mut mantissa = number << (63 - whole);
    let mut log = u64::from(whole);
    for _ in 0..FRACTION {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        let carry = (square >> 64) as u64;
        mantissa = (square >> carry) as u64;
        log = log << 1 | carry;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entropy(bytes: &[u8]) -> String {
        let mut histogram = Histogram::new();
        histogram.add(bytes);
        histogram.entropy().to_string()
    }

    #[test]
    fn known_values() {
        assert_eq!(entropy(b""), "0.0000");
        assert_eq!(entropy(b"aaaaaaa"), "0.0000");
        assert_eq!(entropy(b"abababab"), "1.0000");
        // -(1/3)·log2(1/3) - (2/3)·log2(2/3) = 0.91829…
        assert_eq!(entropy(b"aab"), "0.9183");
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(entropy(&all), "8.0000");
    }

    #[test]
    fn close_to_floating_point() {
        let mut state = 1u64;
        let bytes: Vec<u8> = (0..10_007)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                ((state >> 33) as u8) & ((state >> 41) as u8)
            })
            .collect();
        let total = bytes.len() as f64;
        let expected: f64 = (0..=255u8)
            .map(|value| bytes.iter().filter(|byte| **byte == value).count() as f64 / total)
            .filter(|share| *share > 0.0)
            .map(|share| -share * share.log2())
            .sum();
        assert_eq!(entropy(&bytes), format!("{expected:.4}"));
    }
}
