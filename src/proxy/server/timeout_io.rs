//! A caller's connection with limits on its patience.
//!
//! hyper's own header time-out restarts with each request and counts idle time as header time, and
//! it knows nothing of a caller that does not read. Here one timer a connection watches all three: a
//! head must be complete within an absolute time from its first byte, an idle connection is closed,
//! and so is one that takes no bytes. The timer is looked at only when the connection has to wait
//! anyway, so a request that arrives in one piece costs nothing.

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

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTimeouts {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between two requests, and for a caller that does not take its answer.
    pub idle: Duration,
}

/// A stream that fails with [`io::ErrorKind::TimedOut`] when its peer takes too long.
pub(super) struct TimeoutIo<S> {
    stream: S,
    connection: Arc<Connection>,
    patience: ConnectionTimeouts,
    waiting: Waiting,
    timer: Option<Pin<Box<Sleep>>>,
    opening: Opening,
}

/// The first bytes of a connection, until they tell HTTP/2 from HTTP/1.1.
///
/// On HTTP/2 bytes arrive without a request (`PING`, `WINDOW_UPDATE`), so they begin no head there, and
/// they do not make an idle connection busy either.
#[derive(Clone, Copy)]
enum Opening {
    /// This many bytes of HTTP/2's preface have been seen, and nothing else.
    Preface(usize),
    Http1,
    Http2,
}

impl Opening {
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

/// What the connection waits for, and until when.
#[derive(Clone, Copy)]
enum Waiting {
    /// The first byte of a request.
    Request(Instant),
    /// The rest of a head, if it has not come along with its first bytes.
    RestOfHead,
    /// The same, and it has not.
    Head(Instant),
    /// A call is under way: its own deadline watches over it.
    Call,
    /// The peer takes no bytes.
    Write(Instant),
}

impl Waiting {
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
        patience: ConnectionTimeouts,
    ) -> Self {
        let waiting = Waiting::Request(Instant::now() + patience.idle);
        let opening = Opening::Preface(0);
        Self { stream, connection, patience, waiting, timer: None, opening }
    }

    fn idle(&self) -> bool {
        self.connection.active_calls() == 0
    }

    /// Registers the timer for what is waited for, or says that it is over.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
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
            // The timer was set for something that is over; what is waited for now ends later.
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
            this.opening.see(buffer.filled().get(before..).unwrap_or_default());
            match (this.idle(), this.opening, this.waiting) {
                (false, _, _) => this.waiting = Waiting::Call,
                (true, Opening::Http2, Waiting::Request(_))
                | (true, Opening::Http1 | Opening::Preface(_), Waiting::Head(_)) => {}
                (true, Opening::Http2, _) => {
                    this.waiting = Waiting::Request(Instant::now() + this.patience.idle);
                }
                (true, _, _) => this.waiting = Waiting::RestOfHead,
            }
            return Poll::Ready(result);
        }
        match (this.idle(), this.waiting) {
            (false, Waiting::Write(_)) | (true, Waiting::Request(_) | Waiting::Head(_)) => {}
            (false, _) => this.waiting = Waiting::Call,
            (true, Waiting::RestOfHead) => {
                this.waiting = Waiting::Head(Instant::now() + this.patience.head);
            }
            (true, _) => this.waiting = Waiting::Request(Instant::now() + this.patience.idle),
        }
        this.poll_patience(cx).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> TimeoutIo<S> {
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            // A head that was being read is answered: what comes next is another one.
            if !matches!(self.waiting, Waiting::Request(_)) {
                self.waiting = Waiting::Call;
            }
            return written;
        }
        if !matches!(self.waiting, Waiting::Write(_)) {
            self.waiting = Waiting::Write(Instant::now() + self.patience.idle);
        }
        self.poll_patience(cx).map(Err)
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

    const PATIENCE: ConnectionTimeouts =
        ConnectionTimeouts { head: Duration::from_secs(10), idle: Duration::from_mins(1) };

    fn connection() -> Arc<Connection> {
        Connection::new(Peer::Unix { uid: 0, gid: 0, pid: None }, Vec::new())
    }

    async fn read(io: &mut TimeoutIo<DuplexStream>) -> io::Result<usize> {
        io.read(&mut [0; 64]).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_its_time() {
        let (_peer, stream) = duplex(64);
        let mut io = TimeoutIo::new(stream, connection(), PATIENCE);
        let began = Instant::now();
        assert_eq!(read(&mut io).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_is_cut_off_at_an_absolute_time() {
        let (mut peer, stream) = duplex(64);
        let mut io = TimeoutIo::new(stream, connection(), PATIENCE);
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
        let mut io = TimeoutIo::new(stream, Arc::clone(&connection), PATIENCE);
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
    async fn on_http2_bytes_without_a_request_are_no_head() {
        let (mut peer, stream) = duplex(64);
        let mut io = TimeoutIo::new(stream, connection(), PATIENCE);
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
        let mut io = TimeoutIo::new(stream, connection(), PATIENCE);
        let began = Instant::now();
        let error = io.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    /// What was kept for the end of a turn (`proxy/batched_io`) is written by then, and not taken.
    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_take_what_was_kept_is_cut_off() {
        let _turns = tokio::spawn(flush_loop());
        tokio::task::yield_now().await;
        let (_peer, stream) = duplex(4);
        let mut io = TimeoutIo::new(BatchedWriter::new(stream), connection(), PATIENCE);
        let began = Instant::now();
        io.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        tokio::task::yield_now().await;
        // As hyper does: it looks for the next request and has what it wrote flushed.
        let ended = poll_fn(|cx| {
            let mut bytes = [0; 64];
            let read = Pin::new(&mut io).poll_read(cx, &mut ReadBuf::new(&mut bytes));
            if read.is_ready() { read } else { Pin::new(&mut io).poll_flush(cx) }
        });
        assert_eq!(ended.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60);
    }
}
