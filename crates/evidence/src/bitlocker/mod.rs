//! BitLocker volumes: opened with what their users have, read as Windows shows them.
//!
//! The layout stands in [`scelle_formats::bitlocker`]. Whoever has a secret opens the volume master key, that opens the key of
//! the sectors, and both say by a tag whether they are right. Sectors are decrypted where they are read; nothing of
//! them is kept, so that any number of threads read at once.
//!
//! # Damage
//! Of three copies of the metadata, the first whose CRC is right is used, and what is wrong with others is said. Where no CRC is
//! right, the first that parses is used: keys have tags of their own.
//!
//! No crate was taken for it: `bitlocker-core` wants a `&mut` reader, and reads neither volumes that are partly encrypted nor AES-CBC 256 with
//! the diffuser nor those of Vista.

mod cipher;
mod conversion;
mod keys;
mod volume;

use std::sync::Arc;

use scelle_formats::{
    ReadAt, ReadAtExt as _, ReadError,
    bitlocker::{BLOCK_BYTES, BOOT_BYTES, Boot, Metadata, Protector, Sealed, State, key},
    guid_text,
};
use zeroize::Zeroizing;

pub use self::keys::{VolumeKeyError, VolumeKeys};
use self::{
    cipher::{SectorCipher, method},
    keys::{Key, Secrets, sha256, stretch, unseal},
    volume::Decrypted,
};

/// What the volume is called in errors.
const WHAT: &str = "a BitLocker volume";
/// A source whose passwords would have to be stretched more often was made to keep us busy.
const MAX_STRETCHES: u32 = 64;
/// Windows makes a handful.
const MAX_PROTECTORS: usize = 256;

/// An encrypted volume that was opened, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlocked {
    /// The id of the volume that was found in it.
    pub volume: Arc<str>,
    /// How its sectors are encrypted: `XTS-AES 128`, and so on; `not encrypted` where the volume was decrypted.
    pub method: &'static str,
    /// What opened it: `recovery password`, and so on; `nothing` where no key was needed.
    pub protector: &'static str,
    /// The GUID of that protector.
    pub protector_guid: Option<String>,
    /// The GUID of the encrypted volume.
    pub guid: String,
}

/// Opens the bytes of a BitLocker volume, whatever they hold. [`open_source_with`](crate::open_source_with) does the
/// same of each volume of a disk, and says what was damaged.
///
/// # Errors
/// [`ReadError::Absent`] where it is no such volume, [`ReadError::Locked`] where no key fits, else what is damaged.
pub fn open_bitlocker(
    volume: Arc<dyn ReadAt>,
    keys: &VolumeKeys,
) -> Result<Arc<dyn ReadAt>, ReadError> {
    let mut sector = [0; BOOT_BYTES];
    volume.read_exact_at("a first sector", 0, &mut sector)?;
    let boot = Boot::recognise(&sector).ok_or_else(|| ReadError::Absent {
        what: WHAT.to_owned(),
    })?;
    let (plain, _) = Opener::new(keys).open(&volume, &boot, &mut Vec::new())?;
    Ok(plain)
}

/// Whether the metadata that a first sector leads to are there, in one copy at least.
pub(crate) fn has_metadata(source: &Arc<dyn ReadAt>, boot: &Boot) -> bool {
    read_metadata(source, boot, &mut Vec::new()).is_ok()
}

/// Keys, and how often more they may be stretched.
pub(crate) struct Opener<'a> {
    secrets: &'a Secrets,
    stretches_left: u32,
}

impl<'a> Opener<'a> {
    pub(crate) fn new(keys: &'a VolumeKeys) -> Self {
        Self {
            secrets: keys.secrets(),
            stretches_left: MAX_STRETCHES,
        }
    }

    /// Opens the volume that `source` is; what is damaged and can be done without is added to `losses`.
    ///
    /// # Errors
    /// [`ReadError::Locked`] where no key fits, else what is damaged.
    pub(crate) fn open(
        &mut self,
        source: &Arc<dyn ReadAt>,
        boot: &Boot,
        losses: &mut Vec<ReadError>,
    ) -> Result<(Arc<dyn ReadAt>, Unlocked), ReadError> {
        let metadata = read_metadata(source, boot, losses)?;
        let guid = guid_text(metadata.volume_guid);
        let (cipher, method, protector) = if metadata.state == State::Decrypted {
            (None, "not encrypted", None)
        } else {
            let (cipher, method, protector) = self.cipher(boot, &metadata, losses)?;
            (Some(cipher), method, Some(protector))
        };
        let unlocked = Unlocked {
            volume: "".into(),
            method,
            protector: protector.map_or("nothing", |one| kind_name(one.kind)),
            protector_guid: protector.map(|one| guid_text(one.guid)),
            guid,
        };
        let (extents, mut own) = conversion::extents(source, boot, &metadata, losses);
        let area = metadata.area_bytes(boot);
        // A copy that is none of the volume's is at 0.
        let areas = metadata.metadata_at.into_iter().filter(|at| *at > 0);
        own.extend(areas.map(|at| at..at.saturating_add(area)));
        let moved = u64::from(metadata.moved_sectors) * u64::from(boot.sector_bytes);
        if moved > 0 {
            own.push(metadata.moved_to..metadata.moved_to.saturating_add(moved));
        }
        let disk = Decrypted::new(source.clone(), boot, &metadata, cipher, extents, own);
        Ok((Arc::new(disk), unlocked))
    }

    /// The cipher of the sectors, its name, and which protector gave its key.
    fn cipher<'m>(
        &mut self,
        boot: &Boot,
        metadata: &'m Metadata,
        losses: &mut Vec<ReadError>,
    ) -> Result<(SectorCipher, &'static str, &'m Protector), ReadError> {
        let at = boot.metadata_at[0].unwrap_or(0);
        let (master, protector) = self.master_key(metadata)?;
        check_hash(metadata, &master, at, losses);
        let sealed = metadata.sector_key.as_ref();
        let plain = sealed.and_then(|sealed| unseal(&master, sealed));
        let plain = plain.ok_or_else(|| damaged(at, "the key of its sectors can't be opened"))?;
        let (number, bytes) = key(&plain).map_err(|error| damaged(at, &error.to_string()))?;
        let cipher = SectorCipher::new(number, bytes, boot.sector_bytes);
        match (cipher, method(number)) {
            (Some(cipher), Some((name, ..))) => Ok((cipher, name, protector)),
            (None, Some((name, ..))) => {
                let why = format!("its key has {} bytes, which {name} has not", bytes.len());
                Err(damaged(at, &why))
            }
            (_, None) => Err(ReadError::Locked {
                what: WHAT,
                needs: format!("by the method {number:#06x}, which this version does not read"),
            }),
        }
    }

    /// The volume master key, and the protector that it was sealed for.
    fn master_key<'m>(
        &mut self,
        metadata: &'m Metadata,
    ) -> Result<(Key, &'m Protector), ReadError> {
        let mut why = String::new();
        // What costs nothing is tried first.
        let mut order: Vec<_> = metadata.protectors.iter().take(MAX_PROTECTORS).collect();
        order.sort_by_key(|protector| protector.salt.is_some());
        for protector in order {
            let Some(sealed) = &protector.master_key else {
                continue;
            };
            let found = match protector.kind {
                0..0x100 => clear_key(protector).and_then(|key| open_key(&key, sealed)),
                STARTUP => self
                    .secrets
                    .startup
                    .iter()
                    .find_map(|key| open_key(key, sealed)),
                RECOVERY => self.stretched(&self.secrets.recovery, protector, sealed, &mut why),
                PASSWORD => self.stretched(&self.secrets.passwords, protector, sealed, &mut why),
                _ => None,
            };
            if let Some(key) = found {
                return Ok((key, protector));
            }
        }
        if metadata.protectors.len() > MAX_PROTECTORS {
            why.push_str(&format!(
                "; of its {} protectors the first {MAX_PROTECTORS} were tried",
                metadata.protectors.len()
            ));
        }
        Err(ReadError::Locked {
            what: WHAT,
            needs: format!("{}{why}", self.needs(metadata)),
        })
    }

    /// Tries secrets that have to be stretched.
    fn stretched(
        &mut self,
        secrets: &[Key],
        protector: &Protector,
        sealed: &Sealed,
        why: &mut String,
    ) -> Option<Key> {
        let salt = protector.salt.as_ref()?;
        for secret in secrets {
            let Some(left) = self.stretches_left.checked_sub(1) else {
                *why = format!("; after {MAX_STRETCHES} attempts no more were made");
                return None;
            };
            self.stretches_left = left;
            if let Some(key) = open_key(&stretch(secret, salt), sealed) {
                return Some(key);
            }
        }
        None
    }

    /// What would open the volume, in words.
    fn needs(&self, metadata: &Metadata) -> String {
        let Secrets {
            recovery,
            passwords,
            startup,
        } = self.secrets;
        let given = recovery.len() + passwords.len() + startup.len();
        let given = match given {
            0 => "",
            _ => "none of the keys that were given opens it; ",
        };
        let shown = metadata.protectors.iter().take(MAX_SHOWN);
        let shown: Vec<_> = shown
            .map(|one| {
                format!(
                    "{} {}{}",
                    kind_name(one.kind),
                    guid_text(one.guid),
                    how(one.kind)
                )
            })
            .collect();
        let more = match metadata.protectors.len().saturating_sub(MAX_SHOWN) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        match &shown[..] {
            [] => format!("{given}it has no protector that could open it"),
            _ => format!("{given}it is opened by {}{more}", shown.join(", or by ")),
        }
    }
}

const STARTUP: u16 = 0x200;
const RECOVERY: u16 = 0x800;
const PASSWORD: u16 = 0x2000;
/// Protectors that a loss names.
const MAX_SHOWN: usize = 16;

/// What a protector is, in words.
fn kind_name(kind: u16) -> &'static str {
    match kind {
        0..0x100 => "clear key",
        0x100 => "TPM",
        STARTUP => "startup key",
        0x300 => "TPM and startup key",
        0x500 => "TPM and PIN",
        0x700 => "TPM, PIN and startup key",
        RECOVERY => "recovery password",
        PASSWORD => "password",
        _ => "a protector of an unknown kind",
    }
}

/// How such a protector is given to us.
fn how(kind: u16) -> &'static str {
    match kind {
        STARTUP => ".BEK (--startup-key)",
        RECOVERY => " (--recovery-password-file)",
        PASSWORD => " (--bitlocker-password-file)",
        0x100..=0x700 => " (only on its own machine)",
        _ => "",
    }
}

fn clear_key(protector: &Protector) -> Option<Key> {
    let bytes = protector.clear_key.as_deref()?;
    Some(Zeroizing::new(bytes.try_into().ok()?))
}

/// A key that another one seals.
fn open_key(with: &Key, sealed: &Sealed) -> Option<Key> {
    let plain = unseal(with, sealed)?;
    let (_, bytes) = key(&plain).ok()?;
    Some(Zeroizing::new(bytes.try_into().ok()?))
}

/// Says where the block is not what the volume master key vouches for.
fn check_hash(metadata: &Metadata, master: &Key, at: u64, losses: &mut Vec<ReadError>) {
    let Some(sealed) = &metadata.hash else { return };
    let plain = unseal(master, sealed);
    let stored = plain.as_ref().and_then(|plain| key(plain).ok());
    let is_right = stored.is_some_and(|(_, hash)| *hash == *sha256(&metadata.block));
    if !is_right {
        losses.push(damaged(
            at,
            "the hash of its metadata fails; they were used as they stand",
        ));
    }
}

/// The copy of the metadata that is used.
fn read_metadata(
    source: &Arc<dyn ReadAt>,
    boot: &Boot,
    losses: &mut Vec<ReadError>,
) -> Result<Metadata, ReadError> {
    let mut sound: Option<Metadata> = None;
    let mut unsound = None;
    let mut places: Vec<u64> = boot.metadata_at.into_iter().flatten().collect();
    let mut next = 0;
    while let Some(at) = places.get(next).copied() {
        next += 1;
        match read_copy(source, at) {
            Ok(found) => {
                // Vista's first sector names one copy, and that one names the others.
                for other in found.metadata_at {
                    if other > 0 && places.len() < 3 && !places.contains(&other) {
                        places.push(other);
                    }
                }
                match (&sound, found.is_sound()) {
                    (None, true) => sound = Some(found),
                    (Some(used), true) if used.block != found.block => {
                        losses.push(damaged(at, "that copy differs from the one that is used"));
                    }
                    (Some(_), true) => {}
                    (_, false) => {
                        losses.push(damaged(at, "the checksum of that copy fails"));
                        unsound = unsound.or(Some(found));
                    }
                }
            }
            Err(error) => losses.push(error),
        }
    }
    if let Some(sound) = sound {
        return Ok(sound);
    }
    let metadata = unsound.ok_or_else(|| damaged(0, "no copy of its metadata can be read"))?;
    losses.push(damaged(
        0,
        "no copy of its metadata is sound; one was used as it stands",
    ));
    Ok(metadata)
}

fn read_copy(source: &Arc<dyn ReadAt>, at: u64) -> Result<Metadata, ReadError> {
    let end = at.saturating_add(BLOCK_BYTES as u64);
    let bytes = source.read_range(at..end, BLOCK_BYTES)?;
    Metadata::parse(&bytes, at).map_err(|error| damaged(at, &error.to_string()))
}

fn damaged(offset: u64, why: &str) -> ReadError {
    ReadError::Damaged {
        what: "the metadata of a BitLocker volume",
        offset,
        why: why.to_owned(),
    }
}
