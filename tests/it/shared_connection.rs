//! Calls that share one HTTP/2 connection to the upstream: what one caller does is no other's trouble.

use std::time::Duration;

use http::StatusCode;
use pigello_gateway::mock::{EXAMPLE_SUBTENANT, Fault};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{Gateway, Setup, pigello};

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

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_leave_do_not_end_it() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let late = Duration::from_millis(300);
    pigello.handle().fault(Fault::new().path(TROUBLED).delay(late).until_cleared());
    pigello.handle().fault(Fault::new().path(good()).delay(2 * late).times(1));
    // More than the answers to calls that are gone, after which h2 ends a connection.
    for left in 1..1500 {
        let caller = ask(&gateway).await;
        until(|| pigello.handle().request_count() == left).await;
        drop(caller);
    }
    // It is under way while the last of them arrive.
    assert_eq!(gateway.caller().get(&good()).await.status, StatusCode::OK);
    assert_eq!(pigello.handle().connections(), 1);
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
