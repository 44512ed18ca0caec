//! Meaning: one file per artefact, structs to events.
//!
//! An artefact says where it lives, how it is recognised and how it is parsed. It knows bytes
//! only through `formats`, opens no file, starts no thread. To add one: a file here, a line in
//! [`ALL`], a folder in `testdata/`.

mod artefact;
mod candidate;
mod emit;
mod parse;

pub mod executable;
pub mod ntfs;
pub mod windows;

pub use artefact::{Artefact, Companion, Descriptor};
pub use candidate::Candidate;
pub use emit::Emitter;
pub use parse::{
    Apart, Chunked, Cut, Input, ParseAlone, ParseBytes, ParseChunks, ParseStream, Parser, Survey,
    SurveyPart, Unit,
};

/// Every artefact, in the order shown to users. One line each.
pub static ALL: &[&dyn Artefact] = &[
    &ntfs::mft::Mft,
    &ntfs::usnjrnl::UsnJournal,
    &ntfs::logfile::LogFile,
    &ntfs::i30::DirectoryIndex,
    &ntfs::mft::carved::Carved,
    &windows::evtx::Evtx,
    &windows::recycle_bin::RecycleBin,
    &executable::pe::PortableExecutable,
    &executable::elf::ExecutableAndLinkable,
    &executable::macho::MachObject,
];

/// Those that are looked for without being asked for by name.
pub fn usual() -> Vec<&'static dyn Artefact> {
    let all = ALL.iter().copied();
    all.filter(|artefact| !artefact.is_on_request()).collect()
}

/// The artefact of that id.
pub fn by_id(id: &str) -> Option<&'static dyn Artefact> {
    ALL.iter()
        .copied()
        .find(|artefact| artefact.descriptor().id == id)
}
