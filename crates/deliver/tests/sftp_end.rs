//! The moment at which a file gets its name at an SFTP server, and who may log in there.

mod support;

use std::{
    fs, io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
};

use md5::{Digest as _, Md5};
use scelle_deliver::{Confirmation, Error, Failure, Piece, Secret, SentPiece, SftpOptions, Store};
use scelle_testkit::{Cuts, CuttingProxy, Oddity, SshAgent, SshOptions, SshServer, closed_address};
use sha2::Sha256;
use support::{delivered, noise, send, sftp_options, stream, try_sftp};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends `bytes` as one piece, does something to what is there, and ends the delivery.
fn end(
    store: &mut dyn Store,
    bytes: &[u8],
    meanwhile: impl FnOnce(&str),
) -> Result<Confirmation, Failure> {
    let begun = store.begin().expect("begun");
    let piece = Piece {
        index: 0,
        offset: 0,
        bytes,
        sha256: Sha256::digest(bytes).into(),
        md5: Md5::digest(bytes).into(),
    };
    let answer = store.put(&begun, &piece).expect("taken");
    meanwhile(&begun.upload);
    let sent = SentPiece {
        piece: 0,
        bytes: bytes.len() as u64,
        sha256: hex(&piece.sha256),
        md5: hex(&piece.md5),
        answer,
    };
    store.finish(&begun, &[sent])
}

fn replacing(server: &SshServer, path: &Path) -> Box<dyn Store> {
    let options = SftpOptions {
        replace: true,
        read_back: false,
        ..sftp_options(server)
    };
    try_sftp(server, server.address(), path, options).expect("sound")
}

#[test]
fn an_older_file_of_that_size_is_not_taken_for_the_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = SshServer::start(&folder.path().join("sshd")) else {
        return;
    };
    let path = folder.path().join("case.pgp");
    let bytes = noise(300_000);
    let mut older = bytes.clone();
    older[299_999] ^= 1;

    // What was sent is lost, before it has its name.
    fs::write(&path, &older).expect("written");
    let lost = end(&mut *replacing(&server, &path), &bytes, |partial| {
        fs::remove_file(partial).expect("there");
    });
    let Err(Failure::Final(Error::Forgotten { .. })) = lost else {
        panic!("{lost:?}");
    };
    assert!(fs::read(&path).expect("there") == older, "it is untouched");

    // It has its name already: the answer was cut off. That is seen by its bytes.
    let renamed = end(&mut *replacing(&server, &path), &bytes, |partial| {
        fs::rename(partial, &path).expect("there");
    });
    let said = renamed.expect("it is there");
    assert!(
        said.confirmed.iter().any(|line| line.contains("read back")),
        "{said:?}"
    );
    // A longer one that begins alike is another.
    let longer = end(&mut *replacing(&server, &path), &bytes, |partial| {
        fs::rename(partial, &path).expect("there");
        fs::write(&path, [&bytes[..], b"more"].concat()).expect("written");
    });
    assert!(
        matches!(longer, Err(Failure::Final(Error::Forgotten { .. }))),
        "{longer:?}"
    );
}

#[test]
fn what_nobody_may_read_is_not_confirmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SshOptions {
        denies: "read,stat,lstat,opendir",
        ..SshOptions::default()
    };
    let Some(server) = SshServer::start_with(&folder.path().join("sshd"), options) else {
        return;
    };
    let path = folder.path().join("case.pgp");
    let bytes = noise(300_000);
    // A drop box takes it, and replaces what was there.
    fs::write(&path, &bytes[1..]).expect("written");
    let said = end(&mut *replacing(&server, &path), &bytes, |_| {}).expect("taken");
    assert!(fs::read(&path).expect("there") == bytes);
    let unconfirmed = said.unconfirmed.join("\n");
    assert!(
        unconfirmed.contains("size") && unconfirmed.contains("reads back"),
        "{said:?}"
    );
    // But what it can't show speaks for nothing.
    let lost = end(&mut *replacing(&server, &path), &bytes, |partial| {
        fs::remove_file(partial).expect("there");
    });
    let Err(Failure::Final(Error::Refused { why, .. })) = lost else {
        panic!("{lost:?}");
    };
    assert!(why.contains("may not read"), "{why}");
}

#[test]
fn an_older_file_is_there_until_the_new_one_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = noise(300_000);
    // Where the server renames over it, nothing is removed; else it is removed right before.
    for denies in ["remove", "posix-rename"] {
        let options = SshOptions {
            denies,
            ..SshOptions::default()
        };
        let folder = folder.path().join(denies);
        let Some(server) = SshServer::start_with(&folder.join("sshd"), options) else {
            return;
        };
        let path = folder.join("case.pgp");
        fs::write(&path, b"older").expect("written");
        end(&mut *replacing(&server, &path), &bytes, |partial| {
            assert_eq!(fs::read(&path).expect("there"), b"older");
            assert!(Path::new(partial).exists());
        })
        .expect(denies);
        assert!(fs::read(&path).expect("there") == bytes, "{denies}");
        // What is not all there replaces nothing.
        let cut = end(&mut *replacing(&server, &path), b"new", |partial| {
            fs::write(partial, b"newer").expect("written");
        });
        let Err(Failure::Final(Error::Refused { why, .. })) = cut else {
            panic!("{cut:?}");
        };
        assert!(why.contains("5 bytes"), "{why}");
        assert!(fs::read(&path).expect("there") == bytes, "{denies}");
    }
}

fn odd(folder: &Path, oddity: Oddity) -> Option<SshServer> {
    let options = SshOptions {
        odd: Some(oddity),
        ..SshOptions::default()
    };
    SshServer::start_with(&folder.join("sshd"), options)
}

fn careful(server: &SshServer, path: &Path) -> Box<dyn Store> {
    let options = SftpOptions {
        read_back: false,
        ..sftp_options(server)
    };
    try_sftp(server, server.address(), path, options).expect("sound")
}

#[test]
fn a_server_that_renames_over_what_is_there_is_not_let() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = odd(folder.path(), Oddity::Overwrites) else {
        return;
    };
    let path = folder.path().join("case.pgp");
    let bytes = noise(300_000);
    // It came while the bundle was sent.
    let refused = end(&mut *careful(&server, &path), &bytes, |_| {
        fs::write(&path, b"older").expect("written");
    });
    let Err(Failure::Final(Error::Refused { why, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("--force"), "{why}");
    assert_eq!(fs::read(&path).expect("there"), b"older");
    fs::remove_file(&path).expect("there");
    end(&mut *careful(&server, &path), &bytes, |_| {}).expect("nothing is in its way");
    assert!(fs::read(&path).expect("there") == bytes);
}

#[test]
fn a_size_that_is_not_said_is_not_confirmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = odd(folder.path(), Oddity::Sizeless) else {
        return;
    };
    let path = folder.path().join("case.pgp");
    let bytes = noise(300_000);
    let said = end(&mut *careful(&server, &path), &bytes, |_| {}).expect("taken");
    assert!(fs::read(&path).expect("there") == bytes);
    let unconfirmed = said.unconfirmed.join("\n");
    assert!(unconfirmed.contains("did not say"), "{said:?}");
    assert!(!said.confirmed.join("\n").contains("as many"), "{said:?}");
}

#[test]
fn a_session_that_is_cut_when_all_is_done_is_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = odd(folder.path(), Oddity::CutAtEnd) else {
        return;
    };
    let path = folder.path().join("case.pgp");
    let bytes = noise(300_000);
    let receipt = delivered(send(&bytes, careful(&server, &path), stream(20_000, None)));
    assert!(folder.path().join("sshd/mark").exists(), "it was cut");
    let confirmed = receipt.confirmation.confirmed.join("\n");
    assert!(confirmed.contains("as many bytes"), "{receipt:?}");
    assert!(fs::read(&path).expect("there") == bytes);
}

/// Hands each connection on to where it is led by its number.
fn forward(lead: impl Fn(u64) -> SocketAddr + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let carry = |mut from: TcpStream, mut to: TcpStream| {
        // Either end may go first.
        drop(io::copy(&mut from, &mut to));
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    };
    thread::spawn(move || {
        for (number, client) in (0..).zip(listener.incoming()) {
            let client = client.expect("connected");
            let server = TcpStream::connect(lead(number)).expect("it listens");
            let (up, down) = (client.try_clone(), server.try_clone());
            let (up, down) = (up.expect("a handle"), down.expect("a handle"));
            thread::spawn(move || carry(up, server));
            thread::spawn(move || carry(down, client));
        }
    });
    address
}

#[test]
fn another_key_on_the_way_is_waited_for_and_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(server), Some(stranger)) = (
        SshServer::start(&folder.path().join("sshd")),
        SshServer::start(&folder.path().join("stranger")),
    ) else {
        return;
    };
    let bytes = noise(20 << 20);
    let path = folder.path().join("case.pgp");
    // The first connection is cut in the middle of the second piece.
    let cuts = Cuts {
        seed: 1,
        count: 1,
        within_bytes: 1,
        first_bytes: 6 << 20,
        ..Cuts::default()
    };
    let cutting = CuttingProxy::start(server.address(), cuts);
    let (cut, right, wrong) = (cutting.address(), server.address(), stranger.address());
    // Each attempt asks for the three kinds of keys.
    let at = forward(move |number| match number {
        0 => cut,
        1..=6 => wrong,
        _ => right,
    });
    let store = try_sftp(&server, at, &path, sftp_options(&server)).expect("sound");
    let receipt = delivered(send(&bytes, store, stream(30_000, None)));
    assert_eq!(cutting.cut(), 1);
    assert!(
        receipt.endpoint.ends_with(&server.fingerprint("ed25519")),
        "{receipt:?}"
    );
    assert!(fs::read(&path).expect("there") == bytes);
    // At the beginning it is no trouble of the line.
    let at = forward(move |number| if number < 3 { wrong } else { right });
    let path = folder.path().join("other.pgp");
    let store = try_sftp(&server, at, &path, sftp_options(&server)).expect("sound");
    let refused = send(&bytes, store, stream(30_000, None)).expect_err("another key");
    assert!(matches!(refused, Error::Setup(_)), "{refused:?}");
    assert!(refused.to_string().contains("in between"), "{refused}");
}

#[test]
fn a_login_with_a_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SshOptions {
        takes_password: true,
        ..SshOptions::default()
    };
    let Some(server) = SshServer::start_with(&folder.path().join("sshd"), options) else {
        return;
    };
    let path = folder.path().join("case.pgp");
    let with = |options: SftpOptions| {
        let store = try_sftp(&server, server.address(), &path, options).expect("sound");
        send(b"bundle", store, stream(2_000, None))
    };
    let by_password = |password: &str| SftpOptions {
        key: None,
        password: Some(Secret::new(password)),
        ..sftp_options(&server)
    };
    let refused = with(by_password("wrong horse")).expect_err("another password");
    assert!(refused.to_string().contains("may not log in"), "{refused}");
    let refused = with(sftp_options(&server)).expect_err("it takes no key");
    assert!(refused.to_string().contains("password"), "{refused}");
    let options = by_password(server.password());
    assert!(!format!("{options:?}").contains(server.password()));
    let receipt = delivered(with(options));
    assert!(!format!("{receipt:?}").contains(server.password()));
    assert_eq!(fs::read(&path).expect("there"), b"bundle");
}

#[test]
fn a_login_through_an_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = SshServer::start(&folder.path().join("sshd")) else {
        return;
    };
    let path = folder.path().join("case.pgp");
    let with = |agent: &Path| {
        let options = SftpOptions {
            key: None,
            agent: Some(agent.to_owned()),
            replace: true,
            ..sftp_options(&server)
        };
        let store = try_sftp(&server, server.address(), &path, options).expect("sound");
        send(b"bundle", store, stream(200, None))
    };
    let agent = |name: &str, keys: &[&str]| {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).expect("made");
        let keys: Vec<_> = keys.iter().map(|key| server.key(key)).collect();
        SshAgent::start(&folder, &keys)
    };
    // The first key that it holds is nobody's, the next is the user's.
    let (Some(two), Some(rsa), Some(stranger)) = (
        agent("two", &["stranger", "user"]),
        agent("rsa", &["user-rsa"]),
        agent("other", &["stranger"]),
    ) else {
        return;
    };
    delivered(with(two.socket()));
    delivered(with(rsa.socket()));
    assert_eq!(fs::read(&path).expect("there"), b"bundle");
    let refused = with(stranger.socket()).expect_err("a stranger");
    assert!(refused.to_string().contains("ssh-agent"), "{refused}");
    let refused = with(&folder.path().join("none")).expect_err("no agent");
    assert!(refused.to_string().contains("ssh-agent"), "{refused}");
}

#[test]
fn a_server_that_is_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = SshServer::start(&folder.path().join("sshd")) else {
        return;
    };
    let path = folder.path().join("case.pgp");
    let store = try_sftp(&server, closed_address(), &path, sftp_options(&server)).expect("sound");
    let gone = send(b"bundle", store, stream(200, None)).expect_err("nobody there");
    assert!(matches!(gone, Error::Gone { .. }), "{gone:?}");
}
