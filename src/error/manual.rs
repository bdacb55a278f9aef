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
        "The request breaks the rules of HTTP, or can be read in two ways. `detail` names the rule."
        "Two servers that read one request differently can be made to answer one caller with another's data (request smuggling)."
        "Send it with an ordinary HTTP client, without hand-made `Content-Length`, `Transfer-Encoding` or `Host`. The connection is closed; open a new one."
    }
    TargetNotCanonical {
        "The path can be read in more than one way: it has `..`, `//`, `;`, `\\`, or an encoded `/`, `.` or control character."
        "What is matched against the policy has to be, byte for byte, what Pigello sees. A repaired path would be neither."
        "Build paths from the API's templates and put identifiers in as plain UUIDs. Encode values in the query, not in the path."
    }
    HostForbidden {
        "The `Host` is not one of the listener's names."
        "A web page can point a name of its own at a loopback address (DNS rebinding); such requests carry that name."
        "Call the gateway as `localhost`, `127.0.0.1` or by its own address. If callers use another name on purpose, add it to the listener's `allowed_hosts`."
    }
    CrossSite {
        "The request was made by a page in a browser."
        "The gateway adds a secret to whatever reaches it. Any page open on the machine could use it."
        "Call from a program on the server side, not from a page. A program must not send `Origin` or `Sec-Fetch-Site: cross-site`."
    }
    Unidentified {
        "The connection proved no name that a `[[callers]]` entry has, and only named callers are served."
        "Nobody is allowed by omission: a forgotten entry must not open the API."
        "Add a `[[callers]]` entry with the caller's `unix_uids` or `tls_names`, or give the listener a `caller`. `pigello-gateway check` prints who may call what."
    }
    CertificateRefused {
        "The caller sent no client certificate, or one that the listener's `client_ca` does not vouch for, or that has expired."
        "On a listener with mutual TLS the certificate is the caller's name."
        "Look at the certificate's dates and issuer (`openssl x509 -noout -dates -issuer`), and at the listener's `client_ca`. The gateway's log names the reason."
    }
    NotAllowed {
        "The caller is known, and its `allow` does not list this operation."
        "A caller that is taken over can do no more than its entry allows."
        "If it should be allowed, add the operation to `allow` of the caller's `[[callers]]` entry and reload. `pigello-gateway explain --caller NAME METHOD PATH` names the deciding rule."
    }
    OperationUnknown {
        "The method and path are none of the operations that the gateway knows."
        "A permission is given by operation; what has no name cannot have been permitted."
        "Check method and path against the API; identifiers have to be UUIDs, and the last `/` counts. Operations beyond the Accounts API are added with `[[operations]]`."
    }
    MethodRefused {
        "The method is never sent on."
        "`TRACE` would send the credentials back, `CONNECT` opens a tunnel, and unknown methods have no meaning to authorise."
        "Use one of the methods in the answer's `Allow`."
    }
    VersionUnsupported {
        "The request names a version of HTTP that the gateway does not speak."
        "What follows cannot be read with certainty."
        "Send HTTP/1.1, HTTP/1.0 or HTTP/2."
    }
    NotImplemented {
        "The request asks for an upgrade, or uses a transfer coding other than `chunked`."
        "Behind an upgrade the gateway could no longer see, authorise or record anything."
        "Send plain requests; Pigello's API needs no upgrade."
    }
    ExpectationFailed {
        "The request has an `Expect` other than `100-continue`."
        "The caller relies on something that nobody here can promise."
        "Leave `Expect` out."
    }
    BodyTooLarge {
        "The request's body is larger than `limits.request_body`."
        "Bodies take memory, and one caller must not take everybody's."
        "Send less at a time, for example smaller bulk writes, or raise `limits.request_body`."
    }
    TargetTooLong {
        "Path and query together are longer than the gateway takes."
        "No query of the API needs as much, and servers disagree about what is too long."
        "Send fewer filters or identifiers in one request."
    }
    HeadersTooLarge {
        "The request has more header fields, or longer ones, than `limits.header_bytes` and `limits.header_count` allow."
        "A head is held in memory before anyone is known."
        "Find out which field grew (cookies and tracing baggage are the usual ones), or raise the limit."
    }
    BodyTimeout {
        "The caller stopped sending its body for longer than `timeouts.body_read`."
        "A body that never ends would hold a place for ever."
        "Look for a caller that is stuck or a network that drops packets. Nothing was sent to Pigello if the body was small."
    }
    BodyBroken {
        "The request's body broke off, or is not framed as it says."
        "Half of a write must not be carried out."
        "Send the call again; if it repeats, the client or something between it and the gateway cuts bodies."
    }
    CallerGone {
        "The caller closed the connection before it had its answer."
        "Pigello may have carried out the call all the same; the record says how far it came."
        "Give the client a longer timeout than the gateway's `timeouts.request`. Before a write is sent again, read what is there."
    }
    RateLimited {
        "The caller is over the rate or the number of calls at a time that its `[[callers]]` entry gives it (`rate`, `concurrency`)."
        "One caller in a loop must not use up what Pigello allows all of them."
        "Wait as long as `Retry-After` says. If the caller needs more, raise `rate` or `concurrency`."
    }
    Overloaded {
        "As many calls are under way as `limits.in_flight` allows."
        "Refusing early keeps the calls that were taken fast."
        "Try again after `Retry-After`. If it stays, look whether Pigello has become slow, then at `limits.in_flight`."
    }
    CredentialsUnavailable {
        "There is no whole set of the seven values for this profile: the source is away, incomplete, expired, or Pigello refuses what it gave."
        "A request goes out with all seven of one version or not at all."
        "`/readyz` and the log name the source and what is missing; `pigello-gateway check --online` goes through it step by step. Calls work again by themselves once the source does."
    }
    AuditUnavailable {
        "The audit trail cannot be written, and `audit.on_failure` is `refuse`."
        "A call that leaves no record must not happen."
        "Look at the disk under `audit.directory`: full, read-only, or not the gateway's. It is tried again twice a second; no restart is needed."
    }
    Internal {
        "The gateway met a defect of its own."
        "The call was ended rather than served in a state that nobody understands."
        "Report it with the `request_id` and the log around it. Other calls are not affected."
    }
    UpstreamDns {
        "The host name of Pigello does not resolve."
        "Nothing was sent."
        "Check the name in the profile's `upstream`, and the machine's resolver (`getent hosts NAME`). With `connect_to` an address can be set."
    }
    UpstreamRefused {
        "Pigello's address refused the connection."
        "Nothing was sent, so the call can be made again."
        "Check port and address in `upstream` and `connect_to`, and whether Pigello announces an outage."
    }
    UpstreamUnreachable {
        "No route leads to Pigello's address, or the connection broke while it was opened."
        "Nothing was sent, so the call can be made again."
        "Look at routes, firewalls and egress rules of the gateway's host. `pigello-gateway check --online` tries each step."
    }
    UpstreamAddressRefused {
        "Pigello's name resolves to an address that the gateway does not call: a loopback, private or link-local one."
        "Whoever controls the name's resolution could have the secret sent to a machine inside."
        "If Pigello is really reached over a private address, say so with the profile's `allow_private` or `connect_to`."
    }
    UpstreamCertificate {
        "Pigello's certificate is not valid for its name, has expired, or is issued by nobody who is trusted."
        "The secret must not be sent to a server that cannot prove to be Pigello."
        "Check the machine's clock first. Behind a proxy that opens TLS, set the profile's `ca_file` to its authority. `pigello-gateway check --online` names the reason and the dates."
    }
    UpstreamTls {
        "The TLS handshake with Pigello failed for another reason than the certificate."
        "Nothing was sent: the secret leaves only over a finished handshake."
        "See whether something between gateway and Pigello speaks no TLS 1.2 or 1.3. The log has the alert."
    }
    UpstreamClosed {
        "Pigello closed the connection without an answer."
        "Whether it carried out the call is not known."
        "Reads were tried again already. Before a write is sent again, read what is there."
    }
    UpstreamIncomplete {
        "Pigello's answer broke off before its end."
        "Half an answer looks like a whole one to a lenient reader, so the connection is cut."
        "Send reads again. Before a write is sent again, read what is there."
    }
    UpstreamProtocol {
        "What came back is not HTTP that can be passed on."
        "An answer that can be read in two ways could be taken for another caller's."
        "See whether `upstream` leads to Pigello and not to something else on that port. The log names the rule."
    }
    UpstreamEchoedSecret {
        "Pigello's answer held the client secret, plain or encoded, and was not passed on."
        "A secret that reaches a caller, its log or its cache is no secret any more."
        "Find out which request brings it back (the record has its path), tell Pigello, and rotate the secret if anyone else can have seen it."
    }
    UpstreamConnectTimeout {
        "Resolving, connecting and the TLS handshake took longer than `timeouts.connect`."
        "Nothing was sent, so the call can be made again."
        "Look at the network between gateway and Pigello; a firewall that drops packets shows like this."
    }
    UpstreamTimeout {
        "The whole call, all attempts together, took longer than `timeouts.request`."
        "Whether Pigello carried it out is not known."
        "Before a write is sent again, read what is there. If such calls are slow by nature, raise `timeouts.request`."
    }
    UpstreamFirstByteTimeout {
        "The request was sent, and no answer began within `timeouts.first_byte`."
        "Whether Pigello carried it out is not known."
        "Before a write is sent again, read what is there. If Pigello is slow by nature here, raise `timeouts.first_byte`."
    }
    UpstreamStalled {
        "Pigello's answer began, and its next piece did not come within `timeouts.upstream_read`."
        "What has come is not the whole answer, so the connection is cut."
        "Send reads again. If it repeats, look at the network, or raise `timeouts.upstream_read`."
    }
    UpstreamSuspended {
        "Pigello failed so often that it is left alone for a moment (the breaker is open)."
        "Calls that would fail are answered at once, and Pigello gets room to recover."
        "Wait as long as `Retry-After` says: one call at a time finds out whether it is back. The errors before this one say why it failed."
    }
    UpstreamRateLimited {
        "Pigello has said when it wants to be called again, and it is not yet time."
        "Calling on would make the pause longer, for all callers."
        "Wait as long as `Retry-After` says. Fewer calls, a longer `ttl` in `[[cache.rules]]` or a `rate` for the busiest caller help."
    }
    OnlyIfCached {
        "The caller asked for an answer from memory alone (`Cache-Control: only-if-cached`), and there is none."
        "That is what the field asks for (RFC 9111 §5.2.1.7)."
        "Leave the field out to have Pigello asked."
    }
}

/// The page `docs/src/reference/errors.md`.
pub fn errors_page() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         <!-- Made from src/error; `UPDATE_EXPECTED=1 cargo nextest run --test cli docs` writes it anew. -->\n\n\
         What the gateway answers itself is a problem document (RFC 9457) with a `Proxy-Status` (RFC 9209),\n\
         so that nobody takes it for Pigello's answer:\n\n\
         ```json\n\
         {\n\
         \x20 \"type\": \"urn:pigello-gateway:problem:operation_not_allowed\",\n\
         \x20 \"title\": \"The caller may not use this operation\",\n\
         \x20 \"status\": 403,\n\
         \x20 \"detail\": \"the caller's `allow` does not list this operation\",\n\
         \x20 \"request_id\": \"0190d1c2-9a4e-7cc3-8f00-1234567890ab\"\n\
         }\n\
         ```\n\n\
         The last word of `type` is the error's name: it never changes its meaning, and it is the one that\n\
         stands in the audit trail's `error`, in the metric `pigello_gateway_errors_total` and in the heading\n\
         below. With `problems.base` in the configuration, `type` is a link to this page. Every gateway also has\n\
         the page of its own version on the admin listener, under `/errors/NAME`. `detail` says what was the\n\
         matter with this one call; the whole record is found with\n\
         `pigello-gateway audit query --request-id REQUEST_ID`.\n",
    );
    for fault in Fault::ALL {
        // Writing to a string cannot fail.
        let _infallible = write!(page, "\n## {}\n", fault.heading());
        for kind in Kind::ALL.iter().filter(|kind| kind.fault() == fault) {
            let ManualEntry { meaning, matters, remedy } = kind.manual();
            let _infallible = write!(
                page,
                "\n### {}\n\n\
                 **{}** · status {} · `Proxy-Status` error `{}`\n\n\
                 {meaning}\n\n\
                 *Why it matters:* {matters}\n\n\
                 *What to do:* {remedy}\n",
                kind.label(),
                kind.title(),
                kind.status().as_u16(),
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
