//! What must hold for any bytes from outside. One function a fuzz target; a stable test of the
//! gateway includes this file and runs the same functions over `tests/corpora`.

use std::{env, fs, iter, process, slice, thread};

use http::uri::PathAndQuery;
use pigello_gateway::{
    audit, config,
    credentials::sealed::values_from_json,
    domain::CanonicalTarget,
    proxy::server::http1::{
        ParseError,
        chunked::{ChunkPart, Chunked},
        head::{self, Framing},
    },
};

/// Panics where it does not hold for some bytes.
pub type Law = fn(&[u8]);

/// The laws, by the names of their targets and corpora.
pub const ALL: &[(&str, Law)] = &[
    ("request_head", request_head),
    ("chunked_body", chunked_body),
    ("target", target),
    ("audit_line", audit_line),
    ("sealed_values", sealed_values),
    ("configuration", configuration),
];

/// A head that passes means the same to another parser: as many fields, the same lengths, and no
/// length beside a coding.
pub fn request_head(bytes: &[u8]) {
    let Ok(head) = head::parse(&bytes.to_vec().into(), 100) else { return };
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(bytes).expect("what passes here, httparse takes");
    assert_eq!(parsed, httparse::Status::Complete(bytes.len()), "it ends where we think it does");
    let path = request.path.expect("a target");
    assert!(path.parse::<http::Uri>().is_ok(), "{path:?}");
    let named = |name: &str| -> Vec<&[u8]> {
        request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
            .collect()
    };
    let lengths = named("content-length");
    let codings = named("transfer-encoding");
    assert_eq!(head.request.headers().len(), request.headers.len(), "as many fields");
    match head.framing {
        Framing::Empty => {
            assert!(codings.is_empty() && lengths.iter().all(|length| *length == b"0"));
        }
        Framing::Length(length) => {
            assert_eq!(lengths, [length.to_string().as_bytes()]);
            assert!(codings.is_empty());
        }
        Framing::Chunked => {
            assert!(lengths.is_empty() && codings.len() == 1);
            assert!(codings.iter().all(|coding| coding.eq_ignore_ascii_case(b"chunked")));
        }
    }
}

/// The verdict on a chunked body does not depend on how its bytes are cut, and its end is where
/// httparse finds the last chunk.
pub fn chunked_body(bytes: &[u8]) {
    let mut whole = Chunked::new();
    let verdict = decode(&mut whole, bytes);
    let mut by_byte = Chunked::new();
    let mut taken = 0;
    let piecewise = bytes.chunks(1).try_for_each(|byte| {
        taken += decode(&mut by_byte, byte)?;
        Ok(())
    });
    match (verdict, piecewise) {
        (Ok(length), Ok(())) => {
            assert_eq!((length, whole.is_over()), (taken, by_byte.is_over()));
            if whole.is_over() {
                assert!(bytes.get(..length).is_some_and(|body| body.ends_with(b"\r\n")));
            }
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?} and {other:?}"),
    }
    if let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(bytes) {
        // What we take, httparse reads as the same size.
        let mut first = Chunked::new();
        let line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        if decode(&mut first, &bytes[..line]).is_ok() && size > 0 && size < 1 << 20 {
            let data = vec![b'x'; usize::try_from(size).expect("small")];
            assert_eq!(first.next(&data), Ok(ChunkPart::Data(data.len())));
            assert!(decode(&mut first, b"\r\n").is_ok());
        }
    }
}

/// Decodes as much as there is. Returns the number of bytes used.
fn decode(chunked: &mut Chunked, bytes: &[u8]) -> Result<usize, ParseError> {
    let mut used = 0;
    while used < bytes.len() && !chunked.is_over() {
        let (ChunkPart::Framing(length) | ChunkPart::Data(length)) =
            chunked.next(&bytes[used..])?;
        used += length;
    }
    Ok(used)
}

/// What is matched is what is sent, and reads as itself again.
pub fn target(bytes: &[u8]) {
    let Ok(parsed) = PathAndQuery::try_from(bytes) else { return };
    let Ok(canonical) = CanonicalTarget::parse(parsed) else { return };
    let sent = canonical.as_str();
    let again = CanonicalTarget::parse(sent.parse().expect("a target")).expect("still canonical");
    assert_eq!(again.path(), canonical.path());
    assert_eq!(again.as_str(), sent);
    assert!(canonical.path().starts_with('/'));
    for segment in canonical.path().split('/') {
        assert!(segment != "." && segment != "..", "{sent:?}");
    }
    assert!(!canonical.path().contains("//") && !canonical.path().contains(['\\', ';', '#']));
    let lower = canonical.path().to_ascii_lowercase();
    assert!(["%2f", "%2e", "%5c", "%25", "%00", "%3b"].iter().all(|bad| !lower.contains(bad)));
}

/// Any line is read or passed over.
pub fn audit_line(bytes: &[u8]) {
    let _head = audit::line_head(bytes);
    let _call = audit::call_line(bytes);
}

/// Values from outside are taken or refused, and the refusal can be told.
pub fn sealed_values(bytes: &[u8]) {
    if let Err(error) = values_from_json(bytes) {
        assert!(!error.to_string().is_empty());
    }
}

/// A file is taken, or every problem is told in plain text: what a file holds is not printed as it is.
pub fn configuration(bytes: &[u8]) {
    // It is read from a file, and other threads read theirs.
    let name = format!("pigello-gateway-{}-{:?}.toml", process::id(), thread::current().id());
    let path = env::temp_dir().join(name);
    fs::write(&path, bytes).expect("a temporary file");
    let loaded = config::load(slice::from_ref(&path), iter::empty());
    fs::remove_file(path).expect("it is there");
    if let Err(problems) = loaded {
        let told = problems.to_string();
        assert!(!told.is_empty());
        assert!(!told.chars().any(|char| char.is_control() && char != '\n'), "{told:?}");
    }
}
