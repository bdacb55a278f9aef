use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::yield_now,
};

use super::*;

/// A peer's end of a connection, which writes down what arrives and in how many pieces.
#[derive(Clone, Default)]
struct Peer(Arc<Mutex<Vec<Vec<u8>>>>);

impl Peer {
    fn stream(&self) -> BatchedWriter<Recorded> {
        BatchedWriter::new(Recorded { peer: self.clone(), shut: false })
    }

    fn arrived(&self) -> Vec<Vec<u8>> {
        self.0.lock().clone()
    }
}

struct Recorded {
    peer: Peer,
    shut: bool,
}

impl AsyncWrite for Recorded {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.peer.0.lock().push(data.to_vec());
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        self.peer.0.lock().push(b"the end".to_vec());
        Poll::Ready(Ok(()))
    }
}

/// Starts the flush loop, as a worker does first.
async fn start_flushing() -> tokio::task::JoinHandle<Infallible> {
    let flushing = tokio::spawn(flush_loop());
    yield_now().await;
    flushing
}

#[tokio::test]
async fn writes_of_one_pass_leave_together_at_its_end() {
    let _flushing = start_flushing().await;
    let (peer, other) = (Peer::default(), Peer::default());
    let (mut stream, mut second) = (peer.stream(), other.stream());
    stream.write_all(b"head ").await.unwrap();
    let body = [IoSlice::new(b"bo"), IoSlice::new(b"dy")];
    assert_eq!(stream.write_vectored(&body).await.unwrap(), 4);
    stream.flush().await.unwrap();
    second.write_all(b"answer").await.unwrap();
    assert!(peer.arrived().is_empty() && other.arrived().is_empty());
    yield_now().await;
    assert_eq!(peer.arrived(), [b"head body"]);
    assert_eq!(other.arrived(), [b"answer"]);
    stream.write_all(b"next").await.unwrap();
    yield_now().await;
    assert_eq!(peer.arrived(), [&b"head body"[..], b"next"]);
}

#[tokio::test]
async fn all_ready_tasks_run_before_a_write_leaves() {
    let _flushing = start_flushing().await;
    let peer = Peer::default();
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let (mut stream, peer) = (peer.stream(), peer.clone());
            tokio::spawn(async move {
                stream.write_all(b"answer").await.unwrap();
                assert!(peer.arrived().is_empty());
                stream
            })
        })
        .collect();
    for task in tasks {
        drop(task.await.unwrap());
    }
    yield_now().await;
    assert_eq!(peer.arrived().len(), 3);
}

#[tokio::test]
async fn without_a_flush_loop_a_write_leaves_at_once() {
    let peer = Peer::default();
    let mut stream = peer.stream();
    stream.write_all(b"answer").await.unwrap();
    assert_eq!(peer.arrived(), [b"answer"]);
}

#[tokio::test]
async fn a_large_write_leaves_at_once_after_the_pending_bytes() {
    let _flushing = start_flushing().await;
    let peer = Peer::default();
    let mut stream = peer.stream();
    stream.write_all(b"head").await.unwrap();
    stream.write_all(&vec![b'x'; MAX_BYTES + 1]).await.unwrap();
    let arrived = peer.arrived();
    assert_eq!(arrived.iter().map(Vec::len).collect::<Vec<_>>(), [4, MAX_BYTES + 1]);
    stream.write_all(b"tail").await.unwrap();
    yield_now().await;
    assert_eq!(peer.arrived().last().unwrap(), b"tail");
}

#[tokio::test]
async fn one_connection_has_a_limit_of_pending_bytes() {
    let _flushing = start_flushing().await;
    let peer = Peer::default();
    let mut stream = peer.stream();
    for _ in 0..4 {
        stream.write_all(&vec![b'x'; MAX_BYTES / 2]).await.unwrap();
    }
    assert_eq!(peer.arrived().iter().map(Vec::len).collect::<Vec<_>>(), [MAX_BYTES]);
    yield_now().await;
    assert_eq!(peer.arrived().concat().len(), 2 * MAX_BYTES);
}

#[tokio::test]
async fn the_first_of_many_connections_do_not_wait_for_the_last() {
    let _flushing = start_flushing().await;
    let peer = Peer::default();
    let mut streams: Vec<_> = (0..=MAX_CONNECTIONS).map(|_| peer.stream()).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        assert!(peer.arrived().is_empty(), "{number}");
        stream.write_all(b"answer").await.unwrap();
    }
    assert_eq!(peer.arrived().len(), MAX_CONNECTIONS);
    yield_now().await;
    assert_eq!(peer.arrived().len(), MAX_CONNECTIONS + 1);
}

#[tokio::test]
async fn a_shutdown_writes_the_pending_bytes_first() {
    let _flushing = start_flushing().await;
    let peer = Peer::default();
    let mut stream = peer.stream();
    stream.write_all(b"answer").await.unwrap();
    stream.shutdown().await.unwrap();
    yield_now().await;
    assert_eq!(peer.arrived(), [&b"answer"[..], b"the end"]);
}

#[tokio::test]
async fn pending_bytes_leave_although_their_connection_or_the_flush_loop_is_dropped() {
    let flushing = start_flushing().await;
    let peer = Peer::default();
    let mut stream = peer.stream();
    stream.write_all(b"answer").await.unwrap();
    drop(stream);
    yield_now().await;
    assert_eq!(peer.arrived(), [b"answer"]);

    let mut stream = peer.stream();
    stream.write_all(b"last").await.unwrap();
    flushing.abort();
    flushing.await.unwrap_err();
    assert_eq!(peer.arrived().last().unwrap(), b"last");
    stream.write_all(b"at once").await.unwrap();
    assert_eq!(peer.arrived().last().unwrap(), b"at once");
}

#[tokio::test]
async fn a_failed_flush_is_an_error_for_the_writer() {
    struct Woken(AtomicUsize);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let _flushing = start_flushing().await;
    let mut stream = Peer::default().stream();
    stream.shutdown().await.unwrap();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut stream).poll_write(&mut cx, b"answer").is_ready());
    assert!(matches!(Pin::new(&mut stream).poll_flush(&mut cx), Poll::Ready(Ok(()))));
    yield_now().await;
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    let error = stream.flush().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

/// Counts how often it is flushed.
struct Flushed(Arc<AtomicUsize>);

impl AsyncWrite for Flushed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_flushed_connection_is_not_flushed_again_until_something_is_written() {
    let _flushing = start_flushing().await;
    let flushes = Arc::new(AtomicUsize::new(0));
    let mut stream = BatchedWriter::new(Flushed(Arc::clone(&flushes)));
    for written in 0..3 {
        assert_eq!(flushes.load(Ordering::Relaxed), written);
        stream.flush().await.unwrap();
        assert_eq!(flushes.load(Ordering::Relaxed), written, "there is nothing to flush");
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(flushes.load(Ordering::Relaxed), written, "it leaves at the end of the pass");
        yield_now().await;
        stream.flush().await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_takes_little_is_waited_for() {
    let _flushing = start_flushing().await;
    let (mut peer, stream) = duplex(4);
    let mut stream = BatchedWriter::new(stream);
    stream.write_all(b"answer").await.unwrap();
    yield_now().await;
    let mut writing = tokio::spawn(async move {
        stream.flush().await.unwrap();
        stream.write_all(b"!").await.unwrap();
        stream
    });
    let waits = poll_fn(|cx| Poll::Ready(Pin::new(&mut writing).poll(cx).is_pending()));
    assert!(waits.await);
    let mut arrived = [0; 7];
    peer.read_exact(&mut arrived).await.unwrap();
    assert_eq!(&arrived, b"answer!");
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn memory_is_wiped_before_others_use_it() {
    let _flushing = start_flushing().await;
    let peer = Peer::default();
    let mut streams = [peer.stream(), peer.stream()];
    for _ in 0..2 {
        for stream in &mut streams {
            stream.write_all(b"X-Pigello-Client-Secret: s").await.unwrap();
        }
        yield_now().await;
        let spare = BATCH.with_borrow(|batch| batch.spare.clone());
        assert_eq!(spare, [[0; 26], [0; 26]]);
    }
    assert_eq!(peer.arrived().len(), 4);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Flush,
    EndPass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..MAX_BYTES / 2).prop_map(Step::Write),
        1 => (MAX_BYTES - 2..MAX_BYTES + 3).prop_map(Step::Write),
        1 => Just(Step::Flush),
        2 => Just(Step::EndPass),
    ]
}

async fn write(mut stream: BatchedWriter<DuplexStream>, steps: Vec<Step>) -> Vec<u8> {
    let mut written = Vec::new();
    for step in steps {
        match step {
            Step::Write(length) => {
                let data: Vec<_> = (written.len()..written.len() + length)
                    .map(|number| u8::try_from(number % 251).unwrap())
                    .collect();
                stream.write_all(&data).await.unwrap();
                written.extend(data);
            }
            Step::Flush => stream.flush().await.unwrap(),
            Step::EndPass => yield_now().await,
        }
    }
    stream.shutdown().await.unwrap();
    written
}

proptest! {
    #[test]
    fn everything_arrives_in_the_order_in_which_it_was_written(
        window in 1_usize..40_000,
        steps in prop::collection::vec(step(), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let _flushing = start_flushing().await;
            let (mut peer, stream) = duplex(window);
            let writing = tokio::spawn(write(BatchedWriter::new(stream), steps));
            let mut arrived = Vec::new();
            peer.read_to_end(&mut arrived).await.unwrap();
            assert_eq!(arrived, writing.await.unwrap());
        });
    }
}
