//! Prepared collectors: what stands behind a program, whole and with any byte changed.

use std::sync::OnceLock;

use scelle::{
    PlannedDelivery, PlannedRecipient, PlannedS3, PlannedSecret, Prepared, PreparedPlan, SealKey,
    engine::{Profile, profile::Limits},
    forge,
    formats::{Bytes, Digests},
};
use scelle_testkit::ReaderKey;

/// 2026-01-01.
const THEN: u32 = 1_767_225_600;
const DAY: u32 = 86_400;
/// Hash and magic, at the very end.
const END: usize = 48;

fn plan() -> PreparedPlan {
    PreparedPlan {
        format: 0,
        made: 0,
        until: 0,
        deployment: 7,
        deployment_key: String::new(),
        program_sha256: String::new(),
        team: "CERT Example".into(),
        team_version: 1,
        team_blake3: "0".repeat(64),
        case: "case 42".into(),
        tlp: "TLP:AMBER".into(),
        source: "/evidence".into(),
        profile: Profile::load("minimal").expect("built in"),
        limits: Limits::default(),
        timestamp: None,
        allow_source_volume: false,
        recipients: vec![recipient()],
        delivery: Some(PlannedDelivery::S3(PlannedS3 {
            to: "s3://vault/case-42/".into(),
            endpoint: Some("https://store.example.org".into()),
            region: None,
            authorities: Some("certificates".into()),
            proxy: None,
            proxy_login: None,
            access_key: "access".into(),
            secret_key: PlannedSecret::new(SECRET),
            session_token: None,
        })),
        salt: String::new(),
    }
}

/// What the store knows the sender by.
const SECRET: &str = "hunter2";

fn recipient() -> PlannedRecipient {
    static KEY: OnceLock<ReaderKey> = OnceLock::new();
    let key = KEY.get_or_init(|| ReaderKey::make(true));
    PlannedRecipient {
        fingerprint: key.fingerprint.clone(),
        certificate: key.certificate.clone(),
    }
}

fn key(user: &str) -> SealKey {
    SealKey::generate(user, THEN).expect("a key")
}

const PROGRAM: &[u8] = b"a program's own bytes";

fn forged(case: &SealKey) -> Vec<u8> {
    let made = forge(&Bytes(PROGRAM), plan(), case, DAY).expect("forged");
    [PROGRAM, &made.behind].concat()
}

fn read(file: &[u8]) -> Result<Option<Prepared>, String> {
    Prepared::read(&Bytes(file)).map_err(|error| error.to_string())
}

#[test]
fn a_forged_program_has_its_plan_and_its_own_bytes() {
    let case = key("case");
    let file = forged(&case);
    assert!(file.starts_with(PROGRAM));
    let prepared = read(&file).expect("sound").expect("prepared");
    assert_eq!(
        (&*prepared.plan.case, prepared.plan.deployment),
        ("case 42", 7)
    );
    assert_eq!(
        prepared.plan.profile,
        Profile::load("minimal").expect("built in")
    );
    assert_eq!(prepared.doubt, None);
    let (first, said) = prepared.begin().expect("a key");
    let (second, other) = prepared.begin().expect("a key");
    assert_ne!(
        first.fingerprint(),
        second.fingerprint(),
        "each run has a key of its own"
    );
    assert_ne!(said.deployment.run, other.deployment.run);
    let roots = [case.public()];
    first
        .public()
        .check_vouched(&roots, &[], prepared.plan.made + 60)
        .expect("vouched for");
    let late = first
        .public()
        .check_vouched(&roots, &[], prepared.plan.until + 1);
    assert!(late.expect_err("over")[0].contains("held until"));
    assert!(
        first
            .public()
            .check_vouched(&[key("case").public()], &[], prepared.plan.made)
            .is_err()
    );
    // A hash that bundles state, and from which what is in the plan can't be guessed.
    let again = read(&forged(&case)).expect("sound").expect("prepared").plan;
    assert_eq!(again.salt.len(), 64);
    assert_ne!(again.salt, prepared.plan.salt);
    // What the store is told is in the plan, and in no message.
    assert_eq!(again.delivery, plan().delivery);
    assert!(!format!("{again:?}").contains(SECRET));
    // A program that is not prepared is just that; one that is, is not prepared again.
    assert!(read(PROGRAM).expect("sound").is_none());
    assert!(forge(&Bytes(&file), plan(), &case, DAY).is_err());
}

/// A recipient's certificate that expires at the beginning of 2090 is good for what ends before.
#[test]
fn bundles_can_be_encrypted_for_as_long_as_the_plan_lasts() {
    let case = key("case");
    let plan = PreparedPlan {
        recipients: vec![PlannedRecipient {
            fingerprint: "451D14C574AE59AB328FB6713B2F58D7753F73E2".into(),
            certificate: include_str!("../../../testdata/team/until-2090.cert.asc").into(),
        }],
        ..plan()
    };
    let forge = |days: u32| forge(&Bytes(PROGRAM), plan.clone(), &case, days * DAY);
    let refused = forge(70 * 365).expect_err("past 2090").to_string();
    assert!(refused.contains("is expired since 2090-01-01"), "{refused}");
    assert!(refused.contains("for a shorter time"), "{refused}");

    // A host whose clock is far ahead collects all the same, and says so.
    let made = forge(1).expect("forged");
    let file = [PROGRAM, &made.behind].concat();
    let at = |clock| Prepared::read_at(&Bytes(&file), clock);
    let read = |clock| at(clock).expect("sound").expect("prepared");
    assert_eq!(read(made.plan.made).doubt, None);
    let late = read(u32::MAX);
    assert_eq!(late.recipients().len(), 1);
    let doubt = late.doubt.expect("it is over");
    for why in ["held until", "is expired since 2090-01-01"] {
        assert!(doubt.contains(why), "{why}: {doubt}");
    }
}

/// What vouches for the case travels in the bundles, as far as whoever verifies reads it.
#[test]
fn more_certificates_than_are_read_are_refused() {
    let mut behind = key("first").public();
    for number in 2..=7 {
        let case = key("case").vouched_by(&behind);
        let made = forge(&Bytes(PROGRAM), plan(), &case, DAY);
        // The run's, the deployment's, the case's, and those behind it.
        assert_eq!(made.is_ok(), 3 + (number - 1) <= 8, "{number}");
        if let Err(refused) = made {
            assert!(refused.to_string().contains("more than 8"), "{refused}");
        }
        behind = key("next").vouched_by(&behind).public();
    }
}

/// What a reader of the format is told of the plan is all that stands in it.
#[test]
fn the_format_names_each_element_of_the_plan() {
    let format = include_str!("../../../FORMAT.md");
    let begin = format.find("## Prepared collectors").expect("its section");
    let length = format[begin..].find("its signature by").expect("its end");
    let told = &format[begin..begin + length];
    let plan = serde_json::to_value(plan()).expect("plain data");
    for element in plan.as_object().expect("an object").keys() {
        assert!(told.contains(&format!("`{element}`")), "{element}: {told}");
    }
}

#[test]
fn every_bit_of_what_stands_behind_counts() {
    let file = forged(&key("case"));
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            let read = read(&changed);
            // What is no longer marked as prepared is a collector that asks what to do.
            let is_unmarked = at >= file.len() - 16;
            assert!(
                read.is_err() || is_unmarked && matches!(read, Ok(None)),
                "bit {bit} of byte {at} may be flipped"
            );
            // The program's own bytes are hashed last: a few of them are enough.
            if at < PROGRAM.len() {
                break;
            }
        }
    }
    for cut in 1..file.len() {
        assert!(!matches!(read(&file[..cut]), Ok(Some(_))), "cut at {cut}");
        assert!(!matches!(read(&file[cut..]), Ok(Some(_))), "begun at {cut}");
    }
}

/// Whoever changes the plan makes the hash anew too.
#[test]
fn a_changed_plan_is_found_by_its_signature() {
    let case = key("case");
    let file = forged(&case);
    let begin = PROGRAM.len();
    let hashed = begin..file.len() - END;
    let lengths = &file[hashed.end - 16..hashed.end];
    let plan_bytes = u32::from_le_bytes(*lengths.first_chunk().expect("four")) as usize;
    let mut refused = 0;
    for at in begin..begin + plan_bytes {
        let mut changed = file.clone();
        changed[at] ^= 1;
        let hash = Digests::of(&changed[hashed.clone()]).blake3;
        changed[hashed.end..hashed.end + 32].copy_from_slice(&hash);
        let said = match read(&changed) {
            Ok(_) => panic!("byte {at} of the plan may be changed"),
            Err(said) => said,
        };
        assert!(said.contains("the signature of the plan"), "{said}");
        refused += 1;
    }
    assert_eq!(refused, plan_bytes);

    // Of what stands behind the plan, a few bytes of the armour mean the same when they are others; what it says does not change.
    let sound = read(&file).expect("sound").expect("prepared");
    let (mut told, mut same) = (0, 0);
    for at in begin + plan_bytes..hashed.end - 16 {
        let mut changed = file.clone();
        changed[at] ^= 1;
        let hash = Digests::of(&changed[hashed.clone()]).blake3;
        changed[hashed.end..hashed.end + 32].copy_from_slice(&hash);
        match read(&changed) {
            Err(said) => {
                let is_refused = ["altered or damaged", "can't be followed"];
                let is_refused = is_refused.iter().any(|why| said.contains(why));
                assert!(is_refused, "byte {at}: {said}");
                told += 1;
            }
            Ok(prepared) => {
                let prepared = prepared.expect("it is marked");
                assert_eq!(prepared.plan_blake3, sound.plan_blake3, "byte {at}");
                let run = prepared.begin().expect("a key").0.public();
                run.check_vouched(&[case.public()], &[], prepared.plan.made + 60)
                    .unwrap_or_else(|why| panic!("byte {at}: {why:?}"));
                same += 1;
            }
        }
    }
    assert!(told > same, "{told} were refused, {same} say the same");

    // The certificates of another case, under this plan.
    let other = forged(&key("case"));
    let said = read(&[PROGRAM, &other[begin..]].concat())
        .expect("sound")
        .expect("prepared");
    assert!(
        said.begin()
            .expect("a key")
            .0
            .public()
            .check_vouched(&[case.public()], &[], said.plan.made)
            .is_err()
    );
    // Another program in front of it.
    let said = read(&[b"another program", &file[begin..]].concat());
    assert!(
        said.err()
            .expect("refused")
            .contains("not the one that the plan was made for")
    );
}

#[test]
fn nothing_is_delivered_in_clear() {
    let in_clear = PreparedPlan {
        recipients: Vec::new(),
        ..plan()
    };
    let refused = forge(&Bytes(PROGRAM), in_clear.clone(), &key("case"), DAY);
    let said = refused.expect_err("anybody could read it").to_string();
    assert!(said.contains("not encrypted"), "{said}");
    let kept = PreparedPlan {
        delivery: None,
        ..in_clear
    };
    forge(&Bytes(PROGRAM), kept, &key("case"), DAY).expect("it stays where it is made");
}

/// Makes what the fuzz target patches; run it alone when the format has changed.
#[test]
#[ignore = "it writes to fuzz/seeds/scelle.plan"]
fn make_seeds() {
    let folder = std::path::Path::new("../../fuzz/seeds/scelle.plan");
    std::fs::create_dir_all(folder).expect("made");
    let case = key("case");
    let made = forge(&Bytes(PROGRAM), plan(), &case, 20 * 365 * DAY).expect("forged");
    let plan = serde_json::to_vec_pretty(&made.plan).expect("plain data");
    let secret = case.secret_text(None).expect("it has no password");
    for (name, bytes) in [
        ("prepared.bin", &[PROGRAM, &made.behind].concat()[..]),
        ("plan.json", &plan),
        ("case.key.asc", secret.as_bytes()),
    ] {
        std::fs::write(folder.join(name), bytes).expect("written");
    }
}

/// What the decoder's seed is has changed with the format, or it tries nothing.
#[test]
fn the_seed_that_is_fuzzed_is_sound() {
    let seed = include_bytes!("../../../fuzz/seeds/scelle.plan/prepared.bin");
    let read = Prepared::read(&Bytes(seed)).expect("sound");
    assert!(read.is_some());
}
