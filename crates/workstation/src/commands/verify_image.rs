//! `verify-image`: whether a disk is still the one that its image was made of.

use std::{ops::Range, path::PathBuf};

use anyhow::Result;
use scelle::{
    engine::{
        Progress,
        hash::{Algorithm, hash},
    },
    evidence::{Image, OpenOptions, StoredHash, open_disk},
    formats::ReadAt,
};
use scelle_collector::{Exit, Inputs, StateArgs, Terminal, Tone};
use serde_json::json;

/// Read all of a disk image, and compare the hashes that it carries
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle verify-image disk.E01          all segments, named by the first
  scelle verify-image disk.vhdx         what carries no hashes is read and hashed all the same
  scelle verify-image disk.E01 --json

Exit status: 0 all was read, and no hash differs; 1 a hash differs, or some bytes could not be
read; 2 not done.")]
pub(crate) struct Args {
    /// The image, or the first of its files
    image: PathBuf,
    #[command(flatten)]
    label: StateArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let mut inputs = Inputs::default();
    inputs.add_file(&args.image);
    let label = args.label.carry(&inputs)?;
    let image = open_disk(&args.image, &OpenOptions::default())?;
    if !terminal.json {
        terminal.label(&label);
    }
    for loss in &image.losses {
        terminal.warn(&loss.error);
    }
    let algorithms = algorithms(&image);
    let progress = Progress::default();
    let hashed = terminal.watch(&progress, || {
        progress.begin("reading", image.disk.len(), 1);
        hash(&image.disk, &algorithms, &progress)
    });
    let (hashes, unreadable) = match hashed {
        Ok(hashed) => (hashed.hashes, Vec::new()),
        // A hash of less than all would mislead; what can't be read is told instead.
        Err(_) => (Vec::new(), unreadable(&image.disk)),
    };
    let found = |stored: &StoredHash| {
        let same = |(algorithm, _): &&(Algorithm, String)| algorithm.name() == stored.algorithm;
        hashes.iter().find(same).map(|(_, hex)| hex)
    };
    let differs = |stored: &StoredHash| found(stored).is_some_and(|hex| *hex != stored.hex);
    let is_whole = image.losses.is_empty() && unreadable.is_empty();
    if terminal.json {
        let stored: Vec<_> = image
            .hashes
            .iter()
            .map(|stored| {
                json!({
                    "algorithm": stored.algorithm,
                    "hash": stored.hex,
                    "matches": found(stored).map(|hex| *hex == stored.hex),
                })
            })
            .collect();
        let losses: Vec<_> = image
            .losses
            .iter()
            .map(|loss| loss.error.to_string())
            .collect();
        let hashes: serde_json::Map<_, _> = hashes
            .iter()
            .map(|(algorithm, hex)| (algorithm.name().to_owned(), hex.as_str().into()))
            .collect();
        let unreadable: Vec<_> = unreadable
            .iter()
            .map(|lost| [lost.start, lost.end])
            .collect();
        terminal.object(&json!({
            "image": args.image.to_string_lossy(),
            "kind": image.kind.to_string(),
            "tlp": label.tlp.name(),
            "bytes": image.disk.len(),
            "hashes": hashes,
            "stored": stored,
            "unreadable": unreadable,
            "losses": losses,
        }))?;
    } else {
        terminal.line(format!(
            "{} ({}), a disk of {} bytes",
            args.image.display(),
            image.kind,
            image.disk.len()
        ))?;
        for lost in &unreadable {
            let (start, end) = (lost.start, lost.end);
            terminal.line(format!(
                "unreadable from {start} to {end}, {} bytes",
                end - start
            ))?;
        }
        for (algorithm, hex) in &hashes {
            let stored = image
                .hashes
                .iter()
                .find(|one| one.algorithm == algorithm.name());
            let verdict = match stored {
                None => String::new(),
                Some(stored) if stored.hex == *hex => {
                    terminal.paint(Tone::Good, "  as the image states")
                }
                Some(stored) => {
                    let text = format!("  DIFFERS: the image states {}", stored.hex);
                    terminal.paint(Tone::Bad, text)
                }
            };
            terminal.line(format!("{:<7} {hex}{verdict}", algorithm.name()))?;
        }
        if image.hashes.is_empty() {
            terminal.line("the image carries no hash of the disk")?;
        }
    }
    Ok(Exit::with_losses(
        !is_whole || image.hashes.iter().any(differs),
    ))
}

/// What the image has hashes of, and ours.
fn algorithms(image: &Image) -> Vec<Algorithm> {
    let is_asked = |algorithm: &Algorithm| {
        *algorithm == Algorithm::Sha256
            || image
                .hashes
                .iter()
                .any(|stored| stored.algorithm == algorithm.name())
    };
    Algorithm::ALL.into_iter().filter(is_asked).collect()
}

/// What of a disk can't be read, to the sector of 4 KiB, neighbours joined.
fn unreadable(disk: &dyn ReadAt) -> Vec<Range<u64>> {
    const STEP: u64 = 4096;
    let mut lost: Vec<Range<u64>> = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < disk.len() {
        match disk.read_at(at, &mut buffer) {
            Ok(have) if have > 0 => at += have as u64,
            _ => {
                let end = at.saturating_add(STEP - at % STEP).min(disk.len());
                match lost.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => lost.push(at..end),
                }
                at = end;
            }
        }
    }
    lost
}
