//! `executable.pe` beside pefile 2024.8.26, LIEF 1.0.0 and osslsigncode 2.9.

use std::collections::BTreeMap;

use serde_json::Value;

use super::support::{Differences, Explained, Said};

const SHIM: &str = "debian/shimx64.efi.signed.zst";
const SHIM_DIGESTS: &str = concat!(
    r#"["80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8", "#,
    r#""80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8"]"#
);

const EXPLAINED: &[Explained] = &[
    ("debian/fwupdx64.efi.signed", "lief_signatures", "1", "0"),
    (
        SHIM,
        "osslsigncode Current message digest",
        SHIM_DIGESTS,
        "[]",
    ),
    (
        SHIM,
        "osslsigncode Calculated message digest",
        SHIM_DIGESTS,
        "[]",
    ),
    (SHIM, "osslsigncode subjects", "false", "true"),
    (
        "yara/tiny-idata-51ff",
        "lief_imphash",
        r#"Some("1720bf764274b7a4052bbef0a71adc0d")"#,
        r#"Some("")"#,
    ),
    (
        "pelite-tiny/tiny.import.161",
        "lief_imphash",
        r#"Some("51c4e98e76bd946f81a1a9c26b55ce8b")"#,
        r#"Some("")"#,
    ),
    (
        "pelite-tiny/tiny.webdav.133",
        "lief_imphash",
        r#"Some("b38bb0cee5bec805af4cccb0d5e8c9f5")"#,
        r#"Some("")"#,
    ),
    (
        "pelite-tiny/tiny.97",
        "checksum_calc",
        "Some(37482)",
        "Some(37509)",
    ),
    (
        "pelite-tiny/tiny.webdav.133",
        "checksum_calc",
        "Some(63410)",
        "Some(63529)",
    ),
    (
        "pelite-tiny/tiny.webdav.133",
        "overlay_offset",
        "None",
        "Some(133)",
    ),
    (
        "pelite-tiny/tiny.webdav.133",
        "security_dir",
        "[]",
        "[0, 0]",
    ),
];

/// Compares every field that pefile, LIEF and osslsigncode name.
pub(crate) fn compare(said: &Said, expected: &Value, out: &mut Differences) {
    out.explain(EXPLAINED);
    let [ours] = said.records.as_slice() else {
        panic!("{}: one record is wanted", expected["path"]);
    };
    let number = |value: &Value| value.as_u64();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let hex = |value: &Value| {
        let digits = text(value)?;
        u64::from_str_radix(digits.trim_start_matches("0x"), 16).ok()
    };
    let count = |value: &Value| value.as_array().map_or(0, Vec::len) as u64;

    out.compare(
        "machine",
        &number(&ours["machine_code"]),
        &hex(&expected["machine"]),
    );
    let magic = match ours["format"].as_str() {
        Some("PE32") => Some(0x10b),
        Some("PE32+") => Some(0x20b),
        _ => None,
    };
    out.compare("magic", &magic, &hex(&expected["magic"]));
    for (field, theirs) in [
        ("subsystem_code", "subsystem"),
        ("timestamp", "ts"),
        ("entry_point", "entry"),
        ("checksum", "checksum"),
        ("computed_checksum", "checksum_calc"),
        ("overlay_offset", "overlay_offset"),
    ] {
        out.compare(theirs, &number(&ours[field]), &number(&expected[theirs]));
    }
    let certificates = [&ours["certificate_offset"], &ours["certificate_bytes"]];
    let certificates: Vec<u64> = certificates.into_iter().filter_map(number).collect();
    let theirs: Vec<u64> = expected["security_dir"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(number)
        .collect();
    out.compare("security_dir", &certificates, &theirs);

    let imphash = text(&ours["imphash"]).unwrap_or_default();
    out.compare(
        "imphash",
        &Some(imphash.clone()),
        &text(&expected["imphash"]),
    );
    if expected.get("lief_imphash").is_some() {
        out.compare(
            "lief_imphash",
            &Some(imphash),
            &text(&expected["lief_imphash"]),
        );
    }
    out.compare(
        "rich_hash",
        &text(&ours["rich_hash"]),
        &text(&expected["rich_hash"]),
    );
    let named = ours["exports"].as_array().into_iter().flatten();
    let named = named.filter(|export| export.get("name").is_some()).count() as u64;
    out.compare(
        "exports",
        &Some(count(&ours["exports"])),
        &number(&expected["exports"]),
    );
    out.compare(
        "exports_named",
        &Some(named),
        &number(&expected["exports_named"]),
    );
    if expected.get("lief_exports").is_some() {
        out.compare(
            "lief_exports",
            &Some(count(&ours["exports"])),
            &number(&expected["lief_exports"]),
        );
        out.compare(
            "lief_sections",
            &Some(count(&ours["sections"])),
            &number(&expected["lief_sections"]),
        );
    }
    imports(ours, expected, out);
    sections(ours, expected, out);

    let pdbs = ours["pdbs"].as_array().into_iter().flatten();
    let pdbs: Vec<_> = pdbs.filter_map(|pdb| text(&pdb["path"])).collect();
    let theirs: Vec<_> = expected["pdb"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(text)
        .collect();
    out.compare("pdb", &pdbs, &theirs);
    let map = |value: &Value| -> BTreeMap<String, Option<String>> {
        let entries = value.as_object().into_iter().flatten();
        entries
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    };
    out.compare(
        "version_info",
        &map(&ours["version_info"]),
        &map(&expected["version_info"]),
    );
    signatures(ours, expected, out);
}

fn imports(ours: &Value, expected: &Value, out: &mut Differences) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for library in ours["imports"].as_array().into_iter().flatten() {
        let name = library["library"].as_str().expect("a name").to_owned();
        *counts.entry(name).or_default() +=
            library["symbols"].as_array().map_or(0, Vec::len) as u64;
    }
    let theirs: BTreeMap<String, u64> = expected["imports"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, count)| (name.clone(), count.as_u64().expect("a count")))
        .collect();
    out.compare("imports", &counts, &theirs);
}

fn sections(ours: &Value, expected: &Value, out: &mut Differences) {
    let row = |section: &Value, names: [&str; 5]| -> Vec<String> {
        let show = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        names.iter().map(|name| show(&section[*name])).collect()
    };
    let flags = |section: &Value| section["characteristics"].as_u64();
    let theirs_flags = |section: &Value| {
        u64::from_str_radix(section["chars"].as_str()?.trim_start_matches("0x"), 16).ok()
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (ours, theirs) = (list(&ours["sections"]), list(&expected["sections"]));
    out.compare("sections", &ours.len(), &theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let name = theirs["name"].as_str().expect("a name");
        let label = |field: &str| format!("section {name} {field}");
        let we = [
            "name",
            "virtual_address",
            "virtual_bytes",
            "raw_offset",
            "raw_bytes",
        ];
        let they = ["name", "va", "vsize", "raw", "rawsize"];
        out.compare(&label("place"), &row(ours, we), &row(theirs, they));
        out.compare(&label("flags"), &flags(ours), &theirs_flags(theirs));
        let hash = |section: &Value| section["sha256"].as_str().map(str::to_owned);
        out.compare(&label("sha256"), &hash(ours), &hash(theirs));
        let entropy = ours["entropy"].as_str().map(str::to_owned);
        let stated = theirs["entropy"].as_f64().map(|bits| format!("{bits:.4}"));
        out.compare(&label("entropy"), &entropy, &stated);
    }
}

fn signatures(ours: &Value, expected: &Value, out: &mut Differences) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let texts = |values: &[Value]| -> Vec<String> {
        values
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let signatures = list(&ours["signatures"]);
    let outer: Vec<_> = signatures
        .iter()
        .filter(|one| one["nesting"] == 0)
        .collect();
    if let Some(theirs) = expected["lief_signatures"].as_u64() {
        out.compare("lief_signatures", &(outer.len() as u64), &theirs);
    }
    if let Some(theirs) = expected.get("authenticode_sha256") {
        let hash = ours["authentihash"].as_str().map(str::to_owned);
        out.compare(
            "authenticode_sha256",
            &hash,
            &theirs.as_str().map(str::to_owned),
        );
    }
    if let Some(theirs) = expected.get("signers") {
        let subjects: Vec<Value> = outer.iter().map(|one| one["subject"].clone()).collect();
        out.compare("signers", &texts(&subjects), &texts(&list(theirs)));
    }
    if expected.get("lief_verify").is_some() {
        let verified = expected["lief_verify"] == "VERIFICATION_FLAGS.OK";
        out.compare(
            "lief_verify",
            &ours["digest_matches"].as_bool(),
            &Some(verified),
        );
    }
    let Some(tool) = expected.get("osslsigncode") else {
        assert!(signatures.is_empty(), "a signature that no tool saw");
        return;
    };
    // Each image digest that the tool computed, and the one it found signed.
    let lines = texts(&list(&tool["digest_lines"]));
    for (label, field) in [
        ("Current message digest", "digest"),
        ("Calculated message digest", "image_digest"),
    ] {
        let theirs: Vec<String> = lines
            .iter()
            .filter(|line| line.starts_with(label))
            .filter_map(|line| Some(line.split_once(": ")?.1.to_lowercase()))
            .collect();
        let found: Vec<Value> = signatures.iter().map(|one| one[field].clone()).collect();
        out.compare(&format!("osslsigncode {label}"), &texts(&found), &theirs);
    }
    let mismatch = ours["digest_matches"].as_bool() == Some(false);
    out.compare(
        "osslsigncode mismatch",
        &Some(mismatch),
        &tool["mismatch"].as_bool(),
    );
    // The tool lists the subjects of all certificates; each of our signers is one of them.
    let subjects = texts(&list(&tool["subjects"]));
    for signature in &signatures {
        let Some(subject) = signature["subject"].as_str() else {
            continue;
        };
        let slashed = format!("Subject: /{}", subject.replace(", ", "/"));
        out.compare("osslsigncode subjects", &subjects.contains(&slashed), &true);
    }
}
