//! Development only: corpus, samples, golden files.

mod corpus;
mod golden;
mod mft;
mod rendered;
mod samples;
mod unpacked;

pub use corpus::{Corpus, unpack};
pub use golden::compare_golden;
pub use mft::MftRecord;
pub use rendered::{Rendered, RenderedUnit};
pub use samples::{Sample, testdata};
pub use unpacked::image;
