//! The profile of a team: who a CERT is, and how its collectors work.
//!
//! A profile is a TOML file with a detached OpenPGP signature beside it, `FILE.asc`, by the key whose
//! certificate stands in it. It has a version, and holds until one with a higher number appears.
//! `testdata/team/example.toml` shows every element; its facts are those that a CERT's public
//! charter states (RFC 2350).
//!
//! The certificate vouches for the file that it stands in: that says only that nobody else changed
//! it. Who got it by a way that is not safe compares the fingerprint with the one that they know.

mod check;
mod text;

use std::fmt;

use scelle_bundle::{Certificate, Recipient};
use scelle_engine::{Profile, profile::Limits};
use scelle_event::Tlp;

/// A profile that was checked.
#[derive(Clone)]
pub struct Team {
    /// Its number: the highest holds.
    pub version: u32,
    /// The day from which it holds, as `2024-05-29`.
    pub date: String,
    /// The team's name.
    pub name: String,
    /// Where it can be written to.
    pub address: String,
    /// Its time zone, as `Europe/Paris`.
    pub zone: String,
    /// When it can be reached.
    pub hours: Hours,
    /// Whom to reach.
    pub contacts: Vec<Contact>,
    /// The label of what is collected, unless another is asked for.
    pub tlp: Tlp,
    /// What is collected, unless something else is asked for.
    pub profile: Profile,
    /// The most that is collected.
    pub limits: Limits,
    /// The full fingerprint of its key, in upper-case hex.
    pub fingerprint: String,
    /// Its certificate, armoured.
    pub certificate: String,
    /// Whom bundles are encrypted for: the team.
    pub recipient: Recipient,
    /// BLAKE3 of the file, in hex.
    pub blake3: String,
}

/// When a team can be reached, in its own zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// The days: `monday` to `sunday`.
    pub days: Vec<String>,
    /// From when on, as `08:00`.
    pub from: String,
    /// Until when, as `18:00`.
    pub to: String,
    /// What else has to be known: an on-call number.
    pub note: Option<String>,
}

/// Whom to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Who, or in which role.
    pub name: String,
    /// An address for mail.
    pub mail: Option<String>,
    /// A telephone number.
    pub telephone: Option<String>,
}

/// Something that is wrong with a profile, said so that whoever wrote it knows what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The element, as it is called in the file; `file` for the whole, `signature` for `FILE.asc`.
    pub element: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.element, self.what)
    }
}

impl Team {
    /// Reads a profile and its signature, and checks both at the time `now`, in seconds since 1970.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(text: &[u8], signature: Option<&[u8]>, now: u32) -> Result<Self, Vec<Fault>> {
        check::read(text, signature, now)
    }

    /// Its certificate, read again.
    ///
    /// # Errors
    /// None that [`read`](Self::read) would not have told.
    pub fn certificate(&self) -> Result<Certificate, scelle_bundle::Error> {
        Certificate::read(self.certificate.as_bytes())
    }
}
