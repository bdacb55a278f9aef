//! Callers that take their answers, slowly or not at all.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::support::{Caller, SETTINGS, block, frame_of, get, preface, window_update};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;

#[tokio::test(start_paused = true)]
async fn an_answer_goes_out_and_its_body_ends() {
    let mut caller = Caller::connect(100_000).await;
    caller.send(&get(1, "/50000")).await;
    let mut length = 0;
    while length < 50_000 {
        length += caller.wait_for(DATA, 1).await.len();
    }
    tokio::task::yield_now().await;
    assert_eq!(*caller.ended.lock(), [(50_000, true)]);
}

/// Timers fire late on a busy machine.
#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_reset_by_a_late_timer() {
    let mut caller = Caller::connect(0).await;
    caller.send(&get(1, "/20000")).await;
    caller.wait_for(HEADERS, 1).await;
    tokio::time::advance(Duration::from_millis(30_123)).await;
    assert_eq!(caller.wait_for(RESET, 1).await, [0, 0, 0, 8]);
    assert_eq!(caller.elapsed(), 30);
}

/// However many `PING`s a caller answers: an answer that it does not read ends, and it alone.
#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_reset() {
    for (window, path, sent) in
        [(0, "/20000", 0), (100, "/20000", 100), (0, "/10", 0), (0, "/1000000", 0), (0, "/open", 0)]
    {
        let mut caller = Caller::connect(window).await;
        caller.send(&get(1, path)).await;
        for second in 1..=29 {
            sleep(Duration::from_secs(1)).await;
            caller.send(&frame_of(6, 0, 0, &[second; 8])).await;
        }
        assert!(caller.ended.lock().is_empty());
        assert_eq!(caller.wait_for(RESET, 1).await, [0, 0, 0, 8], "CANCEL");
        assert_eq!(caller.elapsed(), 30, "{window} {path}");
        assert_eq!(*caller.ended.lock(), [(sent, false)], "{window} {path}");
        // The connection lives on.
        caller.send(&[get(3, "/5"), window_update(3, 5)].concat()).await;
        assert_eq!(caller.wait_for(DATA, 3).await, b"xxxxx");
    }
}

#[tokio::test(start_paused = true)]
async fn some_bytes_now_and_then_do_not_keep_an_answer() {
    for path in ["/20000", "/60000000"] {
        let mut caller = Caller::connect(0).await;
        caller.send(&get(1, path)).await;
        for _ in 0..5 {
            sleep(Duration::from_secs(5)).await;
            caller.send(&window_update(1, 100)).await;
        }
        caller.wait_for(RESET, 1).await;
        assert_eq!(caller.elapsed(), 30, "{path}");
        assert_eq!(*caller.ended.lock(), [(500, false)], "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_large_body_gets_all_of_it() {
    let mut caller = Caller::connect(0).await;
    caller.send(&get(1, "/327680")).await;
    let mut length = 0;
    for _ in 0..20 {
        let until = Instant::now() + Duration::from_secs(25);
        while let Ok(frame) = timeout_at(until, caller.frame()).await {
            let (kind, _, _, payload) = frame.expect("the connection is open");
            length += if kind == DATA { payload.len() } else { 0 };
        }
        caller.send(&[window_update(1, 16_384), window_update(0, 16_384)].concat()).await;
    }
    length += caller.wait_for(DATA, 1).await.len();
    assert_eq!((length, caller.elapsed()), (327_680, 500));
    tokio::task::yield_now().await;
    assert_eq!(*caller.ended.lock(), [(327_680, true)]);
}

/// The upstream may take its time, whatever the caller's limit is.
#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_for_the_upstream_is_not_reset() {
    let mut caller = Caller::connect(100).await;
    caller.send(&get(1, "/open")).await;
    assert_eq!(caller.wait_for(DATA, 1).await, b"x");
    for _ in 0..10 {
        let silence = tokio::time::timeout(Duration::from_secs(20), caller.frame()).await;
        assert!(silence.is_err(), "{silence:?}");
    }
    caller.send(&frame_of(RESET, 0, 1, &[0, 0, 0, 8])).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(*caller.ended.lock(), [(1, false)]);
}

/// A caller with wide windows that does not read its socket: h2 gets little, the answers end, and then
/// the connection does.
#[tokio::test(start_paused = true)]
async fn a_socket_that_takes_nothing_ends_the_connection() {
    let mut caller = Caller::begin(4096, SETTINGS, &preface(1 << 20)).await;
    for stream in 0..20 {
        caller.send(&get(1 + 2 * stream, "/100000")).await;
    }
    let error = (&mut caller.serving).await.unwrap().unwrap_err();
    assert_eq!(caller.elapsed(), 30, "{error:?}");
    let ended = caller.ended.lock();
    assert_eq!(ended.len(), 20);
    let sent: u64 = ended.iter().map(|(sent, _)| sent).sum();
    assert!(sent <= 4096 && ended.iter().all(|(_, is_complete)| !is_complete), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_stream_alone() {
    let mut caller = Caller::connect(100).await;
    caller.send(&[get(1, "/panic"), get(3, "/5")].concat()).await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        let (kind, _, stream, _) = caller.frame().await.unwrap();
        heard.push((kind, stream));
    }
    heard.sort_unstable();
    assert_eq!(heard, [(DATA, 3), (HEADERS, 3), (RESET, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_ends_a_call_and_frees_its_stream() {
    let settings = crate::proxy::server::Settings { concurrent_streams: 1, ..SETTINGS };
    let mut caller = Caller::connect_with(settings, 100).await;
    caller.send(&get(1, "/never")).await;
    sleep(Duration::from_secs(1)).await;
    caller.send(&[frame_of(RESET, 0, 1, &[0, 0, 0, 8]), get(3, "/5")].concat()).await;
    assert_eq!(caller.wait_for(DATA, 3).await, b"xxxxx");
}

#[tokio::test(start_paused = true)]
async fn interim_responses_come_before_the_answer() {
    let mut caller = Caller::connect(100).await;
    caller.send(&get(1, "/hints")).await;
    // The status is the first field, a literal that begins with the index of `:status`.
    let (kind, flags, _, interim) = caller.frame().await.unwrap();
    assert_eq!((kind, flags & 1, caller.elapsed()), (HEADERS, 0, 0));
    assert!(!interim.starts_with(&[0x88]), "no 200 so far");
    let (kind, flags, _, answer) = caller.frame().await.unwrap();
    assert_eq!((kind, flags & 1, caller.elapsed()), (HEADERS, 1, 1));
    assert!(answer.starts_with(&[0x88]), "200");
}

/// A reset while the caller sends can cost it the answer.
#[tokio::test(start_paused = true)]
async fn a_refused_upload_is_read_for_a_while() {
    let post = |stream| {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", "/5"),
        ];
        frame_of(HEADERS, 4, stream, &block(&fields))
    };
    let mut caller = Caller::connect(100_000).await;
    caller.send(&post(1)).await;
    assert_eq!(caller.wait_for(DATA, 1).await, b"xxxxx");
    for _ in 0..10 {
        sleep(Duration::from_secs(2)).await;
        caller.send(&frame_of(DATA, 0, 1, &[0; 1000])).await;
    }
    caller.send(&frame_of(DATA, 1, 1, b"")).await;
    // It is over without a reset, and the next one's caller is silent.
    caller.send(&post(3)).await;
    loop {
        let (kind, _, stream, payload) = caller.frame().await.unwrap();
        assert_ne!((kind, stream), (RESET, 1));
        if (kind, stream) == (RESET, 3) {
            assert_eq!(payload, [0; 4], "NO_ERROR (RFC 9113 §8.1)");
            break;
        }
    }
    assert_eq!(caller.elapsed(), 25);
}
