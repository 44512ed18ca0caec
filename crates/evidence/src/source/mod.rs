//! Where bytes come from: files and devices of the machine that we run on.

mod aligned;
mod file;
mod map;

pub use aligned::Aligned;
pub use file::FileSource;
pub use map::MapSource;
