//! From the attributes of a record to an [`Entry`].

use std::ops::Range;

use scelle_event::{Loss, path};
use scelle_formats::ntfs::{
    Attribute, Body, FileName, ListEntries, Record, ReparsePoint, Scratch, StandardInformation,
    kind, namespace,
    paths::{self, NameTable, PathCache, Standing},
    push_component, push_wtf8,
};
use smallvec::SmallVec;

use super::entry::{Entry, Name, Standard, Stream, Times};

/// Buffers that are used for one record after another.
#[derive(Default)]
pub(super) struct Buffers {
    wtf8: Vec<u8>,
    whole: Scratch,
    cache: PathCache,
}

/// The index of file names, which every directory has, in UTF-16LE.
const FILE_NAME_INDEX: &[u8] = b"$\0I\x003\x000\0";
const OBJECT_ID_BYTES: usize = 16;

/// What is damaged: how much is lost, and why.
pub(super) type Damage = SmallVec<[(Loss, String); 2]>;

/// Adds what one record, base or extension, holds; `bytes` are the record as it stands.
///
/// `joined` are the entries of the extension records that belong to the entry; `None` says that
/// the record is one of them.
pub(super) fn add_record(
    entry: &mut Entry,
    buffers: &mut Buffers,
    record: &Record<'_>,
    bytes: &[u8],
    joined: Option<&[u64]>,
    damage: &mut Damage,
) {
    if record.torn {
        let cause = "the update sequence does not match: the record was written in part";
        damage.push((Loss::Field("torn"), cause.to_owned()));
    }
    let (mark, sound_so_far) = (entry.mark(), damage.len());
    let wtf8 = &mut buffers.wtf8;
    if add_attributes(entry, wtf8, record, joined, damage) {
        return;
    }
    // A record may say that it uses less than it does: what lies past that is evidence too.
    if let Ok(whole) = Record::decode_whole(bytes, &mut buffers.whole) {
        damage.truncate(sound_so_far);
        entry.rewind(mark);
        if add_attributes(entry, wtf8, &whole, joined, damage) {
            let used = record.header.used_bytes;
            let cause = format!("attributes go on past the {used} bytes that are said to be used");
            damage.push((Loss::Field("attributes"), cause));
        }
    }
}

/// Whether each attribute could be found.
fn add_attributes(
    entry: &mut Entry,
    wtf8: &mut Vec<u8>,
    record: &Record<'_>,
    joined: Option<&[u64]>,
    damage: &mut Damage,
) -> bool {
    let mut sound = true;
    for attribute in record.attributes() {
        match attribute {
            Ok(attribute) => {
                if joined.is_some() {
                    entry.last_attribute_id = entry.last_attribute_id.max(attribute.id);
                }
                if let Err((field, what)) = add_attribute(entry, wtf8, &attribute, joined) {
                    let offset = attribute.offset;
                    let cause = format!("the {what} at offset {offset} of the record is cut");
                    damage.push((Loss::Field(field), cause));
                }
            }
            Err(error) => {
                sound = false;
                damage.push((Loss::Field(column_of(error.kind)), error.to_string()));
            }
        }
    }
    sound
}

/// Which column suffers where an attribute of that kind is damaged.
fn column_of(kind: u32) -> &'static str {
    match kind {
        kind::STANDARD_INFORMATION => "si_created",
        kind::FILE_NAME => "names",
        kind::DATA => "streams",
        kind::REPARSE_POINT => "reparse_target",
        kind::OBJECT_ID => "object_id",
        _ => "attributes",
    }
}

fn add_attribute(
    entry: &mut Entry,
    wtf8: &mut Vec<u8>,
    attribute: &Attribute<'_>,
    joined: Option<&[u64]>,
) -> Result<(), (&'static str, &'static str)> {
    match attribute.kind {
        kind::STANDARD_INFORMATION => {
            let content = attribute.resident().unwrap_or(&[]);
            let standard = StandardInformation::parse(content)
                .ok_or((column_of(attribute.kind), "$STANDARD_INFORMATION"))?;
            entry.standard.get_or_insert(Standard {
                times: Times {
                    created: standard.created,
                    modified: standard.modified,
                    changed: standard.changed,
                    accessed: standard.accessed,
                },
                attributes: standard.attributes,
                owner_id: standard.owner_id.unwrap_or(0),
                security_id: standard.security_id.unwrap_or(0),
                usn: standard.usn.unwrap_or(0),
            });
        }
        kind::FILE_NAME => {
            let content = attribute.resident().unwrap_or(&[]);
            let name = FileName::parse(content).ok_or((column_of(attribute.kind), "$FILE_NAME"))?;
            wtf8.clear();
            push_component(wtf8, name.utf16le);
            let text = push_text(&mut entry.text, wtf8);
            let exact = entry.exact.len()..entry.exact.len() + wtf8.len();
            entry.exact.extend_from_slice(wtf8);
            entry.names.push(Name {
                parent: name.parent,
                namespace: name.namespace,
                times: Times {
                    created: name.created,
                    modified: name.modified,
                    changed: name.changed,
                    accessed: name.accessed,
                },
                attribute_id: attribute.id,
                foreign: joined.is_none(),
                // Resident contents are no longer than a record.
                value_bytes: content.len() as u32,
                text,
                exact,
                path: None,
                orphan: true,
            });
        }
        kind::DATA => add_stream(entry, wtf8, attribute, joined.is_none()),
        kind::INDEX_ROOT if attribute.name == FILE_NAME_INDEX => {
            let unnamed = Attribute {
                name: &[],
                ..*attribute
            };
            add_stream(entry, wtf8, &unnamed, joined.is_none());
        }
        kind::INDEX_ROOT => add_stream(entry, wtf8, attribute, joined.is_none()),
        kind::REPARSE_POINT => {
            let Some(content) = attribute.resident() else {
                return Ok(());
            };
            let point = ReparsePoint::parse(content)
                .ok_or((column_of(attribute.kind), "$REPARSE_POINT"))?;
            entry.reparse_tag = Some(point.tag);
            entry.reparse_target = point.target.map(|target| {
                wtf8.clear();
                push_wtf8(wtf8, target);
                push_text(&mut entry.text, wtf8)
            });
        }
        kind::OBJECT_ID => {
            let content = attribute.resident().unwrap_or(&[]);
            let id = content
                .first_chunk::<OBJECT_ID_BYTES>()
                .ok_or((column_of(attribute.kind), "$OBJECT_ID"))?;
            entry.object_id = Some(*id);
        }
        kind::ATTRIBUTE_LIST => {
            // A list that is not resident lies outside of the $MFT; the base references of the
            // extension records say the same.
            let joined = joined.unwrap_or(&[]);
            for listed in ListEntries::new(attribute.resident().unwrap_or(&[])) {
                let listed = listed.map_err(|_| ("attributes", "$ATTRIBUTE_LIST"))?;
                let number = paths::entry_of(listed.record);
                let own = number == paths::entry_of(entry.reference);
                if !own && joined.binary_search(&number).is_err() {
                    entry.missing.push(number);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn add_stream(entry: &mut Entry, wtf8: &mut Vec<u8>, attribute: &Attribute<'_>, foreign: bool) {
    let (size_bytes, allocated_bytes) = match attribute.body {
        Body::Resident(content) => (content.len() as u64, None),
        Body::NonResident(part) if part.first_vcn == 0 => {
            (part.real_bytes, Some(part.allocated_bytes))
        }
        // The part that begins at VCN 0 speaks for the whole stream.
        Body::NonResident(_) => return,
    };
    wtf8.clear();
    push_wtf8(wtf8, attribute.name);
    let name = push_text(&mut entry.text, wtf8);
    entry.streams.push(Stream {
        kind: attribute.kind,
        attribute_id: attribute.id,
        foreign,
        name,
        size_bytes,
        allocated_bytes,
        storage: attribute.flags,
    });
}

/// Finds the best name, and gives every name that is no 8.3 alias its full path.
pub(super) fn resolve(entry: &mut Entry, table: &NameTable, buffers: &mut Buffers) {
    let Buffers { wtf8, cache, .. } = buffers;
    let number = paths::entry_of(entry.reference);
    // The first of the best, as the table of names takes it.
    let names = entry.names.iter().enumerate().rev();
    entry.best = names
        .max_by_key(|(_, name)| paths::name_rank(name.namespace))
        .map(|(index, _)| index);
    for index in 0..entry.names.len() {
        let name = &entry.names[index];
        let is_alias = name.namespace == namespace::DOS
            && entry
                .names
                .iter()
                .any(|other| other.namespace != namespace::DOS && other.parent == name.parent);
        if is_alias {
            continue;
        }
        wtf8.clear();
        wtf8.push(b'/');
        let is_known_directory =
            entry.directory && entry.base.is_none() && entry.best == Some(index);
        let standing = if number == paths::ROOT_ENTRY {
            Standing::Rooted
        } else if is_known_directory {
            // As those who lie in it see it, also where it is part of a loop.
            table.push_directory(cache, entry.reference, wtf8)
        } else {
            let exact = &entry.exact[name.exact.clone()];
            table.push_path(cache, name.parent, exact, wtf8)
        };
        let path = push_text(&mut entry.text, wtf8);
        let name = &mut entry.names[index];
        name.path = Some(path);
        name.orphan = standing == Standing::Orphan;
    }
    if entry.names.is_empty() {
        // As the Sleuth Kit calls them.
        let start = entry.text.len();
        entry.text.push_str("/$OrphanFiles/OrphanFile-");
        entry.text.push_str(&number.to_string());
        entry.nameless_path = start..entry.text.len();
    }
}

/// Appends a name as text: what is not Unicode in it is escaped, as in a stream's identity.
pub(in crate::ntfs) fn push_text(text: &mut String, wtf8: &[u8]) -> Range<usize> {
    let start = text.len();
    match std::str::from_utf8(wtf8) {
        Ok(unicode) => text.push_str(unicode),
        Err(_) => path::push_escaped(text, wtf8),
    }
    start..text.len()
}
