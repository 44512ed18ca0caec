//! What a line of `records/files.jsonl` says of an entry's owner, rights, ids and attributes.
//!
//! Each key is there in every line; null says that the evidence states nothing.

use std::sync::Arc;

use scelle_event::{EvidencePath, json};
use scelle_evidence::{
    Details, Entry, ExtendedAttribute, ObjectId, Remains, Reparse, Security, StreamState,
};
use scelle_formats::guid_text;
use serde::Deserialize;

use crate::{
    file_line::{name, write_key, write_name},
    text::{parse_guid, unhex},
};

/// The only way of encryption that there is so far.
const EFS: &str = "efs";

/// Appends the keys from `owner` to `remains`.
pub(crate) fn write(out: &mut Vec<u8>, entry: &Entry, stream: Option<&EvidencePath>) {
    let details = &entry.details;
    let security = details.security.as_deref();
    let texts = [
        ("owner", security.and_then(|it| it.owner.as_deref())),
        ("group", security.and_then(|it| it.group.as_deref())),
        ("sddl", security.map(|it| &*it.sddl)),
    ];
    for (key, text) in texts {
        write_key(out, key);
        match text {
            Some(text) => json::write_text(out, text),
            None => out.extend_from_slice(b"null"),
        }
    }
    write_key(out, "object_id");
    match &details.object_id {
        Some(id) => write_object_id(out, id),
        None => out.extend_from_slice(b"null"),
    }
    write_key(out, "reparse");
    match &details.reparse {
        Some(reparse) => {
            out.extend_from_slice(b"{\"tag\":");
            json::write_uint(out, reparse.tag.into());
            write_key(out, "data");
            write_hex(out, &reparse.data);
            out.push(b'}');
        }
        None => out.extend_from_slice(b"null"),
    }
    write_key(out, "extended_attributes");
    if details.extended_attributes.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        for (at, attribute) in details.extended_attributes.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"[{" } else { b",{" });
            out.extend_from_slice(b"\"flags\":");
            json::write_uint(out, attribute.flags.into());
            write_name(out, "name", &attribute.name);
            write_key(out, "value");
            write_hex(out, &attribute.value);
            out.push(b'}');
        }
        out.push(b']');
    }
    write_key(out, "encrypted");
    let info = entry.streams.iter().find(|it| it.name.as_ref() == stream);
    match info.map(|info| info.state) {
        Some(StreamState::Encrypted { plain_bytes }) => {
            out.extend_from_slice(b"{\"way\":");
            json::write_text(out, EFS);
            write_key(out, "plain_size");
            json::write_uint(out, plain_bytes);
            out.push(b'}');
        }
        _ => out.extend_from_slice(b"null"),
    }
    write_key(out, "remains");
    match info.and_then(|info| info.remains) {
        Some(remains) => {
            out.extend_from_slice(b"{\"state\":");
            json::write_text(out, remains.name());
            let (clusters, taken) = remains.clusters();
            for (key, number) in [("clusters", clusters), ("taken", taken)] {
                write_key(out, key);
                json::write_uint(out, number);
            }
            out.push(b'}');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn write_object_id(out: &mut Vec<u8>, id: &ObjectId) {
    out.extend_from_slice(b"{\"object\":");
    json::write_text(out, &guid_text(id.object));
    let keys = ["birth_volume", "birth_object", "domain"];
    for (at, key) in keys.into_iter().enumerate() {
        write_key(out, key);
        match id.birth {
            Some(ids) => json::write_text(out, &guid_text(ids[at])),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    json::write_hex(out, bytes);
    out.push(b'"');
}

/// The keys as they are read.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct DetailsLine {
    owner: Option<String>,
    group: Option<String>,
    sddl: Option<String>,
    object_id: Option<ObjectIdLine>,
    reparse: Option<ReparseLine>,
    extended_attributes: Option<Vec<AttributeLine>>,
    encrypted: Option<EncryptedLine>,
    remains: Option<RemainsLine>,
}

#[derive(Debug, Deserialize)]
struct RemainsLine {
    state: String,
    clusters: u64,
    taken: u64,
}

#[derive(Debug, Deserialize)]
struct ObjectIdLine {
    object: String,
    birth_volume: Option<String>,
    birth_object: Option<String>,
    domain: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ReparseLine {
    tag: u32,
    data: String,
}

#[derive(Debug, Deserialize)]
struct AttributeLine {
    flags: u8,
    name: String,
    name_units: Option<String>,
    name_bytes: Option<String>,
    value: String,
}

#[derive(Debug, Deserialize)]
struct EncryptedLine {
    way: String,
    plain_size: u64,
}

impl DetailsLine {
    pub(crate) fn read(&self) -> Result<Details, String> {
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        let security = self.sddl.as_deref().map(|sddl| {
            Arc::new(Security {
                owner: text(&self.owner),
                group: text(&self.group),
                sddl: sddl.into(),
            })
        });
        let object_id = self
            .object_id
            .as_ref()
            .map(ObjectIdLine::read)
            .transpose()?;
        let reparse = self
            .reparse
            .as_ref()
            .map(|line| {
                Ok::<_, String>(Reparse {
                    tag: line.tag,
                    data: bytes(&line.data)?.into(),
                })
            })
            .transpose()?;
        let attributes = self.extended_attributes.iter().flatten();
        let extended_attributes = attributes
            .map(|line| {
                Ok(ExtendedAttribute {
                    name: name(&line.name, &line.name_units, &line.name_bytes)?,
                    flags: line.flags,
                    value: bytes(&line.value)?.into(),
                })
            })
            .collect::<Result<_, String>>()?;
        Ok(Details {
            security,
            object_id,
            reparse,
            extended_attributes,
        })
    }

    /// What there was of the stream's bytes, where its entry was deleted.
    pub(crate) fn remains(&self) -> Result<Option<Remains>, String> {
        let Some(line) = &self.remains else {
            return Ok(None);
        };
        let (taken, clusters) = (line.taken, line.clusters);
        let known = [
            Remains::Resident,
            Remains::Free { clusters },
            Remains::Taken { taken, clusters },
            Remains::Unknown,
        ];
        let found = known.into_iter().find(|one| one.name() == line.state);
        found
            .map(Some)
            .ok_or_else(|| format!("the remains {:?} are unknown", line.state))
    }

    pub(crate) fn state(&self) -> Result<StreamState, String> {
        match &self.encrypted {
            None => Ok(StreamState::Plain),
            Some(line) if line.way == EFS => Ok(StreamState::Encrypted {
                plain_bytes: line.plain_size,
            }),
            Some(line) => Err(format!("the encryption {:?} is unknown", line.way)),
        }
    }
}

impl ObjectIdLine {
    fn read(&self) -> Result<ObjectId, String> {
        let guid = |text: &str| parse_guid(text).ok_or_else(|| format!("{text:?} is no GUID"));
        let birth = match (&self.birth_volume, &self.birth_object, &self.domain) {
            (Some(volume), Some(object), Some(domain)) => {
                Some([guid(volume)?, guid(object)?, guid(domain)?])
            }
            (None, None, None) => None,
            _ => return Err("an object id has some of its parts".to_owned()),
        };
        Ok(ObjectId {
            object: guid(&self.object)?,
            birth,
        })
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    unhex(text).ok_or_else(|| "bytes of a line are not hex".to_owned())
}
