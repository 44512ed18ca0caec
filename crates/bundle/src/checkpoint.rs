//! Checkpoints: what was finished so far, signed, so that a bundle that is cut keeps its worth.
//!
//! The text is JSON with one element a line, so that a reader needs no more memory than a line:
//!
//! ```text
//! {"checkpoint":2,"previous":"…","length":4711,"blake3":"…","last":false,
//! "segments":[
//! {"member":"data/…","offset":17,"crc32":0,"compressed":[…]}
//! ],
//! "files":[
//! …
//! ],
//! "coverage":[…],"warnings":[…],"audit":[…]}
//! ```
//!
//! `segments` lists the members of more than one segment: compressed bytes a segment.

use serde::{Deserialize, Serialize};

/// What a checkpoint says of the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// Its number, from 1.
    pub(crate) checkpoint: u64,
    /// BLAKE3 of the checkpoint before.
    pub(crate) previous: Option<String>,
    /// Length of the archive up to the checkpoint's own local header.
    pub(crate) length: u64,
    /// BLAKE3 of those bytes.
    pub(crate) blake3: String,
    /// Whether the tag manifest follows.
    pub(crate) last: bool,
}

/// Where the segments of a large member end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Segments {
    pub(crate) member: String,
    /// Offset of its local header.
    pub(crate) offset: u64,
    pub(crate) crc32: u32,
    /// Compressed bytes a segment.
    pub(crate) compressed: Vec<u64>,
}

/// The least that a whole segment takes in an archive, whatever its method; two small ones take as
/// much with their member's headers.
const LEAST_SEGMENT_BYTES: u64 = 128;

impl Segments {
    /// Reads a line. `room` says how many bytes of the archive nobody has listed yet, and becomes
    /// less: a text of a few KiB can be one of millions of segments.
    pub(crate) fn read(line: &[u8], room: &mut u64) -> Result<Self, String> {
        const TOO_MANY: &str = "it lists more segments than the archive has";
        let most = *room / LEAST_SEGMENT_BYTES;
        let commas = memchr::memchr_iter(b',', line).count() as u64;
        if commas > most.saturating_add(MOST_OTHER_COMMAS) {
            return Err(TOO_MANY.into());
        }
        let line: Self = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let least = (line.compressed.len().max(2) as u64).checked_mul(LEAST_SEGMENT_BYTES);
        *room = least
            .and_then(|least| room.checked_sub(least))
            .ok_or(TOO_MANY)?;
        Ok(line)
    }
}

/// A member's name may have some.
const MOST_OTHER_COMMAS: u64 = 1024;

/// The lists of lines, in writing order.
pub(crate) const LISTS: [&str; 5] = ["segments", "files", "coverage", "warnings", "audit"];

/// The lines since the checkpoint before, each list with line ends, in the order of [`LISTS`].
pub(crate) type Since = [Vec<u8>; LISTS.len()];

/// The text of a checkpoint.
pub(crate) fn write(head: &Head, since: &Since) -> Vec<u8> {
    const PLAIN: &str = "plain structs become JSON";
    let mut out = serde_json::to_vec(head).expect(PLAIN);
    out.pop();
    for (name, lines) in LISTS.iter().zip(since) {
        out.extend_from_slice(format!(",\n\"{name}\":[\n").as_bytes());
        let mut left = lines.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(line) = left.next() {
            match line.strip_suffix(b"\n") {
                Some(line) if left.peek().is_some() => {
                    out.extend_from_slice(line);
                    out.extend_from_slice(b",\n");
                }
                _ => out.extend_from_slice(line),
            }
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}\n");
    out
}

/// Reads what a checkpoint says of the archive, and none of its lines.
pub(crate) fn read_head(text: &[u8]) -> Result<Head, String> {
    text.split(|byte| *byte == b'\n')
        .next()
        .and_then(|head| head.strip_suffix(b","))
        .ok_or_else(|| "it has no head".to_owned())
        .and_then(|head| {
            serde_json::from_slice(&[head, b"}"].concat()).map_err(|error| error.to_string())
        })
}

/// Reads a checkpoint; `line` gets each list's number in [`LISTS`] and its lines.
pub(crate) fn read(
    text: &[u8],
    mut line: impl FnMut(usize, &[u8]) -> Result<(), String>,
) -> Result<Head, String> {
    let bad = |what: &str| format!("its text is not as it is written: {what}");
    let mut lines = text.split(|byte| *byte == b'\n');
    let head = read_head(text).map_err(|what| bad(&what))?;
    lines.next();
    for (number, name) in LISTS.iter().enumerate() {
        let open = lines.next().ok_or_else(|| bad(name))?;
        if open != format!("\"{name}\":[").as_bytes() {
            return Err(bad(name));
        }
        let close: &[u8] = if number + 1 == LISTS.len() {
            b"]}"
        } else {
            b"],"
        };
        loop {
            let element = lines.next().ok_or_else(|| bad(name))?;
            if element == close {
                break;
            }
            line(number, element.strip_suffix(b",").unwrap_or(element))?;
        }
    }
    if lines.next() != Some(b"") || lines.next().is_some() {
        return Err(bad("end"));
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back_and_are_json() {
        let head = Head {
            checkpoint: 3,
            previous: Some("ab".into()),
            length: 17,
            blake3: "cd".into(),
            last: true,
        };
        let since: Since = [
            vec![],
            b"{\"a\":1}\n{\"b\":[1,2]}\n".to_vec(),
            vec![],
            b"{}\n".to_vec(),
            vec![],
        ];
        let text = write(&head, &since);
        let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(value["files"][1]["b"][1], 2);
        let mut back: Since = Default::default();
        let again = read(&text, |list, line| {
            back[list].extend_from_slice(line);
            back[list].push(b'\n');
            Ok(())
        });
        assert_eq!(again.as_ref(), Ok(&head));
        assert_eq!(back, since);
        assert_eq!(write(&head, &back), text);
        for cut in 0..text.len() {
            assert!(read(&text[..cut], |_, _| Ok(())).is_err(), "cut at {cut}");
        }
    }
}
