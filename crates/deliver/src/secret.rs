//! What nobody is shown: passwords and keys.

use std::{env, fmt};

use zeroize::Zeroizing;

/// A text that no message, no log and no receipt shows, and that is wiped from memory.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The value of an environment variable, where it has one.
    pub fn from_environment(name: &str) -> Option<Self> {
        let value = env::var(name).ok().filter(|value| !value.is_empty());
        value.map(|value| Self(Zeroizing::new(value)))
    }

    pub(crate) fn show(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}
