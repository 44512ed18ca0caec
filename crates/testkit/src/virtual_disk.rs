//! Makes virtual hard disks that other people's programs don't make on this side: differencing
//! ones, and ones with a log that was not played back.

use std::ops::Range;

const SECTOR: usize = 512;
const MIB: usize = 1 << 20;

/// A VHD, version 1, dynamic or differencing.
#[derive(Clone, Debug)]
pub struct Vhd {
    disk_bytes: usize,
    block_bytes: usize,
    id: [u8; 16],
    parent: Option<(String, [u8; 16])>,
    blocks: Vec<(usize, Vec<u8>, Range<usize>)>,
}

impl Vhd {
    /// An empty disk with that id.
    pub fn new(disk_bytes: usize, block_bytes: usize, id: u8) -> Self {
        Self {
            disk_bytes,
            block_bytes,
            id: [id; 16],
            parent: None,
            blocks: Vec::new(),
        }
    }

    /// Makes it rest on another disk.
    #[must_use]
    pub fn parent(mut self, name: &str, id: u8) -> Self {
        self.parent = Some((name.to_owned(), [id; 16]));
        self
    }

    /// Stores a block, of which only some sectors are its own.
    #[must_use]
    pub fn block(mut self, number: usize, bytes: &[u8], sectors: Range<usize>) -> Self {
        self.blocks.push((number, bytes.to_vec(), sectors));
        self
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let entries = self.disk_bytes.div_ceil(self.block_bytes);
        let kind = if self.parent.is_some() { 4 } else { 3 };
        let mut footer = vec![0; SECTOR];
        put(&mut footer, 0, b"conectix");
        put(&mut footer, 8, &2_u32.to_be_bytes());
        put(&mut footer, 12, &0x1_0000_u32.to_be_bytes());
        put(&mut footer, 16, &512_u64.to_be_bytes());
        put(&mut footer, 40, &(self.disk_bytes as u64).to_be_bytes());
        put(&mut footer, 48, &(self.disk_bytes as u64).to_be_bytes());
        put(&mut footer, 60, &u32::to_be_bytes(kind));
        put(&mut footer, 68, &self.id);
        seal_vhd(&mut footer, 64);
        let mut header = vec![0; 1024];
        put(&mut header, 0, b"cxsparse");
        put(&mut header, 8, &u64::MAX.to_be_bytes());
        put(&mut header, 16, &1536_u64.to_be_bytes());
        put(&mut header, 24, &0x1_0000_u32.to_be_bytes());
        put(&mut header, 28, &(entries as u32).to_be_bytes());
        put(&mut header, 32, &(self.block_bytes as u32).to_be_bytes());
        if let Some((name, id)) = &self.parent {
            put(&mut header, 40, id);
            let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
            put(&mut header, 64, &units);
        }
        seal_vhd(&mut header, 36);
        let mut table = vec![0xFF; (entries * 4).next_multiple_of(SECTOR)];
        let mut stored = Vec::new();
        let first = 1536 + table.len();
        let bitmap_bytes = (self.block_bytes / SECTOR / 8).next_multiple_of(SECTOR);
        for (number, bytes, sectors) in &self.blocks {
            let at = (first + stored.len()) / SECTOR;
            put(&mut table, number * 4, &(at as u32).to_be_bytes());
            let mut bitmap = vec![0; bitmap_bytes];
            for sector in sectors.clone() {
                bitmap[sector / 8] |= 0x80 >> (sector % 8);
            }
            stored.extend(bitmap);
            stored.extend(bytes);
        }
        [footer.clone(), header, table, stored, footer].concat()
    }
}

/// Makes the checksum of a VHD's footer (field at 64) or header (at 36).
pub fn seal_vhd(bytes: &mut [u8], field: usize) {
    put(bytes, field, &[0; 4]);
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    put(bytes, field, &(!sum).to_be_bytes());
}

/// What an entry of a log writes.
#[derive(Clone, Debug)]
pub enum LogStep {
    /// 4096 bytes at an offset of the file.
    Write(u64, Vec<u8>),
    /// Zeros: offset and length.
    Zero(u64, u64),
}

/// A VHDX with blocks of 1 MiB.
#[derive(Clone, Debug)]
pub struct Vhdx {
    bytes: Vec<u8>,
}

impl Vhdx {
    /// Where the log begins, of 1 MiB.
    pub const LOG_AT: usize = MIB;
    /// Where the block table begins.
    pub const BAT_AT: usize = 3 * MIB;
    const METADATA_AT: usize = 2 * MIB;
    const HEADERS: [usize; 2] = [64 << 10, 128 << 10];
    const LOG_ID: [u8; 16] = [0x4C; 16];
    /// Which entry of the table leads to the bitmap of the first blocks.
    const BITMAP_ENTRY: usize = 4096;

    /// An empty disk.
    pub fn new(disk_bytes: u64) -> Self {
        let mut bytes = vec![0; 4 * MIB];
        put(&mut bytes, 0, b"vhdxfile");
        for (number, at) in Self::HEADERS.into_iter().enumerate() {
            let header = &mut bytes[at..at + 4096];
            put(header, 0, b"head");
            put(header, 8, &(number as u64 + 1).to_le_bytes());
            put(header, 66, &1_u16.to_le_bytes());
            put(header, 68, &(MIB as u32).to_le_bytes());
            put(header, 72, &(Self::LOG_AT as u64).to_le_bytes());
        }
        for at in [192 << 10, 256 << 10] {
            let table = &mut bytes[at..at + (64 << 10)];
            put(table, 0, b"regi");
            put(table, 8, &2_u32.to_le_bytes());
            let ids = [
                (0x2DC2_7766_F623_4200_9D64_115E_9BFD_4A08, Self::BAT_AT),
                (0x8B7C_A206_4790_4B9A_B8FE_575F_050F_886E, Self::METADATA_AT),
            ];
            for (number, (id, region)) in ids.into_iter().enumerate() {
                let entry = &mut table[16 + number * 32..];
                put(entry, 0, &guid(id));
                put(entry, 16, &(region as u64).to_le_bytes());
                put(entry, 24, &(MIB as u32).to_le_bytes());
                put(entry, 28, &1_u32.to_le_bytes());
            }
            seal_vhdx(table);
        }
        let mut image = Self { bytes };
        put(&mut image.bytes, Self::METADATA_AT, b"metadata");
        image.item(
            0xCAA1_6737_FA36_4D43_B3B6_33F0_AA44_E76B,
            &(MIB as u64).to_le_bytes(),
        );
        image.item(
            0x2FA5_4224_CD1B_4876_B211_5DBE_D83B_F4B8,
            &disk_bytes.to_le_bytes(),
        );
        image.item(
            0x8141_BF1D_A96F_4709_BA47_F233_A8FA_AB5F,
            &512_u32.to_le_bytes(),
        );
        image.item(
            0xCDA3_48C7_445D_4471_9CC9_E988_5251_C556,
            &512_u32.to_le_bytes(),
        );
        image.item(0xBECA_12AB_B2E6_4523_93EF_C309_E000_C746, &[7; 16]);
        image
    }

    fn item(&mut self, id: u128, value: &[u8]) {
        let region = &mut self.bytes[Self::METADATA_AT..Self::METADATA_AT + MIB];
        let count = u16::from_le_bytes([region[10], region[11]]);
        put(region, 10, &(count + 1).to_le_bytes());
        let at = (64 << 10) + usize::from(count) * 4096;
        put(region, at, value);
        let entry = &mut region[32 + usize::from(count) * 32..];
        put(entry, 0, &guid(id));
        put(entry, 16, &(at as u32).to_le_bytes());
        put(entry, 20, &(value.len() as u32).to_le_bytes());
        // Required, and but for the first of the virtual disk.
        put(entry, 24, &if count == 0 { 4_u32 } else { 6 }.to_le_bytes());
    }

    /// Makes it rest on another disk.
    #[must_use]
    pub fn parent(mut self, name: &str) -> Self {
        let parameters = Self::METADATA_AT + (64 << 10);
        put(&mut self.bytes, parameters + 4, &2_u32.to_le_bytes());
        let utf16 = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<_>>()
        };
        let (key, value) = (utf16("relative_path"), utf16(&format!(".\\{name}")));
        let mut locator = guid(0xB04A_EFB7_D19E_4A81_B789_25B8_E945_5913).to_vec();
        locator.extend([0, 0, 1, 0]);
        locator.extend(32_u32.to_le_bytes());
        locator.extend((32 + key.len() as u32).to_le_bytes());
        locator.extend((key.len() as u16).to_le_bytes());
        locator.extend((value.len() as u16).to_le_bytes());
        locator.extend(key);
        locator.extend(value);
        self.item(0xA8D3_5F2D_B30B_454D_ABF7_D3D8_4834_AB0C, &locator);
        self
    }

    /// Adds bytes, up to 1 MiB, at the end of the file; returns where they lie.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let at = self.bytes.len();
        self.bytes.extend(bytes);
        self.bytes.resize(at + MIB, 0);
        at
    }

    /// An entry of the block table: 6 is there, 7 partly there, 2 zeros.
    pub fn entry(state: u64, at: usize) -> [u8; 8] {
        (at as u64 | state).to_le_bytes()
    }

    /// Stores a block.
    #[must_use]
    pub fn block(mut self, number: usize, bytes: &[u8]) -> Self {
        let at = self.append(bytes);
        put(
            &mut self.bytes,
            Self::BAT_AT + number * 8,
            &Self::entry(6, at),
        );
        self
    }

    /// Stores a block of which only some sectors are its own. One of a disk may be so.
    #[must_use]
    pub fn partial(mut self, number: usize, bytes: &[u8], sectors: Range<usize>) -> Self {
        let at = self.append(bytes);
        put(
            &mut self.bytes,
            Self::BAT_AT + number * 8,
            &Self::entry(7, at),
        );
        let mut bitmap = vec![0; MIB];
        for sector in sectors {
            let sector = number * (MIB / SECTOR) + sector;
            bitmap[sector / 8] |= 1 << (sector % 8);
        }
        let at = self.append(&bitmap);
        put(
            &mut self.bytes,
            Self::BAT_AT + Self::BITMAP_ENTRY * 8,
            &Self::entry(6, at),
        );
        self
    }

    /// Leaves a log that is to be played back, an entry for each slice, from so many sectors after the
    /// log's beginning on.
    #[must_use]
    pub fn log(mut self, first_sector: usize, entries: &[&[LogStep]]) -> Self {
        let mut at = first_sector * 4096;
        let file_bytes = self.bytes.len() as u64;
        for (number, steps) in entries.iter().enumerate() {
            let sequence = 10 + number as u64;
            let entry = log_entry(steps, sequence, first_sector as u32 * 4096, file_bytes);
            for sector in entry.chunks(4096) {
                put(&mut self.bytes, Self::LOG_AT + at % MIB, sector);
                at += 4096;
            }
        }
        for header in Self::HEADERS {
            put(&mut self.bytes, header + 48, &Self::LOG_ID);
        }
        self
    }

    /// The file.
    pub fn build(mut self) -> Vec<u8> {
        for at in Self::HEADERS {
            seal_vhdx(&mut self.bytes[at..at + 4096]);
        }
        self.bytes
    }
}

fn log_entry(steps: &[LogStep], sequence: u64, tail: u32, file_bytes: u64) -> Vec<u8> {
    let mut head = vec![0; 4096];
    let mut data = Vec::new();
    put(&mut head, 0, b"loge");
    put(&mut head, 12, &tail.to_le_bytes());
    put(&mut head, 16, &sequence.to_le_bytes());
    put(&mut head, 24, &(steps.len() as u32).to_le_bytes());
    put(&mut head, 32, &Vhdx::LOG_ID);
    put(&mut head, 48, &file_bytes.to_le_bytes());
    put(&mut head, 56, &file_bytes.to_le_bytes());
    for (number, step) in steps.iter().enumerate() {
        let descriptor = &mut head[64 + number * 32..96 + number * 32];
        put(descriptor, 24, &sequence.to_le_bytes());
        match step {
            LogStep::Zero(offset, length) => {
                put(descriptor, 0, b"zero");
                put(descriptor, 8, &length.to_le_bytes());
                put(descriptor, 16, &offset.to_le_bytes());
            }
            LogStep::Write(offset, bytes) => {
                put(descriptor, 0, b"desc");
                put(descriptor, 4, &bytes[4092..4096]);
                put(descriptor, 8, &bytes[..8]);
                put(descriptor, 16, &offset.to_le_bytes());
                let mut sector = bytes.clone();
                put(&mut sector, 0, b"data");
                put(&mut sector, 4, &((sequence >> 32) as u32).to_le_bytes());
                put(&mut sector, 4092, &(sequence as u32).to_le_bytes());
                data.extend(sector);
            }
        }
    }
    head.extend(data);
    let length = head.len() as u32;
    put(&mut head, 8, &length.to_le_bytes());
    seal_vhdx(&mut head);
    head
}

/// Makes the CRC-32C at offset 4 of a header, a region table or a log entry.
pub fn seal_vhdx(bytes: &mut [u8]) {
    put(bytes, 4, &[0; 4]);
    let mut crc = u32::MAX;
    for byte in &*bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    put(bytes, 4, &(!crc).to_le_bytes());
}

/// A GUID as it is stored: its first three parts little-endian.
fn guid(id: u128) -> [u8; 16] {
    let mut bytes = id.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}
