//! The shared corpus of real samples, where it is there.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
};

/// A folder of real samples and of what independent tools made of them.
///
/// It is found by `SCELLE_CORPUS`, else beside the checkout in `../shared/corpus`. Where it is
/// absent the tests that need it say so and pass; with `SCELLE_REQUIRE_CORPUS` set they fail.
#[derive(Clone, Debug)]
pub struct Corpus {
    root: PathBuf,
}

impl Corpus {
    /// The corpus, or `None` with a line on standard error that says what is skipped.
    ///
    /// # Panics
    /// Where `SCELLE_REQUIRE_CORPUS` is set and there is no corpus.
    pub fn find(what: &str) -> Option<Self> {
        let root = env::var_os("SCELLE_CORPUS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
            PathBuf::from,
        );
        if root.join("expected").is_dir() {
            return Some(Self { root });
        }
        assert!(
            env::var_os("SCELLE_REQUIRE_CORPUS").is_none(),
            "no corpus at {}, and SCELLE_REQUIRE_CORPUS is set: {what} can't be checked",
            root.display()
        );
        eprintln!("SKIPPED, no corpus at {}: {what}", root.display());
        None
    }

    /// A file or folder of the corpus.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The bytes of a file, `.zst`, `.gz` undone.
    pub fn read(&self, relative: &str) -> Vec<u8> {
        unpack(&self.path(relative))
    }

    /// Every file under a folder, as sorted paths relative to the corpus.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(folder)];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            for entry in entries {
                let path = entry.expect("a readable corpus").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let relative = path.strip_prefix(&self.root).expect("below the root");
                    found.push(relative.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// A file of `expected/`, as text, `.gz` undone.
    pub fn expected(&self, relative: &str) -> String {
        String::from_utf8(self.read(&format!("expected/{relative}"))).expect("expected text")
    }

    /// A file of `expected/`, as JSON.
    pub fn expected_json(&self, relative: &str) -> serde_json::Value {
        serde_json::from_str(&self.expected(relative)).expect("expected JSON")
    }
}

/// The bytes of a file, with the compression that its ending names undone (`.zst`, `.gz`).
///
/// # Panics
/// Where the file can't be read: a test can't go on without its sample.
pub fn unpack(path: &Path) -> Vec<u8> {
    let packed = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("zst") => bytes = zstd::decode_all(&packed[..]).expect("sound zstd"),
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(&packed[..])
                .read_to_end(&mut bytes)
                .expect("sound gzip");
        }
        _ => bytes = packed,
    }
    bytes
}
