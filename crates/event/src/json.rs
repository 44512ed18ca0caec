//! Records as JSON: what `parse` prints, what golden files hold, what `fields` shows nested.

use crate::{Fields, Moment, Nested, Observation, Record, Tree, Value, Warning};

/// Appends one record as a JSON object: its columns in order, nulls left out.
pub fn write_record(out: &mut Vec<u8>, record: &dyn Record) {
    out.push(b'{');
    write_members(out, record);
    out.push(b'}');
}

/// Appends an observation as a JSON object: `record`, `offset`, `length`, the columns.
pub fn write_observation(out: &mut Vec<u8>, observation: &Observation<'_>) {
    let span = &observation.provenance.primary;
    out.extend_from_slice(b"{\"schema\":");
    write_text(out, observation.record.schema().name);
    out.extend_from_slice(b",\"offset\":");
    write_uint(out, span.range.start);
    out.extend_from_slice(b",\"length\":");
    write_uint(out, span.range.end.saturating_sub(span.range.start));
    let before = out.len();
    out.push(b',');
    write_members(out, observation.record);
    if out.len() == before + 1 {
        out.truncate(before);
    }
    out.push(b'}');
}

/// Appends a warning as a JSON object.
pub fn write_warning(out: &mut Vec<u8>, warning: &Warning) {
    let span = &warning.provenance.primary;
    out.extend_from_slice(b"{\"warning\":");
    write_text(out, warning.artefact);
    out.extend_from_slice(b",\"offset\":");
    write_uint(out, span.range.start);
    out.extend_from_slice(b",\"length\":");
    write_uint(out, span.range.end.saturating_sub(span.range.start));
    if let Some(record) = span.record {
        out.extend_from_slice(b",\"record\":");
        write_uint(out, record);
    }
    out.extend_from_slice(b",\"loss\":");
    write_text(out, &warning.loss.name());
    out.extend_from_slice(b",\"cause\":");
    write_text(out, &warning.cause);
    out.push(b'}');
}

/// Appends a value.
pub fn write_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => {
            if number < 0 {
                out.push(b'-');
            }
            write_uint(out, number.unsigned_abs());
        }
        Value::Uint(number) => write_uint(out, number),
        Value::Text(text) => write_text(out, text),
        Value::Bytes(bytes) => {
            out.push(b'"');
            write_hex(out, bytes);
            out.push(b'"');
        }
        Value::Time(at, precision) => {
            out.push(b'"');
            Moment::Utc(at).write_iso(precision, out);
            out.push(b'"');
        }
        Value::Nested(nested) => write_nested(out, nested),
    }
}

/// Appends a list or a map.
pub fn write_nested(out: &mut Vec<u8>, nested: &dyn Nested) {
    nested.visit(&mut TreeWriter {
        out,
        open: Vec::new(),
        fresh: true,
    });
}

/// Appends a text in quotes, escaped as RFC 8259 asks.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_text_inner(out, text);
    out.push(b'"');
}

/// Appends a text escaped as RFC 8259 asks, without quotes.
pub fn write_text_inner(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len());
    let mut rest = text.as_bytes();
    // Few texts have anything to escape: eight bytes are looked at, and copied, in one go.
    while let Some((eight, next)) = rest.split_first_chunk::<8>() {
        if has_escaped(u64::from_le_bytes(*eight)) {
            eight.iter().for_each(|byte| write_byte(out, *byte));
        } else {
            out.extend_from_slice(eight);
        }
        rest = next;
    }
    rest.iter().for_each(|byte| write_byte(out, *byte));
}

/// Appends UTF-16 text, little-endian, in quotes, in one pass over its units. An unpaired
/// surrogate is shown by its number, as `\uD800` in the text itself.
pub fn write_utf16(out: &mut Vec<u8>, units: &[u8]) {
    out.reserve(units.len() / 2 + 2);
    out.push(b'"');
    let mut rest = &units[..units.len() & !1];
    // Nearly all text is plain ASCII. Copies of fixed size cost a fraction of one of any size.
    while let Some(eight) = rest.first_chunk::<16>() {
        let eight = u128::from_le_bytes(*eight);
        match (plain_ascii(eight as u64), plain_ascii((eight >> 64) as u64)) {
            (Some(low), Some(high)) => {
                let text = u64::from(high) << 32 | u64::from(low);
                out.extend_from_slice(&text.to_le_bytes());
                rest = &rest[16..];
            }
            (Some(low), None) => {
                out.extend_from_slice(&low.to_le_bytes());
                rest = write_units(out, &rest[8..], 4);
            }
            (None, _) => rest = write_units(out, rest, 4),
        }
    }
    if let Some(four) = rest.first_chunk()
        && let Some(text) = plain_ascii(u64::from_le_bytes(*four))
    {
        out.extend_from_slice(&text.to_le_bytes());
        rest = &rest[8..];
    }
    write_units(out, rest, usize::MAX);
    out.push(b'"');
}

/// Four units of UTF-16 as bytes, if all of them are ASCII that need not be escaped.
fn plain_ascii(units: u64) -> Option<u32> {
    const ONES: u64 = 0x0001_0001_0001_0001;
    const HIGH_BITS: u64 = ONES << 15;
    // The high bit of a unit below 0x8000 is set where it is below `limit`.
    let below = |units: u64, limit: u64| !((units | HIGH_BITS) - ONES * limit) & HIGH_BITS;
    let is = |byte: u8| below(units ^ (ONES * u64::from(byte)), 1);
    let not_ascii = units & (ONES * 0xff80);
    if not_ascii | below(units, 0x20) | is(b'"') | is(b'\\') != 0 {
        return None;
    }
    let pairs = (units | units >> 8) & 0x0000_ffff_0000_ffff;
    Some((pairs | pairs >> 16) as u32)
}

/// Appends the first `count` characters, or as many as there are, and returns what follows.
fn write_units<'a>(out: &mut Vec<u8>, mut units: &'a [u8], mut count: usize) -> &'a [u8] {
    while count > 0 && !units.is_empty() {
        units = write_unit(out, units);
        count -= 1;
    }
    units
}

/// Appends the character that stands first, escaped where it must be, and returns what follows.
fn write_unit<'a>(out: &mut Vec<u8>, units: &'a [u8]) -> &'a [u8] {
    let [low, high, next @ ..] = units else {
        return units;
    };
    let unit = u16::from_le_bytes([*low, *high]);
    if unit < 0x80 {
        write_byte(out, *low);
        return next;
    }
    let second = next.first_chunk().map(|two| u16::from_le_bytes(*two));
    let pair = [unit, second.unwrap_or_default()];
    match char::decode_utf16(pair).next() {
        Some(Ok(char)) => {
            out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            &units[2 * char.len_utf16()..]
        }
        _ => {
            out.extend_from_slice(format!("\\\\u{unit:04X}").as_bytes());
            next
        }
    }
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends a byte of a text, escaped where it must be.
fn write_byte(out: &mut Vec<u8>, byte: u8) {
    if is_escaped(byte) {
        write_escaped(out, byte);
    } else {
        out.push(byte);
    }
}

fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0..0x20 => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
            return;
        }
        other => other,
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Whether one of eight bytes is a control character, a quote or a backslash.
fn has_escaped(eight: u64) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    // The high bit of a byte is set where it is below `limit`, at least in the lowest such byte.
    let below = |bytes: u64, limit: u64| bytes.wrapping_sub(ONES * limit) & !bytes;
    let is = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
    (below(eight, 0x20) | is(b'"') | is(b'\\')) & HIGH_BITS != 0
}

/// Appends a number in decimal.
pub fn write_uint(out: &mut Vec<u8>, mut number: u64) {
    // Two digits at a time: timelines are made of numbers.
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 100 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if number >= 10 {
        let pair = number as usize * 2;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// The digits of 00 to 99.
const PAIRS: &[u8; 200] = &{
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[number * 2] = b'0' + number as u8 / 10;
        pairs[number * 2 + 1] = b'0' + number as u8 % 10;
        number += 1;
    }
    pairs
};

/// Appends bytes as lower-case hex.
pub fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

fn write_members(out: &mut Vec<u8>, record: &dyn Record) {
    let mut members = Members {
        out,
        columns: record.schema().columns.iter(),
        first: true,
    };
    record.fields(&mut members);
    debug_assert!(
        members.columns.next().is_none(),
        "{} gave fewer values than it has columns",
        record.schema().name
    );
}

struct Members<'a> {
    out: &'a mut Vec<u8>,
    columns: std::slice::Iter<'static, crate::Column>,
    first: bool,
}

impl Fields for Members<'_> {
    fn value(&mut self, value: Value<'_>) {
        let Some(column) = self.columns.next() else {
            debug_assert!(false, "more values than columns");
            return;
        };
        if matches!(value, Value::Null) {
            return;
        }
        let start = self.out.len();
        column.push_key(self.out);
        if self.first {
            self.out.remove(start);
            self.first = false;
        }
        write_value(self.out, value);
    }
}

struct TreeWriter<'a> {
    out: &'a mut Vec<u8>,
    open: Vec<u8>,
    fresh: bool,
}

impl TreeWriter<'_> {
    fn separate(&mut self) {
        if !self.fresh {
            self.out.push(b',');
        }
        self.fresh = false;
    }
}

impl Tree for TreeWriter<'_> {
    fn begin_map(&mut self) {
        self.separate();
        self.out.push(b'{');
        self.open.push(b'}');
        self.fresh = true;
    }

    fn key(&mut self, name: &str) {
        self.separate();
        write_text(self.out, name);
        self.out.push(b':');
        self.fresh = true;
    }

    fn begin_list(&mut self) {
        self.separate();
        self.out.push(b'[');
        self.open.push(b']');
        self.fresh = true;
    }

    fn value(&mut self, value: Value<'_>) {
        self.separate();
        match value {
            // A nested value brings its own separators.
            Value::Nested(nested) => {
                self.fresh = true;
                nested.visit(self);
                self.fresh = false;
            }
            plain => write_value(self.out, plain),
        }
    }

    fn utf16(&mut self, units: &[u8]) {
        self.separate();
        write_utf16(self.out, units);
    }

    fn end(&mut self) {
        if let Some(close) = self.open.pop() {
            self.out.push(close);
        }
        self.fresh = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Deep;
    impl Nested for Deep {
        fn visit(&self, out: &mut dyn Tree) {
            out.begin_map();
            out.key("list");
            out.begin_list();
            out.value(Value::Uint(1));
            out.value(Value::Text("two\u{1}\""));
            out.begin_map();
            out.end();
            out.end();
            out.key("none");
            out.value(Value::Null);
            out.end();
        }
    }

    #[test]
    fn escapes_wherever_they_stand() {
        for special in [
            "\"", "\\", "\n", "\u{1}", "\u{1f}", "é", "𝄞", "\u{7f}", " ", "!", "[", "]",
        ] {
            for before in 0..20 {
                for after in 0..20 {
                    let text = format!("{}{special}{}", "a".repeat(before), "z".repeat(after));
                    let mut out = Vec::new();
                    write_text_inner(&mut out, &text);
                    let shown = match special {
                        "\"" => "\\\"",
                        "\\" => "\\\\",
                        "\n" => "\\n",
                        "\u{1}" => "\\u0001",
                        "\u{1f}" => "\\u001f",
                        plain => plain,
                    };
                    let expected = format!("{}{shown}{}", "a".repeat(before), "z".repeat(after));
                    assert_eq!(String::from_utf8_lossy(&out), expected);
                    out.clear();
                    let units: Vec<_> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                    write_utf16(&mut out, &units);
                    assert_eq!(String::from_utf8_lossy(&out), format!("\"{expected}\""));
                }
            }
        }
    }

    #[test]
    fn numbers() {
        let mut numbers = vec![0, 5, 9, 10, 11, 99, 100, 101, 999, 1000, u64::MAX];
        numbers.extend((0..64).map(|shift| (1u64 << shift) + 7));
        for number in numbers {
            let mut out = b"n".to_vec();
            write_uint(&mut out, number);
            assert_eq!(out, format!("n{number}").as_bytes());
        }
    }

    #[test]
    fn utf16_that_is_no_text() {
        let shown = |units: &[u16]| {
            let bytes: Vec<_> = units.iter().copied().flat_map(u16::to_le_bytes).collect();
            let mut out = Vec::new();
            write_utf16(&mut out, &bytes);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(shown(&[]), r#""""#);
        assert_eq!(shown(&[0xd834, 0xdd1e, 0x61]), "\"𝄞a\"");
        assert_eq!(shown(&[0x61, 0xd834]), r#""a\\uD834""#);
        assert_eq!(shown(&[0xdd1e, 0xd834, 0x61]), r#""\\uDD1E\\uD834a""#);
    }

    #[test]
    fn nested_values() {
        let mut out = Vec::new();
        write_value(&mut out, Value::Nested(&Deep));
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"{"list":[1,"two\u0001\"",{}],"none":null}"#
        );
        out.clear();
        write_value(&mut out, Value::Int(i64::MIN));
        assert_eq!(out, b"-9223372036854775808");
    }
}
