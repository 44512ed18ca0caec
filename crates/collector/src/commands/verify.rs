//! `verify`: is a bundle what it was when it was sealed?

use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use scelle::{
    Certificate, StampAuthority, Verdict, Verification, VerifyOptions,
    bundle::{Scope, Signer, grouped},
    engine::{Progress, profile::show_size},
};
use serde_json::json;

use crate::{Exit, KeyArgs, Terminal, Tone, small::read_small, terminal::plain};

/// Check that a bundle is what it was when it was sealed
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  verify case.scelle.zip --root 1234abcd…          is it the one whose root was written down?
  verify case.scelle.zip --trust case.cert.asc     did a collector seal it that the CERT prepared?
  verify case.scelle.zip --member 'ntfs-1234567890ABCDEF/$MFT'     one file, named as ls does
  verify case.scelle.zip.pgp --key secret.asc      an encrypted one, to its last byte
  verify case.part*.scelle.zip.pgp --key secret.asc         all parts of one that was cut off
  verify folder                                    a bag that someone has extracted

Answers: sealed; sealed, signer unknown; broken (it says where); unfinished.
Exit status: 0 sealed; 1 broken or unfinished; 2 could not be checked; 3 sealed, but the signer
is unknown.")]
pub struct Args {
    /// The bundle, or the folder of an extracted one; all parts of one that was cut off and gone on
    /// with
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
    /// The certificate of whoever vouches for the signer
    #[arg(long, value_name = "CERT.asc")]
    trust: Vec<PathBuf>,
    /// A certificate, or a newer copy of one, in which a revocation stands; it vouches for nobody
    #[arg(long, value_name = "CERT.asc", requires = "trust")]
    revocations: Vec<PathBuf>,
    /// The certificate (PEM or DER) of the time-stamping service that is trusted, or of its issuer
    #[arg(long, value_name = "CERT.pem")]
    tsa_cert: Vec<PathBuf>,
    /// The root hash that was written down; blanks and case do not matter
    #[arg(long, value_name = "HASH")]
    root: Option<String>,
    /// Check only this payload file, besides the seal: named as `ls` or as a manifest does; one that
    /// is not there is an error
    #[arg(long, value_name = "PATH")]
    member: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Runs the command.
///
/// # Errors
/// Where the bundle can't be checked at all.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let options = VerifyOptions {
        trust: read_certificates(&args.trust)?,
        revocations: read_certificates(&args.revocations)?,
        authorities: read_authorities(&args.tsa_cert)?,
        root: args.root.clone(),
        member: args.member.clone(),
    };
    let key = args.key.read()?;
    let progress = Progress::default();
    let report = terminal.watch(&progress, || match &args.bundle[..] {
        [one] => scelle::verify_with_key(one, &options, key.as_ref(), &progress),
        parts => scelle::verify_parts(parts, &options, key.as_ref(), &progress),
    })?;
    tell(&report, terminal)?;
    Ok(match report.verdict {
        Verdict::Sealed => Exit::COMPLETE,
        Verdict::SignerUnknown => Exit::SIGNER_UNKNOWN,
        _ => Exit::LOSSES,
    })
}

/// Reads certificates that may vouch.
///
/// # Errors
/// Where one can't be read.
pub fn read_certificates(paths: &[PathBuf]) -> Result<Vec<Certificate>> {
    let read = |path: &PathBuf| {
        let reading = || format!("reading the certificate {}", path.display());
        let bytes = read_small(path).with_context(reading)?;
        Certificate::read(&bytes).with_context(reading)
    };
    paths.iter().map(read).collect()
}

/// Reads certificates of time-stamping services.
///
/// # Errors
/// Where one can't be read.
pub fn read_authorities(paths: &[PathBuf]) -> Result<Vec<StampAuthority>> {
    let mut read = Vec::new();
    for path in paths {
        let reading = || format!("reading the certificate {}", path.display());
        let bytes = read_small(path).with_context(reading)?;
        read.extend(StampAuthority::read(&bytes).with_context(reading)?);
    }
    Ok(read)
}

/// Prints an answer.
///
/// # Errors
/// When standard output can't be written.
pub fn tell(report: &Verification, terminal: &Terminal) -> Result<()> {
    if terminal.json {
        terminal.object(&object(report))?;
        return Ok(());
    }
    let (tone, answer) = match report.verdict {
        Verdict::Sealed => (Tone::Good, "sealed"),
        Verdict::SignerUnknown => (Tone::Doubtful, "sealed, signer unknown"),
        Verdict::Broken => (Tone::Bad, "broken"),
        Verdict::Unfinished => (Tone::Bad, "unfinished"),
    };
    let scope = match report.scope {
        Scope::Archive => "",
        Scope::Bag => " (checked the bag, and not the archive that it came in)",
        Scope::Member => " (checked one member, and what vouches for it)",
        Scope::Seal => " (checked the seal, and no member)",
        Scope::Proof => " (checked what a proof shows, and what vouches for it)",
        Scope::Parts => " (checked all parts together)",
    };
    terminal.line(format!("{}{scope}", terminal.paint(tone, answer)))?;
    for problem in &report.problems {
        terminal.line(format!("  {}", plain(&problem.to_string())))?;
    }
    let head = |text: &str| terminal.paint(Tone::Strong, format!("{text:<11}"));
    for (name, value) in [
        ("Root", report.root.as_deref().map(grouped)),
        ("  SHA-256", report.root_sha256.as_deref().map(grouped)),
        ("Payload", report.payload.as_deref().map(grouped)),
        ("Label", report.tlp.as_deref().map(plain)),
    ] {
        if let Some(value) = value {
            terminal.line(format!("{}{value}", head(name)))?;
        }
    }
    for (name, signers) in [("Signed by", &report.signers), ("Through", &report.through)] {
        for signer in signers {
            let user = signer.user_id.as_deref().map(plain);
            let user = user.map(|user| format!(" ({user})"));
            let user = user.unwrap_or_default();
            terminal.line(format!("{}{}{user}", head(name), signer.fingerprint))?;
        }
    }
    if let Some(deployment) = &report.deployment {
        terminal.line(format!(
            "{}{}, run {}",
            head("Deployment"),
            deployment.number,
            deployment.run
        ))?;
    }
    if let Some(at) = signed_at(report) {
        terminal.line(format!(
            "{}{at}, as the host's clock claims",
            head("Signed at")
        ))?;
    }
    if let Some(stamp) = &report.stamp {
        let trust = match &stamp.trusted {
            Some(Ok(())) => "trusted".to_owned(),
            Some(Err(why)) => format!("not trusted: {why}"),
            None => "not trusted: name the service's certificate with --tsa-cert".to_owned(),
        };
        let (time, service) = (&stamp.time, &stamp.service);
        terminal.line(format!(
            "{}{time}, by {service} ({trust})",
            head("Time-stamp")
        ))?;
    } else if let Some(why) = why_no_stamp(report) {
        let none = terminal.paint(Tone::Doubtful, "none");
        terminal.line(format!("{}{none}{why}", head("Time-stamp")))?;
    }
    for voucher in &report.vouched_by {
        let by = match voucher.as_str() {
            "root" => "the root hash that was given",
            fingerprint => fingerprint,
        };
        terminal.line(format!("{}{by}", head("Vouched by")))?;
    }
    // Of what was not looked at there is nothing to tell.
    if report.scope != Scope::Proof && (report.files > 0 || report.root.is_some()) {
        terminal.line(format!(
            "{}{} files, {}",
            head("Payload of"),
            report.files,
            show_size(report.bytes)
        ))?;
    }
    if report.verdict == Verdict::SignerUnknown {
        terminal.note(
            "unchanged since it was sealed, but nobody vouches for the key: compare the root \
             hash that was written down with --root, or name a certificate with --trust",
        );
    }
    Ok(())
}

/// What there is to say of a bundle without a time-stamp, where one was asked for: when it was sealed, or
/// now.
fn why_no_stamp(report: &Verification) -> Option<String> {
    match (&report.asked_time, report.scope) {
        _ if report.verdict == Verdict::Unfinished => None,
        (Some(service), _) => Some(format!(
            ", although {} was asked for it: it did not answer, or somebody took its answer away",
            plain(service)
        )),
        (None, _) if !report.wants_stamp || report.verdict == Verdict::Broken => None,
        (None, Scope::Proof) => Some(" in this proof".to_owned()),
        (None, _) => Some(": no service was asked for it when it was sealed".to_owned()),
    }
}

/// An answer as JSON; the keys are stable.
pub fn object(report: &Verification) -> serde_json::Value {
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    let list = |signers: &[Signer]| -> Vec<_> {
        let one = |signer: &Signer| json!({ "fingerprint": signer.fingerprint, "user_id": signer.user_id });
        signers.iter().map(one).collect()
    };
    let deployment = report.deployment.as_ref();
    json!({
        "verdict": report.verdict.name(),
        "scope": report.scope.name(),
        "root": report.root,
        "payload": report.payload,
        "tlp": report.tlp,
        "signers": list(&report.signers),
        "through": list(&report.through),
        "signed_at": signed_at(report).map(|at| at.to_string()),
        "timestamp": report.stamp.as_ref().map(|stamp| json!({
            "time": stamp.time.to_string(),
            "service": stamp.service,
            "trusted": stamp.trusted == Some(Ok(())),
        })),
        "timestamp_asked": report.asked_time,
        "deployment": deployment.map(|one| json!({ "number": one.number, "run": one.run })),
        "vouched_by": report.vouched_by,
        "files": report.files,
        "bytes": report.bytes,
        "problems": problems,
    })
}

fn signed_at(report: &Verification) -> Option<Timestamp> {
    Timestamp::from_second(report.signed_at?.into()).ok()
}
