//! A server that speaks SFTP on this machine: OpenSSH's.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{has_tool, run_tool};

/// The kinds of keys that it has, in the order in which clients usually like them.
const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

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
        let has = |tool| has_tool(tool, "delivery to an SFTP server");
        if !has("sshd") || !has("ssh-keygen") {
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
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = port.expect("a port");
        let config = folder.join("config");
        write_config(folder, &config, address.port());
        let server = Command::new(sshd())
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).expect("made"))
            .spawn()
            .expect("sshd starts");
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "{}", read("log"));
            thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            server,
            address,
            folder: folder.to_owned(),
            user,
        })
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

fn write_config(folder: &Path, config: &Path, port: u16) {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
         AuthorizedKeysFile {}\nSubsystem sftp internal-sftp\nMaxStartups 100\n",
        at("allowed")
    );
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
