//! Whatever is changed is found.

mod common;
mod forge;

use std::sync::Arc;

use common::{Item, Random, item, noise, options, write_with};
use forge::{
    BYTE_KINDS, Named, PART_KINDS, Part, change_bytes, change_label, change_parts,
    change_throughout, forge, pack, seal_with_label, unpack,
};
use rayon::prelude::*;
use scelle_bundle::{Bundle, Certificate, SealKey, Verdict, Verification, VerifyOptions, verify};
use scelle_formats::Bytes;

fn ask(archive: &[u8], options: &VerifyOptions) -> Verification {
    verify(&Bytes(archive), options).expect("the root is a hash")
}

/// A bundle, and the two ways in which somebody may vouch for it.
fn sealed(name: &str, items: &[Item]) -> (Vec<u8>, [VerifyOptions; 2]) {
    let mut options = options(name);
    options.checkpoint_bytes = 4_000;
    let certificate = options.key.certificate().expect("text");
    let (sealed, archive) = write_with(options, items);
    let by_root = VerifyOptions {
        root: Some(sealed.root),
        ..VerifyOptions::default()
    };
    let by_key = VerifyOptions {
        trust: vec![Certificate::read(certificate.as_bytes()).expect("own certificate")],
        ..VerifyOptions::default()
    };
    for options in [&by_root, &by_key] {
        assert_eq!(ask(&archive, options).verdict, Verdict::Sealed);
    }
    (archive, [by_root, by_key])
}

#[test]
fn every_bit_counts() {
    let mut options = options("t");
    options.collection.volumes.clear();
    let certificate = options.key.certificate().expect("text");
    let items = [
        item(b"a", b"evidence, evidence".to_vec()),
        item(b"b", vec![]),
    ];
    let (_, archive) = write_with(options, &items);
    let trust = VerifyOptions {
        trust: vec![Certificate::read(certificate.as_bytes()).expect("own certificate")],
        ..VerifyOptions::default()
    };
    assert_eq!(ask(&archive, &trust).verdict, Verdict::Sealed);
    let missed: Vec<_> = (0..archive.len() * 8)
        .into_par_iter()
        .filter_map(|bit| {
            let mut changed = archive.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let answer = ask(&changed, &trust);
            let is_found = answer.verdict == Verdict::Broken && !answer.problems.is_empty();
            (!is_found).then_some((bit, answer.verdict))
        })
        .collect();
    assert_eq!(missed, [], "of {} bits", archive.len() * 8);
}

/// By whom a mutation is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hand {
    /// Changes bytes.
    Byte,
    /// Packs members again, with another tool.
    Tool,
    /// Packs members again in the one form.
    Forger,
    /// Also changes every hash of what it changes.
    Thorough,
    /// Seals the same or other evidence with a key of its own.
    Sealer,
}

#[test]
fn a_forger_knows_the_one_form() {
    let (archive, _) = sealed(
        "mutation",
        &[item(b"a", noise(1, 3000)), item(b"b", vec![])],
    );
    assert!(forge(&unpack(&archive)) == archive);
}

#[test]
fn a_thousand_mutations_are_found() {
    const WANTED: usize = 1_000;
    let items: Vec<Item> = (0..12)
        .map(|number| item(format!("d/f{number}").as_bytes(), noise(number, 900)))
        .collect();
    let (archive, vouchers) = sealed("mutation", &items);
    let (other, _) = sealed("mutation", &items);
    let (parts, other_parts) = (unpack(&archive), unpack(&other));
    let mut kinds: Vec<(Hand, &str)> = BYTE_KINDS.map(|kind| (Hand::Byte, kind)).to_vec();
    kinds.extend(PART_KINDS.map(|kind| (Hand::Tool, kind)));
    kinds.extend(PART_KINDS[1..].iter().map(|kind| (Hand::Forger, *kind)));
    kinds.extend([(Hand::Thorough, "change"), (Hand::Thorough, "label")]);
    kinds.extend([(Hand::Sealer, "same"), (Hand::Sealer, "change")]);

    let mutate = |hand: Hand, kind: &str, random: &mut Random| {
        let mut parts = parts.clone();
        match hand {
            Hand::Byte => change_bytes(kind, &archive, &other, random),
            Hand::Tool => {
                change_parts(kind, &mut parts, &other_parts, random)?;
                // What it changes besides hides what was changed before.
                Some((pack(&parts), Named::Any(vec![])))
            }
            Hand::Forger => {
                let named = change_parts(kind, &mut parts, &other_parts, random)?;
                Some((forge(&parts), named))
            }
            Hand::Thorough => {
                let named = match kind {
                    "label" => {
                        let to = ["TLP:CLEAR", "TLP:GREEN", "TLP:AMBER+STRICT"][random.below(3)];
                        change_label(&mut parts, "TLP:AMBER", to, random)?
                    }
                    _ => change_throughout(&mut parts, random)?,
                };
                Some((forge(&parts), named))
            }
            Hand::Sealer => {
                let mut items = items.clone();
                if kind == "change" {
                    let at = random.below(items.len());
                    items[at].content = common::Content::Plain(noise(random.next(), 900));
                }
                let mut options = options("mutation");
                options.checkpoint_bytes = 4_000;
                let named = ["the root is", "none of the trusted certificates"];
                Some((
                    write_with(options, &items).1,
                    Named::Any(named.map(str::to_owned).to_vec()),
                ))
            }
        }
    };
    // As many draws of each kind, some of which change nothing.
    let draws = WANTED.div_ceil(kinds.len()) * 2;
    let tried: Vec<(Hand, &str)> = (0..draws * kinds.len())
        .into_par_iter()
        .filter_map(|seed| {
            let (hand, kind) = kinds[seed % kinds.len()];
            let (changed, named) = mutate(hand, kind, &mut Random(seed as u64))?;
            assert!(changed != archive, "{hand:?} {kind}, seed {seed}");
            for options in &vouchers {
                let answer = ask(&changed, options);
                let told: Vec<_> = answer.problems.iter().map(ToString::to_string).collect();
                let what = format!("{hand:?} {kind}, seed {seed}: {named:?}, told {told:#?}");
                assert_ne!(answer.verdict, Verdict::Sealed, "{what}");
                assert!(!told.is_empty() && named.is_told_by(&told), "{what}");
            }
            Some((hand, kind))
        })
        .collect();
    assert!(tried.len() >= WANTED, "only {} changed", tried.len());
    for kind in &kinds {
        let times = tried.iter().filter(|tried| *tried == kind).count();
        assert!(times >= 5, "{kind:?} changed something {times} times");
    }
}

#[test]
fn each_file_that_is_missing_added_or_altered_is_named_and_no_other() {
    let items: Vec<Item> = (0..9)
        .map(|number| item(format!("f{number}").as_bytes(), noise(number, 900)))
        .collect();
    let (archive, [options, _]) = sealed("mutation", &items);
    let mut parts = unpack(&archive);
    let first = parts
        .iter()
        .position(|part| part.label().starts_with("data/"))
        .expect("evidence");
    let evidence = "data/ntfs-0123456789abcdef/";
    parts.retain(|part| !part.label().ends_with("/f1") && !part.label().ends_with("/f8"));
    let mut added = parts[first].clone();
    added.name = format!("mutation/{evidence}new");
    parts.insert(first + 2, added);
    let last = parts
        .iter()
        .position(|part| part.label().ends_with("/f7"))
        .expect("evidence");
    // The content of another.
    let name = parts[last].name.clone();
    parts[last] = parts[first].clone();
    parts[last].name = name;
    let answer = ask(&forge(&parts), &options);
    assert_eq!(answer.verdict, Verdict::Broken);
    let told: Vec<String> = answer
        .problems
        .iter()
        .map(ToString::to_string)
        .filter(|problem| problem.starts_with("data/"))
        .collect();
    assert_eq!(
        told,
        [
            format!("{evidence}f1: it is missing"),
            format!("{evidence}new: it was added: the manifests do not list it"),
            format!("{evidence}f7: it was altered: its hashes are not those of the manifests"),
            format!("{evidence}f8: it is missing"),
        ]
    );
}

/// Compressed, the seal would have many forms, of which nothing tells.
#[test]
fn what_the_seal_is_made_of_is_stored() {
    let (archive, [options, _]) = sealed("mutation", &[item(b"a", noise(1, 3000))]);
    let parts = unpack(&archive);
    let mut stored = 0;
    for at in 0..parts.len() {
        let mut parts = parts.clone();
        if !parts[at].compress() {
            continue;
        }
        stored += 1;
        let answer = ask(&forge(&parts), &options);
        assert_eq!(answer.verdict, Verdict::Broken);
        let told = format!(
            "{}: it is compressed, and must be stored here",
            parts[at].label()
        );
        assert!(
            answer
                .problems
                .iter()
                .any(|problem| problem.to_string() == told),
            "{told}: {:?}",
            answer.problems
        );
    }
    // The last checkpoint and its signature, the tag manifest and its.
    assert_eq!(stored, 4);
}

#[test]
fn a_seal_by_another_key_is_no_seal_of_the_first() {
    let items = [item(b"a", noise(1, 3000))];
    let (_, vouchers) = sealed("mutation", &items);
    // The same evidence, sealed again by somebody else, with changes and without.
    for content in [noise(1, 3000), noise(2, 3000)] {
        let mut again = options("mutation");
        again.key = SealKey::generate("run of a test", common::PLAN_DATE).expect("a key");
        let (_, forged) = write_with(again, &[item(b"a", content)]);
        let [by_root, by_key] = &vouchers;
        assert_eq!(ask(&forged, by_root).verdict, Verdict::Broken);
        let answer = ask(&forged, by_key);
        assert_eq!(answer.verdict, Verdict::SignerUnknown);
        assert!(!answer.problems.is_empty(), "it says who does not vouch");
    }
}

#[test]
fn archives_made_to_confuse_are_refused() {
    let items = [item(b"a", noise(1, 3000)), item(b"b", noise(2, 3000))];
    let (archive, [options, _]) = sealed("confuse", &items);
    // Bytes between two members, with the central directory and the end moved along.
    let gap = archive
        .windows(4)
        .skip(1)
        .position(|window| window == [0x50, 0x4B, 3, 4])
        .expect("a second member")
        + 1;
    let mut changed = archive.clone();
    changed.splice(gap..gap, [0; 4]);
    let end = changed.len() - 22;
    let offset = u32::from_le_bytes(changed[end + 16..end + 20].try_into().expect("four bytes"));
    changed[end + 16..end + 20].copy_from_slice(&(offset + 4).to_le_bytes());
    let answer = ask(&changed, &options);
    assert_eq!(answer.verdict, Verdict::Broken);
    // A comment, of which the end record knows.
    let mut changed = archive.clone();
    changed.extend_from_slice(b"PK");
    let end = archive.len() - 2;
    changed[end] = 2;
    assert_eq!(ask(&changed, &options).verdict, Verdict::Broken);
    // A size that no such data can stand for, in both headers.
    let member = b"confuse/data/ntfs-0123456789abcdef/a";
    let places: Vec<usize> = archive
        .windows(member.len())
        .enumerate()
        .filter(|(_, window)| window == member)
        .map(|(at, _)| at)
        .collect();
    let mut changed = archive.clone();
    for (place, back) in [(places[0], 8), (*places.last().expect("central"), 22)] {
        changed[place - back..place - back + 4].copy_from_slice(&0x00F0_0000u32.to_le_bytes());
    }
    let answer = ask(&changed, &options);
    assert_eq!(answer.verdict, Verdict::Broken);
    // What a collection leaves that was cut off before it wrote anything, or in its first header.
    for bytes in [&b""[..], b"P", &[0; 22]] {
        assert_eq!(ask(bytes, &options).verdict, Verdict::Unfinished);
    }
    for bytes in [&b"Q"[..], b"random bytes that are no archive at all"] {
        assert_eq!(ask(bytes, &options).verdict, Verdict::Broken);
    }
}

/// A label that nobody can read, or that other tools read otherwise, must not be taken for one: not even under the seal.
#[test]
fn a_sealed_label_that_is_none_is_told() {
    let options = options("t");
    let key = options.key.clone();
    let (_, archive) = write_with(options, &[item(b"f", noise(1, 50))]);
    let trust = VerifyOptions {
        trust: vec![key.public()],
        ..VerifyOptions::default()
    };
    for (label, is_one) in [
        ("TLP:RED", true),
        ("TLP:PURPLE", false),
        ("amber", false),
        ("tlp:amber", false),
        ("TLP:AMBER ", false),
    ] {
        let mut parts = unpack(&archive);
        seal_with_label(&mut parts, "TLP:AMBER", label, &key);
        let changed = forge(&parts);
        let answer = ask(&changed, &trust);
        let told: Vec<_> = answer.problems.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        assert!(!told.contains("signature"), "{label}: {told}");
        assert_eq!(
            !told.contains("bears no TLP label"),
            is_one,
            "{label}: {told}"
        );
        let opened = Bundle::open(Arc::new(Bytes(changed)));
        match opened {
            Ok(_) => assert!(is_one, "{label}: nothing is made of it"),
            Err(error) => assert!(
                error.to_string().contains("bears no TLP label") && !is_one,
                "{label}: {error}"
            ),
        }
    }
}

/// The label of a bundle, and the case that it names, are read of it only where the seal covers them.
#[test]
fn what_the_seal_does_not_cover_is_not_read() {
    let options = options("t");
    let key = options.key.clone();
    let (_, archive) = write_with(options, &[item(b"f", noise(1, 50))]);
    let refused = |parts: &[Part]| {
        let opened = Bundle::open(Arc::new(Bytes(forge(parts))));
        opened.map(drop).expect_err("it is refused").to_string()
    };
    let mut parts = unpack(&archive);
    seal_with_label(&mut parts, "TLP:AMBER", "TLP:CLEAR", &key);
    let sealed = parts.clone();
    assert!(Bundle::open(Arc::new(Bytes(forge(&parts)))).is_ok());
    // One label, and the seal of the other.
    let whole = unpack(&archive);
    for at in 0..parts.len() {
        parts.clone_from(&sealed);
        if parts[at].label() != "records/collection.json" && parts[at].label() != "bag-info.txt" {
            continue;
        }
        parts[at] = whole[at].clone();
        let told = refused(&parts);
        assert!(told.contains("is not what was sealed"), "{told}");
    }
    // Everything fits but the signature.
    let of = |part: &Part| part.label().starts_with("signatures/");
    let at = sealed.iter().position(of).expect("a signature");
    parts.clone_from(&sealed);
    parts[at] = whole[at].clone();
    let told = refused(&parts);
    assert!(told.contains("the seal does not hold"), "{told}");
}
