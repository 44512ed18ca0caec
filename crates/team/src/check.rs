//! What a profile must say.

use jiff::{civil, tz::TimeZone};
use scelle_bundle::{Certificate, Recipient};
use scelle_engine::{
    Profile,
    profile::{self, BUILT_IN, parse_size},
};
use scelle_event::{Tlp, json::write_hex};
use scelle_formats::Digests;

use crate::{Contact, Fault, Hours, Team, text};

/// The number of the format of these files.
const FORMAT: u32 = 1;
/// A file that is larger is no profile of a team.
const MOST_BYTES: usize = 1 << 20;
const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

pub(crate) fn read(bytes: &[u8], signature: Option<&[u8]>, now: u32) -> Result<Team, Vec<Fault>> {
    let file = |what: String| {
        vec![Fault {
            element: "file".into(),
            what,
        }]
    };
    if bytes.len() > MOST_BYTES {
        return Err(file(format!(
            "it has {} bytes; a team profile is a short text",
            bytes.len()
        )));
    }
    let words = std::str::from_utf8(bytes)
        .map_err(|_| file("it is no text in UTF-8: save it again as UTF-8".into()))?;
    let text: text::Text = toml::from_str(words).map_err(|error| {
        let line = error.span().map(|span| {
            let before = words.as_bytes().get(..span.start).unwrap_or_default();
            before.iter().filter(|byte| **byte == b'\n').count() + 1
        });
        let line = line.map(|line| format!("line {line}: "));
        file(format!("{}{}", line.unwrap_or_default(), error.message()))
    })?;
    let mut faults = Faults(Vec::new());
    let team = faults.team(text, bytes, signature, now);
    match team {
        Some(team) if faults.0.is_empty() => Ok(team),
        _ => Err(faults.0),
    }
}

/// Gathers what is wrong.
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, element: &str, what: impl Into<String>) {
        self.0.push(Fault {
            element: element.into(),
            what: what.into(),
        });
    }

    /// A value, or that it is missing.
    fn need<T>(&mut self, element: &str, value: Option<T>, advice: &str) -> Option<T> {
        if value.is_none() {
            self.add(element, format!("it is missing: {advice}"));
        }
        value
    }

    /// A text that is there and not blank.
    fn words(&mut self, element: &str, value: Option<String>, advice: &str) -> Option<String> {
        let value = value.map(|value| value.trim().to_owned());
        self.need(element, value.filter(|value| !value.is_empty()), advice)
    }

    /// A value that reads, or what is wrong with it.
    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        element: &str,
        value: Result<T, E>,
        advice: &str,
    ) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(element, format!("{error}; {advice}"));
                None
            }
        }
    }

    /// The whole; `None` where a part is missing, which is told then.
    fn team(
        &mut self,
        text: text::Text,
        bytes: &[u8],
        signature: Option<&[u8]>,
        now: u32,
    ) -> Option<Team> {
        let format = self.need("format", text.format, "write `format = 1`");
        if format.is_some_and(|format| format != FORMAT) {
            self.add(
                "format",
                "only format 1 is known here: a newer program may read it",
            );
        }
        let version = self.need(
            "version",
            text.version,
            "count from 1, and add 1 at each change",
        );
        if version == Some(0) {
            self.add("version", "versions count from 1");
        }
        let date = self.words(
            "date",
            text.date,
            "the day from which it holds, as \"2024-05-29\"",
        );
        let date = date.filter(|date| {
            let read = date.parse::<civil::Date>();
            self.parsed("date", read, "write it as \"2024-05-29\"")
                .is_some()
        });
        let name = self.words("name", text.name, "the team's name, as others know it");
        let address = self.words("address", text.address, "where the team can be written to");
        let zone = self.words(
            "zone",
            text.zone,
            "the team's time zone, as \"Europe/Paris\"",
        );
        let zone = zone.filter(|zone| {
            let known = TimeZone::get(zone);
            self.parsed(
                "zone",
                known,
                "write a name of the time zone database, as \"Europe/Paris\"",
            )
            .is_some()
        });
        let hours = self.hours(text.hours);
        let contacts = self.contacts(text.contacts);
        let tlp = self.words(
            "tlp",
            text.tlp,
            "the label of what is collected, as \"TLP:AMBER\"",
        );
        let tlp = tlp.and_then(|tlp| self.parsed("tlp", tlp.parse::<Tlp>(), "choose one"));
        if tlp.is_some_and(|tlp| tlp < Tlp::Amber) {
            self.add(
                "tlp",
                "as a default it must be TLP:AMBER or stricter, since nobody has looked at what is \
                 collected yet; a freer label can be chosen for a single case",
            );
        }
        let profile = self.words("profile", text.profile, "what is collected, as \"triage\"");
        let profile = profile.and_then(|profile| {
            // What stands in a file is not under this signature.
            let mut names = profile.split(',').map(str::trim);
            if let Some(name) = names.find(|name| BUILT_IN.iter().all(|(known, _)| known != name)) {
                self.add(
                    "profile",
                    format!(
                        "{name:?} is not built in (`scelle profiles` lists those that are), and this signature \
                         would say nothing of what stands in a file: name a file of your own to \
                         `scelle forge --profile`"
                    ),
                );
                return None;
            }
            let read = Profile::load_list(&profile);
            self.parsed(
                "profile",
                read,
                "`scelle profiles` lists those that are built in",
            )
        });
        let limits = profile::Limits {
            max_file_bytes: self.size("limits.max_file", text.limits.max_file),
            max_total_bytes: self.size("limits.max_total", text.limits.max_total),
        };
        let key = self.key(text.key, bytes, signature, now);
        let (fingerprint, certificate, recipient) = key?;
        Some(Team {
            version: version?,
            date: date?,
            name: name?,
            address: address?,
            zone: zone?,
            hours: hours?,
            contacts,
            tlp: tlp?,
            profile: profile?,
            limits,
            fingerprint,
            certificate,
            recipient,
            blake3: hex(&Digests::of(bytes).blake3),
        })
    }

    fn hours(&mut self, hours: text::Hours) -> Option<Hours> {
        if hours.days.is_empty() {
            self.add(
                "hours.days",
                "it is missing: the days, as [\"monday\", \"tuesday\"]",
            );
        }
        let days: Vec<String> = hours.days.iter().map(|day| day.to_lowercase()).collect();
        for day in days.iter().filter(|day| !DAYS.contains(&day.as_str())) {
            self.add(
                "hours.days",
                format!("{day:?} is no day: write it in English, as \"monday\""),
            );
        }
        let mut time = |element: &str, value: Option<String>| {
            let value = self.words(element, value, "a time of the day, as \"08:00\"")?;
            let read = value.parse::<civil::Time>();
            self.parsed(element, read, "write it as \"08:00\"")?;
            Some(value)
        };
        let (from, to) = (time("hours.from", hours.from), time("hours.to", hours.to));
        Some(Hours {
            days,
            from: from?,
            to: to?,
            note: hours.note,
        })
    }

    fn contacts(&mut self, contacts: Vec<text::Contact>) -> Vec<Contact> {
        if contacts.is_empty() {
            self.add(
                "contacts",
                "there is none: add a [[contacts]] with a name, and a mail address or a telephone \
                 number",
            );
        }
        let mut read = Vec::new();
        for (number, contact) in contacts.into_iter().enumerate() {
            let element = format!("contacts, number {}", number + 1);
            if contact.mail.is_none() && contact.telephone.is_none() {
                self.add(
                    &element,
                    "it has neither `mail` nor `telephone`: nobody can reach it",
                );
            }
            if contact
                .mail
                .as_ref()
                .is_some_and(|mail| !mail.contains('@'))
            {
                self.add(&element, "`mail` is no address: it lacks the @");
            }
            let name = self.words(
                &element,
                contact.name,
                "`name`: who it is, or in which role",
            );
            read.extend(name.map(|name| Contact {
                name,
                mail: contact.mail,
                telephone: contact.telephone,
            }));
        }
        read
    }

    fn size(&mut self, element: &str, value: Option<String>) -> Option<u64> {
        let read = parse_size(&value?);
        self.parsed(element, read, "write a number and a unit, as \"2 GiB\"")
    }

    /// Fingerprint, certificate, and what can be done with it; and the signature by it.
    fn key(
        &mut self,
        key: text::Key,
        bytes: &[u8],
        signature: Option<&[u8]>,
        now: u32,
    ) -> Option<(String, String, Recipient)> {
        let fingerprint = self.words(
            "key.fingerprint",
            key.fingerprint,
            "all 40 (or 64) digits that `gpg --fingerprint` shows",
        );
        let certificate = self.words(
            "key.certificate",
            key.certificate,
            "what `gpg --armor --export` prints, between \"\"\" and \"\"\"",
        );
        if signature.is_none() {
            self.add(
                "signature",
                "there is none: sign the file with the team's key, with `gpg --armor --detach-sign \
                 FILE` or `scelle team sign FILE --key KEY`; the signature lies beside it as FILE.asc",
            );
        }
        let (fingerprint, certificate) = (fingerprint?, certificate?);
        let read = Certificate::read(certificate.as_bytes());
        let team = self.parsed("key.certificate", read, "export it again")?;
        if let Some(signature) = signature
            && let Err(what) = team.check_file(bytes, signature, now)
        {
            self.add(
                "signature",
                format!("{what}; if you changed the file yourself, sign it again"),
            );
        }
        let recipient = match Recipient::read(certificate.as_bytes(), &fingerprint, now) {
            Ok(recipient) => recipient,
            Err(error) => {
                self.add("key", error.to_string());
                return None;
            }
        };
        Some((recipient.fingerprint().to_owned(), certificate, recipient))
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    write_hex(&mut text, bytes);
    String::from_utf8_lossy(&text).into_owned()
}
