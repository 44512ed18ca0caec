//! Development only: corpus, samples, golden files.

mod corpus;

pub use corpus::{Corpus, unpack};
