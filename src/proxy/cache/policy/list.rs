//! Comma-separated lists with quoted strings (RFC 9110 §5.6.1, §5.6.4).

/// The members of a list, trimmed and never empty. A comma between quotes separates nothing.
///
/// `escapes` says whether a backslash between quotes escapes the next byte. It does in a quoted string,
/// but not in an entity tag (RFC 9110 §8.8.3).
pub(super) fn members(list: &[u8], escapes: bool) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let members = list.split(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted && escapes => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    });
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}
