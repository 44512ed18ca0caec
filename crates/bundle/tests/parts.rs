//! A collection that was cut off and gone on with where it can't be read: all its parts together.

mod common;

use std::sync::{Arc, Mutex};

use common::{
    Item, Random,
    certificates::{Reads, recipient, secret},
    encrypted::{Device, write_to},
    options,
    unpacked::{evidence, near},
};
use rayon::prelude::*;
use scelle_bundle::{
    Bundle, Ciphertext, Logged, Part, Recipient, Sealed, SessionKey, Verdict, Verification,
    VerifyOptions, salvage, verify_encrypted, verify_parts,
};
use scelle_formats::{Bytes, ReadAtExt as _};

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
