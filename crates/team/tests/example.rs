//! The example of a profile, whole and with one thing wrong.

use std::{fs, path::Path};

use scelle_event::Tlp;
use scelle_team::{Fault, Team};

/// 2027-01-01: the example is signed before.
const NOW: u32 = 1_798_761_600;

fn example() -> (String, Vec<u8>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/team");
    let text = fs::read_to_string(folder.join("example.toml")).expect("readable");
    let signature = fs::read(folder.join("example.toml.asc")).expect("readable");
    (text, signature)
}

fn faults(text: &str, signature: Option<&[u8]>) -> Vec<Fault> {
    let read = Team::read(text.as_bytes(), signature, NOW);
    read.err().unwrap_or_default()
}

#[test]
fn the_example_is_sound() {
    let (text, signature) = example();
    let team = Team::read(text.as_bytes(), Some(&signature), NOW);
    let team = team.unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!((team.version, team.tlp), (1, Tlp::Amber));
    assert_eq!(
        (&*team.zone, &*team.profile.name),
        ("Europe/Paris", "triage")
    );
    assert_eq!(team.hours.days.len(), 5);
    assert_eq!(team.contacts.len(), 2);
    assert_eq!(team.limits.max_total_bytes, Some(100 << 30));
    let certificate = team.certificate().expect("read before");
    assert_eq!(certificate.fingerprint(), team.fingerprint);
}

#[test]
fn each_missing_element_is_named() {
    let (text, signature) = example();
    let elements = [
        "format", "version", "date", "name", "address", "zone", "tlp", "profile",
    ];
    for element in elements {
        // The first of that name stands at the top.
        let begin = text.find(&format!("\n{element} = ")).expect(element) + 1;
        let end = match element {
            "address" => "France\"\"\"\n",
            _ => "\n",
        };
        let length = text[begin..].find(end).expect("its end") + end.len();
        let without = format!("{}{}", &text[..begin], &text[begin + length..]);
        let found = faults(&without, Some(&signature));
        let named: Vec<_> = found.iter().map(|fault| &*fault.element).collect();
        assert_eq!(named, [element, "signature"], "{found:?}");
        assert!(found[0].what.starts_with("it is missing: "), "{found:?}");
    }
    let found = faults(&text[..text.find("[hours]").expect("there")], None);
    let named: Vec<_> = found.iter().map(|fault| &*fault.element).collect();
    let wanted = [
        "hours.days",
        "hours.from",
        "hours.to",
        "contacts",
        "key.fingerprint",
        "key.certificate",
        "signature",
    ];
    assert_eq!(named, wanted, "{found:?}");
}

#[test]
fn what_is_wrong_is_said_in_plain_words() {
    let (text, signature) = example();
    for (old, new, element, said) in [
        ("Europe/Paris", "Paris time", "zone", "Europe/Paris"),
        ("TLP:AMBER", "TLP:ORANGE", "tlp", "TLP:GREEN"),
        ("TLP:AMBER", "TLP:GREEN", "tlp", "stricter"),
        ("2024-05-29", "29 May 2024", "date", "2024-05-29"),
        ("\"monday\"", "\"lundi\"", "hours.days", "in English"),
        ("\"08:00\"", "\"8 o'clock\"", "hours.from", "08:00"),
        (
            "\"cert@example.org\"",
            "\"example.org\"",
            "contacts, number 1",
            "the @",
        ),
        ("\"triage\"", "\"tirage\"", "profile", "scelle profiles"),
        (
            "\"triage\"",
            concat!(
                "\"minimal, ",
                env!("CARGO_MANIFEST_DIR"),
                "/../engine/profiles/full.toml\""
            ),
            "profile",
            "would say nothing of what stands in a file",
        ),
        ("\"4 GiB\"", "\"four\"", "limits.max_file", "2 GiB"),
        ("version = 1", "version = 0", "version", "from 1"),
        ("format = 1", "format = 2", "format", "only format 1"),
        ("zone = ", "zoen = ", "file", "line 1"),
        (
            "fingerprint = \"",
            "fingerprint = \"A",
            "key",
            "fingerprint",
        ),
    ] {
        let changed = text.replacen(old, new, 1);
        assert_ne!(changed, text, "{old}");
        let found = faults(&changed, Some(&signature));
        let told = found.iter().find(|fault| fault.element == element);
        let told = told.unwrap_or_else(|| panic!("{element}: {found:?}"));
        assert!(told.what.contains(said), "{said}: {told:?}");
    }
    // All that is wrong is told at once.
    let both = text
        .replace("\"Europe/Paris\"", "\"x\"")
        .replace("\"08:00\"", "\"x\"");
    assert_eq!(faults(&both, Some(&signature)).len(), 3);
}

#[test]
fn every_change_of_a_letter_breaks_the_signature() {
    let (text, signature) = example();
    for at in (0..text.len()).step_by(7) {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        let read = Team::read(&changed, Some(&signature), NOW);
        assert!(read.is_err(), "byte {at} may be changed");
    }
    let found = faults(&text, None);
    assert_eq!(found.len(), 1);
    assert!(found[0].what.contains("scelle team sign"), "{found:?}");
    let mut broken = signature;
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    assert_eq!(faults(&text, Some(&broken))[0].element, "signature");
}
