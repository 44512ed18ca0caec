//! `prove`: one row of a timeline, for whoever does not have the bundle.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, bail};
use scelle::{
    ProveError, RowAt, Verdict, VerifyOptions,
    engine::{Progress, profile::show_size},
};
use scelle_collector::{
    Exit, Inputs, KeyArgs, LabelArgs, Terminal, Tone,
    commands::verify::{self, read_authorities, read_certificates},
    output::PartialFile,
    read_small_text,
    terminal::plain,
};
use serde_json::{Value, json};

use super::timeline::lowered;

/// The largest file that is read as a proof, or as a row.
const FILE_LIMIT: u64 = 8 << 20;

/// Prove one row of a timeline to someone who does not have the bundle
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle prove case.scelle.zip --row 'windows.evtx:ntfs-1234567890ABCDEF/Windows/System32/winevt/Logs/Security.evtx@4608#0' --out row.proof
  grep 4720 case.jsonl | head -1 | scelle prove case.scelle.zip --row - --out row.proof
  scelle prove case.scelle.zip.pgp --key secret.asc --row 7307122395418236214.0 --out row.proof
  scelle prove --check row.proof --root 1234abcd…
  scelle prove --check row.proof --trust case.cert.asc

--row is ARTEFACT:STREAM@OFFSET, with #ORDINAL where the record has several rows; or a line of `timeline --format jsonl`, a file that begins with
one, or `-`; or RECORD_KEY.ORDINAL, for which the whole bundle is parsed.
The proof holds the seal, and of the row's stream the bytes that it was decoded from: the record, and the templates and names that it refers to.
--check needs nothing else: it follows the hashes from the signature down to these bytes, decodes them again and compares the row. What it
does not show is that the records before lead to that offset.
Exit status of --check: 0 proven; 1 broken; 2 could not be checked; 3 proven, but the signer is unknown.")]
pub(crate) struct Args {
    /// The bundle
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    bundle: Option<PathBuf>,
    /// Which row
    #[arg(long, value_name = "ROW", required_unless_present = "check")]
    row: Option<String>,
    /// The file to write
    #[arg(long, value_name = "FILE", required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// Check this proof
    #[arg(long, value_name = "PROOF", conflicts_with_all = ["row", "out"])]
    check: Option<PathBuf>,
    /// The root hash that was written down; blanks and case do not matter
    #[arg(long, value_name = "HASH", requires = "check")]
    root: Option<String>,
    /// The certificate of whoever vouches for the signer
    #[arg(long, value_name = "CERT.asc", requires = "check")]
    trust: Vec<PathBuf>,
    /// A certificate in which a revocation stands; it vouches for nobody
    #[arg(long, value_name = "CERT.asc", requires = "trust")]
    revocations: Vec<PathBuf>,
    /// The certificate (PEM or DER) of the time-stamping service that is trusted, or of its issuer
    #[arg(long, value_name = "CERT.pem", requires = "check")]
    tsa_cert: Vec<PathBuf>,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    if let Some(proof) = &args.check {
        return check(args, proof, terminal);
    }
    let bundle = args.bundle.as_deref().context("name the bundle")?;
    let out = args
        .out
        .as_deref()
        .context("name the file to write with --out")?;
    let wanted: Wanted = args
        .row
        .as_deref()
        .context("say which row with --row")?
        .parse()?;
    let key = args.key.read()?;
    let source = args.key.open(bundle)?;
    if source.bundle().is_none() {
        bail!(
            "{} is no bundle: only what is sealed can be proven",
            bundle.display()
        );
    }
    let label = args
        .label
        .carry(&Inputs::source(bundle, &source), terminal)?;
    let file = PartialFile::create(out, args.force)?;
    let progress = Progress::default();
    let row = match wanted {
        Wanted::Row(row) => row,
        Wanted::Key { key, ordinal } => terminal.watch(&progress, || {
            let found = scelle::rows_of_key(&source, key, &progress)?;
            let row = found
                .into_iter()
                .find(|row| ordinal.is_none() || row.ordinal == ordinal);
            let row =
                row.with_context(|| format!("no row has the record key {key} (and that ordinal)"))?;
            anyhow::Ok(RowAt { ordinal, ..row })
        })?,
    };
    drop(source);
    progress.begin("proving", 0, 0);
    let proof = terminal.watch(&progress, || {
        scelle::prove(bundle, key.as_ref(), &row, &label)
    })?;
    file.file()
        .and_then(|mut file| file.write_all(&proof))
        .with_context(|| format!("writing {}", out.display()))?;
    file.finish()?;
    if terminal.json {
        terminal.object(&json!({
            "proof": out.to_string_lossy(),
            "bytes": proof.len(),
            "tlp": label.tlp.name(),
            "tlp_lowered": lowered(&label),
        }))?;
    } else {
        terminal.line(format!(
            "{}  {}, {}",
            out.display(),
            show_size(proof.len() as u64),
            label.tlp
        ))?;
    }
    Ok(Exit::COMPLETE)
}

fn check(args: &Args, path: &Path, terminal: &Terminal) -> Result<Exit> {
    let options = VerifyOptions {
        trust: read_certificates(&args.trust)?,
        revocations: read_certificates(&args.revocations)?,
        authorities: read_authorities(&args.tsa_cert)?,
        root: args.root.clone(),
        member: None,
    };
    let proof = read_limited(path)?;
    let checked = match scelle::check_proof(&proof, &options) {
        Ok(checked) => checked,
        Err(ProveError::NoProof(what)) => return broken(path, &what, terminal),
        Err(error) => return Err(error).with_context(|| format!("checking {}", path.display())),
    };
    let report = &checked.verification;
    let is_proven = report.verdict != Verdict::Broken;
    let row: Value = serde_json::from_str(&checked.row).context("the row")?;
    if terminal.json {
        let mut seal = verify::object(report);
        if let Some(seal) = seal.as_object_mut() {
            // Of the other files, the audit log among them, a proof says nothing.
            seal.retain(|key, _| !["files", "bytes", "timestamp_asked"].contains(&key.as_str()));
        }
        terminal.object(&json!({
            "verdict": report.verdict.name(),
            "proven": is_proven,
            "tlp": checked.label.tlp.name(),
            "tlp_lowered": lowered(&checked.label),
            "row": is_proven.then_some(&row),
            "seal": seal,
        }))?;
    } else {
        verify::tell(report, terminal)?;
        let head = |text: &str| terminal.paint(Tone::Strong, format!("{text:<11}"));
        terminal.line(format!(
            "{}{}",
            head("Proof is"),
            plain(&checked.label.to_string())
        ))?;
        if is_proven {
            let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            terminal.line(format!(
                "{}{}  {}",
                head("Proven row"),
                text("time_text"),
                plain(&text("message"))
            ))?;
            terminal.line(format!(
                "{}{} @ {}",
                head("Read from"),
                plain(&text("stream")),
                row["offset"]
            ))?;
        }
    }
    Ok(match report.verdict {
        Verdict::Sealed => Exit::COMPLETE,
        Verdict::SignerUnknown => Exit::SIGNER_UNKNOWN,
        _ => Exit::LOSSES,
    })
}

/// Says that a file is no proof, or no longer one.
fn broken(path: &Path, what: &str, terminal: &Terminal) -> Result<Exit> {
    if terminal.json {
        terminal.object(&json!({
            "verdict": Verdict::Broken.name(),
            "proven": false,
            "tlp": null,
            "problems": [what],
        }))?;
    } else {
        terminal.line(terminal.paint(Tone::Bad, "broken"))?;
        terminal.line(format!("  {} is no proof: {}", path.display(), plain(what)))?;
    }
    Ok(Exit::LOSSES)
}

fn read_limited(path: &Path) -> Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_LIMIT).read_to_end(&mut bytes))
        .with_context(reading)?;
    Ok(bytes)
}

/// Which row is meant.
#[derive(Debug, PartialEq)]
enum Wanted {
    Row(RowAt),
    Key { key: u64, ordinal: Option<u32> },
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        const HOW: &str = "write ARTEFACT:STREAM@OFFSET or ARTEFACT:STREAM@OFFSET#ORDINAL, RECORD_KEY.ORDINAL, or a row as JSON";
        let line = match text {
            "-" => Some(
                io::read_to_string(io::stdin().lock().take(FILE_LIMIT))
                    .context("reading the row from standard input")?,
            ),
            json if json.trim_start().starts_with('{') => Some(json.to_owned()),
            path if Path::new(path).is_file() => Some(
                read_small_text(Path::new(path))
                    .with_context(|| format!("reading the row in {path}"))?,
            ),
            _ => None,
        };
        if let Some(line) = line {
            let first = line
                .lines()
                .find(|line| !line.trim().is_empty())
                .context("there is no row")?;
            let row = serde_json::from_str(first)
                .context("the row is not as `timeline --format jsonl` writes it")?;
            return Ok(Self::Row(row));
        }
        let (number, ordinal) = match text.split_once('.') {
            Some((number, ordinal)) => (number, Some(ordinal)),
            None => (text, None),
        };
        if let Ok(key) = number.parse() {
            let ordinal = ordinal.map(str::parse).transpose().context(HOW)?;
            return Ok(Self::Key { key, ordinal });
        }
        let (artefact, rest) = text.split_once(':').context(HOW)?;
        let (stream, at) = rest.rsplit_once('@').context(HOW)?;
        let (offset, ordinal) = match at.split_once('#') {
            Some((offset, ordinal)) => (offset, Some(ordinal)),
            None => (at, None),
        };
        Ok(Self::Row(RowAt {
            artefact: artefact.to_owned(),
            stream: stream.to_owned(),
            offset: offset.parse().context(HOW)?,
            record_key: None,
            ordinal: ordinal.map(str::parse).transpose().context(HOW)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_in_three_ways() {
        let row = |record_key, ordinal| {
            Wanted::Row(RowAt {
                artefact: "windows.evtx".to_owned(),
                stream: "ntfs-1@2024/a@b.evtx".to_owned(),
                offset: 4608,
                record_key,
                ordinal,
            })
        };
        let parsed = |text: &str| text.parse::<Wanted>().expect("a row");
        assert_eq!(
            parsed("windows.evtx:ntfs-1@2024/a@b.evtx@4608"),
            row(None, None)
        );
        assert_eq!(
            parsed("windows.evtx:ntfs-1@2024/a@b.evtx@4608#1"),
            row(None, Some(1))
        );
        let json = r#"{"artefact":"windows.evtx","stream":"ntfs-1@2024/a@b.evtx","offset":4608,"record_key":7,"ordinal":2,"more":[]}"#;
        assert_eq!(parsed(json), row(Some(7), Some(2)));
        let key = |ordinal| Wanted::Key {
            key: u64::MAX,
            ordinal,
        };
        assert_eq!(parsed("18446744073709551615"), key(None));
        assert_eq!(parsed("18446744073709551615.3"), key(Some(3)));
        for wrong in ["", "x", "a:b", "a:b@", "a:b@1#", "a:b@x", "{", "1.x"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
    }
}
