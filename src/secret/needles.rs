//! Searches a response for a secret.
//!
//! An error page may repeat a request verbatim, in JSON, in a link or in base64. Each of these forms of
//! the secret is a needle. One pass searches for the first bytes of all needles; the rest is compared
//! where they are found. So the searcher has only a few bytes of the secret, and all longer copies are
//! here and wiped when dropped.

use std::fmt;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use base64::Engine as _;
use zeroize::Zeroizing;

/// The needles of one secret.
pub struct Needles {
    starts: Option<AhoCorasick>,
    forms: Vec<Zeroizing<Vec<u8>>>,
    /// The length of the shortest needle.
    shortest: usize,
}

/// The result of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretMatch {
    /// The text does not have the secret.
    Absent,
    /// The text has the secret.
    Present,
    /// From this position to its end, the text may be the beginning of the secret.
    Beginning(usize),
}

impl Needles {
    /// The needles of a secret. A secret shorter than [`Self::SHORTEST`] has none, because texts contain
    /// short words by chance.
    pub(super) fn of(secret: &str) -> Self {
        let mut needles: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut add = |needle: Vec<u8>| {
            let needle = Zeroizing::new(needle);
            if needle.len() >= Self::SHORTEST && !needles.contains(&needle) {
                needles.push(needle);
            }
        };
        if secret.len() >= Self::SHORTEST {
            add(secret.as_bytes().to_vec());
            for skip in 0..3 {
                let Some(aligned) = secret.as_bytes().get(skip..) else { continue };
                // Only whole groups, because the characters at the ends depend on the bytes beside them.
                let groups = aligned.get(..aligned.len() / 3 * 3).unwrap_or_default();
                add(base64::prelude::BASE64_STANDARD_NO_PAD.encode(groups).into_bytes());
                add(base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(groups).into_bytes());
            }
            for escape in ESCAPES {
                add(secret.bytes().flat_map(escape).collect());
            }
        }
        let mut starts: Vec<&[u8]> =
            needles.iter().filter_map(|needle| needle.get(..START)).collect();
        starts.sort_unstable();
        starts.dedup();
        let searcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(&starts);
        // The build of so few short patterns does not fail.
        let starts = searcher.ok().filter(|_| !starts.is_empty());
        let shortest = needles.iter().map(|needle| needle.len()).min().unwrap_or(usize::MAX);
        Self { starts, forms: needles, shortest }
    }

    /// The length of the shortest needle.
    pub const SHORTEST: usize = 8;

    /// Searches a text that may continue.
    pub fn search(&self, text: &[u8]) -> SecretMatch {
        let mut beginning = None;
        for at in self.starts_in(text) {
            let rest = text.get(at..).unwrap_or_default();
            for needle in &self.forms {
                if rest.starts_with(needle) {
                    return SecretMatch::Present;
                }
                if needle.starts_with(rest) {
                    beginning.get_or_insert(at);
                }
            }
        }
        // The search misses an end that is shorter than a start.
        let last = text.len().saturating_sub(START - 1)..text.len();
        let beginning = beginning.or_else(|| {
            last.into_iter().find(|at| {
                let rest = text.get(*at..).unwrap_or_default();
                self.forms.iter().any(|needle| needle.starts_with(rest))
            })
        });
        beginning.map_or(SecretMatch::Absent, SecretMatch::Beginning)
    }

    /// Whether a complete text has the secret.
    pub fn are_in(&self, text: &[u8]) -> bool {
        // Most header values are shorter than all needles.
        text.len() >= self.shortest
            && self.starts_in(text).any(|at| {
                let rest = text.get(at..).unwrap_or_default();
                self.forms.iter().any(|needle| rest.starts_with(needle))
            })
    }

    /// The positions where a needle may begin.
    fn starts_in<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let mut from = 0;
        std::iter::from_fn(move || {
            let found = self.starts.as_ref()?.find(Input::new(text).range(from..))?;
            from = found.start() + 1;
            Some(found.start())
        })
    }
}

impl fmt::Debug for Needles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Needles({})", self.forms.len())
    }
}

/// The text of a byte in some format.
type Escape = fn(u8) -> Vec<u8>;

const ESCAPES: [Escape; 10] = [
    |byte| percent(byte, is_unreserved(byte), false),
    |byte| percent(byte, is_unreserved(byte), true),
    // application/x-www-form-urlencoded.
    |byte| if byte == b' ' { b"+".to_vec() } else { percent(byte, is_unreserved(byte), false) },
    |byte| percent(byte, false, false),
    |byte| percent(byte, false, true),
    |byte| match byte {
        b'"' | b'\\' => vec![b'\\', byte],
        _ => vec![byte],
    },
    |byte| match byte {
        b'"' | b'\\' | b'/' => vec![b'\\', byte],
        _ => vec![byte],
    },
    // JSON inside HTML (Go's `encoding/json`, Django's `json_script`).
    |byte| match byte {
        b'"' | b'\\' => vec![b'\\', byte],
        b'<' | b'>' | b'&' => format!("\\u00{byte:02x}").into_bytes(),
        _ => vec![byte],
    },
    |byte| match byte {
        b'&' => b"&amp;".to_vec(),
        b'<' => b"&lt;".to_vec(),
        b'>' => b"&gt;".to_vec(),
        b'"' => b"&quot;".to_vec(),
        b'\'' => b"&#x27;".to_vec(),
        _ => vec![byte],
    },
    |byte| format!("{byte:02x}").into_bytes(),
];

fn percent(byte: u8, plain: bool, lower: bool) -> Vec<u8> {
    match (plain, lower) {
        (true, _) => vec![byte],
        (false, false) => format!("%{byte:02X}").into_bytes(),
        (false, true) => format!("%{byte:02x}").into_bytes(),
    }
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The number of bytes of each needle in the searcher. More would be copies of the secret.
const START: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "made-up/secret+with \"all\\ & <sorts>";

    fn forms() -> Vec<String> {
        let padded = |padding: &str| {
            base64::prelude::BASE64_STANDARD.encode(format!("{padding}{SECRET}{padding}"))
        };
        vec![
            SECRET.to_owned(),
            padded(""),
            padded("a"),
            padded("ab"),
            base64::prelude::BASE64_URL_SAFE.encode(SECRET),
            form_urlencoded::byte_serialize(SECRET.as_bytes()).collect(),
            serde_json::to_string(SECRET).unwrap(),
            serde_json::to_string(SECRET).unwrap().replace('/', "\\/"),
            "made-up%2Fsecret%2Bwith%20%22all%5C%20%26%20%3Csorts%3E".to_owned(),
            "made-up%2fsecret%2bwith%20%22all%5c%20%26%20%3csorts%3e".to_owned(),
            "made-up/secret+with &quot;all\\ &amp; &lt;sorts&gt;".to_owned(),
            "made-up/secret+with \\\"all\\\\ \\u0026 \\u003csorts\\u003e".to_owned(),
            SECRET.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")),
            SECRET.bytes().fold(String::new(), |hex, byte| hex + &format!("%{byte:02X}")),
        ]
    }

    #[test]
    fn each_form_is_found_and_nothing_else() {
        let needles = Needles::of(SECRET);
        for form in forms() {
            assert!(needles.are_in(form.as_bytes()), "{form}");
            assert!(needles.are_in(format!("<p>{form}</p>").as_bytes()), "{form}");
        }
        for text in ["", "made", "made-up", "made-up/secret+without", "made made made-up/secret"] {
            assert!(!needles.are_in(text.as_bytes()), "{text}");
        }
        assert_eq!(needles.search(b"abc"), SecretMatch::Absent);
        assert_eq!(needles.search(b"abc made-up/se"), SecretMatch::Beginning(4));
        assert_eq!(needles.search(b"abc m"), SecretMatch::Beginning(4));
        assert!(!format!("{needles:?}").contains("made"));
    }

    #[test]
    fn a_short_secret_is_not_searched_for() {
        assert!(!Needles::of("short").are_in(b"a short text"));
    }

    proptest! {
        /// The secret is found wherever the text is cut.
        #[test]
        fn a_cut_does_not_hide_the_secret(before in "[a-z ]{0,20}", cut in 0_usize..60, form in 0_usize..14) {
            let needles = Needles::of(SECRET);
            let text = format!("{before}{}", forms()[form]);
            let (left, right) = text.as_bytes().split_at(cut.min(text.len()));
            match needles.search(left) {
                SecretMatch::Present => {}
                SecretMatch::Absent => prop_assert!(needles.are_in(right)),
                SecretMatch::Beginning(at) => {
                    prop_assert!(needles.are_in(&[&left[at..], right].concat()));
                }
            }
        }
    }
}
