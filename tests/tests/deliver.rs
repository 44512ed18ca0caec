//! Bundles that go to a store, as users send them.

mod support;

use std::{fs, path::Path, process::Command, time::Duration};

use scelle::{
    Order,
    engine::{Plan, Profile, Progress, profile::Limits},
    event::Tlp,
};
use scelle_collector::delivery::Outgoing;
use scelle_deliver::{
    Credentials, Delivery, Ended, PieceSizes, Retry, Root, S3, S3Options, Sftp, SftpOptions, Store,
    StreamOptions,
};
use scelle_testkit::{
    Cuts, CuttingProxy, HttpProxy, ObjectStore, Random, ReaderKey, SshAgent, SshOptions, SshServer,
    closed_address,
};
use serde_json::Value;
use support::{Ran, collector, files, run, text, windows_folder};

/// Evidence that no compression makes smaller.
fn noisy_folder(folder: &Path, megabytes: usize) {
    windows_folder(folder);
    let mut random = Random(88_172_645_463_325_252);
    for number in 0..megabytes {
        let bytes = random.bytes(1 << 20);
        fs::write(folder.join(format!("noise-{number}")), bytes).expect("written");
    }
}

/// The collector, with the store's credentials in its environment.
fn sender(server: &ObjectStore) -> Command {
    let mut command = collector();
    command
        .env("AWS_ACCESS_KEY_ID", &server.access)
        .env("AWS_SECRET_ACCESS_KEY", &server.secret)
        .env("AWS_ENDPOINT_URL_S3", server.endpoint());
    command
}

/// The object, as a file that `verify` finds to have that root.
fn check(server: &ObjectStore, key: &str, root: &str, folder: &Path) {
    let stored = folder.join("stored.scelle.zip");
    fs::write(&stored, server.object(key).expect("it is there")).expect("written");
    let verify = ["verify", &text(&stored), "--root", root, "--json"];
    let answer = run(collector(), verify).ended(0).json();
    assert_eq!(answer["verdict"], "sealed", "{answer}");
}

/// What collects all of a folder, to some place.
fn collect<'a>(source: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["collect", "--source", source, "--out", out];
    arguments.extend(["--profile", "everything", "--tlp", "amber"]);
    arguments.extend(more);
    arguments
}

const FIFTY: Cuts = Cuts {
    seed: 7,
    count: 50,
    within_bytes: 6 << 20,
    first_bytes: 0,
    gone_after: u64::MAX,
};

/// Collects into a store whose line is cut, encrypted where there is a reader, and gives the root.
fn collect_over(
    store: Box<dyn Store>,
    proxy: &CuttingProxy,
    source: &Path,
    reader: Option<&ReaderKey>,
) -> String {
    let options = StreamOptions {
        sizes: PieceSizes::new(5 << 20),
        retry: Retry {
            first: Duration::from_millis(2),
            most: Duration::from_millis(50),
            ..Retry::default()
        },
        fallback: None,
        is_encrypted: reader.is_some(),
    };
    let delivery = Delivery::begin(store, options).expect("begun");
    let progress = Progress::default();
    let opened = scelle::open(source).expect("a folder");
    let profile = Profile::load("everything").expect("known");
    let plan = Plan::new(opened.evidence(), profile, Limits::default(), &progress);
    let mut order = Order::new("cut", Tlp::Amber, "source");
    order.recipients = reader
        .map(|one| scelle::recipient(one.certificate.as_bytes(), &one.fingerprint))
        .transpose()
        .expect("sound")
        .into_iter()
        .collect();
    let (collected, out) =
        scelle::collect_into(&opened, &plan, order, Outgoing(delivery), &progress).expect("sealed");
    let root = Root {
        root: collected.root.clone(),
        from: "sealed in this run".into(),
        tlp: Some(Tlp::Amber.name().into()),
    };
    let ended = out.0.finish(Some(root)).expect("it arrives");
    assert!(matches!(ended, Ended::Delivered(_)), "{ended:?}");
    assert!(proxy.cut() >= 50, "{}", proxy.cut());
    collected.root
}

/// In clear, and for a reader: what they are called, and what `verify` needs besides.
fn ways(folder: &Path) -> [(String, Option<ReaderKey>, Vec<String>); 2] {
    let reader = ReaderKey::make(true);
    let secret = folder.join("secret.asc");
    fs::write(&secret, &reader.secret).expect("written");
    let key = vec!["--key".to_owned(), text(&secret)];
    [
        ("cut.scelle.zip".into(), None, vec![]),
        ("cut.scelle.zip.pgp".into(), Some(reader), key),
    ]
}

/// What arrived is sealed, has that root, and is ciphertext where there is a key.
fn check_arrived(path: &Path, root: &str, key: &[String]) {
    let verify = ["verify", &text(path), "--root", root, "--json"].map(str::to_owned);
    let answer = run(collector(), [&verify[..], key].concat())
        .ended(0)
        .json();
    assert_eq!(answer["verdict"], "sealed", "{answer}");
    let is_ciphertext = scelle::is_ciphertext(path).expect("readable");
    assert_eq!(is_ciphertext, !key.is_empty());
}

#[test]
fn the_same_root_after_fifty_cuts() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    noisy_folder(&source, 64);
    for (name, reader, key) in ways(folder.path()) {
        let proxy = CuttingProxy::start(server.address(), FIFTY);
        let options = S3Options {
            endpoint: Some(format!("http://{}", proxy.address())),
            region: Some("us-east-1".into()),
            ..S3Options::default()
        };
        let credentials = Credentials::new(&server.access, &server.secret, None);
        let address = format!("s3://vault/{name}").parse().expect("an address");
        let store = S3::new(address, credentials, options).expect("sound");
        let root = collect_over(Box::new(store), &proxy, &source, reader.as_ref());
        let stored = folder.path().join(&name);
        fs::write(&stored, server.object(&name).expect("there")).expect("written");
        check_arrived(&stored, &root, &key);
    }
}

#[test]
fn the_same_root_after_fifty_cuts_of_sftp() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = SshServer::start(&folder.path().join("sshd")) else {
        return;
    };
    let source = folder.path().join("source");
    noisy_folder(&source, 64);
    for (name, reader, key) in ways(folder.path()) {
        let proxy = CuttingProxy::start(server.address(), FIFTY);
        let path = folder.path().join(&name);
        let address = format!("sftp://{}@{}{}", server.user, proxy.address(), text(&path));
        let options = SftpOptions {
            host_keys: vec![server.fingerprint("ed25519")],
            key: Some(server.key("user")),
            ..SftpOptions::default()
        };
        let store = Sftp::new(address.parse().expect("an address"), options).expect("sound");
        let root = collect_over(Box::new(store), &proxy, &source, reader.as_ref());
        check_arrived(&path, &root, &key);
    }
}

#[test]
fn a_collection_goes_to_an_sftp_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = SshServer::start(&folder.path().join("sshd")) else {
        return;
    };
    let source = folder.path().join("source");
    noisy_folder(&source, 7);
    let drop = folder.path().join("drop");
    fs::create_dir(&drop).expect("made");
    let out = format!(
        "sftp://{}@{}{}/",
        server.user,
        server.address(),
        text(&drop)
    );
    let receipt = text(&folder.path().join("receipt.json"));
    let source = text(&source);
    let more = [
        "--deliver-in-clear",
        "--receipt",
        &receipt,
        "--retry-for",
        "5",
        "--json",
    ];
    let collect = collect(&source, &out, &more);
    let home = text(folder.path());
    let send = |more: &[&str]| {
        let mut command = collector();
        // Whoever runs the test may know hosts.
        command.env("HOME", &home);
        run(command, [&collect[..], more].concat())
    };
    let key = text(&server.key("user"));
    let locked = text(&server.key("locked"));
    let host_key = server.fingerprint("ed25519");
    let refused = send(&["--ssh-key", &key]).ended(2);
    assert!(refused.err.contains("--host-key"), "{}", refused.err);
    let refused = send(&["--host-key", &host_key]).ended(2);
    assert!(
        refused.err.contains("SCELLE_SFTP_PASSWORD"),
        "{}",
        refused.err
    );
    let refused = send(&["--host-key", &host_key, "--ssh-key", &locked]).ended(2);
    assert!(
        refused.err.contains("SCELLE_SSH_KEY_PASSWORD"),
        "{}",
        refused.err
    );
    assert!(files(&drop).is_empty());

    let told = send(&["--host-key", &host_key, "--ssh-key", &key, "--read-back"])
        .ended(0)
        .json();
    assert_eq!(told["bundle"], format!("{out}source.scelle.zip"));
    assert_eq!(
        told["receipt"]["confirmed"]
            .as_array()
            .expect("a list")
            .len(),
        4,
        "{told}"
    );
    let endpoint = told["receipt"]["endpoint"].as_str().expect("text");
    assert!(endpoint.ends_with(&host_key), "{endpoint}");
    assert_eq!(files(&drop), ["source.scelle.zip"]);
    let root = told["root"].as_str().expect("a root");
    let bundle = text(&drop.join("source.scelle.zip"));
    run(collector(), ["verify", &bundle, "--root", root]).ended(0);

    // A file that is there stays.
    fs::remove_file(&receipt).expect("removed");
    let refused = send(&["--host-key", &host_key, "--ssh-key", &key]).ended(2);
    assert!(refused.err.contains("--force"), "{}", refused.err);
}

#[test]
fn a_collection_goes_to_a_store_and_leaves_a_receipt() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    noisy_folder(&source, 7);
    let receipt = text(&folder.path().join("receipt.json"));
    let source = text(&source);
    let collect = collect(&source, "s3://vault/2026/", &["--receipt", &receipt]);
    // In clear only where that was said.
    let refused = run(sender(&server), &collect).ended(2);
    assert!(
        refused.err.contains("--deliver-in-clear"),
        "{}",
        refused.err
    );
    let no_credentials = run(
        collector(),
        [&collect[..], &["--deliver-in-clear"]].concat(),
    );
    let refused = no_credentials.ended(2);
    assert!(refused.err.contains("AWS_ACCESS_KEY_ID"), "{}", refused.err);

    let in_clear = [&collect[..], &["--deliver-in-clear", "--json"]].concat();
    let told = run(sender(&server), &in_clear).ended(0).json();
    assert_eq!(told["bundle"], "s3://vault/2026/source.scelle.zip");
    let root = told["root"].as_str().expect("a root");
    check(&server, "2026/source.scelle.zip", root, folder.path());
    let kept: Value = serde_json::from_slice(&fs::read(&receipt).expect("there")).expect("JSON");
    assert_eq!(kept, told["receipt"]);
    assert_eq!(kept["root"]["root"], root);
    assert_eq!(kept["root"]["tlp"], told["tlp"]);
    assert_eq!(
        kept["confirmed"].as_array().expect("a list").len(),
        3,
        "{kept}"
    );
    assert_eq!(
        files(folder.path())
            .iter()
            .filter(|name| !name.starts_with("source"))
            .count(),
        2,
        "nothing but the receipt and what this test stored"
    );

    // A receipt and an object that are there stay.
    run(sender(&server), &in_clear).ended(2);
    fs::remove_file(&receipt).expect("removed");
    let refused = run(sender(&server), &in_clear).ended(2);
    assert!(refused.err.contains("--force"), "{}", refused.err);
    let shown = run(
        sender(&server),
        [&collect[..], &["--deliver-in-clear", "--force"]].concat(),
    );
    let shown = shown.ended(0).text();
    for word in ["Delivered", "ETag", "Confirmed", "Root"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

#[test]
fn a_collection_whose_store_goes_away_is_delivered_later() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    noisy_folder(&source, 20);
    let cuts = Cuts {
        gone_after: 12 << 20,
        ..Cuts::default()
    };
    let proxy = CuttingProxy::start(server.address(), cuts);
    let gone = format!("http://{}", proxy.address());
    let (source, receipt) = (text(&source), text(&folder.path().join("receipt.json")));
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).expect("made");
    let out = "s3://vault/late.scelle.zip";
    let more = [
        "--deliver-in-clear",
        "--receipt",
        &receipt,
        "--retry-for",
        "0",
    ];
    let pieces = ["--piece-bytes", "5MiB", "--json"];
    let collect = collect(&source, out, &[&more[..], &pieces].concat());
    let over = |endpoint, more: &[&str]| {
        let arguments = [&collect[..], &["--endpoint", endpoint], more].concat();
        run(sender(&server), arguments).ended(2)
    };
    let refused: Ran = over(&gone, &[]);
    assert!(refused.err.contains("not whole"), "{}", refused.err);
    assert!(
        refused.err.contains("could not be reached"),
        "{}",
        refused.err
    );
    assert!(server.object("late.scelle.zip").is_none());

    let proxy = CuttingProxy::start(server.address(), cuts);
    let gone = format!("http://{}", proxy.address());
    let ran = over(&gone, &["--fallback", &text(&kept)]);
    let told = ran.json();
    assert!(ran.err.contains("deliver"), "{}", ran.err);
    let root = told["root"].as_str().expect("a root");
    let rest = kept.join("late.scelle.zip.rest");
    assert_eq!(told["rest"], text(&rest));
    assert!(!Path::new(&receipt).exists());

    // In clear only where that was said, for a rest too; and not at another place without a word.
    let rest_text = text(&rest);
    let deliver = |more: &[&str]| {
        let arguments = [&["deliver", &rest_text, "--json"], more].concat();
        run(sender(&server), arguments)
    };
    let refused = deliver(&["--moved"]).ended(2);
    assert!(
        refused.err.contains("--deliver-in-clear"),
        "{}",
        refused.err
    );
    let refused = deliver(&["--deliver-in-clear"]).ended(2);
    assert!(refused.err.contains(&gone), "{}", refused.err);
    assert!(refused.err.contains("--moved"), "{}", refused.err);
    assert!(server.object("late.scelle.zip").is_none());
    let zeros = "0".repeat(64);
    let other = ["--deliver-in-clear", "--moved", "--root", &zeros];
    let refused = deliver(&other).ended(2);
    assert!(refused.err.contains("another bundle"), "{}", refused.err);
    assert!(server.object("late.scelle.zip").is_none());
    let same = ["--deliver-in-clear", "--moved", "--root", root];
    let done = deliver(&same).ended(0).json();
    assert_eq!(done["receipt"]["root"]["root"], root);
    assert_eq!(
        done["receipt"]["root"]["from"],
        "sealed in the run that began the delivery"
    );
    assert_eq!(done["receipt"]["to"], out);
    assert!(
        done["receipt"]["sha256"].is_null(),
        "its first part is not here"
    );
    check(&server, "late.scelle.zip", root, folder.path());
    assert_eq!(
        files(&kept),
        ["late.scelle.zip.rest", "late.scelle.zip.rest.receipt.json"]
    );
}

#[test]
fn a_bundle_that_exists_is_delivered_and_goes_on() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    noisy_folder(&source, 20);
    let bundle = text(&folder.path().join("case.scelle.zip"));
    let source = text(&source);
    let made = run(collector(), collect(&source, &bundle, &["--json"]));
    let root = made.ended(0).json()["root"]
        .as_str()
        .expect("a root")
        .to_owned();
    let cuts = Cuts {
        gone_after: 12 << 20,
        ..Cuts::default()
    };
    let proxy = CuttingProxy::start(server.address(), cuts);
    let gone = format!("http://{}", proxy.address());
    let deliver = [
        "deliver",
        &bundle,
        "--to",
        "s3://vault/",
        "--piece-bytes",
        "5MiB",
    ];
    let refused = run(sender(&server), deliver).ended(2);
    assert!(
        refused.err.contains("--deliver-in-clear"),
        "{}",
        refused.err
    );
    let deliver = [&deliver[..], &["--deliver-in-clear"]].concat();
    let zeros = "0".repeat(64);
    let other = [&deliver[..], &["--root", &zeros]].concat();
    let refused = run(sender(&server), other).ended(2);
    assert!(refused.err.contains("another bundle"), "{}", refused.err);
    let cut = [&deliver[..], &["--endpoint", &gone, "--retry-for", "0"]].concat();
    let refused = run(sender(&server), cut).ended(2);
    assert!(
        refused.err.contains("could not be reached"),
        "{}",
        refused.err
    );
    assert!(Path::new(&format!("{bundle}.delivery")).exists());

    let refused = run(sender(&server), &deliver).ended(2);
    assert!(refused.err.contains(&gone), "{}", refused.err);
    let moved = [&deliver[..], &["--moved"]].concat();
    let done = run(sender(&server), &moved).ended(0);
    assert!(
        done.err.contains("10485760 bytes were there already"),
        "{}",
        done.err
    );
    assert!(done.text().contains("Confirmed"), "{}", done.text());
    check(&server, "case.scelle.zip", &root, folder.path());
    let receipt = fs::read(format!("{bundle}.receipt.json")).expect("there");
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    assert_eq!(receipt["root"]["root"], root);
    assert_eq!(receipt["root"]["tlp"], "TLP:AMBER");
    assert_eq!(
        receipt["bytes"],
        fs::metadata(&bundle).expect("it stays").len()
    );
    assert!(!Path::new(&format!("{bundle}.delivery")).exists());
    let note = text(&folder.path().join("note.txt"));
    fs::write(&note, "no bundle").expect("written");
    let refused = run(
        sender(&server),
        [
            "deliver",
            &note,
            "--to",
            "s3://vault/",
            "--deliver-in-clear",
        ],
    );
    let refused = refused.ended(2);
    assert!(refused.err.contains("no bundle"), "{}", refused.err);
}

#[test]
fn a_receipt_that_could_not_be_written_is_written_later() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    noisy_folder(&source, 3);
    let bundle = text(&folder.path().join("case.scelle.zip"));
    run(collector(), collect(&text(&source), &bundle, &[])).ended(0);
    let place = folder.path().join("receipts");
    let receipt = text(&place.join("case.json"));
    let deliver = [
        "deliver",
        &bundle,
        "--to",
        "s3://vault/",
        "--deliver-in-clear",
        "--receipt",
        &receipt,
    ];
    let journal = format!("{bundle}.delivery");
    let unkept = run(sender(&server), deliver).ended(1);
    assert!(unkept.err.contains(&journal), "{}", unkept.err);
    assert!(unkept.text().contains("Confirmed"), "{}", unkept.text());
    assert!(Path::new(&journal).exists());
    fs::create_dir(&place).expect("made");
    let done = run(sender(&server), deliver).ended(0);
    assert!(done.err.contains("were there already"), "{}", done.err);
    assert!(Path::new(&receipt).exists());
    assert!(!Path::new(&journal).exists());
}

#[test]
fn what_the_host_decides_of_the_way_is_said() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let source = text(&source);
    let authorities = text(&folder.path().join("none.pem"));
    let send = |name: &str, bundle: Option<&str>, more: &[&str]| {
        let receipt = text(&folder.path().join(format!("{name}.json")));
        let out = format!("s3://vault/{name}");
        let usual = ["--deliver-in-clear", "--receipt", &receipt];
        let mut command = sender(&server);
        if let Some(bundle) = bundle {
            command.env("AWS_CA_BUNDLE", bundle);
        }
        run(
            command,
            collect(&source, &out, &[&usual[..], more].concat()),
        )
    };
    let told = send("host.zip", None, &[]).ended(0).err;
    assert!(told.contains("AWS_ENDPOINT_URL_S3"), "{told}");
    assert!(told.contains(&server.endpoint()), "{told}");
    assert!(told.contains("protects nothing"), "{told}");
    assert!(!told.contains("AWS_CA_BUNDLE"), "{told}");
    // What the command line says goes before it.
    let endpoint = server.endpoint();
    let named = ["--endpoint", &*endpoint];
    let told = send("named.zip", None, &named).ended(0).err;
    assert!(!told.contains("AWS_ENDPOINT_URL_S3"), "{told}");
    let told = send("refused.zip", Some(&authorities), &named).ended(2).err;
    assert!(told.contains("AWS_CA_BUNDLE"), "{told}");
    assert!(told.contains("none.pem"), "{told}");
}

#[test]
fn a_proxy_is_taken_from_the_command_line_and_not_from_the_host() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let source = text(&source);
    let send = |name: &str, more: &[&str]| {
        let nobody = format!("http://{}", closed_address());
        let mut command = sender(&server);
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(variable, &nobody);
            command.env(variable.to_lowercase(), &nobody);
        }
        command.env("SCELLE_PROXY_LOGIN", "ana:hunter2");
        let receipt = text(&folder.path().join(format!("{name}.json")));
        let out = format!("s3://vault/{name}");
        let usual = [
            "--deliver-in-clear",
            "--retry-for",
            "3",
            "--receipt",
            &receipt,
        ];
        let ran = run(
            command,
            collect(&source, &out, &[&usual[..], more].concat()),
        );
        assert!(!ran.err.contains("hunter2"), "{}", ran.err);
        assert!(!ran.text().contains("hunter2"), "{}", ran.text());
        ran
    };
    send("direct.zip", &[]).ended(0);
    assert!(server.object("direct.zip").is_some());

    let proxy = HttpProxy::start();
    send("through.zip", &["--proxy", &proxy.url()]).ended(0);
    assert!(server.object("through.zip").is_some());
    let heard = proxy.heard();
    assert!(
        heard
            .iter()
            .any(|head| head.contains("Basic YW5hOmh1bnRlcjI=")),
        "{heard:?}"
    );

    // A login that is none is not taken for no login.
    let mut command = sender(&server);
    command.env("SCELLE_PROXY_LOGIN", "hunter2");
    let receipt = text(&folder.path().join("half.json"));
    let usual = ["--deliver-in-clear", "--receipt", &receipt];
    let url = proxy.url();
    let through = [&usual[..], &["--proxy", &*url]].concat();
    let refused = run(command, collect(&source, "s3://vault/half.zip", &through)).ended(2);
    assert!(
        refused.err.contains("SCELLE_PROXY_LOGIN"),
        "{}",
        refused.err
    );
    assert!(!refused.err.contains("hunter2"), "{}", refused.err);

    // What stands on a command line stands in the list of processes: neither taken nor shown again.
    for wrong in ["--proxy", "--endpoint"] {
        let refused = send("wrong.zip", &[wrong, "http://ana:hunter2@127.0.0.1"]).ended(2);
        assert!(refused.err.contains("127.0.0.1"), "{}", refused.err);
    }
    assert!(server.object("wrong.zip").is_none());
}

#[test]
fn logins_with_a_password_and_through_an_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    windows_folder(&source);
    let source = text(&source);
    let with_password = SshOptions {
        takes_password: true,
        ..SshOptions::default()
    };
    let started = |name: &str, options| SshServer::start_with(&folder.path().join(name), options);
    let (Some(by_password), Some(by_key)) = (
        started("password", with_password),
        started("key", SshOptions::default()),
    ) else {
        return;
    };
    let Some(agent) = SshAgent::start(folder.path(), &[by_key.key("user")]) else {
        return;
    };
    let send = |server: &SshServer, name: &str, variable: &str, value: &str| {
        let place = text(&folder.path().join(name));
        let out = format!("sftp://{}@{}{place}", server.user, server.address());
        let (receipt, key) = (format!("{place}.receipt"), server.fingerprint("ed25519"));
        let more = [
            "--deliver-in-clear",
            "--receipt",
            &receipt,
            "--host-key",
            &key,
        ];
        let mut command = collector();
        command.env(variable, value);
        let ran = run(command, collect(&source, &out, &more)).ended(0);
        assert!(Path::new(&place).exists());
        let receipt = fs::read_to_string(receipt).expect("there");
        assert!(
            !receipt.contains(value) && !ran.err.contains(value),
            "{receipt}"
        );
    };
    let password = by_password.password();
    send(&by_password, "one.zip", "SCELLE_SFTP_PASSWORD", password);
    send(&by_key, "two.zip", "SSH_AUTH_SOCK", &text(agent.socket()));
}
