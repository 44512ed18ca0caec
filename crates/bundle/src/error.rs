//! Why a bundle could not be written, opened or checked.

use std::{io, path::PathBuf};

use scelle_formats::ReadError;

/// Why the work could not go on. What is wrong *with* a bundle that is being verified is no
/// error but a [`Problem`](crate::Problem).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output took no more bytes.
    #[error("writing the bundle: {0}")]
    Write(#[source] io::Error),
    /// The output could not be created.
    #[error("creating {}: {source}", path.display())]
    Create {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something under that name already.
    #[error("{} exists: choose another name, or say that it may be replaced", .0.display())]
    Exists(PathBuf),
    /// The bundle's bytes could not be read.
    #[error("reading the bundle: {0}")]
    Read(#[from] ReadError),
    /// A key or certificate can't be used.
    #[error("{what}: {why}")]
    Key {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A record would be longer than what is read of it.
    #[error("{what} would have {bytes} bytes, and no more than {most} are read: {hint}")]
    TooLong {
        /// Which one.
        what: &'static str,
        /// How long it would be.
        bytes: u64,
        /// How long it may be.
        most: u64,
        /// What to do.
        hint: &'static str,
    },
    /// It is encrypted, and no key was given.
    #[error("it is encrypted: a recipient's key is needed (--key FILE, or --key-agent)")]
    Encrypted,
    /// It is encrypted, and was cut off before there was anything to decrypt.
    #[error("it was cut off before anything was collected, so there is nothing in it")]
    Begun,
    /// A bundle's name would not be one plain folder.
    #[error("{0:?} can't name a bundle: use letters, digits, '-', '_' and '.', 100 at most")]
    Name(String),
    /// A file that is exported could not be written.
    #[error("writing {name}: {source}")]
    Export {
        /// Its name below the folder of the export.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The payload member that alone was to be checked is not there.
    #[error(
        "nothing was checked: there is no payload file named {0:?}; name it as ls or a manifest does"
    )]
    NoMember(String),
    /// The bytes are no bundle, or one that is damaged where it must be read.
    #[error("not a sound bundle: {0}")]
    Format(String),
}

impl Error {
    /// Refuses what nobody would read.
    pub(crate) fn unless_read(
        what: &'static str,
        bytes: usize,
        most: u64,
        hint: &'static str,
    ) -> Result<(), Self> {
        let bytes = bytes as u64;
        if bytes > most {
            return Err(Self::TooLong {
                what,
                bytes,
                most,
                hint,
            });
        }
        Ok(())
    }

    pub(crate) fn key(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Key {
            what,
            why: why.to_string(),
        }
    }

    pub(crate) fn format(why: impl Into<String>) -> Self {
        Self::Format(why.into())
    }
}
