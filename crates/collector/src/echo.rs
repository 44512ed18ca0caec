//! Gives the terminal its echo back where somebody breaks a question off whose answer is not shown.

use std::{
    fs::File,
    io::{self, IsTerminal},
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, MutexGuard, Once, PoisonError},
    thread,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::{
    consts::{SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use crate::terminal::say;

/// The terminal of the question that is open, and its state before.
static ASKED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Asks something that hides what is typed. A signal that ends the program meanwhile gives the terminal its state back
/// before; one that comes later ends it as ever.
///
/// # Errors
/// Where there is no terminal, or `ask` fails.
pub(crate) fn unseen<T>(ask: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    watch()?;
    let terminal = terminal()?;
    let before = tcgetattr(&terminal)?;
    *asked() = Some((terminal, before));
    let answer = ask();
    *asked() = None;
    answer
}

/// Where answers are read from.
fn terminal() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return stdin.as_fd().try_clone_to_owned();
    }
    let terminal = File::options().read(true).write(true).open("/dev/tty")?;
    Ok(terminal.into())
}

/// Waits for signals from now on. They are not waited for until a question is asked: most runs ask none.
fn watch() -> io::Result<()> {
    static BEGUN: Once = Once::new();
    let mut begun = Ok(());
    BEGUN.call_once(|| begun = begin());
    begun
}

fn begin() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM])?;
    thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            let open = asked();
            if let Some((terminal, before)) = &*open {
                let is_back = tcsetattr(terminal, OptionalActions::Flush, before);
                // What comes next is not to stand behind the question.
                say("");
                if let Err(error) = is_back {
                    say(format_args!(
                        "the terminal may show nothing, `stty echo` helps: {error}"
                    ));
                }
            }
            if let Err(error) = emulate_default_handler(signal) {
                say(format_args!("signal {signal}: {error}"));
            }
        }
    })?;
    Ok(())
}

fn asked() -> MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner)
}
