//! Makes journals of transactions, `$LogFile`.

const PAGE: usize = 4096;
const STRIDE: usize = 512;
const DATA: usize = 0x40;
const UPDATE_NUMBER: [u8; 2] = [5, 0];

/// A log under construction; see `scelle_formats::ntfs::LogPage` for the layout.
#[derive(Clone, Debug)]
pub struct LogFile {
    bytes: Vec<u8>,
    version: (u16, u16),
    sequence_bits: u32,
    at: usize,
    last_lsn: u64,
    previous_lsn: u64,
    round: u64,
}

/// What a record does.
#[derive(Clone, Debug, Default)]
pub struct LogChange {
    /// Redo operation and data.
    pub redo: (u16, Vec<u8>),
    /// Undo operation and data.
    pub undo: (u16, Vec<u8>),
    /// Offset of the record, in it of the attribute.
    pub offsets: (u16, u16),
    /// The transaction.
    pub transaction: u32,
    /// Cluster of the target, and 512-byte block in it.
    pub target: (u64, u16),
}

impl LogFile {
    /// An empty log of so many pages, version 1.1 or 2.0.
    pub fn new(version: (u16, u16), pages: usize) -> Self {
        let size_bits = (pages * PAGE).next_power_of_two().trailing_zeros();
        let mut log = Self {
            bytes: vec![0xFF; pages * PAGE],
            version,
            sequence_bits: 67 - size_bits,
            at: 0,
            last_lsn: 0,
            previous_lsn: 0,
            round: 3,
        };
        log.at = log.ring() + DATA;
        log.begin_page();
        log
    }

    fn ring(&self) -> usize {
        PAGE * if self.version.0 >= 2 { 34 } else { 4 }
    }

    fn begin_page(&mut self) {
        let page = self.at / PAGE * PAGE;
        let bytes = &mut self.bytes[page..page + PAGE];
        bytes.fill(0);
        bytes[..4].copy_from_slice(b"RCRD");
        bytes[4..8].copy_from_slice(&[0x28, 0, 9, 0]);
    }

    /// Goes on at the next page.
    fn next_page(&mut self) {
        self.at = self.at / PAGE * PAGE + PAGE + DATA;
        if self.at >= self.bytes.len() {
            self.at = self.ring() + DATA;
            self.round += 1;
        }
        self.begin_page();
    }

    /// Adds a record, and says its LSN.
    pub fn push(&mut self, change: &LogChange) -> u64 {
        let mut data = vec![0; 0x20];
        let mut put = |at: usize, value: usize| {
            data[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
        };
        let redo_at = 0x28;
        let undo_at = (redo_at + change.redo.1.len()).next_multiple_of(8);
        put(0, change.redo.0.into());
        put(2, change.undo.0.into());
        put(4, redo_at);
        put(6, change.redo.1.len());
        put(8, undo_at);
        put(10, change.undo.1.len());
        put(12, 0x18);
        put(14, 1);
        put(16, change.offsets.0.into());
        put(18, change.offsets.1.into());
        put(20, change.target.1.into());
        data[24..32].copy_from_slice(&change.target.0.to_le_bytes());
        data.resize(redo_at, 0);
        data.extend(&change.redo.1);
        data.resize(undo_at, 0);
        data.extend(&change.undo.1);
        self.push_data(1, change.transaction, &data)
    }

    /// Adds a checkpoint.
    pub fn checkpoint(&mut self) -> u64 {
        self.push_data(2, 0, &[0; 0x40])
    }

    fn push_data(&mut self, kind: u32, transaction: u32, data: &[u8]) -> u64 {
        const HEADER: usize = 0x30;
        self.at = self.at.next_multiple_of(8);
        if self.at.is_multiple_of(PAGE) || PAGE - self.at % PAGE < HEADER {
            self.at = (self.at - 1) / PAGE * PAGE;
            self.next_page();
        }
        let place = self.at as u64 / 8;
        let lsn = self.round << (64 - self.sequence_bits) | place;
        let mut header = lsn.to_le_bytes().to_vec();
        header.extend(self.previous_lsn.to_le_bytes());
        header.extend(0u64.to_le_bytes());
        header.extend((data.len() as u32).to_le_bytes());
        header.extend(0u32.to_le_bytes());
        header.extend(kind.to_le_bytes());
        header.extend(transaction.to_le_bytes());
        header.resize(HEADER, 0);
        self.previous_lsn = lsn;
        self.last_lsn = lsn;
        let mut rest = &[header, data.to_vec()].concat()[..];
        loop {
            let page = self.at / PAGE * PAGE;
            let room = page + PAGE - self.at;
            let (now, later) = rest.split_at(rest.len().min(room));
            self.bytes[self.at..self.at + now.len()].copy_from_slice(now);
            self.bytes[page + 8..page + 16].copy_from_slice(&lsn.to_le_bytes());
            self.at += now.len();
            rest = later;
            if rest.is_empty() {
                break;
            }
            self.at -= 1;
            self.next_page();
        }
        if self.at.is_multiple_of(PAGE) {
            self.at -= 1;
            self.next_page();
        }
        lsn
    }

    /// The log, its restart pages written, the last page also where version 2.0 keeps copies, and
    /// all fixups done.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for number in 0..2 {
            let page = &mut bytes[number * PAGE..(number + 1) * PAGE];
            page.fill(0);
            let mut put =
                |at: usize, field: &[u8]| page[at..at + field.len()].copy_from_slice(field);
            put(0x00, b"RSTR");
            put(0x04, &[0x1E, 0, 9, 0]);
            put(0x10, &(PAGE as u32).to_le_bytes());
            put(0x14, &(PAGE as u32).to_le_bytes());
            put(0x18, &[0x30, 0]);
            put(0x1A, &self.version.1.to_le_bytes());
            put(0x1C, &self.version.0.to_le_bytes());
            put(0x30, &self.last_lsn.to_le_bytes());
            put(0x40, &self.sequence_bits.to_le_bytes());
            put(0x48, &(self.bytes.len() as u64).to_le_bytes());
            put(0x54, &0x30u16.to_le_bytes());
            put(0x56, &(DATA as u16).to_le_bytes());
        }
        let home = self.at / PAGE * PAGE;
        bytes.copy_within(home..home + PAGE, 2 * PAGE);
        if self.version.0 >= 2 {
            bytes[2 * PAGE + 0x3C..2 * PAGE + 0x40].copy_from_slice(&(home as u32).to_le_bytes());
        } else {
            bytes[2 * PAGE + 8..2 * PAGE + 16].copy_from_slice(&(home as u64).to_le_bytes());
        }
        for page in bytes.chunks_exact_mut(PAGE) {
            if page[0] != b'R' {
                continue;
            }
            let sequence = usize::from(page[4]);
            page[sequence..sequence + 2].copy_from_slice(&UPDATE_NUMBER);
            for stride in 0..PAGE / STRIDE {
                let at = (stride + 1) * STRIDE - 2;
                page.copy_within(at..at + 2, sequence + 2 + 2 * stride);
                page[at..at + 2].copy_from_slice(&UPDATE_NUMBER);
            }
        }
        bytes
    }
}
