//! Deliveries to an S3 service that heeds signatures and policies, over lines that are cut.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use scelle_deliver::{
    Credentials, Delivered, Delivery, Ended, Error, FileOptions, PieceSizes, Receipt, Retry, Root,
    S3, S3Options, Store, StreamOptions, deliver_file, rest_address,
};
use scelle_testkit::{Cuts, CuttingProxy, ObjectStore};

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

fn s3(server: &ObjectStore, at: SocketAddr, key: &str, replace: bool) -> Box<dyn Store> {
    let credentials = Credentials::new(&server.access, &server.secret, None);
    let options = S3Options {
        endpoint: Some(format!("http://{at}")),
        replace,
        ..S3Options::default()
    };
    let address = format!("s3://vault/{key}").parse().expect("an address");
    Box::new(S3::new(address, credentials, options).expect("sound"))
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

fn file(path: &Path, store: Box<dyn Store>, patience_ms: u64) -> Result<Delivered, Error> {
    let options = FileOptions {
        sizes: PieceSizes::new(PIECE),
        retry: retry(patience_ms),
        root: root(),
    };
    deliver_file(path, store, options, &|_| {}, &|_| Ok(()))
}

fn confirmed(receipt: &Receipt, bytes: &[u8]) {
    assert_eq!(receipt.bytes, bytes.len() as u64);
    let pieces: u64 = receipt.pieces.iter().map(|piece| piece.bytes).sum();
    assert_eq!(pieces, receipt.bytes);
    let said = &receipt.confirmation;
    assert_eq!(said.confirmed.len(), 3, "{said:?}");
    assert_eq!(receipt.root, root());
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
        let to = rest_address(&rest).expect("readable");
        assert_eq!(to, Some(format!("s3://vault/{key}")));

        // Not twice into the same file.
        let store = s3(&server, server.address(), &key, false);
        let refused = Delivery::begin(store, stream(60, Some(&rest))).expect_err("it exists");
        assert!(refused.to_string().contains("exists already"), "{refused}");

        let store = s3(&server, server.address(), &key, false);
        let done = file(&rest, store, 5_000).expect("it goes on");
        confirmed(&done.receipt, &bytes);
        assert_eq!(done.sent_before, kept.from);
        assert!(server.object(&key).expect("there") == bytes);
        assert!(rest.exists(), "nothing is removed");
        assert_eq!(rest_address(&rest).expect("readable"), None);
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
    let gone = file(&path, s3(&server, proxy.address(), "file.pgp", false), 60);
    assert!(matches!(gone, Err(Error::Gone { .. })), "{gone:?}");
    let elsewhere = file(&path, s3(&server, server.address(), "other.pgp", false), 60);
    let elsewhere = elsewhere.expect_err("it has begun");
    assert!(elsewhere.to_string().contains("file.pgp"), "{elsewhere}");

    // Another file under that name is not what was begun.
    let mut changed = bytes.clone();
    changed[3] ^= 1;
    std::fs::write(&path, &changed).expect("written");
    let refused = file(&path, s3(&server, server.address(), "file.pgp", false), 60);
    let refused = refused.expect_err("it has changed");
    assert!(refused.to_string().contains("has changed"), "{refused}");

    std::fs::write(&path, &bytes).expect("written");
    let done = file(&path, s3(&server, server.address(), "file.pgp", false), 60);
    let done = done.expect("it goes on");
    assert_eq!((done.sent_before, done.sent_again), (2 * PIECE, false));
    confirmed(&done.receipt, &bytes);
    assert!(server.object("file.pgp").expect("there") == bytes);
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("readable")
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");

    // What is there is not replaced, unless that is asked for.
    let refused = file(&path, s3(&server, server.address(), "file.pgp", false), 60);
    let refused = refused.expect_err("it exists");
    assert!(refused.to_string().contains("--force"), "{refused}");
    file(&path, s3(&server, server.address(), "file.pgp", true), 60).expect("replaced");
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
    // The object is made, and whoever had it made dies before there is a receipt.
    let options = FileOptions {
        sizes: PieceSizes::new(PIECE),
        retry: retry(60),
        root: root(),
    };
    let store = s3(&server, server.address(), "file.pgp", false);
    let died = deliver_file(&path, store, options, &|_| {}, &|_| {
        Err(Error::Setup("no more".into()))
    });
    assert!(matches!(died, Err(Error::Setup(_))), "{died:?}");

    // It is asked for the object once more, and nothing is sent twice.
    let done = file(&path, s3(&server, server.address(), "file.pgp", false), 60);
    let done = done.expect("confirmed");
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
        let options = S3Options {
            endpoint: Some(endpoint),
            ..S3Options::default()
        };
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
    let said = begin(right(), "s3://vault/a", "http://127.0.0.1:9".into());
    assert!(said.contains("could not be reached"), "{said}");
    // It speaks no TLS.
    let said = begin(
        right(),
        "s3://vault/a",
        server.endpoint().replace("http:", "https:"),
    );
    assert!(said.contains("could not be reached"), "{said}");
}
