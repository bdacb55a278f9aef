//! Sizes as text: `64KiB`, `1MiB`.

use std::{fmt, str::FromStr};

/// A number of bytes that prints as the configuration writes it, or with `{:#}` as a sentence has it: `8 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// A number of KiB.
    pub const fn kibi(count: u64) -> Self {
        Self(count * 1024)
    }

    /// A number of MiB.
    pub const fn mebi(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// The number as a `usize`, or the greatest one if it is too large.
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A number without a unit is refused, because its unit would be a guess.
        match text.parse::<bytesize::ByteSize>() {
            Ok(size) if text.ends_with('B') && size.as_u64() < u64::MAX => Ok(Self(size.as_u64())),
            _ => Err(ByteSizeError),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let whole = |shift: u32| self.0 != 0 && self.0.trailing_zeros() >= shift;
        let (unit, shift) = UNITS.into_iter().find(|(_, shift)| whole(*shift)).unwrap_or(("B", 0));
        let space = if f.alternate() { " " } else { "" };
        write!(f, "{}{space}{unit}", self.0 >> shift)
    }
}

/// The text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a size; write it with a unit, like \"64KiB\", \"1MiB\" or \"2GiB\"")]
pub struct ByteSizeError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_size_is_read_again() {
        assert_eq!(format!("{0} {0:#}", ByteSize::mebi(8)), "8MiB 8 MiB");
        for text in ["0B", "17B", "64KiB", "1MiB", "1536KiB", "2GiB", "3TiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!("1kB".parse(), Ok(ByteSize(1000)));
        for text in ["", "64", "64 parsecs", "-1KiB", "99999999999TiB", "many KiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
        }
    }
}
