//! The header fields that a collector asks for, such as a token. They come from a file, because their values
//! are secrets: no error and no log shows one.

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use crate::process::files::{ReadableByOthers, keep_readers_out, read_named};

/// Reads a file with a `name: value` on each line. Blank lines and lines that begin with `#` are passed over.
pub fn read_headers(path: &Path) -> Result<HeaderMap, HeadersError> {
    keep_readers_out(path)?;
    let unreadable = |source| HeadersError::Unreadable { path: path.to_owned(), source };
    let text = Zeroizing::new(read_named(path).map_err(unreadable)?);
    let mut headers = HeaderMap::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (name, value) = field(line)
            .ok_or_else(|| HeadersError::NoField { path: path.to_owned(), line: number })?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at(colon);
    let name = HeaderName::from_bytes(name.trim_ascii()).ok()?;
    if OF_THE_REQUEST.contains(&name) {
        return None;
    }
    let mut value = HeaderValue::from_bytes(value.get(1..)?.trim_ascii()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// What the request itself decides.
const OF_THE_REQUEST: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// Why a file gives no header fields. Never quotes the file.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// Others may read the file.
    #[error(transparent)]
    Readable(#[from] ReadableByOthers),
    /// A line is not a header field that may be set.
    #[error("{}:{line}: no header field that can be set, as in `authorization: Bearer …`", path.display())]
    NoField {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u32,
    },
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn read(text: &str) -> Result<HeaderMap, HeadersError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headers");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        read_headers(&path)
    }

    #[test]
    fn each_line_is_a_field_whose_value_is_not_shown() {
        let headers =
            read("# of the collector\nAuthorization: Bearer made:up\r\n\nx-scope : a\nx-scope: b")
                .unwrap();
        assert_eq!(headers["authorization"], "Bearer made:up");
        assert_eq!(headers.get_all("x-scope").iter().count(), 2);
        assert!(!format!("{headers:?}").contains("made"), "{headers:?}");
    }

    #[test]
    fn what_is_no_field_is_named_by_its_line_and_not_quoted() {
        for bad in ["made up", ": made-up", "a b: made-up", "Host: made.up", "a: made\u{1}up"] {
            let error = read(&format!("x: y\n{bad}")).unwrap_err().to_string();
            assert!(error.contains("headers:2:") && !error.contains("made"), "{error}");
        }
    }
}
