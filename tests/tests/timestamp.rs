//! Time-stamps, as users ask for them.

mod support;

use std::fs;

use scelle_testkit::{TimeService, has_tool};
use support::{run_scelle, text, windows_folder};

#[test]
fn a_bundle_is_dated_by_a_service() {
    if !has_tool("openssl", "time-stamps") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    windows_folder(&folder.path().join("source"));
    let key = ["-newkey", "rsa:2048"];
    let service = TimeService::make(&folder.path().join("tsa"), &key, "sha256", "sha1");
    let ca = text(&service.path("ca.pem"));
    let address = service.serve();
    let (source, out) = (at("source"), at("case.scelle.zip"));
    let collect = [
        "collect", "--source", &source, "--tlp", "amber", "--out", &out,
    ];
    let made = run_scelle([&collect[..], &["--timestamp", &address]].concat()).ended(0);
    assert!(made.text().contains("Time-stamp"), "{}", made.text());
    let answer = run_scelle(["verify", &out, "--tsa-cert", &ca, "--json"])
        .ended(3)
        .json();
    assert_eq!(answer["timestamp"]["trusted"], true, "{answer}");
    assert_eq!(answer["timestamp"]["service"], "CN=time service");
    let shown = run_scelle(["verify", &out]).ended(3);
    assert!(shown.text().contains("--tsa-cert"), "{}", shown.text());

    // The extracted bag says the same.
    run_scelle(["extract", &out, "--to", &at("clear"), "--in-clear"]).ended(0);
    let bag = at("clear/case");
    let answer = run_scelle(["verify", &bag, "--tsa-cert", &ca, "--json"])
        .ended(3)
        .json();
    assert_eq!(answer["timestamp"]["trusted"], true, "{answer}");

    // Nobody there: the bundle is sealed all the same, and says that it was asked for.
    let out = at("alone.scelle.zip");
    let collect = [
        "collect", "--source", &source, "--tlp", "amber", "--out", &out,
    ];
    let none = ["--timestamp", "http://127.0.0.1:9/"];
    let made = run_scelle([&collect[..], &none].concat()).ended(0);
    assert!(made.err.contains("there is no time-stamp"), "{}", made.err);
    let lacking = |bundle: &str, more: &[&str], words: &str| {
        let asked = run_scelle([&["verify", bundle, "--quiet"][..], more].concat()).ended(3);
        let text = asked.text();
        assert!(text.contains(words), "{more:?}: {text}");
        let asked = run_scelle([&["verify", bundle, "--json"][..], more].concat()).ended(3);
        asked.json()
    };
    let none: &[&str] = &[];
    for more in [none, &["--tsa-cert", &ca]] {
        let answer = lacking(&out, more, "http://127.0.0.1:9/ was asked");
        assert!(answer["timestamp"].is_null());
        assert_eq!(answer["timestamp_asked"], "http://127.0.0.1:9/");
    }
    run_scelle(["extract", &out, "--to", &at("alone"), "--in-clear"]).ended(0);
    let audit = fs::read_to_string(at("alone/alone/records/audit.jsonl")).expect("readable");
    assert!(
        audit.contains("\"ask-time\",\"subject\":\"http://127.0.0.1:9/\""),
        "{audit}"
    );

    let answer = lacking(&at("alone/alone"), &[], "http://127.0.0.1:9/ was asked");
    assert_eq!(answer["timestamp_asked"], "http://127.0.0.1:9/");

    // Somebody who carries an extracted bundle takes its time-stamp away.
    let taken = fs::read_dir(at("clear/case/signatures")).expect("readable");
    let taken = taken.map(|entry| entry.expect("readable").path());
    let taken: Vec<_> = taken
        .filter(|path| path.extension().is_some_and(|end| end == "tsr"))
        .collect();
    assert_eq!(taken.len(), 1);
    fs::remove_file(&taken[0]).expect("removed");
    let answer = lacking(&bag, &["--tsa-cert", &ca], &format!("{address} was asked"));
    assert_eq!(answer["timestamp_asked"], address.as_str());

    // Nobody was asked.
    let plain = at("plain.scelle.zip");
    let (tlp, to) = (["--tlp", "amber"], ["--out", &plain]);
    run_scelle([&["collect", "--source", &source][..], &tlp, &to].concat()).ended(0);
    let answer = lacking(&plain, &["--tsa-cert", &ca], "no service was asked");
    assert!(answer["timestamp_asked"].is_null(), "{answer}");

    let refused = ["--timestamp", "https://tsa.example.org"];
    let refused = run_scelle([&collect[..], &["--force"], &refused].concat()).ended(2);
    assert!(refused.err.contains("http://"), "{}", refused.err);
}

#[test]
fn a_password_in_an_address_is_refused_and_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    windows_folder(&folder.path().join("source"));
    let (source, out) = (at("source"), at("out"));
    let (source, out) = (&*source, &*out);
    let collect = ["collect", "--source", source, "--tlp", "amber", "--out"];
    let forge = ["forge", "--team", "none.toml", "--case", "1", "--for"];
    for command in [
        [&collect[..], &[out]].concat(),
        vec!["triage", source, "--tlp", "amber", "--out", out],
        [&forge[..], &["linux-x64", "--out", out]].concat(),
    ] {
        let secret = ["--timestamp", "http://ana:hunter2@tsa.example.org/"];
        let refused = run_scelle([&command[..], &secret].concat()).ended(2);
        assert!(refused.err.contains("tsa.example.org"), "{}", refused.err);
        assert!(!refused.err.contains("hunter2"), "{}", refused.err);
        assert!(!folder.path().join("out").exists());
    }
}
