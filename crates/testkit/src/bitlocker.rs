//! BitLocker volumes that are made up: a sound volume, encrypted, with metadata laid into it.
//!
//! The layout is that of `scelle_formats::bitlocker`, written from the same specification. Other people's programs
//! open what is made here, so that it is not only we who understand it.

use aes::{
    Aes128, Aes256, Block,
    cipher::{BlockEncrypt as _, KeyInit as _},
};
use ccm::{
    Ccm,
    aead::AeadInPlace as _,
    consts::{U12, U16},
};
use sha2::{Digest as _, Sha256};

/// Bytes that each copy of the metadata takes.
pub const AREA: usize = 64 << 10;
/// What of a volume's beginning is kept elsewhere.
pub const MOVED: usize = 8 << 10;
/// The GUID of a protector ends with its number, from 0 on.
pub const PROTECTOR_GUID: &str = "70726f74-6563-746f-7220-6e756d626572";

const VOLUME_GUID: [u8; 16] = *b"a made-up volume";
const PROTECTOR: [u8; 16] = *b"torpceotr number";
const MASTER_KEY: [u8; 32] = *b"the key of the keys of sectors..";
const FILETIME: u64 = 133_536_836_967_890_123;

/// Who can open a volume.
#[derive(Clone, Debug)]
pub enum Protector {
    /// Anybody: protection is suspended.
    Clear,
    /// Whoever knows a password.
    Password(String),
    /// Whoever has its 128 bits in digits.
    Recovery([u8; 16]),
    /// Whoever has a file with these 32 bytes.
    Startup([u8; 32]),
    /// The machine alone.
    Tpm,
}

/// How a volume is encrypted.
#[derive(Clone, Debug)]
pub struct Bitlocker {
    /// 0x8000 to 0x8005.
    pub method: u16,
    /// 512 or 4096.
    pub sector_bytes: usize,
    /// Who can open it.
    pub protectors: Vec<Protector>,
    /// How much of it, from the beginning, is encrypted; all where there is none.
    pub encrypted_bytes: Option<u64>,
    /// Whether it is a volume of Vista.
    pub is_vista: bool,
}

impl Bitlocker {
    /// A volume of Windows 7 or later, with sectors of 512 bytes, that nobody can open yet.
    pub fn new(method: u16) -> Self {
        Self {
            method,
            sector_bytes: 512,
            protectors: Vec::new(),
            encrypted_bytes: None,
            is_vista: false,
        }
    }

    /// Adds someone who can open it.
    #[must_use]
    pub fn protector(mut self, protector: Protector) -> Self {
        self.protectors.push(protector);
        self
    }

    /// Encrypts a volume. Copies of the metadata and the volume's beginning are laid at `areas`, of which nothing is in use.
    ///
    /// # Panics
    /// Where an area lies outside of the volume.
    pub fn encrypt(&self, volume: &[u8], areas: [usize; 4]) -> Vec<u8> {
        let sector = self.sector_bytes;
        let sectors = volume.len() / sector * sector;
        let end = self.encrypted_bytes.map_or(sectors, |bytes| bytes as usize);
        let mut out = volume.to_vec();
        let cipher = Cipher::new(self.method);
        let begin = if self.is_vista { MOVED } else { 0 };
        if !self.is_vista {
            out[areas[3]..][..MOVED].copy_from_slice(&volume[..MOVED]);
        }
        for at in (begin..end).step_by(sector) {
            cipher.encrypt(at as u64, &mut out[at..at + sector]);
        }
        self.first_sector(&mut out[..sector], areas);
        let mirror = u64::from_le_bytes(volume[56..64].try_into().expect("eight bytes"));
        let block = self.metadata(areas, out.len() as u64, mirror);
        for area in &areas[..3] {
            out[*area..][..block.len()].copy_from_slice(&block);
        }
        out
    }

    fn first_sector(&self, sector: &mut [u8], areas: [usize; 4]) {
        if self.is_vista {
            sector[3..11].copy_from_slice(b"-FVE-FS-");
            let cluster = usize::from(sector[13]) * self.sector_bytes;
            let lcn = (areas[0] / cluster) as u64;
            sector[56..64].copy_from_slice(&lcn.to_le_bytes());
            return;
        }
        sector[..512].fill(0);
        sector[..11].copy_from_slice(b"\xEB\x58\x90-FVE-FS-");
        sector[11..13].copy_from_slice(&(self.sector_bytes as u16).to_le_bytes());
        sector[13] = 8;
        sector[21] = 0xF8;
        sector[82..90].copy_from_slice(b"FAT32   ");
        sector[160..176].copy_from_slice(&[
            0x3B, 0xD6, 0x67, 0x49, 0x29, 0x2E, 0xD8, 0x4A, 0x83, 0x99, 0xF6, 0xA3, 0x39, 0xE3,
            0xD0, 0x01,
        ]);
        for (field, area) in sector[176..200].chunks_exact_mut(8).zip(areas) {
            field.copy_from_slice(&(area as u64).to_le_bytes());
        }
        sector[510..512].copy_from_slice(&[0x55, 0xAA]);
    }

    fn metadata(&self, areas: [usize; 4], volume_bytes: u64, mirror: u64) -> Vec<u8> {
        let mut seals = Seals { count: 0 };
        let mut entries = Vec::new();
        let label: Vec<u8> = "MADE up 2024-02-29\0"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        entries.extend(entry(7, 2, &label));
        for (number, protector) in self.protectors.iter().enumerate() {
            entries.extend(entry(2, 8, &protector_body(number, protector, &mut seals)));
        }
        let sector_key = Cipher::key(self.method);
        let body = seals.seal(&MASTER_KEY, self.method, &sector_key);
        entries.extend(entry(3, 5, &body));
        if !self.is_vista {
            let place: Vec<u8> = [areas[3], MOVED]
                .iter()
                .flat_map(|field| (*field as u64).to_le_bytes())
                .collect();
            entries.extend(entry(15, 15, &place));
        }
        let set_bytes = (48 + entries.len()) as u32;
        let size = (64 + set_bytes as usize).next_multiple_of(16);
        let version: u16 = if self.is_vista { 1 } else { 2 };
        let stored_size = if self.is_vista { size } else { size / 16 };
        let is_partial = self.encrypted_bytes.is_some();
        let (state, next): (u16, u16) = if is_partial { (5, 4) } else { (4, 4) };
        let mut block = b"-FVE-FS-".to_vec();
        for field in [stored_size as u16, version, state, next] {
            block.extend(field.to_le_bytes());
        }
        let encrypted = match (self.encrypted_bytes, self.is_vista) {
            (Some(bytes), _) => bytes,
            (None, true) => 0,
            (None, false) => volume_bytes,
        };
        block.extend(encrypted.to_le_bytes());
        let moved = if self.is_vista {
            0
        } else {
            MOVED / self.sector_bytes
        };
        block.extend(0_u32.to_le_bytes());
        block.extend((moved as u32).to_le_bytes());
        for area in &areas[..3] {
            block.extend((*area as u64).to_le_bytes());
        }
        let last = if self.is_vista {
            mirror
        } else {
            areas[3] as u64
        };
        block.extend(last.to_le_bytes());
        for field in [set_bytes, 1, 48, set_bytes] {
            block.extend(field.to_le_bytes());
        }
        block.extend(VOLUME_GUID);
        block.extend((seals.count + 1).to_le_bytes());
        block.extend(self.method.to_le_bytes());
        block.extend(0_u16.to_le_bytes());
        block.extend(FILETIME.to_le_bytes());
        block.extend(entries);
        block.resize(size, 0);
        let hash: [u8; 32] = Sha256::digest(&block).into();
        let crc = crc32fast::hash(&block);
        let rest = if self.is_vista { 16 << 10 } else { AREA } - size;
        let mut checks = (rest as u16).to_le_bytes().to_vec();
        checks.extend(version.to_le_bytes());
        checks.extend(crc.to_le_bytes());
        checks.extend(entry(0, 5, &seals.seal(&MASTER_KEY, 0x2005, &hash)));
        block.extend(checks);
        block
    }
}

/// The text of a recovery password.
pub fn recovery_password(key: [u8; 16]) -> String {
    let groups: Vec<String> = key
        .chunks_exact(2)
        .map(|half| u32::from(u16::from_le_bytes([half[0], half[1]])) * 11)
        .map(|group| format!("{group:06}"))
        .collect();
    groups.join("-")
}

/// The file of a startup key, for the protector of that number.
pub fn startup_file(number: usize, key: [u8; 32]) -> Vec<u8> {
    let mut body = guid(number).to_vec();
    body.extend(FILETIME.to_le_bytes());
    body.extend(entry(0, 1, &keyed(0x2002, &key)));
    let external = entry(6, 9, &body);
    let size = 48 + external.len() as u32;
    let mut file = Vec::new();
    for field in [size, 1, 48, size] {
        file.extend(field.to_le_bytes());
    }
    file.extend(guid(number));
    file.extend(1_u32.to_le_bytes());
    file.extend([0; 4]);
    file.extend(FILETIME.to_le_bytes());
    file.extend(external);
    file
}

fn guid(number: usize) -> [u8; 16] {
    let mut guid = PROTECTOR;
    guid[15] += number as u8;
    guid
}

fn protector_body(number: usize, protector: &Protector, seals: &mut Seals) -> Vec<u8> {
    let salt = [number as u8 + 1; 16];
    let mut stretch = 0x1000_u32.to_le_bytes().to_vec();
    stretch.extend(salt);
    let (kind, properties, key): (u16, Vec<u8>, [u8; 32]) = match protector {
        Protector::Clear => {
            let key = *b"a key that lies there in clear..";
            (0, entry(0, 1, &keyed(0x2000, &key)), key)
        }
        Protector::Password(text) => {
            let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let once = Sha256::digest(&units);
            let key = stretched(Sha256::digest(once).into(), salt);
            (0x2000, with_sealed(stretch, &key, seals), key)
        }
        Protector::Recovery(bits) => {
            let key = stretched(Sha256::digest(bits).into(), salt);
            (0x800, with_sealed(stretch, &key, seals), key)
        }
        Protector::Startup(key) => (0x200, Vec::new(), *key),
        Protector::Tpm => (0x100, entry(0, 6, &[7; 64]), [7; 32]),
    };
    let mut body = guid(number).to_vec();
    body.extend(FILETIME.to_le_bytes());
    body.extend([0; 2]);
    body.extend(kind.to_le_bytes());
    body.extend(properties);
    body.extend(entry(0, 5, &seals.seal(&key, 0x2003, &MASTER_KEY)));
    body
}

/// An entry of a stretched key, in which Windows keeps that key sealed as well.
fn with_sealed(mut stretch: Vec<u8>, key: &[u8; 32], seals: &mut Seals) -> Vec<u8> {
    stretch.extend(entry(0, 5, &seals.seal(&MASTER_KEY, 0x1000, key)));
    entry(0, 3, &stretch)
}

fn stretched(secret: [u8; 32], salt: [u8; 16]) -> [u8; 32] {
    let mut last = [0; 32];
    for count in 0..1_u64 << 20 {
        let hash = Sha256::new()
            .chain_update(last)
            .chain_update(secret)
            .chain_update(salt)
            .chain_update(count.to_le_bytes());
        last = hash.finalize().into();
    }
    last
}

fn entry(role: u16, kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [body.len() as u16 + 8, role, kind, 1] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

fn keyed(method: u16, key: &[u8]) -> Vec<u8> {
    [&u32::from(method).to_le_bytes(), key].concat()
}

/// Seals keys, each with a nonce of its own.
struct Seals {
    count: u32,
}

impl Seals {
    fn seal(&mut self, with: &[u8; 32], method: u16, key: &[u8]) -> Vec<u8> {
        self.count += 1;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&FILETIME.to_le_bytes());
        nonce[8..].copy_from_slice(&self.count.to_le_bytes());
        let mut bytes = entry(0, 1, &keyed(method, key));
        let ccm: Ccm<Aes256, U16, U12> = Ccm::new(with.into());
        let tag = ccm
            .encrypt_in_place_detached(&nonce.into(), b"", &mut bytes)
            .expect("a short key");
        [&nonce[..], &tag[..], &bytes].concat()
    }
}

/// Encrypts sectors.
struct Cipher {
    method: u16,
    data: Aes,
    tweak: Aes,
}

enum Aes {
    Short(Box<Aes128>),
    Long(Box<Aes256>),
}

impl Aes {
    fn new(key: &[u8]) -> Self {
        match key.len() {
            16 => Self::Short(Box::new(Aes128::new_from_slice(key).expect("16 bytes"))),
            _ => Self::Long(Box::new(Aes256::new_from_slice(key).expect("32 bytes"))),
        }
    }

    fn encrypt(&self, bytes: [u8; 16]) -> [u8; 16] {
        let mut block = Block::from(bytes);
        match self {
            Self::Short(aes) => aes.encrypt_block(&mut block),
            Self::Long(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }
}

impl Cipher {
    /// The bytes of a method's key, as they are sealed.
    fn key(method: u16) -> Vec<u8> {
        let length = match method {
            0x8002 => 16,
            0x8003 | 0x8004 => 32,
            _ => 64,
        };
        let byte = |at: u8| at.wrapping_mul(37).wrapping_add(method as u8);
        (0..length).map(byte).collect()
    }

    fn new(method: u16) -> Self {
        let key = Self::key(method);
        let size = if method & 1 == 0 { 16 } else { 32 };
        let tweak = match method {
            0x8000 | 0x8001 => &key[32..32 + size],
            0x8002 | 0x8003 => &key[..size],
            _ => &key[size..2 * size],
        };
        Self {
            method,
            data: Aes::new(&key[..size]),
            tweak: Aes::new(tweak),
        }
    }

    fn encrypt(&self, offset: u64, sector: &mut [u8]) {
        let number = |number: u64| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            bytes
        };
        if self.method >= 0x8004 {
            let mut tweak = self.tweak.encrypt(number(offset / sector.len() as u64));
            for block in sector.chunks_exact_mut(16) {
                let masked = self.data.encrypt(xored(block, &tweak));
                block.copy_from_slice(&xored(&masked, &tweak));
                double(&mut tweak);
            }
            return;
        }
        if self.method <= 0x8001 {
            let mut high = number(offset);
            high[15] = 0x80;
            let key = [self.tweak.encrypt(number(offset)), self.tweak.encrypt(high)].concat();
            for (byte, key) in sector.iter_mut().zip(key.iter().cycle()) {
                *byte ^= key;
            }
            diffuse(sector);
        }
        let mut before = self.data.encrypt(number(offset));
        for block in sector.chunks_exact_mut(16) {
            before = self.data.encrypt(xored(block, &before));
            block.copy_from_slice(&before);
        }
    }
}

fn xored(block: &[u8], with: &[u8; 16]) -> [u8; 16] {
    std::array::from_fn(|at| block[at] ^ with[at])
}

/// Doubles a tweak of XTS, byte by byte as IEEE 1619 writes it.
fn double(tweak: &mut [u8; 16]) {
    let mut carry = 0;
    for byte in tweak.iter_mut() {
        let next = *byte >> 7;
        *byte = *byte << 1 | carry;
        carry = next;
    }
    tweak[0] ^= carry * 0x87;
}

/// The Elephant diffuser: A, then B.
fn diffuse(sector: &mut [u8]) {
    let count = sector.len() / 4;
    let get = |sector: &[u8], at: usize| {
        let at = at % count * 4;
        u32::from_le_bytes(sector[at..at + 4].try_into().expect("four bytes"))
    };
    let mut turn = |at: usize, near: usize, far: usize, by: u32| {
        let mixed = get(sector, near) ^ get(sector, far).rotate_left(by);
        let word = get(sector, at).wrapping_sub(mixed);
        sector[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
    };
    for _ in 0..5 {
        for at in (0..count).rev() {
            turn(at, at + count - 2, at + count - 5, [9, 0, 13, 0][at % 4]);
        }
    }
    for _ in 0..3 {
        for at in (0..count).rev() {
            turn(at, at + 2, at + 5, [0, 10, 0, 25][at % 4]);
        }
    }
}
