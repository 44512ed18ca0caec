//! Makes sure that the tests of every crate ran, out of what `cargo test` printed.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use serde_json::Value;

/// What test binaries counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// `cargo xtask ran LOG`: every test binary of the workspace is in the log, and every crate
/// counted at least one test.
pub(crate) fn check(root: &Path, log: &Path) -> anyhow::Result<()> {
    let log = fs::read_to_string(log).with_context(|| log.display().to_string())?;
    let counts = counts(&log);
    let binaries = binaries(root)?;
    let mut by_crate: BTreeMap<String, Count> = BTreeMap::new();
    for member in members(root)? {
        // A library without doc tests has no such section.
        let documented = counts.get(&doc_tests(&member)).copied();
        by_crate.insert(member, documented.unwrap_or_default());
    }
    for (package, binary) in binaries {
        let count = counts
            .get(&binary)
            .with_context(|| format!("{binary} of {package} did not run"))?;
        by_crate.entry(package).or_default().add(*count);
    }
    for (package, count) in &by_crate {
        ensure!(count.passed + count.failed > 0, "{package} ran no test");
    }
    let total = |of: fn(&Count) -> u64| counts.values().map(of).sum::<u64>();
    println!("every one of {} crates ran tests", by_crate.len());
    println!(
        "{} passed, {} failed, {} skipped",
        total(|count| count.passed),
        total(|count| count.failed),
        total(|count| count.skipped)
    );
    Ok(())
}

/// The counts of each test binary that the log names, doc tests included.
fn counts(log: &str) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut current = None;
    for line in log.lines() {
        let trimmed = line.trim_start();
        if let Some(rest) = trimmed.strip_prefix("Running ") {
            // Running unittests src/lib.rs (target/debug/deps/scelle_event-0123456789abcdef)
            current = rest
                .rsplit_once('(')
                .and_then(|(_, path)| file_name(path.trim_end_matches(')')));
        } else if let Some(name) = trimmed.strip_prefix("Doc-tests ") {
            current = Some(doc_tests(name));
        } else if let (Some(result), Some(name)) = (trimmed.strip_prefix("test result: "), &current)
        {
            let count = |word: &str| {
                result
                    .split([';', '.'])
                    .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
                    .unwrap_or(0)
            };
            counts.entry(name.clone()).or_default().add(Count {
                passed: count("passed"),
                failed: count("failed"),
                skipped: count("ignored"),
            });
        }
    }
    counts
}

/// What the doc tests of a library are counted under; cargo names the library, not the package.
fn doc_tests(name: &str) -> String {
    format!("doc tests of {}", name.replace('-', "_"))
}

fn file_name(path: &str) -> Option<String> {
    Some(Path::new(path).file_name()?.to_str()?.to_owned())
}

fn members(root: &Path) -> anyhow::Result<Vec<String>> {
    let metadata: Value = serde_json::from_slice(&cargo(
        root,
        &["metadata", "--no-deps", "--format-version", "1"],
    )?)?;
    metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?
        .iter()
        .map(|package| Ok(package["name"].as_str().context("a name")?.to_owned()))
        .collect()
}

/// Every test binary that cargo builds, as its crate and its file name.
fn binaries(root: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let messages = cargo(
        root,
        &[
            "test",
            "--workspace",
            "--no-run",
            "--quiet",
            "--message-format=json",
        ],
    )?;
    let mut found = Vec::new();
    for line in String::from_utf8(messages)?.lines() {
        let message: Value = serde_json::from_str(line)?;
        if message["profile"]["test"] != true {
            continue;
        }
        let Some(binary) = message["executable"].as_str().and_then(file_name) else {
            continue;
        };
        let id = message["package_id"].as_str().context("a package id")?;
        found.push((package_name(id).to_owned(), binary));
    }
    Ok(found)
}

/// `path+file:///…/crates/event#scelle-event@0.1.0`, or `…/xtask#0.1.0` where folder and crate
/// have the same name.
fn package_name(id: &str) -> &str {
    let (path, version) = id.rsplit_once('#').unwrap_or((id, ""));
    match version.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or(path),
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(root)
        .output()
        .context("cargo")?;
    ensure!(
        output.status.success(),
        "cargo {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_belong_to_their_binary() {
        let log = "\
     Running unittests src/lib.rs (/t/debug/deps/scelle_event-0123)

running 2 tests
test a ... ok
test b ... FAILED

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/registry.rs (target/debug/deps/registry-4567)
test result: ok. 7 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.04s

   Doc-tests scelle_bundle
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
";
        let counts = counts(log);
        let of = |passed, failed, skipped| Count {
            passed,
            failed,
            skipped,
        };
        assert_eq!(counts["scelle_event-0123"], of(1, 1, 0));
        assert_eq!(counts["registry-4567"], of(7, 0, 2));
        assert_eq!(counts[&doc_tests("scelle-bundle")], of(3, 0, 0));
    }

    #[test]
    fn ids_name_their_crate() {
        assert_eq!(
            package_name("path+file:///w/crates/event#scelle-event@0.1.0"),
            "scelle-event"
        );
        assert_eq!(package_name("path+file:///w/crates/xtask#0.1.0"), "xtask");
    }
}
