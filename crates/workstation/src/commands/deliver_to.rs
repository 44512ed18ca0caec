//! `forge --deliver-to`: the store that a prepared collector delivers to, read and checked where it is prepared.

use std::{env, path::PathBuf};

use anyhow::{Context, Result, bail};
use scelle::{PlannedDelivery, PlannedLogin, PlannedS3, PlannedSecret, PlannedSftp};
use scelle_collector::{
    Terminal, delivery::tell_unprotected, planned, read_secret_text, read_small_text,
};
use scelle_deliver::{Address, S3Options, SftpOptions, key_in_clear};
use zeroize::Zeroizing;

/// The store that it delivers to, and how that is reached.
// Texts, and not what they mean: an error about a value would repeat it, and people write passwords there.
#[derive(clap::Args)]
pub(super) struct DeliverTo {
    /// Have it deliver to this store: s3://BUCKET/FOLDER/ or sftp://USER@HOST:PORT/FOLDER/. What the store knows the
    /// sender by is taken from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN here, or --ssh-key, and
    /// stands in the result in clear
    #[arg(long, value_name = "URL", help_heading = DELIVERY)]
    deliver_to: Option<String>,
    /// The S3 service [default: AWS]
    #[arg(long, value_name = "URL", requires = "deliver_to", help_heading = DELIVERY)]
    endpoint: Option<String>,
    /// The bucket's region [default: us-east-1]
    #[arg(long, value_name = "NAME", requires = "deliver_to", help_heading = DELIVERY)]
    region: Option<String>,
    /// S3: the certificates of whoever vouches for the service, in PEM; nobody else does then [default: whom Mozilla
    /// trusts]
    #[arg(long, value_name = "FILE", requires = "deliver_to", help_heading = DELIVERY)]
    ca_cert: Option<PathBuf>,
    /// S3: have it go through this HTTP proxy, its login in SCELLE_PROXY_LOGIN here as USER:PASSWORD
    #[arg(long, value_name = "http://HOST:PORT", requires = "deliver_to", help_heading = DELIVERY)]
    proxy: Option<String>,
    /// SFTP: the key that the server must show, SHA256:… as `ssh-keygen -l` prints it; may be repeated
    #[arg(long, value_name = "FPR", requires = "deliver_to", help_heading = DELIVERY)]
    host_key: Vec<String>,
    /// SFTP: the key to log in with, its password in SCELLE_SSH_KEY_PASSWORD here [default: the password in
    /// SCELLE_SFTP_PASSWORD here]
    #[arg(long, value_name = "FILE", requires = "deliver_to", help_heading = DELIVERY)]
    ssh_key: Option<PathBuf>,
    /// SFTP: have it read the file back when it is there, and compare
    #[arg(long, requires = "deliver_to", help_heading = DELIVERY)]
    read_back: bool,
}

const DELIVERY: &str = "Delivery";
const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

impl DeliverTo {
    /// The store as a plan names it; `None` where it names none.
    ///
    /// # Errors
    /// Where a collector with this plan could not deliver.
    pub(super) fn read(&self, terminal: &Terminal) -> Result<Option<PlannedDelivery>> {
        let Some(to) = &self.deliver_to else {
            return Ok(None);
        };
        let planned = match planned::folder(to).context("--deliver-to")? {
            Address::S3 { .. } => self.s3(to, terminal)?,
            Address::Sftp { .. } => self.sftp(to)?,
        };
        // Whatever is wrong with it is told here, and not to whoever runs the collector.
        planned::store(&planned, "bundle")?;
        terminal.warn(
            "what the store knows its sender by stands in this collector in clear, for whoever gets hold of it or \
             owns a host that it runs on: it should allow to write and nothing else, be for this case alone, and be \
             taken back when the case ends",
        );
        Ok(Some(planned))
    }

    fn s3(&self, to: &str, terminal: &Terminal) -> Result<PlannedDelivery> {
        refuse(
            "an SFTP server",
            &[
                ("--host-key", !self.host_key.is_empty()),
                ("--ssh-key", self.ssh_key.is_some()),
                ("--read-back", self.read_back),
            ],
        )?;
        let (Some(access_key), Some(secret_key)) = (variable(ACCESS_KEY)?, secret(SECRET_KEY)?)
        else {
            bail!(
                "the collector would have no credentials for the store: set {ACCESS_KEY} and {SECRET_KEY} (and \
                 {SESSION_TOKEN}, where there is one) here, to such as may put objects into {to} and nothing else"
            );
        };
        for (option, named, variables) in [
            (
                "--endpoint",
                self.endpoint.is_some(),
                &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"][..],
            ),
            (
                "--region",
                self.region.is_some(),
                &["AWS_REGION", "AWS_DEFAULT_REGION"][..],
            ),
            ("--ca-cert", self.ca_cert.is_some(), &["AWS_CA_BUNDLE"][..]),
        ] {
            let is_set = |name: &&&str| env::var_os(**name).is_some_and(|value| !value.is_empty());
            if let Some(name) = variables.iter().find(is_set).filter(|_| !named) {
                terminal.warn(format!(
                    "{name} is set here, and not in the plan: {option} puts it there"
                ));
            }
        }
        tell_unprotected(self.endpoint.as_deref(), terminal);
        let session_token = secret(SESSION_TOKEN)?;
        if session_token.is_some() {
            terminal.warn(format!(
                "{SESSION_TOKEN} ends by itself, often within hours: a run after that can't deliver"
            ));
        }
        Ok(PlannedDelivery::S3(PlannedS3 {
            to: to.to_owned(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            authorities: self.authorities()?,
            proxy: self.proxy.clone(),
            proxy_login: match self.proxy {
                Some(_) => secret(S3Options::PROXY_LOGIN)?,
                None => None,
            },
            access_key,
            secret_key,
            session_token,
        }))
    }

    fn sftp(&self, to: &str) -> Result<PlannedDelivery> {
        refuse(
            "S3",
            &[
                ("--endpoint", self.endpoint.is_some()),
                ("--region", self.region.is_some()),
                ("--ca-cert", self.ca_cert.is_some()),
                ("--proxy", self.proxy.is_some()),
            ],
        )?;
        if self.host_key.is_empty() {
            bail!(
                "name the key that the server of {to} must show with --host-key SHA256:…: no list of keys that lies \
                 on the host is believed; ask whoever runs the server"
            );
        }
        let login = match &self.ssh_key {
            Some(path) => {
                let reading = || format!("the key {}", path.display());
                let text = read_secret_text(path).with_context(reading)?;
                let password = variable(SftpOptions::KEY_PASSWORD)?.map(Zeroizing::new);
                let password = password.as_ref().map(|text| text.as_str());
                let key = key_in_clear(&text, password).with_context(reading)?;
                PlannedLogin::Key(PlannedSecret::new(key.as_str()))
            }
            None => PlannedLogin::Password(secret(SftpOptions::PASSWORD)?.with_context(|| {
                format!(
                    "the collector would have nothing to log in with: name a key with --ssh-key, or set {} here",
                    SftpOptions::PASSWORD
                )
            })?),
        };
        Ok(PlannedDelivery::Sftp(PlannedSftp {
            to: to.to_owned(),
            host_keys: self.host_key.clone(),
            login,
            read_back: self.read_back,
        }))
    }

    /// The text of the certificates.
    fn authorities(&self) -> Result<Option<String>> {
        let Some(path) = &self.ca_cert else {
            return Ok(None);
        };
        let text = read_small_text(path)
            .with_context(|| format!("reading the certificates in {}", path.display()))?;
        if text.contains("PRIVATE KEY") {
            bail!(
                "{} holds a private key, which would stand in the collector in clear: name a file with certificates \
                 alone",
                path.display()
            );
        }
        Ok(Some(text))
    }
}

/// Refuses options that are for another kind of store.
fn refuse(other: &str, options: &[(&str, bool)]) -> Result<()> {
    if let Some((option, _)) = options.iter().find(|(_, is_named)| *is_named) {
        bail!("{option} is for {other}, and --deliver-to names another kind of store");
    }
    Ok(())
}

/// The value of an environment variable, where it has one.
fn variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => bail!("{name} is no Unicode text"),
    }
}

fn secret(name: &str) -> Result<Option<PlannedSecret>> {
    Ok(variable(name)?.map(PlannedSecret::new))
}
