//! Proofs of single rows, as people make and check them.

mod support;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use support::{Reader, only, run_scelle, scelle, text, windows_folder};

const LOG: &str = "Windows/System32/winevt/Logs/Security.evtx";

/// A small Windows folder with an event log in it.
fn source(folder: &Path) -> String {
    let source = folder.join("source");
    windows_folder(&source);
    let sample = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/windows.evtx/Security.evtx.in"
    );
    let log = source.join(LOG);
    fs::create_dir_all(log.parent().expect("below")).expect("a folder");
    fs::copy(sample, log).expect("a sample");
    text(&source)
}

struct Sealed {
    bundle: String,
    root: String,
}

fn collect(folder: &Path, more: &[&str]) -> Sealed {
    let (source, out) = (source(folder), folder.join("out"));
    fs::create_dir(&out).expect("a folder");
    let to = text(&out);
    let mut arguments = vec!["collect", "--source", &source, "--out", &to, "--json"];
    arguments.extend(["--tlp", "amber", "--profile", "everything"]);
    arguments.extend(more);
    let made = run_scelle(arguments).ended(0).json();
    let ending = if more.contains(&"--recipient") {
        ".pgp"
    } else {
        ".zip"
    };
    Sealed {
        bundle: text(&only(&out, ending)),
        root: made["root"].as_str().expect("text").to_owned(),
    }
}

/// The rows of an artefact.
fn rows(bundle: &str, artefact: &str, more: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["timeline", bundle, "--format", "jsonl", "--out", "-"];
    arguments.extend(["--artefact", artefact]);
    arguments.extend(more);
    run_scelle(arguments).ended(0).lines()
}

fn place(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().expect("text").to_owned();
    format!(
        "{}:{}@{}#{}",
        text("artefact"),
        text("stream"),
        row["offset"],
        row["ordinal"]
    )
}

fn prove(bundle: &str, row: &str, out: &Path, more: &[&str]) -> support::Ran {
    let out = text(out);
    let mut arguments = vec!["prove", bundle, "--row", row, "--out", &out, "--json"];
    arguments.extend(more);
    run_scelle(arguments)
}

fn check(proof: &Path, more: &[&str]) -> support::Ran {
    let proof = text(proof);
    let mut arguments = vec!["prove", "--check", &proof, "--json"];
    arguments.extend(more);
    run_scelle(arguments)
}

#[test]
fn a_row_is_proven_to_whoever_has_the_root_or_trusts_who_sealed() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = text(&folder.path().join("ana"));
    run_scelle(["key", "new", &key, "--user", "Ana"]).ended(0);
    let (secret, certificate) = (format!("{key}.key.asc"), format!("{key}.cert.asc"));
    let sealed = collect(folder.path(), &["--sign-with", &secret]);
    let proof = folder.path().join("row.proof");
    for (number, row) in rows(&sealed.bundle, "windows.evtx", &[]).iter().enumerate() {
        let force: &[&str] = if number == 0 { &[] } else { &["--force"] };
        let made = prove(&sealed.bundle, &place(row), &proof, force)
            .ended(0)
            .json();
        assert_eq!(made["tlp"], "TLP:AMBER");
        let bytes = fs::metadata(&proof).expect("a file").len();
        assert_eq!(made["bytes"], bytes);
        assert!(bytes < 48 << 10, "{bytes}");
        let checked = check(&proof, &["--root", &sealed.root]).ended(0).json();
        assert_eq!(checked["row"], *row);
        assert_eq!(checked["tlp"], "TLP:AMBER");
        assert_eq!(checked["seal"]["root"], sealed.root);
    }
    assert_eq!(
        check(&proof, &["--trust", &certificate]).ended(0).json()["proven"],
        true
    );
    assert_eq!(
        check(&proof, &[]).ended(3).json()["verdict"],
        "signer-unknown"
    );
    let wrong = sealed.root.replace(|one: char| one.is_ascii_digit(), "a");
    let refused = check(&proof, &["--root", &wrong]).ended(1).json();
    assert_eq!(refused["proven"], false);
    assert_eq!(refused["row"], Value::Null);
    let people = run_scelle(["prove", "--check", &text(&proof), "--root", &sealed.root]).ended(0);
    for said in ["sealed", "Proven row", LOG, "TLP:AMBER"] {
        assert!(people.text().contains(said), "{said}: {}", people.text());
    }
    let mut bytes = fs::read(&proof).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&proof, bytes).expect("written");
    let broken = check(&proof, &["--root", &sealed.root]).ended(1).json();
    assert_eq!(broken["verdict"], "broken");
}

/// Others can check what of it is in published forms.
#[test]
fn other_programs_read_a_proof() {
    let folder = tempfile::tempdir().expect("a folder");
    let sealed = collect(folder.path(), &[]);
    let row = rows(&sealed.bundle, "windows.recycle-bin", &[]).remove(0);
    let proof = folder.path().join("row.proof");
    prove(&sealed.bundle, &place(&row), &proof, &[]).ended(0);
    let what = "what others read of a proof";
    if !scelle_testkit::has_tool("unzip", what) || !scelle_testkit::has_tool("gpg", what) {
        return;
    }
    let run = |program: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(program);
        command.current_dir(folder.path()).args(arguments);
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        said
    };
    run("unzip", &["-q", "row.proof", "-d", "open"]);
    let open = folder.path().join("open");
    let signature = only(&open.join("signatures"), ".asc");
    let home = text(&folder.path().join("gnupg"));
    fs::create_dir(&home).expect("a folder");
    run(
        "gpg",
        &[
            "--homedir",
            &home,
            "--batch",
            "--import",
            "open/records/signer.cert.asc",
        ],
    );
    let manifest = "open/tagmanifest-sha256.txt";
    let said = run(
        "gpg",
        &[
            "--homedir",
            &home,
            "--batch",
            "--verify",
            &text(&signature),
            manifest,
        ],
    );
    assert!(said.contains("Good signature"), "{said}");
    assert!(open.join("row.json").is_file() && open.join("bag-info.txt").is_file());
}

#[test]
fn a_row_is_named_as_json_by_its_key_or_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let sealed = collect(folder.path(), &[]);
    let row = rows(&sealed.bundle, "windows.evtx", &[]).remove(0);
    let made = |name: &str| folder.path().join(name);
    prove(&sealed.bundle, &row.to_string(), &made("json"), &[]).ended(0);
    let key = format!("{}.{}", row["record_key"], row["ordinal"]);
    prove(&sealed.bundle, &key, &made("key"), &[]).ended(0);
    prove(&sealed.bundle, &place(&row), &made("place"), &[]).ended(0);
    let mut command = scelle();
    command
        .args(["prove", &sealed.bundle, "--row", "-", "--out"])
        .arg(made("stdin"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    writeln!(stdin, "{row}").expect("written");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    let read = |name: &str| fs::read(made(name)).expect("a proof");
    for name in ["key", "place", "stdin"] {
        assert_eq!(read(name), read("json"), "{name}");
    }
    // What is sealed again is another proof; the same bundle gives the same bytes.
    let there = prove(&sealed.bundle, &key, &made("key"), &[]).ended(2);
    assert!(there.err.contains("--force"), "{}", there.err);
    for (wrong, why) in [
        ("windows.evtx:folder/absent@0", "absent"),
        ("1.0", "record key 1"),
        ("nonsense", "ARTEFACT:STREAM@OFFSET"),
    ] {
        let out = made("none");
        let refused = prove(&sealed.bundle, wrong, &out, &[]).ended(2);
        assert!(refused.err.contains(why), "{wrong}: {}", refused.err);
        assert!(!out.exists());
    }
}

#[test]
fn a_proof_bears_a_label() {
    let folder = tempfile::tempdir().expect("a folder");
    let sealed = collect(folder.path(), &[]);
    let row = place(&rows(&sealed.bundle, "windows.recycle-bin", &[])[0]);
    let out = folder.path().join("row.proof");
    for more in [["--tlp", "green"], ["--at-most", "green"]] {
        let refused = prove(&sealed.bundle, &row, &out, &more).ended(2);
        assert!(refused.err.contains("TLP:AMBER"), "{}", refused.err);
    }
    assert!(!out.exists());
    prove(&sealed.bundle, &row, &out, &["--tlp", "red"]).ended(0);
    assert_eq!(
        check(&out, &["--root", &sealed.root]).ended(0).json()["tlp"],
        "TLP:RED"
    );
    let word = [
        "--force",
        "--lower-label",
        "clear",
        "--reason",
        "for the court",
    ];
    prove(&sealed.bundle, &row, &out, &word).ended(0);
    let checked = check(&out, &["--root", &sealed.root]).ended(0).json();
    assert_eq!(checked["tlp"], "TLP:CLEAR");
    assert_eq!(checked["tlp_lowered"]["from"], "TLP:AMBER");
    assert_eq!(checked["seal"]["tlp"], "TLP:AMBER");
}

#[test]
fn rows_of_an_encrypted_bundle_are_proven_with_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(reader) = Reader::make(folder.path()) else {
        return;
    };
    let recipient = reader.recipient();
    let sealed = collect(folder.path(), &recipient.each_ref().map(String::as_str));
    let key = text(&reader.secret);
    let row = rows(&sealed.bundle, "windows.evtx", &["--key", &key]).remove(0);
    let out: PathBuf = folder.path().join("row.proof");
    let refused = prove(&sealed.bundle, &place(&row), &out, &[]).ended(2);
    assert!(refused.err.contains("--key"), "{}", refused.err);
    prove(&sealed.bundle, &place(&row), &out, &["--key", &key]).ended(0);
    let checked = check(&out, &["--root", &sealed.root]).ended(0).json();
    assert_eq!(checked["row"], row);
}
