//! What an S3 service answers: a status, some headers, a little XML.

use crate::{Error, Failure, error::printable};

/// An answer, as far as it is looked at.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) version: Option<String>,
    pub(super) date: Option<String>,
    pub(super) length: Option<u64>,
    pub(super) region: Option<String>,
    pub(super) body: String,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.to_owned(),
            ..Self::default()
        }
    }

    /// The code of an error, where the body is one. A request that takes long may be answered with 200 before
    /// it fails.
    pub(super) fn code(&self) -> Option<String> {
        begins(&self.body, "Error")
            .then(|| element(&self.body, "Code"))
            .flatten()
    }

    /// Whether it is a yes.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status) && !begins(&self.body, "Error")
    }

    /// Whether it says that the object was made of its parts: a status alone says nothing, any page in between has one.
    pub(crate) fn is_made(&self) -> bool {
        // Some services name it otherwise where they are asked again.
        let made = [
            "CompleteMultipartUploadResult",
            "CompleteMultipartUploadResponse",
        ];
        let is_made = made.iter().any(|made| begins(&self.body, made));
        is_made && element(&self.body, "ETag").is_some()
    }

    /// A no, and whether it is worth another try.
    pub(crate) fn refusal(&self, store: &str) -> Failure {
        const PASSING: [&str; 9] = [
            "RequestTimeout",
            "SlowDown",
            "InternalError",
            "ServiceUnavailable",
            "BadDigest",
            "XAmzContentSHA256Mismatch",
            "IncompleteBody",
            "OperationAborted",
            "ConditionalRequestConflict",
        ];
        let code = self.code().unwrap_or_default();
        let said = self.said(&code);
        let is_busy = matches!(self.status, 408 | 429 | 500 | 502..=599);
        if is_busy || PASSING.contains(&&*code) {
            return Failure::Passing(said);
        }
        let store = store.to_owned();
        if code == "NoSuchUpload" {
            return Error::Forgotten { store, why: said }.into();
        }
        let hint = match self.status {
            301 | 307 | 308 => "; name the bucket's region with --region",
            401 | 403 => "; the credentials must be valid now, and allow s3:PutObject for this key",
            404 => "; is there such a bucket at this endpoint?",
            412 => {
                "; an object of that name exists already, perhaps this very bundle, of a delivery that was \
                 cut at its end: choose another name, or replace it with --force"
            }
            501 => "; a store that knows no conditional writes takes it with --force",
            _ => "",
        };
        let region = self.region.as_deref().filter(|_| self.status < 400);
        let region = region.map_or_else(String::new, |region| format!(" ({region})"));
        Error::Refused {
            store,
            why: format!("{said}{hint}{region}"),
        }
        .into()
    }

    fn said(&self, code: &str) -> String {
        let message = element(&self.body, "Message").unwrap_or_default();
        let words: Vec<_> = [code, &message]
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(printable)
            .collect();
        format!("status {} {}", self.status, words.join(": "))
            .trim_end()
            .to_owned()
    }
}

/// Whether an element of that name begins somewhere, with or without attributes.
fn begins(xml: &str, name: &str) -> bool {
    let mut rest = xml.match_indices('<').map(|(at, _)| &xml[at + 1..]);
    rest.any(|rest| {
        let after = rest.strip_prefix(name);
        after.is_some_and(|after| after.starts_with(['>', '/', ' ', '\t', '\r', '\n']))
    })
}

/// The text of the first element of that name, which has no attributes and no elements in it.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = text
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    Some(plain.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::new(status, body)
    }

    #[test]
    fn answers_are_told_apart() {
        let busy = answer(503, "<Error><Code>SlowDown</Code></Error>");
        assert!(matches!(busy.refusal("s3://b/k"), Failure::Passing(_)));
        let late = answer(200, "<Error><Code>InternalError</Code></Error>");
        assert!(!late.is_success());
        assert!(matches!(late.refusal("s3://b/k"), Failure::Passing(_)));
        let gone = answer(404, "<Error><Code>NoSuchUpload</Code></Error>");
        let gone = gone.refusal("s3://b/k");
        assert!(matches!(gone, Failure::Final(Error::Forgotten { .. })));
        let denied = answer(
            403,
            "<Error><Code>AccessDenied</Code><Message>no\u{1b}[2J</Message></Error>",
        );
        let Failure::Final(Error::Refused { why, .. }) = denied.refusal("s3://b/k") else {
            panic!("{denied:?}");
        };
        assert!(
            why.contains("AccessDenied") && why.contains("s3:PutObject"),
            "{why}"
        );
        assert!(!why.contains('\u{1b}'));
        assert!(answer(204, "").is_success());
        let late = answer(200, "<Error xmlns=\"x\"><Code>InternalError</Code></Error>");
        assert!(!late.is_success());
        assert_eq!(late.code().as_deref(), Some("InternalError"));
        assert!(answer(200, "<Errors/>").is_success());
    }

    #[test]
    fn only_a_result_says_that_it_is_made() {
        let made = "<?xml?>\n<CompleteMultipartUploadResult xmlns=\"x\"><ETag>\"1-2\"</ETag></CompleteMultipartUploadResult>";
        assert!(answer(200, made).is_made());
        let again = made.replace("Result", "Response");
        assert!(answer(200, &again).is_made());
        for other in [
            "",
            "<html>log in</html>",
            "<ETag>\"1-2\"</ETag>",
            "<CompleteMultipartUploadResult/>",
        ] {
            assert!(!answer(200, other).is_made(), "{other}");
        }
    }

    #[test]
    fn elements() {
        let xml = "<R><UploadId>a&amp;b</UploadId><ETag>&quot;12&quot;</ETag></R>";
        assert_eq!(element(xml, "UploadId").as_deref(), Some("a&b"));
        assert_eq!(element(xml, "ETag").as_deref(), Some("\"12\""));
        assert_eq!(element(xml, "Key"), None);
        assert_eq!(element("<ETag>cut", "ETag"), None);
    }
}
