//! Calls that share one HTTP/2 connection to the upstream: what one caller does is no other's trouble.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use pigello_mock::{Authority, EXAMPLE_SUBTENANT, Fault};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::support::{Frames, Gateway, Setup, headers, pigello};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const TROUBLED: &str = "/accounts/users/customer/tenant/list/";

fn good() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

/// A caller that asks and never reads.
async fn ask(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let head = format!("GET {TROUBLED} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn until(reached: impl Fn() -> bool) {
    let becomes = async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), becomes).await.expect("it arrives");
}

/// An upstream whose frames the test writes, so that it answers calls that are gone: a library's
/// server does not.
struct ByHand {
    authority: Authority,
    listener: TcpListener,
}

impl ByHand {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { authority: Authority::new("by hand").unwrap(), listener }
    }

    fn setup(&self) -> Setup {
        let port = self.listener.local_addr().unwrap().port();
        Setup::before(&format!("https://localhost:{port}"), Some(self.authority.pem()))
    }

    /// The one connection: there is nobody to accept another.
    async fn accept(self) -> Frames<TlsStream<TcpStream>> {
        let issued = self.authority.server(&["localhost"]).unwrap();
        let tls = TlsAcceptor::from(Arc::new(issued.server_config().unwrap()));
        let (stream, _) = self.listener.accept().await.unwrap();
        Frames::accept(tls.accept(stream).await.unwrap()).await
    }
}

/// `200`, and nothing behind it.
fn ok(stream: u32) -> Vec<u8> {
    headers(stream, true, &[(b":status", b"200")])
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_leave_do_not_end_it() {
    let pigello = ByHand::listen().await;
    let gateway = pigello.setup().start().await;
    let opening = async {
        let mut connection = pigello.accept().await;
        let stream = connection.receive(HEADERS).await;
        connection.send(&ok(stream)).await;
        connection
    };
    let (first, mut connection) = tokio::join!(gateway.caller().get(TROUBLED), opening);
    assert_eq!(first.status, StatusCode::OK);
    // More than the answers to calls that are gone, after which h2 ends a connection; the last few
    // it still knows, and does not count.
    let mut gone = Vec::new();
    for _ in 0..1200 {
        let caller = ask(&gateway).await;
        gone.push(connection.receive(HEADERS).await);
        drop(caller);
        assert_eq!(Some(&connection.receive(RST_STREAM).await), gone.last());
    }
    let answering = async {
        let stream = connection.receive(HEADERS).await;
        for gone in gone {
            connection.send(&ok(gone)).await;
        }
        connection.send(&ok(stream)).await;
    };
    let target = good();
    let (last, ()) = tokio::join!(gateway.caller().get(&target), answering);
    assert_eq!(last.status, StatusCode::OK, "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_read_holds_up_nobody() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    // More than the buffers between here and there.
    pigello.handle().fault(Fault::new().path(TROUBLED).body(vec![b' '; 64 << 20]).times(1));
    let slow = ask(&gateway).await;
    until(|| pigello.handle().request_count() == 1).await;
    let path = "/accounts/users/customer/subtenant/list/?_page_size=10&_page=";
    for page in 1..200 {
        let answer = gateway.caller().get(&format!("{path}{page}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert_eq!(pigello.handle().connections(), 1);
    drop(slow);
}
