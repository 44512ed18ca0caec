//! Chains of custody: whatever is changed in one is found, and named.

use scelle_bundle::{Certificate, Custody, CustodyAction, CustodyOptions, Deed, SealKey, Terms};

const ROOT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Made {
    keys: [SealKey; 2],
    lines: Vec<String>,
    options: CustodyOptions,
}

fn deed(number: usize) -> Deed {
    let actions = [
        CustodyAction::Received,
        CustodyAction::Moved,
        CustodyAction::Opened,
        CustodyAction::Exported,
    ];
    Deed {
        time: format!("2026-03-0{}T10:20:30.5+01:00[Europe/Paris]", number % 9 + 1),
        action: actions[number % 4],
        by: format!("A. Martin, \"{number}\""),
        place: number
            .is_multiple_of(2)
            .then(|| "Salle 4 \u{2192} coffre".to_owned()),
        why: "saisie n\u{b0} 7, on the prosecutor's word".to_owned(),
    }
}

fn options(keys: &[SealKey], head: Option<String>) -> CustodyOptions {
    CustodyOptions {
        root: Some(ROOT.to_owned()),
        head,
        trust: keys.iter().map(SealKey::public).collect(),
        revocations: Vec::new(),
        now: None,
    }
}

fn read(text: &[u8], options: &CustodyOptions) -> Custody {
    Custody::read(text, options).expect("memory can be read")
}

/// A chain of eight lines by two keys, with the hash of its last line written down.
fn made() -> Made {
    let keys = ["ana", "bob"].map(|id| SealKey::generate(id, 1_767_225_600).expect("a key"));
    let mut lines: Vec<String> = Vec::new();
    for number in 0..8 {
        let mut chain = Custody::default();
        if number > 0 {
            chain = read(lines.concat().as_bytes(), &options(&keys, None));
            assert_eq!(chain.problems, []);
        }
        chain.about(ROOT.to_owned());
        let key = &keys[number / 3 % 2];
        lines.push(chain.next_line("case", deed(number), key).expect("a line"));
    }
    let chain = read(lines.concat().as_bytes(), &options(&keys, None));
    let head = chain.lines.last().map(|line| line.hash.clone());
    Made {
        options: options(&keys, head),
        keys,
        lines,
    }
}

/// What is wrong with some lines.
fn wrong(lines: &[String], options: &CustodyOptions) -> Vec<String> {
    let chain = read(lines.concat().as_bytes(), options);
    chain.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn what_was_done_reads_back() {
    let made = made();
    let chain = read(made.lines.concat().as_bytes(), &made.options);
    assert_eq!(chain.problems, []);
    for (number, line) in chain.lines.iter().enumerate() {
        assert_eq!(line.deed, deed(number));
        assert_eq!(line.number, number as u64 + 1);
        assert_eq!(
            line.signer.fingerprint,
            made.keys[number / 3 % 2].fingerprint()
        );
        assert_eq!(line.vouched, Some(Ok(())));
    }
    let stranger = SealKey::generate("eve", 1_767_225_600).expect("a key");
    let by_stranger = read(made.lines.concat().as_bytes(), &options(&[stranger], None));
    assert!(
        by_stranger
            .lines
            .iter()
            .all(|line| matches!(line.vouched, Some(Err(_))))
    );
}

#[test]
fn a_dropped_line_is_found_and_named() {
    let made = made();
    for dropped in 0..made.lines.len() - 1 {
        let mut lines = made.lines.clone();
        lines.remove(dropped);
        let said = wrong(&lines, &made.options);
        let want = format!(
            "line {}: number {} is missing before it: it was dropped",
            dropped + 1,
            dropped + 1
        );
        assert_eq!(said, [want]);
    }
    let mut lines = made.lines.clone();
    lines.drain(2..5);
    let said = wrong(&lines, &made.options);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("line 3: it is number 6, so 3 of the numbers from 3 on"),
        "{said:?}"
    );
}

/// The end can be cut unseen, unless somebody wrote down how far it went.
#[test]
fn a_cut_end_is_found_by_the_hash_that_was_written_down() {
    let made = made();
    for kept in 1..made.lines.len() {
        let lines = &made.lines[..kept];
        let said = wrong(lines, &made.options);
        assert!(
            said.len() == 1 && said[0].contains("which was written down"),
            "{said:?}"
        );
        assert_eq!(
            wrong(lines, &options(&made.keys, None)),
            Vec::<String>::new()
        );
    }
    assert_eq!(wrong(&[], &made.options).len(), 2);
    let cut = made.lines.concat();
    let chain = read(&cut.as_bytes()[..cut.len() - 1], &options(&made.keys, None));
    assert_eq!(chain.problems[0].line, Some(8));
}

#[test]
fn reordered_lines_are_found_and_named() {
    let made = made();
    for first in 0..made.lines.len() {
        for second in first + 1..made.lines.len() {
            let mut lines = made.lines.clone();
            lines.swap(first, second);
            let said = wrong(&lines, &made.options);
            let named = format!("line {}: it is number {}", second + 1, first + 1);
            assert!(
                said.iter().any(|what| what.starts_with(&named)),
                "{named}: {said:?}"
            );
        }
    }
}

#[test]
fn added_lines_are_found_and_named() {
    let made = made();
    let eve = SealKey::generate("eve", 1_767_225_600).expect("a key");
    for at in 1..=made.lines.len() {
        let named = format!("line {}", at + 1);
        // Again what stands there.
        let mut lines = made.lines.clone();
        lines.insert(at, made.lines[at - 1].clone());
        let said = wrong(&lines, &made.options);
        assert!(
            said[0].starts_with(&format!("{named}: it is number {at}, as line {at} is")),
            "{said:?}"
        );
        // A line of somebody's own, which fits what stands before it.
        let before = read(
            made.lines[..at].concat().as_bytes(),
            &options(&made.keys, None),
        );
        let forged = before.next_line("case", deed(1), &eve).expect("a line");
        let mut lines = made.lines.clone();
        lines.insert(at, forged.clone());
        let chain = read(lines.concat().as_bytes(), &made.options);
        let stranger = chain.lines.iter().find(|line| line.line == at as u64 + 1);
        assert!(matches!(
            stranger.expect("a sound line").vouched,
            Some(Err(_))
        ));
        if at < made.lines.len() {
            let said = wrong(&lines, &made.options);
            assert!(
                said[0].contains(&format!("as line {} is", at + 1)),
                "{said:?}"
            );
            // Or in the place of the one that stood there.
            lines.remove(at + 1);
            if at + 1 < made.lines.len() {
                let said = wrong(&lines, &made.options);
                let want = format!("line {}: it follows another number {}", at + 2, at + 1);
                assert!(said[0].starts_with(&want), "{said:?}");
            }
        }
    }
}

#[test]
fn another_bundle_is_told() {
    let made = made();
    let other = CustodyOptions {
        root: Some(ROOT.replace('0', "f")),
        ..CustodyOptions::default()
    };
    let said = wrong(&made.lines, &other);
    assert!(
        said[0].starts_with("line 1: it is about another bundle"),
        "{said:?}"
    );
}

/// 1,000 changes of bytes: none is taken, and the line that was changed is named.
#[test]
fn every_mutation_is_found_and_the_altered_line_is_named() {
    let made = made();
    let text = made.lines.concat().into_bytes();
    let ends: Vec<usize> = made
        .lines
        .iter()
        .scan(0, |at, line| {
            *at += line.len();
            Some(*at)
        })
        .collect();
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for round in 0..1_000 {
        let mut changed = text.clone();
        let at = random(changed.len());
        match round % 4 {
            0 => changed[at] ^= 1 << random(8),
            1 => changed[at] = changed[at].wrapping_add(1 + random(255) as u8),
            2 => {
                changed.remove(at);
            }
            _ => changed.insert(at, random(256) as u8),
        }
        if changed == text {
            continue;
        }
        let place = ends.partition_point(|end| *end <= at) as u64 + 1;
        let chain = read(&changed, &made.options);
        // An inserted byte at a line's beginning, or a line end that went, is the line's before as well.
        let named = chain
            .problems
            .iter()
            .any(|problem| problem.line.is_some_and(|line| line.abs_diff(place) <= 1));
        assert!(
            named,
            "round {round}, byte {at} of line {place}: {:?}",
            chain.problems
        );
    }
}

/// Whoever dates a line ahead would choose the time for which its key, and those of the lines behind it, are judged.
#[test]
fn a_line_from_the_time_to_come_is_told() {
    let key = SealKey::generate("ana", 1_767_225_600).expect("a key");
    let now = jiff::Timestamp::now();
    let in_days = |days: i64| now + jiff::SignedDuration::from_hours(24 * days);
    let mut chain = Custody::default();
    chain.about(ROOT.to_owned());
    let dated = |days: i64| {
        let time = u32::try_from(in_days(days).as_second()).expect("before 2106");
        chain.next_line("case", deed(0), &key.clone().not_before(time))
    };
    // What would be told of it at once is not written.
    let refused = dated(3650).expect_err("it lies ahead").to_string();
    assert!(refused.contains("signed at 20"), "{refused}");
    let far = Deed {
        time: in_days(3).to_string(),
        ..deed(0)
    };
    let refused = chain
        .next_line("case", far, &key)
        .expect_err("it lies ahead");
    assert!(refused.to_string().contains("done at 20"), "{refused}");
    // A clock that differs by hours is none.
    let line = dated(0).expect("it is now");
    let mut options = options(std::slice::from_ref(&key), None);
    for (days, is_told) in [(-2, true), (0, false), (365, false)] {
        options.now = Some(in_days(days));
        let chain = read(line.as_bytes(), &options);
        assert_eq!(chain.problems, [], "{days}");
        assert_eq!(chain.lines[0].ahead.is_some(), is_told, "{days}");
        let vouched = chain.lines[0].vouched.as_ref();
        assert_eq!(vouched.map(Result::is_ok), Some(!is_told), "{days}");
    }
    options.now = Some(in_days(0) - jiff::SignedDuration::from_hours(23));
    assert_eq!(read(line.as_bytes(), &options).lines[0].ahead, None);
}

/// One holder's clock that runs ahead does not end the chain for all the others.
#[test]
fn a_chain_goes_on_behind_a_line_from_the_time_to_come() {
    let [ana, bob] = ["ana", "bob"].map(|id| SealKey::generate(id, 1_767_225_600).expect("a key"));
    let mut options = options(&[ana.clone(), bob.clone()], None);
    let mut chain = Custody::default();
    chain.about(ROOT.to_owned());
    let first = chain.next_line("case", deed(0), &ana).expect("a line");
    // To whoever reads it with a clock of ten days before, Ana's line is ahead.
    let now = jiff::Timestamp::now();
    options.now = Some(now - jiff::SignedDuration::from_hours(240));
    let chain = read(first.as_bytes(), &options);
    assert!(chain.lines[0].ahead.is_some());
    let second = chain.next_line("case", deed(1), &bob).expect("it goes on");
    options.now = Some(now);
    let chain = read(format!("{first}{second}").as_bytes(), &options);
    assert_eq!(chain.problems, []);
    assert!(
        chain
            .lines
            .iter()
            .all(|line| line.vouched == Some(Ok(())) && line.ahead.is_none())
    );
}

/// A key that the case's key vouched for, until it was stolen.
#[test]
fn what_was_taken_back_since_vouches_for_no_line() {
    let [case, ana, bob] =
        ["case", "ana", "bob"].map(|id| SealKey::generate(id, 1_767_225_600).expect("a key"));
    let [ana, bob] = [ana, bob].map(|key| key.certified_by(&case).expect("certified"));
    let mut lines = String::new();
    for (number, key) in [&ana, &bob, &ana].into_iter().enumerate() {
        let mut chain = Custody::default();
        if number > 0 {
            chain = read(lines.as_bytes(), &CustodyOptions::default());
        }
        chain.about(ROOT.to_owned());
        lines.push_str(&chain.next_line("case", deed(number), key).expect("a line"));
    }
    let mut options = options(std::slice::from_ref(&case), None);
    let vouched = |options: &CustodyOptions| -> Vec<bool> {
        let chain = read(lines.as_bytes(), options);
        assert_eq!(chain.problems, []);
        let answers = chain.lines.into_iter().map(|line| line.vouched);
        answers
            .map(|one| one.is_some_and(|one| one.is_ok()))
            .collect()
    };
    assert_eq!(vouched(&options), [true, true, true]);
    options.revocations = vec![case.revoke(&ana.public()).expect("revoked")];
    assert_eq!(vouched(&options), [false, true, false]);
    // A revocation that the key's own voucher did not make takes nothing back.
    options.revocations = vec![bob.revoke(&ana.public()).expect("revoked")];
    assert_eq!(vouched(&options), [true, true, true]);
}

#[test]
fn hostile_files_cost_little() {
    // A line without an end, many empty ones, and a long line among good ones.
    let made = made();
    let long = "x".repeat(3 << 20);
    let chain = read(long.as_bytes(), &made.options);
    assert_eq!(chain.problems[0].line, Some(1));
    let chain = read("\n".repeat(100_000).as_bytes(), &made.options);
    assert!(chain.lines.is_empty() && chain.problems.len() == 1_001);
    // What is not kept is counted; the last of them is the head that is not there.
    let last = chain.problems.last().map(ToString::to_string);
    assert_eq!(last.as_deref(), Some("99001 more problems"));
    let mut lines = made.lines.clone();
    lines.insert(3, format!("{long}\n"));
    let said = wrong(&lines, &made.options);
    assert!(
        said.len() == 1 && said[0].starts_with("line 4: it is cut"),
        "{said:?}"
    );
}

#[test]
fn a_line_says_who_when_and_why() {
    let key = SealKey::generate("ana", 1_767_225_600).expect("a key");
    let mut chain = Custody::default();
    let refused = chain.next_line("case", deed(0), &key).expect_err("no root");
    assert!(refused.to_string().contains("root"), "{refused}");
    chain.about(ROOT.to_owned());
    for (what, deed) in [
        (
            "who",
            Deed {
                by: " ".to_owned(),
                ..deed(0)
            },
        ),
        (
            "why",
            Deed {
                why: String::new(),
                ..deed(0)
            },
        ),
        (
            "where",
            Deed {
                place: Some("x".repeat(5_000)),
                ..deed(0)
            },
        ),
        (
            "with a zone",
            Deed {
                time: "2026-03-01T10:00:00".to_owned(),
                ..deed(0)
            },
        ),
    ] {
        let refused = chain.next_line("case", deed, &key).expect_err(what);
        assert!(refused.to_string().contains(what), "{refused}");
    }
    let certificate = Certificate::read(key.certificate().expect("text").as_bytes());
    assert!(certificate.is_ok());
}

/// The line before says when it was, whatever a key says whose time is over.
#[test]
fn a_line_is_no_older_than_the_line_before_it() {
    let [case, ana, bob] =
        ["case", "ana", "bob"].map(|id| SealKey::generate(id, 1_767_225_600).expect("a key"));
    let ana = ana.certified_by(&case).expect("certified");
    let terms = Terms {
        lasts_seconds: Some(3_600),
        levels: 0,
    };
    let certified = case.certify(&bob.public(), &terms).expect("certified");
    let bob = bob.with_certificate(certified).expect("its own");
    let mut options = options(std::slice::from_ref(&case), None);
    let now = jiff::Timestamp::now();
    let later = now + jiff::SignedDuration::from_hours(20);
    let ana = ana.not_before(u32::try_from(later.as_second()).expect("before 2106"));
    let mut chain = Custody::default();
    chain.about(ROOT.to_owned());
    let first = chain.next_line("case", deed(0), &ana).expect("a line");
    // By a clock that is set back, so that Ana's line is ahead of it and is not followed.
    options.now = Some(now - jiff::SignedDuration::from_hours(240));
    let chain = read(first.as_bytes(), &options);
    let second = chain.next_line("case", deed(1), &bob).expect("a line");
    options.now = Some(now);
    let chain = read(format!("{first}{second}").as_bytes(), &options);
    assert_eq!(chain.problems, []);
    let vouched = chain.lines.iter().map(|line| line.vouched == Some(Ok(())));
    assert_eq!(vouched.collect::<Vec<_>>(), [true, false]);
}
