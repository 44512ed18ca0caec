//! Reading a collection that was cut off and gone on with: all its parts together.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use scelle_bundle::{Bundle, Error, Part, Verification, VerifyOptions};
use scelle_engine::Progress;
use scelle_evidence::FileSource;
use scelle_formats::ReadError;

use crate::{
    ReadKey, VerifyError,
    key::{ciphertext, needed},
};

/// What the names of an encrypted bundle, and of its parts, end in.
const ENDING: &str = ".scelle.zip.pgp";

/// The name of a part of the bundle that was to become `path`, once nothing is added to it.
pub(crate) fn part_path(path: &Path, part: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (stem, ending) = match name.strip_suffix(ENDING) {
        Some(stem) => (stem, ENDING),
        None => (&*name, ""),
    };
    path.with_file_name(format!("{stem}.part{part}{ending}"))
}

/// A part's name taken apart: that of its bundle, and its number.
fn split(name: &str) -> Option<(&str, u32)> {
    let (stem, number) = name.strip_suffix(ENDING)?.rsplit_once(".part")?;
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    let number = number.parse().ok().filter(|_| is_plain)?;
    Some((stem, number))
}

/// All parts of a collection, in order, where `path` is called as a part is: the files beside it
/// that bear the same name but for the number. Else `path` alone.
pub fn parts_of(path: &Path) -> Vec<PathBuf> {
    let alone = || vec![path.to_owned()];
    let name = path.file_name().and_then(|name| name.to_str());
    let Some((stem, _)) = name.and_then(split) else {
        return alone();
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // What can't be listed can still be opened, and what is missing then is told.
    let Ok(entries) = fs::read_dir(folder) else {
        return alone();
    };
    let mut parts: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.map_err(drop).ok()?.file_name();
            let (of, number) = split(name.to_str()?)?;
            (of == stem).then(|| (number, path.with_file_name(&name)))
        })
        .collect();
    parts.sort();
    match parts.is_empty() {
        true => alone(),
        false => parts.into_iter().map(|(_, path)| path).collect(),
    }
}

/// Opens each file as a part; of an encrypted one, as much as is there.
pub(crate) fn read(
    paths: &[PathBuf],
    key: Option<&ReadKey>,
) -> Result<Vec<Part>, (PathBuf, Error)> {
    let read = |path: &PathBuf| -> Result<Part, Error> {
        let name = path.display().to_string();
        match ciphertext(path)? {
            Some(ciphertext) => {
                let key = needed(key)?.session_key(&ciphertext)?;
                Ok(Part::encrypted(name, ciphertext.salvage(&key)?))
            }
            None => {
                let file = FileSource::open(path).map_err(|error| ReadError::io(0, error))?;
                Ok(Part::clear(name, Arc::new(file)))
            }
        }
    };
    let parts = paths.iter();
    parts
        .map(|path| read(path).map_err(|error| (path.clone(), error)))
        .collect()
}

/// Opens the parts of a collection as one bundle.
pub(crate) fn open_bundle(
    paths: &[PathBuf],
    key: Option<&ReadKey>,
) -> Result<Bundle, (PathBuf, Error)> {
    let parts = read(paths, key)?;
    let first = paths.first().cloned().unwrap_or_default();
    Bundle::open_parts(&parts).map_err(|error| (first, error))
}

/// Checks the parts of a collection that was cut off and gone on with, in whatever order.
///
/// # Errors
/// As [`verify`](crate::verify), and where the key does not open one of them.
pub fn verify_parts(
    paths: &[PathBuf],
    options: &VerifyOptions,
    key: Option<&ReadKey>,
    progress: &Progress,
) -> Result<Verification, VerifyError> {
    progress.begin("verifying", 0, 0);
    let parts = read(paths, key).map_err(|(path, source)| VerifyError::Bundle { path, source })?;
    scelle_bundle::verify_parts(&parts, options).map_err(|source| VerifyError::Bundle {
        path: paths.first().cloned().unwrap_or_default(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_after_their_bundle() {
        for (path, part) in [
            ("x/case.scelle.zip.pgp", "x/case.part2.scelle.zip.pgp"),
            ("case", "case.part2"),
            ("x/case.pgp", "x/case.pgp.part2"),
        ] {
            assert_eq!(part_path(Path::new(path), 2), Path::new(part));
        }
        assert_eq!(
            split("a.part3.part12.scelle.zip.pgp"),
            Some(("a.part3", 12))
        );
        for other in [
            "a.part.scelle.zip.pgp",
            "a.part+1.scelle.zip.pgp",
            "a.part01.scelle.zip.pgp",
            "a.part1",
        ] {
            assert_eq!(split(other), None, "{other}");
        }
    }

    #[test]
    fn parts_beside_each_other_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |stem: &str, part: u32| folder.path().join(format!("{stem}.part{part}{ENDING}"));
        for (stem, part) in [("a", 10), ("a", 2), ("a", 1), ("b", 1)] {
            fs::write(name(stem, part), b"").expect("room");
        }
        let found = parts_of(&name("a", 2));
        assert_eq!(found, [name("a", 1), name("a", 2), name("a", 10)]);
        let whole = folder.path().join("a.scelle.zip.pgp");
        assert_eq!(parts_of(&whole), std::slice::from_ref(&whole));
    }
}
