//! Where a prepared collector delivers to, as its plan says it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A store, how it is reached, and what it knows the sender by. All of that stands in the plan in clear, for whoever
/// holds the collector to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedDelivery {
    /// An S3-compatible service.
    S3(PlannedS3),
    /// A server that speaks SFTP.
    Sftp(PlannedSftp),
}

/// An S3-compatible service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedS3 {
    /// The folder that bundles go to: `s3://BUCKET/PREFIX/`.
    pub to: String,
    /// The service's address, where one was named; else that of AWS.
    pub endpoint: Option<String>,
    /// The bucket's region, where one was named.
    pub region: Option<String>,
    /// Who alone may vouch for the service, in PEM; else whom Mozilla trusts.
    pub authorities: Option<String>,
    /// The HTTP proxy that is gone through.
    pub proxy: Option<String>,
    /// What the proxy knows the sender by, `USER:PASSWORD`.
    pub proxy_login: Option<PlannedSecret>,
    /// The access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: PlannedSecret,
    /// The token of a session.
    pub session_token: Option<PlannedSecret>,
}

/// A server that speaks SFTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedSftp {
    /// The folder that bundles go to: `sftp://USER@HOST/FOLDER/`.
    pub to: String,
    /// The fingerprints that the server's key may have, `SHA256:…`.
    pub host_keys: Vec<String>,
    /// How the sender shows who it is.
    pub login: PlannedLogin,
    /// Whether what was delivered is read back and compared.
    pub read_back: bool,
}

/// How a sender shows who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedLogin {
    /// With a key, which no password protects.
    Key(PlannedSecret),
    /// With a password.
    Password(PlannedSecret),
}

impl PlannedDelivery {
    /// The folder that bundles go to.
    pub fn to(&self) -> &str {
        match self {
            Self::S3(PlannedS3 { to, .. }) | Self::Sftp(PlannedSftp { to, .. }) => to,
        }
    }
}

/// What is shown to nobody but the store. It stands in the plan in clear all the same.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlannedSecret(String);

impl PlannedSecret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn show(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlannedSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}
