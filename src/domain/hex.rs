//! Bytes as lower-case hexadecimal digits, for frequent use.

/// A byte as two lower-case hexadecimal digits.
pub const fn digits(byte: u8) -> [u8; 2] {
    const fn one(nibble: u8) -> u8 {
        // No branch: adding 6 to a nibble sets the fifth bit only if the nibble is over 9.
        nibble + b'0' + ((nibble + 6) >> 4) * (b'a' - b'0' - 10)
    }
    [one(byte >> 4), one(byte & 15)]
}

/// Writes the digits of bytes over a text, as far as the text has room.
pub fn write(text: &mut [u8], bytes: &[u8]) {
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = digits(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_written_as_the_standard_library_writes_it() {
        for byte in 0..=u8::MAX {
            let mut text = *b"....";
            write(&mut text, &[byte]);
            assert_eq!(text, *format!("{byte:02x}..").as_bytes());
        }
    }
}
