//! A stream that is not asked for bytes before it has said that there are some.
//!
//! hyper reads an answer at once, and looks four times more whether the upstream has said something:
//! before it writes a request, when it has written it, and twice behind the answer. Each time that goes
//! through TLS and the runtime, and all but the first behind an answer find what was known: a stream
//! that had nothing to read wakes when it has.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose reader is always the same: it is told with a waker of its own.
pub(super) struct ReadGate<S> {
    stream: S,
    bell: Arc<Readiness>,
    /// `bell`, for the stream.
    waker: Waker,
}

impl<S> ReadGate<S> {
    /// Wakes `reader` when there is something to read, whoever polls it.
    pub(super) fn new(stream: S, reader: Waker) -> Self {
        let bell = Arc::new(Readiness { is_readable: AtomicBool::new(true), reader });
        let waker = Waker::from(Arc::clone(&bell));
        Self { stream, bell, waker }
    }
}

/// What a stream wakes.
struct Readiness {
    /// Whether there may be something to read.
    is_readable: AtomicBool,
    reader: Waker,
}

impl Wake for Readiness {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_readable.store(true, Ordering::Release);
        self.reader.wake_by_ref();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadGate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.bell.is_readable.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // First this, for it may ring while it is asked.
        this.bell.is_readable.store(false, Ordering::Release);
        let read =
            Pin::new(&mut this.stream).poll_read(&mut Context::from_waker(&this.waker), buffer);
        if read.is_ready() {
            this.bell.is_readable.store(true, Ordering::Release);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadGate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
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
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use http::Request;
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::proxy::server::wake_filter::Sleeper;

    /// Counts how often it is read from.
    struct Counted(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, data)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn poll(stream: &mut ReadGate<Counted>) -> Poll<usize> {
        let (mut memory, cx) = ([0; 8], &mut Context::from_waker(Waker::noop()));
        let mut buffer = ReadBuf::new(&mut memory);
        let read = Pin::new(stream).poll_read(cx, &mut buffer);
        read.map(|done| done.map(|()| buffer.filled().len()).unwrap())
    }

    #[tokio::test]
    async fn what_has_nothing_is_asked_again_when_it_has_said_that_there_is_something() {
        let (mut peer, stream) = tokio::io::duplex(64);
        let (reads, reader) = (Arc::new(AtomicUsize::new(0)), Arc::new(Sleeper::default()));
        let waker = Waker::from(Arc::clone(&reader));
        let mut stream = ReadGate::new(Counted(stream, Arc::clone(&reads)), waker);
        for _ in 0..3 {
            assert_eq!(poll(&mut stream), Poll::Pending);
        }
        assert_eq!((reads.load(Ordering::Relaxed), reader.woken()), (1, 0));
        peer.write_all(b"twelve bytes").await.unwrap();
        assert_eq!(reader.woken(), 1);
        assert_eq!(poll(&mut stream), Poll::Ready(8));
        assert_eq!(poll(&mut stream), Poll::Ready(4), "there may be more than there was room for");
        for _ in 0..3 {
            assert_eq!(poll(&mut stream), Poll::Pending);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 4);
        drop(peer);
        assert_eq!(reader.woken(), 2);
        assert_eq!(poll(&mut stream), Poll::Ready(0), "the end");
        assert_eq!(poll(&mut stream), Poll::Ready(0), "the end, again");
    }

    /// How often hyper reads from a connection in one exchange, if it is polled when it is woken.
    async fn reads_of_hyper<S>(stream: impl FnOnce(Counted, Waker) -> S) -> usize
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut peer, end) = tokio::io::duplex(256);
        let (reads, reader) = (Arc::new(AtomicUsize::new(0)), Arc::new(Sleeper::default()));
        let waker = Waker::from(Arc::clone(&reader));
        let io = TokioIo::new(stream(Counted(end, Arc::clone(&reads)), waker.clone()));
        let (mut sender, mut connection) = http1::handshake(io).await.unwrap();
        let mut drive = || {
            let woken = reader.woken();
            let polled = connection.poll_unpin(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            reader.woken() > woken
        };
        let answer = sender.send_request(Request::new(Empty::<Bytes>::new()));
        while drive() {}
        let _request = peer.read(&mut [0; 256]).await.unwrap();
        peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        while drive() {}
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{}");
        while drive() {}
        reads.load(Ordering::Relaxed)
    }

    /// When hyper does not ask for nothing any more, nothing has to be kept from it.
    #[tokio::test]
    async fn hyper_asks_more_often_than_there_is_something() {
        let plain = reads_of_hyper(|stream, _| stream).await;
        let unread = reads_of_hyper(ReadGate::new).await;
        assert_eq!((plain, unread), (6, 3));
    }

    /// Rings while it is asked, as the runtime does where a task has had its share.
    struct Busy(usize);

    impl AsyncRead for Busy {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.0 += 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn what_rings_while_it_is_asked_is_asked_again() {
        let mut stream = ReadGate::new(Busy(0), Waker::noop().clone());
        for _ in 0..3 {
            assert!(stream.read_u8().now_or_never().is_none());
        }
        assert_eq!(stream.stream.0, 3);
    }
}
