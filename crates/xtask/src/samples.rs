//! The recipes of the project's own samples.
//!
//! `cargo xtask samples` writes `testdata/ARTEFACT/NAME.in` for each of them; a test says when a
//! file is not what its recipe makes.

mod evtx;
mod executable;
mod journals;
mod mft;

use std::{fs, path::Path};

use anyhow::Context;

/// One sample: which artefact's, under which name, and its bytes.
#[derive(Clone)]
pub(crate) struct Recipe {
    artefact: &'static str,
    name: &'static str,
    bytes: Vec<u8>,
}

/// Every sample that has a recipe.
pub(crate) fn recipes() -> Vec<Recipe> {
    [
        evtx::recipes(),
        executable::recipes(),
        journals::recipes(),
        mft::recipes(),
        recycle_bin(),
    ]
    .concat()
}

impl Recipe {
    /// Where the sample lies, from the workspace's root.
    pub(crate) fn path(&self) -> String {
        format!("testdata/{}/{}.in", self.artefact, self.name)
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name of a sound index file of the Recycle Bin; `None` of any other sample.
    pub(crate) fn plain_recycle_bin_name(&self) -> Option<&'static str> {
        self.name.starts_with("$IPLAIN").then_some(self.name)
    }
}

/// Writes every sample below `root`.
pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    for recipe in recipes() {
        let path = root.join(recipe.path());
        let folder = path.parent().context("a sample lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::write(&path, &recipe.bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// 2024-02-29 12:34:56.7890123 UTC as a FILETIME.
const DELETED: u64 = 133_536_836_967_890_123;

/// `$I` files; the layout stands in `artefacts::windows::recycle_bin`.
fn recycle_bin() -> Vec<Recipe> {
    const NOTES: &str = r"C:\Users\alice\Documents\notes.txt";
    const REPORT: &str = r"C:\Users\alice\Desktop\Rapport d’été 🌞.docx";
    const V1_PATH_BYTES: usize = 520;

    let head = |version: u64, size: u64, deleted: u64| -> Vec<u8> {
        [version, size, deleted]
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect()
    };
    let utf16 = |path: &str| -> Vec<u16> { path.encode_utf16().chain([0]).collect() };
    let v1 = |path: &str| {
        let mut bytes = head(1, 1234, DELETED);
        bytes.extend(utf16(path).into_iter().flat_map(u16::to_le_bytes));
        bytes.resize(24 + V1_PATH_BYTES, 0);
        bytes
    };
    let v2 = |size: u64, deleted: u64, stated_units: u32, path: &[u16]| {
        let mut bytes = head(2, size, deleted);
        bytes.extend(stated_units.to_le_bytes());
        bytes.extend(path.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes
    };

    let report = utf16(REPORT);
    let units = report.len() as u32;
    let mut short = v1(NOTES);
    short.pop();
    let mut lone = utf16(r"D:\x\y.bin");
    lone[3] = 0xD860;
    [
        ("$IPLAIN1.txt", v1(NOTES)),
        ("$IPLAIN2.docx", v2(56_789, DELETED, units, &report)),
        // Some version 1 files were written one byte short.
        ("$ISHORT1.txt", short),
        ("$ICUT.docx", v2(56_789, DELETED, units, &report[..20])),
        ("$INOPATH", v2(0, DELETED, units, &[])),
        ("$ILIES", v2(7, DELETED, u32::MAX, &report)),
        // A name that is not Unicode, a size past 63 bits, and no time.
        ("$ILONE.bin", v2(u64::MAX, 0, lone.len() as u32, &lone)),
        ("$IVERSION3", head(3, 1, DELETED)),
    ]
    .into_iter()
    .map(|(name, bytes)| Recipe {
        artefact: "windows.recycle-bin",
        name,
        bytes,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_what_their_recipes_make() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for recipe in recipes() {
            let stored = fs::read(root.join(recipe.path()));
            assert!(
                stored.is_ok_and(|stored| stored == recipe.bytes),
                "{} is missing or old: run `cargo xtask samples`",
                recipe.path()
            );
        }
    }
}
