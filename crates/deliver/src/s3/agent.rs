//! The way to a store: endpoint, TLS, proxy, and what goes wrong on it.

use std::{fs, path::Path, time::Duration};

use ureq::{
    Agent, Proxy, ProxyProtocol,
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::S3Options;
use crate::{Error, Failure, Secret, address::without_login};

const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How long a line may be still. A store that joins thousands of parts takes its time to answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
const READ_PATIENCE: Duration = Duration::from_secs(300);

/// What requests are sent with.
pub(super) fn agent(options: &S3Options) -> Result<Agent, Error> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = &options.authorities {
        tls = tls.root_certs(authorities(path)?);
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
        .timeout_per_write(Some(WRITE_PATIENCE))
        .timeout_per_read(Some(READ_PATIENCE))
        .timeout_recv_response(Some(READ_PATIENCE))
        .timeout_recv_body(Some(READ_PATIENCE))
        .build();
    Ok(config.into())
}

/// The certificates of a file, which alone may vouch for the store.
fn authorities(path: &Path) -> Result<RootCerts, Error> {
    let unusable = |why: String| Error::Setup(format!("{} {why}", path.display()));
    let text = fs::read(path).map_err(Error::local("reading the certificates", path))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
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
    if let Some((user, password)) = login.and_then(|login| login.show().split_once(':')) {
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

/// What went wrong on the line. A certificate that nobody vouches for won't be another one soon.
pub(super) fn passing(error: &ureq::Error) -> Failure {
    if is_of_trust(error) {
        return Failure::Final(Error::Setup(format!(
            "the store does not prove who it is: {error}; its certificate must be for the name in the endpoint, \
             be valid by the clock of this host, and be vouched for by an authority of the file that --ca-cert \
             (or AWS_CA_BUNDLE) names, else by one that Mozilla trusts"
        )));
    }
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Failure::Final(Error::Setup(format!("the store can't be asked: {error}")))
        }
        _ => Failure::Passing(error.to_string()),
    }
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
    fn proxies() {
        let login = Secret::new("ana:hunter2");
        let made = proxy("http://proxy.example.org:3128", Some(&login)).expect("sound");
        assert_eq!((made.host(), made.port()), ("proxy.example.org", 3128));
        assert_eq!(made.username(), Some("ana"));
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
