//! NTFS volumes.
//!
//! # What is walked
//! `$MFT` itself, from its first record to its last, in two passes of large reads: one for the
//! names of all directories, one that shows each file. So deleted files come as easily as live
//! ones, and damaged indexes hide nothing. Records that extend others are part of those.
//!
//! The index of a directory, where it has one of its own, is shown as its stream `$I30`.
//!
//! What no file has is the stream `$Bitmap:$UNUSED:$CLUSTERS`, which no walk shows.
//! Of a deleted file it is said what there still is of its bytes: by `$Bitmap`, how many of its clusters
//! belong to others now.
//!
//! # Memory
//! While a walk lasts, [`paths::BYTES_PER_ENTRY`] for each record and the bytes of its best name.
//! After the first [`open`](Volume::open) by path, 16 bytes for each name, for as long as the
//! volume is open. Opening by entry, or one of the metadata files at the root, needs nothing.
//!
//! # What is compressed
//! LZNT1 and WOF streams are read as what they stand for, unit by unit, with a few units kept. A
//! unit that is damaged is an error where it lies, and only there. EFS streams are read as they
//! stand, in whole sectors; the stream `$EFS:$LOGGED_UTILITY_STREAM` holds their keys.
//!
//! # What is not read
//! Deduplicated streams, those that a cloud service keeps, and WOF from a WIM: such a stream is shown
//! with its size, says so, and gives an error when it is opened.

mod bitmap;
mod changed;
mod copies;
mod extend;
mod extents;
mod file;
mod index;
mod packed;
mod records;
mod security;
mod unused;
mod walk;

use std::{
    ops::{ControlFlow, Range},
    sync::{Arc, OnceLock},
};

use scelle_event::{EvidencePath, StreamId};
use scelle_formats::{
    Bytes, ReadAt, ReadAtExt as _, ReadError,
    ntfs::{
        Attribute, Body, BootSector, COMPRESSED, ENCRYPTED, FileName, Run, kind, paths,
        push_component,
    },
};

pub(crate) use self::extents::{ExtentStream, Extents};
pub use self::file::EFS_STREAM;
use self::{
    bitmap::Allocation,
    file::{FileParts, WOF_STREAM, raw_bytes, stream_of},
    index::PathIndex,
    packed::{Lznt1, Packed, Wof},
    records::{Records, Room, damaged},
    security::Securities,
    unused::{UNUSED_STREAM, Unused},
};
use crate::{Entry, EvidenceLoss, StreamState, Volume, VolumeInfo, VolumeKind};

/// The entry of `$Volume`, which holds the label.
const VOLUME_ENTRY: u64 = 3;
/// The entry of `$Bitmap`.
const BITMAP_ENTRY: u64 = 6;
/// The entry of `$Secure`.
const SECURE_ENTRY: u64 = 9;

/// Entries that NTFS keeps for its metadata files: `$MFT` is 0, `$Extend` is 11.
const METADATA_ENTRIES: Range<u64> = 0..12;

/// An NTFS volume.
pub struct NtfsVolume {
    info: VolumeInfo,
    records: Records,
    index: OnceLock<PathIndex>,
    securities: OnceLock<Securities>,
    allocation: OnceLock<Allocation>,
}

impl NtfsVolume {
    /// Opens the volume whose bytes are `source`, which itself begins at `offset` on its disk.
    /// What is damaged and could be done without is added to `losses`, and so is a difference
    /// between the boot sector and its backup, or the first records of `$MFT` and `$MFTMirr`.
    ///
    /// # Errors
    /// Where it is no NTFS volume, or neither `$MFT` nor its mirror can be found.
    pub fn open(
        source: Arc<dyn ReadAt>,
        offset: u64,
        losses: &mut Vec<ReadError>,
    ) -> Result<Self, ReadError> {
        let mut sector = [0; BootSector::BYTES];
        source.read_exact_at("the boot sector", 0, &mut sector)?;
        let boot = BootSector::parse(&sector)
            .map_err(|error| damaged("the boot sector", 0, error.to_string()))?;
        let volume = Self::with_boot(source.clone(), offset, &boot, losses)?;
        copies::compare(&source, &sector, &boot, &volume.records, losses);
        Ok(volume)
    }

    /// As [`open`](Self::open), by a boot sector that was found elsewhere: its backup follows the
    /// last sector of the volume.
    ///
    /// # Errors
    /// Where neither `$MFT` nor its mirror can be found.
    pub fn with_boot(
        source: Arc<dyn ReadAt>,
        offset: u64,
        boot: &BootSector,
        losses: &mut Vec<ReadError>,
    ) -> Result<Self, ReadError> {
        let size_bytes = boot.volume_bytes();
        if size_bytes > source.len() {
            losses.push(ReadError::Short {
                what: "an NTFS volume",
                offset,
                need: size_bytes,
                have: source.len(),
            });
        }
        let records = Records::open(source, boot, losses)?;
        let label = read_label(&records);
        Ok(Self {
            info: VolumeInfo {
                id: format!("ntfs-{:016X}", boot.serial).into(),
                kind: VolumeKind::Ntfs,
                offset,
                size_bytes: Some(size_bytes),
                label,
                cluster_bytes: Some(boot.cluster_bytes),
            },
            records,
            index: OnceLock::new(),
            securities: OnceLock::new(),
            allocation: OnceLock::new(),
        })
    }

    /// Gives it another id, where one source has two volumes of one serial number.
    pub(crate) fn set_id(&mut self, id: Arc<str>) {
        self.info.id = id;
    }

    /// Opens a stream of an entry by number. With `sequence`, only that use of the entry.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn open_number(
        &self,
        number: u64,
        sequence: Option<u16>,
        stream: Option<&EvidencePath>,
    ) -> Result<Box<dyn ReadAt>, ReadError> {
        let is_unused = stream.is_some_and(|stream| stream.as_bytes() == UNUSED_STREAM);
        if number == BITMAP_ENTRY && is_unused {
            let bitmap = self.open_number(BITMAP_ENTRY, None, None)?;
            return Ok(Box::new(Unused::new(
                &self.records,
                bitmap,
                self.clusters(),
            )));
        }
        let (mut room, mut more) = (Room::default(), Room::default());
        let base = self.records.read(number, &mut room)?;
        if base.header.is_extension() {
            return Err(self.records.in_record(
                number,
                "it is no file of its own, but extends another".into(),
            ));
        }
        let is_other_use = sequence.is_some_and(|sequence| sequence != base.header.sequence);
        if is_other_use {
            return Err(self
                .records
                .in_record(number, "the entry was used again since it was seen".into()));
        }
        let mut parts = FileParts::default();
        let mut wanted = Wanted::default();
        let mut wof = Wanted::default();
        let mut first_error = None;
        let mut budget = self.records.budget();
        let mut see = |found: Result<&Attribute<'_>, ReadError>| match found {
            Ok(attribute) => {
                if let Err(error) = self.add(number, attribute, &mut parts) {
                    first_error.get_or_insert(error);
                }
                let Some(name) = stream_of(attribute) else {
                    return;
                };
                if name.as_ref() == stream {
                    wanted.add(attribute);
                } else if stream.is_none() && name.is_some_and(|name| name.as_bytes() == WOF_STREAM)
                {
                    wof.add(attribute);
                }
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        };
        self.records
            .attributes(number, &base, &mut more, &mut budget, &mut see);
        let Some(first) = &wanted.first else {
            return Err(first_error.unwrap_or_else(|| ReadError::Absent {
                what: match stream {
                    Some(stream) => format!("stream {stream} of MFT entry {number}"),
                    None => format!("an unnamed stream of MFT entry {number}"),
                },
            }));
        };
        if let StreamState::Unsupported(what) = parts.state(stream, first.flags, 0) {
            return Err(ReadError::Unsupported { what });
        }
        if let Some(algorithm) = parts.wof().filter(|_| stream.is_none()) {
            let real_bytes = first.real_bytes();
            let packed = wof.open(&self.records)?.ok_or_else(|| {
                let why = "a WOF file has no stream WofCompressedData";
                self.records.in_record(number, why.to_owned())
            })?;
            let units = Wof::new(packed, algorithm, real_bytes)?;
            return Ok(Box::new(Packed::new(units)));
        }
        let stream = wanted.open(&self.records)?;
        stream.ok_or_else(|| {
            self.records
                .in_record(number, "a stream has no beginning".into())
        })
    }

    /// The security descriptors, which are read where the first is asked for.
    fn securities(&self) -> &Securities {
        self.securities.get_or_init(|| {
            let name = EvidencePath::from_bytes(b"$SDS");
            Securities::read(self.open_number(SECURE_ENTRY, None, Some(&name)))
        })
    }

    /// How many clusters there are, as far as there are bytes.
    fn clusters(&self) -> u64 {
        let stated = self.info.size_bytes.unwrap_or(0);
        stated.min(self.records.volume.len()) / self.records.cluster_bytes
    }

    /// Which clusters are free, which is read where the first deleted file is met.
    fn allocation(&self) -> &Allocation {
        self.allocation.get_or_init(|| {
            Allocation::read(self.open_number(BITMAP_ENTRY, None, None), self.clusters())
        })
    }

    /// The entry of a metadata file at the root, told by the name that its record holds. A path that is none
    /// of these, or whose record is damaged, is for the index to find.
    fn metadata_entry(&self, path: &EvidencePath) -> Option<u64> {
        if !path.as_bytes().starts_with(b"$") {
            return None;
        }
        let mut room = Room::default();
        METADATA_ENTRIES.into_iter().find(|number| {
            self.records.read(*number, &mut room).is_ok_and(|record| {
                !record.header.is_extension()
                    && record.header.in_use()
                    && record
                        .attributes()
                        .flatten()
                        .filter(|attribute| attribute.kind == kind::FILE_NAME)
                        .filter_map(|attribute| attribute.resident().and_then(FileName::parse))
                        .any(|name| is_at_root(&name, path))
            })
        })
    }

    /// Adds an attribute to what is known of a file, its reparse point read from wherever it is.
    fn add(
        &self,
        number: u64,
        attribute: &Attribute<'_>,
        parts: &mut FileParts,
    ) -> Result<(), ReadError> {
        let outcome = match attribute.kind {
            kind::REPARSE_POINT => parts.add_reparse(&self.records.reparse(attribute)?),
            kind::EA => parts.add_extended(&self.records.extended(attribute)?),
            kind::SECURITY_DESCRIPTOR => {
                let content = self.records.security(attribute)?;
                parts.security.get_or_insert(content.into_owned());
                Ok(())
            }
            _ => parts.add(attribute),
        };
        outcome.map_err(|why| self.records.in_record(number, why.to_owned()))
    }
}

impl Volume for NtfsVolume {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }

    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        walk::walk(self, visit);
    }

    fn open(&self, stream: &StreamId) -> Result<Box<dyn ReadAt>, ReadError> {
        let known = self.metadata_entry(&stream.path);
        let known = match known {
            None => extend::find(self, &stream.path)?,
            known => known,
        };
        let number = match known {
            Some(number) => number,
            None => self
                .index
                .get_or_init(|| PathIndex::build(self))
                .find(&stream.path)
                .ok_or_else(|| ReadError::Absent {
                    what: stream.to_string(),
                })?,
        };
        self.open_number(number, None, stream.stream.as_ref())
    }

    fn open_entry(
        &self,
        entry: &Entry,
        stream: Option<&EvidencePath>,
    ) -> Result<Box<dyn ReadAt>, ReadError> {
        match entry.id {
            Some(id) => self.open_number(id.entry, Some(id.sequence), stream),
            None => self.open(&StreamId {
                volume: self.info.id.clone(),
                path: entry.path.clone(),
                stream: stream.cloned(),
            }),
        }
    }
}

/// The parts of one stream, as they are met.
#[derive(Default)]
struct Wanted {
    first: Option<First>,
    runs: Vec<Run>,
}

/// What the part says that begins at cluster 0.
struct First {
    flags: u16,
    /// The content, where it is resident.
    content: Vec<u8>,
    /// The logical and the valid length, where it is not.
    sizes: Option<(u64, u64)>,
    /// Clusters a compression unit, as an exponent of 2.
    exponent: u8,
}

impl First {
    fn real_bytes(&self) -> u64 {
        match self.sizes {
            Some((real_bytes, _)) => real_bytes,
            None => self.content.len() as u64,
        }
    }
}

impl Wanted {
    fn add(&mut self, attribute: &Attribute<'_>) {
        match attribute.body {
            // Of two streams of one name, the first is shown.
            Body::Resident(_) if self.first.is_some() => {}
            Body::NonResident(part) if part.first_vcn == 0 && self.first.is_some() => {}
            Body::Resident(content) => {
                self.first = Some(First {
                    // As it stands, whatever would be done to a longer one.
                    flags: attribute.flags & ENCRYPTED,
                    content: content.to_vec(),
                    sizes: None,
                    exponent: 0,
                });
            }
            Body::NonResident(part) => {
                if part.first_vcn == 0 {
                    self.first = Some(First {
                        flags: attribute.flags,
                        content: Vec::new(),
                        sizes: Some((
                            raw_bytes(attribute.flags, part.real_bytes, &part),
                            raw_bytes(attribute.flags, part.valid_bytes, &part),
                        )),
                        exponent: part.compression_exponent,
                    });
                }
                // What a damaged run hides is unreadable, and shows when it is read.
                self.runs.extend(part.runs().map_while(Result::ok));
            }
        }
    }

    /// Opens the stream; `None` where its beginning was not met.
    fn open(self, records: &Records) -> Result<Option<Box<dyn ReadAt>>, ReadError> {
        let Some(first) = self.first else {
            return Ok(None);
        };
        let Some(sizes) = first.sizes else {
            return Ok(Some(Box::new(Bytes(first.content))));
        };
        let is_packed = first.flags & COMPRESSED != 0 && first.flags & ENCRYPTED == 0;
        if !is_packed || first.exponent == 0 {
            return Ok(Some(Box::new(records.stream(sizes, self.runs))));
        }
        let units = Lznt1::new(records, sizes, self.runs, first.exponent)?;
        Ok(Some(Box::new(Packed::new(units))))
    }
}

fn is_at_root(name: &FileName<'_>, path: &EvidencePath) -> bool {
    const ENTRY: u64 = (1 << 48) - 1;
    let mut component = Vec::with_capacity(name.utf16le.len() / 2);
    push_component(&mut component, name.utf16le);
    name.parent & ENTRY == paths::ROOT_ENTRY && component == path.as_bytes()
}

/// The label, where `$Volume` can be read and has one.
fn read_label(records: &Records) -> Option<String> {
    let mut room = Room::default();
    // A record that can't be read is met, and said, by every walk.
    let record = records.read(VOLUME_ENTRY, &mut room).ok()?;
    let label = record
        .attributes()
        .flatten()
        .find(|attribute| attribute.kind == kind::VOLUME_NAME)
        .and_then(|attribute| attribute.resident())?;
    let units: Vec<u16> = label
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    (!units.is_empty()).then(|| String::from_utf16_lossy(&units))
}

/// Where entries are shown that have no name at all, as the Sleuth Kit names them.
fn nameless(number: u64) -> Vec<u8> {
    let mut path = paths::ORPHANS.to_vec();
    path.extend_from_slice(format!("/OrphanFile-{number}").as_bytes());
    path
}
