//! The chain of custody, as people keep it.

mod support;

use std::{fs, path::PathBuf};

use support::{Ran, Reader, only, run_scelle, text, windows_folder};

struct Case {
    folder: tempfile::TempDir,
    bundle: String,
    key: String,
    certificate: String,
    fingerprint: String,
}

impl Case {
    fn new(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("source");
        windows_folder(&source);
        let out = folder.path().join("out");
        fs::create_dir(&out).expect("a folder");
        let key = text(&folder.path().join("ana"));
        let made = run_scelle(["key", "new", &key, "--user", "Ana", "--json"])
            .ended(0)
            .json();
        let (source, to) = (text(&source), text(&out));
        let mut arguments = vec!["collect", "--source", &source, "--out", &to];
        arguments.extend(["--tlp", "amber", "--profile", "everything"]);
        arguments.extend(more);
        run_scelle(arguments).ended(0);
        let ending = if more.is_empty() { ".zip" } else { ".pgp" };
        let bundle = text(&only(&out, ending));
        Self {
            key: format!("{key}.key.asc"),
            certificate: format!("{key}.cert.asc"),
            fingerprint: made["fingerprint"].as_str().expect("text").to_owned(),
            folder,
            bundle,
        }
    }

    fn add(&self, action: &str, more: &[&str]) -> Ran {
        let mut arguments = vec!["custody", "add", &self.bundle, action, "--json"];
        arguments.extend([
            "--by",
            "Ana",
            "--why",
            "seizure 7",
            "--sign-with",
            &self.key,
        ]);
        arguments.extend(more);
        run_scelle(arguments)
    }

    fn verify(&self, more: &[&str]) -> Ran {
        let mut arguments = vec!["custody", "verify", &self.bundle, "--json"];
        arguments.extend(["--trust", &self.certificate]);
        arguments.extend(more);
        run_scelle(arguments)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("out/source.custody.jsonl")
    }
}

#[test]
fn who_had_a_bundle_is_kept_and_checked() {
    let case = Case::new(&[]);
    let refused = case.verify(&[]).ended(2);
    assert!(
        refused.err.contains("source.custody.jsonl"),
        "{}",
        refused.err
    );
    for (action, more) in [
        ("received", vec!["--zone", "Europe/Paris"]),
        (
            "moved",
            vec![
                "--place",
                "room 4 to the safe",
                "--time",
                "2026-02-01T10:00:00-03:30",
            ],
        ),
        ("opened", vec![]),
        ("exported", vec![]),
    ] {
        case.add(action, &more).ended(0);
    }
    let shown = run_scelle(["custody", "show", &case.bundle, "--json"])
        .ended(0)
        .lines();
    assert_eq!(shown.len(), 4);
    for line in &shown {
        assert_eq!(line["tlp"], "TLP:AMBER");
    }
    assert!(
        shown[0]["time"]
            .as_str()
            .expect("text")
            .ends_with("[Europe/Paris]")
    );
    assert_eq!(shown[1]["time"], "2026-02-01T10:00:00-03:30");
    assert_eq!(shown[1]["place"], "room 4 to the safe");
    assert_eq!(shown[2]["action"], "opened");
    assert_eq!(shown[3]["by"], "Ana");
    let people = run_scelle(["custody", "show", &case.bundle])
        .ended(0)
        .text();
    assert!(
        people.contains("moved by Ana, room 4 to the safe: seizure 7"),
        "{people}"
    );

    let head = shown[3]["hash"].as_str().expect("text").to_owned();
    let whole = case.verify(&["--head", &head]).ended(0).json();
    assert_eq!(whole["verdict"], "whole");
    assert_eq!(whole["lines"], 4);
    assert_eq!(whole["tlp"], "TLP:AMBER");
    // Nobody vouches for a key that is not named.
    let told = run_scelle(["custody", "verify", &case.bundle, "--quiet"]).ended(3);
    assert!(told.err.contains("label: TLP:AMBER"), "{}", told.err);

    let lines = fs::read_to_string(case.file()).expect("a file");
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    let with = |kept: &[&str]| {
        fs::write(case.file(), kept.concat()).expect("written");
        case.verify(&["--head", &head]).ended(1).json()["problems"].to_string()
    };
    let altered = lines[1].replace("safe", "barn");
    for (kept, named) in [
        (
            vec![lines[0], &altered, lines[2], lines[3]],
            "line 2: it was altered",
        ),
        (vec![lines[0], lines[2], lines[3]], "number 2 is missing"),
        (
            vec![lines[0], lines[2], lines[1], lines[3]],
            "line 3: it is number 2",
        ),
        (
            vec![lines[0], lines[1], lines[1], lines[2], lines[3]],
            "line 3: it is number 2, as line 2",
        ),
        (vec![lines[0], lines[1], lines[2]], "written down"),
    ] {
        let said = with(&kept);
        assert!(said.contains(named), "{named}: {said}");
    }
    // Nothing is put on top of what is broken.
    fs::write(case.file(), [lines[0], lines[2]].concat()).expect("written");
    let refused = case.add("opened", &[]).ended(2);
    assert!(
        refused.err.contains("number 2 is missing"),
        "{}",
        refused.err
    );
}

/// A key that was stolen: what it signed is no longer taken for its owner's word.
#[test]
fn a_key_that_was_taken_back_vouches_for_no_line() {
    let case = Case::new(&[]);
    let at = |name: &str| text(&case.folder.path().join(name));
    run_scelle(["key", "new", &at("case"), "--user", "Case"]).ended(0);
    let (by, ana, trust) = (at("case.key.asc"), &case.certificate, at("case.cert.asc"));
    let (certified, revoked) = (at("certified.asc"), at("revoked.asc"));
    let certify = [
        "key",
        "certify",
        ana,
        "--fingerprint",
        &case.fingerprint,
        "--for",
        "30d",
    ];
    run_scelle([&certify[..], &["--by", &by, "--out", &certified]].concat()).ended(0);
    case.add("received", &["--certificate", &certified])
        .ended(0);
    case.add("moved", &["--certificate", &certified]).ended(0);
    let verify = [
        "custody",
        "verify",
        &case.bundle,
        "--json",
        "--trust",
        &trust,
    ];
    assert_eq!(run_scelle(verify).ended(0).json()["verdict"], "whole");

    run_scelle(["key", "revoke", ana, "--by", &by, "--out", &revoked]).ended(0);
    let asked = [&verify[..], &["--revocations", &revoked]].concat();
    let answer = run_scelle(asked).ended(3).json();
    assert_eq!(answer["verdict"], "signer-unknown");
    let strangers = answer["strangers"].as_array().expect("a list");
    assert_eq!(strangers.len(), 2, "{answer}");
    assert!(
        strangers[0]
            .as_str()
            .is_some_and(|one| one.contains("is revoked since")),
        "{answer}"
    );
    // Another's certificate travels with no line.
    case.add("opened", &["--certificate", &trust]).ended(2);
}

/// Whoever carries an encrypted bundle can't open it, and keeps its chain all the same.
#[test]
fn an_encrypted_bundle_has_its_chain_too() {
    let keys = tempfile::tempdir().expect("a folder");
    let Some(reader) = Reader::make(keys.path()) else {
        return;
    };
    let recipient = reader.recipient();
    let case = Case::new(&recipient.each_ref().map(String::as_str));
    let secret = text(&reader.secret);
    let refused = case.add("received", &[]).ended(2);
    assert!(refused.err.contains("--root"), "{}", refused.err);
    let listed = run_scelle(["verify", &case.bundle, "--key", &secret, "--json"]);
    let root = listed.json()["root"].as_str().expect("text").to_owned();
    let wrong = root.replace(|one: char| one.is_ascii_digit(), "0");
    let refused = case.add("received", &["--root", &wrong, "--key", &secret]);
    let refused = refused.ended(2);
    assert!(refused.err.contains(&root), "{}", refused.err);
    case.add("received", &["--root", &root]).ended(0);
    case.add("moved", &[]).ended(0);
    // The label of what can't be opened here is not known.
    assert!(case.verify(&[]).ended(0).json()["tlp"].is_null());
    let opened = case.verify(&["--key", &secret]).ended(0).json();
    assert_eq!(opened["tlp"], "TLP:AMBER");
    case.verify(&["--root", &wrong]).ended(1);
}
