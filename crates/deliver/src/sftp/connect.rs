//! Connections: to a server whose key is known, with a login.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    Preferred,
    client::{self, AuthResult, Handle, Handler},
    keys::{
        Algorithm, EcdsaCurve, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey,
        PublicKeyOrCertificate, known_hosts::known_host_keys_path, load_secret_key,
    },
};
use tokio::{net::TcpStream, time::timeout};
use zeroize::Zeroizing;

use crate::{Error, Failure};

const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// A line on which nothing is heard for so long is asked; three times, and it counts as cut.
const STILL: Duration = Duration::from_secs(20);

/// The password of a login, in the environment.
pub(crate) const PASSWORD: &str = "SCELLE_SFTP_PASSWORD";
/// The password of the file of a key.
pub(crate) const KEY_PASSWORD: &str = "SCELLE_SSH_KEY_PASSWORD";

/// What a server must show to be believed.
pub(super) enum Known {
    /// A key with one of these fingerprints, `SHA256:…`.
    Fingerprints(Vec<String>),
    /// One of these keys.
    Keys(Vec<PublicKey>),
}

impl Known {
    /// What was said on the command line, or stands in a file of known hosts: one that is not there
    /// knows nobody, and nobody is taken for known the first time.
    pub(super) fn new(
        host: &str,
        port: u16,
        fingerprints: &[String],
        known_hosts: Option<&Path>,
    ) -> Result<Self, Error> {
        if !fingerprints.is_empty() {
            for one in fingerprints {
                if one.strip_prefix("SHA256:").map(str::len) != Some(43) {
                    return Err(Error::Setup(format!(
                        "{one:?} is no fingerprint of a host key: write SHA256:… as `ssh-keygen -l` does"
                    )));
                }
            }
            return Ok(Self::Fingerprints(fingerprints.to_vec()));
        }
        let path = known_hosts.map(Path::to_owned).or_else(usual_known_hosts);
        let keys = match &path {
            Some(path) => listed(host, port, path)?,
            None => Vec::new(),
        };
        if keys.is_empty() {
            return Err(Error::Setup(format!(
                "nobody says what key {host} has: name its fingerprint with --host-key SHA256:…, or a \
                 file that lists it with --known-hosts{}; ask whoever runs the server, over another way",
                path.map_or_else(String::new, |path| format!(
                    " ({} does not)",
                    path.display()
                ))
            )));
        }
        Ok(Self::Keys(keys))
    }

    fn has(&self, key: &PublicKey) -> bool {
        match self {
            Self::Fingerprints(known) => known.contains(&fingerprint(key)),
            Self::Keys(known) => known.iter().any(|one| one.key_data() == key.key_data()),
        }
    }

    /// Which kinds of keys to ask for, one list a connection.
    fn algorithms(&self) -> Vec<Vec<Algorithm>> {
        let ecdsa = |curve| Algorithm::Ecdsa { curve };
        let rsa = |hash| Algorithm::Rsa { hash: Some(hash) };
        let kinds = vec![
            vec![Algorithm::Ed25519],
            vec![
                ecdsa(EcdsaCurve::NistP256),
                ecdsa(EcdsaCurve::NistP384),
                ecdsa(EcdsaCurve::NistP521),
            ],
            vec![rsa(HashAlg::Sha512), rsa(HashAlg::Sha256)],
        ];
        let Self::Keys(known) = self else {
            // A fingerprint does not say what kind of key it is of.
            return kinds;
        };
        let is_known = |kind: &Algorithm| {
            known.iter().any(|key| match (key.algorithm(), kind) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (one, other) => one == *other,
            })
        };
        vec![kinds.into_iter().flatten().filter(is_known).collect()]
    }
}

/// The keys of a host in a file of known hosts; one that is marked as revoked is in no one's favour.
fn listed(host: &str, port: u16, path: &Path) -> Result<Vec<PublicKey>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::local("reading the known hosts", path)(error)),
    };
    let keys = known_host_keys_path(host, port, path)
        .map_err(|error| Error::Setup(format!("the known hosts {}: {error}", path.display())))?;
    let revoked: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("@revoked "))
        .collect();
    let is_revoked = |key: &PublicKey| {
        let encoded = key.to_openssh().unwrap_or_default();
        let encoded = encoded.split(' ').nth(1).unwrap_or(&encoded).to_owned();
        revoked.iter().any(|line| line.contains(&encoded))
    };
    let keys = keys.into_iter().map(|(_, key)| key);
    Ok(keys.filter(|key| !is_revoked(key)).collect())
}

fn usual_known_hosts() -> Option<PathBuf> {
    Some(env::home_dir()?.join(".ssh").join("known_hosts"))
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// How the sender shows who it is.
#[derive(Clone)]
pub(super) enum Login {
    Key(Arc<PrivateKey>),
    Password(Zeroizing<String>),
    #[cfg(unix)]
    Agent,
}

impl Login {
    /// With the key in a file, else the password in the environment, else ssh-agent.
    pub(super) fn new(key: Option<&Path>) -> Result<Self, Error> {
        if let Some(path) = key {
            let password = variable(KEY_PASSWORD);
            let key = load_secret_key(path, password.as_ref().map(|one| one.as_str()));
            return key.map(|key| Self::Key(Arc::new(key))).map_err(|error| {
                Error::Setup(format!(
                    "the key {}: {error}; its password, if it has one, is read from {KEY_PASSWORD}",
                    path.display()
                ))
            });
        }
        if let Some(password) = variable(PASSWORD) {
            return Ok(Self::Password(password));
        }
        #[cfg(unix)]
        if variable("SSH_AUTH_SOCK").is_some() {
            return Ok(Self::Agent);
        }
        Err(Error::Setup(format!(
            "nothing to log in with: name a key with --ssh-key, set {PASSWORD}, or let ssh-agent \
             hold the key"
        )))
    }
}

fn variable(name: &str) -> Option<Zeroizing<String>> {
    let value = env::var(name).ok().filter(|value| !value.is_empty());
    value.map(Zeroizing::new)
}

/// Believes a server by its key alone.
pub(super) struct Checking {
    known: Arc<Known>,
    shown: Arc<Mutex<Option<String>>>,
}

impl Handler for Checking {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let key = shown.public_key();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint(&key));
        Ok(shown.certificate().is_none() && self.known.has(&key))
    }
}

/// Where a connection goes, and what is said there.
pub(super) struct Line {
    pub(super) store: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) known: Arc<Known>,
    pub(super) login: Login,
}

impl Line {
    /// Connects and logs in; gives the fingerprint of the key that the server showed too.
    pub(super) async fn connect(&self) -> Result<(Handle<Checking>, String), Failure> {
        let mut shown = Vec::new();
        for kinds in self.known.algorithms() {
            let seen = Arc::new(Mutex::new(None));
            let connected = self.greet(kinds, Arc::clone(&seen)).await;
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
            match connected {
                Ok(mut handle) => {
                    // Nothing else ends it where the line goes silent meanwhile.
                    let late = |_| Failure::Passing("it does not answer while logging in".into());
                    timeout(CONNECT_PATIENCE, self.log_in(&mut handle))
                        .await
                        .map_err(late)??;
                    return Ok((handle, seen.unwrap_or_default()));
                }
                // It has no key of that kind.
                Err(russh::Error::NoCommonAlgo { .. }) => {}
                Err(russh::Error::UnknownKey) => shown.extend(seen),
                Err(error) => return Err(Failure::Passing(error.to_string())),
            }
        }
        Err(Error::Setup(format!(
            "{} shows no key that is known; it shows {}. Either its key was changed, or someone is in \
             between: ask whoever runs it, over another way",
            self.host,
            if shown.is_empty() { "none of a kind that is understood".into() } else { shown.join(", ") }
        ))
        .into())
    }

    async fn greet(
        &self,
        kinds: Vec<Algorithm>,
        shown: Arc<Mutex<Option<String>>>,
    ) -> Result<Handle<Checking>, russh::Error> {
        let config = client::Config {
            preferred: Preferred {
                key: kinds.into(),
                ..Preferred::DEFAULT
            },
            keepalive_interval: Some(STILL),
            nodelay: true,
            ..client::Config::default()
        };
        let handler = Checking {
            known: Arc::clone(&self.known),
            shown,
        };
        let greet = async {
            let stream = TcpStream::connect((&*self.host, self.port)).await?;
            stream.set_nodelay(true)?;
            client::connect_stream(Arc::new(config), stream, handler).await
        };
        timeout(CONNECT_PATIENCE, greet).await?
    }

    async fn log_in(&self, handle: &mut Handle<Checking>) -> Result<(), Failure> {
        let passing = |error: russh::Error| Failure::Passing(error.to_string());
        let answer = match &self.login {
            Login::Key(key) => {
                let hash = self.hash(handle, &key.algorithm()).await?;
                let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
                handle.authenticate_publickey(&self.user, key).await
            }
            Login::Password(password) => {
                let password = password.to_string();
                handle.authenticate_password(&self.user, password).await
            }
            #[cfg(unix)]
            Login::Agent => return self.log_in_by_agent(handle).await,
        };
        match answer.map_err(passing)? {
            AuthResult::Success => Ok(()),
            AuthResult::Failure {
                remaining_methods, ..
            } => {
                let takes: Vec<String> = remaining_methods.iter().map(String::from).collect();
                Err(self.refused(handle, &takes.join(", ")))
            }
        }
    }

    /// The hash that an RSA key signs with there.
    async fn hash(
        &self,
        handle: &Handle<Checking>,
        kind: &Algorithm,
    ) -> Result<Option<HashAlg>, Failure> {
        if !matches!(kind, Algorithm::Rsa { .. }) {
            return Ok(None);
        }
        let best = handle.best_supported_rsa_hash().await;
        let best = best.map_err(|error| Failure::Passing(error.to_string()))?;
        Ok(best.unwrap_or(Some(HashAlg::Sha256)))
    }

    #[cfg(unix)]
    async fn log_in_by_agent(&self, handle: &mut Handle<Checking>) -> Result<(), Failure> {
        use russh::keys::agent::{AgentIdentity, client::AgentClient};
        let trouble =
            |error: &dyn std::fmt::Display| Failure::Passing(format!("ssh-agent: {error}"));
        let mut agent = AgentClient::connect_env()
            .await
            .map_err(|error| trouble(&error))?;
        let known = agent
            .request_identities()
            .await
            .map_err(|error| trouble(&error))?;
        for identity in known {
            let AgentIdentity::PublicKey { key, .. } = identity else {
                continue;
            };
            let hash = self.hash(handle, &key.algorithm()).await?;
            let answer = handle
                .authenticate_publickey_with(&self.user, key, hash, &mut agent)
                .await
                .map_err(|error| trouble(&error))?;
            if answer.success() {
                return Ok(());
            }
        }
        Err(self.refused(handle, "no key that ssh-agent holds"))
    }

    fn refused(&self, handle: &Handle<Checking>, takes: &str) -> Failure {
        // A line that was cut looks like a refusal that names nothing.
        if takes.is_empty() || handle.is_closed() {
            return Failure::Passing("the line was cut while logging in".into());
        }
        Error::Refused {
            store: self.store.clone(),
            why: format!(
                "{} may not log in with what was shown; it takes: {takes}",
                self.user
            ),
        }
        .into()
    }
}
