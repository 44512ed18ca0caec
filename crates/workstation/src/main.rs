//! The workstation: everything the collector does, plus case work.

mod commands;
mod sealed_output;

use std::process::ExitCode;

use clap::Parser;
use commands::Command;
use scelle_collector::{Common, terminal};

/// Put evidence under seal, and read it: collect, verify, timeline
#[derive(Parser)]
#[command(
    name = "scelle",
    version,
    arg_required_else_help = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  scelle triage disk.raw --out case --tlp amber       collect, verify and timeline in one go
  scelle verify case/disk.scelle.zip --root HASH      is it what the operator wrote down?
  scelle ls case/disk.scelle.zip '**/*.evtx'
  scelle timeline disk.raw --out disk.csv --format csv --artefact ntfs.mft

`scelle COMMAND --help` has examples of each.
Exit status: 0 complete; 1 complete, with losses that are listed; 2 not done.";

fn main() -> ExitCode {
    let cli = Cli::parse();
    terminal::run(&cli.common.clone(), |terminal| cli.command.run(terminal))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            if command.is_hide_set() {
                continue;
            }
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Examples:"), "{}", command.get_name());
        }
    }
}
