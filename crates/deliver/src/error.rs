//! What can go wrong on the way.

use std::{io, path::PathBuf, time::Duration};

/// Why a bundle was not delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the store was given to know the sender by, or the other way round, is missing or wrong.
    #[error("{0}")]
    Setup(String),
    /// The store answered, and said no.
    #[error("{store} refuses: {why}")]
    Refused {
        /// The store.
        store: String,
        /// What it said, and what to do.
        why: String,
    },
    /// The store did not answer for longer than was to be waited.
    #[error("{store} could not be reached for {} s: {why}; deliver again when it can", waited.as_secs())]
    Gone {
        /// The store.
        store: String,
        /// How long it was tried.
        waited: Duration,
        /// The last thing that went wrong.
        why: String,
    },
    /// The store has forgotten the pieces that it had confirmed.
    #[error("{store} no longer has what it had received of this delivery: {why}")]
    Forgotten {
        /// The store.
        store: String,
        /// What it said.
        why: String,
    },
    /// More than the store takes for one object.
    #[error(
        "{store} takes no more than {pieces} pieces: these are {bytes} bytes of a bundle that is larger"
    )]
    TooLarge {
        /// The store.
        store: String,
        /// How many it takes.
        pieces: u32,
        /// How many bytes they hold.
        bytes: u64,
    },
    /// A file here can't be read or written.
    #[error("{what} {}: {source}", path.display())]
    Local {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What an earlier delivery left here does not fit.
    #[error("{}: {why}", path.display())]
    Journal {
        /// Its file.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The thread that sends has ended.
    #[error("the sending thread has ended before its time; please report it")]
    Ended,
}

impl Error {
    /// The same for a file here.
    pub(crate) fn local(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Local { what, path, source }
    }

    /// Whether it lies with the store, so that the rest is better kept here than lost.
    pub(crate) fn is_of_store(&self) -> bool {
        !matches!(
            self,
            Self::Local { .. } | Self::Journal { .. } | Self::Ended
        )
    }
}

/// What a store says, as a terminal may show it.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .take(300)
        .collect()
}
