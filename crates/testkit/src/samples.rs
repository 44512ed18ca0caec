//! The project's own samples: `testdata/ARTEFACT/NAME.in`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A sample of an artefact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// The file with its bytes.
    pub path: PathBuf,
    /// The name that the file would have as evidence: the sample's without `.in`.
    pub name: String,
}

impl Sample {
    /// All samples of an artefact, by name; none where it has no folder.
    ///
    /// # Panics
    /// Where the folder can't be read, or a name is not Unicode.
    pub fn of(artefact: &str) -> Vec<Self> {
        let folder = testdata().join(artefact);
        if !folder.is_dir() {
            return Vec::new();
        }
        let mut samples: Vec<Self> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .filter_map(|entry| {
                let path = entry.expect("a readable folder").path();
                let name = path.file_name()?.to_str().expect("Unicode names");
                let name = name.strip_suffix(".in")?.to_owned();
                Some(Self { path, name })
            })
            .collect();
        samples.sort();
        samples
    }

    /// Its bytes.
    ///
    /// # Panics
    /// Where they can't be read.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    /// Where its expected text lies.
    pub fn golden(&self) -> PathBuf {
        self.path.with_extension("golden")
    }
}

/// The folder of the project's own samples.
pub fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata")
}
