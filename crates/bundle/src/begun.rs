//! A bundle that was cut off before even its head was whole, and members that are cut.
//!
//! Whoever goes on with a collection throws such a beginning away, so it must be one for sure: names
//! and headers are compared with the one form that they have. Zeros may stand behind it: a power cut
//! leaves them where bytes were never written.

use scelle_formats::{ReadAt, ReadAtExt as _, ReadError, Window};

use crate::{
    Error,
    codec::{Method, SEGMENT_BYTES},
    cut::HEAD,
    ends,
    reader::{self, HEADER_BYTES},
    writer::is_plain,
    zip::{self, Facts, LOCAL_BYTES},
};

/// Bytes that are looked at at a time.
const STEP_BYTES: usize = 1 << 20;
/// So many zeros stand at no end of a bundle, encrypted or not, and nowhere in ciphertext by chance.
pub(crate) const LEAST_ZEROS: u64 = 16;
/// What a local header has no one form for: CRC and both sizes.
const FREE: std::ops::Range<usize> = 14..26;
/// The descriptor behind a member of more than a segment, and less than 4 GiB: at the head there are no larger ones.
const DESCRIPTOR_BYTES: u64 = 16;

/// Whether a bundle's bytes end before the files do that stand before the payload: nothing was
/// collected yet.
///
/// # Errors
/// [`Error::Read`] where they can't be read.
pub fn is_cut_at_its_head(source: &dyn ReadAt) -> Result<bool, Error> {
    let source = Window::new(source, 0..written_end(source)?);
    let mut folder = None;
    let mut at = 0;
    for name in HEAD {
        if folder.is_none() {
            folder = folder_of(&header_at(&source, at)?, name);
        }
        let Some(folder) = &folder else {
            return Ok(false);
        };
        let full = format!("{folder}{name}");
        if is_cut_member(&source, at, &full, Method::Deflate)? {
            return Ok(true);
        }
        match reader::member_at(&source, at, None) {
            Ok(found) if found.name == full => at = found.end,
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// Whether from `at` to the end there is the beginning of a member of that name, and not all of it.
pub(crate) fn is_cut_member(
    source: &dyn ReadAt,
    at: u64,
    name: &str,
    method: Method,
) -> Result<bool, ReadError> {
    let header = header_at(source, at)?;
    let form = [0, SEGMENT_BYTES as u64 + 1].into_iter().find_map(|size| {
        let facts = Facts {
            method,
            crc32: 0,
            compressed: 0,
            size,
        };
        let mut form = Vec::new();
        facts.local(name, &mut form);
        let mut pairs = header.iter().zip(&form).enumerate();
        pairs
            .all(|(at, (byte, own))| FREE.contains(&at) || byte == own)
            .then_some((form.len(), size))
    });
    let Some((length, size)) = form else {
        return Ok(false);
    };
    if header.len() < length {
        return Ok(true);
    }
    let data_at = at + length as u64;
    if size > 0 {
        // It is as long as it turns out to be.
        let end = ends::find_end(source, method, data_at, u64::MAX);
        return Ok(match end {
            Ok(Some(bytes)) => data_at.saturating_add(bytes + DESCRIPTOR_BYTES) > source.len(),
            end => end == Ok(None),
        });
    }
    let said = zip::parse_local(&header).map(|(facts, ..)| facts);
    Ok(said.is_some_and(|facts| {
        let end = data_at.saturating_add(facts.compressed);
        // What stands at the head is small, so that a header that says otherwise was altered.
        facts.size <= SEGMENT_BYTES as u64
            && facts.compressed <= 2 * SEGMENT_BYTES as u64
            && end > source.len()
    }))
}

/// Where the zeros begin that a source ends in; its end, where they are too few to tell of anything.
pub(crate) fn written_end(source: &dyn ReadAt) -> Result<u64, ReadError> {
    let length = source.len();
    let mut end = length;
    let mut step = vec![0; STEP_BYTES];
    while end > 0 {
        let from = end.saturating_sub(STEP_BYTES as u64);
        let step = &mut step[..(end - from) as usize];
        source.read_exact_at("the archive", from, step)?;
        if let Some(last) = step.iter().rposition(|byte| *byte != 0) {
            end = from + last as u64 + 1;
            break;
        }
        end = from;
    }
    Ok(if length - end < LEAST_ZEROS {
        length
    } else {
        end
    })
}

fn header_at(source: &dyn ReadAt, at: u64) -> Result<Vec<u8>, ReadError> {
    source.read_range(at..at.saturating_add(HEADER_BYTES as u64), HEADER_BYTES)
}

/// The folder that the first header names, `/` included, as far as its name is there; made up where
/// it is not.
fn folder_of(header: &[u8], first: &str) -> Option<String> {
    // It is below 256, and the zero that says so may be one of those that were never written.
    let length = match header.get(26..) {
        Some([low, rest @ ..]) if rest.first().is_none_or(|high| *high == 0) => usize::from(*low),
        Some([_, ..]) => return None,
        _ => first.len() + 2,
    };
    let folder_bytes = length
        .checked_sub(first.len() + 1)
        .filter(|bytes| *bytes <= 100)?;
    let there = header.get(LOCAL_BYTES..).unwrap_or_default();
    let there = std::str::from_utf8(&there[..there.len().min(folder_bytes)]).ok()?;
    let folder = format!("{there:x<folder_bytes$}");
    is_plain(&folder).then(|| format!("{folder}/"))
}
