//! Makes change journals, `$UsnJrnl:$J`.

/// A page of the journal, across whose end no record goes.
const PAGE: usize = 4096;

/// What a record says; see `scelle_formats::ntfs::UsnRecord` for the layout.
#[derive(Clone, Copy, Debug)]
pub struct UsnChange<'a> {
    /// Major version: 2, 3, or 4, which has neither name nor time.
    pub version: u16,
    /// The file's reference.
    pub file: u64,
    /// Its directory's.
    pub parent: u64,
    /// FILETIME.
    pub ticks: u64,
    /// Why it was written.
    pub reasons: u32,
    /// DOS attributes; 0x10 is a directory.
    pub attributes: u32,
    /// The name.
    pub name: &'a str,
}

/// A journal under construction.
#[derive(Clone, Debug, Default)]
pub struct UsnJournal {
    bytes: Vec<u8>,
    first_usn: u64,
}

impl UsnJournal {
    /// An empty one, whose first byte has that USN.
    pub fn new(first_usn: u64) -> Self {
        Self {
            bytes: Vec::new(),
            first_usn,
        }
    }

    /// Adds a record, on the next page where this one has no room, and says at which offset.
    pub fn push(&mut self, change: &UsnChange<'_>) -> u64 {
        let length = self.record(change).len();
        if self.bytes.len() % PAGE + length > PAGE {
            self.bytes
                .resize(self.bytes.len().next_multiple_of(PAGE), 0);
        }
        self.push_here(change)
    }

    /// Adds a record where the last one ends, whatever a page has left.
    pub fn push_here(&mut self, change: &UsnChange<'_>) -> u64 {
        let at = self.bytes.len() as u64;
        let record = self.record(change);
        self.bytes.extend(record);
        at
    }

    /// Adds zeros.
    pub fn gap(&mut self, bytes: usize) {
        self.bytes.resize(self.bytes.len() + bytes, 0);
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes so far, to be damaged.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn record(&self, change: &UsnChange<'_>) -> Vec<u8> {
        let usn = self.first_usn + self.bytes.len() as u64;
        let mut bytes = vec![0; 4];
        bytes.extend(change.version.to_le_bytes());
        bytes.extend([0; 2]);
        for id in [change.file, change.parent] {
            bytes.extend(id.to_le_bytes());
            if change.version > 2 {
                bytes.extend([0; 8]);
            }
        }
        bytes.extend(usn.to_le_bytes());
        if change.version == 4 {
            bytes.extend(change.reasons.to_le_bytes());
            // No source; no further extents; one of 16 bytes: 64 KiB from 4 KiB on.
            bytes.extend([0; 8]);
            bytes.extend([1, 0, 16, 0]);
            bytes.extend(0x1000u64.to_le_bytes());
            bytes.extend(0x1_0000u64.to_le_bytes());
        } else {
            bytes.extend(change.ticks.to_le_bytes());
            bytes.extend(change.reasons.to_le_bytes());
            // Source and security id.
            bytes.extend(0u32.to_le_bytes());
            bytes.extend(0x105u32.to_le_bytes());
            bytes.extend(change.attributes.to_le_bytes());
            let units: Vec<u16> = change.name.encode_utf16().collect();
            bytes.extend((2 * units.len() as u16).to_le_bytes());
            bytes.extend((bytes.len() as u16 + 2).to_le_bytes());
            bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes
    }
}
