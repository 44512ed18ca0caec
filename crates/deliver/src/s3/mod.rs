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

mod agent;
mod answer;
mod options;
mod sign;

use agent::{agent, passing, split_endpoint};
use answer::{Answer, element};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use md5::Md5;
pub use options::{Credentials, S3Options};
use sha2::{Digest as _, Sha256};
use sign::{Signing, encode};
use ureq::{Agent, http};

use crate::{Address, Begun, Confirmation, Error, Failure, Piece, SentPiece, Store, transfer::hex};

/// Parts of one object.
const MOST_PARTS: u32 = 10_000;
/// An answer is a few hundred bytes.
const ANSWER_LIMIT: u64 = 1 << 16;

/// One object of an S3-compatible store.
pub struct S3 {
    agent: Agent,
    address: Address,
    /// `https://HOST[:PORT]`, and the path behind it that all objects have.
    endpoint: String,
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
        let agent = agent(&options)?;
        let region = options.region.unwrap_or_else(|| "us-east-1".into());
        let mut path = format!("/{bucket}/{key}");
        let mut endpoint = None;
        let origin = match options.endpoint {
            Some(named) => {
                let (origin, prefix) = split_endpoint(&named)?;
                path.insert_str(0, &prefix);
                endpoint = Some(format!("{origin}{prefix}"));
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
        Ok(Self {
            agent,
            path: encode(&path, true),
            address,
            endpoint: endpoint.unwrap_or_else(|| origin.clone()),
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
            headers.push(("x-amz-security-token", token.show().to_owned()));
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

    /// The upload is unknown to the store: it was completed and the answer was cut off, or it was forgotten. Only
    /// the ETag of what lies there tells: an older object may have the same size.
    fn was_it_completed(&mut self, sent: &[SentPiece], error: Error) -> Result<Answer, Failure> {
        let bytes: u64 = sent.iter().map(|piece| piece.bytes).sum();
        let expected = expected_etag(sent);
        match self.look() {
            Ok(found)
                if found.length == Some(bytes) && expected.is_some() && found.etag == expected =>
            {
                return Ok(found);
            }
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
                 ({error}): the object may be there, but it did not confirm it, and what these credentials \
                 can see does not prove it"
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
        self.endpoint.clone()
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

#[cfg(test)]
mod tests {
    use super::*;

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
