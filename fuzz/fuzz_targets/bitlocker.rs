//! Hostile BitLocker volumes: their structures alone, and a sound volume that needs no key, patched
//! where they lie, its checksums made again for half of the inputs.

use std::sync::{Arc, OnceLock};

use scelle_evidence::{VolumeKeys, open_bitlocker, open_source};
use scelle_formats::{
    Bytes, ReadAt, ReadAtExt,
    bitlocker::{Boot, Conversion, ConversionMap, Metadata, key, startup_key},
};

use crate::{
    image::look_at,
    made_bitlocker::{AREA, Bitlocker, Protector},
    patch::patches,
};

static SOUND: &[u8] = include_bytes!("../../testdata/demo/workstation.raw");
const VOLUME_AT: usize = 64 << 10;
const MAX_BYTES: usize = 64 << 10;
/// Where the state of a conversion is laid, and its maps: behind the first copy of the metadata.
const CONVERSION: usize = 8 << 10;

/// Any bytes as each of the structures.
pub fn any(data: &[u8]) {
    // A refusal is an answer.
    drop(Metadata::parse(data, 0));
    std::hint::black_box(startup_key(data).is_ok());
    std::hint::black_box(key(data).is_ok());
    let mut keys = VolumeKeys::default();
    drop(keys.add_startup_key(data));
    if let Ok(text) = str::from_utf8(data) {
        drop(keys.add_recovery_password(text));
    }
    if let Some(sector) = data.first_chunk() {
        std::hint::black_box(Boot::recognise(sector));
    }
    let mut bytes = b"FVE-EOW\0".to_vec();
    bytes.extend(data);
    seal(&mut bytes, 36, 10);
    drop(Conversion::parse(&bytes, 0));
    let mut bytes = b"FVE-EOWBM\0".to_vec();
    bytes.extend(data);
    seal(&mut bytes, 56, 44);
    drop(ConversionMap::parse(&bytes, 0));
}

/// Makes the CRC-32 of a structure whose size stands at `size_at` right.
fn seal(bytes: &mut [u8], field: usize, size_at: usize) {
    let size = bytes
        .get(size_at..size_at + 2)
        .and_then(<[u8]>::first_chunk);
    let size = size.map_or(0, |size| usize::from(u16::from_le_bytes(*size)));
    if (field + 4..=bytes.len()).contains(&size) {
        bytes[field..field + 4].fill(0);
        let crc = crc32fast::hash(&bytes[..size]);
        bytes[field..field + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

fn sound() -> &'static (Vec<u8>, [usize; 4]) {
    static MADE: OnceLock<(Vec<u8>, [usize; 4])> = OnceLock::new();
    MADE.get_or_init(|| {
        let volume = &SOUND[VOLUME_AT..];
        let end = volume.len() / AREA;
        let areas = [end - 9, end - 6, end - 3, end - 8].map(|unit| unit * AREA);
        let made = Bitlocker::new(0x8004)
            .protector(Protector::Clear)
            .encrypt(volume, areas);
        (converting(made, areas[0] + CONVERSION), areas)
    })
}

/// Adds the state of a conversion with one region, all of whose chunks are encrypted.
fn converting(mut volume: Vec<u8>, at: usize) -> Vec<u8> {
    volume[160..176].copy_from_slice(&[
        0x3B, 0x4D, 0xA8, 0x92, 0x80, 0xDD, 0x0E, 0x4D, 0x9E, 0x4E, 0xB1, 0xE3, 0x28, 0x4E, 0xAE,
        0xD8,
    ]);
    let offset = |at: usize| (at as u64).to_le_bytes();
    volume[200..208].copy_from_slice(&offset(at));
    volume[208..216].copy_from_slice(&offset(at));
    let mut state = b"FVE-EOW\0".to_vec();
    state.extend([56, 0, 64, 0]);
    for field in [512, 512, 64 << 10, 4096, 0, 1, 0_u32] {
        state.extend(field.to_le_bytes());
    }
    for field in [at, at, at + 1024] {
        state.extend(offset(field));
    }
    let mut record = b"FVE-EOWBR\0".to_vec();
    record.extend([36, 0]);
    record.extend(512_u32.to_le_bytes());
    record.extend(64_u32.to_le_bytes());
    record.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    record.extend([0xFF; 8]);
    record.resize(512, 0);
    let mut map = b"FVE-EOWBM\0".to_vec();
    map.extend([60, 0]);
    for field in [1536, 0_u32] {
        map.extend(field.to_le_bytes());
    }
    for field in [8192, volume.len() - 8192, at + 4096] {
        map.extend(offset(field));
    }
    for field in [512, 1024, 512, 0_u32] {
        map.extend(field.to_le_bytes());
    }
    map.resize(512, 0);
    map.extend(&record);
    map.extend(&record);
    volume[at..at + state.len()].copy_from_slice(&state);
    volume[at + 1024..at + 1024 + map.len()].copy_from_slice(&map);
    seal_all(&mut volume, at);
    volume
}

fn seal_all(volume: &mut [u8], at: usize) {
    seal(&mut volume[at..at + 1024], 36, 10);
    let map = &mut volume[at + 1024..at + 1024 + 1536];
    seal(&mut map[512..1024], 32, 12);
    seal(&mut map[1024..], 32, 12);
    seal(&mut map[..512], 56, 44);
}

pub fn patched(data: &[u8]) {
    let (volume, areas) = sound();
    let mut volume = volume.clone();
    let (seals, data) = data.split_first().unwrap_or((&0, &[]));
    let conversion = areas[0] + CONVERSION;
    let places = [
        (0, 512),
        (areas[0], 1024),
        (areas[1], 1024),
        (conversion, 2560),
    ];
    for (place, bytes) in patches(data) {
        let (start, length) = places[place % 4];
        let at = start + (place / 4) % length;
        let end = volume.len().min(at + bytes.len());
        volume[at..end].copy_from_slice(&bytes[..end - at]);
    }
    if seals & 1 == 0 {
        seal_all(&mut volume, conversion);
        for area in &areas[..2] {
            let size = usize::from(u16::from_le_bytes([volume[area + 8], volume[area + 9]])) * 16;
            if (112..AREA - 8).contains(&size) {
                let crc = crc32fast::hash(&volume[*area..area + size]);
                volume[area + size + 4..area + size + 8].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
    let source: Arc<dyn ReadAt> = Arc::new(Bytes(volume));
    if let Ok(disk) = open_bitlocker(source.clone(), &VolumeKeys::default()) {
        let len = disk.len();
        let mut next = 0;
        for (range, _) in disk.ranges() {
            assert_eq!(range.start, next, "ranges follow one another");
            next = range.end;
        }
        assert_eq!(next, len, "ranges end with the volume");
        for at in [0, 1, len / 3, len / 2, len.saturating_sub(4097)] {
            // An error is an answer; more bytes than asked for would not be.
            if let Ok(bytes) = disk.read_range(at..u64::MAX, MAX_BYTES) {
                assert!(
                    bytes.len() as u64 <= len - at,
                    "a volume ends where it says"
                );
            }
        }
    }
    look_at(&open_source("fuzz".into(), source));
}
