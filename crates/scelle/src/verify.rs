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
use scelle_formats::ReadError;

use crate::key::{ReadKey, ciphertext, needed};
#[cfg(feature = "extract")]
use crate::{
    key::decrypt,
    parts::{parts_of, verify_parts},
};

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
    /// The bundle, or a part of it, can't be opened or checked.
    #[error("{}: {source}", path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: scelle_bundle::Error,
    },
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
    /// What was written is not what was checked.
    #[cfg(feature = "extract")]
    #[error(
        "{} was changed while it was exported: what stands in {} is not what was checked",
        path.display(), to.display()
    )]
    Changed {
        /// Which bundle.
        path: PathBuf,
        /// The folder of the export.
        to: PathBuf,
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
    let check = || {
        if path.is_dir() {
            return scelle_bundle::verify_bag(path, options);
        }
        match ciphertext(path) {
            Err(scelle_bundle::Error::Begun) => return Ok(scelle_bundle::verify_begun()),
            Ok(None) => {}
            Ok(Some(ciphertext)) => {
                let key = needed(key)?.session_key(&ciphertext)?;
                return scelle_bundle::verify_encrypted(&ciphertext, &key, options);
            }
            Err(error) => return Err(error),
        }
        let source = FileSource::open(path).map_err(|error| ReadError::io(0, error))?;
        scelle_bundle::verify(&source, options)
    };
    fs::metadata(path).map_err(failed)?;
    check().map_err(of(path))
}

/// What is wrong with that file.
fn of(path: &Path) -> impl FnOnce(scelle_bundle::Error) -> VerifyError {
    let path = path.to_owned();
    |source| VerifyError::Bundle { path, source }
}

/// Writes a bundle's bag, in clear, below the folder `to`, after checking it: names that lead
/// elsewhere and sizes that lie are refused before the first byte is written.
///
/// Of a collection in parts it is a bag of all payload files and their manifests; the records and
/// signatures stay in the parts.
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

    let parts = parts_of(path);
    let checked = if parts == [path] {
        verify_with_key(path, &VerifyOptions::default(), key, progress)?
    } else {
        verify_parts(&parts, &VerifyOptions::default(), key, progress)?
    };
    if !matches!(checked.verdict, Verdict::Sealed | Verdict::SignerUnknown) {
        let problem = checked.problems.first().map(ToString::to_string);
        return Err(VerifyError::NotSealed {
            path: path.to_owned(),
            verdict: checked.verdict,
            problem: problem.unwrap_or_default(),
        });
    }
    progress.begin("unpacking", 0, 0);
    if parts != [path] {
        let written = unpack_parts(&parts, to, key)?;
        if checked.payload.as_ref() != Some(&written) {
            return Err(VerifyError::Changed {
                path: path.to_owned(),
                to: to.to_owned(),
            });
        }
        return Ok(checked);
    }
    let unpacked = match ciphertext(path).map_err(of(path))? {
        Some(ciphertext) => {
            let archive = Cursor::new(decrypt(&ciphertext, key).map_err(of(path))?);
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

/// Writes what the parts hold together; gives the payload id of what was written.
#[cfg(feature = "extract")]
fn unpack_parts(
    parts: &[PathBuf],
    to: &Path,
    key: Option<&ReadKey>,
) -> Result<String, VerifyError> {
    let read = crate::parts::read(parts, key)
        .map_err(|(path, source)| VerifyError::Bundle { path, source })?;
    let mut create = |name: &str| -> io::Result<Box<dyn io::Write>> {
        let path = to.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(Box::new(fs::File::create_new(path)?))
    };
    scelle_bundle::export_parts(&read, &mut create).map_err(|source| VerifyError::Bundle {
        path: to.to_owned(),
        source,
    })
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
