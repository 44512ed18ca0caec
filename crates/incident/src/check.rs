//! What is missing from a record, said so that a person without the trade's words understands it.

use std::net::IpAddr;

use crate::{
    Contact, Incident, Indicator, Language, Time, TimeError, Written,
    protocol::{has_ports, ip_protocol},
    record::is_said,
    words::Phrase,
};

/// An element that the charter asks for and that is missing or not usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where it stands in the file: `times.detected`, `contacts[2].email`.
    pub element: String,
    phrase: Phrase,
    /// What was written there, where something was.
    pub found: Option<String>,
}

impl Gap {
    /// What is missing and what to write, in a sentence.
    pub fn message(&self, language: Language) -> String {
        let sentence = self.phrase.in_language(language);
        match &self.found {
            Some(found) => sentence.replace("{}", found),
            None => sentence.to_owned(),
        }
    }
}

impl Incident {
    /// Everything that is missing, in the order of the record; empty where the record is complete.
    pub fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Gaps(Vec::new());
        gaps.ask("id", self.id.as_deref(), Phrase::AskId);
        gaps.ask("team", self.team.as_deref(), Phrase::AskTeam);
        match self.tlp.as_deref().filter(|text| is_said(Some(text))) {
            Some(text) if self.label().is_none() => {
                gaps.add("tlp", Phrase::BadLabel, Some(text.to_owned()));
            }
            Some(_) => {}
            None => gaps.add("tlp", Phrase::AskLabel, None),
        }
        gaps.written("status", self.status.as_ref(), Phrase::BadStatus);
        self.times(&mut gaps);
        if self.contacts.is_empty() {
            gaps.add("contacts", Phrase::AskContacts, None);
        }
        for (index, contact) in self.contacts.iter().enumerate() {
            gaps.contact(index + 1, contact);
        }
        gaps.ask(
            "context.title",
            self.context.title.as_deref(),
            Phrase::AskTitle,
        );
        gaps.ask(
            "context.description",
            self.context.description.as_deref(),
            Phrase::AskDescription,
        );
        gaps.ask(
            "impact.description",
            self.impact.description.as_deref(),
            Phrase::AskImpact,
        );
        let severity = self.impact.severity.as_ref();
        if severity.is_none() {
            gaps.add("impact.severity", Phrase::AskSeverity, None);
        }
        gaps.written("impact.severity", severity, Phrase::BadSeverity);
        if self.indicators.is_empty() && !is_said(self.no_indicators.as_deref()) {
            gaps.add("indicators", Phrase::AskIndicators, None);
        }
        if !self.indicators.is_empty() && is_said(self.no_indicators.as_deref()) {
            gaps.add("no_indicators", Phrase::BothIndicators, None);
        }
        for (index, indicator) in self.indicators.iter().enumerate() {
            gaps.indicator(index + 1, indicator);
        }
        gaps.0
    }

    fn times(&self, gaps: &mut Gaps) {
        let times = &self.times;
        if times.detected.is_none() {
            gaps.add("times.detected", Phrase::AskDetected, None);
        }
        for (name, time) in [
            ("times.detected", &times.detected),
            ("times.started", &times.started),
            ("times.ended", &times.ended),
            ("times.reported", &times.reported),
        ] {
            if let Some(time) = time {
                gaps.time(name, time);
            }
        }
        let moment = |time: &Option<Time>| Some(time.as_ref()?.moment().ok()?.0);
        if let (Some(started), Some(ended)) = (moment(&times.started), moment(&times.ended))
            && ended < started
        {
            gaps.add("times.ended", Phrase::EndsBeforeStart, None);
        }
    }
}

struct Gaps(Vec<Gap>);

impl Gaps {
    fn add(&mut self, element: impl Into<String>, phrase: Phrase, found: Option<String>) {
        self.0.push(Gap {
            element: element.into(),
            phrase,
            found,
        });
    }

    fn ask(&mut self, element: impl Into<String>, value: Option<&str>, phrase: Phrase) {
        if !is_said(value) {
            self.add(element, phrase, None);
        }
    }

    /// A value that is none of its set.
    fn written<T>(
        &mut self,
        element: impl Into<String>,
        value: Option<&Written<T>>,
        phrase: Phrase,
    ) {
        if let Some(text) = value.and_then(Written::other) {
            self.add(element, phrase, Some(text.to_owned()));
        }
    }

    fn time(&mut self, element: impl Into<String>, time: &Time) {
        let phrase = match time.moment() {
            Ok(_) => return,
            Err(TimeError::NoZone) => Phrase::AskZone,
            Err(TimeError::NoTimeOfDay) => Phrase::AskTimeOfDay,
            Err(TimeError::Unreadable) => Phrase::BadTime,
        };
        self.add(element, phrase, Some(time.to_string()));
    }

    fn contact(&mut self, number: usize, contact: &Contact) {
        let element = |field: &str| format!("contacts[{number}].{field}");
        self.ask(
            element("name"),
            contact.name.as_deref(),
            Phrase::AskContactName,
        );
        self.written(element("role"), contact.role.as_ref(), Phrase::BadRole);
        if !contact.is_reachable() {
            self.add(
                element("email"),
                Phrase::AskContactWay,
                contact.name.clone(),
            );
        }
        if let Some(email) = contact
            .email
            .as_deref()
            .filter(|email| is_said(Some(email)))
            && !email.contains('@')
        {
            self.add(element("email"), Phrase::BadEmail, Some(email.to_owned()));
        }
        let fingerprint = contact.openpgp_fingerprint.as_ref();
        if let Some(fingerprint) = fingerprint.filter(|text| is_said(Some(text))) {
            let digits: String = fingerprint.split_whitespace().collect();
            let full = matches!(digits.len(), 40 | 64);
            if !full || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let found = Some(fingerprint.clone());
                self.add(
                    element("openpgp_fingerprint"),
                    Phrase::BadFingerprint,
                    found,
                );
            }
        }
    }

    fn indicator(&mut self, number: usize, indicator: &Indicator) {
        let element = |field: &str| format!("indicators[{number}].{field}");
        if let Some(time) = &indicator.seen {
            self.time(element("seen"), time);
        }
        if let Some(hash) = indicator.hash.as_ref().filter(|text| is_said(Some(text))) {
            let known = matches!(hash.trim().len(), 32 | 40 | 64 | 128);
            if !known || !hash.trim().bytes().all(|byte| byte.is_ascii_hexdigit()) {
                self.add(element("hash"), Phrase::BadHash, Some(hash.clone()));
            }
        }
        for (field, port) in [
            ("source_port", &indicator.source_port),
            ("destination_port", &indicator.destination_port),
        ] {
            self.written(element(field), port.as_ref(), Phrase::BadPort);
        }
        if !indicator.is_flow() {
            let others = [
                &indicator.domain,
                &indicator.url,
                &indicator.email,
                &indicator.file,
                &indicator.hash,
            ];
            if !others.iter().any(|one| is_said(one.as_deref())) {
                self.add(
                    format!("indicators[{number}]"),
                    Phrase::EmptyIndicator,
                    None,
                );
            }
            return;
        }
        for (field, value, phrase) in [
            ("source", &indicator.source, Phrase::AskSource),
            (
                "destination",
                &indicator.destination,
                Phrase::AskDestination,
            ),
        ] {
            match value.as_deref().filter(|text| is_said(Some(text))) {
                None => self.add(element(field), phrase, None),
                Some(text) if !is_host(text) => {
                    self.add(element(field), Phrase::BadHost, Some(text.to_owned()));
                }
                Some(_) => {}
            }
        }
        let protocol = indicator
            .protocol
            .as_deref()
            .filter(|text| is_said(Some(text)));
        let number = protocol.and_then(ip_protocol);
        match (protocol, number) {
            (None, _) => self.add(element("protocol"), Phrase::AskProtocol, None),
            (Some(text), None) => {
                self.add(
                    element("protocol"),
                    Phrase::BadProtocol,
                    Some(text.to_owned()),
                );
            }
            (Some(_), Some(_)) => {}
        }
        if indicator.destination_port.is_none() && number.is_none_or(has_ports) {
            self.add(element("destination_port"), Phrase::AskPort, None);
        }
    }
}

/// Whether a text is an IP address, a network, or could be a host's name.
fn is_host(text: &str) -> bool {
    let text = text.trim();
    let (address, network) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    if let Ok(address) = address.parse::<IpAddr>() {
        let most = if address.is_ipv4() { 32 } else { 128 };
        return network.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most));
    }
    // Four numbers that are no address are a slip and not a name.
    let looks_numeric = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    network.is_none()
        && !looks_numeric
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .chars()
                    .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_names() {
        for good in [
            "198.51.100.7",
            "2001:db8::1",
            "198.51.100.0/24",
            "srv-01.exemple.fr",
            "café.fr",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "198.51.100.700",
            "198.51.100",
            "a b",
            "",
            "198.51.100.0/33",
            "x/24",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn an_empty_record_lacks_every_element_of_the_charter() {
        let gaps = Incident::default().gaps();
        let elements: Vec<&str> = gaps.iter().map(|gap| gap.element.as_str()).collect();
        assert_eq!(
            elements,
            [
                "id",
                "team",
                "tlp",
                "times.detected",
                "contacts",
                "context.title",
                "context.description",
                "impact.description",
                "impact.severity",
                "indicators",
            ]
        );
        for gap in &gaps {
            let (french, english) = (
                gap.message(Language::French),
                gap.message(Language::English),
            );
            assert!(
                french != english && french.len() > 20 && english.len() > 20,
                "{gap:?}"
            );
        }
    }
}
