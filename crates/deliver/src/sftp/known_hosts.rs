//! Files of known hosts, as OpenSSH keeps them: which keys a host has, and which nobody may have any more.
//!
//! # Sources
//! - sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": `[MARKER] HOSTS TYPE KEY [COMMENT]`, fields apart by blanks or
//!   tabs; hosts are patterns with `*`, `?` and `!`, or one `|1|SALT|HASH`, the HMAC-SHA1 of the name.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::{PublicKey, parse_public_key_base64};
use sha1::Sha1;

/// What a file says of a host.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The keys that it has, without those that are revoked.
    pub(crate) keys: Vec<PublicKey>,
    /// Whether there are keys that were revoked.
    pub(super) has_revoked: bool,
    /// Whether an authority is named that certifies such hosts' keys, which is not followed here.
    pub(super) has_authority: bool,
}

impl Listed {
    /// Reads what a file says of `host`. A line that can't be read says nothing, as with OpenSSH; a key that is
    /// marked as revoked is in no one's favour, whomever the line names.
    pub(crate) fn read(text: &str, host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase();
        let host = match port {
            22 => host,
            port => format!("[{host}]:{port}"),
        };
        let mut listed = Self::default();
        let mut revoked = Vec::new();
        for line in text.lines() {
            let mut fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
            let Some(first) = fields.next().filter(|first| !first.starts_with('#')) else {
                continue;
            };
            let (marker, hosts) = match first.strip_prefix('@') {
                Some(marker) => (Some(marker), fields.next().unwrap_or_default()),
                None => (None, first),
            };
            let key = fields.nth(1).map(parse_public_key_base64);
            let Some(Ok(key)) = key else { continue };
            match marker {
                Some("revoked") => revoked.push(key),
                Some("cert-authority") => listed.has_authority |= is_among(&host, hosts),
                // A marker that is to come may mean anything.
                Some(_) => {}
                None if is_among(&host, hosts) => listed.keys.push(key),
                None => {}
            }
        }
        let before = listed.keys.len();
        let is_revoked =
            |key: &PublicKey| revoked.iter().any(|one| one.key_data() == key.key_data());
        listed.keys.retain(|key| !is_revoked(key));
        listed.has_revoked = listed.keys.len() < before;
        listed
    }
}

/// Whether a host is among those of a line.
fn is_among(host: &str, hosts: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return is_hashed(host, hashed).unwrap_or(false);
    }
    let mut is_named = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(other) if is_like(host, other) => return false,
            Some(_) => {}
            None => is_named |= is_like(host, pattern),
        }
    }
    is_named
}

/// Whether `SALT|HASH` is of that host.
fn is_hashed(host: &str, hashed: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let (salt, hash) = (BASE64.decode(salt).ok()?, BASE64.decode(hash).ok()?);
    let mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    Some(mac.chain_update(host).verify_slice(&hash).is_ok())
}

/// Whether a text is like a pattern: `*` is any text, `?` any one character. Only the last `*` is ever gone back to, so
/// that the time is bounded by the product of both lengths.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.to_ascii_lowercase().into_bytes());
    let (mut at, mut next) = (0, 0);
    let mut star = None;
    while at < text.len() {
        match pattern.get(next) {
            Some(b'*') => {
                star = Some((at, next));
                next += 1;
            }
            Some(one) if *one == b'?' || *one == text[at] => {
                at += 1;
                next += 1;
            }
            _ => {
                let Some((from, place)) = &mut star else {
                    return false;
                };
                *from += 1;
                (at, next) = (*from, *place + 1);
            }
        }
    }
    pattern[next..].iter().all(|one| *one == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIFTyBAsEQP8b2dFqTFjZ3rhnOKEmsALYoVa0ZHoGnl6B";
    const BOB: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBTdrnzUNE40oewqhi7Zn0b0/Hc/rN4E9HFQstkuMdVI";

    fn keys(text: &str, host: &str, port: u16) -> usize {
        Listed::read(text, host, port).keys.len()
    }

    #[test]
    fn hosts_are_known_by_name_port_pattern_and_hash() {
        let plain = format!("drop.example.org,192.0.2.7 ssh-ed25519 {ANA} a comment\n");
        assert_eq!(keys(&plain, "drop.example.org", 22), 1);
        assert_eq!(keys(&plain, "DROP.example.org", 22), 1);
        assert_eq!(keys(&plain, "192.0.2.7", 22), 1);
        assert_eq!(keys(&plain, "drop.example.org", 2222), 0);
        assert_eq!(keys(&plain, "example.org", 22), 0);
        let other = format!("[drop.example.org]:2222\tssh-ed25519\t{ANA}\n");
        assert_eq!(keys(&other, "drop.example.org", 2222), 1);
        let pattern = format!("*.example.org,!old.example.org ssh-ed25519 {ANA}\n");
        assert_eq!(keys(&pattern, "drop.example.org", 22), 1);
        assert_eq!(keys(&pattern, "old.example.org", 22), 0);
        assert_eq!(keys(&pattern, "example.org", 22), 0);
        // ssh-keygen -H of a line for `drop.example.org`.
        let hashed = format!(
            "|1|kQjAlY5oXF0Mpwo1WDlWvIBXbeQ=|3ASyphc5AVvPyWNMU8laiuCDIDg= ssh-ed25519 {ANA}\n"
        );
        assert_eq!(keys(&hashed, "drop.example.org", 22), 1);
        assert_eq!(keys(&hashed, "drop.example.com", 22), 0);
    }

    #[test]
    fn markers_are_heeded_whatever_stands_behind_them() {
        for blank in [" ", "\t", " \t ", "\t\t"] {
            let known = format!("host ssh-ed25519 {ANA}\nhost ssh-ed25519 {BOB}\n");
            let revoked = format!("{known}@revoked{blank}host{blank}ssh-ed25519{blank}{ANA}\n");
            let listed = Listed::read(&revoked, "host", 22);
            assert_eq!(listed.keys.len(), 1, "{blank:?}");
            assert!(listed.has_revoked);
            // Neither as one of several names, nor where it comes first.
            let revoked =
                format!("@revoked{blank}x,host{blank}ssh-ed25519 {ANA}\nhost ssh-ed25519 {ANA}\n");
            assert_eq!(keys(&revoked, "host", 22), 0, "{blank:?}");
            let authority = format!("@cert-authority{blank}x,host{blank}ssh-ed25519 {ANA}\n");
            let listed = Listed::read(&authority, "host", 22);
            assert!(listed.keys.is_empty() && listed.has_authority, "{blank:?}");
        }
        let unknown = format!("@to-come x,host ssh-ed25519 {ANA}\n");
        assert_eq!(keys(&unknown, "host", 22), 0);
    }

    #[test]
    fn lines_that_say_nothing() {
        for line in [
            "",
            "#host ssh-ed25519 AAAA",
            "host",
            "host ssh-ed25519",
            "host ssh-ed25519 !!!",
            "@revoked",
            "|1|x ssh-ed25519 AAAA",
        ] {
            let text = format!("{line}\r\nhost ssh-ed25519 {ANA}\r\n");
            assert_eq!(keys(&text, "host", 22), 1, "{line}");
        }
    }

    #[test]
    fn patterns() {
        assert!(is_like("a.b.c", "a.*.c") && is_like("abc", "a?c") && is_like("", "*"));
        assert!(!is_like("abc", "a?") && !is_like("abc", "") && !is_like("ab", "abc"));
        let long = "a".repeat(2000);
        assert!(!is_like(
            &long,
            &"*a".repeat(500).replace("*a*a*a", "*a*b*a")
        ));
    }
}
