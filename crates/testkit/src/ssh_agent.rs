//! OpenSSH's agent, which holds keys and signs with them.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::has_tool;

/// An agent that holds some keys.
pub struct SshAgent {
    agent: Child,
    socket: PathBuf,
}

impl SshAgent {
    /// Starts it, with its socket in a folder; `None`, with a line that says so, where it is not installed.
    pub fn start(folder: &Path, keys: &[PathBuf]) -> Option<Self> {
        let has = |tool| has_tool(tool, "a login through ssh-agent");
        if !has("ssh-agent") || !has("ssh-add") {
            return None;
        }
        let socket = folder.join("agent");
        let agent = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent starts");
        let started = Self { agent, socket };
        let began = Instant::now();
        // Its socket is there before it listens.
        while !listens(&started.socket) {
            assert!(began.elapsed() < Duration::from_secs(20), "it listens");
            thread::sleep(Duration::from_millis(10));
        }
        for key in keys {
            let added = Command::new("ssh-add")
                .arg("-q")
                .arg(key)
                .env("SSH_AUTH_SOCK", &started.socket)
                .output()
                .expect("ssh-add starts");
            assert!(added.status.success(), "{added:?}");
        }
        Some(started)
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Whether somebody listens at a socket.
#[cfg(unix)]
fn listens(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// Whether there is a socket: no more can be asked here.
#[cfg(not(unix))]
fn listens(socket: &Path) -> bool {
    socket.exists()
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        self.agent.kill().expect("it ran until now");
        self.agent.wait().expect("it ends");
    }
}
