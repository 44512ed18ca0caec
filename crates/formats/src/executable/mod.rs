//! Executables: PE, ELF, Mach-O.
//!
//! Each decoder reads through `ReadAt` only what it needs: headers and tables at random places
//! by way of a small cache, then the content once, front to back, for every hash, sum and entropy
//! together. All counts and sizes are checked against the file and against stated limits before
//! anything is allocated or looped over; what is past them is a [`Damage`], and the rest stands.

use std::ops::Range;

use crate::DecodeError;

pub mod elf;
mod entropy;
pub mod macho;
mod order;
mod pass;
pub mod pe;
mod source;
mod text;

pub use entropy::Entropy;

/// A part of an executable that could not be read as its format says; the rest stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The field that is lost or incomplete.
    pub field: &'static str,
    /// Where the damage lies in the stream.
    pub range: Range<u64>,
    /// What is wrong, in one sentence.
    pub cause: String,
}

/// Collects what is damaged, and no more of it than anyone reads.
#[derive(Debug, Default)]
struct Damages {
    list: Vec<Damage>,
    left_out: u64,
}

impl Damages {
    /// A hostile file could have one for each of its bytes.
    const LIMIT: usize = 64;

    fn add(&mut self, field: &'static str, range: Range<u64>, cause: impl Into<String>) {
        if self.list.len() < Self::LIMIT {
            self.list.push(Damage {
                field,
                range,
                cause: cause.into(),
            });
        } else {
            self.left_out += 1;
        }
    }

    /// Keeps a value, or notes why there is none; `at` is where to look when the error names no
    /// offset.
    fn keep<T>(
        &mut self,
        field: &'static str,
        at: u64,
        result: Result<T, impl Into<DecodeError>>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.into();
                let at = error.offset().unwrap_or(at);
                self.add(field, at..at.saturating_add(1), error.to_string());
                None
            }
        }
    }

    fn finish(mut self) -> Vec<Damage> {
        if let (Some(last), 1..) = (self.list.last_mut(), self.left_out) {
            last.cause = format!("{}; and {} further damages", last.cause, self.left_out);
        }
        self.list
    }
}
