//! The moment at which a store makes an object of its parts: where it fails there, there is no receipt that isn't so.

mod support;

use scelle_deliver::{Ended, Error, deliver_file};
use scelle_testkit::{Front, ObjectStore, StoreFront, Trouble};
use support::{delivered, file, moved, noise, of_file, s3, send, stream};

const KEY: &str = "end.pgp";

fn front(server: &ObjectStore, troubles: &[Trouble]) -> StoreFront {
    let front = Front {
        troubles: troubles.to_vec(),
        ..Front::default()
    };
    StoreFront::start(server.address(), front)
}

#[test]
fn what_the_store_did_not_do_it_is_asked_again() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let bytes = noise((11 << 20) + 3);
    let troubles = [
        Trouble::CutBefore,
        Trouble::FailBefore,
        Trouble::FailBefore,
        Trouble::CutBefore,
    ];
    let front = front(&server, &troubles);
    let receipt = delivered(send(
        &bytes,
        s3(&server, front.address(), KEY, false),
        stream(20_000, None),
    ));
    assert_eq!(front.asked(), 5);
    assert_eq!(receipt.confirmation.confirmed.len(), 3, "{receipt:?}");
    assert!(server.object(KEY).expect("there") == bytes);
}

#[test]
fn what_it_did_and_did_not_say_is_looked_at() {
    let Some(server) = ObjectStore::start_readable() else {
        return;
    };
    let bytes = noise((11 << 20) + 3);
    for (number, trouble) in [Trouble::CutAfter, Trouble::FailAfter, Trouble::Forget]
        .into_iter()
        .enumerate()
    {
        for replace in [false, true] {
            let key = format!("{number}-{replace}.pgp");
            if replace {
                server.put(&key, &noise(bytes.len() + 1)[1..]);
            }
            let front = front(&server, &[trouble]);
            let store = s3(&server, front.address(), &key, replace);
            let receipt = delivered(send(&bytes, store, stream(20_000, None)));
            let said = &receipt.confirmation;
            assert_eq!(said.confirmed.len(), 3, "{said:?}");
            assert!(said.etag.is_some() && said.store_time.is_some(), "{said:?}");
            assert!(server.object(&key).expect("there") == bytes);
        }
    }
}

#[test]
fn what_nobody_may_look_at_is_not_confirmed() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let bytes = noise((11 << 20) + 3);
    let front = front(&server, &[Trouble::Forget]);
    let store = s3(&server, front.address(), KEY, false);
    let refused = send(&bytes, store, stream(20_000, None)).expect_err("nobody knows");
    let Error::Refused { why, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("may be there"), "{why}");
    assert!(server.object(KEY).expect("there") == bytes);
}

#[test]
fn another_object_of_that_size_is_not_taken_for_it() {
    let Some(server) = ObjectStore::start_readable() else {
        return;
    };
    let server = std::sync::Arc::new(server);
    let bytes = noise((11 << 20) + 3);
    let mut other = bytes.clone();
    other[7] ^= 1;
    let (there, key) = (std::sync::Arc::clone(&server), KEY.to_owned());
    // The object was made, nobody heard so, and somebody replaced it.
    let replacing = Front {
        troubles: vec![Trouble::Forget],
        meanwhile: Some(Box::new(move || there.put(&key, &other))),
        ..Front::default()
    };
    let front = StoreFront::start(server.address(), replacing);
    let store = s3(&server, front.address(), KEY, true);
    let refused = send(&bytes, store, stream(20_000, None)).expect_err("it is another");
    assert!(refused.to_string().contains("did not confirm"), "{refused}");
}

#[test]
fn a_store_that_goes_away_at_the_end_has_its_rest_kept() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = noise((11 << 20) + 3);
    let gone = front(&server, &[Trouble::Gone]);
    let store = s3(&server, gone.address(), "none.pgp", false);
    let error = send(&bytes, store, stream(60, None)).expect_err("it is gone");
    assert!(matches!(error, Error::Gone { .. }), "{error:?}");
    assert!(server.object("none.pgp").is_none());

    let rest = folder.path().join("end.rest");
    let gone = front(&server, &[Trouble::FailBefore, Trouble::Gone]);
    let store = s3(&server, gone.address(), KEY, false);
    let ended = send(&bytes, store, stream(60, Some(&rest))).expect("kept");
    let Ended::Kept(kept) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!((kept.from, kept.bytes), (bytes.len() as u64, 0));
    assert!(server.object(KEY).is_none());
    // All its parts are at the store: nothing is sent, and the object is made.
    let store = s3(&server, server.address(), KEY, false);
    let done = file(&rest, store, moved(2_000)).expect("it goes on");
    assert_eq!(done.sent_before, bytes.len() as u64);
    assert!(server.object(KEY).expect("there") == bytes);
}

#[test]
fn what_was_confirmed_and_is_not_known_any_more_is_not_sent_again() {
    let Some(server) = ObjectStore::start() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("case.pgp");
    let bytes = noise((11 << 20) + 3);
    std::fs::write(&path, &bytes).expect("written");
    let front = front(&server, &[Trouble::FailBefore, Trouble::Unknown]);
    let store = || s3(&server, front.address(), KEY, false);
    let cut = file(&path, store(), of_file(0)).expect_err("it failed");
    assert!(matches!(cut, Error::Gone { .. }), "{cut:?}");
    // An upload that was forgotten before anything was confirmed is made again.
    let done = deliver_file(&path, store(), of_file(2_000), &|_| {}, &|_| {
        Err(Error::Setup("no room".into()))
    });
    let done = done.expect("delivered");
    assert!(done.sent_again && done.unkept.is_some(), "{done:?}");
    assert!(server.object(KEY).expect("there") == bytes);

    let unknown = front_of_unknown(&server);
    let store = || s3(&server, unknown.address(), KEY, false);
    for _ in 0..2 {
        let error = file(&path, store(), moved(2_000)).expect_err("nobody knows");
        let said = error.to_string();
        assert!(said.contains("had confirmed all of it"), "{said}");
        assert!(said.contains("Nothing was sent"), "{said}");
    }
    assert_eq!(unknown.asked(), 2);
}

fn front_of_unknown(server: &ObjectStore) -> StoreFront {
    front(server, &[Trouble::Unknown, Trouble::Unknown])
}

#[test]
fn a_file_whose_object_was_made_unheard_is_not_sent_twice() {
    let Some(server) = ObjectStore::start_readable() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("case.pgp");
    let bytes = noise((11 << 20) + 3);
    std::fs::write(&path, &bytes).expect("written");
    // The object is made, its answer is cut off, and the store is gone for longer than is waited.
    let gone = front(&server, &[Trouble::CutAfter, Trouble::Gone]);
    let store = s3(&server, gone.address(), KEY, false);
    let cut = file(&path, store, support::of_file(60)).expect_err("it is gone");
    assert!(matches!(cut, Error::Gone { .. }), "{cut:?}");
    let store = s3(&server, server.address(), KEY, false);
    let done = file(&path, store, moved(2_000)).expect("it is there");
    assert_eq!(
        (done.sent_before, done.sent_again),
        (bytes.len() as u64, false)
    );
    assert!(server.object(KEY).expect("there") == bytes);
}
