//! What is read here of what others wrote, with no disk and no line between: for whoever hands over hostile bytes.

use crate::{Failure, journal, s3::Answer, sftp::Listed};

/// How many pieces a journal (`NAME.delivery`) says that the store has; `None` where not even its first line is whole.
///
/// # Errors
/// A sentence that says why it is no journal.
pub fn journal_pieces(text: &[u8]) -> Result<Option<usize>, String> {
    Ok(journal::parse(text)?.map(|read| read.sent.len()))
}

/// How many keys a file of known hosts has for a host, without those that it revokes.
pub fn known_keys(text: &str, host: &str, port: u16) -> usize {
    Listed::read(text, host, port).keys.len()
}

/// What an S3 service's answer means: whether it says that it made an object.
///
/// # Errors
/// What it refuses or could not do, in words that a terminal may show.
pub fn is_made(status: u16, body: &str) -> Result<bool, String> {
    let answer = Answer::new(status, body);
    if answer.is_success() {
        return Ok(answer.is_made());
    }
    Err(match answer.refusal("s3://vault/a") {
        Failure::Passing(why) => why,
        Failure::Final(error) => error.to_string(),
    })
}
