//! Prepared collectors that deliver by themselves, on a host whose owner would have it otherwise.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod support;

use std::{fs, path::Path, process::Command};

use scelle_testkit::{
    Authority, Cuts, CuttingProxy, Front, HttpProxy, MountedMemory, ObjectStore, Random,
    SshOptions, SshServer, StoreFront, closed_address,
};
use serde_json::Value;
use support::{
    Ran, collector, files,
    forged::{Forged, forge_in, team_key},
    only, run, run_scelle, scelle, text,
};

/// What the collector takes, and how it is prepared in these tests.
const EVERYTHING: [&str; 2] = ["--profile", "everything"];

/// `scelle`, with the store's credentials in the environment of whoever prepares.
fn preparing(server: &ObjectStore) -> Command {
    let mut command = scelle();
    command
        .env("AWS_ACCESS_KEY_ID", &server.access)
        .env("AWS_SECRET_ACCESS_KEY", &server.secret);
    command
}

/// A collector for a folder's evidence, that delivers.
fn forge(command: Command, more: &[&str]) -> Forged {
    let folder = tempfile::tempdir().expect("a folder");
    let more = [&EVERYTHING[..], more].concat();
    forge_in(folder, command, Some("FOLDER/evidence"), &more, 0)
}

/// The program on a host whose owner has set all that could lead it elsewhere, or nowhere.
fn on_a_hostile_host(forged: &Forged) -> Command {
    let home = forged.folder.path().join("home");
    fs::create_dir_all(home.join(".ssh")).expect("made");
    let theirs = Authority::new(&home, "theirs");
    let theirs = theirs.map_or_else(|| home.join("none.pem"), |one| one.certificate());
    let nobody = format!("http://{}", closed_address());
    let mut command = forged.command();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, &nobody).env(name.to_lowercase(), &nobody);
    }
    for name in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        command.env(name, &theirs);
    }
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        command.env(name, &nobody);
    }
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "SCELLE_PROXY_LOGIN",
        "SCELLE_SFTP_PASSWORD",
        "SCELLE_SSH_KEY_PASSWORD",
        "SCELLE_KEY_PASSWORD",
    ] {
        command.env(name, "wrong:wrong");
    }
    command
        .env("SSH_AUTH_SOCK", home.join("no-agent"))
        .env("HOME", &home);
    command
}

/// What was delivered is what was sealed, and vouched for by the case's key; none of its records has a secret.
fn check(forged: &Forged, bundle: &[u8], root: &str, secrets: &[&str]) {
    let (path, trust) = (
        forged.at("stored.scelle.zip.pgp"),
        forged.at("case-42.cert.asc"),
    );
    fs::write(&path, bundle).expect("written");
    let key = team_key();
    let verify = ["verify", &path, "--key", &key, "--trust", &trust];
    run_scelle([&verify[..], &["--root", root]].concat()).ended(0);
    let to = forged.folder.path().join("clear");
    let out = text(&to);
    run_scelle(["extract", &path, "--key", &key, "--to", &out, "--in-clear"]).ended(0);
    for name in files(&to) {
        let bytes = fs::read(to.join(&name)).expect("readable");
        for secret in secrets {
            assert!(!has(&bytes, secret.as_bytes()), "{name} has {secret}");
        }
    }
    fs::remove_dir_all(&to).expect("removed");
    fs::remove_file(&path).expect("removed");
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Nothing that was shown has a secret.
fn shows_none(ran: Ran, secrets: &[&str]) -> Ran {
    for secret in secrets {
        assert!(!ran.err.contains(secret), "{secret}: {}", ran.err);
        assert!(!ran.text().contains(secret), "{secret}: {}", ran.text());
    }
    ran
}

#[test]
fn it_delivers_to_the_store_of_its_plan_whatever_the_host_says() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(ours) = Authority::new(folder.path(), "ours") else {
        return;
    };
    let tls = Some(ours.certify("IP:127.0.0.1"));
    let front = StoreFront::start(
        server.address(),
        Front {
            tls,
            ..Front::default()
        },
    );
    let proxy = HttpProxy::start();
    let endpoint = format!("https://{}", front.address());
    let mut command = preparing(&server);
    command.env("SCELLE_PROXY_LOGIN", "ana:hunter2-proxy");
    let (ca, through) = (text(&ours.certificate()), proxy.url());
    let to = ["--deliver-to", "s3://vault/case-42/", "--ca-cert", &ca];
    let by = ["--endpoint", &endpoint, "--proxy", &through];
    let forged = forge(command, &[to, by].concat());
    let secrets = [&*server.secret, "hunter2-proxy"];
    assert_eq!(forged.said["deliver_to"], "s3://vault/case-42/");
    assert!(forged.err.contains("in clear"), "{}", forged.err);
    assert!(forged.err.contains("write and nothing else"));
    for secret in secrets {
        assert!(!forged.err.contains(secret) && !forged.said.to_string().contains(secret));
    }

    // Where it goes is said first.
    let said = run(on_a_hostile_host(&forged), ["--dry-run"]).ended(0);
    let before = files(forged.folder.path());
    for told in ["s3://vault/case-42/case-42-run-", &endpoint, &through] {
        assert!(said.err.contains(told), "{told}: {}", said.err);
    }
    assert!(said.err.contains(".receipt.json") && said.err.contains(".rest"));
    assert!(proxy.heard().is_empty());
    shows_none(said, &secrets);

    let ran = run(on_a_hostile_host(&forged), ["--json"]).ended(0);
    let told = shows_none(ran, &secrets).json();
    let address = told["bundle"].as_str().expect("an address");
    let key = address.strip_prefix("s3://vault/").expect("its place");
    assert!(key.starts_with("case-42/case-42-run-"), "{key}");
    assert_eq!(told["receipt"]["endpoint"], endpoint);
    assert!(proxy.heard()[0].contains("YW5hOmh1bnRlcjItcHJveHk="));
    // Nothing is written but the receipt, in the program's folder.
    let after = files(forged.folder.path());
    let new: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    assert_eq!(told["receipt_file"], forged.at(new[0]));
    let receipt = fs::read_to_string(forged.at(new[0])).expect("there");
    assert!(secrets.iter().all(|secret| !receipt.contains(secret)));
    let root = told["root"].as_str().expect("a root");
    check(&forged, &server.object(key).expect("there"), root, &secrets);

    // Another run is another bundle, and what is shown says so.
    let ran = run(on_a_hostile_host(&forged), [""; 0]).ended(0);
    assert!(ran.text().contains("Confirmed"), "{}", ran.text());
    shows_none(ran, &secrets);
}

#[test]
fn it_logs_in_with_the_key_of_its_plan() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = SshServer::start(&folder.path().join("sshd")) else {
        return;
    };
    let drop = folder.path().join("drop");
    fs::create_dir(&drop).expect("made");
    let port = server.address().port();
    let to = format!(
        "sftp://{}@{}{}/",
        server.user,
        server.address(),
        text(&drop)
    );
    let (host_key, key) = (server.fingerprint("ed25519"), text(&server.key("locked")));
    let to = ["--deliver-to", &to, "--host-key", &host_key];
    let by = ["--ssh-key", &key, "--read-back"];
    let more = [&to[..], &by].concat();
    // The key's own password opens it here, and goes nowhere.
    let mut command = scelle();
    command.env("SCELLE_SSH_KEY_PASSWORD", "another password");
    let place = tempfile::tempdir().expect("a folder");
    let refused = forge_in(place, command, Some("FOLDER/evidence"), &more, 2);
    assert!(refused.err.contains(&key), "{}", refused.err);
    assert!(!refused.err.contains("another password"), "{}", refused.err);
    let mut command = scelle();
    command.env("SCELLE_SSH_KEY_PASSWORD", "a password");
    let forged = forge(command, &more);
    let program = fs::read(forged.at("forged")).expect("readable");
    let released = fs::metadata(collector().get_program())
        .expect("there")
        .len() as usize;
    assert!(!has(&program[released..], b"a password"));
    assert!(has(&program[released..], b"BEGIN OPENSSH PRIVATE KEY"));

    let mut command = on_a_hostile_host(&forged);
    let known = forged.folder.path().join("home/.ssh/known_hosts");
    fs::write(known, server.known_host("rsa", port)).expect("written");
    command.arg("-v");
    let ran = run(command, ["--json"]).ended(0);
    let told = shows_none(ran, &["PRIVATE KEY"]).json();
    let confirmed = told["receipt"]["confirmed"].as_array().expect("a list");
    assert_eq!(confirmed.len(), 4, "read back too: {told}");
    let bundle = fs::read(only(&drop, ".scelle.zip.pgp")).expect("there");
    let root = told["root"].as_str().expect("a root");
    check(&forged, &bundle, root, &["PRIVATE KEY"]);

    // A server that shows another key gets nothing, whatever the host knows.
    let other = server.fingerprint("rsa").replace("SHA256:", "SHA256:A");
    let other = &other[..other.len() - 1];
    let to = ["--deliver-to", to[1], "--host-key", other];
    let mut command = scelle();
    command.env("SCELLE_SSH_KEY_PASSWORD", "a password");
    let forged = forge(command, &[&to[..], &by].concat());
    let mut command = on_a_hostile_host(&forged);
    let known = forged.folder.path().join("home/.ssh/known_hosts");
    fs::write(known, server.known_host("ed25519", port)).expect("written");
    command.args(["--retry-for", "5"]);
    let ran = run(command, [""; 0]).ended(2);
    assert!(ran.err.contains("no key that is known"), "{}", ran.err);
    assert!(ran.err.contains("--out DIR"), "{}", ran.err);
    only(&drop, ".scelle.zip.pgp");
}

#[test]
fn it_logs_in_with_the_password_of_its_plan() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SshOptions {
        takes_password: true,
        ..SshOptions::default()
    };
    let Some(server) = SshServer::start_with(&folder.path().join("sshd"), options) else {
        return;
    };
    let drop = folder.path().join("drop");
    fs::create_dir(&drop).expect("made");
    let to = format!(
        "sftp://{}@{}{}/",
        server.user,
        server.address(),
        text(&drop)
    );
    let host_key = server.fingerprint("ecdsa");
    let mut command = scelle();
    command.env("SCELLE_SFTP_PASSWORD", server.password());
    let forged = forge(command, &["--deliver-to", &to, "--host-key", &host_key]);
    let ran = run(on_a_hostile_host(&forged), ["--json"]).ended(0);
    let told = shows_none(ran, &[server.password()]).json();
    let bundle = fs::read(only(&drop, ".scelle.zip.pgp")).expect("there");
    let root = told["root"].as_str().expect("a root");
    check(&forged, &bundle, root, &[server.password()]);
}

/// A store that goes away in the middle, or is not there at all: the rest lies in the program's folder, and is
/// delivered later, by whoever has it.
#[test]
fn a_store_that_is_gone_gets_the_rest_later() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let cuts = Cuts {
        gone_after: 12 << 20,
        ..Cuts::default()
    };
    let proxy = CuttingProxy::start(server.address(), cuts);
    for (gone, has_begun) in [(proxy.address(), true), (closed_address(), false)] {
        let gone = format!("http://{gone}");
        let to = ["--deliver-to", "s3://vault/", "--endpoint", &gone];
        let forged = forge(preparing(&server), &to);
        let noise = Random(88_172_645_463_325_252).bytes(20 << 20);
        fs::write(forged.at("evidence/noise"), noise).expect("written");
        let mut command = on_a_hostile_host(&forged);
        command.args(["--retry-for", "0", "--piece-bytes", "5MiB"]);
        let ran = shows_none(run(command, ["--json"]).ended(2), &[&server.secret]);
        let told = ran.json();
        let rest = only(forged.folder.path(), ".scelle.zip.pgp.rest");
        assert_eq!(told["rest"], text(&rest));
        assert_eq!(told["delivered_bytes"] != 0, has_begun, "{told}");
        let go_on = format!("scelle deliver {} --endpoint {gone}", text(&rest));
        assert!(ran.err.contains(&go_on), "{}", ran.err);
        assert_eq!(ran.err.contains("of no use"), has_begun, "{}", ran.err);
        let name = rest
            .file_name()
            .expect("it has one")
            .to_str()
            .expect("text");
        let key = name.strip_suffix(".rest").expect("its ending");
        assert!(server.object(key).is_none());

        // It is known to be ciphertext, and where it goes.
        let mut command = preparing(&server);
        command.env("AWS_ENDPOINT_URL_S3", server.endpoint());
        let done = run(command, ["deliver", &text(&rest), "--moved", "--json"]).ended(0);
        let receipt = &done.json()["receipt"];
        assert_eq!(receipt["to"], format!("s3://vault/{key}"));
        assert_eq!(receipt["root"]["root"], told["root"]);
        let root = told["root"].as_str().expect("a root");
        check(&forged, &server.object(key).expect("there"), root, &[]);
    }
}

/// The program lies on what it collects, or where nothing can be written: nothing is, and it delivers all the same.
#[test]
fn what_may_not_be_written_is_said_before_it_begins() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let endpoint = server.endpoint();
    let to = ["--deliver-to", "s3://vault/", "--endpoint", &endpoint];
    let folder = || tempfile::tempdir().expect("a folder");
    // Of a source that holds the program, the evidence alone.
    let other = folder();
    let profile = other.path().join("some.toml");
    let some = r#"
name = "some"
summary = "Some."
[[targets]]
id = "some"
summary = "Some."
paths = ["**/Windows/**"]
"#;
    fs::write(&profile, some).expect("written");
    let profile = text(&profile);
    let more = [&["--profile", &*profile][..], &to].concat();
    let prepare = |folder, source: &str, more: &[&str]| {
        forge_in(folder, preparing(&server), Some(source), more, 0)
    };
    let delivers = |forged: &Forged, why: &str| {
        let before = files(forged.folder.path());
        let ran = forged.run(&["--json"]).ended(0);
        assert!(ran.err.contains("not be written"), "{}", ran.err);
        assert!(
            ran.err.contains("all that was collected is lost"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains(why), "{}", ran.err);
        let told = ran.json();
        assert_eq!(told["receipt_file"], Value::Null);
        assert_eq!(told["receipt"]["root"]["root"], told["root"]);
        assert_eq!(files(forged.folder.path()), before);
    };
    // Of its own volume.
    let forged = prepare(folder(), "FOLDER", &more);
    delivers(&forged, "may lie, on what is collected");
    // What the operator names is not given up in silence.
    let refused = forged.run(&["--fallback", &forged.at("")]).ended(2);
    assert!(
        refused.err.contains("would lie on the source"),
        "{}",
        refused.err
    );
    let elsewhere = folder();
    let at = |name: &str| text(&elsewhere.path().join(name));
    let (receipt, rest) = (at("receipt"), at("rest"));
    let ran = forged
        .run(&["--receipt", &receipt, "--fallback", &rest])
        .ended(0);
    let is_warned = |ran: &Ran| ran.err.contains("not be written") || ran.err.contains("is lost");
    assert!(!is_warned(&ran), "{}", ran.err);
    assert_eq!(files(elsewhere.path()), ["receipt"]);
    // Where the plan lets it write there, it does.
    let forged = prepare(
        folder(),
        "FOLDER",
        &[&more[..], &["--allow-source-volume"]].concat(),
    );
    let ran = forged.run(&[]).ended(0);
    assert!(!is_warned(&ran), "{}", ran.err);
    only(forged.folder.path(), ".receipt.json");

    // Where nothing can be written.
    let forged = prepare(folder(), "FOLDER/evidence", &more);
    let Some(sealed) = MountedMemory::mount(&forged.folder.path().join("sealed"), "size=1g") else {
        return;
    };
    let program = sealed.path().join("forged");
    fs::copy(forged.at("forged"), &program).expect("copied");
    sealed.change("ro");
    let dry = run(Command::new(&program), ["--dry-run"]).ended(0);
    assert!(dry.err.contains("s3://vault/"), "{}", dry.err);
    let ran = run(Command::new(&program), ["--json"]).ended(0);
    assert!(ran.err.contains("takes no file"), "{}", ran.err);
    assert_eq!(ran.json()["receipt_file"], Value::Null);
}

#[test]
fn the_operator_names_another_place_or_none() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let endpoint = server.endpoint();
    let to = [
        "--deliver-to",
        "s3://vault/planned/",
        "--endpoint",
        &endpoint,
    ];
    let forged = forge(preparing(&server), &to);
    let out = forged.folder.path().join("out");
    fs::create_dir(&out).expect("made");
    let out = text(&out);
    // The plan settles how its store is reached.
    for option in [
        &["--endpoint", "http://127.0.0.1:1"][..],
        &["--proxy", "http://127.0.0.1:1"],
        &["--region", "eu-west-3"],
        &["--ca-cert", "ca.pem"],
        &["--host-key", "SHA256:x"],
        &["--known-hosts", "known"],
        &["--ssh-key", "key"],
        &["--read-back"],
        &["--deliver-in-clear"],
    ] {
        for place in [&[][..], &["--out", &out]] {
            let refused = forged.run(&[option, place].concat()).ended(2);
            assert!(refused.err.contains(option[0]), "{}", refused.err);
            assert!(
                refused.err.contains("stands in its plan"),
                "{}",
                refused.err
            );
        }
    }
    forged.run(&["--resume"]).ended(2);
    forged.run(&["--out", &out, "--fallback", &out]).ended(2);
    assert!(files(Path::new(&out)).is_empty());

    // A folder: nothing is delivered.
    let told = forged.run(&["--out", &out, "--json"]).ended(0).json();
    assert!(told["receipt"].is_null(), "{told}");
    let name = only(Path::new(&out), ".scelle.zip.pgp");
    let name = name
        .file_name()
        .expect("it has one")
        .to_str()
        .expect("text");
    assert!(server.object(&format!("planned/{name}")).is_none());

    // Another store: the operator's options and environment count, and nothing of the plan's.
    let other = ["--out", "s3://vault/other/", "--retry-for", "5"];
    let mut command = forged.command();
    command.env_remove("AWS_ACCESS_KEY_ID");
    let refused = run(command, other).ended(2);
    assert!(refused.err.contains("AWS_ACCESS_KEY_ID"), "{}", refused.err);
    let mut command = forged.command();
    command
        .env("AWS_ACCESS_KEY_ID", &server.access)
        .env("AWS_SECRET_ACCESS_KEY", &server.secret)
        .args(["--endpoint", &endpoint, "--json"]);
    let told = run(command, other).ended(0).json();
    let key = told["bundle"]
        .as_str()
        .and_then(|to| to.strip_prefix("s3://vault/other/"));
    assert!(
        server
            .object(&format!("other/{}", key.expect("its place")))
            .is_some()
    );
}

#[test]
fn nothing_that_could_not_deliver_is_prepared() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| text(&folder.path().join(name));
    let refuse = |variables: &[(&str, &str)], more: &[&str]| {
        let mut command = scelle();
        command.envs(variables.iter().copied());
        let place = tempfile::tempdir().expect("a folder");
        let refused = forge_in(place, command, Some("FOLDER/evidence"), more, 2);
        assert!(!Path::new(&refused.at("forged")).exists());
        assert!(!refused.err.contains("hunter2"), "{}", refused.err);
        refused.err
    };
    let keys = [
        ("AWS_ACCESS_KEY_ID", "access"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ];
    let s3 = ["--deliver-to", "s3://vault/x/"];
    let sftp = ["--deliver-to", "sftp://ana@127.0.0.1/in/"];
    let host_key = format!("SHA256:{}", "A".repeat(43));
    let known = [&sftp[..], &["--host-key", &host_key]].concat();
    fs::write(at("both.pem"), "-----BEGIN PRIVATE KEY-----\nhunter2\n").expect("written");
    fs::write(at("none.pem"), "no certificate").expect("written");
    fs::write(at("key"), "hunter2").expect("written");
    let with = |to: &[&'static str; 2], more: &[&str]| -> Vec<String> {
        to.iter().chain(more).map(|one| one.to_string()).collect()
    };
    let password = "sftp://ana:hunter2@127.0.0.1/in/";
    for (variables, more, said) in [
        (&[][..], with(&["--deliver-to", password], &[]), "password"),
        (
            &[][..],
            with(&["--deliver-to", "ftp://ana:hunter2@x/"], &[]),
            "no address",
        ),
        (
            &keys[..],
            with(&["--deliver-to", "s3://vault/x.pgp"], &[]),
            "name a folder",
        ),
        (&[][..], with(&s3, &[]), "AWS_SECRET_ACCESS_KEY"),
        (
            &keys[..],
            with(&s3, &["--endpoint", "http://a:hunter2@x"]),
            "no endpoint",
        ),
        (
            &keys[..],
            with(&s3, &["--proxy", "http://a:hunter2@x"]),
            "no proxy",
        ),
        (
            &keys[..],
            with(&s3, &["--ca-cert", &at("both.pem")]),
            "private key",
        ),
        (
            &keys[..],
            with(&s3, &["--ca-cert", &at("none.pem")]),
            "no certificate in PEM",
        ),
        (
            &keys[..],
            with(&s3, &["--ca-cert", &at("nothing")]),
            "nothing",
        ),
        (
            &keys[..],
            with(&s3, &["--host-key", &host_key]),
            "--host-key is for",
        ),
        (&keys[..], with(&s3, &["--read-back"]), "--read-back is for"),
        (&[][..], with(&sftp, &[]), "--host-key SHA256"),
        (
            &[][..],
            with(&sftp, &["--host-key", &host_key]),
            "SCELLE_SFTP_PASSWORD",
        ),
        (
            &[][..],
            with(&sftp, &["--proxy", "http://x"]),
            "--proxy is for",
        ),
        (
            &keys[..],
            with(&["--endpoint", "http://x"], &[]),
            "--deliver-to",
        ),
    ] {
        let more: Vec<_> = more.iter().map(String::as_str).collect();
        let err = refuse(variables, &more);
        assert!(err.contains(said), "{more:?}: {said}: {err}");
    }
    let password = [("SCELLE_SFTP_PASSWORD", "hunter2")];
    let err = refuse(&password, &[&known[..], &["--host-key", "x"]].concat());
    assert!(err.contains("no fingerprint"), "{err}");
    let err = refuse(&[], &[&known[..], &["--ssh-key", &at("key")]].concat());
    assert!(err.contains(&at("key")), "{err}");

    // What is set here and not put into the plan is said.
    let mut command = scelle();
    command
        .envs(keys)
        .env("AWS_SESSION_TOKEN", "hunter2-token")
        .env("AWS_ENDPOINT_URL", "http://x")
        .env("AWS_REGION", "eu-west-3");
    let forged = forge(command, &[&s3[..], &["--region", "eu-west-3"]].concat());
    assert!(
        forged.err.contains("AWS_ENDPOINT_URL is set"),
        "{}",
        forged.err
    );
    assert!(!forged.err.contains("AWS_REGION"), "{}", forged.err);
    assert!(
        forged.err.contains("AWS_SESSION_TOKEN ends"),
        "{}",
        forged.err
    );
    assert!(!forged.err.contains("hunter2"), "{}", forged.err);
}
