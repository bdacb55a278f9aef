//! Many secrets of one vault: one login, one read each, and little harm when the vault is away.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tempfile::TempDir;

use super::{
    super::{VaultError, VaultSource, Vaults, connection::READS_AT_ONCE},
    server::{Server, values},
    stub::{Reply, Stub, secret},
};
use crate::{
    credentials::{
        CredentialManager, Identifiers, LoadError, RefreshSettings, Settings, SourceSettings,
        Sources,
        settings::{TokenSource, VaultAuth, VaultServer, VaultSettings},
        sources::{RefreshReason, SourceFailure},
    },
    domain::{CredentialsName, ProfileName},
};

const MEMBERS: usize = 200;
const LOGIN: &str = "auth/approle/login";
const LOOKUP: &str = "auth/token/lookup-self";

fn approle() -> VaultAuth {
    VaultAuth::AppRole {
        mount: "approle".to_owned(),
        role_id: "made-up".to_owned(),
        // Any text will do for a secret id.
        secret_id_file: "/proc/sys/kernel/ostype".into(),
        wrapped: false,
    }
}

fn grant(token: &str) -> String {
    json!({ "auth": { "client_token": token, "lease_duration": 3600, "renewable": true } })
        .to_string()
}

fn path(member: usize) -> String {
    format!("secret/data/pigello/customer-{member}")
}

/// A stub with a login that gives the token, which reads the secret of each member.
async fn stub(token: &'static str) -> Stub {
    let stub = Stub::start().await;
    take(&stub, token);
    stub
}

/// The stub takes this token from now on, and no other.
fn take(stub: &Stub, token: &'static str) {
    stub.on(LOGIN, "200 OK", grant(token));
    stub.reply(LOOKUP, Reply::ToToken(token, r#"{"data":{"ttl":3600}}"#.to_owned()));
    for member in 0..MEMBERS {
        stub.reply(&path(member), Reply::ToToken(token, secret(1, "made-up")));
    }
}

fn template(vault: VaultSettings) -> Settings {
    Settings {
        name: CredentialsName::new("customers"),
        source: SourceSettings::Vault(Box::new(VaultSettings {
            path: "pigello/{profile}".to_owned(),
            ..vault
        })),
        fixed: Identifiers::new(),
        refresh: RefreshSettings::default(),
        keep: None,
    }
}

fn managers(template: &Settings, sources: &Sources) -> Vec<CredentialManager> {
    let member = |number| ProfileName::new(format!("customer-{number}"));
    let own = |number| CredentialManager::new(template.for_member(&member(number)), sources);
    (0..MEMBERS).map(own).collect()
}

async fn refresh(managers: &[CredentialManager]) -> Vec<Result<(), std::sync::Arc<LoadError>>> {
    join_all(managers.iter().map(async |manager| manager.refresh().await.map(drop))).await
}

fn by_approle(vault: &mut VaultServer) {
    vault.auth = Some(approle());
}

#[tokio::test]
async fn one_login_and_one_read_each_and_few_at_once() {
    let (stub, sources) = (stub("canary-1").await, Sources::default());
    let managers = managers(&template(stub.settings_with(by_approle)), &sources);
    assert!(refresh(&managers).await.iter().all(Result::is_ok));
    assert_eq!((stub.count(LOGIN), stub.count(LOOKUP)), (1, 0));
    assert!((0..MEMBERS).all(|member| stub.count(&path(member)) == 1));
    assert!((2..=READS_AT_ONCE).contains(&stub.most_at_once()), "{}", stub.most_at_once());
    assert_eq!(managers[7].snapshot().unwrap().version().as_str(), "1");
    assert_eq!(managers[7].settings().name.as_str(), "customer-7");
}

#[tokio::test]
async fn a_token_that_is_gone_is_looked_up_once_and_replaced_once_for_all() {
    let (stub, sources) = (stub("canary-1").await, Sources::default());
    let managers = managers(&template(stub.settings_with(by_approle)), &sources);
    assert!(refresh(&managers).await.iter().all(Result::is_ok));
    take(&stub, "canary-2");
    assert!(refresh(&managers).await.iter().all(Result::is_ok));
    assert_eq!((stub.count(LOGIN), stub.count(LOOKUP)), (2, 1));
    // Those that were on their way with the old token were sent again.
    let reads: usize = (0..MEMBERS).map(|member| stub.count(&path(member))).sum();
    assert!(reads <= 2 * MEMBERS + READS_AT_ONCE, "{reads}");
}

#[tokio::test]
async fn a_policy_takes_away_the_one_secret_that_it_forbids() {
    let (stub, sources) = (stub("canary-1").await, Sources::default());
    let managers = managers(&template(stub.settings_with(by_approle)), &sources);
    stub.on(&path(3), "403 Forbidden", r#"{"errors":["permission denied"]}"#);
    let read = refresh(&managers).await;
    assert_eq!(read.iter().filter(|read| read.is_err()).count(), 1);
    assert_eq!(read[3].as_ref().unwrap_err().meaning(), SourceFailure::Withdrawn);
    assert_eq!((stub.count(LOGIN), stub.count(LOOKUP)), (1, 1));
}

#[tokio::test]
async fn a_login_that_fails_fails_once_for_all_and_its_success_is_shared_too() {
    let (stub, sources) = (stub("canary-1").await, Sources::default());
    let managers = managers(&template(stub.settings_with(by_approle)), &sources);
    for (status, logins) in [("503 Service Unavailable", 1), ("400 Bad Request", 2)] {
        stub.on(LOGIN, status, "");
        let read = refresh(&managers).await;
        let meaning =
            |read: &Result<_, std::sync::Arc<LoadError>>| read.as_ref().unwrap_err().meaning();
        assert!(read.iter().all(|read| meaning(read) == SourceFailure::Unavailable));
        assert_eq!(stub.count(LOGIN), logins, "{status}");
    }
    // One after the other, they cause no more either.
    stub.on(LOGIN, "503 Service Unavailable", "");
    managers[0].refresh().await.unwrap_err();
    for manager in &managers[1..] {
        manager.refresh().await.unwrap_err();
    }
    assert_eq!(stub.count(LOGIN), 3);
    take(&stub, "canary-1");
    assert!(refresh(&managers).await.iter().all(Result::is_ok));
    assert_eq!(stub.count(LOGIN), 4);
}

#[tokio::test]
async fn tokens_that_are_used_up_take_no_set_away_and_end() {
    let stub = stub("canary-1").await;
    stub.on(&path(0), "403 Forbidden", r#"{"errors":["permission denied"]}"#);
    stub.on(LOOKUP, "403 Forbidden", r#"{"errors":["permission denied"]}"#);
    let secret =
        VaultSettings { path: "pigello/customer-0".to_owned(), ..stub.settings_with(by_approle) };
    let vault = VaultSource::new(secret, &Vaults::default());
    let read = vault.read(&Identifiers::new(), RefreshReason::Scheduled).await;
    let error = read.unwrap_err();
    assert!(matches!(*error, VaultError::TokensUsedUp { .. }), "{error}");
    assert_eq!(error.meaning(), SourceFailure::Unavailable);
    assert!(stub.count(LOGIN) <= 4, "{}", stub.count(LOGIN));
}

#[tokio::test]
async fn another_way_to_the_same_vault_has_a_login_of_its_own() {
    let (stub, vaults) = (stub("canary-1").await, Vaults::default());
    let mut sources = Vec::new();
    for login_namespace in [None, None, Some("ops".to_owned())] {
        let secret = VaultSettings {
            path: "pigello/customer-0".to_owned(),
            ..stub.settings_with(|vault| {
                by_approle(vault);
                vault.login_namespace = login_namespace;
            })
        };
        let source = VaultSource::new(secret, &vaults);
        source.read(&Identifiers::new(), RefreshReason::Scheduled).await.unwrap();
        sources.push(source);
    }
    assert_eq!(stub.count(LOGIN), 2);
}

#[tokio::test]
async fn a_login_ends_with_the_last_that_uses_it_unless_it_is_held() {
    let (stub, sources) = (stub("canary-1").await, Sources::default());
    let template = template(stub.settings_with(by_approle));
    let own =
        || CredentialManager::new(template.for_member(&ProfileName::new("customer-0")), &sources);
    for logins in 1..3 {
        own().refresh().await.unwrap();
        assert_eq!(stub.count(LOGIN), logins);
    }
    let hold = sources.hold(&template);
    for _ in 0..2 {
        own().refresh().await.unwrap();
        assert_eq!(stub.count(LOGIN), 3);
    }
    drop(hold);
    own().refresh().await.unwrap();
    assert_eq!(stub.count(LOGIN), 4);
}

#[tokio::test]
async fn what_the_vault_has_not_for_the_gateway_is_absent() {
    let (stub, sources) = (stub("canary-1").await, Sources::default());
    let template = template(stub.settings_with(by_approle));
    let own =
        |member| CredentialManager::new(template.for_member(&ProfileName::new(member)), &sources);
    let error = own("nobody").first_read().await.unwrap_err();
    assert!(error.is_absent(), "{error}");
    for (status, body, absent) in [
        ("404 Not Found", r#"{"data":{"data":null,"metadata":{"version":3}}}"#, true),
        ("403 Forbidden", r#"{"errors":["permission denied"]}"#, true),
        ("404 Not Found", r#"{"errors":["no handler for route"]}"#, false),
        ("503 Service Unavailable", "", false),
        ("200 OK", r#"{"data":{"data":{},"metadata":{"version":3}}}"#, false),
    ] {
        stub.on("secret/data/pigello/nobody", status, body);
        let error = own("nobody").first_read().await.unwrap_err();
        assert_eq!(error.is_absent(), absent, "{status} {body}: {error}");
    }
}

/// The role lets a token be used once for each member, so one more request than a read each would fail.
#[tokio::test]
async fn two_hundred_members_of_a_real_vault_log_in_once() {
    let Some(server) = Server::start().await else { return };
    for member in 0..MEMBERS {
        let body = json!({ "data": values("made-up") });
        server.post(&path(member), body).await;
    }
    let role = json!({ "token_policies": "gateway", "token_num_uses": MEMBERS });
    let auth = server.approle(role).await;
    let rule = r#"path "secret/data/pigello/*" { capabilities = ["read"] }"#;
    server.post("sys/policies/acl/gateway", json!({ "policy": rule })).await;
    let sources = Sources::default();
    let managers = managers(&template(server.settings(auth)), &sources);
    assert!(refresh(&managers).await.iter().all(Result::is_ok));
    // The token is used up with that. The next one is for all of them again, except for what its lookup costs.
    server.post("auth/approle/role/gateway", json!({ "token_num_uses": 0 })).await;
    let logins = async || {
        let list = Method::from_bytes(b"LIST").unwrap();
        let (_, accessors) = server.call(list, "auth/token/accessors", None).await;
        let mut found = Vec::new();
        for accessor in accessors["data"]["keys"].as_array().unwrap() {
            let body = json!({ "accessor": accessor });
            let (_, token) =
                server.call(Method::POST, "auth/token/lookup-accessor", Some(body.clone())).await;
            if token["data"]["path"] == LOGIN {
                found.push(body);
            }
        }
        found
    };
    let gone = async { while !logins().await.is_empty() {} };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    assert!(refresh(&managers).await.iter().all(Result::is_ok));
    let all = logins().await;
    assert_eq!(all.len(), 1);
    for token in all {
        server.post("auth/token/revoke-accessor", token).await;
    }
    assert!(refresh(&managers).await.iter().all(Result::is_ok));
    assert_eq!(logins().await.len(), 1);
    // Away, and back with the same token.
    server.post("sys/seal", json!({})).await;
    assert!(refresh(&managers).await.iter().all(Result::is_err));
    assert!(managers.iter().all(|manager| manager.snapshot().is_ok()));
    server.unseal().await;
    let back = async { while refresh(&managers).await.iter().any(Result::is_err) {} };
    tokio::time::timeout(Duration::from_secs(30), back).await.unwrap();
    assert_eq!(logins().await.len(), 1);
}

/// Nobody waits for ever for a vault that takes calls and answers none.
#[tokio::test]
async fn a_login_that_hangs_is_waited_for_once() {
    let (root, sources) = (TempDir::new().unwrap(), Sources::default());
    let stub = stub("canary-1").await;
    let token = root.path().join("token");
    std::fs::write(&token, "canary-1").unwrap();
    let template = template(stub.settings_with(|vault| {
        vault.auth = Some(VaultAuth::Token(TokenSource::File(token)));
    }));
    stub.reply(LOOKUP, Reply::Silence);
    let managers = managers(&template, &sources);
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let read = refresh(&managers).await;
    assert!(before.elapsed() < Duration::from_secs(6), "{:?}", before.elapsed());
    assert!(read.iter().all(Result::is_err));
    tokio::time::resume();
    assert_eq!(stub.count(LOOKUP), 1);
}
