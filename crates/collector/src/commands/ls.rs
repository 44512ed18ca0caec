//! `ls`: what a source holds.

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    path::PathBuf,
};

use anyhow::{Context, Result};
use scelle::{
    engine::{
        Progress,
        profile::Selector,
        traces::{Trace, traces},
    },
    event::{EvidencePath, Moment, Precision, StreamId, Tlp, UtcNanos},
    evidence::{Entry, EntryKind, Snapshot, StreamInfo, StreamState, Unlocked, Volume, VolumeKind},
};
use serde::Serialize;
use serde_json::json;

use crate::{AtMostArgs, Exit, Inputs, OpenArgs, Terminal};

/// List the streams of a bundle, a disk image, a volume or a folder
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  ls disk.raw                                    every stream, with its size and time of change
  ls disk.raw 'Windows/System32/config/*'        those of one folder
  ls disk.raw '**/*.evtx'                        all event logs
  ls disk.raw '**:*' --json                      all alternate data streams, one object a line
  ls disk.raw --deleted                          deleted entries too, and what there still is of them
  ls disk.raw --traces                           files too whose MFT entry is another's by now
  ls case.scelle.zip                             what a bundle holds
  ls disk.raw --shadow-copies '**/*.evtx'        those of every shadow copy too

The names are those that `cat` and a timeline use. A shadow copy is a volume, shown as `VOLUME@TIME/`
where no pattern is given.
Exit status: 0 complete; 1 complete, with losses that are listed; 2 not done.")]
pub struct Args {
    /// Bundle, disk image, block device, folder or file
    source: PathBuf,
    /// Only what fits: `*`, `?` inside a name, `**` for any folders, `:name` for a stream
    pattern: Option<String>,
    /// Show deleted entries too
    #[arg(long)]
    deleted: bool,
    /// Show files too of which only a name is left, in a journal or in a folder's index (NTFS)
    #[arg(long)]
    traces: bool,
    /// Show the streams of shadow copies too
    #[arg(long)]
    shadow_copies: bool,
    #[command(flatten)]
    limit: AtMostArgs,
    #[command(flatten)]
    open: OpenArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    tlp: &'static str,
    volume: &'a str,
    path: String,
    stream: Option<String>,
    size: u64,
    allocated: u64,
    sparse: bool,
    kind: &'static str,
    deleted: bool,
    remains: Option<Remaining>,
    unsupported: Option<&'static str>,
    link_target: Option<String>,
    mft_entry: Option<u64>,
    mft_sequence: Option<u16>,
    times: Times,
}

/// What there still is of a deleted stream.
#[derive(Serialize)]
struct Remaining {
    state: &'static str,
    clusters: u64,
    taken: u64,
}

#[derive(Serialize)]
struct Times {
    created: Option<String>,
    modified: Option<String>,
    changed: Option<String>,
    accessed: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Where the source can't be opened, or the pattern makes no sense.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let source = args.open.open(&args.source)?;
    let label = args.limit.carry(&Inputs::source(&args.source, &source))?;
    if !terminal.json {
        terminal.label(&label);
    }
    let tlp = label.tlp;
    let selector = args.pattern.as_deref().map(Selector::new).transpose();
    let selector = selector
        .map_err(anyhow::Error::msg)
        .context("the pattern")?;
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut lost, mut shown) = (0u64, 0u64);
    for loss in &source.evidence().losses {
        terminal.warn(scelle::show_loss(None, loss));
        lost += 1;
    }
    for one in &source.evidence().unlocked {
        terminal.note(unlocked(one));
    }
    let progress = Progress::default();
    progress.begin("listing", 0, 0);
    let snapshots = source.evidence().snapshots.clone();
    if selector.is_none() {
        for snapshot in &snapshots {
            state(terminal, tlp, snapshot, &mut out)?;
        }
    }
    let source = if args.shadow_copies {
        source.with_shadow_copies()
    } else {
        source
    };
    for volume in &source.evidence().volumes {
        let mut result = Ok(());
        volume.walk(&mut |entry| {
            match entry {
                Ok(entry) => {
                    let written = list(
                        args,
                        terminal,
                        tlp,
                        selector.as_ref(),
                        volume.as_ref(),
                        &entry,
                        &mut out,
                    );
                    match written {
                        Ok(count) => shown += count,
                        Err(error) => {
                            result = Err(error);
                            return ControlFlow::Break(());
                        }
                    }
                }
                Err(loss) => {
                    lost += 1;
                    terminal.warn(scelle::show_loss(Some(volume.info()), &loss));
                }
            }
            ControlFlow::Continue(())
        });
        result?;
        if args.traces && volume.info().kind == VolumeKind::Ntfs {
            let volume = volume.as_ref();
            let name = &source.evidence().name;
            let traces = traces(name, volume).context("reading the journals")?;
            for (stream, why) in &traces.unread {
                terminal.warn(format!("{stream}: {why}"));
            }
            lost += traces.losses + traces.unread.len() as u64;
            for trace in &traces.found {
                let path = EvidencePath::from_bytes(trace.path.as_bytes());
                if selector
                    .as_ref()
                    .is_none_or(|selector| selector.fits(&path, None))
                {
                    show_trace(terminal, tlp, volume, trace, &mut out)?;
                    shown += 1;
                }
            }
        }
    }
    out.flush()?;
    if shown == 0
        && let Some(pattern) = &args.pattern
    {
        terminal.note(format!(
            "nothing fits {pattern:?}; a pattern begins at the volume's root, `**/{pattern}` looks in every folder"
        ));
    }
    Ok(Exit::with_losses(lost > 0))
}

/// What opened a volume.
fn unlocked(one: &Unlocked) -> String {
    let guid = one.protector_guid.as_deref();
    let guid = guid.map(|guid| format!(" {guid}")).unwrap_or_default();
    format!(
        "{} lies in the BitLocker volume {} ({}), opened by {}{guid}",
        one.volume, one.guid, one.method, one.protector
    )
}

/// Shows that there is a shadow copy.
fn state(
    terminal: &Terminal,
    tlp: Tlp,
    snapshot: &Snapshot,
    out: &mut impl Write,
) -> io::Result<()> {
    let id = &*snapshot.volume.info().id;
    let created = Moment::Utc(snapshot.created);
    let elsewhere = (!snapshot.is_here).then_some("its data lies on another volume");
    if terminal.json {
        let line = Line {
            tlp: tlp.name(),
            volume: id,
            path: String::new(),
            stream: None,
            size: snapshot.volume_bytes,
            allocated: 0,
            sparse: false,
            kind: "shadow-copy",
            deleted: false,
            unsupported: elsewhere,
            link_target: None,
            remains: None,
            mft_entry: None,
            mft_sequence: None,
            times: Times {
                created: Some(created.to_iso(Precision::FILETIME)),
                modified: None,
                changed: None,
                accessed: None,
            },
        };
        serde_json::to_writer(&mut *out, &line)?;
        return out.write_all(b"\n");
    }
    let state = elsewhere.map_or(String::new(), |how| format!(": {how}"));
    writeln!(
        out,
        "{:>14}  {:>20}  {id}/  (shadow copy{state})",
        snapshot.volume_bytes,
        created.to_iso(Precision::SECOND),
    )
}

fn list(
    args: &Args,
    terminal: &Terminal,
    tlp: Tlp,
    selector: Option<&Selector>,
    volume: &dyn Volume,
    entry: &Entry,
    out: &mut impl Write,
) -> io::Result<u64> {
    if entry.deleted && !args.deleted {
        return Ok(0);
    }
    let mut shown = 0;
    for stream in &entry.streams {
        if selector.is_some_and(|selector| !selector.fits(&entry.path, stream.name.as_ref())) {
            continue;
        }
        shown += 1;
        if terminal.json {
            serde_json::to_writer(&mut *out, &object(tlp, volume, entry, stream))?;
            out.write_all(b"\n")?;
        } else {
            let id = StreamId {
                volume: volume.info().id.clone(),
                path: entry.path.clone(),
                stream: stream.name.clone(),
            };
            let modified = entry.times.modified.map_or_else(
                || "-".to_owned(),
                |at| entry.times.moment(at).to_iso(Precision::SECOND),
            );
            let deleted = if entry.deleted {
                show_deleted(entry, stream)
            } else {
                String::new()
            };
            let state = match stream.state {
                StreamState::Plain => String::new(),
                StreamState::Encrypted { .. } => "  (encrypted by EFS)".to_owned(),
                StreamState::Unsupported(how) => format!("  ({how}: not readable yet)"),
            };
            writeln!(
                out,
                "{:>14}  {modified:>20}  {id}{deleted}{state}",
                stream.size_bytes
            )?;
        }
    }
    Ok(shown)
}

/// A file of which only a name is left.
fn show_trace(
    terminal: &Terminal,
    tlp: Tlp,
    volume: &dyn Volume,
    trace: &Trace,
    out: &mut impl Write,
) -> io::Result<()> {
    let (volume, id, range) = (&volume.info().id, trace.id, &trace.range);
    if terminal.json {
        let line = json!({
            "tlp": tlp.name(),
            "volume": &**volume,
            "path": trace.path,
            "deleted": true,
            "mft_entry": id.entry,
            "mft_sequence": id.sequence,
            "trace": {
                "artefact": trace.artefact,
                "stream": &*trace.stream,
                "offset": range.start,
                "length": range.end - range.start,
            },
        });
        return writeln!(out, "{line}");
    }
    writeln!(
        out,
        "{:>14}  {:>20}  {volume}/{}  (deleted {}-{}: only its name is left, in {} @ {})",
        "-", "-", trace.path, id.entry, id.sequence, trace.stream, range.start
    )
}

/// Which entry it was, by which `cat` finds it, and what there still is.
fn show_deleted(entry: &Entry, stream: &StreamInfo) -> String {
    let id = entry.id.map(|id| format!(" {}-{}", id.entry, id.sequence));
    let remains = stream.remains.map(|remains| format!(": {remains}"));
    format!(
        "  (deleted{}{})",
        id.unwrap_or_default(),
        remains.unwrap_or_default()
    )
}

fn object<'a>(tlp: Tlp, volume: &'a dyn Volume, entry: &Entry, stream: &StreamInfo) -> Line<'a> {
    // A FILETIME has seven digits; a folder's times have up to nine.
    let time = |at: Option<UtcNanos>| {
        at.map(|at| {
            let whole = at.nanos() % 100 == 0;
            entry.times.moment(at).to_iso(if whole {
                Precision::FILETIME
            } else {
                Precision::NANOSECOND
            })
        })
    };
    Line {
        tlp: tlp.name(),
        volume: &volume.info().id,
        path: entry.path.to_string(),
        stream: stream.name.as_ref().map(EvidencePath::to_string),
        size: stream.size_bytes,
        allocated: stream.allocated_bytes,
        sparse: stream.sparse,
        kind: match entry.kind {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Link => "link",
            EntryKind::Special => "special",
        },
        deleted: entry.deleted,
        remains: stream.remains.map(|remains| {
            let (clusters, taken) = remains.clusters();
            Remaining {
                state: remains.name(),
                clusters,
                taken,
            }
        }),
        unsupported: match stream.state {
            StreamState::Plain | StreamState::Encrypted { .. } => None,
            StreamState::Unsupported(how) => Some(how),
        },
        link_target: entry.link_target.as_ref().map(EvidencePath::to_string),
        mft_entry: entry.id.map(|id| id.entry),
        mft_sequence: entry.id.map(|id| id.sequence),
        times: Times {
            created: time(entry.times.created),
            modified: time(entry.times.modified),
            changed: time(entry.times.changed),
            accessed: time(entry.times.accessed),
        },
    }
}
