//! `executable.elf` beside LIEF 1.0.0 and pyelftools 0.33.

use serde_json::Value;

use super::support::{Differences, Explained, Said};

const EXPLAINED: &[Explained] = &[(
    "elf/base-strip",
    "pyelftools build_id",
    r#"Some("d446a061bb9ac27ab43b11718fdedf5b7f3af6f4")"#,
    "None",
)];

/// Compares every field that LIEF and pyelftools name.
pub(crate) fn compare(said: &Said, expected: &Value, out: &mut Differences) {
    out.explain(EXPLAINED);
    let [ours] = said.records.as_slice() else {
        panic!("{}: one record is wanted", expected["path"]);
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let texts = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(text)
            .collect()
    };
    let count = |value: &Value| value.as_array().map_or(0, Vec::len) as u64;
    let (lief, other) = (&expected["elf"], &expected["pyelftools"]);

    out.compare("class", &text(&ours["format"]), &text(&lief["class"]));
    let bits = ours["format"]
        .as_str()
        .map(|format| if format == "ELF64" { 64 } else { 32 });
    out.compare("pyelftools class", &bits, &other["class"].as_u64());
    let little = ours["byte_order"].as_str().map(|order| order == "little");
    out.compare(
        "data",
        &little,
        &lief["data"].as_str().map(|data| data == "LSB"),
    );
    out.compare("pyelftools little", &little, &other["little"].as_bool());
    for theirs in [lief, other] {
        out.compare(
            "entry",
            &ours["entry_point"].as_u64(),
            &theirs["entry"].as_u64(),
        );
        out.compare(
            "sections",
            &Some(count(&ours["sections"])),
            &theirs["sections"].as_u64(),
        );
        out.compare(
            "segments",
            &Some(count(&ours["segments"])),
            &theirs["segments"].as_u64(),
        );
    }
    // LIEF calls EM_386 by another name than the specification.
    let machine = text(&ours["machine"]).map(|machine| {
        if machine == "386" {
            "I386".to_owned()
        } else {
            machine
        }
    });
    out.compare("machine", &machine, &text(&lief["machine"]));
    let machine = text(&ours["machine"]).map(|machine| format!("EM_{machine}"));
    out.compare("pyelftools machine", &machine, &text(&other["machine"]));
    out.compare("type", &text(&ours["file_type"]), &text(&lief["type"]));
    let kind = text(&ours["file_type"]).map(|kind| format!("ET_{kind}"));
    out.compare("pyelftools type", &kind, &text(&other["type"]));
    out.compare("needed", &texts(&ours["needed"]), &texts(&lief["needed"]));
    out.compare(
        "pyelftools build_id",
        &text(&ours["build_id"]),
        &text(&other["build_id"]),
    );
    // LIEF's numbers are those of the functions, of both tables together.
    for (field, functions) in [
        ("imported", "imported_functions"),
        ("exported", "exported_functions"),
    ] {
        let count = |table: &str| ours["symbol_counts"][table][functions].as_u64();
        let sum = count("dynamic").zip(count("all"));
        out.compare(
            field,
            &sum.map(|(dynamic, all)| dynamic + all),
            &lief[field].as_u64(),
        );
    }
    // What `file` says of the same things.
    let file = expected["file"].as_str().expect("a line");
    let stripped = ours["is_stripped"].as_bool();
    let says_stripped = !file.contains("not stripped");
    out.compare("file: stripped", &stripped, &Some(says_stripped));
    let debug = ours["has_debug_info"].as_bool();
    out.compare(
        "file: with debug_info",
        &debug,
        &Some(file.contains("with debug_info")),
    );
    let after = |label: &str| {
        let rest = file.split_once(label)?.1;
        Some(rest.split(',').next().expect("one part").to_owned())
    };
    out.compare(
        "file: interpreter",
        &text(&ours["interpreter"]),
        &after("interpreter "),
    );
    out.compare(
        "file: BuildID",
        &text(&ours["build_id"]),
        &after("BuildID[sha1]="),
    );
}
