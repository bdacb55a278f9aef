//! Model tests of the client's hand-written synchronisation: loom runs each of them in many
//! interleavings of its threads. A task whose wake-up or permit is lost waits for ever, and loom reports
//! the deadlock.
//!
//! The sources are the gateway's own. Only their `sync` is another one.

#![cfg(test)]

#[path = "../../../src/proxy/client/exchange_waker.rs"]
mod exchange_waker;
#[path = "../../../src/proxy/client/in_flight.rs"]
mod in_flight;
mod sync;

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{future::block_on, model::Builder, sync::atomic::AtomicBool, thread};

use self::{exchange_waker::ExchangeWaker, in_flight::InFlight, sync::Ordering};

/// Explores the interleavings in which threads are preempted twice at most: with three threads, all of
/// them take minutes.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(test);
}

/// An event on another thread. What it brings is visible by its wake-up alone.
fn happen(event: &Arc<AtomicBool>, waker: &Waker) -> thread::JoinHandle<()> {
    let (event, waker) = (Arc::clone(event), waker.clone());
    thread::spawn(move || {
        event.store(true, Ordering::Relaxed);
        waker.wake();
    })
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}

fn has_happened(event: &AtomicBool) -> bool {
    event.load(Ordering::Relaxed)
}

fn exchange() -> (Arc<ExchangeWaker>, Waker) {
    let exchange = Arc::new(ExchangeWaker::default());
    (Arc::clone(&exchange), Waker::from(exchange))
}

fn events() -> [Arc<AtomicBool>; 2] {
    [(); 2].map(|()| Arc::new(AtomicBool::new(false)))
}

fn ready_if(is_ready: bool) -> Poll<()> {
    if is_ready { Poll::Ready(()) } else { Poll::Pending }
}

/// One wake-up may come while the task handles the other.
#[test]
fn an_exchange_sees_all_wake_ups_from_outside() {
    model(|| {
        let (exchange, waker) = exchange();
        let events = events();
        let threads = events.each_ref().map(|event| happen(event, &waker));
        let response = |_: &mut Context<'_>| ready_if(events.iter().all(|it| has_happened(it)));
        block_on(poll_fn(|cx| exchange.poll(&waker, cx, response, |_| {})));
        join(threads);
        exchange.forget_task();
    });
}

/// The connection reads the response and wakes the future that waits for it.
#[test]
fn an_exchange_sees_the_wake_up_of_its_other_future() {
    model(|| {
        let (exchange, waker) = exchange();
        let arrival = Arc::new(AtomicBool::new(false));
        let thread = happen(&arrival, &waker);
        let is_read = std::cell::Cell::new(false);
        block_on(poll_fn(|cx| {
            let response = |_: &mut Context<'_>| ready_if(is_read.get());
            exchange.poll(&waker, cx, response, |cx| {
                if has_happened(&arrival) && !is_read.replace(true) {
                    cx.waker().wake_by_ref();
                }
            })
        }));
        thread.join().unwrap();
    });
}

/// A body may be read by another task than the one that sent the request.
#[test]
fn an_exchange_wakes_the_task_that_polled_it_last() {
    model(|| {
        let (exchange, waker) = exchange();
        let event = Arc::new(AtomicBool::new(false));
        let thread = happen(&event, &waker);
        let response = |_: &mut Context<'_>| ready_if(has_happened(&event));
        let mut first = Context::from_waker(Waker::noop());
        if exchange.poll(&waker, &mut first, response, |_| {}).is_pending() {
            block_on(poll_fn(|cx| exchange.poll(&waker, cx, response, |_| {})));
        }
        thread.join().unwrap();
    });
}

/// Requests with a limit that each of `N` threads is about to leave.
fn busy<const N: usize>() -> (&'static InFlight, [thread::JoinHandle<()>; N]) {
    // Leaked, because loom's threads cannot borrow.
    let in_flight: &'static InFlight = Box::leak(Box::new(InFlight::new(N, usize::MAX)));
    let requests = [(); N].map(|()| in_flight.enter());
    let threads = requests.map(|mut request| {
        assert!(request.try_start());
        thread::spawn(move || drop(request))
    });
    (in_flight, threads)
}

/// Runs a request, which waits for a permit if none is free.
fn request(in_flight: &InFlight) {
    let mut request = in_flight.enter();
    if !request.try_start() {
        block_on(request.start());
    }
}

#[test]
fn no_permit_is_lost_or_won_while_the_limit_changes() {
    model(|| {
        let (in_flight, threads) = busy::<2>();
        in_flight.set_limit(0);
        in_flight.set_limit(3);
        join(threads);
        assert_eq!((in_flight.available_permits(), in_flight.limit()), (3, 3));
        assert_eq!(in_flight.requests(), 0);
    });
}

#[test]
fn a_request_that_waits_gets_a_permit_although_the_limit_falls() {
    model(|| {
        let (in_flight, threads) = busy::<2>();
        in_flight.set_limit(1);
        request(in_flight);
        join(threads);
        // Pays, if permits were released before they were a debt.
        request(in_flight);
        assert_eq!((in_flight.available_permits(), in_flight.limit()), (1, 1));
    });
}

#[test]
fn a_crowd_wakes_the_task_that_adjusts_the_limit() {
    model(|| {
        let in_flight: &'static InFlight = Box::leak(Box::new(InFlight::new(9, 1)));
        let _first = in_flight.enter();
        for _ in 0..2 {
            let thread = thread::spawn(|| drop(in_flight.enter()));
            block_on(in_flight.crowded());
            thread.join().unwrap();
        }
    });
}
