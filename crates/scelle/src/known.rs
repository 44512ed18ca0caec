//! What a collection that is gone on with has already.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use scelle_bundle::{Covered, Cursor, Cut, Error, Logged};

/// Lines of coverage and warnings that need no second place.
pub(crate) struct Known {
    lines: Lines,
    warnings: u64,
}

enum Lines {
    /// What was read in the bundle: how often each line is there, by a keyed hash.
    Read(RandomState, HashMap<u64, u32>),
    /// What can't be read: the plan's first lines, up to a cursor.
    Counted { passed: Cursor, until: Cursor },
    /// All that the plan asked for.
    All,
}

const CHANGED: &str = "what the source holds is no longer what it was when the collection was cut off, so nobody \
                       can tell here what is collected already: keep the parts that are there for their \
                       recipient, and collect again under another name";

impl Default for Known {
    fn default() -> Self {
        Self {
            lines: Lines::Counted {
                passed: Cursor::default(),
                until: Cursor::default(),
            },
            warnings: 0,
        }
    }
}

impl Known {
    /// What a cut bundle says.
    pub(crate) fn of(cut: &Cut<'_>) -> Result<(Self, Covered), Error> {
        let state = RandomState::new();
        let mut lines = HashMap::new();
        let covered = cut.visit_coverage(|target, path| {
            // Secret keys: nobody names a file so that another is taken for it.
            *lines.entry(state.hash_one((target, path))).or_insert(0) += 1;
        })?;
        let known = Self {
            lines: Lines::Read(state, lines),
            warnings: covered.warnings,
        };
        Ok((known, covered))
    }

    /// What was logged of parts that can't be read.
    pub(crate) fn logged(logged: &Logged) -> Self {
        let lines = if logged.is_last {
            Lines::All
        } else {
            Lines::Counted {
                passed: Cursor::default(),
                until: logged.cursor,
            }
        };
        Self {
            lines,
            warnings: logged.warnings,
        }
    }

    /// Whether nothing is left to collect; what has come since is not part of it.
    pub(crate) fn is_all(&self) -> bool {
        matches!(self.lines, Lines::All)
    }

    /// Whether nothing else is known.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.lines {
            Lines::Read(_, lines) => lines.is_empty(),
            Lines::Counted { passed, until } => passed.lines() == until.lines(),
            Lines::All => false,
        }
    }

    /// Whether what is known lies in earlier parts.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self.lines, Lines::Counted { .. })
    }

    /// Whether there is that line; each is taken once.
    ///
    /// # Errors
    /// Where the plan's first lines are others than those that were logged.
    pub(crate) fn has(&mut self, target: &str, path: Option<&str>) -> Result<bool, Error> {
        match &mut self.lines {
            Lines::Read(state, lines) => {
                let key = state.hash_one((target, path));
                match lines.get_mut(&key) {
                    Some(count) if *count > 1 => *count -= 1,
                    Some(_) => drop(lines.remove(&key)),
                    None => return Ok(false),
                }
            }
            Lines::Counted { passed, until } => {
                if passed.lines() == until.lines() {
                    return Ok(false);
                }
                passed.pass(target, path);
                if passed.lines() == until.lines() && passed != until {
                    return Err(Error::Format(CHANGED.into()));
                }
            }
            Lines::All => {}
        }
        Ok(true)
    }

    /// Whether there is the next of the warnings that come first.
    pub(crate) fn has_warning(&mut self) -> bool {
        let has = self.warnings > 0;
        self.warnings = self.warnings.saturating_sub(1);
        has
    }

    /// Checks that the plan has all lines that were logged.
    ///
    /// # Errors
    /// Where it ends before.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.is_elsewhere() && !self.is_empty() {
            return Err(Error::Format(CHANGED.into()));
        }
        Ok(())
    }
}
