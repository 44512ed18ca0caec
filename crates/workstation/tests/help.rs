//! The program starts, and tells what it can do. (It also makes `cargo test` build the program,
//! which the end-to-end tests in `tests/` run.)

use assert_cmd::Command;

fn scelle() -> Command {
    Command::new(env!("CARGO_BIN_EXE_scelle"))
}

#[test]
fn help_names_every_command() {
    let help = scelle().arg("--help").assert().success();
    let help = String::from_utf8_lossy(&help.get_output().stdout).into_owned();
    for command in [
        "triage",
        "collect",
        "profiles",
        "deliver",
        "verify",
        "ls",
        "cat",
        "extract",
        "timeline",
        "parse",
        "story",
        "artefacts",
        "hash",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
    }
}

#[test]
fn completions_and_pages_are_generated() {
    let bash = scelle().args(["completions", "bash"]).assert().success();
    assert!(String::from_utf8_lossy(&bash.get_output().stdout).contains("triage"));
    let folder = tempfile::tempdir().expect("a folder");
    scelle().arg("man").arg(folder.path()).assert().success();
    let page = std::fs::read_to_string(folder.path().join("scelle-verify.1")).expect("a page");
    assert!(page.contains("root"), "{page}");
}

#[test]
fn a_wrong_command_is_not_done() {
    scelle().arg("frobnicate").assert().code(2);
    let unknown = scelle()
        .args(["artefacts", "show", "windows.nothing"])
        .assert()
        .code(2);
    let said = String::from_utf8_lossy(&unknown.get_output().stderr).into_owned();
    assert!(said.contains("windows.recycle-bin"), "{said}");
}
