//! Times as a person wrote them: with their zone, or it is a gap.

use std::fmt;

use jiff::{Timestamp, fmt::temporal::Pieces, tz::Offset};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::is_said;

/// A date and time, in the writer's own words: `2026-11-20T14:03:00+01:00`.
///
/// It keeps the text, so that nothing that was written is lost before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time(String);

/// Why a text is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeError {
    /// It is no date and time.
    Unreadable,
    /// It has a date and no time of day.
    NoTimeOfDay,
    /// It does not say in which zone.
    NoZone,
}

impl Time {
    /// The text, unchecked.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The moment, and the offset from UTC that was written with it.
    ///
    /// # Errors
    /// What is missing of it.
    pub fn moment(&self) -> Result<(Timestamp, Offset), TimeError> {
        let pieces = Pieces::parse(self.0.trim()).map_err(|_| TimeError::Unreadable)?;
        let time = pieces.time().ok_or(TimeError::NoTimeOfDay)?;
        let offset = pieces.to_numeric_offset().ok_or(TimeError::NoZone)?;
        let moment = offset
            .to_timestamp(pieces.date().to_datetime(time))
            .map_err(|_| TimeError::Unreadable)?;
        Ok((moment, offset))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// TOML has times of its own; people also put them into quotes.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Time(toml::value::Datetime),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Time(time) => time.to_string(),
        }))
    }
}

/// What was written, unless that is blank.
pub(crate) fn unless_blank<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Time>, D::Error> {
    let written = Option::<Time>::deserialize(deserializer)?;
    Ok(written.filter(|time| is_said(Some(time.as_str()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_asked_for() {
        let paris = Time::new("2026-11-20T14:03:00+01:00");
        let (moment, offset) = paris.moment().expect("complete");
        assert_eq!(moment.to_string(), "2026-11-20T13:03:00Z");
        assert_eq!(offset.seconds(), 3600);
        assert!(Time::new("2026-11-20 13:03Z").moment().is_ok());
        let of = |text: &str| Time::new(text).moment().expect_err("a gap");
        assert_eq!(of("2026-11-20T14:03:00"), TimeError::NoZone);
        assert_eq!(of("2026-11-20"), TimeError::NoTimeOfDay);
        assert_eq!(of("yesterday at noon"), TimeError::Unreadable);
    }
}
