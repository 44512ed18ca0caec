//! The programs as their users run them.

#![allow(dead_code, reason = "each test program uses some of these")]

pub(crate) mod forged;

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use scelle_testkit::ReaderKey;
use serde_json::Value;

/// The workstation.
pub(crate) fn scelle() -> Command {
    program("scelle")
}

/// The collector.
pub(crate) fn collector() -> Command {
    program("scelle-collector")
}

/// A program that the workspace's build put beside this test.
fn program(name: &str) -> Command {
    let test = env::current_exe().expect("a test knows where it is");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps");
    let path = folder.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is not built: run `cargo test --workspace`",
        path.display()
    );
    let mut command = Command::new(path);
    command.env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8");
    for (name, _) in env::vars_os() {
        // Whoever runs the test may have stores, proxies, keys and an agent of their own.
        let upper = name.to_string_lossy().to_ascii_uppercase();
        let is_own = ["AWS_", "SCELLE_", "SSH_"]
            .iter()
            .any(|own| upper.starts_with(own));
        if is_own || upper.ends_with("_PROXY") {
            command.env_remove(&name);
        }
    }
    command
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).expect("text")
    }

    /// Standard output as one JSON value.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.text(), self.err))
    }

    /// Standard output as JSON Lines.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.text();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    /// The same, after checking the exit status.
    pub(crate) fn ended(self, status: i32) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}\n{}",
            String::from_utf8_lossy(&self.out),
            self.err
        );
        assert!(!self.err.contains("panicked"), "{}", self.err);
        assert!(!self.err.contains("internal error"), "{}", self.err);
        self
    }
}

/// A program that was just written may be open still in a child that another test is about to start.
fn output(command: &mut Command) -> Output {
    loop {
        match command.output() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                thread::sleep(Duration::from_millis(10));
            }
            output => return output.expect("it starts"),
        }
    }
}

/// Runs a command with arguments.
pub(crate) fn run<A: AsRef<OsStr>>(
    mut command: Command,
    arguments: impl IntoIterator<Item = A>,
) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = output(command.args(arguments));
    Ran {
        status: status.code().unwrap_or(-1),
        out: stdout,
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Runs `scelle` with arguments.
pub(crate) fn run_scelle<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ran {
    run(scelle(), arguments)
}

/// A Recycle Bin index file of Windows 10.
pub(crate) fn recycled(path: &str) -> Vec<u8> {
    let units: Vec<u16> = path.encode_utf16().chain([0]).collect();
    let mut bytes = 2u64.to_le_bytes().to_vec();
    bytes.extend(99u64.to_le_bytes());
    bytes.extend(132_000_000_000_000_000u64.to_le_bytes());
    bytes.extend((units.len() as u32).to_le_bytes());
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes
}

/// A folder that looks like a small Windows volume.
pub(crate) fn windows_folder(root: &Path) {
    for (path, bytes) in [
        ("Windows/System32/config/SYSTEM", vec![b'S'; 70_000]),
        ("Windows/System32/config/SYSTEM.LOG1", vec![b'L'; 5_000]),
        ("Windows/Prefetch/CMD.EXE-087B4001.pf", vec![b'P'; 900]),
        (
            "Windows/System32/drivers/etc/hosts",
            b"127.0.0.1 localhost\n".to_vec(),
        ),
        (
            "$Recycle.Bin/S-1-5-21-1/$IABCDEF.txt",
            recycled("C:\\Users\\ana\\secret.txt"),
        ),
        ("Users/ana/NTUSER.DAT", vec![b'N'; 40_000]),
        ("Users/ana/holiday.jpg", vec![b'J'; 30_000]),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

/// Every file of a folder, relative, sorted.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(folder).expect("below");
                found.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// A path as text.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("Unicode").to_owned()
}

/// The only file of a folder with that ending.
pub(crate) fn only(folder: &Path, ending: &str) -> PathBuf {
    let found: Vec<_> = files(folder)
        .into_iter()
        .filter(|name| name.ends_with(ending))
        .collect();
    assert_eq!(found.len(), 1, "{ending}: {found:?}");
    folder.join(&found[0])
}

/// A recipient's key, and what the commands take of it.
pub(crate) struct Reader {
    /// Whether GnuPG made it and has it; else it is a key whose owner reads the newer encryption (SEIPD v2), which
    /// GnuPG does not.
    pub(crate) is_of_gpg: bool,
    pub(crate) home: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) secret: PathBuf,
    pub(crate) fingerprint: String,
}

impl Reader {
    /// `None`, with a line that says so, where GnuPG is not installed.
    pub(crate) fn make(folder: &Path) -> Option<Self> {
        if Command::new("gpg").arg("--version").output().is_err() {
            assert!(
                env::var_os("SCELLE_REQUIRE_TOOLS").is_none(),
                "gpg is not installed"
            );
            eprintln!("SKIPPED: gpg is not installed, so there is no key");
            return None;
        }
        let home = folder.join("gnupg");
        fs::create_dir(&home).expect("made");
        let mut reader = Self {
            is_of_gpg: true,
            certificate: folder.join("cert.asc"),
            secret: folder.join("secret.asc"),
            fingerprint: String::new(),
            home,
        };
        let user = "reader@example.org";
        reader.gpg(&[
            "--quick-gen-key",
            user,
            "future-default",
            "default",
            "never",
        ]);
        let listed = reader.gpg(&["--with-colons", "--fingerprint", user]);
        let line = listed.lines().find(|line| line.starts_with("fpr:"));
        let fingerprint = line.and_then(|line| line.split(':').nth(9));
        let fingerprint = fingerprint.expect("a fingerprint").to_owned();
        fs::write(
            &reader.certificate,
            reader.gpg(&["--armor", "--export", user]),
        )
        .expect("ok");
        let secret = reader.gpg(&["--armor", "--export-secret-keys", user]);
        fs::write(&reader.secret, secret).expect("written");
        reader.fingerprint = fingerprint;
        Some(reader)
    }

    /// Of whoever reads the newer encryption, SEIPD v2.
    pub(crate) fn newer(folder: &Path) -> Self {
        let key = ReaderKey::make(true);
        let reader = Self {
            is_of_gpg: false,
            certificate: folder.join("newer.cert.asc"),
            secret: folder.join("newer.secret.asc"),
            fingerprint: key.fingerprint,
            home: folder.join("no-gnupg"),
        };
        fs::create_dir(&reader.home).expect("made");
        fs::write(&reader.certificate, key.certificate).expect("written");
        fs::write(&reader.secret, key.secret).expect("written");
        reader
    }

    /// The version of encrypted data that is made for it.
    pub(crate) fn data_version(&self) -> u8 {
        if self.is_of_gpg { 1 } else { 2 }
    }

    pub(crate) fn gpg(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--pinentry-mode", "loopback", "--passphrase", ""]);
        let output = command
            .env("GNUPGHOME", &self.home)
            .args(arguments)
            .output()
            .expect("gpg is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What is in a message. Its signature is by a run's key, which GnuPG does not know here, and
    /// says so in its exit status.
    pub(crate) fn decrypt(&self, path: &Path) -> String {
        let output = Command::new("gpg")
            .env("GNUPGHOME", &self.home)
            .args(["--batch", "--status-fd", "2", "--decrypt"])
            .arg(path)
            .output()
            .expect("gpg is there");
        let said = String::from_utf8_lossy(&output.stderr);
        for word in ["DECRYPTION_OKAY", "GOODMDC", "NO_PUBKEY"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) fn recipient(&self) -> [String; 4] {
        [
            "--recipient".into(),
            text(&self.certificate),
            "--fingerprint".into(),
            self.fingerprint.clone(),
        ]
    }
}

/// The version of the encrypted data in a message for one reader (RFC 9580, 4.2.1 and 5.13): behind the session-key packet,
/// which has a length of one byte, stand the data's tag, its length, and its version.
pub(crate) fn data_version(message: &[u8]) -> u8 {
    let data = 2 + usize::from(message[1]);
    assert_eq!((message[0], message[data]), (0xC1, 0xD2));
    let length_bytes = match message[data + 1] {
        192..=223 => 2,
        255 => 5,
        _ => 1,
    };
    message[data + 1 + length_bytes]
}
