//! Where observations and warnings go.

use std::sync::Arc;

use crate::{ArtefactId, Observation, Warning};

/// Takes what a parser finds in one unit of work, in the order of the input.
pub trait Sink {
    /// A record.
    fn observe(&mut self, observation: &Observation<'_>);
    /// A loss.
    fn warn(&mut self, warning: Warning);
}

/// What is known of a parsed stream before the first byte is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Which artefact's parser speaks.
    pub artefact: ArtefactId,
    /// A bundle's payload id, or the base file name of an image.
    pub source: Arc<str>,
    /// The evidence's own name for its machine.
    pub host: Option<Arc<str>>,
    /// Its machine SID, machine-id or volume id.
    pub host_id: Option<Arc<str>>,
    /// The streams' identities as text ([`StreamId`](crate::StreamId)): the parsed one, then
    /// its companions in the descriptor's order (an absent one is an empty text).
    pub streams: Vec<Arc<str>>,
}

/// Makes something of observations: rows, lines of text, counts.
///
/// The engine opens a unit for each piece of a stream, fills units on any thread, and joins
/// them in the order of the input, so that the result does not depend on threads.
pub trait Consumer: Sync {
    /// What collects one unit.
    type Unit: Sink + Send;

    /// A fresh unit.
    fn unit(&self, context: &Arc<Context>) -> Self::Unit;

    /// Takes a finished unit; called in input order, never by two threads at once.
    ///
    /// # Errors
    /// What stops the work: a full disk, a closed pipe.
    fn join(&self, unit: Self::Unit) -> std::io::Result<()>;
}
