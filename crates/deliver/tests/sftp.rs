//! Deliveries to OpenSSH's server, over lines that are cut.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use scelle_deliver::{
    Delivery, Ended, Error, FileOptions, PieceSizes, Receipt, Retry, Root, Sftp, SftpOptions,
    Store, StreamOptions, deliver_file,
};
use scelle_testkit::{Cuts, CuttingProxy, SshServer};

const PIECE: u64 = 5 << 20;

/// Bytes that no part of the way can guess.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

fn options(server: &SshServer) -> SftpOptions {
    SftpOptions {
        host_keys: vec![server.fingerprint("ed25519")],
        key: Some(server.key("user")),
        read_back: true,
        ..SftpOptions::default()
    }
}

fn try_sftp(
    server: &SshServer,
    at: SocketAddr,
    path: &Path,
    options: SftpOptions,
) -> Result<Box<dyn Store>, Error> {
    let address = format!("sftp://{}@{at}{}", server.user, path.display());
    Ok(Box::new(Sftp::new(
        address.parse().expect("sound"),
        options,
    )?))
}

fn sftp(server: &SshServer, at: SocketAddr, path: &Path) -> Box<dyn Store> {
    try_sftp(server, at, path, options(server)).expect("sound")
}

fn retry(patience_ms: u64) -> Retry {
    Retry {
        first: Duration::from_millis(2),
        most: Duration::from_millis(50),
        patience: Duration::from_millis(patience_ms),
        listener: None,
    }
}

fn stream(patience_ms: u64, fallback: Option<&Path>) -> StreamOptions {
    StreamOptions {
        sizes: PieceSizes::new(PIECE),
        retry: retry(patience_ms),
        fallback: fallback.map(Path::to_owned),
    }
}

fn root() -> Option<Root> {
    Some(Root {
        root: "ab".repeat(32),
        from: "sealed in this run".into(),
    })
}

fn send(bytes: &[u8], store: Box<dyn Store>, options: StreamOptions) -> Result<Ended, Error> {
    let mut delivery = Delivery::begin(store, options)?;
    for part in bytes.chunks(123_457) {
        delivery.write_all(part).expect("taken");
    }
    delivery.finish(root())
}

fn file(path: &Path, store: Box<dyn Store>) -> Result<scelle_deliver::Delivered, Error> {
    let options = FileOptions {
        sizes: PieceSizes::new(PIECE),
        retry: retry(2_000),
        root: root(),
    };
    deliver_file(path, store, options, &|_| {}, &|_| Ok(()))
}

/// The receipt says that all was confirmed, and it is so.
fn confirmed(receipt: &Receipt, path: &Path, bytes: &[u8]) {
    assert_eq!(receipt.bytes, bytes.len() as u64);
    let said = &receipt.confirmation;
    assert!(said.unconfirmed.is_empty(), "{said:?}");
    assert_eq!(said.confirmed.len(), 4, "{said:?}");
    assert!(
        fs::read(path).expect("it is there") == bytes,
        "it is another"
    );
}

struct Scene {
    folder: tempfile::TempDir,
    server: SshServer,
    drop: PathBuf,
}

fn scene() -> Option<Scene> {
    let folder = tempfile::tempdir().expect("a folder");
    let server = SshServer::start(&folder.path().join("sshd"))?;
    let drop = folder.path().join("drop");
    fs::create_dir(&drop).expect("made");
    Some(Scene {
        folder,
        server,
        drop,
    })
}

fn left(folder: &Path) -> usize {
    fs::read_dir(folder).expect("readable").count()
}

#[test]
fn a_line_that_is_cut_fifty_times() {
    let Some(Scene {
        server,
        drop,
        folder: _folder,
    }) = scene()
    else {
        return;
    };
    let bytes = noise(60 << 20);
    let cuts = Cuts {
        seed: 3,
        count: 50,
        within_bytes: 6 << 20,
        ..Cuts::default()
    };
    let proxy = CuttingProxy::start(server.address(), cuts);
    let path = drop.join("cut.pgp");
    let store = sftp(&server, proxy.address(), &path);
    let ended = send(&bytes, store, stream(20_000, None)).expect("it arrives");
    let Ended::Delivered(receipt) = ended else {
        panic!("{ended:?}");
    };
    assert!(proxy.cut() >= 50, "{}", proxy.cut());
    assert_eq!(receipt.root, root());
    confirmed(&receipt, &path, &bytes);
    // Where the answer to the first request was cut, an empty file of another name may stay.
    let whole = fs::read_dir(&drop)
        .expect("readable")
        .map(|one| one.expect("there"));
    let others = whole.filter(|one| one.path() != path);
    for other in others {
        assert_eq!(
            other.metadata().expect("there").len(),
            0,
            "{:?}",
            other.path()
        );
    }
}

#[test]
fn what_a_server_that_goes_away_lacks_is_kept() {
    let Some(Scene {
        server,
        drop,
        folder,
    }) = scene()
    else {
        return;
    };
    let bytes = noise((23 << 20) + 5);
    for (number, gone_after) in [0, 12 << 20].into_iter().enumerate() {
        let cuts = Cuts {
            gone_after,
            ..Cuts::default()
        };
        let proxy = CuttingProxy::start(server.address(), cuts);
        let at = proxy.address();
        let path = drop.join(format!("rest-{number}.pgp"));
        let rest = folder.path().join(format!("{number}.rest"));
        let ended = send(&bytes, sftp(&server, at, &path), stream(60, Some(&rest)));
        let Ended::Kept(kept) = ended.expect("kept") else {
            panic!("it was delivered");
        };
        assert_eq!(kept.from + kept.bytes, bytes.len() as u64);
        assert!(!path.exists());
        // The server is back, at the address that it had.
        let journal = folder.path().join(format!("{number}.rest.delivery"));
        let text = fs::read_to_string(&journal).expect("a journal");
        let text = text.replace(&at.to_string(), &server.address().to_string());
        fs::write(&journal, text).expect("written");
        let done = file(&rest, sftp(&server, server.address(), &path)).expect("it goes on");
        assert_eq!(done.sent_before, kept.from);
        confirmed(&done.receipt, &path, &bytes);
    }
}

#[test]
fn a_file_is_delivered_once_and_not_over_another() {
    let Some(Scene {
        server,
        drop,
        folder,
    }) = scene()
    else {
        return;
    };
    let local = folder.path().join("case.pgp");
    let bytes = noise((7 << 20) + 3);
    fs::write(&local, &bytes).expect("written");
    let path = drop.join("case.pgp");
    let at = server.address();
    let done = file(&local, sftp(&server, at, &path)).expect("delivered");
    confirmed(&done.receipt, &path, &bytes);
    assert_eq!(left(&drop), 1);

    fs::write(&local, b"another").expect("written");
    let refused = file(&local, sftp(&server, at, &path)).expect_err("it exists");
    assert!(refused.to_string().contains("--force"), "{refused}");
    assert!(fs::read(&path).expect("there") == bytes);
    let replacing = SftpOptions {
        replace: true,
        ..options(&server)
    };
    let store = try_sftp(&server, at, &path, replacing).expect("sound");
    let done = file(&local, store).expect("replaced");
    confirmed(&done.receipt, &path, b"another");

    // A server that lost what it had of a delivery gets all of it again.
    let path = drop.join("lost.pgp");
    fs::write(&local, &bytes).expect("written");
    let gone = Cuts {
        gone_after: 6 << 20,
        ..Cuts::default()
    };
    let proxy = CuttingProxy::start(at, gone);
    let store = sftp(&server, proxy.address(), &path);
    let options = FileOptions {
        sizes: PieceSizes::new(PIECE),
        retry: retry(60),
        root: None,
    };
    let cut = deliver_file(&local, store, options, &|_| {}, &|_| Ok(()));
    assert!(matches!(cut, Err(Error::Gone { .. })), "{cut:?}");
    let partial = fs::read_dir(&drop)
        .expect("readable")
        .map(|one| one.expect("there").path());
    let partial: Vec<_> = partial
        .filter(|one| one.extension().is_some_and(|one| one == "partial"))
        .collect();
    assert_eq!(partial.len(), 1, "{partial:?}");
    fs::remove_file(&partial[0]).expect("removed");
    let journal = folder.path().join("case.pgp.delivery");
    let text = fs::read_to_string(&journal).expect("a journal");
    let text = text.replace(&proxy.address().to_string(), &at.to_string());
    fs::write(&journal, text).expect("written");
    let done = file(&local, sftp(&server, at, &path)).expect("all of it is here");
    assert!(done.sent_again);
    confirmed(&done.receipt, &path, &bytes);
}

#[test]
fn only_a_known_server_is_believed() {
    let Some(Scene {
        server,
        drop,
        folder,
    }) = scene()
    else {
        return;
    };
    let at = server.address();
    let known_hosts = folder.path().join("known_hosts");
    let with = |options: SftpOptions| -> Result<Ended, Error> {
        let path = drop.join("known.pgp");
        let store = try_sftp(&server, at, &path, options)?;
        send(b"bundle", store, stream(100, None))
    };
    let log_in = |key: &str| SftpOptions {
        key: Some(server.key(key)),
        known_hosts: Some(known_hosts.clone()),
        replace: true,
        ..SftpOptions::default()
    };
    // Nobody said, and nobody is asked.
    let refused = with(log_in("user")).expect_err("unknown");
    assert!(refused.to_string().contains("--host-key"), "{refused}");
    for kind in ["ed25519", "ecdsa", "rsa"] {
        fs::write(&known_hosts, server.known_host(kind, at.port())).expect("written");
        with(log_in("user")).expect(kind);
        let by_fingerprint = SftpOptions {
            host_keys: vec![server.fingerprint(kind)],
            ..log_in("user")
        };
        with(by_fingerprint).expect(kind);
    }
    with(log_in("user-rsa")).expect("RSA");

    // Another key under its name, a revoked one, and another fingerprint.
    let other = fs::read_to_string(server.key("stranger.pub")).expect("made");
    let other = format!("[127.0.0.1]:{} {other}", at.port());
    fs::write(&known_hosts, other).expect("written");
    let refused = with(log_in("user")).expect_err("another");
    assert!(refused.to_string().contains("in between"), "{refused}");
    let line = server.known_host("ed25519", at.port());
    fs::write(&known_hosts, format!("{line}@revoked {line}")).expect("written");
    let refused = with(log_in("user")).expect_err("revoked");
    assert!(refused.to_string().contains("--host-key"), "{refused}");
    let wrong = SftpOptions {
        host_keys: vec![format!("SHA256:{}", "A".repeat(43))],
        ..log_in("user")
    };
    let refused = with(wrong).expect_err("another").to_string();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        assert!(
            refused.contains(&server.fingerprint(kind)),
            "{kind}: {refused}"
        );
    }

    // And the server believes only whom it knows.
    fs::write(&known_hosts, line).expect("written");
    let refused = with(log_in("stranger")).expect_err("a stranger");
    assert!(refused.to_string().contains("may not log in"), "{refused}");
    let refused = with(log_in("locked")).expect_err("no password");
    assert!(
        refused.to_string().contains("SCELLE_SSH_KEY_PASSWORD"),
        "{refused}"
    );
    let nowhere = try_sftp(&server, at, &drop.join("no/such/file"), log_in("user"));
    let refused = send(b"bundle", nowhere.expect("sound"), stream(100, None));
    let refused = refused.expect_err("no such folder");
    assert!(refused.to_string().contains("No such file"), "{refused}");
}
