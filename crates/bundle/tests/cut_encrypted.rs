//! An encrypted bundle, cut and altered: what its reader saves of it.

mod common;

use std::{collections::BTreeMap, sync::Arc};

use common::{
    Item, Random,
    certificates::{Reads, recipient, secret},
    encrypted::{Device, write_to},
    options,
    unpacked::{evidence, logged, members, near},
};
use rayon::prelude::*;
use scelle_bundle::{
    Bundle, Ciphertext, Cut, Encrypted, Error, Recipient, Salvage, SessionKey, Verdict,
    Verification, VerifyOptions, salvage_message, verify_begun, verify_encrypted,
};
use scelle_formats::{Bytes, ReadAtExt as _};

const BOTH: [Reads; 2] = [Reads::VersionOne, Reads::VersionTwo];
/// Bytes between two cuts.
const STEP: usize = 61;

/// An encrypted bundle, and what was on the device at each checkpoint.
struct Written {
    bytes: Vec<u8>,
    key: SessionKey,
    /// Place in the ciphertext, and payload files that are logged there.
    logged: Vec<(usize, u64)>,
    whole: BTreeMap<String, Vec<u8>>,
    recipients: [Recipient; 1],
}

impl Written {
    fn new(reads: Reads, items: &[Item]) -> Self {
        let recipients = [recipient(&secret("reader", reads, None))];
        let (_, device, key) =
            write_to(Device::default(), near(options("cut")), items, &recipients);
        let (bytes, synced) = device.content();
        let archive = open(&bytes)
            .expect("own")
            .decrypt(&key)
            .expect("unaltered")
            .read_range(0..u64::MAX, usize::MAX)
            .expect("there");
        let files = logged(&archive).into_iter().map(|(_, files)| files);
        Self {
            logged: synced.into_iter().zip(files).collect(),
            whole: members(&archive),
            bytes,
            key,
            recipients,
        }
    }

    /// How many payload files were logged when the device had so many bytes.
    fn due(&self, at: usize) -> u64 {
        let before = self.logged.iter().rev().find(|(end, _)| *end <= at);
        before.map_or(0, |(_, files)| *files)
    }

    /// Saves what `cut` holds, encrypted again; gives the new archive too.
    fn save(&self, cut: &[u8]) -> Option<(Salvage, Verification, Vec<u8>)> {
        // An error is an answer.
        let archive = open(cut)?.salvage(&self.key).ok()?;
        let own = common::key();
        let out = Encrypted::create(Vec::new(), &self.recipients, own.clone()).expect("sound");
        let (key, packets) = (
            out.session_key().clone(),
            out.session_packets_sha256().to_owned(),
        );
        let saved = salvage_message(&archive, out, own, "test", Some(packets));
        let (salvage, out) = saved.ok()?;
        let bytes = out.finish().expect("memory");
        let answer = ask(&bytes, &key).expect("own");
        let archive = open(&bytes).expect("own").decrypt(&key).expect("unaltered");
        let archive = archive.read_range(0..u64::MAX, usize::MAX).expect("there");
        Some((salvage, answer, archive))
    }
}

fn open(bytes: &[u8]) -> Option<Ciphertext> {
    Ciphertext::open(Arc::new(Bytes(bytes.to_vec()))).ok()
}

fn ask(bytes: &[u8], key: &SessionKey) -> Option<Verification> {
    match Ciphertext::open(Arc::new(Bytes(bytes.to_vec()))) {
        Err(Error::Begun) => Some(verify_begun()),
        opened => verify_encrypted(&opened.ok()?, key, &VerifyOptions::default()).ok(),
    }
}

fn is_unsealed(answer: &Verification) -> bool {
    matches!(answer.verdict, Verdict::Unfinished | Verdict::Broken)
}

#[test]
fn cut_anywhere_it_is_salvaged_and_encrypted_again() {
    for reads in BOTH {
        let written = Written::new(reads, &evidence());
        assert!(
            written.logged.len() > 3,
            "{} checkpoints",
            written.logged.len()
        );
        let mut places: Vec<usize> = (0..written.bytes.len()).step_by(STEP).collect();
        places.extend(
            written
                .logged
                .iter()
                .flat_map(|(at, _)| [at - 1, *at, at + 1]),
        );
        places.retain(|at| *at < written.bytes.len());
        places.into_par_iter().for_each(|at| {
            let cut = &written.bytes[..at];
            let due = written.due(at);
            assert_eq!(Ciphertext::is_begun_by(cut), at > 0, "cut at {at}");
            check_cut(&written, cut, due);
            // A power cut may leave zeros where the rest was to be.
            let zeros = (written.bytes.len() - at).min(100_000 - at % 50_000);
            if zeros >= 16 && open(cut).is_some() {
                check_cut(&written, &[cut, &vec![0; zeros]].concat(), due);
            }
            let Some((saved, answer, archive)) = written.save(cut) else {
                assert_eq!(due, 0, "{reads:?}, cut at {at}: nothing is saved");
                return;
            };
            assert!(
                saved.vouched_files >= due,
                "{reads:?}, cut at {at}: {saved:?}"
            );
            assert_eq!(answer.verdict, Verdict::Unfinished, "{:?}", answer.problems);
            let kept = members(&archive);
            let payload = |name: &&String| name.starts_with("data/");
            for name in kept.keys().filter(payload) {
                assert_eq!(kept[name], written.whole[name], "{name}, cut at {at}");
            }
            let ledger = String::from_utf8_lossy(&kept["records/coverage.jsonl"]).into_owned();
            assert_eq!(ledger.contains("\"cut-off\""), !saved.is_complete);
        });
    }
}

/// It is unfinished, and vouches for all that was logged.
fn check_cut(written: &Written, cut: &[u8], due: u64) {
    let answer = ask(cut, &written.key).expect("an answer");
    let problems = &answer.problems;
    assert_eq!(
        answer.verdict,
        Verdict::Unfinished,
        "{} of {}, {:?}: {problems:?}",
        cut.len(),
        written.bytes.len(),
        cut.iter().rposition(|byte| *byte != 0)
    );
    assert!(answer.files >= due, "{}: {problems:?}", cut.len());
}

/// What was logged may itself end in a zero, and is not taken for one that a power cut left.
#[test]
fn a_logged_zero_before_zeros_is_kept() {
    for reads in BOTH {
        let found = (0..1_000).find_map(|_| {
            let written = Written::new(reads, &evidence()[..3]);
            let mut logged = written.logged.iter();
            let (at, due) = *logged.find(|(at, _)| written.bytes[at - 1] == 0)?;
            Some((written, at, due))
        });
        let (written, at, due) = found.expect("one in 256 ends so");
        check_cut(&written, &[&written.bytes[..at], &[0; 4096]].concat(), due);
    }
}

/// What is altered is told where it is salvaged, whether anything is missing or not.
#[test]
fn a_salvage_says_that_the_ciphertext_was_altered() {
    for (reads, is_complete) in [(Reads::VersionTwo, false), (Reads::VersionOne, true)] {
        let items: Vec<Item> = (0..20)
            .map(|number| {
                let content = common::noise(number, 20_000);
                common::item(format!("d/f{number}").as_bytes(), content)
            })
            .collect();
        let written = Written::new(reads, &items);
        let mut altered = written.bytes.clone();
        let at = match is_complete {
            // In the modification detection code, which is the last packet.
            true => altered.len() - 1,
            false => altered.len() / 2,
        };
        altered[at] ^= 1;
        let (saved, answer, archive) = written.save(&altered).expect("much is there");
        assert_eq!(saved.is_complete, is_complete);
        let why = saved.altered.expect("it says so");
        assert!(why.contains("altered"), "{why}");
        assert_eq!(answer.verdict, Verdict::Unfinished, "{:?}", answer.problems);
        let kept = members(&archive);
        for name in ["audit", "warnings"] {
            let text =
                String::from_utf8_lossy(&kept[&format!("records/{name}.jsonl")]).into_owned();
            assert!(text.contains(&why), "{text}");
        }
        let problems = format!(
            "{:?}",
            ask(&altered, &written.key).expect("an answer").problems
        );
        assert!(
            problems.contains("altered") && problems.contains("salvage"),
            "{problems}"
        );

        let cut = &written.bytes[..written.bytes.len() / 2];
        let (saved, ..) = written.save(cut).expect("much is there");
        assert_eq!(saved.altered, None, "it was but cut");
    }
}

/// Changes to what was cut: whatever is still vouched for has the bytes that were collected.
#[test]
fn altered_and_cut_it_vouches_for_nothing_else() {
    let (mut tried, mut saved) = (0, 0);
    for reads in BOTH {
        let written = Written::new(reads, &evidence());
        let outcomes: Vec<Option<u64>> = (0..600u64)
            .into_par_iter()
            .map(|seed| {
                let cut = mutate(&written.bytes, seed);
                if let Some(answer) = ask(&cut, &written.key) {
                    assert!(is_unsealed(&answer), "{reads:?}, seed {seed}: {answer:?}");
                }
                let (salvage, answer, archive) = written.save(&cut)?;
                assert_eq!(
                    answer.verdict,
                    Verdict::Unfinished,
                    "{reads:?}, seed {seed}: {:?}",
                    answer.problems
                );
                let bundle = Bundle::open(Arc::new(Bytes(archive))).expect("a bundle");
                let vouched = bundle.files().take(salvage.vouched_files as usize);
                for (member, _) in vouched {
                    let stream = bundle.open_stored(member).expect("there");
                    let read = stream.read_range(0..u64::MAX, usize::MAX).expect("there");
                    assert!(
                        read == written.whole[member],
                        "{reads:?}, seed {seed}: {member}"
                    );
                }
                Some(salvage.vouched_files)
            })
            .collect();
        tried += outcomes.len();
        saved += outcomes
            .iter()
            .flatten()
            .filter(|files| **files > 0)
            .count();
    }
    assert!(
        saved > tried / 10,
        "of {tried} only {saved} vouch for anything"
    );
}

/// A cut of `bytes` with one to three changes.
fn mutate(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let end = bytes.len() / 4 + random.below(bytes.len() * 3 / 4);
    let mut cut = bytes[..end].to_vec();
    for _ in 0..1 + seed % 3 {
        let (at, other) = (random.below(cut.len()), random.below(cut.len()));
        let length = (1 + random.below(300)).min(cut.len() - at.max(other));
        match random.below(5) {
            0 => cut[at] ^= 1 << random.below(8),
            // What a power cut leaves of pages that were never written.
            1 => cut[at..].fill(0),
            2 => cut.copy_within(other..other + length, at),
            3 => drop(cut.drain(at..at + length)),
            _ => drop(cut.splice(at..at, random.next().to_le_bytes())),
        }
    }
    cut
}

/// The chunk that a change lies in, and what follows, is not read; all before it is.
#[test]
fn behind_an_altered_chunk_nothing_is_lost_that_lies_before_it() {
    let items: Vec<Item> = (0..40)
        .map(|number| {
            let content = common::noise(number, 20_000);
            common::item(format!("d/f{number}").as_bytes(), content)
        })
        .collect();
    let written = Written::new(Reads::VersionTwo, &items);
    let (at, _) = written.logged[30];
    let mut altered = written.bytes.clone();
    altered[at] ^= 1;
    let answer = ask(&altered, &written.key).expect("it can be checked");
    assert_eq!(answer.verdict, Verdict::Broken, "{:?}", answer.problems);
    let archive = open(&altered)
        .expect("own")
        .salvage(&written.key)
        .expect("own");
    let cut = Cut::survey(&archive).expect("its head is there");
    // A chunk has 64 KiB: three files and some more.
    assert!(cut.vouched().0 > 25, "{:?}", cut.vouched());
}
