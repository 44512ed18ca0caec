//! A record laid out for people, before it becomes Markdown, HTML or PDF.

use jiff::tz::TimeZone;
use scelle_event::Tlp;

use crate::{
    Contact, ContactRole, Incident, Indicator, Language, Severity, Status, Time, Written,
    protocol::{ip_protocol, is_service},
    record::is_said,
    words::Phrase,
};

/// A record as headings, facts, paragraphs and tables, in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The language.
    pub language: Language,
    /// The label that stands on every page.
    pub label: Tlp,
    /// The title.
    pub title: String,
    /// The sections.
    pub sections: Vec<Section>,
}

/// A heading and what stands under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// What stands under it.
    pub blocks: Vec<Block>,
}

/// What stands under a heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A heading below the section's.
    Heading(String),
    /// Text; a blank line parts paragraphs.
    Text(String),
    /// Names and values.
    Facts(Vec<(String, String)>),
    /// A list.
    List(Vec<String>),
    /// A table, with the names of its columns first.
    Table {
        /// The names of the columns.
        head: Vec<String>,
        /// The rows, each as long as `head`.
        rows: Vec<Vec<String>>,
    },
}

/// Why a record can't be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// It has no label, and a report without one may not leave.
    #[error("the record has no TLP 2.0 label: set `tlp` first")]
    NoLabel,
    /// The XML writer failed.
    #[error("writing XML")]
    Xml(#[from] std::io::Error),
    /// The PDF library failed.
    #[error("writing PDF: {0}")]
    Pdf(String),
    /// The record lacks what the exchange format demands.
    #[error("IODEF demands what the record lacks: {0}")]
    Lacks(String),
}

impl Document {
    /// Lays a record out; times stand as they were written, in UTC, and in the team's `zone` where one is given.
    ///
    /// What is missing is listed first, so that an incomplete report is never taken for a complete one.
    ///
    /// # Errors
    /// [`RenderError::NoLabel`] for a record without a label.
    pub fn new(
        incident: &Incident,
        language: Language,
        zone: Option<&TimeZone>,
    ) -> Result<Self, RenderError> {
        let label = incident.label().ok_or(RenderError::NoLabel)?;
        let writer = Writer {
            incident,
            language,
            zone,
        };
        let mut title = writer.say(Phrase::Report).to_owned();
        if let Some(id) = said(&incident.id) {
            title = format!("{title} {id}");
        }
        let mut sections = Vec::new();
        sections.extend(writer.missing());
        sections.push(writer.summary(label));
        sections.push(writer.times());
        sections.push(writer.contacts());
        sections.push(writer.context());
        sections.push(writer.impact());
        sections.push(writer.indicators());
        sections.retain(|section| !section.blocks.is_empty());
        Ok(Self {
            language,
            label,
            title,
            sections,
        })
    }
}

struct Writer<'a> {
    incident: &'a Incident,
    language: Language,
    zone: Option<&'a TimeZone>,
}

impl Writer<'_> {
    fn say(&self, phrase: Phrase) -> &'static str {
        phrase.in_language(self.language)
    }

    fn section(&self, heading: Phrase, blocks: Vec<Block>) -> Section {
        Section {
            heading: self.say(heading).to_owned(),
            blocks,
        }
    }

    fn facts(&self, facts: Vec<(Phrase, Option<String>)>) -> Vec<Block> {
        let facts: Vec<_> = facts
            .into_iter()
            .filter_map(|(name, value)| Some((self.say(name).to_owned(), value?)))
            .collect();
        if facts.is_empty() {
            Vec::new()
        } else {
            vec![Block::Facts(facts)]
        }
    }

    /// A word of a list in the document's language, or as it was written where it is none; then it is among the missing
    /// elements.
    fn written<T: Copy>(
        &self,
        value: Option<&Written<T>>,
        phrase: fn(T) -> Phrase,
    ) -> Option<String> {
        match value? {
            Written::Known(value) => Some(self.say(phrase(*value)).to_owned()),
            Written::Other(text) => Some(text.trim().to_owned()),
        }
    }

    fn missing(&self) -> Option<Section> {
        let gaps = self.incident.gaps();
        if gaps.is_empty() {
            return None;
        }
        let items = gaps
            .iter()
            .map(|gap| {
                format!(
                    "{}{}{}",
                    gap.element,
                    self.language.colon(),
                    gap.message(self.language)
                )
            })
            .collect();
        let intro = Block::Text(self.say(Phrase::MissingIntro).to_owned());
        Some(self.section(Phrase::Missing, vec![intro, Block::List(items)]))
    }

    fn summary(&self, label: Tlp) -> Section {
        let incident = self.incident;
        let status = self.written(incident.status.as_ref(), status_phrase);
        let lowered = incident.tlp_lowered.as_ref().map(|one| {
            let before = self.say(Phrase::LabelBefore);
            format!("{before} {} ({})", one.from, one.reason)
        });
        let severity = self.written(incident.impact.severity.as_ref(), severity_phrase);
        self.section(
            Phrase::Summary,
            [
                said(&incident.context.title).map(|title| vec![Block::Text(title.to_owned())]),
                Some(self.facts(vec![
                    (Phrase::Number, owned(&incident.id)),
                    (Phrase::Team, owned(&incident.team)),
                    (Phrase::Label, Some(label.name().to_owned())),
                    (Phrase::LabelLowered, lowered),
                    (Phrase::StatusLabel, status),
                    (Phrase::SeverityLabel, severity),
                ])),
            ]
            .into_iter()
            .flatten()
            .flatten()
            .collect(),
        )
    }

    fn times(&self) -> Section {
        let times = &self.incident.times;
        let mut head = vec![
            self.say(Phrase::Event).to_owned(),
            self.say(Phrase::AsWritten).to_owned(),
            self.say(Phrase::InUtc).to_owned(),
        ];
        if let Some(zone) = self.zone {
            let name = zone
                .iana_name()
                .map_or_else(String::new, |name| format!(" ({name})"));
            head.push(format!("{}{name}", self.say(Phrase::InZone)));
        }
        let rows: Vec<Vec<String>> = [
            (Phrase::Started, &times.started),
            (Phrase::Detected, &times.detected),
            (Phrase::Reported, &times.reported),
            (Phrase::Ended, &times.ended),
        ]
        .into_iter()
        .filter_map(|(name, time)| {
            let mut row = vec![self.say(name).to_owned()];
            row.extend(self.time(time.as_ref()?));
            Some(row)
        })
        .collect();
        self.section(Phrase::Chronology, table(head, rows))
    }

    /// The time as it was written, in UTC, and in the team's zone where there is one.
    fn time(&self, time: &Time) -> Vec<String> {
        let mut cells = Vec::with_capacity(3);
        match time.moment() {
            Ok((moment, offset)) => {
                let fixed = TimeZone::fixed(offset);
                cells.push(
                    moment
                        .to_zoned_datetime(fixed)
                        .strftime("%F %T%.f %:z")
                        .to_string(),
                );
                cells.push(moment.strftime("%F %T%.f UTC").to_string());
                if let Some(zone) = self.zone {
                    cells.push(
                        moment
                            .to_zoned_datetime(zone.clone())
                            .strftime("%F %T%.f %Z (%:z)")
                            .to_string(),
                    );
                }
            }
            // What can't be read as a moment is shown, and stands among the missing elements.
            Err(_) => {
                cells.push(time.to_string());
                cells.push("?".to_owned());
                cells.extend(self.zone.map(|_| "?".to_owned()));
            }
        }
        cells
    }

    fn contacts(&self) -> Section {
        let blocks = self
            .incident
            .contacts
            .iter()
            .flat_map(|contact| self.contact(contact))
            .collect();
        self.section(Phrase::Contacts, blocks)
    }

    fn contact(&self, contact: &Contact) -> Vec<Block> {
        let unnamed = || self.say(Phrase::Unnamed);
        let name = said(&contact.name).unwrap_or_else(unnamed);
        let mut blocks = vec![Block::Heading(name.to_owned())];
        blocks.extend(self.facts(vec![
            (
                Phrase::Role,
                self.written(contact.role.as_ref(), role_phrase),
            ),
            (Phrase::Organization, owned(&contact.organization)),
            (Phrase::Email, owned(&contact.email)),
            (Phrase::Phone, owned(&contact.phone)),
            (Phrase::Hours, owned(&contact.hours)),
            (Phrase::Fingerprint, owned(&contact.openpgp_fingerprint)),
        ]));
        blocks
    }

    fn context(&self) -> Section {
        let context = &self.incident.context;
        let systems = (!context.systems.is_empty()).then(|| context.systems.join(", "));
        let mut blocks = Vec::new();
        blocks.extend(said(&context.description).map(|text| Block::Text(text.to_owned())));
        blocks.extend(self.facts(vec![
            (Phrase::Perimeter, owned(&context.perimeter)),
            (Phrase::Systems, systems),
        ]));
        self.section(Phrase::ContextHeading, blocks)
    }

    fn impact(&self) -> Section {
        let impact = &self.incident.impact;
        let severity = self.written(impact.severity.as_ref(), severity_phrase);
        let mut blocks = Vec::new();
        blocks.extend(said(&impact.description).map(|text| Block::Text(text.to_owned())));
        blocks.extend(self.facts(vec![(Phrase::SeverityLabel, severity)]));
        self.section(Phrase::ImpactHeading, blocks)
    }

    fn indicators(&self) -> Section {
        let indicators = &self.incident.indicators;
        let mut blocks = Vec::new();
        let heads = |phrases: &[Phrase]| -> Vec<String> {
            phrases
                .iter()
                .map(|one| self.say(*one).to_owned())
                .collect()
        };
        let flows = indicators.iter().filter(|one| one.is_flow());
        blocks.extend(table(
            heads(&[
                Phrase::Seen,
                Phrase::Source,
                Phrase::Destination,
                Phrase::Protocol,
                Phrase::Note,
            ]),
            flows.map(|one| self.flow(one)).collect(),
        ));
        blocks.extend(table(
            heads(&[Phrase::Kind, Phrase::Value, Phrase::Seen, Phrase::Note]),
            indicators.iter().flat_map(|one| self.others(one)).collect(),
        ));
        let none = (Phrase::NoIndicators, owned(&self.incident.no_indicators));
        blocks.extend(self.facts(vec![none]));
        self.section(Phrase::IndicatorsHeading, blocks)
    }

    fn flow(&self, flow: &Indicator) -> Vec<String> {
        let end = |host: &Option<String>, port: &Option<Written<u16>>| {
            let host = said(host).unwrap_or("?");
            match port.as_ref().map(port_text) {
                Some(port) if host.contains(':') => format!("[{host}]:{port}"),
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            }
        };
        vec![
            self.seen(flow),
            end(&flow.source, &flow.source_port),
            end(&flow.destination, &flow.destination_port),
            said(&flow.protocol).map_or_else(|| "?".to_owned(), protocol_text),
            flow.note.clone().unwrap_or_default(),
        ]
    }

    fn others(&self, indicator: &Indicator) -> Vec<Vec<String>> {
        [
            (Phrase::Domain, &indicator.domain),
            (Phrase::Url, &indicator.url),
            (Phrase::Email, &indicator.email),
            (Phrase::File, &indicator.file),
            (Phrase::Hash, &indicator.hash),
        ]
        .into_iter()
        .filter_map(|(kind, value)| {
            Some(vec![
                self.say(kind).to_owned(),
                said(value)?.to_owned(),
                self.seen(indicator),
                indicator.note.clone().unwrap_or_default(),
            ])
        })
        .collect()
    }

    /// When an indicator was seen: in the team's zone where there is one, else as written; always with the zone.
    fn seen(&self, indicator: &Indicator) -> String {
        let Some(time) = &indicator.seen else {
            return String::new();
        };
        let cells = self.time(time);
        match self.zone {
            Some(_) => format!("{} = {}", cells[1], cells[2]),
            None => format!("{} = {}", cells[0], cells[1]),
        }
    }
}

/// A table without the columns in which nothing stands; none without rows.
fn table(mut head: Vec<String>, mut rows: Vec<Vec<String>>) -> Vec<Block> {
    for column in (0..head.len()).rev() {
        if rows.iter().all(|cells| cells[column].is_empty()) {
            head.remove(column);
            for cells in &mut rows {
                cells.remove(column);
            }
        }
    }
    if rows.is_empty() {
        return Vec::new();
    }
    vec![Block::Table { head, rows }]
}

/// A port's number, or what was written instead.
fn port_text(port: &Written<u16>) -> String {
    match port {
        Written::Known(number) => number.to_string(),
        Written::Other(text) => text.trim().to_owned(),
    }
}

/// A protocol with its number, where it is one of IP's and not a service over it.
fn protocol_text(name: &str) -> String {
    match ip_protocol(name) {
        Some(number) if is_service(name) => {
            format!("{name} ({})", if number == 17 { "udp" } else { "tcp" })
        }
        _ => name.to_owned(),
    }
}

pub(crate) fn said(text: &Option<String>) -> Option<&str> {
    text.as_deref()
        .map(str::trim)
        .filter(|text| is_said(Some(text)))
}

fn owned(text: &Option<String>) -> Option<String> {
    said(text).map(str::to_owned)
}

fn severity_phrase(severity: Severity) -> Phrase {
    match severity {
        Severity::Low => Phrase::Low,
        Severity::Medium => Phrase::Medium,
        Severity::High => Phrase::High,
    }
}

fn status_phrase(status: Status) -> Phrase {
    match status {
        Status::New => Phrase::New,
        Status::InProgress => Phrase::InProgress,
        Status::Forwarded => Phrase::Forwarded,
        Status::Resolved => Phrase::Resolved,
    }
}

fn role_phrase(role: ContactRole) -> Phrase {
    match role {
        ContactRole::Reporter => Phrase::Reporter,
        ContactRole::Creator => Phrase::Creator,
        ContactRole::Admin => Phrase::Admin,
        ContactRole::Tech => Phrase::Tech,
        ContactRole::Victim => Phrase::Victim,
        ContactRole::Irt => Phrase::Irt,
        ContactRole::Legal => Phrase::Legal,
    }
}
