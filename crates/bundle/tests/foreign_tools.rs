//! Tools that others wrote agree: `unzip`, `sha256sum`, `b3sum`, `gpg`, `bagit.py`.
//!
//! A tool that is not installed is passed over with a line, unless `SCELLE_REQUIRE_TOOLS` is set.
#![cfg(unix)]

mod common;

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use common::{Content, Item, Random, entry, item, noise, write};
use scelle_bundle::{Bundle, Sealed, Verdict, VerifyOptions, verify};
use scelle_event::EvidencePath;
use scelle_formats::{Bytes, ReadAtExt as _};
use scelle_testkit::has_tool;

/// What is not checked where one is missing.
const WHAT: &str = "that it finds what is sealed here as it was sealed";

fn run(command: &mut Command) -> bool {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("the tool is there");
    if !output.status.success() {
        eprintln!(
            "{command:?}\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    output.status.success()
}

/// Asks every tool about the bag in `bag` that came out of `archive`.
fn ask_all(archive: &Path, bag: &Path, sealed: &Sealed) {
    for (name, manifest) in [
        ("sha256sum", "manifest-sha256.txt"),
        ("sha256sum", "tagmanifest-sha256.txt"),
        ("b3sum", "manifest-blake3.txt"),
    ] {
        if has_tool(name, WHAT) {
            let mut command = Command::new(name);
            command.arg("--check").arg("--quiet").arg(manifest);
            assert!(run(command.current_dir(bag)), "{name} refuses {manifest}");
        }
    }
    if has_tool("unzip", WHAT) {
        assert!(
            run(Command::new("unzip").arg("-tqq").arg(archive)),
            "unzip -t"
        );
    }
    if has_tool("bagit.py", WHAT) {
        let mut command = Command::new("bagit.py");
        command.arg("--validate").arg("--quiet").arg(bag);
        assert!(run(command.env("PYTHONUTF8", "1")), "bagit.py --validate");
    }
    if has_tool("gpg", WHAT) {
        let home = tempfile::tempdir().expect("a folder");
        let gpg = |arguments: &[&Path]| {
            let mut command = Command::new("gpg");
            command.args(["--batch", "--quiet", "--homedir"]);
            command.arg(home.path()).args(arguments);
            run(&mut command)
        };
        let certificate = bag.join("records/signer.cert.asc");
        let signature = bag.join(format!("signatures/{}.asc", sealed.signer));
        let manifest = bag.join("tagmanifest-sha256.txt");
        assert!(gpg(&[Path::new("--import"), &certificate]), "gpg --import");
        assert!(
            gpg(&[Path::new("--verify"), &signature, &manifest]),
            "gpg --verify"
        );
        assert!(
            !gpg(&[Path::new("--verify"), &signature, &certificate]),
            "gpg would take anything"
        );
        let checkpoint = bag.join("records/checkpoints/000001");
        assert!(
            gpg(&[
                Path::new("--verify"),
                &checkpoint.with_extension("asc"),
                &checkpoint.with_extension("json")
            ]),
            "gpg --verify of a checkpoint"
        );
    }
}

/// Extracts with `unzip`, or with the `zip` crate where that is not there.
fn extract(archive: &Path, to: &Path) {
    if has_tool("unzip", WHAT) {
        let mut command = Command::new("unzip");
        command.args(["-qq", "-d"]).arg(to).arg(archive);
        assert!(run(command.env("LC_ALL", "C.UTF-8")), "unzip");
    } else {
        let file = std::fs::File::open(archive).expect("it was written");
        let mut zip = zip::ZipArchive::new(file).expect("a Zip archive");
        zip.extract(to).expect("room");
    }
}

fn check_with_all(items: &[Item]) -> (Sealed, Vec<u8>, tempfile::TempDir) {
    let (sealed, archive) = write(items);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle.zip");
    std::fs::write(&path, &archive).expect("room");
    extract(&path, folder.path());
    ask_all(&path, &folder.path().join("test-bundle"), &sealed);
    let options = VerifyOptions {
        root: Some(sealed.root.clone()),
        ..VerifyOptions::default()
    };
    let answer = verify(&Bytes(&archive), &options).expect("an answer");
    assert_eq!((answer.verdict, answer.problems), (Verdict::Sealed, vec![]));
    (sealed, archive, folder)
}

#[test]
fn every_tool_agrees() {
    let items = [
        item(b"empty", vec![]),
        item(b"dir/small", noise(1, 1000)),
        item(b"dir/large", noise(2, 9 << 20)),
        Item {
            entry: entry(b"sparse", 7),
            stream: None,
            content: Content::Sparse(30 << 20, vec![(20 << 20, noise(3, 100_000))]),
        },
    ];
    check_with_all(&items);
}

#[test]
fn the_tools_find_a_change() {
    let items = [item(b"file", noise(1, 1000))];
    let (_, _, folder) = check_with_all(&items);
    let bag = folder.path().join("test-bundle");
    let file = bag.join(format!("data/{}/file", common::VOLUME));
    std::fs::write(file, b"other").expect("room");
    for (name, arguments) in [
        ("sha256sum", ["--check", "manifest-sha256.txt"]),
        ("b3sum", ["--check", "manifest-blake3.txt"]),
        ("bagit.py", ["--validate", "."]),
    ] {
        if has_tool(name, WHAT) {
            let mut command = Command::new(name);
            assert!(!run(command.args(arguments).current_dir(&bag)), "{name}");
        }
    }
}

/// A name made of what makes names hostile.
fn hostile_name(random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 56] = [
        b"%",
        b"%41",
        b"%0a",
        b"=",
        b"=41",
        b"=~",
        b"=u",
        b"\\",
        b":",
        b"*",
        b"?",
        b"\"",
        b"<",
        b">",
        b"|",
        b"\n",
        b"\r",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\x7f",
        b"\x01",
        "\u{85}".as_bytes(),
        "\u{2028}".as_bytes(),
        "\u{2029}".as_bytes(),
        "\u{a0}".as_bytes(),
        "\u{3000}".as_bytes(),
        "\u{feff}".as_bytes(),
        "\u{202e}".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        "\u{212b}".as_bytes(),
        "\u{1100}\u{1161}".as_bytes(),
        "\u{ac00}\u{11a8}".as_bytes(),
        "\u{fb01}".as_bytes(),
        "\u{f900}".as_bytes(),
        "\u{df}".as_bytes(),
        "\u{130}".as_bytes(),
        "\u{1f4a9}".as_bytes(),
        b"\xED\xA0\x80",
        b"\xED\xBF\xBF",
        b"\xFF",
        b"\xC3",
        b" ",
        b"  ",
        b".",
        b"..",
        b"...",
        b"CON",
        b"nul",
        b"com1",
        b"LPT9.txt",
        b"a",
        b"A",
        b"-rf",
        b"~",
    ];
    let mut name = Vec::new();
    for _ in 0..1 + random.below(5) {
        name.extend_from_slice(PIECES[random.below(PIECES.len())]);
        if random.below(4) == 0 {
            name.extend_from_slice(b"x");
        }
    }
    if random.below(40) == 0 {
        name.extend(std::iter::repeat_n(b"=%a".iter(), 60 + random.below(30)).flatten());
    }
    if name == b"." || name == b".." {
        name.push(b'.');
    }
    name
}

#[test]
fn ten_thousand_hostile_names_come_back_exactly() {
    let mut random = Random(7);
    let mut seen = BTreeSet::new();
    let mut items = Vec::new();
    let mut names: Vec<Vec<Vec<u8>>> =
        vec![vec![b"A".to_vec()], vec![b"a".to_vec(), b"b".to_vec()]];
    while items.len() < 10_000 {
        let components = names.pop().unwrap_or_else(|| {
            (0..1 + random.below(4) * random.below(4))
                .map(|_| hostile_name(&mut random))
                .collect()
        });
        let path = components.join(&b'/');
        let stream = (random.below(5) == 0).then(|| hostile_name(&mut random));
        if !seen.insert((path.clone(), stream.clone())) {
            continue;
        }
        let number = items.len() as u64 + 1;
        let mut entry = entry(&path, number);
        entry.deleted = random.below(10) == 0;
        items.push(Item {
            entry,
            stream: stream.map(|name| EvidencePath::from_bytes(&name)),
            content: Content::Plain(format!("content {number}").into_bytes()),
        });
    }
    let (_, archive, folder) = check_with_all(&items);
    let bundle = Bundle::open(Arc::new(Bytes(archive))).expect("sound");
    let volume = &bundle.volumes()[0];
    let bag = folder.path().join("test-bundle");
    let mut folded = BTreeSet::new();
    for ((member, id), item) in bundle.files().zip(&items) {
        assert_eq!(id.path, item.entry.path, "the exact name");
        assert_eq!(id.stream, item.stream, "the exact stream name");
        let Content::Plain(wanted) = &item.content else {
            unreachable!("all are plain");
        };
        let reader = volume
            .open_entry(&item.entry, item.stream.as_ref())
            .expect("collected");
        assert_eq!(reader.read_range(0..99, 99).expect("sound"), *wanted);
        assert_eq!(
            std::fs::read(bag.join(member)).expect("extracted under its member name"),
            *wanted
        );
        assert!(folded.insert(member.to_lowercase()), "{member} clashes");
        assert!(member.len() <= 440 && !member.contains('%'));
        let is_safe = |part: &str| part.len() <= 120 && !part.ends_with(['.', ' ']);
        assert!(member.split('/').all(is_safe), "{member}");
    }
    assert_eq!(folded.len(), 10_000);
}
