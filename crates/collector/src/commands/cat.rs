//! `cat`: the bytes that a timeline's row points to.

use std::{
    io::{self, Write},
    ops::Range,
    path::PathBuf,
    str::FromStr,
};

use anyhow::{Context, Result};
use scelle::{
    evidence::FileId,
    formats::{RangeKind, ReadAt, ReadAtExt, ReadError},
};

use crate::{AtMostArgs, Exit, Inputs, OpenArgs, Terminal};

/// Bytes that are handed on in one piece.
const BLOCK_BYTES: u64 = 1 << 20;

/// Write a stream's bytes, or some of them, to standard output
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cat case.scelle.zip 'Windows/System32/config/SAM' > SAM
  cat disk.raw '$MFT' --range 4096..1024 | xxd           the record at 4096, of 1024 bytes
  cat disk.raw 'ntfs-1234567890ABCDEF/Users/a/x.txt:Zone.Identifier'
  cat case.scelle.zip '$Extend/$UsnJrnl:$J' --stored     without its holes
  cat disk.raw Users/a/plan.docx --deleted 4711-3        of a deleted entry, as ls --deleted names it

A timeline's `stream`, `offset` and `length` are what stands here as STREAM and --range.
Exit status: 0 complete; 1 some of the bytes could not be read and are zeros; 2 not done.")]
pub struct Args {
    /// Bundle, disk image, block device, folder or file
    source: PathBuf,
    /// The stream, as `ls` and a timeline name it; the volume may be left out if there is one
    stream: String,
    /// Only LEN bytes from OFFSET on
    #[arg(long, value_name = "OFFSET..LEN")]
    range: Option<OffsetAndLength>,
    /// The stream of this deleted entry, ENTRY-SEQUENCE: what its clusters hold now
    #[arg(long, value_name = "ID")]
    deleted: Option<DeletedId>,
    /// Only what is stored: leave out the holes of a sparse stream
    #[arg(long, conflicts_with = "range")]
    stored: bool,
    #[command(flatten)]
    limit: AtMostArgs,
    #[command(flatten)]
    open: OpenArgs,
}

/// `ENTRY-SEQUENCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeletedId(FileId);

impl FromStr for DeletedId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('-')
            .and_then(|(entry, sequence)| {
                Some(Self(FileId {
                    entry: entry.parse().ok()?,
                    sequence: sequence.parse().ok()?,
                }))
            })
            .ok_or_else(|| "write ENTRY-SEQUENCE, as in 4711-3".to_owned())
    }
}

/// `OFFSET..LEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OffsetAndLength {
    offset: u64,
    length: u64,
}

impl FromStr for OffsetAndLength {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        text.split_once("..")
            .and_then(|(offset, length)| {
                Some(Self {
                    offset: number(offset)?,
                    length: number(length)?,
                })
            })
            .ok_or_else(|| "write OFFSET..LEN, as in 4096..1024".to_owned())
    }
}

/// Runs the command.
///
/// # Errors
/// Where the source or the stream can't be opened.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit> {
    let source = args.open.open(&args.source)?;
    let label = args.limit.carry(&Inputs::source(&args.source, &source))?;
    for loss in &source.evidence().losses {
        if let ReadError::Locked { .. } = loss.error {
            terminal.warn(scelle::show_loss(None, loss));
        }
    }
    let (id, stream) = match args.deleted {
        None => source.stream(&args.stream)?,
        Some(DeletedId(entry)) => {
            let (id, info, stream) = source.deleted_stream(&args.stream, entry)?;
            if let Some(remains) = info.remains {
                terminal.note(format!("{id} is deleted: {remains}"));
            }
            (id, stream)
        }
    };
    let len = stream.len();
    let ranges: Vec<Range<u64>> = if args.stored {
        let stored = |kind| matches!(kind, RangeKind::Data | RangeKind::Unreadable);
        stream
            .ranges()
            .filter_map(|(range, kind)| stored(kind).then_some(range))
            .collect()
    } else {
        let (start, length) = args
            .range
            .map_or((0, len), |range| (range.offset, range.length));
        let end = start.saturating_add(length);
        if end > len {
            terminal.warn(format!(
                "{id} has {len} bytes, the range ends at {end}: it is cut there"
            ));
        }
        std::iter::once(start.min(len)..end.min(len)).collect()
    };
    terminal.label(&label);
    let mut out = io::stdout().lock();
    let mut lost = 0;
    for range in ranges {
        lost += copy(stream.as_ref(), range, &mut out, terminal)
            .with_context(|| format!("writing {id}"))?;
    }
    out.flush()?;
    Ok(Exit::with_losses(lost > 0))
}

/// Writes a range; what can't be read is written as zeros, said, and counted.
fn copy(
    stream: &dyn ReadAt,
    range: Range<u64>,
    out: &mut impl Write,
    terminal: &Terminal,
) -> io::Result<u64> {
    const PAGE: u64 = 4096;
    let mut buffer = vec![0; BLOCK_BYTES.min(range.end - range.start) as usize];
    let (mut at, mut lost) = (range.start, 0);
    while at < range.end {
        let want = buffer.len().min((range.end - at) as usize);
        match stream.read_full_at(at, &mut buffer[..want]) {
            Ok(have) if have > 0 => {
                out.write_all(&buffer[..have])?;
                at += have as u64;
            }
            unread => {
                // Block by block, so that one bad sector does not take its neighbours.
                if want as u64 > PAGE {
                    buffer.truncate(PAGE as usize);
                    continue;
                }
                let why =
                    unread.map_or_else(|error| error.to_string(), |_| "the source ends".into());
                terminal.warn(format!("{want} bytes at {at} are written as zeros: {why}"));
                buffer[..want].fill(0);
                out.write_all(&buffer[..want])?;
                at += want as u64;
                lost += want as u64;
            }
        }
    }
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = |offset, length| Ok(OffsetAndLength { offset, length });
        assert_eq!("4096..1024".parse(), range(4096, 1024));
        assert_eq!("0x10..2".parse(), range(16, 2));
        for wrong in ["", "1", "1..", "..2", "1...2", "a..b", "-1..2"] {
            assert!(wrong.parse::<OffsetAndLength>().is_err(), "{wrong}");
        }
    }
}
