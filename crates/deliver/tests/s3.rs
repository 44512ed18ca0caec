//! Deliveries to an S3 service that heeds signatures and policies, over lines that are cut.

mod support;

use std::{
    fs,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use scelle_deliver::{
    Credentials, Delivery, Ended, Error, Receipt, Root, S3, deliver_file, rest_of,
};
use scelle_testkit::{Cuts, CuttingProxy, ObjectStore, closed_address};
use support::{PIECE, file, moved, noise, of_file, root, s3, s3_options, send, stream};

fn confirmed(receipt: &Receipt, bytes: &[u8]) {
    assert_eq!(receipt.bytes, bytes.len() as u64);
    let pieces: u64 = receipt.pieces.iter().map(|piece| piece.bytes).sum();
    assert_eq!(pieces, receipt.bytes);
    let said = &receipt.confirmation;
    assert_eq!(said.confirmed.len(), 3, "{said:?}");
    let of = |root: Option<Root>| root.map(|root| root.root);
    assert_eq!(of(receipt.root.clone()), of(root()));
}

#[test]
fn a_line_that_is_cut_fifty_times() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let bytes = noise(100 << 20);
    for seed in [1, 2] {
        let cuts = Cuts {
            seed,
            count: 50,
            within_bytes: 6 << 20,
            ..Cuts::default()
        };
        let proxy = CuttingProxy::start(server.address(), cuts);
        let key = format!("2026/cut {seed}.pgp");
        let store = s3(&server, proxy.address(), &key, false);
        let ended = send(&bytes, store, stream(20_000, None)).expect("it arrives");
        let Ended::Delivered(receipt) = ended else {
            panic!("{ended:?}");
        };
        assert!(proxy.cut() >= 50, "{}", proxy.cut());
        confirmed(&receipt, &bytes);
        assert!(receipt.sha256.is_some());
        let stored = server.object(&key.replace(' ', "%20")).expect("there");
        assert!(stored == bytes, "the object is another");
    }
}

#[test]
fn what_a_store_that_goes_away_lacks_is_kept() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = noise((23 << 20) + 5);
    // After its first bytes, in the middle, and before the object is made of its parts.
    for (number, gone_after) in [0, 12 << 20, (23 << 20) + 1500].into_iter().enumerate() {
        let cuts = Cuts {
            gone_after,
            ..Cuts::default()
        };
        let proxy = CuttingProxy::start(server.address(), cuts);
        let key = format!("rest-{number}.pgp");
        let rest = folder.path().join(format!("{key}.rest"));
        let store = s3(&server, proxy.address(), &key, false);
        let ended = send(&bytes, store, stream(60, Some(&rest))).expect("kept");
        let Ended::Kept(kept) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(kept.from + kept.bytes, bytes.len() as u64);
        assert!(matches!(kept.why, Error::Gone { .. }), "{:?}", kept.why);
        assert!(server.object(&key).is_none());
        let noted = rest_of(&rest).expect("readable").expect("a rest");
        assert_eq!(noted.to, format!("s3://vault/{key}"));
        assert!(noted.is_encrypted);

        // Not twice into the same file.
        let store = s3(&server, server.address(), &key, false);
        let refused = Delivery::begin(store, stream(60, Some(&rest))).expect_err("it exists");
        assert!(refused.to_string().contains("exists already"), "{refused}");

        // Not where it is not what was written: the root is not its.
        let sound = fs::read(&rest).expect("there");
        let mut altered = sound.clone();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        fs::write(&rest, &altered).expect("written");
        let store = s3(&server, server.address(), &key, false);
        let refused = file(&rest, store, moved(5_000)).expect_err("it was altered");
        assert!(refused.to_string().contains("altered"), "{refused}");
        fs::write(&rest, &sound).expect("written");

        // Not at another place, unless it is said to be the same.
        let store = s3(&server, server.address(), &key, false);
        let refused = file(&rest, store, of_file(5_000)).expect_err("another endpoint");
        assert!(refused.to_string().contains("--moved"), "{refused}");
        let store = s3(&server, server.address(), &key, false);
        let done = file(&rest, store, moved(5_000)).expect("it goes on");
        confirmed(&done.receipt, &bytes);
        assert_eq!(done.sent_before, kept.from);
        assert!(server.object(&key).expect("there") == bytes);
        assert!(rest.exists(), "nothing is removed");
        assert_eq!(rest_of(&rest).expect("readable"), None);
    }
}

#[test]
fn a_store_that_goes_away_with_no_fallback_is_an_error() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let cuts = Cuts {
        gone_after: 12 << 20,
        ..Cuts::default()
    };
    let proxy = CuttingProxy::start(server.address(), cuts);
    let store = s3(&server, proxy.address(), "gone.pgp", false);
    let mut delivery = Delivery::begin(store, stream(60, None)).expect("begun");
    let error = delivery
        .write_all(&noise(60 << 20))
        .expect_err("it is gone");
    assert!(
        error.to_string().contains("could not be reached"),
        "{error}"
    );
    let began = Instant::now();
    let again = delivery.write(b"more").expect_err("still");
    assert_eq!(again.kind(), io::ErrorKind::Other);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(server.object("gone.pgp").is_none());
}

#[test]
fn a_file_goes_on_where_it_was_cut() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("case.pgp");
    let bytes = noise((31 << 20) + 77);
    std::fs::write(&path, &bytes).expect("written");
    let cuts = Cuts {
        gone_after: 12 << 20,
        ..Cuts::default()
    };
    let proxy = CuttingProxy::start(server.address(), cuts);
    let send = |at, key, options| file(&path, s3(&server, at, key, false), options);
    let gone = send(proxy.address(), "file.pgp", of_file(60));
    assert!(matches!(gone, Err(Error::Gone { .. })), "{gone:?}");
    let at = server.address();
    let elsewhere = send(at, "other.pgp", moved(60)).expect_err("it has begun");
    assert!(elsewhere.to_string().contains("file.pgp"), "{elsewhere}");
    let elsewhere = send(at, "file.pgp", of_file(60)).expect_err("at another endpoint");
    let elsewhere = elsewhere.to_string();
    for place in [proxy.address(), at] {
        assert!(
            elsewhere.contains(&format!("http://{place}")),
            "{elsewhere}"
        );
    }

    // Another file under that name is not what was begun.
    let mut changed = bytes.clone();
    changed[3] ^= 1;
    std::fs::write(&path, &changed).expect("written");
    let refused = send(at, "file.pgp", moved(60)).expect_err("it has changed");
    assert!(refused.to_string().contains("has changed"), "{refused}");

    std::fs::write(&path, &bytes).expect("written");
    let done = send(at, "file.pgp", moved(60)).expect("it goes on");
    assert_eq!((done.sent_before, done.sent_again), (2 * PIECE, false));
    confirmed(&done.receipt, &bytes);
    assert!(server.object("file.pgp").expect("there") == bytes);
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("readable")
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");

    // What is there is not replaced, unless that is asked for.
    let refused = send(at, "file.pgp", of_file(60)).expect_err("it exists");
    assert!(refused.to_string().contains("--force"), "{refused}");
    file(&path, s3(&server, at, "file.pgp", true), of_file(60)).expect("replaced");
}

#[test]
fn a_receipt_that_was_lost_is_given_again() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("case.pgp");
    let bytes = noise(12 << 20);
    std::fs::write(&path, &bytes).expect("written");
    // The object is made, and its receipt can't be written.
    let store = s3(&server, server.address(), "file.pgp", false);
    let unkept = deliver_file(&path, store, of_file(60), &|_| {}, &|_| {
        Err(Error::Setup("no more".into()))
    });
    let unkept = unkept.expect("delivered").unkept;
    assert!(matches!(unkept, Some(Error::Setup(_))), "{unkept:?}");

    // It is asked for the object once more, and nothing is sent twice.
    let store = s3(&server, server.address(), "file.pgp", false);
    let done = file(&path, store, of_file(60)).expect("confirmed");
    assert_eq!((done.sent_before, done.sent_again), (12 << 20, false));
    confirmed(&done.receipt, &bytes);
    assert!(server.object("file.pgp").expect("there") == bytes);
}

#[test]
fn refusals_say_why() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let begin = |credentials: Credentials, address: &str, endpoint: String| {
        let options = s3_options(&endpoint, false);
        let address = address.parse().expect("an address");
        let store = S3::new(address, credentials, options).expect("sound");
        let refused = Delivery::begin(Box::new(store), stream(200, None));
        refused.expect_err("refused").to_string()
    };
    let right = || Credentials::new(&server.access, &server.secret, None);
    let wrong = Credentials::new(&server.access, "wrong", None);
    let said = begin(wrong, "s3://vault/a", server.endpoint());
    assert!(said.contains("SignatureDoesNotMatch"), "{said}");
    let said = begin(right(), "s3://elsewhere/a", server.endpoint());
    assert!(said.contains("s3:PutObject"), "{said}");
    let said = begin(
        right(),
        "s3://vault/a",
        format!("http://{}", closed_address()),
    );
    assert!(said.contains("could not be reached"), "{said}");
    // It speaks no TLS.
    let said = begin(
        right(),
        "s3://vault/a",
        server.endpoint().replace("http:", "https:"),
    );
    assert!(said.contains("could not be reached"), "{said}");
}
