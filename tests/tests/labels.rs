//! TLP labels: carried from what is read to what is written, raised freely, lowered only by an explicit word.

mod support;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use parquet::file::reader::{FileReader, SerializedFileReader};
use scelle::timeline::Format;
use support::{Ran, only, run_scelle, text, windows_folder};

/// A bundle of a small Windows folder with that label.
fn bundle(folder: &Path, name: &str, tlp: &str) -> PathBuf {
    let source = folder.join(name);
    windows_folder(&source);
    let out = folder.join(format!("{name}-out"));
    fs::create_dir(&out).expect("a folder");
    let (source, to) = (text(&source), text(&out));
    run_scelle([
        "collect",
        "--source",
        &source,
        "--out",
        &to,
        "--tlp",
        tlp,
        "--profile",
        "everything",
    ])
    .ended(0);
    only(&out, ".scelle.zip")
}

fn timeline(sources: &[&Path], out: &Path, more: &[&str]) -> Ran {
    let mut arguments = vec!["timeline".to_owned(), "--json".to_owned()];
    arguments.extend(sources.iter().map(|path| text(path)));
    arguments.extend(["--out".to_owned(), text(out)]);
    arguments.extend(more.iter().map(|one| (*one).to_owned()));
    run_scelle(arguments)
}

/// What stands beside a timeline.
fn beside(out: &Path) -> serde_json::Value {
    let mut path = out.as_os_str().to_owned();
    path.push(".metadata.json");
    serde_json::from_slice(&fs::read(path).expect("beside the timeline")).expect("JSON")
}

/// The pairs in a Parquet file's foot that speak of labels.
fn pairs(out: &Path) -> Vec<(String, String)> {
    let file = SerializedFileReader::new(File::open(out).expect("a file")).expect("Parquet");
    let foot = file.metadata().file_metadata().key_value_metadata();
    foot.into_iter()
        .flatten()
        .filter(|pair| pair.key.starts_with("scelle.tlp"))
        .map(|pair| (pair.key.clone(), pair.value.clone().unwrap_or_default()))
        .collect()
}

#[test]
fn the_strictest_of_several_inputs_stands_on_every_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let amber = bundle(folder.path(), "first", "amber");
    let strict = bundle(folder.path(), "second", "amber+strict");
    for format in ["parquet", "jsonl", "csv", "timesketch", "bodyfile"] {
        let out = folder.path().join(format!("{format}.out"));
        let made = timeline(&[&amber, &strict], &out, &["--format", format]).ended(0);
        assert_eq!(made.json()["tlp"], "TLP:AMBER+STRICT", "{format}");
        assert_eq!(beside(&out)["tlp"], "TLP:AMBER+STRICT", "{format}");
    }
    let parquet = folder.path().join("parquet.out");
    let strict_pair = [("scelle.tlp".to_owned(), "TLP:AMBER+STRICT".to_owned())];
    assert_eq!(pairs(&parquet), strict_pair);
    assert_eq!(
        pairs(
            &folder
                .path()
                .join(format!("parquet.warnings.{}", Format::Parquet.extension()))
        ),
        strict_pair
    );
    // Standard output has no place for it.
    let printed = timeline(&[&amber], Path::new("-"), &["--format", "jsonl"]).ended(0);
    assert!(printed.err.contains("TLP:AMBER"), "{}", printed.err);
}

/// Each has its own label: that of the other is never overwritten, and a name that is taken is told
/// before anything is read.
#[test]
fn timelines_of_one_name_in_several_forms_lie_beside_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let amber = bundle(folder.path(), "source", "amber");
    let at = |name: &str| folder.path().join(name);
    timeline(&[&amber], &at("case.parquet"), &[]).ended(0);
    let csv = ["--format", "csv", "--tlp", "red"];
    timeline(&[&amber], &at("case.csv"), &csv).ended(0);
    assert_eq!(beside(&at("case.parquet"))["tlp"], "TLP:AMBER");
    assert_eq!(beside(&at("case.csv"))["tlp"], "TLP:RED");

    // What is refused of a body file here is told when its sources are read.
    for (format, name) in [("jsonl", "both.jsonl"), ("bodyfile", "both.body")] {
        timeline(&[&amber], &at(name), &["--format", format]).ended(0);
    }
    for name in ["both.warnings.jsonl", "both.body.warnings.jsonl"] {
        assert!(at(name).exists(), "{name}");
    }
    let body = ["--format", "bodyfile", "--from", "2024-01-01"];
    let refused = timeline(&[&amber], &at("case.body"), &body).ended(2);
    assert!(refused.err.contains("a body file has"), "{}", refused.err);
    fs::write(at("case.body.metadata.json"), "another's").expect("written");
    let refused = timeline(&[&amber], &at("case.body"), &body).ended(2);
    let taken = "case.body.metadata.json exists already";
    assert!(refused.err.contains(taken), "{}", refused.err);
    assert!(!at("case.body").exists());
}

#[test]
fn a_label_is_raised_freely_and_lowered_by_an_explicit_word_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let amber = bundle(folder.path(), "source", "amber");
    let out = folder.path().join("case.parquet");
    let refused = timeline(&[&amber], &out, &["--tlp", "green"]).ended(2);
    assert!(refused.err.contains("--lower-label"), "{}", refused.err);
    let refused = timeline(&[&amber], &out, &["--lower-label", "green"]).ended(2);
    assert!(refused.err.contains("--reason"), "{}", refused.err);
    let refused = timeline(&[&amber], &out, &["--at-most", "green"]).ended(2);
    assert!(refused.err.contains("TLP:AMBER"), "{}", refused.err);
    assert!(!out.exists());

    let raised = timeline(&[&amber], &out, &["--tlp", "red"]).ended(0);
    assert_eq!(raised.json()["tlp"], "TLP:RED");
    assert_eq!(beside(&out)["tlp"], "TLP:RED");

    let out = folder.path().join("shared.parquet");
    let word = [
        "--lower-label",
        "green",
        "--reason",
        "agreed \"by all\"",
        "--at-most",
        "green",
    ];
    let lowered = timeline(&[&amber], &out, &word).ended(0);
    let how = serde_json::json!({ "from": "TLP:AMBER", "reason": "agreed \"by all\"" });
    assert_eq!(lowered.json()["tlp_lowered"], how);
    assert_eq!(beside(&out)["tlp"], "TLP:GREEN");
    assert_eq!(beside(&out)["tlp_lowered"], how);
    let pairs = pairs(&out);
    assert_eq!(pairs[0].1, "TLP:GREEN");
    assert_eq!(pairs[1].0, "scelle.tlp_lowered");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&pairs[1].1).expect("JSON"),
        how
    );
}

#[test]
fn what_shows_a_bundle_says_its_label_and_heeds_the_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let amber = text(&bundle(folder.path(), "source", "amber"));
    let stream = "Windows/System32/drivers/etc/hosts";
    for arguments in [vec!["ls", &amber], vec!["cat", &amber, stream]] {
        let shown = run_scelle(&arguments).ended(0);
        assert!(
            shown.err.contains("TLP:AMBER"),
            "{arguments:?}: {}",
            shown.err
        );
        let mut limited = arguments.clone();
        limited.extend(["--at-most", "green"]);
        let refused = run_scelle(&limited).ended(2);
        assert!(refused.out.is_empty(), "{limited:?}");
        assert!(
            refused.err.contains("TLP:AMBER"),
            "{limited:?}: {}",
            refused.err
        );
        limited.pop();
        limited.push("amber");
        run_scelle(&limited).ended(0);
    }
    for line in run_scelle(["ls", &amber, "--json"]).ended(0).lines() {
        assert_eq!(line["tlp"], "TLP:AMBER");
    }
}

fn dry_run(source: &str) -> Vec<&str> {
    let profile = ["--profile", "everything"];
    [&["collect", "--dry-run", "--source", source][..], &profile].concat()
}

/// What is printed has a label too, whatever it is made of, and no option hides it.
#[test]
fn no_output_is_without_a_label() {
    let folder = tempfile::tempdir().expect("a folder");
    let amber = text(&bundle(folder.path(), "source", "amber"));
    let plain = text(
        &folder
            .path()
            .join("source/Windows/System32/drivers/etc/hosts"),
    );
    let record = text(
        &folder
            .path()
            .join("source/$Recycle.Bin/S-1-5-21-1/$IABCDEF.txt"),
    );
    let stream = "Windows/System32/drivers/etc/hosts";
    let rows = ["--format", "jsonl", "--out", "-"];
    let printed = |arguments: &[&str], tlp: &str| {
        let quiet = run_scelle([arguments, &["--quiet"]].concat()).ended(0);
        assert!(quiet.err.contains(tlp), "{arguments:?}: {}", quiet.err);
    };
    let told = |arguments: &[&str], tlp: &str| {
        printed(arguments, tlp);
        for line in run_scelle([arguments, &["--json"]].concat())
            .ended(0)
            .lines()
        {
            assert_eq!(line["tlp"], tlp, "{arguments:?}");
        }
    };
    told(&dry_run(&plain), "TLP:RED");
    told(&dry_run(&amber), "TLP:AMBER");
    told(
        &[&dry_run(&plain)[..], &["--tlp", "green"]].concat(),
        "TLP:GREEN",
    );
    let refused = run_scelle([&dry_run(&amber)[..], &["--tlp", "green"]].concat()).ended(2);
    assert!(refused.err.contains("TLP:AMBER"), "{}", refused.err);
    told(&["hash", &plain], "TLP:RED");
    told(&["hash", &plain, "--tlp", "green"], "TLP:GREEN");
    told(&["verify-image", &plain], "TLP:RED");
    told(&["ls", &plain], "TLP:RED");
    printed(&["cat", &plain, "hosts"], "TLP:RED");
    printed(&["cat", &amber, stream], "TLP:AMBER");
    printed(&["parse", "windows.recycle-bin", &record], "TLP:RED");
    printed(&[&["timeline", &amber][..], &rows].concat(), "TLP:AMBER");

    // What lies in an exported bag is no freer than the bag.
    let to = text(&folder.path().join("clear"));
    run_scelle(["extract", &amber, "--in-clear", "--to", &to]).ended(0);
    run_scelle(["hash", &to, "--tlp", "green"]).ended(2);
    run_scelle(["hash", &to, "--tlp", "amber"]).ended(0);
}

#[test]
fn an_export_is_written_down_with_its_label_and_binds_what_is_made_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let amber = text(&bundle(folder.path(), "source", "amber"));
    let to = text(&folder.path().join("clear"));
    let export = |to: &str, more: &[&str]| {
        let mut arguments = vec!["extract", &amber, "--in-clear", "--json", "--to", to];
        arguments.extend(more);
        run_scelle(arguments)
    };
    for (more, why) in [
        (["--tlp", "clear"], "--lower-label"),
        (["--at-most", "green"], "TLP:AMBER"),
    ] {
        let refused = export(&to, &more).ended(2);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
    assert!(!Path::new(&to).exists());
    assert_eq!(export(&to, &[]).ended(0).json()["tlp"], "TLP:AMBER");

    // The bag's claim is under no seal that was checked: it binds, and loosens nothing.
    let bag = Path::new(&to).join("source");
    let out = folder.path().join("bag.jsonl");
    let guessed = timeline(&[&bag], &out, &["--format", "jsonl"]).ended(0);
    assert_eq!(guessed.json()["tlp"], "TLP:RED");
    let refused = timeline(&[&bag], &out, &["--force", "--tlp", "green"]).ended(2);
    assert!(refused.err.contains("TLP:AMBER"), "{}", refused.err);
    // The folder that it was exported to is no freer than the bag in it.
    let refused = timeline(&[Path::new(&to)], &out, &["--force", "--tlp", "green"]).ended(2);
    assert!(refused.err.contains("TLP:AMBER"), "{}", refused.err);
    let record = bag.join("data/folder/$Recycle.Bin/S-1-5-21-1/$IABCDEF.txt");
    let parse = |tlp: &str| {
        let out = text(&folder.path().join("bin.jsonl"));
        run_scelle([
            "parse",
            "windows.recycle-bin",
            &text(&record),
            "--out",
            &out,
            "--tlp",
            tlp,
        ])
    };
    let refused = parse("green").ended(2);
    assert!(refused.err.contains("TLP:AMBER"), "{}", refused.err);
    parse("amber").ended(0);
    assert_eq!(beside(&folder.path().join("bin.jsonl"))["tlp"], "TLP:AMBER");

    let lowered = folder.path().join("lowered");
    let word = ["--lower-label", "green", "--reason", "for the provider"];
    let line = export(&text(&lowered), &word).ended(0).json();
    assert_eq!(line["tlp"], "TLP:GREEN");
    let log =
        fs::read_to_string(folder.path().join("lowered.exports.jsonl")).expect("written down");
    let log: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0]["state"], "begun");
    assert_eq!(log[0]["tlp_lowered"], line["tlp_lowered"]);
    assert_eq!(log[1], line);
    assert_eq!(line["state"], "done");
    assert_eq!(line["tlp_lowered"]["reason"], "for the provider");
}

/// The disk is full half-way: what lies there in clear is written down all the same.
#[cfg(unix)]
#[test]
fn an_export_that_fails_is_written_down_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let amber = text(&bundle(folder.path(), "source", "amber"));
    let to = text(&folder.path().join("clear"));
    // No file may have more than 8 KiB, which some of the evidence has.
    let mut limited = std::process::Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]);
    limited.arg(support::scelle().get_program());
    let failed = support::run(limited, ["extract", &amber, "--in-clear", "--to", &to]).ended(2);
    assert!(
        failed.err.contains("is not all, and in clear"),
        "{}",
        failed.err
    );
    let log = fs::read_to_string(folder.path().join("clear.exports.jsonl")).expect("written down");
    let states: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["state"].clone())
        .collect();
    assert_eq!(states, ["begun", "failed"], "{log}");
}

#[test]
fn evidence_under_a_label_is_not_sealed_again_under_a_freer_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let red = text(&bundle(folder.path(), "source", "red"));
    let out = text(&folder.path().join("again"));
    let again = |tlp: &str, more: &[&str]| {
        let mut arguments = vec!["triage", &red, "--out", &out, "--tlp", tlp];
        arguments.extend(["--profile", "everything", "--json"]);
        arguments.extend(more);
        run_scelle(arguments)
    };
    let refused = again("amber", &[]).ended(2);
    assert!(refused.err.contains("TLP:RED"), "{}", refused.err);
    let refused = again("red", &["--at-most", "amber"]).ended(2);
    assert!(refused.err.contains("TLP:RED"), "{}", refused.err);
    assert!(only_if_any(Path::new(&out)).is_empty());
    let made = again("red", &[]).ended(0).json();
    for part in ["collect", "verify", "timeline"] {
        assert_eq!(made[part]["tlp"], "TLP:RED", "{part}");
    }
}

fn only_if_any(folder: &Path) -> Vec<String> {
    if folder.exists() {
        support::files(folder)
    } else {
        Vec::new()
    }
}

#[test]
fn a_report_bears_its_label_and_says_how_it_was_lowered() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/incident/example.toml"
    );
    let render = |format: &str, more: &[&str]| {
        let mut arguments = vec!["incident", "render", record, "--format", format];
        arguments.extend(more);
        run_scelle(arguments)
    };
    let word = [
        "--lower-label",
        "green",
        "--reason",
        "agreed with the victim",
    ];
    for format in ["markdown", "html", "iodef"] {
        let plain = render(format, &[]).ended(0).text();
        assert!(plain.contains("TLP:AMBER+STRICT"), "{format}: {plain}");
        for more in [["--tlp", "green"], ["--at-most", "amber"]] {
            let refused = render(format, &more).ended(2);
            assert!(refused.err.contains("TLP:AMBER+STRICT"), "{}", refused.err);
            assert!(refused.out.is_empty(), "{format}");
        }
        let raised = render(format, &["--tlp", "red"]).ended(0).text();
        assert!(raised.contains("TLP:RED"), "{format}: {raised}");
        assert!(!raised.contains("TLP:AMBER+STRICT"), "{format}: {raised}");
        let lowered = render(format, &word).ended(0).text();
        assert!(lowered.contains("TLP:GREEN"), "{format}: {lowered}");
        assert!(lowered.contains("TLP:AMBER+STRICT"), "{format}: {lowered}");
        assert!(
            lowered.contains("agreed with the victim"),
            "{format}: {lowered}"
        );
    }
    let pdf = folder.path().join("report.pdf");
    render("pdf", &["--tlp", "red", "--out", &text(&pdf)]).ended(0);
    assert!(fs::read(pdf).expect("a file").starts_with(b"%PDF"));
}

/// It may be the strictest: nothing freer is made of it, and what it said is not forgotten.
#[test]
fn a_record_whose_label_cannot_be_read_counts_as_the_strictest() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/incident/example.toml"
    );
    let record = at("record.toml");
    let example = fs::read_to_string(example).expect("there");
    fs::write(&record, example.replace("TLP:AMBER+STRICT", "ROUGE")).expect("written");
    // Whoever only checks it is told the label that binds, as text and as JSON.
    let check = |record: &str, more: &[&str]| {
        run_scelle([&["incident", "check", record][..], more].concat())
    };
    let told = check(&record, &["--json"]).ended(1).json();
    assert_eq!(told["tlp"], "TLP:RED");
    let told = check(&record, &["--quiet"]).ended(1);
    assert!(told.err.contains("label: TLP:RED"), "{}", told.err);
    let render = |record: &str, more: &[&str]| {
        run_scelle([&["incident", "render", record][..], more].concat())
    };
    let refused = render(&record, &["--tlp", "amber"]).ended(2);
    assert!(
        refused.err.contains("whose label \"ROUGE\" can't be read"),
        "{}",
        refused.err
    );
    render(&record, &[]).ended(2);
    render(&record, &["--tlp", "red"]).ended(0);

    let source = folder.path().join("source");
    windows_folder(&source);
    let (source, out) = (text(&source), at("case.scelle.zip"));
    let collect = |record: &str, tlp: &str| {
        let command = ["collect", "--source", &source, "--out", &out, "--tlp", tlp];
        let more = ["--profile", "everything", "--incident", record];
        run_scelle([&command[..], &more].concat())
    };
    let refused = collect(&record, "amber").ended(2);
    assert!(refused.err.contains("can't be read"), "{}", refused.err);

    // A record out of a bag is bound by the bag's label too.
    fs::write(&record, example.replace("TLP:AMBER+STRICT", "TLP:GREEN")).expect("written");
    collect(&record, "red").ended(0);
    let to = at("clear");
    run_scelle(["extract", &out, "--in-clear", "--to", &to]).ended(0);
    let sealed = text(&only(Path::new(&to), "records/incident.json"));
    let refused = render(&sealed, &["--tlp", "green"]).ended(2);
    assert!(refused.err.contains("the bag that"), "{}", refused.err);
    assert!(render(&sealed, &[]).ended(0).text().contains("TLP:RED"));
    assert_eq!(
        check(&sealed, &["--json"]).ended(0).json()["tlp"],
        "TLP:RED"
    );
}
