//! S3-compatible stores: multipart uploads, with nothing but the right to put an object.
//!
//! Nothing is listed, read or asked for, so that credentials that can only write are enough. Each
//! part's SHA-256 is in its signature and its MD5 in `Content-MD5`: a store that heeds either
//! refuses other bytes. What it answers, the ETag, is compared with that MD5.
//!
//! # Sources
//! - Amazon S3 API reference: `CreateMultipartUpload`, `UploadPart`, `CompleteMultipartUpload`,
//!   `HeadObject`; "Checking object integrity": of objects that are not encrypted with other keys
//!   than the store's own, a part's ETag is its MD5, and the object's that of all parts' MD5s.

mod answer;
mod sign;

use std::{env, fs, path::PathBuf, time::Duration};

use answer::{Answer, element};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use sign::{Signing, encode};
use ureq::{
    Agent, http,
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};
use zeroize::Zeroizing;

use crate::{Address, Begun, Confirmation, Error, Failure, Piece, SentPiece, Store, transfer::hex};

/// Parts of one object.
const MOST_PARTS: u32 = 10_000;
/// An answer is a few hundred bytes.
const ANSWER_LIMIT: u64 = 1 << 16;
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How long a line may be still. A store that joins thousands of parts takes its time to answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
const READ_PATIENCE: Duration = Duration::from_secs(300);

/// Who the sender is.
#[derive(Clone)]
pub struct Credentials {
    access: String,
    secret: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
}

impl Credentials {
    /// An access key, its secret, and the token of a session.
    pub fn new(access: &str, secret: &str, token: Option<&str>) -> Self {
        Self {
            access: access.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
            token: token.map(|token| Zeroizing::new(token.to_owned())),
        }
    }

    /// Those of the environment, under the names that AWS's own tools use.
    ///
    /// # Errors
    /// Where there are none.
    pub fn from_environment() -> Result<Self, Error> {
        let get = |name: &str| variable(&[name]);
        let (Some(access), Some(secret)) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"))
        else {
            return Err(Error::Setup(
                "no credentials for the store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
                 (and AWS_SESSION_TOKEN, where there is one)"
                    .into(),
            ));
        };
        let token = get("AWS_SESSION_TOKEN");
        Ok(Self::new(&access, &secret, token.as_deref()))
    }
}

/// How a store is reached.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// Its address; else that of `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, or AWS itself.
    pub endpoint: Option<String>,
    /// The bucket's region; else that of `AWS_REGION`, `AWS_DEFAULT_REGION`, or `us-east-1`.
    pub region: Option<String>,
    /// A file of certificates that may vouch for it, in PEM; else that of `AWS_CA_BUNDLE`, or those
    /// that Mozilla trusts.
    pub authorities: Option<PathBuf>,
    /// Whether an object of that name may be replaced.
    pub replace: bool,
}

/// One object of an S3-compatible store.
pub struct S3 {
    agent: Agent,
    address: Address,
    /// `https://HOST[:PORT]`
    origin: String,
    host: String,
    /// The object's path, encoded.
    path: String,
    region: String,
    credentials: Credentials,
    replace: bool,
    /// How far the store's clock is ahead of the host's, where that was asked.
    skew: SignedDuration,
    /// Whether it was asked to complete the upload before.
    was_completed: bool,
}

impl S3 {
    /// A store that is not asked anything yet.
    ///
    /// # Errors
    /// Where the address, the endpoint or the certificates can't be used.
    pub fn new(
        address: Address,
        credentials: Credentials,
        options: S3Options,
    ) -> Result<Self, Error> {
        let setup = |why: String| Error::Setup(why);
        let Address::S3 { bucket, key } = &address else {
            return Err(setup(format!("{address} is no address of S3")));
        };
        if key.is_empty() || key.ends_with('/') {
            return Err(setup(format!(
                "{address} names no object: write s3://BUCKET/KEY"
            )));
        }
        let region = options
            .region
            .or_else(|| variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
            .unwrap_or_else(|| "us-east-1".into());
        let endpoint = options
            .endpoint
            .or_else(|| variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        let mut path = format!("/{bucket}/{key}");
        let origin = match endpoint {
            Some(endpoint) => {
                let (origin, prefix) = split_endpoint(&endpoint)?;
                path.insert_str(0, &prefix);
                origin
            }
            // A name with dots fits no wildcard certificate.
            None if bucket.contains('.') => format!("https://s3.{region}.amazonaws.com"),
            None => {
                path = format!("/{key}");
                format!("https://{bucket}.s3.{region}.amazonaws.com")
            }
        };
        let host = origin
            .split_once("://")
            .map_or(&*origin, |(_, host)| host)
            .to_owned();
        let authorities = options
            .authorities
            .or_else(|| variable(&["AWS_CA_BUNDLE"]).map(PathBuf::from));
        Ok(Self {
            agent: agent(authorities)?,
            path: encode(&path, true),
            address,
            origin,
            host,
            region,
            credentials,
            replace: options.replace,
            skew: SignedDuration::ZERO,
            was_completed: false,
        })
    }

    /// Sends one request, signed, and gives what was answered if it was a yes.
    fn ask(&mut self, request: &Asked<'_>) -> Result<Answer, Failure> {
        let answer = self.send(request).map_err(|error| passing(&error))?;
        if answer.is_success() {
            return Ok(answer);
        }
        if answer.code().as_deref() == Some("RequestTimeTooSkewed")
            && let Some(skew) = skew(&answer)
            && (skew - self.skew).abs() > SignedDuration::from_mins(1)
        {
            // A host's clock is its own affair; the store's is the one that a signature must fit.
            self.skew = skew;
            return Err(Failure::Passing("its clock is another".into()));
        }
        Err(answer.refusal(&self.name()))
    }

    fn send(&self, asked: &Asked<'_>) -> Result<Answer, ureq::Error> {
        let time = Timestamp::now()
            .saturating_add(self.skew)
            .unwrap_or_default()
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        let mut headers = asked.headers.clone();
        headers.push(("host", self.host.clone()));
        headers.push(("x-amz-content-sha256", asked.sha256.clone()));
        headers.push(("x-amz-date", time.clone()));
        if let Some(token) = &self.credentials.token {
            headers.push(("x-amz-security-token", token.to_string()));
        }
        headers.sort();
        let signing = Signing {
            credentials: &self.credentials,
            region: &self.region,
            time: &time,
            method: asked.method,
            path: &self.path,
            query: &asked.query,
            headers: &headers,
            payload: &asked.sha256,
        };
        let mut request = http::Request::builder()
            .method(asked.method)
            .uri(format!("{}{}?{}", self.origin, self.path, asked.query))
            .header("authorization", signing.authorization());
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        let response = match asked.body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        read(response)
    }

    /// Asks for the object itself: whether the store made it although its answer was cut off.
    fn look(&mut self) -> Result<Answer, Failure> {
        self.ask(&Asked::new("HEAD", &[], None))
    }

    /// The upload is unknown to the store: it was completed and the answer was cut off, or it was forgotten.
    fn was_it_completed(&mut self, sent: &[SentPiece], error: Error) -> Result<Answer, Failure> {
        let bytes: u64 = sent.iter().map(|piece| piece.bytes).sum();
        let is_it = |found: &Answer, was_completed: bool| {
            let by_etag = expected_etag(sent).map(|etag| found.etag.as_ref() == Some(&etag));
            found.length == Some(bytes) && by_etag.unwrap_or(was_completed)
        };
        match self.look() {
            Ok(found) if is_it(&found, self.was_completed) => return Ok(found),
            Err(Failure::Passing(why)) => return Err(Failure::Passing(why)),
            Ok(_) | Err(Failure::Final(_)) => {}
        }
        if !self.was_completed {
            return Err(error.into());
        }
        Err(Error::Refused {
            store: self.name(),
            why: format!(
                "the line was cut while it made the object of its parts, and now it does not know the upload \
                 ({error}): the object is probably there, but it did not confirm it, and these credentials \
                 can't look"
            ),
        }
        .into())
    }
}

impl Store for S3 {
    fn name(&self) -> String {
        self.address.to_string()
    }

    fn endpoint(&self) -> String {
        self.origin.clone()
    }

    fn most_pieces(&self) -> u32 {
        MOST_PARTS
    }

    fn begin(&mut self) -> Result<Begun, Failure> {
        let mut asked = Asked::new("POST", &[("uploads", "")], Some(&[]));
        asked.header("content-type", "application/octet-stream".into());
        let answer = self.ask(&asked)?;
        let upload = element(&answer.body, "UploadId").filter(|id| !id.is_empty());
        upload.map(|upload| Begun { upload }).ok_or_else(|| {
            Failure::Final(Error::Refused {
                store: self.name(),
                why: "it answered, but not as S3 does; is the endpoint right?".into(),
            })
        })
    }

    fn put(&mut self, begun: &Begun, piece: &Piece<'_>) -> Result<String, Failure> {
        let number = (piece.index + 1).to_string();
        let query = [("partNumber", &*number), ("uploadId", &begun.upload)];
        let mut asked = Asked::new("PUT", &query, None);
        asked.body = Some(piece.bytes);
        asked.sha256 = hex(&piece.sha256);
        asked.header("content-md5", BASE64.encode(piece.md5));
        let answer = self.ask(&asked)?;
        answer
            .etag
            .ok_or_else(|| Failure::Passing(format!("it gave part {number} no ETag")))
    }

    fn finish(&mut self, begun: &Begun, sent: &[SentPiece]) -> Result<Confirmation, Failure> {
        let body = complete(sent);
        let query = [("uploadId", &*begun.upload)];
        let mut asked = Asked::new("POST", &query, Some(body.as_bytes()));
        asked.header("content-type", "application/xml".into());
        if !self.replace {
            asked.header("if-none-match", "*".into());
        }
        let answer = match self.ask(&asked) {
            Err(Failure::Final(error @ Error::Forgotten { .. })) => {
                self.was_it_completed(sent, error)?
            }
            Err(Failure::Final(error)) if self.was_completed => {
                self.was_it_completed(sent, error)?
            }
            Err(failure) => {
                self.was_completed |= matches!(failure, Failure::Passing(_));
                return Err(failure);
            }
            Ok(answer) if answer.is_made() => answer,
            Ok(_) => {
                self.was_completed = true;
                let why = "it did not say that it made the object of its parts";
                return Err(Failure::Passing(why.into()));
            }
        };
        Ok(confirmation(&answer, sent))
    }
}

/// A request.
struct Asked<'a> {
    method: &'static str,
    query: String,
    headers: Vec<(&'static str, String)>,
    body: Option<&'a [u8]>,
    sha256: String,
}

impl<'a> Asked<'a> {
    /// `query` is in the order of its names.
    fn new(method: &'static str, query: &[(&str, &str)], body: Option<&'a [u8]>) -> Self {
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value, false)))
            .collect();
        Self {
            method,
            query: query.join("&"),
            headers: Vec::new(),
            body,
            sha256: hex(&Sha256::digest(body.unwrap_or_default())),
        }
    }

    fn header(&mut self, name: &'static str, value: String) {
        self.headers.push((name, value));
    }
}

fn agent(authorities: Option<PathBuf>) -> Result<Agent, Error> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = authorities {
        let text = fs::read(&path).map_err(Error::local("reading the certificates", &path))?;
        let mut certificates = Vec::new();
        for item in parse_pem(&text) {
            if let Ok(PemItem::Certificate(certificate)) = item {
                certificates.push(certificate);
            }
        }
        if certificates.is_empty() {
            return Err(Error::Setup(format!(
                "{} holds no certificate in PEM",
                path.display()
            )));
        }
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .tls_config(tls.build())
        .timeout_connect(Some(CONNECT_PATIENCE))
        .timeout_resolve(Some(CONNECT_PATIENCE))
        .timeout_per_write(Some(WRITE_PATIENCE))
        .timeout_per_read(Some(READ_PATIENCE))
        .timeout_recv_response(Some(READ_PATIENCE))
        .timeout_recv_body(Some(READ_PATIENCE))
        .build();
    Ok(config.into())
}

/// `https://HOST[:PORT]` and the path behind it, without its last `/`.
fn split_endpoint(endpoint: &str) -> Result<(String, String), Error> {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| endpoint.strip_prefix(scheme));
    let is_sound = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['@', '?', '#', ' '])
    });
    if !is_sound {
        return Err(Error::Setup(format!(
            "{endpoint:?} is no endpoint: write https://HOST[:PORT]"
        )));
    }
    let scheme_bytes = endpoint.len() - rest.unwrap_or_default().len();
    let path_at = endpoint[scheme_bytes..].find('/');
    let (origin, path) = endpoint.split_at(path_at.map_or(endpoint.len(), |at| scheme_bytes + at));
    Ok((origin.to_owned(), path.trim_end_matches('/').to_owned()))
}

fn read(mut response: http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().map(str::to_owned).ok()
    };
    let mut answer = Answer {
        status: response.status().as_u16(),
        etag: header("etag"),
        version: header("x-amz-version-id"),
        date: header("date"),
        length: header("content-length").and_then(|length| length.parse().ok()),
        region: header("x-amz-bucket-region"),
        body: String::new(),
    };
    let body = response.body_mut().with_config().limit(ANSWER_LIMIT);
    answer.body = String::from_utf8_lossy(&body.read_to_vec()?).into_owned();
    Ok(answer)
}

/// What went wrong on the line. A certificate that nobody vouches for won't be another one soon.
fn passing(error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::Pem(_) => {
            Failure::Final(Error::Setup(format!(
                "the store does not prove who it is: {error}; its certificate must be vouched for by an \
                 authority that Mozilla trusts, or one of the file that AWS_CA_BUNDLE names, by the \
                 clock of this host"
            )))
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            Failure::Final(Error::Setup(format!("the store can't be asked: {error}")))
        }
        _ => Failure::Passing(error.to_string()),
    }
}

/// How far the store's clock is ahead.
fn skew(answer: &Answer) -> Option<SignedDuration> {
    let theirs = rfc2822::parse(answer.date.as_deref()?).ok()?.timestamp();
    Some(theirs.duration_since(Timestamp::now()))
}

fn complete(sent: &[SentPiece]) -> String {
    let mut body = String::from("<CompleteMultipartUpload>");
    for piece in sent {
        let etag = piece.answer.replace('&', "&amp;").replace('<', "&lt;");
        let number = piece.piece + 1;
        body.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        ));
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

/// The ETag of an object whose store makes it of its parts' MD5s; `None` where theirs are no MD5s.
fn expected_etag(sent: &[SentPiece]) -> Option<String> {
    let mut all = Md5::new();
    for piece in sent {
        if piece.answer.trim_matches('"') != piece.md5 {
            return None;
        }
        let bytes: Option<Vec<u8>> = (0..piece.md5.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(piece.md5.get(at..at + 2)?, 16).ok())
            .collect();
        all.update(bytes?);
    }
    Some(format!("\"{}-{}\"", hex(&all.finalize()), sent.len()))
}

fn confirmation(answer: &Answer, sent: &[SentPiece]) -> Confirmation {
    let etag = element(&answer.body, "ETag").or_else(|| answer.etag.clone());
    let quoted = |etag: &String| format!("\"{}\"", etag.trim_matches('"'));
    let expected = expected_etag(sent);
    let mut confirmed = vec![format!(
        "the store took {} parts, each sent with its SHA-256 and its MD5, and made one object of them",
        sent.len()
    )];
    let mut unconfirmed = Vec::new();
    if expected.is_some() {
        confirmed.push("it answered each part with the MD5 of what was sent, as ETag".into());
    } else {
        unconfirmed.push(
            "the ETags of the parts are not their MD5s (a store that encrypts makes others), so they \
             don't speak for the bytes"
                .into(),
        );
    }
    match (&expected, etag.as_ref().map(quoted)) {
        (Some(expected), Some(etag)) if *expected == etag => {
            confirmed.push("the object's ETag is that of these parts in this order".into());
        }
        (Some(expected), Some(_)) => unconfirmed.push(format!(
            "the object's ETag is not the one that S3 makes of these parts, {expected}: the store makes others, or \
             the object is another"
        )),
        _ => unconfirmed.push("the object's ETag can't be compared with what was sent".into()),
    }
    unconfirmed.push("the object was not read back, which a right to write does not allow".into());
    Confirmation {
        confirmed,
        unconfirmed,
        etag,
        version: answer.version.clone(),
        store_time: answer.date.clone(),
    }
}

/// The first of these environment variables that is set.
fn variable(names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
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
            "https://u:p@x",
            "https:///x",
        ] {
            split_endpoint(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn etags_of_parts() {
        let mut sent: Vec<_> = [b"a", b"b"]
            .iter()
            .zip(0..)
            .map(|(bytes, piece)| {
                let md5 = hex(&Md5::digest(bytes));
                SentPiece {
                    piece,
                    bytes: 1,
                    sha256: String::new(),
                    answer: format!("\"{md5}\""),
                    md5,
                }
            })
            .collect();
        // printf '%s%s' "$(printf a | md5sum)" "$(printf b | md5sum)", as bytes, through md5sum.
        let expected = expected_etag(&sent).expect("MD5s");
        assert_eq!(expected, "\"96e024ba2074fe77e8e965ba43a704be-2\"");
        let mut answer = Answer {
            body: format!("<ETag>{}</ETag>", expected.replace('"', "&quot;")),
            ..Answer::default()
        };
        let said = confirmation(&answer, &sent);
        assert_eq!(
            (said.confirmed.len(), said.unconfirmed.len()),
            (3, 1),
            "{said:?}"
        );
        answer.body = "<ETag>\"other-2\"</ETag>".into();
        let said = confirmation(&answer, &sent);
        assert_eq!(said.confirmed.len(), 2);
        assert!(said.unconfirmed[0].contains(&expected), "{said:?}");
        sent[1].answer = "\"encrypted\"".into();
        assert_eq!(expected_etag(&sent), None);
        assert_eq!(confirmation(&answer, &sent).confirmed.len(), 1);
    }
}
