//! Scellé: forensic triage, sealed evidence and timelines.
//!
//! The face of the library: what is below is re-exported, and the few calls that most embedders
//! need stand here: [`open`] any source, [`collect`] into a sealed bundle, [`verify`] it, and
//! make a [`timeline`](fn@timeline) of it.

#[cfg(feature = "timeline")]
mod analyse;
mod collect;
mod source;
mod verify;

pub use scelle_artefacts as artefacts;
pub use scelle_bundle as bundle;
pub use scelle_engine as engine;
pub use scelle_event as event;
pub use scelle_evidence as evidence;
pub use scelle_formats as formats;
#[cfg(feature = "timeline")]
pub use scelle_timeline as timeline;

#[cfg(feature = "timeline")]
pub use analyse::{TimelineError, metadata, parse_all, timeline};
pub use collect::{CollectError, Collected, Destination, Order, collect};
pub use scelle_bundle::{Certificate, SealKey, Verdict, Verification, VerifyOptions};
pub use scelle_parallel::use_threads;
pub use source::{
    BundleFacts, OpenError, Source, open, open_file, open_input, open_with, show_loss,
};
pub use verify::{VerifyError, extract, verify};
