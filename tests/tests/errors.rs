//! What goes wrong is said clearly, ends with the right status, and leaves no half-written file.

mod support;

use std::{fs, path::Path};

#[cfg(target_os = "linux")]
use scelle_testkit::MountedMemory;
use support::{Ran, files, only, run, run_scelle, scelle, text, windows_folder};

fn triage(source: &Path, out: &Path) -> Ran {
    run_scelle([
        "triage",
        &text(source),
        "--out",
        &text(out),
        "--tlp",
        "amber",
        "--profile",
        "everything",
    ])
}

/// A source of odd bytes is sealed as it is: whoever names a file wants that file.
fn seals_one_file(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join(name);
    fs::write(&source, bytes).expect("written");
    let out = folder.path().join("out");
    let ran = triage(&source, &out).ended(0);
    assert!(ran.text().contains("sealed"), "{}", ran.text());
    let bundle = only(&out, ".scelle.zip");
    let listed = run_scelle(["ls", &text(&bundle), "--json"]).ended(0);
    let lines = listed.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["size"], bytes.len());
    let stream = format!("{}/{}", lines[0]["volume"].as_str().expect("text"), name);
    let back = run_scelle(["cat", &text(&bundle), &stream]).ended(0);
    assert_eq!(back.out, bytes);
}

#[test]
fn random_bytes_are_one_file() {
    let mut state = 1u64;
    let bytes: Vec<u8> = (0..100_000)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    seals_one_file("random.bin", &bytes);
}

#[test]
fn an_empty_file_is_one_file() {
    seals_one_file("empty.raw", b"");
}

#[test]
fn an_image_of_one_byte_is_one_file() {
    seals_one_file("tiny.raw", b"x");
}

#[test]
fn text_named_as_a_log_is_no_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("Security.evtx");
    fs::write(&log, "not an event log at all\n").expect("written");
    let ran = run_scelle(["parse", "windows.evtx", &text(&log)]).ended(2);
    assert!(
        ran.err.contains("does not look like windows.evtx"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("--force"), "{}", ran.err);
    assert!(ran.out.is_empty());
    seals_one_file("Security.evtx", b"not an event log at all\n");
}

#[cfg(unix)]
#[test]
fn a_loop_of_folders_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("a/b")).expect("folders");
    fs::write(source.join("a/b/file.txt"), "once").expect("written");
    std::os::unix::fs::symlink("../..", source.join("a/b/up")).expect("a link");
    std::os::unix::fs::symlink("round", source.join("round")).expect("a link");
    let out = folder.path().join("out");
    triage(&source, &out).ended(0);
    let bundle = only(&out, ".scelle.zip");
    let listed = run_scelle(["ls", &text(&bundle)]).ended(0);
    assert_eq!(
        listed.text().matches("file.txt").count(),
        1,
        "{}",
        listed.text()
    );
}

#[test]
fn a_missing_path_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("nothing-here.raw");
    let out = folder.path().join("out");
    for arguments in [
        vec![
            "triage",
            &text(&missing),
            "--out",
            &text(&out),
            "--tlp",
            "red",
        ],
        vec![
            "collect",
            "--source",
            &text(&missing),
            "--out",
            &text(&out),
            "--tlp",
            "red",
        ],
        vec!["verify", &text(&missing)],
        vec!["ls", &text(&missing)],
        vec!["cat", &text(&missing), "x"],
        vec!["timeline", &text(&missing), "--out", &text(&out)],
        vec!["parse", "windows.evtx", &text(&missing)],
        vec![
            "extract",
            &text(&missing),
            "--to",
            &text(&out),
            "--in-clear",
        ],
        vec!["hash", &text(&missing)],
    ] {
        let ran = run_scelle(&arguments).ended(2);
        assert!(
            ran.err.contains("nothing-here.raw"),
            "{arguments:?}: {}",
            ran.err
        );
        assert!(!out.exists(), "{arguments:?} left {}", out.display());
    }
}

#[test]
fn a_label_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("file.bin");
    fs::write(&source, "x").expect("written");
    let out = folder.path().join("out");
    let ran = run_scelle(["triage", &text(&source), "--out", &text(&out)]).ended(2);
    assert!(ran.err.contains("--tlp"), "{}", ran.err);
    assert!(!out.exists());
    let team = folder.path().join("team.toml");
    fs::write(
        &team,
        "name = \"team\"\nsummary = \"Ours.\"\ntlp = \"TLP:RED\"\nextends = [\"everything\"]\n",
    )
    .expect("written");
    let ran = run_scelle([
        "triage",
        &text(&source),
        "--out",
        &text(&out),
        "--profile",
        &text(&team),
        "--json",
    ])
    .ended(0);
    assert_eq!(ran.json()["collect"]["tlp"], "TLP:RED");

    // A profile chooses no label that is freer than amber; a word does.
    let free = text(&folder.path().join("free.toml"));
    fs::write(
        &free,
        "name = \"free\"\nsummary = \"Ours.\"\ntlp = \"clear\"\nextends = [\"everything\"]\n",
    )
    .expect("written");
    let (source, out) = (text(&source), text(&folder.path().join("free.zip")));
    let collect = |more: &[&str]| {
        let command = ["collect", "--source", &source, "--out", &out, "--profile"];
        run_scelle([&command[..], &[&free, "--json"], more].concat())
    };
    let refused = collect(&[]).ended(2);
    assert!(refused.err.contains("--tlp TLP:CLEAR"), "{}", refused.err);
    assert!(!Path::new(&out).exists());
    assert_eq!(
        collect(&["--tlp", "clear"]).ended(0).json()["tlp"],
        "TLP:CLEAR"
    );
}

#[test]
fn nothing_is_overwritten_unasked() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("file.bin");
    fs::write(&source, "evidence").expect("written");
    let out = folder.path().join("out");
    triage(&source, &out).ended(0);
    let before = files(&out);
    let bytes = fs::read(only(&out, ".scelle.zip")).expect("readable");
    let again = triage(&source, &out).ended(2);
    assert!(again.err.contains("--force"), "{}", again.err);
    assert_eq!(
        fs::read(only(&out, ".scelle.zip")).expect("readable"),
        bytes
    );
    assert_eq!(files(&out), before);
    let forced = run_scelle([
        "triage",
        &text(&source),
        "--out",
        &text(&out),
        "--tlp",
        "amber",
        "--profile",
        "everything",
        "--force",
    ]);
    forced.ended(0);
    assert_eq!(files(&out), before);
}

#[test]
fn a_source_does_not_hold_its_own_bundle() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let before = files(&source);
    let inside = source.join("Windows/out");
    let ran = triage(&source, &inside).ended(2);
    assert!(ran.err.contains("--allow-source-volume"), "{}", ran.err);
    assert!(!inside.exists());
    assert_eq!(files(&source), before);
}

/// A file where a folder is needed: refused for every user, root included.
#[test]
fn an_output_folder_that_is_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("file.bin");
    fs::write(&source, "evidence").expect("written");
    let file = folder.path().join("occupied");
    fs::write(&file, "here first").expect("written");
    let ran = triage(&source, &file).ended(2);
    assert!(ran.err.contains("occupied"), "{}", ran.err);
    assert_eq!(fs::read(&file).expect("readable"), b"here first");
    let below = file.join("deeper.scelle.zip");
    let ran = run_scelle([
        "collect",
        "--source",
        &text(&source),
        "--out",
        &text(&below),
        "--tlp",
        "red",
    ])
    .ended(2);
    assert!(ran.err.contains("occupied"), "{}", ran.err);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_under_a_final_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(full) = MountedMemory::mount(&folder.path().join("full"), "size=256k") else {
        return;
    };
    let source = folder.path().join("big.bin");
    let mut state = 7u64;
    let bytes: Vec<u8> = (0..2 << 20)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    fs::write(&source, bytes).expect("written");
    let ran = triage(&source, full.path()).ended(2);
    assert!(ran.err.to_lowercase().contains("no space"), "{}", ran.err);
    for name in files(full.path()) {
        assert!(name.ends_with(".partial"), "{name}");
    }
    let log = full.path().join("hashes.jsonl");
    assert!(!log.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(sealed) = MountedMemory::mount(&folder.path().join("sealed"), "ro") else {
        return;
    };
    let source = folder.path().join("file.bin");
    fs::write(&source, "evidence").expect("written");
    let ran = triage(&source, sealed.path()).ended(2);
    assert!(ran.err.to_lowercase().contains("read-only"), "{}", ran.err);
    assert!(files(sealed.path()).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    let mut command = scelle();
    command.stdout(full).args(["artefacts"]);
    let ran = command.output().expect("it starts");
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("error:"));
}

#[test]
fn hashes_of_what_is_there_and_a_loss_for_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("abc");
    fs::write(&file, "abc").expect("written");
    let missing = folder.path().join("missing");
    let ran = run(
        scelle(),
        ["hash", "--only", "sha256", &text(&missing), &text(&file)],
    )
    .ended(1);
    assert_eq!(
        ran.text(),
        format!(
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  {}\n",
            text(&file)
        )
    );
    assert!(ran.err.contains("missing"));
}

/// A path that no text can hold is shown as well as it can be.
#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_no_unicode_is_no_reason_to_stop() {
    use std::{
        ffi::{OsStr, OsString},
        os::unix::ffi::OsStrExt as _,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let odd = folder.path().join(OsStr::from_bytes(b"donn\xE9es"));
    let source = folder.path().join("source");
    fs::create_dir(&odd).expect("made");
    windows_folder(&source);
    let (bundle, to) = (odd.join("case.scelle.zip"), odd.join("clear"));
    let command = |words: &[&str], paths: &[(&str, &Path)]| {
        let words = words.iter().map(OsString::from);
        let paths = paths
            .iter()
            .flat_map(|(name, path)| [OsString::from(name), (*path).into()]);
        run_scelle(words.chain(paths).collect::<Vec<_>>())
    };
    let collect = [
        "collect",
        "--json",
        "--tlp",
        "amber",
        "--profile",
        "everything",
    ];
    let made = command(&collect, &[("--source", &source), ("--out", &bundle)]).ended(0);
    assert!(made.json()["root"].is_string());
    let extract = ["extract", "--in-clear", "--json"];
    let ran = command(&extract, &[("--to", &to), ("--", &bundle)]).ended(0);
    assert_eq!(ran.json()["state"], "done");
}

/// A pipe that nobody reads any more.
#[cfg(unix)]
fn read_by_nobody() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer
}

/// A line to the host was cut: what runs there goes on.
#[cfg(unix)]
#[test]
fn nobody_who_reads_messages_ends_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    let out = folder.path().join("case.scelle.zip");
    windows_folder(&source);
    let (source, to) = (text(&source), text(&out));
    // It warns that there is no time-stamp.
    let status = scelle()
        .args(["collect", "--source", &source, "--out", &to, "--tlp", "red"])
        .args(["--profile", "everything"])
        .args(["--timestamp", "http://127.0.0.1:9/"])
        .stdout(std::process::Stdio::null())
        .stderr(read_by_nobody())
        .status();
    assert_eq!(status.expect("it runs").code(), Some(0));
    run_scelle(["verify", &to]).ended(3);
}

/// Whoever reads what is said may have seen enough; whoever takes a bundle has not.
#[cfg(unix)]
#[test]
fn a_bundle_that_nobody_takes_is_not_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let said = |arguments: &[&str]| {
        let mut command = scelle();
        let said = command.args(arguments).stdout(read_by_nobody()).output();
        said.expect("it runs")
    };
    let collect = ["collect", "--source", &text(&source), "--out", "-"];
    let cut = said(&[&collect[..], &["--tlp", "red"]].concat());
    let told = String::from_utf8_lossy(&cut.stderr);
    assert_eq!(cut.status.code(), Some(2), "{told}");
    assert!(told.contains("writing the bundle"), "{told}");
    let listed = said(&["ls", &text(&source)]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
}
