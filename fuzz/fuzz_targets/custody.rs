//! Hostile chains of custody: any bytes as one, and a sound one with hostile patches.

use scelle_bundle::{Custody, CustodyOptions};
use scelle_formats::Digests;

use crate::patch::patches;

static SOUND: &str = include_str!("../seeds/bundle.custody/small.custody.jsonl");

/// The first byte picks what the others are: a whole file, or patches of the sound one.
pub fn any(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    if choice & 1 == 0 {
        return check(data);
    }
    let mut bytes = SOUND.as_bytes().to_vec();
    for (place, patch) in patches(data) {
        let at = place % bytes.len();
        let end = bytes.len().min(at + patch.len());
        bytes[at..end].copy_from_slice(&patch[..end - at]);
    }
    check(&bytes);
}

/// A line is taken only where it is one of those that were signed, and a file without a problem is the beginning
/// of the sound one.
fn check(bytes: &[u8]) {
    let chain = Custody::read(bytes, &CustodyOptions::default()).expect("memory can be read");
    let sound: Vec<String> = SOUND
        .lines()
        .map(|line| Digests::of(line.as_bytes()).blake3)
        .map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    for line in &chain.lines {
        assert!(
            sound.contains(&line.hash),
            "a line that nobody signed is taken"
        );
    }
    if chain.problems.is_empty() {
        assert!(
            SOUND.as_bytes().starts_with(bytes),
            "a changed chain is taken"
        );
    }
}
