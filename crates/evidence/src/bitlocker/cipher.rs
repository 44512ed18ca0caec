//! How BitLocker encrypts sectors.
//!
//! # Sources
//! - N. Ferguson, "AES-CBC + Elephant diffuser, A Disk Encryption Algorithm for Windows Vista", 2006.
//! - IEEE 1619, XTS-AES; the tweak is the sector's number.

use aes::{
    Aes128, Aes256,
    cipher::{BlockDecrypt as _, BlockEncrypt as _, KeyInit as _, inout::InOutBuf},
};

/// Bytes of the largest sector.
pub(super) const MAX_SECTOR_BYTES: usize = 4096;
const BLOCK_BYTES: usize = 16;

/// The way in which sectors are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Cbc,
    Diffuser,
    Xts,
}

/// What a method's number means: its name, the way, and the bytes of its key.
pub(super) fn method(number: u16) -> Option<(&'static str, Method, usize)> {
    Some(match number {
        0x8000 => ("AES-CBC 128 with diffuser", Method::Diffuser, 16),
        0x8001 => ("AES-CBC 256 with diffuser", Method::Diffuser, 32),
        0x8002 => ("AES-CBC 128", Method::Cbc, 16),
        0x8003 => ("AES-CBC 256", Method::Cbc, 32),
        0x8004 => ("XTS-AES 128", Method::Xts, 16),
        0x8005 => ("XTS-AES 256", Method::Xts, 32),
        _ => return None,
    })
}

/// AES of either size.
enum Aes {
    Short(Box<Aes128>),
    Long(Box<Aes256>),
}

impl Aes {
    /// `None` where no AES has a key of so many bytes.
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Some(Self::Short(Box::new(Aes128::new_from_slice(key).ok()?))),
            32 => Some(Self::Long(Box::new(Aes256::new_from_slice(key).ok()?))),
            _ => None,
        }
    }

    /// Decrypts whole blocks, several at a time.
    fn decrypt(&self, bytes: &mut [u8]) {
        let (blocks, _) = InOutBuf::from(bytes).into_chunks();
        match self {
            Self::Short(aes) => aes.decrypt_blocks_inout(blocks),
            Self::Long(aes) => aes.decrypt_blocks_inout(blocks),
        }
    }

    fn encrypt(&self, number: u128) -> [u8; BLOCK_BYTES] {
        let mut block = number.to_le_bytes().into();
        match self {
            Self::Short(aes) => aes.encrypt_block(&mut block),
            Self::Long(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }
}

/// Decrypts sectors.
pub(super) struct SectorCipher {
    method: Method,
    data: Aes,
    /// The key of the diffuser, or of the tweaks of XTS.
    tweak: Option<Aes>,
    sector_bytes: usize,
}

impl SectorCipher {
    /// `None` where the key has not as many bytes as its method needs.
    pub(super) fn new(number: u16, key: &[u8], sector_bytes: u32) -> Option<Self> {
        let (_, method, bytes) = method(number)?;
        // The diffuser's key has its place after the longest that the other could be.
        let tweak = match method {
            Method::Cbc => None,
            Method::Diffuser => Some(Aes::new(key.get(32..32 + bytes)?)?),
            Method::Xts => Some(Aes::new(key.get(bytes..2 * bytes)?)?),
        };
        Some(Self {
            method,
            data: Aes::new(key.get(..bytes)?)?,
            tweak,
            sector_bytes: sector_bytes as usize,
        })
    }

    /// Decrypts whole sectors, the first of which lies at `offset` of the volume.
    pub(super) fn decrypt(&self, offset: u64, bytes: &mut [u8]) {
        let mut at = offset;
        for sector in bytes.chunks_exact_mut(self.sector_bytes) {
            match (self.method, &self.tweak) {
                (Method::Xts, Some(tweak)) => self.xts(tweak, at, sector),
                (Method::Diffuser, Some(tweak)) => {
                    self.cbc(at, sector);
                    diffuse(sector);
                    xor_sector_key(tweak, at, sector);
                }
                _ => self.cbc(at, sector),
            }
            at += self.sector_bytes as u64;
        }
    }

    fn cbc(&self, offset: u64, sector: &mut [u8]) {
        let mut before = [0; MAX_SECTOR_BYTES];
        let before = &mut before[..sector.len()];
        before[..BLOCK_BYTES].copy_from_slice(&self.data.encrypt(offset.into()));
        before[BLOCK_BYTES..].copy_from_slice(&sector[..sector.len() - BLOCK_BYTES]);
        self.data.decrypt(sector);
        xor(sector, before);
    }

    fn xts(&self, tweak: &Aes, offset: u64, sector: &mut [u8]) {
        let mut tweaks = [0; MAX_SECTOR_BYTES];
        let tweaks = &mut tweaks[..sector.len()];
        let number = offset / self.sector_bytes as u64;
        let mut value = u128::from_le_bytes(tweak.encrypt(number.into()));
        for block in tweaks.chunks_exact_mut(BLOCK_BYTES) {
            block.copy_from_slice(&value.to_le_bytes());
            // Times x, in the field of 2^128 elements.
            value = (value << 1) ^ ((value >> 127) * 0x87);
        }
        xor(sector, tweaks);
        self.data.decrypt(sector);
        xor(sector, tweaks);
    }
}

fn xor(bytes: &mut [u8], with: &[u8]) {
    for (byte, with) in bytes.iter_mut().zip(with) {
        *byte ^= with;
    }
}

/// The 32 bytes of a sector's key, again and again.
fn xor_sector_key(tweak: &Aes, offset: u64, sector: &mut [u8]) {
    let low = tweak.encrypt(offset.into());
    let high = tweak.encrypt(u128::from(offset) | 1 << 127);
    for pair in sector.chunks_exact_mut(2 * BLOCK_BYTES) {
        xor(&mut pair[..BLOCK_BYTES], &low);
        xor(&mut pair[BLOCK_BYTES..], &high);
    }
}

/// Undoes the Elephant diffuser: B, then A.
fn diffuse(sector: &mut [u8]) {
    const B_CYCLES: usize = 3;
    const A_CYCLES: usize = 5;
    const B_TURNS: [u32; 4] = [0, 10, 0, 25];
    const A_TURNS: [u32; 4] = [9, 0, 13, 0];
    let mut words = [0_u32; MAX_SECTOR_BYTES / 4];
    let count = sector.len() / 4;
    let words = &mut words[..count];
    for (word, bytes) in words.iter_mut().zip(sector.chunks_exact(4)) {
        *word = u32::from_le_bytes(*bytes.first_chunk().expect("four bytes"));
    }
    for _ in 0..B_CYCLES {
        for at in 0..count {
            let (near, far) = (words[(at + 2) % count], words[(at + 5) % count]);
            let turned = far.rotate_left(B_TURNS[at % 4]);
            words[at] = words[at].wrapping_add(near ^ turned);
        }
    }
    for _ in 0..A_CYCLES {
        for at in 0..count {
            let (near, far) = ((at + count - 2) % count, (at + count - 5) % count);
            let turned = words[far].rotate_left(A_TURNS[at % 4]);
            words[at] = words[at].wrapping_add(words[near] ^ turned);
        }
    }
    for (word, bytes) in words.iter().zip(sector.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}
