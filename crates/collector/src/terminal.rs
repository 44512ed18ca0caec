//! How the commands speak: results on standard output, all else on standard error.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    num::NonZeroUsize,
    process::ExitCode,
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use scelle::{
    engine::{Progress, Snapshot, profile::show_size},
    event::Label,
};
use serde::Serialize;

/// How often a bar is drawn.
const BAR_STEP: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
const LINE_STEP: Duration = Duration::from_secs(60);

/// What every command understands.
#[derive(clap::Args, Clone, Debug)]
pub struct Common {
    /// Print the result as JSON, with stable keys
    #[arg(long, global = true, help_heading = "Common options")]
    pub json: bool,
    /// Threads to compute with; the default is one for each core
    #[arg(long, global = true, value_name = "N", help_heading = "Common options")]
    pub threads: Option<NonZeroUsize>,
    /// Say nothing but results, their labels, what was lost, and errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Common options"
    )]
    pub quiet: bool,
    /// Say more: every loss, every choice
    #[arg(short, long, global = true, help_heading = "Common options")]
    pub verbose: bool,
    /// Use colours; NO_COLOR is heeded
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t = Color::Auto,
        help_heading = "Common options"
    )]
    pub color: Color,
}

/// When colours are used.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even into a file
    Always,
    /// Nowhere
    Never,
}

/// How a command ended; see `--help` of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// Done, and complete.
    pub const COMPLETE: Self = Self(0);
    /// Done, with losses that were listed; for `verify`, broken or unfinished.
    pub const LOSSES: Self = Self(1);
    /// Not done.
    pub const NOT_DONE: Self = Self(2);
    /// Sealed, but nobody vouches for the signer (`verify`).
    pub const SIGNER_UNKNOWN: Self = Self(3);

    /// [`LOSSES`](Self::LOSSES) where there are any.
    pub fn with_losses(any: bool) -> Self {
        if any { Self::LOSSES } else { Self::COMPLETE }
    }

    /// The graver of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
}

/// Colours, by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Strong,
    /// All is well.
    Good,
    /// Something to look at.
    Doubtful,
    /// Something is wrong.
    Bad,
    /// An aside.
    Faint,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Strong => "1",
            Self::Good => "1;32",
            Self::Doubtful => "1;33",
            Self::Bad => "1;31",
            Self::Faint => "2",
        }
    }
}

/// Where results and messages go.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// Whether results are JSON.
    pub json: bool,
    quiet: bool,
    verbose: bool,
    color_out: bool,
    color_err: bool,
}

impl Terminal {
    /// A terminal that heeds the common options.
    pub fn new(common: &Common) -> Self {
        let color = |is_terminal: bool| match common.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Self {
            json: common.json,
            quiet: common.quiet,
            verbose: common.verbose,
            color_out: color(io::stdout().is_terminal()),
            color_err: color(io::stderr().is_terminal()),
        }
    }

    /// A line of a result.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn line(&self, text: impl Display) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{text}")
    }

    /// A result as one line of JSON.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn object(&self, value: &impl Serialize) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, value)?;
        out.write_all(b"\n")
    }

    /// Text of a result in a tone.
    pub fn paint(&self, tone: Tone, text: impl Display) -> String {
        paint(self.color_out, tone, text)
    }

    /// A message, unless `--quiet`.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            say(text);
        }
    }

    /// A line of a result, where standard output holds what it is about: no option hides it.
    pub fn beside(&self, text: impl Display) {
        say(text);
    }

    /// The label of what is printed, which has no place for one itself: no option hides it.
    pub fn label(&self, label: &Label) {
        say(format_args!("label: {label}"));
    }

    /// A message that only `--verbose` shows.
    pub fn detail(&self, text: impl Display) {
        if self.verbose {
            say(text);
        }
    }

    /// Whether `--verbose` was given.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// A message that no option hides: something was lost.
    pub fn warn(&self, text: impl Display) {
        let warning = paint(self.color_err, Tone::Doubtful, "warning:");
        say(format_args!("{warning} {text}"));
    }

    /// Does `work`, and shows how far it has come.
    pub fn watch<T>(&self, progress: &Progress, work: impl FnOnce() -> T) -> T {
        if self.quiet {
            return work();
        }
        let done = (Mutex::new(false), Condvar::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                if io::stderr().is_terminal() {
                    draw_bar(progress, &done);
                } else {
                    write_lines(progress, &done);
                }
            });
            // Tells the watcher to end, also where `work` panics.
            let _end = End(&done);
            work()
        })
    }
}

/// A line on standard error. Whoever read it may be gone, where a line to this host was cut: the work goes on.
pub fn say(text: impl Display) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

type Done = (Mutex<bool>, Condvar);

struct End<'a>(&'a Done);

impl Drop for End<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }
}

/// Waits for a step; whether the work has ended meanwhile.
fn wait(done: &Done, step: Duration) -> bool {
    let guard = done.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = done.1.wait_timeout_while(guard, step, |ended| !*ended);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

fn draw_bar(progress: &Progress, done: &Done) {
    const WITH_TOTAL: &str =
        "{prefix:>10} [{bar:28}] {bytes}/{total_bytes}  {msg}  {bytes_per_sec}  {eta} left";
    const WITHOUT: &str = "{prefix:>10} {spinner} {bytes}  {msg}  {elapsed}";
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let mut stage = None;
    while !wait(done, BAR_STEP) {
        let now = progress.snapshot();
        if stage != Some((now.stage, now.total_bytes)) {
            stage = Some((now.stage, now.total_bytes));
            let known = now.total_bytes > 0;
            let template = if known { WITH_TOTAL } else { WITHOUT };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.reset();
            bar.set_prefix(now.stage);
            if known {
                bar.set_length(now.total_bytes);
            }
        }
        bar.set_position(now.bytes);
        bar.set_message(items(&now));
    }
    bar.finish_and_clear();
}

fn write_lines(progress: &Progress, done: &Done) {
    let started = Instant::now();
    while !wait(done, LINE_STEP) {
        let now = progress.snapshot();
        let total = if now.total_bytes > 0 {
            format!(" of {}", show_size(now.total_bytes))
        } else {
            String::new()
        };
        say(format_args!(
            "{}: {}{total}, {}, {} s",
            now.stage,
            show_size(now.bytes),
            items(&now),
            started.elapsed().as_secs()
        ));
    }
}

fn items(now: &Snapshot) -> String {
    if now.total_items > 0 {
        format!("{}/{} files", now.items, now.total_items)
    } else {
        format!("{} files", now.items)
    }
}

/// A text that somebody else may have made: what would steer a terminal is shown as it is written in Rust.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        if one.is_control() {
            out.extend(one.escape_default());
        } else {
            out.push(one);
        }
    }
    out
}

fn paint(on: bool, tone: Tone, text: impl Display) -> String {
    if on {
        format!("\x1b[{}m{text}\x1b[0m", tone.code())
    } else {
        text.to_string()
    }
}

/// Runs a command: sets up threads, prints its error, answers its exit status.
pub fn run(common: &Common, command: impl FnOnce(&Terminal) -> anyhow::Result<Exit>) -> ExitCode {
    let terminal = Terminal::new(common);
    std::panic::set_hook(Box::new(|panic| {
        say(format_args!("internal error, please report it: {panic}"));
    }));
    let threads = common.threads.map_or(0, NonZeroUsize::get);
    let pool = scelle::use_threads(threads);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool?;
        command(&terminal)
    }));
    let exit = match ended {
        Ok(Ok(exit)) => exit,
        // Whoever reads our output has seen enough.
        Ok(Err(error)) if is_broken_pipe(&error) => Exit::COMPLETE,
        Ok(Err(error)) => {
            let head = paint(terminal.color_err, Tone::Bad, "error:");
            say(format_args!("{head} {}", in_words(&error)));
            Exit::NOT_DONE
        }
        // The hook has said what happened.
        Err(_) => Exit::NOT_DONE,
    };
    ExitCode::from(exit.0)
}

/// An error and its causes, each once: the sentences of some have their cause's in them. Names in
/// them may be hostile.
fn in_words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !tells(&text, &cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// Whether a sentence tells a cause: as its end, or as a part of its own. One that is also a word of it is not told by that.
fn tells(text: &str, cause: &str) -> bool {
    text.match_indices(cause).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + cause.len()..]);
        (before.is_empty() || before.ends_with([' ', '(']))
            && (behind.is_empty() || behind.starts_with([';', ',', ')']))
    })
}

/// Whether whoever read what is said went away. Whoever was to take a bundle, and went away, has not got all of it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_of_bundle = error.chain().any(|cause| {
        cause.is::<scelle::CollectError>()
            || cause.is::<scelle::bundle::Error>()
            || cause.is::<scelle_deliver::Error>()
    });
    let is_broken = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    !is_of_bundle && error.chain().any(is_broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let said = |error: anyhow::Error| in_words(&error);
        let cause = || io::Error::other("no\u{1b}[2J room");
        let in_it = scelle::bundle::Error::Write(cause());
        assert_eq!(
            said(anyhow::Error::new(in_it).context("case.zip")),
            "case.zip: writing the bundle: no\\u{1b}[2J room"
        );
        assert_eq!(said(anyhow::anyhow!("a\nb")), "a\nb");
        // A cause that is also a word of the sentence.
        let lost = anyhow::Error::new(io::Error::other("key"));
        assert_eq!(
            said(lost.context("reading /tmp/key.asc")),
            "reading /tmp/key.asc: key"
        );
        let within = anyhow::anyhow!("no room").context("it can't be followed: no room; ask");
        assert_eq!(said(within), "it can't be followed: no room; ask");
    }

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(plain("a\u{1b}[2Jé\n"), "a\\u{1b}[2Jé\\n");
    }
}
