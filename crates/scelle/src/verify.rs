//! Checks bundles and bags, and exports them in clear.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use scelle_bundle::{Verification, VerifyOptions};
use scelle_engine::Progress;
use scelle_evidence::FileSource;
#[cfg(feature = "extract")]
use scelle_formats::ReadAt;

#[cfg(feature = "extract")]
use crate::key::decrypt;
use crate::key::{ReadKey, ciphertext, needed};

/// Why a bundle could not be checked or exported. What is wrong with it is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The bundle, or the folder to write to, can't be had.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The question makes no sense.
    #[error(transparent)]
    Bundle(#[from] scelle_bundle::Error),
    /// A bundle that is not whole is not exported.
    #[cfg(feature = "extract")]
    #[error("{} is {}: {problem}", path.display(), verdict.name())]
    NotSealed {
        /// Which bundle.
        path: PathBuf,
        /// The answer of the check.
        verdict: scelle_bundle::Verdict,
        /// The first thing that is wrong.
        problem: String,
    },
    /// The archive can't be unpacked.
    #[cfg(feature = "extract")]
    #[error("unpacking {}: {source}", path.display())]
    Archive {
        /// Which bundle.
        path: PathBuf,
        /// Why.
        source: zip::result::ZipError,
    },
}

/// Checks a bundle, or, where `path` is a folder, a bag that someone extracted. It works on the
/// caller's rayon pool, and extracts nothing.
///
/// # Errors
/// Where it can't be read at all; what is wrong with it stands in the answer.
pub fn verify(
    path: &Path,
    options: &VerifyOptions,
    progress: &Progress,
) -> Result<Verification, VerifyError> {
    verify_with_key(path, options, None, progress)
}

/// Checks a bundle, as [`verify`] does; `key` opens an encrypted one.
///
/// # Errors
/// As [`verify`], and where the key does not open an encrypted bundle.
pub fn verify_with_key(
    path: &Path,
    options: &VerifyOptions,
    key: Option<&ReadKey>,
    progress: &Progress,
) -> Result<Verification, VerifyError> {
    progress.begin("verifying", 0, 0);
    let failed = |source| VerifyError::Io {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(scelle_bundle::verify_bag(path, options)?);
    }
    if let Some(ciphertext) = ciphertext(path)? {
        let key = needed(key)?.session_key(&ciphertext)?;
        return Ok(scelle_bundle::verify_encrypted(&ciphertext, &key, options)?);
    }
    let source = FileSource::open(path).map_err(failed)?;
    Ok(scelle_bundle::verify(&source, options)?)
}

/// Writes a bundle's bag, in clear, below the folder `to`, after checking it: names that lead
/// elsewhere and sizes that lie are refused before the first byte is written.
///
/// # Errors
/// Where the bundle is not whole, or the folder can't be written.
#[cfg(feature = "extract")]
pub fn extract(
    path: &Path,
    to: &Path,
    key: Option<&ReadKey>,
    progress: &Progress,
) -> Result<Verification, VerifyError> {
    use std::{fs::File, io::BufReader};

    use scelle_bundle::Verdict;

    let checked = verify_with_key(path, &VerifyOptions::default(), key, progress)?;
    if !matches!(checked.verdict, Verdict::Sealed | Verdict::SignerUnknown) {
        let problem = checked.problems.first().map(ToString::to_string);
        return Err(VerifyError::NotSealed {
            path: path.to_owned(),
            verdict: checked.verdict,
            problem: problem.unwrap_or_default(),
        });
    }
    progress.begin("unpacking", 0, 0);
    let unpacked = match ciphertext(path)? {
        Some(ciphertext) => {
            let archive = Cursor::new(decrypt(&ciphertext, key)?);
            unpack(BufReader::with_capacity(BUFFER_BYTES, archive), to)
        }
        None => {
            let file = File::open(path).map_err(|source| VerifyError::Io {
                path: path.to_owned(),
                source,
            })?;
            unpack(file, to)
        }
    };
    unpacked.map_err(|source| VerifyError::Archive {
        path: path.to_owned(),
        source,
    })?;
    Ok(checked)
}

#[cfg(feature = "extract")]
fn unpack(archive: impl io::Read + io::Seek, to: &Path) -> Result<(), zip::result::ZipError> {
    zip::ZipArchive::new(archive)?.extract(to)
}

/// Bytes that are decrypted at once while unpacking.
#[cfg(feature = "extract")]
const BUFFER_BYTES: usize = 1 << 20;

/// A stream of positioned reads, as one with a place.
#[cfg(feature = "extract")]
struct Cursor<R> {
    stream: R,
    at: u64,
}

#[cfg(feature = "extract")]
impl<R: ReadAt> Cursor<R> {
    fn new(stream: R) -> Self {
        Self { stream, at: 0 }
    }
}

#[cfg(feature = "extract")]
impl<R: ReadAt> io::Read for Cursor<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self
            .stream
            .read_at(self.at, buf)
            .map_err(io::Error::other)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(feature = "extract")]
impl<R: ReadAt> io::Seek for Cursor<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let at = match to {
            io::SeekFrom::Start(at) => Some(at),
            io::SeekFrom::End(by) => self.stream.len().checked_add_signed(by),
            io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
