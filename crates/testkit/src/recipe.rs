//! Volumes that other people's tools write, by a recipe that knows every byte.

use std::{env, fs, path::PathBuf, process::Command};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/ntfs_volume.py");
/// What the recipe runs.
const TOOLS: [&str; 6] = [
    "python3",
    "mkntfs",
    "ntfs-3g",
    "ntfscp",
    "wimlib-imagex",
    "umount",
];

/// What has to be true of a volume that was made by the recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A stream, `None` the unnamed one, with its size and its SHA-256 in hex.
    Stream {
        /// Its file.
        path: String,
        /// Its name.
        stream: Option<String>,
        /// Its size.
        size: u64,
        /// Its hash.
        sha256: String,
    },
    /// A further path of a file.
    Link {
        /// The further one.
        path: String,
        /// The first one.
        to: String,
    },
    /// What the journal says was done.
    Action {
        /// To which path, as it was called then.
        path: String,
        /// The reasons, joined with `+`.
        reason: String,
        /// When, FILETIME.
        ticks: u64,
    },
    /// What speaks against a file.
    Finding {
        /// Which file.
        path: String,
        /// The kind of finding.
        kind: String,
    },
    /// A path that is gone.
    Deleted {
        /// What it was.
        path: String,
        /// The size that the file had.
        size: u64,
        /// The hash that it had.
        sha256: String,
    },
}

/// A volume that was made by the recipe; it goes away with this.
pub struct MadeVolume {
    folder: tempfile::TempDir,
    /// What has to be true of it.
    pub expected: Vec<Expected>,
}

impl MadeVolume {
    /// Makes a volume with so many small files besides what the recipe always has, which needs root and
    /// the tools. Where it can't be made, that is said.
    ///
    /// # Panics
    /// Where the recipe fails, and, under `SCELLE_REQUIRE_TOOLS`, where it can't be made.
    pub fn ntfs(files: usize, what: &str) -> Option<Self> {
        if let Some(lacking) = lacking() {
            assert!(
                env::var_os("SCELLE_REQUIRE_TOOLS").is_none(),
                "{lacking}, and SCELLE_REQUIRE_TOOLS is set: {what} can't be checked"
            );
            eprintln!("SKIPPED, {lacking}: {what}");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let made = Command::new("python3")
            .arg(SCRIPT)
            .arg(folder.path())
            .arg(files.to_string())
            .output()
            .expect("Python");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "the recipe failed: {said}");
        let manifest = folder.path().join("manifest.tsv");
        let manifest = fs::read_to_string(manifest).expect("a manifest");
        let expected = manifest.lines().map(read_line).collect();
        Some(Self { folder, expected })
    }

    /// The volume: a raw image.
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("volume.raw")
    }
}

fn read_line(line: &str) -> Expected {
    let cells: Vec<&str> = line.split('\t').collect();
    let [kind, path, stream, size, text] = cells[..] else {
        panic!("five cells: {line}");
    };
    let path = path.to_owned();
    match kind {
        "stream" => Expected::Stream {
            path,
            stream: (!stream.is_empty()).then(|| stream.to_owned()),
            size: size.parse().expect("a size"),
            sha256: text.to_owned(),
        },
        "link" => Expected::Link {
            path,
            to: text.to_owned(),
        },
        "deleted" => Expected::Deleted {
            path,
            size: size.parse().expect("a size"),
            sha256: text.to_owned(),
        },
        "action" => Expected::Action {
            path,
            reason: stream.to_owned(),
            ticks: size.parse().expect("a time"),
        },
        "finding" => Expected::Finding {
            path,
            kind: stream.to_owned(),
        },
        other => panic!("a line of the kind {other}"),
    }
}

/// Why the recipe can't be followed here.
fn lacking() -> Option<String> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let has = |tool: &&str| env::split_paths(&folders).any(|folder| folder.join(tool).is_file());
    if let Some(tool) = TOOLS.iter().find(|tool| !has(tool)) {
        return Some(format!("{tool} is not installed"));
    }
    // Whoever may not open it can't mount.
    match fs::File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => None,
        Err(error) => Some(format!("/dev/fuse: {error}")),
    }
}
