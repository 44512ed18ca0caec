//! What a plan takes, in which order, and what it says of the rest.

mod support;

use std::{collections::BTreeSet, ops::ControlFlow};

use scelle_engine::{Plan, Profile, Progress, Step, profile::Limits};
use scelle_event::{Coverage, Outcome};
use scelle_evidence::{Evidence, NamedTimes, StreamState, Times};
use support::{evidence, file, memory, path};

fn profile(targets: &str) -> Profile {
    let text = format!("name = \"test\"\nsummary = \"A test.\"\n{targets}");
    Profile::parse("test", &text).expect("a sound profile")
}

fn plan(evidence: &Evidence, profile: Profile, limits: Limits) -> Plan {
    Plan::new(evidence, profile, limits, &Progress::default())
}

/// Target and stream of all that is taken, and the ledger of the rest.
fn visit(plan: &Plan, evidence: &Evidence) -> (Vec<String>, Vec<Coverage>) {
    let (mut taken, mut left) = (Vec::new(), plan.coverage.clone());
    plan.visit(evidence, &mut |step| {
        match step {
            Step::Take(planned) => {
                let id = planned.id(evidence.volumes[planned.volume].as_ref());
                taken.push(format!(
                    "{} <- {}",
                    id.to_string().replace("ntfs-0123456789ABCDEF/", ""),
                    planned.target
                ));
            }
            Step::Leave(coverage) => left.push(coverage),
        }
        ControlFlow::Continue(())
    });
    (taken, left)
}

#[test]
fn profile_order_first_then_paths_and_each_stream_once() {
    let mut linked = file(7, "Users/b/alias.txt", b"linked");
    linked.0.names.push(NamedTimes {
        path: path("Windows/SYSTEM"),
        namespace: 0,
        times: Times::default(),
    });
    let mut deleted = file(8, "Windows/old.pf", b"gone");
    deleted.0.deleted = true;
    let evidence = evidence(memory(vec![
        file(1, "Users/a/notes.txt:Zone.Identifier", b"z"),
        file(2, "Windows/b.pf", b"bb"),
        file(3, "Windows/SYSTEM.LOG1", b"log"),
        file(4, "Windows/a.PF", b"a"),
        linked,
        deleted,
    ]));
    let plan = plan(
        &evidence,
        profile(
            r#"
            [[targets]]
            id = "hive"
            summary = ""
            paths = ["Windows/SYSTEM", "Windows/SOFTWARE"]
            siblings = [".LOG1"]
            [[targets]]
            id = "prefetch"
            summary = ""
            paths = ["Windows/*.pf", "**/a.pf"]
            [[targets]]
            id = "streams"
            summary = ""
            paths = ["**:*"]
            [[targets]]
            id = "secret"
            summary = ""
            paths = ["Windows/NTDS/"]
            opt_in = true
            "#,
        ),
        Limits::default(),
    );
    let (taken, left) = visit(&plan, &evidence);
    assert_eq!(
        taken,
        [
            "Users/b/alias.txt <- hive: Windows/SYSTEM",
            "Windows/SYSTEM.LOG1 <- hive: Windows/SYSTEM.LOG1",
            "Windows/a.PF <- prefetch: Windows/*.pf",
            "Windows/b.pf <- prefetch: Windows/*.pf",
            "Users/a/notes.txt:Zone.Identifier <- streams: **:*",
        ]
    );
    assert_eq!((plan.streams, plan.bytes), (5, 13));
    let left: Vec<_> = left
        .iter()
        .map(|line| (line.target.as_str(), line.outcome))
        .collect();
    assert_eq!(
        left,
        [
            ("secret: Windows/NTDS/", Outcome::Excluded),
            ("hive: Windows/SOFTWARE", Outcome::Absent),
            ("hive: Windows/SOFTWARE.LOG1", Outcome::Absent),
            ("prefetch: **/a.pf", Outcome::Collected),
        ]
    );
}

#[test]
fn limits_are_in_the_ledger() {
    let mut packed = file(4, "d.bin", b"packed");
    packed.0.streams[0].state = StreamState::Unsupported("LZNT1 compression");
    let mut holes = file(5, "e.bin", b"");
    holes.0.streams[0].size_bytes = 1 << 40;
    holes.0.streams[0].sparse = true;
    let evidence = evidence(memory(vec![
        file(1, "a.bin", &[0; 600]),
        file(2, "b.txt", &[0; 600]),
        file(3, "c.bin", &[0; 5000]),
        packed,
        holes,
    ]));
    let limits = Limits {
        max_file_bytes: Some(4096),
        max_total_bytes: Some(1000),
    };
    let plan = plan(
        &evidence,
        profile(
            r#"
            [[targets]]
            id = "text"
            summary = ""
            paths = ["*.txt"]
            [[targets]]
            id = "all"
            summary = ""
            paths = ["**"]
            "#,
        ),
        limits,
    );
    let (taken, left) = visit(&plan, &evidence);
    // The first target goes before the order of the walk; a hole costs nothing.
    assert_eq!(taken, ["b.txt <- text: *.txt", "e.bin <- all: **"]);
    let left: BTreeSet<_> = left
        .iter()
        .filter_map(|line| Some((line.path.as_deref()?.rsplit('/').next()?, line.outcome)))
        .collect();
    assert_eq!(
        left.into_iter().collect::<Vec<_>>(),
        [
            ("a.bin", Outcome::OverCap),
            ("c.bin", Outcome::OverCap),
            ("d.bin", Outcome::Unsupported),
        ]
    );
}

#[test]
fn many_streams_keep_the_order_of_the_walk_and_what_vanished_is_said() {
    const MANY: u64 = 20_000;
    let name = |number| format!("f{:05}", (number * 7919) % MANY);
    let files = |skip: u64| {
        (0..MANY)
            .filter(|number| *number != skip)
            .map(|number| file(number, &name(number), b""))
            .collect()
    };
    let before = evidence(memory(files(MANY)));
    let everything = Profile::load("everything").expect("built in");
    let plan = plan(&before, everything, Limits::default());
    let (taken, left) = visit(&plan, &before);
    assert_eq!(taken.len() as u64, MANY);
    assert!(taken[12].starts_with(&name(12)));
    let absent = left.iter().map(|line| line.target.as_str());
    let of_patterns = [
        "all-streams: **:*",
        "deleted-streams: **",
        "deleted-streams: **:*",
    ];
    assert!(absent.eq(of_patterns), "{left:?}");

    let after = evidence(memory(files(777)));
    let (taken, left) = visit(&plan, &after);
    assert_eq!(taken.len() as u64, MANY - 1);
    assert!(taken[777].starts_with(&name(778)));
    let gone = left.iter().filter(|line| {
        line.detail
            .as_deref()
            .is_some_and(|detail| detail.contains("is gone"))
    });
    assert_eq!(gone.count(), 1);
}

/// Links cost nobody much, and their names would fill the memory of whoever holds them all.
#[test]
fn entries_of_many_long_names_are_not_all_held() {
    const FILES: u64 = 80;
    let long = format!("Users/{}", "x".repeat(1 << 20));
    let files = (0..FILES).map(|number| {
        let mut file = file(number, &format!("Users/{:02}.txt", FILES - number), b"x");
        file.0.names.push(NamedTimes {
            path: path(&long),
            namespace: 0,
            times: Times::default(),
        });
        file
    });
    let evidence = evidence(memory(files.collect()));
    let targets = "[[targets]]\nid = \"users\"\nsummary = \"\"\npaths = [\"Users/*.txt\"]\n";
    let plan = plan(&evidence, profile(targets), Limits::default());
    let (taken, left) = visit(&plan, &evidence);
    assert_eq!(left, []);
    let all: BTreeSet<&String> = taken.iter().collect();
    assert_eq!((taken.len() as u64, all.len() as u64), (FILES, FILES));
    // The first by its path stands last: what came before it was let go.
    assert!(!taken[0].starts_with("Users/01.txt"), "{}", taken[0]);
}
