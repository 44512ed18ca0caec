//! Checks bundles and bags, and exports them in clear.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

#[cfg(feature = "extract")]
use scelle_bundle::Verdict;
use scelle_bundle::{Ciphertext, Error, SessionKey, Verification, VerifyOptions};
use scelle_engine::Progress;
use scelle_evidence::FileSource;
#[cfg(feature = "extract")]
use scelle_formats::ReadAt;
use scelle_formats::ReadError;

use crate::key::{ReadKey, ciphertext, needed};
#[cfg(feature = "extract")]
use crate::parts::{parts_of, verify_parts};

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
        "{} was changed while it was exported, or the disk did not keep what was written: what stands in {} \
         is not what was checked ({problem})",
        path.display(), to.display()
    )]
    Changed {
        /// Which bundle.
        path: PathBuf,
        /// The folder of the export.
        to: PathBuf,
        /// The first thing that differs.
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
    let check = || {
        if path.is_dir() {
            return scelle_bundle::verify_bag(path, options);
        }
        match Held::open(path, key) {
            Err(Error::Begun) => Ok(scelle_bundle::verify_begun()),
            held => held?.verify(options),
        }
    };
    fs::metadata(path).map_err(failed)?;
    check().map_err(of(path))
}

/// What is wrong with that file.
fn of(path: &Path) -> impl FnOnce(Error) -> VerifyError {
    let path = path.to_owned();
    |source| VerifyError::Bundle { path, source }
}

/// A bundle in one file, which is opened once: what is exported is read from where it was checked,
/// whatever bears the file's name by then.
enum Held {
    Clear(FileSource),
    Encrypted(Ciphertext, SessionKey),
}

impl Held {
    fn open(path: &Path, key: Option<&ReadKey>) -> Result<Self, Error> {
        Ok(match ciphertext(path)? {
            Some(ciphertext) => {
                let key = needed(key)?.session_key(&ciphertext)?;
                Self::Encrypted(ciphertext, key)
            }
            None => Self::Clear(FileSource::open(path).map_err(|error| ReadError::io(0, error))?),
        })
    }

    fn verify(&self, options: &VerifyOptions) -> Result<Verification, Error> {
        match self {
            Self::Clear(file) => scelle_bundle::verify(file, options),
            Self::Encrypted(ciphertext, key) => {
                scelle_bundle::verify_encrypted(ciphertext, key, options)
            }
        }
    }

    /// Writes the bag below `to`, and checks what stands there: a file on a share may be altered in
    /// its place. `path` and `checked` are of this bundle.
    #[cfg(feature = "extract")]
    fn export(&self, path: &Path, checked: &Verification, to: &Path) -> Result<(), VerifyError> {
        let unpacked = match self {
            Self::Clear(file) => unpack(file, to),
            Self::Encrypted(ciphertext, key) => {
                unpack(&ciphertext.decrypt(key).map_err(of(path))?, to)
            }
        };
        let bag = unpacked.map_err(|source| VerifyError::Archive {
            path: path.to_owned(),
            source,
        })?;
        let options = VerifyOptions {
            root: checked.root.clone(),
            ..VerifyOptions::default()
        };
        let written = scelle_bundle::verify_bag(&bag, &options).map_err(of(&bag))?;
        if written.verdict == Verdict::Sealed {
            return Ok(());
        }
        let problem = written.problems.first().map(ToString::to_string);
        Err(VerifyError::Changed {
            path: path.to_owned(),
            to: to.to_owned(),
            problem: problem.unwrap_or_default(),
        })
    }
}

/// Writes a bundle's bag, in clear, below the folder `to`, after checking it: names that lead
/// elsewhere and sizes that lie are refused before the first byte is written. Where `root` is said,
/// it must be the bundle's. What was written is checked again.
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
    root: Option<&str>,
    key: Option<&ReadKey>,
    progress: &Progress,
) -> Result<Verification, VerifyError> {
    let options = VerifyOptions {
        root: root.map(str::to_owned),
        ..VerifyOptions::default()
    };
    let parts = parts_of(path);
    if parts != [path] {
        let checked = verify_parts(&parts, &options, key, progress)?;
        check_sealed(path, &checked)?;
        progress.begin("unpacking", 0, 0);
        let written = unpack_parts(&parts, to, key)?;
        if checked.payload.as_ref() != Some(&written) {
            return Err(VerifyError::Changed {
                path: path.to_owned(),
                to: to.to_owned(),
                problem: format!("its payload is {written}"),
            });
        }
        return Ok(checked);
    }
    progress.begin("verifying", 0, 0);
    let held = Held::open(path, key).map_err(of(path))?;
    let checked = held.verify(&options).map_err(of(path))?;
    check_sealed(path, &checked)?;
    progress.begin("unpacking", 0, 0);
    held.export(path, &checked, to)?;
    Ok(checked)
}

/// Refuses to export what is not whole.
#[cfg(feature = "extract")]
fn check_sealed(path: &Path, checked: &Verification) -> Result<(), VerifyError> {
    if matches!(checked.verdict, Verdict::Sealed | Verdict::SignerUnknown) {
        return Ok(());
    }
    let problem = checked.problems.first().map(ToString::to_string);
    Err(VerifyError::NotSealed {
        path: path.to_owned(),
        verdict: checked.verdict,
        problem: problem.unwrap_or_default(),
    })
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
    let mut create =
        |name: &str| -> io::Result<Box<dyn io::Write>> { Ok(Box::new(create(&to.join(name))?)) };
    scelle_bundle::export_parts(&read, &mut create).map_err(|source| VerifyError::Bundle {
        path: to.to_owned(),
        source,
    })
}

/// Writes the files of an archive below `to`: files and folders only, none twice, none elsewhere.
/// Gives the folder of the bag.
#[cfg(feature = "extract")]
fn unpack(archive: &dyn ReadAt, to: &Path) -> Result<PathBuf, zip::result::ZipError> {
    let stream = io::BufReader::with_capacity(BUFFER_BYTES, Cursor::new(archive));
    let mut archive = zip::ZipArchive::new(stream)?;
    let mut bag = to.to_owned();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index)?;
        let name = member
            .enclosed_name()
            .ok_or_else(|| io::Error::other("a name leads out of the folder"))?;
        if index == 0 {
            bag.extend(name.components().next());
        }
        let path = to.join(name);
        if member.is_dir() {
            fs::create_dir_all(path)?;
        } else {
            let size = member.size();
            io::copy(&mut io::Read::take(&mut member, size), &mut create(&path)?)?;
        }
    }
    Ok(bag)
}

/// Begins a file that is not there yet.
#[cfg(feature = "extract")]
fn create(path: &Path) -> io::Result<fs::File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create_new(path)
}

/// Bytes that are read at once while unpacking.
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

#[cfg(all(test, feature = "extract"))]
mod tests {
    use scelle_bundle::Compression;
    use scelle_engine::{Plan, Profile, profile::Limits};
    use scelle_event::Tlp;

    use super::*;
    use crate::{Destination, Order};

    /// A bundle of one file with that content.
    fn bundle(folder: &Path, name: &str, content: &str) -> PathBuf {
        let file = folder.join("notes.txt");
        fs::write(&file, content).expect("room");
        let progress = Progress::default();
        let source = crate::open(&file).expect("a file");
        let profile = Profile::load("everything").expect("built in");
        let plan = Plan::new(source.evidence(), profile, Limits::default(), &progress);
        let path = folder.join(name);
        let destination = Destination::File {
            path: path.clone(),
            force: false,
        };
        let order = Order {
            compression: Compression::Store,
            ..Order::new("case", Tlp::Amber, "notes.txt")
        };
        crate::collect(&source, &plan, order, destination, &progress).expect("sealed");
        path
    }

    fn exported(to: &Path) -> String {
        fs::read_to_string(to.join("case/data/file/notes.txt")).expect("exported")
    }

    /// The bytes with each `from` in them become `to`, of the same length.
    fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(from.len()).position(|it| it == from) {
            at += found;
            bytes[at..at + to.len()].copy_from_slice(to);
            at += to.len();
        }
        bytes
    }

    /// Another bundle under the same name, or other bytes in it: what was checked is exported, or an
    /// error says that it is not.
    #[test]
    fn what_is_exported_is_what_was_checked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = bundle(folder.path(), "one.zip", "the first");
        let other = bundle(folder.path(), "two.zip", "the second");
        let held = Held::open(&path, None).expect("a bundle");
        let checked = held.verify(&VerifyOptions::default()).expect("an answer");
        let [moved, altered] = ["moved", "altered"].map(|name| folder.path().join(name));

        // Moved over it; not where a system keeps a file that is open.
        if fs::copy(&other, &moved).is_ok() && cfg!(unix) {
            let first = folder.path().join("first.zip");
            fs::rename(&path, &first).expect("moved away");
            fs::rename(&moved, &path).expect("moved over");
            held.export(&path, &checked, &moved).expect("exported");
            assert_eq!(exported(&moved), "the first");
            fs::rename(&first, &path).expect("moved back");
        }

        // Altered in its place, with a checksum that fits.
        let (from, to) = (b"the first", b"the forge");
        let [from_crc, to_crc] = [from, to].map(|text| crc32fast::hash(text).to_le_bytes());
        let bytes = fs::read(&path).expect("readable");
        let forged = replaced(replaced(bytes.clone(), from, to), &from_crc, &to_crc);
        assert_ne!(forged, bytes);
        fs::write(&path, forged).expect("written");
        let refused = held.export(&path, &checked, &altered);
        assert!(
            matches!(refused, Err(VerifyError::Changed { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn another_bundle_than_the_one_that_is_meant_is_not_exported() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = bundle(folder.path(), "one.zip", "the first");
        let other = bundle(folder.path(), "two.zip", "the second");
        let progress = Progress::default();
        let root = verify(&path, &VerifyOptions::default(), &progress).expect("an answer");
        let root = root.root.as_deref();
        let to = folder.path().join("to");
        let refused = extract(&other, &to, root, None, &progress);
        assert!(
            matches!(refused, Err(VerifyError::NotSealed { .. })),
            "{refused:?}"
        );
        assert!(!to.exists());
        extract(&path, &to, root, None, &progress).expect("exported");
        assert_eq!(exported(&to), "the first");
    }
}
