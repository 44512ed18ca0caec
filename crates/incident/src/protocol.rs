//! Names of network protocols.

/// IANA protocol numbers of those that incidents are reported with.
const NUMBERS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("sctp", 132),
];

/// Protocols above TCP or UDP: what they run over, and the port they are known by.
const SERVICES: &[(&str, u8)] = &[
    ("http", 6),
    ("https", 6),
    ("tls", 6),
    ("ssh", 6),
    ("smb", 6),
    ("rdp", 6),
    ("smtp", 6),
    ("imap", 6),
    ("ftp", 6),
    ("ldap", 6),
    ("dns", 17),
    ("quic", 17),
    ("ntp", 17),
];

/// The IANA number of an IP protocol, given as a name, a number, or a service that runs over it.
pub(crate) fn ip_protocol(name: &str) -> Option<u8> {
    let name = name.trim().to_ascii_lowercase();
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let find = |table: &[(&str, u8)]| {
        table
            .iter()
            .find(|(known, _)| *known == name)
            .map(|one| one.1)
    };
    find(NUMBERS).or_else(|| find(SERVICES))
}

/// Whether the protocol is one that runs over another, such as HTTP.
#[cfg(feature = "render")]
pub(crate) fn is_service(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    SERVICES.iter().any(|(known, _)| *known == name)
}

/// Whether flows of that protocol have ports.
pub(crate) fn has_ports(number: u8) -> bool {
    matches!(number, 6 | 17 | 132)
}
