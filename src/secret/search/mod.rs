//! Searches a text for a secret, in whatever form an accident may give it.
//!
//! An error page repeats a request as it is, in JSON, in a link, in base64, or in one of these inside
//! another. A list of such forms is never complete. So the search undoes what it finds and looks at the
//! result:
//!
//! | part | undoes |
//! | --- | --- |
//! | [`needle`] | nothing: compares with the secret |
//! | [`escaping`] | percent-encoding, HTML entities and backslash escapes, all of them in one pass; quoted-printable; the NULs of UTF-16 |
//! | [`radix`] | base64, base32 and hexadecimal digits |
//!
//! Each result is searched in the same way, up to [`DEPTH`] times. The work is linear in the text: a
//! result is never longer than what it came from, and digits are decoded only where enough of them stand
//! together to hold the secret.

mod escaping;
mod needle;
mod radix;
mod runs;

use std::{cmp::min, fmt};

use zeroize::Zeroizing;

use self::{
    escaping::{ESCAPES, ESCAPINGS, Undone},
    needle::Needle,
    radix::RADIXES,
    runs::runs,
};

/// The search for one secret.
pub struct SecretSearch {
    needles: Vec<Needle>,
    /// The same in lower case, for field names.
    in_lower_case: Vec<Needle>,
    /// The length of the shortest needle in bytes. No form of the secret is shorter.
    shortest: usize,
    /// The longest end of a text that is kept because the secret may begin there, in bytes.
    longest_kept: usize,
}

/// The result of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretMatch {
    /// The text does not have the secret.
    Absent,
    /// The text has the secret.
    Present,
    /// The text does not have the secret, but what follows may complete it.
    Beginning {
        /// The position from which the text has to be searched again, together with what follows.
        keep: usize,
        /// The position from which the text begins like the secret. Between the two may stand a part of an
        /// escape, or up to three bytes in base64.
        hold: usize,
    },
}

impl SecretSearch {
    /// The fewest characters of a secret that is searched for. Texts contain shorter words by chance.
    pub const SHORTEST: usize = 8;

    /// The search for a secret. A secret shorter than [`Self::SHORTEST`] is in no text.
    pub(super) fn new(secret: &str) -> Self {
        let needles = needles_of(secret.as_bytes());
        let in_lower_case = needles_of(&Zeroizing::new(secret.as_bytes().to_ascii_lowercase()));
        let shortest = needles.iter().map(Needle::len).min().unwrap_or(usize::MAX);
        let longest_kept = secret.len().saturating_mul(KEPT_PER_CHARACTER);
        Self { needles, in_lower_case, shortest, longest_kept }
    }

    /// Searches a text that may continue.
    pub fn search(&self, text: &[u8]) -> SecretMatch {
        let Ok(tail) = self.look_into(&self.needles, text, true, DEPTH) else {
            return SecretMatch::Present;
        };
        let keep = tail.keep.max(text.len().saturating_sub(self.longest_kept));
        if keep >= text.len() {
            return SecretMatch::Absent;
        }
        SecretMatch::Beginning { keep, hold: tail.hold.max(keep) }
    }

    /// Whether a complete text has the secret.
    pub fn is_in(&self, text: &[u8]) -> bool {
        // Most field values are shorter.
        text.len() >= self.shortest && self.look_into(&self.needles, text, false, DEPTH).is_err()
    }

    /// Whether a field name has the secret. Names are in lower case.
    pub fn is_in_name(&self, name: &str) -> bool {
        let (needles, name) = (&self.in_lower_case, name.as_bytes());
        name.len() >= self.shortest && self.look_into(needles, name, false, DEPTH).is_err()
    }

    /// Looks for the needles in a text and in what it stands for. `is_open` is whether the text may continue;
    /// if not, the tail says nothing.
    fn look_into(
        &self,
        needles: &[Needle],
        text: &[u8],
        is_open: bool,
        depth: usize,
    ) -> Result<Tail, Found> {
        let mut tail = Tail::none(text.len());
        for needle in needles {
            if needle.is_in(text) {
                return Err(Found);
            }
            if is_open {
                let beginning = needle.beginning_in(text);
                tail.join(Tail { keep: beginning, hold: beginning });
            }
        }
        let Some(depth) = depth.checked_sub(1).filter(|_| !needles.is_empty()) else {
            return Ok(tail);
        };
        for escaping in &ESCAPINGS {
            let Some(Undone { text: mut undone, open, last }) = escaping.undo(text) else {
                continue;
            };
            let inner = self.look_into(needles, &undone, is_open, depth)?;
            let at = |position| match position {
                end if end == undone.len() => text.len(),
                position => escaping.source_of(text, position),
            };
            tail.join(Tail { keep: min(open, at(inner.keep)), hold: at(inner.hold) });
            if let Some(last) = last {
                undone.push(last);
                self.look_into(needles, &undone, false, depth)?;
            }
        }
        for radix in &RADIXES {
            let fewest = radix.digits_of(self.shortest);
            for run in runs(text, fewest, is_open, |byte| radix.has(byte)) {
                let is_open = is_open && run.end == text.len();
                let (start, run) = (run.start, text.get(run).unwrap_or_default());
                let digits = radix.digits(run);
                for skipped in 0..radix.alignments {
                    let decoded = radix.decode(digits.get(skipped..).unwrap_or_default());
                    let inner = self.look_into_bytes(needles, &decoded, is_open, depth)?;
                    if is_open {
                        let at = |digit| start + radix.source_of(run, skipped + digit);
                        let is_likely = decoded.len() - inner.hold >= LIKELY;
                        tail.join(Tail {
                            keep: at(radix.group_of(inner.keep)),
                            hold: if is_likely {
                                at(radix.digit_of(inner.hold))
                            } else {
                                text.len()
                            },
                        });
                    }
                }
            }
        }
        Ok(tail)
    }

    /// Looks into the texts between bytes that are in no form of the secret. Digits that stand for something
    /// else, or are read with a wrong alignment, have few.
    fn look_into_bytes(
        &self,
        needles: &[Needle],
        bytes: &[u8],
        is_open: bool,
        depth: usize,
    ) -> Result<Tail, Found> {
        let mut tail = Tail::none(bytes.len());
        for run in runs(bytes, self.shortest, is_open, is_text) {
            let is_open = is_open && run.end == bytes.len();
            let start = run.start;
            if is_open && run.len() < LIKELY {
                tail.keep = start;
                continue;
            }
            let text = bytes.get(run).unwrap_or_default();
            let inner = self.look_into(needles, text, is_open, depth)?;
            if is_open {
                tail = Tail { keep: start + inner.keep, hold: start + inner.hold };
            }
        }
        Ok(tail)
    }
}

/// Whether a form of the secret may have such a byte.
const fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r' | 0)
}

/// The texts to look for. The pass that undoes escapes also undoes what only looks like one in the
/// secret, so that is done to the secret, too.
fn needles_of(secret: &[u8]) -> Vec<Needle> {
    let mut needles = Vec::new();
    let mut next = Some(Zeroizing::new(secret.to_vec()));
    while let Some(text) = next.filter(|text| text.len() >= SecretSearch::SHORTEST) {
        next = ESCAPES.undo(&text).map(|undone| undone.text);
        needles.push(Needle::new(text));
    }
    needles
}

impl fmt::Debug for SecretSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSearch(…)")
    }
}

/// The secret was found.
struct Found;

/// The positions of [`SecretMatch::Beginning`]. Without a beginning, both are the length of the text.
#[derive(Clone, Copy)]
struct Tail {
    keep: usize,
    hold: usize,
}

impl Tail {
    fn none(length: usize) -> Self {
        Self { keep: length, hold: length }
    }

    fn join(&mut self, other: Self) {
        self.keep = min(self.keep, other.keep);
        self.hold = min(self.hold, other.hold);
    }
}

/// How often the result of undoing is itself searched: for two forms, one inside the other, of two steps
/// each, such as base64 of UTF-16, or base64 in lines with `\r\n` in JSON between them.
const DEPTH: usize = 4;

/// How many decoded bytes must be like the secret before a run of digits is held back. Of the words that
/// a piece of innocent text ends with, one in a hundred is like a single byte of it.
const LIKELY: usize = 3;

/// The longest text of one character that is kept: ten bytes (`\U0000002F`) in each of two forms.
const KEPT_PER_CHARACTER: usize = 100;

#[cfg(test)]
mod tests;
