//! Names in certificates, in the order in which they stand there.

use der::{Tag, Tagged};
use x509_cert::{attr::AttributeTypeAndValue, name::Name};

const COMMON_NAME: &str = "2.5.4.3";

/// Short names of RFC 4519, and of what certificates for code signing have besides.
const KINDS: &[(&str, &str)] = &[
    (COMMON_NAME, "CN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// `C=GB, O=…, CN=…`; a backslash stands before a comma, plus or backslash inside a value.
pub(super) fn show(name: &Name) -> String {
    let mut shown = String::new();
    for (index, part) in name.0.iter().enumerate() {
        if index != 0 {
            shown.push_str(", ");
        }
        for (index, attribute) in part.0.iter().enumerate() {
            if index != 0 {
                shown.push_str(" + ");
            }
            let oid = attribute.oid.to_string();
            let kind = KINDS.iter().find(|(known, _)| *known == oid);
            shown.push_str(kind.map_or(oid.as_str(), |(_, short)| short));
            shown.push('=');
            for char in value(attribute).chars() {
                if matches!(char, ',' | '+' | '\\') {
                    shown.push('\\');
                }
                shown.push(char);
            }
        }
    }
    shown
}

/// The last common name.
pub(super) fn common_name(name: &Name) -> Option<String> {
    name.0
        .iter()
        .flat_map(|part| part.0.iter())
        .filter(|attribute| attribute.oid.to_string() == COMMON_NAME)
        .map(value)
        .next_back()
}

fn value(attribute: &AttributeTypeAndValue) -> String {
    let bytes = attribute.value.value();
    match attribute.value.tag() {
        Tag::BmpString => {
            let units = bytes.as_chunks::<2>().0;
            char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit)))
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        _ => super::super::text::lossless(bytes),
    }
}
