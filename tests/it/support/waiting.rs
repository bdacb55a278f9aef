//! An upstream that answers nothing by itself.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::Setup;

/// Accepts connections and leaves the rest to the test.
pub struct Waiting(TcpListener);

impl Waiting {
    pub async fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// A gateway before it, which forwards everything.
    pub fn setup(&self) -> Setup {
        Setup::plain(&format!("http://{}", self.0.local_addr().unwrap()))
            .with("[policy]\nunmatched = \"forward\"\n")
    }

    /// Has a caller ask; the upstream's end of the connection that the request came over.
    pub async fn ask(&self, caller: &mut (impl AsyncWrite + Unpin), request: &str) -> TcpStream {
        caller.write_all(request.as_bytes()).await.unwrap();
        let (mut stream, _) = self.0.accept().await.unwrap();
        until_blank_line(&mut stream).await;
        stream
    }

    /// Has a caller ask and leave, and waits until the gateway gives the call up.
    pub async fn see_it_leave(&self, mut caller: impl AsyncWrite + Unpin, request: &str) {
        let mut stream = self.ask(&mut caller, request).await;
        drop(caller);
        while !matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_)) {}
    }
}

/// Reads a head.
pub async fn until_blank_line(stream: &mut (impl AsyncRead + Unpin)) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0, "{head:?}");
    }
}
