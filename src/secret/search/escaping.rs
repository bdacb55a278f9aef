//! Undoes escapes: texts that stand for one other character.
//!
//! [`ESCAPES`] are those with a mark of their own, which a text may mix. Quoted-printable is apart, because
//! its mark also stands before the value of a parameter (`secret=ab…`).

use memchr::{memchr, memchr3};
use zeroize::Zeroizing;

/// A way to write characters as others.
pub(super) struct Escaping {
    /// The next position at which an escape may begin.
    find: fn(&[u8]) -> Option<usize>,
    /// Reads what begins there.
    read: fn(&[u8]) -> Unit,
}

/// What begins at a mark.
enum Unit {
    /// No escape: the mark stands for itself.
    Plain,
    /// A byte, and the number of bytes that stand for it.
    Byte(u8, usize),
    /// So many bytes that stand for nothing.
    Nothing(usize),
    /// The text ends inside an escape; what that stands for, if nothing follows.
    Open(Option<u8>),
}

/// A text without its escapes.
pub(super) struct Undone {
    pub(super) text: Zeroizing<Vec<u8>>,
    /// The position of an escape that the end of the source cuts. The length of the source, if there is none.
    pub(super) open: usize,
    /// What that escape stands for, if nothing follows.
    pub(super) last: Option<u8>,
}

/// All of them.
pub(super) const ESCAPINGS: [Escaping; 3] = [ESCAPES, QUOTED_PRINTABLE, WIDE];

/// Percent-encoding (RFC 3986 §2.1, and `%u002F` of JavaScript's `escape`), HTML entities, and backslash
/// escapes of JSON, JavaScript, Python, Java, C and CSS.
pub(super) const ESCAPES: Escaping = Escaping {
    find: |text| memchr3(b'%', b'&', b'\\', text),
    read: |text| match text {
        [b'%', rest @ ..] => percent(rest),
        [b'&', rest @ ..] => entity(rest),
        _ => backslash(text),
    },
};

/// RFC 2045 §6.7, with digits in upper case, as it demands.
const QUOTED_PRINTABLE: Escaping = Escaping {
    find: |text| memchr(b'=', text),
    read: |text| match text {
        [_] | [_, b'\r'] => Unit::Open(None),
        [_, b'\n', ..] => Unit::Nothing(2),
        [_, b'\r', b'\n', ..] => Unit::Nothing(3),
        [_, rest @ ..] if rest.iter().take(2).any(u8::is_ascii_lowercase) => Unit::Plain,
        _ => number(text, 1, 2, 16),
    },
};

/// The NULs of ASCII characters in UTF-16 and UTF-32, in either order of bytes.
const WIDE: Escaping = Escaping {
    find: |text| memchr(0, text),
    read: |text| Unit::Nothing(text.iter().take_while(|byte| **byte == 0).count()),
};

impl Escaping {
    /// The text without its escapes. `None` if it has none.
    pub(super) fn undo(&self, source: &[u8]) -> Option<Undone> {
        let mut next = self.next(source, 0)?;
        // Never longer, so that it is never moved and leaves no copy.
        let mut text = Zeroizing::new(Vec::with_capacity(source.len()));
        let (mut open, mut last) = (source.len(), None);
        let mut done = 0;
        loop {
            let (at, unit) = next;
            text.extend_from_slice(source.get(done..at).unwrap_or_default());
            done = match unit {
                Unit::Byte(byte, length) => {
                    text.push(byte);
                    at + length
                }
                Unit::Plain => at,
                Unit::Nothing(length) => at + length,
                Unit::Open(byte) => {
                    (open, last) = (at, byte);
                    source.len()
                }
            };
            match self.next(source, done) {
                Some(found) => next = found,
                None => break,
            }
        }
        text.extend_from_slice(source.get(done..).unwrap_or_default());
        Some(Undone { text, open, last })
    }

    /// The position in the source that a position in the undone text comes from.
    pub(super) fn source_of(&self, source: &[u8], position: usize) -> usize {
        let (mut done, mut length) = (0, 0);
        while let Some((at, unit)) = self.next(source, done) {
            let copied = at - done;
            if position <= length + copied {
                break;
            }
            length += copied;
            done = match unit {
                Unit::Byte(_, bytes) => {
                    length += 1;
                    at + bytes
                }
                Unit::Plain => at,
                Unit::Nothing(bytes) => at + bytes,
                Unit::Open(_) => return source.len(),
            };
        }
        (done + position.saturating_sub(length)).min(source.len())
    }

    /// The next escape.
    fn next(&self, source: &[u8], mut from: usize) -> Option<(usize, Unit)> {
        loop {
            let rest = source.get(from..)?;
            let at = (self.find)(rest)?;
            match (self.read)(rest.get(at..)?) {
                Unit::Plain => from += at + 1,
                unit => return Some((from + at, unit)),
            }
        }
    }
}

/// After `%`.
fn percent(rest: &[u8]) -> Unit {
    let unit = match rest {
        [b'u' | b'U', ..] => number(rest, 1, 4, 16),
        _ => number(rest, 0, 2, 16),
    };
    longer(unit, 1)
}

/// After `&`: a number or a name, with `;` or, for what HTML calls a parse error, without.
fn entity(rest: &[u8]) -> Unit {
    match rest {
        [b'#', b'x' | b'X', digits @ ..] => numeric(digits, 3, 16),
        [b'#', digits @ ..] => numeric(digits, 2, 10),
        _ => named(rest),
    }
}

fn numeric(digits: &[u8], before: usize, radix: u32) -> Unit {
    let count =
        digits.iter().take(LONGEST_NUMBER).take_while(|byte| is_digit(**byte, radix)).count();
    let value = value(digits, count, radix).and_then(ascii);
    match (digits.get(count), value) {
        (None, _) if count < LONGEST_NUMBER => Unit::Open(value),
        (Some(b';'), Some(byte)) => Unit::Byte(byte, before + count + 1),
        (_, Some(byte)) => Unit::Byte(byte, before + count),
        (_, None) => Unit::Plain,
    }
}

fn named(rest: &[u8]) -> Unit {
    let count =
        rest.iter().take(LONGEST_NAME).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let name = rest.get(..count).unwrap_or_default();
    if rest.get(count) == Some(&b';')
        && let Some((_, byte)) = NAMES.iter().find(|(known, _)| known.as_bytes() == name)
    {
        return Unit::Byte(*byte, 1 + count + 1);
    }
    let old = OLD_NAMES.iter().find(|(known, _)| name.starts_with(known.as_bytes()));
    let is_cut = count == rest.len();
    match old {
        Some((known, byte)) if !(is_cut && known.len() == count) => {
            Unit::Byte(*byte, 1 + known.len())
        }
        Some((_, byte)) => Unit::Open(Some(*byte)),
        None if is_cut && NAMES.iter().any(|(known, _)| known.as_bytes().starts_with(name)) => {
            Unit::Open(None)
        }
        None => Unit::Plain,
    }
}

/// One or more backslashes, because each format that is inside another doubles them. Those that begin no
/// escape of a number or a control character are dropped.
fn backslash(text: &[u8]) -> Unit {
    let run = text.iter().take_while(|byte| **byte == b'\\').count();
    let rest = text.get(run..).unwrap_or_default();
    let unit = match rest {
        [] => return Unit::Open(None),
        [b'x' | b'u', b'{', ..] => braced(rest),
        [b'x', ..] => number(rest, 1, 2, 16),
        [b'u', ..] => number(rest, 1, 4, 16),
        [b'U', ..] => number(rest, 1, 8, 16),
        [b'0'..=b'7', ..] => octal_or_css(rest),
        [b'n', ..] => Unit::Byte(b'\n', 1),
        [b'r', ..] => Unit::Byte(b'\r', 1),
        [b't', ..] => Unit::Byte(b'\t', 1),
        [b'b', ..] => Unit::Byte(0x08, 1),
        [b'f', ..] => Unit::Byte(0x0c, 1),
        _ => Unit::Plain,
    };
    match unit {
        Unit::Plain => Unit::Nothing(run),
        unit => longer(unit, run),
    }
}

/// `u{2F}` and `x{2F}`.
fn braced(rest: &[u8]) -> Unit {
    let digits = rest.get(2..).unwrap_or_default();
    let count = digits.iter().take(LONGEST_NUMBER).take_while(|byte| is_digit(**byte, 16)).count();
    match (digits.get(count), value(digits, count, 16).and_then(ascii)) {
        (None, _) if count < LONGEST_NUMBER => Unit::Open(None),
        (Some(b'}'), Some(byte)) => Unit::Byte(byte, 2 + count + 1),
        _ => Unit::Plain,
    }
}

/// `057`, or `2f ` and `00002f` of CSS, where a form may have written the space as `+`.
fn octal_or_css(rest: &[u8]) -> Unit {
    if rest.starts_with(b"0000") || b"0000".starts_with(rest) {
        return number(rest, 0, 6, 16);
    }
    match number(rest, 0, 3, 8) {
        Unit::Plain => {}
        octal => return octal,
    }
    let count = rest.iter().take(6).take_while(|byte| is_digit(**byte, 16)).count();
    let byte = value(rest, count, 16).and_then(ascii).filter(|byte| (b' '..=b'~').contains(byte));
    match (rest.get(count), byte) {
        (None, byte) if count < 6 => Unit::Open(byte),
        (Some(b' ' | b'+' | b'\t' | b'\n'), Some(byte)) => Unit::Byte(byte, count + 1),
        _ => Unit::Plain,
    }
}

/// A number of exactly `count` digits that stand `before` bytes after the beginning.
fn number(text: &[u8], before: usize, count: usize, radix: u32) -> Unit {
    let digits = text.get(before..).unwrap_or_default();
    let found = digits.iter().take(count).take_while(|byte| is_digit(**byte, radix)).count();
    if found < count {
        return if found == digits.len() { Unit::Open(None) } else { Unit::Plain };
    }
    match value(digits, count, radix).map(u8::try_from) {
        Some(Ok(byte)) => Unit::Byte(byte, before + count),
        _ => Unit::Plain,
    }
}

/// The value of the first `count` digits. `None` without a digit.
fn value(digits: &[u8], count: usize, radix: u32) -> Option<u32> {
    let digits = digits.get(..count).filter(|digits| !digits.is_empty())?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

fn ascii(value: u32) -> Option<u8> {
    u8::try_from(value).ok().filter(u8::is_ascii)
}

fn is_digit(byte: u8, radix: u32) -> bool {
    char::from(byte).is_digit(radix)
}

fn longer(unit: Unit, by: usize) -> Unit {
    match unit {
        Unit::Byte(byte, length) => Unit::Byte(byte, length + by),
        other => other,
    }
}

/// The most digits of a number of any length.
const LONGEST_NUMBER: usize = 8;
/// One more than the longest of [`NAMES`].
const LONGEST_NAME: usize = 17;

/// The names that HTML knows without `;`.
const OLD_NAMES: [(&str, u8); 8] = [
    ("amp", b'&'),
    ("AMP", b'&'),
    ("lt", b'<'),
    ("LT", b'<'),
    ("gt", b'>'),
    ("GT", b'>'),
    ("quot", b'"'),
    ("QUOT", b'"'),
];

/// The names of ASCII characters (HTML, "Named character references").
const NAMES: [(&str, u8); 46] = [
    ("AMP", b'&'),
    ("DiacriticalGrave", b'`'),
    ("GT", b'>'),
    ("Hat", b'^'),
    ("LT", b'<'),
    ("NewLine", b'\n'),
    ("QUOT", b'"'),
    ("Tab", b'\t'),
    ("UnderBar", b'_'),
    ("VerticalLine", b'|'),
    ("amp", b'&'),
    ("apos", b'\''),
    ("ast", b'*'),
    ("bsol", b'\\'),
    ("colon", b':'),
    ("comma", b','),
    ("commat", b'@'),
    ("dollar", b'$'),
    ("equals", b'='),
    ("excl", b'!'),
    ("grave", b'`'),
    ("gt", b'>'),
    ("lbrace", b'{'),
    ("lbrack", b'['),
    ("lcub", b'{'),
    ("lowbar", b'_'),
    ("lpar", b'('),
    ("lsqb", b'['),
    ("lt", b'<'),
    ("midast", b'*'),
    ("nbsp", b' '),
    ("num", b'#'),
    ("percnt", b'%'),
    ("period", b'.'),
    ("plus", b'+'),
    ("quest", b'?'),
    ("quot", b'"'),
    ("rbrace", b'}'),
    ("rbrack", b']'),
    ("rcub", b'}'),
    ("rpar", b')'),
    ("rsqb", b']'),
    ("semi", b';'),
    ("sol", b'/'),
    ("verbar", b'|'),
    ("vert", b'|'),
];
