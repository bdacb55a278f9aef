//! Why a source is read, and what it means for a held set that it cannot be.

/// Why a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::credentials) enum RefreshReason {
    /// The interval is over, or files changed.
    Scheduled,
    /// Calls wait for a newer version. Such reads may come several times a second.
    CallsWait,
    /// An operator wants the source's version, even if it is older than the one in use.
    Operator,
}

/// What a failed read means for the set that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::credentials) enum SourceFailure {
    /// The source is away or damaged, which says nothing about the set.
    Unavailable,
    /// The set was deleted, or reading it was forbidden.
    Withdrawn,
}
