//! How a store is reached, and who the sender is.

use std::{env, path::PathBuf};

use crate::{Error, Secret, address::without_login};

/// Who the sender is.
#[derive(Clone)]
pub struct Credentials {
    pub(super) access: String,
    pub(super) secret: Secret,
    pub(super) token: Option<Secret>,
}

impl Credentials {
    /// An access key, its secret, and the token of a session.
    pub fn new(access: &str, secret: &str, token: Option<&str>) -> Self {
        Self {
            access: access.to_owned(),
            secret: Secret::new(secret),
            token: token.map(Secret::new),
        }
    }

    /// Those of the environment, under the names that AWS's own tools use.
    ///
    /// # Errors
    /// Where there are none.
    pub fn from_environment() -> Result<Self, Error> {
        let access = variable(&["AWS_ACCESS_KEY_ID"]);
        let secret = Secret::from_environment("AWS_SECRET_ACCESS_KEY");
        let (Some(access), Some(secret)) = (access, secret) else {
            return Err(Error::Setup(
                "no credentials for the store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
                 (and AWS_SESSION_TOKEN, where there is one)"
                    .into(),
            ));
        };
        Ok(Self {
            access,
            secret,
            token: Secret::from_environment("AWS_SESSION_TOKEN"),
        })
    }
}

/// How a store is reached. Nothing of it is taken from the environment, save by
/// [`or_environment`](Self::or_environment).
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// Its address; else that of AWS.
    pub endpoint: Option<String>,
    /// The bucket's region; else `us-east-1`.
    pub region: Option<String>,
    /// A file of certificates that may vouch for it, in PEM; else those that Mozilla trusts.
    pub authorities: Option<PathBuf>,
    /// The certificates themselves, in PEM; no file is read then.
    pub authorities_text: Option<String>,
    /// The HTTP proxy that is gone through, `http://HOST[:PORT]`; else none: whoever owns the host may have
    /// set one in its environment.
    pub proxy: Option<String>,
    /// What the proxy knows the sender by, `USER:PASSWORD`.
    pub proxy_login: Option<Secret>,
    /// Whether an object of that name may be replaced.
    pub replace: bool,
}

impl S3Options {
    /// The name of the variable for [`proxy_login`](Self::proxy_login).
    pub const PROXY_LOGIN: &str = "SCELLE_PROXY_LOGIN";
    const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
    const AUTHORITIES: &str = "AWS_CA_BUNDLE";

    /// What [`or_environment`](Self::or_environment) would take from there of what decides where a bundle goes and who
    /// is believed to be the store: the variables, and their values as they may be shown. Whoever owns the host may have
    /// set them.
    pub fn of_environment(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.endpoint.is_none() {
            let named = named_variable(&Self::ENDPOINTS);
            found.extend(named.map(|(name, value)| (name, without_login(&value))));
        }
        if self.authorities.is_none() {
            found.extend(named_variable(&[Self::AUTHORITIES]));
        }
        found
    }

    /// The same, with what it does not say taken from the environment, under the names that AWS's own tools use:
    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_DEFAULT_REGION`, `AWS_CA_BUNDLE`; and
    /// the proxy's login from [`PROXY_LOGIN`](Self::PROXY_LOGIN). A proxy is not taken from there.
    #[must_use]
    pub fn or_environment(mut self) -> Self {
        self.endpoint = self.endpoint.or_else(|| variable(&Self::ENDPOINTS));
        self.region = self
            .region
            .or_else(|| variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        self.authorities = self
            .authorities
            .or_else(|| variable(&[Self::AUTHORITIES]).map(PathBuf::from));
        self.proxy_login = self
            .proxy_login
            .or_else(|| Secret::from_environment(Self::PROXY_LOGIN));
        self
    }
}

/// The first of these environment variables that is set.
fn variable(names: &[&'static str]) -> Option<String> {
    named_variable(names).map(|(_, value)| value)
}

fn named_variable(names: &[&'static str]) -> Option<(&'static str, String)> {
    let value = |name| env::var(name).ok().filter(|value| !value.is_empty());
    names
        .iter()
        .find_map(|name| value(name).map(|value| (*name, value)))
}
