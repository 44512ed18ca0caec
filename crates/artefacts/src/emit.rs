//! What a parser speaks through.

use std::ops::Range;

use scelle_event::{ArtefactId, Loss, Observation, Provenance, Record, Sink, Span, Stamp, Warning};
use scelle_formats::DecodeError;

/// Passes observations and warnings on, and counts them.
pub struct Emitter<'a> {
    artefact: ArtefactId,
    sink: &'a mut dyn Sink,
}

impl<'a> Emitter<'a> {
    /// An emitter of that artefact's parser.
    pub fn new(artefact: ArtefactId, sink: &'a mut dyn Sink) -> Self {
        Self { artefact, sink }
    }

    /// A record that lies in `range` of the parsed stream.
    pub fn observe(&mut self, range: Range<u64>, times: &[Stamp], record: &dyn Record) {
        self.observe_at(Span::new(range).into(), times, record);
    }

    /// A record, with all that is known of where it was read.
    pub fn observe_at(&mut self, provenance: Provenance, times: &[Stamp], record: &dyn Record) {
        self.sink.observe(&Observation {
            times,
            provenance,
            record,
        });
    }

    /// A loss in `range` of the parsed stream.
    pub fn warn(&mut self, range: Range<u64>, loss: Loss, cause: impl Into<String>) {
        self.warn_at(Span::new(range).into(), loss, cause);
    }

    /// A loss, with all that is known of where.
    pub fn warn_at(&mut self, provenance: Provenance, loss: Loss, cause: impl Into<String>) {
        self.sink.warn(Warning {
            artefact: self.artefact,
            provenance,
            loss,
            cause: cause.into(),
        });
    }

    /// Keeps a value that decoded, or warns that `field` in `range` was lost.
    pub fn salvage<T>(
        &mut self,
        range: Range<u64>,
        field: &'static str,
        result: Result<T, DecodeError>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.warn(range, Loss::Field(field), error.to_string());
                None
            }
        }
    }
}
