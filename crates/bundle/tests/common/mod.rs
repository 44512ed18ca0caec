//! Evidence made by code, and bundles of it.
#![allow(dead_code, reason = "each test program uses the part that it needs")]

pub(crate) mod certificates;
pub(crate) mod encrypted;
pub(crate) mod unpacked;

use std::{
    borrow::Cow,
    io::{self, Write},
    ops::Range,
};

use scelle_bundle::{
    BundleWriter, Collection, Compression, Options, Output, Plan, SealKey, Sealed, Source, Stream,
    Tool, VolumeRecord,
};
use scelle_event::{EvidencePath, UtcNanos};
use scelle_evidence::{Attributes, Details, Entry, EntryKind, FileId, NamedTimes, Times};
use scelle_formats::{Bytes, RangeKind, ReadAt, ReadError};
pub(crate) use scelle_testkit::Random;

/// 2026-01-01, the date of the plan.
pub(crate) const PLAN_DATE: u32 = 1_767_225_600;
pub(crate) const VOLUME: &str = "ntfs-0123456789abcdef";

/// One stream of made-up evidence.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) entry: Entry,
    pub(crate) stream: Option<EvidencePath>,
    pub(crate) content: Content,
}

#[derive(Clone)]
pub(crate) enum Content {
    Plain(Vec<u8>),
    /// Data at these places, a hole elsewhere.
    Sparse(u64, Vec<(u64, Vec<u8>)>),
    /// Reads of that range fail.
    Torn(Vec<u8>, Range<u64>),
    /// So many zeros, of which every second cluster can't be read.
    Riddled(u64),
    /// So many zeros, stored as any data.
    Zeros(u64),
    /// Can't be opened.
    Lost,
}

pub(crate) fn item(path: &[u8], content: impl Into<Vec<u8>>) -> Item {
    Item {
        entry: entry(path, 0),
        stream: None,
        content: Content::Plain(content.into()),
    }
}

pub(crate) fn entry(path: &[u8], number: u64) -> Entry {
    let path = EvidencePath::from_bytes(path);
    let times = Times {
        is_local: false,
        created: Some(UtcNanos::from_filetime(133_000_000_000_000_001 + number)),
        modified: Some(UtcNanos::from_nanos(-1)),
        changed: Some(UtcNanos::from_filetime(u64::MAX)),
        accessed: None,
    };
    Entry {
        names: vec![NamedTimes {
            path: path.clone(),
            namespace: 1,
            times,
        }],
        path,
        kind: EntryKind::File,
        id: (number > 0).then_some(FileId {
            entry: number,
            sequence: 3,
        }),
        times,
        attributes: Attributes(0x20),
        deleted: false,
        orphan: false,
        link_target: None,
        details: Details::default(),
        streams: Vec::new(),
    }
}

impl Item {
    fn describe(&self) -> Stream<'_> {
        Stream {
            volume: VOLUME.into(),
            entry: Cow::Borrowed(&self.entry),
            stream: self.stream.as_ref().map(Cow::Borrowed),
            target: "test".into(),
            way: "memory".into(),
        }
    }
}

impl Source for &Item {
    fn stream(&self) -> Stream<'_> {
        self.describe()
    }

    fn open(&self) -> Result<Box<dyn ReadAt>, ReadError> {
        match self.content.clone() {
            Content::Plain(bytes) => Ok(Box::new(Bytes(bytes))),
            Content::Lost => Err(ReadError::Unsupported { what: "a test" }),
            other => Ok(Box::new(Odd(other))),
        }
    }
}

/// The logical bytes of a sparse stream.
pub(crate) fn spread(size: u64, pieces: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    for (at, piece) in pieces {
        bytes[*at as usize..*at as usize + piece.len()].copy_from_slice(piece);
    }
    bytes
}

struct Odd(Content);

impl ReadAt for Odd {
    fn len(&self) -> u64 {
        match &self.0 {
            Content::Sparse(size, _) => *size,
            Content::Torn(bytes, _) => bytes.len() as u64,
            Content::Riddled(size) | Content::Zeros(size) => *size,
            _ => 0,
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        match &self.0 {
            Content::Sparse(size, pieces) => {
                let count = (buf.len() as u64).min(size.saturating_sub(offset)) as usize;
                let buf = &mut buf[..count];
                buf.fill(0);
                for (at, piece) in pieces {
                    let begin = offset.max(*at);
                    let end = (offset + count as u64).min(at + piece.len() as u64);
                    if begin < end {
                        buf[(begin - offset) as usize..(end - offset) as usize]
                            .copy_from_slice(&piece[(begin - at) as usize..(end - at) as usize]);
                    }
                }
                Ok(count)
            }
            Content::Torn(bytes, torn) => {
                if torn.contains(&offset) {
                    return Err(ReadError::Damaged {
                        what: "a sector",
                        offset,
                        why: "torn".into(),
                    });
                }
                let until = if offset < torn.start {
                    torn.start
                } else {
                    u64::MAX
                };
                let count = (buf.len() as u64).min(until - offset) as usize;
                Bytes(bytes).read_at(offset, &mut buf[..count])
            }
            Content::Riddled(_) if offset / 4096 % 2 == 1 => Err(ReadError::Damaged {
                what: "a cluster",
                offset,
                why: "torn".into(),
            }),
            Content::Riddled(size) => {
                let count = (4096 - offset % 4096).min(buf.len() as u64);
                let count = count.min(size.saturating_sub(offset)) as usize;
                buf[..count].fill(0);
                Ok(count)
            }
            Content::Zeros(size) => {
                let count = (buf.len() as u64).min(size.saturating_sub(offset)) as usize;
                buf[..count].fill(0);
                Ok(count)
            }
            _ => Ok(0),
        }
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        let Content::Sparse(size, pieces) = &self.0 else {
            return Box::new(std::iter::once((0..self.len(), RangeKind::Data)));
        };
        let mut list = Vec::new();
        let mut at = 0;
        for (begin, piece) in pieces {
            list.push((at..*begin, RangeKind::Hole));
            at = begin + piece.len() as u64;
            list.push((*begin..at, RangeKind::Data));
        }
        list.push((at..*size, RangeKind::Hole));
        Box::new(list.into_iter().filter(|(range, _)| !range.is_empty()))
    }
}

pub(crate) fn key() -> SealKey {
    SealKey::generate("run of a test", PLAN_DATE).expect("a key")
}

pub(crate) fn options(name: &str) -> Options {
    let collection = Collection {
        tlp: "TLP:AMBER".into(),
        tool: Tool {
            name: "scelle-test".into(),
            version: "0".into(),
            sha256: None,
        },
        host: Some("HOST-1".into()),
        source: "memory".into(),
        plan: Plan {
            profiles: vec!["test".into()],
            ..Plan::default()
        },
        volumes: vec![VolumeRecord {
            id: VOLUME.into(),
            kind: "ntfs".into(),
            cluster_bytes: Some(4096),
            ..VolumeRecord::default()
        }],
        ..Collection::default()
    };
    Options::new(name, collection, key())
}

pub(crate) fn write_with(options: Options, items: &[Item]) -> (Sealed, Vec<u8>) {
    let mut writer = BundleWriter::create(Vec::new(), options).expect("a name and a key");
    writer
        .add_all(items.len(), |index| &items[index], |_| {})
        .expect("memory takes all");
    writer.finish().expect("memory takes all")
}

pub(crate) fn write(items: &[Item]) -> (Sealed, Vec<u8>) {
    write_with(options("test-bundle"), items)
}

pub(crate) fn write_compressed(items: &[Item], compression: Compression) -> (Sealed, Vec<u8>) {
    let mut options = options("test-bundle");
    options.compression = compression;
    write_with(options, items)
}

/// Takes all and keeps nothing.
pub(crate) struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Nowhere {}

/// Bytes that compress, but not too well, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        if random.below(3) == 0 {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        } else {
            bytes.extend_from_slice(format!("row {:>6};", random.below(5000)).as_bytes());
        }
    }
    bytes.truncate(length);
    bytes
}

/// A stream that is made when it is collected.
pub(crate) struct Owned(pub Item);

impl Source for Owned {
    fn stream(&self) -> Stream<'_> {
        self.0.describe()
    }

    fn open(&self) -> Result<Box<dyn ReadAt>, ReadError> {
        (&self.0).open()
    }
}
