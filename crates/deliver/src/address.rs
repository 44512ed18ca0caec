//! Where a bundle is delivered to, as the user names it.

use std::{fmt, str::FromStr};

const SSH_PORT: u16 = 22;

/// An address of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `s3://BUCKET/KEY`
    S3 {
        /// The bucket.
        bucket: String,
        /// The object's key, as it is: nothing of it is decoded.
        key: String,
    },
    /// `sftp://USER@HOST[:PORT]/PATH`
    Sftp {
        /// Who logs in.
        user: String,
        /// The server's name or address.
        host: String,
        /// Its port.
        port: u16,
        /// The path there, as it is; `/~/PATH` of the address is one in the user's own folder.
        path: String,
    },
}

/// An address that names no place. It is shown without whatever stands before an `@`: people write passwords there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address:?} is no address of a store: {why}; write s3://BUCKET/KEY or sftp://USER@HOST[:PORT]/PATH"
)]
pub struct AddressError {
    address: String,
    why: &'static str,
}

impl Address {
    /// Whether a text is meant as an address, and not as a path.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("s3://") || text.starts_with("sftp://")
    }

    /// Whether the other names the same file, on a server that may have another name.
    pub(crate) fn is_same_but_for_host(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Sftp { user, path, .. },
                Self::Sftp {
                    user: other_user,
                    path: other_path,
                    ..
                },
            ) => user == other_user && path == other_path,
            _ => self == other,
        }
    }

    /// The last part of the name, where it is not a folder's.
    pub fn file_name(&self) -> Option<&str> {
        let (Self::S3 { key: path, .. } | Self::Sftp { path, .. }) = self;
        path.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// The address of `name` in it, where it is a folder's; else itself.
    #[must_use]
    pub fn with_file_name(mut self, name: &str) -> Self {
        if self.file_name().is_none() {
            let (Self::S3 { key: path, .. } | Self::Sftp { path, .. }) = &mut self;
            path.push_str(name);
        }
        self
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once("://") {
            Some(("s3", rest)) => s3(rest),
            Some(("sftp", rest)) => sftp(rest),
            _ => Err("it begins otherwise"),
        };
        parsed.map_err(|why| AddressError {
            address: without_login(text),
            why,
        })
    }
}

/// A URL as it may be shown: what stands before its last `@`, and behind a `?`, may be a secret.
pub(crate) fn without_login(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (hidden, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("…@", rest),
        None => ("", rest),
    };
    match rest.split_once('?') {
        Some((rest, _)) => format!("{scheme}{hidden}{rest}?…"),
        None => format!("{scheme}{hidden}{rest}"),
    }
}

fn s3(rest: &str) -> Result<Address, &'static str> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    // A bucket becomes a part of a host's name.
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "-._".contains(one);
    if bucket.is_empty() || !bucket.chars().all(is_plain) {
        return Err("a bucket's name has letters, digits, `-`, `.` and `_`");
    }
    check_path(key)?;
    Ok(Address::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    })
}

fn sftp(rest: &str) -> Result<Address, &'static str> {
    let (place, path) = rest.split_once('/').ok_or("it names no file")?;
    let (user, place) = place
        .rsplit_once('@')
        .ok_or("it does not say who logs in")?;
    if user.contains(':') {
        return Err("a password does not belong there, where everybody sees it");
    }
    let (host, port) = match place.strip_prefix('[').and_then(|one| one.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => place
            .split_once(':')
            .map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "-._:%".contains(one);
    if user.is_empty() || host.is_empty() || !host.chars().all(is_plain) {
        return Err("it does not say where, or who logs in");
    }
    if user.chars().any(char::is_control) {
        return Err("who logs in has a name without control characters");
    }
    let port = port.map_or(Ok(SSH_PORT), str::parse);
    check_path(path)?;
    Ok(Address::Sftp {
        user: user.to_owned(),
        host: host.to_owned(),
        port: port.map_err(|_| "its port is no number")?,
        path: match path.strip_prefix("~/") {
            Some(own) => own.to_owned(),
            None => format!("/{path}"),
        },
    })
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.split('/').any(|part| part == ".." || part == ".") {
        return Err("a part `.` or `..` means another place to some stores");
    }
    if path.len() > 1024 || path.chars().any(char::is_control) {
        return Err("a path has up to 1,024 bytes, and no control characters");
    }
    Ok(())
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key } => write!(out, "s3://{bucket}/{key}"),
            Self::Sftp {
                user,
                host,
                port,
                path,
            } => {
                let host = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                write!(out, "sftp://{user}@{host}")?;
                if *port != SSH_PORT {
                    write!(out, ":{port}")?;
                }
                let own = if path.starts_with('/') { "" } else { "/~/" };
                write!(out, "{own}{path}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_buckets() {
        let parsed: Address = "s3://vault/2026/case.scelle.zip.pgp"
            .parse()
            .expect("sound");
        assert_eq!(parsed.file_name(), Some("case.scelle.zip.pgp"));
        assert_eq!(parsed.to_string(), "s3://vault/2026/case.scelle.zip.pgp");
        for folder in ["s3://vault", "s3://vault/", "s3://vault/2026/"] {
            let parsed: Address = folder.parse().expect("a folder");
            assert_eq!(parsed.file_name(), None, "{folder}");
            let named = parsed.with_file_name("a.zip").to_string();
            assert!(
                named.ends_with("/a.zip") && !named.contains("//a"),
                "{named}"
            );
        }
    }

    #[test]
    fn addresses_of_servers() {
        for (text, host, port, path) in [
            (
                "sftp://ana@drop.example.org/in/case.pgp",
                "drop.example.org",
                22,
                "/in/case.pgp",
            ),
            (
                "sftp://ana@127.0.0.1:2222/~/case.pgp",
                "127.0.0.1",
                2222,
                "case.pgp",
            ),
            (
                "sftp://ana@[2001:db8::1]:2222/in/",
                "2001:db8::1",
                2222,
                "/in/",
            ),
            ("sftp://ana@[2001:db8::1]/~/", "2001:db8::1", 22, ""),
        ] {
            let parsed: Address = text.parse().expect(text);
            assert_eq!(parsed.to_string(), text);
            let expected = Address::Sftp {
                user: "ana".into(),
                host: host.into(),
                port,
                path: path.into(),
            };
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn what_names_no_place() {
        for wrong in [
            "vault/key",
            "s3:///key",
            "s3://va ult/key",
            "s3://user@vault/key",
            "s3://vault/../key",
            "s3://vault/a\nb",
            "sftp://drop.example.org/in/case.pgp",
            "sftp://ana:secret@drop.example.org/x",
            "sftp://ana@drop.example.org",
            "sftp://ana@drop.example.org:ssh/x",
            "sftp://ana@/x",
            "sftp://ana@host/in/../x",
            "sftp://ana\u{1b}[2J@host/x",
        ] {
            let refused = wrong.parse::<Address>().expect_err(wrong);
            assert!(refused.to_string().contains("s3://BUCKET/KEY"), "{refused}");
        }
    }

    #[test]
    fn no_secret_is_shown_again() {
        for wrong in [
            "sftp://ana:hunter2@drop.example.org/x",
            "sftp://ana:hunter2@drop.example.org",
            "sftp://ana:hun/ter2@drop.example.org/x",
            "s3://key:hunter2@vault/x",
            "s3://vault/../x?token=hunter2",
        ] {
            let refused = wrong.parse::<Address>().expect_err(wrong).to_string();
            assert!(!refused.contains("ter2"), "{refused}");
            assert!(!refused.contains("ana"), "{refused}");
        }
        assert_eq!(
            without_login("https://u:p@store.example.org/s3"),
            "https://…@store.example.org/s3"
        );
    }
}
