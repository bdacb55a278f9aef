use std::time::Duration;

use pigello_mock::{Authority, CertifiedKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a proxy does after its answer.
#[derive(Clone, Copy)]
enum Then {
    /// Leads to that port of this machine.
    LeadTo(u16),
    Close,
    Hang,
}

/// A proxy on a port of its own, called with TLS if it has a certificate.
async fn proxy(
    certificate: Option<&CertifiedKey>,
    roots: RootCertStore,
    answer: impl Into<Vec<u8>>,
    then: Then,
) -> (ForwardProxy, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = certificate
        .map(|certificate| TlsAcceptor::from(Arc::new(certificate.server_config().unwrap())));
    let answer = answer.into();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        match acceptor {
            None => play(stream, &answer, then).await,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => play(stream, &answer, then).await,
                Err(_) => None,
            },
        }
    });
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let tls = certificate.map(|_| connector(roots));
    let origin = format!("{scheme}://localhost:{port}").parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    (ForwardProxy { origin, authorization: None, tls }, stream)
}

async fn play(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &[u8],
    then: Then,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    assert!(head.starts_with(b"CONNECT origin.test:443 HTTP/1.1\r\n"));
    stream.write_all(answer).await.ok()?;
    stream.flush().await.ok()?;
    match then {
        Then::LeadTo(port) => {
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            copy_bidirectional(&mut stream, &mut server).await.ok()?;
        }
        Then::Close => stream.shutdown().await.ok()?,
        Then::Hang => drop(stream.read_u8().await),
    }
    Some(())
}

fn connector(roots: RootCertStore) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn tunnel(proxy: &ForwardProxy, stream: TcpStream) -> Result<Transport, TunnelError> {
    through(Some(proxy), stream, "origin.test", 443).await
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[tokio::test]
async fn tls_goes_through_a_tunnel_that_is_in_tls_itself() {
    let authority = Authority::new("test").unwrap();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let certificate = authority.server(&["origin.test"]).unwrap();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(certificate.server_config().unwrap()));
        while let Ok((stream, _)) = server.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let byte = stream.read_u8().await.unwrap();
            stream.write_all(&[byte + 1]).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let own = authority.server(&["localhost"]).unwrap();
    for certificate in [None, Some(&own)] {
        let (proxy, stream) = proxy(certificate, authority.roots(), OPEN, Then::LeadTo(port)).await;
        let transport = tunnel(&proxy, stream).await.unwrap();
        let name = ServerName::try_from("origin.test").unwrap();
        let mut stream = connector(authority.roots()).connect(name, transport).await.unwrap();
        stream.write_all(&[1]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 2);
    }
}

#[tokio::test]
async fn what_a_200_says_of_a_body_is_passed_over_and_interim_answers_are() {
    for answer in [
        OPEN,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n",
    ] {
        let (proxy, stream) = proxy(None, RootCertStore::empty(), answer, Then::Hang).await;
        let opened = tunnel(&proxy, stream).await;
        assert!(opened.is_ok(), "{answer}: {opened:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_an_error() {
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: x\r\n".repeat(1000));
    let authority = Authority::new("test").unwrap();
    let own = authority.server(&["localhost"]).unwrap();
    for (answer, then, told) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
            Then::Close,
            "407",
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\nGo away", Then::Close, "403"),
        ("HTTP/1.1 302 Found\r\nlocation: http://x.test/\r\n\r\n", Then::Hang, "302"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            Then::Hang,
            "101",
        ),
        ("SSH-2.0-made-up\r\n\r\n", Then::Hang, "broke off"),
        ("\u{16}\u{3}\u{1}", Then::Close, "broke off"),
        ("", Then::Close, "broke off"),
        // hyper takes it for an answer without a tunnel.
        ("HTTP/1.1 204 No Content\r\n\r\n", Then::Hang, "broke off"),
        ("HTTP/1.1 200 OK\r\nx", Then::Close, "broke off"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", Then::Hang, "before any were sent"),
        (&huge, Then::Hang, "broke off"),
        (&many, Then::Hang, "broke off"),
    ] {
        for certificate in [None, Some(&own)] {
            let (proxy, stream) = proxy(certificate, authority.roots(), answer, then).await;
            let error = tunnel(&proxy, stream).await.map(drop).unwrap_err().to_string();
            let shown = answer.chars().take(40).collect::<String>();
            assert!(error.contains(told), "{shown}: {error}");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_is_silent_or_has_only_interim_answers_is_left_at_the_limit() {
    // Whoever dials sets the limit; none of it may grow or spin meanwhile.
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (proxy, stream) = proxy(None, RootCertStore::empty(), answer, Then::Hang).await;
        let opened = tokio::time::timeout(Duration::from_millis(200), tunnel(&proxy, stream)).await;
        assert!(opened.is_err(), "{answer}");
    }
}

#[tokio::test]
async fn a_proxy_without_a_valid_certificate_is_not_asked() {
    let (authority, other) = (Authority::new("test").unwrap(), Authority::new("other").unwrap());
    for certificate in [
        other.server(&["localhost"]),
        authority.expired_server(&["localhost"]),
        authority.server(&["proxy.test"]),
    ] {
        let certificate = certificate.unwrap();
        let (proxy, stream) = proxy(Some(&certificate), authority.roots(), OPEN, Then::Hang).await;
        let error = tunnel(&proxy, stream).await.map(drop).unwrap_err();
        assert!(matches!(error, TunnelError::Certificate(_)), "{error:?}");
    }
    // Nor one that speaks no TLS.
    let (mut proxy, stream) = proxy(None, authority.roots(), OPEN, Then::Hang).await;
    proxy.tls = Some(connector(authority.roots()));
    let opened = tokio::time::timeout(Duration::from_millis(200), tunnel(&proxy, stream)).await;
    assert!(!matches!(opened, Ok(Ok(_))));
}

#[test]
fn a_proxy_is_for_https_and_a_list_leaves_servers_out() {
    let origin = |text: &str| text.parse::<Origin>().unwrap();
    let at = |excluded: &[&str]| ForwardProxySettings {
        choice: Some(ProxyChoice::At(origin("http://proxy.test:3128"))),
        credentials: None,
        excluded: excluded.iter().map(|entry| (*entry).to_owned()).collect(),
    };
    let vault = origin("https://10.0.0.7:8200");
    assert_eq!(at(&[]).proxy_to(&vault), Some(origin("http://proxy.test:3128")));
    assert_eq!(at(&["10.0.0.0/8"]).proxy_to(&vault), None);
    assert_eq!(ForwardProxySettings::default().proxy_to(&vault), None);
    let plain = origin("http://127.0.0.1:4318");
    assert!(matches!(ForwardProxy::open(&at(&[]), &plain), Err(ForwardProxyError::Plain { .. })));
    assert!(ForwardProxy::open(&at(&["127.0.0.1"]), &plain).unwrap().is_none());
}
