//! GUIDs.

/// The text of a GUID, whose first three fields are stored little-endian.
pub fn guid_text(bytes: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let (first, second) = (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]));
    let third = u16::from_le_bytes([g, h]);
    let [i, j, k, l, m, n, o, p] = rest;
    format!(
        "{first:08x}-{second:04x}-{third:04x}-{i:02x}{j:02x}-{k:02x}{l:02x}{m:02x}{n:02x}{o:02x}{p:02x}"
    )
}
