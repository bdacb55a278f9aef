//! A request, as the bytes that a client sends.

use http::{HeaderName, HeaderValue, Method, Uri, header};

use crate::{cli::Failure, domain::Operation};

/// The method and the target of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Line<'r> {
    pub(in crate::cli) method: &'r str,
    pub(in crate::cli) target: &'r str,
}

/// The name and the value of a header field.
pub(in crate::cli) type Field = (HeaderName, HeaderValue);

impl Line<'_> {
    /// The bytes of the head. Without a `Host` it names the target's host, or one that every listener serves.
    pub(super) fn head(self, fields: &[Field]) -> Vec<u8> {
        let Line { method, target } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        if !fields.iter().any(|(name, _)| name == header::HOST) {
            let uri = target.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some());
            let host =
                uri.as_ref().and_then(Uri::authority).map_or("localhost", |host| host.as_str());
            head.extend_from_slice(format!("host: {host}\r\n").as_bytes());
        }
        for (name, value) in fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// A method and a target, like `GET /accounts/…`. A method has the characters of a token (RFC 9110 §9.1), in
/// any case: whether the gateway takes it is for the gateway to say.
pub(in crate::cli) fn line_of<'r>(method: &'r str, target: &'r str) -> Result<Line<'r>, Failure> {
    match Method::from_bytes(method.as_bytes()) {
        Ok(_) => Ok(Line { method, target }),
        Err(_) => Err(Failure::usage(format!("`{}` is no method", method.escape_debug()))),
    }
}

/// A field written as `Name: value`. Its value may be a pasted secret, so no error quotes it.
pub(in crate::cli) fn field(text: &str) -> Option<Field> {
    let (name, value) = text.split_once(':')?;
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    Some((name, HeaderValue::from_bytes(value.trim().as_bytes()).ok()?))
}

/// The field that names the profile of a request.
pub(in crate::cli) fn profile_field(name: &str) -> Option<Field> {
    let value = HeaderValue::from_str(name).ok()?;
    Some((HeaderName::from_static("pigello-gateway-profile"), value))
}

/// The target of an operation, with an object that is nowhere.
pub(super) fn target_of(operation: &Operation) -> String {
    let segments = operation
        .template()
        .split('/')
        .map(|segment| if segment.starts_with('{') { PLACEHOLDER_ID } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// A UUID that no object has.
pub(in crate::cli) const PLACEHOLDER_ID: &str = "00000000-0000-4000-8000-000000000000";
