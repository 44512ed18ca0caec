//! UTF-16 to UTF-8.

/// UTF-16 code units, little-endian, as they stand in the chunk.
///
/// An unpaired surrogate is shown as `\uD800`: its number stays readable, and the text is Unicode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf16<'a>(pub &'a [u8]);

impl<'a> Utf16<'a> {
    /// The same text without the zeros that end it.
    pub fn trimmed(self) -> Self {
        let mut bytes = &self.0[..self.0.len() & !1];
        while let [rest @ .., 0, 0] = bytes {
            bytes = rest;
        }
        Self(bytes)
    }

    /// Appends the text.
    pub fn push_to(self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.0.len() / 2, 0);
        // Nearly every text is ASCII. This loop has no branch, so it is done many units at a time.
        let mut all = 0;
        for (byte, unit) in out[start..].iter_mut().zip(self.0.chunks_exact(2)) {
            let unit = u16::from_le_bytes([unit[0], unit[1]]);
            *byte = unit as u8;
            all |= unit;
        }
        if all >= 0x80 {
            out.truncate(start);
            self.push_any(out);
        }
    }

    /// The text, in `scratch`, whose content it replaces.
    pub fn to_str(self, scratch: &mut Vec<u8>) -> &str {
        scratch.clear();
        self.push_to(scratch);
        as_text(scratch)
    }

    fn push_any(self, out: &mut Vec<u8>) {
        let units = self
            .0
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        for char in char::decode_utf16(units) {
            match char {
                Ok(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(lone) => {
                    out.extend_from_slice(
                        format!("\\u{:04X}", lone.unpaired_surrogate()).as_bytes(),
                    );
                }
            }
        }
    }
}

/// The bytes of a buffer that only whole characters were appended to.
pub(super) fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("only whole characters are appended")
}

/// Appends text in Windows-1252, the code page of nearly all "ANSI" values; what it does not
/// define stands for itself.
pub(super) fn push_ansi(bytes: &[u8], out: &mut Vec<u8>) {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    for byte in bytes {
        let char = match byte {
            0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
            byte => char::from(*byte),
        };
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(units: &[u16]) -> String {
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        Utf16(&bytes).trimmed().to_str(&mut Vec::new()).to_owned()
    }

    #[test]
    fn utf16_of_all_kinds() {
        assert_eq!(text(&"plain".encode_utf16().collect::<Vec<_>>()), "plain");
        assert_eq!(
            text(&"größer 𝄞 ".encode_utf16().collect::<Vec<_>>()),
            "größer 𝄞 "
        );
        assert_eq!(text(&[b'a'.into(), 0, b'b'.into(), 0, 0]), "a\0b");
        assert_eq!(
            text(&[b'a'.into(), 0xd83d, b'b'.into(), 0xdc00]),
            "a\\uD83Db\\uDC00"
        );
        assert_eq!(text(&[]), "");
        // An odd byte is no unit.
        assert_eq!(Utf16(b"a\0b").trimmed().to_str(&mut Vec::new()), "a");
    }

    #[test]
    fn ansi_text() {
        let mut out = Vec::new();
        push_ansi(b"caf\xe9 \x80", &mut out);
        assert_eq!(as_text(&out), "café €");
    }
}
