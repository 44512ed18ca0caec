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
    /// Creates it; `replace` says that files of these names may be overwritten.
    ///
    /// # Errors
    /// [`Error::Exists`] for what must not be replaced, [`Error::Create`] for what the system says.
    pub fn create(path: &Path, replace: bool) -> Result<Self, Error> {
        let partial = partial_of(path);
        if !replace && fs::symlink_metadata(path).is_ok() {
            return Err(Error::Exists(path.to_owned()));
        }
        let mut options = OpenOptions::new();
        options.write(true);
        if replace {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        match options.open(&partial).and_then(hold) {
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
        let opened = OpenOptions::new().read(true).write(true).open(&partial);
        match opened.and_then(hold) {
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
        // Windows renames no file that is open.
        drop(self.file);
        fs::rename(&self.partial, &self.path).map_err(Error::Write)?;
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

/// Takes the file for this process alone, where the system can: two that write on the same bundle
/// would destroy it. Windows would keep readers away as well, so there it is left.
fn hold(file: File) -> io::Result<File> {
    #[cfg(unix)]
    if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
        return Err(io::Error::other("another collection is writing it"));
    }
    Ok(file)
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
