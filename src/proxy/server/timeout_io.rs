//! The time limits of a caller's connection.
//!
//! hyper's header timeout counts idle time as header time, and hyper has no timeout for a caller that
//! does not read. Here one timer of a connection limits three waits: a head must be complete within an
//! absolute time from its first byte, an idle connection is closed, and so is one that takes no bytes.
//! The timer is polled only when the connection waits anyway, so a request in one piece costs nothing.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::proxy::call::Connection;

/// The time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTimeouts {
    /// From the first byte of a head to its last byte.
    pub head: Duration,
    /// Between two requests, and for a caller that does not read its response.
    pub idle: Duration,
    /// For a caller to take the next 16 KiB of a response, or all that is left of it.
    pub write: Duration,
}

/// A stream that fails with [`io::ErrorKind::TimedOut`] when its peer takes too long.
pub(super) struct TimeoutIo<S> {
    stream: S,
    connection: Arc<Connection>,
    timeouts: ConnectionTimeouts,
    waiting: WaitingFor,
    timer: Option<Pin<Box<Sleep>>>,
    protocol: DetectedProtocol,
}

/// The protocol, as far as the first bytes tell it.
///
/// On HTTP/2 bytes arrive without a request (`PING`, `WINDOW_UPDATE`). They begin no head, and the
/// connection stays idle.
#[derive(Clone, Copy)]
enum DetectedProtocol {
    /// So far this many bytes of HTTP/2's preface.
    Preface(usize),
    Http1,
    Http2,
}

impl DetectedProtocol {
    fn see(&mut self, bytes: &[u8]) {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0";
        let Self::Preface(seen) = *self else { return };
        let rest = PREFACE.get(seen..).unwrap_or_default();
        *self = if bytes.len() >= rest.len() && bytes.starts_with(rest) {
            Self::Http2
        } else if rest.starts_with(bytes) {
            Self::Preface(seen + bytes.len())
        } else {
            Self::Http1
        };
    }
}

/// The wait of a connection, and its end.
#[derive(Clone, Copy)]
enum WaitingFor {
    /// The first byte of a request.
    Request(Instant),
    /// The rest of a head whose first bytes have just come.
    RestOfHead,
    /// The rest of a head that did not come with its first bytes.
    Head(Instant),
    /// The response of a call, which has its own deadline.
    Call,
    /// The peer, which takes no bytes.
    Write(Instant),
}

impl WaitingFor {
    const fn until(self) -> Option<Instant> {
        match self {
            Self::Request(until) | Self::Head(until) | Self::Write(until) => Some(until),
            Self::RestOfHead | Self::Call => None,
        }
    }
}

impl<S> TimeoutIo<S> {
    pub(super) fn new(
        stream: S,
        connection: Arc<Connection>,
        timeouts: ConnectionTimeouts,
    ) -> Self {
        let waiting = WaitingFor::Request(Instant::now() + timeouts.idle);
        let protocol = DetectedProtocol::Preface(0);
        Self { stream, connection, timeouts, waiting, timer: None, protocol }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    fn is_idle(&self) -> bool {
        self.connection.active_calls() == 0
    }

    /// Waits until the time limit of the current wait.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let Some(until) = self.waiting.until() else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= until {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            // The timer was set for an earlier wait. The current one ends later.
            timer.as_mut().reset(until);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            this.protocol.see(buffer.filled().get(before..).unwrap_or_default());
            match (this.is_idle(), this.protocol, this.waiting) {
                (false, _, _) => this.waiting = WaitingFor::Call,
                (true, DetectedProtocol::Http2, WaitingFor::Request(_))
                | (
                    true,
                    DetectedProtocol::Http1 | DetectedProtocol::Preface(_),
                    WaitingFor::Head(_),
                ) => {}
                (true, DetectedProtocol::Http2, _) => {
                    this.waiting = WaitingFor::Request(Instant::now() + this.timeouts.idle);
                }
                (true, _, _) => this.waiting = WaitingFor::RestOfHead,
            }
            return Poll::Ready(result);
        }
        match (this.is_idle(), this.waiting) {
            (false, WaitingFor::Write(_))
            | (true, WaitingFor::Request(_) | WaitingFor::Head(_)) => {}
            (false, _) => this.waiting = WaitingFor::Call,
            (true, WaitingFor::RestOfHead) => {
                this.waiting = WaitingFor::Head(Instant::now() + this.timeouts.head);
            }
            (true, _) => this.waiting = WaitingFor::Request(Instant::now() + this.timeouts.idle),
        }
        this.poll_expired(cx).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> TimeoutIo<S> {
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            // The response ends the wait for a head.
            if !matches!(self.waiting, WaitingFor::Request(_)) {
                self.waiting = WaitingFor::Call;
            }
            return written;
        }
        if !matches!(self.waiting, WaitingFor::Write(_)) {
            self.waiting = WaitingFor::Write(Instant::now() + self.timeouts.idle);
        }
        self.poll_expired(cx).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, data);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::proxy::{
        batched_io::{BatchedWriter, flush_loop},
        call::{ActiveCall, Peer},
    };

    const TIMEOUTS: ConnectionTimeouts = ConnectionTimeouts {
        head: Duration::from_secs(10),
        idle: Duration::from_mins(1),
        write: Duration::from_secs(30),
    };

    fn connection() -> Arc<Connection> {
        Connection::new(Peer::Unix { uid: 0, gid: 0, pid: None }, Vec::new())
    }

    async fn read(io: &mut TimeoutIo<DuplexStream>) -> io::Result<usize> {
        io.read(&mut [0; 64]).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_its_time() {
        let (_peer, stream) = duplex(64);
        let mut io = TimeoutIo::new(stream, connection(), TIMEOUTS);
        let began = Instant::now();
        assert_eq!(read(&mut io).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_is_cut_off_at_an_absolute_time() {
        let (mut peer, stream) = duplex(64);
        let mut io = TimeoutIo::new(stream, connection(), TIMEOUTS);
        let began = Instant::now();
        let drip = async {
            loop {
                peer.write_all(b"x").await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let reading = async {
            loop {
                if let Err(error) = read(&mut io).await {
                    break error;
                }
            }
        };
        let error = tokio::select! { () = drip => unreachable!(), error = reading => error };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_under_way_is_not_idle() {
        let (mut peer, stream) = duplex(64);
        let connection = connection();
        let mut io = TimeoutIo::new(stream, Arc::clone(&connection), TIMEOUTS);
        peer.write_all(b"GET / HTTP/1.1").await.unwrap();
        read(&mut io).await.unwrap();
        let call = ActiveCall::begin(connection);
        let long = tokio::time::timeout(Duration::from_hours(1), read(&mut io)).await;
        assert!(long.is_err(), "the connection waits for the call");
        drop(call);
        io.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        let began = Instant::now();
        assert_eq!(read(&mut io).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn on_http2_bytes_without_a_request_begin_no_head() {
        let (mut peer, stream) = duplex(64);
        let mut io = TimeoutIo::new(stream, connection(), TIMEOUTS);
        let began = Instant::now();
        peer.write_all(b"PRI * HT").await.unwrap();
        read(&mut io).await.unwrap();
        peer.write_all(b"TP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        read(&mut io).await.unwrap();
        let ping = async {
            loop {
                tokio::time::sleep(Duration::from_secs(7)).await;
                peer.write_all(b"ping").await.unwrap();
            }
        };
        let reading = async {
            loop {
                if let Err(error) = read(&mut io).await {
                    break error;
                }
            }
        };
        let error = tokio::select! { () = ping => unreachable!(), error = reading => error };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60, "neither cut off as a head nor kept by pings");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_read_is_cut_off() {
        let (_peer, stream) = duplex(4);
        let mut io = TimeoutIo::new(stream, connection(), TIMEOUTS);
        let began = Instant::now();
        let error = io.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    /// Pending bytes (`proxy/batched_io`) count as written when the pass ends.
    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_take_pending_bytes_is_cut_off() {
        let _flushing = tokio::spawn(flush_loop());
        tokio::task::yield_now().await;
        let (_peer, stream) = duplex(4);
        let mut io = TimeoutIo::new(BatchedWriter::new(stream), connection(), TIMEOUTS);
        let began = Instant::now();
        io.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        tokio::task::yield_now().await;
        // As hyper does: it reads for the next request and flushes.
        let ended = poll_fn(|cx| {
            let mut bytes = [0; 64];
            let read = Pin::new(&mut io).poll_read(cx, &mut ReadBuf::new(&mut bytes));
            if read.is_ready() { read } else { Pin::new(&mut io).poll_flush(cx) }
        });
        assert_eq!(ended.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60);
    }
}
