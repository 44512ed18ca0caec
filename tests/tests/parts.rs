//! An encrypted collection that was cut off and gone on with, as its users go on and read it.
#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use scelle_testkit::ReaderKey;
use support::{Ran, collector, files, run, run_scelle, text};

const FILES: usize = 600;

/// A source, a reader, and a bundle that is to become two parts.
struct Scene {
    folder: tempfile::TempDir,
    reader: ReaderKey,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().expect("a folder"),
            reader: ReaderKey::make(false),
        };
        support::windows_folder(&scene.path("source"));
        for number in 0..FILES {
            let line = format!("evidence {number} {}\n", number * 7919 % 1000);
            let path = scene.path("source").join(format!("file-{number:04}"));
            fs::write(path, line.repeat(200)).expect("room");
        }
        fs::write(scene.path("cert.asc"), &scene.reader.certificate).expect("room");
        fs::write(scene.path("secret.asc"), &scene.reader.secret).expect("room");
        fs::create_dir(scene.path("out")).expect("room");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bundle(&self) -> PathBuf {
        self.path("out/case.scelle.zip.pgp")
    }

    fn side(&self) -> PathBuf {
        self.path("out/case.scelle.zip.pgp.resume")
    }

    fn part(&self, number: u32) -> PathBuf {
        self.path(&format!("out/case.part{number}.scelle.zip.pgp"))
    }

    fn collect(&self, out: &Path, more: &[&str]) -> Command {
        let mut command = collector();
        command
            .args(["collect", "--profile", "everything", "--tlp", "amber"])
            .args(["--compression", "store", "--checkpoint-bytes", "16KiB"])
            .arg("--source")
            .arg(self.path("source"))
            .arg("--out")
            .arg(out)
            .arg("--recipient")
            .arg(self.path("cert.asc"))
            .args(["--fingerprint", &self.reader.fingerprint])
            .args(more);
        command
    }

    /// Goes on with a cut collection, and kills it in its second part; whether it was still at work.
    fn is_cut_in_its_second_part(&self) -> bool {
        let second = self.path("out/case.part2.scelle.zip.pgp.partial");
        let mut command = self.collect(&self.bundle(), &["--resume"]);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = quiet.spawn().expect("it starts");
        while child.try_wait().expect("it is ours").is_none() && !second.exists() {
            thread::sleep(Duration::from_millis(1));
        }
        // It may have ended by now.
        drop(child.kill());
        child.wait().expect("it was ours");
        second.exists() && self.side().exists()
    }

    /// Kills a collection once something was logged; one that was faster than this is made again.
    fn cut(&self) {
        const ATTEMPTS: usize = 50;
        let was_cut = (0..ATTEMPTS).any(|_| self.is_cut_in_its_middle());
        assert!(was_cut, "it always ended before it could be killed");
    }

    fn is_cut_in_its_middle(&self) -> bool {
        const LOGGED: u64 = 3;
        let mut command = self.collect(&self.bundle(), &[]);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = quiet.spawn().expect("it starts");
        while child.try_wait().expect("it is ours").is_none() {
            let side = fs::read_to_string(self.side()).unwrap_or_default();
            if checkpoint(&side).is_some_and(|number| number >= LOGGED) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        // It may have ended by now.
        drop(child.kill());
        child.wait().expect("it was ours");
        if self.bundle().exists() {
            fs::remove_file(self.bundle()).expect("it was whole");
            return false;
        }
        true
    }

    fn read(&self, words: &[&str]) -> Ran {
        let key = text(&self.path("secret.asc"));
        run_scelle(words.iter().copied().chain(["--key", &key]))
    }
}

/// The checkpoint that a side file names.
fn checkpoint(side: &str) -> Option<u64> {
    let (_, rest) = side.split_once("\"checkpoint\":")?;
    rest.split_once(',')?.0.parse().ok()
}

fn ran(command: Command) -> Ran {
    run(command, [] as [&str; 0])
}

#[test]
fn parts_are_read_as_one_by_every_command() {
    let scene = Scene::new();
    scene.cut();
    refuses(&scene);
    let resumed = ran(scene.collect(&scene.bundle(), &["--resume", "--json"]));
    let resumed = resumed.ended(0).json();
    assert_eq!(resumed["part"], 2);
    let root = resumed["root"].as_str().expect("text").to_owned();
    let mut names = files(&scene.path("out"));
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    let (one, two) = (text(&scene.part(1)), text(&scene.part(2)));

    scene.read(&["verify", &two, &one]).ended(3);
    let sealed = scene.read(&["verify", &one, &two, "--root", &root, "--json"]);
    let sealed = sealed.ended(0).json();
    assert_eq!(sealed["verdict"], "sealed");
    for alone in [&one, &two] {
        scene.read(&["verify", alone]).ended(1);
    }

    let whole = scene.path("whole.scelle.zip.pgp");
    let undisturbed = ran(scene.collect(&whole, &["--json"])).ended(0).json();
    assert_eq!(sealed["payload"], undisturbed["payload"]);
    assert_eq!(sealed["files"], undisturbed["files"]);
    let whole = text(&whole);
    let listed = |bundle: &str| scene.read(&["ls", bundle]).ended(0).text();
    assert_eq!(listed(&two), listed(&whole));
    for number in [0, FILES - 1] {
        let name = format!("file-{number:04}");
        let cat = scene.read(&["cat", &one, &name]).ended(0).out;
        assert!(cat == fs::read(scene.path("source").join(&name)).expect("there"));
    }
    let rows = |out: &str, bundles: &[&str]| {
        let out = text(&scene.path(out));
        let words = ["timeline", "--format", "jsonl", "--out", &out];
        scene.read(&[&words[..], bundles].concat()).ended(0);
        fs::read_to_string(&out).expect("rows")
    };
    let expected = rows("whole.jsonl", &[&whole]);
    assert!(expected.contains("secret.txt"), "{expected}");
    assert_eq!(rows("parts.jsonl", &[&one, &two]), expected);

    let to = text(&scene.path("export"));
    let words = ["extract", &one, "--to", &to, "--in-clear"];
    scene.read(&words).ended(0);
    let bag = scene.path("export/case");
    let data = bag.join("data/folder");
    let source = scene.path("source");
    let exported = fs::read(data.join("file-0007")).expect("there");
    assert!(exported == fs::read(source.join("file-0007")).expect("there"));
    assert_eq!(files(&data).len(), files(&source).len());
    let manifest = fs::read_to_string(bag.join("manifest-sha256.txt")).expect("there");
    assert_eq!(manifest.lines().count(), files(&source).len());
}

/// What can't be gone on with is left as it is.
fn refuses(scene: &Scene) {
    let partial = scene.path("out/case.scelle.zip.pgp.partial");
    let before = fs::read(&partial).expect("there");
    let resume = |more: &[&str]| {
        let mut words = vec!["--resume"];
        words.extend(more);
        ran(scene.collect(&scene.bundle(), &words)).ended(2).err
    };
    let again = ran(scene.collect(&scene.bundle(), &[])).ended(2).err;
    assert!(again.contains("--resume"), "{again}");
    let other = resume(&["--case", "another"]);
    assert!(other.contains("another plan"), "{other}");
    let away = scene.path("away");
    fs::rename(scene.side(), &away).expect("there");
    let unknown = resume(&[]);
    assert!(unknown.contains("nobody can tell"), "{unknown}");
    fs::rename(&away, scene.side()).expect("there");
    assert!(fs::read(&partial).expect("it is as it was") == before);
    // It comes before all others: what was collected is no longer what comes first.
    let new = scene.path("source/$0");
    fs::write(&new, "new").expect("room");
    for _ in 0..2 {
        let changed = resume(&[]);
        assert!(changed.contains("no longer what it was"), "{changed}");
    }
    fs::remove_file(new).expect("there");
    assert!(fs::read(scene.part(1)).expect("it bears its last name") == before);
}

/// All that was collected is there, and still somebody changed the file.
#[test]
fn a_salvage_of_altered_ciphertext_says_so() {
    let scene = Scene::new();
    ran(scene.collect(&scene.bundle(), &[])).ended(0);
    let mut bytes = fs::read(scene.bundle()).expect("there");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(scene.bundle(), bytes).expect("room");
    let (bundle, out) = (text(&scene.bundle()), text(&scene.path("saved.scelle.zip")));
    let words = ["salvage", &bundle, "--in-clear", "--out", &out];
    let said = scene.read(&words).ended(1).err;
    assert!(said.contains("the ciphertext was altered"), "{said}");
    let again = [&words[..], &["--force", "--json"]].concat();
    let saved = scene.read(&again).ended(1).json();
    assert_eq!(saved["complete"], true);
    let altered = saved["altered"].as_str().expect("text");
    assert!(altered.contains("modification detection code"), "{altered}");
}

#[test]
fn a_side_file_that_stayed_behind_keeps_nobody_from_collecting() {
    let scene = Scene::new();
    let done = |out: &Path| {
        let ran = scene.collect(out, &[]).output().expect("it runs");
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    };
    // Its bundle became whole, and was taken away.
    fs::write(scene.side(), "{}").expect("written");
    done(&scene.bundle());
    assert_eq!(files(&scene.path("out")), ["case.scelle.zip.pgp"]);
    // Beside what is cut it is another's.
    fs::remove_file(scene.bundle()).expect("removed");
    scene.cut();
    let refused = scene
        .collect(&scene.bundle(), &[])
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--resume"), "{said}");
}

/// What lies there of a set whose first part was taken away is not lost sight of.
#[test]
fn a_set_in_its_second_part_is_not_begun_again() {
    const ATTEMPTS: usize = 50;
    let scene = Scene::new();
    let was_cut = (0..ATTEMPTS).any(|_| {
        for name in files(&scene.path("out")) {
            fs::remove_file(scene.path("out").join(name)).expect("ours");
        }
        scene.cut();
        scene.is_cut_in_its_second_part()
    });
    assert!(was_cut, "it always ended before it could be killed");
    fs::rename(scene.part(1), scene.path("first")).expect("it bears its last name");
    let second = "case.part2.scelle.zip.pgp";
    let cut = format!("{second}.partial");
    let state = |name: &str| {
        let names = files(&scene.path("out"));
        let bytes = fs::read(scene.path("out").join(name)).expect("there");
        (names, fs::read(scene.side()).expect("there"), bytes)
    };
    // Cut, and as it is called when it is whole or gone on from.
    for name in [&*cut, second] {
        let place = scene.path("out").join(name);
        if name == second {
            fs::rename(scene.path("out").join(&cut), &place).expect("there");
        }
        let before = state(name);
        let refused = ran(scene.collect(&scene.bundle(), &[])).ended(2);
        assert!(refused.err.contains("--resume"), "{}", refused.err);
        assert!(state(name) == before, "{:?}", state(name).0);
    }
    // What is of no part that is there keeps nobody from collecting.
    fs::remove_file(scene.path("out").join(second)).expect("there");
    ran(scene.collect(&scene.bundle(), &[])).ended(0);
    assert_eq!(files(&scene.path("out")), ["case.scelle.zip.pgp"]);
}
