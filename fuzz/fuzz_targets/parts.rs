//! Hostile sets: parts of one collection of which one is any bytes, is patched, or is cut, and some may be missing.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use scelle_bundle::{Bundle, Part, Verdict, VerifyOptions, export_parts, verify_parts};
use scelle_formats::Bytes;

use crate::patch::patches;

/// The archives of a set, as they were in their messages.
static PARTS: [&[u8]; 3] = [
    include_bytes!("../seeds/bundle.parts/1.zip"),
    include_bytes!("../seeds/bundle.parts/2.zip"),
    include_bytes!("../seeds/bundle.parts/3.zip"),
];

/// The first byte picks a part and what is done to it, the second which parts are there, in which order.
pub fn any(data: &[u8]) {
    let [choice, shown, data @ ..] = data else {
        return;
    };
    let mut parts = PARTS.map(<[u8]>::to_vec);
    change(&mut parts[usize::from(choice % 3)], choice >> 6, data);
    let mut set: Vec<Vec<u8>> = (0..)
        .zip(parts)
        .filter(|(number, _)| shown >> number & 1 == 0)
        .map(|(_, part)| part)
        .collect();
    if shown & 8 != 0 {
        set.reverse();
    }
    check(&set);
}

fn change(part: &mut Vec<u8>, how: u8, data: &[u8]) {
    let mut data = data;
    match (how, data.split_first_chunk::<2>()) {
        (0, _) => return *part = data.to_vec(),
        (1, Some((place, rest))) => {
            part.truncate(usize::from(u16::from_le_bytes(*place)) % part.len());
            data = rest;
        }
        _ => {}
    }
    for (place, patch) in patches(data) {
        let at = place % part.len().max(1);
        let end = part.len().min(at + patch.len());
        if at < end {
            part[at..end].copy_from_slice(&patch[..end - at]);
        }
    }
}

fn open(set: &[Vec<u8>]) -> Vec<Part> {
    let named = set.iter().enumerate();
    named
        .map(|(number, bytes)| Part::clear(number.to_string(), Arc::new(Bytes(bytes.clone()))))
        .collect()
}

fn payload() -> &'static str {
    static PAYLOAD: OnceLock<String> = OnceLock::new();
    PAYLOAD.get_or_init(|| {
        let parts = open(&PARTS.map(<[u8]>::to_vec));
        let answer = verify_parts(&parts, &VerifyOptions::default()).expect("no option is wrong");
        let why = "the seeds are a set: make them again if the format has changed";
        assert_eq!(answer.verdict, Verdict::SignerUnknown, "{why}");
        answer.payload.expect(why)
    })
}

/// Whatever a set is taken for, it holds what was collected.
fn check(set: &[Vec<u8>]) {
    let payload = payload();
    let parts = open(set);
    let answer = verify_parts(&parts, &VerifyOptions::default()).expect("no option is wrong");
    match answer.verdict {
        Verdict::Sealed | Verdict::SignerUnknown => {
            assert_eq!(answer.payload.as_deref(), Some(payload));
        }
        Verdict::Broken | Verdict::Unfinished => {
            assert!(!answer.problems.is_empty(), "it says what is wrong");
        }
    }
    if let Ok(bundle) = Bundle::open_parts(&parts) {
        assert_eq!(bundle.payload, payload);
    }
    let mut create = |_: &str| Ok(Box::new(io::sink()) as Box<dyn io::Write>);
    if let Ok(written) = export_parts(&parts, &mut create) {
        assert_eq!(written, payload);
    }
}
