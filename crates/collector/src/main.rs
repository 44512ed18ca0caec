//! The collector: one small file for a host that is not to be trusted.

use std::{
    env,
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use clap::Parser;
use scelle::Prepared;
use scelle_collector::{
    Common, Exit, Terminal,
    commands::{cat, collect, deliver, hash, ls, prepared, profiles, salvage, verify},
    terminal::{self, say},
};

/// Collect evidence into one sealed bundle
#[derive(Parser)]
#[command(name = "scelle-collector", version, after_help = EXAMPLES, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    collect: collect::Args,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Subcommand)]
enum Command {
    Collect(Box<collect::Args>),
    #[command(flatten)]
    Other(Box<Other>),
}

/// What a prepared collector does besides running its plan.
#[derive(clap::Subcommand)]
enum Other {
    Profiles(profiles::Args),
    Salvage(salvage::Args),
    Deliver(deliver::Args),
    Verify(verify::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Hash(hash::Args),
}

/// Collect what this collector was prepared for, into one sealed bundle
#[derive(Parser)]
#[command(name = "scelle-collector", version, after_help = PREPARED)]
struct PreparedCli {
    #[command(subcommand)]
    command: Option<Other>,
    #[command(flatten)]
    run: prepared::Args,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  scelle-collector --source disk.raw --tlp amber --out /mnt/usb     the same as `collect …`
  scelle-collector collect --source disk.raw --dry-run
  scelle-collector verify case.scelle.zip --root 1234abcd…

Without a command it collects; `scelle-collector COMMAND --help` says more of each.";

const PREPARED: &str = "\
This collector was prepared for one case: run it with no arguments. What it collects, for whom it
encrypts and how it labels stands in its signed plan and can't be changed here.";

fn main() -> ExitCode {
    // Before anything else: a plan that was altered is not followed, and nothing else is either.
    match Prepared::of_this_program() {
        Ok(None) => {
            let cli = Cli::parse();
            terminal::run(&cli.common.clone(), |terminal| {
                match cli
                    .command
                    .unwrap_or(Command::Collect(Box::new(cli.collect)))
                {
                    Command::Collect(args) => collect::run(&args, terminal),
                    Command::Other(command) => command.run(terminal),
                }
            })
        }
        Ok(Some(prepared)) => {
            let cli = PreparedCli::parse();
            let exit = terminal::run(&cli.common, |terminal| match cli.command {
                None => prepared::run(&cli.run, &prepared, terminal),
                Some(command) => command.run(terminal),
            });
            hold_window();
            exit
        }
        Err(error) => {
            say(format_args!("error: {error}"));
            hold_window();
            ExitCode::from(2)
        }
    }
}

/// Windows closes the window of a program that was started by a click when it ends, and with it what was said: the root,
/// and what is to be done.
fn hold_window() {
    // A command prompt tells its programs what it asks with.
    let is_clicked = cfg!(windows) && env::args_os().len() == 1 && env::var_os("PROMPT").is_none();
    if is_clicked && io::stdin().is_terminal() && io::stderr().is_terminal() {
        say("Press Enter to close this window.");
        drop(io::stdin().read_line(&mut String::new()));
    }
}

impl Other {
    fn run(self, terminal: &Terminal) -> anyhow::Result<Exit> {
        match self {
            Self::Profiles(args) => profiles::run(&args, terminal),
            Self::Salvage(args) => salvage::run(&args, terminal),
            Self::Deliver(args) => deliver::run(&args, terminal),
            Self::Verify(args) => verify::run(&args, terminal),
            Self::Ls(args) => ls::run(&args, terminal),
            Self::Cat(args) => cat::run(&args, terminal),
            Self::Hash(args) => hash::run(&args, terminal),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        PreparedCli::command().debug_assert();
    }
}
