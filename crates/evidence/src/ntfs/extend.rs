//! The files in `$Extend`: the change journal lies there, and is asked for without an index of all paths.

use scelle_event::EvidencePath;
use scelle_formats::{
    ReadAtExt as _, ReadError,
    ntfs::{
        IndexItem, IndexRecord, index_record_bytes, kind,
        paths::{entry_of, sequence_of},
        push_component,
    },
};

use super::{NtfsVolume, records::Room};

const EXTEND_ENTRY: u64 = 11;
/// Windows keeps less than a dozen files there.
const MAX_INDEX_BYTES: usize = 256 << 10;

/// The entry of a file in `$Extend`, as the index of that directory names it. `None` where the path
/// is another, or the index can't be trusted: then whoever walks the volume knows.
///
/// # Errors
/// [`ReadError::Absent`] where the index is sound and does not have it.
pub(super) fn find(volume: &NtfsVolume, path: &EvidencePath) -> Result<Option<u64>, ReadError> {
    let name = path.as_bytes().strip_prefix(b"$Extend/");
    let Some(name) = name.filter(|name| !name.contains(&b'/')) else {
        return Ok(None);
    };
    let mut look = Look {
        name,
        component: Vec::new(),
        found: None,
        lost: false,
    };
    if look.index(volume).is_none() || look.lost {
        return Ok(None);
    }
    match look.found {
        Some(reference) => Ok(is_in_use(volume, reference).then_some(entry_of(reference))),
        None => Err(ReadError::Absent {
            what: path.to_string(),
        }),
    }
}

/// What a node that is used no more names may be gone.
fn is_in_use(volume: &NtfsVolume, reference: u64) -> bool {
    let mut room = Room::default();
    let record = volume.records.read(entry_of(reference), &mut room);
    record.is_ok_and(|record| {
        let header = &record.header;
        header.in_use() && !header.is_extension() && header.sequence == sequence_of(reference)
    })
}

struct Look<'a> {
    name: &'a [u8],
    component: Vec<u8>,
    found: Option<u64>,
    lost: bool,
}

impl Look<'_> {
    /// Goes through all names; `None` where they can't all be read.
    fn index(&mut self, volume: &NtfsVolume) -> Option<()> {
        let mut room = Room::default();
        let record = volume.records.read(EXTEND_ENTRY, &mut room).ok()?;
        let mut attributes = record.attributes().flatten();
        let root = attributes.find(|attribute| attribute.kind == kind::INDEX_ROOT)?;
        let (root, has_nodes) = IndexRecord::of_root(root.resident()?)?;
        self.node(&root);
        if !has_nodes {
            return Some(());
        }
        let name = EvidencePath::from_bytes(b"$I30");
        let stream = volume.open_number(EXTEND_ENTRY, None, Some(&name)).ok()?;
        if stream.len() > MAX_INDEX_BYTES as u64 {
            return None;
        }
        let mut bytes = stream.read_range(0..stream.len(), MAX_INDEX_BYTES).ok()?;
        let record_bytes = index_record_bytes(&bytes)?;
        for node in bytes.chunks_mut(record_bytes) {
            if node.iter().any(|byte| *byte != 0) {
                self.node(&IndexRecord::decode(node)?);
            }
        }
        Some(())
    }

    fn node(&mut self, node: &IndexRecord<'_>) {
        self.lost |= node.torn;
        node.items(&mut |item| match item {
            IndexItem::Live(live) => {
                self.component.clear();
                push_component(&mut self.component, live.name.utf16le);
                if self.component == self.name {
                    self.found = live.file;
                }
            }
            IndexItem::Slack(_) => {}
            IndexItem::Lost(..) => self.lost = true,
        });
    }
}
