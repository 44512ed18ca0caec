//! `executable.macho` beside LIEF 1.0.0.

use serde_json::Value;

use super::support::{Differences, Explained, Said};

const EXPLAINED: &[Explained] = &[];

/// Compares every field that LIEF names, for each architecture.
pub(crate) fn compare(said: &Said, expected: &Value, out: &mut Differences) {
    out.explain(EXPLAINED);
    let theirs = expected["macho"].as_array().expect("a list");
    out.compare("architectures", &said.records.len(), &theirs.len());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let texts = |value: &Value| -> Vec<String> { list(value).iter().filter_map(text).collect() };
    for (number, (ours, theirs)) in said.records.iter().zip(theirs).enumerate() {
        let label = |field: &str| format!("{number} {field}");
        // LIEF's names for processors.
        let cpu = match ours["machine"].as_str() {
            Some("i386") => Some("X86".to_owned()),
            Some(name) => Some(name.to_uppercase()),
            None => None,
        };
        out.compare(&label("cpu"), &cpu, &text(&theirs["cpu"]));
        out.compare(
            &label("filetype"),
            &text(&ours["file_type"]),
            &text(&theirs["filetype"]),
        );
        out.compare(
            &label("ncmds"),
            &ours["command_count"].as_u64(),
            &theirs["ncmds"].as_u64(),
        );
        let read = list(&ours["commands"]).len() as u64;
        out.compare(
            &label("commands read"),
            &Some(read),
            &theirs["ncmds"].as_u64(),
        );
        let dylibs: Vec<String> = list(&ours["dylibs"])
            .iter()
            .filter_map(|dylib| text(&dylib["path"]))
            .collect();
        out.compare(&label("dylibs"), &dylibs, &texts(&theirs["dylibs"]));
        let segments = list(&ours["segments"]);
        let sections = segments
            .iter()
            .map(|segment| list(&segment["sections"]).len() as u64);
        out.compare(
            &label("sections"),
            &Some(sections.sum()),
            &theirs["sections"].as_u64(),
        );
        let names: Vec<String> = segments
            .iter()
            .filter_map(|segment| text(&segment["name"]))
            .collect();
        out.compare(&label("segments"), &names, &texts(&theirs["segments"]));
        let signed = ours["has_code_signature"].as_bool();
        out.compare(&label("signature"), &signed, &theirs["signature"].as_bool());
        out.compare(&label("uuid"), &text(&ours["uuid"]), &text(&theirs["uuid"]));
    }
}

/// An archive in a universal binary: LIEF has nothing to say of it.
pub(crate) fn compare_archive(said: &Said, out: &mut Differences) {
    let found: Vec<_> = said
        .records
        .iter()
        .map(|record| (record["machine"].as_str(), record["content"].as_str()))
        .collect();
    out.compare("slices", &found, &vec![(Some("arm64"), Some("archive"))]);
}
