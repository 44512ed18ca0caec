//! Time-stamps over a bundle's signature: RFC 3161.
//!
//! `signatures/FINGERPRINT.tsr` is a `TimeStampResp` over the bytes of `signatures/FINGERPRINT.asc`, in DER, in
//! one canonical form:
//!
//! - status 0 and nothing else of it;
//! - a `SignedData` (RFC 5652) with one signer, the signer's certificate and no other, no revocation lists,
//!   no unsigned attributes, and versions, parameters and algorithms that say the same in one way: what no signature covers is taken out, so that no bit of what stays is
//!   free. The certificate is covered by the signing-certificate attribute (RFC 2634, RFC 5035);
//! - the signer named by its issuer and number, and of the two ECDSA signatures that fit, the one of the smaller `s`.
//!
//! Whoever asks for the time names the service's certificate, or its issuer's; nothing is fetched.

use cms::{
    cert::{CertificateChoices, IssuerAndSerialNumber},
    content_info::{CmsVersion, ContentInfo},
    signed_data::{CertificateSet, SignedData, SignerIdentifier, SignerInfo},
};
use der::{
    Any, AnyRef, Decode, Encode, Reader as _, Sequence, Tag, Tagged as _,
    asn1::{Null, ObjectIdentifier, OctetString, SetOfVec, Uint},
};
use jiff::Timestamp;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rand::RngCore as _;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_cert::{
    Certificate as X509,
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectKeyIdentifier},
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

use crate::{Error, armour::unbase64};

/// The longest answer of a service that is read.
pub const STAMP_LIMIT: u64 = 1 << 16;
/// The most certificates in one file: a system's list of authorities has some hundred.
const MOST_AUTHORITIES: usize = 1024;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}
const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");
const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");
const TIME_STAMPING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.8");
const RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
const RSA_SHA256: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = oid("1.2.840.113549.1.1.13");
const EC_KEY: ObjectIdentifier = oid("1.2.840.10045.2.1");
const P256: ObjectIdentifier = oid("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = oid("1.3.132.0.34");
const ECDSA_SHA256: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = oid("1.2.840.10045.4.3.4");

#[derive(Sequence)]
struct MessageImprint {
    hash_algorithm: AlgorithmIdentifierOwned,
    hashed_message: OctetString,
}

#[derive(Sequence)]
struct TimeStampReq {
    version: u8,
    message_imprint: MessageImprint,
    nonce: Uint,
    cert_req: bool,
}

#[derive(Sequence)]
struct Status {
    status: u8,
}

#[derive(Sequence)]
struct Granted {
    status: Status,
    token: ContentInfo,
}

/// A question to a time-stamping service.
pub struct StampRequest {
    data: Vec<u8>,
    nonce: Vec<u8>,
    der: Vec<u8>,
}

impl StampRequest {
    /// Asks for the time of `data`; the service sees its SHA-256 alone.
    pub(crate) fn new(data: &[u8]) -> Result<Self, Error> {
        let bad = |error: der::Error| Error::key("asking for a time-stamp", error);
        let mut nonce = [0; 8];
        rand::rngs::OsRng
            .try_fill_bytes(&mut nonce)
            .map_err(|error| Error::key("asking for a time-stamp", error))?;
        // An integer that is positive, and whose first byte is no zero.
        nonce[0] = nonce[0] & 0x7F | 0x40;
        let request = TimeStampReq {
            version: 1,
            message_imprint: MessageImprint {
                hash_algorithm: AlgorithmIdentifierOwned {
                    oid: SHA256,
                    parameters: None,
                },
                hashed_message: OctetString::new(Sha256::digest(data).to_vec()).map_err(bad)?,
            },
            nonce: Uint::new(&nonce).map_err(bad)?,
            cert_req: true,
        };
        Ok(Self {
            data: data.to_vec(),
            nonce: nonce.to_vec(),
            der: request.to_der().map_err(bad)?,
        })
    }

    /// The question, as `application/timestamp-query`.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Checks an answer, `application/timestamp-reply`, and puts it into the one form.
    pub(crate) fn accept(&self, answer: &[u8]) -> Result<(Vec<u8>, Stamp), String> {
        let text = canonical(answer)?;
        let stamp = Stamp::read(&text, &self.data)?;
        if stamp.nonce.as_deref() != Some(&self.nonce) {
            return Err("the answer is to another question".into());
        }
        Ok((text, stamp))
    }
}

/// Who is asked for the time of a bundle's signature, and how.
pub struct Stamper {
    /// The service's address, for the audit log.
    pub service: String,
    /// Sends the question, and gives the answer; an error costs the bundle nothing but its time-stamp.
    pub ask: AskTime,
}

/// Sends a question, and gives the answer as it came, or why there is none.
pub type AskTime = Box<dyn FnOnce(&StampRequest) -> Result<Vec<u8>, String> + Send>;

/// The time in a `.tsr` file over `data`, whoever made it.
///
/// # Errors
/// What is wrong with it.
pub fn stamp_time(text: &[u8], data: &[u8]) -> Result<Timestamp, String> {
    Stamp::read(text, data).map(|stamp| stamp.time)
}

/// A token that is sound in itself. Whose it is, is another question.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) time: Timestamp,
    signer: X509,
    nonce: Option<Vec<u8>>,
}

/// The certificate of a time-stamping service, or of who issued it.
#[derive(Clone)]
pub struct StampAuthority(X509);

impl StampAuthority {
    /// Reads certificates: PEM, as many as there are, or one in DER.
    ///
    /// # Errors
    /// [`Error::Key`] where there is none, one can't be read, or there are more than 1,024.
    pub fn read(bytes: &[u8]) -> Result<Vec<Self>, Error> {
        const WHAT: &str = "the certificate of the time-stamping service";
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        const END: &str = "-----END CERTIFICATE-----";
        let bad = |error: der::Error| Error::key(WHAT, error);
        let Some(text) = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.contains(BEGIN))
        else {
            return Ok(vec![Self(X509::from_der(bytes).map_err(bad)?)]);
        };
        let mut read = Vec::new();
        for block in text.split(BEGIN).skip(1) {
            if read.len() == MOST_AUTHORITIES {
                let why = format!(
                    "the file has more than {MOST_AUTHORITIES} certificates: name the one that is meant"
                );
                return Err(Error::key(WHAT, why));
            }
            let body = block
                .split_once(END)
                .map(|(body, _)| body.replace(['\r', ' '], ""));
            let der = body
                .and_then(|body| unbase64(&body))
                .ok_or_else(|| Error::key(WHAT, "it is no PEM"))?;
            read.push(Self(X509::from_der(&der).map_err(bad)?));
        }
        Ok(read)
    }
}

impl Stamp {
    /// Reads a token in the one form, and checks that it is over `data` and by the certificate in it.
    pub(crate) fn read(text: &[u8], data: &[u8]) -> Result<Self, String> {
        if canonical(text)? != text {
            return Err("it is not in the one form".into());
        }
        let (_, signed) = token(text)?;
        let bad = |error: der::Error| format!("it can't be read: {error}");
        let info = &signed.encap_content_info;
        let content = info
            .econtent
            .as_ref()
            .filter(|_| info.econtent_type == TST_INFO);
        let content = content.ok_or("it holds no time")?;
        if content.tag() != Tag::OctetString {
            return Err("it holds no time".into());
        }
        let (signer_info, signer) = one_signer(&signed)?;
        check_signature(signer_info, &signer, content.value())?;
        let told = Told::read(content.value()).map_err(bad)?;
        let imprint = &told.imprint;
        let (hash, _) = digest(imprint.hash_algorithm.oid, data).ok_or("its hash is unknown")?;
        if imprint.hashed_message.as_bytes() != hash {
            return Err("it is over something else".into());
        }
        Ok(Self {
            time: told.time,
            signer,
            nonce: told.nonce,
        })
    }

    /// Who made it, as its certificate says.
    pub(crate) fn service(&self) -> String {
        self.signer.tbs_certificate.subject.to_string()
    }

    /// Whether it is by one of `authorities`, or by a service that one of them issued.
    pub(crate) fn check_by(&self, authorities: &[StampAuthority]) -> Result<(), String> {
        let own = &self.signer.tbs_certificate;
        let seconds = u64::try_from(self.time.as_second()).map_err(|_| "its time can't be")?;
        let is_in_force = |certificate: &X509| {
            let validity = &certificate.tbs_certificate.validity;
            let (from, to) = (validity.not_before, validity.not_after);
            from.to_unix_duration().as_secs() <= seconds
                && seconds <= to.to_unix_duration().as_secs()
        };
        if !is_in_force(&self.signer) {
            return Err("the service's certificate was not in force at that time".into());
        }
        match own.get::<ExtendedKeyUsage>() {
            Ok(Some((true, usage))) if usage.0 == [TIME_STAMPING] => {}
            _ => return Err("its certificate is not one for time-stamps".into()),
        }
        for StampAuthority(authority) in authorities {
            if *authority == self.signer {
                return Ok(());
            }
            let about = &authority.tbs_certificate;
            let issues = matches!(about.get::<BasicConstraints>(), Ok(Some((_, may))) if may.ca);
            if about.subject == own.issuer
                && issues
                && is_in_force(authority)
                && is_issued_by(&self.signer, authority)
            {
                return Ok(());
            }
        }
        Err(format!(
            "none of the certificates given issued it; {} did",
            own.issuer
        ))
    }
}

fn is_issued_by(certificate: &X509, issuer: &X509) -> bool {
    let algorithm = &certificate.signature_algorithm;
    let (Ok(signed), Some(signature)) = (
        certificate.tbs_certificate.to_der(),
        certificate.signature.as_bytes(),
    ) else {
        return false;
    };
    let key = &issuer.tbs_certificate.subject_public_key_info;
    hash_of(algorithm.oid).is_some_and(|hash| verify(key, hash, &signed, signature).is_ok())
}

/// What a token says.
struct Told {
    imprint: MessageImprint,
    time: Timestamp,
    nonce: Option<Vec<u8>>,
}

impl Told {
    /// `TSTInfo`, RFC 3161 section 2.4.2.
    fn read(bytes: &[u8]) -> der::Result<Self> {
        AnyRef::from_der(bytes)?.sequence(|reader| {
            let version: u8 = reader.decode()?;
            let _policy: ObjectIdentifier = reader.decode()?;
            let imprint = reader.decode()?;
            let _serial: AnyRef<'_> = reader.decode()?;
            let time: AnyRef<'_> = reader.decode()?;
            let time = (version == 1 && time.tag() == Tag::GeneralizedTime)
                .then(|| generalized(time.value()))
                .flatten()
                .ok_or_else(|| der::Error::from(der::ErrorKind::DateTime))?;
            let mut nonce = None;
            while !reader.is_finished() {
                let more: AnyRef<'_> = reader.decode()?;
                if more.tag() == Tag::Integer {
                    nonce = Some(more.value().to_vec());
                }
            }
            Ok(Self {
                imprint,
                time,
                nonce,
            })
        })
    }
}

/// `YYYYMMDDhhmmss[.s…]Z`: `der` knows no parts of seconds.
fn generalized(bytes: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('Z')?;
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || !is_digits(whole) || !is_digits(part) || !(1..=9).contains(&part.len())
    {
        return None;
    }
    let (date, time) = whole.split_at(8);
    format!(
        "{}-{}-{}T{}:{}:{}.{part}Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    )
    .parse()
    .ok()
}

/// The token of an answer, where the service gave one.
fn token(answer: &[u8]) -> Result<(ContentInfo, SignedData), String> {
    if answer.len() as u64 > STAMP_LIMIT {
        return Err("it is longer than a time-stamp is".into());
    }
    let bad = |error: der::Error| format!("it can't be read: {error}");
    let read = AnyRef::from_der(answer).and_then(|answer| {
        answer.sequence(|reader| {
            let status: AnyRef<'_> = reader.decode()?;
            let status = status.sequence(|reader| {
                let status: u8 = reader.decode()?;
                while !reader.is_finished() {
                    let _text: AnyRef<'_> = reader.decode()?;
                }
                Ok(status)
            })?;
            let token: Option<ContentInfo> = if reader.is_finished() {
                None
            } else {
                Some(reader.decode()?)
            };
            Ok((status, token))
        })
    });
    let (status, token) = read.map_err(bad)?;
    // 0 and 1 grant, RFC 3161 section 2.4.2; 1 changed what was asked for.
    let token = token
        .filter(|_| status <= 1)
        .ok_or_else(|| format!("the service refused, with status {status}"))?;
    if token.content_type != SIGNED_DATA {
        return Err("it is not signed".into());
    }
    let signed = token.content.decode_as::<SignedData>().map_err(bad)?;
    Ok((token, signed))
}

/// An answer in the one form.
fn canonical(answer: &[u8]) -> Result<Vec<u8>, String> {
    let bad = |error: der::Error| format!("it can't be read: {error}");
    let (mut token, mut signed) = token(answer)?;
    let (info, signer) = one_signer(&signed)?;
    let mut info = info.clone();
    info.unsigned_attrs = None;
    // What the signature does not cover has one value.
    let about = &signer.tbs_certificate;
    info.version = CmsVersion::V1;
    info.sid = SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
        issuer: about.issuer.clone(),
        serial_number: about.serial_number.clone(),
    });
    if let Some(signature) = smaller_signature(&about.subject_public_key_info, &info.signature) {
        info.signature = OctetString::new(signature).map_err(bad)?;
    }
    info.digest_alg.parameters = None;
    let algorithm = &mut info.signature_algorithm;
    algorithm.parameters = None;
    if matches!(algorithm.oid, RSA | RSA_SHA256 | RSA_SHA384 | RSA_SHA512) {
        algorithm.oid = RSA;
        algorithm.parameters = Some(Any::encode_from(&Null).map_err(bad)?);
    }
    signed.version = CmsVersion::V3;
    signed.digest_algorithms = SetOfVec::try_from(vec![info.digest_alg.clone()]).map_err(bad)?;
    let certificate = SetOfVec::try_from(vec![CertificateChoices::Certificate(signer)]);
    signed.certificates = Some(CertificateSet(certificate.map_err(bad)?));
    signed.crls = None;
    signed.signer_infos.0 = SetOfVec::try_from(vec![info]).map_err(bad)?;
    token.content = Any::encode_from(&signed).map_err(bad)?;
    let granted = Granted {
        status: Status { status: 0 },
        token,
    };
    granted.to_der().map_err(bad)
}

/// Of an ECDSA signature, the one of both that fit whose `s` is smaller; `None` of any other.
fn smaller_signature(key: &SubjectPublicKeyInfoOwned, signature: &OctetString) -> Option<Vec<u8>> {
    let bytes = signature.as_bytes();
    match curve(key)? {
        P256 => {
            let read = p256::ecdsa::Signature::from_der(bytes).ok()?;
            Some(
                read.normalize_s()
                    .unwrap_or(read)
                    .to_der()
                    .as_bytes()
                    .to_vec(),
            )
        }
        P384 => {
            let read = p384::ecdsa::Signature::from_der(bytes).ok()?;
            Some(
                read.normalize_s()
                    .unwrap_or(read)
                    .to_der()
                    .as_bytes()
                    .to_vec(),
            )
        }
        _ => None,
    }
}

/// The curve that a key is on, where it is on one.
fn curve(key: &SubjectPublicKeyInfoOwned) -> Option<ObjectIdentifier> {
    let parameters = key.algorithm.parameters.as_ref();
    let named = parameters.filter(|_| key.algorithm.oid == EC_KEY)?;
    named.decode_as().ok()
}

/// The one signer, and its certificate.
fn one_signer(signed: &SignedData) -> Result<(&SignerInfo, X509), String> {
    let [info] = signed.signer_infos.0.as_slice() else {
        return Err("it has not one signer".into());
    };
    let certificates = signed.certificates.iter().flat_map(|set| set.0.iter());
    let signer = certificates
        .filter_map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => Some(certificate),
            CertificateChoices::Other(_) => None,
        })
        .find(|certificate| {
            let about = &certificate.tbs_certificate;
            match &info.sid {
                SignerIdentifier::IssuerAndSerialNumber(id) => {
                    id.issuer == about.issuer && id.serial_number == about.serial_number
                }
                SignerIdentifier::SubjectKeyIdentifier(id) => {
                    matches!(about.get::<SubjectKeyIdentifier>(), Ok(Some((_, own))) if own == *id)
                }
            }
        })
        .ok_or("the service's own certificate is not in it")?;
    Ok((info, signer.clone()))
}

fn check_signature(info: &SignerInfo, signer: &X509, content: &[u8]) -> Result<(), String> {
    let attributes = info.signed_attrs.as_ref().ok_or("it signs no attributes")?;
    let value = |wanted: ObjectIdentifier| {
        let mut found = attributes.iter().filter(|one| one.oid == wanted);
        let only = found.next().filter(|_| found.next().is_none())?;
        match only.values.as_slice() {
            [value] => Some(value),
            _ => None,
        }
    };
    let is_time = value(CONTENT_TYPE)
        .and_then(|value| value.decode_as::<ObjectIdentifier>().ok())
        .is_some_and(|oid| oid == TST_INFO);
    let (hash, _) = digest(info.digest_alg.oid, content).ok_or("its hash is unknown")?;
    let is_content = value(MESSAGE_DIGEST).is_some_and(|value| value.value() == hash);
    if !is_time || !is_content {
        return Err("what is signed is not what it holds".into());
    }
    let der = signer.to_der().map_err(|error| error.to_string())?;
    let is_certificate = match (value(SIGNING_CERTIFICATE_V2), value(SIGNING_CERTIFICATE)) {
        (Some(value), _) => first_hash(value).is_some_and(|(algorithm, hash)| {
            digest(algorithm.unwrap_or(SHA256), &der).is_some_and(|(own, _)| own == hash)
        }),
        (None, Some(value)) => {
            first_hash(value).is_some_and(|(_, hash)| hash == Sha1::digest(&der).as_slice())
        }
        (None, None) => false,
    };
    if !is_certificate {
        return Err("the certificate in it is not the one that it was signed with".into());
    }
    let algorithm = info.signature_algorithm.oid;
    let hash = info.digest_alg.oid;
    let key = &signer.tbs_certificate.subject_public_key_info;
    // No signature covers its own name: it is that of the key.
    let is_named = match key.algorithm.oid {
        RSA => algorithm == RSA,
        _ => hash_of(algorithm) == Some(hash),
    };
    if !is_named {
        return Err("its signature is of an unknown kind".into());
    }
    let signed = attributes.to_der().map_err(|error| error.to_string())?;
    verify(key, hash, &signed, info.signature.as_bytes())
        .map_err(|what| format!("its signature is not sound: {what}"))
}

/// The hash of the first certificate that a signing-certificate attribute names.
fn first_hash(value: &Any) -> Option<(Option<ObjectIdentifier>, Vec<u8>)> {
    value
        .sequence(|reader| {
            let list: AnyRef<'_> = reader.decode()?;
            while !reader.is_finished() {
                let _policies: AnyRef<'_> = reader.decode()?;
            }
            list.sequence(|reader| {
                let first: AnyRef<'_> = reader.decode()?;
                while !reader.is_finished() {
                    let _other: AnyRef<'_> = reader.decode()?;
                }
                first.sequence(|reader| {
                    let (mut algorithm, mut hash) = (None, None);
                    while !reader.is_finished() {
                        let part: AnyRef<'_> = reader.decode()?;
                        match part.tag() {
                            Tag::OctetString => hash = Some(part.value().to_vec()),
                            Tag::Sequence if hash.is_none() => {
                                let named: AlgorithmIdentifierOwned = part.decode_as()?;
                                algorithm = Some(named.oid);
                            }
                            _ => {}
                        }
                    }
                    Ok((algorithm, hash))
                })
            })
        })
        .ok()
        .and_then(|(algorithm, hash)| Some((algorithm, hash?)))
}

fn hash_of(signature: ObjectIdentifier) -> Option<ObjectIdentifier> {
    match signature {
        RSA_SHA256 | ECDSA_SHA256 => Some(SHA256),
        RSA_SHA384 | ECDSA_SHA384 => Some(SHA384),
        RSA_SHA512 | ECDSA_SHA512 => Some(SHA512),
        _ => None,
    }
}

/// A hash, and what stands before it in an RSA signature (RFC 8017, section 9.2).
fn digest(algorithm: ObjectIdentifier, bytes: &[u8]) -> Option<(Vec<u8>, [u8; 19])> {
    let prefix = |last: u8, size: u8| {
        let head = size + 17;
        [
            0x30, head, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            last, 0x05, 0x00, 0x04, size,
        ]
    };
    match algorithm {
        SHA256 => Some((Sha256::digest(bytes).to_vec(), prefix(1, 32))),
        SHA384 => Some((Sha384::digest(bytes).to_vec(), prefix(2, 48))),
        SHA512 => Some((Sha512::digest(bytes).to_vec(), prefix(3, 64))),
        _ => None,
    }
}

fn verify(
    key: &SubjectPublicKeyInfoOwned,
    hash: ObjectIdentifier,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), String> {
    let (digest, prefix) = digest(hash, signed).ok_or("its hash is unknown")?;
    let bits = key
        .subject_public_key
        .as_bytes()
        .ok_or("its key can't be read")?;
    let no = |_| "it does not fit what it signs".to_owned();
    match key.algorithm.oid {
        RSA => {
            let read = AnyRef::from_der(bits).and_then(|key| {
                key.sequence(|reader| Ok((reader.decode::<Uint>()?, reader.decode::<Uint>()?)))
            });
            let (modulus, exponent) = read.map_err(|error| error.to_string())?;
            let number = |one: &Uint| rsa::BigUint::from_bytes_be(one.as_bytes());
            // Keys of more than 4096 bits are refused, and small ones can be forged.
            let key = RsaPublicKey::new(number(&modulus), number(&exponent))
                .map_err(|error| error.to_string())?;
            if modulus.as_bytes().len() < 2048 / 8 {
                return Err("its key is too short".into());
            }
            let scheme = Pkcs1v15Sign {
                hash_len: Some(digest.len()),
                prefix: prefix.into(),
            };
            key.verify(scheme, &digest, signature)
                .map_err(|error| error.to_string())
        }
        EC_KEY => match curve(key) {
            Some(P256) => p256::ecdsa::VerifyingKey::from_sec1_bytes(bits)
                .and_then(|key| {
                    key.verify_prehash(&digest, &p256::ecdsa::Signature::from_der(signature)?)
                })
                .map_err(no),
            Some(P384) => p384::ecdsa::VerifyingKey::from_sec1_bytes(bits)
                .and_then(|key| {
                    key.verify_prehash(&digest, &p384::ecdsa::Signature::from_der(signature)?)
                })
                .map_err(no),
            _ => Err("its key is on an unknown curve".into()),
        },
        _ => Err("its key is of an unknown kind".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_parts_of_seconds() {
        for (text, wanted) in [
            ("20260131123456Z", Some("2026-01-31T12:34:56Z")),
            ("20260131123456.5Z", Some("2026-01-31T12:34:56.5Z")),
            ("20260131123456", None),
            ("20260231123456Z", None),
            ("2026013112345.6Z", None),
            ("20260131123456.Z", None),
            ("+0260131123456Z", None),
        ] {
            let wanted = wanted.map(|time| time.parse().expect("a time"));
            assert_eq!(generalized(text.as_bytes()), wanted, "{text}");
        }
    }
}
