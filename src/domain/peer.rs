//! Who is at the other end of a connection.

use std::{fmt, net::SocketAddr};

/// The other end of a connection, as the kernel reports it. The audit log shows it as `192.0.2.7:50312`, or as
/// `uid=1001 gid=1001 pid=42`.
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

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A socket for both versions shows an IPv4 peer as `::ffff:192.0.2.7`.
            Self::Tcp(address) => {
                write!(f, "{}", SocketAddr::new(address.ip().to_canonical(), address.port()))
            }
            Self::Unix { uid, gid, pid } => {
                write!(f, "uid={uid} gid={gid}")?;
                pid.map_or(Ok(()), |pid| write!(f, " pid={pid}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_reads_as_the_audit_log_has_it() {
        let tcp = |address: &str| Peer::Tcp(address.parse().unwrap()).to_string();
        assert_eq!(tcp("192.0.2.7:50312"), "192.0.2.7:50312");
        assert_eq!(tcp("[::ffff:192.0.2.7]:50312"), "192.0.2.7:50312");
        assert_eq!(tcp("[2001:db8::7]:50312"), "[2001:db8::7]:50312");
        let unix = |pid| Peer::Unix { uid: 1001, gid: 5, pid }.to_string();
        assert_eq!(
            (unix(Some(42)), unix(None)),
            ("uid=1001 gid=5 pid=42".into(), "uid=1001 gid=5".into())
        );
    }
}
