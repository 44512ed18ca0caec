//! Checks bundles and bags, and exports them in clear.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use scelle_bundle::{Verification, VerifyOptions};
use scelle_engine::Progress;
use scelle_evidence::FileSource;

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
    progress.begin("verifying", 0, 0);
    let failed = |source| VerifyError::Io {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(scelle_bundle::verify_bag(path, options)?);
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
pub fn extract(path: &Path, to: &Path, progress: &Progress) -> Result<Verification, VerifyError> {
    use std::fs::File;

    use scelle_bundle::Verdict;

    let checked = verify(path, &VerifyOptions::default(), progress)?;
    if !matches!(checked.verdict, Verdict::Sealed | Verdict::SignerUnknown) {
        let problem = checked.problems.first().map(ToString::to_string);
        return Err(VerifyError::NotSealed {
            path: path.to_owned(),
            verdict: checked.verdict,
            problem: problem.unwrap_or_default(),
        });
    }
    progress.begin("unpacking", 0, 0);
    let file = File::open(path).map_err(|source| VerifyError::Io {
        path: path.to_owned(),
        source,
    })?;
    zip::ZipArchive::new(file)
        .and_then(|mut archive| archive.extract(to))
        .map_err(|source| VerifyError::Archive {
            path: path.to_owned(),
            source,
        })?;
    Ok(checked)
}
