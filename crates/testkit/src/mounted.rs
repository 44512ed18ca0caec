//! A disk that is full or can't be written, as memory under a folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Memory that is mounted at a folder, and unmounted when it is dropped.
pub struct MountedMemory(PathBuf);

impl MountedMemory {
    /// Mounts it; `options` are those of `tmpfs`, such as `size=160k` or `ro`. `None` where this
    /// user may not, which is said.
    ///
    /// # Panics
    /// Where `SCELLE_REQUIRE_TOOLS` is set and it can't be mounted.
    pub fn mount(at: &Path, options: &str) -> Option<Self> {
        Self::mount_kind(at, "tmpfs", options)
    }

    /// As [`mount`](Self::mount), what the kernel says of processes (`proc`).
    ///
    /// # Panics
    /// As [`mount`](Self::mount).
    pub fn mount_proc(at: &Path) -> Option<Self> {
        Self::mount_kind(at, "proc", "ro")
    }

    fn mount_kind(at: &Path, kind: &str, options: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        if mount(at, kind, options) {
            return Some(Self(at.to_owned()));
        }
        assert!(
            std::env::var_os("SCELLE_REQUIRE_TOOLS").is_none(),
            "a {kind} ({options}) can't be mounted, and SCELLE_REQUIRE_TOOLS is set"
        );
        eprintln!("SKIPPED, this user can't mount a {kind} ({options})");
        None
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Mounts it again with other options; what it holds stays.
    ///
    /// # Panics
    /// Where that fails.
    pub fn change(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(mount(&self.0, "tmpfs", &options), "mount -o {options}");
    }
}

impl Drop for MountedMemory {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.0).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "umount {}",
            self.0.display()
        );
    }
}

fn mount(at: &Path, kind: &str, options: &str) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", kind, "-o", options, kind]).arg(at);
    command.output().is_ok_and(|output| output.status.success())
}
