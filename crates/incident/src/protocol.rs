//! Names of network protocols.

/// IANA protocol numbers of those that incidents are reported with.
const NUMBERS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ospf", 89),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

/// Protocols above TCP or UDP, and which of them they run over first of all.
const SERVICES: &[(&str, u8)] = &[
    ("http", 6),
    ("https", 6),
    ("tls", 6),
    ("ssl", 6),
    ("ssh", 6),
    ("sftp", 6),
    ("scp", 6),
    ("telnet", 6),
    ("vnc", 6),
    ("rdp", 6),
    ("winrm", 6),
    ("smb", 6),
    ("cifs", 6),
    ("nfs", 6),
    ("rpc", 6),
    ("msrpc", 6),
    ("dcom", 6),
    ("wmi", 6),
    ("netbios", 6),
    ("ftp", 6),
    ("ftps", 6),
    ("rsync", 6),
    ("smtp", 6),
    ("smtps", 6),
    ("submission", 6),
    ("imap", 6),
    ("imaps", 6),
    ("pop3", 6),
    ("pop3s", 6),
    ("ldap", 6),
    ("ldaps", 6),
    ("kerberos", 6),
    ("mssql", 6),
    ("mysql", 6),
    ("postgresql", 6),
    ("oracle", 6),
    ("mongodb", 6),
    ("redis", 6),
    ("socks", 6),
    ("irc", 6),
    ("xmpp", 6),
    ("mqtt", 6),
    ("amqp", 6),
    ("modbus", 6),
    ("sip", 17),
    ("dns", 17),
    ("mdns", 17),
    ("llmnr", 17),
    ("ssdp", 17),
    ("dhcp", 17),
    ("tftp", 17),
    ("snmp", 17),
    ("syslog", 17),
    ("radius", 17),
    ("quic", 17),
    ("ntp", 17),
    ("ike", 17),
    ("openvpn", 17),
    ("wireguard", 17),
];

/// What IANA's registry of service names calls those that it names otherwise; some it does not have.
#[cfg(feature = "render")]
const REGISTERED: &[(&str, Option<&str>)] = &[
    ("rdp", Some("ms-wbt-server")),
    ("smb", Some("microsoft-ds")),
    ("cifs", Some("microsoft-ds")),
    ("mssql", Some("ms-sql-s")),
    ("dns", Some("domain")),
    ("vnc", Some("rfb")),
    ("winrm", Some("wsman")),
    ("msrpc", Some("epmap")),
    ("rpc", Some("sunrpc")),
    ("netbios", Some("netbios-ssn")),
    ("ike", Some("isakmp")),
    ("smtps", Some("submissions")),
    ("xmpp", Some("xmpp-client")),
    ("modbus", Some("mbap")),
    ("dhcp", Some("bootps")),
    ("tls", None),
    ("ssl", None),
    // The registry's is another: the Simple File Transfer Protocol.
    ("sftp", None),
    ("scp", None),
    ("dcom", None),
    ("wmi", None),
    ("oracle", None),
    ("quic", None),
    ("wireguard", None),
];

/// The name of a service in IANA's registry, where it is there.
#[cfg(feature = "render")]
pub(crate) fn registered(service: &str) -> Option<&str> {
    let known = REGISTERED.iter().find(|(name, _)| *name == service);
    known.map_or(Some(service), |(_, registered)| *registered)
}

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
    matches!(number, 6 | 17 | 132 | 136)
}
