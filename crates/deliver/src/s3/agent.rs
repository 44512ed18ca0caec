//! The way to a store: endpoint, TLS, proxy, and what goes wrong on it.

use std::{
    fs,
    io::{self, Read},
    time::{Duration, Instant},
};

use ureq::{
    Agent, Proxy, ProxyProtocol,
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::S3Options;
use crate::{Error, Failure, Secret, address::without_login};

const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer may take. A store that joins thousands of parts takes its time; and of what was sent, up to
/// 4 MiB may still be in this host's own buffers, which take 7 minutes over a line of 10 kB/s.
const READ_PATIENCE: Duration = Duration::from_secs(600);
/// Bytes that are sent before the pace is looked at again.
const STEP: usize = 32 << 10;

/// What a line must carry to count as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// So long it may carry nothing; and in each time that is as long it carries more than nothing.
    pub(super) window: Duration,
    /// Bytes that it carries in that time.
    pub(super) least: u64,
}

impl Default for Pace {
    /// A slow line has 10 kB/s; 1 kB/s is none.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(120),
            least: 128 << 10,
        }
    }
}

/// The body of a request, which ends in an error where whoever reads it is slower than the pace. A peer may take
/// a byte a minute for ever: each write then makes progress, and no time-out of one ends it.
pub(super) struct Paced<'a> {
    body: &'a [u8],
    pace: Pace,
    /// Since the first of it was asked for: until then the line was made.
    since: Option<Instant>,
    bytes: u64,
}

impl<'a> Paced<'a> {
    pub(super) fn new(body: &'a [u8], pace: Pace) -> Self {
        Self {
            body,
            pace,
            since: None,
            bytes: 0,
        }
    }
}

impl Read for Paced<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Pace { window, least } = self.pace;
        let took = self.since.get_or_insert_with(Instant::now).elapsed();
        if took >= window {
            if self.bytes < least {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "the line is too slow, or the store does not read: it took {} bytes in {} s",
                        self.bytes,
                        took.as_secs()
                    ),
                ));
            }
            (self.since, self.bytes) = (Some(Instant::now()), 0);
        }
        let count = self.body.read(into)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// What requests are sent with.
pub(super) fn agent(options: &S3Options, pace: Pace) -> Result<Agent, Error> {
    let mut tls = TlsConfig::builder();
    if let Some(text) = &options.authorities_text {
        tls = tls.root_certs(authorities("the text of certificates", text.as_bytes())?);
    } else if let Some(path) = &options.authorities {
        let text = fs::read(path).map_err(Error::local("reading the certificates", path))?;
        tls = tls.root_certs(authorities(&path.display().to_string(), &text)?);
    }
    let login = options.proxy_login.as_ref();
    let proxy = options.proxy.as_ref().map(|url| proxy(url, login));
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .tls_config(tls.build())
        // Said even where there is none: else the environment's would be taken.
        .proxy(proxy.transpose()?)
        .timeout_connect(Some(CONNECT_PATIENCE))
        .timeout_resolve(Some(CONNECT_PATIENCE))
        .timeout_per_write(Some(pace.window))
        .output_buffer_size(STEP)
        .timeout_per_read(Some(READ_PATIENCE))
        .timeout_recv_response(Some(READ_PATIENCE))
        .timeout_recv_body(Some(READ_PATIENCE))
        .build();
    Ok(config.into())
}

/// The certificates of a text in PEM, which alone may vouch for the store.
fn authorities(name: &str, text: &[u8]) -> Result<RootCerts, Error> {
    let unusable = |why: String| Error::Setup(format!("{name} {why}"));
    let mut certificates = Vec::new();
    for item in parse_pem(text) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(unusable(format!("is damaged: {error}"))),
        }
    }
    if certificates.is_empty() {
        return Err(unusable("holds no certificate in PEM".into()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The proxy at `http://HOST[:PORT]`.
fn proxy(url: &str, login: Option<&Secret>) -> Result<Proxy, Error> {
    let wrong = || {
        Error::Setup(format!(
            "{:?} is no proxy: write http://HOST[:PORT]; its user and password go into {}, as USER:PASSWORD",
            without_login(url),
            S3Options::PROXY_LOGIN
        ))
    };
    let (origin, path) = split_endpoint(url).map_err(|_| wrong())?;
    let place = origin.strip_prefix("http://").filter(|_| path.is_empty());
    let place = place.ok_or_else(wrong)?;
    let uri: ureq::http::uri::Authority = place.parse().map_err(|_| wrong())?;
    let mut proxy = Proxy::builder(ProxyProtocol::Http).host(uri.host());
    if let Some(port) = uri.port_u16() {
        proxy = proxy.port(port);
    }
    if let Some(login) = login {
        let (user, password) = login.show().split_once(':').ok_or_else(|| {
            Error::Setup(format!(
                "{} holds no colon: write USER:PASSWORD",
                S3Options::PROXY_LOGIN
            ))
        })?;
        proxy = proxy.username(user).password(password);
    }
    proxy.build().map_err(|_| wrong())
}

/// `https://HOST[:PORT]` and the path behind it, without its last `/`.
pub(super) fn split_endpoint(endpoint: &str) -> Result<(String, String), Error> {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| endpoint.strip_prefix(scheme));
    let is_sound = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', '?', '#', ' '])
    });
    if !is_sound {
        return Err(Error::Setup(format!(
            "{:?} is no endpoint: write https://HOST[:PORT]; credentials don't belong there, they are read \
             from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            without_login(endpoint)
        )));
    }
    let scheme_bytes = endpoint.len() - rest.unwrap_or_default().len();
    let path_at = endpoint[scheme_bytes..].find('/');
    let (origin, path) = endpoint.split_at(path_at.map_or(endpoint.len(), |at| scheme_bytes + at));
    Ok((origin.to_owned(), path.trim_end_matches('/').to_owned()))
}

/// What went wrong on the line. A certificate that nobody vouches for won't be another one soon, nor does a proxy
/// soon take a login that it refused; but where both were good in this run before (`was_reached`), it is the line, or
/// somebody on it, and one bad answer must not end a delivery.
pub(super) fn passing(error: &ureq::Error, was_reached: bool) -> Failure {
    let lasting = if is_of_trust(error) {
        Some(format!(
            "the store does not prove who it is: {error}; its certificate must be for the name in the endpoint, \
             be valid by the clock of this host, and be vouched for by an authority of the file that --ca-cert \
             (or AWS_CA_BUNDLE) names, else by one that Mozilla trusts"
        ))
    } else if wants_login(error) {
        Some(format!(
            "the proxy lets nobody through whom it does not know (status 407): its user and password go into {}, \
             as USER:PASSWORD",
            S3Options::PROXY_LOGIN
        ))
    } else {
        None
    };
    if let Some(why) = lasting {
        return match was_reached {
            true => Failure::Passing(why),
            false => Failure::Final(Error::Setup(why)),
        };
    }
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Failure::Final(Error::Setup(format!("the store can't be asked: {error}")))
        }
        _ => Failure::Passing(error.to_string()),
    }
}

/// Whether the proxy wants to know who asks; of its answer `ureq` gives a sentence alone.
fn wants_login(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::ConnectProxyFailed(said) if said.contains("407"))
}

/// Whether it is about the store's certificate. What goes wrong while hands are shaken comes as an error of
/// input or output.
fn is_of_trust(error: &ureq::Error) -> bool {
    let inner = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        ureq::Error::Tls(_) | ureq::Error::Pem(_) => return true,
        _ => None,
    };
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let split = |text| split_endpoint(text).expect("sound");
        assert_eq!(
            split("http://127.0.0.1:9000/"),
            ("http://127.0.0.1:9000".into(), String::new())
        );
        assert_eq!(
            split("https://store.example.org/s3/"),
            ("https://store.example.org".into(), "/s3".into())
        );
        for wrong in [
            "store.example.org",
            "ftp://x",
            "https://",
            "https://user:hunter2@x",
            "https://user:hun/ter2@x",
            "https:///x",
            "https://x/?secret=hunter2",
        ] {
            let refused = split_endpoint(wrong).expect_err(wrong).to_string();
            assert!(!refused.contains("ter2"), "{refused}");
        }
    }

    #[test]
    fn a_body_is_read_at_a_pace() {
        let pace = Pace {
            window: Duration::from_millis(50),
            least: 1000,
        };
        let read = |bytes_at_once: usize, pause_ms: u64| -> io::Result<usize> {
            let mut paced = Paced::new(&[7; 4000], pace);
            let mut sum = 0;
            loop {
                match paced.read(&mut vec![0; bytes_at_once])? {
                    0 => return Ok(sum),
                    count => sum += count,
                }
                std::thread::sleep(Duration::from_millis(pause_ms));
            }
        };
        assert_eq!(read(4000, 0).expect("at once"), 4000);
        // A pause may be longer than the time, where what was taken in it is enough.
        assert_eq!(read(1000, 60).expect("slow"), 4000);
        let late = read(10, 20).expect_err("too slow");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_line_that_was_good_before_is_tried_again() {
        let wrong = [
            ureq::Error::Rustls(rustls::Error::InvalidCertificate(
                rustls::CertificateError::UnknownIssuer,
            )),
            ureq::Error::ConnectProxyFailed("proxy server responded 407/407".into()),
        ];
        for error in wrong {
            let first = passing(&error, false);
            assert!(
                matches!(first, Failure::Final(Error::Setup(_))),
                "{first:?}"
            );
            let later = passing(&error, true);
            assert!(matches!(later, Failure::Passing(_)), "{later:?}");
        }
    }

    #[test]
    fn proxies() {
        let login = Secret::new("ana:hunter2");
        let made = proxy("http://proxy.example.org:3128", Some(&login)).expect("sound");
        assert_eq!((made.host(), made.port()), ("proxy.example.org", 3128));
        assert_eq!(made.username(), Some("ana"));
        let refused = proxy("http://proxy.example.org", Some(&Secret::new("hunter2")));
        let refused = refused.expect_err("no user").to_string();
        assert!(refused.contains("SCELLE_PROXY_LOGIN"), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
        let made = proxy("http://[2001:db8::1]", None).expect("sound");
        assert_eq!((made.port(), made.username()), (80, None));
        for wrong in [
            "proxy.example.org:3128",
            "socks5://proxy.example.org",
            "http://ana:hunter2@proxy.example.org",
            "http://proxy.example.org/path",
        ] {
            let refused = proxy(wrong, None).expect_err(wrong).to_string();
            assert!(refused.contains("SCELLE_PROXY_LOGIN"), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
