//! Hostile disk images and file systems: any bytes behind a signature, and sound samples with
//! hostile patches, whose checksums are made again for half of the inputs.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use scelle_evidence::{Siblings, open_image, open_source};
use scelle_formats::{Bytes, ReadAt, ReadAtExt, ReadError};

use crate::{
    image::look_at,
    made_ex01::Ex01,
    patch::patches,
    virtual_disk::{LogStep, Vhd, Vhdx, seal_vhd, seal_vhdx},
};

const EWF: &[u8] = include_bytes!("../../testdata/images/small.E01");
const VMDK: [&[u8]; 2] = [
    include_bytes!("../../testdata/images/sparse.vmdk"),
    include_bytes!("../../testdata/images/stream.vmdk"),
];
const QCOW2: [&[u8]; 2] = [
    include_bytes!("../../testdata/images/plain.qcow2"),
    include_bytes!("../../testdata/images/packed.qcow2"),
];
const FAT: &[u8] = include_bytes!("../../testdata/images/fat12.img");
const EXT: &[u8] = include_bytes!("../../testdata/images/ext4.img");
const EXFAT: &[u8] = include_bytes!("../../testdata/images/exfat.img");

/// An image that lies beside itself under every name: the worst that a parent can be.
struct Itself(Arc<dyn ReadAt>);

impl Siblings for Itself {
    fn named(&self, _: &str) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
        Ok(Some(self.0.clone()))
    }

    fn extension(&self) -> Option<String> {
        Some("E01".to_owned())
    }

    fn with_extension(&self, extension: &str) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
        Ok((extension == "E02").then(|| self.0.clone()))
    }
}

pub fn ewf(data: &[u8]) {
    open(
        data,
        b"EVF\x09\x0d\x0a\xff\x00\x01\x01\x00\x00\x00",
        EWF,
        |bytes| {
            let mut at = 13_usize;
            while let Some(section) = bytes.get_mut(at..at.saturating_add(76)) {
                seal_adler(section, 0..72);
                let kind = section[..8].to_owned();
                let next = u64::from_le_bytes(section[16..24].try_into().expect("eight bytes"));
                let content = bytes.get_mut(at + 76..).unwrap_or(&mut []);
                let summed = match &kind[..6] {
                    b"volume" => 1048,
                    b"table\0" | b"table2" => 20,
                    b"digest" => 76,
                    b"hash\0\0" => 32,
                    _ => 0,
                };
                if summed > 0 && content.len() >= summed + 4 {
                    seal_adler(content, 0..summed);
                }
                match usize::try_from(next) {
                    Ok(next) if next > at => at = next,
                    _ => break,
                }
            }
        },
    );
}

/// Sections are found from the end, so patches fall there as often as at the beginning.
pub fn ex01(data: &[u8]) {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let sound = MADE.get_or_init(|| {
        let recipe = Ex01 {
            mixed: true,
            md5: Some([7; 16]),
            errors: vec![(1, 2)],
            ..Ex01::default()
        };
        recipe.build(&EXT[..128 << 10]).remove(0)
    });
    let Some((how, data)) = data.split_first() else {
        return;
    };
    let mut bytes = sound.clone();
    for (place, patch) in patches(data) {
        let at = match place & 1 {
            0 => bytes.len() - 1 - (place >> 1) % 1024,
            _ => (place >> 1) % bytes.len(),
        };
        let end = bytes.len().min(at + patch.len());
        bytes[at..end].copy_from_slice(&patch[..end - at]);
    }
    if how & 1 == 0 {
        let mut at = bytes.len() - 64;
        // As many as there could be of them.
        for _ in 0..64 {
            seal_adler(&mut bytes[at..at + 64], 0..60);
            let before = u64::from_le_bytes(bytes[at + 8..at + 16].try_into().expect("8 bytes"));
            match usize::try_from(before) {
                Ok(before) if before < at => at = before,
                _ => break,
            }
        }
    }
    look(bytes);
}

pub fn vhd(data: &[u8]) {
    let sample = Vhd::new(192 << 10, 64 << 10, 1)
        .parent("itself.vhd", 1)
        .block(0, &[7; 64 << 10], 3..99)
        .build();
    open(data, b"conectix", &sample, |bytes| {
        let end = bytes.len() - 512;
        seal_vhd(&mut bytes[..512], 64);
        seal_vhd(&mut bytes[512..1536], 36);
        seal_vhd(&mut bytes[end..], 64);
    });
}

pub fn vhdx(data: &[u8]) {
    let sample = Vhdx::new(4 << 20)
        .block(0, &[7; 4096])
        .log(254, &[&[], &[LogStep::Zero(5 << 20, 4096)]])
        .build();
    // Patches fall where something is decoded, not into blocks of zeros.
    let places: [Range<usize>; 5] = [
        (64 << 10)..(64 << 10) + 128,
        (192 << 10)..(192 << 10) + 128,
        Vhdx::LOG_AT + 254 * 4096..Vhdx::LOG_AT + 256 * 4096,
        (2 << 20)..(2 << 20) + 256,
        Vhdx::BAT_AT..Vhdx::BAT_AT + 64,
    ];
    let mut bytes = sample;
    let (seals, data) = data.split_first().unwrap_or((&0, &[]));
    for (place, patch) in patches(data) {
        let range = &places[place % places.len()];
        let at = range.start + (place / places.len()) % range.len();
        bytes[at..at + patch.len()].copy_from_slice(patch);
    }
    if seals & 1 == 0 {
        for (at, length) in [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 64 << 10)] {
            seal_vhdx(&mut bytes[at..at + length]);
        }
        for at in [254, 255].map(|sector| Vhdx::LOG_AT + sector * 4096) {
            seal_vhdx(&mut bytes[at..at + 4096]);
        }
    }
    look(bytes);
}

pub fn vmdk(data: &[u8]) {
    let pick = usize::from(data.first().is_some_and(|first| first & 2 == 0));
    open(data, b"# Disk DescriptorFile\n", VMDK[pick], |_| {});
}

pub fn qcow2(data: &[u8]) {
    let pick = usize::from(data.first().is_some_and(|first| first & 2 == 0));
    open(data, b"QFI\xfb\0\0\0\x03", QCOW2[pick], |_| {});
}

pub fn fat(data: &[u8]) {
    open(data, &FAT[..62], FAT, |_| {});
}

pub fn exfat(data: &[u8]) {
    open(data, &EXFAT[..128], EXFAT, |_| {});
}

pub fn ext4(data: &[u8]) {
    open(data, &EXT[..1280], EXT, |_| {});
}

/// Opens `head` and any bytes after it, or a sample with patches.
fn open(data: &[u8], head: &[u8], sample: &[u8], seal: impl Fn(&mut [u8])) {
    let Some((how, data)) = data.split_first() else {
        return;
    };
    if how & 3 == 3 {
        return look([head, data].concat());
    }
    let mut bytes = sample.to_vec();
    for (place, patch) in patches(data) {
        // Structures lie at the beginning, most of them.
        let at = if place & 1 == 0 {
            (place >> 1) % 8192
        } else {
            place >> 1
        } % bytes.len();
        let count = patch.len().min(bytes.len() - at);
        bytes[at..at + count].copy_from_slice(&patch[..count]);
    }
    if how & 1 == 0 {
        seal(&mut bytes);
    }
    look(bytes);
}

fn look(bytes: Vec<u8>) {
    let file: Arc<dyn ReadAt> = Arc::new(Bytes(bytes));
    let disk = match open_image(file.clone(), &Itself(file.clone())) {
        Ok(Some(image)) => image.disk,
        Ok(None) => file,
        // A refusal is an answer.
        Err(_) => return,
    };
    let len = disk.len();
    for at in [0, 1, len / 3, len / 2, len.saturating_sub(4097)] {
        // An error is an answer; more bytes than asked for would not be.
        if let Ok(bytes) = disk.read_range(at..at.saturating_add(100_000), 100_000) {
            assert!(
                bytes.len() as u64 <= len.saturating_sub(at),
                "a disk ends where it says"
            );
        }
    }
    let mut next = 0;
    for (range, _) in disk.ranges().take(500) {
        assert_eq!(range.start, next, "ranges follow one another");
        assert!(range.end > range.start, "a range holds bytes");
        next = range.end;
    }
    look_at(&open_source("fuzz".into(), disk));
}

fn seal_adler(bytes: &mut [u8], summed: Range<usize>) {
    let (mut a, mut b) = (1_u32, 0_u32);
    let end = summed.end;
    for byte in &bytes[summed] {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    bytes[end..end + 4].copy_from_slice(&(b << 16 | a).to_le_bytes());
}
