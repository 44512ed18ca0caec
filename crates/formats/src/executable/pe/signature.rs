//! The certificate table: Authenticode signatures, and the hash of the image that they sign.
//!
//! What is checked: that the image's hash is the signed one, and that the signed attributes name
//! the hash of the signed content. What is not: the signature's own arithmetic, the chain of
//! certificates, their revocation. Those need a store of roots, and a moment in time.
//!
//! # Sources
//! - Microsoft, "Windows Authenticode Portable Executable Signature Format" (2008).
//! - RFC 5652 (CMS), RFC 3161 (time-stamps), PKCS #9 (countersignatures).

use std::{ops::Range, panic::catch_unwind};

use authenticode::AuthenticodeSignature;
use cms::{
    cert::CertificateChoices,
    content_info::ContentInfo,
    signed_data::{SignedData, SignerIdentifier, SignerInfo},
};
use der::{Decode, Encode, SliceReader, asn1::ObjectIdentifier};
use sha1::{Digest, Sha1};
use x509_cert::{Certificate, attr::Attribute, time::Time};

use super::{
    super::{Damages, source::Source},
    der_shape,
    digest::Algorithm,
    headers::{Headers, directory},
    name,
};
use crate::{Cursor, DecodeError};

/// The largest signature that is decoded; real ones have a few tens of kilobytes.
const SIGNATURE_LIMIT: usize = 1 << 20;
const ENTRY_LIMIT: usize = 16;
const NESTING_LIMIT: usize = 4;
const ENTRY_HEAD: u64 = 8;
const PKCS_SIGNED_DATA: u16 = 2;

const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const COUNTERSIGNATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.6");
const TIME_STAMP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.3.3.1");
const NESTED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.4.1");

/// An Authenticode signature.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Where its table entry lies in the file.
    pub range: Range<u64>,
    /// How many signatures it is nested in.
    pub nesting: u32,
    /// The algorithm of the image's hash.
    pub algorithm: Algorithm,
    /// The image's hash as signed.
    pub digest: Vec<u8>,
    /// The image's hash as it is, where the whole image could be read.
    pub image_digest: Option<Vec<u8>>,
    /// Whether the signed attributes name the hash of the signed content; `None` without such
    /// attributes.
    pub content_matches: Option<bool>,
    /// The certificate that signed, where it is there.
    pub signer: Option<Signer>,
    /// Seconds since 1970, and who says so.
    pub signed_at: Option<(i64, Clock)>,
    /// How many certificates came with it.
    pub certificate_count: u32,
}

impl Signature {
    /// Whether the image's hash is the signed one.
    pub fn digest_matches(&self) -> Option<bool> {
        let image = self.image_digest.as_ref()?;
        Some(*image == self.digest)
    }
}

/// What a certificate says of the one who signed.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Its subject, in the order of the certificate (`C=…, O=…, CN=…`).
    pub subject: String,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// Its issuer, in the order of the certificate.
    pub issuer: String,
    /// Its serial number, big-endian.
    pub serial: Vec<u8>,
    /// SHA-1 of the certificate, as Windows shows it.
    pub thumbprint: [u8; 20],
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
}

/// Who says when a file was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// A time-stamping service, by RFC 3161.
    TimeStamp,
    /// A time-stamping service, by a countersignature.
    Countersignature,
    /// The signer alone.
    Signer,
}

impl Clock {
    /// The name used in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TimeStamp => "time-stamp",
            Self::Countersignature => "countersignature",
            Self::Signer => "signer",
        }
    }
}

/// Where the certificate table lies, as far as the file has it.
pub(super) fn table(headers: &Headers, len: u64) -> Option<Range<u64>> {
    let table = headers.directory(directory::CERTIFICATE)?;
    let start = u64::from(table.rva);
    (table.size != 0).then(|| start.min(len)..(start + u64::from(table.size)).min(len))
}

pub(super) fn signatures(
    source: &Source<'_>,
    headers: &Headers,
    damages: &mut Damages,
) -> Vec<Signature> {
    let mut found = Vec::new();
    let Some(table) = table(headers, source.len()) else {
        return found;
    };
    if let Err(error) = entries(source, table.clone(), &mut found, damages) {
        let at = error.offset().unwrap_or(table.start);
        damages.add("signatures", at..table.end.max(at + 1), error.to_string());
    }
    found
}

fn entries(
    source: &Source<'_>,
    table: Range<u64>,
    found: &mut Vec<Signature>,
    damages: &mut Damages,
) -> Result<(), DecodeError> {
    let mut at = table.start;
    if table.is_empty() {
        return Err(DecodeError::Short {
            field: "certificate table",
            at,
            need: ENTRY_HEAD,
            have: 0,
        });
    }
    // What is shorter than a head is padding.
    for _ in 0..ENTRY_LIMIT {
        if at + ENTRY_HEAD > table.end {
            return Ok(());
        }
        let head = source.exact("certificate entry", at, ENTRY_HEAD as usize)?;
        let mut cur = Cursor::new(&head, at);
        let length = u64::from(cur.u32("certificate length")?);
        cur.skip("certificate revision", 2)?;
        let kind = cur.u16("certificate type")?;
        if length == 0 {
            return Ok(());
        }
        let body = length.saturating_sub(ENTRY_HEAD);
        if body == 0 || at + length > table.end || body > SIGNATURE_LIMIT as u64 {
            return Err(DecodeError::Limit {
                field: "certificate length",
                at,
                value: length,
                limit: (table.end - at).min(SIGNATURE_LIMIT as u64),
            });
        }
        let range = at..at + length;
        if kind == PKCS_SIGNED_DATA {
            let bytes = source.exact("certificate", at + ENTRY_HEAD, body as usize)?;
            // The decoders are not ours.
            let decoded = catch_unwind(|| {
                let mut signatures = Vec::new();
                let done = decode(&bytes, &range, 0, &mut signatures);
                (signatures, done)
            });
            let done = match decoded {
                Ok((mut signatures, done)) => {
                    found.append(&mut signatures);
                    done
                }
                Err(_) => Err("its decoder failed".to_owned()),
            };
            if let Err(cause) = done {
                damages.add("signatures", range, cause);
            }
        } else {
            let cause = format!("a certificate of type {kind} is not understood");
            damages.add("signatures", range, cause);
        }
        at += length.next_multiple_of(8);
    }
    Ok(())
}

/// Decodes a signature, and those that are nested in it.
fn decode(
    bytes: &[u8],
    range: &Range<u64>,
    nesting: usize,
    out: &mut Vec<Signature>,
) -> Result<(), String> {
    let length = der_shape::check(bytes).map_err(|why| format!("the signature: {why}"))?;
    let bytes = &bytes[..length];
    let authenticode =
        AuthenticodeSignature::from_bytes(bytes).map_err(|error| error.to_string())?;
    let broken = |error: der::Error| format!("the signature: {error}");
    let mut reader = SliceReader::new(bytes).map_err(broken)?;
    let content = ContentInfo::decode(&mut reader).map_err(broken)?;
    let signed: SignedData = content.content.decode_as().map_err(broken)?;

    let oid = authenticode.digest_algorithm().oid;
    let algorithm = Algorithm::from_oid(&oid.to_string())
        .ok_or_else(|| format!("the hash algorithm {oid} is not understood"))?;
    let info = authenticode.signer_info();
    let certificates: Vec<&Certificate> = signed
        .certificates
        .iter()
        .flat_map(|set| set.0.iter())
        .filter_map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => Some(certificate),
            CertificateChoices::Other(_) => None,
        })
        .collect();
    out.push(Signature {
        range: range.clone(),
        nesting: nesting as u32,
        algorithm,
        digest: authenticode.digest().to_vec(),
        image_digest: None,
        content_matches: content_matches(&authenticode),
        signer: signer(info, &certificates).map_err(broken)?,
        signed_at: signed_at(info),
        certificate_count: certificates.len() as u32,
    });
    for value in values(info.unsigned_attrs.as_ref(), NESTED) {
        if nesting + 1 == NESTING_LIMIT || out.len() == ENTRY_LIMIT {
            return Err("its nested signatures are too many or nest too deep".to_owned());
        }
        let nested = value.to_der().map_err(broken)?;
        decode(&nested, range, nesting + 1, out)?;
    }
    Ok(())
}

fn values(
    attributes: Option<&der::asn1::SetOfVec<Attribute>>,
    oid: ObjectIdentifier,
) -> impl Iterator<Item = &der::Any> {
    attributes
        .into_iter()
        .flat_map(|attributes| attributes.iter())
        .filter(move |attribute| attribute.oid == oid)
        .flat_map(|attribute| attribute.values.iter())
}

fn content_matches(authenticode: &AuthenticodeSignature) -> Option<bool> {
    let info = authenticode.signer_info();
    let stated = values(info.signed_attrs.as_ref(), MESSAGE_DIGEST).next()?;
    let algorithm = Algorithm::from_oid(&info.digest_alg.oid.to_string())?;
    let mut hash = algorithm.hasher();
    hash.update(authenticode.encapsulated_content()?);
    Some(hash.finish() == stated.value())
}

fn signer(info: &SignerInfo, certificates: &[&Certificate]) -> der::Result<Option<Signer>> {
    let SignerIdentifier::IssuerAndSerialNumber(id) = &info.sid else {
        return Ok(None);
    };
    let certificate = certificates.iter().find(|certificate| {
        let certificate = &certificate.tbs_certificate;
        certificate.serial_number == id.serial_number && certificate.issuer == id.issuer
    });
    let Some(certificate) = certificate else {
        return Ok(None);
    };
    let fields = &certificate.tbs_certificate;
    Ok(Some(Signer {
        subject: name::show(&fields.subject),
        common_name: name::common_name(&fields.subject),
        issuer: name::show(&fields.issuer),
        serial: fields.serial_number.as_bytes().to_vec(),
        thumbprint: Sha1::digest(certificate.to_der()?).into(),
        not_before: seconds(fields.validity.not_before),
        not_after: seconds(fields.validity.not_after),
    }))
}

fn seconds(time: Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

/// When it was signed: by a time-stamping service, where one says so, else by the signer.
fn signed_at(info: &SignerInfo) -> Option<(i64, Clock)> {
    let unsigned = info.unsigned_attrs.as_ref();
    let own_time = |info: &SignerInfo| {
        let value = values(info.signed_attrs.as_ref(), SIGNING_TIME).next()?;
        Time::from_der(&value.to_der().ok()?).ok().map(seconds)
    };
    let stamped = values(unsigned, TIME_STAMP).find_map(|value| {
        let content: ContentInfo = value.decode_as().ok()?;
        let signed: SignedData = content.content.decode_as().ok()?;
        time_stamp(signed.encap_content_info.econtent?.value())
    });
    let countersigned = || {
        values(unsigned, COUNTERSIGNATURE)
            .find_map(|value| own_time(&value.decode_as::<SignerInfo>().ok()?))
    };
    stamped
        .map(|at| (at, Clock::TimeStamp))
        .or_else(|| Some((countersigned()?, Clock::Countersignature)))
        .or_else(|| Some((own_time(info)?, Clock::Signer)))
}

/// `genTime` of a `TSTInfo`, cut to seconds.
fn time_stamp(bytes: &[u8]) -> Option<i64> {
    const GENERALIZED_TIME: u8 = 0x18;
    const WHOLE_SECONDS: usize = 14;
    let info = der_shape::element(bytes)?;
    let time = der_shape::children(info.content).find(|child| child.tag == GENERALIZED_TIME)?;
    let mut encoded = vec![GENERALIZED_TIME, WHOLE_SECONDS as u8 + 1];
    encoded.extend(time.content.get(..WHOLE_SECONDS)?);
    encoded.push(b'Z');
    let time = der::asn1::GeneralizedTime::from_der(&encoded).ok()?;
    i64::try_from(time.to_unix_duration().as_secs()).ok()
}
