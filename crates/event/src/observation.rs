//! One record, every time it holds, every place it was read from; and what was lost.

use std::ops::Range;

use smallvec::SmallVec;

use crate::{Meaning, Moment, Precision, Record, UtcNanos};

/// An artefact's name, `os.kebab-case`.
pub type ArtefactId = &'static str;

/// Which of the streams handed to a parser: the one it parses, or one of its companions.
///
/// The engine knows their names ([`Context::streams`](crate::Context)), so that a parser never
/// carries any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamRef(pub u16);

impl StreamRef {
    /// The stream that is parsed.
    pub const PRIMARY: Self = Self(0);

    /// The companion of that number in the descriptor, from 0.
    pub const fn companion(number: u16) -> Self {
        Self(number + 1)
    }
}

/// What a span's offsets count in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The logical stream: holes as zeros, file-system compression undone.
    #[default]
    Stream,
    /// What the named codec made of the stream.
    Decoded(&'static str),
}

/// A range of bytes of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which stream.
    pub stream: StreamRef,
    /// What the offsets count in.
    pub layer: Layer,
    /// Where the bytes lie.
    pub range: Range<u64>,
    /// The record's own number, where the format has one.
    pub record: Option<u64>,
}

impl Span {
    /// Bytes of the stream that is parsed.
    pub fn new(range: Range<u64>) -> Self {
        Self {
            stream: StreamRef::PRIMARY,
            layer: Layer::Stream,
            range,
            record: None,
        }
    }

    /// The same bytes, with the record's own number.
    #[must_use]
    pub fn numbered(mut self, record: u64) -> Self {
        self.record = Some(record);
        self
    }

    /// The same range, in another stream.
    #[must_use]
    pub fn of(mut self, stream: StreamRef) -> Self {
        self.stream = stream;
        self
    }

    /// The same range, in what a codec made of the stream.
    #[must_use]
    pub fn decoded(mut self, codec: &'static str) -> Self {
        self.layer = Layer::Decoded(codec);
        self
    }
}

/// Why a further place belongs to a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A record that carries on the first one.
    Extension,
    /// A transaction log.
    Log,
    /// A write-ahead log.
    Wal,
    /// Another file that completes this one.
    Companion,
    /// What the record lies in.
    Container,
    /// What the fact was computed from.
    Basis,
}

impl Role {
    /// The name used in timelines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Extension => "extension",
            Self::Log => "log",
            Self::Wal => "wal",
            Self::Companion => "companion",
            Self::Container => "container",
            Self::Basis => "basis",
        }
    }
}

/// Where a fact comes from: enough to find the bytes again, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Where the record lies.
    pub primary: Span,
    /// The other places that the fact rests on.
    pub also: SmallVec<[(Role, Span); 1]>,
}

impl From<Span> for Provenance {
    fn from(primary: Span) -> Self {
        Self {
            primary,
            also: SmallVec::new(),
        }
    }
}

impl Provenance {
    /// The same fact, resting on one more place.
    #[must_use]
    pub fn with(mut self, role: Role, span: Span) -> Self {
        self.also.push((role, span));
        self
    }
}

/// A moment, what it means, and where in the record it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// What the bytes say.
    pub moment: Moment,
    /// The step of the source's clock field.
    pub precision: Precision,
    /// What the moment says.
    pub meaning: Meaning,
    /// Which of several attributes of the record holds it: `si`, `fn`, …
    pub attribute: Option<&'static str>,
}

impl Stamp {
    /// A stamp from a FILETIME; zero and "never" (all bits of a signed maximum) are no stamp.
    pub fn filetime(ticks_100ns: u64, meaning: Meaning) -> Option<Self> {
        const NEVER: u64 = i64::MAX as u64;
        if ticks_100ns == 0 || ticks_100ns == NEVER || ticks_100ns == u64::MAX {
            return None;
        }
        Some(Self {
            moment: Moment::Utc(UtcNanos::from_filetime(ticks_100ns)),
            precision: Precision::FILETIME,
            meaning,
            attribute: None,
        })
    }

    /// A stamp from whole seconds since 1970 UTC; zero is no stamp.
    pub fn unix_seconds(seconds: i64, meaning: Meaning) -> Option<Self> {
        (seconds != 0).then(|| Self {
            moment: Moment::Utc(UtcNanos::from_unix_seconds(seconds)),
            precision: Precision::SECOND,
            meaning,
            attribute: None,
        })
    }

    /// The same stamp, said to stand in that attribute.
    #[must_use]
    pub fn in_attribute(mut self, attribute: &'static str) -> Self {
        self.attribute = Some(attribute);
        self
    }
}

/// One record, and every time that it holds.
#[derive(Clone)]
pub struct Observation<'a> {
    /// Its times, in the order of the record; may be empty.
    pub times: &'a [Stamp],
    /// Where it was read.
    pub provenance: Provenance,
    /// What it says.
    pub record: &'a dyn Record,
}

/// How much a damage took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// One field; the record stands.
    Field(&'static str),
    /// One record; the next was found.
    Record,
    /// All that follows.
    Rest,
}

impl Loss {
    /// The name used in warnings: `field NAME`, `record` or `rest`.
    pub fn name(&self) -> String {
        match self {
            Self::Field(name) => format!("field {name}"),
            Self::Record => "record".to_owned(),
            Self::Rest => "rest".to_owned(),
        }
    }
}

/// What could not be read, where, and why. Warnings are data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The artefact whose parser met it.
    pub artefact: ArtefactId,
    /// The damaged bytes.
    pub provenance: Provenance,
    /// How much was lost.
    pub loss: Loss,
    /// Why, in one sentence.
    pub cause: String,
}
