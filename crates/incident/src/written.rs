//! Values of a closed set, as somebody wrote them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

use crate::record::is_said;

/// A word of a list, or a number. One that is none keeps the rest of a record from nothing: it is a
/// [gap](crate::Incident::gaps), and stays as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written<T> {
    /// What it stands for.
    Known(T),
    /// What was written instead.
    Other(String),
}

impl<T> Written<T> {
    /// What was written, where that is none of the set.
    pub fn other(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Other(text) => Some(text),
        }
    }
}

impl<T: FromStr> From<String> for Written<T> {
    fn from(text: String) -> Self {
        match text.trim().to_lowercase().parse() {
            Ok(value) => Self::Known(value),
            Err(_) => Self::Other(text),
        }
    }
}

impl<T: Serialize> Serialize for Written<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => value.serialize(serializer),
            Self::Other(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Takes words with their quotes and numbers without: people write either.
        struct Plain;

        impl Visitor<'_> for Plain {
            type Value = String;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a number")
            }

            fn visit_str<E>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }

            fn visit_i64<E>(self, number: i64) -> Result<String, E> {
                Ok(number.to_string())
            }

            fn visit_u64<E>(self, number: u64) -> Result<String, E> {
                Ok(number.to_string())
            }

            fn visit_f64<E>(self, number: f64) -> Result<String, E> {
                Ok(number.to_string())
            }

            fn visit_bool<E>(self, value: bool) -> Result<String, E> {
                Ok(value.to_string())
            }
        }

        deserializer.deserialize_any(Plain).map(Self::from)
    }
}

/// What was written, unless that is blank.
pub(crate) fn unless_blank<'de, D: Deserializer<'de>, T: FromStr>(
    deserializer: D,
) -> Result<Option<Written<T>>, D::Error> {
    let written = Option::<Written<T>>::deserialize(deserializer)?;
    Ok(written.filter(|one| one.other().is_none_or(|text| is_said(Some(text)))))
}
