//! A file or device, read by position.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    path::Path,
};

use scelle_formats::{ReadAt, ReadError};

/// A file or block device. Reads are positioned and share no cursor, so they need no lock.
///
/// Its length is taken when it is opened. A file that is cut later gives [`ReadError::Short`].
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens a file or block device for reading only, in a way that leaves the least trace: the
    /// access time is left alone where the system allows that, and other programs may go on
    /// writing, renaming and deleting.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(open_following(path)?)
    }

    /// As [`open`](Self::open), but where the path itself is a symbolic link, a junction or a
    /// pipe, nothing is followed and nothing waits.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::InvalidInput`] where it is no regular file.
    pub fn open_regular(path: &Path) -> io::Result<Self> {
        let file = open_unfollowed(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        Self::new(file)
    }

    /// Takes a file that is open already.
    ///
    /// # Errors
    /// Where its length can't be learned.
    pub fn new(mut file: File) -> io::Result<Self> {
        let stated = file.metadata()?;
        // A block device states no length, but its end can be found.
        let len = if stated.is_file() {
            stated.len()
        } else {
            file.seek(SeekFrom::End(0))?
        };
        Ok(Self { file, len })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl ReadAt for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let want = (buf.len() as u64).min(self.len.saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < want {
            let at = offset + done as u64;
            match read_once(&self.file, at, &mut buf[done..want]) {
                Ok(0) if done == 0 => {
                    return Err(ReadError::Short {
                        what: "a file that became shorter",
                        offset: at,
                        need: want as u64,
                        have: 0,
                    });
                }
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What was read stands; the next read will meet the error first.
                Err(_) if done > 0 => break,
                Err(error) => return Err(ReadError::io(at, error)),
            }
        }
        Ok(done)
    }
}

#[cfg(unix)]
fn read_once(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_once(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    // It moves the cursor as well, which nobody here looks at.
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_with(path: &Path, flags: rustix::fs::OFlags) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;

    let open = |flags: OFlags| {
        OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
    };
    match open(flags | OFlags::NOATIME) {
        // Only its owner may leave a file's access time alone.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(flags),
        outcome => outcome,
    }
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn open_with(path: &Path, flags: rustix::fs::OFlags) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

#[cfg(unix)]
fn open_following(path: &Path) -> io::Result<File> {
    // Opening a pipe waits for its other end unless it is told not to.
    open_with(path, rustix::fs::OFlags::NONBLOCK)
}

#[cfg(unix)]
fn open_unfollowed(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    open_with(path, OFlags::NONBLOCK | OFlags::NOFOLLOW)
}

#[cfg(windows)]
fn open_following(path: &Path) -> io::Result<File> {
    open_shared(path, 0)
}

#[cfg(windows)]
fn open_unfollowed(path: &Path) -> io::Result<File> {
    const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    open_shared(path, FILE_FLAG_OPEN_REPARSE_POINT)
}

#[cfg(windows)]
fn open_shared(path: &Path, flags: u32) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt as _;

    const FILE_SHARE_READ: u32 = 1;
    const FILE_SHARE_WRITE: u32 = 2;
    const FILE_SHARE_DELETE: u32 = 4;
    const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
    OpenOptions::new()
        .read(true)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | flags)
        .open(path)
}

#[cfg(test)]
mod tests {
    use scelle_formats::ReadAtExt as _;

    use super::*;

    #[test]
    fn a_file_that_shrinks_is_a_loss() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), [7; 5000]).expect("room");
        let source = FileSource::open(file.path()).expect("it is there");
        assert_eq!(source.len(), 5000);
        file.as_file().set_len(100).expect("our own file");
        let mut buf = [0; 1000];
        assert_eq!(source.read_at(0, &mut buf).expect("the first 100"), 100);
        assert!(matches!(
            source.read_at(100, &mut buf),
            Err(ReadError::Short { offset: 100, .. })
        ));
        assert!(source.read_full_at(0, &mut buf).is_err());
        assert_eq!(source.read_at(5000, &mut buf).expect("the end"), 0);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, b"x").expect("room");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        assert!(FileSource::open(&link).is_ok());
        assert!(FileSource::open_regular(&link).is_err());
        assert!(FileSource::open_regular(folder.path()).is_err());
        assert!(FileSource::open_regular(&file).is_ok());
    }
}
