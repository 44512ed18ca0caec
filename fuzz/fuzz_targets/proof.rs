//! Hostile proofs: any bytes as one, a sound one with patches, and one whose parts were patched and packed again.

use std::sync::Once;

use scelle_bundle::{Proof, VerifyOptions};
use scelle_formats::{Digests, ReadAtExt as _};

use crate::{patch::patches, proof_file as file};

static SOUND: &[u8] = include_bytes!("../seeds/bundle.proof/small.proof");
const MAX_BYTES: usize = 1 << 20;

/// The first byte picks what the others are: a whole file, patches of the sound one, or, of its second digit, which part is
/// patched before all are packed again.
pub fn any(data: &[u8]) {
    static IS_SOUND: Once = Once::new();
    IS_SOUND.call_once(|| {
        let why = "the seed is a proof: make it again if the form has changed";
        assert!(check(SOUND), "{why}");
    });
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    match choice & 3 {
        0 => {
            let is_taken = check(data);
            assert!(!is_taken || data == SOUND, "a made-up proof is taken");
        }
        1 => {
            let mut bytes = SOUND.to_vec();
            patch(&mut bytes, data);
            let is_taken = check(&bytes);
            assert!(!is_taken || bytes == SOUND, "a patched proof is taken");
        }
        _ => {
            let mut parts = file::read(SOUND).expect("the seed");
            parts.pop();
            let at = usize::from(choice >> 2) % parts.len();
            patch(&mut parts[at].1, data);
            check(&file::write(&summed(parts)));
        }
    }
}

fn patch(bytes: &mut [u8], data: &[u8]) {
    for (place, patch) in patches(data) {
        let at = place % bytes.len().max(1);
        let end = bytes.len().min(at + patch.len());
        if at < end {
            bytes[at..end].copy_from_slice(&patch[..end - at]);
        }
    }
}

fn summed(mut parts: Vec<file::Part>) -> Vec<file::Part> {
    let mut sums = String::new();
    for (name, bytes) in &parts {
        for byte in Digests::of(bytes).blake3 {
            sums.push_str(&format!("{byte:02x}"));
        }
        sums.push_str(&format!("  {name}\n"));
    }
    parts.push(("b3sums.txt".to_owned(), sums.into_bytes()));
    parts
}

/// Whether bytes are shown; whatever is shown can be read, or says why not.
fn check(bytes: &[u8]) -> bool {
    let Ok(proof) = Proof::read(bytes) else {
        return false;
    };
    let checked = proof
        .check(&VerifyOptions::default())
        .expect("no option is wrong");
    let Some(stream) = checked.stream else {
        assert!(
            !checked.verification.problems.is_empty(),
            "it says what is wrong"
        );
        return false;
    };
    drop(stream.read_range(proof.offset()..u64::MAX, MAX_BYTES));
    drop(stream.read_range(0..u64::MAX, MAX_BYTES));
    true
}
