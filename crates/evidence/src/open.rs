//! From a path on this machine to evidence.

use std::{
    collections::HashMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use scelle_event::EvidencePath;
use scelle_formats::{
    ReadAt, ReadAtExt as _, ReadError, Window,
    bitlocker::{Boot, SIGNATURE as BITLOCKER_SIGNATURE},
    ntfs::BootSector,
};

use crate::{
    Aligned, Evidence, EvidenceLoss, FileSource, FileVolume, FolderVolume, Image, ImageKind,
    MapSource, NtfsVolume, Times, Unlocked, Volume, VolumeInfo, VolumeKeys, VolumeKind,
    bitlocker::{Opener, has_metadata},
    folder,
    fs::{Exfat, Ext, Fat, Tree, TreeVolume},
    image::{Folder, join_parts, open_image},
    partition::Partitions,
    shadow::shadow_copies,
};

/// The name of the only entry of a partition whose file system nobody here knows.
pub const UNKNOWN_ENTRY: &str = "contents";

/// A multiple of every device's sectors.
const DEVICE_BLOCK_BYTES: u32 = 4096;

/// How a source is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Whether an image is mapped into memory. The caller vouches that nobody cuts it meanwhile;
    /// devices and folders are never mapped.
    pub map: bool,
    /// What opens encrypted volumes.
    pub keys: VolumeKeys,
    /// Where output goes. Of a folder, the file systems that these lie on are left out where they are mounted in it, with a loss that says so.
    pub left_out: Vec<PathBuf>,
}

/// Why a source can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is nothing at that path.
    #[error("{}: there is no such file or folder", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The system does not let us read it.
    #[error("{}: reading it is not permitted", path.display())]
    Denied {
        /// The path.
        path: PathBuf,
    },
    /// It is neither a file, a folder nor a block device.
    #[error("{}: it is neither a file, a folder nor a block device", path.display())]
    Unfit {
        /// The path.
        path: PathBuf,
    },
    /// It is a disk image that can't be read.
    #[error("{}: {source}", path.display())]
    Image {
        /// The path.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// The system failed otherwise.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl OpenError {
    fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            _ => Self::Io { path, source },
        }
    }
}

/// Opens a folder, a disk image, a block device, or a single file.
///
/// An image may be stored as any [`ImageKind`]. It is of a whole disk with a partition table, or one bare volume. What is neither is shown
/// as one file, so that it can be parsed. Bundles are opened by the crate `bundle`.
///
/// # Errors
/// Where it can't be read at all. What is damaged in it stands in [`Evidence::losses`].
pub fn open(path: &Path, options: &OpenOptions) -> Result<Evidence, OpenError> {
    let failed = |error| OpenError::new(path, error);
    let stated = fs::metadata(path).map_err(failed)?;
    let name = base_name(path);
    let shown: Arc<str> = EvidencePath::from_bytes(&name).to_string().into();
    if stated.is_dir() {
        return Ok(Evidence {
            name: shown,
            volumes: vec![Arc::new(
                FolderVolume::new(path, &options.left_out).map_err(failed)?,
            )],
            snapshots: Vec::new(),
            unlocked: Vec::new(),
            losses: Vec::new(),
        });
    }
    if !stated.is_file() && !is_block_device(&stated) {
        return Err(OpenError::Unfit {
            path: path.to_owned(),
        });
    }
    let image = read_image(path, &stated, options)?;
    let mut evidence = open_source_with(shown, image.disk.clone(), &options.keys);
    evidence.losses.splice(0..0, image.losses);
    if evidence.volumes.is_empty() && image.kind == ImageKind::Raw {
        let info = VolumeInfo {
            id: "file".into(),
            kind: VolumeKind::File,
            offset: 0,
            size_bytes: Some(image.disk.len()),
            label: None,
            cluster_bytes: None,
        };
        let times = folder::times(&stated);
        let volume = FileVolume::new(info, &name, times, image.disk);
        evidence.volumes.push(Arc::new(volume));
    } else if evidence.volumes.is_empty() {
        let mut disk = Disk::new(evidence, image.disk, &options.keys);
        disk.add_unknown(0..disk.source.len());
        evidence = disk.evidence;
    }
    Ok(evidence)
}

/// Opens the disk that an image is of, as [`open`] does before it looks for volumes; a raw image, a
/// device or any file is its own disk.
///
/// # Errors
/// As [`open`].
pub fn open_disk(path: &Path, options: &OpenOptions) -> Result<Image, OpenError> {
    let stated = fs::metadata(path).map_err(|error| OpenError::new(path, error))?;
    if !stated.is_file() && !is_block_device(&stated) {
        return Err(OpenError::Unfit {
            path: path.to_owned(),
        });
    }
    read_image(path, &stated, options)
}

fn read_image(
    path: &Path,
    stated: &fs::Metadata,
    options: &OpenOptions,
) -> Result<Image, OpenError> {
    let failed = |error| OpenError::new(path, error);
    let unreadable = |source| OpenError::Image {
        path: path.to_owned(),
        source,
    };
    let file = FileSource::open(path).map_err(failed)?;
    if !stated.is_file() {
        return Ok(Image::raw(Arc::new(Aligned::new(file, DEVICE_BLOCK_BYTES))));
    }
    let source: Arc<dyn ReadAt> = if options.map && !file.is_empty() {
        Arc::new(MapSource::new(file.file()).map_err(failed)?)
    } else {
        Arc::new(file)
    };
    let folder = Folder(path);
    if let Some(image) = open_image(source.clone(), &folder).map_err(unreadable)? {
        return Ok(image);
    }
    // Parts are joined only where they make a disk: names alone decide nothing.
    let joined = join_parts(&source, &folder).map_err(unreadable)?;
    let joined = joined.filter(|disk| !open_source("".into(), disk.clone()).volumes.is_empty());
    Ok(Image::raw(joined.unwrap_or(source)))
}

/// The volumes of a disk, or of a bare volume; none where the bytes are neither.
pub fn open_source(name: Arc<str>, source: Arc<dyn ReadAt>) -> Evidence {
    open_source_with(name, source, &VolumeKeys::default())
}

/// As [`open_source`], with what opens encrypted volumes.
pub fn open_source_with(name: Arc<str>, source: Arc<dyn ReadAt>, keys: &VolumeKeys) -> Evidence {
    let evidence = Evidence {
        name,
        volumes: Vec::new(),
        snapshots: Vec::new(),
        unlocked: Vec::new(),
        losses: Vec::new(),
    };
    let mut disk = Disk::new(evidence, source, keys);
    let whole = 0..disk.source.len();
    if disk.bitlocker(0).is_some() {
        disk.add_volume(whole);
    } else if disk.sector(0).is_some_and(|sector| is_luks(&sector)) {
        disk.add_unknown(whole);
    } else if disk.begins_volume(0) || disk.begins_other(0) {
        disk.add_volume(whole);
    } else if let Some(partitions) = Partitions::read(&disk.source) {
        let losses = partitions.losses.into_iter().map(EvidenceLoss::of);
        disk.evidence.losses.extend(losses);
        for range in partitions.found {
            if !disk.add_volume(range.clone()) {
                disk.add_unknown(range);
            }
        }
    } else if !disk.add_ext(whole.clone()) {
        disk.add_by_backup(whole);
    }
    disk.evidence
}

struct Disk<'k> {
    source: Arc<dyn ReadAt>,
    /// Where `source` begins in the disk: not at 0 while it is an opened volume.
    base: u64,
    is_opened: bool,
    opener: Opener<'k>,
    /// How often each id was given.
    ids: HashMap<Arc<str>, u32>,
    evidence: Evidence,
}

impl<'k> Disk<'k> {
    fn new(evidence: Evidence, source: Arc<dyn ReadAt>, keys: &'k VolumeKeys) -> Self {
        Self {
            source,
            base: 0,
            is_opened: false,
            opener: Opener::new(keys),
            ids: HashMap::new(),
            evidence,
        }
    }

    /// What the first sector of a BitLocker volume says; none lies in another.
    fn bitlocker(&self, offset: u64) -> Option<Boot> {
        let sector = self.sector(offset).filter(|_| !self.is_opened)?;
        let boot = Boot::recognise(&sector)?;
        // Boot code holds any bytes: of another file system's first sector, or a disk's, the metadata tell.
        let is_signed = &sector[3..11] == BITLOCKER_SIGNATURE;
        let window = self.window(offset..self.source.len());
        (is_signed || has_metadata(&window, &boot)).then_some(boot)
    }

    fn begins_volume(&self, offset: u64) -> bool {
        self.sector(offset)
            .is_some_and(|sector| BootSector::recognises(&sector))
    }

    fn sector(&self, offset: u64) -> Option<[u8; BootSector::BYTES]> {
        let mut sector = [0; BootSector::BYTES];
        // A sector that can't be read begins nothing that could be opened.
        let have = self.source.read_full_at(offset, &mut sector).ok()?;
        (have == sector.len()).then_some(sector)
    }

    /// Adds the volume that these bytes are; false where nobody here knows it.
    fn add_volume(&mut self, range: Range<u64>) -> bool {
        if let Some(boot) = self.bitlocker(range.start) {
            self.add_bitlocker(range, &boot);
            return true;
        }
        if !self.begins_volume(range.start) {
            return self.add_other(range.clone())
                || self.add_ext(range.clone())
                || self.add_by_backup(range);
        }
        let mut losses = Vec::new();
        let window = self.window(range.clone());
        match NtfsVolume::open(window.clone(), self.base + range.start, &mut losses) {
            Ok(volume) => {
                self.add_ntfs(volume, &window, losses);
                true
            }
            Err(error) => {
                let added = self.add_by_backup(range);
                self.evidence.losses.push(EvidenceLoss::of(error));
                added
            }
        }
    }

    /// Adds what a BitLocker volume holds; where it can't be opened, its bytes as they are.
    fn add_bitlocker(&mut self, range: Range<u64>, boot: &Boot) {
        let window = self.window(range.clone());
        let mut losses = Vec::new();
        let opened = self.opener.open(&window, boot, &mut losses);
        let losses = losses.into_iter().map(EvidenceLoss::of);
        self.evidence.losses.extend(losses);
        let (plain, unlocked) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.add_opaque(range, error),
        };
        let before = self.evidence.volumes.len();
        let whole = 0..plain.len();
        let disk = std::mem::replace(&mut self.source, plain);
        (self.base, self.is_opened) = (range.start, true);
        if !self.add_volume(whole.clone()) {
            self.add_unknown(whole);
        }
        (self.base, self.is_opened) = (0, false);
        self.source = disk;
        for volume in &self.evidence.volumes[before..] {
            let volume = volume.info().id.clone();
            let unlocked = unlocked.clone();
            self.evidence.unlocked.push(Unlocked { volume, ..unlocked });
        }
    }

    /// Whether a FAT or exFAT volume begins there.
    fn begins_other(&self, offset: u64) -> bool {
        self.sector(offset)
            .is_some_and(|sector| Exfat::recognises(&sector) || is_fat(&sector))
    }

    fn add_other(&mut self, range: Range<u64>) -> bool {
        let Some(sector) = self.sector(range.start) else {
            return false;
        };
        let (window, start) = (self.window(range.clone()), self.base + range.start);
        let mut losses = Vec::new();
        if Exfat::recognises(&sector) {
            let opened = Exfat::open(window, start, &mut losses);
            self.add_tree(opened, losses)
        } else if is_fat(&sector) {
            let opened = Fat::open(window, start, &mut losses);
            self.add_tree(opened, losses)
        } else {
            false
        }
    }

    /// Adds an ext2, ext3 or ext4 volume, whose superblock has its place after two sectors.
    fn add_ext(&mut self, range: Range<u64>) -> bool {
        let superblock = range.start.saturating_add(1024);
        if !(self.sector(superblock)).is_some_and(|sector| Ext::recognises(&sector)) {
            return false;
        }
        let mut losses = Vec::new();
        let start = self.base + range.start;
        let opened = Ext::open(self.window(range), start, &mut losses);
        self.add_tree(opened, losses)
    }

    fn add_tree<T: Tree + 'static>(
        &mut self,
        opened: Result<TreeVolume<T>, ReadError>,
        losses: Vec<ReadError>,
    ) -> bool {
        let losses = losses.into_iter().map(EvidenceLoss::of);
        self.evidence.losses.extend(losses);
        match opened {
            Ok(mut volume) => {
                volume.info.id = self.unique(volume.info.id.clone());
                self.evidence.volumes.push(Arc::new(volume));
                true
            }
            Err(error) => {
                self.evidence.losses.push(EvidenceLoss::of(error));
                false
            }
        }
    }

    /// Adds the NTFS volume whose backup boot sector is the last sector of the range.
    fn add_by_backup(&mut self, range: Range<u64>) -> bool {
        let Some(at) = range.end.checked_sub(BootSector::BYTES as u64) else {
            return false;
        };
        let sector = self
            .sector(at)
            .filter(|sector| BootSector::recognises(sector));
        let Some(boot) = sector.and_then(|sector| BootSector::parse(&sector).ok()) else {
            return false;
        };
        // The backup follows the volume's last sector, so it says where the volume begins.
        let start = at
            .checked_sub(boot.volume_bytes())
            .filter(|start| *start >= range.start);
        let Some(start) = start else { return false };
        let mut losses = vec![ReadError::Damaged {
            what: "a boot sector",
            offset: start,
            why: "it is not one; its backup was used".to_owned(),
        }];
        let window = self.window(start..range.end);
        match NtfsVolume::with_boot(window.clone(), self.base + start, &boot, &mut losses) {
            Ok(volume) => {
                self.add_ntfs(volume, &window, losses);
                true
            }
            Err(_) => false,
        }
    }

    /// Adds a volume and its snapshots.
    fn add_ntfs(
        &mut self,
        mut volume: NtfsVolume,
        window: &Arc<dyn ReadAt>,
        mut losses: Vec<ReadError>,
    ) {
        let id = self.unique(volume.info().id.clone());
        volume.set_id(id);
        let snapshots = shadow_copies(window, volume.info(), &mut losses);
        self.evidence.snapshots.extend(snapshots);
        self.evidence.volumes.push(Arc::new(volume));
        let losses = losses.into_iter().map(EvidenceLoss::of);
        self.evidence.losses.extend(losses);
    }

    /// Adds a partition as one file, and says that it is not understood.
    fn add_unknown(&mut self, range: Range<u64>) {
        let is_luks = self
            .sector(range.start)
            .is_some_and(|sector| is_luks(&sector));
        let what = if is_luks {
            "a LUKS volume, which is encrypted,"
        } else {
            "the file system of a partition"
        };
        self.add_opaque(range, ReadError::Unsupported { what });
    }

    /// Adds a partition as one file, and says why it is no more.
    fn add_opaque(&mut self, range: Range<u64>, error: ReadError) {
        let start = self.base + range.start;
        let id = self.unique(format!("at-{start}").into());
        let info = VolumeInfo {
            id: id.clone(),
            kind: VolumeKind::File,
            offset: start,
            size_bytes: Some(range.end - range.start),
            label: None,
            cluster_bytes: None,
        };
        self.evidence.losses.push(EvidenceLoss {
            path: Some(EvidencePath::from_bytes(id.as_bytes())),
            entry: None,
            error,
        });
        let source = self.window(range);
        let name = UNKNOWN_ENTRY.as_bytes();
        let volume = FileVolume::new(info, name, Times::default(), source);
        self.evidence.volumes.push(Arc::new(volume));
    }

    fn window(&self, range: Range<u64>) -> Arc<dyn ReadAt> {
        if range == (0..self.source.len()) {
            return self.source.clone();
        }
        Arc::new(Window::new(self.source.clone(), range))
    }

    /// The id, with `+2`, `+3` appended where it was given before.
    fn unique(&mut self, id: Arc<str>) -> Arc<str> {
        let given = self.ids.entry(id.clone()).or_insert(0);
        *given += 1;
        match *given {
            1 => id,
            count => format!("{id}+{count}").into(),
        }
    }
}

/// BitLocker To Go looks like FAT too.
fn is_fat(sector: &[u8; BootSector::BYTES]) -> bool {
    Fat::recognises(sector) && Boot::recognise(sector).is_none()
}

fn is_luks(sector: &[u8; BootSector::BYTES]) -> bool {
    sector.starts_with(b"LUKS\xBA\xBE")
}

fn base_name(path: &Path) -> Vec<u8> {
    match path.file_name() {
        Some(name) => folder::name_bytes(name),
        // A path such as `..` has a name only where it really lies.
        None => fs::canonicalize(path)
            .ok()
            .as_deref()
            .and_then(Path::file_name)
            .map_or_else(|| b"root".to_vec(), folder::name_bytes),
    }
}

#[cfg(unix)]
fn is_block_device(stated: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    stated.file_type().is_block_device()
}

#[cfg(not(unix))]
fn is_block_device(_: &fs::Metadata) -> bool {
    false
}
