//! Other people's programs open an encrypted bundle: `gpg` (2.2) and `sq` the older kind,
//! `pysequoia` the newer.
//!
//! A tool that is not installed is passed over with a line, unless `SCELLE_REQUIRE_TOOLS` is set.
#![cfg(unix)]

mod common;

use std::{
    fs,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use common::{
    certificates::{Reads, armoured, decrypt_key, recipient, secret},
    encrypted::encrypt,
    item, noise, options,
};
use scelle_bundle::{
    Ciphertext, Compression, Recipient, SessionKey, Verdict, VerifyOptions, verify_encrypted,
};
use scelle_formats::{Bytes, ReadAtExt as _};
use scelle_testkit::has_tool;

/// What is not checked where one is missing.
const WHAT: &str = "that it opens what is encrypted here";

/// What a command prints, and whether it was content.
fn run(command: &mut Command, input: &[u8]) -> (bool, Vec<u8>, String) {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(input).expect("written");
    file.rewind().expect("a file");
    let output = command
        .stdin(Stdio::from(file))
        .output()
        .expect("the tool is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), output.stdout, said)
}

/// A bundle with checkpoints, of one recipient, and its archive.
struct Made {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    archive: Vec<u8>,
    secret: PathBuf,
    signer: PathBuf,
}

fn make(reads: Reads) -> Made {
    let secret = secret("Reader <reader@example.org>", reads, None);
    let mut plan = options("tools");
    plan.compression = Compression::Store;
    plan.checkpoint_bytes = 150_000;
    let certificate = plan.key.certificate().expect("text");
    let items: Vec<_> = (0..30)
        .map(|number| item(format!("f{number}").as_bytes(), noise(number, 40_001)))
        .collect();
    let (_, bytes, key) = encrypt(plan, &items, &[recipient(&secret)]);
    let archive = Ciphertext::open(Arc::new(Bytes(bytes.clone())))
        .and_then(|ciphertext| ciphertext.decrypt(&key))
        .expect("own")
        .read_range(0..u64::MAX, usize::MAX)
        .expect("own");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("written");
        path
    };
    write("case.scelle.zip.pgp", &bytes);
    Made {
        secret: write("secret.asc", armoured(&secret).as_bytes()),
        signer: write("signer.asc", certificate.as_bytes()),
        folder,
        bytes,
        archive,
    }
}

fn gpg(home: &Path) -> Command {
    let mut command = Command::new("gpg");
    command.args(["--batch", "--homedir"]).arg(home);
    command.args(["--trust-model", "always"]);
    command
}

/// A home of GnuPG whose agent ends with it.
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        command.env("GNUPGHOME", &self.0).args(["--kill", "all"]);
        if let Err(error) = command.output() {
            eprintln!("an agent may be left: {error}");
        }
    }
}

#[test]
fn gpg_decrypts_and_checks_the_older_kind() {
    if !has_tool("gpg", WHAT) {
        return;
    }
    let made = make(Reads::VersionOne);
    let home = made.folder.path().join("home");
    fs::create_dir(&home).expect("made");
    let _agent = Home(home.clone());
    for key in [&made.secret, &made.signer] {
        let (ok, _, said) = run(gpg(&home).arg("--import").arg(key), b"");
        assert!(ok, "{said}");
    }
    let mut command = gpg(&home);
    command.args(["--status-fd", "2", "--decrypt"]);
    let (ok, plain, said) = run(&mut command, &made.bytes);
    assert!(ok, "{said}");
    assert!(plain == made.archive, "the archive comes out");
    for word in ["DECRYPTION_OKAY", "GOODMDC", "GOODSIG"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // What was altered is refused there too.
    let mut altered = made.bytes.clone();
    let at = altered.len() / 2;
    altered[at] ^= 1;
    let mut command = gpg(&home);
    let (ok, _, _) = run(command.arg("--decrypt"), &altered);
    assert!(!ok, "gpg would take anything");

    // The session key that gpg shows opens the bundle: this is how its agent is asked.
    let ciphertext = Ciphertext::open(Arc::new(Bytes(made.bytes.clone()))).expect("own");
    let mut command = gpg(&home);
    command.args(["--status-fd", "2", "--show-session-key", "--decrypt", "-"]);
    let (_, _, said) = run(&mut command, &ciphertext.head_message().expect("own"));
    let shown = said
        .lines()
        .find_map(|line| line.strip_prefix("[GNUPG:] SESSION_KEY "))
        .unwrap_or_else(|| panic!("no session key: {said}"));
    let key = SessionKey::parse(shown).expect("gpg's form");
    let answer = verify_encrypted(&ciphertext, &key, &VerifyOptions::default());
    let answer = answer.expect("it can be checked");
    assert_eq!(
        answer.verdict,
        Verdict::SignerUnknown,
        "{:?}",
        answer.problems
    );
}

/// Certificates that GnuPG makes are taken, and refused, as GnuPG would.
#[test]
fn certificates_of_gpg_are_understood() {
    if !has_tool("gpg", WHAT) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path();
    let _agent = Home(home.to_owned());
    let ask = |arguments: &[&str]| {
        let mut command = gpg(home);
        command.args(["--pinentry-mode", "loopback", "--passphrase", ""]);
        let (ok, out, said) = run(command.args(arguments), b"");
        assert!(ok, "{arguments:?}: {said}");
        String::from_utf8(out).expect("text")
    };
    let fingerprint = |user: &str| {
        let listed = ask(&["--with-colons", "--fingerprint", user]);
        let line = listed.lines().find(|line| line.starts_with("fpr:"));
        line.and_then(|line| line.split(':').nth(9))
            .expect("a fingerprint")
            .to_owned()
    };
    let read = |user: &str| {
        let text = ask(&["--armor", "--export", user]);
        Recipient::read(text.as_bytes(), &fingerprint(user), common::PLAN_DATE)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    for (user, algorithm, expires) in [
        ("modern@example.org", "future-default", "1y"),
        ("rsa@example.org", "rsa2048", "never"),
    ] {
        ask(&["--quick-gen-key", user, algorithm, "default", expires]);
        if algorithm == "rsa2048" {
            // Without a subkey so far: it can sign, and that is all.
            let error = read(user).err();
            if error.is_some() {
                ask(&["--quick-add-key", &fingerprint(user), "rsa2048", "encr"]);
            }
        }
        read(user).unwrap_or_else(|error| panic!("{user}: {error}"));
    }
    ask(&[
        "--faked-system-time",
        "20260110T000000!",
        "--quick-gen-key",
        "old@example.org",
        "future-default",
        "default",
        "20260120T000000",
    ]);
    let error = read("old@example.org").expect_err("it is over");
    assert!(error.contains("expired since 2026-01-20"), "{error}");
    let name = fingerprint("modern@example.org");
    let revocation = fs::read_to_string(home.join(format!("openpgp-revocs.d/{name}.rev")))
        .expect("gpg prepares one")
        .replace(":-----BEGIN", "-----BEGIN");
    let path = home.join("revocation.asc");
    fs::write(&path, revocation).expect("written");
    ask(&["--import", &path.display().to_string()]);
    let error = read("modern@example.org").expect_err("revoked");
    assert!(error.contains("is revoked"), "{error}");
}

#[test]
fn sq_decrypts_and_checks_the_older_kind() {
    if !has_tool("sq", WHAT) {
        return;
    }
    let made = make(Reads::VersionOne);
    let out = made.folder.path().join("plain.zip");
    let mut command = Command::new("sq");
    command
        .arg("decrypt")
        .arg("--recipient-key")
        .arg(&made.secret);
    command.arg("--signer-cert").arg(&made.signer);
    command.arg("--output").arg(&out);
    command.arg(made.folder.path().join("case.scelle.zip.pgp"));
    let (ok, _, said) = run(&mut command, b"");
    assert!(ok, "{said}");
    assert!(said.contains("1 good signature"), "{said}");
    assert!(fs::read(&out).expect("written") == made.archive);
}

#[test]
fn pysequoia_decrypts_and_checks_the_newer_kind() {
    const SCRIPT: &str = r#"
import sys
from pysequoia import Cert, Tsk, decrypt
folder = sys.argv[1] + "/"
receiver = Tsk.from_file(folder + "secret.asc")
signer = Cert.from_file(folder + "signer.asc")
message = open(folder + "case.scelle.zip.pgp", "rb").read()
plain = decrypt(decryptor=receiver.decryptor(), bytes=message, store=lambda ids: [signer])
assert [str(one.certificate).upper() for one in plain.valid_sigs] == [str(signer.fingerprint).upper()], plain.valid_sigs
open(folder + "plain.zip", "wb").write(plain.bytes)
"#;
    if !has_tool("pysequoia-python", WHAT) {
        return;
    }
    for reads in [Reads::VersionTwo, Reads::VersionOne] {
        let made = make(reads);
        let folder = made.folder.path();
        let mut command = Command::new("pysequoia-python");
        let (ok, _, said) = run(command.arg("-c").arg(SCRIPT).arg(folder), b"");
        assert!(ok, "{reads:?}: {said}");
        let plain = fs::read(folder.join("plain.zip")).expect("written");
        assert!(plain == made.archive, "{reads:?}");
    }
}

/// A key that another program's user would have is read here too.
#[test]
fn a_bundle_opens_with_the_key_that_the_tools_use() {
    let made = make(Reads::VersionOne);
    let text = fs::read(&made.secret).expect("written");
    let key = scelle_bundle::DecryptKey::read(&text, None).expect("sound");
    let ciphertext = Ciphertext::open(Arc::new(Bytes(made.bytes.clone()))).expect("own");
    let session = ciphertext.session_key(&key).expect("it is for them");
    let archive = ciphertext.decrypt(&session).expect("unaltered");
    let read = archive.read_range(0..u64::MAX, usize::MAX).expect("there");
    assert!(read == made.archive);
    let other = decrypt_key(&secret("other", Reads::VersionOne, None));
    assert!(ciphertext.session_key(&other).is_err());
}
