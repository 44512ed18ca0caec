//! One record, from no more of its stream than it rests on.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use scelle_artefacts::{Artefact, Candidate, Emitter, Input};
use scelle_event::{ArtefactId, Consumer, Context, Observation, Sink, StreamId, Warning};
use scelle_formats::{Bytes, DecodeError, ReadAt, ReadAtExt as _, ReadError};

use crate::{RunError, run};

/// A stream of an artefact without a parser of single records is taken whole, up to this size.
pub const WHOLE_BYTES: usize = 96 << 10;

/// Why a record can't be parsed alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AloneError {
    /// The artefact's rows rest on too much.
    #[error(
        "a row of {0} rests on other streams, or on more of its own than can be shown by itself; \
         rows of windows.evtx, and of small files that stand alone, can be"
    )]
    Unsupported(ArtefactId),
    /// A timeline has no row of that artefact out of the stream.
    #[error("the stream does not look like {0}, so no timeline has a row of that kind of it")]
    Unrecognised(ArtefactId),
    /// Something that the record rests on is not there, or damaged.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The parser failed.
    #[error("the parser failed, which is a defect of this program")]
    Defect,
    /// The consumer could not take the result.
    #[error(transparent)]
    Output(#[from] RunError),
}

/// Whether a row of that artefact, of a stream of that length, can rest on the stream alone.
///
/// # Errors
/// [`AloneError::Unsupported`] where it can't.
pub fn check_alone(artefact: &dyn Artefact, len: u64) -> Result<(), AloneError> {
    let descriptor = artefact.descriptor();
    let is_small = descriptor.companions.is_empty() && len <= WHOLE_BYTES as u64;
    if artefact.alone().is_some() || is_small {
        Ok(())
    } else {
        Err(AloneError::Unsupported(descriptor.id))
    }
}

/// Parses the record that begins at `at` of the stream `id` as `artefact`, which has to recognise the stream, and hands it to
/// `consumer`.
///
/// Whatever the result depends on is read through `stream`, and what can't be read is an error: so a stream that holds only what
/// such a run read gives the same.
///
/// # Errors
/// Where no record begins there, or what it rests on can't be read.
pub fn run_alone<C: Consumer>(
    artefact: &dyn Artefact,
    id: &StreamId,
    at: u64,
    stream: &dyn ReadAt,
    context: &Arc<Context>,
    consumer: &C,
) -> Result<(), AloneError> {
    check_alone(artefact, stream.len())?;
    recognise(artefact, id, stream)?;
    let only = At { consumer, at };
    let Some(parser) = artefact.alone() else {
        let mut bytes = vec![0; stream.len() as usize];
        stream
            .read_exact_at("the stream", 0, &mut bytes)
            .map_err(DecodeError::from)?;
        run(artefact, Input::alone(&Bytes(bytes)), context, &only)?;
        return Ok(());
    };
    let mut unit = only.unit(context);
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        parser.parse_alone(
            at,
            stream,
            &mut Emitter::new(artefact.descriptor().id, &mut unit),
        )
    }));
    parsed.map_err(|_| AloneError::Defect)??;
    only.join(unit).map_err(RunError::from)?;
    Ok(())
}

/// Refuses a stream that a timeline would not parse as `artefact`. What decides is read, and can't be passed over in silence.
fn recognise(
    artefact: &dyn Artefact,
    id: &StreamId,
    stream: &dyn ReadAt,
) -> Result<(), AloneError> {
    let mut head = vec![0; stream.len().min(Candidate::HEAD_BYTES as u64) as usize];
    stream
        .read_exact_at("the stream's head", 0, &mut head)
        .map_err(DecodeError::from)?;
    let candidate = Candidate::new(&id.path, id.stream.as_ref(), stream.len(), || {
        Some(Box::new(stream))
    });
    if artefact.recognises(&candidate) {
        Ok(())
    } else {
        Err(AloneError::Unrecognised(artefact.descriptor().id))
    }
}

/// Hands on the records that begin at one place.
pub struct At<'a, C> {
    /// Who takes them.
    pub consumer: &'a C,
    /// The place.
    pub at: u64,
}

/// The unit of [`At`].
pub struct AtUnit<U> {
    unit: U,
    at: u64,
}

impl<C: Consumer> Consumer for At<'_, C> {
    type Unit = AtUnit<C::Unit>;

    fn unit(&self, context: &Arc<Context>) -> Self::Unit {
        AtUnit {
            unit: self.consumer.unit(context),
            at: self.at,
        }
    }

    fn join(&self, unit: Self::Unit) -> std::io::Result<()> {
        self.consumer.join(unit.unit)
    }
}

impl<U: Sink> Sink for AtUnit<U> {
    fn observe(&mut self, observation: &Observation<'_>) {
        if observation.provenance.primary.range.start == self.at {
            self.unit.observe(observation);
        }
    }

    fn warn(&mut self, warning: Warning) {
        if warning.provenance.primary.range.start == self.at {
            self.unit.warn(warning);
        }
    }
}

/// A stream that notes what is read of it.
pub struct Watched<'a> {
    stream: &'a dyn ReadAt,
    read: Mutex<Vec<Range<u64>>>,
}

impl<'a> Watched<'a> {
    /// A stream of which nothing was read yet.
    pub fn new(stream: &'a dyn ReadAt) -> Self {
        Self {
            stream,
            read: Mutex::default(),
        }
    }

    /// What was read, in order, neighbours together.
    pub fn read(&self) -> Vec<Range<u64>> {
        let mut read = self
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        read.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in read {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }
}

impl ReadAt for Watched<'_> {
    fn len(&self) -> u64 {
        self.stream.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let count = self.stream.read_at(offset, buf)?;
        if count > 0 {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.push(offset..offset + count as u64);
        }
        Ok(count)
    }
}
