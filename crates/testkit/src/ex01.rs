//! Ex01 images that are made up, written from libewf's "Expert Witness Compression Format version 2".

use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};

const SECTOR: usize = 512;
const CHUNK_SECTORS: usize = 64;
const CHUNK: usize = SECTOR * CHUNK_SECTORS;
const SET: [u8; 16] = *b"a made-up set 01";

/// How a disk is put into an image.
#[derive(Clone, Debug, Default)]
pub struct Ex01 {
    /// Every other chunk is stored as it is.
    pub mixed: bool,
    /// Chunks of each segment; all in one where there are none.
    pub segment_chunks: Option<usize>,
    /// The MD5 and the SHA-1 that the image states.
    pub md5: Option<[u8; 16]>,
    /// The same.
    pub sha1: Option<[u8; 20]>,
    /// What the acquirer could not read: first sector and how many.
    pub errors: Vec<(u64, u32)>,
    /// Whether it says that it is encrypted.
    pub is_encrypted: bool,
}

impl Ex01 {
    /// The segment files of an image.
    pub fn build(&self, disk: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!(disk.len() % SECTOR, 0, "whole sectors");
        let chunks: Vec<&[u8]> = disk.chunks(CHUNK).collect();
        let a_segment = self.segment_chunks.unwrap_or(chunks.len()).max(1);
        let last = chunks.len().div_ceil(a_segment).max(1) - 1;
        let mut first_chunk = 0;
        let mut files = Vec::new();
        for (number, chunks) in chunks.chunks(a_segment).enumerate() {
            let mut segment = Segment::new(number as u32 + 1, self.is_encrypted);
            let sectors = disk.len() / SECTOR;
            segment.text(1, "ts\tbp\tdt\tph", &format!("{sectors}\t{SECTOR}\tf\t1"));
            let all = disk.len().div_ceil(CHUNK);
            let values = format!("made up\t{all}\t1\t{CHUNK_SECTORS}\t64");
            segment.text(2, "nm\ttb\tcp\tsb\tgr", &values);
            // Two tables a segment, where there is something for both.
            for part in chunks.chunks(chunks.len().div_ceil(2)) {
                segment.chunks(part, first_chunk, self.mixed);
                first_chunk += part.len() as u64;
            }
            if number == last {
                self.finish(&mut segment);
            } else {
                segment.section(13, &[]);
            }
            files.push(segment.bytes);
        }
        files
    }

    fn finish(&self, segment: &mut Segment) {
        if !self.errors.is_empty() {
            let mut entries = Vec::new();
            for (first, sectors) in &self.errors {
                entries.extend(first.to_le_bytes());
                entries.extend(sectors.to_le_bytes());
                entries.extend([0; 4]);
            }
            let mut head = (self.errors.len() as u32).to_le_bytes().to_vec();
            head.resize(16, 0);
            segment.section(5, &[padded(summed(head)), padded(summed(entries))].concat());
        }
        for (kind, hash) in [
            (8, self.md5.map(|hash| hash.to_vec())),
            (9, self.sha1.map(|hash| hash.to_vec())),
        ] {
            if let Some(hash) = hash {
                segment.section(kind, &padded(summed(hash)));
            }
        }
        segment.section(15, &[]);
    }
}

struct Segment {
    bytes: Vec<u8>,
    before: u64,
    is_encrypted: bool,
}

impl Segment {
    fn new(number: u32, is_encrypted: bool) -> Self {
        let mut bytes = b"EVF2\r\n\x81\0\x02\x01\x01\0".to_vec();
        bytes.extend(number.to_le_bytes());
        bytes.extend(SET);
        Self {
            bytes,
            before: 0,
            is_encrypted,
        }
    }

    /// Adds a section, whose data are padded already.
    fn section(&mut self, kind: u32, data: &[u8]) {
        self.bytes.extend(data);
        let flags = if self.is_encrypted { 2 } else { 0_u32 };
        let at = self.bytes.len() as u64;
        let mut descriptor = Vec::new();
        descriptor.extend(kind.to_le_bytes());
        descriptor.extend(flags.to_le_bytes());
        descriptor.extend(self.before.to_le_bytes());
        descriptor.extend((data.len() as u64).to_le_bytes());
        descriptor.extend(64_u32.to_le_bytes());
        descriptor.resize(60, 0);
        self.bytes.extend(summed(descriptor));
        self.before = at;
    }

    fn text(&mut self, kind: u32, names: &str, values: &str) {
        let text = format!("\u{FEFF}1\nmain\n{names}\n{values}\n\n");
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.section(kind, &padded(deflated(&units)));
    }

    fn chunks(&mut self, chunks: &[&[u8]], first_chunk: u64, mixed: bool) {
        let mut data = Vec::new();
        let mut entries = Vec::new();
        for (number, chunk) in chunks.iter().enumerate() {
            let pattern: [u8; 8] = *chunk.first_chunk().expect("a sector");
            let (offset, size, flags): (u64, usize, u32) = if is_made_of(chunk, pattern) {
                (u64::from_le_bytes(pattern), 0, 1 | 4)
            } else {
                let as_it_is = mixed && number % 2 == 1;
                let (bytes, flags) = if as_it_is {
                    (summed(chunk.to_vec()), 2)
                } else {
                    (deflated(chunk), 1)
                };
                let at = self.bytes.len() + data.len();
                data.extend(padded(bytes.clone()));
                (at as u64, bytes.len(), flags)
            };
            entries.extend(offset.to_le_bytes());
            entries.extend((size as u32).to_le_bytes());
            entries.extend(flags.to_le_bytes());
        }
        self.section(3, &data);
        let mut head = first_chunk.to_le_bytes().to_vec();
        head.extend((chunks.len() as u32).to_le_bytes());
        head.extend([0; 4]);
        self.section(4, &[padded(summed(head)), padded(summed(entries))].concat());
    }
}

fn is_made_of(chunk: &[u8], pattern: [u8; 8]) -> bool {
    chunk.chunks(8).all(|part| pattern.starts_with(part))
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Bytes and their Adler-32.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in &bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    bytes.extend((b << 16 | a).to_le_bytes());
    bytes
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}
