//! A terminal for a command, at which the test sits.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use crate::has_tool;

/// How long anything may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command at a terminal of its own.
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// The side that programs have, open for as long as anybody asks for its state.
    line: OwnedFd,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

/// How a command at a terminal ended.
pub struct TerminalEnd {
    /// Its status.
    pub status: ExitStatus,
    /// All that the terminal showed.
    pub shown: String,
    /// Whether the terminal shows what is typed, now that the command is gone.
    pub has_echo: bool,
}

impl Terminal {
    /// Starts a command at a new terminal, which has it in a session of its own: what is typed there as Ctrl-C is a signal to
    /// it. `None` where util-linux is not installed.
    ///
    /// # Panics
    /// Where the system gives no terminal.
    pub fn start(command: &Command) -> Option<Self> {
        if !has_tool("setsid", "what is asked for on a terminal") {
            return None;
        }
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&keyboard).expect("ours");
        unlockpt(&keyboard).expect("ours");
        let name = ptsname(&keyboard, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = rustix::fs::open(name, flags, Mode::empty()).expect("ours");
        let side = || Stdio::from(line.try_clone().expect("few are open"));
        let mut session = Command::new("setsid");
        session
            .args(["--ctty", "--wait"])
            .arg(command.get_program());
        session.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            session.current_dir(folder);
        }
        session.stdin(side()).stdout(side()).stderr(side());
        let child = session.spawn().expect("it starts");
        let keyboard = File::from(keyboard);
        let mut reader = keyboard.try_clone().expect("few are open");
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Some(Self {
            child,
            keyboard,
            line,
            screen,
            shown: String::new(),
        })
    }

    /// Waits until the terminal has shown a text.
    ///
    /// # Panics
    /// Where it never does.
    pub fn wait_for(&mut self, text: &str) {
        self.wait("it does not show", text, |own| own.shown.contains(text));
    }

    /// Waits until the terminal shows no more what is typed. What was typed before is thrown away by then.
    ///
    /// # Panics
    /// Where it goes on showing it.
    pub fn wait_unseen(&mut self) {
        self.wait("it shows", "what is typed", |own| !own.has_echo());
    }

    /// Types.
    ///
    /// # Panics
    /// Where nobody listens.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard
            .write_all(text.as_bytes())
            .expect("it listens");
    }

    /// Whether the terminal shows what is typed.
    fn has_echo(&self) -> bool {
        let state = tcgetattr(&self.line).expect("a terminal");
        state.local_modes.contains(LocalModes::ECHO)
    }

    fn wait(&mut self, what: &str, whom: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            let (late, shown) = (began.elapsed() >= PATIENCE, &self.shown);
            assert!(!late, "{what} {whom}: {shown}");
            if let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(10)) {
                self.shown.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
    }

    /// Waits for the command's end.
    ///
    /// # Panics
    /// Where it was not started.
    pub fn end(mut self) -> TerminalEnd {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                break status;
            }
            if began.elapsed() >= PATIENCE {
                self.child.kill().expect("it is ours");
                panic!("it does not end: {}", self.shown);
            }
            if let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(10)) {
                self.shown.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        let has_echo = self.has_echo();
        // Nobody has that side any more, so that the other comes to its end.
        drop(self.line);
        while let Ok(bytes) = self.screen.recv_timeout(PATIENCE) {
            self.shown.push_str(&String::from_utf8_lossy(&bytes));
        }
        TerminalEnd {
            status,
            shown: self.shown,
            has_echo,
        }
    }
}
