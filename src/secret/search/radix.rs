//! Decodes base64, base32 and hexadecimal digits, wherever they stand and whatever comes before them.
//!
//! A text in such digits may begin anywhere in a run of them, so each alignment is decoded. It may be cut
//! into lines, and it may have any alphabet and padding.

use zeroize::Zeroizing;

/// A way to write bytes as digits.
pub(super) struct Radix {
    /// The bits of a digit.
    bits: usize,
    /// After so many digits a byte begins with a digit again.
    pub(super) alignments: usize,
    class: [u8; 256],
}

/// RFC 4648 §4 and §5, also mixed; RFC 4648 §6 in either case; hexadecimal digits in either case, with
/// separators or `0x` between them.
pub(super) static RADIXES: [Radix; 3] = [
    Radix::new(
        6,
        4,
        &[
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        ],
        b"\r\n",
        b"",
    ),
    Radix::new(
        5,
        8,
        &[b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"abcdefghijklmnopqrstuvwxyz234567"],
        b"\r\n",
        b"",
    ),
    Radix::new(4, 2, &[b"0123456789ABCDEF", b"0123456789abcdef"], b"\r\n\t :,-+", b"xX"),
];

impl Radix {
    #[expect(clippy::indexing_slicing, reason = "only a constant is made by it")]
    const fn new(
        bits: usize,
        alignments: usize,
        alphabets: &[&[u8]],
        separators: &[u8],
        marks: &[u8],
    ) -> Self {
        let mut class = [OUTSIDE; 256];
        let mut alphabet = 0;
        while alphabet < alphabets.len() {
            let mut digit: u8 = 0;
            while (digit as usize) < alphabets[alphabet].len() {
                class[alphabets[alphabet][digit as usize] as usize] = digit;
                digit += 1;
            }
            alphabet += 1;
        }
        let mut at = 0;
        while at < separators.len() {
            class[separators[at] as usize] = SEPARATOR;
            at += 1;
        }
        let mut at = 0;
        while at < marks.len() {
            class[marks[at] as usize] = MARK;
            at += 1;
        }
        Self { bits, alignments, class }
    }

    /// The fewest digits of so many bytes.
    pub(super) fn digits_of(&self, bytes: usize) -> usize {
        bytes.saturating_mul(8).div_ceil(self.bits)
    }

    /// Whether a byte is a digit or may stand between digits.
    pub(super) fn has(&self, byte: u8) -> bool {
        self.class_of(byte) != OUTSIDE
    }

    /// The values of the digits of a run.
    pub(super) fn digits(&self, run: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut digits = Zeroizing::new(Vec::with_capacity(run.len()));
        digits.extend(self.places(run).map(|(_, digit)| digit));
        digits
    }

    /// The digits of a run with their positions, without the `0` of `0x`.
    fn places<'a>(&'a self, run: &'a [u8]) -> impl Iterator<Item = (usize, u8)> + 'a {
        let class_at = |at: usize| run.get(at).map_or(OUTSIDE, |byte| self.class_of(*byte));
        let is_digit = |class| class < SEPARATOR;
        let is_of_mark = move |at: usize| {
            class_at(at) == 0
                && class_at(at + 1) == MARK
                && !at.checked_sub(1).is_some_and(|before| is_digit(class_at(before)))
        };
        run.iter()
            .map(|byte| self.class_of(*byte))
            .enumerate()
            .filter(move |(at, class)| is_digit(*class) && !is_of_mark(*at))
    }

    /// The whole bytes that digits stand for.
    pub(super) fn decode(&self, digits: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() * self.bits / 8 + 1));
        for group in digits.chunks(self.alignments) {
            let value = group.iter().fold(0, |value, digit| value << self.bits | u64::from(*digit));
            let length = group.len() * self.bits;
            let left = value << (u64::BITS as usize - length);
            bytes.extend(left.to_be_bytes().iter().take(length / 8));
        }
        bytes
    }

    /// The number of the digit with which a byte begins.
    pub(super) fn digit_of(&self, byte: usize) -> usize {
        byte * 8 / self.bits
    }

    /// The number of the last digit, up to that byte, with which a byte begins that has no bit of the digit
    /// before it. From there on the digits can be decoded.
    pub(super) fn group_of(&self, byte: usize) -> usize {
        self.digit_of(byte) / self.alignments * self.alignments
    }

    /// The position in a run of the digit with that number.
    pub(super) fn source_of(&self, run: &[u8], digit: usize) -> usize {
        self.places(run).nth(digit).map_or(run.len(), |(at, _)| at)
    }

    fn class_of(&self, byte: u8) -> u8 {
        self.class.get(usize::from(byte)).copied().unwrap_or(OUTSIDE)
    }
}

/// Classes of bytes that are no digits: what stands between digits, the `x` of `0x`, and all others.
const SEPARATOR: u8 = 0xfd;
const MARK: u8 = 0xfe;
const OUTSIDE: u8 = 0xff;
