//! Encrypted bundles: written, read back, cut, altered.

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    Content, Item, Random,
    certificates::{
        Reads, Unsound, armoured, certificate, decrypt_key, fingerprint, recipient, secret, unsound,
    },
    encrypted::{Device, encrypt, write_to},
    item, noise, options, write_with,
};
use rayon::prelude::*;
use scelle_bundle::{
    Bundle, Ciphertext, Compression, DecryptKey, Decrypted, Ending, Error, Recipient, Scope,
    SessionKey, Verdict, Verification, VerifyOptions, verify_encrypted,
};
use scelle_formats::{Bytes, ReadAt as _, ReadAtExt as _};

const BOTH: [Reads; 2] = [Reads::VersionOne, Reads::VersionTwo];

fn open(bytes: &[u8]) -> Result<Ciphertext, Error> {
    Ciphertext::open(Arc::new(Bytes(bytes.to_vec())))
}

fn ask(bytes: &[u8], key: &SessionKey, root: &str) -> Result<Verification, Error> {
    let options = VerifyOptions {
        root: Some(root.to_owned()),
        ..VerifyOptions::default()
    };
    verify_encrypted(&open(bytes)?, key, &options)
}

/// Whether an answer is one to a message that was altered: it is no bundle, opens with no key, or says what is wrong with it.
fn is_found(answer: &Result<Verification, Error>) -> bool {
    match answer {
        Ok(answer) => {
            matches!(answer.verdict, Verdict::Broken | Verdict::Unfinished)
                && !answer.problems.is_empty()
        }
        Err(error) => matches!(error, Error::Format(_) | Error::Key { .. } | Error::Begun),
    }
}

fn salvage(bytes: &[u8], key: &SessionKey) -> Decrypted {
    open(bytes)
        .and_then(|ciphertext| ciphertext.salvage(key))
        .expect("its head is there")
}

fn items() -> Vec<Item> {
    let mut items: Vec<Item> = (0..40)
        .map(|number| {
            let name = format!("Users/a/file {number}");
            item(name.as_bytes(), noise(number, 100 + number as usize * 7919))
        })
        .collect();
    let mut sparse = item(b"$Extend/$UsnJrnl", Vec::new());
    sparse.content = Content::Sparse(40 << 20, vec![(32 << 20, noise(7, 700_000))]);
    items.push(sparse);
    items.push(item(b"large", noise(99, 9 << 20)));
    items
}

#[test]
fn what_is_encrypted_is_read_back_and_verified() {
    for reads in BOTH {
        for compression in [Compression::Deflate, Compression::Store] {
            let one = secret("one", reads, None);
            let two = secret("two", reads, None);
            let mut options = options("encrypted");
            options.compression = compression;
            options.checkpoint_bytes = 300_000;
            let recipients = [recipient(&one), recipient(&two)];
            let items = items();
            let (sealed, bytes, session_key) = encrypt(options, &items, &recipients);
            assert!(Ciphertext::is_begun_by(&bytes[..200]));
            assert!(!Ciphertext::is_begun_by(&bytes[1..200]));
            let ciphertext = open(&bytes).expect("own");
            for secret in [&one, &two] {
                let key = ciphertext
                    .session_key(&decrypt_key(secret))
                    .expect("for them");
                let answer = ask(&bytes, &key, &sealed.root).expect("it can be checked");
                assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
                assert_eq!(answer.files, items.len() as u64);
            }
            let stranger = secret("stranger", reads, None);
            let refused = ciphertext.session_key(&decrypt_key(&stranger));
            let refused = refused.expect_err("not for them").to_string();
            assert!(refused.contains("not encrypted for"), "{refused}");

            let archive = ciphertext.decrypt(&session_key).expect("unaltered");
            assert_eq!(*archive.ending(), Ending::Whole);
            assert_eq!(archive.len(), sealed.archive_bytes);
            let whole = archive.read_range(0..u64::MAX, usize::MAX).expect("there");
            let mut random = Random(1);
            for _ in 0..300 {
                let at = random.below(whole.len());
                let count = (random.below(200_000) >> random.below(18)).min(whole.len() - at);
                let mut part = vec![0; count];
                assert_eq!(archive.read_at(at as u64, &mut part).expect("there"), count);
                assert!(part == whole[at..at + count], "{count} bytes at {at}");
            }
            let bundle = Bundle::open(Arc::new(archive)).expect("a bundle");
            assert_eq!(bundle.root, sealed.root);
            for ((member, _), item) in bundle.files().zip(&items) {
                let Content::Plain(content) = &item.content else {
                    continue;
                };
                let stream = bundle.open_stored(member).expect("there");
                let read = stream.read_range(0..u64::MAX, usize::MAX).expect("there");
                assert!(read == *content, "{member}");
            }
        }
    }
}

/// The newer kind is used only if every recipient reads it.
#[test]
fn the_older_kind_is_used_where_one_reads_only_that() {
    let old = recipient(&secret("old", Reads::VersionOne, None));
    let new = recipient(&secret("new", Reads::VersionTwo, None));
    for (recipients, octet) in [
        (vec![old.clone()], 1),
        (vec![new.clone(), old], 1),
        (vec![new], 2),
    ] {
        let (_, bytes, _) = encrypt(options("kind"), &[item(b"a", b"a")], &recipients);
        let mut at = 0;
        while bytes[at] == 0xC1 {
            at += 2 + usize::from(bytes[at + 1]);
        }
        assert_eq!(bytes[at], 0xD2);
        assert_eq!(bytes[at + 2], octet, "{} recipients", recipients.len());
    }
}

/// Whoever asks for one member of an altered file is not told that it, or the seal, was looked at.
#[test]
fn a_member_of_altered_ciphertext_was_not_checked() {
    let items = [item(b"a", noise(1, 90_000))];
    let one = recipient(&secret("one", Reads::VersionTwo, None));
    let (sealed, mut bytes, key) = encrypt(options("altered"), &items, &[one]);
    let options = VerifyOptions {
        root: Some(sealed.root),
        member: Some("data/a".to_owned()),
        ..VerifyOptions::default()
    };
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let answer = verify_encrypted(&open(&bytes).expect("its head is there"), &key, &options);
    let answer = answer.expect("an answer");
    assert_eq!(answer.verdict, Verdict::Broken);
    assert_eq!(answer.scope, Scope::Archive);
    let told: Vec<_> = answer.problems.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("altered"), "{told:?}");
    assert!(told[1].contains("was not checked"), "{told:?}");
}

/// One byte after another, in both kinds, session-key packets included: each change is found.
#[test]
fn every_byte_counts() {
    for reads in BOTH {
        let secret = secret("reader", reads, None);
        let key = decrypt_key(&secret);
        let items = [item(b"small", b"evidence")];
        let mut options = options("small");
        // One checkpoint in the middle: what it puts on the device early counts as well.
        options.checkpoint_time = Duration::ZERO;
        let (sealed, bytes, session_key) = encrypt(options, &items, &[recipient(&secret)]);
        let sound = ask(&bytes, &session_key, &sealed.root).expect("sound");
        assert_eq!(sound.verdict, Verdict::Sealed, "{:?}", sound.problems);
        let packets = 2 + usize::from(bytes[1]);
        let missed: Vec<usize> = (0..bytes.len())
            .into_par_iter()
            .filter(|at| {
                let mut changed = bytes.clone();
                changed[*at] ^= 1 << (at % 8);
                let answer = open(&changed).and_then(|ciphertext| {
                    // Where the key is not what was touched, it needs no second look.
                    let session = if *at < packets {
                        ciphertext.session_key(&key)?
                    } else {
                        session_key.clone()
                    };
                    let options = VerifyOptions {
                        root: Some(sealed.root.clone()),
                        ..VerifyOptions::default()
                    };
                    verify_encrypted(&ciphertext, &session, &options)
                });
                !is_found(&answer)
            })
            .collect();
        assert!(
            missed.is_empty(),
            "{reads:?}: changes at {missed:?} are not found"
        );
        // A session-key packet that still opens, by whatever change, is told by its hash.
        let (mut other, other_packets) = (bytes.clone(), packets);
        other.splice(0..0, bytes[..other_packets].to_vec());
        let answer = ask(&other, &session_key, &sealed.root).expect("it can be checked");
        assert_eq!(answer.verdict, Verdict::Broken);
        let problem = answer.problems[0].to_string();
        assert!(problem.contains("session-key packets"), "{problem}");
    }
}

/// Whatever a checkpoint says is on the device, is: a cut there loses nothing of it.
#[test]
fn a_cut_ciphertext_gives_all_that_was_synced() {
    for reads in BOTH {
        let device = Device::default();
        let mut plan = options("cut");
        plan.checkpoint_bytes = 200_000;
        plan.checkpoint_time = Duration::from_secs(3600);
        let items = items();
        let secret = secret("reader", reads, None);
        let recipients = [recipient(&secret)];
        let (sealed, device, session_key) = write_to(device, plan, &items, &recipients);
        let (bytes, synced) = device.content();
        assert!(synced.len() > 10, "there are checkpoints");
        let whole = salvage(&bytes, &session_key);
        assert_eq!(*whole.ending(), Ending::Whole);
        let whole = whole.read_range(0..u64::MAX, usize::MAX).expect("there");
        let asc = |bytes: &[u8]| {
            let found = bytes.windows(4).rposition(|four| four == b".asc");
            found.expect("a checkpoint's signature")
        };
        for (number, at) in synced.iter().enumerate() {
            let cut = salvage(&bytes[..*at], &session_key);
            assert_eq!(*cut.ending(), Ending::Cut, "sync {number}");
            let length = cut.len() as usize;
            let read = cut.read_range(0..u64::MAX, usize::MAX).expect("there");
            assert!(read.len() == length && read == whole[..length]);
            // The whole of the checkpoint's signature is there, and the archive ends behind it.
            assert!(length - asc(&read) < 1000, "sync {number}: {length}");
            let answer = ask(&bytes[..*at], &session_key, &sealed.root).expect("readable");
            assert_eq!(answer.verdict, Verdict::Unfinished, "{:?}", answer.problems);
        }
        let mut random = Random(5);
        for _ in 0..60 {
            let at = 400 + random.below(bytes.len() - 400);
            let cut = salvage(&bytes[..at], &session_key);
            assert_eq!(*cut.ending(), Ending::Cut, "{at}");
            let read = cut.read_range(0..u64::MAX, usize::MAX).expect("there");
            assert!(read.len() as u64 == cut.len() && read == whole[..read.len()]);
            assert!(
                at - read.len() < 2000 + 4 * at / 1000,
                "{at}: {}",
                read.len()
            );
        }
    }
}

#[test]
fn certificates_that_will_not_do_are_refused() {
    let key = secret("someone", Reads::VersionOne, None);
    let text = certificate(&key);
    let right = fingerprint(&key);
    let read = |text: &str, wanted: &str| {
        Recipient::read(text.as_bytes(), wanted, common::PLAN_DATE)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    read(&text, &right).expect("sound");
    let spaced: Vec<&str> = right
        .as_bytes()
        .chunks(4)
        .map(|four| std::str::from_utf8(four).expect("hex"))
        .collect();
    read(&text, &spaced.join(" ").to_lowercase()).expect("as gpg shows it");
    for (text, wanted, why) in [
        (&*text, &right[24..], "no full fingerprint"),
        (&text, &right[32..], "no full fingerprint"),
        (&text, "", "no full fingerprint"),
        (&text, &"0".repeat(40), "its fingerprint is"),
        ("nothing", &right, "certificate"),
    ] {
        let error = read(text, wanted).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    for (what, why) in [
        (Unsound::Expired, "is expired since 2026-01-02"),
        (Unsound::Revoked, "is revoked"),
        (Unsound::SubkeyExpired, "is expired since 2026-01-02"),
        (Unsound::SubkeyRevoked, "is revoked"),
        (Unsound::NoSubkey, "no key for encryption"),
        (Unsound::NotForEncryption, "no key for encryption"),
        (Unsound::NoSelfSignature, "no valid signature"),
    ] {
        let error = read(&unsound(&key, what), &right).expect_err(why);
        assert!(
            error.contains(why) && error.contains(&right),
            "{what:?}: {error}"
        );
    }
}

#[test]
fn a_protected_key_needs_its_password() {
    let secret = secret("locked", Reads::VersionOne, Some("correct horse"));
    let (_, bytes, _) = encrypt(
        options("locked"),
        &[item(b"a", b"a")],
        &[recipient(&secret)],
    );
    let ciphertext = open(&bytes).expect("own");
    let text = armoured(&secret);
    let session = |password| {
        let key = DecryptKey::read(text.as_bytes(), password).expect("a key");
        assert!(key.is_protected());
        ciphertext.session_key(&key)
    };
    session(Some("correct horse")).expect("opened");
    for wrong in [None, Some("wrong")] {
        let error = session(wrong).expect_err("locked").to_string();
        assert!(error.contains("password"), "{error}");
    }
}

/// The same bytes, cut into pieces otherwise: every reader takes that, and `verify` does not.
#[test]
fn packets_cut_otherwise_are_refused() {
    for reads in BOTH {
        let secret = secret("reader", reads, None);
        let items = [item(b"a", noise(3, 900_000))];
        let (sealed, bytes, key) = encrypt(options("frames"), &items, &[recipient(&secret)]);
        let piece = 2 + usize::from(bytes[1]) + 1;
        assert_eq!(bytes[piece - 1], 0xD2, "the data's tag");
        assert_eq!(bytes[piece], 0xF0, "a usual piece");
        let mut halved = bytes.clone();
        halved[piece] = 0xEF;
        halved.insert(piece + 1 + (1 << 15), 0xEF);
        assert_eq!(
            *salvage(&halved, &key).ending(),
            Ending::Whole,
            "well-formed"
        );
        let answer = ask(&halved, &key, &sealed.root).expect("it can be checked");
        assert_eq!(answer.verdict, Verdict::Broken);
        let problem = answer.problems[0].to_string();
        assert!(problem.contains("not cut as"), "{problem}");
    }
}

/// A sealed archive that someone else put into a message is not this bundle's.
#[test]
fn an_archive_encrypted_by_others_is_refused() {
    for reads in BOTH {
        let secret = secret("reader", reads, None);
        let (sealed, archive) = write_with(options("clear"), &[item(b"a", b"evidence")]);
        // Encrypted and signed as it should be, but by another key and without a word in it.
        let mut out =
            scelle_bundle::Encrypted::create(Vec::new(), &[recipient(&secret)], common::key())
                .expect("recipients");
        std::io::Write::write_all(&mut out, &archive).expect("memory");
        let key = out.session_key().clone();
        let bytes = out.finish().expect("memory");
        let answer = ask(&bytes, &key, &sealed.root).expect("it can be checked");
        assert_eq!(answer.verdict, Verdict::Broken);
        let problems: Vec<_> = answer.problems.iter().map(ToString::to_string).collect();
        let problems = problems.join("\n");
        for what in [
            "that there are none",
            "another key is announced",
            "not cut as",
        ] {
            assert!(problems.contains(what), "{problems}");
        }
    }
}

/// Changes of many kinds to ciphertext; none leaves a bundle sealed.
#[test]
fn a_thousand_mutations_of_ciphertext_are_found() {
    let tried: usize = BOTH
        .into_par_iter()
        .map(|reads| {
            let secret = secret("reader", reads, None);
            let items: Vec<Item> = (0..12)
                .map(|number| item(format!("d/f{number}").as_bytes(), noise(number, 900)))
                .collect();
            let recipients = [recipient(&secret)];
            let (sealed, bytes, key) = encrypt(options("mutated"), &items, &recipients);
            let (_, other, _) = encrypt(options("mutated"), &items, &recipients);
            (0..560u64)
                .into_par_iter()
                .filter_map(|seed| mutate(&bytes, &other, seed).map(|changed| (seed, changed)))
                .map(|(seed, changed)| {
                    let answer = ask(&changed, &key, &sealed.root);
                    assert!(is_found(&answer), "{reads:?}, seed {seed}: {answer:?}");
                })
                .count()
        })
        .sum();
    assert!(tried >= 1000, "only {tried} mutations changed anything");
}

fn mutate(bytes: &[u8], other: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut random = Random(seed);
    let mut changed = bytes.to_vec();
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(600))
        .min(bytes.len())
        .min(other.len());
    match seed % 8 {
        0 => changed[at] ^= 1 << random.below(8),
        1 => drop(changed.drain(at..end.max(at))),
        2 => drop(changed.splice(at..at, random.next().to_le_bytes())),
        3 => changed.truncate(at),
        4 => changed.extend((0..1 + random.below(40)).map(|_| random.next() as u8)),
        5 if at < end => changed[at..end].copy_from_slice(&other[at..end]),
        6 => {
            let length = 16 * (1 + random.below(20));
            let (a, b) = (random.below(bytes.len()), random.below(bytes.len()));
            let (a, b) = (a.min(b), a.max(b));
            if a + length < b && b + length < bytes.len() {
                let (left, right) = changed.split_at_mut(b);
                left[a..a + length].swap_with_slice(&mut right[..length]);
            }
        }
        _ => {
            // Another message's session-key packets before this one's data, or the reverse.
            let split = 2 + usize::from(bytes[1]);
            let joined = [&other[..split], &bytes[split..]].concat();
            changed = if random.below(2) == 0 {
                joined
            } else {
                [&bytes[..split], &other[split..]].concat()
            };
        }
    }
    (changed != bytes).then_some(changed)
}

/// Makes what the fuzz target patches; run it alone when the format has changed.
#[test]
#[ignore = "it writes to fuzz/seeds/bundle.encrypted"]
fn make_seeds() {
    let folder = std::path::Path::new("../../fuzz/seeds/bundle.encrypted");
    std::fs::create_dir_all(folder).expect("made");
    for (reads, name) in BOTH.into_iter().zip(["one", "two"]) {
        let items = [item(b"a", b"evidence"), item(b"b", noise(1, 3000))];
        let recipients = [recipient(&secret("seed", reads, None))];
        let (_, bytes, key) = encrypt(options("seed"), &items, &recipients);
        let read = SessionKey::parse(&key.expose()).expect("own text");
        open(&bytes)
            .and_then(|own| own.decrypt(&read))
            .expect("own");
        std::fs::write(folder.join(format!("{name}.pgp")), bytes).expect("written");
        std::fs::write(folder.join(format!("{name}.key")), &*key.expose()).expect("written");
    }
}
