//! Checks bundles and bags, and exports them in clear.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use scelle_bundle::{Verification, VerifyOptions};
use scelle_engine::Progress;
use scelle_evidence::FileSource;
#[cfg(feature = "extract")]
use scelle_formats::{Digests, Hasher, ReadAt, ReadAtExt as _};

use crate::key::{ReadKey, ciphertext, needed};
#[cfg(feature = "extract")]
use crate::{
    collection::hex,
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
    /// A part of a collection can't be opened.
    #[error("{}: {source}", path.display())]
    Part {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: scelle_bundle::Error,
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
        unpack_parts(&parts, to, key)?;
        return Ok(checked);
    }
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

/// Writes what the parts hold together.
#[cfg(feature = "extract")]
fn unpack_parts(parts: &[PathBuf], to: &Path, key: Option<&ReadKey>) -> Result<(), VerifyError> {
    const BAGIT: &str = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";
    let bundle = crate::parts::open_bundle(parts, key)
        .map_err(|(path, source)| VerifyError::Part { path, source })?;
    let bag = to.join(&bundle.collection.name);
    let failed = |path: &Path, source: io::Error| VerifyError::Io {
        path: path.to_owned(),
        source,
    };
    let (mut sha256, mut blake3) = (String::new(), String::new());
    for (member, _) in bundle.files() {
        let path = bag.join(member);
        let digests = bundle
            .open_stored(member)
            .map_err(io::Error::from)
            .and_then(|stream| write_out(&*stream, &path))
            .map_err(|source| failed(&path, source))?;
        for (manifest, hash) in [(&mut sha256, digests.sha256), (&mut blake3, digests.blake3)] {
            manifest.push_str(&format!("{}  {member}\n", hex(&hash)));
        }
    }
    let info = format!(
        "Scelle-TLP: {}\nScelle-Payload: {}\n",
        bundle.tlp.name(),
        bundle.payload
    );
    for (name, text) in [
        ("bagit.txt", BAGIT),
        ("bag-info.txt", &info),
        ("manifest-sha256.txt", &sha256),
        ("manifest-blake3.txt", &blake3),
    ] {
        let path = bag.join(name);
        fs::create_dir_all(&bag)
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| failed(&path, source))?;
    }
    Ok(())
}

/// Writes a stream to a new file; gives its hashes.
#[cfg(feature = "extract")]
fn write_out(stream: &dyn ReadAt, path: &Path) -> io::Result<Digests> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = fs::File::create_new(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = 0;
    loop {
        let have = stream.read_full_at(at, &mut buffer)?;
        if have == 0 {
            return Ok(hasher.finish());
        }
        io::Write::write_all(&mut file, &buffer[..have])?;
        hasher.update(&buffer[..have]);
        at += have as u64;
    }
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
