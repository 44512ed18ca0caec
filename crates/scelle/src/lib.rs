//! Scellé: forensic triage, sealed evidence and timelines.
//!
//! The face of the library: what is below is re-exported, and the few calls that most embedders
//! need stand here: [`open`] any source, [`collect`] what a profile asks for into a sealed
//! bundle, [`verify`] it, and, with the feature `timeline`, make a timeline of it.
//!
//! ```
//! use scelle::{
//!     Destination, Order, Verdict, VerifyOptions,
//!     engine::{Plan, Profile, Progress, profile::Limits},
//!     event::Tlp,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("notes.txt");
//! std::fs::write(&path, "evidence")?;
//!
//! // What is there, and what of it is taken.
//! let progress = Progress::default();
//! let source = scelle::open(&path)?;
//! let profile = Profile::load("everything")?;
//! let plan = Plan::new(source.evidence(), profile, Limits::default(), &progress);
//!
//! // One sealed bundle, under a key that is made for this run.
//! let bundle = folder.path().join("case.scelle.zip");
//! let order = Order::new("case", Tlp::Amber, "notes.txt");
//! let destination = Destination::File { path: bundle.clone(), force: false };
//! let collected = scelle::collect(&source, &plan, order, destination, &progress)?;
//! assert_eq!((collected.files, collected.losses), (1, 0));
//!
//! // Whoever has written the root down knows that it is unchanged.
//! let options = VerifyOptions { root: Some(collected.root), ..VerifyOptions::default() };
//! let checked = scelle::verify(&bundle, &options, &progress)?;
//! assert_eq!(checked.verdict, Verdict::Sealed);
//!
//! // A bundle is a source like any other.
//! let sealed = scelle::open(&bundle)?;
//! let (id, stream) = sealed.stream("notes.txt")?;
//! assert_eq!((id.to_string().as_str(), stream.len()), ("file/notes.txt", 8));
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "timeline")]
mod analyse;
mod collect;
mod collection;
mod further_part;
mod key;
mod known;
mod label;
mod order;
mod parts;
mod planned;
mod prepared;
mod program;
#[cfg(feature = "timeline")]
mod prove;
mod resume;
mod salvage;
mod side;
mod source;
mod stamp;
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
pub use collect::{collect, collect_into};
pub use key::{ReadKey, is_ciphertext};
pub use label::{ClaimedLabel, claimed_label};
pub use order::{CollectError, Collected, Destination, Order, PreparedRun, recipient, run_key};
pub use parts::{parts_of, verify_parts};
pub use planned::{PlannedDelivery, PlannedLogin, PlannedS3, PlannedSecret, PlannedSftp};
pub use prepared::{
    ForgeError, Forged, PlannedRecipient, Prepared, PreparedError, PreparedPlan, forge,
};
pub use program::own_program;
#[cfg(feature = "timeline")]
pub use prove::{CheckedRow, ProveError, RowAt, check_proof, prove, rows_of_key};
pub use resume::resume;
pub use salvage::{SalvageOrder, salvage};
pub use scelle_bundle::{
    Certificate, DecryptKey, Recipient, SealKey, StampAuthority, Verdict, Verification,
    VerifyOptions,
};
pub use scelle_parallel::use_threads;
pub use source::{
    BundleFacts, OpenError, Source, open, open_file, open_input, open_with, open_with_key,
    show_loss,
};
pub use stamp::{StampAddressError, StampService};
#[cfg(feature = "extract")]
pub use verify::extract;
pub use verify::{VerifyError, verify, verify_with_key};
