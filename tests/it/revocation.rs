//! Revocation lists for the certificates of Pigello and the vault: what they revoke is refused, and they are
//! read again.

use std::{fs, path::PathBuf};

use http::StatusCode;
use pigello_mock::MADE_UP_VALUES;
use rcgen::SanType;

use crate::support::{
    Answer, Authority, Caller, Gateway, Pair, Process, Setup, TlsServer, vault_answer,
};

const READ: &str = "/accounts/users/customer/tenant/list/";

/// An upstream with a certificate of its own number, and the file of lists for it.
struct Office {
    authority: Authority,
    upstream: TlsServer,
    folder: tempfile::TempDir,
}

impl Office {
    async fn open() -> Self {
        let authority = Authority::new();
        let upstream = TlsServer::start(&pair(&authority, 1), |_| "{}".to_owned()).await;
        Self { authority, upstream, folder: tempfile::tempdir().unwrap() }
    }

    fn list(&self) -> PathBuf {
        self.folder.path().join("revoked.pem")
    }

    fn publish(&self, text: &str) {
        fs::write(self.list(), text).unwrap();
    }

    async fn gateway(&self, keys: &str) -> Gateway {
        let origin = format!("https://{}", self.upstream.address());
        let keys = format!("crl_file = \"{}\"\n{keys}\n", self.list().display());
        Setup::before(&origin, Some(&self.authority.pem)).profile(&keys).start().await
    }
}

/// A certificate with that number, for this machine.
fn pair(authority: &Authority, number: u64) -> Pair {
    let name = SanType::IpAddress([127, 0, 0, 1].into());
    authority.issue_with(vec![name], |params| params.serial_number = Some(number.into()))
}

#[track_caller]
fn refused(answer: &Answer, detail: &str) {
    assert_eq!(answer.problem(), "upstream_certificate");
    assert_eq!(answer.json()["detail"], detail);
}

const REVOKED: &str = "the upstream's certificate has been revoked";

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_counts_from_the_next_call_on() {
    let office = Office::open().await;
    let (authority, upstream) = (&office.authority, &office.upstream);
    office.publish(&authority.revocation_list(&[2], 4000));
    let gateway = office.gateway("").await;
    for _ in 0..2 {
        assert_eq!(gateway.caller().get(READ).await.status, StatusCode::OK);
    }
    assert_eq!(upstream.connections(), 1, "the connection is used again");

    // The same lists change nothing, and others are asked about a new connection.
    gateway.reread().await.unwrap();
    assert_eq!(gateway.caller().get(READ).await.status, StatusCode::OK);
    assert_eq!(upstream.connections(), 1);
    office.publish(&authority.revocation_list(&[3], 4000));
    gateway.reread().await.unwrap();
    // Each worker hears of it a moment later.
    while upstream.connections() < 2 {
        assert_eq!(gateway.caller().get(READ).await.status, StatusCode::OK);
    }

    // A resumed session would show no certificate.
    office.publish(&authority.revocation_list(&[3, 1], 4000));
    gateway.reread().await.unwrap();
    while gateway.caller().get(READ).await.status == StatusCode::OK {}
    refused(&gateway.caller().get(READ).await, REVOKED);
    let arrived = upstream.requests().len();

    // What cannot be used changes nothing, and is told.
    for broken in ["no list", "", &authority.pem] {
        office.publish(broken);
        let error = gateway.reread().await.unwrap_err().to_string();
        assert!(error.contains("the revocation lists of profile `test`"), "{error}");
        refused(&gateway.caller().get(READ).await, REVOKED);
    }
    fs::remove_file(office.list()).unwrap();
    assert!(gateway.reread().await.is_err());
    refused(&gateway.caller().get(READ).await, REVOKED);
    assert_eq!(upstream.requests().len(), arrived);

    // With a list that revokes nothing it goes on.
    office.publish(&authority.revocation_list(&[], 4000));
    gateway.reread().await.unwrap();
    assert_eq!(gateway.caller().get(READ).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides_about_a_certificate_without_a_valid_list() {
    let office = Office::open().await;
    let authority = &office.authority;
    let of_another = Authority::named("another").revocation_list(&[1], 4000);
    let forged = Authority::new().revocation_list(&[], 4000);
    let both = format!("{of_another}{}", authority.revocation_list(&[1], 4000));
    let unknown =
        "no list in `crl_file` of the profile says whether the upstream's certificate is revoked";
    let old =
        "the revocation list for the upstream's certificate is too old (`crl_file` of the profile)";
    let unusable = "the revocation list for the upstream's certificate cannot be used";
    for (list, required, if_present) in [
        (authority.revocation_list(&[2], 4000), None, None),
        (authority.revocation_list(&[1], 4000), Some(REVOKED), Some(REVOKED)),
        (both, Some(REVOKED), Some(REVOKED)),
        (of_another, Some(unknown), None),
        (forged, Some(unusable), Some(unusable)),
        (authority.revocation_list(&[2], 2021), Some(old), None),
        (authority.revocation_list(&[1], 2021), Some(old), Some(REVOKED)),
    ] {
        office.publish(&list);
        for (keys, expected) in [
            ("", required),
            ("crl_policy = \"require\"", required),
            ("crl_policy = \"if_present\"", if_present),
        ] {
            let gateway = office.gateway(keys).await;
            let answer = gateway.caller().get(READ).await;
            match expected {
                Some(detail) => refused(&answer, detail),
                None => assert_eq!(answer.status, StatusCode::OK, "{keys}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vaults_certificate_is_looked_up_before_each_read() {
    let office = Office::open().await;
    let (authority, path) = (&office.authority, |name: &str| office.folder.path().join(name));
    let vault = TlsServer::start(&pair(authority, 7), vault_answer).await;
    office.publish(&authority.revocation_list(&[], 4000));
    fs::write(path("token"), "made-up-token").unwrap();
    fs::write(path("vault-ca.pem"), &authority.pem).unwrap();
    let vault_keys = format!(
        "[vault]\naddress = \"https://{}\"\nca_file = \"{}\"\ncrl_file = \"{}\"\n\
         [vault.auth]\nmethod = \"token\"\ntoken_file = \"{}\"\n\
         [credentials.of-vault]\nsource = \"vault\"\npath = \"pigello\"\n\
         [profiles.by-vault]\nupstream = \"https://{}\"\ncredentials = \"of-vault\"\nca_file = \"{}\"\n\
         [[listeners]]\nname = \"second\"\naddress = \"unix:{}\"\nprofile = \"by-vault\"\n",
        vault.address(),
        path("vault-ca.pem").display(),
        office.list().display(),
        path("token").display(),
        office.upstream.address(),
        path("vault-ca.pem").display(),
        path("second.sock").display(),
    );
    let origin = format!("https://{}", office.upstream.address());
    let gateway = Setup::before(&origin, Some(&authority.pem)).with(&vault_keys).start().await;
    let state = async || {
        let status = gateway.admin().get("/status").await.json().to_string();
        (vault.requests().len(), status)
    };
    gateway.reread().await.unwrap();
    let (before, status) = state().await;
    assert!(before > 0 && !status.contains("cannot reach the vault"), "{status}");

    // The connection of the last read is not used, nor is a new one made.
    office.publish(&authority.revocation_list(&[7], 4000));
    gateway.reread().await.unwrap();
    let (after, status) = state().await;
    assert_eq!(after, before);
    assert!(status.contains("cannot reach the vault") && status.contains("Revoked"), "{status}");

    // A file that cannot be used changes nothing, whatever is read again after a failure.
    for _ in 0..2 {
        office.publish("no list");
        gateway.reread().await.unwrap();
        let (after, status) = state().await;
        assert_eq!(after, before);
        assert!(status.contains("Revoked"), "{status}");
    }
    office.publish(&authority.revocation_list(&[], 4000));
    gateway.reread().await.unwrap();
    let (after, status) = state().await;
    assert!(after > before && !status.contains("cannot reach the vault"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_reads_its_lists_again_and_tells_what_comes_of_it() {
    let office = Office::open().await;
    let (authority, path) = (&office.authority, |name: &str| office.folder.path().join(name));
    office.publish(&authority.revocation_list(&[], 4000));
    fs::write(path("ca.pem"), &authority.pem).unwrap();
    fs::create_dir(path("credentials")).unwrap();
    for (name, value) in MADE_UP_VALUES {
        fs::write(path("credentials").join(name.key()), value).unwrap();
    }
    let text = format!(
        "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\nprofile = \"test\"\n\
         [admin]\naddress = \"unix:{}\"\n\
         [profiles.test]\nupstream = \"https://{}\"\ncredentials = \"test\"\n\
         ca_file = \"ca.pem\"\ncrl_file = \"revoked.pem\"\n\
         [credentials.test]\nsource = \"directory\"\npath = \"credentials\"\n\
         [audit]\ndirectory = \"audit\"\n[runtime]\nworkers = 1\n",
        path("admin.sock").display(),
        office.upstream.address()
    );
    fs::write(path("gateway.toml"), text).unwrap();
    let mut process = Process::serve(&path("gateway.toml"));
    let caller = Caller::tcp(process.address("main"));
    assert_eq!(caller.get(READ).await.status, StatusCode::OK);

    office.publish(&authority.revocation_list(&[1], 4000));
    process.log_line("the revocation lists of a server are read again");
    // The worker hears of it a moment later.
    while caller.get(READ).await.status == StatusCode::OK {}
    refused(&caller.get(READ).await, REVOKED);
    office.publish("no list");
    let told = "the revocation lists of a server cannot be used; the old ones stay";
    assert!(process.log_line(told).contains("it holds no revocation list"));
    refused(&caller.get(READ).await, REVOKED);
    office.publish(&authority.revocation_list(&[], 4000));
    process.log_line("the revocation lists of a server are read again");
    while caller.get(READ).await.status != StatusCode::OK {}
}
