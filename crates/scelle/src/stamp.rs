//! Asking a time-stamping service: RFC 3161 over HTTP (its section 3.4).
//!
//! Plain HTTP is spoken and nothing else. The question holds a hash and no more, and the answer is signed, so
//! that TLS would hide only that a bundle was sealed; and the collector stays small.

use std::{str::FromStr, time::Duration};

use scelle_bundle::{STAMP_LIMIT, StampRequest, Stamper};

/// A host that hangs must not keep a bundle from being sealed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The address of a time-stamping service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampService(String);

/// An address that can't be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address of a time-stamping service: it begins with http://, since the answer is \
     signed and HTTPS would add nothing, and it holds no login, which would be written into the bundle"
)]
pub struct StampAddressError(String);

impl FromStr for StampService {
    type Err = StampAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("http://");
        if rest
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains('@'))
        {
            Ok(Self(text.to_owned()))
        } else {
            // What stands before an `@` may be a password.
            let shown = text.rsplit_once('@').map_or(text, |(_, place)| place);
            Err(StampAddressError(shown.to_owned()))
        }
    }
}

impl StampService {
    /// The address.
    pub fn address(&self) -> &str {
        &self.0
    }

    pub(crate) fn stamper(self) -> Stamper {
        Stamper {
            service: self.0.clone(),
            ask: Box::new(move |request| ask(&self.0, request).map_err(|error| error.to_string())),
        }
    }
}

fn ask(address: &str, request: &StampRequest) -> Result<Vec<u8>, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        // None of the environment's: whoever owns the host may have set it.
        .proxy(None)
        .build()
        .into();
    agent
        .post(address)
        .content_type("application/timestamp-query")
        .header("Accept", "application/timestamp-reply")
        .send(request.der())?
        .body_mut()
        .with_config()
        .limit(STAMP_LIMIT)
        .read_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        "http://tsa.example.org/tsr"
            .parse::<StampService>()
            .expect("plain");
        for text in [
            "https://tsa.example.org",
            "tsa.example.org",
            "http://",
            "http:///x",
            "http://ana:hunter2@tsa.example.org",
        ] {
            let refused = text.parse::<StampService>().expect_err(text).to_string();
            assert!(refused.contains("http://"), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
