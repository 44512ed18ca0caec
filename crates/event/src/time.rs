//! Moments as the bytes state them.

use std::fmt;

/// Nanoseconds since 1970-01-01 00:00:00 UTC, in 128 bits.
///
/// A FILETIME outlives 64-bit nanoseconds, and an absurd time is evidence too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcNanos(i128);

/// 100 ns ticks between 1601-01-01 and 1970-01-01.
const FILETIME_EPOCH_TICKS: i128 = 116_444_736_000_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

impl UtcNanos {
    /// From nanoseconds since 1970.
    pub const fn from_nanos(nanos: i128) -> Self {
        Self(nanos)
    }

    /// From a FILETIME: 100 ns ticks since 1601, unsigned.
    pub const fn from_filetime(ticks_100ns: u64) -> Self {
        Self((ticks_100ns as i128 - FILETIME_EPOCH_TICKS) * 100)
    }

    /// From whole seconds since 1970.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds as i128 * NANOS_PER_SECOND)
    }

    /// Nanoseconds since 1970.
    pub const fn nanos(self) -> i128 {
        self.0
    }

    /// Nanoseconds since 1970 where 64 bits hold them (1677 to 2262), else `None`.
    pub fn to_i64_nanos(self) -> Option<i64> {
        i64::try_from(self.0).ok()
    }

    /// Whole seconds since 1970, rounded towards the past.
    pub fn seconds(self) -> i128 {
        // Almost every time fits 64 bits, where division is an order of magnitude cheaper.
        match i64::try_from(self.0) {
            Ok(nanos) => i128::from(nanos.div_euclid(1_000_000_000)),
            Err(_) => self.0.div_euclid(NANOS_PER_SECOND),
        }
    }

    /// The FILETIME of this moment, where it has one.
    pub fn to_filetime(self) -> Option<u64> {
        u64::try_from(self.0.div_euclid(100) + FILETIME_EPOCH_TICKS).ok()
    }
}

/// Nanoseconds since 1970-01-01 00:00:00 on a clock whose zone the record does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CivilNanos(i128);

impl CivilNanos {
    /// From nanoseconds since 1970-01-01 00:00:00 on the same clock.
    pub const fn from_nanos(nanos: i128) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970-01-01 00:00:00 on the same clock.
    pub const fn nanos(self) -> i128 {
        self.0
    }
}

/// The parts of a time that a record states, where it does not state all (no year, no day).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub struct CivilParts {
    pub year: Option<i32>,
    pub month: Option<u8>,
    pub day: Option<u8>,
    pub hour: Option<u8>,
    pub minute: Option<u8>,
    pub second: Option<u8>,
    pub nanos: Option<u32>,
}

/// What the bytes say of a time.
///
/// A parser never converts local time: the zone comes from another artefact, and the engine
/// resolves it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The record states UTC.
    Utc(UtcNanos),
    /// The record states the time of an unnamed zone.
    Local(CivilNanos),
    /// The record states only some parts.
    Partial(CivilParts),
}

/// The step of the source's clock field, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Precision(pub u64);

impl Precision {
    /// One nanosecond.
    pub const NANOSECOND: Self = Self(1);
    /// The step of a FILETIME.
    pub const FILETIME: Self = Self(100);
    /// One microsecond.
    pub const MICROSECOND: Self = Self(1_000);
    /// One millisecond.
    pub const MILLISECOND: Self = Self(1_000_000);
    /// One second.
    pub const SECOND: Self = Self(1_000_000_000);

    /// How many digits after the second show every step.
    pub fn digits(self) -> usize {
        let mut digits = 9;
        let mut step = self.0;
        while digits > 0 && step >= 10 && step.is_multiple_of(10) {
            step /= 10;
            digits -= 1;
        }
        digits
    }
}

impl Moment {
    /// Writes ISO 8601 with the digits of `precision`: `Z` only where the zone is UTC.
    pub fn write_iso(&self, precision: Precision, out: &mut Vec<u8>) {
        match self {
            Self::Utc(at) => {
                write_civil(at.0, precision.digits(), out);
                out.push(b'Z');
            }
            Self::Local(at) => write_civil(at.0, precision.digits(), out),
            Self::Partial(parts) => parts.write(out),
        }
    }

    /// The text of [`write_iso`](Self::write_iso).
    pub fn to_iso(&self, precision: Precision) -> String {
        let mut out = Vec::with_capacity(32);
        self.write_iso(precision, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl fmt::Display for UtcNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Moment::Utc(*self).to_iso(Precision::NANOSECOND))
    }
}

impl CivilParts {
    fn write(&self, out: &mut Vec<u8>) {
        let two = |value: Option<u8>, out: &mut Vec<u8>| match value {
            Some(value) => push_padded(out, value.into(), 2),
            None => out.extend_from_slice(b"--"),
        };
        match self.year {
            Some(year) => push_year(out, year.into()),
            None => out.extend_from_slice(b"----"),
        }
        out.push(b'-');
        two(self.month, out);
        out.push(b'-');
        two(self.day, out);
        out.push(b'T');
        two(self.hour, out);
        out.push(b':');
        two(self.minute, out);
        out.push(b':');
        two(self.second, out);
        if let Some(nanos) = self.nanos {
            out.push(b'.');
            push_padded(out, nanos.into(), 9);
        }
    }
}

fn write_civil(nanos: i128, digits: usize, out: &mut Vec<u8>) {
    // Almost every time fits 64 bits, where division is an order of magnitude cheaper.
    if let Ok(near) = i64::try_from(nanos) {
        return write_near(near, digits, out);
    }
    let seconds = nanos.div_euclid(NANOS_PER_SECOND);
    let below = nanos.rem_euclid(NANOS_PER_SECOND) as u64;
    let days = seconds.div_euclid(86_400);
    let second_of_day = seconds.rem_euclid(86_400) as u64;
    let (year, month, day) = civil_from_days(days);
    push_year(out, year);
    out.push(b'-');
    push_padded(out, month, 2);
    out.push(b'-');
    push_padded(out, day, 2);
    out.push(b'T');
    push_padded(out, second_of_day / 3600, 2);
    out.push(b':');
    push_padded(out, second_of_day / 60 % 60, 2);
    out.push(b':');
    push_padded(out, second_of_day % 60, 2);
    if digits > 0 {
        out.push(b'.');
        push_padded(out, below / 10u64.pow(9 - digits as u32), digits);
    }
}

/// The same for 1677 to 2262: years of four digits, and numbers of 32 bits.
fn write_near(nanos: i64, digits: usize, out: &mut Vec<u8>) {
    const SECOND: i64 = 1_000_000_000;
    let seconds = nanos.div_euclid(SECOND);
    let below = nanos.rem_euclid(SECOND) as u32;
    let second_of_day = seconds.rem_euclid(86_400) as u32;
    let shifted = (seconds.div_euclid(86_400) + 719_468) as u32;
    let (year, month, day) = civil_from_shifted(shifted / 146_097, shifted % 146_097);

    let mut text = *b"0000-00-00T00:00:00.000000000";
    let mut put = |at: usize, value: u32| {
        text[at] = b'0' + (value / 10) as u8;
        text[at + 1] = b'0' + (value % 10) as u8;
    };
    put(0, year / 100);
    put(2, year % 100);
    put(5, month);
    put(8, day);
    put(11, second_of_day / 3600);
    put(14, second_of_day / 60 % 60);
    put(17, second_of_day % 60);
    put(20, below / 10_000_000);
    put(22, below / 100_000 % 100);
    put(24, below / 1_000 % 100);
    put(26, below / 10 % 100);
    text[28] = b'0' + (below % 10) as u8;
    let length = if digits == 0 { 19 } else { 20 + digits };
    out.extend_from_slice(&text[..length]);
}

/// Gregorian date of a day number (0 is 1970-01-01), by eras of 400 years that start in March.
fn civil_from_days(days: i128) -> (i128, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let (year, month, day) = civil_from_shifted(0, shifted.rem_euclid(146_097) as u32);
    (i128::from(year) + era * 400, month.into(), day.into())
}

/// Year, month and day of a day of an era.
fn civil_from_shifted(era: u32, day_of_era: u32) -> (u32, u32, u32) {
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    (year, month, day)
}

/// Day number (0 is 1970-01-01) of a Gregorian date.
pub(crate) fn days_from_civil(year: i64, month: u8, day: u8) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl CivilNanos {
    /// From a date and the seconds of its day; `month` 1 to 12, `day` 1 to 31.
    pub fn from_civil(year: i64, month: u8, day: u8, second_of_day: u32, nanos: u32) -> Self {
        let seconds =
            i128::from(days_from_civil(year, month, day)) * 86_400 + i128::from(second_of_day);
        Self(seconds * NANOS_PER_SECOND + i128::from(nanos))
    }
}

/// ISO 8601 years: four digits, and a sign where four do not do.
fn push_year(out: &mut Vec<u8>, year: i128) {
    if (0..=9999).contains(&year) {
        push_padded(out, year as u64, 4);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        let digits = year.unsigned_abs().to_string();
        for _ in digits.len()..6 {
            out.push(b'0');
        }
        out.extend_from_slice(digits.as_bytes());
    }
}

fn push_padded(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for slot in out[start..].iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iso(nanos: i128, precision: Precision) -> String {
        Moment::Utc(UtcNanos::from_nanos(nanos)).to_iso(precision)
    }

    #[test]
    fn known_moments() {
        assert_eq!(iso(0, Precision::SECOND), "1970-01-01T00:00:00Z");
        assert_eq!(
            iso(-1, Precision::NANOSECOND),
            "1969-12-31T23:59:59.999999999Z"
        );
        assert_eq!(
            iso(
                951_827_696 * NANOS_PER_SECOND + 123_456_700,
                Precision::FILETIME
            ),
            "2000-02-29T12:34:56.1234567Z"
        );
        // The extremes of a FILETIME.
        let far = UtcNanos::from_filetime(u64::MAX);
        assert_eq!(
            Moment::Utc(far).to_iso(Precision::FILETIME),
            "+060056-05-28T05:36:10.9551615Z"
        );
        assert_eq!(far.to_i64_nanos(), None);
        let first = UtcNanos::from_filetime(0);
        assert_eq!(
            Moment::Utc(first).to_iso(Precision::FILETIME),
            "1601-01-01T00:00:00.0000000Z"
        );
        assert_eq!(first.to_filetime(), Some(0));
    }

    #[test]
    fn civil_and_back() {
        for days in (-800_000i64..800_000).step_by(37) {
            let (year, month, day) = civil_from_days(days.into());
            assert_eq!(days_from_civil(year as i64, month as u8, day as u8), days);
        }
    }

    #[test]
    fn near_and_far_agree() {
        let mut nanos = i64::MIN;
        loop {
            for digits in [0, 3, 7, 9] {
                let mut near = Vec::new();
                write_near(nanos, digits, &mut near);
                let seconds = i128::from(nanos).div_euclid(NANOS_PER_SECOND);
                let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
                let second_of_day = seconds.rem_euclid(86_400);
                let below = i128::from(nanos).rem_euclid(NANOS_PER_SECOND);
                let far = format!(
                    "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{below:09}",
                    second_of_day / 3600,
                    second_of_day / 60 % 60,
                    second_of_day % 60
                );
                let length = if digits == 0 { 19 } else { 20 + digits };
                assert_eq!(String::from_utf8_lossy(&near), far[..length]);
            }
            // A step of about four months that meets every part of a day.
            match nanos.checked_add(10_540_813_123_456_789) {
                Some(next) => nanos = next,
                None => break,
            }
        }
    }

    #[test]
    fn precision_decides_the_digits() {
        assert_eq!(Precision(1).digits(), 9);
        assert_eq!(Precision::FILETIME.digits(), 7);
        assert_eq!(Precision::SECOND.digits(), 0);
        assert_eq!(Precision(2_000_000_000).digits(), 0);
    }

    #[test]
    fn parts_show_what_is_missing() {
        let parts = CivilParts {
            month: Some(3),
            day: Some(9),
            hour: Some(1),
            minute: Some(2),
            second: Some(3),
            ..CivilParts::default()
        };
        let text = Moment::Partial(parts).to_iso(Precision::SECOND);
        assert_eq!(text, "-----03-09T01:02:03");
    }
}
