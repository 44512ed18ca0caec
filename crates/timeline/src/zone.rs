//! Local time to UTC, where the zone is known.

use std::str::FromStr;

use jiff::{
    SignedDuration, civil,
    tz::{AmbiguousOffset, Offset, TimeZone},
};
use scelle_event::{CivilNanos, UtcNanos};

/// The zone of a host's clock: an IANA name, or a fixed distance from UTC.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

/// A text that names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time zone: use an IANA name (Europe/Paris) or an offset (+02:00)")]
pub struct ParseZoneError(String);

impl FromStr for Zone {
    type Err = ParseZoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let zone = match offset_seconds(text) {
            Some(seconds) => Offset::from_seconds(seconds).map(TimeZone::fixed),
            // The zones that come with the program, not those of the machine it runs on.
            None => jiff::tz::TimeZoneDatabase::bundled().get(text),
        };
        zone.map(Self).map_err(|_| ParseZoneError(text.to_owned()))
    }
}

impl Zone {
    /// The moment of a local time; `None` where the clock showed it twice or never.
    pub fn resolve(&self, local: CivilNanos) -> Option<UtcNanos> {
        const SECOND: i128 = 1_000_000_000;
        let seconds = i64::try_from(local.nanos().div_euclid(SECOND)).ok()?;
        let civil = civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0)
            .checked_add(SignedDuration::from_secs(seconds))
            .ok()?;
        match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => Some(UtcNanos::from_nanos(
                local.nanos() - i128::from(offset.seconds()) * SECOND,
            )),
            _ => None,
        }
    }
}

/// The seconds of `Z`, `UTC`, `+02:00`, `-0530`.
fn offset_seconds(text: &str) -> Option<i32> {
    if text == "Z" || text == "UTC" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zone: &str, hour: u32) -> Option<i128> {
        let zone: Zone = zone.parse().expect("a zone");
        // The last Sunday of October 2021, when clocks in Paris went back from 3 to 2.
        let local = CivilNanos::from_civil(2021, 10, 31, hour * 3600, 5);
        zone.resolve(local)
            .map(|at| at.nanos() - CivilNanos::from_civil(2021, 10, 31, 0, 0).nanos())
    }

    #[test]
    fn only_what_is_certain_is_converted() {
        const HOUR: i128 = 3_600_000_000_000;
        assert_eq!(at("Europe/Paris", 1), Some(-HOUR + 5));
        assert_eq!(at("Europe/Paris", 2), None, "the clock showed it twice");
        assert_eq!(at("Europe/Paris", 3), Some(2 * HOUR + 5));
        assert_eq!(at("+05:30", 6), Some(HOUR / 2 + 5));
        assert_eq!(at("-0100", 6), Some(7 * HOUR + 5));
        assert_eq!(at("UTC", 6), Some(6 * HOUR + 5));
        for wrong in ["", "+5", "+05:61", "Mars/Olympus", "+éé00"] {
            assert!(wrong.parse::<Zone>().is_err(), "{wrong}");
        }
        // Spring: 2 to 3 never was.
        let paris: Zone = "Europe/Paris".parse().expect("a zone");
        let never = CivilNanos::from_civil(2021, 3, 28, 2 * 3600 + 60, 0);
        assert_eq!(paris.resolve(never), None);
        assert_eq!(paris.resolve(CivilNanos::from_nanos(i128::MAX)), None);
    }
}
