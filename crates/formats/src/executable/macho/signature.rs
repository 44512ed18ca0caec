//! Code signatures: a container of blobs, big-endian whatever the file's byte order.
//!
//! # Layout
//! | offset | bytes | field of the container                          |
//! |-------:|------:|-------------------------------------------------|
//! |      0 |     4 | magic 0xfade0cc0                                |
//! |      4 |     4 | length                                          |
//! |      8 |     4 | count of blobs                                  |
//! |     12 | 8 × n | slot, offset from the container's start         |
//!
//! | offset | bytes | field of a code directory                       |
//! |-------:|------:|-------------------------------------------------|
//! |      0 |     8 | magic 0xfade0c02, length                        |
//! |      8 |     8 | version, flags                                  |
//! |     16 |    20 | offsets of hashes and identifier, counts, limit |
//! |     36 |     4 | size and type of hashes, platform, page size    |
//! |     48 |     4 | offset of the team identifier (0x20200 on)      |
//!
//! What is checked: nothing. The hash of a code directory (cdhash) is what systems and lists of
//! known programs name a program by.

use std::ops::Range;

use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384};

use super::{Source, text};
use crate::DecodeError;

const CONTAINER: u32 = 0xfade_0cc0;
const CODE_DIRECTORY: u32 = 0xfade_0c02;
const ENTITLEMENTS: u32 = 0xfade_7171;
const CMS: u32 = 0xfade_0b01;
const BLOB_LIMIT: u32 = 64;
/// One a hash function; there are four.
const DIRECTORY_LIMIT: usize = 8;
const NAME_LIMIT: usize = 1024;
const ENTITLEMENTS_LIMIT: usize = 1 << 20;
/// The largest signature that is looked at: a page hash for each 4 KiB of code makes them grow.
const SIGNATURE_LIMIT: usize = 16 << 20;
const TEAM_VERSION: u32 = 0x2_0200;
const BLOB_HEAD: usize = 8;
const CDHASH_BYTES: usize = 20;
const ADHOC: u32 = 0x2;

/// A code signature.
#[derive(Clone, Debug, Default)]
pub struct CodeSignature {
    /// Its code directories, one a hash function.
    pub directories: Vec<CodeDirectory>,
    /// The size of the cryptographic message that signs them; 8 or less means none.
    pub cms_bytes: u32,
    /// What the program asks to be allowed, an XML property list.
    pub entitlements: Option<String>,
}

impl CodeSignature {
    /// The directory that systems choose: the one with the strongest hash.
    pub fn best(&self) -> Option<&CodeDirectory> {
        self.directories
            .iter()
            .max_by_key(|directory| directory.hash_type)
    }

    /// Whether nobody signed it: hashes only.
    pub fn is_adhoc(&self) -> bool {
        self.best()
            .is_some_and(|directory| directory.flags & ADHOC != 0)
    }
}

/// What is signed: identifiers, and hashes of pages.
#[derive(Clone, Debug)]
pub struct CodeDirectory {
    /// The program's identifier.
    pub identifier: Option<String>,
    /// The developer's team.
    pub team: Option<String>,
    /// Its flags.
    pub flags: u32,
    /// The hash function as stored: 1 SHA-1, 2 SHA-256, 3 SHA-256 cut to 20 bytes, 4 SHA-384.
    pub hash_type: u8,
    /// The first 20 bytes of the directory's own hash, where the function is known.
    pub cdhash: Option<[u8; CDHASH_BYTES]>,
}

pub(super) fn read(source: &Source<'_>, range: Range<u64>) -> Result<CodeSignature, DecodeError> {
    let at = range.start;
    let stated = (range.end - range.start).min(SIGNATURE_LIMIT as u64) as usize;
    let bytes = source.exact("code signature", at, stated)?;
    let word = |offset: usize| {
        let bytes = bytes.get(offset..).and_then(|rest| rest.first_chunk());
        bytes
            .map(|bytes| u32::from_be_bytes(*bytes))
            .ok_or(DecodeError::Short {
                field: "code signature",
                at: at + offset as u64,
                need: 4,
                have: bytes_left(stated, offset),
            })
    };
    let magic = word(0)?;
    if magic != CONTAINER {
        return Err(DecodeError::Unknown {
            field: "code signature magic",
            at,
            value: magic.into(),
        });
    }
    let count = word(8)?;
    if count > BLOB_LIMIT {
        return Err(DecodeError::Limit {
            field: "code signature blobs",
            at: at + 8,
            value: count.into(),
            limit: BLOB_LIMIT.into(),
        });
    }
    let mut signature = CodeSignature::default();
    for number in 0..count as usize {
        let offset = word(12 + number * 8 + 4)? as usize;
        let magic = word(offset)?;
        let length = word(offset + 4)? as usize;
        let blob = bytes.get(offset..).and_then(|rest| rest.get(..length));
        let blob = blob
            .filter(|blob| blob.len() >= BLOB_HEAD)
            .ok_or(DecodeError::Short {
                field: "code signature blob",
                at: at + offset as u64,
                need: length as u64,
                have: bytes_left(stated, offset),
            })?;
        match magic {
            CODE_DIRECTORY if signature.directories.len() == DIRECTORY_LIMIT => {
                return Err(DecodeError::Limit {
                    field: "code directories",
                    at: at + offset as u64,
                    value: DIRECTORY_LIMIT as u64 + 1,
                    limit: DIRECTORY_LIMIT as u64,
                });
            }
            CODE_DIRECTORY => signature
                .directories
                .push(directory(blob, at + offset as u64)?),
            CMS => signature.cms_bytes = length as u32,
            ENTITLEMENTS => {
                let end = blob.len().min(BLOB_HEAD + ENTITLEMENTS_LIMIT);
                signature.entitlements = Some(text::lossless(&blob[BLOB_HEAD..end]));
            }
            _ => {}
        }
    }
    Ok(signature)
}

fn bytes_left(stated: usize, offset: usize) -> u64 {
    stated.saturating_sub(offset) as u64
}

fn directory(blob: &[u8], at: u64) -> Result<CodeDirectory, DecodeError> {
    let word = |offset: usize| {
        let bytes = blob.get(offset..).and_then(|rest| rest.first_chunk());
        bytes
            .map(|bytes| u32::from_be_bytes(*bytes))
            .ok_or(DecodeError::Short {
                field: "code directory",
                at: at + offset as u64,
                need: 4,
                have: bytes_left(blob.len(), offset),
            })
    };
    let version = word(8)?;
    let string = |offset: u32| {
        let bytes = blob.get(offset as usize..).filter(|_| offset != 0)?;
        let bytes = &bytes[..bytes.len().min(NAME_LIMIT)];
        Some(text::lossless(text::until_zero(bytes)))
    };
    let [_, hash_type, ..] = word(36)?.to_be_bytes();
    let team = if version >= TEAM_VERSION {
        word(48)?
    } else {
        0
    };
    Ok(CodeDirectory {
        identifier: string(word(20)?),
        team: string(team),
        flags: word(12)?,
        hash_type,
        cdhash: match hash_type {
            1 => Sha1::digest(blob).first_chunk().copied(),
            2 | 3 => Sha256::digest(blob).first_chunk().copied(),
            4 => Sha384::digest(blob).first_chunk().copied(),
            _ => None,
        },
    })
}
