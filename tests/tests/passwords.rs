//! Keys with a password: out of a file, out of the environment, asked for on a terminal; never told to others.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use scelle_testkit::ReaderKey;
use support::{Ran, run, run_scelle, scelle, text, windows_folder};

const PASSWORD: &str = "correct horse battery";
const VARIABLE: &str = "SCELLE_KEY_PASSWORD";

/// A bundle for whoever has a key with a password.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Self { folder };
        let reader = ReaderKey::protected(PASSWORD);
        fs::write(scene.path("cert.asc"), reader.certificate).expect("room");
        fs::write(scene.path("secret.asc"), reader.secret).expect("room");
        fs::write(scene.path("password"), format!("{PASSWORD}\n")).expect("room");
        windows_folder(&scene.path("source"));
        let (source, out) = (scene.at("source"), scene.at("case.scelle.zip.pgp"));
        let certificate = scene.at("cert.asc");
        let command = [
            "collect", "--source", &source, "--out", &out, "--tlp", "amber",
        ];
        let recipient = [
            "--recipient",
            &certificate,
            "--fingerprint",
            &reader.fingerprint,
        ];
        run_scelle([&command[..], &["--profile", "everything"], &recipient].concat()).ended(0);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        text(&self.path(name))
    }

    /// Lists the bundle with its key.
    fn ls(&self, variable: Option<&str>, more: &[&str]) -> Ran {
        let mut command = scelle();
        command.args([
            "ls",
            &self.at("case.scelle.zip.pgp"),
            "--key",
            &self.at("secret.asc"),
        ]);
        match variable {
            Some(password) => command.env(VARIABLE, password),
            None => command.env_remove(VARIABLE),
        };
        run(command, more)
    }
}

#[test]
fn a_key_with_a_password_is_opened_by_a_file_or_the_environment() {
    let scene = Scene::new();
    let file = scene.at("password");
    let named = ["--key-password-file", &*file];
    for listed in [
        scene.ls(Some(PASSWORD), &[]),
        scene.ls(None, &named),
        scene.ls(Some("wrong"), &named),
    ] {
        assert!(listed.ended(0).text().contains("holiday.jpg"));
    }
    // Any open file of a script's is one.
    #[cfg(target_os = "linux")]
    {
        let script = format!(
            "exec \"$0\" ls '{}' --key '{}' --key-password-file /dev/fd/3 3<'{file}'",
            scene.at("case.scelle.zip.pgp"),
            scene.at("secret.asc")
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(scelle().get_program());
        assert!(
            run(command, [""; 0])
                .ended(0)
                .text()
                .contains("holiday.jpg")
        );
    }
}

#[test]
fn without_a_password_or_with_a_wrong_one_it_says_what_to_do() {
    let scene = Scene::new();
    let refused = scene.ls(None, &[]).ended(2);
    for told in [
        "is protected",
        "no terminal",
        VARIABLE,
        "--key-password-file",
    ] {
        assert!(refused.err.contains(told), "{told}: {}", refused.err);
    }
    let refused = scene.ls(Some("not-the-password-7d1"), &[]).ended(2);
    assert!(
        refused.err.contains("is the password right?"),
        "{}",
        refused.err
    );
    assert!(
        !refused.err.contains("not-the-password-7d1"),
        "{}",
        refused.err
    );
    // An empty variable is none, and protects nothing.
    let refused = scene.ls(Some(""), &[]).ended(2);
    assert!(refused.err.contains("no terminal"), "{}", refused.err);
    let mut command = scelle();
    command.env(VARIABLE, "");
    let made = run(command, ["key", "new", &scene.at("own"), "--user", "own"]).ended(0);
    assert!(made.err.contains("has no password"), "{}", made.err);
    let absent = scene.at("absent");
    let refused = scene.ls(None, &["--key-password-file", &absent]).ended(2);
    assert!(
        refused.err.contains("reading the password in"),
        "{}",
        refused.err
    );
}

#[test]
fn keys_that_sign_have_passwords_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    let mut make = scelle();
    make.env(VARIABLE, PASSWORD)
        .args(["key", "new", &at("ana"), "--user", "Ana"]);
    let made = run(make, [""; 0]).ended(0);
    assert!(!made.err.contains("has no password"), "{}", made.err);
    windows_folder(&folder.path().join("source"));
    let collect = |variable: Option<&str>| {
        let mut command = scelle();
        command.args([
            "collect",
            "--tlp",
            "amber",
            "--force",
            "--source",
            &at("source"),
        ]);
        command.args([
            "--profile",
            "everything",
            "--out",
            &at("case.scelle.zip"),
            "--sign-with",
            &at("ana.key.asc"),
        ]);
        match variable {
            Some(password) => command.env(VARIABLE, password),
            None => command.env_remove(VARIABLE),
        };
        run(command, [""; 0])
    };
    let refused = collect(None).ended(2);
    assert!(refused.err.contains("is protected"), "{}", refused.err);
    collect(Some("wrong")).ended(2);
    assert!(!folder.path().join("case.scelle.zip").exists());
    collect(Some(PASSWORD)).ended(0);
    let command = [
        "verify",
        &at("case.scelle.zip"),
        "--trust",
        &at("ana.cert.asc"),
    ];
    run_scelle(command).ended(0);
    // Nobody can be asked here.
    let command = ["key", "new", &at("bo"), "--user", "Bo", "--ask-password"];
    let refused = run_scelle(command).ended(2);
    assert!(refused.err.contains("no terminal"), "{}", refused.err);
    assert!(!folder.path().join("bo.key.asc").exists());
}

#[cfg(target_os = "linux")]
mod on_a_terminal {
    use std::os::unix::process::ExitStatusExt as _;

    use scelle_testkit::Terminal;

    use super::*;

    /// Starts the workstation at a terminal; `None` where that can't be had.
    fn start(folder: &Path, arguments: &[&str]) -> Option<Terminal> {
        let mut command = scelle();
        command.args(arguments).current_dir(folder);
        Terminal::start(command.env_remove(VARIABLE))
    }

    /// Waits for a question, and types an answer.
    fn answer(terminal: &mut Terminal, question: &str, answer: &str) {
        terminal.wait_for(question);
        terminal.wait_unseen();
        terminal.type_in(&format!("{answer}\n"));
    }

    /// All that a terminal showed, and how the program there ended; it shows what is typed again.
    fn end(terminal: Terminal) -> (Option<i32>, String) {
        let ended = terminal.end();
        assert!(ended.has_echo, "{}", ended.shown);
        (ended.status.code(), ended.shown)
    }

    #[test]
    fn the_password_is_asked_for_once_and_not_shown() {
        let scene = Scene::new();
        let (bundle, key) = (scene.at("case.scelle.zip.pgp"), scene.at("secret.asc"));
        let again = scene.at("again.scelle.zip.pgp");
        fs::copy(&bundle, &again).expect("room");
        let command = [
            "timeline",
            &*bundle,
            &again,
            "--key",
            &key,
            "--format",
            "jsonl",
            "--out",
            "rows.jsonl",
            "--quiet",
        ];
        let Some(mut terminal) = start(scene.folder.path(), &command) else {
            return;
        };
        answer(&mut terminal, "Password of the key", PASSWORD);
        let (status, shown) = end(terminal);
        assert_eq!(status, Some(0), "{shown}");
        assert_eq!(shown.matches("Password").count(), 1, "{shown}");
        assert!(!shown.contains(PASSWORD), "{shown}");
        let rows = fs::read_to_string(scene.path("rows.jsonl")).expect("written");
        assert!(rows.contains("secret.txt"), "{rows}");

        let command = ["ls", &bundle, "--key", &key];
        let mut terminal = start(scene.folder.path(), &command).expect("one was had");
        answer(&mut terminal, "Password of the key", "wrong");
        let (status, shown) = end(terminal);
        assert_eq!(status, Some(2), "{shown}");
        assert!(shown.contains("is the password right?"), "{shown}");
    }

    #[test]
    fn a_new_key_gets_the_password_that_is_typed_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let make = ["key", "new", "ana", "--user", "Ana", "--ask-password"];
        for (again, status) in [("other", 2), (PASSWORD, 0)] {
            let Some(mut terminal) = start(folder.path(), &make) else {
                return;
            };
            answer(&mut terminal, "Password for the new key", PASSWORD);
            answer(&mut terminal, "once more", again);
            let (ended, shown) = end(terminal);
            assert_eq!(ended, Some(status), "{shown}");
            assert!(!shown.contains(PASSWORD), "{shown}");
            assert_eq!(folder.path().join("ana.key.asc").exists(), status == 0);
        }
        fs::write(folder.path().join("note.toml"), "").expect("room");
        let sign = ["team", "sign", "note.toml", "--key", "ana.key.asc"];
        let mut terminal = start(folder.path(), &sign).expect("one was had");
        answer(&mut terminal, "Password of the key ana.key.asc", PASSWORD);
        let (ended, shown) = end(terminal);
        assert_eq!(ended, Some(0), "{shown}");
        assert!(folder.path().join("note.toml.asc").is_file());
    }

    /// Whoever breaks the question off has a terminal that shows what is typed, and not half of a password on it.
    #[test]
    fn ctrl_c_at_the_question_leaves_the_terminal_as_it_was() {
        const CTRL_C: &str = "\u{3}";
        const SIGINT: i32 = 2;
        let folder = tempfile::tempdir().expect("a folder");
        let make = ["key", "new", "ana", "--user", "Ana", "--ask-password"];
        // At the first question, and at the second.
        for is_second in [false, true] {
            let Some(mut terminal) = start(folder.path(), &make) else {
                return;
            };
            if is_second {
                answer(&mut terminal, "Password for the new key", PASSWORD);
            }
            let question = if is_second { "once more" } else { "Password" };
            terminal.wait_for(question);
            terminal.wait_unseen();
            terminal.type_in("half of a pass");
            terminal.type_in(CTRL_C);
            let ended = terminal.end();
            assert_eq!(ended.status.signal(), Some(SIGINT), "{}", ended.shown);
            assert!(ended.has_echo, "{}", ended.shown);
            assert!(!ended.shown.contains("half"), "{}", ended.shown);
            assert!(!folder.path().join("ana.key.asc").exists());
        }
    }
}
