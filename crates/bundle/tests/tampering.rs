//! Whatever is changed is found.

mod common;

use std::{collections::BTreeMap, io::Cursor, io::Read as _, io::Write as _};

use common::{Item, Random, item, noise, options, write_with};
use rayon::prelude::*;
use scelle_bundle::{Certificate, SealKey, Verdict, Verification, VerifyOptions, verify};
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

/// The members of an archive, decompressed.
fn unpack(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).expect("a Zip archive");
    (0..zip.len())
        .map(|index| {
            let mut member = zip.by_index(index).expect("a member");
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).expect("sound");
            (member.name().expect("UTF-8").into_owned(), bytes)
        })
        .collect()
}

/// An archive of these members, by another tool.
fn pack(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(name.as_str(), options).expect("memory");
        zip.write_all(bytes).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

/// One change of some kind; `None` where this draw changes nothing.
fn mutate(kind: &str, archive: &[u8], other: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut changed = archive.to_vec();
    let at = random.below(changed.len());
    match kind {
        "flip" => changed[at] ^= 1 << random.below(8),
        "drop" => drop(changed.drain(at..(at + 1 + random.below(64)).min(archive.len()))),
        "add" => {
            let bytes = random.next().to_le_bytes();
            changed.splice(at..at, bytes);
        }
        "truncate" => changed.truncate(at),
        "append" => changed.extend((0..1 + random.below(40)).map(|_| random.next() as u8)),
        "zero" => changed[at..(at + 32).min(archive.len())].fill(0),
        "splice" => {
            // Bytes of another sound bundle in the place of these.
            let end = (at + 1 + random.below(2000))
                .min(changed.len())
                .min(other.len());
            if at < end {
                changed[at..end].copy_from_slice(&other[at..end]);
            }
        }
        "swap" => {
            // Two stretches of the archive change places.
            let length = 16 + random.below(200);
            let (a, b) = (random.below(archive.len()), random.below(archive.len()));
            let (a, b) = (a.min(b), a.max(b));
            if a + length < b && b + length < archive.len() {
                let (left, right) = changed.split_at_mut(b);
                left[a..a + length].swap_with_slice(&mut right[..length]);
            }
        }
        _ => return mutate_members(kind, archive, other, random),
    }
    (changed != archive).then_some(changed)
}

/// The same, on the level of members: they are packed again by another tool.
fn mutate_members(
    kind: &str,
    archive: &[u8],
    other: &[u8],
    random: &mut Random,
) -> Option<Vec<u8>> {
    let mut members = unpack(archive);
    let at = random.below(members.len());
    match kind {
        "repack" => {}
        "remove member" => drop(members.remove(at)),
        "add member" => members.insert(at, ("mutation/data/new".into(), b"new".to_vec())),
        "rename member" => members[at].0.push('x'),
        "climb" => members[at].0 = "mutation/data/../../etc/passwd".into(),
        "reorder" => {
            let to = random.below(members.len());
            members.swap(at, to);
        }
        "change member" => {
            let bytes = &mut members[at].1;
            let place = random.below(bytes.len());
            *bytes.get_mut(place)? ^= 1 << random.below(8);
        }
        "swap record" => {
            let others: BTreeMap<_, _> = unpack(other).into_iter().collect();
            let records: Vec<usize> = (0..members.len())
                .filter(|at| members[*at].0.contains("/records/"))
                .collect();
            let at = records[random.below(records.len())];
            members[at].1 = others.get(&members[at].0)?.clone();
        }
        _ => unreachable!("{kind} is none of the kinds"),
    }
    Some(pack(&members))
}

#[test]
fn a_thousand_mutations_are_found() {
    let items: Vec<Item> = (0..12)
        .map(|number| item(format!("d/f{number}").as_bytes(), noise(number, 900)))
        .collect();
    let (archive, vouchers) = sealed("mutation", &items);
    let (other, _) = sealed("mutation", &items);
    let kinds = [
        "flip",
        "drop",
        "add",
        "truncate",
        "append",
        "zero",
        "splice",
        "swap",
        "repack",
        "remove member",
        "add member",
        "rename member",
        "climb",
        "reorder",
        "change member",
        "swap record",
    ];
    let tried: Vec<_> = (0..1100u64)
        .into_par_iter()
        .filter_map(|seed| {
            let mut random = Random(seed);
            let kind = kinds[seed as usize % kinds.len()];
            let changed = mutate(kind, &archive, &other, &mut random)?;
            Some((seed, kind, changed))
        })
        .map(|(seed, kind, changed)| {
            for options in &vouchers {
                let answer = ask(&changed, options);
                assert_ne!(answer.verdict, Verdict::Sealed, "{kind}, seed {seed}");
                assert!(!answer.problems.is_empty(), "{kind}, seed {seed}");
            }
            kind
        })
        .collect();
    assert!(
        tried.len() >= 1000,
        "only {} mutations changed anything",
        tried.len()
    );
    for kind in kinds {
        assert!(tried.contains(&kind), "{kind} never changed anything");
    }
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
    for bytes in [
        &b""[..],
        b"P",
        &[0; 22],
        b"random bytes that are no archive at all",
    ] {
        assert_eq!(ask(bytes, &options).verdict, Verdict::Broken);
    }
}
