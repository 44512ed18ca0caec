//! `ntfs.mft` against what independent tools made of the same files.

mod corpus;
mod seen;
mod sleuthkit;
