//! `completions` and `man`: what packages install beside the program.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use scelle_collector::Exit;

use crate::Cli;

/// Write a shell's completions to standard output
#[derive(clap::Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

/// Write the manual pages into a folder
#[derive(clap::Args)]
pub(crate) struct Man {
    /// An existing folder
    folder: PathBuf,
}

/// Runs `completions`.
pub(crate) fn completions(args: &Completions) -> Result<Exit> {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "scelle", &mut bytes);
    io::Write::write_all(&mut io::stdout().lock(), &bytes)?;
    Ok(Exit::COMPLETE)
}

/// Runs `man`.
pub(crate) fn man(args: &Man) -> Result<Exit> {
    let mut command = Cli::command();
    command.build();
    write_page(&args.folder, &command, "scelle")?;
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        let name = format!("scelle-{}", subcommand.get_name());
        write_page(&args.folder, subcommand, &name)?;
    }
    Ok(Exit::COMPLETE)
}

fn write_page(folder: &Path, command: &clap::Command, name: &str) -> Result<()> {
    let mut page = Vec::new();
    let titled = command.clone().display_name(name);
    clap_mangen::Man::new(titled).render(&mut page)?;
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, page).with_context(|| format!("writing {}", path.display()))
}
