//! Peeks at a socket to detect pending data or a disconnect, without consuming bytes.
//!
//! hyper can only read for that, and needs a buffer. The client must know that a connection is still open
//! before it sends a request that it cannot send twice.

use std::{fmt, io, os::fd::BorrowedFd, sync::Arc};

use parking_lot::Mutex;
use rustix::net::{RecvFlags, recv};

use super::{BatchedWriter, SharedStream};

/// The socket of a [`BatchedWriter`] that another owner reads and writes.
pub struct PeerProbe<S> {
    shared: Arc<Mutex<SharedStream<S>>>,
    socket_of: fn(&S) -> BorrowedFd<'_>,
}

impl<S> BatchedWriter<S> {
    /// A probe of this connection, whose socket the function knows.
    pub fn probe(&self, socket_of: fn(&S) -> BorrowedFd<'_>) -> PeerProbe<S> {
        PeerProbe { shared: Arc::clone(&self.shared), socket_of }
    }
}

impl<S> PeerProbe<S> {
    /// Whether the peer is connected and all its bytes have been read, as the kernel knows it now. The
    /// runtime learns it at its next poll.
    pub fn is_idle(&self) -> bool {
        let shared = self.shared.lock();
        let socket = (self.socket_of)(&shared.stream);
        let peeked = recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked
            .map_err(io::Error::from)
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl<S> fmt::Debug for PeerProbe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerProbe")
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn pair() -> (TcpStream, BatchedWriter<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (peer, BatchedWriter::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn a_connection_with_bytes_or_without_its_peer_is_not_idle() {
        let (mut peer, mut stream) = pair().await;
        let probe = stream.probe(AsFd::as_fd);
        assert!(probe.is_idle());
        peer.write_all(b"x").await.unwrap();
        while probe.is_idle() {}
        assert_eq!(stream.read_u8().await.unwrap(), b'x', "it was not consumed");
        assert!(probe.is_idle());
        drop(peer);
        while probe.is_idle() {}
    }
}
