//! UUIDs as text, which identify objects in paths.

use std::ops::BitOr;

/// The length of a UUID as text.
pub const UUID_LENGTH: usize = 36;

/// Whether a text is `8-4-4-4-12` hexadecimal digits, in either case (RFC 9562 §4).
///
/// There is no early exit, so that the loop vectorises.
pub fn is_uuid(text: &str) -> bool {
    let Ok(text): Result<&[u8; UUID_LENGTH], _> = text.as_bytes().try_into() else { return false };
    let odd = |(byte, wanted): (&u8, u8)| match wanted {
        b'-' => *byte != b'-',
        _ => !byte.is_ascii_hexdigit(),
    };
    text.iter().zip(SHAPE).map(|pair| u8::from(odd(pair))).fold(0, BitOr::bitor) == 0
}

const SHAPE: [u8; UUID_LENGTH] = *b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_digits_and_dashes_in_their_places() {
        let uuid = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";
        assert!(is_uuid(uuid) && is_uuid(&uuid.to_uppercase()));
        for at in 0..UUID_LENGTH {
            let is_dash = uuid.as_bytes()[at] == b'-';
            for other in ["-", "0", "F", "g", "/", "{", " "] {
                let mut text = uuid.to_owned();
                text.replace_range(at..=at, other);
                let fits = if is_dash { other == "-" } else { matches!(other, "0" | "F") };
                assert_eq!(is_uuid(&text), fits, "{text}");
            }
        }
        for text in ["", "0190d1c2", "{0190d1c2-9a4e-7cc3-8f00-1234567890ab}"] {
            assert!(!is_uuid(text), "{text}");
        }
    }
}
