//! Beside INDXParse. Differences: `tests/differences/journals.md`.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

use scelle_artefacts::Input;
use scelle_event::EvidencePath;
use scelle_evidence::VolumeKind;
use scelle_formats::Bytes;
use scelle_testkit::Corpus;

use super::{Row, parse, parse_input, recognises};

const ID: &str = "ntfs.i30";

/// What INDXParse prints of a key that is no name: an entry that points at another index record.
const NO_NAME: &str = "UNKNOWN FILE NAME";

/// A line of INDXParse without its times' last digit: it rounds through floating point.
fn line(row: &Row) -> String {
    let mut cells = vec![row.text("name").to_owned()];
    if row.fields["is_slack"] == true {
        // Where the entry's header would be: theirs has the offset also where it was overwritten.
        let name_bytes = 0x42 + 2 * row.text("name").encode_utf16().count() as u64;
        let start = row.provenance.primary.range.end - name_bytes - 0x10;
        cells[0] += &format!(" (slack at {start:#x})");
    }
    cells.push(row.number("allocated_bytes").expect("a size").to_string());
    cells.push(row.number("size_bytes").expect("a size").to_string());
    for column in ["fn_modified", "fn_accessed", "fn_changed", "fn_created"] {
        cells.push(rounded(row.text(column)));
    }
    cells.join(",\t")
}

/// Hundredths of a second.
fn rounded(time: &str) -> String {
    time.replace('T', " ").chars().take(22).collect()
}

fn theirs(line: &str) -> String {
    let cells: Vec<&str> = line.split(",\t").collect();
    let (start, times) = cells.split_at(3);
    let times: Vec<String> = times.iter().map(|time| rounded(time)).collect();
    [start.join(",\t"), times.join(",\t")].join(",\t")
}

#[test]
fn real_indexes_read_as_indxparse_reads_them() {
    let Some(corpus) = Corpus::find("directory indexes beside INDXParse") else {
        return;
    };
    let expected = corpus.expected_json("i30.json");
    let mut compared = 0;
    for (path, entry) in expected.as_object().expect("a map") {
        let bytes = corpus.read(path);
        assert!(recognises(ID, path, None, &bytes), "{path}");
        assert!(recognises(ID, "folder", Some("$I30"), &bytes), "{path}");
        let rows = parse(ID, &bytes, None);
        assert!(rows.losses.is_empty(), "{path}: {:?}", rows.losses);
        let lines = |key: &str, slack: bool| -> Vec<String> {
            let lines = entry[key].as_array().expect("lines").iter().skip(1);
            let mut lines: Vec<String> = lines
                .map(|line| line.as_str().expect("text"))
                .filter(|line| !line.starts_with(NO_NAME))
                .filter(|line| line.contains("(slack at") == slack)
                .map(theirs)
                .collect();
            lines.sort();
            lines
        };
        let ours = |slack: bool| -> Vec<String> {
            let rows = rows
                .rows
                .iter()
                .filter(|row| row.fields["is_slack"] == slack);
            let mut lines: Vec<String> = rows.map(line).collect();
            lines.sort();
            lines
        };
        assert_eq!(ours(false), lines("INDXParse_csv", false), "{path}");
        assert_eq!(
            ours(true),
            lines("INDXParse_csv_with_slack", true),
            "{path}"
        );
        compared += 1;
    }
    assert_eq!(compared, 2, "indexes of the corpus");
}

#[test]
fn every_directory_of_a_volume_shows_its_index() {
    let Some(corpus) = Corpus::find("directory indexes of a volume") else {
        return;
    };
    let bytes = corpus.read("ntfs-images/ntfs_index.raw.gz");
    let evidence = scelle_evidence::open_source("index".into(), Arc::new(Bytes(bytes)));
    let volume = evidence
        .volumes
        .iter()
        .find(|volume| volume.info().kind == VolumeKind::Ntfs)
        .expect("an NTFS volume");
    let (mut indexes, mut live) = (0, Vec::new());
    let mut known = BTreeSet::new();
    volume.walk(&mut |entry| {
        let Ok(entry) = entry else {
            return ControlFlow::Continue(());
        };
        let number = entry.id.expect("a number").entry;
        let names = entry.names.iter();
        known.extend(names.map(|name| (number, name.path.name().to_vec())));
        for stream in &entry.streams {
            let is_index = |name: &EvidencePath| name.as_bytes() == b"$I30";
            if stream.name.as_ref().is_some_and(is_index) {
                let opened = volume.open_entry(&entry, stream.name.as_ref());
                let rows = parse_input(ID, Input::alone(&*opened.expect("an index")));
                indexes += 1;
                live.extend(
                    rows.rows
                        .into_iter()
                        .filter(|row| row.fields["is_slack"] == false),
                );
            }
        }
        ControlFlow::Continue(())
    });
    assert_eq!((indexes, live.len()), (3, 41));
    for row in live {
        let number = row.number("entry").expect("a number");
        // The root's own name is a dot, and no component of a path.
        let name = row.text("name").as_bytes();
        let name = if name == b"." { b"" } else { name };
        assert!(known.contains(&(number, name.to_vec())), "{:?}", row.fields);
    }
}
