//! The record itself.

use std::{fmt, str::FromStr};

use scelle_event::{Label, Lowered, Tlp};
use serde::{Deserialize, Serialize};

use crate::{Language, Time, Written, time, words::Phrase, written::unless_blank};

/// The number of the format that this version reads and writes.
pub const FORMAT: u32 = 1;

/// An incident, as it is reported to a CERT. Every element may be missing: [`Incident::gaps`] says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Incident {
    /// The format's number, [`FORMAT`].
    pub format: u32,
    /// The number of the incident, as the team that handles it counts.
    pub id: Option<String>,
    /// The team that gave the number.
    pub team: Option<String>,
    /// The TLP 2.0 label.
    pub tlp: Option<String>,
    /// From what the label was lowered, and why, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tlp_lowered: Option<LoweredLabel>,
    /// How far it is handled.
    #[serde(deserialize_with = "unless_blank")]
    pub status: Option<Written<Status>>,
    /// When.
    pub times: Times,
    /// Whom to ask.
    pub contacts: Vec<Contact>,
    /// What happened, where.
    pub context: Context,
    /// What it costs.
    pub impact: Impact,
    /// What was seen: addresses, ports, protocols, names, files.
    pub indicators: Vec<Indicator>,
    /// Why no indicator is given, where none is.
    pub no_indicators: Option<String>,
}

/// A label that was lowered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoweredLabel {
    /// The label before.
    pub from: String,
    /// Why, in the words of whoever lowered it.
    pub reason: String,
}

/// When it happened and was noticed; each with its time zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Times {
    /// When somebody noticed.
    #[serde(deserialize_with = "time::unless_blank")]
    pub detected: Option<Time>,
    /// When it began, as far as that is known.
    #[serde(deserialize_with = "time::unless_blank")]
    pub started: Option<Time>,
    /// When it ended.
    #[serde(deserialize_with = "time::unless_blank")]
    pub ended: Option<Time>,
    /// When it was reported.
    #[serde(deserialize_with = "time::unless_blank")]
    pub reported: Option<Time>,
}

/// A person or a team to ask.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contact {
    /// The name.
    pub name: Option<String>,
    /// What they have to do with it.
    #[serde(deserialize_with = "unless_blank")]
    pub role: Option<Written<ContactRole>>,
    /// Where they work.
    pub organization: Option<String>,
    /// Their address for mail.
    pub email: Option<String>,
    /// Their telephone number.
    pub phone: Option<String>,
    /// When they can be reached.
    pub hours: Option<String>,
    /// Full fingerprint of their OpenPGP certificate.
    pub openpgp_fingerprint: Option<String>,
}

/// What a contact has to do with the incident; the words are those of RFC 7970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactRole {
    /// Whoever reports it.
    Reporter,
    /// Whoever wrote this record.
    Creator,
    /// Whoever administers the machines.
    Admin,
    /// Whoever knows the technology.
    Tech,
    /// Whoever it happened to.
    Victim,
    /// An incident response team.
    Irt,
    /// Whoever answers for the law.
    Legal,
}

/// What happened, where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Context {
    /// One line.
    pub title: Option<String>,
    /// What was seen and done, in as many lines as it takes.
    pub description: Option<String>,
    /// The organisation, site or service that is touched.
    pub perimeter: Option<String>,
    /// The machines that are touched, by name or address.
    pub systems: Vec<String>,
}

/// What it costs, as estimated now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Impact {
    /// In words: which services, which data, how many people.
    pub description: Option<String>,
    /// How bad.
    #[serde(deserialize_with = "unless_blank")]
    pub severity: Option<Written<Severity>>,
}

/// How bad an impact is; the words are those of RFC 7970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Work goes on.
    Low,
    /// Work is hindered.
    Medium,
    /// Work has stopped, or data are lost or known to others.
    High,
}

/// How far an incident is handled; the words are those of RFC 7970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nobody handles it yet.
    New,
    /// It is handled.
    InProgress,
    /// It was given to another team.
    Forwarded,
    /// It is over.
    Resolved,
}

/// Something that was seen: a flow from a source to a destination, a name, a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Indicator {
    /// When it was seen.
    #[serde(deserialize_with = "time::unless_blank")]
    pub seen: Option<Time>,
    /// Address or name that a flow came from.
    pub source: Option<String>,
    /// Its port.
    #[serde(deserialize_with = "unless_blank")]
    pub source_port: Option<Written<u16>>,
    /// Address or name that a flow went to.
    pub destination: Option<String>,
    /// Its port.
    #[serde(deserialize_with = "unless_blank")]
    pub destination_port: Option<Written<u16>>,
    /// `tcp`, `udp`, `icmp`, `https`, …, or an IANA number.
    pub protocol: Option<String>,
    /// A domain name.
    pub domain: Option<String>,
    /// An address of a page or a service.
    pub url: Option<String>,
    /// An address for mail.
    pub email: Option<String>,
    /// A file's name or path.
    pub file: Option<String>,
    /// MD5, SHA-1, SHA-256 or SHA-512 of a file, in hex digits.
    pub hash: Option<String>,
    /// What it means.
    pub note: Option<String>,
}

/// Why a text is no incident record. What a decoder said stands in the message, and not behind it again.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// It is no TOML, or has an element that is not known; the line and the column of it, from 1.
    Toml(toml::de::Error, Option<(usize, usize)>),
    /// It is no text.
    Text(std::str::Utf8Error),
    /// It is no JSON, or has an element that is not known.
    Json(serde_json::Error),
    /// It is of a later format.
    Format(u32),
}

impl ReadError {
    /// What is wrong and what to do, for whoever wrote the file; what a decoder says of the place is in English.
    pub fn message(&self, language: Language) -> String {
        let (phrase, found) = match self {
            Self::Toml(error, place) => return not_toml(error.message(), *place, language),
            Self::Text(error) => (Phrase::NotText, error.to_string()),
            Self::Json(error) => (Phrase::NotSealed, error.to_string()),
            Self::Format(format) => (Phrase::NewerFormat, format.to_string()),
        };
        phrase.in_language(language).replace("{}", &found)
    }
}

/// What a person would mend where TOML can't be read; the decoder's own words stand behind it, for whoever knows TOML.
fn not_toml(what: &str, place: Option<(usize, usize)>, language: Language) -> String {
    let unknown = what
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split('`').next());
    let odd = [
        "invalid type",
        "invalid value",
        "data did not match",
        "missing field",
    ];
    let phrase = match unknown {
        Some(_) => Phrase::UnknownElement,
        None if what.starts_with("duplicate ") => Phrase::TwiceElement,
        None if odd.iter().any(|begin| what.starts_with(begin)) => Phrase::OddValue,
        None => Phrase::BadSyntax,
    };
    let mut text = String::new();
    if let Some((line, column)) = place {
        let at = Phrase::Place.in_language(language);
        let at = at.replacen("{}", &line.to_string(), 1);
        text += &at.replacen("{}", &column.to_string(), 1);
    }
    let said = phrase.in_language(language);
    text += &said.replace("{}", unknown.unwrap_or_default());
    if unknown.is_none() {
        text += &format!(" (TOML: {})", what.replace('\n', ", "));
    }
    text
}

/// The line and the column of a byte, from 1.
fn place(text: &str, at: usize) -> Option<(usize, usize)> {
    let before = text.get(..at)?;
    let line = before.rsplit('\n').next().unwrap_or_default();
    Some((before.matches('\n').count() + 1, line.chars().count() + 1))
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(Language::English))
    }
}

impl std::error::Error for ReadError {}

impl Incident {
    /// Reads either form, told apart by the first character: JSON begins with a brace.
    ///
    /// # Errors
    /// Where it is no record at all.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        match bytes.trim_ascii_start().first() {
            Some(b'{') => Self::from_json(bytes),
            _ => Self::from_toml(str::from_utf8(bytes).map_err(ReadError::Text)?),
        }
    }

    /// Reads what a person wrote.
    ///
    /// # Errors
    /// Where it is no record at all; what is missing is a [gap](Self::gaps).
    pub fn from_toml(text: &str) -> Result<Self, ReadError> {
        toml::from_str::<Self>(text)
            .map_err(|error| {
                let place = error.span().and_then(|span| place(text, span.start));
                ReadError::Toml(error, place)
            })?
            .of_known_format()
    }

    /// Reads what was sealed.
    ///
    /// # Errors
    /// Where it is no record.
    pub fn from_json(text: &[u8]) -> Result<Self, ReadError> {
        serde_json::from_slice::<Self>(text)
            .map_err(ReadError::Json)?
            .of_known_format()
    }

    /// The record as it is sealed.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a record is plain data");
        text.push(b'\n');
        text
    }

    /// The label, where there is one that TLP 2.0 knows.
    pub fn label(&self) -> Option<Tlp> {
        self.tlp.as_deref()?.parse().ok()
    }

    /// The label that binds what is made of it: its own, or the strictest where one is said that can't be read, since
    /// it may be that.
    pub fn binding_label(&self) -> Option<Tlp> {
        let said = is_said(self.tlp.as_deref());
        said.then(|| self.label().unwrap_or(Tlp::Red))
    }

    /// Gives it another label; where that is freer than the one it had, the record says so from then on.
    pub fn relabel(&mut self, label: Label) {
        self.tlp = Some(label.tlp.name().to_owned());
        if let Some(Lowered { from, reason }) = label.lowered {
            let from = from.name().to_owned();
            self.tlp_lowered = Some(LoweredLabel { from, reason });
        }
    }

    fn of_known_format(mut self) -> Result<Self, ReadError> {
        match self.format {
            0 => self.format = FORMAT,
            FORMAT => {}
            other => return Err(ReadError::Format(other)),
        }
        Ok(self)
    }
}

impl Contact {
    /// Whether there is a way to reach them.
    pub fn is_reachable(&self) -> bool {
        is_said(self.email.as_deref()) || is_said(self.phone.as_deref())
    }
}

impl Indicator {
    /// Whether it is a flow between two machines: a port or a protocol belongs to one.
    pub fn is_flow(&self) -> bool {
        let texts = [&self.source, &self.destination, &self.protocol];
        let ports = [&self.source_port, &self.destination_port];
        texts.into_iter().any(|one| is_said(one.as_deref()))
            || ports.into_iter().any(Option::is_some)
    }
}

/// Whether something was said that is not blank.
pub(crate) fn is_said(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.trim().is_empty())
}

macro_rules! names {
    ($type:ty, $($variant:ident = $name:literal),+) => {
        impl $type {
            /// The word of RFC 7970.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(()),
                }
            }
        }
    };
}

names!(Severity, Low = "low", Medium = "medium", High = "high");
names!(
    Status,
    New = "new",
    InProgress = "in-progress",
    Forwarded = "forwarded",
    Resolved = "resolved"
);
names!(
    ContactRole,
    Reporter = "reporter",
    Creator = "creator",
    Admin = "admin",
    Tech = "tech",
    Victim = "victim",
    Irt = "irt",
    Legal = "legal"
);
