//! Collectors that a CERT prepares, and what their bundles say.

mod support;

use std::{fs, path::Path, process::Command};

use scelle_testkit::{MountedMemory, ObjectStore};
use support::{
    collector,
    forged::{Forged, forge, forge_of, team, team_key},
    only, run, run_scelle, text, windows_folder,
};

/// One that was cut before it wrote anything: it goes on under the name that it was begun with.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_prepared_collector_goes_on() {
    let forged = forge("FOLDER/evidence", &["--profile", "everything"]);
    let out = forged.at("case-42-run-7.scelle.zip.pgp");
    forged.run(&["--resume", "--out", &out]).ended(2);
    fs::write(format!("{out}.partial"), b"").expect("room");
    forged.run(&["--resume", "--out", &out]).ended(0);
    let key = team_key();
    let trust = forged.at("case-42.cert.asc");
    let command = ["verify", &out, "--key", &key, "--trust", &trust];
    run_scelle(command).ended(0);
    let to = forged.at("clear");
    let command = ["extract", &out, "--key", &key, "--to", &to, "--in-clear"];
    run_scelle(command).ended(0);
    assert!(Path::new(&to).join("case-42-run-7/data").is_dir());
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_prepared_collector_asks_nothing_and_is_vouched_for() {
    let forged = forge("FOLDER/evidence", &["--profile", "everything"]);
    let said = &forged.said;
    // Its own bytes are those of the release.
    let released = fs::read(collector().get_program()).expect("readable");
    let file = fs::read(forged.at("forged")).expect("readable");
    assert!(file.starts_with(&released));
    assert!(
        file.len() < released.len() + 40_000,
        "{} more",
        file.len() - released.len()
    );

    let ran = forged.run(&[]).ended(0);
    for told in ["CERT Example", "case-42", "TLP:AMBER", "Readers", "Plan"] {
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
    let bundle = only(forged.folder.path(), ".scelle.zip.pgp");
    let key = team_key();
    let trust = forged.at("case-42.cert.asc");
    let command = [
        "verify",
        &text(&bundle),
        "--key",
        &key,
        "--trust",
        &trust,
        "--json",
    ];
    let answer = run_scelle(command).ended(0).json();
    assert_eq!(answer["verdict"], "sealed", "{answer}");
    assert_eq!(answer["deployment"]["number"], said["deployment"]);
    assert_eq!(answer["through"][0]["fingerprint"], said["deployment_key"]);
    assert_eq!(answer["tlp"], "TLP:AMBER");

    // What the bundle says of plan and program.
    let to = forged.at("clear");
    run_scelle([
        "extract",
        &text(&bundle),
        "--key",
        &key,
        "--to",
        &to,
        "--in-clear",
    ])
    .ended(0);
    let collection = only(Path::new(&to), "records/collection.json");
    let collection: serde_json::Value =
        serde_json::from_slice(&fs::read(collection).expect("readable")).expect("JSON");
    assert_eq!(collection["plan"]["blake3"], said["plan"]);
    assert_eq!(collection["tool"]["sha256"], said["program_sha256"]);
    assert_eq!(collection["case"], "case-42");
    assert_eq!(
        collection["plan"]["limits"]["max_file_bytes"],
        (4u64 << 30).to_string()
    );

    // What its plan says can't be changed from outside; another run makes another bundle.
    forged.run(&["--tlp", "clear"]).ended(2);
    forged.run(&["collect", "--source", "/"]).ended(2);
    forged.run(&["verify", "--help"]).ended(0);
    forged.run(&[]).ended(0);
    let bundles = support::files(forged.folder.path());
    assert_eq!(
        bundles.iter().filter(|name| name.ends_with(".pgp")).count(),
        2
    );
}

/// Whoever runs it knows of no option by which it was made: what is missing has to be said.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_prepared_collector_says_what_it_did_not_get() {
    let forged = forge("FOLDER/empty", &["--timestamp", "http://127.0.0.1:9/"]);
    fs::create_dir(forged.at("empty")).expect("a folder");
    let ran = forged.run(&["--quiet"]).ended(0);
    for told in ["there is no time-stamp", "nothing was collected"] {
        assert!(ran.err.contains(told), "{told}: {}", ran.err);
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_prepared_collector_delivers() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let forged = forge("FOLDER/evidence", &["--profile", "everything"]);
    let mut command = Command::new(forged.at("forged"));
    command
        .env("AWS_ACCESS_KEY_ID", &server.access)
        .env("AWS_SECRET_ACCESS_KEY", &server.secret)
        .env("AWS_ENDPOINT_URL_S3", server.endpoint());
    let told = run(command, ["--out", "s3://vault/case-42/", "--json"])
        .ended(0)
        .json();
    let address = told["bundle"].as_str().expect("an address");
    let key = address.strip_prefix("s3://vault/").expect("its place");
    assert!(key.starts_with("case-42/case-42-run-"), "{key}");
    assert_eq!(told["receipt"]["root"]["root"], told["root"]);
    assert!(
        told["receipt_file"]
            .as_str()
            .is_some_and(|path| Path::new(path).exists())
    );
    let bundle = forged.at("stored.pgp");
    fs::write(&bundle, server.object(key).expect("there")).expect("written");
    let secret = team_key();
    let trust = forged.at("case-42.cert.asc");
    run_scelle(["verify", &bundle, "--key", &secret, "--trust", &trust]).ended(0);
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_prepared_collector_that_was_altered_does_nothing() {
    let forged = forge("FOLDER/evidence", &[]);
    let released = fs::metadata(collector().get_program())
        .expect("there")
        .len() as usize;
    let file = fs::read(forged.at("forged")).expect("readable");
    let length = file.len() - released;
    // Every bit of what stands there is tried without a program around it; here, whether it stops.
    for at in (released..file.len())
        .step_by(length / 24)
        .chain([released - 9, file.len() - 1])
    {
        let mut changed = file.clone();
        changed[at] ^= 4;
        let path = forged.at("altered");
        fs::write(&path, &changed).expect("written");
        fs::set_permissions(
            &path,
            fs::metadata(forged.at("forged"))
                .expect("there")
                .permissions(),
        )
        .expect("set");
        let ran = run(Command::new(&path), [""; 0]).ended(2);
        // What is no longer marked as prepared is a collector that asks what to do.
        let why = if at < file.len() - 16 {
            "altered or damaged"
        } else {
            "--source"
        };
        assert!(ran.err.contains(why), "byte {at}: {}", ran.err);
        fs::remove_file(&path).expect("removed");
    }
    let made = support::files(forged.folder.path());
    assert!(
        !made.iter().any(|name| name.contains(".scelle")),
        "{made:?}"
    );
    // With its bytes as they were, it runs at that place.
    let path = forged.at("altered");
    fs::copy(forged.at("forged"), &path).expect("copied");
    let ran = run(Command::new(&path), [""; 0]);
    assert!(matches!(ran.status, 0 | 1), "{}: {}", ran.status, ran.err);
    only(forged.folder.path(), ".scelle.zip.pgp");
}

/// Nothing but the program, what it links to, and the evidence: no `/proc`, no shell, no zones.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_prepared_collector_runs_in_a_root_that_has_nothing_else() {
    let forged = forge("/evidence", &[]);
    let root = forged.folder.path();
    copy_libraries(&forged);
    fs::create_dir(root.join("out")).expect("made");
    // A root of one's own needs a user namespace, where one is not root already.
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "chroot"])
        .arg(root);
    let probe = Command::new("unshare")
        .args(["--user", "--map-root-user", "true"])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        command = Command::new("chroot");
        command.arg(root);
    }
    let ran = run(command, ["/forged", "--out", "/out"]);
    if ran.err.contains("Operation not permitted") {
        assert!(
            std::env::var_os("SCELLE_REQUIRE_TOOLS").is_none(),
            "{}",
            ran.err
        );
        eprintln!("SKIPPED: no root of one's own is allowed here");
        return;
    }
    // Not all that the profile names is there.
    assert!(matches!(ran.status, 0 | 1), "{}: {}", ran.status, ran.err);
    let bundle = text(&only(&root.join("out"), ".scelle.zip.pgp"));
    let key = text(&team().with_file_name("example.key.asc"));
    let trust = forged.at("case-42.cert.asc");
    let command = [
        "verify", &bundle, "--key", &key, "--trust", &trust, "--json",
    ];
    let answer = run_scelle(command).ended(0).json();
    assert_eq!(answer["verdict"], "sealed", "{answer}");
    assert_ne!(answer["files"], 0, "{answer}");
}

/// Copies what the collector links to into the folder that is its root.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn copy_libraries(forged: &Forged) {
    let listed = Command::new("ldd")
        .arg(forged.at("forged"))
        .output()
        .expect("ldd is there");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let words = listed.split_whitespace();
    for library in words.filter(|word| word.starts_with('/')) {
        let to = forged.folder.path().join(&library[1..]);
        fs::create_dir_all(to.parent().expect("below")).expect("made");
        fs::copy(library, to).expect("copied");
    }
}

/// A whole machine, by a program on a disk that was plugged in: all but that disk, and what the kernel makes up, is collected.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_prepared_collector_takes_the_machine_and_not_its_own_disk() {
    let forged = forge_of(None, &["--profile", "everything"]);
    let root = forged.folder.path();
    copy_libraries(&forged);
    let (disk, kernel) = (root.join("usb"), root.join("proc"));
    let (Some(_disk), Some(_kernel)) = (
        MountedMemory::mount(&disk, "size=1g"),
        MountedMemory::mount_proc(&kernel),
    ) else {
        return;
    };
    fs::copy(forged.at("forged"), disk.join("forged")).expect("room");
    fs::write(disk.join("of another case"), "x").expect("room");
    let chroot = || {
        let mut command = Command::new("chroot");
        command.arg(root);
        command
    };
    let refused = run(chroot(), ["/forged"]).ended(2);
    assert!(refused.err.contains("from another disk"), "{}", refused.err);
    assert!(!refused.err.contains("--allow"), "{}", refused.err);
    run(chroot(), ["/forged", "--dry-run"]).ended(2);
    run(chroot(), ["/usb/forged", "--dry-run"]).ended(0);

    let ran = run(chroot(), ["/usb/forged"]).ended(1);
    assert!(
        ran.err.contains("usb") && ran.err.contains("takes the output"),
        "{}",
        ran.err
    );
    let bundle = text(&only(&disk, ".scelle.zip.pgp"));
    let key = text(&team().with_file_name("example.key.asc"));
    let trust = forged.at("case-42.cert.asc");
    let command = ["verify", &bundle, "--key", &key, "--trust", &trust];
    run_scelle(command).ended(0);
    let listed = run_scelle(["ls", &bundle, "--key", &key]).ended(0).text();
    assert!(
        listed.contains("evidence/Users/ana/holiday.jpg"),
        "{listed}"
    );
    for left_out in ["usb/", "proc/"] {
        assert!(!listed.contains(left_out), "{left_out}: {listed}");
    }
}

#[test]
fn nothing_unsound_is_prepared() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    let released = collector()
        .get_program()
        .to_str()
        .expect("Unicode")
        .to_owned();
    let profile = fs::read_to_string(team()).expect("readable");
    fs::write(at("team.toml"), profile.replace("08:00", "09:00")).expect("written");
    fs::copy(team().with_extension("toml.asc"), at("team.toml.asc")).expect("copied");
    let out = at("forged");
    let forge = |team: &str, more: &[&str]| {
        let command = ["forge", "--team", team, "--case", "c", "--out", &out];
        run_scelle([&command[..], &["--collector", &released], more].concat()).ended(2)
    };
    // A profile whose signature does not check.
    let refused = forge(&at("team.toml"), &["--for", "linux-x64"]);
    assert!(
        refused.err.contains("signature: it is another key's"),
        "{}",
        refused.err
    );
    // A profile that vouches for itself, of another team than the one that is meant, or one that is known already.
    for (more, said) in [
        (
            ["--fingerprint", &"0".repeat(40)],
            "not the profile of the team",
        ),
        (["--newer-than", "1"], "ask the team for the newest"),
    ] {
        let more = [&["--for", "linux-x64"][..], &more[..]].concat();
        let refused = forge(&text(&team()), &more);
        assert!(refused.err.contains(said), "{}", refused.err);
    }
    // No key of the case; and how to make one.
    let refused = forge(&text(&team()), &["--for", "linux-x64"]);
    assert!(refused.err.contains("scelle key new"), "{}", refused.err);
    // What this version does not read.
    let mut windows = vec![0; 128];
    for (at, bytes) in [
        (0, &b"MZ"[..]),
        (60, &[64, 0]),
        (64, b"PE\0\0"),
        (68, &[0x64, 0x86]),
    ] {
        windows[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fs::write(at("windows.exe"), windows).expect("written");
    run_scelle(["key", "new", &at("w"), "--user", "w"]).ended(0);
    let (exe, key) = (at("windows.exe"), at("w.key.asc"));
    let prepare = |source: &[&str], status: i32| {
        let team = text(&team());
        let command = ["forge", "--team", &team, "--case", "c", "--case-key", &key];
        let more = ["--for", "windows-x64", "--collector", &exe, "--force"];
        let to = ["--out", &*out];
        run_scelle([&command[..], &more, &to, source].concat()).ended(status)
    };
    let refused = prepare(&["--source", r"\\.\C:"], 2);
    assert!(refused.err.contains("running Windows"), "{}", refused.err);
    assert!(!Path::new(&out).exists());
    prepare(&[], 0);
    fs::remove_file(&out).expect("made");
    // A program for another machine.
    run_scelle(["key", "new", &at("c"), "--user", "c"]).ended(0);
    let key = at("c.key.asc");
    let other = if cfg!(windows) {
        "linux-x64"
    } else {
        "windows-x64"
    };
    let refused = forge(&text(&team()), &["--case-key", &key, "--for", other]);
    assert!(
        refused.err.contains("no program for that machine"),
        "{}",
        refused.err
    );
    assert!(!Path::new(&out).exists());
}

/// A record that a person filled in with words of their own is sealed as it is, with what is wrong with it said.
#[test]
fn an_imperfect_incident_record_keeps_no_evidence_from_being_collected() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    windows_folder(&folder.path().join("source"));
    let example = team().with_file_name("../incident/example.toml");
    let example = fs::read_to_string(example).expect("readable");
    let record = at("record.toml");
    fs::write(&record, example.replace("\"high\"", "\"haute\"")).expect("written");
    let checked = run_scelle(["incident", "check", &record, "--lang", "fr"]).ended(1);
    assert!(
        checked.text().contains("haute\u{A0}» n’est pas"),
        "{}",
        checked.text()
    );
    let (source, out) = (at("source"), at("case.scelle.zip"));
    let command = [
        "collect", "--source", &source, "--tlp", "red", "--out", &out,
    ];
    let more = ["--profile", "everything", "--incident", &record];
    let ran = run_scelle([&command[..], &more].concat()).ended(0);
    assert!(
        ran.err.contains("\"haute\" is not a known severity"),
        "{}",
        ran.err
    );
    let sealed = run_scelle(["verify", &out]).ended(3);
    assert!(sealed.text().contains("sealed"), "{}", sealed.text());
}

/// Times are shown in the zone that the team's profile names.
#[test]
fn a_report_shows_the_time_of_the_team() {
    let record = text(&team().with_file_name("../incident/example.toml"));
    let team = text(&team());
    let command = ["incident", "render", &record, "--team", &team];
    let shown = run_scelle(command).ended(0).text();
    assert!(
        shown.contains("2026-11-20 08:12:00 CET (+01:00)"),
        "{shown}"
    );
    run_scelle([&command[..], &["--zone", "UTC"]].concat()).ended(2);
}

#[test]
fn a_team_profile_is_checked_and_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    let sound = run_scelle(["team", "check", &text(&team())]).ended(0);
    assert!(
        sound.text().contains("CERT Example, version 1"),
        "{}",
        sound.text()
    );
    let command = ["team", "check", &text(&team()), "--newer-than", "1"];
    let known = run_scelle(command).ended(1);
    assert!(
        known.text().contains("ask the team for the newest"),
        "{}",
        known.text()
    );
    let command = [
        "team",
        "check",
        &text(&team()),
        "--fingerprint",
        &"0".repeat(40),
    ];
    run_scelle(command).ended(1);

    let changed = fs::read_to_string(team())
        .expect("readable")
        .replace("version = 1", "version = 2");
    fs::write(at("team.toml"), changed).expect("written");
    let unsigned = run_scelle(["team", "check", &at("team.toml"), "--json"])
        .ended(1)
        .json();
    assert_eq!(unsigned["faults"][0]["element"], "signature");
    let key = team_key();
    run_scelle(["team", "sign", &at("team.toml"), "--key", &key]).ended(0);
    let signed = run_scelle(["team", "check", &at("team.toml"), "--json"])
        .ended(0)
        .json();
    assert_eq!(
        (&signed["version"], &signed["sound"]),
        (&2.into(), &true.into())
    );
}

/// A profile of one's own can make the label stricter; freer is what `--tlp` alone makes it.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn forge_says_who_reads_and_takes_no_freer_label_unasked() {
    use std::os::unix::fs::PermissionsExt as _;
    let ours = tempfile::tempdir().expect("a folder");
    let at = |tlp: &str| text(&ours.path().join(format!("{tlp}.toml")));
    for tlp in ["clear", "red"] {
        let profile = format!(
            "name = \"x\"\nsummary = \"Ours.\"\ntlp = \"{tlp}\"\nextends = [\"minimal\"]\n"
        );
        fs::write(at(tlp), profile).expect("written");
    }
    let (free, strict) = (at("clear"), at("red"));
    for (more, tlp) in [
        (&["--profile", &free][..], "TLP:AMBER"),
        (&["--profile", &strict][..], "TLP:RED"),
        (&["--profile", &strict, "--tlp", "clear"][..], "TLP:CLEAR"),
    ] {
        let forged = forge("/evidence", more);
        assert_eq!(forged.said["tlp"], tlp, "{more:?}");
        assert_eq!(
            forged.said["recipients"],
            serde_json::json!(["60669E1314F5C01D997A90313562111A396F6D10"])
        );
        let mode = fs::metadata(forged.at("forged"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "it holds a key");
    }
}

/// The fourth step: the team's key vouches for the case's, and what it said of it travels along.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn whoever_trusts_the_team_trusts_its_prepared_collectors() {
    let key = text(&team().with_file_name("example.key.asc"));
    let forged = forge("FOLDER/evidence", &[]);
    let at = |name: &str| forged.at(name);
    let trust = at("team.cert.asc");
    let profile = fs::read_to_string(team()).expect("readable");
    let begin = profile.find("-----BEGIN").expect("a certificate");
    let end = profile.rfind("\"\"\"").expect("its end");
    fs::write(&trust, &profile[begin..end]).expect("written");

    let (case_key, certificate) = (at("case-42.key.asc"), at("case-42.cert.asc"));
    let refused = [
        "key",
        "certify",
        &certificate,
        "--fingerprint",
        "0",
        "--by",
        &key,
    ];
    let refused = run_scelle([&refused[..], &["--for", "30d", "--out", &trust]].concat());
    let found = refused.ended(2).err;
    let case = found.split("fingerprint is ").nth(1).expect("it is told");
    let case = &case[..40];
    let certify = |levels: &str, out: &str| {
        let command = ["key", "certify", &certificate, "--fingerprint", case];
        let more = [
            "--by", &key, "--for", "30d", "--levels", levels, "--out", out,
        ];
        run_scelle([&command[..], &more[..], &["--force"][..]].concat())
    };
    certify("3", &at("far.asc")).ended(2);
    certify("1", &at("near.asc")).ended(0);
    certify("2", &certificate).ended(0);

    let (released, evidence, team) = (
        text(Path::new(collector().get_program())),
        at("evidence"),
        text(&team()),
    );
    let verify = |name: &str, more: &[&str], status: i32| {
        let out = at(name);
        let command = [
            "forge",
            "--team",
            &team,
            "--case",
            "case-42",
            "--case-key",
            &case_key,
            "--json",
        ];
        let what = [
            "--collector",
            &released,
            "--for",
            "linux-x64",
            "--source",
            &evidence,
        ];
        let how = ["--profile", "everything", "--out", &out];
        let said = run_scelle([&command[..], &what[..], &how[..], more].concat());
        let said = said.ended(0).json();
        let bundle = at(&format!("{name}.scelle.zip.pgp"));
        run(Command::new(&out), ["--out", &bundle]).ended(0);
        let command = [
            "verify", &bundle, "--key", &key, "--trust", &trust, "--json",
        ];
        (run_scelle(command).ended(status).json(), said)
    };
    let (answer, said) = verify("second", &[], 0);
    assert_eq!(answer["verdict"], "sealed", "{answer}");
    assert_eq!(answer["through"][0]["fingerprint"], said["deployment_key"]);
    assert_eq!(answer["through"][1]["fingerprint"], case);
    // One step reaches people who seal for a case, and no collectors of it.
    verify("third", &["--case-cert", &at("near.asc")], 3);
}
