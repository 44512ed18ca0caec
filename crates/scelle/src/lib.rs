//! Scellé: forensic triage, sealed evidence and timelines.
