//! A collection that was cut off and gone on with where it can't be read: all its parts together.

mod common;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use common::{
    Item, Random, VOLUME,
    certificates::{Reads, recipient, secret},
    encrypted::{Device, encrypt, write_to},
    item, options,
    unpacked::{evidence, near},
};
use rayon::prelude::*;
use scelle_bundle::{
    Bundle, Ciphertext, Error, Logged, Part, Recipient, Scope, Sealed, SessionKey, Verdict,
    Verification, VerifyOptions, export_parts, salvage, verify_encrypted, verify_parts,
};
use scelle_formats::{Bytes, Digests, ReadAt, ReadAtExt as _, ReadError};

const BOTH: [Reads; 2] = [Reads::VersionOne, Reads::VersionTwo];

/// An encrypted part as it was written to its end, and what was on the device at each checkpoint.
struct Written {
    bytes: Vec<u8>,
    key: SessionKey,
    logged: Vec<(usize, Logged)>,
    sealed: Sealed,
}

/// The file that is left of a part.
#[derive(Clone)]
struct File {
    bytes: Vec<u8>,
    key: SessionKey,
}

/// Writes a part that goes on from what was logged.
fn write(
    number: u32,
    continues: Option<Logged>,
    items: &[Item],
    recipients: &[Recipient],
) -> Written {
    let mut options = near(options("parts"));
    options.collection.part = number;
    options.continues = continues;
    let heard: Arc<Mutex<Vec<Logged>>> = Arc::default();
    let ear = heard.clone();
    options.logged = Some(Box::new(move |logged| {
        ear.lock().expect("nobody panics").push(logged.clone());
        Ok(())
    }));
    let (sealed, device, key) = write_to(Device::default(), options, items, recipients);
    let (bytes, synced) = device.content();
    let logged = heard.lock().expect("nobody panics").clone();
    Written {
        bytes,
        key,
        logged: synced.into_iter().zip(logged).collect(),
        sealed,
    }
}

impl Written {
    /// What a cut leaves, and what was logged by then.
    fn cut(&self, at: usize) -> (File, Option<Logged>) {
        let before = self.logged.iter().rev().find(|(end, _)| *end <= at);
        let file = File {
            bytes: self.bytes[..at].to_vec(),
            key: self.key.clone(),
        };
        (file, before.map(|(_, logged)| logged.clone()))
    }

    fn file(&self) -> File {
        self.cut(self.bytes.len()).0
    }
}

fn parts(files: &[File]) -> Vec<Part> {
    let open = |(number, file): (usize, &File)| {
        let ciphertext = Ciphertext::open(Arc::new(Bytes(file.bytes.clone())));
        let archive = ciphertext.and_then(|one| one.salvage(&file.key));
        Part::encrypted(
            format!("file {number}"),
            archive.expect("its head is there"),
        )
    };
    files.iter().enumerate().map(open).collect()
}

fn ask_with(files: &[File], options: &VerifyOptions) -> Verification {
    verify_parts(&parts(files), options).expect("no option is wrong")
}

fn ask(files: &[File]) -> Verification {
    ask_with(files, &VerifyOptions::default())
}

fn problems(answer: &Verification) -> String {
    let told: Vec<_> = answer.problems.iter().map(ToString::to_string).collect();
    told.join("\n")
}

/// Member and stored bytes of each file.
fn content(bundle: &Bundle) -> Vec<(String, Vec<u8>)> {
    let read = |member: &str| {
        let stream = bundle.open_stored(member).expect("there");
        let bytes = stream.read_range(0..u64::MAX, usize::MAX).expect("there");
        (member.to_owned(), bytes)
    };
    bundle.files().map(|(member, _)| read(member)).collect()
}

fn readers(reads: Reads) -> [Recipient; 1] {
    [recipient(&secret("reader", reads, None))]
}

/// Three parts of one collection: the first two cut in their middle.
fn three(recipients: &[Recipient]) -> (Vec<File>, Sealed) {
    let items = evidence();
    let one = write(1, None, &items, recipients);
    let (first, logged) = one.cut(one.logged[1].0 + 30);
    let two = write(2, logged, &items, recipients);
    let (second, logged) = two.cut(two.logged[1].0 + 30);
    let three = write(3, logged, &items, recipients);
    (vec![first, second, three.file()], three.sealed)
}

#[test]
fn cut_anywhere_a_further_part_makes_it_whole() {
    for reads in BOTH {
        let recipients = readers(reads);
        let items = evidence();
        let one = write(1, None, &items, &recipients);
        let whole = Ciphertext::open(Arc::new(Bytes(one.bytes.clone())))
            .and_then(|ciphertext| ciphertext.decrypt(&one.key))
            .and_then(|archive| Bundle::open(Arc::new(archive)))
            .expect("own");
        let whole = content(&whole);
        let (begin, _) = one.logged[0];
        let mut places: Vec<usize> = (begin..one.bytes.len()).step_by(211).collect();
        places.extend(one.logged.iter().map(|(at, _)| *at));
        places.push(one.bytes.len());
        places.into_par_iter().for_each(|at| {
            let (first, logged) = one.cut(at);
            let is_last = logged.as_ref().is_some_and(|logged| logged.is_last);
            let two = write(2, logged, &items, &recipients);
            assert!(!is_last || two.sealed.files == 0, "cut at {at}");
            let mut files = vec![first, two.file()];
            let root = VerifyOptions {
                root: Some(two.sealed.root.clone()),
                ..VerifyOptions::default()
            };
            for _ in 0..2 {
                let answer = ask(&files);
                assert_eq!(
                    answer.verdict,
                    Verdict::SignerUnknown,
                    "{reads:?}, cut at {at}: {}",
                    problems(&answer)
                );
                assert_eq!(
                    answer.payload.as_ref(),
                    Some(&one.sealed.payload),
                    "cut at {at}"
                );
                assert_eq!(answer.files, one.sealed.files);
                assert_eq!(answer.bytes, one.sealed.bytes);
                let answer = ask_with(&files, &root);
                assert_eq!(answer.verdict, Verdict::Sealed, "{}", problems(&answer));
                let bundle = Bundle::open_parts(&parts(&files)).expect("a set");
                assert_eq!(bundle.payload, one.sealed.payload);
                assert_eq!(bundle.root, two.sealed.root);
                assert!(content(&bundle) == whole, "cut at {at}");
                files.reverse();
            }
        });
    }
}

#[test]
fn what_a_set_lacks_is_told() {
    for reads in BOTH {
        let (files, sealed) = three(&readers(reads));
        let answer = ask(&files);
        assert_eq!(
            answer.verdict,
            Verdict::SignerUnknown,
            "{}",
            problems(&answer)
        );
        assert_eq!(answer.signers.len(), 3);
        let of = |numbers: &[usize]| -> Vec<File> {
            numbers
                .iter()
                .map(|number| files[*number].clone())
                .collect()
        };
        assert_eq!(ask(&of(&[2, 0, 1])).verdict, Verdict::SignerUnknown);
        for (numbers, what) in [
            (&[1, 2][..], "missing: part 1"),
            (&[2], "missing: part 1, 2"),
            (&[0, 2], "missing: part 2"),
            (&[0, 1], "was cut off"),
            (&[0], "was cut off"),
        ] {
            let answer = ask(&of(numbers));
            assert_eq!(
                answer.verdict,
                Verdict::Unfinished,
                "{numbers:?}: {}",
                problems(&answer)
            );
            let told = problems(&answer);
            assert!(told.contains(what), "{numbers:?}: {told}");
            assert_eq!(answer.payload, None);
            let with_root = VerifyOptions {
                root: Some(sealed.root.clone()),
                ..VerifyOptions::default()
            };
            let answer = ask_with(&of(numbers), &with_root);
            assert_ne!(answer.verdict, Verdict::Sealed, "{numbers:?}");
            assert!(
                Bundle::open_parts(&parts(&of(numbers))).is_err(),
                "{numbers:?}"
            );
        }
        assert_eq!(ask(&[]).verdict, Verdict::Broken);
        let twice = ask(&of(&[0, 1, 1, 2]));
        assert_eq!(twice.verdict, Verdict::Broken, "{}", problems(&twice));
        // Alone, the last part says that it is one.
        let last = &files[2];
        let ciphertext = Ciphertext::open(Arc::new(Bytes(last.bytes.clone()))).expect("own");
        let answer = verify_encrypted(&ciphertext, &last.key, &VerifyOptions::default());
        let answer = answer.expect("it can be checked");
        assert_eq!(answer.verdict, Verdict::Unfinished, "{}", problems(&answer));
        let archive = ciphertext.decrypt(&last.key).expect("whole");
        assert!(Bundle::open(Arc::new(archive)).is_err());
    }
}

/// One member of a set may lie in any part, and the answer says that it is about one.
/// Whoever has the host can make a last part of his own; its label is not that of what came before.
#[test]
fn the_label_of_an_earlier_part_is_not_lost() {
    let recipients = readers(Reads::VersionTwo);
    let items = evidence();
    let one = write(1, None, &items, &recipients);
    let (first, logged) = one.cut(one.logged[1].0 + 30);
    let mut freer = near(options("parts"));
    freer.collection.part = 2;
    freer.collection.tlp = "TLP:CLEAR".into();
    freer.continues = logged;
    let (_, device, key) = write_to(Device::default(), freer, &items, &recipients);
    let second = File {
        bytes: device.content().0,
        key,
    };
    let files = [first, second];
    assert_eq!(ask(&files).verdict, Verdict::Broken);
    let told = Bundle::open_parts(&parts(&files)).map(drop);
    let told = told.expect_err("two labels").to_string();
    assert!(told.contains("another label"), "{told}");
}

#[test]
fn one_member_of_a_set_can_be_checked_alone() {
    let (files, sealed) = three(&readers(Reads::VersionTwo));
    let ask_for = |member: &str| {
        let options = VerifyOptions {
            root: Some(sealed.root.clone()),
            member: Some(member.to_owned()),
            ..VerifyOptions::default()
        };
        verify_parts(&parts(&files), &options)
    };
    let bundle = Bundle::open_parts(&parts(&files)).expect("a set");
    let names: Vec<_> = bundle
        .files()
        .map(|(member, _)| member.to_owned())
        .collect();
    for name in &names {
        let answer = ask_for(name).expect("it is there");
        assert_eq!(answer.verdict, Verdict::Sealed, "{}", problems(&answer));
        assert_eq!(answer.scope, Scope::Member);
    }
    let absent = ask_for("data/nothing").expect_err("it is nowhere");
    assert!(matches!(absent, Error::NoMember(_)), "{absent}");
    assert_eq!(ask(&files).scope, Scope::Parts);
}

#[test]
fn parts_of_other_collections_are_told() {
    let recipients = readers(Reads::VersionOne);
    let (files, _) = three(&recipients);
    let (others, _) = three(&recipients);
    for at in 0..3 {
        let mut mixed = files.clone();
        mixed[at] = others[at].clone();
        let answer = ask(&mixed);
        assert_eq!(answer.verdict, Verdict::Broken, "{}", problems(&answer));
        assert!(problems(&answer).contains("of another collection"));
        assert!(Bundle::open_parts(&parts(&mixed)).is_err());
    }
}

/// Any change to what counts is found; behind it, where it was taken again, there is nothing to find.
#[test]
fn an_altered_part_is_found() {
    for reads in BOTH {
        let items = evidence();
        let recipients = readers(reads);
        let one = write(1, None, &items, &recipients);
        let (counts, _) = one.logged[2];
        let (first, logged) = one.cut(counts + 200);
        let files = [first, write(2, logged, &items, &recipients).file()];
        let outcomes: Vec<bool> = (0..400u64)
            .into_par_iter()
            .map(|seed| {
                let mut random = Random(seed);
                let mut changed = files.clone();
                let which = random.below(2);
                let bytes = &mut changed[which].bytes;
                // Behind the session-key packets: without those there is no key.
                let packets = 3 + usize::from(bytes[1]);
                let end = if which == 0 { counts } else { bytes.len() };
                let at = packets + random.below(end - packets);
                bytes[at] ^= 1 << random.below(8);
                let opened = Ciphertext::open(Arc::new(Bytes(bytes.clone())));
                if !opened.is_ok_and(|one| one.salvage(&changed[which].key).is_ok()) {
                    return true;
                }
                let answer = ask(&changed);
                answer.verdict == Verdict::Broken
            })
            .collect();
        let missed: Vec<_> = (0..).zip(&outcomes).filter(|(_, found)| !**found).collect();
        assert!(missed.is_empty(), "{reads:?}: {missed:?}");
        // A torn end is nobody's loss.
        let mut torn = files.to_vec();
        torn[0].bytes[counts + 60..].fill(0);
        let answer = ask(&torn);
        assert_eq!(
            answer.verdict,
            Verdict::SignerUnknown,
            "{}",
            problems(&answer)
        );
    }
}

/// What is written out, by name; and how it ended.
fn export(parts: &[Part]) -> (BTreeMap<String, Vec<u8>>, Result<String, Error>) {
    let written: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
    let mut create = |name: &str| -> io::Result<Box<dyn Write>> {
        let mut files = written.lock().expect("nobody panics");
        assert!(
            files.insert(name.to_owned(), Vec::new()).is_none(),
            "{name}"
        );
        let file = Put {
            name: name.to_owned(),
            files: written.clone(),
        };
        Ok(Box::new(file))
    };
    let ended = export_parts(parts, &mut create);
    let files = written.lock().expect("nobody panics").clone();
    (files, ended)
}

struct Put {
    name: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Write for Put {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut files = self.files.lock().expect("nobody panics");
        let file = files.get_mut(&self.name).expect("it was made");
        file.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_export_is_what_the_lines_say() {
    let (files, _) = three(&readers(Reads::VersionOne));
    let parts = parts(&files);
    let (written, payload) = export(&parts);
    assert_eq!(payload.ok(), ask(&files).payload);
    let bundle = Bundle::open_parts(&parts).expect("a set");
    let content = content(&bundle);
    assert_eq!(written.len(), content.len() + 4);
    let (mut sha256, mut blake3) = (String::new(), String::new());
    for (member, bytes) in &content {
        assert!(written[&format!("parts/{member}")] == *bytes, "{member}");
        let digests = Digests::of(bytes);
        for (list, hash) in [(&mut sha256, digests.sha256), (&mut blake3, digests.blake3)] {
            let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            list.push_str(&format!("{hex}  {member}\n"));
        }
    }
    assert!(written["parts/manifest-sha256.txt"] == sha256.as_bytes());
    assert!(written["parts/manifest-blake3.txt"] == blake3.as_bytes());
    assert!(export(&parts[..2]).1.is_err(), "they are no set");
}

/// An archive of which a byte is another once it is told so.
struct Turning {
    bytes: Vec<u8>,
    at: usize,
    is_turned: Arc<AtomicBool>,
}

impl ReadAt for Turning {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let count = Bytes(&self.bytes).read_at(offset, buf)?;
        let place = self.at.checked_sub(offset as usize);
        if let Some(place) = place.filter(|place| *place < count)
            && self.is_turned.load(Ordering::Relaxed)
        {
            buf[place] ^= 1;
        }
        Ok(count)
    }
}

/// What is read after a set was surveyed is vouched for by each file's line alone.
#[test]
fn an_export_of_what_was_altered_meanwhile_is_refused() {
    let (files, _) = three(&readers(Reads::VersionTwo));
    let clear: Vec<Vec<u8>> = files.iter().map(archive).collect();
    for number in 0..clear.len() {
        // In the middle of one of the part's files of 300 bytes.
        let place = [0, 1, 2, 5, 8, 11, 12, 13].iter().find_map(|file| {
            let name = format!("parts/data/{VOLUME}/d/f{file}");
            // Of a local header, which says how long the name is: others begin alike.
            let length = (name.len() as u16).to_le_bytes();
            let mut hits = memchr::memmem::find_iter(&clear[number], &name);
            let at = hits.find(|at| clear[number][at - 4..][..2] == length)?;
            Some(at + name.len() + 80)
        });
        let place = place.expect("each part has one");
        let is_turned = Arc::new(AtomicBool::new(false));
        let archives = clear.iter().enumerate();
        let parts: Vec<Part> = archives
            .map(|(at, bytes)| {
                let archive = Turning {
                    bytes: bytes.clone(),
                    at: if at == number { place } else { usize::MAX },
                    is_turned: is_turned.clone(),
                };
                Part::clear(at.to_string(), Arc::new(archive))
            })
            .collect();
        let mut nowhere = |_: &str| Ok(Box::new(io::sink()) as Box<dyn Write>);
        let sound = export_parts(&parts, &mut nowhere).expect("nothing turned");
        assert_eq!(Some(sound), ask(&files).payload);
        let mut turn = |_: &str| {
            is_turned.store(true, Ordering::Relaxed);
            Ok(Box::new(io::sink()) as Box<dyn Write>)
        };
        let error = export_parts(&parts, &mut turn).expect_err("a byte is another");
        assert!(error.to_string().contains("data/"), "{error}");
    }
}

/// Over many checkpoints, each file is written once, as its line says.
#[test]
fn an_export_of_many_files_has_each_once() {
    const MANY: usize = 5_000;
    let items: Vec<Item> = (0..MANY)
        .map(|number| {
            item(
                format!("{:03}/f{number}", number / 100).as_bytes(),
                [number as u8],
            )
        })
        .collect();
    let mut options = options("parts");
    options.collection.part = 1;
    options.checkpoint_bytes = 20_000;
    let (sealed, bytes, key) = encrypt(options, &items, &readers(Reads::VersionTwo));
    let (written, payload) = export(&parts(&[File { bytes, key }]));
    assert_eq!(payload.expect("sound"), sealed.payload);
    assert_eq!(written.len(), MANY + 4);
    for number in 0..MANY {
        let name = format!("parts/data/{VOLUME}/{:03}/f{number}", number / 100);
        assert_eq!(written[&name], [number as u8], "{name}");
    }
}

/// Makes what the fuzz target patches; run it alone when the format has changed.
#[test]
#[ignore = "it writes to fuzz/seeds/bundle.parts"]
fn make_seeds() {
    let folder = std::path::Path::new("../../fuzz/seeds/bundle.parts");
    std::fs::create_dir_all(folder).expect("made");
    let (files, _) = three(&readers(Reads::VersionTwo));
    for (number, file) in (1..).zip(&files) {
        std::fs::write(folder.join(format!("{number}.zip")), archive(file)).expect("written");
    }
}

/// What there is in the message of a part.
fn archive(file: &File) -> Vec<u8> {
    let ciphertext = Ciphertext::open(Arc::new(Bytes(file.bytes.clone())));
    let archive = ciphertext.and_then(|one| one.salvage(&file.key));
    let archive = archive.expect("its head is there");
    archive.read_range(0..u64::MAX, usize::MAX).expect("there")
}

/// A part that was cut is salvaged as any bundle is.
#[test]
fn a_cut_part_is_salvaged_alone() {
    let items = evidence();
    let recipients = readers(Reads::VersionOne);
    let one = write(1, None, &items, &recipients);
    let (_, logged) = one.cut(one.logged[1].0);
    let two = write(2, logged, &items, &recipients);
    let (second, logged) = two.cut(two.logged[1].0 + 50);
    let archive = Ciphertext::open(Arc::new(Bytes(second.bytes)))
        .and_then(|ciphertext| ciphertext.salvage(&second.key))
        .expect("its head is there");
    let (saved, out) =
        salvage(&archive, Vec::new(), common::key(), "test", None).expect("something was logged");
    assert_eq!(saved.checkpoint, logged.map(|logged| logged.checkpoint));
    let answer =
        scelle_bundle::verify(&Bytes(out.clone()), &VerifyOptions::default()).expect("checked");
    assert_eq!(answer.verdict, Verdict::Unfinished, "{}", problems(&answer));
    assert!(problems(&answer).contains("salvage"));
    let bundle = Bundle::open(Arc::new(Bytes(out))).expect("it stands alone");
    assert!(bundle.files().next().is_some());
}
