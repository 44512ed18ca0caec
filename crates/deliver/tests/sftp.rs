//! Deliveries to OpenSSH's server, over lines that are cut.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use scelle_deliver::{Ended, Error, Receipt, SftpOptions};
use scelle_testkit::{Cuts, CuttingProxy, SshServer};
use support::{file, moved, noise, of_file, root, send, sftp, sftp_options, stream, try_sftp};

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
        // The server is back, under another address: that has to be said, and helps for no other file.
        let back = |path| sftp(&server, server.address(), path);
        let refused = file(&rest, back(&path), of_file(2_000)).expect_err("elsewhere");
        assert!(refused.to_string().contains(&at.to_string()), "{refused}");
        let other = drop.join("other.pgp");
        let refused = file(&rest, back(&other), moved(2_000)).expect_err("another file");
        assert!(refused.to_string().contains(&at.to_string()), "{refused}");
        let done = file(&rest, back(&path), moved(2_000)).expect("it goes on");
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
    let done = file(&local, sftp(&server, at, &path), of_file(2_000)).expect("delivered");
    confirmed(&done.receipt, &path, &bytes);
    assert_eq!(left(&drop), 1);

    fs::write(&local, b"another").expect("written");
    let refused = file(&local, sftp(&server, at, &path), of_file(2_000)).expect_err("it exists");
    assert!(refused.to_string().contains("--force"), "{refused}");
    assert!(fs::read(&path).expect("there") == bytes);
    let replacing = SftpOptions {
        replace: true,
        ..sftp_options(&server)
    };
    let store = try_sftp(&server, at, &path, replacing).expect("sound");
    let done = file(&local, store, of_file(2_000)).expect("replaced");
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
    let cut = file(&local, store, of_file(60));
    assert!(matches!(cut, Err(Error::Gone { .. })), "{cut:?}");
    let partial = fs::read_dir(&drop)
        .expect("readable")
        .map(|one| one.expect("there").path());
    let partial: Vec<_> = partial
        .filter(|one| one.extension().is_some_and(|one| one == "partial"))
        .collect();
    assert_eq!(partial.len(), 1, "{partial:?}");
    fs::remove_file(&partial[0]).expect("removed");
    let done = file(&local, sftp(&server, at, &path), moved(2_000)).expect("all of it is here");
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
    for blank in [" ", "\t"] {
        let revoked = format!("{line}@revoked{blank}{line}");
        fs::write(&known_hosts, revoked).expect("written");
        let refused = with(log_in("user")).expect_err("revoked");
        assert!(refused.to_string().contains("as revoked"), "{refused}");
        // A key that certifies others is none that a server has, even where russh would read it as one.
        let (hosts, key) = line.split_once(' ').expect("hosts and a key");
        let authority = format!("@cert-authority{blank}x,{hosts} {key}");
        fs::write(&known_hosts, authority).expect("written");
        let refused = with(log_in("user")).expect_err("an authority");
        assert!(refused.to_string().contains("authority"), "{refused}");
    }
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
