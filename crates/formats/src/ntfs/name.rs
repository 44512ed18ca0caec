//! Names on NTFS: UTF-16 that may hold unpaired surrogates, kept as WTF-8.

/// The longest name, in UTF-16 code units.
pub const MAX_NAME_UNITS: usize = 255;

/// What stands for a `/` inside a damaged name: U+2215, DIVISION SLASH.
const SLASH_INSTEAD: &[u8] = "\u{2215}".as_bytes();

/// Appends UTF-16LE code units as WTF-8: pairs become characters, unpaired surrogates their three
/// bytes. An odd last byte is no code unit and is left out.
pub fn push_wtf8(out: &mut Vec<u8>, utf16le: &[u8]) {
    let mut rest = utf16le;
    // Four ASCII code units at a time, for most names are nothing else.
    while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
        const NOT_ASCII: u64 = 0xFF80_FF80_FF80_FF80;
        if u64::from_le_bytes(*chunk) & NOT_ASCII != 0 {
            break;
        }
        out.extend_from_slice(&[chunk[0], chunk[2], chunk[4], chunk[6]]);
        rest = after;
    }
    let units = rest
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(character) if character.is_ascii() => out.push(character as u8),
            Ok(character) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
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

/// Appends a file's name, as [`push_wtf8`] does, fit to be a path's component: no file system
/// allows `/` in a name, and a damaged one that holds it gets U+2215 in its place.
pub fn push_component(out: &mut Vec<u8>, utf16le: &[u8]) {
    let start = out.len();
    push_wtf8(out, utf16le);
    while let Some(at) = out[start..].iter().rposition(|byte| *byte == b'/') {
        out.splice(start + at..=start + at, SLASH_INSTEAD.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn le(units: &[u16]) -> Vec<u8> {
        units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }

    #[test]
    fn names_are_kept_exactly() {
        let cases: &[(&[u16], &[u8])] = &[
            (&[], b""),
            (&[0x61], b"a"),
            (
                &[0x61, 0x62, 0x63, 0x64, 0x65, 0xE9, 0x66, 0x67],
                "abcde\u{e9}fg".as_bytes(),
            ),
            (&[0x1_F4_u16, 0xD83D, 0xDE00], "\u{1f4}\u{1f600}".as_bytes()),
            (&[0xD800, 0x78, 0xDFFF], b"\xED\xA0\x80x\xED\xBF\xBF"),
        ];
        for (units, expected) in cases {
            let mut out = b"kept:".to_vec();
            push_wtf8(&mut out, &le(units));
            assert_eq!(out, [b"kept:", *expected].concat());
        }
    }

    #[test]
    fn a_slash_makes_no_component() {
        let mut out = b"dir/".to_vec();
        let units: Vec<u16> = "a/b//".encode_utf16().collect();
        push_component(&mut out, &le(&units));
        assert_eq!(out, "dir/a\u{2215}b\u{2215}\u{2215}".as_bytes());
    }
}
