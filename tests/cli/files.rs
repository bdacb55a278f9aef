//! Files that others may write or read, links that somebody planted, and bundles with an odd certificate.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use crate::program::{Place, Running, exchange, get, output};

/// A place that others may enter.
fn open_place(more: &str) -> Place {
    let place = Place::new(more);
    set(&place.path(""), 0o755);
    for name in ["client_secret", "customer_id"] {
        set(&place.path("credentials").join(name), 0o600);
    }
    place
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What `check` says: its code, and all that it prints.
fn check(place: &Place, more: &[&str]) -> (Option<i32>, String) {
    let config = place.config();
    let (code, out, errors) = output(&[&["check", "--config", &config], more].concat());
    (code, out + &errors)
}

#[test]
fn what_others_may_write_is_refused_with_the_command_that_ends_it() {
    let place = open_place("");
    let (code, told) = check(&place, &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("by others"), "{told}");
    fs::create_dir(place.path("audit")).unwrap();
    for (name, usual) in [
        ("gateway.toml", 0o644),
        ("credentials", 0o755),
        ("credentials/client_secret", 0o600),
        ("credentials/customer_id", 0o644),
        ("ca.pem", 0o644),
        ("audit", 0o700),
        ("", 0o755),
    ] {
        let path = place.path(name);
        set(&path, 0o777);
        let (code, told) = check(&place, &[]);
        let shown = path.display().to_string();
        let shown = shown.trim_end_matches('/');
        assert_eq!(code, Some(2), "{name}: {told}");
        assert!(told.contains(&format!("{shown} may be written by others")), "{name}: {told}");
        assert!(told.contains(&format!("chmod go-w {shown}")), "{name}: {told}");
        // The start agrees, before any socket is opened.
        let (code, out, errors) = output(&["serve", "--config", &place.config()]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{name}: {errors}");
        assert!(!place.path("gateway.sock").exists());
        set(&path, usual);
    }
    assert_eq!(check(&place, &[]).0, Some(0));
}

#[test]
fn what_others_may_read_is_told_for_secrets_alone() {
    let place = open_place("");
    set(&place.path("credentials/client_secret"), 0o644);
    let (code, told) = check(&place, &[]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told.matches("may be read by others").count(), 1, "{told}");
    assert!(told.contains("chmod 600 "), "{told}");
    set(&place.path("credentials"), 0o700);
    assert!(!check(&place, &[]).1.contains("may be read by others"));
    // The trail's keys, once they are there.
    fs::create_dir(place.path("audit")).unwrap();
    fs::write(place.path("audit/signing-key.pem"), "not a key").unwrap();
    let (_, told) = check(&place, &[]);
    assert!(told.contains("signing-key.pem may be read by others"), "{told}");
    let (code, told) = check(&place, &["--online", "--no-call"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("is not a key of the expected kind"), "{told}");
}

/// A running gateway takes neither a configuration nor a secret that others may write.
#[test]
fn a_reload_and_a_new_secret_are_held_to_the_same_rules() {
    let place = open_place("");
    let mut gateway = Running::start(&["serve", "--config", &place.config()]);
    let admin = gateway.address_of("admin");
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    let secret = place.path("credentials/client_secret");
    set(&secret, 0o666);
    fs::write(&secret, "made-up-by-somebody-else").unwrap();
    let status = loop {
        let status = exchange(&admin, &get("/status"));
        if status.contains("may be written by others") {
            break status;
        }
    };
    assert!(status.contains("\"state\":\"stale\""), "{status}");

    set(&place.path("gateway.toml"), 0o666);
    let mut file = fs::OpenOptions::new().append(true).open(place.config()).unwrap();
    file.write_all(b"\n[policy]\nunmatched = \"forward\"\n").unwrap();
    let refused = "config_reloads_total{result=\"refused\"} 1";
    while !exchange(&admin, &get("/metrics")).contains(refused) {}
    let (code, errors) = gateway.end();
    assert_eq!(code, Some(0));
    assert!(errors.contains("configuration refused; the old one stays in use"), "{errors}");
}

/// Where others could write until now, links may lie.
#[test]
fn a_planted_link_is_not_followed() {
    let place = open_place("");
    let (trail, target) = (place.path("audit"), place.path("target"));
    fs::create_dir(&trail).unwrap();
    fs::write(&target, "mine").unwrap();
    for name in ["checkpoint.json.new", "checkpoint.json", "signing-key.pub.pem"] {
        symlink(&target, trail.join(name)).unwrap();
    }
    let mut gateway = Running::start(&["serve", "--config", &place.config()]);
    gateway.address_of("tcp");
    let (code, errors) = gateway.end();
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    for name in ["checkpoint.json", "signing-key.pub.pem"] {
        assert!(fs::symlink_metadata(trail.join(name)).unwrap().is_file(), "{name}");
    }
    // A link in place of the lock, or of the trail itself, is an error.
    fs::remove_file(trail.join(".lock")).unwrap();
    symlink(&target, trail.join(".lock")).unwrap();
    let (code, _, errors) = output(&["serve", "--config", &place.config()]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("the audit directory"), "{errors}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
}

#[test]
fn an_odd_certificate_in_a_bundle_is_named_and_the_others_are_used() {
    let place = open_place("");
    let bundle = place.path("ca.pem");
    let good = fs::read_to_string(&bundle).unwrap();
    let odd = good.replacen("MII", "M!I", 1);
    fs::write(&bundle, format!("\u{feff}{good}{odd}")).unwrap();
    let line = good.lines().count() + 1;
    let (code, told) = check(&place, &["--online"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(&format!("certificate 2 (line {line}) is not Base64")), "{told}");
    for none in ["", &odd] {
        fs::write(&bundle, none).unwrap();
        let (code, told) = check(&place, &[]);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains("holds no certificate that can be used"), "{told}");
        assert_eq!(output(&["serve", "--config", &place.config()]).0, Some(2));
    }
}

/// Whatever stops `serve` is a failed step of `check --online`.
#[test]
fn a_listeners_certificate_with_another_key_is_a_failed_step() {
    let place = open_place(
        "[[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\nprofile = \"test\"\n\
         [listeners.tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\n",
    );
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (pair(), pair());
    let key = |pem: String| {
        fs::write(place.path("key.pem"), pem).unwrap();
        set(&place.path("key.pem"), 0o600);
    };
    fs::write(place.path("cert.pem"), format!("\u{feff}{}", one.cert.pem())).unwrap();
    key(one.signing_key.serialize_pem());
    let (code, told) = check(&place, &["--online"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("certificate tls"), "{told}");
    key(other.signing_key.serialize_pem());
    let (code, told) = check(&place, &["--online"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("cannot be used together"), "{told}");
}

#[test]
fn a_revocation_list_that_has_ended_is_named() {
    let keys = "[profiles.other]\nupstream = \"https://api.pigello.test\"\ncredentials = \"test\"\n\
                crl_file = \"crl.pem\"\n";
    let place = open_place(keys);
    for (year, told) in [(2021, Some("ended at 2021-01-01T00:00:00Z")), (4000, None)] {
        fs::write(place.path("crl.pem"), revocation_list(year)).unwrap();
        let (code, found) = check(&place, &[]);
        assert_eq!(code, Some(0), "{found}");
        assert_eq!(found.contains("profiles.other.crl_file"), told.is_some(), "{found}");
        assert!(told.is_none_or(|told| found.contains(told)), "{found}");
    }
    fs::write(place.path("crl.pem"), "no list").unwrap();
    let (code, found) = check(&place, &[]);
    assert!(code == Some(2) && found.contains("it holds no revocation list"), "{found}");
}

/// An authority's list that revokes nothing, until that year.
fn revocation_list(year: i32) -> String {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::new(params, rcgen::KeyPair::generate().unwrap());
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2020, 1, 1),
        next_update: rcgen::date_time_ymd(year, 1, 1),
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).unwrap().pem().unwrap()
}

/// A listener's certificate and the authorities of its callers are looked at before they end.
#[test]
fn a_certificate_that_has_ended_or_ends_soon_is_named() {
    let place = open_place(
        "[[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\nprofile = \"test\"\n\
         [listeners.tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\nclient_ca = \"client-ca.pem\"\n",
    );
    let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let in_days = |days: u32| {
        rcgen::date_time_ymd(1970, 1, 1) + today + days * std::time::Duration::from_hours(24)
    };
    let write = |name: &str, not_after| {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = not_after;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(place.path(name), params.self_signed(&key).unwrap().pem()).unwrap();
        key.serialize_pem()
    };
    for (own, authority, code, online) in [
        (in_days(90), in_days(90), 0, ["✓ and key belong together, valid until", ""]),
        (in_days(6), in_days(90), 0, ["certificate tls", "! valid until"]),
        (
            rcgen::date_time_ymd(2002, 1, 1),
            in_days(90),
            1,
            ["certificate tls", "✗ expired on 2002-01-01"],
        ),
        (in_days(90), in_days(6), 0, ["client_ca tls", "! valid until"]),
        (
            in_days(90),
            rcgen::date_time_ymd(2002, 1, 1),
            1,
            ["client_ca tls", "✗ expired on 2002-01-01"],
        ),
    ] {
        fs::write(place.path("key.pem"), write("cert.pem", own)).unwrap();
        set(&place.path("key.pem"), 0o600);
        write("client-ca.pem", authority);
        let (_, offline) = check(&place, &[]);
        let is_near = !online[1].is_empty();
        assert_eq!(offline.contains("renew it"), is_near, "{offline}");
        let (found, told) = check(&place, &["--online"]);
        assert_eq!(found, Some(code), "{told}");
        for words in online {
            assert!(told.contains(words), "{words}: {told}");
        }
    }
}
