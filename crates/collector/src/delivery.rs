//! Options for delivery to a store, and what is said of it.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use scelle::{bundle::Output, engine::profile::parse_size};
use scelle_deliver::{
    Address, Credentials, Delivery, PieceSizes, Receipt, Retry, S3, S3Options, Sftp, SftpOptions,
    Store,
};

use crate::{Terminal, Tone, names::executable_folder, terminal::plain};

/// How a store is reached, and for how long.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct DeliveryArgs {
    /// The S3 service [default: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL in the environment, else
    /// AWS]; the credentials are those of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    /// AWS_SESSION_TOKEN
    #[arg(long, value_name = "URL", help_heading = "Delivery")]
    endpoint: Option<String>,
    /// The bucket's region [default: AWS_REGION, AWS_DEFAULT_REGION, us-east-1]
    #[arg(long, value_name = "NAME", help_heading = "Delivery")]
    region: Option<String>,
    /// S3: the certificates of whoever vouches for the service, in PEM; nobody else does then
    /// [default: AWS_CA_BUNDLE, else whom Mozilla trusts]
    #[arg(long, value_name = "FILE", help_heading = "Delivery")]
    ca_cert: Option<PathBuf>,
    /// S3: go through this HTTP proxy, its login in SCELLE_PROXY_LOGIN as USER:PASSWORD; those that
    /// the environment names (HTTPS_PROXY and the like) are not used
    #[arg(long, value_name = "http://HOST:PORT", help_heading = "Delivery")]
    proxy: Option<String>,
    /// SFTP: the key that the server must show, SHA256:… as `ssh-keygen -l` prints it; may be repeated
    #[arg(long, value_name = "FPR", help_heading = "Delivery")]
    host_key: Vec<String>,
    /// SFTP: the file that lists the server's key [default: the user's .ssh/known_hosts]
    #[arg(long, value_name = "FILE", help_heading = "Delivery")]
    known_hosts: Option<PathBuf>,
    /// SFTP: the key to log in with, its password in SCELLE_SSH_KEY_PASSWORD [default: the password
    /// in SCELLE_SFTP_PASSWORD, else ssh-agent]
    #[arg(long, value_name = "FILE", help_heading = "Delivery")]
    ssh_key: Option<PathBuf>,
    /// SFTP: read the file back when it is there, and compare
    #[arg(long, help_heading = "Delivery")]
    read_back: bool,
    /// Where the receipt is written [default: NAME.receipt.json, beside a bundle that exists, else
    /// in this program's folder]
    #[arg(long, value_name = "FILE", help_heading = "Delivery")]
    receipt: Option<PathBuf>,
    /// Deliver even a bundle that is not encrypted: the store can read it
    #[arg(long, help_heading = "Delivery")]
    deliver_in_clear: bool,
    /// For so many seconds a store that does not answer is tried again [default: 600]
    #[arg(long, value_name = "SECONDS", help_heading = "Delivery")]
    retry_for: Option<u64>,
    /// Pieces begin with this size; for tests
    #[arg(long, value_name = "SIZE", value_parser = parse_size, hide = true)]
    piece_bytes: Option<u64>,
}

/// How a bundle goes to a store while it is made.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct AwayArgs {
    /// How the store is reached.
    #[command(flatten)]
    pub delivery: DeliveryArgs,
    /// Where the rest of the bundle goes if the store is gone for good; `deliver` goes on with it
    #[arg(long, value_name = "DIR|FILE", help_heading = "Delivery")]
    pub fallback: Option<PathBuf>,
}

impl AwayArgs {
    /// Where something of a bundle that goes away may be written.
    pub fn outputs(&self) -> Vec<PathBuf> {
        let receipt = self.delivery.receipt.clone();
        let receipt = receipt.or_else(|| executable_folder().ok());
        self.fallback.iter().cloned().chain(receipt).collect()
    }

    /// Refuses a fallback where nothing goes away.
    ///
    /// # Errors
    /// Where one is named.
    pub fn check_unused(&self) -> Result<()> {
        if self.fallback.is_some() {
            bail!("--fallback is for a bundle that goes to a store: --out names none");
        }
        Ok(())
    }
}

impl DeliveryArgs {
    /// The store of an address; `force` says that what it has of that name may be replaced.
    ///
    /// # Errors
    /// Where the environment lacks what the store knows the sender by.
    pub fn store(&self, address: Address, force: bool) -> Result<Box<dyn Store>> {
        if let Address::Sftp { .. } = address {
            let options = SftpOptions {
                host_keys: self.host_key.clone(),
                known_hosts: self.known_hosts.clone(),
                key: self.ssh_key.clone(),
                replace: force,
                read_back: self.read_back,
                ..SftpOptions::default()
            };
            if self.proxy.is_some() {
                bail!("--proxy is for S3: an SFTP server is connected to directly");
            }
            return Ok(Box::new(Sftp::new(address, options.or_environment())?));
        }
        if self.read_back {
            bail!(
                "--read-back is for SFTP: of an object, the ETag says what an S3 service has, with no \
                 right to read it"
            );
        }
        let options = S3Options {
            replace: force,
            ..self.s3()
        };
        let credentials = Credentials::from_environment()?;
        Ok(Box::new(S3::new(
            address,
            credentials,
            options.or_environment(),
        )?))
    }

    fn s3(&self) -> S3Options {
        S3Options {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            authorities: self.ca_cert.clone(),
            proxy: self.proxy.clone(),
            ..S3Options::default()
        }
    }

    /// Says what the host decides of the way to a store, and where that way protects nothing.
    pub fn tell_way(&self, address: &Address, terminal: &Terminal) {
        if let Address::Sftp { .. } = address {
            if self.host_key.is_empty() && self.known_hosts.is_none() {
                terminal.warn(
                    "this host's own list of known hosts says which key the server has: whoever owns the host may have \
                     written it; --host-key goes before it",
                );
            }
            return;
        }
        let options = self.s3();
        for (variable, value) in options.of_environment() {
            let (decides, instead) = match variable {
                "AWS_CA_BUNDLE" => ("who vouches for the store", "--ca-cert"),
                _ => ("where the store is", "--endpoint"),
            };
            terminal.warn(format!(
                "{variable} in this host's environment says {decides}: {}; {instead} goes before it",
                plain(&value)
            ));
        }
        tell_unprotected(options.or_environment().endpoint.as_deref(), terminal);
    }

    /// Refuses what the plan of a prepared collector settles: all but where the receipt goes, and how long is tried.
    ///
    /// # Errors
    /// Where some of it is named.
    pub fn check_planned(&self) -> Result<()> {
        let named = [
            ("--endpoint", self.endpoint.is_some()),
            ("--region", self.region.is_some()),
            ("--ca-cert", self.ca_cert.is_some()),
            ("--proxy", self.proxy.is_some()),
            ("--host-key", !self.host_key.is_empty()),
            ("--known-hosts", self.known_hosts.is_some()),
            ("--ssh-key", self.ssh_key.is_some()),
            ("--read-back", self.read_back),
            ("--deliver-in-clear", self.deliver_in_clear),
        ];
        if let Some((option, _)) = named.iter().find(|(_, is_named)| *is_named) {
            bail!(
                "{option} is for a store that --out names: the one that this collector was prepared for \
                 stands in its plan, with how it is reached"
            );
        }
        Ok(())
    }

    /// How long it is tried, with its troubles told.
    pub fn retry(&self, terminal: &Terminal) -> Retry {
        let usual = Retry::default();
        let terminal = terminal.clone();
        Retry {
            patience: self.retry_for.map_or(usual.patience, Duration::from_secs),
            listener: Some(Arc::new(move |what| terminal.note(what))),
            ..usual
        }
    }

    /// How large pieces are.
    pub fn sizes(&self) -> PieceSizes {
        self.piece_bytes
            .map_or_else(PieceSizes::default, PieceSizes::new)
    }

    /// Refuses to deliver what anybody can read, unless that was asked for.
    ///
    /// # Errors
    /// Where it was not.
    pub fn check_clear(&self, is_encrypted: bool) -> Result<()> {
        if !is_encrypted && !self.deliver_in_clear {
            bail!(
                "the bundle would be delivered in clear, for whoever has the store to read: name \
                 whom it is for with --recipient and --fingerprint, or insist with \
                 --deliver-in-clear"
            );
        }
        Ok(())
    }

    /// Whether it is said where the receipt goes.
    pub(crate) fn names_receipt(&self) -> bool {
        self.receipt.is_some()
    }

    /// Where the receipt for the bundle at that path goes.
    pub fn receipt_path(&self, bundle: &Path) -> PathBuf {
        self.receipt.clone().unwrap_or_else(|| {
            let mut name = bundle.as_os_str().to_owned();
            name.push(".receipt.json");
            name.into()
        })
    }
}

/// Warns of an endpoint to which the way protects nothing.
pub fn tell_unprotected(endpoint: Option<&str>, terminal: &Terminal) {
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        terminal.warn(
            "the store is reached by http://, which protects nothing: whoever is on the line sees what is sent \
             and how it is signed, and can answer in the store's place, so that a receipt proves nothing",
        );
    }
}

/// The address that `--out` names, where it is one.
///
/// # Errors
/// Where it is meant as one, and names no place.
pub fn address(out: Option<&Path>) -> Result<Option<Address>> {
    let text = out
        .and_then(Path::to_str)
        .filter(|text| Address::is_meant(text));
    text.map(|text| text.parse().context("--out")).transpose()
}

/// A delivery, as what a bundle is written to.
#[derive(Debug)]
pub struct Outgoing(pub Delivery);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

// A checkpoint is not waited for: what a store has confirmed lies in whole pieces.
impl Output for Outgoing {}

/// Writes a receipt where it belongs, and says whether it could; where it couldn't, it is shown all the same.
pub fn keep_receipt(receipt: &Receipt, path: &Path, force: bool, terminal: &Terminal) -> bool {
    let written = receipt.write(path, force);
    if let Err(error) = &written {
        terminal.warn(format!(
            "{error}; keep what is shown here, it is not written anywhere"
        ));
    }
    written.is_ok()
}

/// A receipt as lines of text.
pub fn describe(receipt: &Receipt, terminal: &Terminal) -> Vec<String> {
    let head = |text: &str| terminal.paint(Tone::Strong, format!("{text:<11}"));
    let mut lines = vec![format!(
        "{}{} bytes to {} at {}",
        head("Delivered"),
        receipt.bytes,
        receipt.to,
        receipt.endpoint
    )];
    if let Some(sha256) = &receipt.sha256 {
        lines.push(format!("{}{sha256}", head("  SHA-256")));
    }
    let said = &receipt.confirmation;
    for (name, value) in [
        ("  ETag", &said.etag),
        ("  Version", &said.version),
        ("  At", &said.store_time),
    ] {
        if let Some(value) = value {
            lines.push(format!("{}{}", head(name), plain(value)));
        }
    }
    for line in &said.confirmed {
        lines.push(format!("{}{line}", head("Confirmed")));
    }
    for line in &said.unconfirmed {
        lines.push(format!("{}{line}", head("Not")));
    }
    lines
}

/// The file that takes the rest of a bundle whose store is gone.
pub(crate) fn rest_path(fallback: &Path, name: &str) -> PathBuf {
    let text = fallback.to_string_lossy();
    if fallback.is_dir() || text.ends_with(['/', std::path::MAIN_SEPARATOR]) {
        fallback.join(format!("{name}.rest"))
    } else {
        fallback.to_owned()
    }
}
