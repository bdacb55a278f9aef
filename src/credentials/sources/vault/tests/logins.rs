//! Every login against a real OpenBao.

use std::fs;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::Method;
use serde_json::json;

use super::{
    super::{VaultError, VaultSource, Vaults, look_up_wrapping},
    failure,
    server::Server,
    version,
};
use crate::{
    credentials::{settings::VaultAuth, sources::SourceFailure},
    outbound::ClientCertificate,
};

/// Revokes every token that an AppRole login gave.
async fn revoke_tokens(server: &Server) {
    let list = Method::from_bytes(b"LIST").unwrap();
    let (_, accessors) = server.call(list, "auth/token/accessors", None).await;
    for accessor in accessors["data"]["keys"].as_array().unwrap() {
        let body = json!({ "accessor": accessor });
        let token = server.post("auth/token/lookup-accessor", body.clone()).await;
        if token["data"]["path"] == "auth/approle/login" {
            server.post("auth/token/revoke-accessor", body).await;
        }
    }
}

#[tokio::test]
async fn an_approle_logs_in_again_when_its_token_is_gone_and_a_policy_is_the_operators_will() {
    let Some(server) = Server::start().await else { return };
    server.write("made-up").await;
    let auth = server.approle(json!({ "token_policies": "gateway" })).await;
    let vault = VaultSource::new(server.settings(auth), &Vaults::default());
    assert_eq!(version(&vault).await, "1");
    revoke_tokens(&server).await;
    assert_eq!(version(&vault).await, "1");
    server.policy(false).await;
    let (meaning, text) = failure(&vault).await;
    assert_eq!(meaning, SourceFailure::Withdrawn);
    assert!(text.contains("does not let this login read secret/pigello"), "{text}");
    server.policy(true).await;
    assert_eq!(version(&vault).await, "1");
    // The role is gone: the next login is refused, with words that say where to look.
    server.call(Method::DELETE, "auth/approle/role/gateway", None).await;
    revoke_tokens(&server).await;
    let (meaning, text) = failure(&vault).await;
    assert_eq!(meaning, SourceFailure::Unavailable);
    assert!(text.starts_with("the vault refuses the AppRole login (400 Bad Request)"), "{text}");
}

#[tokio::test]
async fn a_wrapped_secret_id_is_unwrapped_once_and_a_stolen_one_is_reported() {
    let Some(server) = Server::start().await else { return };
    server.write("made-up").await;
    let VaultAuth::AppRole { mount, role_id, .. } =
        server.approle(json!({ "token_policies": "gateway", "token_num_uses": 2 })).await
    else {
        panic!("another method")
    };
    let wrapping = server.tool(&[
        "write",
        "-f",
        "-wrap-ttl=60s",
        "-field=wrapping_token",
        "auth/approle/role/gateway/secret-id",
    ]);
    let file = server.root.path().join("wrapped");
    fs::write(&file, &wrapping).unwrap();
    let auth = VaultAuth::AppRole {
        mount: mount.clone(),
        role_id: role_id.clone(),
        secret_id_file: file.clone(),
        wrapped: true,
    };
    let (vaults, settings) = (Vaults::default(), server.settings(auth.clone()));
    let vault = VaultSource::new(settings.clone(), &vaults);
    // A look does not use it up.
    for _ in 0..2 {
        assert!(matches!(look_up_wrapping(&settings.server).await, Some(Ok(()))));
    }
    // Each token may be used twice, so these reads need logins, and one unwrapping serves them.
    for _ in 0..4 {
        assert_eq!(version(&vault).await, "1");
    }
    // After a reload, another way to the vault has the secret id too.
    drop(vault);
    let other_way = server.settings_with(|vault| {
        vault.login_namespace = Some(String::new());
        vault.auth = Some(auth.clone());
    });
    assert_eq!(version(&VaultSource::new(other_way, &vaults)).await, "1");
    // Another process finds the same wrapping token used up.
    let found = look_up_wrapping(&settings.server).await;
    assert!(matches!(found, Some(Err(VaultError::Unwrap { .. }))));
    let late = VaultSource::new(server.settings(auth), &Vaults::default());
    for _ in 0..2 {
        let (meaning, text) = failure(&late).await;
        assert_eq!(meaning, SourceFailure::Unavailable);
        assert!(text.contains("somebody else may have read the secret id"), "{text}");
    }
}

#[tokio::test]
async fn a_jwt_and_a_client_certificate_log_in() {
    let Some(server) = Server::start().await else { return };
    server.write("made-up").await;
    server.policy(true).await;
    // A signed token.
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let mut spki = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00".to_vec();
    spki.extend_from_slice(key.public_key().as_ref());
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        BASE64_STANDARD.encode(spki)
    );
    server.post("sys/auth/jwt", json!({ "type": "jwt" })).await;
    server.post("auth/jwt/config", json!({ "jwt_validation_pubkeys": [pem] })).await;
    let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": "vault",
        "token_policies": "gateway" });
    server.post("auth/jwt/role/gateway", role).await;
    let file = server.root.path().join("jwt");
    let sign = |audience: &str| {
        let encode = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!(
            "{}.{}",
            encode(json!({ "alg": "ES256", "typ": "JWT" })),
            encode(
                json!({ "sub": "gateway", "aud": audience, "nbf": 1_700_000_000_u64, "exp": 4_102_444_800_u64 })
            )
        );
        let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        fs::write(&file, format!("{text}.{}\n", BASE64_URL_SAFE_NO_PAD.encode(signature))).unwrap();
    };
    sign("vault");
    let auth = VaultAuth::Jwt {
        mount: "jwt".to_owned(),
        role: "gateway".to_owned(),
        token_file: file.clone(),
    };
    assert_eq!(
        version(&VaultSource::new(server.settings(auth.clone()), &Vaults::default())).await,
        "1"
    );
    sign("another");
    let (_, text) = failure(&VaultSource::new(server.settings(auth), &Vaults::default())).await;
    assert!(text.starts_with("the vault refuses the JWT login (400 Bad Request)"), "{text}");
    // A certificate.
    let own = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
    let (certificate, private_key) =
        (server.root.path().join("own.pem"), server.root.path().join("own.key"));
    fs::write(&certificate, own.cert.pem()).unwrap();
    fs::write(&private_key, own.signing_key.serialize_pem()).unwrap();
    server.post("sys/auth/cert", json!({ "type": "cert" })).await;
    let role = json!({ "certificate": own.cert.pem(), "token_policies": "gateway" });
    server.post("auth/cert/certs/gateway", role).await;
    let auth = VaultAuth::Cert { mount: "cert".to_owned(), role: Some("gateway".to_owned()) };
    let settings = server.settings_with(|vault| {
        let (certificate, private_key) = (certificate.clone(), private_key.clone());
        vault.client_certificate = Some(ClientCertificate { certificate, private_key });
        vault.auth = Some(auth.clone());
    });
    assert_eq!(version(&VaultSource::new(settings.clone(), &Vaults::default())).await, "1");
    let (_, text) = failure(&VaultSource::new(server.settings(auth), &Vaults::default())).await;
    assert!(text.starts_with("the vault refuses the certificate login"), "{text}");
    // The handshake accepts a certificate that the vault does not know. A file with the right one is
    // read without a restart.
    let other = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
    fs::write(&certificate, other.cert.pem()).unwrap();
    fs::write(&private_key, other.signing_key.serialize_pem()).unwrap();
    let vault = VaultSource::new(settings, &Vaults::default());
    let (_, text) = failure(&vault).await;
    assert!(text.starts_with("the vault refuses the certificate login"), "{text}");
    fs::write(&certificate, own.cert.pem()).unwrap();
    fs::write(&private_key, own.signing_key.serialize_pem()).unwrap();
    assert_eq!(version(&vault).await, "1");
}

/// A token reviewer like that of a cluster's API server: every token belongs to the service account
/// `gateway`.
async fn reviewer() -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 65536];
            let mut length = 0;
            // Everything up to the end of the JSON object.
            while !request[..length].ends_with(b"}") && !request[..length].ends_with(b"}\n") {
                match stream.read(&mut request[length..]).await {
                    Ok(read) if read > 0 => length += read,
                    _ => break,
                }
            }
            let review = json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "status": {
                    "authenticated": true,
                    "user": { "username": "system:serviceaccount:apps:gateway", "uid": "made-up" }
                }
            })
            .to_string();
            let answer = format!(
                "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{review}",
                review.len()
            );
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_of_kubernetes_logs_in() {
    let Some(server) = Server::start().await else { return };
    server.write("made-up").await;
    server.policy(true).await;
    let authority = rcgen::generate_simple_self_signed(["cluster.test".to_owned()]).unwrap();
    server.post("sys/auth/kubernetes", json!({ "type": "kubernetes" })).await;
    let config = json!({ "kubernetes_host": reviewer().await, "disable_local_ca_jwt": true,
        "kubernetes_ca_cert": authority.cert.pem() });
    server.post("auth/kubernetes/config", config).await;
    let role = json!({ "bound_service_account_names": "gateway",
        "bound_service_account_namespaces": "apps", "token_policies": "gateway",
        "audience": "" });
    server.post("auth/kubernetes/role/gateway", role).await;
    // The token of a projected volume. The reviewer accepts any signed token.
    let claims = json!({ "iss": "made-up", "sub": "system:serviceaccount:apps:gateway",
        "kubernetes.io": { "namespace": "apps",
            "serviceaccount": { "name": "gateway", "uid": "made-up" } } });
    let encode = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let token = format!(
        "{}.{}.{}",
        encode(json!({ "alg": "RS256", "typ": "JWT" })),
        encode(claims),
        BASE64_URL_SAFE_NO_PAD.encode([7; 256])
    );
    let token_file = server.root.path().join("service-account");
    fs::write(&token_file, token).unwrap();
    let auth = |role: &str| VaultAuth::Kubernetes {
        mount: "kubernetes".to_owned(),
        role: role.to_owned(),
        token_file: token_file.clone(),
    };
    assert_eq!(
        version(&VaultSource::new(server.settings(auth("gateway")), &Vaults::default())).await,
        "1"
    );
    let (_, text) =
        failure(&VaultSource::new(server.settings(auth("another")), &Vaults::default())).await;
    assert!(text.starts_with("the vault refuses the Kubernetes login"), "{text}");
}
