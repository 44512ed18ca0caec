//! Names of files and streams, exactly as the evidence has them.

use std::{fmt, str::FromStr, sync::Arc};

/// A path inside a volume: components with `/` between them, none at the ends.
///
/// The bytes are WTF-8 (UTF-8 that may hold unpaired surrogates) where the volume names things
/// in UTF-16, and the raw bytes elsewhere. Nothing is normalised, replaced or lost.
///
/// Its text form is exact too: `\` is written `\\`, a colon `\:`, an unpaired surrogate
/// `\uD800`, a byte that is not UTF-8 `\xFF`, and a control character `\x0A`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvidencePath(Arc<[u8]>);

impl EvidencePath {
    /// From bytes in the form described above. A `/` inside a component cannot occur: no file
    /// system allows it, and damaged names that hold one have it written as U+2215 by the reader.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// From UTF-16 code units, unpaired surrogates kept.
    pub fn from_utf16(units: impl IntoIterator<Item = u16>) -> Self {
        let mut bytes = Vec::new();
        push_wtf8(&mut bytes, units);
        Self(bytes.into())
    }

    /// The exact bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as Unicode, where it is Unicode.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or(&[])
    }

    /// The components, from the root down; none for the root itself.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// This path with one more component.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes.into())
    }
}

/// Appends UTF-16 as WTF-8: pairs become characters, unpaired surrogates their three bytes.
pub fn push_wtf8(out: &mut Vec<u8>, units: impl IntoIterator<Item = u16>) {
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(character) => {
                let mut buffer = [0; 4];
                out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                out.extend_from_slice(&[
                    0xE0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3F) as u8,
                    0x80 | (unit & 0x3F) as u8,
                ]);
            }
        }
    }
}

/// Appends the exact text form of a name's bytes; see [`EvidencePath`].
pub fn push_escaped(out: &mut String, bytes: &[u8]) {
    use fmt::Write as _;
    // Writing to a `String` never fails.
    const STRING: &str = "a String takes all that is written";
    let mut rest = bytes;
    while !rest.is_empty() {
        let (text, bad) = match std::str::from_utf8(rest) {
            Ok(text) => (text, 0),
            Err(error) => {
                let good = error.valid_up_to();
                let bad = if lone_surrogate(&rest[good..]).is_some() {
                    3
                } else {
                    1
                };
                (std::str::from_utf8(&rest[..good]).unwrap_or(""), bad)
            }
        };
        for character in text.chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                ':' => out.push_str("\\:"),
                c if c.is_control() => {
                    if (c as u32) < 0x80 {
                        write!(out, "\\x{:02X}", c as u32).expect(STRING);
                    } else {
                        write!(out, "\\u{:04X}", c as u32).expect(STRING);
                    }
                }
                c => out.push(c),
            }
        }
        let after = &rest[text.len()..];
        match lone_surrogate(after) {
            Some(unit) => write!(out, "\\u{unit:04X}").expect(STRING),
            None if bad == 1 => write!(out, "\\x{:02X}", after[0]).expect(STRING),
            None => {}
        }
        rest = &after[bad..];
    }
}

fn lone_surrogate(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..] => {
            Some(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F))
        }
        _ => None,
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let (taken, width) = match rest.as_bytes().first()? {
            b'\\' => (vec![b'\\'], 1),
            b':' => (vec![b':'], 1),
            b'x' => (vec![u8::from_str_radix(rest.get(1..3)?, 16).ok()?], 3),
            b'u' => {
                let unit = u16::from_str_radix(rest.get(1..5)?, 16).ok()?;
                let mut wtf8 = Vec::new();
                push_wtf8(&mut wtf8, [unit]);
                (wtf8, 5)
            }
            _ => return None,
        };
        bytes.extend_from_slice(&taken);
        rest = &rest[width..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

impl fmt::Display for EvidencePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        push_escaped(&mut text, &self.0);
        f.write_str(&text)
    }
}

impl fmt::Debug for EvidencePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvidencePath({self})")
    }
}

/// A stream's identity: volume id, `/`, exact path, and `:` stream name where it has one.
///
/// The same from an image, from a bundle, from ciphertext.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The volume's id (`ntfs-…`, `folder`, `at-OFFSET`).
    pub volume: Arc<str>,
    /// The file's path in it.
    pub path: EvidencePath,
    /// The stream's name; `None` is the unnamed one. Same form as the path's bytes.
    pub stream: Option<EvidencePath>,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.volume, self.path)?;
        match &self.stream {
            Some(stream) => write!(f, ":{stream}"),
            None => Ok(()),
        }
    }
}

/// A text that is no stream identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} does not name a stream: write VOLUME/PATH or VOLUME/PATH:STREAM as the timeline does"
)]
pub struct ParsePathError(String);

impl FromStr for EvidencePath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        unescape(text)
            .map(|bytes| Self(bytes.into()))
            .ok_or_else(|| ParsePathError(text.to_owned()))
    }
}

impl FromStr for StreamId {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePathError(text.to_owned());
        let (volume, rest) = text.split_once('/').ok_or_else(error)?;
        // The first colon that no backslash escapes parts the stream's name from the path.
        let mut escaped = false;
        let colon = rest.bytes().position(|byte| {
            let is_end = byte == b':' && !escaped;
            escaped = byte == b'\\' && !escaped;
            is_end
        });
        let (path, stream) = match colon {
            Some(at) => (&rest[..at], Some(rest[at + 1..].parse()?)),
            None => (rest, None),
        };
        Ok(Self {
            volume: volume.into(),
            path: path.parse()?,
            stream,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_exact() {
        let cases: &[&[u8]] = &[
            b"",
            b"Windows/System32/a b.txt",
            b"C:/odd\\name",
            b"latin\xE9/\xFF\xFE",
            "caf\u{e9}/\u{85}\u{7}".as_bytes(),
            b"\xED\xA0\x80x\xED\xBF\xBF",
        ];
        for bytes in cases {
            let path = EvidencePath::from_bytes(bytes);
            let back: EvidencePath = path.to_string().parse().expect("own text reads back");
            assert_eq!(back.as_bytes(), *bytes, "{path}");
        }
        let lone = EvidencePath::from_utf16([0x61, 0xD800, 0x62]);
        assert_eq!(lone.to_string(), "a\\uD800b");
        assert_eq!(lone.as_str(), None);
    }

    #[test]
    fn stream_ids_read_back() {
        let id = StreamId {
            volume: "ntfs-0123".into(),
            path: EvidencePath::from_bytes(b"dir/a:b\\"),
            stream: Some(EvidencePath::from_bytes(b"Zone.Identifier")),
        };
        let text = id.to_string();
        assert_eq!(text, "ntfs-0123/dir/a\\:b\\\\:Zone.Identifier");
        assert_eq!(text.parse(), Ok(id));
        assert!("no-slash".parse::<StreamId>().is_err());
    }
}
