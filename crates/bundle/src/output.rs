//! Where a bundle goes, and how its name is kept for the whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write},
    path::{Path, PathBuf},
};

use crate::Error;

/// Takes a bundle's bytes.
pub trait Output: Write + Send {
    /// Makes sure that all that was written is on the device.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Output for Vec<u8> {}

impl Output for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl<O: Output + ?Sized> Output for Box<O> {
    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }
}

/// A file that bears the name `NAME.partial` until it is whole.
///
/// Dropped before that, it stays under that name: what a checkpoint vouches for can be salvaged.
#[derive(Debug)]
pub struct PartialFile {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    replace: bool,
}

impl PartialFile {
    /// Creates it; `replace` says that files of these names may be overwritten, but for one that
    /// another collection is writing.
    ///
    /// # Errors
    /// [`Error::Exists`] for what must not be replaced, [`Error::Create`] for what the system says.
    pub fn create(path: &Path, replace: bool) -> Result<Self, Error> {
        let partial = partial_of(path);
        if !replace && fs::symlink_metadata(path).is_ok() {
            return Err(Error::Exists(path.to_owned()));
        }
        let mut options = alone();
        if replace {
            // Not emptied by opening it: another collection may be writing it.
            options.create(true).truncate(false);
        } else {
            options.create_new(true);
        }
        let created = hold(&options, &partial).and_then(|file| {
            file.set_len(0)?;
            let synced = sync_folder(&partial);
            if synced.is_err() && !replace {
                drop(fs::remove_file(&partial));
            }
            synced.map(|()| file)
        });
        match created {
            Ok(file) => Ok(Self {
                file,
                partial,
                path: path.to_owned(),
                replace,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Exists(partial))
            }
            Err(source) => Err(Error::Create {
                path: partial,
                source,
            }),
        }
    }

    /// Opens what is there of a file that was not finished.
    ///
    /// # Errors
    /// [`Error::Exists`] where it was finished, [`Error::Create`] for what the system says: there
    /// is none, or it can't be written.
    pub fn reopen(path: &Path) -> Result<Self, Error> {
        let partial = partial_of(path);
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::Exists(path.to_owned()));
        }
        match hold(alone().read(true), &partial) {
            Ok(file) => Ok(Self {
                file,
                partial,
                path: path.to_owned(),
                replace: false,
            }),
            Err(source) => Err(Error::Create {
                path: partial,
                source,
            }),
        }
    }

    /// Cuts it after so many bytes, and writes on there.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.seek(io::SeekFrom::Start(bytes)).map(drop)
    }

    /// Puts all of it on the device and gives it its name.
    ///
    /// # Errors
    /// [`Error::Write`] when the device fails, [`Error::Exists`] when the name was taken meanwhile.
    pub fn commit(self) -> Result<PathBuf, Error> {
        self.file.sync_all().map_err(Error::Write)?;
        if !self.replace && fs::symlink_metadata(&self.path).is_ok() {
            return Err(Error::Exists(self.path));
        }
        // Windows renames no file that is open. Elsewhere it is held until it has its name: whoever
        // waits for it would write into what is whole.
        #[cfg(windows)]
        drop(self.file);
        fs::rename(&self.partial, &self.path).map_err(Error::Write)?;
        // It has its name by now, and is whole: that a power cut may still take the name makes it no less so.
        drop(sync_folder(&self.path));
        Ok(self.path)
    }

    /// Removes it.
    ///
    /// # Errors
    /// What the system says.
    pub fn discard(self) -> io::Result<()> {
        drop(self.file);
        fs::remove_file(self.partial)
    }

    /// The name that it bears until it is whole.
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }
}

/// How a file is opened that nobody else is to write. Windows keeps others from it while it is
/// open; they may read it.
fn alone() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(windows)]
    {
        const FILE_SHARE_READ: u32 = 1;
        std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, FILE_SHARE_READ);
    }
    options
}

/// Opens a file for this process alone, where the system can: two that write on the same bundle
/// would destroy it.
fn hold(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let is_locked = matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock));
        // Whoever held it may have finished it since it was opened: it bears another name then.
        let is_there = || -> io::Result<bool> {
            let (held, named) = (file.metadata()?, fs::metadata(path)?);
            Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
        };
        if is_locked || !is_there()? {
            return Err(io::Error::other("another collection is writing it"));
        }
    }
    Ok(file)
}

/// Puts the name of a new or renamed file on the device, where the system has a way to; without it,
/// a power cut may take the name, and with it the file.
///
/// # Errors
/// What the system says.
pub fn sync_folder(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // A file system that knows no such thing, or a folder that may be written and not read.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput
                        | io::ErrorKind::Unsupported
                        | io::ErrorKind::PermissionDenied
                ) => {}
            synced => synced?,
        }
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

fn partial_of(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    PathBuf::from(partial)
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Output for PartialFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}
