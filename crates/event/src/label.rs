//! The label that an output bears, carried from what it was made of.

use std::fmt;

use crate::Tlp;

/// The label of an output: that of its strictest input or a stricter one, unless somebody said
/// that it is lowered, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What the output bears.
    pub tlp: Tlp,
    /// How it came to be freer than what the output was made of.
    pub lowered: Option<Lowered>,
}

/// A label that was lowered: from what, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// The strictest label of what the output was made of.
    pub from: Tlp,
    /// Why, in the words of whoever lowered it.
    pub reason: String,
}

impl From<Tlp> for Label {
    fn from(tlp: Tlp) -> Self {
        Self { tlp, lowered: None }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tlp.fmt(f)?;
        match &self.lowered {
            Some(Lowered { from, reason }) => write!(f, ", lowered from {from}: {reason}"),
            None => Ok(()),
        }
    }
}
