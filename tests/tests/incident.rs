//! The incident record as whoever reports writes it: each element that a charter asks for is named where it is missing, in both
//! languages, and the record with none missing is complete.

mod support;

use std::{fs, path::PathBuf};

use serde_json::Value;
use support::{run_scelle, text};

fn example() -> PathBuf {
    scelle_testkit::testdata().join("incident/example.toml")
}

/// What is taken out of the example, from the beginning of one text to that of another; what is put there; what is named then,
/// and a word that is said of it in French and in English.
type Missing = (
    [&'static str; 2],
    &'static str,
    &'static str,
    [&'static str; 2],
);

const MISSING: [Missing; 20] = [
    // Date and time with time zone.
    (
        ["detected =", "reported"],
        "",
        "times.detected",
        ["détecté", "detected"],
    ),
    (
        ["+01:00\nreported", "\nreported"],
        "",
        "times.detected",
        ["fuseau horaire", "time zone"],
    ),
    (
        ["+01:00\ndetected", "\ndetected"],
        "",
        "times.started",
        ["fuseau horaire", "time zone"],
    ),
    (
        ["T08:12:00+01:00", "\nreported"],
        "",
        "times.detected",
        ["sans heure", "without a time"],
    ),
    // People to contact.
    (
        ["[[contacts]]", "[context]"],
        "",
        "contacts",
        ["personne à contacter", "person to contact"],
    ),
    (
        ["name = \"Aline", "role"],
        "",
        "contacts[1].name",
        ["le nom", "the name"],
    ),
    (
        ["email = \"cert@", "openpgp"],
        "",
        "contacts[2].email",
        ["téléphone", "phone"],
    ),
    // Context and description.
    (
        ["title =", "description"],
        "",
        "context.title",
        ["une ligne", "one line"],
    ),
    (
        ["description = \"\"\"", "perimeter"],
        "",
        "context.description",
        ["contexte", "context"],
    ),
    // Estimated impact.
    (
        ["description = \"Partage", "severity"],
        "",
        "impact.description",
        ["Estimez l’impact", "Estimate the impact"],
    ),
    (
        ["severity =", "\n[[indicators]]"],
        "",
        "impact.severity",
        ["gravité", "severe"],
    ),
    // Indicators: source addresses, destinations, ports, protocols.
    (
        ["[[indicators]]", ""],
        "",
        "indicators",
        ["sources, destinations, ports, protocoles", "protocols"],
    ),
    (
        ["source = \"198", "source_port"],
        "",
        "indicators[1].source",
        ["d’où venait", "came from"],
    ),
    (
        ["source = \"192", "destination ="],
        "",
        "indicators[2].source",
        ["d’où venait", "came from"],
    ),
    (
        ["destination = \"192", "destination_port"],
        "",
        "indicators[1].destination",
        ["allait", "went to"],
    ),
    (
        ["destination_port = 443", "protocol"],
        "",
        "indicators[2].destination_port",
        ["le port de destination", "the destination port"],
    ),
    (
        ["protocol = \"tcp\"", "\n[[indicators]]"],
        "",
        "indicators[2].protocol",
        ["le protocole", "the protocol"],
    ),
    // Who counts it, and with whom it may be shared.
    (["id =", "team"], "", "id", ["numéro", "number"]),
    (["team =", "tlp"], "", "team", ["équipe", "team"]),
    (
        ["\"TLP:AMBER+STRICT\"", "\nstatus"],
        "\"TLP:WHITE\"",
        "tlp",
        ["marquage TLP", "TLP 2.0 label"],
    ),
];

#[test]
fn each_missing_element_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("incident.toml");
    let whole = fs::read_to_string(example()).expect("in the repository");
    let check = |more: &[&str], status: i32| {
        let record = text(&path);
        run_scelle([&["incident", "check", &record], more].concat()).ended(status)
    };
    fs::write(&path, &whole).expect("room");
    let complete = check(&["--json"], 0).json();
    assert_eq!(complete["complete"], true);
    assert_eq!(complete["missing"], Value::Array(vec![]));
    for ([from, until], instead, named, words) in MISSING {
        let begin = whole
            .find(from)
            .unwrap_or_else(|| panic!("no {from} in the example"));
        let length = match until {
            "" => whole.len() - begin,
            until => whole[begin + 1..].find(until).expect(until) + 1,
        };
        let mut record = whole.clone();
        record.replace_range(begin..begin + length, instead);
        fs::write(&path, record).expect("room");
        for (language, word) in ["fr", "en"].into_iter().zip(words) {
            let told = check(&["--lang", language, "--json"], 1).json();
            assert_eq!(told["complete"], false);
            let missing = told["missing"].as_array().expect("a list");
            assert_eq!(missing.len(), 1, "{named}: {told}");
            assert_eq!(missing[0]["element"], named);
            let message = missing[0]["message"].as_str().expect("text");
            assert!(message.contains(word), "{named}: {message}");
            // Whoever reads no JSON is told the same.
            let shown = check(&["--lang", language], 1).text();
            let is_told = shown.contains(named) && shown.contains(message);
            assert!(is_told, "{named}: {shown}");
        }
    }
}

/// What lacks something is rendered all the same, and says so.
#[test]
fn an_incomplete_record_is_rendered_with_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("incident.toml");
    let whole = fs::read_to_string(example()).expect("in the repository");
    let severity = "severity = \"high\"\n";
    assert!(whole.contains(severity));
    fs::write(&path, whole.replace(severity, "")).expect("room");
    let (lacking, complete) = (text(&path), text(&example()));
    for (path, status) in [(&lacking, 1), (&complete, 0)] {
        let rendered = run_scelle(["incident", "render", path]).ended(status);
        assert_eq!(rendered.err.contains("impact.severity"), status == 1);
        assert!(rendered.text().contains("2026-0042"), "{}", rendered.text());
    }
}

/// A slip of the pen is said in the writer's language, with its place and what to do.
#[test]
fn a_record_that_can_not_be_read_says_where_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("incident.toml");
    let whole = fs::read_to_string(example()).expect("in the repository");
    for (from, to, word) in [
        ("severity = \"high\"", "severity = \"high", "= \"v"),
        ("severity = \"high\"", "gravite = \"high\"", "gravite"),
        (
            "severity = \"high\"",
            "description = \"x\"",
            "TOML: duplicate key",
        ),
        ("format = 1", "format = \"one\"", "TOML: invalid type"),
    ] {
        let record = whole.replace(from, to);
        let line = record.lines().position(|line| line == to);
        let line = line.expect("it stands there") + 1;
        fs::write(&path, &record).expect("room");
        for (language, at) in [
            ("fr", format!("ligne {line}")),
            ("en", format!("line {line}")),
        ] {
            let record = text(&path);
            let told = run_scelle(["incident", "check", &record, "--lang", language]).ended(2);
            for part in [word, &at, &record] {
                assert!(told.err.contains(part), "{part}: {}", told.err);
            }
        }
    }
}

/// Whoever made a record may not steer the terminal of whoever reads it.
#[test]
fn what_is_quoted_of_a_record_steers_no_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("incident.toml");
    let whole = fs::read_to_string(example()).expect("in the repository");
    let odd = whole.replace("\"in-progress\"", "\"\\u001B[2J\"");
    assert_ne!(odd, whole);
    fs::write(&path, odd).expect("room");
    let shown = run_scelle(["incident", "check", &text(&path)])
        .ended(1)
        .text();
    assert!(
        shown.contains("\\u{1b}[2J") && !shown.contains('\u{1b}'),
        "{shown:?}"
    );
    let rendered = run_scelle(["incident", "render", &text(&path)]).ended(1);
    assert!(!rendered.err.contains('\u{1b}'), "{:?}", rendered.err);
}
