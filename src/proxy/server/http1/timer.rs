//! The waits of a connection. It waits for one thing at a time, and one timer limits it.

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The first byte of a request.
    Request,
    /// The same, after the idle time. The caller may have sent it before it could know.
    LateRequest,
    /// The same, on a new connection while the gateway drains.
    FirstRequest,
    /// The rest of a head.
    Head,
    /// The caller, which takes too little. It has taken this many pieces.
    Write(u64),
    /// More bytes from a caller whose connection closes. It has sent this many.
    Close(u64),
}

/// Limits the current wait.
pub(super) type Timer = crate::proxy::server::timer::Timer<Wait>;
