//! One file a command; those that the collector has too are there.

mod artefacts;
mod custody;
mod deliver_to;
mod extract;
mod forge;
mod generate;
mod incident;
mod key;
mod parse;
mod prove;
mod story;
mod team;
mod timeline;
mod triage;
mod verify_image;

use anyhow::Result;
use scelle_collector::{
    Exit, Terminal,
    commands::{cat, collect, deliver, hash, ls, profiles, salvage, verify},
};

/// What the program can do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Triage(triage::Args),
    Collect(Box<collect::Args>),
    Profiles(profiles::Args),
    Salvage(salvage::Args),
    Deliver(deliver::Args),
    Verify(verify::Args),
    VerifyImage(verify_image::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Extract(extract::Args),
    Timeline(timeline::Args),
    Parse(parse::Args),
    Story(story::Args),
    Prove(prove::Args),
    Artefacts(artefacts::Args),
    Hash(hash::Args),
    Incident(incident::Args),
    Custody(custody::Args),
    Key(key::Args),
    Team(team::Args),
    Forge(forge::Args),
    #[command(hide = true)]
    Completions(generate::Completions),
    #[command(hide = true)]
    Man(generate::Man),
}

impl Command {
    /// Runs it.
    ///
    /// # Errors
    /// What it could not do, and why.
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit> {
        match self {
            Self::Triage(args) => triage::run(&args, terminal),
            Self::Collect(args) => collect::run(&args, terminal),
            Self::Profiles(args) => profiles::run(&args, terminal),
            Self::Salvage(args) => salvage::run(&args, terminal),
            Self::Deliver(args) => deliver::run(&args, terminal),
            Self::Verify(args) => verify::run(&args, terminal),
            Self::VerifyImage(args) => verify_image::run(&args, terminal),
            Self::Ls(args) => ls::run(&args, terminal),
            Self::Cat(args) => cat::run(&args, terminal),
            Self::Extract(args) => extract::run(&args, terminal),
            Self::Timeline(args) => timeline::run(&args, terminal),
            Self::Parse(args) => parse::run(&args, terminal),
            Self::Story(args) => story::run(&args, terminal),
            Self::Prove(args) => prove::run(&args, terminal),
            Self::Artefacts(args) => artefacts::run(&args, terminal),
            Self::Hash(args) => hash::run(&args, terminal),
            Self::Incident(args) => incident::run(&args, terminal),
            Self::Custody(args) => custody::run(&args, terminal),
            Self::Key(args) => key::run(&args, terminal),
            Self::Team(args) => team::run(&args, terminal),
            Self::Forge(args) => forge::run(&args, terminal),
            Self::Completions(args) => generate::completions(&args),
            Self::Man(args) => generate::man(&args),
        }
    }
}
