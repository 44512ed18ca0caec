//! What bundles are called, by their file's name or by their root, and where they are put.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use scelle::bundle::written_hash;

/// The ending of a bundle's name.
pub const BUNDLE_ENDING: &str = ".scelle.zip";
/// What is added to it where the bundle is encrypted.
pub const ENCRYPTED_ENDING: &str = ".pgp";

/// Where the bundle goes: `out` itself, or a file in it that is named after the source.
pub fn bundle_path(out: &Path, source: &Path, encrypted: bool) -> PathBuf {
    let ends_in_separator = out
        .to_string_lossy()
        .ends_with(['/', std::path::MAIN_SEPARATOR]);
    if out.is_dir() || ends_in_separator {
        out.join(file_name(&bundle_name(source), encrypted))
    } else {
        out.to_owned()
    }
}

/// The file of a bundle of that name.
pub(crate) fn file_name(name: &str, encrypted: bool) -> String {
    let ending = if encrypted { ENCRYPTED_ENDING } else { "" };
    format!("{name}{BUNDLE_ENDING}{ending}")
}

/// A bundle's name: what its file is named after, without what a folder's name can't have.
pub fn bundle_name(path: &Path) -> String {
    let canonical = path.canonicalize();
    let path = canonical.as_deref().unwrap_or(path);
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let name = name.strip_suffix(ENCRYPTED_ENDING).unwrap_or(&name);
    let stem = name
        .strip_suffix(BUNDLE_ENDING)
        .or_else(|| name.strip_suffix(".zip"))
        .or_else(|| Some(name.rsplit_once('.')?.0).filter(|stem| !stem.is_empty()))
        .unwrap_or(name);
    plain_name(stem, "-_", 80, "evidence")
}

/// A text as a part of a file's name: its letters, digits and what is kept else, up to `most` characters; `otherwise`,
/// where nothing is left.
pub(crate) fn plain_name(text: &str, kept: &str, most: usize, otherwise: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || kept.contains(one);
    let plain = text
        .chars()
        .map(|one| if is_plain(one) { one } else { '-' });
    let plain: String = plain.take(most).collect();
    match plain.trim_matches('-') {
        "" => otherwise.to_owned(),
        plain => plain.to_owned(),
    }
}

/// The folder that this program lies in.
pub(crate) fn executable_folder() -> Result<PathBuf> {
    let executable =
        scelle::own_program().context("where this program lies; name a place with --out")?;
    executable
        .parent()
        .map(Path::to_owned)
        .context("this program lies in no folder: name a place with --out")
}

/// Says why a source can't hold its own bundle, before any time is spent.
///
/// # Errors
/// Where the folder can't be made.
pub fn make_folder(folder: &Path) -> Result<()> {
    if folder.exists() && !folder.is_dir() {
        bail!("{} is a file: --out wants a folder", folder.display());
    }
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))
}

/// The root hash that a person wrote behind `--root`.
///
/// # Errors
/// Where it is none.
pub fn written_root(text: &str) -> Result<String> {
    written_hash(text)
        .with_context(|| format!("--root {text:?} is no root hash: it has 64 hex digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_bundles() {
        assert_eq!(bundle_name(Path::new("/x/disk one.raw")), "disk-one");
        assert_eq!(bundle_name(Path::new("case.scelle.zip")), "case");
        assert_eq!(bundle_name(Path::new("/dev/sdb")), "sdb");
        assert_eq!(bundle_name(Path::new("/")), "evidence");
        assert_eq!(
            bundle_path(Path::new("out/"), Path::new("disk.raw"), false),
            Path::new("out/disk.scelle.zip")
        );
    }
}
