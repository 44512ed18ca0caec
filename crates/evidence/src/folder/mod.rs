//! A folder of the machine that we run on, as a volume.
//!
//! Names are the system's own: raw bytes on Unix, WTF-8 made of UTF-16 on Windows. Links are
//! recorded and never followed, so the tree has no loops but those that mounts make, which end at
//! [`MAX_DEPTH`]. Nor are file systems that the kernel makes up (`proc`, `sysfs` and the like), and those of other machines. What can't be listed or looked at is a
//! loss of its own, and so is a file system that is mounted in the folder and left out, or is another machine's.

mod system;

use std::{
    collections::BTreeSet,
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use scelle_event::{EvidencePath, StreamId};
use scelle_formats::{ReadAt, ReadError};

use crate::{
    Attributes, Details, Entry, EntryKind, EvidenceLoss, FileId, FileSource, StreamInfo,
    StreamState, Volume, VolumeInfo, VolumeKind,
};

pub use system::far_places;
pub(crate) use system::{name_bytes, os_name, times};

/// The deepest folder that is listed, counted from the root.
pub const MAX_DEPTH: usize = 512;

/// A folder, with all that is in it.
#[derive(Debug)]
pub struct FolderVolume {
    info: VolumeInfo,
    root: PathBuf,
    /// The numbers of file systems that are not walked where they are mounted in the folder.
    left_out: Vec<u64>,
    /// Where file systems of other machines are mounted.
    far: BTreeSet<PathBuf>,
}

impl FolderVolume {
    /// The folder at `path`, without the file systems that `left_out` lie on, where they are mounted in it.
    ///
    /// # Errors
    /// Where it can't be found.
    pub fn new(path: &Path, left_out: &[PathBuf]) -> io::Result<Self> {
        Ok(Self {
            far: far_places(),
            left_out: left_out.iter().filter_map(|path| device_of(path)).collect(),
            info: VolumeInfo {
                id: "folder".into(),
                kind: VolumeKind::Folder,
                offset: 0,
                size_bytes: None,
                label: None,
                cluster_bytes: None,
            },
            // On Windows this also makes long paths and odd names work (`\\?\`).
            root: fs::canonicalize(path)?,
        })
    }

    /// Where a path of this volume lies on the system.
    fn locate(&self, path: &EvidencePath) -> Option<PathBuf> {
        let mut at = self.root.clone();
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            at.push(os_name(component)?);
            // A link on the way would lead out of what the walk showed.
            let is_last = components.peek().is_none();
            if !is_last && !fs::symlink_metadata(&at).is_ok_and(|stated| stated.is_dir()) {
                return None;
            }
        }
        Some(at)
    }
}

impl Volume for FolderVolume {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        let root = EvidencePath::from_bytes(b"");
        let mut walk = Walk {
            left_out: &self.left_out,
            far: &self.far,
            visit,
        };
        // Both ways to end are ends.
        walk.show(&self.root, &root, 0, None).is_break();
    }

    fn open(&self, stream: &StreamId) -> Result<Box<dyn ReadAt>, ReadError> {
        let absent = || ReadError::Absent {
            what: stream.to_string(),
        };
        if stream.stream.is_some() {
            return Err(absent());
        }
        let path = self.locate(&stream.path).ok_or_else(absent)?;
        match FileSource::open_regular(&path) {
            Ok(source) => Ok(Box::new(source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(absent()),
            Err(error) => Err(ReadError::io(0, error)),
        }
    }
}

/// The number of the file system that a path lies on, or will.
fn device_of(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let stated = path.ancestors().find_map(|one| fs::metadata(one).ok())?;
    system::facts(&stated).device
}

struct Walk<'a> {
    left_out: &'a [u64],
    far: &'a BTreeSet<PathBuf>,
    visit: &'a mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>,
}

impl Walk<'_> {
    /// Shows one entry, then what is in it; `above` is the file system of the folder that it lies in.
    fn show(
        &mut self,
        at: &Path,
        path: &EvidencePath,
        depth: usize,
        above: Option<u64>,
    ) -> ControlFlow<()> {
        // Not even looked at: where its server is gone, a look never ends.
        if depth > 0 && self.far.contains(at) {
            let why = "a file system of another machine is mounted here, or would be, and is left out: \
                       name it as a source to have it";
            return self.lose(path, io::Error::other(why));
        }
        let (entry, device) = match look(at, path) {
            Ok(entry) => entry,
            Err(error) => return self.lose(path, error),
        };
        let is_folder = entry.kind == EntryKind::Directory;
        (self.visit)(Ok(entry))?;
        if !is_folder {
            return ControlFlow::Continue(());
        }
        if depth > 0 && device != above {
            if device.is_some_and(|device| self.left_out.contains(&device)) {
                let why = "the file system that is mounted here takes the output, and is left out, with all that is \
                           mounted in it";
                return self.lose(path, io::Error::other(why));
            }
            if system::is_made_up(at) {
                return ControlFlow::Continue(());
            }
        }
        if depth == MAX_DEPTH {
            return self.lose(path, io::Error::other("it lies too deep to be listed"));
        }
        let (names, error) = list(at);
        if let Some(error) = error {
            self.lose(path, error)?;
        }
        for (bytes, child) in names {
            self.show(&child, &path.join(&bytes), depth + 1, device)?;
        }
        ControlFlow::Continue(())
    }

    fn lose(&mut self, path: &EvidencePath, error: io::Error) -> ControlFlow<()> {
        (self.visit)(Err(EvidenceLoss {
            path: Some(path.clone()),
            entry: None,
            error: ReadError::io(0, error),
        }))
    }
}

/// What is in a folder, sorted by the bytes of the names, and what ended the listing early.
fn list(folder: &Path) -> (Vec<(Vec<u8>, PathBuf)>, Option<io::Error>) {
    let mut names = Vec::new();
    let mut error = None;
    match fs::read_dir(folder) {
        Ok(found) => {
            for item in found {
                match item {
                    Ok(item) => names.push((name_bytes(&item.file_name()), item.path())),
                    Err(problem) => {
                        error = Some(problem);
                        break;
                    }
                }
            }
        }
        Err(problem) => error = Some(problem),
    }
    names.sort();
    (names, error)
}

/// One entry, and the file system that it lies on.
fn look(at: &Path, path: &EvidencePath) -> io::Result<(Entry, Option<u64>)> {
    let stated = fs::symlink_metadata(at)?;
    let facts = system::facts(&stated);
    let kind = if stated.is_symlink() || facts.is_junction {
        EntryKind::Link
    } else if stated.is_dir() {
        EntryKind::Directory
    } else if stated.is_file() {
        EntryKind::File
    } else {
        EntryKind::Special
    };
    let link_target = match kind {
        EntryKind::Link => match fs::read_link(at) {
            Ok(target) => Some(EvidencePath::from_bytes(&name_bytes(target.as_os_str()))),
            // A reparse point that is no link has no target to read.
            Err(_) if facts.is_junction => None,
            Err(error) => return Err(error),
        },
        _ => None,
    };
    let streams = match kind {
        EntryKind::File => vec![StreamInfo {
            name: None,
            size_bytes: stated.len(),
            allocated_bytes: facts.allocated_bytes,
            sparse: facts.allocated_bytes < stated.len() && facts.knows_allocation,
            state: StreamState::Plain,
            remains: None,
        }],
        _ => Vec::new(),
    };
    let entry = Entry {
        path: path.clone(),
        kind,
        id: facts.inode.map(|entry| FileId { entry, sequence: 0 }),
        times: times(&stated),
        names: Vec::new(),
        attributes: Attributes(facts.attributes),
        deleted: false,
        orphan: false,
        link_target,
        details: Details::default(),
        streams,
    };
    Ok((entry, facts.device))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(volume: &FolderVolume) -> (Vec<Entry>, Vec<EvidenceLoss>) {
        let (mut entries, mut losses) = (Vec::new(), Vec::new());
        volume.walk(&mut |found| {
            match found {
                Ok(entry) => entries.push(entry),
                Err(loss) => losses.push(loss),
            }
            ControlFlow::Continue(())
        });
        (entries, losses)
    }

    fn stream(path: &[u8]) -> StreamId {
        StreamId {
            volume: "folder".into(),
            path: EvidencePath::from_bytes(path),
            stream: None,
        }
    }

    #[test]
    fn order_is_stable_and_everything_is_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["b", "a.txt", "B", "dir/z", "dir/y"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("room");
            fs::write(path, name).expect("room");
        }
        let volume = FolderVolume::new(folder.path(), &[]).expect("it is there");
        let (entries, losses) = walk(&volume);
        let paths: Vec<_> = entries.iter().map(|e| e.path.to_string()).collect();
        assert_eq!(paths, ["", "B", "a.txt", "b", "dir", "dir/y", "dir/z"]);
        assert!(losses.is_empty());
        let opened = volume.open_entry(&entries[5], None).expect("a file");
        assert_eq!(opened.len(), 5);
        for path in [&b"dir"[..], b"none", b"dir/../b", b"./b", b"b/x"] {
            assert!(volume.open(&stream(path)).is_err(), "{path:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_loops_pipes_and_odd_names() {
        use std::os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener};

        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir(at(b"dir")).expect("room");
        symlink(folder.path(), at(b"dir/loop")).expect("a loop");
        symlink("nowhere", at(b"broken")).expect("a link");
        fs::write(at(b"odd\xFF\\:\n"), b"x").expect("an odd name");
        UnixListener::bind(at(b"socket")).expect("a socket");
        let volume = FolderVolume::new(folder.path(), &[]).expect("it is there");
        let (entries, losses) = walk(&volume);
        assert!(losses.is_empty());
        let kind = |path: &[u8]| {
            let found = entries.iter().find(|e| e.path.as_bytes() == path);
            found.unwrap_or_else(|| panic!("no {path:?}")).kind
        };
        assert_eq!(entries.len(), 6);
        assert_eq!(kind(b"dir/loop"), EntryKind::Link);
        assert_eq!(kind(b"broken"), EntryKind::Link);
        assert_eq!(kind(b"socket"), EntryKind::Special);
        assert_eq!(kind(b"odd\xFF\\:\n"), EntryKind::File);
        assert!(volume.open(&stream(b"odd\xFF\\:\n")).is_ok());
        // Not through a link, neither the last step nor one on the way.
        assert!(volume.open(&stream(b"broken")).is_err());
        assert!(volume.open(&stream(b"dir/loop/dir")).is_err());
        assert!(volume.open(&stream(b"dir/loop/broken")).is_err());
        assert!(volume.open(&stream(b"socket")).is_err());
        let targets: Vec<_> = entries
            .iter()
            .filter_map(|e| e.link_target.clone())
            .collect();
        assert_eq!(targets[0].as_bytes(), b"nowhere");
    }
}
