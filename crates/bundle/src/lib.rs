//! Write, seal, read and verify bundles.
