//! Where the running program lies.

use std::{env, io, path::PathBuf};

/// The file of the running program.
///
/// # Errors
/// Where the system doesn't tell.
pub fn own_program() -> io::Result<PathBuf> {
    env::current_exe().or_else(named_at_start)
}

/// Linux answers through `/proc`, which an empty root lacks; the name that it was started by
/// stands in its memory.
#[cfg(target_os = "linux")]
fn named_at_start(error: io::Error) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;

    let name = rustix::param::linux_execfn().to_bytes();
    if name.is_empty() {
        return Err(error);
    }
    std::path::absolute(std::ffi::OsStr::from_bytes(name))
}

#[cfg(not(target_os = "linux"))]
fn named_at_start(error: io::Error) -> io::Result<PathBuf> {
    Err(error)
}
