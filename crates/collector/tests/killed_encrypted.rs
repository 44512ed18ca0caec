//! An encrypted collection that is killed at random moments, whose disk fills up, whose folder is
//! pulled away: its reader loses nothing that was logged on the device, `verify` is never wrong, and
//! further parts make it whole.
#![cfg(target_os = "linux")]

mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    thread,
};

use scelle::{
    SalvageOrder, Verdict, Verification, VerifyOptions,
    bundle::{Ciphertext, Cut, Error},
    engine::Progress,
    evidence::FileSource,
};
use scelle_testkit::{MountedMemory, ReaderKey};
use support::{Random, Scene, beside, partial};

const FILES: usize = 2_000;
/// SIGKILLs that are survived, half of each kind of encryption; `SCELLE_KILLS` says otherwise.
const KILLS: u64 = 100;

fn kills() -> u64 {
    let wanted = env::var("SCELLE_KILLS").ok();
    wanted.map_or(KILLS, |text| text.parse().expect("a number of kills"))
}

fn ask(scene: &Scene, path: &Path) -> Verification {
    let options = VerifyOptions::default();
    scelle::verify_with_key(path, &options, scene.key().as_ref(), &Progress::default())
        .expect("it can be checked")
}

/// How many files the cut bundle vouches for. What the side file says was logged on the device
/// must be among it.
fn logged(scene: &Scene, bundle: &Path) -> u64 {
    // It is there from the beginning, unless the kill came before it.
    let side = fs::read(beside(bundle, ".resume")).unwrap_or_else(|_| b"{}".to_vec());
    let side: serde_json::Value = serde_json::from_slice(&side).expect("whole at all times");
    let number = side["checkpoint"].as_u64();
    let file = FileSource::open(&partial(bundle)).expect("it is there");
    let key = scene.key().expect("there is a reader");
    let archive = Ciphertext::open(Arc::new(file))
        .and_then(|ciphertext| ciphertext.salvage(&key.session_key(&ciphertext)?));
    let cut = match &archive {
        Ok(archive) => Cut::survey(archive),
        Err(error) => Err(Error::Format(error.to_string())),
    };
    let Ok(cut) = cut else {
        assert_eq!(number, None, "something was logged, and the head is lost");
        return 0;
    };
    let covered = cut
        .visit_coverage(|_, _| {})
        .expect("its checkpoints are sound");
    if let Some(number) = number {
        let (there, _) = cut.checkpoint().expect("one was logged");
        assert!(there >= number);
        assert!(covered.lines >= side["cursor"].as_u64().expect("a number"));
    }
    cut.vouched().0
}

#[test]
fn kills_lose_nothing_that_was_logged() {
    let mut random = Random(0xC1F3);
    for reads_version_two in [false, true] {
        let scene = Scene::new(FILES, Some(ReaderKey::make(reads_version_two)));
        let (mut killed, mut with_files, mut tries) = (0, 0, 0);
        // On a busy machine most come before anything was logged.
        while killed < kills() / 2 || with_files < kills() / 8 {
            tries += 1;
            assert!(
                tries < kills() * 20,
                "it ends before it can be killed: {killed} were, {with_files} met files"
            );
            let bundle = scene.bundle(&format!("try-{tries}"));
            if !scene.kill(&bundle, false, &mut random) {
                continue;
            }
            killed += 1;
            let due = logged(&scene, &bundle);
            with_files += u64::from(due > 0);
            save(&scene, &bundle, due);
            // It may be killed twice more.
            for _ in 0..killed % 3 {
                scene.kill(&bundle, true, &mut random);
            }
            finish(&scene, &bundle);
            fs::remove_dir_all(bundle.parent().expect("a folder")).expect("it is ours");
        }
    }
}

/// Goes on to the end, if it is not there yet, and reads all parts together.
fn finish(scene: &Scene, bundle: &Path) {
    let side = beside(bundle, ".resume");
    if !bundle.exists() && (side.exists() || partial(bundle).exists()) {
        let said = scene.command(bundle, true).stderr(Stdio::piped()).output();
        let said = said.expect("it runs");
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        // Killed when its name was given already, it is whole.
        let is_whole = text.contains("nothing is left to collect");
        assert!(said.status.code() == Some(0) || is_whole, "{text}");
    }
    let first = bundle.with_file_name("case.part1.scelle.zip.pgp");
    let any = if bundle.exists() { bundle } else { &first };
    let parts = scelle::parts_of(any);
    let answer = match &parts[..] {
        [one] => ask(scene, one),
        parts => {
            let alone = ask(scene, &parts[parts.len() - 1]);
            assert_eq!(alone.verdict, Verdict::Unfinished, "it is but a part");
            let options = VerifyOptions::default();
            let key = scene.key();
            scelle::verify_parts(parts, &options, key.as_ref(), &Progress::default())
                .expect("they can be checked")
        }
    };
    assert_eq!(
        answer.verdict,
        Verdict::SignerUnknown,
        "{parts:?}: {:?}",
        answer.problems
    );
    assert_eq!(answer.files, FILES as u64);
    assert_eq!(answer.payload.as_ref(), Some(&scene.payload));
    assert_eq!(scene.compare(any), FILES as u64);
    assert!(!side.exists(), "the side file is gone");
}

/// What was cut is checked, salvaged and checked again.
fn save(scene: &Scene, bundle: &Path, due: u64) {
    let cut = partial(bundle);
    let answer = ask(scene, &cut);
    // Killed between the last byte and the name, it is whole.
    let is_whole = answer.verdict == Verdict::SignerUnknown;
    assert!(
        is_whole || answer.verdict == Verdict::Unfinished,
        "{answer:?}"
    );
    assert!(answer.files >= due, "{answer:?}, {due} files were logged");
    if is_whole {
        assert_eq!(answer.files, FILES as u64);
    }
    let out = bundle.with_file_name("saved.scelle.zip.pgp");
    let order = || SalvageOrder {
        recipients: scene.recipients(),
        ..SalvageOrder::default()
    };
    let key = scene.key();
    let save = |order| scelle::salvage(&cut, &out, order, &Progress::default());
    assert!(save(order()).is_err(), "nobody reads it without a key");
    let in_clear = save(SalvageOrder {
        key: key.as_ref(),
        ..SalvageOrder::default()
    });
    assert!(
        in_clear.is_err() && !out.exists(),
        "nothing is written in clear unasked"
    );
    let saved = save(SalvageOrder {
        key: key.as_ref(),
        ..order()
    });
    assert!(!partial(&out).exists(), "nothing half is left");
    if is_whole || due == 0 && saved.is_err() {
        return;
    }
    let saved = saved.expect("something was logged");
    assert!(saved.vouched_files == due, "{saved:?}, {due} were logged");
    let begin = fs::read(&out).expect("it is there");
    assert!(Ciphertext::is_begun_by(&begin[..300]));
    let answer = ask(scene, &out);
    assert_eq!(answer.verdict, Verdict::Unfinished, "{:?}", answer.problems);
    assert_eq!(answer.files, saved.vouched_files + saved.unvouched_files);
    assert_eq!(scene.compare(&out), answer.files);
}

/// A collection that ends by itself, with an error that says why and how to go on.
fn fails(scene: &Scene, bundle: &Path, resume: bool, why: &str) {
    let said = scene
        .command(bundle, resume)
        .stderr(Stdio::piped())
        .output();
    let said = said.expect("it runs");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(2), "{text}");
    assert!(text.contains("--resume") && text.contains(why), "{text}");
}

/// The first part, under whichever name it has by now.
fn first_part(bundle: &Path) -> PathBuf {
    let closed = bundle.with_file_name("case.part1.scelle.zip.pgp");
    if closed.exists() {
        closed
    } else {
        partial(bundle)
    }
}

#[test]
fn a_full_disk_is_said_and_gone_on_with() {
    for reads_version_two in [false, true] {
        let scene = Scene::new(FILES, Some(ReaderKey::make(reads_version_two)));
        let small = scene.folder.path().join("small");
        let Some(disk) = MountedMemory::mount(&small, "size=160k") else {
            return;
        };
        let bundle = small.join("case.scelle.zip.pgp");
        fails(&scene, &bundle, false, "space");
        let files = logged(&scene, &bundle);
        assert!(files > 0, "a checkpoint was written");
        let before = fs::read(partial(&bundle)).expect("there");
        // Still full: the same error, and nothing lost.
        fails(&scene, &bundle, true, "space");
        assert!(fs::read(first_part(&bundle)).expect("there") == before);
        disk.change("size=16m");
        finish(&scene, &bundle);
    }
}

#[test]
fn a_folder_that_is_pulled_away_is_gone_on_with() {
    for reads_version_two in [false, true] {
        let scene = Scene::new(FILES, Some(ReaderKey::make(reads_version_two)));
        let bundle = scene.bundle("out");
        let folder = bundle.parent().expect("a folder").to_owned();
        let away = scene.folder.path().join("away");
        let mut child = scene.begin(&bundle, false);
        // The side file comes right behind the bundle itself.
        while !beside(&bundle, ".resume").exists() {
            assert!(child.try_wait().expect("it is ours").is_none(), "too early");
            thread::yield_now();
        }
        fs::rename(&folder, &away).expect("it is there");
        assert_eq!(child.wait().expect("it runs").code(), Some(2));
        let pulled = away.join("case.scelle.zip.pgp");
        let before = fs::read(partial(&pulled)).expect("there");
        fails(&scene, &pulled, false, "choose another name");
        assert!(fs::read(partial(&pulled)).expect("there") == before);
        finish(&scene, &pulled);
    }
}
