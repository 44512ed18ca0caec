//! A thousand changes to what is sealed: encrypted bundles of both kinds, bundles in clear and their labels, proofs.
//! Each is found, as what it is: an error of the machine that checks is no find.
//!
//! The changes follow from a seed, which is printed; `SCELLE_SEED` names another. What was not found is kept, and the
//! message says which bytes were changed.

#[path = "../../bundle/tests/forge/mod.rs"]
mod forge;
mod support;

use std::{
    collections::BTreeMap,
    env, fs,
    ops::Range,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use scelle::{
    Certificate, DecryptKey, Order, ProveError, ReadKey, SealKey, Verdict, Verification,
    VerifyError, VerifyOptions, bundle::Error, engine::Progress, event::Tlp, formats::ReadError,
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

/// By what a change is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// The answer says that it is not as it was sealed.
    Broken,
    /// The answer says that its end is missing.
    Unfinished,
    /// It is no bundle or no proof any more.
    Unread,
    /// Its key opens it no more.
    Locked,
}

/// What is changed, and who looks at it.
struct Target {
    name: &'static str,
    bytes: Vec<u8>,
    /// The bytes that are aimed at by every second change: session-key packets, what bears a label.
    aims: Vec<Range<usize>>,
    /// How many bytes at its beginning decide which key opens it.
    key_bytes: usize,
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
    let outcomes: Vec<(usize, Kind, Result<Found, String>)> = rounds
        .into_par_iter()
        .map(|(at, round)| {
            let target = &targets[at];
            let mut random = Random(seed ^ ((at * each + round) as u64) << 32);
            let (kind, is_aimed) = target.kind(round);
            let changed = target.change(kind, is_aimed, &mut random);
            let path = folder.path().join(format!("{at}-{round}"));
            let outcome = target.is_found(kind, &changed, &path);
            let outcome = outcome.map_err(|said| {
                let kept = keep(&path, seed, at, round);
                let change = difference(&target.bytes, &changed);
                let what = format!("{}, {kind:?}, round {round}, {change}", target.name);
                format!("{what}; kept as {}: {said}", kept.display())
            });
            (at, kind, outcome)
        })
        .collect();
    let mut found: BTreeMap<(usize, Kind, Found), usize> = BTreeMap::new();
    let mut missed = Vec::new();
    for (at, kind, outcome) in outcomes {
        match outcome {
            Ok(how) => *found.entry((at, kind, how)).or_default() += 1,
            Err(what) => missed.push(what),
        }
    }
    let count: usize = found.values().sum();
    println!("seed {seed}: {count} of {CHANGES} changes found");
    for ((at, kind, how), count) in &found {
        println!("{count:>4} {kind:?} of {}: {how:?}", targets[*at].name);
    }
    assert_eq!(missed, [""; 0], "seed {seed}");
    assert_eq!(count, CHANGES);
    // Whole kinds of finds would be missing where something else stood in their way.
    for (at, target) in targets.iter().enumerate() {
        let of = |how| found.keys().any(|found| (found.0, found.2) == (at, how));
        assert!(of(Found::Broken), "{} was never broken", target.name);
        assert_eq!(of(Found::Locked), target.key_bytes > 0, "{}", target.name);
    }
}

/// Who looks at what was changed does find nothing where nothing was, and where there is nothing to look at.
#[test]
fn what_is_whole_or_absent_is_not_found_to_be_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    for target in [encrypted("encrypted", false), clear(), proof()] {
        let path = folder.path().join("whole");
        for kind in BYTE_KINDS {
            let said = target.is_found(kind, &target.bytes, &path);
            let said = said.expect_err("nothing was changed");
            assert!(said.contains("Sealed"), "{said}");
        }
        if let Checker::Bundle(key, ways) = &target.checker {
            let key = Option::as_ref(key);
            let (absent, progress) = (folder.path().join("absent"), Progress::default());
            let answer = scelle::verify_with_key(&absent, &ways[0], key, &progress);
            let said = find_in_bundle(answer, true).expect_err("there is no such file");
            assert!(said.contains("Io"), "{said}");
        }
    }
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

    /// By what a change is found, whoever vouches.
    ///
    /// # Errors
    /// What was said of it, where it passed or something else failed; the file stays.
    fn is_found(&self, kind: Kind, changed: &[u8], path: &Path) -> Result<Found, String> {
        fs::write(path, changed).expect("room");
        let progress = Progress::default();
        let first = first_difference(&self.bytes, changed);
        let finds = match &self.checker {
            Checker::Bundle(key, ways) => ways.each_ref().map(|options| {
                let key = Option::as_ref(key);
                let answer = scelle::verify_with_key(path, options, key, &progress);
                find_in_bundle(answer, first < self.key_bytes)
            }),
            Checker::Proof(ways) => ways
                .each_ref()
                .map(|options| find_in_proof(scelle::check_proof(changed, options))),
        };
        let [one, other] = finds;
        let (one, other) = (one?, other?);
        // Whoever changes a label cuts nothing off.
        let is_taken_for_cut = kind == Kind::Label && one == Found::Unfinished;
        if one != other || is_taken_for_cut {
            return Err(format!("found as {one:?} and as {other:?}"));
        }
        fs::remove_file(path).expect("there");
        Ok(one)
    }
}

/// What an answer says of a bundle that was changed; `may_be_locked` where what its key opens was.
fn find_in_bundle(
    answer: Result<Verification, VerifyError>,
    may_be_locked: bool,
) -> Result<Found, String> {
    let error = match answer {
        Ok(answer) => return find_in(&answer),
        Err(error) => error,
    };
    match &error {
        VerifyError::Bundle { source, .. } => match source {
            Error::Format(_) => Ok(Found::Unread),
            Error::Read(ReadError::Short { .. } | ReadError::Damaged { .. }) => Ok(Found::Unread),
            Error::Key { .. } if may_be_locked => Ok(Found::Locked),
            _ => Err(format!("{error:?}")),
        },
        _ => Err(format!("{error:?}")),
    }
}

fn find_in_proof(checked: Result<scelle::CheckedRow, ProveError>) -> Result<Found, String> {
    match checked {
        Ok(checked) => {
            let found = find_in(&checked.verification);
            found.map_err(|said| format!("it proves {}: {said}", checked.row))
        }
        Err(ProveError::NoProof(_)) => Ok(Found::Unread),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn find_in(answer: &Verification) -> Result<Found, String> {
    match answer.verdict {
        _ if answer.problems.is_empty() => Err(format!("{answer:?}")),
        Verdict::Broken => Ok(Found::Broken),
        Verdict::Unfinished => Ok(Found::Unfinished),
        _ => Err(format!("{answer:?}")),
    }
}

/// Keeps a file that passed.
fn keep(path: &Path, seed: u64, at: usize, round: usize) -> PathBuf {
    let kept = env::temp_dir().join(format!("scelle-not-found-{seed}-{at}-{round}"));
    fs::copy(path, &kept).expect("room");
    kept
}

/// Where the first byte stands that is another.
fn first_difference(before: &[u8], after: &[u8]) -> usize {
    let alike = before
        .iter()
        .zip(after)
        .take_while(|(one, other)| one == other);
    alike.count()
}

/// Which bytes were changed, in words.
fn difference(before: &[u8], after: &[u8]) -> String {
    let first = first_difference(before, after);
    let ends = before[first..]
        .iter()
        .rev()
        .zip(after[first..].iter().rev());
    let alike = ends.take_while(|(one, other)| one == other).count();
    let (from, to) = (
        &before[first..before.len() - alike],
        &after[first..after.len() - alike],
    );
    let show = |bytes: &[u8]| {
        let hex: String = bytes
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{} bytes ({hex})", bytes.len())
    };
    format!("at byte {first} {} became {}", show(from), show(to))
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
        // With the data's tag, length, version and cipher.
        key_bytes: packets + 4,
        checker: Checker::Bundle(Box::new(Some(key)), ways),
    }
}

fn clear() -> Target {
    let (case, ways) = sealed(|order| order.tlp = Tlp::Red);
    check_whole(&case, None, &ways);
    let bytes = fs::read(&case.bundle).expect("there");
    let parts = forge::unpack(&bytes);
    assert!(
        forge::forge(&parts) == bytes,
        "whoever changes a label knows the form"
    );
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
        key_bytes: 0,
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
    assert!(
        support::whole(support::parts(&bytes)) == bytes,
        "whoever changes a label knows the form"
    );
    let aims = places(&bytes, b"TLP:AMBER");
    assert!(aims.len() >= 2, "{aims:?}");
    Target {
        name: "a proof",
        bytes,
        aims,
        key_bytes: 0,
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
