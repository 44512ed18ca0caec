//! Archives changed by three hands: one that flips and cuts bytes, one that packs members again
//! with another tool, and one that knows the one form of a bundle, and has everything but the key.

#![allow(dead_code, reason = "each test program uses the part that it needs")]

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _, Write as _},
    ops::Range,
};

use scelle_bundle::SealKey;

use crate::common::Random;

/// Which names the answer has to tell.
#[derive(Debug)]
pub(crate) enum Named {
    /// Each of them.
    All(Vec<String>),
    /// One of them at least.
    Any(Vec<String>),
}

impl Named {
    pub(crate) fn is_told_by(&self, answer: &[String]) -> bool {
        let is_told = |name: &String| answer.iter().any(|problem| problem.contains(&**name));
        match self {
            Self::All(names) => names.iter().all(is_told),
            Self::Any(names) => names.is_empty() || names.iter().any(is_told),
        }
    }
}

/// What is said of a byte that decodes to the same all the same, as some bits of deflate do.
const ARCHIVE_CHANGED: &str = "the archive's bytes before it are not those that it vouches for";

/// A member.
#[derive(Clone, PartialEq)]
pub(crate) struct Part {
    /// Its name, the bundle's folder included.
    pub(crate) name: String,
    pub(crate) plain: Vec<u8>,
    packed: Vec<u8>,
    is_stored: bool,
}

impl Part {
    fn new(name: &str, plain: Vec<u8>, is_stored: bool) -> Self {
        let mut part = Self {
            name: name.to_owned(),
            plain,
            packed: Vec::new(),
            is_stored,
        };
        part.pack();
        part
    }

    /// Compresses what is stored; whether it was.
    pub(crate) fn compress(&mut self) -> bool {
        let was_stored = std::mem::replace(&mut self.is_stored, false);
        self.pack();
        was_stored
    }

    pub(crate) fn replace(&mut self, plain: Vec<u8>) {
        if plain != self.plain {
            self.plain = plain;
            self.pack();
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.plain.clone()).expect("tag files are text")
    }

    fn pack(&mut self) {
        self.packed.clear();
        if self.is_stored {
            self.packed.extend_from_slice(&self.plain);
        } else {
            let level = flate2::Compression::default();
            let mut deflater = flate2::write::DeflateEncoder::new(&mut self.packed, level);
            deflater.write_all(&self.plain).expect("memory");
            deflater.finish().expect("memory");
        }
    }

    /// The name in the bag.
    pub(crate) fn label(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, label)| label)
    }

    fn is_evidence(&self) -> bool {
        self.label().starts_with("data/")
    }

    /// What is told when this one was altered: of the tag manifest its signature tells.
    /// Who is named where bytes of its archived form change.
    fn culprit_of_bytes(&self) -> Named {
        let (Named::All(mut names) | Named::Any(mut names)) = self.culprit();
        names.push(ARCHIVE_CHANGED.into());
        Named::Any(names)
    }

    fn culprit(&self) -> Named {
        if self.label() == "tagmanifest-sha256.txt" {
            Named::Any(vec![
                self.label().into(),
                "signatures/".into(),
                "the tag manifest is missing".into(),
            ])
        } else if self.label().starts_with("signatures/") {
            // Nothing lists it by its name.
            Named::Any(vec![self.label().into(), "the signature is missing".into()])
        } else {
            Named::All(vec![self.label().into()])
        }
    }
}

/// The members of a bundle, as they are packed and decompressed.
pub(crate) fn unpack(archive: &[u8]) -> Vec<Part> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).expect("a Zip archive");
    (0..zip.len())
        .map(|index| {
            let (mut plain, mut packed) = (Vec::new(), Vec::new());
            let mut raw = zip.by_index_raw(index).expect("a member");
            raw.read_to_end(&mut packed).expect("sound");
            let is_stored = raw.compression() == zip::CompressionMethod::Stored;
            drop(raw);
            let mut member = zip.by_index(index).expect("a member");
            member.read_to_end(&mut plain).expect("sound");
            Part {
                name: member.name().expect("UTF-8").into_owned(),
                plain,
                packed,
                is_stored,
            }
        })
        .collect()
}

/// An archive of these members, by another tool.
pub(crate) fn pack(parts: &[Part]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for part in parts {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(part.name.as_str(), options).expect("memory");
        zip.write_all(&part.plain).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

/// An archive of these members in the one form that a bundle has (APPNOTE 4.3; all of them are
/// small, so that there is neither a descriptor nor a Zip64 field).
pub(crate) fn forge(parts: &[Part]) -> Vec<u8> {
    const MADE_BY: u16 = 3 << 8 | 63;
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for part in parts {
        let offset = out.len() as u32;
        let mut fields = Vec::new();
        for short in [20, 0x0800, if part.is_stored { 0 } else { 8 }, 0, 0x21u16] {
            fields.extend_from_slice(&short.to_le_bytes());
        }
        let crc = crc32fast::hash(&part.plain);
        for long in [crc, part.packed.len() as u32, part.plain.len() as u32] {
            fields.extend_from_slice(&long.to_le_bytes());
        }
        fields.extend_from_slice(&(part.name.len() as u16).to_le_bytes());
        fields.extend_from_slice(&[0; 2]);
        for bytes in [
            b"PK\x03\x04",
            &fields[..],
            part.name.as_bytes(),
            &part.packed,
        ] {
            out.extend_from_slice(bytes);
        }
        central.extend_from_slice(b"PK\x01\x02");
        central.extend_from_slice(&MADE_BY.to_le_bytes());
        central.extend_from_slice(&fields);
        central.extend_from_slice(&[0; 6]);
        central.extend_from_slice(&(0o100_644u32 << 16).to_le_bytes());
        central.extend_from_slice(&offset.to_le_bytes());
        central.extend_from_slice(part.name.as_bytes());
    }
    let (offset, bytes) = (out.len() as u32, central.len() as u32);
    out.append(&mut central);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    for _ in 0..2 {
        out.extend_from_slice(&(parts.len() as u16).to_le_bytes());
    }
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out
}

/// What [`change_bytes`] knows.
pub(crate) const BYTE_KINDS: [&str; 8] = [
    "flip", "drop", "add", "truncate", "append", "zero", "splice", "swap",
];

/// One change of the archive's bytes; `None` where this draw changes nothing.
pub(crate) fn change_bytes(
    kind: &str,
    archive: &[u8],
    other: &[u8],
    random: &mut Random,
) -> Option<(Vec<u8>, Named)> {
    let mut changed = archive.to_vec();
    let at = random.below(changed.len());
    let mut named = Named::Any(vec![]);
    match kind {
        "flip" => {
            changed[at] ^= 1 << random.below(8);
            named = member_at(archive, at).map_or(named, |(part, _)| part.culprit_of_bytes());
        }
        "drop" => drop(changed.drain(at..(at + 1 + random.below(64)).min(archive.len()))),
        "add" => {
            let bytes = random.next().to_le_bytes();
            changed.splice(at..at, bytes);
        }
        "truncate" => changed.truncate(at),
        "append" => changed.extend((0..1 + random.below(40)).map(|_| random.next() as u8)),
        "zero" => {
            // Of one member: where two are touched, either may be named.
            let member = member_at(archive, at);
            let end = member.as_ref().map_or(archive.len(), |(_, end)| *end);
            changed[at..(at + 32).min(end)].fill(0);
            named = member.map_or(named, |(part, _)| part.culprit_of_bytes());
        }
        "splice" => {
            // Bytes of another sound bundle in the place of these.
            let end = (at + 1 + random.below(2000))
                .min(changed.len())
                .min(other.len());
            if at < end {
                changed[at..end].copy_from_slice(&other[at..end]);
            }
        }
        "swap" => {
            // Two stretches of the archive change places.
            let length = 16 + random.below(200);
            let (a, b) = (random.below(archive.len()), random.below(archive.len()));
            let (a, b) = (a.min(b), a.max(b));
            if a + length < b && b + length < archive.len() {
                let (left, right) = changed.split_at_mut(b);
                left[a..a + length].swap_with_slice(&mut right[..length]);
            }
        }
        _ => unreachable!("{kind} is none of the kinds"),
    }
    (changed != archive).then_some((changed, named))
}

/// The member that a byte of the archive belongs to, and where it ends; `None` in the central directory.
fn member_at(archive: &[u8], at: usize) -> Option<(Part, usize)> {
    let parts = unpack(archive);
    let spans = spans(&parts).into_iter();
    let found = parts.into_iter().zip(spans);
    let mut found = found.filter(|(_, span)| span.contains(&at));
    found.next().map(|(part, span)| (part, span.end))
}

/// Where in the archive each member stands, with its local header.
pub(crate) fn spans(parts: &[Part]) -> Vec<Range<usize>> {
    const LOCAL_BYTES: usize = 30;
    let mut end = 0;
    let lengths = parts
        .iter()
        .map(|part| LOCAL_BYTES + part.name.len() + part.packed.len());
    lengths
        .map(|length| {
            end += length;
            end - length..end
        })
        .collect()
}

/// What [`change_parts`] knows.
pub(crate) const PART_KINDS: [&str; 11] = [
    "pack again",
    "remove",
    "add",
    "rename",
    "climb",
    "reorder",
    "change",
    "shorten",
    "lengthen",
    "swap record",
    "swap evidence",
];

/// One change of the members; `None` where this draw changes nothing.
pub(crate) fn change_parts(
    kind: &str,
    parts: &mut Vec<Part>,
    other: &[Part],
    random: &mut Random,
) -> Option<Named> {
    let at = random.below(parts.len());
    let to = random.below(parts.len());
    let named = parts[at].culprit();
    match kind {
        // Only another tool changes anything by this.
        "pack again" => return Some(Named::Any(vec![])),
        "remove" => drop(parts.remove(at)),
        "add" => {
            let new = Part::new("mutation/data/new", b"new".to_vec(), false);
            let named = new.culprit();
            parts.insert(at, new);
            return Some(named);
        }
        "rename" => parts[at].name.push('x'),
        "climb" => {
            parts[at].name = "mutation/data/../../etc/passwd".into();
            return Some(Named::All(vec!["data/../../etc/passwd".into()]));
        }
        "reorder" => {
            let names = vec![parts[at].label().to_owned(), parts[to].label().to_owned()];
            let is_evidence = parts[at].is_evidence() && parts[to].is_evidence();
            parts.swap(at, to);
            return (at != to).then_some(if is_evidence {
                Named::All(names)
            } else {
                Named::Any(names)
            });
        }
        "change" => {
            let part = &mut parts[at];
            let place = random.below(part.plain.len());
            *part.plain.get_mut(place)? ^= 1 << random.below(8);
            part.pack();
        }
        "shorten" => {
            parts[at].plain.pop()?;
            parts[at].pack();
        }
        "lengthen" => {
            parts[at].plain.push(b'\n');
            parts[at].pack();
        }
        "swap record" => {
            let others: BTreeMap<_, _> = other.iter().map(|part| (&part.name, part)).collect();
            let theirs = *others.get(&parts[at].name)?;
            if parts[at].is_evidence() || theirs.plain == parts[at].plain {
                return None;
            }
            parts[at] = theirs.clone();
        }
        "swap evidence" => {
            if at == to || !parts[at].is_evidence() || !parts[to].is_evidence() {
                return None;
            }
            let names = vec![parts[at].label().to_owned(), parts[to].label().to_owned()];
            parts.swap(at, to);
            let name = std::mem::take(&mut parts[at].name);
            parts[at].name = std::mem::replace(&mut parts[to].name, name);
            return Some(Named::All(names));
        }
        _ => unreachable!("{kind} is none of the kinds"),
    }
    Some(named)
}

/// Changes one payload file and every hash of it, up to the tag manifest: all that can be done
/// without the key.
pub(crate) fn change_throughout(parts: &mut [Part], random: &mut Random) -> Option<Named> {
    let at = random.below(parts.len());
    if !parts[at].is_evidence() || parts[at].plain.is_empty() {
        return None;
    }
    let hashes = |bytes: &[u8]| {
        let digests = scelle_formats::Digests::of(bytes);
        [digests.sha256, digests.blake3].map(|hash| hex(&hash))
    };
    let before = hashes(&parts[at].plain);
    let place = random.below(parts[at].plain.len());
    parts[at].plain[place] ^= 1 << random.below(8);
    parts[at].pack();
    let after = hashes(&parts[at].plain);
    for part in parts.iter_mut().filter(|part| !part.is_evidence()) {
        let mut text = String::from_utf8(part.plain.clone()).expect("tag files are text");
        for (old, new) in before.iter().zip(&after) {
            text = text.replace(old, new);
        }
        part.replace(text.into_bytes());
    }
    list_again(parts);
    Some(Named::Any(vec!["signatures/".into()]))
}

/// Puts another label in the place of one, in one record or in all that bear it, and changes the tag manifest with
/// it; `None` where this draw changes nothing.
pub(crate) fn change_label(
    parts: &mut [Part],
    from: &str,
    to: &str,
    random: &mut Random,
) -> Option<Named> {
    let mut bearing = bearing(parts, from);
    if random.below(2) == 0 {
        bearing = vec![bearing[random.below(bearing.len())]];
    }
    write_label(parts, &bearing, from, to);
    (from != to).then(|| Named::Any(vec!["signatures/".into()]))
}

/// Where a label stands in records.
fn bearing(parts: &[Part], label: &str) -> Vec<usize> {
    let bears = |part: &Part| !part.is_evidence() && part.text().contains(label);
    (0..parts.len()).filter(|at| bears(&parts[*at])).collect()
}

fn write_label(parts: &mut [Part], bearing: &[usize], from: &str, to: &str) {
    for at in bearing {
        let changed = parts[*at].text().replace(from, to);
        parts[*at].replace(changed.into_bytes());
    }
    list_again(parts);
}

/// Puts another label in the place of one in all records, and signs that: what a program that knows no labels could make.
pub(crate) fn seal_with_label(parts: &mut [Part], from: &str, to: &str, key: &SealKey) {
    write_label(parts, &bearing(parts, from), from, to);
    let at = |label: &str| {
        let mut labels = parts.iter().map(Part::label);
        labels.position(|own| own.starts_with(label)).expect(label)
    };
    let (manifest, signature) = (at("tagmanifest-sha256.txt"), at("signatures/"));
    let signed = key.sign(&parts[manifest].plain).expect("a signature");
    parts[signature].replace(signed.into_bytes());
}

/// Makes the tag manifest fit the tag files.
fn list_again(parts: &mut [Part]) {
    let is_manifest = |part: &Part| part.label() == "tagmanifest-sha256.txt";
    let Some(at) = parts.iter().position(is_manifest) else {
        return;
    };
    let listed = parts[..at].iter().filter(|part| !part.is_evidence());
    let lines = listed.map(|part| {
        let sha256 = hex(&scelle_formats::Digests::of(&part.plain).sha256);
        format!("{sha256}  {}\n", part.label())
    });
    let manifest: String = lines.collect();
    parts[at].replace(manifest.into_bytes());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
