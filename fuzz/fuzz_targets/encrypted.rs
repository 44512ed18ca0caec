//! Hostile ciphertext: any bytes as an encrypted bundle, and sealed ones of both kinds with patches.

use std::sync::{Arc, Once};

use scelle_bundle::{Bundle, Ciphertext, SessionKey, Verdict, VerifyOptions, verify_encrypted};
use scelle_formats::{Bytes, ReadAt, ReadAtExt};

use crate::patch::patches;

/// A bundle, and the session key that opens it as `gpg --show-session-key` prints it.
static SEALED: [(&[u8], &str); 2] = [
    (
        include_bytes!("../seeds/bundle.encrypted/one.pgp"),
        include_str!("../seeds/bundle.encrypted/one.key"),
    ),
    (
        include_bytes!("../seeds/bundle.encrypted/two.pgp"),
        include_str!("../seeds/bundle.encrypted/two.key"),
    ),
];
const MAX_BYTES: usize = 64 << 10;

/// The first byte picks what the others are: a whole message, the data of one of the two behind
/// its session-key packets, or patches of one of them.
pub fn any(data: &[u8]) {
    static SOUND: Once = Once::new();
    SOUND.call_once(|| {
        for (bytes, key) in SEALED {
            let answer = check(bytes.to_vec(), key).expect("the seed is an encrypted bundle");
            let why = "the seed is sealed: make it again if the format has changed";
            assert_eq!(answer, Verdict::SignerUnknown, "{why}");
        }
    });
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let (sealed, key) = SEALED[usize::from(choice & 1)];
    let bytes = match choice >> 1 & 3 {
        0 => data.to_vec(),
        1 => {
            let packets = 2 + usize::from(sealed[1]);
            [&sealed[..=packets], data].concat()
        }
        _ => {
            let mut bytes = sealed.to_vec();
            for (place, patch) in patches(data) {
                let at = place % bytes.len();
                let end = bytes.len().min(at + patch.len());
                bytes[at..end].copy_from_slice(&patch[..end - at]);
            }
            bytes
        }
    };
    if bytes == sealed {
        return;
    }
    let answer = check(bytes, key);
    let unsealed = matches!(answer, None | Some(Verdict::Broken | Verdict::Unfinished));
    assert!(unsealed, "a changed ciphertext is {answer:?}");
}

fn check(bytes: Vec<u8>, key: &str) -> Option<Verdict> {
    // An error is an answer.
    let ciphertext = Ciphertext::open(Arc::new(Bytes(bytes))).ok()?;
    drop(ciphertext.head_message());
    let key = SessionKey::parse(key).expect("the seed's own");
    let answer = verify_encrypted(&ciphertext, &key, &VerifyOptions::default()).ok()?;
    // What a salvage would read, authenticated or not.
    let archive = ciphertext.salvage(&key).ok()?;
    let middle = archive.len() / 2;
    drop(archive.read_range(middle..u64::MAX, MAX_BYTES));
    crate::bundle::save(&archive);
    drop(Bundle::open(Arc::new(archive)));
    Some(answer.verdict)
}
