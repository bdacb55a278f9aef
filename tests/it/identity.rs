//! Callers with certificates: who is let in, who is refused, and that both are on the trail.

use std::{fs, io, net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::SanType;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Authority, Gateway, Pair, Recorder, SPIFFE, Setup, connect_tls, dns, uri};

struct Office {
    authority: Authority,
    files: TempDir,
    recorder: Recorder,
    gateway: Gateway,
}

impl Office {
    async fn open() -> Self {
        Self::before(Recorder::start().await).await
    }

    async fn before(recorder: Recorder) -> Self {
        let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
        let path = |name: &str| files.path().join(name).display().to_string();
        write(files.path(), &authority.issue(dns("localhost"), false));
        fs::write(files.path().join("client-ca.pem"), &authority.pem).unwrap();
        let tls = format!(
            "[listeners.tls]\ncertificate = \"{}\"\nprivate_key = \"{}\"\nclient_ca = \"{}\"\n",
            path("tls.pem"),
            path("tls.key"),
            path("client-ca.pem")
        );
        let gateway = Setup::plain(&recorder.origin())
            .listener(&tls)
            .with(&format!(
                "[policy]\nunmatched = \"forward\"\n\
                 [[callers]]\nname = \"billing\"\ntls_names = [\"{SPIFFE}\"]\nallow = [\"*\"]\n\
                 [[callers]]\nname = \"portal\"\ntls_names = [\"portal.corp\"]\nallow = [\"*\"]\n"
            ))
            .start()
            .await;
        Self { authority, files, recorder, gateway }
    }

    /// One call; the status, or none where the connection was refused.
    async fn call(&self, pair: Option<&Pair>) -> Option<u16> {
        call(self.gateway.caller().address(), &self.authority.pem, pair).await
    }
}

fn write(folder: &Path, pair: &Pair) {
    fs::write(folder.join("tls.pem"), &pair.certificate).unwrap();
    fs::write(folder.join("tls.key"), &pair.key).unwrap();
}

async fn call(address: SocketAddr, roots: &str, pair: Option<&Pair>) -> Option<u16> {
    exchange(address, roots, pair).await.ok().and_then(|answer| answer.get(9..12)?.parse().ok())
}

async fn exchange(address: SocketAddr, roots: &str, pair: Option<&Pair>) -> io::Result<String> {
    let mut stream = connect_tls(address, roots, pair).await?;
    stream.write_all(b"GET /a/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Before its certificate a stranger has proved nothing: it gives way to a caller with one.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_without_a_certificate_keep_no_caller_out() {
    let office = Office::open().await;
    office.gateway.reload(|text| text + "[limits]\nconnections = 8\n").await.unwrap();
    let address = office.gateway.caller().address();
    let _strangers: Vec<_> =
        (0..40).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let billing = office.authority.issue(uri(SPIFFE), false);
    assert_eq!(office.call(Some(&billing)).await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_its_caller_exactly() {
    let office = Office::open().await;
    for (names, status) in [
        (uri(SPIFFE), 200),
        (dns("portal.corp"), 200),
        (uri("spiffe://corp/billing/"), 403),
        (uri("spiffe://corp/Billing"), 403),
        (uri("spiffe://corp/billing2"), 403),
        (dns("billing"), 403),
        (dns("*.corp"), 403),
        (dns("portal.corp.evil.test"), 403),
        (vec![SanType::Rfc822Name("billing@corp".try_into().unwrap())], 403),
        (vec![SanType::IpAddress([127, 0, 0, 1].into())], 403),
        (Vec::new(), 403),
    ] {
        let pair = office.authority.issue(names.clone(), false);
        assert_eq!(office.call(Some(&pair)).await, Some(status), "{names:?}");
        assert_eq!(office.recorder.take().is_empty(), status != 200, "{names:?}");
    }
    let records = office.gateway.into_records().await;
    assert_eq!(records[0]["caller"], "billing");
    assert_eq!(records[0]["caller_proof"], format!("certificate={SPIFFE}"));
    assert_eq!(records[1]["caller"], "portal");
    for record in &records[2..] {
        assert!(record["caller"].is_null() && record["outcome"] == "refused", "{record}");
        assert_eq!(record["error"], "caller_unidentified");
    }
    // Without a name, the record tells it by serial number and subject.
    let proof = records.last().unwrap()["caller_proof"].as_str().unwrap();
    assert!(proof.starts_with("nameless certificate serial="), "{proof}");
    assert!(proof.contains(" subject=CN="), "{proof}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_over_tls_while_it_waits_ends_its_call() {
    let office = Office::before(Recorder::answering(Vec::new()).await).await;
    let pair = office.authority.issue(uri(SPIFFE), false);
    let address = office.gateway.caller().address();
    let mut stream = connect_tls(address, &office.authority.pem, Some(&pair)).await.unwrap();
    stream.write_all(b"GET /a/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    while office.recorder.take().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(stream);
    let records = office.gateway.into_records().await;
    assert_eq!((records.len(), &records[0]["error"]), (1, &"caller_gone".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_valid_is_a_refusal_on_the_trail() {
    let office = Office::open().await;
    let expired = office.authority.issue(uri(SPIFFE), true);
    let foreign = Authority::new().issue(uri(SPIFFE), false);
    for pair in [Some(&expired), Some(&foreign), None] {
        assert_eq!(office.call(pair).await, None);
    }
    assert_eq!(office.recorder.take(), "");
    let records = office.gateway.into_records().await;
    assert_eq!(records.len(), 3);
    let refused = |number: usize| &records[number]["refused_certificate"];
    assert!(refused(0)["reason"].as_str().unwrap().contains("xpired"), "{}", refused(0));
    for number in [0, 1] {
        let name = |field: &str| refused(number)[field].as_str().unwrap().to_owned();
        assert!(name("subject").starts_with("CN=") && name("issuer").starts_with("CN="));
        assert_eq!((name("sha256").len(), name("serial").is_empty()), (64, false));
    }
    assert_ne!(refused(0)["sha256"], refused(1)["sha256"]);
    assert!(refused(2)["reason"].is_string() && refused(2)["subject"].is_null(), "{}", refused(2));
    for record in &records {
        assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
        assert_eq!(record["error"], "certificate_refused");
        assert_eq!((&record["outcome"], &record["method"]), (&"refused".into(), &"-".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_and_authorities_are_used_without_a_restart() {
    let office = Office::open().await;
    let other = Authority::new();
    let (old, new) = (office.authority.issue(uri(SPIFFE), false), other.issue(uri(SPIFFE), false));
    assert_eq!((office.call(Some(&old)).await, office.call(Some(&new)).await), (Some(200), None));

    fs::write(office.files.path().join("client-ca.pem"), &other.pem).unwrap();
    assert!(office.gateway.reread().await.is_ok());
    assert_eq!((office.call(Some(&old)).await, office.call(Some(&new)).await), (None, Some(200)));

    // What cannot be used changes nothing.
    fs::write(office.files.path().join("client-ca.pem"), "no certificate").unwrap();
    assert!(office.gateway.reread().await.is_err());
    assert_eq!(office.call(Some(&new)).await, Some(200));
    fs::write(office.files.path().join("client-ca.pem"), &other.pem).unwrap();

    write(office.files.path(), &other.issue(dns("localhost"), false));
    assert!(office.gateway.reread().await.is_ok());
    let address = office.gateway.caller().address();
    assert_eq!(call(address, &office.authority.pem, Some(&new)).await, None);
    assert_eq!(call(address, &other.pem, Some(&new)).await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_let_in_by_an_authority_that_is_gone_does_not_stay() {
    let office = Office::open().await;
    let (other, pair) = (Authority::new(), office.authority.issue(uri(SPIFFE), false));
    let address = office.gateway.caller().address();
    let mut kept = connect_tls(address, &office.authority.pem, Some(&pair)).await.unwrap();
    let mut ask = async || {
        kept.write_all(b"GET /a/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        kept.read(&mut [0; 4096]).await
    };
    assert!(ask().await.unwrap() > 0);
    // A certificate of the listener's own that is renewed is nobody's concern.
    write(office.files.path(), &office.authority.issue(dns("localhost"), false));
    office.gateway.reread().await.unwrap();
    assert!(ask().await.unwrap() > 0);
    fs::write(office.files.path().join("client-ca.pem"), &other.pem).unwrap();
    office.gateway.reread().await.unwrap();
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_lets_in_by_other_files_and_refuses_those_it_cannot_use() {
    let office = Office::open().await;
    let other = Authority::new();
    let (old, new) = (office.authority.issue(uri(SPIFFE), false), other.issue(uri(SPIFFE), false));
    let to = |name: &str| {
        let (from, to) = ("client-ca.pem".to_owned(), name.to_owned());
        move |text: String| text.replace(&from, &to)
    };
    let refused = office.gateway.reload(to("other-ca.pem")).await.unwrap_err();
    assert!(refused.contains("certificates of listener `main`"), "{refused}");
    assert_eq!((office.call(Some(&old)).await, office.call(Some(&new)).await), (Some(200), None));

    fs::write(office.files.path().join("other-ca.pem"), &other.pem).unwrap();
    office.gateway.reload(|text| text).await.unwrap();
    assert_eq!((office.call(Some(&old)).await, office.call(Some(&new)).await), (None, Some(200)));

    // Nor does one go through while a file that is in use cannot be used any more.
    fs::write(office.files.path().join("other-ca.pem"), "no certificate").unwrap();
    assert!(office.gateway.reload(|text| text).await.is_err());
    assert_eq!(office.call(Some(&new)).await, Some(200));

    // What a reload brought is read again like what was there from the start.
    fs::write(office.files.path().join("other-ca.pem"), &office.authority.pem).unwrap();
    office.gateway.reread().await.unwrap();
    assert_eq!((office.call(Some(&old)).await, office.call(Some(&new)).await), (Some(200), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_let_in_without_a_certificate_does_not_stay_when_one_is_asked_for() {
    let office = Office::open().await;
    let without = |text: String| {
        let lines = text.lines().filter(|line| !line.contains("client_ca"));
        lines.fold(String::new(), |text, line| text + line + "\n")
    };
    let before = fs::read_to_string(office.gateway.path("gateway.toml")).unwrap();
    office.gateway.reload(without).await.unwrap();
    let mut kept =
        connect_tls(office.gateway.caller().address(), &office.authority.pem, None).await.unwrap();
    kept.write_all(b"GET /a/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // Nobody by name: it has a certificate of nobody.
    assert!(kept.read(&mut [0; 4096]).await.unwrap() > 0);
    office.gateway.reload(|_| before).await.unwrap();
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_and_does_not_stay() {
    let office = Office::open().await;
    let (authority, address) = (&office.authority, office.gateway.caller().address());
    let (first, second) = (authority.issue_numbered(1), authority.issue_numbered(2));
    let list = office.files.path().join("revoked.pem");
    let publish = |text: &str| fs::write(&list, text).unwrap();
    publish(&authority.revocation_list(&[], 4000));
    let keys = format!("client_crl = [\"{}\"]\nclient_ca =", list.display());
    office.gateway.reload(|text| text.replace("client_ca =", &keys)).await.unwrap();
    let mut kept = connect_tls(address, &authority.pem, Some(&first)).await.unwrap();
    kept.write_all(b"GET /a/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(kept.read(&mut [0; 4096]).await.unwrap() > 0);

    publish(&authority.revocation_list(&[1], 4000));
    office.gateway.reread().await.unwrap();
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(
        (office.call(Some(&first)).await, office.call(Some(&second)).await),
        (None, Some(200))
    );

    // What cannot be used changes nothing, and a list that has ended says nothing about anybody.
    publish("no list");
    assert!(office.gateway.reread().await.is_err());
    assert_eq!(office.call(Some(&second)).await, Some(200));
    publish(&authority.revocation_list(&[1], 2021));
    office.gateway.reread().await.unwrap();
    assert_eq!(office.call(Some(&second)).await, None);
    // Nor does the list of another authority.
    publish(&Authority::new().revocation_list(&[], 4000));
    office.gateway.reread().await.unwrap();
    assert_eq!(office.call(Some(&second)).await, None);

    let records = office.gateway.into_records().await;
    let errors: Vec<_> = records.iter().map(|record| record["error"].as_str()).collect();
    let refused = Some("certificate_refused");
    assert_eq!(errors, [None, refused, None, None, refused, refused]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_certificate() {
    let office = Office::open().await;
    let pair = office.authority.issue_for(Duration::from_secs(3));
    let address = office.gateway.caller().address();
    let ask = b"GET /a/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut http1 = connect_tls(address, &office.authority.pem, Some(&pair)).await.unwrap();
    http1.write_all(ask).await.unwrap();
    assert!(http1.read(&mut [0; 4096]).await.unwrap() > 0);
    let http2 = connect_tls(address, &office.authority.pem, Some(&pair)).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(http2))
            .await
            .unwrap();
    let http2_ended = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/a/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);

    let ended = async {
        let mut rest = Vec::new();
        http1.read_to_end(&mut rest).await.unwrap();
        http2_ended.await.unwrap().unwrap();
        rest
    };
    let rest = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("both end");
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(office.call(Some(&pair)).await, None);
    let records = office.gateway.into_records().await;
    assert_eq!(records.len(), 3);
    assert_eq!(records[2]["error"], "certificate_refused");
}
