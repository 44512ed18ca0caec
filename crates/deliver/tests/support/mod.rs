//! Deliveries as tests make them.
#![allow(dead_code, reason = "each test program uses the part that it needs")]

use std::{io::Write as _, net::SocketAddr, path::Path, time::Duration};

use scelle_deliver::{
    Credentials, Delivered, Delivery, Ended, Error, FileOptions, PieceSizes, Receipt, Retry, Root,
    S3, S3Options, Sftp, SftpOptions, Store, StreamOptions, deliver_file,
};
use scelle_testkit::{ObjectStore, Random, SshServer};

/// The first pieces of a delivery.
pub(crate) const PIECE: u64 = 5 << 20;

/// Bytes that no part of the way can guess.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    Random(0x2545_F491_4F6C_DD1D).bytes(count)
}

/// Quick, and patient for so long.
pub(crate) fn retry(patience_ms: u64) -> Retry {
    Retry {
        first: Duration::from_millis(2),
        most: Duration::from_millis(50),
        patience: Duration::from_millis(patience_ms),
        listener: None,
    }
}

pub(crate) fn stream(patience_ms: u64, fallback: Option<&Path>) -> StreamOptions {
    StreamOptions {
        sizes: PieceSizes::new(PIECE),
        retry: retry(patience_ms),
        fallback: fallback.map(Path::to_owned),
        is_encrypted: true,
    }
}

pub(crate) fn of_file(patience_ms: u64) -> FileOptions {
    FileOptions {
        sizes: PieceSizes::new(PIECE),
        retry: retry(patience_ms),
        root: root(),
        moved: false,
    }
}

/// For a store that is reached elsewhere than when its delivery was begun: without the line that was cut.
pub(crate) fn moved(patience_ms: u64) -> FileOptions {
    FileOptions {
        moved: true,
        ..of_file(patience_ms)
    }
}

pub(crate) fn root() -> Option<Root> {
    Some(Root {
        root: "ab".repeat(32),
        from: "sealed in this run".into(),
        tlp: None,
    })
}

/// Delivers bytes while they are written.
pub(crate) fn send(
    bytes: &[u8],
    store: Box<dyn Store>,
    options: StreamOptions,
) -> Result<Ended, Error> {
    let mut delivery = Delivery::begin(store, options)?;
    for part in bytes.chunks(123_457) {
        delivery.write_all(part).expect("taken");
    }
    delivery.finish(root())
}

/// Delivers a file.
pub(crate) fn file(
    path: &Path,
    store: Box<dyn Store>,
    options: FileOptions,
) -> Result<Delivered, Error> {
    deliver_file(path, store, options, &|_| {}, &|_| Ok(()))
}

/// The receipt of a delivery that must have been confirmed.
pub(crate) fn delivered(ended: Result<Ended, Error>) -> Receipt {
    match ended.expect("it arrives") {
        Ended::Delivered(receipt) => *receipt,
        Ended::Kept(rest) => panic!("{rest:?}"),
    }
}

/// How a service is reached at an address, with nothing taken from the environment.
pub(crate) fn s3_options(endpoint: &str, replace: bool) -> S3Options {
    S3Options {
        endpoint: Some(endpoint.into()),
        region: Some("us-east-1".into()),
        replace,
        ..S3Options::default()
    }
}

/// An object of the service, whose line begins at that address.
pub(crate) fn s3(server: &ObjectStore, at: SocketAddr, key: &str, replace: bool) -> Box<dyn Store> {
    s3_with(server, key, s3_options(&format!("http://{at}"), replace))
}

pub(crate) fn s3_with(server: &ObjectStore, key: &str, options: S3Options) -> Box<dyn Store> {
    let credentials = Credentials::new(&server.access, &server.secret, None);
    let address = format!("s3://vault/{key}").parse().expect("an address");
    Box::new(S3::new(address, credentials, options).expect("sound"))
}

/// Of a server that is known, whoever runs the test; what arrives is read back.
pub(crate) fn sftp_options(server: &SshServer) -> SftpOptions {
    SftpOptions {
        host_keys: vec![server.fingerprint("ed25519")],
        key: Some(server.key("user")),
        read_back: true,
        ..SftpOptions::default()
    }
}

pub(crate) fn try_sftp(
    server: &SshServer,
    at: SocketAddr,
    path: &Path,
    options: SftpOptions,
) -> Result<Box<dyn Store>, Error> {
    let address = format!("sftp://{}@{at}{}", server.user, path.display());
    let address = address.parse().expect("an address");
    Ok(Box::new(Sftp::new(address, options)?))
}

pub(crate) fn sftp(server: &SshServer, at: SocketAddr, path: &Path) -> Box<dyn Store> {
    try_sftp(server, at, path, sftp_options(server)).expect("sound")
}
