//! Other people's programs, that make samples or say what they think of ours.

use std::{env, path::Path, process::Command};

/// Whether a program is installed; where it is not, says what is skipped.
///
/// # Panics
/// Where `SCELLE_REQUIRE_TOOLS` is set and the program is missing.
pub fn has_tool(program: &str, what: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    // Not every user has those of the administrator in the path.
    let folders = env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    if folders
        .into_iter()
        .any(|folder| folder.join(program).is_file())
    {
        return true;
    }
    assert!(
        env::var_os("SCELLE_REQUIRE_TOOLS").is_none(),
        "{program} is not installed, and SCELLE_REQUIRE_TOOLS is set: {what} can't be checked"
    );
    eprintln!("SKIPPED, {program} is not installed: {what}");
    false
}

/// Runs a program to its end, in a folder, and gives what it printed.
///
/// # Panics
/// Where it can't be started or fails: a test can't go on without what it makes.
pub fn run_tool(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
