//! `executable.*` beside pefile, LIEF, pyelftools and osslsigncode, on real and hostile files.
//!
//! Differences, one by one: `tests/differences/executables.md`.

#[path = "executables_corpus/elf.rs"]
mod elf;
#[path = "executables_corpus/macho.rs"]
mod macho;
#[path = "executables_corpus/pe.rs"]
mod pe;
#[path = "executables_corpus/support.rs"]
mod support;

use scelle_formats::{Digests, Hasher};
use scelle_testkit::Corpus;
use serde_json::Value;
use support::{Differences, parse, recognised};

/// What the other tools have no word for: the name of an `other` file, and how we take it.
const OTHERS: [(&str, Option<&str>); 3] = [
    // An archive of object files for one processor, wrapped as a universal binary.
    (
        "executables/goblin/assets/hello_world_fat_archives",
        Some("executable.macho"),
    ),
    // Terse Executables of EFI firmware: not a format of this issue.
    (
        "executables/goblin/tests/bins/te/test_image_loaded.bin",
        None,
    ),
    (
        "executables/goblin/tests/bins/te/test_image_relocated.bin",
        None,
    ),
];

#[test]
fn every_field_that_the_expected_results_name() {
    let Some(corpus) = Corpus::find("executables beside pefile, LIEF, pyelftools, osslsigncode")
    else {
        return;
    };
    let expected = corpus.expected_json("executables.json");
    let mut differences = Differences::default();
    let mut seen = Vec::new();
    for expected in expected.as_array().expect("a list") {
        let path = expected["path"].as_str().expect("a path");
        seen.push(path.to_owned());
        let bytes = corpus.read(path);
        differences.about(path);
        hashes(&bytes, expected, &mut differences);
        let kind = expected["kind"].as_str().expect("a kind");
        let artefact = match kind {
            "PE" => Some("executable.pe"),
            "ELF" => Some("executable.elf"),
            "Mach-O" => Some("executable.macho"),
            _ => {
                OTHERS
                    .iter()
                    .find(|(known, _)| *known == path)
                    .expect("a known file")
                    .1
            }
        };
        differences.compare(
            "recognised",
            &recognised(path, &bytes),
            &artefact.into_iter().collect(),
        );
        let Some(artefact) = artefact else { continue };
        let said = parse(artefact, &bytes);
        match kind {
            "PE" => pe::compare(&said, expected, &mut differences),
            "ELF" => elf::compare(&said, expected, &mut differences),
            "Mach-O" => macho::compare(&said, expected, &mut differences),
            _ => macho::compare_archive(&said, &mut differences),
        }
    }
    for folder in ["executables", "malformed/pe"] {
        for file in corpus.files(folder) {
            assert!(
                seen.contains(&file) || file.ends_with(".txt"),
                "{file} was not compared"
            );
        }
    }
    differences.finish();
}

/// What the ledger says of every stream that is collected.
fn hashes(bytes: &[u8], expected: &Value, differences: &mut Differences) {
    differences.compare(
        "size",
        &Some(bytes.len() as u64),
        &expected["size"].as_u64(),
    );
    let mut hasher = Hasher::new().with_md5().with_sha1();
    hasher.update(bytes);
    let digests: Digests = hasher.finish();
    let hex = |bytes: &[u8]| Some(support::hex(bytes));
    let stated = |name: &str| expected[name].as_str().map(str::to_owned);
    differences.compare("sha256", &hex(&digests.sha256), &stated("sha256"));
    let md5 = digests.md5.as_ref().and_then(|hash| hex(hash));
    differences.compare("md5", &md5, &stated("md5"));
    let sha1 = digests.sha1.as_ref().and_then(|hash| hex(hash));
    differences.compare("sha1", &sha1, &stated("sha1"));
}
