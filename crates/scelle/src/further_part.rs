//! Going on with a collection that is encrypted: whoever collects can't read what was written, so
//! a further part is written beside it.
//!
//! ```text
//! case.scelle.zip.pgp.partial         the first part, until it is whole or gone on from
//! case.part1.scelle.zip.pgp           what it is called then: nothing is added to it any more
//! case.part2.scelle.zip.pgp.partial   the part that goes on from it
//! case.scelle.zip.pgp.resume          the side file of them all
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use scelle_bundle::{BundleWriter, Encrypted, Error, Logged, PartialFile, sync_folder};
use scelle_engine::{Plan, Progress};

use crate::{
    CollectError, Collected, Order, Source, collect,
    known::Known,
    parts::part_path,
    side::{SideFile, State},
};

const DONE: &str = "nothing is left to collect: its last part is whole; verify all parts together";

/// The name that the part which is being written will have.
fn written_path(path: &Path, part: u32) -> PathBuf {
    match part {
        1 => path.to_owned(),
        part => part_path(path, part),
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Refuses to begin again where parts are that would be lost sight of.
pub(crate) fn refuse(path: &Path, side: &SideFile) -> Result<(), CollectError> {
    let first = part_path(path, 1);
    // A side file without what it is of was left behind, and is of nothing.
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let is_cut = side.exists() && (is_there(&partial(path)) || is_of_a_further_part(path, side));
    if is_cut || first.symlink_metadata().is_ok() {
        return Err(CollectError::Resume {
            path: path.to_owned(),
            why: "there are parts of a collection of that name: go on with collect --resume, \
                  or choose another name"
                .into(),
        });
    }
    Ok(())
}

/// Whether the side file is of a part behind the first, and that one is there, whole or not.
fn is_of_a_further_part(path: &Path, side: &SideFile) -> bool {
    side.read().is_ok_and(|state| {
        let written = written_path(path, state.part);
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        state.part > 1 && (is_there(&written) || is_there(&partial(&written)))
    })
}

/// Goes on with the collection that was to become `path`.
pub(crate) fn resume(
    source: &Source,
    plan: &Plan,
    order: Order,
    path: &Path,
    progress: &Progress,
) -> Result<Collected, CollectError> {
    let cause = |why: String| CollectError::Resume {
        path: path.to_owned(),
        why,
    };
    if path.symlink_metadata().is_ok() {
        return Err(Error::Exists(path.to_owned()).into());
    }
    let mut side = SideFile::new(path, plan, &order);
    if !side.exists() && partial(path).metadata().is_ok_and(|file| file.len() == 0) {
        // It was cut before it wrote anything.
        let begun = side.begin(None);
        begun.map_err(|error| failed(path, &side, Error::Write(error)))?;
    }
    let state = side.read().map_err(|error| {
        cause(format!(
            "{}: {error}; without it nobody can tell here what is collected already: keep what is \
             there for its recipient, who can salvage it, and collect again under another name",
            side.path().display()
        ))
    })?;
    if !side.is_of(&state) {
        return Err(cause(
            "the collection that was cut off had another plan, label or record: give the same \
             options again"
                .into(),
        ));
    }
    let logged = state.logged().map_err(cause)?;
    side.part = state.part;
    let file = match next(path, &mut side, &state, logged.as_ref()) {
        Ok(file) => file,
        Err(Begun::Done) => {
            side.remove_if_possible();
            return Err(cause(DONE.into()));
        }
        Err(Begun::Failed(error @ Error::Write(_))) => return Err(failed(path, &side, error)),
        Err(Begun::Failed(error)) => return Err(error.into()),
    };
    write(source, plan, order, file, &side, logged, progress)
        .map_err(|error| failed(path, &side, error))
}

/// Why no part is begun.
enum Begun {
    /// The last one is whole.
    Done,
    Failed(Error),
}

impl From<Error> for Begun {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The file of the part that is written next: the one that was begun, where nothing of it was
/// logged; else that one is closed, and another is begun.
fn next(
    path: &Path,
    side: &mut SideFile,
    state: &State,
    logged: Option<&Logged>,
) -> Result<PartialFile, Begun> {
    let begun = written_path(path, state.part);
    let from = state.checkpoint_part.zip(logged);
    if state.checkpoint_part != Some(state.part) {
        // Whoever began it was cut before it could close the one before.
        if let Some(before) = state.checkpoint_part {
            close(path, before)?;
        }
        let mut file = match PartialFile::reopen(&begun) {
            Err(Error::Create { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                PartialFile::create(&begun, false)?
            }
            reopened => reopened?,
        };
        file.keep(0).map_err(Error::Write)?;
        return Ok(file);
    }
    let is_closed = partial(&begun).symlink_metadata().is_err() && begun.exists();
    if is_closed && logged.is_some_and(|logged| logged.is_last) {
        return Err(Begun::Done);
    }
    // Nobody else may be writing it.
    drop(PartialFile::reopen(&begun)?);
    side.part = state.part.saturating_add(1);
    if let Err(error) = side.begin(from) {
        // What was written before is still what there is.
        side.part = state.part;
        return Err(Error::Write(error).into());
    }
    close(path, state.part)?;
    Ok(PartialFile::create(&part_path(path, side.part), false)?)
}

/// Gives a part the name that says that nothing is added to it any more.
fn close(path: &Path, part: u32) -> Result<(), Error> {
    let (from, to) = (partial(&written_path(path, part)), part_path(path, part));
    if from.symlink_metadata().is_err() {
        // It was closed before.
        return Ok(());
    }
    if to.symlink_metadata().is_ok() {
        return Err(Error::Exists(to));
    }
    fs::rename(from, &to)
        .and_then(|()| sync_folder(&to))
        .map_err(Error::Write)
}

fn write(
    source: &Source,
    plan: &Plan,
    mut order: Order,
    file: PartialFile,
    side: &SideFile,
    logged: Option<Logged>,
    progress: &Progress,
) -> Result<Collected, Error> {
    let known = logged.as_ref().map(Known::logged).unwrap_or_default();
    let recipients = std::mem::take(&mut order.recipients);
    let mut options = collect::options(source, plan, order, Some(side.clone()))?;
    options.collection.part = side.part;
    options.continues = logged;
    let out = Encrypted::create(file, &recipients, options.key.clone())?;
    options.collection.session_packets_sha256 = Some(out.session_packets_sha256().to_owned());
    let session_key = out.session_key().clone();
    let writer = BundleWriter::create(out, options)?;
    let (mut collected, out) = collect::fill(source, plan, writer, known, progress)?;
    collected.session_key = Some(session_key);
    collected.path = Some(out.finish()?.commit()?);
    collected.part = side.part;
    side.remove_if_possible();
    Ok(collected)
}

/// What was written stays, unless nothing of it was logged and the source is another by now.
fn failed(path: &Path, side: &SideFile, error: Error) -> CollectError {
    let written = written_path(path, side.part);
    let partial = partial(&written);
    let state = side.read();
    if let Error::Format(why) = &error
        && state.is_ok_and(|state| state.checkpoint_part != Some(side.part))
        && fs::remove_file(&partial).is_ok()
    {
        return CollectError::Resume {
            path: path.to_owned(),
            why: why.clone(),
        };
    }
    CollectError::Writing {
        path: written,
        partial,
        source: error,
    }
}
