//! From a source to a sealed bundle and a timeline, as a responder does it.

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use scelle_testkit::Corpus;
use serde_json::Value;
use support::{collector, files, only, run, run_scelle, text, windows_folder};

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

fn triage(source: &Path, out: &Path, more: &[&str]) -> support::Ran {
    let mut arguments = vec![
        "triage".to_owned(),
        text(source),
        "--out".to_owned(),
        text(out),
        "--tlp".to_owned(),
        "amber+strict".to_owned(),
    ];
    arguments.extend(more.iter().map(|one| (*one).to_owned()));
    run_scelle(arguments)
}

#[test]
fn a_folder_becomes_a_bundle_and_a_timeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let out = folder.path().join("out");
    let ran = triage(&source, &out, &["--json"]).ended(0);
    let result = ran.json();
    let collected = &result["collect"];
    assert_eq!(
        keys(collected),
        BTreeSet::from([
            "bundle",
            "root",
            "root_sha256",
            "payload",
            "tlp",
            "files",
            "bytes",
            "losses",
            "part"
        ])
    );
    assert_eq!(collected["tlp"], "TLP:AMBER+STRICT");
    // All but the holiday picture.
    assert_eq!(collected["files"], 6);
    assert_eq!(
        result["timeline"]["artefacts"]["windows.recycle-bin"]["records"],
        1
    );
    assert_eq!(
        files(&out),
        [
            "source.scelle.zip",
            "source.timeline.parquet",
            "source.timeline.parquet.metadata.json",
            "source.timeline.warnings.parquet"
        ]
    );
    let bundle = only(&out, ".scelle.zip");
    let root = collected["root"].as_str().expect("text");

    let sealed = run_scelle(["verify", &text(&bundle), "--root", root, "--json"]).ended(0);
    let report = sealed.json();
    assert_eq!(
        keys(&report),
        BTreeSet::from([
            "verdict",
            "scope",
            "root",
            "payload",
            "tlp",
            "signers",
            "through",
            "signed_at",
            "timestamp",
            "timestamp_asked",
            "deployment",
            "vouched_by",
            "files",
            "bytes",
            "problems"
        ])
    );
    assert_eq!(report["verdict"], "sealed");
    assert_eq!(report["root"], root);
    assert_eq!(report["payload"], collected["payload"]);
    assert_eq!(report["files"], 6);

    let unknown = run_scelle(["verify", &text(&bundle), "--json"]).ended(3);
    assert_eq!(unknown.json()["verdict"], "signer-unknown");
    let wrong = "0".repeat(64);
    let broken = run_scelle(["verify", &text(&bundle), "--root", &wrong]).ended(1);
    assert!(broken.text().contains("root"), "{}", broken.text());
    // The collector answers the same.
    run(collector(), ["verify", &text(&bundle), "--root", root]).ended(0);

    let mut bytes = fs::read(&bundle).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let touched = folder.path().join("touched.scelle.zip");
    fs::write(&touched, bytes).expect("written");
    let broken = run_scelle(["verify", &text(&touched), "--root", root, "--json"]).ended(1);
    assert_eq!(broken.json()["verdict"], "broken");
    assert_ne!(broken.json()["problems"], serde_json::json!([]));
}

#[test]
fn an_export_is_asked_for_written_down_and_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let out = folder.path().join("out");
    triage(&source, &out, &[]).ended(0);
    let bundle = text(&only(&out, ".scelle.zip"));
    let clear = folder.path().join("clear");
    let refused = run_scelle(["extract", &bundle, "--to", &text(&clear)]).ended(2);
    assert!(refused.err.contains("--in-clear"), "{}", refused.err);
    assert!(!clear.exists());
    run_scelle(["extract", &bundle, "--to", &text(&clear), "--in-clear"]).ended(0);
    let log = fs::read_to_string(folder.path().join("clear.exports.jsonl")).expect("a log");
    let lines = log.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("lines of JSON");
    for (line, state) in lines.iter().zip(["begun", "done"]) {
        assert_eq!(line["state"], state);
        assert_eq!(line["tlp"], "TLP:AMBER+STRICT");
    }
    assert_eq!(lines.len(), 2);
    let bag = clear.join("source");
    assert_eq!(
        fs::read(bag.join("data/folder/Windows/System32/config/SYSTEM")).expect("there"),
        vec![b'S'; 70_000]
    );
    let checked = run_scelle(["verify", &text(&bag)]).ended(3);
    assert!(checked.text().contains("bag"), "{}", checked.text());
    fs::write(bag.join("data/folder/Windows/System32/config/SYSTEM"), "x").expect("written");
    let broken = run_scelle(["verify", &text(&bag)]).ended(1);
    assert!(broken.text().contains("config/SYSTEM"), "{}", broken.text());
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let out = folder.path().join("out");
    let ran = run_scelle([
        "collect",
        "--source",
        &text(&source),
        "--out",
        &text(&out),
        "--dry-run",
        "--json",
    ])
    .ended(0);
    assert!(!out.exists());
    let paths: Vec<_> = ran
        .lines()
        .iter()
        .map(|line| line["path"].as_str().expect("text").to_owned())
        .collect();
    // In the order of the profile; a hive comes before its log.
    assert_eq!(
        paths,
        [
            "folder/Windows/System32/config/SYSTEM",
            "folder/Windows/System32/config/SYSTEM.LOG1",
            "folder/Users/ana/NTUSER.DAT",
            "folder/Windows/Prefetch/CMD.EXE-087B4001.pf",
            "folder/$Recycle.Bin/S-1-5-21-1/$IABCDEF.txt",
            "folder/Windows/System32/drivers/etc/hosts",
        ]
    );
}

#[test]
fn limits_are_losses_that_are_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let out = folder.path().join("out");
    fs::create_dir(&out).expect("a folder");
    let ran = run_scelle([
        "collect",
        "--source",
        &text(&source),
        "--out",
        &text(&out),
        "--tlp",
        "clear",
        "--max-file",
        "50KB",
        "--json",
    ])
    .ended(1);
    assert_eq!(ran.json()["losses"], 1);
    assert!(ran.err.contains("config/SYSTEM: over-cap"), "{}", ran.err);
    let bundle = text(&only(&out, ".scelle.zip"));
    let listed = run_scelle(["ls", &bundle]).ended(0);
    assert!(
        !listed.text().contains("config/SYSTEM\n"),
        "{}",
        listed.text()
    );
}

#[test]
fn standard_output_takes_a_bundle() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let ran = run(
        collector(),
        [
            "--source",
            &text(&source),
            "--out",
            "-",
            "--tlp",
            "green",
            "--quiet",
        ],
    )
    .ended(0);
    // What it is about is on standard output, so this is beside it, `--quiet` or not.
    for told in ["Root", "TLP:GREEN"] {
        assert!(ran.err.contains(told), "{}", ran.err);
    }
    let bundle = folder.path().join("piped.scelle.zip");
    fs::write(&bundle, &ran.out).expect("written");
    run_scelle(["verify", &text(&bundle)]).ended(3);
}

/// The evidence decides what is written, and the number of threads does not.
fn same_on_any_number_of_threads(source: &Path, profile: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = Vec::new();
    for threads in ["1", "2", "8"] {
        let out = folder.path().join(threads);
        let ran = triage(
            source,
            &out,
            &["--threads", threads, "--profile", profile, "--json"],
        );
        assert!(ran.status <= 1, "{}", ran.err);
        let result = ran.json();
        let bundle = text(&only(&out, ".scelle.zip"));
        let clear = folder.path().join(format!("{threads}-clear"));
        run_scelle(["extract", &bundle, "--to", &text(&clear), "--in-clear"]).ended(0);
        let bag = fs::read_dir(&clear)
            .expect("readable")
            .next()
            .expect("one folder")
            .expect("readable")
            .path();
        let read = |name: &str| fs::read(bag.join(name)).expect(name);
        let payload: Vec<_> = files(&bag.join("data"));
        seen.push((
            result["collect"]["payload"].clone(),
            payload,
            [
                "manifest-sha256.txt",
                "manifest-blake3.txt",
                "records/files.jsonl",
                "records/warnings.jsonl",
                "records/coverage.jsonl",
            ]
            .map(read),
            fs::read(only(&out, "timeline.parquet")).expect("readable"),
            fs::read(only(&out, "warnings.parquet")).expect("readable"),
        ));
    }
    assert!(seen[0] == seen[1], "1 and 2 threads differ");
    assert!(seen[0] == seen[2], "1 and 8 threads differ");
}

#[test]
fn threads_do_not_show() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    for number in 0..300usize {
        let bytes = support::recycled(&format!("C:\\file {number}.txt"));
        fs::write(
            source.join(format!("$Recycle.Bin/S-1-5-21-1/$I{number:06}.txt")),
            bytes,
        )
        .expect("written");
    }
    let large: Vec<u8> = (0..3_000_000u32)
        .flat_map(|one| (one / 7).to_le_bytes())
        .collect();
    fs::write(source.join("Users/ana/large.bin"), large).expect("written");
    same_on_any_number_of_threads(&source, "everything");
}

#[test]
fn threads_do_not_show_on_a_real_volume() {
    let Some(corpus) = Corpus::find("the same bytes at 1, 2 and 8 threads on a real volume") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(packed) = corpus
        .files("ntfs-images")
        .into_iter()
        .find(|name| name.ends_with(".raw.zst") || name.ends_with(".dd.zst"))
    else {
        panic!("the corpus has no raw volume");
    };
    let image = folder.path().join("image.raw");
    fs::write(&image, corpus.read(&packed)).expect("written");
    same_on_any_number_of_threads(&image, "everything");
}

/// A row leads to its bytes: parsed alone, they give the same record.
#[test]
fn a_row_leads_to_its_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let out = folder.path().join("out");
    triage(&source, &out, &["--format", "jsonl"]).ended(0);
    let rows = fs::read_to_string(only(&out, ".timeline.jsonl")).expect("readable");
    let row: Value = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a row"))
        .find(|row| row["artefact"] == "windows.recycle-bin")
        .expect("a row of the Recycle Bin");
    assert_eq!(row["meaning"], serde_json::json!(["deleted"]));
    assert_eq!(row["subject"], "C:\\Users\\ana\\secret.txt");
    let range = format!("{}..{}", row["offset"], row["length"]);
    let stream = row["stream"].as_str().expect("text");
    let expected = support::recycled("C:\\Users\\ana\\secret.txt");
    let bundle = text(&only(&out, ".scelle.zip"));
    for source in [&bundle, &text(&source)] {
        let bytes = run_scelle(["cat", source, stream, "--range", &range]).ended(0);
        assert_eq!(bytes.out, expected, "{source}");
    }
    // The volume may be left out where there is one.
    let path = stream.strip_prefix("folder/").expect("the volume's id");
    let bytes = run_scelle(["cat", &bundle, path, "--range", &range]).ended(0);
    assert_eq!(bytes.out, expected);
}

#[test]
fn the_order_of_rows_is_total() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let mut seen = Vec::new();
    for name in ["one", "two"] {
        let out = folder.path().join(format!("{name}.csv"));
        run_scelle([
            "timeline",
            &text(&source),
            "--format",
            "csv",
            "--out",
            &text(&out),
        ])
        .ended(0);
        seen.push(fs::read(out).expect("readable"));
    }
    assert!(!seen[0].is_empty());
    assert_eq!(seen[0], seen[1]);
}
