//! The collector starts alone. (It also makes `cargo test` build the program, which the
//! end-to-end tests in `tests/` run.)

use assert_cmd::Command;

fn collector() -> Command {
    Command::new(env!("CARGO_BIN_EXE_scelle-collector"))
}

#[test]
fn profiles_are_data() {
    let list = collector().args(["profiles", "--json"]).assert().success();
    let list: serde_json::Value =
        serde_json::from_slice(&list.get_output().stdout).expect("one JSON value");
    let names: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|profile| profile["name"].as_str())
        .collect();
    assert_eq!(names, ["minimal", "triage", "full", "everything"]);

    let shown = collector()
        .args(["profiles", "show", "triage"])
        .assert()
        .success();
    let shown = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
    assert!(shown.contains("$Extend/$UsnJrnl:$J"), "{shown}");

    let diff = collector()
        .args(["profiles", "diff", "minimal", "triage"])
        .assert()
        .success();
    let diff = String::from_utf8_lossy(&diff.get_output().stdout).into_owned();
    assert!(diff.contains("+ srum"), "{diff}");
    assert!(!diff.contains("- "), "{diff}");
}

#[test]
fn without_a_label_nothing_is_collected() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = collector()
        .args(["--source", "Cargo.toml", "--out"])
        .arg(folder.path())
        .assert()
        .code(2);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("--tlp"), "{said}");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("readable").count(),
        0
    );
}
