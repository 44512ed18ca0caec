//! Hostile texts that people write and sign: the profile of a team, and an incident record.

use std::sync::OnceLock;

use jiff::{Timestamp, tz::TimeZone};
use scelle::SealKey;
use scelle_incident::{Document, Incident, Language, iodef};
use scelle_team::Team;

use crate::patch::patches;

static TEAM: &[u8] = include_bytes!("../../testdata/team/example.toml");
static SIGNATURE: &[u8] = include_bytes!("../../testdata/team/example.toml.asc");
static KEY: &[u8] = include_bytes!("../../testdata/team/example.key.asc");
/// 2027-01-01: no clock is asked.
const NOW: u32 = 1_798_761_600;

/// The first byte picks what the others are: a profile that the example's key signs, patches of the example under
/// its own signature, or another signature over the example.
pub fn team(data: &[u8]) {
    static SIGNER: OnceLock<SealKey> = OnceLock::new();
    let signer = SIGNER.get_or_init(|| {
        let sound = Team::read(TEAM, Some(SIGNATURE), NOW);
        assert!(sound.is_ok(), "the example is sound");
        SealKey::read(KEY, None).expect("it has no password")
    });
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice & 3 {
        0 => {
            let mut bytes = TEAM.to_vec();
            patch(&mut bytes, rest);
            let is_sound = bytes == TEAM;
            let is_taken = read(&bytes, Some(SIGNATURE));
            assert_eq!(is_taken, is_sound, "a changed profile is taken");
        }
        1 => {
            read(TEAM, Some(rest));
        }
        // A `#`, with which a profile begins, and most letters lead here.
        _ => {
            let signature = signer.sign(data).expect("it can sign");
            read(data, Some(signature.as_bytes()));
            assert!(!read(data, None), "a profile without a signature is taken");
        }
    }
}

fn read(text: &[u8], signature: Option<&[u8]>) -> bool {
    match Team::read(text, signature, NOW) {
        Ok(team) => {
            team.certificate().expect("it was checked");
            true
        }
        Err(faults) => {
            assert!(!faults.is_empty(), "it says what is wrong");
            false
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

/// A record as it is written or sealed: what can be read can be sealed, read again, and laid out.
pub fn incident(data: &[u8]) {
    let Ok(record) = Incident::read(data) else {
        return;
    };
    let again = Incident::read(&record.to_json()).expect("its own form");
    assert_eq!(again.to_json(), record.to_json());
    for language in [Language::French, Language::English] {
        for gap in record.gaps() {
            assert!(!gap.message(language).is_empty());
        }
        // An error is an answer.
        if let Ok(document) = Document::new(&record, language, Some(&TimeZone::UTC)) {
            assert!(!document.to_markdown().is_empty() && !document.to_html().is_empty());
        }
        drop(iodef::write(&record, language, Timestamp::UNIX_EPOCH));
    }
}
