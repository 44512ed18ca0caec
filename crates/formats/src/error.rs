//! What can go wrong between evidence and structs.

use std::{io, sync::Arc};

/// Why bytes could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system refused or failed.
    #[error("reading at offset {offset}: {source}")]
    Io {
        /// Where the read began.
        offset: u64,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The source ends before the bytes that its structures promise.
    #[error("{what} at offset {offset} needs {need} bytes, the source has {have}")]
    Short {
        /// What was read.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// How many bytes it needs.
        need: u64,
        /// How many there are.
        have: u64,
    },
    /// A structure on the way to the bytes is damaged.
    #[error("{what} at offset {offset} is damaged: {why}")]
    Damaged {
        /// Which structure.
        what: &'static str,
        /// Where it lies.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes are stored in a way that this version does not read.
    #[error("{what} can't be read by this version")]
    Unsupported {
        /// Which way (`LZNT1 compression`, `EFS`).
        what: &'static str,
    },
    /// The bytes are encrypted, and nothing that was given opens them.
    #[error("{what} is encrypted: {needs}")]
    Locked {
        /// What is encrypted.
        what: &'static str,
        /// What would open it.
        needs: String,
    },
    /// No such stream or file.
    #[error("{what} does not exist")]
    Absent {
        /// What was asked for.
        what: String,
    },
}

impl ReadError {
    /// Wraps what the operating system said of a read at `offset`.
    pub fn io(offset: u64, source: io::Error) -> Self {
        Self::Io {
            offset,
            source: Arc::new(source),
        }
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Io { source, .. } => Self::new(source.kind(), error),
            ReadError::Short { .. } => Self::new(io::ErrorKind::UnexpectedEof, error),
            ReadError::Absent { .. } => Self::new(io::ErrorKind::NotFound, error),
            ReadError::Unsupported { .. } => Self::new(io::ErrorKind::Unsupported, error),
            ReadError::Locked { .. } => Self::new(io::ErrorKind::PermissionDenied, error),
            ReadError::Damaged { .. } => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Why bytes could not be decoded, and where.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("{field} at offset {at} needs {need} bytes, {have} are there")]
    Short {
        /// Which field.
        field: &'static str,
        /// Its offset in the stream.
        at: u64,
        /// Its size.
        need: u64,
        /// What is left.
        have: u64,
    },
    /// A field has a value that the format does not define, and nothing after it can be trusted.
    #[error("{field} at offset {at} has the unknown value {value:#x}")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// Its offset in the stream.
        at: u64,
        /// Its value.
        value: u64,
    },
    /// A field contradicts the format.
    #[error("{field} at offset {at} is invalid: {why}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Its offset in the stream.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// A stated size, count or depth is past what any sound file has.
    #[error("{field} at offset {at} is {value}, past the limit of {limit}")]
    Limit {
        /// Which field.
        field: &'static str,
        /// Its offset in the stream.
        at: u64,
        /// Its value.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes themselves could not be had.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl DecodeError {
    /// Where in the stream the damage lies, where it is known.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Short { at, .. }
            | Self::Unknown { at, .. }
            | Self::Invalid { at, .. }
            | Self::Limit { at, .. } => Some(*at),
            Self::Read(
                ReadError::Io { offset, .. }
                | ReadError::Short { offset, .. }
                | ReadError::Damaged { offset, .. },
            ) => Some(*offset),
            Self::Read(_) => None,
        }
    }

    /// Which field is damaged, where one is named.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Short { field, .. }
            | Self::Unknown { field, .. }
            | Self::Invalid { field, .. }
            | Self::Limit { field, .. } => Some(field),
            Self::Read(_) => None,
        }
    }
}
