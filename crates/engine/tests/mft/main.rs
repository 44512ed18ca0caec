//! `ntfs.mft` against what independent tools made of the same files.

mod corpus;
mod hostile;
mod istat;
mod second;
mod seen;
mod sleuthkit;
