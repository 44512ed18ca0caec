//! What the store confirmed.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The form of receipts and journals.
pub(crate) const FORMAT: u32 = 1;

/// A piece that the store has confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentPiece {
    /// Its number, from 0.
    pub piece: u32,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of what was sent, in hex.
    pub sha256: String,
    /// Its MD5, in hex: what ETags are made of.
    pub md5: String,
    /// What the store answered: the ETag of S3; of SFTP, the acknowledgement.
    pub answer: String,
}

/// What the store said of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confirmation {
    /// What it confirmed, a sentence each.
    pub confirmed: Vec<String>,
    /// What it did not confirm, or could not be asked.
    pub unconfirmed: Vec<String>,
    /// S3: the object's ETag.
    pub etag: Option<String>,
    /// S3: the object's version, where the bucket keeps versions.
    pub version: Option<String>,
    /// The store's own clock when it confirmed, as it wrote it.
    pub store_time: Option<String>,
}

/// The root hash of what was delivered, and its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// BLAKE3 of the bundle's tag manifest, in hex.
    pub root: String,
    /// Who says so: [`SEALED`](Self::SEALED), [`SEALED_BEFORE`](Self::SEALED_BEFORE), "read from the bundle",
    /// [`TOLD`](Self::TOLD).
    pub from: String,
    /// Its TLP label, where who says so knows it.
    #[serde(default)]
    pub tlp: Option<String>,
}

impl Root {
    /// The origin of a root that the run that writes the receipt has sealed.
    pub const SEALED: &str = "sealed in this run";
    /// The origin of a rest's root: its journal has it.
    pub const SEALED_BEFORE: &str = "sealed in the run that began the delivery";
    /// The origin of a root that nobody here can check.
    pub const TOLD: &str = "told by the operator";
}

/// Says that a bundle was delivered, and what of that the store confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The form of this text.
    pub receipt: u32,
    /// Where the bundle lies.
    pub to: String,
    /// How the store was reached.
    pub endpoint: String,
    /// The bundle's root hash; null where nobody here can read it and nobody told it.
    pub root: Option<Root>,
    /// Bytes delivered.
    pub bytes: u64,
    /// The SHA-256 of all of them, in hex; null where two runs of the program sent a part each,
    /// and the first part is not here: `pieces` has those of each piece.
    pub sha256: Option<String>,
    /// What the store said.
    #[serde(flatten)]
    pub confirmation: Confirmation,
    /// The sending host's clock, which may be wrong.
    pub host_time: String,
    /// The pieces, in order.
    pub pieces: Vec<SentPiece>,
}

impl Receipt {
    /// Writes it to a file and puts it on the device; `replace` says that it may be there already. Where it can't be
    /// written, no part of it stays, and an older one does.
    ///
    /// # Errors
    /// [`Error::Local`].
    pub fn write(&self, path: &Path, replace: bool) -> Result<(), Error> {
        let mut new = path.to_owned();
        if replace {
            let mut name = path.as_os_str().to_owned();
            name.push(".new");
            new = PathBuf::from(name);
        }
        let write = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            if replace {
                // One that was left behind, or a link that somebody put there.
                drop(fs::remove_file(&new));
            }
            let mut file = options.open(&new)?;
            let written = file.write_all(&text).and_then(|()| file.sync_all());
            drop(file);
            let named = written.and_then(|()| match replace {
                true => fs::rename(&new, path),
                false => Ok(()),
            });
            named.inspect_err(|_| drop(fs::remove_file(&new)))
        };
        write().map_err(Error::local("writing the receipt", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_whole_or_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.receipt.json");
        let receipt = Receipt {
            receipt: FORMAT,
            to: "s3://b/k".into(),
            endpoint: "https://s3".into(),
            root: None,
            bytes: 0,
            sha256: None,
            confirmation: Confirmation::default(),
            host_time: String::new(),
            pieces: Vec::new(),
        };
        receipt.write(&path, false).expect("written");
        receipt.write(&path, false).expect_err("it is there");
        receipt.write(&path, true).expect("replaced");
        let other = folder.path().join("folder");
        fs::create_dir(&other).expect("made");
        fs::write(other.join("file"), "x").expect("written");
        receipt.write(&other, true).expect_err("it is a folder");
        let left = fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(left, 2, "the receipt and the folder");
    }
}
