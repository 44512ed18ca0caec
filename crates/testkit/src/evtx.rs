//! Makes event logs, sound ones and others; see `scelle_formats::evtx` for the layout.

use std::collections::HashMap;

const FILE_HEADER_BYTES: usize = 4096;
const CHUNK_BYTES: usize = 65_536;
const CHUNK_HEADER_BYTES: usize = 512;

/// A value that fills a template.
#[derive(Clone, Debug)]
pub enum EvtxValue {
    /// None.
    Null,
    /// Text.
    Text(String),
    /// UTF-16 code units, unpaired ones too.
    Units(Vec<u16>),
    /// An unsigned number of 8 bits.
    U8(u8),
    /// An unsigned number of 16 bits.
    U16(u16),
    /// An unsigned number of 32 bits.
    U32(u32),
    /// An unsigned number of 64 bits.
    U64(u64),
    /// A number of 64 bits that is shown in hexadecimal.
    Hex64(u64),
    /// A FILETIME.
    FileTime(u64),
    /// A list of texts.
    Texts(Vec<String>),
    /// A value as it is stored, with its type.
    Raw(u8, Vec<u8>),
    /// An instance of another template.
    Nested(Box<EvtxEvent>),
}

impl EvtxValue {
    /// `S-1-5-PARTS…`.
    pub fn sid(parts: &[u32]) -> Self {
        let mut bytes = vec![1, parts.len() as u8, 0, 0, 0, 0, 0, 5];
        bytes.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        Self::Raw(0x13, bytes)
    }
}

/// A piece of a template.
#[derive(Clone, Debug)]
pub enum EvtxNode {
    /// An element: its name, its attributes, what stands in it.
    Element(&'static str, Vec<(&'static str, EvtxNode)>, Vec<EvtxNode>),
    /// Text.
    Text(&'static str),
    /// The value of that number.
    Value(u16),
    /// The value of that number; its attribute vanishes where it is null.
    Optional(u16),
}

/// An instance of a template: the template's elements, and its values.
#[derive(Clone, Debug)]
pub struct EvtxEvent {
    /// The template, which is stored once a chunk for all events that have the same `name`.
    pub name: &'static str,
    /// Its outermost element.
    pub template: EvtxNode,
    /// What fills it.
    pub values: Vec<EvtxValue>,
}

/// The system fields of an event, and its data.
#[derive(Clone, Debug)]
pub struct EvtxRecord {
    /// The provider's name; one template is made for each.
    pub provider: &'static str,
    /// The channel.
    pub channel: &'static str,
    /// The computer.
    pub computer: &'static str,
    /// Which event.
    pub event_id: u16,
    /// How grave it is.
    pub level: u8,
    /// When it was made, as FILETIME.
    pub created: u64,
    /// The parts of the account's SID after `S-1-5`; none for no account.
    pub user: &'static [u32],
    /// The event's data.
    pub data: EvtxEvent,
}

impl EvtxRecord {
    /// Data as most events have it: names and values.
    pub fn named_data(name: &'static str, data: Vec<(&'static str, EvtxValue)>) -> EvtxEvent {
        let mut elements = Vec::new();
        let mut values = Vec::new();
        for (index, (key, value)) in data.into_iter().enumerate() {
            let attributes = vec![("Name", EvtxNode::Text(key))];
            let inner = vec![EvtxNode::Value(index as u16)];
            elements.push(EvtxNode::Element("Data", attributes, inner));
            values.push(value);
        }
        EvtxEvent {
            name,
            template: EvtxNode::Element("EventData", Vec::new(), elements),
            values,
        }
    }

    fn event(&self, record_id: u64) -> EvtxEvent {
        use EvtxNode::{Element, Optional, Text, Value};
        let element = |name, inner| Element(name, Vec::new(), vec![inner]);
        let system = vec![
            Element("Provider", vec![("Name", Text(self.provider))], Vec::new()),
            element("EventID", Value(0)),
            element("Version", Value(1)),
            element("Level", Value(2)),
            element("Keywords", Value(3)),
            Element("TimeCreated", vec![("SystemTime", Value(4))], Vec::new()),
            element("EventRecordID", Value(5)),
            Element(
                "Execution",
                vec![("ProcessID", Value(6)), ("ThreadID", Value(7))],
                Vec::new(),
            ),
            element("Channel", Text(self.channel)),
            element("Computer", Text(self.computer)),
            Element("Security", vec![("UserID", Optional(8))], Vec::new()),
        ];
        let namespace = "http://schemas.microsoft.com/win/2004/08/events/event";
        let user = match self.user {
            [] => EvtxValue::Null,
            parts => EvtxValue::sid(parts),
        };
        EvtxEvent {
            name: self.provider,
            template: Element(
                "Event",
                vec![("xmlns", Text(namespace))],
                vec![Element("System", Vec::new(), system), Value(9)],
            ),
            values: vec![
                EvtxValue::U16(self.event_id),
                EvtxValue::U8(0),
                EvtxValue::U8(self.level),
                EvtxValue::Hex64(0x8020_0000_0000_0000),
                EvtxValue::FileTime(self.created),
                EvtxValue::U64(record_id),
                EvtxValue::U32(4),
                EvtxValue::U32(0x2c8),
                user,
                EvtxValue::Nested(Box::new(self.data.clone())),
            ],
        }
    }
}

/// A log of whole chunks.
#[derive(Clone, Debug, Default)]
pub struct EvtxLog {
    chunks: Vec<Chunk>,
    records: u64,
}

impl EvtxLog {
    /// A log without records.
    pub fn new() -> Self {
        Self::default()
    }

    /// A log with one chunk of these records, numbered from 1.
    pub fn of(records: &[EvtxRecord]) -> Self {
        let mut log = Self::new();
        log.add_chunk(records);
        log
    }

    /// Adds a chunk of these records.
    ///
    /// # Panics
    /// Where they do not fit.
    pub fn add_chunk(&mut self, records: &[EvtxRecord]) {
        let mut chunk = Chunk::new(self.records + 1);
        for record in records {
            self.records += 1;
            chunk.add(record, self.records);
        }
        assert!(chunk.bytes.len() <= CHUNK_BYTES, "a chunk has 64 KiB");
        self.chunks.push(chunk);
    }

    /// The log as a file.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; FILE_HEADER_BYTES];
        let chunks = self.chunks.len();
        bytes[..8].copy_from_slice(b"ElfFile\0");
        bytes[16..24].copy_from_slice(&(chunks.saturating_sub(1) as u64).to_le_bytes());
        bytes[24..32].copy_from_slice(&(self.records + 1).to_le_bytes());
        bytes[32..36].copy_from_slice(&128u32.to_le_bytes());
        bytes[36..40].copy_from_slice(&[1, 0, 3, 0]);
        bytes[40..42].copy_from_slice(&(FILE_HEADER_BYTES as u16).to_le_bytes());
        bytes[42..44].copy_from_slice(&(chunks as u16).to_le_bytes());
        let sum = crc32fast::hash(&bytes[..120]);
        bytes[124..128].copy_from_slice(&sum.to_le_bytes());
        for chunk in self.chunks {
            bytes.extend(chunk.into_bytes());
        }
        bytes
    }
}

#[derive(Clone, Debug)]
struct Chunk {
    bytes: Vec<u8>,
    names: HashMap<&'static str, u32>,
    templates: HashMap<&'static str, u32>,
    first: u64,
    last: u64,
    last_at: u32,
}

impl Chunk {
    fn new(first: u64) -> Self {
        Self {
            bytes: vec![0; CHUNK_HEADER_BYTES],
            names: HashMap::new(),
            templates: HashMap::new(),
            first,
            last: first,
            last_at: 0,
        }
    }

    fn add(&mut self, record: &EvtxRecord, id: u64) {
        let start = self.bytes.len();
        self.bytes.extend(b"**\0\0\0\0\0\0");
        self.bytes.extend(id.to_le_bytes());
        // A log writes a record a moment after it was made.
        self.bytes.extend((record.created + 40).to_le_bytes());
        self.instance(&record.event(id));
        self.bytes.push(0);
        // Records are as long as a multiple of eight bytes.
        let size = (self.bytes.len() - start + 4).next_multiple_of(8);
        self.bytes.resize(start + size - 4, 0);
        self.bytes.extend((size as u32).to_le_bytes());
        self.bytes[start + 4..start + 8].copy_from_slice(&(size as u32).to_le_bytes());
        self.last = id;
        self.last_at = start as u32;
    }

    /// A fragment with an instance of a template.
    fn instance(&mut self, event: &EvtxEvent) {
        self.bytes.extend([0x0f, 1, 1, 0, 0x0c, 1]);
        let id = crc32fast::hash(event.name.as_bytes());
        self.bytes.extend(id.to_le_bytes());
        match self.templates.get(event.name) {
            Some(at) => self.bytes.extend(at.to_le_bytes()),
            None => {
                let at = self.bytes.len() as u32 + 4;
                self.templates.insert(event.name, at);
                self.bytes.extend(at.to_le_bytes());
                self.bytes.extend([0; 4]);
                self.bytes.extend(id.to_le_bytes());
                self.bytes.extend([0x5c; 12]);
                let size_at = self.size();
                self.bytes.extend([0x0f, 1, 1, 0]);
                self.node(&event.template);
                self.bytes.push(0);
                self.set_size(size_at);
            }
        }
        self.bytes.extend((event.values.len() as u32).to_le_bytes());
        let descriptors = self.bytes.len();
        self.bytes.resize(descriptors + 4 * event.values.len(), 0);
        for (index, value) in event.values.iter().enumerate() {
            let at = self.bytes.len();
            let kind = self.value(value);
            let size = (self.bytes.len() - at) as u16;
            let place = descriptors + 4 * index;
            self.bytes[place..place + 2].copy_from_slice(&size.to_le_bytes());
            self.bytes[place + 2] = kind;
        }
    }

    /// Writes a value, and tells its type.
    fn value(&mut self, value: &EvtxValue) -> u8 {
        let out = &mut self.bytes;
        let mut text = |units: &mut dyn Iterator<Item = u16>| {
            out.extend(units.flat_map(u16::to_le_bytes));
        };
        match value {
            EvtxValue::Null => return 0x00,
            EvtxValue::Text(value) => text(&mut value.encode_utf16()),
            EvtxValue::Units(units) => text(&mut units.iter().copied()),
            EvtxValue::Texts(texts) => {
                for value in texts {
                    text(&mut value.encode_utf16().chain([0]));
                }
                return 0x81;
            }
            EvtxValue::U8(value) => {
                out.push(*value);
                return 0x04;
            }
            EvtxValue::U16(value) => {
                out.extend(value.to_le_bytes());
                return 0x06;
            }
            EvtxValue::U32(value) => {
                out.extend(value.to_le_bytes());
                return 0x08;
            }
            EvtxValue::U64(value) => {
                out.extend(value.to_le_bytes());
                return 0x0a;
            }
            EvtxValue::Hex64(value) => {
                out.extend(value.to_le_bytes());
                return 0x15;
            }
            EvtxValue::FileTime(value) => {
                out.extend(value.to_le_bytes());
                return 0x11;
            }
            EvtxValue::Raw(kind, bytes) => {
                out.extend(bytes);
                return *kind;
            }
            EvtxValue::Nested(event) => {
                self.instance(event);
                self.bytes.push(0);
                return 0x21;
            }
        }
        0x01
    }

    fn node(&mut self, node: &EvtxNode) {
        match node {
            EvtxNode::Element(name, attributes, inner) => {
                let has_attributes = !attributes.is_empty();
                self.bytes.push(if has_attributes { 0x41 } else { 0x01 });
                self.bytes.extend([0xff, 0xff]);
                let size_at = self.size();
                self.name(name);
                if has_attributes {
                    let list_at = self.size();
                    for (index, (name, value)) in attributes.iter().enumerate() {
                        let is_last = index + 1 == attributes.len();
                        self.bytes.push(if is_last { 0x06 } else { 0x46 });
                        self.name(name);
                        self.node(value);
                    }
                    self.set_size(list_at);
                }
                if inner.is_empty() {
                    self.bytes.push(0x03);
                } else {
                    self.bytes.push(0x02);
                    inner.iter().for_each(|node| self.node(node));
                    self.bytes.push(0x04);
                }
                self.set_size(size_at);
            }
            EvtxNode::Text(text) => {
                self.bytes.extend([0x05, 0x01]);
                self.counted(text);
            }
            EvtxNode::Value(index) => self.substitution(0x0d, *index),
            EvtxNode::Optional(index) => self.substitution(0x0e, *index),
        }
    }

    fn substitution(&mut self, token: u8, index: u16) {
        self.bytes.push(token);
        self.bytes.extend(index.to_le_bytes());
        // The type is the value's; readers go by that one.
        self.bytes.push(0x01);
    }

    fn name(&mut self, name: &'static str) {
        if let Some(at) = self.names.get(name) {
            self.bytes.extend(at.to_le_bytes());
            return;
        }
        let at = self.bytes.len() as u32 + 4;
        self.names.insert(name, at);
        self.bytes.extend(at.to_le_bytes());
        let hash = name.encode_utf16().fold(0u32, |hash, unit| {
            hash.wrapping_mul(65_599).wrapping_add(unit.into())
        });
        self.bytes.extend([0; 4]);
        self.bytes.extend((hash as u16).to_le_bytes());
        self.counted(name);
        self.bytes.extend([0, 0]);
    }

    fn counted(&mut self, text: &str) {
        let units: Vec<u16> = text.encode_utf16().collect();
        self.bytes.extend((units.len() as u16).to_le_bytes());
        self.bytes
            .extend(units.into_iter().flat_map(u16::to_le_bytes));
    }

    /// Leaves room for a size.
    fn size(&mut self) -> usize {
        self.bytes.extend([0; 4]);
        self.bytes.len() - 4
    }

    /// Fills the room that was left at `at` with the size of what follows it.
    fn set_size(&mut self, at: usize) {
        let size = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
    }

    fn into_bytes(mut self) -> Vec<u8> {
        let free = self.bytes.len();
        self.bytes.resize(CHUNK_BYTES, 0);
        let bytes = &mut self.bytes;
        bytes[..8].copy_from_slice(b"ElfChnk\0");
        for (place, number) in [
            (8, self.first),
            (16, self.last),
            (24, self.first),
            (32, self.last),
        ] {
            bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        for (place, number) in [(40, 128), (44, self.last_at), (48, free as u32)] {
            bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
        }
        seal_evtx_chunk(bytes);
        self.bytes
    }
}

/// Writes both checksums of a chunk anew, after it was altered.
///
/// # Panics
/// Where it is no whole chunk.
pub fn seal_evtx_chunk(chunk: &mut [u8]) {
    let free = u32::from_le_bytes(chunk[48..52].try_into().expect("four bytes")) as usize;
    let records = crc32fast::hash(&chunk[CHUNK_HEADER_BYTES..free.min(chunk.len())]);
    chunk[52..56].copy_from_slice(&records.to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&chunk[..120]);
    sum.update(&chunk[128..CHUNK_HEADER_BYTES]);
    chunk[124..128].copy_from_slice(&sum.finalize().to_le_bytes());
}
