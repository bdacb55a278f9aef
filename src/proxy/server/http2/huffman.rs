//! Huffman's code of HPACK (RFC 7541, appendix B).
//!
//! The code is canonical: the codes of one length follow each other in the order of their bytes. So the
//! lengths alone state it.

use std::sync::LazyLock;

/// Decodes a text; `None` if it is not one.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len().saturating_mul(8) / SHORTEST);
    let (mut code, mut length) = (0, 0);
    for byte in text {
        for bit in (0..8).rev() {
            code = code << 1 | usize::from(byte >> bit & 1);
            length = usize::saturating_add(length, 1);
            let group = GROUPS.get(length)?;
            if let Some(byte) = code.checked_sub(group.first).and_then(|n| group.bytes.get(n)) {
                decoded.push(*byte);
                (code, length) = (0, 0);
            }
        }
    }
    // The rest of the last byte is the beginning of the longest code, which has only ones.
    (length < 8 && code == !(!0 << length)).then_some(decoded)
}

/// The codes of one length.
struct Group {
    /// The first of them.
    first: usize,
    /// The bytes, in the order of their codes.
    bytes: Vec<u8>,
}

/// By length, from 0.
static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| {
    let mut first = 0;
    (0..=LONGEST)
        .map(|length| {
            let of_length = |byte: &u8| LENGTHS.get(usize::from(*byte)) == Some(&length);
            let bytes: Vec<u8> = (0..=u8::MAX).filter(of_length).collect();
            let group = Group { first, bytes };
            first = (first + group.bytes.len()) << 1;
            group
        })
        .collect()
});

const LONGEST: u8 = 30;
/// The bits of the shortest code.
const SHORTEST: usize = 5;

/// The length of each byte's code, in bits.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    /// The examples of RFC 7541, appendix C.
    #[test]
    fn texts_are_decoded() {
        for (code, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
            (
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
            ("", ""),
        ] {
            assert_eq!(decode(&hex(code)).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn wrong_ends_are_refused() {
        for code in ["ff", "1e", "1fff", "ffffffff", "ffffffffff"] {
            assert_eq!(decode(&hex(code)), None, "{code}");
        }
    }
}
