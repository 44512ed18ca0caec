//! The codecs: whatever they are given, they stay within the room that they have.

use scelle_formats::{
    codec::{lznt1, lzx, xpress_huffman},
    ntfs::{ExtendedAttributes, SecurityDescriptor, StoredSecurity},
};

/// The first two bytes say how much room there is.
fn room(data: &[u8], most: usize) -> Option<(&[u8], Vec<u8>)> {
    let (room, input) = data.split_first_chunk()?;
    let room = usize::from(u16::from_le_bytes(*room)) * 2;
    Some((input, vec![0xA5; room.min(most)]))
}

pub fn lznt1(data: &[u8]) {
    let Some((input, mut out)) = room(data, 64 << 10) else {
        return;
    };
    let length = out.len();
    let mut last = 0;
    let made = lznt1::decode_chunks(input, &mut out, &mut |range, _| {
        assert!(range.start >= last && range.end <= length, "{range:?}");
        last = range.end;
    });
    assert!(made <= length);
    if let Ok(strict) = lznt1::decode(input, &mut vec![0; length]) {
        assert_eq!(strict, made);
    }
}

pub fn xpress(data: &[u8]) {
    let Some((input, mut out)) = room(data, 130 << 10) else {
        return;
    };
    let mut decoder = xpress_huffman::Decoder::new();
    if decoder.decode(input, &mut out).is_ok() {
        // Its tables hold nothing over.
        let mut again = vec![0; out.len()];
        decoder.decode(input, &mut again).expect("as before");
        assert!(out == again);
    }
}

pub fn lzx(data: &[u8]) {
    let Some((input, mut out)) = room(data, lzx::CHUNK_BYTES) else {
        return;
    };
    let mut decoder = lzx::Decoder::new();
    if decoder.decode(input, &mut out).is_ok() {
        let mut again = vec![0; out.len()];
        decoder.decode(input, &mut again).expect("as before");
        assert!(out == again);
    }
}

/// A security descriptor, alone and as `$Secure` keeps it, and extended attributes.
pub fn secure(data: &[u8]) {
    if let Some(found) = SecurityDescriptor::parse(data) {
        // A SID of 12 bytes has at most 24 letters, an entry of 16 bytes about 60.
        assert!(found.sddl.len() < 64 + data.len() * 64);
    }
    if let Some(stored) = StoredSecurity::parse(data) {
        assert!(stored.descriptor.len() < data.len());
        SecurityDescriptor::parse(stored.descriptor);
    }
    StoredSecurity::stated_bytes(data, 0);
    assert!(ExtendedAttributes::new(data).count() <= data.len() + 1);
}
