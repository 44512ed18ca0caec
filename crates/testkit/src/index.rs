//! Makes index records of directories, `INDX`.

const RECORD: usize = 4096;
const STRIDE: usize = 512;
const NODE: usize = 0x18;
const FIRST: usize = 0x40;
const UPDATE_NUMBER: [u8; 2] = [9, 0];

/// A name in a directory; see `scelle_formats::ntfs::IndexRecord` for the layout.
#[derive(Clone, Copy, Debug)]
pub struct IndexEntry<'a> {
    /// The file's reference.
    pub file: u64,
    /// The directory's.
    pub parent: u64,
    /// Created, modified, changed, accessed.
    pub times: [u64; 4],
    /// Its size.
    pub size_bytes: u64,
    /// Its DOS attributes.
    pub attributes: u32,
    /// Its name.
    pub name: &'a str,
}

impl IndexEntry<'_> {
    fn bytes(&self) -> Vec<u8> {
        let units: Vec<u16> = self.name.encode_utf16().collect();
        let name_bytes = 0x42 + 2 * units.len();
        let mut bytes = self.file.to_le_bytes().to_vec();
        bytes.extend(((0x10 + name_bytes).next_multiple_of(8) as u16).to_le_bytes());
        bytes.extend((name_bytes as u16).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.parent.to_le_bytes());
        for time in self.times {
            bytes.extend(time.to_le_bytes());
        }
        bytes.extend(self.size_bytes.next_multiple_of(4096).to_le_bytes());
        bytes.extend(self.size_bytes.to_le_bytes());
        bytes.extend(self.attributes.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend([units.len() as u8, 1]);
        bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }
}

/// An index record of 4 KiB: entries, the last one without a name, and others after it.
///
/// # Panics
/// Where they need more.
pub fn index_record(vcn: u64, live: &[IndexEntry<'_>], slack: &[IndexEntry<'_>]) -> Vec<u8> {
    let mut bytes = vec![0; FIRST];
    for entry in live {
        bytes.extend(entry.bytes());
    }
    let mut last = [0; 16];
    last[8] = 16;
    last[12] = 2;
    bytes.extend(last);
    let end = bytes.len();
    for entry in slack {
        bytes.extend(entry.bytes());
    }
    assert!(bytes.len() <= RECORD, "the entries fit the record");
    bytes.resize(RECORD, 0);
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0x00, b"INDX");
    put(0x04, &[0x28, 0, 9, 0]);
    put(0x08, &0x1234u64.to_le_bytes());
    put(0x10, &vcn.to_le_bytes());
    put(0x18, &((FIRST - NODE) as u32).to_le_bytes());
    put(0x1C, &((end - NODE) as u32).to_le_bytes());
    put(0x20, &((RECORD - NODE) as u32).to_le_bytes());
    put(0x28, &UPDATE_NUMBER);
    for stride in 0..RECORD / STRIDE {
        let at = (stride + 1) * STRIDE - 2;
        bytes.copy_within(at..at + 2, 0x2A + 2 * stride);
        bytes[at..at + 2].copy_from_slice(&UPDATE_NUMBER);
    }
    bytes
}
