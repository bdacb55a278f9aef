//! Peeks at a socket to detect pending data or a disconnect, without consuming bytes.
//!
//! hyper can only read for that, and needs a buffer. The server must notice a caller that leaves during
//! its call, and the client must know that a connection is still open before it sends a request that it
//! cannot send twice.

use std::{
    fmt, io,
    os::fd::AsFd,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream};

use super::{BatchedWriter, SharedStream};

/// A socket on a runtime.
pub trait Socket: AsFd {
    /// Waits until the socket is readable: for bytes, the end or an error.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads with `read`, and tells the runtime if the socket was not readable.
    fn try_read<R>(&self, read: impl FnOnce() -> io::Result<R>) -> io::Result<R>;
}

impl Socket for TcpStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn try_read<R>(&self, read: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.try_io(Interest::READABLE, read)
    }
}

/// The socket of a [`BatchedWriter`] that another owner reads and writes.
pub struct PeerProbe<S>(Arc<Mutex<SharedStream<S>>>);

impl<S> BatchedWriter<S> {
    /// A probe of this connection.
    pub fn probe(&self) -> PeerProbe<S> {
        PeerProbe(Arc::clone(&self.shared))
    }
}

impl<S: Socket> PeerProbe<S> {
    /// Whether the peer is connected and all its bytes have been read, as the kernel knows it now. The
    /// runtime learns it at its next poll.
    pub fn is_idle(&self) -> bool {
        peek(&self.0.lock().stream).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Waits until the peer has closed its side and all its bytes have been read, or the connection is
    /// broken. It must be polled by the task that reads.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = &self.0.lock().stream;
        loop {
            if ready!(stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match stream.try_read(|| peek(stream)) {
                // There are bytes, and their reader will find the end after them.
                Ok(1..) => return Poll::Pending,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// Peeks at one byte: 1 if there is one, 0 at the end.
fn peek(socket: impl AsFd) -> io::Result<usize> {
    let (_, bytes) = recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(bytes)
}

impl<S> fmt::Debug for PeerProbe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerProbe")
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::yield_now,
    };

    use super::*;

    async fn pair() -> (TcpStream, BatchedWriter<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (peer, BatchedWriter::new(listener.accept().await.unwrap().0))
    }

    async fn closed(probe: &PeerProbe<TcpStream>) {
        poll_fn(|cx| probe.poll_closed(cx)).await;
    }

    #[tokio::test]
    async fn a_connection_with_bytes_or_without_its_peer_is_not_idle() {
        let (mut peer, mut stream) = pair().await;
        let probe = stream.probe();
        assert!(probe.is_idle());
        peer.write_all(b"x").await.unwrap();
        while probe.is_idle() {}
        assert_eq!(stream.read_u8().await.unwrap(), b'x', "it was not consumed");
        assert!(probe.is_idle());
        drop(peer);
        while probe.is_idle() {}
    }

    #[tokio::test]
    async fn a_peer_has_left_when_it_has_closed_and_all_bytes_were_read() {
        let (mut peer, mut stream) = pair().await;
        let probe = stream.probe();
        assert!(closed(&probe).now_or_never().is_none(), "the peer is connected");
        peer.write_all(b"x").await.unwrap();
        peer.shutdown().await.unwrap();
        while probe.is_idle() {}
        for _ in 0..8 {
            assert!(closed(&probe).now_or_never().is_none(), "there is something to read");
            yield_now().await;
        }
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        closed(&probe).await;
    }

    #[tokio::test]
    async fn a_peer_has_left_when_its_connection_is_broken() {
        let (peer, stream) = pair().await;
        let probe = stream.probe();
        peer.set_zero_linger().unwrap();
        drop(peer);
        closed(&probe).await;
    }

    /// Also after bytes have been read.
    #[tokio::test]
    async fn a_peer_that_leaves_wakes_the_waiting_task() {
        let (mut peer, mut stream) = pair().await;
        let probe = stream.probe();
        peer.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        tokio::join!(closed(&probe), async { drop(peer) });
    }
}
