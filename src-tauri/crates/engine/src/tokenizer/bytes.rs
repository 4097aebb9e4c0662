//! GPT-2's byte-to-unicode table: every byte as a printable character, so that a vocabulary is plain text.
//! Printable Latin-1 stands for itself; the other 68 bytes become U+0100, U+0101, … in order.

/// The ranges of bytes that stand for themselves.
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

pub(super) fn char_of(byte: u8) -> char {
    if is_plain(byte) {
        return char::from(byte);
    }
    let shifted = 0x100 + (0..byte).filter(|b| !is_plain(*b)).count() as u32;
    char::from_u32(shifted).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0..=0xff => u8::try_from(code).ok().filter(|b| is_plain(*b)),
        // The inverse of `char_of` for the moved bytes: 0x00–0x20 (33), 0x7f–0xa0 (34), 0xad (1).
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// Appends the bytes of a vocabulary entry. A character outside the table stands for its own UTF-8.
pub(super) fn push_token_bytes(token: &str, out: &mut Vec<u8>) {
    for c in token.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_and_char_are_inverse_for_all_256() {
        for byte in 0..=255 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(b'a')), ('Ġ', 'Ċ', 'a'));
    }
}
