//! Names and addresses as real networks have them: an address that swallows packets, and a name service
//! that is away. Each gateway has a network namespace of its own, with its upstream in it.

use std::{fs, path::Path, time::Duration};

use futures_util::future::join_all;
use http::StatusCode;
use pigello_mock::MADE_UP_VALUES;
use tempfile::TempDir;

use crate::support::{Caller, Process, skip};

const READ: &str = "/accounts/users/customer/tenant/list/";

/// A gateway in a network where `dead` addresses swallow packets, and whose upstream is at 198.51.100.7.
fn start(hosts: &str, timeouts: &str) -> Option<(Process, Caller, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("credentials")).unwrap();
    for (name, value) in MADE_UP_VALUES {
        fs::write(path("credentials").join(name.key()), value).unwrap();
    }
    fs::write(path("hosts"), format!("127.0.0.1 localhost\n{hosts}")).unwrap();
    fs::write(path("resolv.conf"), "nameserver 192.0.2.53\n").unwrap();
    let text = format!(
        r#"
        [[listeners]]
        name = "main"
        address = "unix:{socket}"
        profile = "test"
        [admin]
        address = "127.0.0.1:0"
        [profiles.test]
        upstream = "https://api.test:8443"
        ca_file = "ca.pem"
        credentials = "test"
        allow_private = true
        [credentials.test]
        source = "directory"
        path = "credentials"
        [audit]
        directory = "audit"
        [breaker]
        enabled = false
        {timeouts}
        "#,
        socket = path("gateway.sock").display()
    );
    fs::write(path("gateway.toml"), text).unwrap();
    let process = Process::serve_in_network(folder.path(), NETWORK)?;
    let caller = Caller::unix(path("gateway.sock"));
    Some((process, caller, folder))
}

/// Sets the network up in its namespace, and starts the upstream.
const NETWORK: &str = r#"
    ip link set lo up
    ip link add swallow type veth peer name nowhere
    ip addr add 203.0.113.1/24 dev swallow
    ip -6 addr add 2001:db8:1::1/64 dev swallow nodad
    ip link set swallow up
    ip link set nowhere up
    ip neigh add 203.0.113.2 lladdr 02:00:00:00:00:01 dev swallow
    ip -6 neigh add 2001:db8:1::2 lladdr 02:00:00:00:00:01 dev swallow
    ip route add 192.0.2.0/24 via 203.0.113.2
    ip -6 route add 2001:db8::/64 via 2001:db8:1::2
    ip addr add 198.51.100.7/32 dev lo
    mount --bind "$FOLDER/hosts" /etc/hosts
    mount --bind "$FOLDER/resolv.conf" /etc/resolv.conf
    setpriv --pdeathsig KILL "$GATEWAY" mock-upstream --listen 198.51.100.7:8443 --allow-remote --name api.test \
        --ca-out "$FOLDER/ca.pem" >"$FOLDER/mock.log" 2>&1 &
    until grep -q 198.51.100.7 "$FOLDER/mock.log"; do :; done
"#;

fn namespaces_are_not_allowed() {
    skip("names and addresses of real networks: no network namespace of its own is allowed here");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_swallows_packets_costs_no_call() {
    for dead in ["192.0.2.9 api.test\n", "2001:db8::9 api.test\n", &many_dead()] {
        let hosts = format!("{dead}198.51.100.7 api.test\n");
        let Some((process, caller, _folder)) = start(&hosts, "") else {
            return namespaces_are_not_allowed();
        };
        for _ in 0..3 {
            assert_eq!(caller.get(READ).await.status, StatusCode::OK, "{hosts}");
        }
        let (status, log) = process.terminate();
        assert!(status.success() && !log.contains("upstream failed"), "{log}");
    }
}

fn many_dead() -> String {
    let lines: Vec<_> = (10..18).map(|last| format!("192.0.2.{last} api.test\n")).collect();
    lines.concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_name_service_is_named_and_asked_once() {
    // Another attempt would run into the limit of the whole call.
    let timeouts = "[timeouts]\nresolve = \"2s\"\nrequest = \"3s\"\n";
    let Some((process, caller, folder)) = start("", timeouts) else {
        return namespaces_are_not_allowed();
    };
    let calls = join_all((0..100).map(|_| caller.get(READ)));
    let asking = async {
        while process.threads("resolve") == 0 {
            tokio::task::yield_now().await;
        }
    };
    let (answers, ()) = tokio::join!(calls, asking);
    assert_eq!(process.threads("resolve"), 1, "all calls share one look-up");
    for answer in answers {
        assert_eq!(answer.problem(), "upstream_dns");
        assert!(answer.json()["detail"].as_str().unwrap().contains("timeouts.resolve"));
    }
    // It comes back, and the next call is served.
    add_host(folder.path());
    let served = async { while caller.get(READ).await.status != StatusCode::OK {} };
    tokio::time::timeout(Duration::from_mins(1), served).await.expect("the name service is back");
    assert!(process.terminate().0.success());
}

/// Written over the same file, because that is what is mounted.
fn add_host(folder: &Path) {
    fs::write(folder.join("hosts"), "127.0.0.1 localhost\n198.51.100.7 api.test\n").unwrap();
}
