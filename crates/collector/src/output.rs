//! Files that bear their final name only when they are whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{Terminal, terminal::say};

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
        Self::create_with(path, force, OpenOptions::new())
    }

    /// As [`create`](Self::create), a program that is its owner's alone from the first byte on: it holds a secret.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_secret_program(path: &Path, force: bool) -> Result<Self> {
        let options = OpenOptions::new();
        #[cfg(unix)]
        let options = {
            let mut options = options;
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o700);
            options
        };
        Self::create_with(path, force, options)
    }

    fn create_with(path: &Path, force: bool, mut options: OpenOptions) -> Result<Self> {
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
        let file = options
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
            say(format_args!(
                "warning: {} is left behind: {error}",
                self.partial.display()
            ));
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

/// Refuses an output that lies on what is collected: it would overwrite what it should save. `or` says what else can be done.
///
/// What is mounted in a folder that is collected may take the output: it is left out of the collection then
/// (`OpenOptions::left_out`).
///
/// # Errors
/// Where it does, or nobody can tell.
pub fn refuse_on_source(source: &Path, output: &Path, or: &str) -> Result<()> {
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Where it does not exist, whoever writes to it says so better.
    let Ok(parent) = parent.canonicalize() else {
        return Ok(());
    };
    let lies_on = match source.canonicalize() {
        Ok(source) if source.is_dir() => {
            Some(parent.starts_with(&source) && is_one_file_system(&source, &parent))
        }
        Ok(source) => is_on_device(&source, &parent),
        // Windows does not say of each device where it is. What is not there at all is told better by whoever opens it.
        Err(_) => is_on_device(source, &parent),
    };
    let (output, source) = (output.display(), source.display());
    match lies_on {
        Some(false) => Ok(()),
        Some(true) => bail!(
            "the output {output} would lie on the source {source}, and overwrite what is not saved yet: {or}"
        ),
        None => bail!(
            "whether the output {output} would lie on the source {source}, and overwrite what is not saved yet, can't \
             be known here: {or}"
        ),
    }
}

/// Warns of what is not collected since it takes one of the outputs: a file system that is mounted in the folder `source`.
/// `or` says how to have all of it.
pub fn tell_left_out(source: &Path, outputs: &[PathBuf], or: &str, terminal: &Terminal) {
    let Ok(source) = source.canonicalize() else {
        return;
    };
    let mut told = Vec::new();
    for output in outputs {
        // It may be a folder that is there, or a file that will be.
        let Some(place) = output
            .ancestors()
            .find_map(|one| match one.as_os_str().is_empty() {
                true => Path::new(".").canonicalize().ok(),
                false => one.canonicalize().ok(),
            })
        else {
            continue;
        };
        let is_left_out =
            source.is_dir() && place.starts_with(&source) && !is_one_file_system(&source, &place);
        if is_left_out && !told.contains(&place) {
            terminal.warn(format!(
                "{} is on a disk that is mounted in {}: since it takes output, nothing of that disk is collected; \
                 {or} to have all of it",
                place.display(),
                source.display()
            ));
            told.push(place);
        }
    }
}

#[cfg(unix)]
fn is_one_file_system(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(stated), Ok(other_stated)) = (one.metadata(), other.metadata()) else {
        return true;
    };
    stated.dev() == other_stated.dev()
        || mounted_from(one).is_some_and(|from| mounted_from(other) == Some(from))
}

/// What is mounted in a folder is reached through a junction, which is not followed.
#[cfg(not(unix))]
fn is_one_file_system(_: &Path, _: &Path) -> bool {
    true
}

/// Whether the folder `place` lies on the block device `device`, or on what is made of it; `None` where that can't be known.
#[cfg(target_os = "linux")]
fn is_on_device(device: &Path, place: &Path) -> Option<bool> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let (Ok(device), Ok(stated)) = (device.metadata(), place.metadata()) else {
        return Some(false);
    };
    if !device.file_type().is_block_device() {
        return Some(false);
    }
    let of = |number: u64| {
        let (major, minor) = (
            (number >> 8 & 0xFFF) | (number >> 32 & !0xFFF),
            (number & 0xFF) | (number >> 12 & !0xFF),
        );
        Path::new("/sys/dev/block")
            .join(format!("{major}:{minor}"))
            .canonicalize()
    };
    let from = || mounted_from(place)?.metadata().ok();
    let below = of(stated.dev()).or_else(|error| from().map_or(Err(error), |from| of(from.rdev())));
    Some(match (of(device.rdev()), below) {
        (Ok(device), Ok(below)) => lies_on(&below, &device),
        _ => device.rdev() == stated.dev(),
    })
}

/// Whether a device, by its place in sysfs, is another, a partition of it, or made of such: by LVM, encryption, arrays.
#[cfg(target_os = "linux")]
fn lies_on(place: &Path, device: &Path) -> bool {
    // Of a partition, sysfs has a folder inside that of its disk, and it is the disk that is made of others.
    let made_of = [Some(place), place.parent()].into_iter().flatten();
    let made_of = made_of.flat_map(|one| fs::read_dir(one.join("slaves")).into_iter().flatten());
    place.starts_with(device)
        || made_of
            .filter_map(|one| one.ok()?.path().canonicalize().ok())
            .any(|one| lies_on(&one, device))
}

/// The device that the file system of a folder was mounted from: btrfs gives each of its parts a number that is no
/// device's.
#[cfg(target_os = "linux")]
fn mounted_from(folder: &Path) -> Option<PathBuf> {
    let list = fs::read("/proc/self/mountinfo").ok()?;
    let list = String::from_utf8_lossy(&list).into_owned();
    let mounts = list.lines().filter_map(|line| {
        let (before, behind) = line.split_once(" - ")?;
        let at = PathBuf::from(before.split(' ').nth(4)?.replace("\\040", " "));
        let from = PathBuf::from(behind.split(' ').nth(1)?);
        let depth = at.components().count();
        folder.starts_with(&at).then_some((depth, from))
    });
    // The innermost; of several at one place the last, which covers the others.
    let (_, from) = mounts.max_by_key(|(depth, _)| *depth)?;
    from.starts_with("/dev").then_some(from)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn mounted_from(_: &Path) -> Option<PathBuf> {
    None
}

/// A volume by its letter or its name has the serial number of what lies on it. Which volumes lie on a whole disk is not asked for:
/// only what is not a disk of this machine is known not to.
#[cfg(windows)]
fn is_on_device(device: &Path, folder: &Path) -> Option<bool> {
    use std::path::{Component, Prefix};
    use winapi_util::{Handle, file};

    let device = device.to_str()?;
    let Some(name) = [r"\\.\", r"\\?\"]
        .iter()
        .find_map(|prefix| device.strip_prefix(prefix))
    else {
        return Some(false);
    };
    let name = name.trim_end_matches('\\');
    if name.contains('\\') {
        // A file, or a snapshot, which nobody writes to.
        return Some(false);
    }
    if let Some(Component::Prefix(prefix)) = folder.components().next()
        && let Prefix::UNC(..) | Prefix::VerbatimUNC(..) = prefix.kind()
    {
        return Some(false);
    }
    if !name.ends_with([':', '}']) {
        return None;
    }
    let serial = |path: &Path| {
        let opened = Handle::from_path_any(path).ok()?;
        Some(file::information(opened).ok()?.volume_serial_number())
    };
    let root = format!(r"\\?\{name}\");
    Some(serial(Path::new(&root))? == serial(folder)?)
}

#[cfg(not(any(target_os = "linux", windows)))]
fn is_on_device(device: &Path, folder: &Path) -> Option<bool> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let (Ok(device), Ok(folder)) = (device.metadata(), folder.metadata()) else {
        return Some(false);
    };
    let kind = device.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return Some(false);
    }
    // Another partition may be one of the same disk.
    (device.rdev() == folder.dev()).then_some(true)
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

    #[cfg(unix)]
    #[test]
    fn a_secret_is_its_owners_alone_while_it_is_written() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("forged");
        let file = PartialFile::create_secret_program(&path, false).expect("made");
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(file.partial_path()), 0o700);
        assert_eq!(mode(&file.finish().expect("finished")), 0o700);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_made_of_a_disk_lies_on_it() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        let [sda, sdb, whole, part] =
            ["sda/sda2", "sdb", "dm-0/slaves", "md0/slaves"].map(|name| root.join(name));
        for made in [&sda, &sdb, &whole, &part, &root.join("md0/md0p1")] {
            fs::create_dir_all(made).expect("made");
        }
        symlink("../../sda/sda2", whole.join("sda2")).expect("a link");
        symlink("../../dm-0", part.join("dm-0")).expect("a link");
        for place in ["sda/sda2", "dm-0", "md0", "md0/md0p1"] {
            let place = root.join(place);
            assert!(lies_on(&place, &root.join("sda")), "{place:?}");
            assert!(lies_on(&place, &sda), "{place:?}");
            assert!(!lies_on(&place, &sdb), "{place:?}");
        }
        assert!(!lies_on(&root.join("sda"), &sda));
        assert!(mounted_from(Path::new("/proc/self")).is_none());
    }

    #[test]
    fn sources_are_not_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("case.zip");
        let refused = refuse_on_source(folder.path(), &inside, "try X").expect_err("inside");
        assert!(refused.to_string().ends_with("saved yet: try X"));
        let elsewhere = tempfile::tempdir().expect("a folder");
        let elsewhere = elsewhere.path().join("case.zip");
        refuse_on_source(folder.path(), &elsewhere, "try X").expect("elsewhere");
    }
}
