//! Signatures of requests: AWS Signature Version 4, in a header, over the payload's SHA-256 too.
//!
//! # Sources
//! - Amazon S3 API reference, "Authenticating Requests: Using the Authorization Header (AWS Signature
//!   Version 4)", "Signature Calculations for the Authorization Header: Transferring Payload in a
//!   Single Chunk"; the tests are its examples.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::Credentials;
use crate::transfer::hex;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed of a request, and for whom.
pub(super) struct Signing<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) region: &'a str,
    /// `YYYYMMDDTHHMMSSZ`
    pub(super) time: &'a str,
    pub(super) method: &'a str,
    /// The path, encoded.
    pub(super) path: &'a str,
    /// The query, encoded and in order.
    pub(super) query: &'a str,
    /// The headers that are signed: lower-case names, in order.
    pub(super) headers: &'a [(&'static str, String)],
    /// The SHA-256 of the payload, in hex.
    pub(super) payload: &'a str,
}

impl Signing<'_> {
    /// The value of the header `Authorization`.
    pub(super) fn authorization(&self) -> String {
        let day = self.time.get(..8).unwrap_or(self.time);
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let request = format!(
            "{}\n{}\n{}\n{headers}\n{names}\n{}",
            self.method, self.path, self.query, self.payload
        );
        let request = hex(&Sha256::digest(request.as_bytes()));
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{request}", self.time);
        let secret = format!("AWS4{}", self.credentials.secret.show());
        let key = [day, self.region, "s3", "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| mac(&key, part));
        format!(
            "{ALGORITHM} Credential={}/{scope},SignedHeaders={names},Signature={}",
            self.credentials.access,
            hex(&mac(&key, &text))
        )
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A text as a URI holds it; `/` stays as it is in a path.
pub(super) fn encode(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/') {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signature(
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&'static str, String)],
        payload: &str,
    ) -> String {
        let credentials = Credentials::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            None,
        );
        let signing = Signing {
            credentials: &credentials,
            region: "us-east-1",
            time: "20130524T000000Z",
            method,
            path,
            query,
            headers,
            payload,
        };
        let authorization = signing.authorization();
        let (_, signature) = authorization.split_once("Signature=").expect("there");
        signature.to_owned()
    }

    fn headers(more: &[(&'static str, &str)], payload: &str) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("x-amz-content-sha256", payload.to_owned()),
            ("x-amz-date", "20130524T000000Z".to_owned()),
        ];
        all.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        all.sort();
        all
    }

    #[test]
    fn the_published_examples() {
        let get = signature(
            "GET",
            "/test.txt",
            "",
            &headers(&[("range", "bytes=0-9")], EMPTY),
            EMPTY,
        );
        assert_eq!(
            get,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let payload = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        let more = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let path = encode("/test$file.text", true);
        let put = signature("PUT", &path, "", &headers(&more, payload), payload);
        assert_eq!(
            put,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        let lifecycle = signature("GET", "/", "lifecycle=", &headers(&[], EMPTY), EMPTY);
        assert_eq!(
            lifecycle,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        let list = signature(
            "GET",
            "/",
            "max-keys=2&prefix=J",
            &headers(&[], EMPTY),
            EMPTY,
        );
        assert_eq!(
            list,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn uris() {
        assert_eq!(encode("a b/ü+~", true), "a%20b/%C3%BC%2B~");
        assert_eq!(encode("a/b=", false), "a%2Fb%3D");
    }
}
