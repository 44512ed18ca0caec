//! Opens every kind of source: bundles, disk images, block devices, folders, files.

use std::{
    io::{self, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use scelle_bundle::Bundle;
use scelle_event::{EvidencePath, ParsePathError, StreamId};
use scelle_evidence::{
    Evidence, EvidenceLoss, FileId, FileSource, MapSource, OpenOptions, StreamInfo, Volume,
    VolumeInfo,
};
use scelle_formats::{Bytes, ReadAt, ReadAtExt, ReadError};

use crate::{
    key::{ReadKey, ciphertext, decrypt},
    parts::{self, parts_of},
};

/// Standard input is held in memory; more than this is no file for that.
const MAX_INPUT_BYTES: u64 = 4 << 30;

/// Why a source, or a stream of one, can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The source itself.
    #[error(transparent)]
    Source(#[from] scelle_evidence::OpenError),
    /// It is a bundle, but not one that can be trusted to be read.
    #[error("opening the bundle {}: {source}", path.display())]
    Bundle {
        /// Which bundle.
        path: PathBuf,
        /// Why.
        source: scelle_bundle::Error,
    },
    /// The text names no stream.
    #[error(transparent)]
    Name(#[from] ParsePathError),
    /// Several volumes, and the text names none of them.
    #[error("{text:?} names none of the volumes {volumes}: write VOLUME/PATH, as `ls` does")]
    Volume {
        /// What was asked for.
        text: String,
        /// What there is.
        volumes: String,
    },
    /// The stream can't be opened.
    #[error("{id}: {source}; `ls` shows what there is")]
    Stream {
        /// Which stream.
        id: StreamId,
        /// Why.
        source: ReadError,
    },
}

/// A source that is open for reading, and only for reading.
pub struct Source {
    evidence: Evidence,
    bundle: Option<BundleFacts>,
}

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFacts {
    /// Its payload id.
    pub payload: String,
    /// Its root hash.
    pub root: String,
    /// Its label.
    pub tlp: scelle_event::Tlp,
}

impl Source {
    /// What a bundle holds.
    pub(crate) fn of_bundle(bundle: &Bundle) -> Self {
        Self {
            evidence: Evidence {
                name: bundle.payload.as_str().into(),
                volumes: bundle.volumes(),
                snapshots: Vec::new(),
                unlocked: Vec::new(),
                losses: Vec::new(),
            },
            bundle: Some(BundleFacts {
                payload: bundle.payload.clone(),
                root: bundle.root.clone(),
                tlp: bundle.tlp,
            }),
        }
    }

    /// Its volumes and streams.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What it says of itself, where it is a bundle.
    pub fn bundle(&self) -> Option<&BundleFacts> {
        self.bundle.as_ref()
    }

    /// Adds the shadow copies of its volumes to them, each after its volume, the newest first.
    pub fn with_shadow_copies(mut self) -> Self {
        self.evidence.volumes = self.evidence.with_snapshots();
        self.evidence.snapshots.clear();
        self
    }

    /// Opens a stream by the name that a timeline has for it; the volume may be left out where
    /// there is one. A shadow copy is named as any volume.
    ///
    /// # Errors
    /// Where the text names no stream, or the stream can't be opened.
    pub fn stream(&self, text: &str) -> Result<(StreamId, Box<dyn ReadAt>), OpenError> {
        let (volume, id) = self.place(text)?;
        match volume.open(&id) {
            Ok(stream) => Ok((id, stream)),
            Err(source) => Err(OpenError::Stream { id, source }),
        }
    }

    /// Opens a stream of a deleted entry, by the name that a listing has for it and the entry's id.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub fn deleted_stream(
        &self,
        text: &str,
        entry: FileId,
    ) -> Result<(StreamId, StreamInfo, Box<dyn ReadAt>), OpenError> {
        let (volume, id) = self.place(text)?;
        let mut found = None;
        volume.walk(&mut |walked| {
            // What can't be read of the structure is told by whoever lists it.
            if let Ok(walked) = walked
                && walked.deleted
                && walked.id == Some(entry)
                && walked.path == id.path
                && let Some(at) = walked
                    .streams
                    .iter()
                    .position(|info| info.name == id.stream)
            {
                found = Some((walked, at));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let opened = match found {
            Some((walked, at)) => volume
                .open_entry(&walked, id.stream.as_ref())
                .map(|stream| (walked.streams[at].clone(), stream)),
            None => Err(ReadError::Absent {
                what: format!(
                    "{id} of the deleted entry {}-{}",
                    entry.entry, entry.sequence
                ),
            }),
        };
        match opened {
            Ok((info, stream)) => Ok((id, info, stream)),
            Err(source) => Err(OpenError::Stream { id, source }),
        }
    }

    /// The volume and the name that a text means.
    fn place(&self, text: &str) -> Result<(&dyn Volume, StreamId), OpenError> {
        let volumes = &self.evidence.volumes;
        let snapshots = self.evidence.snapshots.iter().map(|one| &one.volume);
        let named = volumes.iter().chain(snapshots).find(|volume| {
            let rest = text.strip_prefix(&*volume.info().id);
            rest.is_some_and(|rest| rest.starts_with('/'))
        });
        Ok(match (named, &volumes[..]) {
            (Some(volume), _) => (volume.as_ref(), text.parse()?),
            (None, [only]) => (only.as_ref(), format!("{}/{text}", only.info().id).parse()?),
            (None, several) => {
                let ids: Vec<_> = several.iter().map(|one| &*one.info().id).collect();
                return Err(OpenError::Volume {
                    text: text.to_owned(),
                    volumes: ids.join(", "),
                });
            }
        })
    }
}

/// Opens a bundle, a disk image, a block device, a folder or a file, for positioned reads.
///
/// # Errors
/// Where there is nothing of that name, the system refuses, or a bundle is not whole.
pub fn open(path: &Path) -> Result<Source, OpenError> {
    open_with(path, &OpenOptions::default())
}

/// Opens any source, as [`open`] does, and maps an image into memory where `options` say so.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Source, OpenError> {
    open_with_key(path, options, None)
}

/// Opens any source, as [`open_with`] does; `key` opens an encrypted bundle, every byte of which
/// is authenticated before one of them is parsed. Nothing of it is decrypted to a disk. Where
/// `path` is a part of a collection that was cut off and gone on with, all parts beside it are
/// opened as one ([`parts_of`]); of those but the last, the checkpoints by which they go on from
/// each other vouch.
///
/// # Errors
/// As [`open`], and where an encrypted bundle was altered or cut, or the key does not open it.
pub fn open_with_key(
    path: &Path,
    options: &OpenOptions,
    key: Option<&ReadKey>,
) -> Result<Source, OpenError> {
    let failed = |source| OpenError::Bundle {
        path: path.to_owned(),
        source,
    };
    let parts = parts_of(path);
    if parts != [path] {
        let bundle = parts::open_bundle(&parts, key);
        let bundle = bundle.map_err(|(path, source)| OpenError::Bundle { path, source })?;
        return Ok(Source::of_bundle(&bundle));
    }
    if let Some(ciphertext) = ciphertext(path).map_err(failed)? {
        let archive = decrypt(&ciphertext, key).map_err(failed)?;
        return read_bundle(path, Arc::new(archive));
    }
    if is_bundle(path) {
        let file =
            FileSource::open(path).map_err(|error| failed(ReadError::io(0, error).into()))?;
        return read_bundle(path, Arc::new(file));
    }
    Ok(Source {
        evidence: scelle_evidence::open(path, options)?,
        bundle: None,
    })
}

/// Whether a file begins as bundles do: with a zip member named `NAME/bagit.txt`. What can't be
/// read is no bundle, and whoever opens it next says why.
fn is_bundle(path: &Path) -> bool {
    /// APPNOTE 4.3.7: the name begins at 30, its length stands at 26.
    const NAME_AT: usize = 30;
    const LONGEST_NAME: usize = 128;
    let mut head = [0; NAME_AT + LONGEST_NAME];
    let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return false;
    }
    let have = FileSource::open(path)
        .map_err(drop)
        .and_then(|file| file.read_full_at(0, &mut head).map_err(drop));
    let Ok(have) = have else { return false };
    let length = usize::from(u16::from_le_bytes([head[26], head[27]]));
    let name = head[..have].get(NAME_AT..NAME_AT + length);
    head.starts_with(b"PK\x03\x04") && name.is_some_and(|name| name.ends_with(b"/bagit.txt"))
}

fn read_bundle(path: &Path, archive: Arc<dyn ReadAt>) -> Result<Source, OpenError> {
    let bundle = Bundle::open(archive).map_err(|source| OpenError::Bundle {
        path: path.to_owned(),
        source,
    })?;
    Ok(Source::of_bundle(&bundle))
}

/// Opens a file for positioned reads, leaving as little trace as the system allows.
///
/// # Errors
/// What the system says.
pub fn open_file(path: &Path) -> io::Result<Box<dyn ReadAt>> {
    Ok(Box::new(FileSource::open(path)?))
}

/// Opens a file of the caller's own, or takes all of standard input where the path is `-`.
///
/// A regular file is mapped into memory: the caller vouches that nobody cuts it meanwhile.
///
/// # Errors
/// What the system says.
pub fn open_input(path: &Path) -> io::Result<Box<dyn ReadAt>> {
    if path != Path::new("-") {
        let file = FileSource::open(path)?;
        if file.is_empty() || !file.file().metadata()?.is_file() {
            return Ok(Box::new(file));
        }
        return Ok(Box::new(MapSource::new(file.file())?));
    }
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        let cause = format!("standard input is larger than {MAX_INPUT_BYTES} bytes: use a file");
        return Err(io::Error::other(cause));
    }
    Ok(Box::new(Bytes(bytes)))
}

/// One sentence of what was lost of a volume's structure.
pub fn show_loss(volume: Option<&VolumeInfo>, loss: &EvidenceLoss) -> String {
    let volume = volume
        .map(|info| format!("{}: ", info.id))
        .unwrap_or_default();
    let entry = loss
        .entry
        .map(|entry| format!("entry {entry}: "))
        .unwrap_or_default();
    let path = loss.path.as_ref().map(EvidencePath::to_string);
    let path = path.map(|path| format!("{path}: ")).unwrap_or_default();
    format!("{volume}{entry}{path}{}", loss.error)
}
