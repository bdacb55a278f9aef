//! Checks the field blocks of requests before h2 has them.
//!
//! h2 ends the whole connection for a byte that no field can have, and with it the requests beside; it
//! cuts a fragment off a path, and resets what is left of the malformed requests without a word. Here a
//! request with such bytes gets harmless ones of the same length in their place, so that h2 and its field
//! table go on, and the reason is kept: the request is refused when h2 hands it over.

use std::ops::Range;

use bytes::Bytes;
use http::Method;

use super::hpack::{Field, FieldTable, Invalid, write_text};
use crate::{
    domain::check_target_bytes,
    proxy::server::http1::{
        ParseError,
        head::{is_field_byte, is_tchar},
    },
};

/// A request that is malformed.
#[derive(Debug)]
pub(super) struct Malformed {
    /// Its method and its path, as it states them.
    pub(super) method: Option<Method>,
    pub(super) path: Option<Bytes>,
    pub(super) error: ParseError,
}

/// Checks a block. Returns what is wrong with it, and a block without that.
pub(super) fn check(
    table: &mut FieldTable,
    block: &[u8],
) -> Result<Option<(Malformed, Vec<u8>)>, Invalid> {
    let (mut method, mut path, mut error) = (None, None, None);
    // What replaces parts of the block.
    let mut harmless: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    let mut fields = table.read(block);
    while let Some(field) = fields.next_field()? {
        if let Some(wrong) = wrong(&field) {
            error.get_or_insert(wrong);
            if wrong == ParseError::FieldName {
                harmless.extend(field.name_at.clone().map(|at| (at, vec![b'x'; field.name.len()])));
            }
            let byte = if matches!(wrong, ParseError::Target(_)) { b'/' } else { b'x' };
            harmless.extend(field.value_at.clone().map(|at| (at, vec![byte; field.value.len()])));
        }
        match &*field.name {
            b":method" => method = Method::from_bytes(&field.value).ok(),
            b":path" => path = Some(field.value),
            _ => {}
        }
    }
    let Some(error) = error else { return Ok(None) };
    let (mut clean, mut copied) = (Vec::with_capacity(block.len()), 0);
    for (at, text) in harmless {
        clean.extend_from_slice(block.get(copied..at.start).unwrap_or_default());
        write_text(&mut clean, &text);
        copied = at.end;
    }
    clean.extend_from_slice(block.get(copied..).unwrap_or_default());
    Ok(Some((Malformed { method, path, error }, clean)))
}

/// What is wrong with a field, if h2 ends the connection for it or repairs it.
fn wrong(field: &Field) -> Option<ParseError> {
    let value = &*field.value;
    let (is_right, error) = match &*field.name {
        b":path" => return check_target_bytes(value).err().map(ParseError::Target),
        b":method" => (value.iter().all(|byte| is_tchar(*byte)), ParseError::Method),
        b":scheme" | b":authority" => {
            (value.iter().all(u8::is_ascii_graphic), ParseError::FieldValue)
        }
        // An unknown pseudo-header field, or one of a response. h2 ends the connection.
        [b':', ..] | [] => return None,
        name if !name.iter().all(|byte| is_tchar(*byte) && !byte.is_ascii_uppercase()) => {
            (false, ParseError::FieldName)
        }
        _ => (value.iter().all(|byte| is_field_byte(*byte)), ParseError::FieldValue),
    };
    (!is_right).then_some(error)
}
