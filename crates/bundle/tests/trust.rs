//! Who vouches: from a run's key over a deployment's to the case's, and what ends that.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use common::{PLAN_DATE, item, options, write_with};
use scelle_bundle::{
    Certificate, Deployment, SealKey, Terms, Verdict, Verification, VerifyOptions, verify,
};
use scelle_formats::Bytes;
use scelle_testkit::{has_tool, run_tool};

const DAY: u32 = 86_400;
const INTRODUCER: Terms = Terms {
    lasts_seconds: Some(DAY),
    levels: 1,
};

fn key(user: &str) -> SealKey {
    SealKey::generate(user, PLAN_DATE).expect("a key")
}

/// A deployment's key that the case's vouches for.
fn deployment(case: &SealKey, terms: &Terms) -> SealKey {
    let deployment = key("deployment 7 <cert@example.org>");
    let certified = case
        .certify(&deployment.public(), terms)
        .expect("certified");
    deployment.with_certificate(certified).expect("its own")
}

/// A bundle by a run's key, made at `created`, that the deployment's vouches for.
fn sealed_by(deployment: &SealKey, created: u32) -> Vec<u8> {
    let mut options = options("chain");
    let run = SealKey::generate("run", created).expect("a key");
    options.key = run.certified_by(deployment).expect("certified");
    write_with(options, &[item(b"a", b"evidence".to_vec())]).1
}

fn ask(archive: &[u8], trust: &[Certificate], revocations: &[Certificate]) -> Verification {
    let options = VerifyOptions {
        trust: trust.to_vec(),
        revocations: revocations.to_vec(),
        ..VerifyOptions::default()
    };
    verify(&Bytes(archive), &options).expect("an answer")
}

/// Checks that nobody vouches, and that a reason is told.
fn unknown(answer: &Verification, reason: &str) {
    assert_eq!(answer.verdict, Verdict::SignerUnknown, "{answer:?}");
    assert!(answer.vouched_by.is_empty() && answer.through.is_empty());
    let told = answer.problems.iter().any(|one| one.what.contains(reason));
    assert!(told, "{reason:?} is not told: {:?}", answer.problems);
}

fn now() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs() as u32
}

#[test]
fn a_case_vouches_for_the_runs_of_its_deployments() {
    let case = key("case 42");
    let deployment = deployment(&case, &INTRODUCER);
    let archive = sealed_by(&deployment, PLAN_DATE);
    let answer = ask(&archive, &[case.public()], &[]);
    assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
    assert_eq!(answer.vouched_by, [case.fingerprint()]);
    assert_eq!(answer.through.len(), 1);
    assert_eq!(answer.through[0].fingerprint, deployment.fingerprint());
    assert!(answer.signed_at.expect("said") >= PLAN_DATE);

    // Who trusts the deployment asks for no case.
    let answer = ask(&archive, &[deployment.public()], &[]);
    assert_eq!(answer.vouched_by, [deployment.fingerprint()]);
    assert!(answer.through.is_empty());

    let nobody = ask(&archive, &[], &[]);
    assert_eq!(nobody.verdict, Verdict::SignerUnknown);
    unknown(
        &ask(&archive, &[key("case 42").public()], &[]),
        "none of the trusted",
    );
}

/// All four steps: run, deployment, case, team.
#[test]
fn a_team_vouches_through_its_cases() {
    let team = key("team");
    // A level of 1 reaches the runs of a deployment, and not the deployments of a case.
    for levels in [1, 2] {
        let terms = Terms {
            levels,
            ..INTRODUCER
        };
        let case = key("case");
        let certified = team.certify(&case.public(), &terms).expect("certified");
        let case = case.with_certificate(certified).expect("its own");
        // The case's certificate travels behind the deployment's.
        let deployment = deployment(&case, &INTRODUCER).vouched_by(&case.public());
        let archive = sealed_by(&deployment, PLAN_DATE);
        let answer = ask(&archive, &[team.public()], &[]);
        if levels == 1 {
            unknown(&answer, "does not let it vouch");
        } else {
            assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
            assert_eq!(answer.vouched_by, [team.fingerprint()]);
            let through = answer.through.iter().map(|one| &one.fingerprint);
            let steps = [deployment.fingerprint(), case.fingerprint()];
            assert!(through.eq(&steps), "{:?}", answer.through);
        }
        let answer = ask(&archive, &[case.public()], &[]);
        assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
    }
}

#[test]
fn a_plain_certification_lets_nobody_vouch_for_others() {
    let case = key("case");
    let terms = Terms {
        levels: 0,
        ..INTRODUCER
    };
    let archive = sealed_by(&deployment(&case, &terms), PLAN_DATE);
    unknown(
        &ask(&archive, &[case.public()], &[]),
        "does not let it vouch",
    );

    // It does for who seals with the key itself.
    let mut options = options("own");
    options.key = deployment(&case, &terms);
    let (_, archive) = write_with(options, &[item(b"a", b"b".to_vec())]);
    let answer = ask(&archive, &[case.public()], &[]);
    assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
}

#[test]
fn a_seal_outside_the_stated_time_is_vouched_for_by_nobody() {
    let case = key("case");
    // The clock of the host is two days fast: so the run says, and nobody can tell better.
    let archive = sealed_by(&deployment(&case, &INTRODUCER), now() + 2 * DAY);
    unknown(&ask(&archive, &[case.public()], &[]), "held until");

    let short = Terms {
        lasts_seconds: Some(1),
        levels: 1,
    };
    let deployment = deployment(&case, &short);
    sleep(Duration::from_millis(2100));
    let late = sealed_by(&deployment, PLAN_DATE);
    unknown(&ask(&late, &[case.public()], &[]), "held until");
}

#[test]
fn a_host_whose_clock_is_slow_seals_at_the_date_of_the_plan() {
    let case = key("case");
    let plan = now() + DAY / 2;
    // All of it is made half a day before the plan's date: so it is on a host with a slow clock.
    let deployment = SealKey::generate("deployment", plan).expect("a key");
    let certified = case
        .certify(&deployment.public(), &INTRODUCER)
        .expect("certified");
    let archive = sealed_by(
        &deployment.with_certificate(certified).expect("its own"),
        plan,
    );
    let answer = ask(&archive, &[case.public()], &[]);
    assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
    assert_eq!(answer.signed_at, Some(plan));
}

#[test]
fn what_is_taken_back_vouches_no_more() {
    let case = key("case");
    let deployment = deployment(&case, &INTRODUCER);
    let archive = sealed_by(&deployment, PLAN_DATE);
    let revoked = case.revoke(&deployment.public()).expect("revoked");
    unknown(
        &ask(&archive, &[case.public()], std::slice::from_ref(&revoked)),
        "is revoked since",
    );
    // One who is not the case takes nothing back.
    let other = key("case").revoke(&deployment.public()).expect("revoked");
    let answer = ask(&archive, &[case.public()], &[other]);
    assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
    // Nor does what stands in a revocation vouch for anybody.
    unknown(
        &ask(&archive, &[key("x").public()], &[case.public()]),
        "none",
    );

    // A deployment that the case only ever took back: that is no certification.
    let never = key("deployment");
    let taken = case.revoke(&never.public()).expect("revoked");
    let archive = sealed_by(&never.with_certificate(taken).expect("its own"), PLAN_DATE);
    unknown(&ask(&archive, &[case.public()], &[]), "none of the trusted");
}

/// A home of GnuPG whose agent ends with it.
struct Home(PathBuf);

impl Home {
    fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        fs::create_dir(&path).expect("made");
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("ok");
        Self(path)
    }

    /// What it prints, both ways; whatever its exit status.
    fn gpg(&self, arguments: &[&str], input: &str) -> String {
        use std::io::Write as _;
        let mut child = Command::new("gpg")
            .args(["--batch", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(arguments)
            .env("GNUPGHOME", &self.0)
            .env("LC_ALL", "C.UTF-8")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("gpg starts");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input.as_bytes())
            .expect("taken");
        let output = child.wait_with_output().expect("it ends");
        [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .join("\n")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let ended = Command::new("gpgconf")
            .args(["--kill", "all"])
            .env("GNUPGHOME", &self.0)
            .status();
        if let Err(error) = ended {
            eprintln!("gpg-agent is left behind: {error}");
        }
    }
}

/// The tag manifest, its signature and the certificates of an archive, as files.
fn unpack(archive: &[u8], folder: &Path) -> [String; 3] {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(archive)).expect("an archive");
    let names: Vec<String> = zip
        .file_names()
        .map(|name| name.expect("text").into_owned())
        .collect();
    [
        "tagmanifest-sha256.txt",
        "signatures/",
        "records/signer.cert.asc",
    ]
    .map(|wanted| {
        let name = names
            .iter()
            .find(|name| name.contains(wanted))
            .expect("there");
        let path = folder.join(wanted.replace('/', "-"));
        let mut out = fs::File::create(&path).expect("made");
        std::io::copy(&mut zip.by_name(name).expect("there"), &mut out).expect("copied");
        path.to_str().expect("Unicode").to_owned()
    })
}

#[test]
fn gnupg_follows_the_chain_that_is_made_here() {
    if !has_tool("gpg", "what GnuPG says of a chain") {
        return;
    }
    let case = key("case 42");
    let deployment = deployment(&case, &INTRODUCER);
    let archive = sealed_by(&deployment, PLAN_DATE);
    let folder = tempfile::tempdir().expect("a folder");
    let [manifest, signature, certificates] = unpack(&archive, folder.path());
    let home = Home::new(folder.path(), "gnupg");
    home.gpg(&["--import"], &case.certificate().expect("text"));
    home.gpg(&["--import", &certificates], "");
    home.gpg(
        &["--import-ownertrust"],
        &format!("{}:6:\n", case.fingerprint()),
    );
    let checked = home.gpg(&["--with-colons", "--check-sigs"], "");
    let good = checked
        .lines()
        .filter(|line| line.starts_with("sig:!:"))
        .count();
    // Three of their own, the case's of the deployment, the deployment's of the run.
    assert_eq!(good, 5, "{checked}");
    let verified = home.gpg(
        &[
            "--status-fd",
            "1",
            "--trust-model",
            "pgp",
            "--verify",
            &signature,
            &manifest,
        ],
        "",
    );
    assert!(verified.contains("TRUST_FULLY"), "{verified}");

    // What the case takes back, GnuPG takes back.
    let revoked = case.revoke(&deployment.public()).expect("revoked");
    home.gpg(&["--import"], &revoked.armoured().expect("text"));
    let verified = home.gpg(
        &[
            "--status-fd",
            "1",
            "--trust-model",
            "pgp",
            "--verify",
            &signature,
            &manifest,
        ],
        "",
    );
    assert!(verified.contains("TRUST_UNDEFINED"), "{verified}");
}

#[test]
fn certifications_and_revocations_of_gnupg_are_followed() {
    if !has_tool("gpg", "a chain that GnuPG makes") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path(), "gnupg");
    let made = home.gpg(
        &[
            "--quick-gen-key",
            "case of gpg",
            "ed25519",
            "default",
            "never",
        ],
        "",
    );
    let export = |user: &str| {
        let text = home.gpg(&["--armor", "--export", user], "");
        Certificate::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {made} {text}"))
    };
    let case = export("case of gpg");
    let deployment = key("deployment");
    home.gpg(&["--import"], &deployment.certificate().expect("text"));
    let fingerprint = deployment.fingerprint();

    // A plain one is enough for who seals with the key itself.
    let said = home.gpg(&["--yes", "--quick-sign-key", &fingerprint], "");
    let certified = deployment
        .clone()
        .with_certificate(export(&fingerprint))
        .expect("its own");
    let mut plain = options("plain");
    plain.key = certified.clone();
    let (_, own) = write_with(plain, &[item(b"a", b"b".to_vec())]);
    let answer = ask(&own, std::slice::from_ref(&case), &[]);
    assert_eq!(
        answer.verdict,
        Verdict::Sealed,
        "{:?} {said}",
        answer.problems
    );
    let run = sealed_by(&certified, PLAN_DATE);
    unknown(
        &ask(&run, std::slice::from_ref(&case), &[]),
        "does not let it vouch",
    );

    // A trust signature of full amount and level 1 lets it vouch for its runs. Two of one second
    // could not be told apart.
    sleep(Duration::from_millis(1100));
    let said = home.gpg(
        &[
            "--command-fd",
            "0",
            "--status-fd",
            "2",
            "--expert",
            "--edit-key",
            &fingerprint,
        ],
        "tsign\ny\n2\n1\n\ny\nsave\n",
    );
    let certified = deployment
        .with_certificate(export(&fingerprint))
        .expect("its own");
    let run = sealed_by(&certified, PLAN_DATE);
    let answer = ask(&run, std::slice::from_ref(&case), &[]);
    assert_eq!(
        answer.verdict,
        Verdict::Sealed,
        "{:?} {said}",
        answer.problems
    );
    assert_eq!(answer.through[0].fingerprint, fingerprint);

    // The case's key itself is revoked, and GnuPG has made that revocation with the key.
    let revocations = home.0.join("openpgp-revocs.d");
    let file = fs::read_dir(revocations)
        .expect("made")
        .next()
        .expect("one")
        .expect("readable");
    let text = fs::read_to_string(file.path()).expect("text");
    home.gpg(&["--import"], &text.replace(":-----BEGIN", "-----BEGIN"));
    let revoked = export("case of gpg");
    unknown(
        &ask(&run, std::slice::from_ref(&revoked), &[]),
        "is revoked since",
    );
    unknown(&ask(&run, &[case], &[revoked]), "is revoked since");
}

#[test]
fn certifications_of_sequoia_are_followed() {
    if !has_tool("sq", "a chain that Sequoia makes") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| {
        folder
            .path()
            .join(name)
            .to_str()
            .expect("Unicode")
            .to_owned()
    };
    let deployment = key("deployment");
    fs::write(
        at("deployment.asc"),
        deployment.certificate().expect("text"),
    )
    .expect("written");
    let sq = |arguments: &[&str]| run_tool(folder.path(), "sq", arguments);
    sq(&[
        "key",
        "generate",
        "--userid",
        "case of sq",
        "--export",
        "case.key",
    ]);
    let case = sq(&["key", "extract-cert", "case.key"]);
    let certify = |more: &[&str]| {
        let rest = ["case.key", "deployment.asc", "deployment"];
        let text = sq(&[&["certify"], more, &rest].concat());
        let certificate = Certificate::read(text.as_bytes()).expect("certified");
        sealed_by(
            &deployment
                .clone()
                .with_certificate(certificate)
                .expect("its own"),
            PLAN_DATE,
        )
    };
    let case = Certificate::read(case.as_bytes()).expect("a certificate");
    let trust = std::slice::from_ref(&case);
    let full = certify(&["--depth", "1", "--amount", "120", "--expires-in", "1d"]);
    let answer = ask(&full, trust, &[]);
    assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
    for (more, reason) in [
        (
            &["--depth", "0", "--amount", "120"][..],
            "does not let it vouch",
        ),
        (&["--depth", "1", "--amount", "60"], "does not let it vouch"),
        (
            &[
                "--depth",
                "1",
                "--amount",
                "120",
                "--regex",
                "<[^>]+[@.]x[.]org>$",
            ],
            "not",
        ),
        (&["--depth", "1", "--notation", "a@x.org", "b"], ""),
    ] {
        let answer = ask(&certify(more), trust, &[]);
        if reason.is_empty() {
            // A notation that is not critical changes nothing.
            assert_eq!(answer.verdict, Verdict::Sealed, "{:?}", answer.problems);
        } else {
            unknown(&answer, reason);
        }
    }
    // What is certified here reads well there.
    let own = key("case")
        .certify(&deployment.public(), &INTRODUCER)
        .expect("certified");
    fs::write(at("own.asc"), own.armoured().expect("text")).expect("written");
    let shown = sq(&["inspect", "--certifications", "own.asc"]);
    for word in ["Trust depth: 1", "Trust amount: 120", "(after 1 day)"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

/// A run's number is that of its key: whoever holds a prepared collector can't take another run's.
#[test]
fn the_number_of_a_run_is_its_keys() {
    for other in [0, 1] {
        let mut options = options("numbered");
        let mut said = Deployment::of_run(7, &options.key.fingerprint());
        said.run ^= other;
        options.collection.deployment = Some(said);
        let archive = write_with(options, &[item(b"a", b"evidence".to_vec())]).1;
        let answer = ask(&archive, &[], &[]);
        let is_broken = answer.verdict == Verdict::Broken;
        assert_eq!(is_broken, other == 1, "{:?}", answer.problems);
    }
}
