//! Sizes as people write them.

/// Reads `512`, `64 KiB`, `2GiB`, `10 MB`; a unit of one letter counts in 1024s.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit_bytes: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => {
            return Err(format!(
                "{text:?} is not a size: write 512 MiB, 2G or 10 GB"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_bytes))
        .ok_or_else(|| format!("{text:?} is not a size: write 512 MiB, 2G or 10 GB"))
}

/// A size for people: three digits and a unit.
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes == 1 {
        return "1 byte".to_owned();
    }
    let mut unit = 0;
    let mut size = bytes as f64;
    // 1023.5 would be shown as 1024.
    while size >= 1023.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let decimals = match (unit, size) {
        (0, _) => 0,
        (_, size) if size < 9.995 => 2,
        (_, size) if size < 99.95 => 1,
        _ => 0,
    };
    format!("{size:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("64 KiB", 65_536),
            ("2G", 2 << 30),
            ("10 MB", 10_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        for wrong in ["", "x", "12 parsecs", "-1", "99999999999 TiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show_size(1023), "1023 bytes");
        assert_eq!(show_size(1024), "1.00 KiB");
        assert_eq!(show_size(1_048_575), "1.00 MiB");
        assert_eq!(show_size(123 << 20), "123 MiB");
    }
}
