//! What is on the device, told to whoever may have to go on from there without reading it.

use std::io;

/// Hears of checkpoints.
pub type Listener = Box<dyn FnMut(&Logged) -> io::Result<()> + Send>;

/// A checkpoint that is on the device, and all of the collection up to it, earlier parts included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its number in its part.
    pub checkpoint: u64,
    /// BLAKE3 of its text, in hex.
    pub blake3: String,
    /// How far the plan was followed.
    pub cursor: Cursor,
    /// Warnings so far.
    pub warnings: u64,
    /// Lines of coverage so far that are losses.
    pub losses: u64,
    /// Whether it is the last: only the seal is missing.
    pub is_last: bool,
}

/// How far a plan was followed: how many lines of coverage there are, and a hash of what they are
/// about. It names nothing, and shows whether a plan still begins with the same lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    lines: u64,
    blake3: blake3::Hash,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            lines: 0,
            blake3: blake3::Hash::from_bytes([0; blake3::OUT_LEN]),
        }
    }
}

impl Cursor {
    /// A cursor that was written down; `None` where that is no hash in hex.
    pub fn read(lines: u64, blake3: &str) -> Option<Self> {
        let blake3 = blake3::Hash::from_hex(blake3).ok()?;
        Some(Self { lines, blake3 })
    }

    /// Goes past a line of coverage of that target and path.
    pub fn pass(&mut self, target: &str, path: Option<&str>) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.blake3.as_bytes());
        for text in [Some(target), path] {
            hasher.update(
                &text
                    .map_or(u64::MAX, |text| text.len() as u64)
                    .to_le_bytes(),
            );
            hasher.update(text.unwrap_or_default().as_bytes());
        }
        self.lines = self.lines.saturating_add(1);
        self.blake3 = hasher.finalize();
    }

    /// Lines of coverage.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The hash of what they are about, in hex.
    pub fn blake3(&self) -> String {
        self.blake3.to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_differ_where_lines_do() {
        let of = |lines: &[(&str, Option<&str>)]| {
            let mut cursor = Cursor::default();
            for (target, path) in lines {
                cursor.pass(target, *path);
            }
            cursor
        };
        let one = of(&[("a", Some("b")), ("c", None)]);
        assert_eq!(Cursor::read(2, &one.blake3()), Some(one));
        for other in [
            of(&[("c", None), ("a", Some("b"))]),
            of(&[("ab", Some("")), ("c", None)]),
            of(&[("a", Some("b")), ("c", Some(""))]),
            of(&[("a", Some("b"))]),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(Cursor::read(1, "no hash"), None);
    }
}
