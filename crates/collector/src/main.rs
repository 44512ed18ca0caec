//! The collector: one small file for a host that is not to be trusted.

use std::process::ExitCode;

use clap::Parser;
use scelle_collector::{
    Common, Exit, Terminal,
    commands::{cat, collect, hash, ls, profiles, salvage, verify},
    terminal,
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
    Collect(collect::Args),
    Profiles(profiles::Args),
    Salvage(salvage::Args),
    Verify(verify::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Hash(hash::Args),
}

const EXAMPLES: &str = "\
Examples:
  scelle-collector --source disk.raw --tlp amber --out /mnt/usb     the same as `collect …`
  scelle-collector collect --source disk.raw --dry-run
  scelle-collector verify case.scelle.zip --root 1234abcd…

Without a command it collects; `scelle-collector COMMAND --help` says more of each.";

fn main() -> ExitCode {
    let cli = Cli::parse();
    terminal::run(&cli.common.clone(), |terminal| dispatch(cli, terminal))
}

fn dispatch(cli: Cli, terminal: &Terminal) -> anyhow::Result<Exit> {
    match cli.command.unwrap_or(Command::Collect(cli.collect)) {
        Command::Collect(args) => collect::run(&args, terminal),
        Command::Profiles(args) => profiles::run(&args, terminal),
        Command::Salvage(args) => salvage::run(&args, terminal),
        Command::Verify(args) => verify::run(&args, terminal),
        Command::Ls(args) => ls::run(&args, terminal),
        Command::Cat(args) => cat::run(&args, terminal),
        Command::Hash(args) => hash::run(&args, terminal),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
