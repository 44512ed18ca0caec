//! ASCII armour in one canonical form: 64 columns, CRC-24, no headers (RFC 9580, section 6).

const SIGNATURE_BEGIN: &str = "-----BEGIN PGP SIGNATURE-----\n\n";
const SIGNATURE_END: &str = "-----END PGP SIGNATURE-----\n";
const CERTIFICATE_BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n";
const CERTIFICATE_END: &str = "-----END PGP PUBLIC KEY BLOCK-----\n";

/// The one armour of a signature.
pub(crate) fn armour(packet: &[u8]) -> String {
    wrap(SIGNATURE_BEGIN, packet, SIGNATURE_END)
}

/// The one armour of certificates.
pub(crate) fn armour_certificates(packets: &[u8]) -> String {
    wrap(CERTIFICATE_BEGIN, packets, CERTIFICATE_END)
}

fn wrap(begin: &str, packet: &[u8], end: &str) -> String {
    let mut text = String::from(begin);
    let encoded = base64(packet);
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    let crc = crc24(packet).to_be_bytes();
    text.push('=');
    text.push_str(&base64(&crc[1..]));
    text.push('\n');
    text.push_str(end);
    text
}

/// The packet inside the one armour; any other text is refused.
pub(crate) fn dearmour(file: &[u8]) -> Result<Vec<u8>, String> {
    const NOT_OURS: &str = "its armour is not in the one form";
    let text = std::str::from_utf8(file).map_err(|_| NOT_OURS)?;
    let body = text
        .strip_prefix(SIGNATURE_BEGIN)
        .and_then(|rest| rest.strip_suffix(SIGNATURE_END))
        .ok_or(NOT_OURS)?;
    let (data, _) = body
        .strip_suffix('\n')
        .and_then(|body| body.rsplit_once("\n="))
        .ok_or(NOT_OURS)?;
    let packet = unbase64(data).ok_or(NOT_OURS)?;
    if armour(&packet) != text {
        return Err(NOT_OURS.into());
    }
    Ok(packet)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            text.push(if digit <= group.len() {
                char::from(ALPHABET[(word >> (18 - 6 * digit) & 63) as usize])
            } else {
                '='
            });
        }
    }
    text
}

pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits) = (0u32, 0);
    for character in text.bytes().filter(|byte| !matches!(byte, b'\n' | b'=')) {
        let digit = ALPHABET.iter().position(|letter| *letter == character)? as u32;
        word = (word << 6 | digit) & 0xFF_FFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    Some(bytes)
}

/// RFC 9580, section 6.1.1.
fn crc24(bytes: &[u8]) -> u32 {
    let mut crc = 0xB7_04CE;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x100_0000 != 0 {
                crc ^= 0x186_4CFB;
            }
        }
    }
    crc & 0xFF_FFFF
}
