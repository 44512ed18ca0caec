//! The audit log: its chain, and what is asked of it.

use crate::{limits::LINE_LIMIT, records::AuditChain};

pub(super) const NAME: &str = "records/audit.jsonl";
pub(super) const NOT_CHAINED: &str = "its lines are not chained: one was altered or taken out";

/// The audit log as it is read, piece after piece.
#[derive(Default)]
pub(super) struct AuditLog {
    chain: AuditChain,
    line: Vec<u8>,
    is_broken: bool,
}

impl AuditLog {
    /// Takes the next piece.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() > LINE_LIMIT {
                self.is_broken = true;
                return;
            }
            self.line.extend_from_slice(piece);
            if let Some(whole) = self.line.strip_suffix(b"\n") {
                self.is_broken |= self.chain.check(whole).is_err();
                self.line.clear();
            }
        }
    }

    /// Whether each line follows the one before, and the last is whole.
    pub(super) fn is_chained(&self) -> bool {
        !self.is_broken && self.line.is_empty()
    }

    /// The time-stamping service that was asked.
    pub(super) fn asked_time(self) -> Option<String> {
        self.chain.asked_time
    }
}
