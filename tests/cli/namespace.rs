//! The gateway in a user namespace that maps root alone: every other user looks alike there, and is nobody.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use crate::{
    bao::skip,
    program::{Place, Running, output},
};

const LIST: &str = "http://localhost/accounts/users/customer/subtenant/list/";

/// Whether this test can make a namespace and be another user; if not, it says so loudly.
fn can_run() -> bool {
    let works = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let can = rustix::process::geteuid().is_root()
        && works("unshare", &["--user", "--map-root-user", "true"])
        && works("setpriv", &["--reuid", "1001", "--regid", "1001", "--clear-groups", "true"])
        && works("curl", &["--version"]);
    if !can {
        skip("no user namespaces here, or no root, setpriv or curl");
    }
    can
}

/// Calls as another user.
fn call_as(uid: &str, socket: &str) -> Output {
    let curl =
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", socket, LIST];
    let as_user = ["--reuid", uid, "--regid", uid, "--clear-groups", "--"];
    Command::new("setpriv").args(as_user).args(curl).output().unwrap()
}

fn status_as(uid: &str, socket: &str) -> String {
    let output = call_as(uid, socket);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The gateway of a place, inside the namespace or outside.
fn serve(place: &Place, wrapper: &[&str]) -> Running {
    let program = env!("CARGO_BIN_EXE_pigello-gateway");
    let config = place.config();
    let all = [wrapper, &[program, "serve", "--config", &config]].concat();
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).stderr(Stdio::null());
    let mut gateway = Running::of(&mut command);
    gateway.address_of("unix");
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.path("gateway.sock"), fs::Permissions::from_mode(0o666)).unwrap();
    gateway
}

#[test]
fn in_a_namespace_other_users_are_nobody_and_no_tool_lets_them_in() {
    if !can_run() {
        return;
    }
    let place = Place::new(
        "[[callers]]\nname = \"billing\"\nunix_uids = [1001]\nallow = [\"subtenant.*\"]\n",
    );
    let config = place.config();
    let socket = place.path("gateway.sock");
    let socket = socket.to_str().unwrap();

    let gateway = serve(&place, &["unshare", "--user", "--map-root-user"]);
    for uid in ["1001", "2002"] {
        assert_eq!(status_as(uid, socket), "403", "{uid}");
    }
    assert_eq!(gateway.end().0, Some(0));
    let (_, records, _) = output(&["audit", "query", "--format", "json", "--config", &config]);
    let records: Vec<serde_json::Value> =
        records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(
            (&record["error"], &record["caller"]),
            (&"caller_unidentified".into(), &().into())
        );
        let proof = record["caller_proof"].as_str().unwrap();
        assert!(proof.starts_with("unmapped uid=65534 gid=65534 pid="), "{proof}");
    }
    let (code, policy, errors) = output(&["audit", "suggest-policy", "--config", &config]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(!policy.contains("65534") && policy.contains("# 2 calls came from users"), "{policy}");

    // Outside, the same socket tells the users apart.
    let gateway = serve(&place, &["env"]);
    assert_ne!(status_as("1001", socket), "403");
    assert_eq!(status_as("2002", socket), "403");
    assert_eq!(gateway.end().0, Some(0));
    let (_, last, _) =
        output(&["audit", "query", "--caller", "billing", "--format", "json", "--config", &config]);
    assert!(last.contains("\"caller_proof\":\"uid=1001 gid=1001 pid="), "{last}");
}

#[test]
fn the_overflow_id_is_refused_in_a_configuration() {
    let place =
        Place::new("[[callers]]\nname = \"a\"\nunix_uids = [1001, 65534]\nallow = [\"*\"]\n");
    for command in ["check", "serve"] {
        let (code, _, errors) = output(&[command, "--config", &place.config()]);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains("callers[0].unix_uids: user id 65534 is the kernel's overflow id"));
        assert!(errors.contains("hint: ") && errors.contains("PrivateUsers"), "{errors}");
    }
}

/// A user whom this namespace hides would never be let in, and nobody would know why.
#[test]
fn a_user_that_the_namespace_hides_is_told_by_check() {
    if !can_run() {
        return;
    }
    let place = Place::new("[[callers]]\nname = \"a\"\nunix_uids = [1001]\nallow = [\"*\"]\n");
    let checked = Command::new("unshare")
        .args(["--user", "--map-root-user", env!("CARGO_BIN_EXE_pigello-gateway"), "check"])
        .args(["--config", &place.config()])
        .output()
        .unwrap();
    let out = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{out}");
    assert!(out.contains("does not map the user id 1001, so it is never seen"), "{out}");
}
