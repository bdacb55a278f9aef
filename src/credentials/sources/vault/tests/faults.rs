//! A vault that answers with anything but a secret: every case has its words, its meaning for the
//! set that is held, and its end within the time that a read has.

use std::{fs, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use super::{
    super::{VaultError, VaultSource, Vaults},
    stub::{Reply, Stub, secret},
};
use crate::{
    credentials::{
        CredentialManager, CredentialSet, Identifiers, NotRefreshed, OlderVersion, RefreshSettings,
        Settings, SourceSettings, Sources, ValueName,
        settings::{KvVersion, TokenSource, VaultAuth, VaultServer, VaultSettings},
        sources::{RefreshReason, SourceFailure},
        testing::Log,
    },
    domain::CredentialsName,
};

const READ: &str = "secret/data/pigello";

struct Setup {
    stub: Stub,
    root: TempDir,
    vault: VaultSource,
}

impl Setup {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut VaultServer)) -> Self {
        let (stub, root) = (Stub::start().await, TempDir::new().unwrap());
        let token = root.path().join("token");
        fs::write(&token, "canary-token\n").unwrap();
        let settings = stub.settings_with(|vault| {
            vault.auth = Some(VaultAuth::Token(TokenSource::File(token)));
            change(vault);
        });
        Self { vault: VaultSource::new(settings, &Vaults::default()), stub, root }
    }

    async fn read(&self) -> Result<CredentialSet, Arc<VaultError>> {
        self.vault.read(&Identifiers::new(), RefreshReason::Scheduled).await
    }

    async fn error(&self) -> (SourceFailure, String) {
        let error = self.read().await.unwrap_err();
        let text = crate::error::Chain(&*error).to_string();
        assert!(!text.contains("canary"), "{text}");
        (error.meaning(), text.replace(&self.stub.address, "ADDRESS"))
    }
}

#[tokio::test]
async fn a_read_says_who_it_is_and_takes_the_newest_version() {
    let setup = Setup::new().await;
    setup.stub.on(READ, "200 OK", secret(7, "made-up"));
    let set = setup.read().await.unwrap();
    assert_eq!(set.version().as_str(), "7");
    assert!(set.value(ValueName::ClientSecret).expose_to(|t| t == "made-up-client_secret"));
    let requests = setup.stub.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in requests {
        assert!(request.contains("x-vault-token: canary-token\r\n"), "{request}");
        assert!(request.contains("x-vault-request: true\r\n"), "{request}");
        assert!(request.contains("x-vault-namespace: team/a\r\n"), "{request}");
    }
}

#[tokio::test]
async fn the_login_and_its_token_may_be_in_another_namespace() {
    for (login, header) in [(Some(""), None), (Some("ops"), Some("ops")), (None, Some("team/a"))] {
        let change = |settings: &mut VaultServer| {
            settings.login_namespace = login.map(ToOwned::to_owned);
        };
        let setup = Setup::with(change).await;
        setup.stub.on(READ, "200 OK", secret(7, "made-up"));
        setup.read().await.unwrap();
        let requests = setup.stub.requests();
        let namespace = |request: &str| {
            let mut lines = request.lines();
            lines.find_map(|line| line.strip_prefix("x-vault-namespace: ").map(ToOwned::to_owned))
        };
        assert_eq!(namespace(&requests[0]).as_deref(), header, "{requests:?}");
        assert_eq!(namespace(&requests[1]).as_deref(), Some("team/a"), "{requests:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_token_goes_nowhere() {
    let (setup, other) = (Setup::new().await, Stub::start().await);
    setup.stub.reply(READ, Reply::Redirect(format!("{}/v1/{READ}", other.address)));
    let (meaning, text) = setup.error().await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert!(
        text.contains("307 Temporary Redirect, a redirect, and redirects are not followed"),
        "{text}"
    );
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn what_a_vault_says_when_it_cannot_work_is_told_apart() {
    let setup = Setup::new().await;
    for (status, expected) in [
        ("503 Service Unavailable", "it is sealed, or in maintenance"),
        ("429 Too Many Requests", "it limits the rate of calls"),
        ("473 Performance Standby", "it is a standby"),
        ("500 Internal Server Error", "it has a problem of its own"),
        ("418 I'm a teapot", "answers 418 I'm a teapot to the read of the secret"),
        ("200 OK", "is not what its API gives (line 1, column"),
    ] {
        setup.stub.on(READ, status, r#"["canary"]"#);
        let (meaning, text) = setup.error().await;
        assert_eq!(meaning, SourceFailure::Unavailable);
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn absent_deleted_and_unmounted_are_three_things() {
    let setup = Setup::new().await;
    let cases = [
        (r#"{"errors":[]}"#, SourceFailure::Withdrawn, "the vault holds nothing at secret/pigello"),
        (
            r#"{"data":{"data":null,"metadata":{"version":3,"deletion_time":"2026-01-01T00:00:00Z"}}}"#,
            SourceFailure::Withdrawn,
            "secret/pigello is deleted in the vault",
        ),
        (
            r#"{"errors":["no handler for route"]}"#,
            SourceFailure::Unavailable,
            "the vault has no secrets engine at secret/pigello; check `mount` and `kv_version`",
        ),
        ("", SourceFailure::Unavailable, "the vault has no secrets engine"),
    ];
    for (body, meaning, expected) in cases {
        setup.stub.on(READ, "404 Not Found", body);
        let (found, text) = setup.error().await;
        assert_eq!(found, meaning);
        assert!(text.starts_with(expected), "{text}");
    }
}

#[tokio::test]
async fn a_403_is_the_policys_only_if_the_vault_still_takes_the_token() {
    let setup = Setup::new().await;
    setup.stub.on(READ, "200 OK", secret(1, "made-up"));
    setup.read().await.unwrap();
    setup.stub.on(READ, "403 Forbidden", r#"{"errors":["permission denied"]}"#);
    let (meaning, text) = setup.error().await;
    assert_eq!(meaning, SourceFailure::Withdrawn);
    assert!(text.contains("does not let this login read secret/pigello"), "{text}");
    setup.stub.on("auth/token/lookup-self", "403 Forbidden", r#"{"errors":["bad token"]}"#);
    let (meaning, text) = setup.error().await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert!(text.contains("does not take the token from"), "{text}");
    // A new token in the file is taken without a restart.
    fs::write(setup.root.path().join("token"), "canary-next").unwrap();
    setup.stub.on("auth/token/lookup-self", "200 OK", r#"{"data":{"ttl":0}}"#);
    setup.stub.on(READ, "200 OK", secret(1, "made-up"));
    setup.read().await.unwrap();
    assert!(setup.stub.requests().last().unwrap().contains("x-vault-token: canary-next\r\n"));
}

#[tokio::test]
async fn calls_in_a_hurry_and_operators_do_not_repeat_a_login_that_was_refused() {
    let setup = Setup::with(|settings| {
        settings.auth = Some(VaultAuth::AppRole {
            mount: "approle".to_owned(),
            role_id: "made-up".to_owned(),
            // Any text will do for a secret id.
            secret_id_file: "/proc/sys/kernel/ostype".into(),
            wrapped: false,
        });
    })
    .await;
    let login = "auth/approle/login";
    setup.stub.on(login, "400 Bad Request", r#"{"errors":["invalid secret id"]}"#);
    let read = async |reason| setup.vault.read(&Identifiers::new(), reason).await;
    for (reason, logins) in [
        (RefreshReason::Scheduled, 1),
        (RefreshReason::CallsWait, 1),
        (RefreshReason::CallsWait, 1),
        (RefreshReason::Scheduled, 2),
        (RefreshReason::Operator, 2),
        (RefreshReason::AcceptOlder, 2),
    ] {
        let error = read(reason).await.unwrap_err();
        assert!(matches!(*error, VaultError::LoginRefused { .. }), "{error}");
        assert_eq!(setup.stub.requests().len(), logins, "{reason:?}");
    }
    // A vault that is away has refused nothing: its return is noticed at once.
    setup.stub.on(login, "503 Service Unavailable", "");
    read(RefreshReason::Scheduled).await.unwrap_err();
    let grant = r#"{"auth":{"client_token":"canary-token","lease_duration":60}}"#;
    setup.stub.on(login, "200 OK", grant);
    setup.stub.on(READ, "200 OK", secret(1, "made-up"));
    read(RefreshReason::CallsWait).await.unwrap();
}

#[tokio::test]
async fn a_version_goes_back_only_when_somebody_asks() {
    let setup = Setup::new().await;
    setup.stub.on(READ, "200 OK", secret(7, "made-up"));
    setup.read().await.unwrap();
    setup.stub.on(READ, "200 OK", secret(6, "older"));
    let (meaning, text) = setup.error().await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert!(text.contains("went back from version 7 to 6"), "{text}");
    let read = async |reason| setup.vault.read(&Identifiers::new(), reason).await;
    read(RefreshReason::Operator).await.unwrap_err();
    let set = read(RefreshReason::AcceptOlder).await.unwrap();
    assert_eq!(set.version().as_str(), "6");
    setup.read().await.unwrap();
}

/// A manager whose vault is the stub, with a login by AppRole.
fn manager(setup: &Setup) -> CredentialManager {
    let vault = setup.stub.settings_with(|vault| {
        vault.auth = Some(VaultAuth::AppRole {
            mount: "approle".to_owned(),
            role_id: "made-up".to_owned(),
            secret_id_file: "/proc/sys/kernel/ostype".into(),
            wrapped: false,
        });
    });
    CredentialManager::new(
        Settings {
            name: CredentialsName::new("production"),
            source: SourceSettings::Vault(Box::new(vault)),
            fixed: Identifiers::new(),
            keep: None,
            refresh: RefreshSettings::default(),
        },
        &Sources::default(),
    )
}

#[tokio::test]
async fn calls_share_the_first_read_of_the_background_task_which_reads_again_and_again() {
    let setup = Setup::new().await;
    let grant = r#"{"auth":{"client_token":"canary-token","lease_duration":60}}"#;
    setup.stub.on("auth/approle/login", "200 OK", grant);
    setup.stub.on(READ, "200 OK", secret(7, "made-up"));
    let manager = manager(&setup);
    let run = tokio::spawn(manager.clone().run(CancellationToken::new()));
    let calls = join_all((0..50).map(|_| manager.first_read())).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(setup.stub.count(READ), 1);
    for version in 8..11 {
        setup.stub.on(READ, "200 OK", secret(version, "made-up"));
        let mut generations = manager.subscribe();
        generations.mark_unchanged();
        time::pause();
        time::advance(RefreshSettings::INTERVAL.mul_f64(1.2)).await;
        time::resume();
        time::timeout(Duration::from_secs(20), generations.changed()).await.unwrap().unwrap();
        assert_eq!(manager.snapshot().unwrap().version().to_string(), version.to_string());
    }
    run.abort();
}

/// An operator, or whoever may ask like one, in a loop.
#[tokio::test]
async fn a_loop_of_refreshes_makes_few_reads_and_few_logins() {
    let setup = Setup::new().await;
    let login = "auth/approle/login";
    let grant = r#"{"auth":{"client_token":"canary-token","lease_duration":60}}"#;
    setup.stub.on(login, "200 OK", grant);
    setup.stub.on(READ, "200 OK", secret(7, "made-up"));
    let manager = manager(&setup);
    manager.refresh().await.unwrap();
    let begun = Instant::now();
    let mut paced = 0;
    for _ in 0..1_000 {
        match manager.refresh_for_operator(OlderVersion::Accept).await {
            Ok(_) => {}
            Err(NotRefreshed::TooSoon { retry_after }) => {
                assert!(retry_after <= Duration::from_secs(5));
                paced += 1;
            }
            Err(NotRefreshed::Failed(error)) => panic!("{error}"),
        }
    }
    let most = 2 + begun.elapsed().as_secs() / 5;
    let count = |path: &str| {
        setup.stub.requests().iter().filter(|request| request.contains(path)).count() as u64
    };
    assert!(count(READ) <= most && count(login) == 1, "{} {}", count(READ), count(login));
    assert!(paced >= 990, "{paced}");
}

#[tokio::test]
async fn an_operator_repeats_no_login_that_was_refused_and_takes_no_older_version_unasked() {
    let setup = Setup::new().await;
    let login = "auth/approle/login";
    setup.stub.on(login, "400 Bad Request", r#"{"errors":["invalid secret id"]}"#);
    let locked_out = manager(&setup);
    locked_out.refresh().await.unwrap_err();
    locked_out.refresh_for_operator(OlderVersion::Accept).await.unwrap_err();
    assert_eq!(setup.stub.requests().len(), 1);

    let grant = r#"{"auth":{"client_token":"canary-token","lease_duration":60}}"#;
    setup.stub.on(login, "200 OK", grant);
    setup.stub.on(READ, "200 OK", secret(7, "made-up"));
    let manager = manager(&setup);
    manager.refresh().await.unwrap();
    setup.stub.on(READ, "200 OK", secret(5, "made-up"));
    let Err(NotRefreshed::Failed(error)) = manager.refresh_for_operator(OlderVersion::Refuse).await
    else {
        panic!("an older version")
    };
    assert!(error.is_older_version(), "{error}");
    assert_eq!(manager.snapshot().unwrap().version().as_str(), "7");
    // Neither does a read at once, for which somebody with the gateway's rights sent a signal.
    assert!(manager.refresh().await.unwrap_err().is_older_version());
    manager.forget_operator_read();
    manager.refresh_for_operator(OlderVersion::Accept).await.unwrap();
    assert_eq!(manager.snapshot().unwrap().version().as_str(), "5");
}

#[tokio::test]
async fn values_that_are_empty_no_text_or_missing_are_named() {
    let setup = Setup::new().await;
    let body = r#"{"data":{"data":{"client_secret":"","customer_id":839201,"service_id":["canary"],
        "another":"canary"},"metadata":{"version":1}}}"#;
    setup.stub.on(READ, "200 OK", body);
    let (meaning, text) = setup.error().await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert!(text.starts_with("secret/pigello: `customer_id` is not text"), "{text}");
    assert!(text.contains("`application_id` is missing"), "{text}");
    assert!(text.contains("`client_secret` is empty"), "{text}");
}

#[tokio::test]
async fn the_first_engine_has_a_digest_for_a_version() {
    let mut setup = Setup::new().await;
    let token = setup.root.path().join("token");
    let first = VaultSettings { kv_version: KvVersion::V1, ..setup.stub.settings(&token) };
    setup.vault = VaultSource::new(first, &Vaults::default());
    let body = |text: &str| {
        let whole: serde_json::Value = serde_json::from_str(&secret(1, text)).unwrap();
        serde_json::json!({ "data": whole["data"]["data"] }).to_string()
    };
    setup.stub.on("secret/pigello", "200 OK", body("one"));
    let one = setup.read().await.unwrap();
    let same = setup.read().await.unwrap();
    setup.stub.on("secret/pigello", "200 OK", body("two"));
    let two = setup.read().await.unwrap();
    assert!(one.version().as_str().starts_with("digest-"));
    assert_eq!(one.version(), same.version());
    assert_ne!(one.version(), two.version());
}

#[tokio::test]
async fn a_flood_is_cut_off_and_a_body_that_breaks_off_is_no_answer() {
    let setup = Setup::new().await;
    setup.stub.reply(READ, Reply::Flood);
    let (meaning, text) = setup.error().await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert_eq!(text, "the vault's answer to the read of the secret is larger than 1 MiB");
    setup.stub.reply(READ, Reply::BreakOff);
    let (_, text) = setup.error().await;
    assert!(text.starts_with("cannot reach the vault at ADDRESS"), "{text}");
}

#[tokio::test]
async fn drops_and_silence_end_with_the_time_of_a_call() {
    let setup = Setup::new().await;
    setup.stub.on(READ, "200 OK", secret(1, "made-up"));
    setup.read().await.unwrap();
    for reply in [Reply::Drip, Reply::Silence] {
        setup.stub.reply(READ, reply);
        time::pause();
        let before = Instant::now();
        let (meaning, text) = setup.error().await;
        assert_eq!(meaning, SourceFailure::Unavailable);
        assert_eq!(text, "the vault at ADDRESS did not answer within 5s");
        assert!(before.elapsed() < Duration::from_secs(6));
        time::resume();
    }
    setup.stub.on(READ, "200 OK", secret(2, "made-up"));
    assert_eq!(setup.read().await.unwrap().version().as_str(), "2");
}

#[tokio::test]
async fn a_plain_address_elsewhere_and_a_missing_authority_are_refused_before_any_call() {
    let setup = Setup::with(|s| s.address = "http://vault.test:8200".parse().ok()).await;
    let (_, text) = setup.error().await;
    assert_eq!(
        text,
        "the vault's address http://vault.test:8200 is not https, and not on this host"
    );
    let setup = Setup::with(|s| {
        s.address = Some("https://vault.test:8200".parse().unwrap());
        s.ca_file = Some("/nowhere/ca.pem".into());
    })
    .await;
    let (_, text) = setup.error().await;
    assert!(text.starts_with("cannot read certificates from /nowhere/ca.pem"), "{text}");
}

#[tokio::test]
async fn a_token_is_renewed_at_two_thirds_and_replaced_when_renewal_gives_out() {
    let setup = Setup::new().await;
    let lookup = r#"{"data":{"ttl":60,"renewable":true}}"#;
    setup.stub.on("auth/token/lookup-self", "200 OK", lookup);
    setup.stub.on(READ, "200 OK", secret(1, "made-up"));
    let grant = |seconds: u64| {
        format!(
            r#"{{"auth":{{"client_token":"canary-token","lease_duration":{seconds},"renewable":true}}}}"#
        )
    };
    let (renewal, lookup) = ("auth/token/renew-self", "auth/token/lookup-self");
    setup.stub.on(renewal, "200 OK", grant(60));
    setup.read().await.unwrap();
    let after = async |seconds| {
        time::pause();
        time::advance(Duration::from_secs(seconds)).await;
        time::resume();
    };
    // Nobody reads the secret meanwhile.
    after(33).await;
    assert_eq!(setup.stub.count(renewal), 0);
    after(8).await;
    setup.stub.until(renewal, 1).await;
    setup.read().await.unwrap();
    assert_eq!(setup.stub.count(lookup), 1);
    // The vault grants less than half: the token's last hour is near.
    setup.stub.on(renewal, "200 OK", grant(20));
    after(41).await;
    setup.stub.until(lookup, 2).await;
    setup.read().await.unwrap();
    assert_eq!(setup.stub.count(renewal), 2);
    // The vault is away when renewal is due: the token is used on, and renewal tried again soon.
    setup.stub.on(renewal, "503 Service Unavailable", "");
    after(41).await;
    setup.stub.until(renewal, 3).await;
    setup.read().await.unwrap();
    after(10).await;
    setup.stub.until(renewal, 4).await;
    assert_eq!(setup.stub.count(lookup), 2);
}

#[tokio::test]
async fn the_log_shows_neither_token_nor_value_at_its_most_talkative() {
    let (log, _guard) = Log::listen();
    let setup = Setup::with(|settings| {
        let Some(VaultAuth::Token(TokenSource::File(secret_id_file))) = settings.auth.clone()
        else {
            panic!("another method")
        };
        let (mount, role_id) = ("approle".to_owned(), "canary".to_owned());
        settings.auth = Some(VaultAuth::AppRole { mount, role_id, secret_id_file, wrapped: false });
    })
    .await;
    let grant = r#"{"auth":{"client_token":"canary-token","lease_duration":60}}"#;
    setup.stub.on("auth/approle/login", "200 OK", grant);
    setup.stub.on(READ, "200 OK", secret(1, "canary"));
    setup.read().await.unwrap();
    for body in [r#"{"errors":["canary"]}"#, "canary"] {
        setup.stub.on(READ, "400 Bad Request", body);
        setup.error().await;
    }
    let text = log.text();
    assert!(text.contains("logged in to the vault"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
