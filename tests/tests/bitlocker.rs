//! BitLocker volumes as users meet them: locked, they say what opens them; opened, they are volumes like any other, and no
//! secret gets anywhere.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use scelle_testkit::{
    bitlocker::{AREA, Bitlocker, MOVED, Protector, recovery_password, startup_file},
    has_tool, run_tool, testdata,
};
use support::{Ran, only, run, run_scelle, scelle, text};

const PASSWORD: &str = "CANARY-password-9c1e77";
const RECOVERY: [u8; 16] = *b"canary of digits";
const STARTUP: [u8; 32] = *b"CANARY-in-a-startup-key-51f0a2b9";
const FILE: &str = "Users/alice/Documents/notes.txt";

/// A disk with an encrypted volume, and that volume as Windows shows it.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        const VOLUME_AT: usize = 64 << 10;
        let disk = fs::read(testdata().join("demo/workstation.raw")).expect("our own sample");
        let volume = &disk[VOLUME_AT..];
        let end = volume.len() / AREA;
        let areas = [end - 9, end - 6, end - 3, end - 8].map(|unit| unit * AREA);
        let encrypted = Bitlocker::new(0x8004)
            .protector(Protector::Tpm)
            .protector(Protector::Password(PASSWORD.to_owned()))
            .protector(Protector::Recovery(RECOVERY))
            .protector(Protector::Startup(STARTUP))
            .encrypt(volume, areas);
        let mut plain = volume.to_vec();
        for area in &areas[..3] {
            plain[*area..][..AREA].fill(0);
        }
        plain[areas[3]..][..MOVED].fill(0);
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes);
        put("locked.raw", &encrypted).expect("room");
        put("plain.raw", &plain).expect("room");
        put("password", format!("{PASSWORD}\n").as_bytes()).expect("room");
        let digits = recovery_password(RECOVERY);
        put("digits", format!("\u{FEFF}{digits}\r\n").as_bytes()).expect("room");
        put("key.BEK", &startup_file(3, STARTUP)).expect("room");
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        text(&self.at(name))
    }
}

#[test]
fn a_locked_volume_says_what_opens_it_and_is_kept_as_it_is() {
    let made = Made::new();
    let locked = made.text("locked.raw");
    let rows = made.text("rows.jsonl");
    for arguments in [
        vec!["ls", &locked],
        vec!["timeline", &locked, "--format", "jsonl", "--out", &rows],
        vec!["story", &locked, FILE],
        vec!["cat", &locked, FILE],
    ] {
        let ran = run_scelle(&arguments);
        assert_ne!(ran.status, 0, "{arguments:?}");
        for option in [
            "--recovery-password-file",
            "--bitlocker-password-file",
            "--startup-key",
        ] {
            assert!(ran.err.contains(option), "{arguments:?}: {}", ran.err);
        }
    }
    let listed = run_scelle(["ls", &locked]).ended(1);
    assert!(listed.text().contains("contents"), "{}", listed.text());
    let out = made.at("out");
    fs::create_dir(&out).expect("room");
    let arguments = [
        "collect",
        "--source",
        &locked,
        "--profile",
        "everything",
        "--tlp",
        "red",
        "--out",
        &text(&out),
        "--json",
    ]
    .map(str::to_owned);
    assert_eq!(run_scelle(arguments).ended(1).json()["losses"], 1);
}

#[test]
fn what_opens_a_volume_is_told_wrong_from_right() {
    let made = Made::new();
    let locked = made.text("locked.raw");
    let wrong = run_scelle(["ls", &locked, "--recovery-password", "109989-720886"]).ended(2);
    assert!(wrong.err.contains("48 digits"), "{}", wrong.err);
    let digits = recovery_password(RECOVERY);
    let mistyped = digits.replacen(&digits[7..13], "123456", 1);
    let wrong = run_scelle(["ls", &locked, "--recovery-password", &mistyped]).ended(2);
    assert!(wrong.err.contains("group 2"), "{}", wrong.err);
    assert!(!wrong.err.contains("123456"), "{}", wrong.err);
    let wrong = run_scelle(["ls", &locked, "--startup-key", &made.text("digits")]).ended(2);
    assert!(wrong.err.contains(".BEK"), "{}", wrong.err);
    let wrong = run_scelle(["ls", &locked, "--bitlocker-password", "other"]).ended(1);
    assert!(
        wrong
            .err
            .contains("none of the keys that were given opens it"),
        "{}",
        wrong.err
    );
}

#[test]
fn every_way_to_give_a_key_opens_the_volume() {
    let made = Made::new();
    let locked = made.text("locked.raw");
    let expected = run_scelle(["cat", &made.text("plain.raw"), FILE])
        .ended(0)
        .out;
    assert!(!expected.is_empty());
    let digits = recovery_password(RECOVERY);
    for (option, value) in [
        ("--recovery-password", digits.clone()),
        ("--recovery-password-file", made.text("digits")),
        ("--bitlocker-password", PASSWORD.to_owned()),
        ("--bitlocker-password-file", made.text("password")),
        ("--startup-key", made.text("key.BEK")),
    ] {
        let ran = run_scelle(["cat", &locked, FILE, option, &value]).ended(0);
        assert_eq!(ran.out, expected, "{option}");
    }
    for (name, value) in [
        ("SCELLE_RECOVERY_PASSWORD", digits.as_str()),
        ("SCELLE_BITLOCKER_PASSWORD", PASSWORD),
    ] {
        let mut command = scelle();
        command.env(name, value);
        let ran = run(command, ["cat", &locked, FILE]).ended(0);
        assert_eq!(ran.out, expected, "{name}");
    }
    let key = made.text("key.BEK");
    let listed = run_scelle(["ls", &locked, "--startup-key", &key]).ended(0);
    let said = "opened by startup key 70726f74-6563-746f-7220-6e756d626575";
    assert!(listed.err.contains(said), "{}", listed.err);
    let plain = run_scelle(["ls", &made.text("plain.raw")]).ended(0);
    assert_eq!(listed.text(), plain.text());
}

/// Whether `needle` stands in `bytes`, as it is or in UTF-16.
fn holds(bytes: &[u8], needle: &str) -> bool {
    let wide: Vec<u8> = needle.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let found = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    found(needle.as_bytes()) || found(&wide)
}

fn collect(made: &Made, name: &str, more: &[&str]) -> (PathBuf, Ran) {
    let out = made.at(&format!("{name}-{}", more.len()));
    fs::create_dir(&out).expect("room");
    let (source, folder) = (made.text(name), text(&out));
    let arguments = [
        "collect",
        "--source",
        &source,
        "--profile",
        "everything",
        "--tlp",
        "red",
        "--out",
        &folder,
        "--json",
    ];
    let ran = run_scelle(arguments.iter().chain(more));
    assert!(ran.status <= 1, "{}", ran.err);
    (only(&out, ".scelle.zip"), ran)
}

fn member(folder: &Path, bundle: &Path, name: &str) -> String {
    run_tool(
        folder,
        "unzip",
        &["-p", &text(bundle), &format!("*/{name}")],
    )
}

#[test]
fn a_bundle_is_that_of_the_volume_in_clear_and_holds_no_secret() {
    if !has_tool("unzip", "what a bundle says of an encrypted volume") {
        return;
    }
    let made = Made::new();
    let folder = made.folder.path();
    let (plain, _) = collect(&made, "plain.raw", &[]);
    let digits = recovery_password(RECOVERY);
    let ways = [
        ("password", ["--bitlocker-password", PASSWORD]),
        (
            "recovery password",
            ["--recovery-password", digits.as_str()],
        ),
    ];
    for (number, (protector, option)) in ways.into_iter().enumerate() {
        // Each in a folder of its own.
        let more = [&option[..], &["--case", "one"][..number * 2]].concat();
        let (bundle, ran) = collect(&made, "locked.raw", &more);
        for name in ["manifest-sha256.txt", "files.jsonl", "warnings.jsonl"] {
            assert_eq!(
                member(folder, &bundle, name),
                member(folder, &plain, name),
                "{name}"
            );
        }
        let said: serde_json::Value =
            serde_json::from_str(&member(folder, &bundle, "records/collection.json"))
                .expect("JSON");
        let encryption = &said["volumes"][0]["encryption"];
        assert_eq!(encryption["kind"], "bitlocker");
        assert_eq!(encryption["method"], "XTS-AES 128");
        assert_eq!(encryption["protector"], protector);
        let everything = run_tool(folder, "unzip", &["-p", &text(&bundle), "*/records/*"]);
        for secret in [PASSWORD, &digits, &digits.replace('-', "")] {
            assert!(!holds(everything.as_bytes(), secret), "{protector}");
            assert!(
                !holds(&fs::read(&bundle).expect("a bundle"), secret),
                "{protector}"
            );
            assert!(!holds(ran.err.as_bytes(), secret) && !holds(&ran.out, secret));
        }
    }
    let clear: serde_json::Value =
        serde_json::from_str(&member(folder, &plain, "records/collection.json")).expect("JSON");
    assert_eq!(clear["volumes"][0].get("encryption"), None);
}

#[test]
fn timelines_stories_and_triage_know_the_options() {
    let made = Made::new();
    let (locked, plain) = (made.text("locked.raw"), made.text("plain.raw"));
    let password = made.text("password");
    let open = ["--bitlocker-password-file", &*password];
    let told = |source: &str, more: &[&str]| {
        let arguments = ["story", source, FILE, "--json"];
        // The sample has losses of its own.
        run_scelle(arguments.iter().chain(more)).ended(1).lines()
    };
    assert_eq!(told(&locked, &open), told(&plain, &[]));
    // Rows name their source, so both have one name.
    let rows = |name: &str, more: &[&str]| {
        let folder = made.at(&format!("{name}.folder"));
        fs::create_dir(&folder).expect("room");
        let source = folder.join("disk.raw");
        fs::copy(made.at(name), &source).expect("room");
        let (source, out) = (text(&source), made.text(&format!("{name}.jsonl")));
        let arguments = ["timeline", &source, "--format", "jsonl", "--out", &out];
        let ran = run_scelle(arguments.iter().chain(more));
        assert!(ran.status <= 1, "{}", ran.err);
        fs::read_to_string(&out).expect("rows")
    };
    let expected = rows("plain.raw", &[]);
    assert!(
        expected.lines().count() > 50,
        "the demonstration has a past"
    );
    assert!(rows("locked.raw", &open) == expected, "other rows");
    let out = made.text("triage");
    let arguments = ["triage", &locked, "--tlp", "red", "--out", &out];
    let ran = run_scelle(arguments.iter().chain(&open));
    assert!(ran.status <= 1, "{}", ran.err);
    assert!(ran.text().contains("sealed"), "{}", ran.text());
}
