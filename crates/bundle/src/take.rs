//! One stream on its way into a bundle: what is known of it, what is had of it, what became of it.

use std::borrow::Cow;

use jiff::Timestamp;
use scelle_event::{EvidencePath, Outcome};
use scelle_evidence::{Entry, StreamState};
use scelle_formats::{ReadAt, ReadError};

use crate::{
    codec::{Block, Method},
    file_line::{self, Content},
    stored::{Layout, MOST_STORED_BYTES, REASON_HOLES, StoredReader, StreamHasher, outcome_of},
};

/// Up to this size one thread reads, hashes and compresses a stream, beside others with theirs; a
/// larger one is shared out among all of them. At most a segment.
const WHOLE_BYTES: u64 = 4 << 20;

/// What is known of a stream before it is read.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    /// The volume's id.
    pub volume: Cow<'a, str>,
    /// The entry that it belongs to.
    pub entry: Cow<'a, Entry>,
    /// The stream's name; `None` is the unnamed one.
    pub stream: Option<Cow<'a, EvidencePath>>,
    /// The profile's target that asked for it.
    pub target: Cow<'a, str>,
    /// By which way it is read: `volume`, `folder`, …
    pub way: Cow<'a, str>,
}

/// A stream that can be collected.
pub trait Source: Send {
    /// What is known of it before it is read.
    fn stream(&self) -> Stream<'_>;

    /// Opens it.
    ///
    /// # Errors
    /// Why it can't be read.
    fn open(&self) -> Result<Box<dyn ReadAt>, ReadError>;
}

/// What became of a stream.
#[derive(Clone, Debug)]
pub struct Added {
    /// Its number in the plan.
    pub index: usize,
    /// The ledger's word.
    pub outcome: Outcome,
    /// The size of the logical stream.
    pub size_bytes: u64,
    /// Why not all of it is there.
    pub cause: Option<String>,
}

/// A stream as a producer hands it to the joiner.
pub(crate) struct Prepared<S> {
    pub(crate) index: usize,
    pub(crate) source: S,
    /// When it was opened.
    pub(crate) at: Timestamp,
    pub(crate) bytes: Result<Bytes, Box<Taken>>,
}

pub(crate) enum Bytes {
    /// All of it, compressed.
    Whole(Box<Taken>, Vec<Block>),
    /// Large: the joiner shares the work out again.
    Large(Box<dyn ReadAt>),
}

/// What was had of a stream.
pub(crate) struct Taken {
    pub(crate) outcome: Outcome,
    /// `None` where there is no member.
    pub(crate) content: Option<Content>,
    pub(crate) cause: Option<String>,
}

impl Taken {
    pub(crate) fn new(
        layout: Layout,
        hasher: StreamHasher,
        unread: Vec<file_line::Piece>,
        cause: Option<String>,
    ) -> Self {
        let (stored, logical) = hasher.finish();
        let outcome = if unread.is_empty() {
            Outcome::Collected
        } else {
            Outcome::Partial
        };
        let content = if layout.is_sparse {
            Content {
                size: layout.size,
                logical: logical.ok_or(REASON_HOLES),
                stored: Some((layout.pieces, stored)),
                unread,
            }
        } else {
            Content {
                size: layout.size,
                logical: Ok(stored),
                stored: None,
                unread,
            }
        };
        Self {
            outcome,
            content: Some(content),
            cause,
        }
    }

    fn nothing(outcome: Outcome, cause: String) -> Self {
        Self {
            outcome,
            content: None,
            cause: Some(cause),
        }
    }
}

impl<S: Source> Prepared<S> {
    pub(crate) fn new(index: usize, source: S, method: Method, buffer: &mut Vec<u8>) -> Self {
        let at = Timestamp::now();
        let bytes = match source.open() {
            Ok(reader) => Self::read(reader, method, buffer),
            Err(error) => Err(Box::new(Taken::nothing(
                outcome_of(&error),
                error.to_string(),
            ))),
        };
        Self {
            index,
            source,
            at,
            bytes,
        }
    }

    fn read(
        reader: Box<dyn ReadAt>,
        method: Method,
        buffer: &mut Vec<u8>,
    ) -> Result<Bytes, Box<Taken>> {
        let layout = Layout::of(&*reader);
        let stored_bytes = layout.stored_bytes();
        if stored_bytes > MOST_STORED_BYTES {
            let cause = format!(
                "{stored_bytes} bytes, more than the {MOST_STORED_BYTES} that a bundle takes of \
                 one stream"
            );
            return Err(Box::new(Taken::nothing(Outcome::OverCap, cause)));
        }
        if stored_bytes > WHOLE_BYTES {
            return Ok(Bytes::Large(reader));
        }
        buffer.clear();
        buffer.resize(stored_bytes as usize, 0);
        let mut stored = StoredReader::new(&*reader, &layout);
        stored.fill(buffer);
        let (unread, cause) = (stored.unread, stored.cause);
        let lost: u64 = unread.iter().map(|(_, length)| length).sum();
        if lost == stored_bytes && lost > 0 {
            let cause = cause.unwrap_or_default();
            return Err(Box::new(Taken::nothing(Outcome::Unreadable, cause)));
        }
        let mut hasher = StreamHasher::new(layout.size, &layout.pieces);
        hasher.update(buffer);
        let blocks = method.encode_here(buffer);
        Ok(Bytes::Whole(
            Box::new(Taken::new(layout, hasher, unread, cause)),
            blocks,
        ))
    }
}

/// Whether a stream is encrypted where it lies.
pub(crate) fn is_encrypted(stream: &Stream<'_>) -> bool {
    let mut streams = stream.entry.streams.iter();
    let info = streams.find(|info| info.name.as_ref() == stream.stream.as_deref());
    info.is_some_and(|info| matches!(info.state, StreamState::Encrypted { .. }))
}
