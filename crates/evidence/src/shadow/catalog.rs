//! Which snapshots a volume has.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use scelle_event::UtcNanos;
use scelle_formats::{
    ReadAt, ReadAtExt as _, ReadError,
    vss::{
        BLOCK_BYTES, BlockHeader, CatalogEntry, StoreInformation, StorePlaces, VOLUME_HEADER_AT,
        VOLUME_HEADER_BYTES, VolumeHeader, catalog_entries, kind,
    },
};

use super::{
    Snapshot, damaged, id_of, read_block,
    stores::{Stores, View},
    volume::ShadowVolume,
};
use crate::{VolumeInfo, VolumeKind, image::mapped::Mapped};

const CATALOG: &str = "the catalog of shadow copies";
/// Windows keeps 512 snapshots of a volume, and has 127 entries in a block.
const MAX_CATALOG_BLOCKS: usize = 64;
const MAX_SNAPSHOTS: usize = 512;

/// A snapshot that the catalog states.
struct Stated {
    store: [u8; 16],
    volume_bytes: u64,
    sequence: u64,
    created_filetime: u64,
}

#[derive(Default)]
struct Catalog {
    stated: Vec<Stated>,
    stores: HashMap<[u8; 16], StorePlaces>,
    /// Why there may be more.
    incomplete: Option<ReadError>,
}

/// The snapshots of the volume whose bytes are `source`, the oldest first. What is damaged is added to `losses`.
pub fn shadow_copies(
    source: &Arc<dyn ReadAt>,
    volume: &VolumeInfo,
    losses: &mut Vec<ReadError>,
) -> Vec<Snapshot> {
    let first = match header(source) {
        Ok(Some(header)) if header.catalog_at != 0 => header.catalog_at,
        Ok(_) => return Vec::new(),
        Err(error) => {
            losses.push(error);
            return Vec::new();
        }
    };
    let mut catalog = Catalog::default();
    catalog.incomplete = catalog.read(source, first).err();
    losses.extend(catalog.incomplete.clone());
    let Catalog {
        mut stated,
        stores,
        incomplete,
    } = catalog;
    // The catalog has them in any order.
    stated.sort_by_key(|one| (one.created_filetime, one.sequence, one.store));
    let places: Vec<_> = stated
        .iter()
        .map(|one| stores.get(&one.store).copied())
        .collect();
    let stores = Stores::new(source.clone(), places.iter().copied(), incomplete);
    let stores = Arc::new(stores);
    let lengths = stated.iter().map(|one| one.volume_bytes.min(source.len()));
    let disks: Vec<Arc<dyn ReadAt>> = lengths
        .enumerate()
        .map(|(own, len)| {
            let disk: Arc<dyn ReadAt> = Arc::new(Mapped {
                cache: stores.cache.clone(),
                layout: View {
                    stores: stores.clone(),
                    own,
                    len,
                },
                layer: 1,
            });
            disk
        })
        .collect();
    let mut given: HashMap<Arc<str>, u32> = HashMap::new();
    let snapshots = stated.iter().zip(places).enumerate();
    snapshots
        .map(|(own, (stated, places))| {
            let created = UtcNanos::from_filetime(stated.created_filetime);
            let mut id = id_of(&volume.id, created);
            let count = given.entry(id.clone()).or_insert(0);
            *count += 1;
            if *count > 1 {
                id = format!("{id}+{count}").into();
            }
            let len = disks[own].len();
            if len < stated.volume_bytes {
                let why = format!(
                    "it states a volume of {} bytes, and this one has {len}",
                    stated.volume_bytes
                );
                losses.push(damaged(
                    "an entry of the catalog of shadow copies",
                    first,
                    why,
                ));
            }
            let disk = disks[own].clone();
            Snapshot {
                volume: Arc::new(ShadowVolume {
                    info: VolumeInfo {
                        id,
                        kind: VolumeKind::Ntfs,
                        offset: volume.offset,
                        size_bytes: Some(len),
                        label: None,
                        cluster_bytes: volume.cluster_bytes,
                    },
                    source: disk.clone(),
                    stores: stores.clone(),
                    own,
                    newer: disks.get(own + 1).unwrap_or(source).clone(),
                    opened: OnceLock::new(),
                    change: OnceLock::new(),
                }),
                disk,
                created,
                store: stated.store,
                volume_bytes: stated.volume_bytes,
                is_here: places.is_some(),
                information: places.and_then(|places| match information(source, places) {
                    Ok(information) => Some(information),
                    Err(error) => {
                        losses.push(error);
                        None
                    }
                }),
            }
        })
        .collect()
}

fn header(source: &dyn ReadAt) -> Result<Option<VolumeHeader>, ReadError> {
    let end = VOLUME_HEADER_AT + VOLUME_HEADER_BYTES as u64;
    let bytes = source.read_range(VOLUME_HEADER_AT..end, VOLUME_HEADER_BYTES)?;
    let parsed = VolumeHeader::parse(&bytes);
    parsed.map_err(|why| damaged("the volume header of shadow copies", VOLUME_HEADER_AT, why))
}

fn information(source: &dyn ReadAt, places: StorePlaces) -> Result<StoreInformation, ReadError> {
    const WHAT: &str = "the header of a shadow copy's store";
    let at = places.header_at;
    let mut block = vec![0; BLOCK_BYTES];
    read_block(source, WHAT, at, &mut block)?;
    BlockHeader::parse(&block, at, kind::STORE)
        .and_then(|_| StoreInformation::parse(&block, at))
        .map_err(|why| damaged(WHAT, at, why))
}

impl Catalog {
    /// Goes through the blocks of the catalog; what was read before an error stands.
    fn read(&mut self, source: &dyn ReadAt, first: u64) -> Result<(), ReadError> {
        let mut block = vec![0; BLOCK_BYTES];
        let mut seen = Vec::new();
        let mut at = first;
        while at != 0 {
            if seen.contains(&at) || seen.len() == MAX_CATALOG_BLOCKS {
                return Err(damaged(CATALOG, at, "its blocks go round in a circle"));
            }
            seen.push(at);
            read_block(source, CATALOG, at, &mut block)?;
            let header = BlockHeader::parse(&block, at, kind::CATALOG)
                .map_err(|why| damaged(CATALOG, at, why))?;
            for entry in catalog_entries(&block, at) {
                self.add(entry.map_err(|why| damaged(CATALOG, at, why))?, at)?;
            }
            at = header.next;
        }
        Ok(())
    }

    fn add(&mut self, entry: CatalogEntry, at: u64) -> Result<(), ReadError> {
        match entry {
            CatalogEntry::Snapshot {
                store,
                volume_bytes,
                sequence,
                created_filetime,
            } => {
                if self.stated.iter().any(|one| one.store == store) {
                    return Err(damaged(CATALOG, at, "two of its entries are of one store"));
                }
                if self.stated.len() == MAX_SNAPSHOTS {
                    let why = format!("it has more than the {MAX_SNAPSHOTS} that Windows allows");
                    return Err(damaged(CATALOG, at, why));
                }
                self.stated.push(Stated {
                    store,
                    volume_bytes,
                    sequence,
                    created_filetime,
                });
            }
            // Without a snapshot of its own it is that of another volume, whose data lies here.
            CatalogEntry::Store { store, places } => {
                if self.stores.insert(store, places).is_some() {
                    let why = "two of its entries say where one store lies";
                    return Err(damaged(CATALOG, at, why));
                }
            }
        }
        Ok(())
    }
}
