//! The network between one gateway and the store. It can be cut, and then lets everything through late, as a network
//! does that is there again; and it can lead to another server.

use std::{io, net::Ipv4Addr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

/// A way to the store, which ends with this value.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    state: watch::Sender<State>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    target: u16,
    is_cut: bool,
}

impl Relay {
    /// A way to the server at that port.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(State { target, is_cut: false });
        let seen = state.subscribe();
        let serving = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(near, seen.clone()));
            }
        }));
        Self { port, state, _serving: serving }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts it, or lets everything through again.
    pub fn cut(&self, is_cut: bool) {
        self.state.send_modify(|state| state.is_cut = is_cut);
    }

    /// Breaks all connections off, and leads to another server from here on.
    pub fn lead_to(&self, target: u16) {
        self.state.send_modify(|state| state.target = target);
    }
}

async fn serve(near: TcpStream, mut state: watch::Receiver<State>) {
    let target = state.borrow_and_update().target;
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
    }
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let up = pass(near_read, far_write, state.clone());
    let down = pass(far_read, near_write, state.clone());
    let moved = async {
        while state.wait_for(|state| state.target != target).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ended = up => {}
        _ended = down => {}
        () = moved => {}
    }
}

/// Passes bytes on, when the way is not cut.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        if state.wait_for(|state| !state.is_cut).await.is_err() {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
    }
}
