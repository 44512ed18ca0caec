//! The form of a proof's file: a Zip archive of stored members, in one form.

/// The most bytes of a file that is read as a proof.
pub(crate) const FILE_LIMIT: usize = 4 << 20;
const MOST_MEMBERS: usize = 16;
const MOST_NAME_BYTES: usize = 200;
const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";
/// UTF-8 names.
const FLAGS: u16 = 1 << 11;
/// 1980-01-01.
const DATE: u16 = 0x21;
const VERSION: u16 = 20;
/// 6.3, on Unix.
const MADE_BY: u16 = 3 << 8 | 63;
/// A regular file that all may read.
const MODE: u32 = 0o100_644 << 16;

/// A member's name, and its bytes.
pub(crate) type Part = (String, Vec<u8>);

/// The one file of some members, which come to less than 4 MiB.
pub(crate) fn write(parts: &[Part]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut central = Vec::new();
    for (name, bytes) in parts {
        let at = file.len() as u32;
        let mut shared = Vec::new();
        for word in [VERSION, FLAGS, 0, 0, DATE] {
            shared.extend(word.to_le_bytes());
        }
        for word in [
            crc32fast::hash(bytes),
            bytes.len() as u32,
            bytes.len() as u32,
        ] {
            shared.extend(word.to_le_bytes());
        }
        shared.extend((name.len() as u16).to_le_bytes());
        shared.extend(0u16.to_le_bytes());
        file.extend(LOCAL);
        file.extend(&shared);
        file.extend(name.as_bytes());
        file.extend(bytes);
        central.extend(CENTRAL);
        central.extend(MADE_BY.to_le_bytes());
        central.extend(&shared);
        // No comment, first disk, no internal attributes.
        central.extend([0; 6]);
        central.extend(MODE.to_le_bytes());
        central.extend(at.to_le_bytes());
        central.extend(name.as_bytes());
    }
    let (at, length, count) = (file.len() as u32, central.len() as u32, parts.len() as u16);
    file.extend(central);
    file.extend(END);
    file.extend([0; 4]);
    file.extend(count.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend(length.to_le_bytes());
    file.extend(at.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// The members of a file that [`write`] wrote; any other is refused.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Part>, String> {
    if file.len() > FILE_LIMIT {
        return Err(format!(
            "it has {} bytes, and a proof has at most {FILE_LIMIT}",
            file.len()
        ));
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut left = file;
    while let Some(after) = left.strip_prefix(LOCAL) {
        const CUT: &str = "it is cut";
        if parts.len() == MOST_MEMBERS {
            return Err(format!("it has more than {MOST_MEMBERS} members"));
        }
        let (head, after) = after.split_at_checked(26).ok_or(CUT)?;
        let length = u32::from_le_bytes([head[18], head[19], head[20], head[21]]) as usize;
        let name_length = usize::from(u16::from_le_bytes([head[22], head[23]]));
        if name_length > MOST_NAME_BYTES {
            return Err(format!("a member's name has {name_length} bytes"));
        }
        let (name, after) = after.split_at_checked(name_length).ok_or(CUT)?;
        let (bytes, after) = after.split_at_checked(length).ok_or(CUT)?;
        let name = str::from_utf8(name).map_err(|_| "a member's name is no text")?;
        parts.push((name.to_owned(), bytes.to_vec()));
        left = after;
    }
    if parts.is_empty() {
        return Err("it does not begin as a proof does".into());
    }
    if write(&parts) != file {
        return Err("it is not in the one form: something was altered or added".into());
    }
    Ok(parts)
}
