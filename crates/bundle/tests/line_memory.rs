//! What a hostile line costs in memory. Alone in its process: nothing else may grow.
#![cfg(target_os = "linux")]

mod common;
mod forge;

use common::{item, noise, options, write_with};
use scelle_bundle::{Verdict, VerifyOptions, verify};
use scelle_formats::Bytes;

/// The most that was ever resident.
fn peak_kib() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let line = line.expect("it stands there").trim();
    let digits = line.strip_suffix(" kB").expect("in KiB");
    digits.parse().expect("a number")
}

#[test]
fn a_line_of_what_nobody_knows_costs_little() {
    let archive = write_with(options("line"), &[item(b"f", noise(1, 900))]).1;
    let mut parts = forge::unpack(&archive);
    let files = parts
        .iter_mut()
        .find(|part| part.label() == "records/files.jsonl")
        .expect("it is there");
    let text = String::from_utf8(files.plain.clone()).expect("text");
    let unknown = format!("{{\"x\":[{}[0]],", "[0],".repeat(1_800_000));
    files.replace(text.replacen('{', &unknown, 1).into_bytes());
    let archive = forge::forge(&parts);
    let before = peak_kib();
    let answer = verify(&Bytes(&archive), &VerifyOptions::default()).expect("an answer");
    assert_eq!(answer.verdict, Verdict::Broken);
    let more = peak_kib() - before;
    eprintln!("{more} KiB more");
    assert!(more < 100 << 10, "{more} KiB more");
}
