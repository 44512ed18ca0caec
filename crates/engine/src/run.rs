//! Runs one artefact's parser over one stream, in parallel, in input order.

use std::{
    any::Any,
    io,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use rayon::prelude::*;
use scelle_artefacts::{Artefact, Cut, Emitter, Input, ParseChunks, Parser, Survey, Unit};
use scelle_event::{ArtefactId, Consumer, Context, Loss, Observation, Sink, Warning};
use scelle_formats::{DecodeError, RangeKind, ReadAt, ReadError};

use scelle_parallel::ordered;

/// Units that a stream is cut into at most; at a mebibyte each, more than a volume's largest table has.
const MAX_UNITS: u64 = 1 << 20;

/// What is left out of a unit, or parsed, together: whole records of any size that an `$MFT` has.
const PIECE_BYTES: usize = 64 << 10;

/// How many records and warnings a run gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records observed.
    pub records: u64,
    /// Losses recorded.
    pub warnings: u64,
}

/// Why a run could not go on. Damaged evidence is no reason: it becomes warnings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The consumer could not take the result.
    #[error("writing the result: {0}")]
    Output(#[from] io::Error),
}

/// Parses `input` as `artefact` and hands all it finds to `consumer`, in the order of the input.
///
/// It works on the caller's rayon pool; the result is the same for any number of threads.
/// Memory is a few units for each thread, and what the artefact's survey keeps.
///
/// # Errors
/// Only where `consumer` fails.
pub fn run<C: Consumer>(
    artefact: &dyn Artefact,
    input: Input<'_>,
    context: &Arc<Context>,
    consumer: &C,
) -> Result<Tally, RunError> {
    Ok(run_over(artefact, input, &|_| None, context, consumer)?.0)
}

/// Which bytes of a stream that is cut so are parsed, in order; `None` is all of it.
pub(crate) type Choose<'a> = &'a dyn Fn(&Cut) -> Option<Vec<Range<u64>>>;

/// As [`run`]; a stream that is cut into pieces is surveyed whole, and parsed where `choose` has bytes. The records
/// of its artefact lie at multiples of their size, which divides [`PIECE_BYTES`]. Says besides whether all that was chosen was
/// parsed to its end.
pub(crate) fn run_over<C: Consumer>(
    artefact: &dyn Artefact,
    input: Input<'_>,
    choose: Choose<'_>,
    context: &Arc<Context>,
    consumer: &C,
) -> Result<(Tally, bool), RunError> {
    let run = Run {
        id: artefact.descriptor().id,
        input,
        context,
        consumer,
        records: AtomicU64::new(0),
        warnings: AtomicU64::new(0),
        is_whole: AtomicBool::new(true),
    };
    let len = input.stream.len();
    match artefact.parser() {
        Parser::Bytes(parser) => {
            let cap = parser.cap() as u64;
            let unit = run.unit(|out| {
                if len > cap {
                    let cause = format!("{len} bytes are more than this kind can have ({cap})");
                    out.warn(0..len, Loss::Rest, cause);
                    return;
                }
                run.with_bytes(0..len, &mut Vec::new(), out, |unit, out| {
                    parser.parse(unit, out)
                });
            });
            consumer.join(unit)?;
        }
        Parser::Stream(parser) => {
            let unit = run.unit(|out| {
                let parsed = parser.parse(input, out);
                run.rest(out, parsed, 0..len);
            });
            consumer.join(unit)?;
        }
        Parser::Chunks(parser) => run.chunks(parser, choose)?,
        _ => unreachable!("every way of parsing is scheduled above"),
    }
    let tally = Tally {
        records: run.records.into_inner(),
        warnings: run.warnings.into_inner(),
    };
    Ok((tally, run.is_whole.into_inner()))
}

struct Run<'a, C> {
    id: ArtefactId,
    input: Input<'a>,
    context: &'a Arc<Context>,
    consumer: &'a C,
    records: AtomicU64,
    warnings: AtomicU64,
    /// Whether every parse came to its end.
    is_whole: AtomicBool,
}

impl<C: Consumer> Run<'_, C> {
    fn unit(&self, fill: impl FnOnce(&mut Emitter<'_>)) -> C::Unit {
        let mut counted = Counted {
            inner: self.consumer.unit(self.context),
            records: 0,
            warnings: 0,
        };
        // No input makes a parser panic; should one do so all the same, the loss is recorded, and
        // the rest of the evidence is not lost with it.
        let filled = catch_unwind(AssertUnwindSafe(|| {
            fill(&mut Emitter::new(self.id, &mut counted));
        }));
        if let Err(panic) = filled {
            self.is_whole.store(false, Relaxed);
            Emitter::new(self.id, &mut counted).warn(
                0..self.input.stream.len(),
                Loss::Rest,
                defect(panic.as_ref()),
            );
        }
        self.records.fetch_add(counted.records, Relaxed);
        self.warnings.fetch_add(counted.warnings, Relaxed);
        counted.inner
    }

    fn with_bytes(
        &self,
        range: Range<u64>,
        buffer: &mut Vec<u8>,
        out: &mut Emitter<'_>,
        parse: impl FnOnce(Unit<'_>, &mut Emitter<'_>) -> Result<(), DecodeError>,
    ) {
        let (bytes, unread) = bytes_of(self.input.stream, range.clone(), buffer);
        for (lost, error) in unread {
            out.warn(lost, Loss::Record, error.to_string());
        }
        let unit = Unit {
            bytes,
            base: range.start,
            stream_len: self.input.stream.len(),
            stream: self.input.stream,
        };
        let parsed = parse(unit, out);
        self.rest(out, parsed, range);
    }

    fn chunks(&self, parser: &dyn ParseChunks, choose: Choose<'_>) -> Result<(), RunError> {
        let len = self.input.stream.len();
        let mut prepared = None;
        let unit = self.unit(|out| match parser.prepare(self.input, out) {
            Ok(ready) => prepared = Some(ready),
            Err(error) => self.rest(out, Err(error), 0..len),
        });
        self.consumer.join(unit)?;
        let Some((head, cut)) = prepared else {
            return Ok(());
        };
        let claims_too_much = claims_too_much(&cut, len);
        let units = if parser.sparse() || claims_too_much {
            let (units, unread) = stored_units(&cut, self.input.stream);
            let unit = self.unit(|out| {
                for range in unread {
                    out.warn(range, Loss::Record, "it can't be read");
                }
                if claims_too_much && !parser.sparse() {
                    let cause = "it claims to be longer than anything of its kind; only what is stored was read";
                    out.warn(0..len, Loss::Record, cause);
                }
            });
            self.consumer.join(unit)?;
            units
        } else {
            units(&cut, len)
        };

        let surveyed = catch_unwind(AssertUnwindSafe(|| self.survey(parser, &head, &units)));
        let survey = match surveyed {
            Ok(survey) => survey,
            Err(panic) => {
                self.is_whole.store(false, Relaxed);
                let unit = self.unit(|out| out.warn(0..len, Loss::Rest, defect(panic.as_ref())));
                self.consumer.join(unit)?;
                return Ok(());
            }
        };

        let units = match choose(&cut) {
            Some(only) => pieces(&units, &only),
            None => units,
        };
        ordered(
            units.len(),
            rayon::current_num_threads() * 4,
            |index, buffer| {
                self.unit(|out| {
                    self.with_bytes(units[index].clone(), buffer, out, |unit, out| {
                        parser.parse(&head, &survey, unit, out)
                    });
                })
            },
            |unit| self.consumer.join(unit),
        )?;
        Ok(())
    }

    /// What a parser could not go on from is lost, from there to the end of its input.
    fn rest(&self, out: &mut Emitter<'_>, parsed: Result<(), DecodeError>, range: Range<u64>) {
        if let Err(error) = parsed {
            self.is_whole.store(false, Relaxed);
            let from = error
                .offset()
                .filter(|at| range.contains(at))
                .unwrap_or(range.start);
            out.warn(from..range.end, Loss::Rest, error.to_string());
        }
    }

    fn survey(&self, parser: &dyn ParseChunks, head: &Survey, units: &[Range<u64>]) -> Survey {
        let parts = if parser.surveyed() {
            units
                .par_iter()
                .map_init(Vec::new, |buffer, range| {
                    let (bytes, _) = bytes_of(self.input.stream, range.clone(), buffer);
                    let unit = Unit {
                        bytes,
                        base: range.start,
                        stream_len: self.input.stream.len(),
                        stream: self.input.stream,
                    };
                    parser.scout(head, unit)
                })
                .collect()
        } else {
            Vec::new()
        };
        parser.survey(head, parts, self.input)
    }
}

/// What is said of a parser that panicked.
fn defect(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given");
    format!("the parser failed, which is a defect of this program: {text}")
}

/// Whether a stream claims more units than one could hold: it has holes then, or its length is a lie, and
/// neither memory nor time may follow it.
fn claims_too_much(cut: &Cut, len: u64) -> bool {
    let bytes = cut.range.end.min(len).saturating_sub(cut.range.start);
    bytes / cut.unit_bytes.max(1) as u64 > MAX_UNITS
}

fn units(cut: &Cut, len: u64) -> Vec<Range<u64>> {
    let end = cut.range.end.min(len);
    let step = cut.unit_bytes.max(1);
    (cut.range.start..end)
        .step_by(step)
        .map(|start| start..end.min(start + step as u64))
        .collect()
}

/// The pieces of units in which `only` has bytes, neighbours in one unit together.
fn pieces(units: &[Range<u64>], only: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut pieces: Vec<Range<u64>> = Vec::new();
    for unit in units {
        for start in unit.clone().step_by(PIECE_BYTES) {
            let piece = start..unit.end.min(start + PIECE_BYTES as u64);
            let after = only.partition_point(|range| range.end <= piece.start);
            if only.get(after).is_none_or(|range| range.start >= piece.end) {
                continue;
            }
            match pieces.last_mut() {
                Some(last) if last.end == piece.start && piece.start > unit.start => {
                    last.end = piece.end;
                }
                _ => pieces.push(piece),
            }
        }
    }
    pieces
}

/// The units that hold stored bytes, and what can't be read and lies in none of them.
fn stored_units(cut: &Cut, stream: &dyn ReadAt) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    let end = cut.range.end.min(stream.len());
    let step = cut.unit_bytes.max(1) as u64;
    let mut units: Vec<Range<u64>> = Vec::new();
    let mut unread: Vec<Range<u64>> = Vec::new();
    for (range, kind) in stream.ranges() {
        let from = range.start.max(cut.range.start);
        let to = range.end.min(end);
        if from >= to {
            continue;
        }
        match kind {
            RangeKind::Data => {
                let first = cut.range.start + (from - cut.range.start) / step * step;
                let next = units.last().map_or(first, |unit| unit.end.max(first));
                units.extend(
                    (next..to)
                        .step_by(step as usize)
                        .map(|start| start..end.min(start + step)),
                );
            }
            RangeKind::Unreadable => unread.push(from..to),
            RangeKind::Hole | RangeKind::PastValid => {}
        }
    }
    // What a unit has of them is told when it is read.
    unread.retain(|range| {
        let after = units.partition_point(|unit| unit.end <= range.start);
        units.get(after).is_none_or(|unit| {
            unit.start >= range.end || !(unit.start <= range.start && range.end <= unit.end)
        })
    });
    (units, unread)
}

/// The bytes of `range`: borrowed where they are memory already, else read into `buffer`.
/// What can't be read is zeros there, and listed; what lies past the end is left out.
fn bytes_of<'a>(
    stream: &'a dyn ReadAt,
    range: Range<u64>,
    buffer: &'a mut Vec<u8>,
) -> (&'a [u8], Vec<(Range<u64>, ReadError)>) {
    let inside = range.start.min(stream.len())..range.end.min(stream.len());
    if let Some(bytes) = stream.slice_at(inside) {
        return (bytes, Vec::new());
    }
    const PAGE: usize = 4096;
    let length = (range.end - range.start) as usize;
    buffer.resize(length, 0);
    let mut unread: Vec<(Range<u64>, ReadError)> = Vec::new();
    let mut done = 0;
    while done < length {
        let offset = range.start + done as u64;
        match stream.read_at(offset, &mut buffer[done..]) {
            Ok(0) => {
                // The stream is shorter than it was said to be.
                let error = ReadError::Short {
                    what: "stream",
                    offset,
                    need: (length - done) as u64,
                    have: 0,
                };
                unread.push((offset..range.end, error));
                break;
            }
            Ok(count) => done += count,
            Err(error) => {
                let skip = (PAGE - (offset % PAGE as u64) as usize).min(length - done);
                buffer[done..done + skip].fill(0);
                done += skip;
                let lost = offset..offset + skip as u64;
                match unread.last_mut() {
                    Some((last, _)) if last.end == lost.start => last.end = lost.end,
                    _ => unread.push((lost, error)),
                }
            }
        }
    }
    (&buffer[..done], unread)
}

struct Counted<S> {
    inner: S,
    records: u64,
    warnings: u64,
}

impl<S: Sink> Sink for Counted<S> {
    fn observe(&mut self, observation: &Observation<'_>) {
        self.records += 1;
        self.inner.observe(observation);
    }

    fn warn(&mut self, warning: Warning) {
        self.warnings += 1;
        self.inner.warn(warning);
    }
}
