//! Connects to the first of several addresses that answers (Happy Eyeballs, RFC 8305 §5).
//!
//! An address that swallows packets must not cost a call its time. So the next address is tried when one
//! is silent for [`ATTEMPT_DELAY`], or fails, and the first connection that is ready wins. Each attempt has
//! the whole time limit for itself.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, future::Either, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How a connection to one address is made: TCP, and then what makes it ready, such as TLS.
pub trait Dial: Sync {
    /// TCP.
    type Stream: Send;
    /// What is ready for use.
    type Connection: Send;
    /// Why there is no connection.
    type Error: Send;

    /// Opens TCP.
    fn open(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = Result<Self::Stream, Self::Error>> + Send;

    /// Makes the connection ready.
    fn secure(
        &self,
        stream: Self::Stream,
    ) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// The error of an address that took longer than the limit.
    fn too_slow(address: SocketAddr) -> Self::Error;
}

/// The result of a race.
#[derive(Debug)]
pub struct Finish<C, E> {
    /// The connection and its address, or the error of the attempt that failed last; `None` without an
    /// address.
    pub winner: Option<Result<(C, SocketAddr), E>>,
    /// The addresses that failed, or that the winner overtook.
    pub losers: Vec<SocketAddr>,
}

enum Step<S, C> {
    Opened(S),
    Ready(C),
}

/// Races the addresses in their order. Each has `limit` for TCP and what follows.
pub async fn race<D: Dial>(
    dial: &D,
    addresses: &[SocketAddr],
    limit: Duration,
) -> Finish<D::Connection, D::Error> {
    let mut waiting = addresses.iter().copied();
    // Those before the winner had a chance.
    let mut begun: Vec<SocketAddr> = Vec::new();
    let mut running = FuturesUnordered::new();
    let (mut losers, mut failure) = (Vec::new(), None);
    let mut next_at = Instant::now();
    loop {
        if (Instant::now() >= next_at || running.is_empty())
            && let Some(address) = waiting.next()
        {
            let ends = Instant::now() + limit;
            begun.push(address);
            running.push(Either::Left(async move {
                let opened = timeout_at(ends, dial.open(address)).await;
                let opened = opened.unwrap_or_else(|_| Err(D::too_slow(address)));
                (address, ends, opened.map(Step::Opened))
            }));
            next_at = Instant::now() + ATTEMPT_DELAY;
        }
        if running.is_empty() {
            return Finish { winner: failure.map(Err), losers };
        }
        let step = tokio::select! {
            Some(step) = running.next() => step,
            () = sleep_until(next_at), if waiting.len() > 0 => continue,
        };
        match step {
            (address, ends, Ok(Step::Opened(stream))) => {
                running.push(Either::Right(async move {
                    let ready = timeout_at(ends, dial.secure(stream)).await;
                    let ready = ready.unwrap_or_else(|_| Err(D::too_slow(address)));
                    (address, ends, ready.map(Step::Ready))
                }));
                // Somebody is there, and a handshake takes longer.
                next_at = Instant::now() + HANDSHAKE_DELAY;
            }
            (address, _, Ok(Step::Ready(connection))) => {
                losers.extend(begun.into_iter().take_while(|other| *other != address));
                return Finish { winner: Some(Ok((connection, address))), losers };
            }
            (address, _, Err(error)) => {
                begun.retain(|other| *other != address);
                losers.push(address);
                failure = Some(error);
                next_at = Instant::now();
            }
        }
    }
}

/// The wait before the next address is tried (RFC 8305 §5, "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The same once an address has accepted a connection.
const HANDSHAKE_DELAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    // What an address does: its port says.
    const SILENT: u16 = 1;
    const REFUSES: u16 = 2;
    const NEVER_SECURE: u16 = 3;
    const GOOD: u16 = 4;
    const SLOW: u16 = 5;

    struct Scripted;

    impl Dial for Scripted {
        type Stream = u16;
        type Connection = u16;
        type Error = &'static str;

        async fn open(&self, address: SocketAddr) -> Result<u16, &'static str> {
            match address.port() {
                SILENT => pending().await,
                REFUSES => Err("refused"),
                SLOW => {
                    sleep(Duration::from_millis(400)).await;
                    Ok(SLOW)
                }
                port => Ok(port),
            }
        }

        async fn secure(&self, port: u16) -> Result<u16, &'static str> {
            if port == NEVER_SECURE { pending().await } else { Ok(port) }
        }

        fn too_slow(_: SocketAddr) -> &'static str {
            "too slow"
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_address_that_answers_wins() {
        let millis = Duration::from_millis;
        let won = |port| Some(Ok(port));
        for (ports, winner, losers, took) in [
            (&[GOOD][..], won(GOOD), &[][..], millis(0)),
            (&[REFUSES, GOOD], won(GOOD), &[REFUSES], millis(0)),
            (&[SILENT, GOOD], won(GOOD), &[SILENT], millis(250)),
            (&[NEVER_SECURE, GOOD], won(GOOD), &[NEVER_SECURE], millis(1000)),
            // It was a little slow, and is there before the next one.
            (&[SLOW, SILENT], won(SLOW), &[], millis(400)),
            (&[SLOW, REFUSES, SILENT], won(SLOW), &[REFUSES], millis(400)),
            (&[], None, &[], millis(0)),
            (&[REFUSES], Some(Err("refused")), &[REFUSES], millis(0)),
            (&[SILENT], Some(Err("too slow")), &[SILENT], LIMIT),
            (&[NEVER_SECURE], Some(Err("too slow")), &[NEVER_SECURE], LIMIT),
            // Each address has the whole limit for itself, and a quarter of a second before the next.
            (&[SILENT; 8], Some(Err("too slow")), &[SILENT; 8], LIMIT + millis(7 * 250)),
            (
                &[SILENT, SILENT, SILENT, SILENT, SILENT, SILENT, SILENT, SILENT, GOOD],
                won(GOOD),
                &[SILENT; 8],
                millis(8 * 250),
            ),
        ] {
            let host = (0_u8..).zip(ports);
            let addresses: Vec<_> =
                host.map(|(host, port)| SocketAddr::from(([192, 0, 2, host], *port))).collect();
            let began = Instant::now();
            let Finish { winner: seen, losers: lost } = race(&Scripted, &addresses, LIMIT).await;
            let seen = seen.map(|winner| {
                winner.map(|(port, address)| {
                    assert_eq!(port, address.port());
                    port
                })
            });
            let lost: Vec<_> = lost.iter().map(SocketAddr::port).collect();
            assert_eq!((seen, &lost[..], began.elapsed()), (winner, losers, took), "{ports:?}");
        }
    }
}
