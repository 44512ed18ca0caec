//! `story`: all that is said of one file, in order.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use scelle::{
    engine::{
        Progress,
        story::{Event, Layer, Story, Target, story},
    },
    event::{EvidencePath, Tlp},
    evidence::VolumeKind,
};
use scelle_collector::{AtMostArgs, Exit, Inputs, OpenArgs, Terminal};
use serde_json::{Value, json};

/// Tell all that an NTFS volume says of one file, in order, with what contradicts it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  scelle story disk.raw 'Users/alice/Downloads/setup.exe'
  scelle story case.scelle.zip 4711                an MFT entry, in all of its uses
  scelle story disk.raw Windows/evil.dll --json | jq 'select(.findings != [])'

It reads $MFT, $UsnJrnl, $LogFile and the indexes of the directories that the file was in, of the volume
and then of each shadow copy, the newest first: what one of those says alone is marked with its time.
What contradicts something else is marked with !; it is a reason to look, and no proof.
Exit status: 0 complete; 1 complete, with losses, or nothing is known of the file; 2 not done.")]
pub(crate) struct Args {
    /// Bundle, disk image, block device or folder
    source: PathBuf,
    /// Its path from the volume's root, or the number of its MFT entry
    file: String,
    #[command(flatten)]
    limit: AtMostArgs,
    #[command(flatten)]
    open: OpenArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let source = args.open.open(&args.source)?;
    let label = args.limit.carry(&Inputs::source(&args.source, &source))?;
    if !terminal.json {
        terminal.label(&label);
    }
    let target = match args.file.parse() {
        Ok(number) => Target::Entry(number),
        Err(_) => {
            let path = args.file.replace('\\', "/");
            Target::Path(EvidencePath::from_bytes(path.trim_matches('/').as_bytes()))
        }
    };
    let (mut volumes, mut events, mut losses) = (0, 0, 0);
    for loss in &source.evidence().losses {
        terminal.warn(scelle::show_loss(None, loss));
        losses += 1;
    }
    for volume in &source.evidence().volumes {
        if volume.info().kind != VolumeKind::Ntfs {
            continue;
        }
        volumes += 1;
        let progress = Progress::default();
        progress.begin("reading", 0, 0);
        let id = &*volume.info().id;
        // As it is, then as its shadow copies have it, the newest first.
        let snapshots = source.evidence().snapshots.iter().rev();
        let snapshots = snapshots.map(|snapshot| &snapshot.volume);
        let layers: Vec<Layer<'_>> = std::iter::once(volume)
            .chain(snapshots.filter(|snapshot| snapshot.info().base_id() == id))
            .map(|state| Layer {
                name: state.info().id.split_once('@').map(|(_, time)| time),
                volume: state.as_ref(),
            })
            .collect();
        let told = terminal
            .watch(&progress, || {
                story(&source.evidence().name, &layers, &target)
            })
            .context("reading the volume")?;
        for (stream, why) in &told.unread {
            terminal.warn(format!("{stream}: {why}"));
        }
        losses += told.losses + told.unread.len() as u64;
        events += told.events.len();
        tell(terminal, label.tlp, &volume.info().id, &told)?;
    }
    if volumes == 0 {
        bail!("{} holds no NTFS volume", args.source.display());
    }
    if events == 0 {
        terminal.note(format!("nothing is said of {:?}", args.file));
    }
    Ok(Exit::with_losses(losses > 0 || events == 0))
}

fn tell(terminal: &Terminal, tlp: Tlp, volume: &str, story: &Story) -> Result<()> {
    if terminal.json {
        for event in &story.events {
            terminal.object(&line(tlp, volume, event))?;
        }
        return Ok(());
    }
    for event in &story.events {
        let time = event.time().unwrap_or_else(|| "-".to_owned());
        let layer = event
            .layer
            .as_deref()
            .map_or(String::new(), |layer| format!("[{layer}] "));
        terminal.line(format!(
            "{time:<28} {:<12} {:<28} {layer}{}  ({} @ {})",
            event.artefact, event.what, event.message, event.stream, event.range.start
        ))?;
        for finding in &event.findings {
            terminal.line(format!("{:<28} ! {}: {}", "", finding.kind, finding.text))?;
        }
    }
    Ok(())
}

fn line(tlp: Tlp, volume: &str, event: &Event) -> Value {
    let findings: Vec<Value> = event
        .findings
        .iter()
        .map(|finding| json!({ "kind": finding.kind, "text": finding.text }))
        .collect();
    json!({
        "tlp": tlp.name(),
        "volume": volume,
        "time": event.time(),
        "artefact": event.artefact,
        "layer": event.layer,
        "what": event.what,
        "message": event.message,
        "entry": event.entry,
        "sequence": event.sequence,
        "stream": &*event.stream,
        "offset": event.range.start,
        "length": event.range.end - event.range.start,
        "findings": findings,
    })
}
