//! NTFS, from bytes to structs.

mod name;
pub mod paths;

pub use name::{MAX_NAME_UNITS, push_component, push_wtf8};
