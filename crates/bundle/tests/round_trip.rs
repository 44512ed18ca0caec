//! What is written is what is read back, whoever reads it.

mod common;

use std::{
    fs,
    io::{self, Read as _, Write},
    sync::Arc,
};

use common::{Content, Item, VOLUME, entry, item, noise, options, spread, write, write_compressed};
use scelle_bundle::{
    Bundle, BundleWriter, Certificate, Compression, Error, Output, PartialFile, Scope, Verdict,
    VerifyOptions, verify, verify_bag,
};
use scelle_event::{EvidencePath, StreamId};
use scelle_evidence::{
    Details, ExtendedAttribute, ObjectId, Reparse, Security, StreamInfo, StreamState,
};
use scelle_formats::{Bytes, RangeKind, ReadAtExt as _};

const SEGMENT: usize = 8 << 20;

fn details() -> Details {
    let attribute = |name: &[u8], value: &[u8]| ExtendedAttribute {
        name: EvidencePath::from_bytes(name),
        flags: 0x80,
        value: value.into(),
    };
    Details {
        security: Some(Arc::new(Security {
            owner: Some("S-1-5-18".into()),
            group: None,
            sddl: "O:S-1-5-18D:(A;;FA;;;S-1-1-0)".into(),
        })),
        object_id: Some(ObjectId {
            object: std::array::from_fn(|at| at as u8),
            birth: Some([[1; 16], [0xFE; 16], [0; 16]]),
        }),
        reparse: Some(Reparse {
            tag: 0x8000_0017,
            data: [0x17, 0, 0, 0x80, 1, 2, 3].as_slice().into(),
        }),
        extended_attributes: vec![attribute(b"$LXUID", &[1, 2]), attribute(b"odd\xFF", b"")],
    }
}

fn sample() -> Vec<Item> {
    let mut items = vec![
        item(b"Windows/empty", vec![]),
        item(b"Windows/one", vec![1]),
        item(b"Users/a/block", noise(1, 512 << 10)),
        item(b"Users/a/block and more", noise(2, (512 << 10) + 1)),
        item(b"Users/a/segment", noise(3, SEGMENT)),
        item(b"Users/a/two segments", noise(4, SEGMENT + 70_000)),
        item(b"lone\xED\xA0\x80name", b"surrogate".to_vec()),
        item(b"raw\xFFbytes", b"latin".to_vec()),
    ];
    for (number, item) in items.iter_mut().enumerate() {
        item.entry = entry(item.entry.path.as_bytes(), number as u64 + 30);
    }
    items[0].entry.details = details();
    items[1].entry.streams = vec![StreamInfo {
        name: None,
        size_bytes: 1,
        allocated_bytes: 1,
        sparse: false,
        state: StreamState::Encrypted { plain_bytes: 7 },
        remains: None,
    }];
    let base = entry(b"Users/a/one", 90);
    for name in [None, Some("Zone.Identifier"), Some("odd/=:name")] {
        items.push(Item {
            entry: base.clone(),
            stream: name.map(|name| EvidencePath::from_bytes(name.as_bytes())),
            content: Content::Plain(format!("{name:?}").into_bytes()),
        });
    }
    let mut deleted = entry(b"Users/a/one", 91);
    deleted.deleted = true;
    items.push(Item {
        entry: deleted,
        stream: None,
        content: Content::Plain(b"of a deleted file".to_vec()),
    });
    for (number, size, hole) in [(100, 40 << 20, 39 << 20), (101, 1 << 40, 1 << 39)] {
        items.push(Item {
            entry: entry(format!("$Extend/$UsnJrnl{number}").as_bytes(), number),
            stream: Some(EvidencePath::from_bytes(b"$J")),
            content: Content::Sparse(size, vec![(hole, noise(number, 600_000))]),
        });
    }
    items.push(Item {
        entry: entry(b"torn", 110),
        stream: None,
        content: Content::Torn(noise(9, 40_000), 8192..12_288),
    });
    items.push(Item {
        entry: entry(b"lost", 111),
        stream: None,
        content: Content::Lost,
    });
    items
}

/// Checks each stream of `items` against what the bundle gives back.
fn compare(items: &[Item], archive: Vec<u8>) {
    let bundle = Bundle::open(Arc::new(Bytes(archive))).expect("a sound bundle");
    let volumes = bundle.volumes();
    assert_eq!(volumes.len(), 1);
    let volume = &volumes[0];
    assert_eq!(&*volume.info().id, VOLUME);
    for item in items {
        let opened = volume.open_entry(&item.entry, item.stream.as_ref());
        let name = &item.entry.path;
        match &item.content {
            Content::Lost => assert!(opened.is_err(), "{name} was not collected"),
            Content::Plain(bytes) => {
                let reader = opened.expect("it was collected");
                let back = reader.read_range(0..u64::MAX, usize::MAX).expect("sound");
                assert!(back == *bytes, "{name} differs");
                // At a random place, over a segment's end.
                if bytes.len() > SEGMENT {
                    let mut middle = [0; 1000];
                    let at = SEGMENT as u64 - 500;
                    reader.read_exact_at("it", at, &mut middle).expect("sound");
                    assert!(middle[..] == bytes[SEGMENT - 500..][..1000]);
                }
            }
            Content::Riddled(size) | Content::Zeros(size) => {
                let reader = opened.expect("it was collected");
                let back = reader.read_range(0..u64::MAX, usize::MAX).expect("sound");
                assert!(back == vec![0; *size as usize], "{name} differs");
            }
            Content::Torn(bytes, torn) => {
                let reader = opened.expect("most of it was collected");
                let mut wanted = bytes.clone();
                wanted[torn.start as usize..torn.end as usize].fill(0);
                let back = reader.read_range(0..u64::MAX, usize::MAX).expect("sound");
                assert!(back == wanted, "{name} differs");
                let kinds: Vec<_> = reader.ranges().collect();
                assert!(
                    kinds.contains(&(torn.clone(), RangeKind::Unreadable)),
                    "{kinds:?}"
                );
            }
            Content::Sparse(size, pieces) => {
                let reader = opened.expect("it was collected");
                assert_eq!(reader.len(), *size);
                for (at, piece) in pieces {
                    let mut back = vec![1; piece.len() + 200];
                    reader
                        .read_exact_at("it", at - 100, &mut back)
                        .expect("sound");
                    assert!(back[100..100 + piece.len()] == piece[..]);
                    assert!(back[..100].iter().all(|byte| *byte == 0));
                }
                if *size < 1 << 30 {
                    let back = reader.read_range(0..*size, usize::MAX).expect("sound");
                    assert!(back == spread(*size, pieces));
                }
                let kinds: Vec<_> = reader.ranges().map(|(_, kind)| kind).collect();
                assert_eq!(kinds, [RangeKind::Hole, RangeKind::Data, RangeKind::Hole]);
            }
        }
    }
    let id = StreamId {
        volume: VOLUME.into(),
        path: EvidencePath::from_bytes(b"Users/a/one"),
        stream: None,
    };
    let found = volume.open(&id).expect("the one that is not deleted");
    assert_eq!(found.read_range(0..9, 9).expect("sound"), b"None");
    let mut entries = Vec::new();
    volume.walk(&mut |entry| {
        entries.push(entry.expect("nothing is lost"));
        std::ops::ControlFlow::Continue(())
    });
    let first = &items[0].entry;
    assert_eq!(entries[0].path, first.path);
    assert_eq!(entries[0].details, first.details);
    assert_eq!(entries[1].details, Details::default());
    assert_eq!(entries[1].streams, items[1].entry.streams);
    assert_eq!(entries[0].times, first.times, "times come back exactly");
    assert_eq!(entries[0].names, first.names);
    let one = entries.iter().find(|entry| entry.id == items[8].entry.id);
    assert_eq!(one.map(|entry| entry.streams.len()), Some(3));
}

#[test]
fn bundles_read_back_and_verify() {
    let items = sample();
    for compression in [Compression::Deflate, Compression::Zstd, Compression::Store] {
        let (sealed, archive) = write_compressed(&items, compression);
        assert_eq!(sealed.files as usize, items.len() - 1);
        assert_eq!(sealed.losses, 3, "one torn, one lost, one encrypted");
        let source = Bytes(&archive);
        let answer = verify(&source, &VerifyOptions::default()).expect("an answer");
        assert_eq!(answer.problems, [], "{compression:?}");
        assert_eq!(answer.verdict, Verdict::SignerUnknown);
        assert_eq!(answer.root.as_ref(), Some(&sealed.root));
        assert_eq!(answer.payload.as_ref(), Some(&sealed.payload));
        assert_eq!((answer.files, answer.bytes), (sealed.files, sealed.bytes));
        assert_eq!(answer.tlp.as_deref(), Some("TLP:AMBER"));
        for root in [
            scelle_bundle::grouped(&sealed.root).to_uppercase(),
            sealed.root_sha256.clone(),
        ] {
            let options = VerifyOptions {
                root: Some(root),
                ..VerifyOptions::default()
            };
            let answer = verify(&source, &options).expect("an answer");
            assert_eq!(answer.verdict, Verdict::Sealed);
            assert_eq!(answer.vouched_by, ["root"]);
        }
        compare(&items, archive);
    }
}

#[test]
fn who_vouches() {
    let options = options("trusted");
    let certificate = options.key.certificate().expect("text");
    let trusted = Certificate::read(certificate.as_bytes()).expect("own certificate");
    let (sealed, archive) = common::write_with(options, &[item(b"a", b"b".to_vec())]);
    let ask = |trust: Vec<Certificate>, root: Option<String>| {
        verify(
            &Bytes(&archive),
            &VerifyOptions {
                trust,
                root,
                ..VerifyOptions::default()
            },
        )
        .expect("an answer")
    };
    let answer = ask(vec![trusted.clone()], None);
    assert_eq!(answer.verdict, Verdict::Sealed);
    assert_eq!(answer.vouched_by, std::slice::from_ref(&sealed.signer));
    let other = common::key().certificate().expect("text");
    let other = Certificate::read(other.as_bytes()).expect("a certificate");
    let answer = ask(vec![other], None);
    assert_eq!(answer.verdict, Verdict::SignerUnknown);
    assert_eq!(answer.problems.len(), 1);
    let answer = ask(vec![trusted], Some("0".repeat(64)));
    assert_eq!(answer.verdict, Verdict::Broken);
    assert!(
        verify(
            &Bytes(&archive),
            &VerifyOptions {
                root: Some("short".into()),
                ..VerifyOptions::default()
            }
        )
        .is_err()
    );
}

/// The members whose bytes depend on the evidence alone.
fn evidence_members(archive: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(io::Cursor::new(archive)).expect("a Zip archive");
    let mut members = Vec::new();
    for index in 0..zip.len() {
        let mut member = zip.by_index(index).expect("a member");
        let name = member.name().expect("UTF-8").into_owned();
        let is_evidence = name.contains("/data/")
            || name.ends_with("/records/files.jsonl")
            || name.ends_with("/records/warnings.jsonl")
            || name.contains("/manifest-");
        if is_evidence {
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).expect("its CRC fits");
            members.push((name, bytes));
        }
    }
    members
}

#[test]
fn threads_change_nothing_and_another_reader_agrees() {
    let mut items: Vec<Item> = sample()
        .into_iter()
        .filter(|item| !matches!(item.content, Content::Sparse(..)))
        .collect();
    items.extend(
        (0..300).map(|number| item(format!("many/{number}").as_bytes(), noise(number, 3000))),
    );
    // The files of a bundle, and its payload id.
    type Made = (Vec<(String, Vec<u8>)>, String);
    let mut first: Option<Made> = None;
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        let (sealed, archive) = pool.install(|| write(&items));
        let members = evidence_members(archive);
        assert!(members.len() > 300);
        match &first {
            None => first = Some((members, sealed.payload)),
            Some((wanted, payload)) => {
                assert!(*wanted == members, "{threads} threads");
                assert_eq!(*payload, sealed.payload);
            }
        }
    }
}

#[test]
fn checkpoints_stand_between_the_payload() {
    let mut options = options("many-checkpoints");
    options.checkpoint_bytes = 1;
    let items: Vec<Item> = (0..20)
        .map(|number| item(format!("f{number}").as_bytes(), noise(number, 5000)))
        .collect();
    let (sealed, archive) = common::write_with(options, &items);
    let wanted = VerifyOptions {
        root: Some(sealed.root),
        ..VerifyOptions::default()
    };
    let answer = verify(&Bytes(&archive), &wanted).expect("an answer");
    assert_eq!((answer.verdict, answer.problems), (Verdict::Sealed, vec![]));
    // Cut anywhere, it is unfinished and says what is vouched for.
    let mut vouched = 0;
    for cut in (0..archive.len()).step_by(97) {
        let answer = verify(&Bytes(&archive[..cut]), &wanted).expect("an answer");
        assert_eq!(answer.verdict, Verdict::Unfinished, "cut at {cut}");
        assert!(!answer.problems.is_empty());
        vouched += usize::from(
            answer
                .problems
                .iter()
                .any(|p| p.what.contains("vouches for the first")),
        );
    }
    assert!(
        vouched > 50,
        "most cuts leave a checkpoint that vouches: {vouched}"
    );
}

#[test]
fn one_member_can_be_checked_alone() {
    let items: Vec<Item> = (0..5)
        .map(|number| item(format!("f{number}").as_bytes(), noise(number, 5000)))
        .collect();
    let (sealed, mut archive) = common::write_with(options("one"), &items);
    let member = format!("data/{VOLUME}/f3");
    // Harm another member's data, and then this one's.
    let find = |archive: &[u8], name: &str| {
        let name = format!("one/{name}");
        archive
            .windows(name.len())
            .position(|window| window == name.as_bytes())
            .expect("its local header")
            + name.len()
    };
    let options = VerifyOptions {
        root: Some(sealed.root),
        member: Some(member.clone()),
        ..VerifyOptions::default()
    };
    let at = find(&archive, &format!("data/{VOLUME}/f1"));
    archive[at + 100] ^= 1;
    let answer = verify(&Bytes(&archive), &options).expect("an answer");
    assert_eq!((answer.verdict, answer.problems), (Verdict::Sealed, vec![]));
    let at = find(&archive, &member);
    archive[at + 100] ^= 1;
    let answer = verify(&Bytes(&archive), &options).expect("an answer");
    assert_eq!(answer.verdict, Verdict::Broken);
    assert_eq!(answer.problems[0].member.as_deref(), Some(&*member));
}

/// What `verify` would refuse is not written.
#[test]
fn no_bundle_is_begun_under_a_label_that_is_none() {
    for label in ["TLP:PURPLE", "amber", " TLP:AMBER", ""] {
        let mut options = options("test-bundle");
        options.collection.tlp = label.into();
        let refused = BundleWriter::create(Vec::new(), options).err();
        let told = refused.expect("it is refused").to_string();
        assert!(told.contains("bears no TLP label"), "{told}");
    }
}

/// The answer to a name that is not there must not be that all is well.
#[test]
fn a_member_that_is_not_there_is_no_sealed_one() {
    let mut items = vec![item(b"x:y/plain", noise(1, 50)), item(b"x", noise(2, 50))];
    items[1].stream = Some(EvidencePath::from_bytes(b"Zone.Identifier"));
    let (sealed, archive) = common::write_with(options("one"), &items);
    let folder = tempfile::tempdir().expect("a folder");
    zip::ZipArchive::new(io::Cursor::new(&archive))
        .expect("a Zip archive")
        .extract(folder.path())
        .expect("room");
    let bag = folder.path().join("one");
    let ask = |archive: &[u8], member: &str| {
        let options = VerifyOptions {
            root: Some(sealed.root.clone()),
            member: Some(member.to_owned()),
            ..VerifyOptions::default()
        };
        [
            verify(&Bytes(archive), &options),
            verify_bag(&bag, &options),
        ]
    };
    for name in [
        format!("data/{VOLUME}/x=3Ay/plain"),
        format!("{VOLUME}/x=3Ay/plain"),
        format!("{VOLUME}/x=3AZone.Identifier"),
        format!("{VOLUME}/x:Zone.Identifier"),
        StreamId {
            volume: VOLUME.into(),
            path: EvidencePath::from_bytes(b"x:y/plain"),
            stream: None,
        }
        .to_string(),
    ] {
        for answer in ask(&archive, &name) {
            let answer = answer.expect("it is there");
            assert_eq!((answer.verdict, answer.problems), (Verdict::Sealed, vec![]));
            assert_eq!(answer.scope, Scope::Member, "{name}");
        }
    }
    for name in [
        "",
        "x",
        "data/",
        "data/x",
        VOLUME,
        "records/collection.json",
    ] {
        for answer in ask(&archive, name) {
            let error = answer.expect_err(name);
            assert!(
                matches!(&error, Error::NoMember(it) if it == name),
                "{error}"
            );
        }
    }
    // What is wrong with the bundle is told all the same.
    let [answer, _] = ask(&archive[..archive.len() - 1], "x");
    let answer = answer.expect("an answer");
    assert_eq!(answer.verdict, Verdict::Unfinished);
    assert_eq!(answer.scope, Scope::Archive);
    let last = answer.problems.last().expect("it lacks its end");
    assert!(last.what.contains("\"x\" was not checked"), "{last}");
}

/// Takes `left` bytes and then says that the device is full.
struct Full {
    left: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = bytes.len().min(self.left);
        self.left -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Full {}

#[test]
fn a_full_disk_is_an_error_at_every_byte() {
    let items: Vec<Item> = (0..40)
        .map(|number| item(format!("f{number}").as_bytes(), noise(number, 70_000)))
        .collect();
    let whole = write(&items).1.len();
    // Another run is some bytes longer or shorter: keys and times differ.
    for left in (0..whole - 1_000).step_by(whole / 23) {
        let outcome =
            BundleWriter::create(Full { left }, options("test-bundle")).and_then(|mut writer| {
                writer.add_all(items.len(), |index| &items[index], |_| {})?;
                writer.finish()
            });
        match outcome {
            Err(Error::Write(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it can't be whole in {left} bytes"),
        }
    }
}

#[test]
fn no_half_written_file_bears_the_final_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("b.scelle.zip");
    let items = [item(b"a", b"b".to_vec())];
    let out = PartialFile::create(&path, false).expect("a new file");
    let mut writer = BundleWriter::create(out, options("b")).expect("a writer");
    writer
        .add_all(1, |index| &items[index], |_| {})
        .expect("room");
    assert!(!path.exists(), "not whole yet");
    let (_, out) = writer.finish().expect("room");
    assert!(!path.exists(), "not committed yet");
    out.commit().expect("the name is free");
    assert!(path.exists());
    assert!(matches!(
        PartialFile::create(&path, false),
        Err(Error::Exists(_))
    ));
    let absent = folder.path().join("no/such/folder");
    assert!(matches!(
        PartialFile::create(&absent, false),
        Err(Error::Create { .. })
    ));
}

/// Whatever may be replaced: not what another is still writing.
#[test]
fn a_file_that_is_being_written_is_not_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("b.scelle.zip");
    let mut first = PartialFile::create(&path, true).expect("a new file");
    first.write_all(b"the first").expect("room");
    for _ in 0..2 {
        let other = PartialFile::create(&path, true);
        assert!(matches!(other, Err(Error::Create { .. })), "{other:?}");
        let other = PartialFile::reopen(&path);
        assert!(matches!(other, Err(Error::Create { .. })), "{other:?}");
    }
    assert_eq!(first.commit().expect("it is there"), path);
    assert_eq!(fs::read(&path).expect("there"), b"the first");
    // One that nobody writes any more is.
    let left = PartialFile::create(&path, true).expect("it may be replaced");
    let partial = left.partial_path().to_owned();
    drop(left);
    fs::write(&partial, b"a longer text that was left").expect("room");
    let mut second = PartialFile::create(&path, true).expect("it may be replaced");
    second.write_all(b"the second").expect("room");
    second.commit().expect("it may be replaced");
    assert_eq!(fs::read(&path).expect("there"), b"the second");
}

#[test]
fn an_extracted_bag_is_checked_as_a_bag() {
    let items: Vec<Item> = sample().into_iter().take(3).collect();
    let (sealed, archive) = write(&items);
    let folder = tempfile::tempdir().expect("a folder");
    zip::ZipArchive::new(io::Cursor::new(archive))
        .expect("a Zip archive")
        .extract(folder.path())
        .expect("room");
    let bag = folder.path().join("test-bundle");
    let options = VerifyOptions {
        root: Some(sealed.root),
        ..VerifyOptions::default()
    };
    let answer = verify_bag(&bag, &options).expect("an answer");
    assert_eq!((answer.verdict, answer.problems), (Verdict::Sealed, vec![]));
    assert_eq!(answer.scope, scelle_bundle::Scope::Bag);
    let file = bag.join(format!("data/{VOLUME}/Windows/one"));
    for harm in ["altered", "added", "missing"] {
        match harm {
            "altered" => std::fs::write(&file, [2]),
            "added" => {
                std::fs::write(&file, [1]).and_then(|()| std::fs::write(bag.join("data/new"), ""))
            }
            _ => std::fs::remove_file(bag.join("data/new"))
                .and_then(|()| std::fs::remove_file(&file)),
        }
        .expect("a writable folder");
        let answer = verify_bag(&bag, &options).expect("an answer");
        assert_eq!(answer.verdict, Verdict::Broken, "{harm}");
        assert!(
            answer.problems[0].what.contains(harm),
            "{:?}",
            answer.problems
        );
    }
}
