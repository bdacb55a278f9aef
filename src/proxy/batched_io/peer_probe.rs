//! Looks whether the peer of a connection has said something or has left, and takes nothing of it.
//!
//! hyper can only read to find that out, and needs memory to read into. The listener has to see that
//! a caller has left while its call is under way, and the upstream's side that a connection is still
//! open before it sends what cannot be sent twice.

use std::{
    fmt, io,
    os::fd::AsFd,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream};

use super::{BatchedWriter, Kept};

/// A socket on a runtime.
pub trait Socket: AsFd {
    /// Waits until there is something to read: bytes, the end or an error.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads with `read`, and has the runtime know if nothing was there.
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

/// The connection of a [`BatchedWriter`], to look at it while something else reads and writes.
pub struct PeerProbe<S>(Arc<Mutex<Kept<S>>>);

impl<S> BatchedWriter<S> {
    /// To look at this connection.
    pub fn lookout(&self) -> PeerProbe<S> {
        PeerProbe(Arc::clone(&self.kept))
    }
}

impl<S: Socket> PeerProbe<S> {
    /// Whether the peer is there and has said nothing that was not read yet, as the kernel knows it
    /// now: the runtime sees it only when it looks next.
    pub fn is_idle(&self) -> bool {
        peek(&self.0.lock().stream).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Waits until the peer has left: it has closed its side, and everything it said before was read,
    /// or the connection is broken. It must stay in the task that reads.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = &self.0.lock().stream;
        loop {
            if ready!(stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match stream.try_read(|| peek(stream)) {
                // It says more, and whoever reads that finds the end behind it.
                Ok(1..) => return Poll::Pending,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// How many of one byte there are.
fn peek(socket: impl AsFd) -> io::Result<usize> {
    let (_, bytes) = recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(bytes)
}

impl<S> fmt::Debug for PeerProbe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookout")
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

    async fn left(lookout: &PeerProbe<TcpStream>) {
        poll_fn(|cx| lookout.poll_closed(cx)).await;
    }

    #[tokio::test]
    async fn what_the_peer_says_and_that_it_leaves_breaks_the_quiet() {
        let (mut peer, mut stream) = pair().await;
        let lookout = stream.lookout();
        assert!(lookout.is_idle());
        peer.write_all(b"x").await.unwrap();
        while lookout.is_idle() {}
        assert_eq!(stream.read_u8().await.unwrap(), b'x', "it is there yet");
        assert!(lookout.is_idle());
        drop(peer);
        while lookout.is_idle() {}
    }

    #[tokio::test]
    async fn a_peer_has_left_when_it_has_closed_and_everything_was_read() {
        let (mut peer, mut stream) = pair().await;
        let lookout = stream.lookout();
        assert!(left(&lookout).now_or_never().is_none(), "it is there");
        peer.write_all(b"x").await.unwrap();
        peer.shutdown().await.unwrap();
        while lookout.is_idle() {}
        for _ in 0..8 {
            assert!(left(&lookout).now_or_never().is_none(), "there is something to read");
            yield_now().await;
        }
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        left(&lookout).await;
    }

    #[tokio::test]
    async fn a_peer_has_left_when_its_connection_is_broken() {
        let (peer, stream) = pair().await;
        let lookout = stream.lookout();
        peer.set_zero_linger().unwrap();
        drop(peer);
        left(&lookout).await;
    }

    /// Whoever waits is woken, also after something has been read.
    #[tokio::test]
    async fn that_a_peer_leaves_wakes() {
        let (mut peer, mut stream) = pair().await;
        let lookout = stream.lookout();
        peer.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        tokio::join!(left(&lookout), async { drop(peer) });
    }
}
