//! Hostile bundles: any bytes as one, a sealed one with hostile patches, and one that was cut.

use std::sync::{Arc, Once};

use scelle_bundle::{Bundle, SealKey, Verdict, VerifyOptions, salvage, verify};
use scelle_formats::{Bytes, ReadAt, ReadAtExt};

use crate::patch::patches;

static SEALED: &[u8] = include_bytes!("../seeds/bundle.verify/small.scelle.zip");
const MAX_BYTES: usize = 64 << 10;

/// Any bytes: nobody but the writer makes a bundle by chance.
pub fn any(data: &[u8]) {
    if data != SEALED {
        check(data.to_vec());
    }
}

/// A sealed bundle, patched: whatever was changed has to be found.
pub fn patched(data: &[u8]) {
    static SOUND: Once = Once::new();
    SOUND.call_once(|| {
        let answer = verify(&Bytes(SEALED), &VerifyOptions::default()).expect("no option is wrong");
        let why = "the seed is a sealed bundle: make it again if the format has changed";
        assert_eq!(answer.verdict, Verdict::SignerUnknown, "{why}");
    });
    let mut bytes = SEALED.to_vec();
    for (place, patch) in patches(data) {
        let at = place % bytes.len();
        let end = bytes.len().min(at + patch.len());
        bytes[at..end].copy_from_slice(&patch[..end - at]);
    }
    if bytes != SEALED {
        check(bytes);
    }
}

/// A sealed bundle, cut and then patched: what is salvaged of it is a sound salvage.
pub fn cut(data: &[u8]) {
    let Some((place, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut bytes = SEALED.to_vec();
    bytes.truncate(usize::from(u16::from_le_bytes(*place)) % bytes.len());
    for (place, patch) in patches(rest) {
        let at = place % bytes.len().max(1);
        let end = bytes.len().min(at + patch.len());
        if at < end {
            bytes[at..end].copy_from_slice(&patch[..end - at]);
        }
    }
    save(&Bytes(bytes));
}

/// Salvages what can be: that is a sound salvage.
pub fn save(source: &dyn ReadAt) {
    let key = SealKey::generate("fuzz", 1_767_225_600).expect("a key");
    let Ok((_, saved)) = salvage(source, Vec::new(), key, "fuzz", None) else {
        return;
    };
    let answer = verify(&Bytes(saved), &VerifyOptions::default()).expect("no option is wrong");
    assert_eq!(answer.verdict, Verdict::Unfinished, "{:?}", answer.problems);
}

fn check(bytes: Vec<u8>) {
    let source = Arc::new(Bytes(bytes));
    save(source.as_ref());
    let answer = verify(source.as_ref(), &VerifyOptions::default()).expect("no option is wrong");
    let unsealed = matches!(answer.verdict, Verdict::Broken | Verdict::Unfinished);
    assert!(unsealed, "a changed bundle is {}", answer.verdict.name());
    assert!(!answer.problems.is_empty(), "it says what is wrong");
    // Reading one that was not verified is never a fault either.
    let Ok(bundle) = Bundle::open(source) else {
        return;
    };
    let members: Vec<String> = bundle
        .files()
        .map(|(member, _)| member.to_owned())
        .collect();
    for member in members {
        if let Ok(stored) = bundle.open_stored(&member) {
            // An error is an answer.
            drop(stored.read_range(0..u64::MAX, MAX_BYTES));
        }
    }
}
