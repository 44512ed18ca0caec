//! Files that bear their final name only when they are whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// A file under a name that says that it is not finished. It is renamed by
/// [`finish`](Self::finish), and removed where that is never reached.
#[derive(Debug)]
pub struct PartialFile {
    file: Option<File>,
    partial: PathBuf,
    path: PathBuf,
}

impl PartialFile {
    /// Begins a file; what exists under `path` is replaced at the end, and only with `force`.
    ///
    /// # Errors
    /// Where the output exists, or can't be made; the message says what to do.
    pub fn create(path: &Path, force: bool) -> Result<Self> {
        refuse_existing(path, force)?;
        let name = path
            .file_name()
            .with_context(|| format!("{} names no file to write", path.display()))?;
        let mut partial_name = name.to_owned();
        partial_name.push(".partial");
        let partial = path.with_file_name(partial_name);
        if force && partial.exists() {
            fs::remove_file(&partial).with_context(|| format!("removing {}", partial.display()))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&partial)
            .with_context(|| match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => format!(
                    "writing {}: make the folder {} first",
                    path.display(),
                    parent.display()
                ),
                _ => format!("making {} (--force replaces it)", partial.display()),
            })?;
        Ok(Self {
            file: Some(file),
            partial,
            path: path.to_owned(),
        })
    }

    /// The file itself.
    ///
    /// # Errors
    /// When the system can't give another handle.
    pub fn file(&self) -> io::Result<File> {
        match &self.file {
            Some(file) => file.try_clone(),
            None => Err(io::Error::other("the file is finished")),
        }
    }

    /// The name under which it is written meanwhile.
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }

    /// Flushes it to the device and gives it its name.
    ///
    /// # Errors
    /// Where the system can't; the file is then removed.
    pub fn finish(mut self) -> Result<PathBuf> {
        let writing = || format!("writing {}", self.path.display());
        if let Some(file) = self.file.take() {
            file.sync_all().with_context(writing)?;
        }
        fs::rename(&self.partial, &self.path).with_context(writing)?;
        Ok(std::mem::take(&mut self.path))
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("the file is finished")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        // Windows removes no file that is open.
        self.file = None;
        if let Err(error) = fs::remove_file(&self.partial) {
            eprintln!(
                "warning: {} is left behind: {error}",
                self.partial.display()
            );
        }
    }
}

/// Refuses a path that exists, unless `force`.
///
/// # Errors
/// Where it exists.
pub fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    if !force && path.symlink_metadata().is_ok() {
        bail!(
            "{} exists already: choose another name, or replace it with --force",
            path.display()
        );
    }
    Ok(())
}

/// Refuses an output that lies on what is collected: it would overwrite what it should save.
///
/// # Errors
/// Where it does.
pub fn refuse_on_source(source: &Path, output: &Path) -> Result<()> {
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Where one of them does not exist, whoever opens it says so better.
    let (Ok(source), Ok(parent)) = (source.canonicalize(), parent.canonicalize()) else {
        return Ok(());
    };
    let lies_on = if source.is_dir() {
        parent.starts_with(&source)
    } else {
        is_on_device(&source, &parent)
    };
    if lies_on {
        bail!(
            "the output {} would lie on the source {}, and overwrite what is not saved yet: \
             write elsewhere, or insist with --allow-source-volume",
            output.display(),
            source.display()
        );
    }
    Ok(())
}

/// Whether `folder` lies on the block device `device`, or on a partition of it.
#[cfg(target_os = "linux")]
fn is_on_device(device: &Path, folder: &Path) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let (Ok(device), Ok(folder)) = (device.metadata(), folder.metadata()) else {
        return false;
    };
    if !device.file_type().is_block_device() {
        return false;
    }
    // Of a partition, sysfs has a folder inside that of its disk.
    let of = |number: u64| {
        let (major, minor) = (
            (number >> 8 & 0xFFF) | (number >> 32 & !0xFFF),
            (number & 0xFF) | (number >> 12 & !0xFF),
        );
        Path::new("/sys/dev/block")
            .join(format!("{major}:{minor}"))
            .canonicalize()
    };
    match (of(device.rdev()), of(folder.dev())) {
        (Ok(device), Ok(folder)) => folder.starts_with(device),
        _ => device.rdev() == folder.dev(),
    }
}

#[cfg(not(target_os = "linux"))]
fn is_on_device(_device: &Path, _folder: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_files_leave_no_trace() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.zip");
        let mut file = PartialFile::create(&path, false).expect("made");
        file.write_all(b"half").expect("written");
        assert!(!path.exists() && file.partial_path().exists());
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);

        let mut file = PartialFile::create(&path, false).expect("made");
        file.write_all(b"whole").expect("written");
        assert_eq!(file.finish().expect("finished"), path);
        assert_eq!(fs::read(&path).expect("readable"), b"whole");
        let refused = PartialFile::create(&path, false).expect_err("it exists");
        assert!(refused.to_string().contains("--force"));
        PartialFile::create(&path, true).expect("forced");
        assert_eq!(fs::read(&path).expect("still there"), b"whole");
    }

    #[test]
    fn sources_are_not_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("case.zip");
        let refused = refuse_on_source(folder.path(), &inside).expect_err("inside");
        assert!(refused.to_string().contains("--allow-source-volume"));
        let elsewhere = tempfile::tempdir().expect("a folder");
        refuse_on_source(folder.path(), &elsewhere.path().join("case.zip")).expect("elsewhere");
    }
}
