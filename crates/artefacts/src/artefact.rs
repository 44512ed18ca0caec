//! What an artefact says of itself.

use scelle_event::{ArtefactId, Schema};

use crate::{Candidate, ParseAlone, Parser};

/// A kind of trace that is understood.
pub trait Artefact: Send + Sync {
    /// What it is, where it lives, by which specification it is read.
    fn descriptor(&self) -> &'static Descriptor;

    /// Whether a stream is of this kind. A name alone never decides: content does, and the name
    /// may only rule out what content can't tell apart.
    fn recognises(&self, candidate: &Candidate<'_>) -> bool;

    /// How it is parsed.
    fn parser(&self) -> Parser;

    /// How one record is parsed from no more of the stream than it rests on, where it can be: what a
    /// proof of one row holds.
    fn alone(&self) -> Option<&dyn ParseAlone> {
        None
    }

    /// Whether it is looked for only where somebody asks for it: its places are exact, no walk shows
    /// them, and to read them takes long.
    fn is_on_request(&self) -> bool {
        false
    }
}

/// What help text, collection plan, reference page and tests need to know of an artefact.
#[derive(Debug)]
pub struct Descriptor {
    /// Its id, `os.kebab-case`.
    pub id: ArtefactId,
    /// What it tells, in one sentence.
    pub summary: &'static str,
    /// Where it usually lies, as path patterns from a volume's root.
    pub locations: &'static [&'static str],
    /// The specifications that its parser was written from.
    pub specifications: &'static [&'static str],
    /// The kinds of record that it yields.
    pub schemas: &'static [&'static Schema],
    /// The other streams that its parser can use, in the order of their [`StreamRef`]s.
    ///
    /// [`StreamRef`]: scelle_event::StreamRef
    pub companions: &'static [Companion],
}

/// Another stream that completes an artefact: a hive's logs, a database's WAL, a journal's `$MFT`.
#[derive(Debug)]
pub struct Companion {
    /// What it is called in this artefact.
    pub name: &'static str,
    /// Where it lies: a suffix to the stream's own path (`-wal`, `.LOG1`), or, with a leading
    /// `/`, a path from the volume's root (`/$MFT`, `/FILE:STREAM`).
    pub location: &'static str,
}
