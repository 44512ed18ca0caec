//! A server that speaks SFTP on this machine: OpenSSH's.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{has_tool, run_tool};

/// The kinds of keys that it has, in the order in which clients usually like them.
const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// The password that is taken where one is.
const PASSWORD: &str = "correct horse";
/// What makes SFTP odd.
const ODD_SFTP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/odd_sftp.py");
/// Times that another port is tried where somebody else was faster.
const TRIES: usize = 10;

/// How the server differs from a usual one.
#[derive(Clone, Copy, Debug, Default)]
pub struct SshOptions {
    /// Requests of SFTP that it denies, as `sftp-server -P` takes them: `read,stat`.
    pub denies: &'static str,
    /// Whether it takes the user's password, and no key.
    pub takes_password: bool,
    /// In what way its SFTP is odd; then it denies nothing.
    pub odd: Option<Oddity>,
}

/// How SFTP may be odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// A rename replaces a file that is there.
    Overwrites,
    /// No answer says how large a file is.
    Sizeless,
    /// The session ends at the first question for a file after a rename, once.
    CutAtEnd,
}

impl Oddity {
    fn name(self) -> &'static str {
        match self {
            Self::Overwrites => "overwrites",
            Self::Sizeless => "sizeless",
            Self::CutAtEnd => "cut-at-end",
        }
    }
}

/// A server whose only user is whoever runs the test, with a key of its own.
pub struct SshServer {
    server: Child,
    address: SocketAddr,
    folder: PathBuf,
    /// The user.
    pub user: String,
}

impl SshServer {
    /// Starts it, with its keys in a folder; `None`, with a line that says so, where OpenSSH is not installed.
    pub fn start(folder: &Path) -> Option<Self> {
        Self::start_with(folder, SshOptions::default())
    }

    /// The same, for a server that is not a usual one. Only who may mount has one that takes passwords.
    pub fn start_with(folder: &Path, options: SshOptions) -> Option<Self> {
        let has = |tool| has_tool(tool, "delivery to an SFTP server");
        let needed = [
            (true, "sshd"),
            (true, "ssh-keygen"),
            (options.odd.is_some(), "python3"),
            (options.takes_password, "openssl"),
        ];
        if needed
            .iter()
            .any(|(is_needed, tool)| *is_needed && !has(tool))
        {
            return None;
        }
        fs::create_dir_all(folder).expect("made");
        let new = |kind: &str, name: &str, password: &str| {
            let arguments = ["-q", "-t", kind, "-N", password, "-C", "test", "-f", name];
            run_tool(folder, "ssh-keygen", &arguments);
        };
        for kind in KINDS {
            new(kind, &format!("host-{kind}"), "");
        }
        new("ed25519", "user", "");
        new("ed25519", "locked", "a password");
        new("rsa", "user-rsa", "");
        new("ed25519", "stranger", "");
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("made");
        let allowed = ["user.pub", "locked.pub", "user-rsa.pub"]
            .map(read)
            .concat();
        fs::write(folder.join("allowed"), allowed).expect("written");
        let user = run_tool(folder, "id", &["-un"]).trim().to_owned();
        if user == "root" {
            // What the package's own start does.
            fs::create_dir_all("/run/sshd").expect("made");
        }
        if options.takes_password && !write_shadow(folder, &user) {
            return None;
        }
        // A port that was free may be another's before sshd has it.
        let started = (0..TRIES).find_map(|_| start_once(folder, options));
        let (server, address) = started.unwrap_or_else(|| panic!("no port: {}", read("log")));
        Some(Self {
            server,
            address,
            folder: folder.to_owned(),
            user,
        })
    }

    /// The password that it takes where it takes one.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file of a key: `user`, `locked` (its password is `a password`), `user-rsa`, `stranger`.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The fingerprint of its own key of a kind: `ed25519`, `ecdsa`, `rsa`.
    pub fn fingerprint(&self, kind: &str) -> String {
        let name = format!("host-{kind}.pub");
        let shown = run_tool(&self.folder, "ssh-keygen", &["-l", "-f", &name]);
        shown.split(' ').nth(1).expect("a fingerprint").to_owned()
    }

    /// A line of a file of known hosts, for a port that hands on to it.
    pub fn known_host(&self, kind: &str, port: u16) -> String {
        let name = format!("host-{kind}.pub");
        let key = fs::read_to_string(self.folder.join(name)).expect("made");
        format!("[127.0.0.1]:{port} {key}")
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.server.kill().expect("it ran until now");
        self.server.wait().expect("it ends");
    }
}

/// It insists on being started by its full path.
fn sshd() -> &'static str {
    let usual = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"];
    let found = usual.into_iter().find(|path| Path::new(path).is_file());
    found.expect("sshd lies where it usually does")
}

/// Starts it at a port that is free now; `None`, where it no longer was when sshd wanted it.
fn start_once(folder: &Path, options: SshOptions) -> Option<(Child, SocketAddr)> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let address = free.expect("a port");
    let (config, log) = (folder.join("config"), folder.join("log"));
    write_config(folder, &config, address.port(), options);
    let mut command = Command::new(sshd());
    if options.takes_password {
        // It sees another file of passwords than the rest of the system does.
        let script = r#"mount --bind "$0" /etc/shadow && exec "$@""#;
        command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command.arg(folder.join("shadow")).arg(sshd());
    }
    let mut server = command
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log).expect("made"))
        .spawn()
        .expect("sshd starts");
    let began = Instant::now();
    loop {
        let said = fs::read_to_string(&log).expect("a log");
        if said.contains("Server listening on") {
            return Some((server, address));
        }
        if server.try_wait().expect("asked").is_some() {
            assert!(said.contains("already in use"), "{said}");
            return None;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{said}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A file of passwords with the user's alone; says where it would not be heeded.
fn write_shadow(folder: &Path, user: &str) -> bool {
    let mut mounts = Command::new("unshare");
    mounts.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/shadow"#]);
    let shadow = folder.join("shadow");
    let hash = run_tool(folder, "openssl", &["passwd", "-6", PASSWORD]);
    let line = format!("{user}:{}:19000:0:99999:7:::\n", hash.trim());
    fs::write(&shadow, line).expect("written");
    let mounted = mounts.arg(&shadow).output();
    if mounted.is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(
        std::env::var_os("SCELLE_REQUIRE_TOOLS").is_none(),
        "no other file of passwords can be mounted, and SCELLE_REQUIRE_TOOLS is set"
    );
    eprintln!("SKIPPED, this user can't mount: a login with a password");
    false
}

/// The command of an SFTP server that is odd.
fn odd_subsystem(folder: &Path, oddity: Oddity) -> String {
    let usual = [
        "/usr/lib/openssh/sftp-server",
        "/usr/libexec/openssh/sftp-server",
        "/usr/libexec/sftp-server",
        "/usr/lib/ssh/sftp-server",
    ];
    let server = usual.into_iter().find(|path| Path::new(path).is_file());
    let server = server.expect("sftp-server lies where it usually does");
    // A session has another path of programs.
    let python = run_tool(
        folder,
        "python3",
        &["-c", "import sys; print(sys.executable)"],
    );
    let (python, mark) = (python.trim(), folder.join("mark"));
    format!(
        "{python} {ODD_SFTP} {server} {} {}",
        oddity.name(),
        mark.display()
    )
}

fn write_config(folder: &Path, config: &Path, port: u16, options: SshOptions) {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n\
         AuthorizedKeysFile {}\n",
        at("allowed")
    );
    text.push_str(match options.takes_password {
        true => "PasswordAuthentication yes\nPubkeyAuthentication no\n",
        false => "PasswordAuthentication no\n",
    });
    let subsystem = match options.odd {
        Some(oddity) => odd_subsystem(folder, oddity),
        None if options.denies.is_empty() => "internal-sftp".into(),
        None => format!("internal-sftp -P {}", options.denies),
    };
    text.push_str(&format!("Subsystem sftp {subsystem}\n"));
    for kind in KINDS {
        text.push_str(&format!("HostKey {}\n", at(&format!("host-{kind}"))));
    }
    // Newer ones hold cut lines against whoever they come from.
    let patient = format!("{text}PerSourcePenalties no\n");
    fs::write(config, patient).expect("written");
    let checked = Command::new(sshd())
        .arg("-t")
        .arg("-f")
        .arg(config)
        .output();
    if !checked.expect("sshd starts").status.success() {
        fs::write(config, text).expect("written");
    }
}
