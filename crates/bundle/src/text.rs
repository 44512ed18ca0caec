//! Small texts: hex, times, groups of digits.

use scelle_event::{UtcNanos, json};

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    json::write_hex(&mut out, bytes);
    // Not copied: the bytes may be a secret's.
    String::from_utf8(out).expect("hex digits are ASCII")
}

/// Bytes from lower- or upper-case hex.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|pair| {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            u8::try_from(high << 4 | low).ok()
        })
        .collect()
}

/// A GUID as it is stored, from its text.
pub(crate) fn parse_guid(text: &str) -> Option<[u8; 16]> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let mut groups = text.split('-');
    let mut bytes = Vec::with_capacity(16);
    for length in GROUPS {
        let group = groups.next().filter(|group| group.len() == length)?;
        bytes.extend(unhex(group)?);
    }
    // The first three fields are little-endian.
    for field in [0..4, 4..6, 6..8] {
        bytes[field].reverse();
    }
    groups.next().is_none().then_some(bytes)?.try_into().ok()
}

/// A hash in groups of eight digits, to be read out.
pub fn grouped(hash: &str) -> String {
    let mut text = String::with_capacity(hash.len() + hash.len() / 8);
    for (at, character) in hash.chars().enumerate() {
        if at > 0 && at % 8 == 0 {
            text.push(' ');
        }
        text.push(character);
    }
    text
}

/// A hash that a person wrote: 64 hex digits, blanks and dashes ignored.
pub fn written_hash(text: &str) -> Option<String> {
    let digits: String = text
        .chars()
        .filter(|character| !character.is_whitespace() && !matches!(character, '-' | ':'))
        .map(|character| character.to_ascii_lowercase())
        .collect();
    (digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

/// Reads what `Moment::write_iso` writes of a moment in UTC.
pub(crate) fn parse_iso(text: &str) -> Option<UtcNanos> {
    const NANOS_PER_SECOND: i128 = 1_000_000_000;
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (sign, date) = match date.as_bytes().first()? {
        b'-' => (-1, &date[1..]),
        b'+' => (1, &date[1..]),
        _ => (1, date),
    };
    let mut parts = date.split('-').map(str::parse::<i128>);
    let year = sign * parts.next()?.ok()?;
    let month = parts.next()?.ok()?;
    let day = parts.next()?.ok()?;
    let mut parts = time.splitn(3, ':');
    let hour: i128 = parts.next()?.parse().ok()?;
    let minute: i128 = parts.next()?.parse().ok()?;
    let (second, fraction) = parts.next().map(|s| s.split_once('.').unwrap_or((s, "")))?;
    let second: i128 = second.parse().ok()?;
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i128 = format!("{fraction:0<9}").parse().ok()?;
    // Years beyond any 128-bit nanosecond are no time that was written here.
    if year.abs() > 1 << 50 {
        return None;
    }
    // Days from the civil calendar, in eras of 400 years that begin in March.
    let (y, m) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let era = y.div_euclid(400);
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    let year_of_era = y.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(UtcNanos::from_nanos(seconds * NANOS_PER_SECOND + nanos))
}

#[cfg(test)]
mod tests {
    use scelle_event::{Moment, Precision};

    use super::*;

    #[test]
    fn guids_read_back() {
        let bytes: [u8; 16] = std::array::from_fn(|at| at as u8 * 17);
        let text = scelle_formats::guid_text(bytes);
        assert_eq!(text, "33221100-5544-7766-8899-aabbccddeeff");
        assert_eq!(parse_guid(&text), Some(bytes));
        for bad in ["", &text[1..], &format!("{text}-"), &text.replace('a', "g")] {
            assert_eq!(parse_guid(bad), None);
        }
    }

    #[test]
    fn times_read_back() {
        for ticks in [
            0,
            1,
            133_000_000_000_000_001,
            116_444_736_000_000_000,
            u64::MAX,
        ] {
            let time = UtcNanos::from_filetime(ticks);
            let text = Moment::Utc(time).to_iso(Precision::FILETIME);
            assert_eq!(parse_iso(&text), Some(time), "{text}");
        }
        assert_eq!(parse_iso("2026-01-01T00:00:00"), None);
    }

    #[test]
    fn hashes_as_people_write_them() {
        let hash = "0123456789abcdef".repeat(4);
        assert_eq!(
            written_hash(&grouped(&hash).to_uppercase()),
            Some(hash.clone())
        );
        assert_eq!(written_hash(&hash[1..]), None);
        assert_eq!(unhex(&hash).map(|bytes| hex(&bytes)), Some(hash));
        assert_eq!(unhex("0g"), None);
    }
}
