//! A collection that is killed at random moments, whose disk fills up, whose folder is pulled
//! away: nothing that was logged is lost, and `verify` is never wrong.
#![cfg(target_os = "linux")]

mod support;

use std::{fs, path::Path, process::Stdio, thread};

use scelle::{
    SalvageOrder, Verdict, Verification, VerifyOptions, bundle::Cut, engine::Progress,
    evidence::FileSource,
};
use scelle_testkit::MountedMemory;
use support::{Random, Scene, partial};

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
            is_whole || matches!(answer.verdict, Verdict::Unfinished | Verdict::Broken),
            "{answer:?}"
        );
        if answer.verdict == Verdict::Unfinished {
            assert_eq!(answer.files, files);
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
        } else {
            // It may be killed again.
            if kills % 4 == 1 && scene.kill(&bundle, true, &mut random) {
                let again = logged(&bundle);
                assert!(again >= files, "{again} of {files} files are left");
            }
            if !bundle.exists() {
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
            let left = bundle.with_file_name("case.scelle.zip.resume");
            assert!(!left.exists(), "the side file is gone");
        }
        fs::remove_dir_all(bundle.parent().expect("a folder")).expect("it is ours");
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
    let said = String::from_utf8_lossy(&said.expect("it runs").stderr).into_owned();
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
