//! Shadow copies that are made up: a catalog and stores, laid into a volume.
//!
//! The layout is that of `scelle_formats::vss`, written from the same specification.

use std::collections::BTreeMap;

/// Bytes of a block.
pub const BLOCK: usize = 16 << 10;

const GUID: [u8; 16] = [
    0x6B, 0x87, 0x08, 0x38, 0x76, 0xC1, 0x48, 0x4E, 0xB7, 0xAE, 0x04, 0x04, 0x6E, 0x6C, 0xC7, 0x52,
];
const HEADER_AT: usize = 0x1E00;
const HEAD: usize = 128;
const LIST_ENTRIES: usize = (BLOCK - HEAD) / 32;
const BITMAP_BYTES: usize = BLOCK - HEAD;

/// A snapshot that is to be made.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// When it was made (100 ns since 1601, UTC).
    pub created_filetime: u64,
    /// The blocks, by number, that differ from the next newer state, and what they were.
    pub blocks: BTreeMap<u32, Vec<u8>>,
    /// Descriptors besides: original, relative and data offset, flags, bitmap.
    pub besides: Vec<(u64, u64, u64, u32, u32)>,
}

/// Where everything was laid.
#[derive(Debug)]
pub struct Laid {
    /// The catalog.
    pub catalog_at: u64,
    /// The block list of each store, the oldest first.
    pub lists_at: Vec<u64>,
    /// Where the first block of what nobody uses lies.
    pub end: u64,
}

/// Lays snapshots, the oldest first, into the blocks of a volume from `area_at` on, which nothing uses.
///
/// # Panics
/// Where they don't fit.
pub fn lay(volume: &mut [u8], area_at: u64, shadows: &[Shadow]) -> Laid {
    assert_eq!(area_at % (BLOCK as u64), 0, "an area of whole blocks");
    let volume_bytes = volume.len() as u64;
    let mut area = Area {
        volume,
        next: area_at,
    };
    let catalog_at = area.take();
    let mut catalog = block(catalog_at, 0, 2, 0, 0);
    let mut lists_at = Vec::new();
    for (index, shadow) in shadows.iter().enumerate() {
        let store = area.store(shadow, volume_bytes, index);
        // Entries stand in no order.
        let slot = shadows.len() - 1 - index;
        let entry = &mut catalog[HEAD * (1 + 2 * slot)..][..HEAD * 2];
        let (first, second) = entry.split_at_mut(HEAD);
        numbers(first, 0, &[2, volume_bytes]);
        first[16..32].copy_from_slice(&guid(index, 1));
        numbers(
            first,
            32,
            &[index as u64 + 1, 0x40, shadow.created_filetime],
        );
        numbers(second, 0, &[3, store.list_at]);
        second[16..32].copy_from_slice(&guid(index, 1));
        numbers(
            second,
            32,
            &[store.header_at, store.ranges_at, store.bitmap_at],
        );
        lists_at.push(store.list_at);
    }
    area.put(catalog_at, &catalog);
    let end = area.next;
    let header = &mut area.volume[HEADER_AT..][..512];
    header.fill(0);
    header[..16].copy_from_slice(&GUID);
    header[16..20].copy_from_slice(&1u32.to_le_bytes());
    header[20..24].copy_from_slice(&1u32.to_le_bytes());
    let own = HEADER_AT as u64;
    numbers(header, 24, &[own, own, 0, catalog_at, 0]);
    header[64..80].copy_from_slice(&guid(0, 9));
    header[80..96].copy_from_slice(&guid(0, 9));
    Laid {
        catalog_at,
        lists_at,
        end,
    }
}

struct Area<'a> {
    volume: &'a mut [u8],
    next: u64,
}

struct Store {
    header_at: u64,
    list_at: u64,
    ranges_at: u64,
    bitmap_at: u64,
}

impl Area<'_> {
    fn take(&mut self) -> u64 {
        let at = self.next;
        self.next += BLOCK as u64;
        assert!(
            self.next <= self.volume.len() as u64,
            "room for shadow copies"
        );
        at
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.volume[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn store(&mut self, shadow: &Shadow, volume_bytes: u64, index: usize) -> Store {
        let header_at = self.take();
        let mut header = block(header_at, 0, 4, 0, 68);
        header[HEAD + 16..HEAD + 32].copy_from_slice(&guid(index, 2));
        header[HEAD + 32..HEAD + 48].copy_from_slice(&guid(index, 3));
        header[HEAD + 56..HEAD + 60].copy_from_slice(&0x0042_0009u32.to_le_bytes());
        self.put(header_at, &header);

        let mut list = Vec::new();
        for (number, bytes) in &shadow.blocks {
            let data_at = self.take();
            self.put(data_at, bytes);
            let original = u64::from(*number) * BLOCK as u64;
            list.push((original, data_at - header_at, data_at, 0, 0));
        }
        list.extend(&shadow.besides);
        let mut pieces: Vec<_> = list.chunks(LIST_ENTRIES).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let places: Vec<_> = pieces.iter().map(|_| self.take()).collect();
        let list_at = places[0];
        for (piece, at) in pieces.iter().zip(&places) {
            let next = places.iter().find(|other| *other > at).copied();
            let mut bytes = block(*at, at - header_at, 3, next.unwrap_or(0), 0);
            for (slot, (original, relative, data_at, flags, bitmap)) in
                bytes[HEAD..].chunks_exact_mut(32).zip(*piece)
            {
                numbers(slot, 0, &[*original, *relative, *data_at]);
                slot[24..28].copy_from_slice(&flags.to_le_bytes());
                slot[28..32].copy_from_slice(&bitmap.to_le_bytes());
            }
            self.put(*at, &bytes);
        }

        let ranges_at = self.take();
        let mut ranges = block(ranges_at, ranges_at - header_at, 5, 0, 0);
        numbers(&mut ranges, HEAD, &[header_at, 0, self.next - header_at]);
        self.put(ranges_at, &ranges);

        // Nothing is said to be free, so nothing is read as zeros.
        let count = (volume_bytes as usize).div_ceil(BLOCK * 8 * BITMAP_BYTES);
        let places: Vec<_> = (0..count).map(|_| self.take()).collect();
        for at in &places {
            let next = places.iter().find(|other| *other > at).copied();
            let bytes = block(*at, at - header_at, 6, next.unwrap_or(0), 0);
            self.put(*at, &bytes);
        }
        Store {
            header_at,
            list_at,
            ranges_at,
            bitmap_at: places[0],
        }
    }
}

fn numbers(bytes: &mut [u8], at: usize, numbers: &[u64]) {
    for (place, number) in bytes[at..].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

fn block(at: u64, relative: u64, kind: u32, next: u64, information_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    bytes[..16].copy_from_slice(&GUID);
    bytes[16..20].copy_from_slice(&1u32.to_le_bytes());
    bytes[20..24].copy_from_slice(&kind.to_le_bytes());
    numbers(&mut bytes, 24, &[relative, at, next, information_bytes]);
    bytes
}

/// A GUID of the time-based kind, one for each store and purpose.
fn guid(index: usize, purpose: u8) -> [u8; 16] {
    let mut guid = [purpose; 16];
    guid[..4].copy_from_slice(&(index as u32 + 1).to_le_bytes());
    guid[7] = 0x11;
    guid
}
