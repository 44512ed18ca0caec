//! Labels that files claim without a seal.

use std::{fs::File, io::Read, path::Path};

use scelle_event::Tlp;

/// BagIt metadata of a bundle is a few hundred bytes.
const INFO_LIMIT: u64 = 64 << 10;

/// The strictest label that a bag claims in which `path` lies (an export of a bundle, or a file of one).
///
/// Nothing vouches for it: whoever made the folder may have written it. So it is a reason to refuse a freer
/// label, and none to choose it.
pub fn claimed_label(path: &Path) -> Option<Tlp> {
    let path = path.canonicalize().ok()?;
    path.ancestors().filter_map(bag_label).max()
}

/// What the bag in that folder says; nothing where there is none, or its metadata is not as ours.
fn bag_label(folder: &Path) -> Option<Tlp> {
    let info = folder.join("bag-info.txt");
    if !info.is_file() {
        return None;
    }
    let mut text = Vec::new();
    File::open(info)
        .ok()?
        .take(INFO_LIMIT)
        .read_to_end(&mut text)
        .ok()?;
    String::from_utf8_lossy(&text)
        .lines()
        .find_map(|line| line.strip_prefix("Scelle-TLP: "))?
        .parse()
        .ok()
}
