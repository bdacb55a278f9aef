//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// The other end of a connection, as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A peer of a Unix socket.
    Unix {
        /// Effective user id.
        uid: u32,
        /// Effective group id.
        gid: u32,
        /// Process id, if the kernel tells it.
        pid: Option<i32>,
    },
}
