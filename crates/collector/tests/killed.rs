//! A collection that is killed at random moments, whose disk fills up, whose folder is pulled
//! away: nothing that was logged is lost, and `verify` is never wrong.
#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use scelle::{
    SalvageOrder, Verdict, Verification, VerifyOptions, bundle::Cut, engine::Progress,
    evidence::FileSource,
};
use scelle_testkit::MountedMemory;
use support::{Random, Scene, beside, partial};

/// SIGKILLs that are survived; as many more strike collections that go on.
const KILLS: u64 = 200;
const FILES: usize = 2_000;

fn ask(path: &Path) -> Verification {
    scelle::verify(path, &VerifyOptions::default(), &Progress::default()).expect("it can be read")
}

/// What is known of a cut bundle: files that are vouched for. What the side file says was logged
/// must be among it.
fn logged(bundle: &Path) -> u64 {
    let source = FileSource::open(&partial(bundle)).expect("it is there");
    let side = fs::read(bundle.with_file_name("case.scelle.zip.resume"));
    let Ok(cut) = Cut::survey(&source) else {
        assert!(side.is_err(), "something was logged, and the head is lost");
        return 0;
    };
    let covered = cut
        .visit_coverage(|_, _| {})
        .expect("its checkpoints are sound");
    if let Ok(side) = side {
        let side: serde_json::Value = serde_json::from_slice(&side).expect("whole at all times");
        let (number, _) = cut.checkpoint().expect("one was logged");
        assert!(number >= side["checkpoint"].as_u64().expect("a number"));
        assert!(covered.lines >= side["cursor"].as_u64().expect("a number"));
    }
    cut.vouched().0
}

#[test]
fn kills_lose_nothing_that_was_logged() {
    let scene = Scene::new(FILES, None);
    let mut random = Random(0x5CE1);
    let (mut kills, mut with_files, mut tries) = (0, 0, 0);
    // On a busy machine most come before anything was logged.
    while kills < KILLS || with_files <= KILLS / 4 {
        tries += 1;
        assert!(
            tries < KILLS * 20,
            "it ends before it can be killed: {kills} were, {with_files} met files"
        );
        let bundle = scene.bundle(&format!("try-{tries}"));
        if !scene.kill(&bundle, false, &mut random) {
            continue;
        }
        kills += 1;
        let files = logged(&bundle);
        with_files += u64::from(files > 0);
        let answer = ask(&partial(&bundle));
        // Killed between the last byte and the name, it is sealed.
        let is_whole = matches!(answer.verdict, Verdict::SignerUnknown);
        assert!(
            is_whole || answer.verdict == Verdict::Unfinished && answer.files == files,
            "{answer:?}"
        );
        if is_whole {
            assert_eq!(answer.files, FILES as u64);
        }
        if kills % 2 == 0 && files > 0 && !is_whole {
            let out = bundle.with_file_name("saved.zip");
            let saved = scelle::salvage(
                &partial(&bundle),
                &out,
                SalvageOrder::default(),
                &Progress::default(),
            )
            .expect("something was logged");
            assert_eq!(saved.vouched_files, files);
            let answer = ask(&out);
            assert_eq!(answer.verdict, Verdict::Unfinished, "{:?}", answer.problems);
            assert_eq!(answer.files, files + saved.unvouched_files);
            assert_eq!(scene.compare(&out), answer.files);
        } else {
            // It may be killed again.
            if kills % 4 == 1 && scene.kill(&bundle, true, &mut random) {
                let again = logged(&bundle);
                assert!(again >= files, "{again} of {files} files are left");
            }
            // One that is killed right behind its end has its name, and the side file still.
            let is_named = bundle.exists();
            if !is_named {
                let said = scene.command(&bundle, true).stderr(Stdio::piped()).output();
                let said = said.expect("it runs");
                let text = String::from_utf8_lossy(&said.stderr).into_owned();
                assert_eq!(said.status.code(), Some(0), "try {tries}: {text}");
            }
            let answer = ask(&bundle);
            assert_eq!(
                answer.verdict,
                Verdict::SignerUnknown,
                "{:?}",
                answer.problems
            );
            assert_eq!(answer.files, FILES as u64);
            assert_eq!(answer.payload.as_ref(), Some(&scene.payload));
            assert_eq!(scene.compare(&bundle), FILES as u64);
            let left = bundle.with_file_name("case.scelle.zip.resume");
            assert!(is_named || !left.exists(), "the side file is gone");
        }
        fs::remove_dir_all(bundle.parent().expect("a folder")).expect("it is ours");
    }
}

/// Something that was logged, and what it lies in.
fn cut_short(scene: &Scene, bundle: &Path) -> (Vec<u8>, u64) {
    let mut random = Random(0xF1);
    let side = beside(bundle, ".resume");
    for _ in 0..1_000 {
        if scene.kill(bundle, false, &mut random) && side.exists() {
            let files = logged(bundle);
            return (fs::read(partial(bundle)).expect("it is there"), files);
        }
        for path in [bundle, &partial(bundle), &side] {
            // Most of them are not there.
            drop(fs::remove_file(path));
        }
    }
    panic!("it ends before anything is logged");
}

#[test]
fn what_may_hold_something_is_not_begun_again() {
    let scene = Scene::new(FILES, None);
    let bundle = scene.bundle("damaged");
    let (sound, files) = cut_short(&scene, &bundle);
    let side = beside(&bundle, ".resume");
    let state = fs::read(&side).expect("it is there");
    let refused = |bytes: &[u8], why: &str| {
        fs::write(partial(&bundle), bytes).expect("room");
        let said = scene.command(&bundle, true).stderr(Stdio::piped()).output();
        let said = said.expect("it runs");
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(2), "{text}");
        assert!(text.contains(why), "{text}");
        assert!(
            fs::read(partial(&bundle)).expect("there") == bytes,
            "it is as it was"
        );
    };
    let with = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        bytes
    };
    // In its head; behind it, before what the first checkpoint vouches for; and less than was logged.
    refused(&with(40), "was logged");
    refused(&with(5_000), "was logged");
    refused(&sound[..5_000], "was logged");
    refused(&sound[..100], "was logged");
    fs::write(&side, b"no JSON").expect("room");
    refused(&sound[..100], "resume");
    fs::remove_file(&side).expect("there");
    // Nor is anything cut off before it is known that it can be gone on with.
    let longer = [&sound[..], b"what was under way"].concat();
    fs::write(partial(&bundle), &longer).expect("room");
    let mut other = scene.command(&bundle, true);
    other.args(["--compression", "zstd"]).stderr(Stdio::piped());
    let said = other.output();
    let said = said.expect("it runs");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(2), "{text}");
    assert!(text.contains("begun with deflate"), "{text}");
    assert!(fs::read(partial(&bundle)).expect("there") == longer);
    refused(&with(40), "left as it is");
    refused(b"of somebody else", "left as it is");
    // What is sound is gone on with, and what was hardly begun is begun again.
    for bytes in [&sound[..], &sound[..100], b"", &[0_u8; 5_000]] {
        fs::write(partial(&bundle), bytes).expect("room");
        if bytes.len() == sound.len() {
            fs::write(&side, &state).expect("room");
            assert_eq!(logged(&bundle), files);
        }
        let status = scene.begin(&bundle, true).wait().expect("it runs");
        assert_eq!(status.code(), Some(0), "{} bytes", bytes.len());
        assert_eq!(ask(&bundle).payload.as_ref(), Some(&scene.payload));
        fs::remove_file(&bundle).expect("there");
    }
}

/// Each name is put on the device before anything rests on it.
#[test]
fn names_are_put_on_the_device() {
    if !scelle_testkit::has_tool("strace", "what is put on the device") {
        return;
    }
    let scene = Scene::new(50, None);
    let bundle = scene.bundle("named");
    let log = scene.folder.path().join("trace.log");
    let command = scene.command(&bundle, false);
    let status = Command::new("strace")
        .args(["-f", "-qq", "-y", "-e"])
        .arg("trace=fsync,rename,renameat,renameat2,unlink,unlinkat")
        .arg("-o")
        .arg(&log)
        .arg(command.get_program())
        .args(command.get_args())
        .stdout(Stdio::null())
        .status();
    assert_eq!(status.expect("it runs").code(), Some(0));
    let log = fs::read_to_string(&log).expect("a trace");
    let folder = bundle
        .parent()
        .expect("a folder")
        .canonicalize()
        .expect("there");
    let synced = format!("<{}>", folder.display());
    let is_synced = |line: &str| line.contains("fsync(") && line.contains(&synced);
    let lines: Vec<&str> = log.lines().collect();
    let first = lines.iter().position(|line| line.contains("rename"));
    let begun = &lines[..first.expect("it is named")];
    assert!(begun.iter().any(|line| is_synced(line)), "{log}");
    let renamed = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains("rename"));
    for (at, line) in renamed {
        let next = lines[at + 1..]
            .iter()
            .find(|line| !line.contains("resumed"));
        assert!(next.is_some_and(|line| is_synced(line)), "{line}: {log}");
    }
}

#[test]
fn a_folder_that_is_pulled_away_is_gone_on_with() {
    let scene = Scene::new(FILES, None);
    let bundle = scene.bundle("out");
    let folder = bundle.parent().expect("a folder").to_owned();
    let away = scene.folder.path().join("away");
    let mut child = scene.begin(&bundle, false);
    while !partial(&bundle).exists() {
        assert!(child.try_wait().expect("it is ours").is_none(), "too early");
        thread::yield_now();
    }
    fs::rename(&folder, &away).expect("it is there");
    assert_eq!(child.wait().expect("it runs").code(), Some(2));
    let pulled = away.join("case.scelle.zip");
    let said = scene
        .command(&pulled, false)
        .stderr(Stdio::piped())
        .output();
    let said = said.expect("it runs");
    assert_eq!(said.status.code(), Some(2));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains(".partial"), "{said}");
    let status = scene.begin(&pulled, true).wait().expect("it runs");
    assert_eq!(status.code(), Some(0));
    assert_eq!(ask(&pulled).payload.as_ref(), Some(&scene.payload));
}

#[test]
fn a_full_disk_is_said_and_gone_on_with() {
    let scene = Scene::new(FILES, None);
    let small = scene.folder.path().join("small");
    let Some(disk) = MountedMemory::mount(&small, "size=160k") else {
        return;
    };
    let bundle = small.join("case.scelle.zip");
    let said = scene
        .command(&bundle, false)
        .stderr(Stdio::piped())
        .output();
    let said = said.expect("it runs");
    assert_eq!(said.status.code(), Some(2));
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        text.contains("--resume") && text.contains("space"),
        "{text}"
    );
    let files = logged(&bundle);
    assert!(files > 0, "a checkpoint was written");
    // Still full: the same error, and nothing lost.
    let status = scene.begin(&bundle, true).wait().expect("it runs");
    assert_eq!(status.code(), Some(2));
    assert!(logged(&bundle) >= files);
    disk.change("size=16m");
    let status = scene.begin(&bundle, true).wait().expect("it runs");
    assert_eq!(status.code(), Some(0));
    assert_eq!(ask(&bundle).payload.as_ref(), Some(&scene.payload));
}
