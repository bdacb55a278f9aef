//! Identifies the caller of a request.
//!
//! The connection proves the caller: a listener can be bound to one, the peer of a Unix socket has a
//! user id, the owner of a client certificate has a name in it. No header field counts. A peer that
//! the configuration does not name is [`Caller::Unidentified`], and the policy decides about it. So is
//! a peer with the kernel's overflow id, which stands for many users, whatever the configuration says.

use std::{
    collections::HashMap,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering},
    },
};

use super::shared::transition::{Transition, TransitionLayer};
use crate::{
    domain::{Caller, CallerRule, LabelValue, Peer, Proof},
    error::Error,
    process::users,
    proxy::call::{Connection, Identified, Opened},
};

/// Identifies the caller by its connection.
pub fn identify(schemes: impl Into<Arc<Schemes>>) -> TransitionLayer<Arc<Schemes>> {
    TransitionLayer(schemes.into())
}

/// The proofs that one listener accepts.
#[derive(Debug)]
pub struct Schemes {
    /// Differs after each reload.
    number: u64,
    bound: Option<Arc<Caller>>,
    by_certificate: HashMap<Arc<str>, Arc<CallerRule>>,
    by_uid: HashMap<u32, Arc<CallerRule>>,
}

impl Schemes {
    /// `bound` is the caller of the listener itself; `rules` are the `[[callers]]`.
    pub fn new(bound: Option<Arc<str>>, rules: &[Arc<CallerRule>]) -> Self {
        let mut by_certificate = HashMap::new();
        let mut by_uid = HashMap::new();
        for rule in rules {
            for name in &rule.tls_names {
                by_certificate.insert(Arc::clone(name), Arc::clone(rule));
            }
            for uid in &rule.unix_uids {
                by_uid.insert(*uid, Arc::clone(rule));
            }
        }
        let bound = bound.map(|name| {
            let name = LabelValue::from(name);
            let rule = rules.iter().find(|rule| rule.name == name).cloned();
            Arc::new(Caller::Known { rule, name, proof: Proof::Listener })
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, bound, by_certificate, by_uid }
    }

    fn identify(&self, connection: &Connection) -> Arc<Caller> {
        if let Some(bound) = &self.bound {
            return Arc::clone(bound);
        }
        let mut by_certificate = connection
            .tls_names()
            .iter()
            .filter_map(|name| Some((name, self.by_certificate.get(name)?)));
        if let Some((name, rule)) = by_certificate.next() {
            let proof = Proof::Certificate { name: Arc::clone(name) };
            // A certificate with the names of two callers proves neither of them.
            return if by_certificate.all(|(_, other)| Arc::ptr_eq(rule, other)) {
                known(rule, proof)
            } else {
                Arc::new(Caller::Unidentified { proof })
            };
        }
        let proof = match connection.peer() {
            Peer::Unix { uid, gid, pid } if users::is_overflow(uid) => {
                warn_of_unmapped_peers(uid);
                Proof::UnmappedPeer { uid, gid, pid }
            }
            Peer::Unix { uid, gid, pid } => {
                let proof = Proof::UnixPeer { uid, gid, pid };
                match self.by_uid.get(&uid) {
                    Some(rule) => return known(rule, proof),
                    None => proof,
                }
            }
            Peer::Tcp(_) => match (connection.tls_names().first(), connection.certificate()) {
                (Some(name), _) => Proof::Certificate { name: Arc::clone(name) },
                (None, Some(certificate)) => {
                    Proof::NamelessCertificate { certificate: Arc::clone(certificate) }
                }
                (None, None) => Proof::Listener,
            },
        };
        Arc::new(Caller::Unidentified { proof })
    }
}

/// Says once why such callers are not identified: each of their calls has its record.
fn warn_of_unmapped_peers(uid: u32) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            uid,
            "a caller on a Unix socket has the kernel's overflow user id: the gateway runs in a user \
             namespace that does not map the caller's user, so it cannot tell who calls; run the gateway \
             without that namespace (systemd: no PrivateUsers=yes; containers: the host's user namespace)"
        );
    });
}

fn known(rule: &Arc<CallerRule>, proof: Proof) -> Arc<Caller> {
    let name = rule.name.clone();
    Arc::new(Caller::Known { rule: Some(Arc::clone(rule)), name, proof })
}

impl Transition<Opened> for Schemes {
    type Next = Identified;

    fn advance(&self, opened: Opened) -> Result<Identified, Error> {
        let Opened { request, connection, context } = opened;
        let caller = connection.caller(self.number, || self.identify(&connection));
        context.note(|facts| facts.caller = Some(Arc::clone(&caller)));
        Ok(Identified { request, connection, context, caller })
    }
}

/// The number of the next [`Schemes`].
static NEXT: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::CallerLimits, proxy::call::PeerCertificate};

    fn rules() -> Vec<Arc<CallerRule>> {
        let rule = |name: &str, unix_uids: Vec<u32>, tls_names: &[&str]| {
            let tls_names = tls_names.iter().map(|name| Arc::from(*name)).collect();
            Arc::new(CallerRule {
                name: name.into(),
                unix_uids,
                tls_names,
                allow: Vec::new(),
                profile: None,
                profiles: Vec::new(),
                forward: Vec::new(),
                limits: CallerLimits::default(),
            })
        };
        vec![
            // The configuration refuses the overflow id; here it is, and still proves nobody.
            rule("billing", vec![1001, 1002, 65534], &["spiffe://corp/billing"]),
            rule("portal", vec![1003], &["portal.corp"]),
        ]
    }

    fn identify(bound: Option<&str>, peer: Peer, names: &[&str]) -> (Option<String>, Proof) {
        let names: Vec<_> = names.iter().map(|name| Arc::from(*name)).collect();
        let caller =
            Schemes::new(bound.map(Into::into), &rules()).identify(&Connection::new(peer, names));
        (caller.name().map(ToString::to_string), caller.proof().clone())
    }

    #[test]
    fn each_proof_names_its_caller() {
        let unix = |uid| Peer::Unix { uid, gid: 5, pid: Some(7) };
        let tcp = Peer::Tcp("127.0.0.1:5".parse().unwrap());
        let unix_proof = |uid| Proof::UnixPeer { uid, gid: 5, pid: Some(7) };
        let certificate = |name: &str| Proof::Certificate { name: name.into() };
        for (found, caller, proof) in [
            (identify(Some("edge"), tcp, &[]), Some("edge"), Proof::Listener),
            (identify(None, unix(1002), &[]), Some("billing"), unix_proof(1002)),
            (identify(None, unix(1003), &[]), Some("portal"), unix_proof(1003)),
            (identify(None, unix(0), &[]), None, unix_proof(0)),
            (
                identify(None, unix(65534), &[]),
                None,
                Proof::UnmappedPeer { uid: 65534, gid: 5, pid: Some(7) },
            ),
            (identify(None, tcp, &[]), None, Proof::Listener),
            (
                identify(None, tcp, &["x", "portal.corp"]),
                Some("portal"),
                certificate("portal.corp"),
            ),
            (identify(None, tcp, &["portal.corp.evil"]), None, certificate("portal.corp.evil")),
            // A certificate of two callers is nobody's.
            (
                identify(None, tcp, &["portal.corp", "spiffe://corp/billing"]),
                None,
                certificate("portal.corp"),
            ),
        ] {
            assert_eq!(found, (caller.map(ToOwned::to_owned), proof));
        }
    }

    #[test]
    fn a_certificate_without_a_name_is_told_by_serial_and_subject() {
        let tcp = Peer::Tcp("127.0.0.1:5".parse().unwrap());
        let certificate: Arc<str> = "serial=0a subject=CN=app".into();
        let connection = Connection::new(
            tcp,
            PeerCertificate { names: Vec::new(), described: Some(Arc::clone(&certificate)) },
        );
        let caller = Schemes::new(None, &rules()).identify(&connection);
        assert!(caller.name().is_none());
        assert_eq!(*caller.proof(), Proof::NamelessCertificate { certificate });
        assert_eq!(caller.proof().to_string(), "nameless certificate serial=0a subject=CN=app");
    }
}
