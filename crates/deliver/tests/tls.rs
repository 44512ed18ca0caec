//! Stores behind TLS: believed for the name and the authority of their certificate, and for nothing else.

mod support;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Instant,
};

use scelle_deliver::{Ended, Error, Retry, S3Options, StreamOptions};
use scelle_testkit::{Authority, Front, HttpProxy, ObjectStore, StoreFront};
use support::{delivered, noise, s3_options, s3_with, send, stream};

/// A front of a store that shows a certificate for that name, by that authority.
fn front(server: &ObjectStore, authority: &Authority, subject: &str) -> StoreFront {
    let front = Front {
        tls: Some(authority.certify(subject)),
        ..Front::default()
    };
    StoreFront::start(server.address(), front)
}

fn believing(front: &StoreFront, authorities: Option<&Path>) -> S3Options {
    S3Options {
        authorities: authorities.map(Path::to_owned),
        ..s3_options(&format!("https://{}", front.address()), true)
    }
}

/// An answer that is final: it is not waited for another certificate.
fn refused(ended: Result<Ended, Error>, began: Instant) -> String {
    let error = ended.expect_err("nobody vouches for it");
    assert!(matches!(error, Error::Setup(_)), "{error:?}");
    assert!(began.elapsed().as_secs() < 20, "it was tried again");
    error.to_string()
}

#[test]
fn a_store_is_believed_for_its_name_and_its_authority() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(ours), Some(theirs)) = (
        Authority::new(folder.path(), "ours"),
        Authority::new(folder.path(), "theirs"),
    ) else {
        return;
    };
    let bytes = noise((6 << 20) + 5);
    let send = |front: &StoreFront, authorities: Option<&Path>| {
        let store = s3_with(&server, "tls.pgp", believing(front, authorities));
        send(&bytes, store, stream(30_000, None))
    };
    let right = front(&server, &ours, "IP:127.0.0.1");
    let receipt = delivered(send(&right, Some(&ours.certificate())));
    assert_eq!(receipt.endpoint, format!("https://{}", right.address()));
    assert!(server.object("tls.pgp").expect("there") == bytes);

    let began = Instant::now();
    let said = refused(send(&right, Some(&theirs.certificate())), began);
    assert!(said.contains("--ca-cert"), "{said}");
    // Mozilla trusts no authority of a test.
    refused(send(&right, None), Instant::now());
    for name in ["DNS:store.example.org", "IP:127.0.0.2"] {
        let wrong = front(&server, &ours, name);
        let said = refused(send(&wrong, Some(&ours.certificate())), Instant::now());
        assert!(said.contains("prove who it is"), "{said}");
    }
}

#[test]
fn another_certificate_on_the_way_is_waited_for_and_not_believed() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(ours), Some(theirs)) = (
        Authority::new(folder.path(), "ours"),
        Authority::new(folder.path(), "theirs"),
    ) else {
        return;
    };
    let bytes = noise((11 << 20) + 5);
    let deliver = |key: &str, connections: &[u64]| {
        let front = StoreFront::start(
            server.address(),
            Front {
                tls: Some(ours.certify("IP:127.0.0.1")),
                impostor: Some((connections.to_vec(), theirs.certify("IP:127.0.0.1"))),
                ..Front::default()
            },
        );
        let heard = Arc::new(Mutex::new(String::new()));
        let hearing = Arc::clone(&heard);
        let usual = stream(30_000, None);
        let options = StreamOptions {
            retry: Retry {
                listener: Some(Arc::new(move |what| {
                    hearing.lock().expect("whole").push_str(what);
                })),
                ..usual.retry
            },
            ..usual
        };
        let options_of_store = believing(&front, Some(&ours.certificate()));
        let ended = send(&bytes, s3_with(&server, key, options_of_store), options);
        let heard = heard.lock().expect("whole").clone();
        (ended, heard)
    };
    // Whoever is on the line answers some pieces, and the end.
    let (ended, heard) = deliver("later.pgp", &[1, 2, 5, 7]);
    delivered(ended);
    assert!(heard.contains("prove who it is"), "{heard}");
    assert!(server.object("later.pgp").expect("there") == bytes);
    // At the beginning it is no trouble of the line.
    let began = Instant::now();
    let (ended, heard) = deliver("first.pgp", &[0]);
    refused(ended, began);
    assert!(heard.is_empty(), "{heard}");
}

#[test]
fn certificates_that_are_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    let opened = |text: &str| {
        fs::write(&path, text).expect("written");
        let options = S3Options {
            authorities: Some(path.clone()),
            ..s3_options("https://127.0.0.1", false)
        };
        let credentials = scelle_deliver::Credentials::new("key", "secret", None);
        let address = "s3://vault/a".parse().expect("an address");
        let opened = scelle_deliver::S3::new(address, credentials, options).map(drop);
        opened.expect_err("no certificate").to_string()
    };
    for text in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    ] {
        let said = opened(text);
        assert!(said.contains("ca.pem"), "{said}");
    }
}

#[test]
fn a_proxy_that_wants_a_login_is_named_as_what_refuses() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let proxy = HttpProxy::start_refusing();
    let with_login = |login: Option<&str>| {
        let options = S3Options {
            proxy: Some(proxy.url()),
            proxy_login: login.map(scelle_deliver::Secret::new),
            ..s3_options(&server.endpoint(), true)
        };
        let began = Instant::now();
        let store = s3_with(&server, "proxy.pgp", options);
        refused(send(b"bundle", store, stream(30_000, None)), began)
    };
    for login in [None, Some("ana:hunter2")] {
        let said = with_login(login);
        assert!(said.contains("SCELLE_PROXY_LOGIN"), "{said}");
        assert!(said.contains("407") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_proxy_that_is_named_is_gone_through_and_sees_no_more_than_tls() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(ours) = Authority::new(folder.path(), "ours") else {
        return;
    };
    let right = front(&server, &ours, "IP:127.0.0.1");
    let proxy = HttpProxy::start();
    let options = S3Options {
        proxy: Some(proxy.url()),
        proxy_login: Some(scelle_deliver::Secret::new("ana:hunter2")),
        ..believing(&right, Some(&ours.certificate()))
    };
    assert!(!format!("{options:?}").contains("hunter2"));
    let bytes = noise((6 << 20) + 5);
    let store = s3_with(&server, "proxy.pgp", options);
    let receipt = delivered(send(&bytes, store, stream(30_000, None)));
    assert!(!format!("{receipt:?}").contains("hunter2"));
    assert!(server.object("proxy.pgp").expect("there") == bytes);
    let heard = proxy.heard();
    assert!(!heard.is_empty());
    for head in heard {
        let asked = format!("CONNECT {} ", right.address());
        assert!(head.starts_with(&asked), "{head}");
        // printf ana:hunter2 | base64
        assert!(head.contains("Basic YW5hOmh1bnRlcjI="), "{head}");
    }
}
