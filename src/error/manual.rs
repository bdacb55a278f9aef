//! The manual's page of errors: what happened, why it matters and what to do, for every [`Kind`].
//!
//! The `type` of a problem links to this text. The book and the admin listener's `/errors/…` show it. A
//! kind without an entry does not compile.

use std::fmt::Write as _;

use super::kind::{Fault, Kind};

/// The manual's entry of a kind, in sentences with keys, commands and fields in backticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManualEntry {
    /// What happened.
    pub meaning: &'static str,
    /// Why the gateway does not ignore it.
    pub matters: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! manual {
    ($($kind:ident { $meaning:literal $matters:literal $remedy:literal })*) => {
        impl Kind {
            /// The entry in the manual.
            pub const fn manual(self) -> ManualEntry {
                match self {
                    $(Self::$kind => ManualEntry { meaning: $meaning, matters: $matters, remedy: $remedy },)*
                }
            }
        }
    };
}

manual! {
    Malformed {
        "The request violates HTTP, or has two readings. `detail` names the rule. For a character that must be encoded, it names the character, its place in the target (the first byte is 0) and its encoded form."
        "If two servers read one request differently, one caller can get another caller's data (request smuggling)."
        "Send it with an ordinary HTTP client, without hand-made `Content-Length`, `Transfer-Encoding` or `Host`. Encode what stands in a URL. Send no body with `GET`, `HEAD`, `DELETE` or `OPTIONS`; if the API defines one, add `body = true` to the operation's `[[operations]]` entry. The connection may be closed; then open a new one."
    }
    TargetNotCanonical {
        "The path has two readings: it contains `..`, `//`, `;`, `\\`, or an encoded `/`, `.` or control character. Or a `%` in the target is not followed by two hexadecimal digits."
        "The path that the policy matches must be, byte for byte, the path that Pigello gets."
        "Build paths from the API's templates and put identifiers in as plain UUIDs. Encode values in the query, not in the path, and write `%` itself as `%25`."
    }
    HostForbidden {
        "The `Host` is not one of the listener's names."
        "A web page can point its own name at a loopback address (DNS rebinding). Its requests have that name."
        "Call the gateway as `localhost`, `127.0.0.1` or by its own address. If callers use another name on purpose, add it to the listener's `allowed_hosts`."
    }
    CrossSite {
        "The request was made by a page in a browser, or by opening a link in one."
        "The gateway adds a secret to whatever reaches it. Any page open on the machine could use it, and a page of Pigello opened through it could read everything."
        "Call from a program on the server side, such as curl. A program must not send `Origin`, `Sec-Fetch-Site` (except `none`), `Sec-Fetch-Mode: navigate`, `Sec-Fetch-Dest` (except `empty`) or `Upgrade-Insecure-Requests`."
    }
    Unidentified {
        "No `[[callers]]` entry matches the connection, and only named callers are served. `detail` and `proof` say what the connection shows: a user id, a certificate, or nothing."
        "The default is to deny: a forgotten entry must not open the API."
        "Add a `[[callers]]` entry with the caller's `unix_uids` or `tls_names`, or give the listener a `caller`. `pigello-gateway check` prints who may call what."
    }
    CertificateRefused {
        "The caller sent no client certificate, or an expired one, or one that the listener's `client_ca` did not issue, or one that its `client_crl` revokes or says nothing about."
        "On a listener with mutual TLS, the certificate proves the caller's name."
        "Look at the certificate's dates and issuer (`openssl x509 -noout -dates -issuer`), and at the listener's `client_ca` and `client_crl`. The gateway's log names the reason."
    }
    NotAllowed {
        "The caller is known, and its `allow` does not list this operation. `detail` says what it lists."
        "A compromised caller can do no more than its entry allows."
        "If it should be allowed, add the operation to `allow` of the caller's `[[callers]]` entry and reload; `pigello-gateway operations` lists the names. `pigello-gateway explain --caller NAME METHOD PATH` names the deciding rule."
    }
    ProfileNotNamed {
        "The listener serves several profiles, and the request names none, or not with a name."
        "A call that went to the wrong customer would be worse than one that fails."
        "Send `Pigello-Gateway-Profile: NAME`, or call the gateway under a host name of the profile (`allowed_hosts` with `{profile}`), or have the listener or the caller's `[[callers]]` entry name it (`profile`)."
    }
    ProfileNotAllowed {
        "The caller is known, and its `profiles` does not list the profile that the request names."
        "A compromised caller can reach no more customers than its entry allows."
        "If it should be allowed, add the profile or a pattern of it to `profiles` of the caller's `[[callers]]` entry and reload."
    }
    ProfileUnknown {
        "No `[profiles.…]` table has this name, or its template's source of credentials does not have it. It is a 403 and not a 404, which the caller could take for Pigello's answer about an object."
        "The gateway has no credentials under this name."
        "Check the spelling. `pigello-gateway profiles list` shows what is there. A profile that was added to the source a moment ago is found after the template's `negative_ttl`."
    }
    OperationUnknown {
        "No operation that the gateway knows has this method and path. `detail` names the nearest path, or the methods of this one."
        "Permissions are given by operation, so a request without an operation has none."
        "Check method and path against the API; identifiers have to be UUIDs, and the last `/` counts. Operations beyond the Accounts API are added with `[[operations]]`."
    }
    MethodRefused {
        "The method is never sent on."
        "`TRACE` would send the credentials back, `CONNECT` opens a tunnel, and unknown methods have no meaning to authorise."
        "Use one of the methods in the answer's `Allow`."
    }
    VersionUnsupported {
        "The request has an HTTP version that the gateway does not support."
        "The rest of the request has no certain meaning then."
        "Send HTTP/1.1, HTTP/1.0 or HTTP/2."
    }
    NotImplemented {
        "The method is not in IANA's registry, or the transfer coding is not `chunked`."
        "What nobody has defined cannot be authorised, and a body in an unknown coding has no certain end."
        "Use a method of the API, and send bodies with a `Content-Length` or chunked."
    }
    ExpectationFailed {
        "The request has an `Expect` other than `100-continue`."
        "The gateway cannot meet the expectation."
        "Leave `Expect` out."
    }
    BodyTooLarge {
        "The request's body is larger than `limits.request_body`."
        "Bodies take memory, and one caller must not take all of it."
        "Send less at a time, for example smaller bulk writes, or raise `limits.request_body`."
    }
    TargetTooLong {
        "Path and query together are longer than the gateway accepts."
        "No query of the API needs as much, and servers disagree about what is too long."
        "Send fewer filters or identifiers in one request."
    }
    HeadersTooLarge {
        "The request has more header fields, or longer ones, than `limits.header_bytes` and `limits.header_count` allow."
        "The header is in memory before the caller is known."
        "Find out which field grew (cookies and tracing baggage are the usual ones), or raise the limit."
    }
    HeadTimeout {
        "The caller began a request and did not complete its head within `timeouts.header_read`."
        "A head that never ends would hold a connection for ever."
        "Look for a caller that is stuck or a network that drops packets. Nothing was sent to Pigello."
    }
    BodyTimeout {
        "The caller stopped sending its body for longer than `timeouts.body_read`."
        "A body that never ends would count against `limits.in_flight` for ever."
        "Look for a caller that is stuck or a network that drops packets. Nothing was sent to Pigello if the body was small."
    }
    BodyBroken {
        "The request's body is badly framed."
        "Pigello must not carry out half of a write."
        "Send the call again. If it fails again, the client or something between it and the gateway changes bodies."
    }
    CallerGone {
        "The caller closed the connection before its request was complete or it had its answer, or did not take the answer within `timeouts.write`."
        "Pigello may have carried out the call. The audit record says how far it came."
        "Give the client a longer timeout than the gateway's `timeouts.request`. Read the object before you repeat a write."
    }
    RateLimited {
        "The caller is over the `rate` or `concurrency` of its `[[callers]]` entry, or the `budget` of the profile is used up, or this caller's share of it."
        "One caller in a loop must not use up the rate that Pigello allows all callers."
        "Wait as long as `Retry-After` says. If the caller needs more, raise `rate` or `concurrency`, or with `detail` of a budget `[profiles.….budget] rate`."
    }
    Overloaded {
        "The number of allowed calls in flight is at `limits.in_flight`."
        "An early refusal keeps the accepted calls fast."
        "Try again after `Retry-After`. If it persists, check whether Pigello is slow, then raise `limits.in_flight`."
    }
    CredentialsUnavailable {
        "This profile has no complete set of the seven values: the source is unavailable or incomplete, the set has expired, or Pigello refuses it."
        "A request is sent with all seven values of one version or not at all."
        "`/readyz` and the log name the source and the missing values. `pigello-gateway check --online` tests each step. Calls work again when the source does."
    }
    Stopping {
        "The gateway was told to stop, and the call was not over at the end of `timeouts.drain`. The audit record has this error; the caller sees a connection that breaks off."
        "Pigello may have carried out the call. The audit record says how far it came."
        "Read the object before you repeat a write. If calls need longer, raise `timeouts.drain`, and the time that the service manager waits (`TimeoutStopSec`, `terminationGracePeriodSeconds`)."
    }
    AuditUnavailable {
        "The audit trail cannot be written, and `audit.on_failure` is `refuse`."
        "A call that leaves no record must not happen."
        "Check the disk of `audit.directory`: it may be full, read-only or owned by another user. The gateway retries twice a second; no restart is needed."
    }
    Internal {
        "The gateway has a bug."
        "Ending the call is safer than serving it in an unknown state."
        "Report it with the `request_id` and the log around it. Other calls are not affected."
    }
    UpstreamDns {
        "The host name of Pigello does not resolve."
        "Nothing was sent."
        "Check the name in the profile's `upstream`, and the machine's resolver (`getent hosts NAME`). `connect_to` can set an address."
    }
    UpstreamRefused {
        "Pigello's address refused the connection."
        "Nothing was sent, so the call can be made again."
        "Check port and address in `upstream` and `connect_to`, and whether Pigello announces an outage."
    }
    UpstreamUnreachable {
        "There is no route to Pigello's address, or the connection failed while it was opened."
        "Nothing was sent, so the call can be made again."
        "Check routes, firewalls and egress rules of the gateway's host. `pigello-gateway check --online` tests each step."
    }
    UpstreamProxyRefused {
        "The forward proxy of the profile answered the request for a tunnel with an error."
        "The gateway does not ask again: a proxy may lock an account after wrong passwords."
        "The `detail` says if the proxy wants credentials (`proxy_authorization_file`); the log has its status. Ask those who run the proxy to allow CONNECT to Pigello's host and port."
    }
    UpstreamAddressRefused {
        "Pigello's name resolves to a loopback, private or link-local address, which the gateway does not call."
        "An attacker who controls the resolution of the name could have the secret sent to an internal machine."
        "If Pigello has a private address in your network, set the profile's `allow_private` or `connect_to`."
    }
    UpstreamCertificate {
        "Pigello's certificate is not valid for its name, has expired, has no trusted issuer, or is revoked by a list in the profile's `crl_file`, or no valid list there is about it."
        "The secret must not be sent to a server that does not prove that it is Pigello."
        "Check the machine's clock first. Behind a proxy that intercepts TLS, set the profile's `ca_file` to its authority. If a revocation list is missing or too old, put a new one into `crl_file`. `pigello-gateway check --online` names the reason and the dates."
    }
    UpstreamTls {
        "The TLS handshake with Pigello failed, but not because of the certificate."
        "Nothing was sent: the secret is only sent after the handshake."
        "Check whether something between the gateway and Pigello does not support TLS 1.2 or 1.3. The log has the alert."
    }
    UpstreamClosed {
        "Pigello closed the connection without an answer."
        "It is unknown whether Pigello carried out the call."
        "The gateway has retried reads. Read the object before you repeat a write."
    }
    UpstreamUnprocessed {
        "Pigello ended the HTTP/2 connection, or refused the stream, before it looked at the request."
        "The call was not carried out. The gateway has repeated it on other connections, with no more luck."
        "Repeat the call later. Watch whether Pigello's load balancer is being replaced, or set `http = \"1.1\"` in the profile."
    }
    UpstreamIncomplete {
        "Pigello's answer ended early."
        "A lenient client could take half an answer for a whole one, so the gateway closes the connection."
        "Repeat reads. Read the object before you repeat a write."
    }
    UpstreamProtocol {
        "The answer is not valid HTTP, has a coding that cannot be decoded, or is a part (206) that nobody asked for."
        "An answer with two readings could reach another caller, and one that cannot be read could hold the client secret."
        "Check that `upstream` is Pigello and not another server on that port. The log names the rule."
    }
    UpstreamEchoedSecret {
        "Pigello's answer contained the client secret, plain or encoded. The gateway did not pass it on."
        "A secret in a caller, its log or its cache is not secret any more."
        "Find the request that causes it (the audit record has its path), tell Pigello, and rotate the secret if anyone else may have seen it."
    }
    UpstreamConnectTimeout {
        "Resolving, connecting and the TLS handshake took longer than `timeouts.connect`."
        "Nothing was sent, so the call can be made again."
        "Check the network between the gateway and Pigello. A firewall that drops packets causes this."
    }
    UpstreamTimeout {
        "All attempts of the call together took longer than `timeouts.request`."
        "It is unknown whether Pigello carried out the call."
        "Read the object before you repeat a write. If such calls are always slow, raise `timeouts.request`."
    }
    UpstreamFirstByteTimeout {
        "The request was sent, and no answer began within `timeouts.first_byte`."
        "It is unknown whether Pigello carried out the call."
        "Read the object before you repeat a write. If such calls are always slow, raise `timeouts.first_byte`."
    }
    UpstreamStalled {
        "Pigello's answer began, and its next bytes did not come within `timeouts.upstream_read`."
        "The answer is incomplete, so the gateway closes the connection."
        "Repeat reads. If it fails again, check the network, or raise `timeouts.upstream_read`."
    }
    UpstreamSuspended {
        "The circuit breaker is open because Pigello failed repeatedly."
        "Calls that would fail are refused at once, and Pigello can recover."
        "Wait as long as `Retry-After` says. Then one call at a time tests whether Pigello works again. The earlier errors say why it failed."
    }
    UpstreamRateLimited {
        "Pigello asked for a pause of this operation, or of several, with `Retry-After` or a 429. It is not over."
        "More calls would make the pause longer for all callers."
        "Wait as long as `Retry-After` says. Fewer calls, a longer `ttl` in `[[cache.rules]]` or a `rate` for the busiest caller help."
    }
    UpstreamQuota {
        "Pigello answered 429 while there were many calls. The gateway has learnt a rate from that, and this caller's share of it is used up."
        "The callers of a profile share Pigello's limit. One of them must not use it up."
        "Wait as long as `Retry-After` says. The rate rises by itself. `[quota]` sets the rate below which nobody is slowed down, or switches it off."
    }
    OnlyIfCached {
        "The caller accepts only a stored response (`Cache-Control: only-if-cached`), and none can be used."
        "The gateway must not ask Pigello then (RFC 9111 §5.2.1.7)."
        "Remove the directive, so that the gateway asks Pigello."
    }
}

/// The page `docs/src/reference/errors.md`.
pub fn errors_page() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         <!-- Made from src/error; `UPDATE_EXPECTED=1 cargo nextest run --test cli docs` writes it. -->\n\n\
         An error of the gateway is a problem document (RFC 9457) with a `Proxy-Status` (RFC 9209), so it\n\
         cannot be mistaken for Pigello's answer:\n\n\
         ```json\n\
         {\n\
         \x20 \"type\": \"urn:pigello-gateway:problem:operation_not_allowed\",\n\
         \x20 \"title\": \"The caller may not use this operation\",\n\
         \x20 \"status\": 403,\n\
         \x20 \"detail\": \"`allow` of the caller `app` lists `subtenant.*`; `tenant.list` is not among them\",\n\
         \x20 \"request_id\": \"0190d1c2-9a4e-7cc3-8f00-1234567890ab\",\n\
         \x20 \"caller\": \"app\",\n\
         \x20 \"proof\": \"listener\",\n\
         \x20 \"operation\": \"tenant.list\"\n\
         }\n\
         ```\n\n\
         The last word of `type` is the error's name. Its meaning never changes. It is also in the audit\n\
         log's `error`, in the metric `pigello_gateway_errors_total` and in the headings below. With\n\
         `problems.base` in the configuration, `type` is a link to this page. Each gateway also serves the page\n\
         of its own version on the admin listener, under `/errors/NAME`. `detail` is about this one call.\n\
         `caller`, `proof` and `operation` say who called, how the gateway knows, and what was asked for. Each is\n\
         missing while it is not known. A caller learns about itself and about the API, and never about\n\
         other callers.\n\
         `pigello-gateway audit query --request-id REQUEST_ID` finds its audit record.\n\n\
         The outcome of a record with an error is `refused` if the gateway decided against the caller or its\n\
         request, and `failed` if the call could not be served or was interrupted. Each error has one of the\n\
         two, however far the call came.\n",
    );
    for fault in Fault::ALL {
        // Writing to a string cannot fail.
        let _infallible = write!(page, "\n## {}\n", fault.heading());
        for kind in Kind::ALL.iter().filter(|kind| kind.fault() == fault) {
            let ManualEntry { meaning, matters, remedy } = kind.manual();
            let _infallible = write!(
                page,
                "\n### {}\n\n\
                 **{}** · status {} · outcome `{}` · `Proxy-Status` error `{}`\n\n\
                 {meaning}\n\n\
                 *Why it matters:* {matters}\n\n\
                 *What to do:* {remedy}\n",
                kind.label(),
                kind.title(),
                kind.status().as_u16(),
                if kind.is_refusal() { "refused" } else { "failed" },
                kind.proxy_error(),
            );
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_whole_sentences_with_its_backticks_in_pairs() {
        for kind in Kind::ALL {
            let ManualEntry { meaning, matters, remedy } = kind.manual();
            for text in [meaning, matters, remedy] {
                assert!(text.ends_with('.'), "{kind:?}: {text}");
                assert!(text.starts_with(|first: char| first.is_uppercase() || first == '`'));
                assert!(text.matches('`').count().is_multiple_of(2), "{kind:?}: {text}");
            }
        }
    }

    #[test]
    fn the_page_has_every_kind_once() {
        let page = errors_page();
        for kind in Kind::ALL {
            assert_eq!(page.matches(&format!("### {}\n", kind.label())).count(), 1, "{kind:?}");
            assert_eq!(Kind::by_label(kind.label()), Some(*kind));
        }
        assert_eq!(Kind::by_label("nothing"), None);
    }
}
