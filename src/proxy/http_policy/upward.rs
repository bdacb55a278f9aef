//! Which fields of a caller's request go up to Pigello.
//!
//! The policy decides on the method, path and host of a request, and the seven values say who calls.
//! Servers, frameworks and proxies also read these from fields: `X-HTTP-Method-Override`,
//! `X-Original-URL`, `X-Forwarded-Host`, `Remote-User`. Such a field would evade the decision, and it is
//! no part of the cache key. So none of them goes up; [`TABLE`] is the whole class.
//!
//! A name counts in every spelling. CGI, WSGI and PHP make one variable of `X-Real-IP`, `x_real_ip` and
//! `X.Real.IP` (RFC 9110 §17.10 warns of it), so each character but letters and digits is read as `-`.

use http::{HeaderMap, HeaderName, header};

use super::hop_by_hop;
use crate::domain::{Caller, CallerCredential};

/// Why a caller's field does not go up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// It is one of Pigello's own, which the gateway sets.
    Reserved,
    /// It is for the connection to the gateway alone (RFC 9110 §7.6.1).
    Hop,
    /// `Connection` names it.
    Named,
    /// The gateway sets it.
    Set,
    /// A server could read the method from it.
    Method,
    /// A server could read the path from it.
    Path,
    /// A server could read the host or the scheme from it.
    Host,
    /// A server could read from it who calls.
    Identity,
    /// It is the caller's own credential, and no `forward` lists it.
    Credential,
    /// It says which profile the call is for.
    Profile,
    /// It asks for a part of a response, in which the response guard could miss the secret.
    Part,
}

impl Withheld {
    /// The reason, in words.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Reserved => "it is, or could be taken for, one of Pigello's own",
            Self::Hop => "it is for this hop alone",
            Self::Named => "`Connection` names it",
            Self::Set => "the gateway sets it",
            Self::Method => "it could change the method",
            Self::Path => "it could change the path",
            Self::Host => "it could change the host",
            Self::Identity => "it could change who calls",
            Self::Credential => {
                "it is the caller's own credential, and `forward` of [[callers]] does not list it"
            }
            Self::Profile => "it is for the gateway: it names the profile",
            Self::Part => {
                "a part of a response could have a part of the secret; stored responses answer it"
            }
        }
    }
}

/// Removes what no caller may send up. Its own credentials are left, because the caller is not known yet, and
/// so is what only the cache uses.
pub(in crate::proxy) fn strip(headers: &mut HeaderMap) {
    hop_by_hop::strip_named(headers);
    // The table has the fields of this hop, too.
    hop_by_hop::remove_where(headers, |name| withheld(name).is_some() && !is_for_cache(name));
}

/// Whether a field is for the cache alone: a stored response answers for a part of it (RFC 9110 §14.2 lets
/// a server send the whole response).
pub(super) fn is_for_cache(name: &HeaderName) -> bool {
    *name == header::RANGE || *name == header::IF_RANGE
}

/// Removes the caller's own credentials, except those that its rule forwards.
pub(in crate::proxy) fn strip_credentials(headers: &mut HeaderMap, caller: &Caller) {
    for own in CallerCredential::ALL {
        if !caller.forwards(own) {
            headers.remove(own.field());
        }
    }
}

/// Whether a request that goes up has a credential of its caller. Its answer belongs to that caller
/// alone, and says nothing of the seven values.
pub(in crate::proxy) fn has_credentials(headers: &HeaderMap) -> bool {
    CallerCredential::ALL.iter().any(|own| headers.contains_key(own.field()))
}

/// The fields of a caller's request that would not go up, with the reason.
pub fn withheld_fields<'a>(
    headers: &'a HeaderMap,
    caller: &Caller,
) -> Vec<(&'a HeaderName, Withheld)> {
    let mut left = headers.clone();
    strip(&mut left);
    strip_credentials(&mut left, caller);
    hop_by_hop::remove_where(&mut left, is_for_cache);
    let gone = headers.keys().filter(|name| !left.contains_key(*name));
    gone.map(|name| {
        let is_withheld = |own: &CallerCredential| own.field() == name && !caller.forwards(*own);
        let other = if CallerCredential::ALL.iter().any(is_withheld) {
            Withheld::Credential
        } else {
            Withheld::Named
        };
        (name, withheld(name).unwrap_or(other))
    })
    .collect()
}

/// Whether a server could take a name for another one, in lower case with `-`.
pub(super) fn folds_to(name: &HeaderName, other: &str) -> bool {
    let name = name.as_str();
    name.len() == other.len() && name.bytes().map(fold).eq(other.bytes())
}

/// Whether a server could take a name for one that begins so.
pub(super) fn folds_to_prefix(name: &HeaderName, prefix: &str) -> bool {
    name.as_str().len() >= prefix.len()
        && name.as_str().bytes().zip(prefix.bytes()).all(|(byte, other)| fold(byte) == other)
}

/// Why no caller's field of this name goes up, if it does not.
fn withheld(name: &HeaderName) -> Option<Withheld> {
    let mut buffer = [0; LONGEST];
    let length =
        buffer.iter_mut().zip(name.as_str().bytes()).map(|(to, byte)| *to = fold(byte)).count();
    let folded = buffer.get(..length)?;
    // No entry is under the prefix of another one, so the last one that is not greater decides.
    let after = TABLE.partition_point(|(entry, _)| stem(entry).as_bytes() <= folded);
    let (entry, why) = TABLE.get(after.checked_sub(1)?)?;
    let is_it = if entry.ends_with('*') {
        folded.starts_with(stem(entry).as_bytes())
    } else {
        folded == entry.as_bytes()
    };
    is_it.then_some(*why)
}

/// A character of a name, as the least careful server reads it. `HeaderName` is in lower case.
const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte } else { b'-' }
}

fn stem(entry: &str) -> &str {
    entry.strip_suffix('*').unwrap_or(entry)
}

/// The longest entry and one more: of a longer name the rest cannot matter.
const LONGEST: usize = 32;

/// The names that no caller's field may have, folded and sorted. A `*` stands for any end.
const TABLE: &[(&str, Withheld)] = {
    use Withheld::{Hop, Host, Identity, Method, Part, Path, Profile, Reserved, Set};
    &[
        // RFC 3229: a difference to another response.
        ("a-im", Part),
        // Keys that APIs take in place of `Authorization`.
        ("api-key", Identity),
        // CGI variables (RFC 3875 §4.1). gunicorn took some of them from fields of the same name.
        ("auth-type", Identity),
        ("auth-user", Identity),
        ("base-url", Path),
        // Cloudflare.
        ("cf-access-*", Identity),
        ("cf-connecting-*", Identity),
        ("cf-ipcountry", Identity),
        ("cf-visitor", Host),
        // A verified certificate (RFC 9440).
        ("client-cert*", Identity),
        ("client-ip", Identity),
        ("cluster-client-ip", Identity),
        ("connection", Hop),
        // RFC 2965, obsolete.
        ("cookie2", Identity),
        ("destination-url", Path),
        ("document-root", Path),
        ("document-uri", Path),
        ("expect", Hop),
        ("fastly-client-ip", Identity),
        // RFC 7239.
        ("forwarded*", Identity),
        ("front-end-https", Host),
        ("gateway-interface", Host),
        ("host", Hop),
        ("host-override", Host),
        // A CGI variable as a field, `HTTP_HOST` or `HTTP_AUTHORIZATION`.
        ("http-*", Identity),
        ("http2-settings", Hop),
        ("https", Host),
        ("if-range", Part),
        ("keep-alive", Hop),
        ("method-override", Method),
        ("path-info", Path),
        ("path-translated", Path),
        ("pigello-gateway-profile", Profile),
        // It becomes `HTTP_PROXY`, which is where CGI programs send their own requests.
        ("proxy", Host),
        ("proxy-authenticate", Hop),
        ("proxy-authorization", Hop),
        ("proxy-client-ip", Identity),
        ("proxy-connection", Hop),
        ("proxy-host", Host),
        ("proxy-url", Path),
        ("query-string", Path),
        ("range", Part),
        ("real-ip", Identity),
        ("redirect-*", Path),
        ("remote-*", Identity),
        ("request-method", Method),
        // Netscape's name of `Range`, which servers knew long after.
        ("request-range", Part),
        ("request-uri", Path),
        ("script-filename", Path),
        ("script-name", Path),
        ("script-url", Path),
        ("server-name", Host),
        ("server-port", Host),
        ("server-protocol", Host),
        ("ssl-client-*", Identity),
        ("tailscale-*", Identity),
        ("te", Hop),
        ("trailer", Hop),
        ("transfer-encoding", Hop),
        ("true-client-ip", Identity),
        ("upgrade", Hop),
        ("url-scheme", Host),
        ("wl-proxy-*", Identity),
        ("wsgi-*", Host),
        // Rack takes file names of answers from it.
        ("x-accel-*", Path),
        ("x-access-token", Identity),
        // Load balancers of clouds, which tell what they verified.
        ("x-amzn-mtls-*", Identity),
        ("x-amzn-oidc-*", Identity),
        ("x-api-key", Identity),
        ("x-appengine-*", Identity),
        ("x-arr-*", Identity),
        ("x-auth-*", Identity),
        ("x-authenticated-*", Identity),
        ("x-authorization", Identity),
        ("x-azure-*", Identity),
        ("x-base-url", Path),
        ("x-client-cert*", Identity),
        ("x-client-dn", Identity),
        ("x-client-ip", Identity),
        ("x-client-verify", Identity),
        ("x-cluster-client-ip", Identity),
        ("x-coming-from", Identity),
        ("x-consumer-*", Identity),
        ("x-credential-*", Identity),
        ("x-destination-url", Path),
        ("x-endpoint-api-userinfo", Identity),
        ("x-envoy-*", Path),
        ("x-forward*", Identity),
        ("x-goog-authenticated-*", Identity),
        ("x-goog-iap-*", Identity),
        ("x-host*", Host),
        ("x-http-*", Method),
        ("x-https", Host),
        ("x-method*", Method),
        ("x-ms-client-principal*", Identity),
        ("x-original-*", Path),
        ("x-originating-*", Identity),
        ("x-path*", Path),
        ("x-pigello*", Reserved),
        ("x-proto*", Host),
        ("x-proxy-*", Identity),
        ("x-proxyuser-*", Identity),
        ("x-real-*", Identity),
        ("x-remote-*", Identity),
        ("x-request-id", Set),
        ("x-request-method", Method),
        ("x-request-uri", Path),
        ("x-request-url", Path),
        ("x-rewrite-*", Path),
        ("x-scheme", Host),
        ("x-script-*", Path),
        ("x-sendfile-*", Path),
        ("x-server-*", Host),
        ("x-ssl*", Identity),
        ("x-tls-client-*", Identity),
        ("x-trusted-*", Identity),
        ("x-url-scheme", Host),
        ("x-user", Identity),
        ("x-user-email", Identity),
        ("x-user-id", Identity),
        ("x-user-name", Identity),
        ("x-username", Identity),
        ("x-webauth-*", Identity),
    ]
};

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        credentials::ValueName,
        domain::{CallerLimits, CallerRule, Proof},
    };

    fn of(name: &str) -> Option<Withheld> {
        withheld(&HeaderName::try_from(name).unwrap())
    }

    #[test]
    fn the_table_is_sorted_folded_and_without_an_entry_under_another() {
        for ((one, _), (two, _)) in TABLE.iter().zip(TABLE.iter().skip(1)) {
            assert!(stem(one) < stem(two), "{one} {two}");
            assert!(!one.ends_with('*') || !two.starts_with(stem(one)), "{one} {two}");
        }
        for (entry, why) in TABLE {
            assert!(entry.len() < LONGEST && stem(entry).bytes().all(|byte| fold(byte) == byte));
            assert_eq!(of(stem(entry)), Some(*why), "{entry}");
        }
    }

    #[test]
    fn fields_that_change_method_path_host_or_caller_do_not_go_up() {
        for (name, why) in [
            ("X-HTTP-Method-Override", Withheld::Method),
            ("X_HTTP_Method_Override", Withheld::Method),
            ("X-Http_Method-Override", Withheld::Method),
            ("x.http.method", Withheld::Method),
            ("X-Method-Override", Withheld::Method),
            ("X-Original-Method", Withheld::Path),
            ("X-Original-URL", Withheld::Path),
            ("X_Rewrite_URL", Withheld::Path),
            ("SCRIPT_NAME", Withheld::Path),
            ("Path-Info", Withheld::Path),
            ("Forwarded", Withheld::Identity),
            ("X-Forwarded-Host", Withheld::Identity),
            ("X-Forwarded-Prefix", Withheld::Identity),
            ("X_FORWARDED_PROTO", Withheld::Identity),
            ("X-Forwarded-A-Field-With-A-Very-Long-Name", Withheld::Identity),
            ("X-Real-IP", Withheld::Identity),
            ("x~real~ip", Withheld::Identity),
            ("REMOTE_USER", Withheld::Identity),
            ("HTTP_AUTHORIZATION", Withheld::Identity),
            ("proxy_authorization", Withheld::Hop),
            ("X_Request_Id", Withheld::Set),
            ("X.PIGELLO.CLIENT.SECRET", Withheld::Reserved),
            ("x-pigello", Withheld::Reserved),
            ("Range", Withheld::Part),
            ("If_Range", Withheld::Part),
            ("Request-Range", Withheld::Part),
            ("A-IM", Withheld::Part),
        ] {
            assert_eq!(of(name), Some(why), "{name}");
        }
        for name in [
            "accept",
            "accept-language",
            "content-type",
            "content-length",
            "user-agent",
            "if-none-match",
            "accept-ranges",
            "cache-control",
            "authorization",
            "cookie",
            "traceparent",
            "tracestate",
            "x-kept",
            "x-pig",
            "x-requested-with",
            "x-csrftoken",
            "idempotency-key",
            "x-correlation-id",
            "x-forest",
            "hosts",
            "httpx",
            "prefer",
            "proxy-status",
            "forward",
            "a-name-that-is-much-longer-than-every-entry-of-the-table",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn a_callers_own_credentials_go_up_if_its_rule_forwards_them() {
        let rule = |forward: &[CallerCredential]| Caller::Known {
            rule: Some(
                CallerRule {
                    name: "portal".into(),
                    unix_uids: Vec::new(),
                    tls_names: Vec::new(),
                    allow: Vec::new(),
                    profile: None,
                    profiles: Vec::new(),
                    forward: forward.to_vec(),
                    limits: CallerLimits::default(),
                }
                .into(),
            ),
            name: "portal".into(),
            proof: Proof::Listener,
        };
        let unruled = Caller::Known { rule: None, name: "edge".into(), proof: Proof::Listener };
        let nobody = Caller::Unidentified { proof: Proof::Listener };
        let mut headers = HeaderMap::new();
        for name in ["authorization", "cookie", "accept"] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        let gone = |caller: &Caller| {
            let mut left = headers.clone();
            strip_credentials(&mut left, caller);
            let names: Vec<_> = headers.keys().filter(|name| !left.contains_key(*name)).collect();
            let told = withheld_fields(&headers, caller);
            assert!(told.iter().all(|(_, why)| *why == Withheld::Credential));
            assert_eq!(told.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
            assert_eq!(has_credentials(&left), names.len() < 2);
            names.len()
        };
        assert_eq!(gone(&nobody), 2);
        assert_eq!(gone(&unruled), 2);
        assert_eq!(gone(&rule(&[])), 2);
        assert_eq!(gone(&rule(&[CallerCredential::Cookie])), 1);
        assert_eq!(gone(&rule(&[CallerCredential::Authorization, CallerCredential::Cookie])), 0);
    }

    #[test]
    fn a_range_is_left_for_the_cache_and_does_not_go_up() {
        let mut headers = HeaderMap::new();
        for name in ["range", "if-range", "request-range", "if_range", "accept"] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        let nobody = Caller::Unidentified { proof: Proof::Listener };
        let told = withheld_fields(&headers, &nobody);
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|(_, why)| *why == Withheld::Part));
        strip(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["range", "if-range", "accept"]);
        let sent = super::super::to_send(&headers, 0);
        assert_eq!(sent.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    proptest! {
        /// Whatever a caller sends, nothing that is left folds to one of the seven or to an entry.
        #[test]
        fn no_spelling_is_left(at in 0..TABLE.len(), seven in 0..7_usize, separators in "[-_.!#$%&'*+^`|~]{1,40}", end in "[a-z]{0,9}") {
            let (entry, why) = TABLE[at];
            let end = if entry.ends_with('*') { end } else { String::new() };
            let spell = |name: &str| -> String {
                let mut separators = separators.chars().cycle();
                name.chars().map(|c| if c == '-' { separators.next().unwrap() } else { c }).collect()
            };
            prop_assert_eq!(of(&spell(&format!("{}{end}", stem(entry)))), Some(why));
            let ours = ValueName::ALL[seven].header();
            prop_assert_eq!(of(&spell(ours.as_str())), Some(Withheld::Reserved));
            prop_assert!(folds_to(&HeaderName::try_from(spell(ours.as_str())).unwrap(), ours.as_str()));
        }
    }
}
