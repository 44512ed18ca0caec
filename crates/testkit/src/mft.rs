//! Makes MFT records, sound ones and others.

/// Which attribute a record begins with, and where its update sequence stands.
const FIRST_ATTRIBUTE: usize = 0x48;
const UPDATE_SEQUENCE: usize = 0x30;
const STRIDE: usize = 512;
/// What the last two bytes of each stride are replaced with.
const UPDATE_NUMBER: [u8; 2] = [7, 0];

/// Where a part of an attribute lies, and how long the attribute is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part<'a> {
    /// The first virtual cluster.
    pub first_vcn: u64,
    /// The logical length.
    pub real_bytes: u64,
    /// How much of it was written.
    pub valid_bytes: u64,
    /// 1 compressed, 0x4000 encrypted, 0x8000 sparse.
    pub flags: u16,
    /// Clusters a compression unit, as an exponent of 2.
    pub exponent: u8,
    /// The first cluster of each run, or `None` for a hole, and how many.
    pub runs: &'a [(Option<u32>, u32)],
}

/// An MFT record under construction; see `scelle_formats::ntfs` for the layout.
#[derive(Clone, Debug)]
pub struct MftRecord {
    entry: u32,
    sequence: u16,
    flags: u16,
    base: u64,
    links: u16,
    attributes: Vec<u8>,
    next_id: u16,
}

impl MftRecord {
    /// A file in use, without attributes.
    pub fn new(entry: u32, sequence: u16) -> Self {
        Self {
            entry,
            sequence,
            flags: 1,
            base: 0,
            links: 0,
            attributes: Vec::new(),
            next_id: 0,
        }
    }

    /// The 64-bit reference of an entry in one of its uses.
    pub const fn reference(entry: u32, sequence: u16) -> u64 {
        entry as u64 | (sequence as u64) << 48
    }

    /// A directory, with an empty index of file names.
    #[must_use]
    pub fn directory(mut self) -> Self {
        self.flags |= 2;
        self.resident(0x90, "$I30", &[0; 48])
    }

    /// Not in use.
    #[must_use]
    pub fn deleted(mut self) -> Self {
        self.flags &= !1;
        self
    }

    /// Carries on another record.
    #[must_use]
    pub fn extension_of(mut self, base: u64) -> Self {
        self.base = base;
        self
    }

    /// Adds `$STANDARD_INFORMATION`: created, modified, changed, accessed; DOS attributes.
    #[must_use]
    pub fn standard(self, times: [u64; 4], attributes: u32) -> Self {
        let mut content = Vec::new();
        for time in times {
            content.extend(time.to_le_bytes());
        }
        content.extend(attributes.to_le_bytes());
        content.resize(0x48, 0);
        self.resident(0x10, "", &content)
    }

    /// Adds a `$FILE_NAME`.
    #[must_use]
    pub fn name(mut self, parent: u64, namespace: u8, name: &[u16], times: [u64; 4]) -> Self {
        let mut content = parent.to_le_bytes().to_vec();
        for time in times {
            content.extend(time.to_le_bytes());
        }
        content.resize(0x40, 0);
        content.extend([name.len() as u8, namespace]);
        content.extend(name.iter().flat_map(|unit| unit.to_le_bytes()));
        self.links += 1;
        self.resident(0x30, "", &content)
    }

    /// Adds an attribute whose content is in the record.
    #[must_use]
    pub fn resident(mut self, kind: u32, name: &str, content: &[u8]) -> Self {
        let mut bytes = self.header(kind, name, 0x18);
        let content_at = bytes.len();
        bytes[0x10..0x14].copy_from_slice(&(content.len() as u32).to_le_bytes());
        bytes[0x14..0x16].copy_from_slice(&(content_at as u16).to_le_bytes());
        bytes.extend(content);
        self.finish(bytes);
        self
    }

    /// Adds the part of an attribute that begins at `first_vcn`; its one run is a hole.
    #[must_use]
    pub fn non_resident(mut self, kind: u32, name: &str, first_vcn: u64, real_bytes: u64) -> Self {
        const CLUSTER_BYTES: u64 = 4096;
        let clusters = real_bytes.div_ceil(CLUSTER_BYTES);
        let mut bytes = self.header(kind, name, 0x40);
        let runs_at = bytes.len();
        bytes[8] = 1;
        let mut put = |at: usize, number: u64| {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        };
        put(0x10, first_vcn);
        put(0x18, first_vcn + clusters.saturating_sub(1));
        put(0x28, clusters * CLUSTER_BYTES);
        put(0x30, real_bytes);
        put(0x38, real_bytes);
        bytes[0x20..0x22].copy_from_slice(&(runs_at as u16).to_le_bytes());
        bytes.push(0x04);
        bytes.extend((clusters as u32).to_le_bytes());
        bytes.push(0);
        self.finish(bytes);
        self
    }

    /// Adds a part of an attribute that lies in clusters of its own.
    #[must_use]
    pub fn part(mut self, kind: u32, name: &str, part: &Part<'_>) -> Self {
        let mut bytes = self.header(kind, name, 0x40);
        let runs_at = bytes.len();
        bytes[8] = 1;
        bytes[0x0C..0x0E].copy_from_slice(&part.flags.to_le_bytes());
        let clusters: u64 = part.runs.iter().map(|run| u64::from(run.1)).sum();
        let mut put = |at: usize, number: u64| {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        };
        put(0x10, part.first_vcn);
        put(0x18, (part.first_vcn + clusters).wrapping_sub(1));
        put(0x28, part.real_bytes);
        put(0x30, part.real_bytes);
        put(0x38, part.valid_bytes);
        bytes[0x20..0x22].copy_from_slice(&(runs_at as u16).to_le_bytes());
        bytes[0x22] = part.exponent;
        let mut before = 0;
        for (lcn, clusters) in part.runs {
            // Four bytes for the length; four for the place, or none for a hole.
            bytes.push(if lcn.is_some() { 0x44 } else { 0x04 });
            bytes.extend(clusters.to_le_bytes());
            if let Some(lcn) = lcn {
                bytes.extend((*lcn as i32 - before).to_le_bytes());
                before = *lcn as i32;
            }
        }
        bytes.push(0);
        self.finish(bytes);
        self
    }

    /// The header of an attribute of that many bytes, and its name.
    fn header(&self, kind: u32, name: &str, header_bytes: u8) -> Vec<u8> {
        let mut bytes = vec![0; header_bytes.into()];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[9] = name.encode_utf16().count() as u8;
        bytes[10] = header_bytes;
        bytes[14..16].copy_from_slice(&self.next_id.to_le_bytes());
        bytes.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn finish(&mut self, mut bytes: Vec<u8>) {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let length = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        self.attributes.extend(bytes);
        self.next_id += 1;
    }

    /// The record in so many bytes, its fixups done.
    ///
    /// # Panics
    /// Where the attributes need more.
    pub fn build(&self, record_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; FIRST_ATTRIBUTE];
        let strides = record_bytes / STRIDE;
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0x00, b"FILE");
        put(0x04, &(UPDATE_SEQUENCE as u16).to_le_bytes());
        put(0x06, &(strides as u16 + 1).to_le_bytes());
        put(0x08, &u64::from(self.entry).to_le_bytes());
        put(0x10, &self.sequence.to_le_bytes());
        put(0x12, &self.links.to_le_bytes());
        put(0x14, &(FIRST_ATTRIBUTE as u16).to_le_bytes());
        put(0x16, &self.flags.to_le_bytes());
        let used = FIRST_ATTRIBUTE + self.attributes.len() + 8;
        put(0x18, &(used as u32).to_le_bytes());
        put(0x1C, &(record_bytes as u32).to_le_bytes());
        put(0x20, &self.base.to_le_bytes());
        put(0x28, &self.next_id.to_le_bytes());
        put(0x2C, &self.entry.to_le_bytes());
        put(UPDATE_SEQUENCE, &UPDATE_NUMBER);
        bytes.extend(&self.attributes);
        bytes.extend(u32::MAX.to_le_bytes());
        assert!(bytes.len() <= record_bytes, "the attributes fit the record");
        bytes.resize(record_bytes, 0);
        for stride in 0..strides {
            let end = (stride + 1) * STRIDE - 2;
            let kept = UPDATE_SEQUENCE + 2 + 2 * stride;
            bytes.copy_within(end..end + 2, kept);
            bytes[end..end + 2].copy_from_slice(&UPDATE_NUMBER);
        }
        bytes
    }
}
