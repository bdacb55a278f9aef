//! A TCP proxy between the gateway and Pigello that breaks connections on demand.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Weather {
    /// It is passed on.
    Fine,
    /// It is reset as soon as it is there.
    Reset,
    /// It is accepted, and nothing ever comes back.
    Silence,
    /// What comes back does so a byte at a time, this far apart.
    Drip(Duration),
}

/// The proxy. Dropping it ends it.
pub struct BreakingProxy {
    address: SocketAddr,
    sky: Arc<Mutex<Sky>>,
    task: JoinHandle<()>,
}

struct Sky {
    target: SocketAddr,
    /// For connections to come, first in front; then it is fine.
    forecast: Vec<Weather>,
    connections: u64,
    storm: CancellationToken,
}

impl BreakingProxy {
    /// In front of `target`, with fine weather.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sky = Arc::new(Mutex::new(Sky {
            target,
            forecast: Vec::new(),
            connections: 0,
            storm: CancellationToken::new(),
        }));
        let task = tokio::spawn(accept(listener, Arc::clone(&sky)));
        Self { address, sky, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What becomes of the next connections.
    pub fn forecast(&self, weather: impl IntoIterator<Item = Weather>) {
        self.sky.lock().forecast = weather.into_iter().collect();
    }

    /// Leads connections to come to another place.
    pub fn lead_to(&self, target: SocketAddr) {
        self.sky.lock().target = target;
    }

    /// Resets every connection that is open.
    pub fn storm(&self) {
        std::mem::take(&mut self.sky.lock().storm).cancel();
    }

    /// How many connections have been accepted.
    pub fn connections(&self) -> u64 {
        self.sky.lock().connections
    }
}

impl Drop for BreakingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, sky: Arc<Mutex<Sky>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (weather, target, storm) = {
            let mut sky = sky.lock();
            sky.connections += 1;
            let weather =
                if sky.forecast.is_empty() { Weather::Fine } else { sky.forecast.remove(0) };
            (weather, sky.target, sky.storm.clone())
        };
        tokio::spawn(async move {
            stream.set_zero_linger().unwrap();
            tokio::select! {
                () = storm.cancelled() => {}
                () = pass(stream, target, weather) => {}
            }
        });
    }
}

async fn pass(mut near: TcpStream, target: SocketAddr, weather: Weather) {
    match weather {
        Weather::Reset => return,
        Weather::Silence => return std::future::pending().await,
        Weather::Fine | Weather::Drip(_) => {}
    }
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    if let Weather::Drip(pause) = weather {
        let (mut from_near, mut to_near) = near.split();
        let (mut from_far, mut to_far) = far.split();
        let down = async {
            let mut byte = [0];
            while from_far.read_exact(&mut byte).await.is_ok() {
                tokio::time::sleep(pause).await;
                if to_near.write_all(&byte).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = tokio::io::copy(&mut from_near, &mut to_far) => {}
            () = down => {}
        }
    } else {
        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
    }
}
