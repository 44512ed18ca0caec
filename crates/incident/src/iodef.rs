//! IODEF 2.0 (RFC 7970), the exchange format between response teams.
//!
//! # Labels
//! IODEF has words for TLP 1 only. `TLP:GREEN`, `TLP:AMBER` and `TLP:RED` are `green`, `amber` and `red`; `TLP:CLEAR`
//! and `TLP:AMBER+STRICT` go through `ext-value` as they are written. An `AdditionalData` named `tlp` holds
//! the exact label in every case.
//!
//! # Sources
//! - RFC 7970 and its errata; algorithm names from XML Signature and XML Encryption.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event},
};
use scelle_event::Tlp;

use crate::{
    Contact, ContactRole, Incident, Indicator, Language, LoweredLabel, RenderError, Time, Written,
    document::said,
    protocol::{ip_protocol, is_service, registered},
};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:iodef-2.0";
const SIGNATURES: &str = "http://www.w3.org/2000/09/xmldsig#";
/// The length of a hash in hex digits, and the name of its algorithm.
const DIGESTS: &[(usize, &str)] = &[
    (32, "http://www.w3.org/2001/04/xmldsig-more#md5"),
    (40, "http://www.w3.org/2000/09/xmldsig#sha1"),
    (64, "http://www.w3.org/2001/04/xmlenc#sha256"),
    (128, "http://www.w3.org/2001/04/xmlenc#sha512"),
];

/// The record as an IODEF document in UTF-8, `generated` at that moment, in the language of its text.
///
/// # Errors
/// [`RenderError::NoLabel`], or [`RenderError::Lacks`] where the schema demands what is missing.
pub fn write(
    incident: &Incident,
    language: Language,
    generated: Timestamp,
) -> Result<Vec<u8>, RenderError> {
    let label = incident.label().ok_or(RenderError::NoLabel)?;
    let lacks = |what: &str| RenderError::Lacks(what.to_owned());
    let id = said(&incident.id).ok_or_else(|| lacks("id"))?;
    let team = said(&incident.team).ok_or_else(|| lacks("team"))?;
    if incident.contacts.is_empty() {
        return Err(lacks("contacts"));
    }
    let mut whole = labelled(Element::new("Incident").with("purpose", "reporting"), label);
    if let Some(status) = known("a status", incident.status.as_ref())? {
        whole = whole.with("status", status.name());
    }
    whole.push(Element::new("IncidentID").with("name", team).text(id));
    let times = &incident.times;
    for (name, time) in [
        ("DetectTime", &times.detected),
        ("StartTime", &times.started),
        ("EndTime", &times.ended),
        ("ReportTime", &times.reported),
    ] {
        whole.children.extend(moment(name, time)?);
    }
    let now = generated.round(jiff::Unit::Second).unwrap_or(generated);
    whole.push(Element::new("GenerationTime").text(now.to_string()));
    let context = &incident.context;
    for text in [&context.title, &context.description, &context.perimeter] {
        whole
            .children
            .extend(said(text).map(|text| Element::new("Description").text(text)));
    }
    whole.children.extend(assessment(incident)?);
    for one in &incident.contacts {
        whole.push(contact(one)?);
    }
    whole.children.extend(systems(&context.systems));
    for indicator in incident.indicators.iter().filter(|one| one.is_flow()) {
        whole.push(flow(indicator)?);
    }
    let mut others = Element::new("IndicatorData");
    for (number, indicator) in incident.indicators.iter().enumerate() {
        for observable in observables(indicator)? {
            let index = others.children.len() + 1;
            others.push(described(indicator, observable, team, number + 1, index)?);
        }
    }
    if !others.children.is_empty() {
        whole.push(others);
    }
    let data = |name: &str, text: &str| {
        Element::new("AdditionalData")
            .with("dtype", "string")
            .with("name", name)
            .text(text)
    };
    let no_indicators = said(&incident.no_indicators).filter(|_| incident.indicators.is_empty());
    whole.push(data("tlp", label.name()));
    if let Some(LoweredLabel { from, reason }) = &incident.tlp_lowered {
        whole.push(data("tlp-lowered", &format!("from {from}: {reason}")));
    }
    whole
        .children
        .extend(no_indicators.map(|why| data("no-indicators", why)));
    let mut document = Element::new("IODEF-Document")
        .with("version", "2.00")
        .with("xml:lang", language.code())
        .with("xmlns", NAMESPACE)
        .with("xmlns:ds", SIGNATURES);
    document.push(whole);
    Ok(document.write()?)
}

fn labelled(element: Element, label: Tlp) -> Element {
    match label {
        Tlp::Green => element.with("restriction", "green"),
        Tlp::Amber => element.with("restriction", "amber"),
        Tlp::Red => element.with("restriction", "red"),
        Tlp::Clear | Tlp::AmberStrict => element
            .with("restriction", "ext-value")
            .with("ext-restriction", label.name()),
    }
}

/// A time with its own offset, as XML Schema writes it.
fn moment(name: &'static str, time: &Option<Time>) -> Result<Option<Element>, RenderError> {
    let Some(time) = time else { return Ok(None) };
    let (moment, offset) = time.moment().map_err(|_| {
        RenderError::Lacks(format!(
            "a date and time with its zone where {:?} stands",
            time.as_str()
        ))
    })?;
    let text = moment
        .to_zoned_datetime(jiff::tz::TimeZone::fixed(offset))
        .strftime("%FT%T%.f%:z")
        .to_string();
    Ok(Some(Element::new(name).text(text)))
}

/// A value that is one of its set: the schema has no place for another.
fn known<T: Copy>(what: &str, value: Option<&Written<T>>) -> Result<Option<T>, RenderError> {
    match value {
        None => Ok(None),
        Some(Written::Known(value)) => Ok(Some(*value)),
        Some(Written::Other(text)) => {
            Err(RenderError::Lacks(format!("{what} where {text:?} stands")))
        }
    }
}

fn assessment(incident: &Incident) -> Result<Option<Element>, RenderError> {
    let impact = &incident.impact;
    let description = said(&impact.description);
    let severity = known("a severity", impact.severity.as_ref())?;
    if description.is_none() && severity.is_none() {
        return Ok(None);
    }
    let mut business = Element::new("BusinessImpact");
    if let Some(severity) = severity {
        business = business.with("severity", severity.name());
    }
    business
        .children
        .extend(description.map(|text| Element::new("Description").text(text)));
    let mut assessment = Element::new("Assessment").with("occurrence", "actual");
    assessment.push(business);
    Ok(Some(assessment))
}

fn contact(contact: &Contact) -> Result<Element, RenderError> {
    // The schema asks for one.
    let role = known("a role", contact.role.as_ref())?.unwrap_or(ContactRole::Reporter);
    let mut element = Element::new("Contact")
        .with("role", role.name())
        .with("type", "person");
    element
        .children
        .extend(said(&contact.name).map(|name| Element::new("ContactName").text(name)));
    for text in [&contact.organization, &contact.hours] {
        element
            .children
            .extend(said(text).map(|text| Element::new("Description").text(text)));
    }
    for (outer, inner, text) in [
        ("Email", "EmailTo", &contact.email),
        ("Telephone", "TelephoneNumber", &contact.phone),
    ] {
        element.children.extend(
            said(text).map(|text| Element::new(outer).holding(Element::new(inner).text(text))),
        );
    }
    element
        .children
        .extend(said(&contact.openpgp_fingerprint).map(|text| {
            Element::new("AdditionalData")
                .with("dtype", "string")
                .with("name", "openpgp-fingerprint")
                .text(text)
        }));
    Ok(element)
}

fn systems(names: &[String]) -> Option<Element> {
    let mut flow = Element::new("Flow");
    for name in names
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
    {
        let mut system = Element::new("System").with("category", "target");
        system.push(node(name));
        flow.push(system);
    }
    (!flow.children.is_empty()).then(|| Element::new("EventData").holding(flow))
}

fn flow(indicator: &Indicator) -> Result<Element, RenderError> {
    let mut event = Element::new("EventData");
    event
        .children
        .extend(said(&indicator.note).map(|note| Element::new("Description").text(note)));
    event
        .children
        .extend(moment("DetectTime", &indicator.seen)?);
    let mut flow = Element::new("Flow");
    for (category, host, port) in [
        ("source", &indicator.source, &indicator.source_port),
        (
            "target",
            &indicator.destination,
            &indicator.destination_port,
        ),
    ] {
        let Some(host) = said(host) else { continue };
        let mut system = Element::new("System").with("category", category);
        system.push(node(host));
        system.children.extend(service(
            said(&indicator.protocol),
            known("a port", port.as_ref())?,
            category == "target",
        ));
        flow.push(system);
    }
    if flow.children.is_empty() {
        return Err(RenderError::Lacks(
            "the source or destination of a connection".to_owned(),
        ));
    }
    event.push(flow);
    Ok(event)
}

/// The service at an end of a flow; the protocol's name is that of the side that offers it.
fn service(protocol: Option<&str>, port: Option<u16>, offers: bool) -> Option<Element> {
    let number = protocol.and_then(ip_protocol);
    if number.is_none() && port.is_none() {
        return None;
    }
    let mut service = Element::new("Service");
    if let Some(number) = number {
        service = service.with("ip-protocol", number.to_string());
    }
    if let Some(name) = protocol.filter(|name| offers && is_service(name)) {
        let name = name.trim().to_ascii_lowercase();
        let iana = registered(&name).map(|name| Element::new("IANAService").text(name));
        let mut element = Element::new("ServiceName");
        element.children.extend(iana);
        service.push(element.holding(Element::new("Description").text(name)));
    }
    service
        .children
        .extend(port.map(|port| Element::new("Port").text(port.to_string())));
    Some(service)
}

/// A host: an address, a network, or a name.
fn node(host: &str) -> Element {
    let (address, is_network) = match host.split_once('/') {
        Some((address, _)) => (address, true),
        None => (host, false),
    };
    let category = match (address.parse::<IpAddr>(), is_network) {
        (Ok(IpAddr::V4(_)), false) => "ipv4-addr",
        (Ok(IpAddr::V4(_)), true) => "ipv4-net",
        (Ok(IpAddr::V6(_)), false) => "ipv6-addr",
        (Ok(IpAddr::V6(_)), true) => "ipv6-net",
        (Err(_), _) => {
            return Element::new("Node")
                .holding(Element::new("DomainData").holding(Element::new("Name").text(host)));
        }
    };
    Element::new("Node").holding(
        Element::new("Address")
            .with("category", category)
            .text(host),
    )
}

/// What else an indicator says: names, pages, mail, files.
fn observables(indicator: &Indicator) -> Result<Vec<Element>, RenderError> {
    let mut found = Vec::new();
    let name = |text: &str| Element::new("DomainData").holding(Element::new("Name").text(text));
    found.extend(said(&indicator.domain).map(name));
    found.extend(said(&indicator.url).map(|url| {
        Element::new("Address")
            .with("category", "site-uri")
            .text(url)
    }));
    found.extend(said(&indicator.email).map(|mail| {
        Element::new("Address")
            .with("category", "e-mail")
            .text(mail)
    }));
    let (file, hash) = (said(&indicator.file), said(&indicator.hash));
    if file.is_some() || hash.is_some() {
        let mut element = Element::new("File");
        element
            .children
            .extend(file.map(|file| Element::new("FileName").text(file)));
        if let Some(hash) = hash {
            let algorithm = DIGESTS.iter().find(|(digits, _)| *digits == hash.len());
            let bytes = hex(hash);
            let (Some((_, algorithm)), Some(bytes)) = (algorithm, bytes) else {
                return Err(RenderError::Lacks(format!(
                    "a hash in hex digits where {hash:?} stands"
                )));
            };
            let mut inner = Element::new("Hash");
            inner.push(Element::new("ds:DigestMethod").with("Algorithm", *algorithm));
            inner.push(Element::new("ds:DigestValue").text(STANDARD.encode(bytes)));
            element.push(
                Element::new("HashData")
                    .with("scope", "file-contents")
                    .holding(inner),
            );
        }
        found.push(Element::new("FileData").holding(element));
    }
    Ok(found)
}

fn described(
    indicator: &Indicator,
    observable: Element,
    team: &str,
    number: usize,
    index: usize,
) -> Result<Element, RenderError> {
    let mut element = Element::new("Indicator");
    element.push(
        Element::new("IndicatorID")
            .with("name", team)
            .with("version", "1")
            .text(format!("indicator-{number}-{index}")),
    );
    element
        .children
        .extend(said(&indicator.note).map(|note| Element::new("Description").text(note)));
    element
        .children
        .extend(moment("StartTime", &indicator.seen)?);
    element.push(Element::new("Observable").holding(observable));
    Ok(element)
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let bytes = digits.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    bytes
        .chunks(2)
        .map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok())
        .collect()
}

/// An element with its attributes, its text and what it holds.
struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    text: Option<String>,
    children: Vec<Element>,
}

impl Element {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            attributes: Vec::new(),
            text: None,
            children: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, clean(&value.into())));
        self
    }

    fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(clean(&text.into()));
        self
    }

    fn holding(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    fn push(&mut self, child: Self) {
        self.children.push(child);
    }

    fn write(&self) -> std::io::Result<Vec<u8>> {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        self.write_to(&mut writer)?;
        let mut bytes = writer.into_inner();
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn write_to(&self, writer: &mut Writer<Vec<u8>>) -> std::io::Result<()> {
        let mut start = BytesStart::new(self.name);
        for (name, value) in &self.attributes {
            start.push_attribute((*name, value.as_str()));
        }
        if self.text.is_none() && self.children.is_empty() {
            return writer.write_event(Event::Empty(start));
        }
        writer.write_event(Event::Start(start))?;
        if let Some(text) = &self.text {
            writer.write_event(Event::Text(BytesText::new(text)))?;
        }
        for child in &self.children {
            child.write_to(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new(self.name)))
    }
}

/// The text without what XML 1.0 can't hold.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => c,
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => '\u{FFFD}',
            c => c,
        })
        .collect()
}
