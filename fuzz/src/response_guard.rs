//! What must hold of a body that passes the response guard, whatever the upstream sends. The fuzzer and a
//! unit test of the stage include this file.

use std::io::Write as _;

/// A byte of the input that stands for the secret, in one of the forms.
pub const SECRET_HERE: u8 = 0xff;

/// Has a body with that `Content-Encoding` passed in pieces of that size. Returns what passed, and whether
/// all of it did.
pub type Pass = fn(&'static str, &[u8], usize) -> (Vec<u8>, bool);

/// What passes is the beginning of what was sent, and has neither the secret nor the form that was put into
/// the text. A body with the secret does not pass as a whole.
///
/// The first bytes of the input choose the coding, the size of pieces and the form.
pub fn holds(input: &[u8], secret: &str, pass: Pass) {
    let [coding, piece, form, text @ ..] = input else { return };
    let form = FORMS[usize::from(*form) % FORMS.len()](secret.as_bytes());
    let text: Vec<u8> = text
        .iter()
        .flat_map(|byte| if *byte == SECRET_HERE { form.clone() } else { vec![*byte] })
        .collect();
    let has_secret = contains(&text, &form);
    let (name, coding) = CODINGS[usize::from(*coding) % CODINGS.len()];
    let body = coding.map_or_else(|| text.clone(), |coding| (coding.encode)(&text));
    let (passed, is_whole) = pass(name, &body, usize::from(*piece));
    assert!(body.starts_with(&passed));
    if is_whole {
        assert_eq!(passed, body);
    }
    let Some(coding) = coding else {
        // Any bytes as that coding, or as none.
        assert!(!contains(&passed, secret.as_bytes()));
        if name == "identity" {
            assert!(!contains(&passed, &form));
            assert!(!contains(&percent_decoded(&passed), secret.as_bytes()));
        }
        return;
    };
    assert!(!(is_whole && has_secret), "{}", String::from_utf8_lossy(&text));
    // Otherwise the input may spell the secret by itself.
    if text.len() < secret.len() {
        assert!(is_whole, "{}", String::from_utf8_lossy(&text));
    }
    let decoded = (coding.decode)(&passed);
    assert!(text.starts_with(&decoded));
    assert!(!contains(&decoded, secret.as_bytes()) && !contains(&decoded, &form));
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *byte == b'%');
        let value = digits
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(value.unwrap_or(*byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    decoded
}

/// A coding that the law undoes by itself.
#[derive(Clone, Copy)]
struct Coding {
    encode: fn(&[u8]) -> Vec<u8>,
    /// As much as there is.
    decode: fn(&[u8]) -> Vec<u8>,
}

/// Names of codings. With a coding, the text is coded; without, its bytes are what is sent.
const CODINGS: [(&str, Option<Coding>); 9] = [
    ("identity", None),
    ("identity", Some(Coding { encode: <[u8]>::to_vec, decode: <[u8]>::to_vec })),
    ("gzip", Some(Coding { encode: gzip, decode: gunzip })),
    // No coding is named.
    ("identity", Some(Coding { encode: gzip, decode: gunzip })),
    ("zstd", Some(Coding { encode: zstd, decode: unzstd })),
    ("gzip", None),
    ("deflate", None),
    ("br", None),
    ("zstd", None),
];

/// In members of 16 bytes.
fn gzip(text: &[u8]) -> Vec<u8> {
    let member = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("a vector takes it");
        encoder.finish().expect("a vector takes it")
    };
    let last = member(b"");
    text.chunks(16).flat_map(member).chain(last).collect()
}

fn gunzip(coded: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::write::MultiGzDecoder::new(Vec::new());
    decoder.write_all(coded).expect("it is gzip");
    decoder.flush().expect("it is gzip");
    std::mem::take(decoder.get_mut())
}

/// In frames of 16 bytes.
fn zstd(text: &[u8]) -> Vec<u8> {
    let frame = |text: &[u8]| zstd::bulk::compress(text, 1).expect("it has room");
    text.chunks(16).flat_map(frame).chain(frame(b"")).collect()
}

fn unzstd(coded: &[u8]) -> Vec<u8> {
    let mut decoder = zstd::stream::write::Decoder::new(Vec::new()).expect("a decoder");
    decoder.write_all(coded).expect("it is zstd");
    decoder.flush().expect("it is zstd");
    std::mem::take(decoder.get_mut())
}

/// A way to write the secret.
type Form = fn(&[u8]) -> Vec<u8>;

const FORMS: [Form; 8] = [
    <[u8]>::to_vec,
    |secret| each(secret, |byte| format!("%{byte:02X}")),
    |secret| each(secret, |byte| format!("\\u{byte:04x}")),
    |secret| each(secret, |byte| format!("&#{byte};")),
    |secret| each(secret, |byte| format!("{byte:02x}")),
    |secret| each(secret, |byte| format!("={byte:02X}")),
    |secret| each(secret, |byte| format!("{}\0", char::from(byte))),
    base64,
];

fn each(secret: &[u8], write: fn(u8) -> String) -> Vec<u8> {
    secret.iter().flat_map(|byte| write(*byte).into_bytes()).collect()
}

fn base64(secret: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> =
        secret.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let digit = |bits: &[u8]| {
        let value = bits.iter().fold(0, |value, bit| value << 1 | usize::from(*bit));
        DIGITS[value << (6 - bits.len())]
    };
    bits.chunks(6).map(digit).collect()
}
