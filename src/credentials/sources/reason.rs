//! Why a source is read, and what it means for a held set that it cannot be.

/// Why a source is read. Only scheduled reads repeat a login that was refused: they pause in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::credentials) enum RefreshReason {
    /// The interval is over, files changed, or the gateway starts or reloads.
    Scheduled,
    /// Calls wait for a newer version. Such reads may come several times a second.
    CallsWait,
    /// An operator wants the source's version now.
    Operator,
    /// An operator wants the source's version, even if it is older than the one in use.
    AcceptOlder,
}

/// What a failed read means for the set that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::credentials) enum SourceFailure {
    /// The source is away or damaged, which says nothing about the set.
    Unavailable,
    /// The set was deleted, or reading it was forbidden.
    Withdrawn,
}
