//! The vault source against a real OpenBao.

use std::{fs, time::Duration};

use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{
    super::{VaultSource, Vaults},
    failure, read,
    server::{Server, values},
    token, version,
};
use crate::{
    credentials::{
        CredentialManager, Identifiers, Keep, RefreshSettings, SetState, Settings, SourceSettings,
        Sources, ValueName,
        settings::{KvVersion, VaultAuth, VaultSettings},
        sources::{RefreshReason, SourceFailure},
    },
    domain::CredentialsName,
    error::Chain,
    fleet::{Change, VersionOfSet},
};

#[tokio::test]
async fn a_secret_is_read_through_its_life() {
    let Some(server) = Server::start().await else { return };
    let vault = VaultSource::new(server.settings(token(&server)), &Vaults::default());
    let (meaning, text) = failure(&vault).await;
    assert_eq!(
        (meaning, text.as_str()),
        (SourceFailure::Withdrawn, "the vault holds nothing at secret/pigello")
    );
    server.write("one").await;
    assert_eq!(version(&vault).await, "1");
    server.write("two").await;
    let set = read(&vault).await.unwrap();
    assert_eq!(set.version().as_str(), "2");
    assert!(set.value(ValueName::ClientSecret).expose_to(|t| t == "two-client_secret"));
    server.call(Method::DELETE, "secret/data/pigello", None).await;
    let (meaning, text) = failure(&vault).await;
    assert_eq!(
        (meaning, text.as_str()),
        (SourceFailure::Withdrawn, "secret/pigello is deleted in the vault")
    );
    server.post("secret/undelete/pigello", json!({ "versions": [2] })).await;
    assert_eq!(version(&vault).await, "2");
    server.post("secret/destroy/pigello", json!({ "versions": [2] })).await;
    assert_eq!(failure(&vault).await.0, SourceFailure::Withdrawn);
    // Created again, it counts from 1, and an older version is taken only on request.
    server.call(Method::DELETE, "secret/metadata/pigello", None).await;
    server.write("three").await;
    let (meaning, text) = failure(&vault).await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert!(text.contains("went back from version 2 to 1"), "{text}");
    vault.read(&Identifiers::new(), RefreshReason::AcceptOlder).await.unwrap();
    server.call(Method::DELETE, "sys/mounts/secret", None).await;
    let (meaning, text) = failure(&vault).await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert!(text.contains("has no secrets engine"), "{text}");
}

#[tokio::test]
async fn the_first_engine_is_read_only_where_it_is_configured() {
    let Some(server) = Server::start().await else { return };
    server.post("sys/mounts/old", json!({ "type": "kv", "options": { "version": "1" } })).await;
    server.post("old/pigello", values("made-up")).await;
    let settings = |kv_version| VaultSettings {
        mount: "old".to_owned(),
        kv_version,
        ..server.settings(token(&server))
    };
    let version = version(&VaultSource::new(settings(KvVersion::V1), &Vaults::default())).await;
    assert!(version.starts_with("digest-"), "{version}");
    read(&VaultSource::new(settings(KvVersion::V2), &Vaults::default())).await.unwrap_err();
}

#[tokio::test]
async fn sealed_limited_hung_and_killed_are_told_and_survived() {
    let Some(server) = Server::start().await else { return };
    server.write("made-up").await;
    let vault = VaultSource::new(server.settings(token(&server)), &Vaults::default());
    assert_eq!(version(&vault).await, "1");
    server.post("sys/seal", json!({})).await;
    let (meaning, text) = failure(&vault).await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert!(text.contains("503 Service Unavailable: it is sealed"), "{text}");
    server.unseal().await;
    time::timeout(Duration::from_secs(20), async {
        while read(&vault).await.is_err() {
            time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    let quota = json!({ "path": "secret/", "rate": 1, "interval": "60s" });
    server.post("sys/quotas/rate-limit/test", quota).await;
    let mut limited = None;
    for _ in 0..5 {
        limited = limited.or(read(&vault).await.err());
    }
    let text = Chain(&*limited.unwrap()).to_string();
    assert!(text.contains("429 Too Many Requests"), "{text}");
    server.call(Method::DELETE, "sys/quotas/rate-limit/test", None).await;
    assert_eq!(version(&vault).await, "1");
    server.signal(Signal::STOP);
    // The signal reaches a server's threads one after the other.
    time::timeout(Duration::from_secs(20), async {
        while time::timeout(Duration::from_millis(300), read(&vault)).await.is_ok() {}
    })
    .await
    .unwrap();
    server.signal(Signal::CONT);
    assert_eq!(version(&vault).await, "1");
    server.signal(Signal::KILL);
    time::timeout(Duration::from_secs(20), async {
        loop {
            match read(&vault).await {
                // The message for operators names the cause.
                Err(error) if Chain(&*error).to_string().contains("refused") => {
                    break;
                }
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let Some(server) = Server::start().await else { return };
    let other = rcgen::generate_simple_self_signed(["vault.test".to_owned()]).unwrap();
    let ca_file = server.root.path().join("other-ca.pem");
    fs::write(&ca_file, other.cert.pem()).unwrap();
    let settings = server.settings_with(|vault| {
        vault.ca_file = Some(ca_file);
        vault.auth = Some(token(&server));
    });
    let vault = VaultSource::new(settings, &Vaults::default());
    let (meaning, text) = failure(&vault).await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert!(text.contains("certificate"), "{text}");
}

/// The agent writes files; the source `directory` reads them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_renders_is_read_and_followed() {
    let Some(server) = Server::start().await else { return };
    server.write("one").await;
    let VaultAuth::AppRole { role_id, secret_id_file, .. } =
        server.approle(json!({ "token_policies": "gateway" })).await
    else {
        panic!("another method")
    };
    let root = server.root.path();
    let (folder, role_id_file) = (root.join("rendered"), root.join("role-id"));
    fs::create_dir(&folder).unwrap();
    fs::write(&role_id_file, role_id).unwrap();
    let templates: Vec<_> = ValueName::ALL
        .into_iter()
        .map(|name| {
            format!(
                "template {{\n contents = \"{{{{ with secret \\\"secret/data/pigello\\\" }}}}{{{{ .Data.data.{name} }}}}{{{{ end }}}}\"\n destination = \"{}\"\n perms = \"0600\"\n}}\n",
                folder.join(name.key()).display()
            )
        })
        .collect();
    let config = format!(
        "vault {{\n address = \"{}\"\n ca_cert = \"{}\"\n}}\nauto_auth {{\n method \"approle\" {{\n config = {{\n role_id_file_path = \"{}\"\n secret_id_file_path = \"{}\"\n remove_secret_id_file_after_reading = false\n }}\n }}\n}}\ntemplate_config {{\n static_secret_render_interval = \"1s\"\n}}\n{}",
        server.address,
        root.join("vault-ca.pem").display(),
        role_id_file.display(),
        secret_id_file.display(),
        templates.concat()
    );
    let _agent = server.agent(&config);
    let manager = CredentialManager::new(
        Settings {
            name: CredentialsName::new("production"),
            source: SourceSettings::Directory { path: folder },
            fixed: Identifiers::new(),
            keep: None,
            refresh: RefreshSettings::default(),
        },
        &Sources::default(),
    );
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    let until = async |text: &str| {
        let mut generations = manager.subscribe();
        time::timeout(Duration::from_mins(1), async {
            loop {
                if let Ok(lease) = manager.snapshot() {
                    let all = ValueName::ALL.map(|name| {
                        lease.value(name).expose_to(|value| value == format!("{text}-{name}"))
                    });
                    // All of one version, whichever it is.
                    assert!(all.iter().all(|is_it| *is_it == all[0]), "{lease:?}");
                    if all[0] {
                        return;
                    }
                }
                generations.changed().await.unwrap();
            }
        })
        .await
        .unwrap();
    };
    until("one").await;
    server.write("two").await;
    until("two").await;
    stop.cancel();
    run.await.unwrap();
}

/// A vault tells nobody of a new version. Another gateway does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_another_gateway_tells_of_is_read_long_before_the_interval() {
    let Some(server) = Server::start().await else { return };
    server.write("one").await;
    let settings = Settings {
        name: CredentialsName::new("production"),
        source: SourceSettings::Vault(Box::new(server.settings(token(&server)))),
        fixed: Identifiers::new(),
        keep: None,
        refresh: RefreshSettings {
            interval: Duration::from_hours(1),
            ..RefreshSettings::default()
        },
    };
    let manager = CredentialManager::new(settings, &Sources::default());
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    let mut generations = manager.subscribe();
    let limit = Duration::from_mins(1);
    time::timeout(limit, generations.changed()).await.unwrap().unwrap();
    server.write("two").await;
    manager.hear(&Change::Credentials(VersionOfSet {
        set: CredentialsName::new("production"),
        version: "2".into(),
        fingerprint: "0123456789ab".into(),
    }));
    time::timeout(limit, generations.changed()).await.unwrap().unwrap();
    assert_eq!(manager.status().version.as_deref(), Some("2"));
    stop.cancel();
    run.await.unwrap();
}

/// A restart of the gateway in an outage of the vault, and the end of the outage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_serves_a_restart_while_the_vault_is_away() {
    let Some(mut server) = Server::start().await else { return };
    server.write("one").await;
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("production.kept");
    let settings = Settings {
        name: CredentialsName::new("production"),
        source: SourceSettings::Vault(Box::new(server.settings(token(&server)))),
        fixed: Identifiers::new(),
        keep: Some(Keep { file: kept.clone(), key_file: folder.path().join("kept.key") }),
        refresh: RefreshSettings {
            max_stale: Some(Duration::from_hours(1)),
            retry_cap: Duration::from_millis(100),
            ..RefreshSettings::default()
        },
    };
    let secret = |manager: &CredentialManager| {
        let lease = manager.snapshot().ok()?;
        Some(lease.value(ValueName::ClientSecret).expose_to(str::to_owned))
    };
    let first = CredentialManager::new(settings.clone(), &Sources::default());
    first.refresh().await.unwrap();
    drop(first);
    server.kill();

    let second = CredentialManager::new(settings.clone(), &Sources::default());
    second.refresh().await.unwrap_err();
    assert_eq!(secret(&second).as_deref(), Some("one-client_secret"));
    let status = second.status();
    assert_eq!((status.state, status.version.as_deref()), (SetState::Stale, Some("1")));
    let stop = CancellationToken::new();
    let run = tokio::spawn(second.clone().run(stop.clone()));
    server.restart().await;
    server.write("two").await;
    time::timeout(Duration::from_mins(1), async {
        while secret(&second).as_deref() != Some("two-client_secret") || !kept.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();

    // A secret that was withdrawn is not kept.
    server.call(Method::DELETE, "secret/data/pigello", None).await;
    second.refresh().await.unwrap_err();
    assert!(!kept.exists());
    stop.cancel();
    run.await.unwrap();
    let third = CredentialManager::new(settings, &Sources::default());
    server.kill();
    third.refresh().await.unwrap_err();
    assert_eq!(secret(&third), None);
}

#[tokio::test]
async fn a_login_in_one_namespace_reads_a_secret_in_another() {
    let Some(server) = Server::start().await else { return };
    server.tool(&["namespace", "create", "team-a"]);
    server.tool(&["secrets", "enable", "-namespace=team-a", "-path=secret", "-version=2", "kv"]);
    let values = ValueName::ALL.map(|name| format!("{name}=made-up-{name}"));
    let put = ["kv", "put", "-namespace=team-a", "-mount=secret", "pigello"];
    let put: Vec<_> = put.into_iter().chain(values.iter().map(String::as_str)).collect();
    server.tool(&put);
    let auth = server.approle(json!({ "token_policies": "gateway" })).await;
    let rule = r#"path "team-a/secret/data/pigello" { capabilities = ["read"] }"#;
    server.post("sys/policies/acl/gateway", json!({ "policy": rule })).await;
    let settings = |login_namespace: Option<&str>| {
        server.settings_with(|vault| {
            vault.namespace = Some("team-a".to_owned());
            vault.login_namespace = login_namespace.map(ToOwned::to_owned);
            vault.auth = Some(auth.clone());
        })
    };
    let (_, text) = failure(&VaultSource::new(settings(None), &Vaults::default())).await;
    assert!(text.contains("refuses the AppRole login"), "{text}");
    assert_eq!(version(&VaultSource::new(settings(Some("")), &Vaults::default())).await, "1");
}
