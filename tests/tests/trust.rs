//! Keys that vouch for bundles, as their users make and ask for them.

mod support;

use std::fs;

use support::{run_scelle, text, windows_folder};

#[test]
fn a_bundle_is_vouched_for_by_the_key_of_its_case() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    windows_folder(&folder.path().join("source"));
    let made = run_scelle(["key", "new", &at("case"), "--user", "case 42"]).ended(0);
    assert!(made.err.contains("SCELLE_KEY_PASSWORD"), "{}", made.err);
    let ana = run_scelle(["key", "new", &at("ana"), "--user", "Ana", "--json"]).ended(0);
    let fingerprint = ana.json()["fingerprint"].as_str().expect("text").to_owned();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(at("ana.key.asc"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "a secret is its owner's alone");
    }
    // A key is never written over.
    let before = fs::read(at("ana.key.asc")).expect("there");
    let refused = run_scelle(["key", "new", &at("ana"), "--user", "Ana"]).ended(2);
    assert!(refused.err.contains("ana"), "{}", refused.err);
    assert!(fs::read(at("ana.key.asc")).expect("there") == before);

    let (case, certificate) = (at("case.key.asc"), at("ana.cert.asc"));
    let certified = at("ana-certified.asc");
    let certify = |fingerprint: &str| {
        let by = ["--fingerprint", fingerprint, "--by", &case, "--for", "30d"];
        let command = ["key", "certify", &certificate, "--out", &certified];
        run_scelle([&command[..], &by].concat())
    };
    let refused = certify(&"0".repeat(40)).ended(2);
    assert!(refused.err.contains("not the one meant"), "{}", refused.err);
    certify(&fingerprint).ended(0);

    // The certified certificate is joined to the key by whoever holds it: here GnuPG would.
    let (source, out) = (at("source"), at("case.scelle.zip"));
    let collect = [
        "collect", "--source", &source, "--tlp", "amber", "--out", &out,
    ];
    let key = at("ana.key.asc");
    run_scelle(
        [
            &collect[..],
            &["--sign-with", &key, "--certificate", &certified],
        ]
        .concat(),
    )
    .ended(0);
    let trust = at("case.cert.asc");
    let answer = run_scelle(["verify", &out, "--trust", &trust, "--json"])
        .ended(0)
        .json();
    assert_eq!(answer["verdict"], "sealed");
    assert_eq!(answer["signers"][0]["fingerprint"], fingerprint.as_str());
    assert!(answer["signed_at"].is_string(), "{answer}");

    let revoked = at("revoked.asc");
    run_scelle([
        "key",
        "revoke",
        &certificate,
        "--by",
        &case,
        "--out",
        &revoked,
    ])
    .ended(0);
    let command = ["verify", &out, "--trust", &trust, "--revocations", &revoked];
    let answer = run_scelle(command).ended(3);
    assert!(
        answer.text().contains("is revoked since"),
        "{}",
        answer.text()
    );
}
