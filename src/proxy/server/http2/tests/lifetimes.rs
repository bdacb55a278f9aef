//! How connections end.

use std::{future::poll_fn, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    time::{sleep, timeout},
};

use super::support::{Caller, SETTINGS, block, frame_of, get, preface};
use crate::proxy::server::Settings;

const DATA: u8 = 0;
const GOAWAY: u8 = 7;

#[tokio::test(start_paused = true)]
async fn what_begins_and_does_not_end_is_cut_off_as_a_head_is() {
    let preface = preface(0);
    let whole = get(1, "/5");
    let open = frame_of(1, 1, 1, &block(&[(":method", "GET")]));
    let goes_on = frame_of(9, 0, 1, &block(&[(":scheme", "http")]));
    for (name, bytes) in [
        ("nothing", vec![]),
        ("half a preface", preface[..10].to_vec()),
        ("a preface without settings", preface[..30].to_vec()),
        ("half a header", [&preface[..], &whole[..5]].concat()),
        ("half a head", [&preface[..], &whole[..20]].concat()),
        ("a head that goes on", [&preface[..], &open].concat()),
        ("a head that went on", [&preface[..], &open, &goes_on].concat()),
    ] {
        let mut caller = Caller::begin(1 << 20, SETTINGS, &bytes).await;
        while caller.silently().await.is_some() {}
        assert_eq!(caller.elapsed(), 10, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_has_an_absolute_time() {
    let caller = Caller::connect(0).await;
    let (mut reader, mut writer) = tokio::io::split(caller.stream);
    let drip = async {
        for byte in get(1, "/a-path-that-takes-its-time") {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let read = async { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await };
    tokio::select! { () = drip => {}, _ = read => {} }
    assert_eq!(caller.began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_whatever_pings_come() {
    let mut caller = Caller::connect(0).await;
    let ended = loop {
        let frames = async { while caller.frame().await.is_some() {} };
        if timeout(Duration::from_secs(7), frames).await.is_ok() {
            break caller.elapsed();
        }
        caller.send(&frame_of(6, 0, 0, &[7; 8])).await;
    };
    assert_eq!(ended, 60);
    // Behind a call, too.
    let mut caller = Caller::connect(100).await;
    sleep(Duration::from_secs(50)).await;
    caller.send(&get(1, "/5")).await;
    caller.wait_for(DATA, 1).await;
    assert_eq!(caller.wait_for(GOAWAY, 0).await[..8], [0x7f, 255, 255, 255, 0, 0, 0, 0]);
    assert_eq!(caller.elapsed(), 110);
    assert_eq!(caller.end().await, 110);
}

/// `GOAWAY` is a request: who does not answer it is cut off.
#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_close_is_cut_off() {
    let mut caller = Caller::connect(100).await;
    while caller.silently().await.is_some() {}
    assert_eq!(caller.elapsed(), 65);
    caller.serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_gone_does_not_hold_its_call() {
    let mut caller = Caller::connect(100).await;
    caller.send(&get(1, "/never")).await;
    while caller.silently().await.is_some() {}
    assert_eq!(caller.elapsed(), 80, "a PING after idle time, and 20 s for its answer");
    // Who answers waits for the call.
    let mut caller = Caller::connect(100).await;
    caller.send(&get(1, "/never")).await;
    let long = timeout(Duration::from_hours(1), caller.frame()).await;
    assert!(matches!(long, Ok(Some((1, ..))) | Err(_)), "{long:?}");
    assert!(!caller.serving.is_finished());
}

#[tokio::test(start_paused = true)]
async fn the_graceful_end_lets_calls_finish() {
    let mut caller = Caller::connect(0).await;
    caller.send(&get(1, "/5")).await;
    caller.wait_for(1, 1).await;
    caller.close.take().unwrap().send(()).unwrap();
    caller.wait_for(GOAWAY, 0).await;
    caller.wait_for(GOAWAY, 0).await;
    sleep(Duration::from_secs(20)).await;
    caller.send(&super::support::window_update(1, 5)).await;
    assert_eq!(caller.wait_for(DATA, 1).await, b"xxxxx");
    assert!(caller.frame().await.is_none());
    assert_eq!(*caller.ended.lock(), [(5, true)]);
    caller.serving.await.unwrap().unwrap();
}

/// A caller cannot put off the end by new requests.
#[tokio::test(start_paused = true)]
async fn requests_long_after_the_graceful_end_are_refused() {
    let mut caller = Caller::connect(100).await;
    caller.send(&get(1, "/never")).await;
    sleep(Duration::from_secs(1)).await;
    caller.close.take().unwrap().send(()).unwrap();
    sleep(Duration::from_secs(4)).await;
    caller.send(&get(3, "/5")).await;
    sleep(Duration::from_secs(2)).await;
    caller.send(&get(5, "/5")).await;
    let mut heard = Vec::new();
    while heard.last() != Some(&(3, 5)) {
        let (kind, _, stream, _) = caller.silently().await.unwrap();
        heard.push((kind, stream));
    }
    assert!(heard.contains(&(DATA, 3)) && !heard.contains(&(1, 5)), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_ends_gracefully_and_not_all_at_once() {
    let settings = Settings { connection_age: Some(Duration::from_secs(1000)), ..SETTINGS };
    let mut ages = Vec::new();
    for _ in 0..5 {
        let mut caller = Caller::connect_with(settings.clone(), 100).await;
        caller.send(&get(1, "/never")).await;
        caller.wait_for(GOAWAY, 0).await;
        ages.push(caller.began.elapsed());
    }
    assert!(ages.iter().all(|age| (900..=1100).contains(&age.as_secs())), "{ages:?}");
    assert!(ages.iter().any(|age| *age != ages[0]), "{ages:?}");
}

/// What a dropped connection leaves behind: ended bodies.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_cut_ends_its_calls() {
    let mut caller = Caller::connect(3).await;
    caller.send(&get(1, "/5")).await;
    assert_eq!(caller.wait_for(DATA, 1).await, b"xxx");
    caller.serving.abort();
    poll_fn(|cx| std::pin::Pin::new(&mut caller.serving).poll(cx)).await.unwrap_err();
    assert_eq!(*caller.ended.lock(), [(3, false)]);
}
