//! Proofs of single rows: what they show, and that nothing else passes for one.

mod support;

use scelle::{
    ProveError, RowAt, Verdict, VerifyOptions,
    engine::Progress,
    event::{Label, Lowered, Tlp},
};
use serde_json::Value;
use support::{Case, case, file, parts, prove, whole};

fn by_root(case: &Case) -> VerifyOptions {
    VerifyOptions {
        root: Some(case.root.clone()),
        ..VerifyOptions::default()
    }
}

/// The row that a file proves under a root; else it is no proof or a broken one, and nothing between.
fn proven(bytes: &[u8], options: &VerifyOptions) -> Option<(String, Label)> {
    let checked = match scelle::check_proof(bytes, options) {
        Ok(checked) => checked,
        Err(ProveError::NoProof(_)) => return None,
        Err(error) => panic!("{error:?}"),
    };
    let answer = &checked.verification;
    match answer.verdict {
        Verdict::Sealed => Some((checked.row, checked.label)),
        Verdict::Broken if !answer.problems.is_empty() => None,
        _ => panic!("{answer:?}"),
    }
}

#[test]
fn every_row_of_a_log_is_proven_as_the_timeline_has_it() {
    let case = case("rows", 40);
    assert!(case.rows.len() > 5, "{}", case.rows.len());
    for row in &case.rows {
        let proof = prove(&case, row);
        assert!(proof.len() < 48 << 10, "{}", proof.len());
        let (back, label) = proven(&proof, &by_root(&case)).expect("proven");
        assert_eq!(back, *row);
        assert_eq!(label, Tlp::Amber.into());
        // Without the root, nobody vouches.
        let unknown = scelle::check_proof(&proof, &VerifyOptions::default()).expect("a proof");
        assert_eq!(unknown.verification.verdict, Verdict::SignerUnknown);
    }
    let keys: Vec<u64> = case
        .rows
        .iter()
        .filter_map(|row| serde_json::from_str::<RowAt>(row).ok()?.record_key)
        .collect();
    let source = scelle::open(&case.bundle).expect("a bundle");
    let found = scelle::rows_of_key(&source, keys[0], &Progress::default()).expect("parsed");
    assert!(!found.is_empty());
    assert!(found.iter().all(|row| row.record_key == Some(keys[0])));
}

#[test]
fn what_can_not_be_proven_is_said() {
    let case = case("refused", 3);
    let at: RowAt = serde_json::from_str(&case.rows[0]).expect("a row");
    let refused = |row: RowAt| {
        scelle::prove(&case.bundle, None, &row, &Tlp::Amber.into())
            .expect_err("refused")
            .to_string()
    };
    let elsewhere = RowAt {
        offset: at.offset + 1,
        ..at.clone()
    };
    assert!(refused(elsewhere).contains("no such row"));
    let unnumbered = RowAt {
        ordinal: Some(77),
        ..at.clone()
    };
    assert!(refused(unnumbered).contains("no such row"));
    let unknown = RowAt {
        artefact: "windows.nothing".to_owned(),
        ..at.clone()
    };
    assert!(refused(unknown).contains("windows.nothing"));
    let absent = RowAt {
        stream: "folder/absent".to_owned(),
        ..at.clone()
    };
    assert!(refused(absent).contains("absent"));
    let lower = scelle::prove(&case.bundle, None, &at, &Tlp::Green.into());
    assert!(
        matches!(lower, Err(ProveError::Bundle { .. })),
        "a label that is lowered in silence"
    );
    let lowered = Label {
        tlp: Tlp::Green,
        lowered: Some(Lowered {
            from: Tlp::Amber,
            reason: "agreed".to_owned(),
        }),
    };
    let proof = scelle::prove(&case.bundle, None, &at, &lowered).expect("a proof");
    assert_eq!(proven(&proof, &by_root(&case)).expect("proven").1, lowered);
}

/// What a mutation is made with.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// 1,000 changes of bytes: the form alone finds each.
#[test]
fn changed_bytes_prove_nothing() {
    let case = case("bytes", 20);
    let proof = prove(&case, &case.rows[0]);
    let options = by_root(&case);
    let mut random = Random(3);
    for round in 0..1_000 {
        let mut changed = proof.clone();
        let at = random.below(changed.len());
        match round % 5 {
            0 => changed[at] ^= 1 << random.below(8),
            1 => changed[at] = changed[at].wrapping_add(1 + random.below(255) as u8),
            2 => {
                changed.remove(at);
            }
            3 => changed.insert(at, random.below(256) as u8),
            _ => changed.truncate(at),
        }
        if changed != proof {
            assert_eq!(proven(&changed, &options), None, "round {round}, byte {at}");
        }
    }
}

fn change_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(4) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => {
            bytes.remove(at);
        }
        2 => bytes.insert(at, random.below(256) as u8),
        _ => {
            let end = (at + random.below(64)).min(bytes.len());
            bytes[at..end].fill(random.below(256) as u8);
        }
    }
}

/// Changes one number or text somewhere in a JSON value.
fn change_json(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(map) => {
            let at = random.below(map.len());
            if let Some((_, value)) = map.iter_mut().nth(at) {
                change_json(value, random);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let at = random.below(list.len());
            change_json(&mut list[at], random);
        }
        Value::Number(number) => {
            let number = number.as_u64().unwrap_or(0);
            let steps = [1, 2, 512, 1024, 4096, 65_536];
            let step = steps[random.below(steps.len())];
            *value = match random.below(3) {
                0 => number.wrapping_add(step).into(),
                1 => number.saturating_sub(step).into(),
                _ => (random.below(1 << 30) as u64).into(),
            };
        }
        Value::String(text) => text.push('x'),
        Value::Bool(flag) => *flag = !*flag,
        other => *other = Value::from("x"),
    }
}

/// 1,000 changes by somebody who knows the form, and parts of other proofs, in the place of this one's: what still
/// passes proves the same row, under the same root, with a label that may stand on it.
#[test]
fn forged_parts_prove_nothing_else() {
    let case = case("forged", 20);
    let other = support::case("other", 7);
    let options = by_root(&case);
    let row = &case.rows[0];
    let proof = prove(&case, row);
    let donors: Vec<Vec<file::Part>> = case.rows[1..]
        .iter()
        .map(|row| prove(&case, row))
        .chain(other.rows.iter().map(|row| prove(&other, row)))
        .map(|proof| parts(&proof))
        .collect();
    let sound = parts(&proof);
    assert!(
        proven(&whole(sound.clone()), &options).is_some(),
        "the test's own form"
    );
    let mut random = Random(11);
    let mut passed = 0;
    for round in 0..1_000 {
        let mut changed = sound.clone();
        let at = random.below(changed.len());
        match round % 4 {
            0 => change_bytes(&mut changed[at].1, &mut random),
            1 => {
                let at = random.below(2);
                let mut value: Value = serde_json::from_slice(&changed[at].1).expect("JSON");
                change_json(&mut value, &mut random);
                let mut text = serde_json::to_vec(&value).expect("JSON");
                if at == 0 {
                    text.push(b'\n');
                }
                changed[at].1 = text;
            }
            2 => {
                let donor = &donors[random.below(donors.len())];
                for part in &mut changed {
                    let given = donor.iter().find(|(name, _)| *name == part.0);
                    if let Some((_, bytes)) = given.filter(|_| random.below(2) == 0) {
                        part.1.clone_from(bytes);
                    }
                }
            }
            _ => {
                let donor = &donors[random.below(donors.len())];
                let taken = donor[random.below(donor.len())].clone();
                match random.below(3) {
                    0 => changed[at] = taken,
                    1 => changed.insert(at, taken),
                    _ => {
                        changed.remove(at);
                    }
                }
            }
        }
        if changed == sound {
            continue;
        }
        let Some((back, label)) = proven(&whole(changed), &options) else {
            continue;
        };
        passed += 1;
        // Whole proofs of other rows of this bundle are made up of donors' parts now and then.
        assert!(case.rows.contains(&back), "round {round} proves {back}");
        let may_bear = label.lowered.is_some() || label.tlp >= Tlp::Amber;
        assert!(may_bear, "round {round} bears {label}");
    }
    // The version's text, a label that is raised: few changes prove the same.
    assert!(passed < 100, "{passed}");
    drop(other.folder);
    drop(case.folder);
}
