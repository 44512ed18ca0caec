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

use agent::{Pace, Paced, agent, passing, split_endpoint};
pub(crate) use answer::Answer;
use answer::element;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use md5::Md5;
pub use options::{Credentials, S3Options};
use sha2::{Digest as _, Sha256};
use sign::{Signing, encode};
use ureq::{Agent, SendBody, http};

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
    /// What it answered when it was asked to complete the upload before, and did not say that it had.
    asked_to_complete: Option<String>,
    /// Whether it has done something in this run: whoever stands on the line may show another certificate later.
    was_reached: bool,
    pace: Pace,
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
        Self::with_pace(address, credentials, options, Pace::default())
    }

    fn with_pace(
        address: Address,
        credentials: Credentials,
        options: S3Options,
        pace: Pace,
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
        let agent = agent(&options, pace)?;
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
            asked_to_complete: None,
            was_reached: false,
            pace,
        })
    }

    /// Sends one request, signed, and gives what was answered if it was a yes.
    fn ask(&mut self, request: &Asked<'_>) -> Result<Answer, Failure> {
        let answer = self.send(request);
        let answer = answer.map_err(|error| passing(&error, self.was_reached))?;
        if answer.is_success() {
            self.was_reached = true;
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
            Some(body) => {
                let request = request.header("content-length", body.len());
                let mut paced = Paced::new(body, self.pace);
                let body = SendBody::from_reader(&mut paced);
                self.agent.run(request.body(body)?)?
            }
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
        let Some(before) = &self.asked_to_complete else {
            return Err(error.into());
        };
        Err(Error::Refused {
            store: self.name(),
            why: format!(
                "it was asked to make the object of its parts and did not say that it had ({before}), and now it \
                 refuses, or does not know the upload ({error}): the object may be there, but it did not confirm it, and what \
                 these credentials can see does not prove it"
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
            Err(Failure::Final(error)) if self.asked_to_complete.is_some() => {
                self.was_it_completed(sent, error)?
            }
            Err(Failure::Passing(why)) => {
                self.asked_to_complete = Some(why.clone());
                return Err(Failure::Passing(why));
            }
            Err(failure) => return Err(failure),
            Ok(answer) if answer.is_made() => answer,
            Ok(_) => {
                let why = "it did not say that it made the object of its parts";
                self.asked_to_complete = Some(why.into());
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
    use std::{
        io::{self, Read as _, Write as _},
        net::{TcpListener, TcpStream},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// A peer that takes one request in its own way.
    fn peer(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || serve(listener.accept().expect("connected").0));
        format!("http://{address}")
    }

    /// Sends more than all buffers on the way hold, at a pace that no test waits for long.
    fn put(endpoint: String) -> Result<String, Failure> {
        let options = S3Options {
            endpoint: Some(endpoint),
            ..S3Options::default()
        };
        let pace = Pace {
            window: Duration::from_secs(2),
            least: 1 << 20,
        };
        let address = "s3://vault/a".parse().expect("an address");
        let credentials = Credentials::new("key", "secret", None);
        let mut store = S3::with_pace(address, credentials, options, pace).expect("sound");
        let bytes = vec![7_u8; 48 << 20];
        let piece = Piece {
            index: 0,
            offset: 0,
            bytes: &bytes,
            sha256: Sha256::digest(&bytes).into(),
            md5: Md5::digest(&bytes).into(),
        };
        let begun = Begun {
            upload: "id".into(),
        };
        store.put(&begun, &piece)
    }

    #[test]
    fn a_peer_that_does_not_read_counts_as_a_line_that_was_cut() {
        let silent = peer(|line| {
            thread::sleep(Duration::from_secs(60));
            drop(line);
        });
        let dripping = peer(|mut line| {
            let mut few = [0; 1 << 10];
            while line.read(&mut few).is_ok_and(|count| count > 0) {
                thread::sleep(Duration::from_millis(10));
            }
        });
        for endpoint in [silent, dripping] {
            let began = Instant::now();
            let failed = put(endpoint).expect_err("nobody takes it");
            assert!(matches!(failed, Failure::Passing(_)), "{failed:?}");
            assert!(began.elapsed() < Duration::from_secs(30), "{failed:?}");
        }
    }

    #[test]
    fn a_peer_that_reads_slowly_is_waited_for() {
        let slow = peer(|mut line| {
            let mut some = vec![0; 256 << 10];
            let mut left = 48 << 20;
            while left > 0 {
                let count = line.read(&mut some).expect("it is sent");
                left -= count.min(left);
                thread::sleep(Duration::from_millis(5));
            }
            let answer = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\n\r\n";
            line.write_all(answer.as_bytes()).expect("answered");
            // The head came on top; a line that ends with something unread loses its answer.
            drop(io::copy(&mut line, &mut io::sink()));
        });
        assert_eq!(put(slow).expect("taken"), "\"1\"");
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
