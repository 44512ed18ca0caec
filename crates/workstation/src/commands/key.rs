//! `key`: the keys that vouch for bundles, and what they say of each other.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::value_parser;
use jiff::{Span, Timestamp, tz::TimeZone};
use scelle::{Certificate, SealKey, bundle::Terms};
use scelle_collector::{
    Exit, Terminal,
    output::{PartialFile, refuse_existing},
    password::{self, read_seal_key},
    read_small,
};
use serde_json::json;

pub(crate) const SECRET_ENDING: &str = ".key.asc";
pub(crate) const CERTIFICATE_ENDING: &str = ".cert.asc";

/// Make keys that vouch for bundles, certify others with them, and take that back
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle key new case-42 --user 'CERT Example, case 42'    case-42.key.asc and case-42.cert.asc
  scelle key certify ana.cert.asc --fingerprint 0123… --by case-42.key.asc --for 30d --out ana.asc
  scelle key certify case-42.cert.asc --fingerprint 89AB… --by team.key.asc --levels 2 --for 1y --out case-42.cert.asc --force
  scelle key revoke ana.cert.asc --by case-42.key.asc --out ana-revoked.asc
  scelle verify host.scelle.zip --trust case-42.cert.asc --revocations ana-revoked.asc

Make a key for each case, and certify with it only those who may seal for that case. `forge` makes
and certifies the keys of prepared collectors itself. Where the team's key certified the case's with
--levels 2 before, whoever trusts the team trusts what they seal. The keys are plain OpenPGP: gpg and sq read
them. The password of a key is that of SCELLE_KEY_PASSWORD, or is asked for on the terminal.
Exit status: 0 complete; 2 not done.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make a key: NAME.key.asc, which is secret, and NAME.cert.asc
    New {
        /// What the two files are called
        name: PathBuf,
        /// Whose key it is, and for what
        #[arg(long, value_name = "TEXT")]
        user: String,
        /// Ask for a password that protects it [default: SCELLE_KEY_PASSWORD, else none]
        #[arg(long)]
        ask_password: bool,
    },
    /// Vouch for a key, for a stated time
    Certify {
        /// The certificate of the key
        certificate: PathBuf,
        /// The full fingerprint that it must have
        #[arg(long, value_name = "FPR")]
        fingerprint: String,
        /// The secret key that vouches
        #[arg(long, value_name = "KEY.asc")]
        by: PathBuf,
        /// For how long: 30d, 12h, 6mo
        #[arg(long = "for", value_name = "TIME")]
        lasts: Span,
        /// How far down the key may vouch for others: 1 for those who seal for a case, 2 for the
        /// prepared collectors of a case
        #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u8).range(0..=2))]
        levels: u8,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Replace an existing file
        #[arg(long)]
        force: bool,
    },
    /// Vouch for a key no longer, for whatever time
    Revoke {
        /// The certificate of the key
        certificate: PathBuf,
        /// The secret key that vouched
        #[arg(long, value_name = "KEY.asc")]
        by: PathBuf,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Replace an existing file
        #[arg(long)]
        force: bool,
    },
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    match &args.action {
        Action::New {
            name,
            user,
            ask_password,
        } => new(name, user, *ask_password, terminal),
        Action::Certify {
            certificate,
            fingerprint,
            by,
            lasts,
            levels,
            out,
            force,
        } => {
            let certificate = read_certificate(certificate)?;
            check_fingerprint(&certificate, fingerprint)?;
            let terms = Terms {
                lasts_seconds: Some(seconds(*lasts, Timestamp::now())?),
                levels: *levels,
            };
            let certified = read_seal_key(by)?.certify(&certificate, &terms)?;
            put(&certified, out, *force, terminal)
        }
        Action::Revoke {
            certificate,
            by,
            out,
            force,
        } => {
            let certificate = read_certificate(certificate)?;
            let revoked = read_seal_key(by)?.revoke(&certificate)?;
            put(&revoked, out, *force, terminal)
        }
    }
}

fn new(name: &Path, user: &str, ask_password: bool, terminal: &Terminal) -> Result<Exit> {
    let (secret, public) = (ended(name, SECRET_ENDING), ended(name, CERTIFICATE_ENDING));
    refuse_existing(&secret, false)?;
    refuse_existing(&public, false)?;
    let created = u32::try_from(Timestamp::now().as_second()).context("the clock is wrong")?;
    let key = SealKey::generate(user, created)?;
    let password = if ask_password {
        Some(password::for_new_key(&secret)?)
    } else {
        password::of_environment()?
    };
    let shown = password.as_ref().map(|text| text.as_str());
    write_secret(&secret, &key.secret_text(shown)?)?;
    let mut out = PartialFile::create(&public, false)?;
    out.write_all(key.certificate()?.as_bytes())?;
    out.finish()?;
    if password.is_none() {
        terminal.warn(format!(
            "{} has no password: protect it with --ask-password, or one in {}",
            secret.display(),
            password::VARIABLE
        ));
    }
    let fingerprint = key.fingerprint();
    if terminal.json {
        terminal.object(&json!({
            "fingerprint": fingerprint,
            "secret": secret.to_string_lossy(),
            "certificate": public.to_string_lossy(),
        }))?;
    } else {
        terminal.line(format!("{fingerprint}  {user}"))?;
        terminal.line(format!("secret key   {}", secret.display()))?;
        terminal.line(format!("certificate  {}", public.display()))?;
    }
    Ok(Exit::COMPLETE)
}

fn ended(name: &Path, ending: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Writes a secret for its owner's eyes only.
fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .with_context(|| format!("writing {}", path.display()))
}

fn put(certificate: &Certificate, out: &Path, force: bool, terminal: &Terminal) -> Result<Exit> {
    let mut file = PartialFile::create(out, force)?;
    file.write_all(certificate.armoured()?.as_bytes())?;
    file.finish()?;
    if terminal.json {
        terminal.object(&json!({
            "fingerprint": certificate.fingerprint(),
            "certificate": out.to_string_lossy(),
        }))?;
    } else {
        terminal.line(format!("{}  {}", certificate.fingerprint(), out.display()))?;
    }
    Ok(Exit::COMPLETE)
}

pub(crate) fn read_certificate(path: &Path) -> Result<Certificate> {
    let naming = || format!("the certificate {}", path.display());
    let bytes = read_small(path).with_context(naming)?;
    Certificate::read(&bytes).with_context(naming)
}

fn check_fingerprint(certificate: &Certificate, wanted: &str) -> Result<()> {
    let wanted: String = wanted
        .chars()
        .filter(|one| !one.is_whitespace())
        .map(|one| one.to_ascii_uppercase())
        .collect();
    let found = certificate.fingerprint();
    if found != wanted {
        bail!(
            "the certificate's fingerprint is {found}, and not {wanted}: it is not the one meant"
        );
    }
    Ok(())
}

/// A span of the calendar from `now` on, in seconds.
pub(crate) fn seconds(span: Span, now: Timestamp) -> Result<u32> {
    let from = now.to_zoned_datetime(TimeZone::UTC);
    let until = from.checked_add(span).context("that is too long")?;
    let seconds = until.timestamp().as_second() - now.as_second();
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .context("a period must lie ahead, and end within 136 years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_of_the_calendar() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
        for (text, days) in [("30d", 30), ("1mo", 28), ("2w", 14), ("1y", 365)] {
            let span: Span = text.parse().expect(text);
            assert_eq!(seconds(span, now).expect(text), days * 86_400, "{text}");
        }
        for text in ["0s", "-3d", "200y"] {
            assert!(seconds(text.parse().expect(text), now).is_err(), "{text}");
        }
    }
}
