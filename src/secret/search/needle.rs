//! Finds a text in another one, where `+` and a space are the same: a form writes one for the other
//! (`application/x-www-form-urlencoded`).

use memchr::memmem::Finder;
use zeroize::Zeroizing;

/// A text to look for.
pub(super) struct Needle {
    text: Zeroizing<Vec<u8>>,
    /// Finds a few bytes of it. More would be a copy of the secret that nobody wipes.
    anchor: Finder<'static>,
    anchor_at: usize,
}

impl Needle {
    pub(super) fn new(text: Zeroizing<Vec<u8>>) -> Self {
        let of_itself =
            |part: &&[u8]| part.iter().all(|byte| fold(*byte) == *byte && *byte != b' ');
        let windows = || text.windows(ANCHOR);
        let anchor_at = windows().position(|part| of_itself(&part));
        let anchor = match anchor_at {
            Some(at) => text.get(at..).and_then(|text| text.get(..ANCHOR)).unwrap_or_default(),
            // Found everywhere. No real secret is without four such characters in a row.
            None => &[],
        };
        let anchor = Finder::new(anchor).into_owned();
        Self { text, anchor, anchor_at: anchor_at.unwrap_or_default() }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let mut from = 0;
        while let Some(found) = text.get(from..).and_then(|rest| self.anchor.find(rest)) {
            let at = from + found;
            let candidate = at.checked_sub(self.anchor_at).and_then(|start| text.get(start..));
            if candidate
                .and_then(|text| text.get(..self.len()))
                .is_some_and(|text| self.begins(text))
            {
                return true;
            }
            from = at + 1;
        }
        false
    }

    /// The first position from which the text, to its end, is the beginning of the needle. The length of
    /// the text, if there is none.
    pub(super) fn beginning_in(&self, text: &[u8]) -> usize {
        let first = text.len().saturating_sub(self.len().saturating_sub(1));
        let is_it = |at: &usize| text.get(*at..).is_some_and(|end| self.begins(end));
        (first..text.len()).find(is_it).unwrap_or(text.len())
    }

    /// Whether the needle begins with a text that is not longer.
    fn begins(&self, text: &[u8]) -> bool {
        text.iter().zip(self.text.iter()).all(|(one, other)| fold(*one) == fold(*other))
    }
}

const fn fold(byte: u8) -> u8 {
    if byte == b'+' { b' ' } else { byte }
}

/// The number of bytes that a search looks for at first.
const ANCHOR: usize = 4;
