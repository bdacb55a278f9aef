//! Why the policy refuses a request, in words.
//!
//! The caller's problem document, `explain` and the status page all have this text. It tells a caller about
//! itself and about operations, and nothing about other callers. It quotes nothing of the path.

use std::fmt::Display;

use http::Method;

use crate::{
    domain::{Caller, CallerRule, Catalog, Operation, Proof},
    error::{Error, Kind},
};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No operation has this method and path.
    NoOperation,
    /// The caller is not identified, and only named callers are served.
    Unidentified,
    /// The caller's rule does not list the operation.
    NotListed,
    /// The listener identifies the caller, but the caller has no `[[callers]]` entry.
    NoRule,
}

impl Refusal {
    /// The kind of the error.
    pub const fn kind(self) -> Kind {
        match self {
            Self::NoOperation => Kind::OperationUnknown,
            Self::Unidentified => Kind::Unidentified,
            Self::NotListed | Self::NoRule => Kind::NotAllowed,
        }
    }

    /// The error that the caller gets. `operation` is the one that the request matched.
    pub(super) fn into_error(
        self,
        catalog: &Catalog,
        caller: &Caller,
        method: &Method,
        path: &str,
        operation: Option<&Operation>,
    ) -> Error {
        let detail = match (self, caller) {
            (Self::NoOperation, _) => catalog.why_unknown(method, path),
            (Self::Unidentified, _) => unidentified(caller.proof()),
            (Self::NotListed, Caller::Known { rule: Some(rule), .. }) => match operation {
                Some(operation) => not_listed(rule, operation),
                None => no_operation(rule, &catalog.why_unknown(method, path)),
            },
            (Self::NotListed | Self::NoRule, _) => {
                let name = caller.name().map_or("", |name| &**name);
                format!("no `[[callers]]` entry is named `{name}`, so nothing says what it may do")
            }
        };
        Error::new(self.kind(), detail)
    }
}

fn not_listed(rule: &CallerRule, operation: &Operation) -> String {
    format!("{}; `{}` is not among them", allowed(rule), operation.name())
}

fn no_operation(rule: &CallerRule, why: &str) -> String {
    format!("{}; what matches no operation needs `*`; {why}", allowed(rule))
}

/// `` `allow` of the caller `app` lists `subtenant.*`, `*.get` ``
fn allowed(rule: &CallerRule) -> String {
    format!("`allow` of the caller `{}` lists {}", rule.name, listed(&rule.allow))
}

/// `` `subtenant.*`, `*.get` ``
pub(super) fn listed(patterns: &[impl Display]) -> String {
    let shown: Vec<_> =
        patterns.iter().take(MOST_PATTERNS).map(|pattern| format!("`{pattern}`")).collect();
    match (shown.is_empty(), patterns.len().saturating_sub(shown.len())) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn unidentified(proof: &Proof) -> String {
    match proof {
        Proof::UnixPeer { uid, .. } => format!(
            "the connection shows the uid {uid}, and no `[[callers]]` entry has `unix_uids = [{uid}]`"
        ),
        Proof::UnmappedPeer { uid, .. } => format!(
            "the connection shows the uid {uid}, which stands for every user whom the gateway's user namespace \
             does not map; run the gateway without that namespace (systemd: no `PrivateUsers=yes`)"
        ),
        Proof::Certificate { name } => format!(
            "the connection shows a certificate for `{}`, and no single `[[callers]]` entry has the names of the \
             certificate in `tls_names`",
            shown(name)
        ),
        Proof::NamelessCertificate { certificate } => format!(
            "the connection shows a certificate without a URI or DNS name ({}), and only such names identify a \
             caller",
            shown(certificate)
        ),
        Proof::Gateway | Proof::Listener => {
            "the connection shows nothing of the caller, and its listener gives it no name \
             (`caller`)"
                .to_owned()
        }
    }
}

/// A text of a certificate, whose issuer may have let anything into it. The log is read on terminals.
fn shown(text: &str) -> String {
    text.chars().take(LONGEST_NAME).flat_map(char::escape_debug).collect()
}

/// The characters of a name that are shown.
const LONGEST_NAME: usize = 256;
/// More of a long list does not help.
const MOST_PATTERNS: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::CallerLimits,
        proxy::stages::authorize::{Access, CallerLimiters, Mode, Policy, Unmatched},
    };

    const LIST: &str = "/accounts/users/customer/tenant/list/";

    fn caller(allow: &[&str]) -> Caller {
        let rule = CallerRule {
            name: "app".into(),
            unix_uids: Vec::new(),
            tls_names: Vec::new(),
            allow: allow.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            profile: None,
            profiles: Vec::new(),
            forward: Vec::new(),
            limits: CallerLimits::default(),
        };
        Caller::Known { rule: Some(Arc::new(rule)), name: "app".into(), proof: Proof::Listener }
    }

    fn told(unmatched: Unmatched, caller: &Caller, path: &str) -> (Kind, String) {
        let policy = Policy {
            catalog: Arc::new(Catalog::new([]).unwrap()),
            unidentified: Access::Deny,
            unmatched,
            mode: Mode::Enforce,
            limits: CallerLimiters::default(),
        };
        let error = policy.refusal(caller, &Method::GET, path).unwrap();
        (error.kind(), error.detail().to_owned())
    }

    #[test]
    fn a_caller_learns_what_it_may_do_and_what_it_asked_for() {
        let many: Vec<_> = (0..10).map(|number| format!("entity{number}.get")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let eight = (0..8).map(|number| format!("`entity{number}.get`")).collect::<Vec<_>>();
        for (allow, text) in [
            (
                &["subtenant.*", "*.get"][..],
                "lists `subtenant.*`, `*.get`; `tenant.list` is not among them",
            ),
            (&[], "lists nothing; `tenant.list` is not among them"),
            (
                &many,
                &*format!("lists {} and 2 more; `tenant.list` is not among them", eight.join(", ")),
            ),
        ] {
            let said = told(Unmatched::Deny, &caller(allow), LIST);
            assert_eq!(said, (Kind::NotAllowed, format!("`allow` of the caller `app` {text}")));
        }
        let unruled = Caller::Known { rule: None, name: "edge".into(), proof: Proof::Listener };
        let (kind, said) = told(Unmatched::Deny, &unruled, LIST);
        assert_eq!(kind, Kind::NotAllowed);
        assert_eq!(said, "no `[[callers]]` entry is named `edge`, so nothing says what it may do");
    }

    #[test]
    fn a_request_without_an_operation_is_told_the_nearest() {
        let missing = LIST.trim_end_matches('/');
        let near = "no operation has this path; did you mean `/accounts/users/customer/tenant/list/` \
                    (`tenant.list`)? The last `/` counts";
        let said = told(Unmatched::Deny, &caller(&[]), missing);
        assert_eq!(said, (Kind::OperationUnknown, near.to_owned()));
        let (kind, said) = told(Unmatched::Forward, &caller(&["tenant.*"]), missing);
        assert_eq!(kind, Kind::NotAllowed);
        let own =
            "`allow` of the caller `app` lists `tenant.*`; what matches no operation needs `*`";
        assert_eq!(said, format!("{own}; {near}"));
    }

    #[test]
    fn an_unidentified_caller_is_told_what_was_seen() {
        for (proof, seen) in [
            (Proof::UnixPeer { uid: 1000, gid: 5, pid: None }, "the uid 1000, and no"),
            (
                Proof::UnmappedPeer { uid: 65534, gid: 5, pid: None },
                "the uid 65534, which stands for",
            ),
            (Proof::Certificate { name: "spiffe://corp/evil".into() }, "for `spiffe://corp/evil`"),
            (Proof::NamelessCertificate { certificate: "serial=7".into() }, "(serial=7)"),
            (Proof::Certificate { name: "a\n\u{1b}[2J".into() }, "for `a\\n\\u{1b}[2J`"),
            (Proof::Listener, "nothing of the caller"),
        ] {
            let (kind, said) = told(Unmatched::Deny, &Caller::Unidentified { proof }, LIST);
            assert_eq!(kind, Kind::Unidentified);
            assert!(said.starts_with("the connection shows ") && said.contains(seen), "{said}");
        }
    }
}
