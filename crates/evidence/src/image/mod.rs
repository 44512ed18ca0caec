//! Disk images: what disk an image is of, whatever it is stored as.
//!
//! A kind is told by its signature, never by a name. Names only matter where an image has more
//! than one file, and then an image can name nothing but a regular file of its own folder, by its
//! base name: a path in a descriptor or a header may be anything, and must not lead us to read
//! what the user did not hand over.

pub(crate) mod cache;
mod ewf;
mod ewf2;
pub(crate) mod mapped;
mod qcow2;
mod sums;
mod vhd;
mod vhdx;
mod vhdx_log;
mod vmdk;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use scelle_formats::{ReadAt, ReadAtExt as _, ReadError};

use self::mapped::Mapped;
use crate::{EvidenceLoss, FileSource};

pub(crate) use self::{
    cache::{Cache, Pages},
    mapped::Joined,
};

/// A disk that rests on more others than this is made to keep us busy.
const MAX_PARENTS: u32 = 16;
/// More parts than a split image of any disk has.
const MAX_PARTS: u32 = 20_000;
/// More than any acquirer leaves.
const MAX_HASHES: usize = 64;

/// What an image is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageKind {
    /// The disk's bytes, in one file or in several.
    Raw,
    /// Expert Witness, version 1: E01, S01.
    Ewf,
    /// Expert Witness, version 2: Ex01.
    Ewf2,
    /// Virtual PC and Hyper-V, version 1.
    Vhd,
    /// Hyper-V, version 2.
    Vhdx,
    /// VMware.
    Vmdk,
    /// QEMU, versions 2 and 3.
    Qcow2,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Ewf => "ewf",
            Self::Ewf2 => "ewf2",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::Qcow2 => "qcow2",
        })
    }
}

/// A hash of the whole disk that an image carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHash {
    /// `md5` or `sha1`.
    pub algorithm: &'static str,
    /// In lower-case hex.
    pub hex: String,
}

impl StoredHash {
    fn md5(bytes: &[u8]) -> Self {
        Self::new("md5", bytes)
    }

    fn sha1(bytes: &[u8]) -> Self {
        Self::new("sha1", bytes)
    }

    fn new(algorithm: &'static str, bytes: &[u8]) -> Self {
        Self {
            algorithm,
            hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// A disk, read out of its image.
pub struct Image {
    /// What it is stored as.
    pub kind: ImageKind,
    /// The disk's bytes.
    pub disk: Arc<dyn ReadAt>,
    /// The hashes that the image has of it. They are compared by whoever reads all of it.
    pub hashes: Vec<StoredHash>,
    /// What is damaged or missing of the image.
    pub losses: Vec<EvidenceLoss>,
}

impl Image {
    /// A disk that is stored as it is.
    pub(crate) fn raw(disk: Arc<dyn ReadAt>) -> Self {
        Self {
            kind: ImageKind::Raw,
            disk,
            hashes: Vec::new(),
            losses: Vec::new(),
        }
    }
}

/// The files that lie beside an image's first.
pub trait Siblings {
    /// Opens the regular file of that base name; `None` where there is none.
    ///
    /// # Errors
    /// Where it is there and can't be opened.
    fn named(&self, name: &str) -> Result<Option<Arc<dyn ReadAt>>, ReadError>;

    /// The extension of the first file, without its dot.
    fn extension(&self) -> Option<String>;

    /// As [`named`](Self::named), by the first file's own name with another extension.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    fn with_extension(&self, extension: &str) -> Result<Option<Arc<dyn ReadAt>>, ReadError>;
}

/// The folder of an image's first file. Links in it are not followed.
pub(crate) struct Folder<'a>(pub(crate) &'a Path);

impl Folder<'_> {
    fn open(path: PathBuf) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
        match FileSource::open_regular(&path) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ReadError::io(0, error)),
        }
    }
}

impl Siblings for Folder<'_> {
    fn named(&self, name: &str) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
        Self::open(self.0.with_file_name(name))
    }

    fn extension(&self) -> Option<String> {
        Some(self.0.extension()?.to_str()?.to_owned())
    }

    fn with_extension(&self, extension: &str) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
        Self::open(self.0.with_extension(extension))
    }
}

/// A disk, and what it was stored as.
type Opened = (ImageKind, Arc<dyn ReadAt>);

/// What opening an image needs and gathers.
struct Opening<'a> {
    first: Arc<dyn ReadAt>,
    siblings: &'a dyn Siblings,
    cache: Arc<Cache>,
    layers: u32,
    depth: u32,
    hashes: Vec<StoredHash>,
    hashes_left_out: bool,
    losses: Vec<ReadError>,
}

impl Opening<'_> {
    /// A number for a layer of the image, by which the cache tells its units apart.
    fn next_layer(&mut self) -> u32 {
        self.layers += 1;
        self.layers
    }

    fn lose(&mut self, error: ReadError) {
        /// Past this a damaged image has said enough.
        const MAX_LOSSES: usize = 10_000;
        match self.losses.len() {
            0..MAX_LOSSES => self.losses.push(error),
            MAX_LOSSES => {
                let why = format!("more than {MAX_LOSSES} losses; the others are not listed");
                self.losses.push(ewf::damaged("an image", 0, &why));
            }
            _ => {}
        }
    }

    fn store(&mut self, hash: StoredHash) {
        if self.hashes.contains(&hash) {
            return;
        }
        if self.hashes.len() < MAX_HASHES {
            self.hashes.push(hash);
        } else if !std::mem::replace(&mut self.hashes_left_out, true) {
            let why = format!("it states more than {MAX_HASHES} that differ; the first were kept");
            self.lose(ewf::damaged("the hashes of an image", 0, &why));
        }
    }

    /// A file of the image's folder, named by a path whose folders are left out.
    fn sibling(&self, what: &'static str, path: &str) -> Result<Arc<dyn ReadAt>, ReadError> {
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
        if name.is_empty() || name == "." || name == ".." || name.contains('\0') {
            return Err(ReadError::Absent {
                what: format!("{what}: {path:?} names no file, and it"),
            });
        }
        self.siblings.named(name)?.ok_or_else(|| ReadError::Absent {
            what: format!("{what}, {name:?} in the folder of the image,"),
        })
    }

    /// Opens the disk that this one rests on.
    fn parent(&mut self, what: &'static str, path: &str) -> Result<Arc<dyn ReadAt>, ReadError> {
        if self.depth >= MAX_PARENTS {
            return Err(ReadError::Damaged {
                what,
                offset: 0,
                why: format!("it is one of more than {MAX_PARENTS}, or rests on itself"),
            });
        }
        let file = self.sibling(what, path)?;
        let first = std::mem::replace(&mut self.first, file);
        self.depth += 1;
        let opened = self.disk();
        self.depth -= 1;
        let file = std::mem::replace(&mut self.first, first);
        Ok(opened?.map_or(file, |(_, disk)| disk))
    }

    /// The disk of the first file; `None` where it has no signature of an image.
    fn disk(&mut self) -> Result<Option<Opened>, ReadError> {
        let mut head = [0; 64];
        let have = self.first.read_full_at(0, &mut head)?;
        let head = &head[..have];
        let opened = if head.starts_with(ewf::SIGNATURE) {
            let layout = ewf::Ewf::open(self)?;
            (ImageKind::Ewf, self.mapped(layout))
        } else if head.starts_with(ewf2::SIGNATURE) {
            let layout = ewf2::Ewf2::open(self)?;
            (ImageKind::Ewf2, self.mapped(layout))
        } else if head.starts_with(vhdx::SIGNATURE) {
            (ImageKind::Vhdx, vhdx::open(self)?)
        } else if head.starts_with(qcow2::SIGNATURE) {
            let layout = qcow2::Qcow2::open(self)?;
            (ImageKind::Qcow2, self.mapped(layout))
        } else if vmdk::recognises(head) {
            (ImageKind::Vmdk, vmdk::open(self)?)
        } else if let Some(what) = unsupported(head) {
            return Err(ReadError::Unsupported { what });
        } else if let Some(disk) = vhd::open(self)? {
            (ImageKind::Vhd, disk)
        } else {
            return Ok(None);
        };
        Ok(Some(opened))
    }

    fn mapped(&mut self, layout: impl mapped::Layout + 'static) -> Arc<dyn ReadAt> {
        Arc::new(Mapped {
            layout,
            cache: self.cache.clone(),
            layer: self.next_layer(),
        })
    }
}

/// What an AFF4 container begins with, one or the other.
const AFF4_MEMBERS: [&[u8]; 2] = [b"container.description", b"information.turtle"];

/// Images that are known and not read.
fn unsupported(head: &[u8]) -> Option<&'static str> {
    let is_aff4 = || {
        let name = head.get(30..).filter(|_| head.starts_with(b"PK\x03\x04"));
        name.is_some_and(|name| AFF4_MEMBERS.iter().any(|member| name.starts_with(member)))
    };
    if head.starts_with(b"LVF\x09\r\n\xff\0") || head.starts_with(b"LEF2\r\n\x81\0") {
        Some("a logical EWF image (L01, Lx01)")
    } else if head.starts_with(b"COWD") {
        Some("a sparse VMDK of ESX (COWD)")
    } else if head.starts_with(&0xCAFE_BABE_u64.to_le_bytes()) {
        Some("a sparse VMDK of vSphere (seSparse)")
    } else if head.starts_with(b"QFI\xfb\0\0\0\x01") {
        Some("an image of QCOW, version 1")
    } else if is_aff4() {
        Some("an AFF4 image (export it as raw or E01 with the tool that made it, and name that)")
    } else if head.starts_with(b"AFF10\r\n\0") {
        Some("an AFF image, version 1")
    } else {
        None
    }
}

/// Reads a disk out of an image; `None` where the bytes have no signature of one, so that they
/// are a disk themselves or no image at all.
///
/// # Errors
/// Where the image's own structures are damaged past use, something that it rests on is missing,
/// or this version does not read its kind.
pub fn open_image(
    first: Arc<dyn ReadAt>,
    siblings: &dyn Siblings,
) -> Result<Option<Image>, ReadError> {
    let mut opening = Opening {
        first,
        siblings,
        cache: Cache::new(),
        layers: 0,
        depth: 0,
        hashes: Vec::new(),
        hashes_left_out: false,
        losses: Vec::new(),
    };
    let opened = opening.disk()?;
    Ok(opened.map(|(kind, disk)| Image {
        kind,
        disk,
        hashes: opening.hashes,
        losses: opening.losses.into_iter().map(EvidenceLoss::of).collect(),
    }))
}

/// The parts of a split raw image, one after another; `None` where the first is the only one.
///
/// # Errors
/// Where a part is there and can't be opened, or one between others is missing.
pub(crate) fn join_parts(
    first: &Arc<dyn ReadAt>,
    siblings: &dyn Siblings,
) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
    let Some(extension) = siblings.extension() else {
        return Ok(None);
    };
    let mut disk = mapped::Concat::new();
    disk.push(Some(first.clone()), first.len());
    let mut parts = 1;
    while parts <= MAX_PARTS {
        let Some(next) = part_extension(&extension, parts) else {
            break;
        };
        let Some(part) = siblings.with_extension(&next)? else {
            let after = part_extension(&extension, parts + 1);
            if let Some(after) = after
                && siblings.with_extension(&after)?.is_some()
            {
                return Err(ReadError::Absent {
                    what: format!("the part .{next} of the image, although .{after} is there,"),
                });
            }
            break;
        };
        let length = part.len();
        if !disk.push(Some(part), length) {
            break;
        }
        parts += 1;
    }
    if parts == 1 {
        return Ok(None);
    }
    Ok(Some(Arc::new(Mapped {
        layout: disk,
        cache: Cache::new(),
        layer: 0,
    })))
}

/// The extension of the part `after` the first by so many: `001` and `000` count on, in as many
/// digits or more, `aa` and `aaa` as `split` does.
fn part_extension(first: &str, after: u32) -> Option<String> {
    match first {
        "000" | "001" | "0000" | "0001" => {
            let number = first.parse::<u32>().ok()? + after;
            Some(format!("{number:0width$}", width = first.len()))
        }
        "aa" | "aaa" => {
            let mut rest = after;
            let mut letters = first.as_bytes().to_vec();
            for letter in letters.iter_mut().rev() {
                *letter = b'a' + (rest % 26) as u8;
                rest /= 26;
            }
            (rest == 0).then(|| letters.into_iter().map(char::from).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_as_splitters_name_them() {
        assert_eq!(part_extension("001", 1).as_deref(), Some("002"));
        assert_eq!(part_extension("000", 1000).as_deref(), Some("1000"));
        assert_eq!(part_extension("aa", 1).as_deref(), Some("ab"));
        assert_eq!(part_extension("aa", 26).as_deref(), Some("ba"));
        assert_eq!(part_extension("aa", 676), None);
        assert_eq!(part_extension("aaa", 676).as_deref(), Some("baa"));
        assert_eq!(part_extension("raw", 1), None);
        assert_eq!(part_extension("002", 1), None);
    }
}
