//! The parts of a collection that was cut off and gone on with where it could not be read.
//!
//! Each part is an archive of its own, and all but the last are cut. A part names the checkpoint
//! of the part before from which it goes on; what stands behind that one counts for nothing, since
//! it was taken again. So the seal of the last part vouches, checkpoint by checkpoint, for all.

use std::sync::Arc;

use scelle_formats::ReadAt;

use crate::{
    Cut, Decrypted, Ending,
    cut::Piece,
    file_line::FileLine,
    reader::{ArchiveReader, Found, Member},
    zip::Directory,
};

/// One part, as it was found.
#[derive(Clone)]
pub struct Part {
    /// What it is called in messages.
    pub name: String,
    archive: Arc<dyn ReadAt>,
    message: Option<Arc<Decrypted>>,
}

impl Part {
    /// A part that was encrypted, as much of it as [`Ciphertext::salvage`](crate::Ciphertext::salvage) gives.
    pub fn encrypted(name: impl Into<String>, archive: Decrypted) -> Self {
        let archive = Arc::new(archive);
        Self {
            name: name.into(),
            archive: archive.clone(),
            message: Some(archive),
        }
    }

    /// A part in clear.
    pub fn clear(name: impl Into<String>, archive: Arc<dyn ReadAt>) -> Self {
        Self {
            name: name.into(),
            archive,
            message: None,
        }
    }

    /// The message that it came in.
    pub(crate) fn message(&self) -> Option<&Decrypted> {
        self.message.as_deref()
    }

    /// How it ends, where it came in a message.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.message().map(Decrypted::ending)
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &dyn ReadAt {
        &*self.archive
    }
}

/// A part in its place, and what of it counts.
pub(crate) struct Placed<'a> {
    pub(crate) part: &'a Part,
    /// Its checkpoints end with the one that the next part names.
    pub(crate) cut: Cut<'a>,
}

/// What is wrong with parts as a set.
pub(crate) enum Flaw {
    /// Something is not there.
    Missing(String),
    /// Something is not as it was written, or of another set.
    Wrong(String),
}

/// Parts in order, and what is wrong with them.
pub(crate) struct Set<'a> {
    pub(crate) parts: Vec<Placed<'a>>,
    pub(crate) flaws: Vec<Flaw>,
}

impl<'a> Set<'a> {
    /// Puts parts in order.
    pub(crate) fn arrange(parts: &'a [Part]) -> Self {
        let mut set = Self {
            parts: Vec::new(),
            flaws: Vec::new(),
        };
        for part in parts {
            match Cut::survey(part.bytes()) {
                Ok(cut) if cut.collection.salvage.is_some() => {
                    set.wrong(format!("{}: it is a salvage, and no part", part.name));
                }
                Ok(cut) => set.parts.push(Placed { part, cut }),
                Err(error) => set.wrong(format!("{}: {error}", part.name)),
            }
        }
        set.parts.sort_by_key(Placed::number);
        set.check_numbers();
        for after in 1..set.parts.len() {
            set.join(after);
        }
        set.check_last();
        set
    }

    /// The first flaw, as an error.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.flaws.first() {
            Some(Flaw::Missing(what) | Flaw::Wrong(what)) => Err(what.clone()),
            None => Ok(()),
        }
    }

    fn wrong(&mut self, what: String) {
        self.flaws.push(Flaw::Wrong(what));
    }

    fn check_numbers(&mut self) {
        let mut expected = 1;
        let mut flaws = Vec::new();
        for placed in &self.parts {
            let number = placed.number();
            if number < expected {
                flaws.push(Flaw::Wrong(format!(
                    "{}: there is another part {number}",
                    placed.part.name
                )));
                continue;
            }
            if number > expected {
                let missing: Vec<String> = (expected..number)
                    .take(MOST_NAMED)
                    .map(|one| one.to_string())
                    .collect();
                flaws.push(Flaw::Missing(format!(
                    "missing: part {}",
                    missing.join(", ")
                )));
            }
            if (number > 1) != placed.cut.collection.resumes.is_some() {
                flaws.push(Flaw::Wrong(format!(
                    "{}: it does not say truly which part it is",
                    placed.part.name
                )));
            }
            expected = number.saturating_add(1);
        }
        self.flaws.append(&mut flaws);
    }

    /// Joins the part at `after` to the one before it.
    fn join(&mut self, after: usize) {
        let (before, rest) = self.parts.split_at_mut(after);
        let ([.., before], [this, ..]) = (before, rest) else {
            return;
        };
        let (number, next) = (before.number(), this.number());
        let Some(resumes) = &this.cut.collection.resumes else {
            return;
        };
        if number.saturating_add(1) != next {
            // Parts are missing between them, or one is there twice: that is told already.
            return;
        }
        let marks = &before.cut.marks;
        let named = marks.iter().position(|mark| {
            mark.hash == resumes.checkpoint_blake3 && mark.head.checkpoint == resumes.checkpoint
        });
        match named {
            Some(at) => before.cut.marks.truncate(at + 1),
            None => {
                let what = format!(
                    "{} goes on from checkpoint {} of part {number}, which {} does not hold: it \
                     was altered, it was cut again since, or it is of another collection",
                    this.part.name, resumes.checkpoint, before.part.name
                );
                self.flaws.push(Flaw::Wrong(what));
            }
        }
    }

    fn check_last(&mut self) {
        let Some(last) = self.parts.last() else {
            self.flaws
                .push(Flaw::Missing("there is no part that can be read".into()));
            return;
        };
        let name = &last.part.name;
        let has_end = last.cut.is_complete() && ArchiveReader::open(last.part.bytes()).is_ok();
        let flaw = match last.part.ending() {
            Some(Ending::Altered(what)) => {
                Flaw::Wrong(format!("{name}: the ciphertext was altered: {what}"))
            }
            None | Some(Ending::Whole) if has_end => return,
            _ => Flaw::Missing(format!(
                "{name}, the last part that is there, was cut off: name the part that goes on from \
                 it, or make one with collect --resume"
            )),
        };
        self.flaws.push(flaw);
    }
}

/// Sees a payload file: its member, its line, and its segments where it has more than one.
pub(crate) type SeeFile<'a> = dyn FnMut(&Found, &FileLine, &[u64]) -> Result<(), String> + 'a;

/// Missing parts that are told by their numbers.
const MOST_NAMED: usize = 20;

impl Placed<'_> {
    pub(crate) fn number(&self) -> u32 {
        self.cut.collection.part
    }

    pub(crate) fn archive(&self) -> Arc<dyn ReadAt> {
        self.part.archive.clone()
    }

    /// What decodes its members, though it has no central directory.
    pub(crate) fn reader(&self) -> ArchiveReader<'_> {
        ArchiveReader {
            source: self.part.bytes(),
            directory: Directory::NONE,
        }
    }

    /// A member without the bundle's folder.
    pub(crate) fn member(&self, found: &Found) -> Member {
        let name = found.name.strip_prefix(&self.cut.folder);
        Member {
            name: name.unwrap_or(&found.name).to_owned(),
            facts: found.facts,
            offset: found.offset,
        }
    }

    /// Shows the payload files that count.
    pub(crate) fn visit_files(&self, see: &mut SeeFile<'_>) -> Result<(), String> {
        for number in 0..self.cut.marks.len() {
            self.cut.visit(number, &mut |piece| match piece {
                Piece::Payload(found, line, segments) => see(found, line, segments),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }
}
