//! Connections: to a server whose key is known, with a login.

#[cfg(unix)]
use std::path::PathBuf;
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    Preferred,
    client::{self, AuthResult, Handle, Handler},
    keys::{
        Algorithm, EcdsaCurve, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey,
        PublicKeyOrCertificate, decode_secret_key, load_secret_key, ssh_key::LineEnding,
    },
};
use tokio::{net::TcpStream, time::timeout};
use zeroize::Zeroizing;

use super::{SftpOptions, known_hosts::Listed};
use crate::{Error, Failure, Secret};

const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// A line on which nothing is heard for so long is asked; three times, and it counts as cut.
const STILL: Duration = Duration::from_secs(20);

/// What a server must show to be believed.
pub(super) enum Known {
    /// A key with one of these fingerprints, `SHA256:…`.
    Fingerprints(Vec<String>),
    /// One of these keys.
    Keys(Vec<PublicKey>),
}

impl Known {
    /// What was said outright, or stands in a file of known hosts: one that is not there
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
        let listed = match known_hosts {
            Some(path) => listed(host, port, path)?,
            None => Listed::default(),
        };
        if !listed.keys.is_empty() {
            return Ok(Self::Keys(listed.keys));
        }
        let why = if listed.has_revoked {
            "marks its key as revoked"
        } else if listed.has_authority {
            "names an authority for it, which is not followed here"
        } else {
            "does not"
        };
        Err(Error::Setup(format!(
            "nobody says what key {host} has: name its fingerprint with --host-key SHA256:…, or a \
             file that lists it with --known-hosts{}; ask whoever runs the server, over another way",
            known_hosts.map_or_else(String::new, |path| format!(" ({} {why})", path.display()))
        )))
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

/// What a file of known hosts says of a host; nothing, where there is none.
fn listed(host: &str, port: u16, path: &Path) -> Result<Listed, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Listed::read(&text, host, port)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Listed::default()),
        Err(error) => Err(Error::local("reading the known hosts", path)(error)),
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// How the sender shows who it is.
#[derive(Clone)]
pub(super) enum Login {
    Key(Arc<PrivateKey>),
    Password(Secret),
    /// ssh-agent, at its socket.
    #[cfg(unix)]
    Agent(PathBuf),
}

impl Login {
    /// With the key itself or in a file, else the password, else ssh-agent.
    pub(super) fn new(options: &SftpOptions) -> Result<Self, Error> {
        let password = options.key_password.as_ref().map(Secret::show);
        if let Some(text) = &options.key_text {
            return Ok(Self::Key(Arc::new(decode(text.show(), password)?)));
        }
        if let Some(path) = &options.key {
            return load_secret_key(path, password)
                .map(|key| Self::Key(Arc::new(key)))
                .map_err(|error| {
                    Error::Setup(format!(
                        "the key {}: {error}; its password, if it has one, is read from {}",
                        path.display(),
                        SftpOptions::KEY_PASSWORD
                    ))
                });
        }
        if let Some(password) = &options.password {
            return Ok(Self::Password(password.clone()));
        }
        #[cfg(unix)]
        if let Some(socket) = &options.agent {
            return Ok(Self::Agent(socket.clone()));
        }
        Err(Error::Setup(format!(
            "nothing to log in with: name a key with --ssh-key, set {}, or let ssh-agent \
             hold the key",
            SftpOptions::PASSWORD
        )))
    }
}

/// A key's text without the password that protects it, where one does: it can be used with no questions then.
///
/// # Errors
/// Where it is no key to log in with, or the password is another.
pub fn key_in_clear(text: &str, password: Option<&str>) -> Result<Zeroizing<String>, Error> {
    if decode_secret_key(text, None).is_ok() {
        return Ok(Zeroizing::new(text.to_owned()));
    }
    let key = decode(text, password)?;
    key.to_openssh(LineEnding::LF)
        .map_err(|error| Error::Setup(format!("a key without its password: {error}")))
}

fn decode(text: &str, password: Option<&str>) -> Result<PrivateKey, Error> {
    decode_secret_key(text, password).map_err(|error| {
        Error::Setup(format!(
            "the key to log in with: {error}; its password, if it has one, is read from {}",
            SftpOptions::KEY_PASSWORD
        ))
    })
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
    /// Connects and logs in; gives the fingerprint of the key that the server showed too. Where it was reached in this run
    /// before (`was_reached`), another key is that of somebody on the line, who must not end a delivery.
    pub(super) async fn connect(
        &self,
        was_reached: bool,
    ) -> Result<(Handle<Checking>, String), Failure> {
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
        let why = format!(
            "{} shows no key that is known; it shows {}. Either its key was changed, or someone is in \
             between: ask whoever runs it, over another way",
            self.host,
            if shown.is_empty() {
                "none of a kind that is understood".into()
            } else {
                shown.join(", ")
            }
        );
        Err(match was_reached {
            true => Failure::Passing(why),
            false => Error::Setup(why).into(),
        })
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
                let password = password.show().to_owned();
                handle.authenticate_password(&self.user, password).await
            }
            #[cfg(unix)]
            Login::Agent(socket) => return self.log_in_by_agent(handle, socket).await,
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
    async fn log_in_by_agent(
        &self,
        handle: &mut Handle<Checking>,
        socket: &Path,
    ) -> Result<(), Failure> {
        use russh::keys::agent::{AgentIdentity, client::AgentClient};
        let trouble =
            |error: &dyn std::fmt::Display| Failure::Passing(format!("ssh-agent: {error}"));
        let mut agent = AgentClient::connect_uds(socket)
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
