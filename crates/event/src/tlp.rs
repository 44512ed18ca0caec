//! Traffic Light Protocol 2.0 labels (FIRST, August 2022).

use std::{fmt, str::FromStr};

/// A TLP 2.0 label; the order is from the freest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Tlp {
    Clear,
    Green,
    Amber,
    AmberStrict,
    Red,
}

impl Tlp {
    /// Every label, from the freest to the strictest.
    pub const ALL: [Self; 5] = [
        Self::Clear,
        Self::Green,
        Self::Amber,
        Self::AmberStrict,
        Self::Red,
    ];

    /// The label as the standard writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clear => "TLP:CLEAR",
            Self::Green => "TLP:GREEN",
            Self::Amber => "TLP:AMBER",
            Self::AmberStrict => "TLP:AMBER+STRICT",
            Self::Red => "TLP:RED",
        }
    }
}

impl fmt::Display for Tlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no TLP 2.0 label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a TLP 2.0 label: use TLP:CLEAR, TLP:GREEN, TLP:AMBER, TLP:AMBER+STRICT or TLP:RED"
)]
pub struct ParseTlpError(String);

impl FromStr for Tlp {
    type Err = ParseTlpError;

    /// Reads a label in any case, with or without `TLP:`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.trim().to_ascii_uppercase();
        let bare = upper.strip_prefix("TLP:").unwrap_or(&upper);
        Self::ALL
            .into_iter()
            .find(|label| label.name()["TLP:".len()..] == *bare)
            .ok_or_else(|| ParseTlpError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_back() {
        for label in Tlp::ALL {
            assert_eq!(label.name().parse(), Ok(label));
        }
        assert_eq!("amber+strict".parse(), Ok(Tlp::AmberStrict));
        assert!("TLP:WHITE".parse::<Tlp>().is_err());
    }
}
