//! The path of a key in the configuration: `listeners[0].profile`.

use std::fmt;

/// The path of a key, from the root of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<Segment>);

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of a table.
    Key(String),
    /// An index in a list.
    Index(usize),
}

impl KeyPath {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// The key with that name below this path.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Segment::Key(key.into()))
    }

    /// The entry with that index of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// The table or list that this path is in; `None` at the root.
    pub fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, rest)| Self(rest.to_vec()))
    }

    /// Whether this is that key, or one below it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The steps.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The path one step below this one.
    pub(super) fn with(&self, segment: Segment) -> Self {
        let mut segments = Vec::with_capacity(self.0.len() + 1);
        segments.extend_from_slice(&self.0);
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) => {
                    if at > 0 {
                        f.write_str(".")?;
                    }
                    write!(f, "{}", Shown(key))?;
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A key or a name as a message shows it: as it is if it is a plain word, else quoted, escaped and
/// cut, so that nothing in a file can forge a line of output.
#[derive(Debug)]
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let cut: String = self.0.chars().take(LONGEST).collect();
        let more = if cut.len() < self.0.len() { "…" } else { "" };
        if !cut.is_empty() && cut.bytes().all(bare) {
            write!(f, "{cut}{more}")
        } else {
            write!(f, "\"{}{more}\"", cut.escape_debug())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_toml() {
        let path = KeyPath::root().key("listeners").index(0).key("tls").key("client_ca");
        assert_eq!(path.to_string(), "listeners[0].tls.client_ca");
        assert_eq!(path.parent().unwrap().to_string(), "listeners[0].tls");
        assert_eq!(KeyPath::root().key("a b\n").to_string(), "\"a b\\n\"");
        assert_eq!(KeyPath::root().to_string(), "");
        assert!(KeyPath::root().key("k".repeat(500)).to_string().len() < 90);
    }
}
