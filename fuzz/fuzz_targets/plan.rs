//! Hostile prepared collectors: any bytes as a program, and a sound one with hostile patches, of which the hash may be made anew.

use std::sync::OnceLock;

use scelle::{Prepared, PreparedPlan, SealKey, formats::Digests};
use scelle_formats::Bytes;

use crate::patch::patches;

/// A program's own bytes, and what stands behind them.
static SOUND: &[u8] = include_bytes!("../seeds/scelle.plan/prepared.bin");
/// The key that signed its plan.
static CASE: &[u8] = include_bytes!("../seeds/scelle.plan/case.key.asc");
const PARTS: usize = 4;
const MAGIC_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// The first byte picks what is done. A plan that begins with a brace is signed as it is, so that what reads it is reached.
pub fn any(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice & 3 {
        0 => drop(read(rest)),
        1 => {
            let mut bytes = SOUND.to_vec();
            patch(&mut bytes, rest);
            let is_sound = bytes == SOUND;
            let is_taken = matches!(read(&bytes), Some(Ok(_)));
            assert_eq!(is_taken, is_sound, "a changed plan is followed");
        }
        2 => {
            let (mut parts, plan) = (parts(), parts()[0].clone());
            let which = usize::from(choice >> 2) % PARTS;
            patch(&mut parts[which], rest);
            if let Some(Ok(taken)) = read(&joined(&parts)) {
                assert!(parts[0] == plan, "a plan that nobody signed is followed");
                drop(taken.begin());
            }
        }
        _ => signed(data),
    }
}

/// A plan by the key itself.
fn signed(text: &[u8]) {
    static KEY: OnceLock<SealKey> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let whole = read(SOUND).and_then(Result::ok);
        assert!(
            whole.is_some(),
            "the seed is sound: make it again if the format has changed"
        );
        SealKey::read(CASE, None).expect("the seed's own")
    });
    let mut parts = parts();
    parts[0] = text.to_vec();
    parts[1] = key.sign(text).expect("it can sign").into_bytes();
    if let Some(Ok(taken)) = read(&joined(&parts)) {
        let plan: PreparedPlan = taken.plan.clone();
        assert!(plan.label().is_ok(), "it was checked");
        drop(taken.begin());
    }
}

/// What is read of a file; an error is an answer, in words.
fn read(bytes: &[u8]) -> Option<Result<Prepared, String>> {
    match Prepared::read(&Bytes(bytes)) {
        Ok(read) => read.map(Ok),
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty());
            Some(Err(said))
        }
    }
}

fn patch(bytes: &mut [u8], data: &[u8]) {
    for (place, patch) in patches(data) {
        let at = place % bytes.len();
        let end = bytes.len().min(at + patch.len());
        bytes[at..end].copy_from_slice(&patch[..end - at]);
    }
}

fn own() -> &'static [u8] {
    let behind: usize = lengths().iter().sum::<usize>() + END_BYTES;
    &SOUND[..SOUND.len() - behind]
}

const END_BYTES: usize = PARTS * 4 + HASH_BYTES + MAGIC_BYTES;

fn lengths() -> [usize; PARTS] {
    let end = &SOUND[SOUND.len() - END_BYTES..];
    let (lengths, _) = end.as_chunks::<4>();
    std::array::from_fn(|at| u32::from_le_bytes(lengths[at]) as usize)
}

/// What stands behind the program, in order.
fn parts() -> [Vec<u8>; PARTS] {
    let mut rest = &SOUND[own().len()..];
    lengths().map(|length| {
        let (part, after) = rest.split_at(length);
        rest = after;
        part.to_vec()
    })
}

/// The program with other parts behind it, and the hash of those.
fn joined(parts: &[Vec<u8>; PARTS]) -> Vec<u8> {
    let mut behind = parts.concat();
    for part in parts {
        behind.extend_from_slice(&(part.len() as u32).to_le_bytes());
    }
    behind.extend_from_slice(&Digests::of(&behind).blake3);
    behind.extend_from_slice(&SOUND[SOUND.len() - MAGIC_BYTES..]);
    [own(), &behind].concat()
}
