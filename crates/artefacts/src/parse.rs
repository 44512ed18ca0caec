//! The ways in which a stream is handed to a parser.
//!
//! A parser never sees threads: the engine cuts, schedules, and joins in input order. Container
//! parsers (registry keys, database rows, event-log records of stated providers) join this enum
//! with their first users.

use std::{any::Any, ops::Range};

use scelle_formats::{DecodeError, ReadAt};

use crate::Emitter;

/// How an artefact is parsed.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Parser {
    /// Whole, and small: at most the parser's cap.
    Bytes(&'static dyn ParseBytes),
    /// Cut into pieces that are parsed in parallel.
    Chunks(&'static dyn ParseChunks),
    /// With random access.
    Stream(&'static dyn ParseStream),
}

/// A piece of a stream.
#[derive(Clone)]
pub struct Unit<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where its first byte lies in the stream.
    pub base: u64,
    /// The length of the whole stream.
    pub stream_len: u64,
    /// The whole stream, for the few records that carry on in another piece.
    pub stream: &'a dyn ReadAt,
}

/// The stream that is parsed, and what completes it.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The stream.
    pub stream: &'a dyn ReadAt,
    /// The descriptor's companions, in its order; `None` where one is absent.
    pub companions: &'a [Option<&'a dyn ReadAt>],
}

impl<'a> Input<'a> {
    /// A stream alone.
    pub fn alone(stream: &'a dyn ReadAt) -> Self {
        Self {
            stream,
            companions: &[],
        }
    }

    /// The companion of that number, where it is there.
    pub fn companion(&self, number: usize) -> Option<&'a dyn ReadAt> {
        self.companions.get(number).copied().flatten()
    }
}

/// Parses a stream that is handed over whole.
pub trait ParseBytes: Send + Sync {
    /// The size past which a stream can't be of this kind.
    fn cap(&self) -> usize;

    /// Parses the stream.
    ///
    /// # Errors
    /// Where nothing after this can be trusted; the engine stores it as `Loss::Rest`.
    fn parse(&self, unit: Unit<'_>, out: &mut Emitter<'_>) -> Result<(), DecodeError>;
}

/// Parses a stream at random places, within memory that it bounds itself.
pub trait ParseStream: Send + Sync {
    /// Parses the stream.
    ///
    /// # Errors
    /// Where nothing after this can be trusted; the engine stores it as `Loss::Rest`.
    fn parse(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<(), DecodeError>;
}

/// Parses one record alone.
pub trait ParseAlone: Send + Sync {
    /// Parses the record that begins at `at`, and gives what the whole stream's parser gives of it. Whatever the
    /// result depends on is read through `stream`: what is not there is an error, and never taken for zeros.
    ///
    /// # Errors
    /// Where no record begins there, or something that it rests on can't be read.
    fn parse_alone(
        &self,
        at: u64,
        stream: &dyn ReadAt,
        out: &mut Emitter<'_>,
    ) -> Result<(), DecodeError>;
}

/// How a stream is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The part that is cut into units; what lies outside was dealt with by
    /// [`Chunked::prepare`], or is a loss that it recorded.
    pub range: Range<u64>,
    /// The size of a unit; the last may be shorter. A multiple of the record size.
    pub unit_bytes: usize,
    /// Where a record that did not change need not be parsed of a snapshot again.
    pub apart: Option<Apart>,
}

/// What a record that did not change hangs on besides its own bytes: where these are the same, one that was parsed in a newer
/// state of a stream, at the same place, need not be parsed in an older one. Of an `$MFT` that is a decision: an entry that did
/// not change is told once, at the path that it has in the newer state; that a folder above it had another name, the folder's own
/// record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apart {
    /// Bytes of a record, which divide 64 KiB.
    pub record_bytes: usize,
    /// The number of the first record.
    pub first: u64,
    /// Up to where records are missed, and told, where none are found.
    pub counted_to: u64,
}

impl Apart {
    /// Whether all that `older` tells of a record, this tells of it.
    pub fn covers(&self, older: &Self) -> bool {
        (self.record_bytes, self.first) == (older.record_bytes, older.first)
            && self.counted_to >= older.counted_to
    }
}

/// Parses a stream piece by piece.
///
/// [`prepare`](Self::prepare) looks at the head and says how to cut. An artefact that has to know
/// the whole before it can speak of a part has a survey besides: [`scout`](Self::scout) sees every
/// unit, [`survey`](Self::survey) joins what the scouts found in input order, and the result is
/// shared, immutable, by all calls of [`parse`](Self::parse).
pub trait Chunked: Send + Sync {
    /// What the head says: record size, version, flags.
    type Head: Send + Sync + 'static;
    /// What one unit adds to the survey.
    type Part: Send + 'static;
    /// What all units know.
    type Survey: Send + Sync + 'static;

    /// Whether there is a first pass over the units.
    const SURVEYED: bool;

    /// Whether units that hold no stored bytes are passed over: holes are gaps then, and what
    /// can't be read is told by the engine.
    const SPARSE: bool = false;

    /// Reads the head and says how to cut the stream.
    ///
    /// # Errors
    /// Where nothing can be trusted; the engine stores it as `Loss::Rest`.
    fn prepare(
        &self,
        input: Input<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(Self::Head, Cut), DecodeError>;

    /// Looks at one unit in the first pass. Losses are reported by [`parse`](Self::parse), not here.
    fn scout(&self, head: &Self::Head, unit: Unit<'_>) -> Self::Part;

    /// Joins the parts, in input order; it may read the stream and its companions in any order.
    fn survey(&self, head: &Self::Head, parts: Vec<Self::Part>, input: Input<'_>) -> Self::Survey;

    /// Parses one unit.
    ///
    /// # Errors
    /// Where nothing more of this unit can be trusted; the engine stores it as a loss of the
    /// unit's rest, and goes on with the next one.
    fn parse(
        &self,
        head: &Self::Head,
        survey: &Self::Survey,
        unit: Unit<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(), DecodeError>;
}

/// A head, a part or a survey whose type only its artefact knows.
pub struct Survey(Box<dyn Any + Send + Sync>);
/// What one unit adds to a survey.
pub struct SurveyPart(Box<dyn Any + Send>);

/// [`Chunked`] without its types, so that the registry can hold any. Implemented for all of them;
/// only the engine calls it.
pub trait ParseChunks: Send + Sync {
    /// [`Chunked::SURVEYED`].
    fn surveyed(&self) -> bool;
    /// [`Chunked::SPARSE`].
    fn sparse(&self) -> bool;
    /// [`Chunked::prepare`].
    ///
    /// # Errors
    /// As there.
    fn prepare(
        &self,
        input: Input<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(Survey, Cut), DecodeError>;
    /// [`Chunked::scout`].
    fn scout(&self, head: &Survey, unit: Unit<'_>) -> SurveyPart;
    /// [`Chunked::survey`].
    fn survey(&self, head: &Survey, parts: Vec<SurveyPart>, input: Input<'_>) -> Survey;
    /// [`Chunked::parse`].
    ///
    /// # Errors
    /// As there.
    fn parse(
        &self,
        head: &Survey,
        survey: &Survey,
        unit: Unit<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(), DecodeError>;
}

const OWN: &str = "the engine hands back what the same artefact made";

impl Survey {
    fn get<T: 'static>(&self) -> &T {
        self.0.downcast_ref().expect(OWN)
    }
}

impl<C: Chunked> ParseChunks for C {
    fn surveyed(&self) -> bool {
        C::SURVEYED
    }

    fn sparse(&self) -> bool {
        C::SPARSE
    }

    fn prepare(
        &self,
        input: Input<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(Survey, Cut), DecodeError> {
        let (head, cut) = Chunked::prepare(self, input, out)?;
        Ok((Survey(Box::new(head)), cut))
    }

    fn scout(&self, head: &Survey, unit: Unit<'_>) -> SurveyPart {
        SurveyPart(Box::new(Chunked::scout(self, head.get(), unit)))
    }

    fn survey(&self, head: &Survey, parts: Vec<SurveyPart>, input: Input<'_>) -> Survey {
        let parts = parts
            .into_iter()
            .map(|part| *part.0.downcast().expect(OWN))
            .collect();
        Survey(Box::new(Chunked::survey(self, head.get(), parts, input)))
    }

    fn parse(
        &self,
        head: &Survey,
        survey: &Survey,
        unit: Unit<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(), DecodeError> {
        Chunked::parse(self, head.get(), survey.get(), unit, out)
    }
}
