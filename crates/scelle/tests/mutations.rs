//! A thousand changes to what is sealed: encrypted bundles of both kinds, bundles in clear and their labels, proofs.
//! Each is found.
//!
//! The changes follow from a seed, which is printed; `SCELLE_SEED` names another. What was not found is kept.

#[path = "../../bundle/tests/forge/mod.rs"]
mod forge;
mod support;

use std::{collections::BTreeMap, env, fs, ops::Range, path::PathBuf};

use rayon::prelude::*;
use scelle::{
    Certificate, DecryptKey, Order, ReadKey, SealKey, Verdict, Verification, VerifyOptions,
    engine::Progress, event::Tlp,
};
use scelle_testkit::ReaderKey;
use support::Case;

/// What [`forge`] draws from.
mod common {
    /// SplitMix64.
    pub(crate) struct Random(pub u64);

    impl Random {
        pub(crate) fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }

        pub(crate) fn below(&mut self, limit: usize) -> usize {
            (self.next() % limit.max(1) as u64) as usize
        }
    }
}
use common::Random;

const CHANGES: usize = 1_000;
const SEED: u64 = 0x5CE1_1E07;
/// 2026-01-01, in seconds since 1970.
const KEY_CREATED: u32 = 1_767_225_600;
const LABELS: [&str; 5] = [
    "TLP:RED",
    "TLP:AMBER+STRICT",
    "TLP:AMBER",
    "TLP:GREEN",
    "TLP:CLEAR",
];

/// One way to change a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Flip,
    Insert,
    Delete,
    Truncate,
    Swap,
    /// Another label, by somebody who makes everything fit it but the signature.
    Label,
}

const BYTE_KINDS: [Kind; 5] = [
    Kind::Flip,
    Kind::Insert,
    Kind::Delete,
    Kind::Truncate,
    Kind::Swap,
];

/// What is changed, and who looks at it.
struct Target {
    name: &'static str,
    bytes: Vec<u8>,
    /// The bytes that are aimed at by every second change: session-key packets, what bears a label.
    aims: Vec<Range<usize>>,
    checker: Checker,
}

/// How `verify` or `prove --check` is asked.
enum Checker {
    Bundle(Box<Option<ReadKey>>, [VerifyOptions; 2]),
    Proof([VerifyOptions; 2]),
}

#[test]
#[expect(
    clippy::disallowed_macros,
    reason = "the library never speaks; a test says what it tried"
)]
fn a_thousand_changes_to_ciphertext_labels_and_proofs_are_found() {
    let seed = env::var("SCELLE_SEED").map_or(SEED, |text| text.parse().expect("a number"));
    let targets = [
        encrypted("encrypted, SEIPD v1", false),
        encrypted("encrypted, SEIPD v2", true),
        clear(),
        proof(),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let each = CHANGES / targets.len();
    let rounds: Vec<(usize, usize)> = (0..targets.len())
        .flat_map(|target| (0..each).map(move |round| (target, round)))
        .collect();
    let outcomes: Vec<(usize, Kind, Result<(), String>)> = rounds
        .into_par_iter()
        .map(|(at, round)| {
            let target = &targets[at];
            let mut random = Random(seed ^ ((at * each + round) as u64) << 32);
            let (kind, is_aimed) = target.kind(round);
            let changed = target.change(kind, is_aimed, &mut random);
            let path = folder.path().join(format!("{at}-{round}"));
            let outcome = target.is_found(&changed, path);
            let what = format!("{}, {kind:?}, round {round}", target.name);
            (at, kind, outcome.map_err(|why| format!("{what}: {why}")))
        })
        .collect();
    let mut found: BTreeMap<(usize, Kind), usize> = BTreeMap::new();
    let mut missed = Vec::new();
    for (at, kind, outcome) in outcomes {
        match outcome {
            Ok(()) => *found.entry((at, kind)).or_default() += 1,
            Err(what) => missed.push(what),
        }
    }
    let count: usize = found.values().sum();
    println!("seed {seed}: {count} of {CHANGES} changes found");
    for ((at, kind), count) in &found {
        println!("{:>4} {kind:?} of {}", count, targets[*at].name);
    }
    assert_eq!(missed, [""; 0], "seed {seed}");
    assert_eq!(count, CHANGES);
}

impl Target {
    /// The kind of change of a round, and whether it is aimed.
    fn kind(&self, round: usize) -> (Kind, bool) {
        let is_labelled = !matches!(&self.checker, Checker::Bundle(key, _) if key.is_some());
        if is_labelled && round % 5 == 4 {
            return (Kind::Label, true);
        }
        (BYTE_KINDS[round / 2 % 5], round.is_multiple_of(2))
    }

    /// The file after a change that changes something.
    fn change(&self, kind: Kind, is_aimed: bool, random: &mut Random) -> Vec<u8> {
        loop {
            let range = match self.aims.len() {
                count if is_aimed => self.aims[random.below(count)].clone(),
                _ => 0..self.bytes.len(),
            };
            let at = range.start + random.below(range.len());
            let changed = match (kind, &self.checker) {
                (Kind::Label, Checker::Bundle(..)) => relabel_bundle(&self.bytes, random),
                (Kind::Label, Checker::Proof(_)) => relabel_proof(&self.bytes, random),
                _ => change_bytes(&self.bytes, kind, at, random),
            };
            if changed != self.bytes {
                return changed;
            }
        }
    }

    /// # Errors
    /// What was said of it, where it passed; the file is kept.
    fn is_found(&self, changed: &[u8], path: PathBuf) -> Result<(), String> {
        fs::write(&path, changed).expect("room");
        let progress = Progress::default();
        let passed = |answer: &Verification| {
            !matches!(answer.verdict, Verdict::Broken | Verdict::Unfinished)
                || answer.problems.is_empty()
        };
        let said = match &self.checker {
            Checker::Bundle(key, ways) => ways.iter().find_map(|options| {
                let key = Option::as_ref(key);
                // What opens with no key any more is found as well: nothing comes out.
                let answer = scelle::verify_with_key(&path, options, key, &progress).ok()?;
                passed(&answer).then(|| format!("{answer:?}"))
            }),
            Checker::Proof(ways) => ways.iter().find_map(|options| {
                let checked = scelle::check_proof(changed, options).ok()?;
                passed(&checked.verification).then(|| format!("it proves {}", checked.row))
            }),
        };
        let Some(said) = said else {
            fs::remove_file(&path).expect("there");
            return Ok(());
        };
        let kept = env::temp_dir().join(format!("scelle-not-found-{}", std::process::id()));
        fs::copy(&path, &kept).expect("room");
        Err(format!("kept as {}: {said}", kept.display()))
    }
}

fn change_bytes(bytes: &[u8], kind: Kind, at: usize, random: &mut Random) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let end = (at + 1 + random.below(64)).min(bytes.len());
    match kind {
        Kind::Flip => changed[at] ^= 1 << random.below(8),
        Kind::Insert => {
            let added: Vec<u8> = (at..end).map(|_| random.next() as u8).collect();
            changed.splice(at..at, added);
        }
        Kind::Delete => drop(changed.drain(at..end)),
        Kind::Truncate => changed.truncate(at),
        _ => {
            let (length, other) = (end - at, random.below(bytes.len() - 64));
            if at.abs_diff(other) >= length {
                changed[at..end].copy_from_slice(&bytes[other..other + length]);
                changed[other..other + length].copy_from_slice(&bytes[at..end]);
            }
        }
    }
    changed
}

/// Another label in one record of a bundle or in all, with every hash of them made again.
fn relabel_bundle(archive: &[u8], random: &mut Random) -> Vec<u8> {
    let mut parts = forge::unpack(archive);
    let to = LABELS[random.below(LABELS.len())];
    match forge::change_label(&mut parts, "TLP:RED", to, random) {
        Some(_) => forge::forge(&parts),
        None => archive.to_vec(),
    }
}

/// A freer label on a proof, with its sums made again; a stricter one is anybody's right.
fn relabel_proof(proof: &[u8], random: &mut Random) -> Vec<u8> {
    let mut parts = support::parts(proof);
    let from = "\"tlp\":\"TLP:AMBER\"";
    let to = format!("\"tlp\":\"{}\"", LABELS[3 + random.below(2)]);
    let claim = String::from_utf8(parts[0].1.clone()).expect("text");
    assert!(claim.contains(from), "{claim}");
    parts[0].1 = claim.replace(from, &to).into_bytes();
    // Beside it a record of the seal, in one of two draws.
    if random.below(2) == 0 {
        let info = &mut parts
            .iter_mut()
            .find(|(name, _)| name == "bag-info.txt")
            .expect("there")
            .1;
        let text = String::from_utf8(info.clone()).expect("text");
        *info = text
            .replace("TLP:AMBER", LABELS[3 + random.below(2)])
            .into();
    }
    support::whole(parts)
}

/// A bundle, and the two ways in which somebody may vouch for it.
fn sealed(shape: impl FnOnce(&mut Order)) -> (Case, [VerifyOptions; 2]) {
    let key = SealKey::generate("run of a test", KEY_CREATED).expect("a key");
    let certificate = key.certificate().expect("text");
    let case = support::sealed("mutated", 20, |order| {
        order.key = Some(key);
        order.checkpoint_bytes = Some(40_000);
        shape(order);
    });
    let by_root = VerifyOptions {
        root: Some(case.root.clone()),
        ..VerifyOptions::default()
    };
    let by_key = VerifyOptions {
        trust: vec![Certificate::read(certificate.as_bytes()).expect("own certificate")],
        ..VerifyOptions::default()
    };
    (case, [by_root, by_key])
}

/// One that is not changed is found to be whole, or every change would be "found".
fn check_whole(case: &Case, key: Option<&ReadKey>, ways: &[VerifyOptions]) {
    for options in ways {
        let answer = scelle::verify_with_key(&case.bundle, options, key, &Progress::default());
        let answer = answer.expect("it can be checked");
        assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
    }
}

fn encrypted(name: &'static str, reads_version_two: bool) -> Target {
    let reader = ReaderKey::make(reads_version_two);
    let recipient =
        scelle::recipient(reader.certificate.as_bytes(), &reader.fingerprint).expect("sound");
    let (case, ways) = sealed(|order| {
        order.tlp = Tlp::Red;
        order.recipients = vec![recipient];
    });
    let key = DecryptKey::read(reader.secret.as_bytes(), None).expect("sound");
    let key = ReadKey::Secret(Box::new(key));
    check_whole(&case, Some(&key), &ways);
    let bytes = fs::read(&case.bundle).expect("there");
    // RFC 9580, 4.2.1: a tag, and the length of a short packet; behind it begins the data's, of tag 18, with its version.
    let packets = 2 + usize::from(bytes[1]);
    assert_eq!(bytes[0], 0xC1, "one session-key packet");
    assert_eq!(bytes[packets], 0xD2, "the data's packet");
    let version = bytes[packets + 2];
    assert_eq!(version, if reads_version_two { 2 } else { 1 });
    Target {
        name,
        bytes,
        aims: vec![0..packets, packets..packets + 40],
        checker: Checker::Bundle(Box::new(Some(key)), ways),
    }
}

fn clear() -> Target {
    let (case, ways) = sealed(|order| order.tlp = Tlp::Red);
    check_whole(&case, None, &ways);
    let bytes = fs::read(&case.bundle).expect("there");
    let parts = forge::unpack(&bytes);
    let spans = forge::spans(&parts).into_iter();
    let bears = |plain: &[u8]| plain.windows(7).any(|window| window == b"TLP:RED");
    let aims: Vec<_> = parts
        .iter()
        .zip(spans)
        .filter(|(part, _)| bears(&part.plain))
        .map(|(_, span)| span)
        .collect();
    assert!(aims.len() >= 2, "{aims:?}");
    Target {
        name: "labelled, in clear",
        bytes,
        aims,
        checker: Checker::Bundle(Box::new(None), ways),
    }
}

fn proof() -> Target {
    let (mut case, ways) = sealed(|_| {});
    case.rows = support::rows(&case.bundle);
    let bytes = support::prove(&case, &case.rows[0]);
    for options in &ways {
        let checked = scelle::check_proof(&bytes, options).expect("a proof");
        assert_eq!(checked.verification.verdict, Verdict::Sealed);
    }
    let aims = places(&bytes, b"TLP:AMBER");
    assert!(aims.len() >= 2, "{aims:?}");
    Target {
        name: "a proof",
        bytes,
        aims,
        checker: Checker::Proof(ways),
    }
}

/// Where these bytes stand in others.
fn places(bytes: &[u8], wanted: &[u8]) -> Vec<Range<usize>> {
    let windows = bytes.windows(wanted.len()).enumerate();
    windows
        .filter(|(_, window)| *window == wanted)
        .map(|(at, _)| at..at + wanted.len())
        .collect()
}
