//! Tells a request to its activation by the seven values.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::HeaderMap;
use parking_lot::RwLock;

use crate::credentials::{self, Accepted, Credentials, CredentialsError};

use super::{
    activation::Activation,
    counts::Outcome,
    member::{Keys, Member, OldSecret},
};

/// The activations of a mock.
#[derive(Debug)]
pub(crate) struct Activations {
    /// Those at the start, for a reset.
    start: Vec<Activation>,
    table: RwLock<Table>,
    mixed: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    members: BTreeMap<Arc<str>, Arc<Member>>,
    /// The activation of each set that is accepted.
    by_credentials: HashMap<Credentials, Arc<Member>>,
    /// The activation that takes what no other does.
    open: Option<Arc<Member>>,
}

/// Why a request belongs to no activation.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: CredentialsError,
    /// Whether it had values of several activations.
    pub(crate) mixed: bool,
}

impl Activations {
    pub(crate) fn new(start: Vec<Activation>) -> Self {
        let mut table = Table::default();
        for activation in &start {
            table.add(activation.clone());
        }
        Self { start, table: RwLock::new(table), mixed: AtomicU64::new(0) }
    }

    /// The activation whose values the request has. Counts the request.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<Arc<Member>, Refusal> {
        let table = self.table.read();
        let sent = Credentials::read(headers);
        let member = sent.as_ref().ok().and_then(|sent| table.find(sent));
        if let Some(member) = member {
            member.arrived(Outcome::Accepted, sent.as_ref().ok());
            return Ok(Arc::clone(member));
        }
        let mixed = table.refuse(headers, sent.as_ref().ok());
        if mixed {
            self.mixed.fetch_add(1, Ordering::Relaxed);
        }
        Err(Refusal { error: sent.err().unwrap_or(CredentialsError::Wrong), mixed })
    }

    /// How many requests had values of several activations.
    pub(crate) fn mixed(&self) -> u64 {
        self.mixed.load(Ordering::Relaxed)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Member>> {
        self.table.read().members.get(name).map(Arc::clone)
    }

    /// All of them, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Member>> {
        self.table.read().members.values().map(Arc::clone).collect()
    }

    /// Adds an activation. One with the same name keeps its objects and accepts what the new one does.
    pub(crate) fn add(&self, activation: Activation) -> Arc<Member> {
        self.table.write().add(activation)
    }

    pub(crate) fn accept(&self, member: &Arc<Member>, accepted: Accepted) {
        self.change(member, |keys| keys.accept(accepted));
    }

    pub(crate) fn rotate(&self, member: &Arc<Member>, old: OldSecret) -> Credentials {
        self.change(member, |keys| keys.rotate(member.name(), old))
    }

    pub(crate) fn refuse_old(&self, member: &Arc<Member>) {
        self.change(member, Keys::refuse_old);
    }

    pub(crate) fn revoke(&self, member: &Arc<Member>, revoked: bool) {
        self.change(member, |keys| keys.revoked = revoked);
    }

    fn change<T>(&self, member: &Arc<Member>, change: impl FnOnce(&mut Keys) -> T) -> T {
        let mut table = self.table.write();
        let outcome = change(&mut member.keys.lock());
        table.index(member);
        outcome
    }

    /// Restores the activations to those at the start, and forgets the counts.
    pub(crate) fn reset(&self) {
        let mut table = self.table.write();
        let before = std::mem::take(&mut *table);
        for activation in &self.start {
            match before.members.get(activation.name()) {
                Some(member) => {
                    let (name, accepted) = activation.clone().into_parts();
                    *member.keys.lock() = Keys::new(accepted);
                    member.reset();
                    table.members.insert(name, Arc::clone(member));
                    table.index(member);
                }
                None => drop(table.add(activation.clone())),
            }
        }
        self.mixed.store(0, Ordering::Relaxed);
    }
}

impl Table {
    fn add(&mut self, activation: Activation) -> Arc<Member> {
        let member = match self.members.get(activation.name()) {
            Some(member) => {
                member.keys.lock().accept(activation.into_parts().1);
                Arc::clone(member)
            }
            None => Arc::new(Member::new(activation)),
        };
        self.members.insert(Arc::clone(member.name()), Arc::clone(&member));
        self.index(&member);
        member
    }

    /// Notes anew by which sets a member is found; its credentials have changed.
    fn index(&mut self, member: &Arc<Member>) {
        let is_member = |other: &Arc<Member>| Arc::ptr_eq(other, member);
        if !self.members.values().any(is_member) {
            return;
        }
        self.by_credentials.retain(|_, other| !is_member(other));
        self.open.take_if(|other| is_member(other));
        let keys = member.keys.lock();
        match &keys.accepted {
            _ if keys.revoked => {}
            Accepted::Anything => self.open = Some(Arc::clone(member)),
            Accepted::OneOf(sets) => {
                let sets = sets.iter().map(|set| (set.clone(), Arc::clone(member)));
                self.by_credentials.extend(sets);
            }
        }
    }

    fn find(&self, sent: &Credentials) -> Option<&Arc<Member>> {
        self.by_credentials.get(sent).or(self.open.as_ref())
    }

    /// Counts a refused request at the activations whose values it has. Returns whether there are
    /// several, so that no activation has all the values that are known.
    fn refuse(&self, headers: &HeaderMap, sent: Option<&Credentials>) -> bool {
        let values: Vec<_> = credentials::values_in(headers).collect();
        let mut holders: Vec<Vec<&Arc<Member>>> = Vec::with_capacity(values.len());
        for (scheme, value) in values {
            let holds = |member: &&Arc<Member>| member.keys.lock().has(scheme, value);
            let of_value: Vec<_> = self.members.values().filter(holds).collect();
            if !of_value.is_empty() {
                holders.push(of_value);
            }
        }
        let among = |member: &Arc<Member>, of_value: &[&Arc<Member>]| {
            of_value.iter().any(|other| Arc::ptr_eq(other, member))
        };
        let Some(first) = holders.first() else { return false };
        let has_all = |member: &&&Arc<Member>| holders.iter().all(|it| among(member, it));
        let whose: Vec<_> = first.iter().filter(has_all).collect();
        match whose.as_slice() {
            [] => {
                // A value that several share does not say which of them is meant.
                let own = self
                    .members
                    .values()
                    .filter(|member| holders.iter().any(|it| it.len() == 1 && among(member, it)));
                own.for_each(|member| member.arrived(Outcome::Mixed, sent));
                true
            }
            [member] => {
                member.arrived(Outcome::Wrong, sent);
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::{activations::ActivationCounts, credentials::SecurityScheme};

    fn acme_and_beta() -> Activations {
        Activations::new(vec![Activation::made_up("acme"), Activation::made_up("beta")])
    }

    fn headers(credentials: &Credentials) -> HeaderMap {
        let mut headers = HeaderMap::new();
        credentials.write_to(&mut headers);
        headers
    }

    fn of(name: &str) -> HeaderMap {
        headers(Activation::made_up(name).credentials().unwrap())
    }

    fn admitted(activations: &Activations, headers: &HeaderMap) -> Option<String> {
        activations.admit(headers).ok().map(|member| member.name().to_string())
    }

    fn counts(activations: &Activations, name: &str) -> ActivationCounts {
        activations.get(name).unwrap().counts()
    }

    #[test]
    fn a_request_belongs_to_the_activation_of_its_seven_values() {
        let activations = acme_and_beta();
        assert_eq!(admitted(&activations, &of("acme")).unwrap(), "acme");
        assert_eq!(admitted(&activations, &of("beta")).unwrap(), "beta");
        assert_eq!(admitted(&activations, &of("gamma")), None);
        assert_eq!(admitted(&activations, &HeaderMap::new()), None);
        activations.add(Activation::made_up("gamma"));
        assert_eq!(admitted(&activations, &of("gamma")).unwrap(), "gamma");
        let names: Vec<_> = activations.all().iter().map(|it| it.name().to_string()).collect();
        assert_eq!(names, ["acme", "beta", "gamma"]);
        assert_eq!(counts(&activations, "acme").accepted, 1);
        assert_eq!(activations.mixed(), 0);
    }

    #[test]
    fn each_of_the_seven_is_needed_once_with_its_value() {
        for scheme in SecurityScheme::ALL {
            let activations = Activations::new(vec![Activation::made_up("acme")]);
            let anything = Activations::new(vec![Activation::new("any", Accepted::Anything)]);
            let mut headers = of("acme");
            headers.remove(scheme.header());
            let refusal = activations.admit(&headers).unwrap_err();
            assert!(refusal.error.to_string().contains(scheme.header().as_str()));
            assert!(anything.admit(&headers).is_err());

            headers.insert(scheme.header(), HeaderValue::from_static("another"));
            let refusal = activations.admit(&headers).unwrap_err();
            assert!(!refusal.error.to_string().contains("another"));
            assert!(anything.admit(&headers).is_ok());

            let underscored = scheme.header().as_str().replace('-', "_");
            for again in [scheme.header(), HeaderName::try_from(underscored).unwrap()] {
                let mut headers = of("acme");
                headers.append(again, HeaderValue::from_static("again"));
                assert!(activations.admit(&headers).is_err(), "{scheme}");
            }
            let counts = counts(&activations, "acme");
            assert_eq!((counts.wrong, counts.mixed, counts.requests), (4, 0, 4), "{scheme}");
        }
    }

    /// Every way to take some of the seven from one activation and the others from another.
    #[test]
    fn every_mix_of_two_activations_is_refused_and_counted() {
        let activations = acme_and_beta();
        let beta = of("beta");
        for taken in 1..0b111_1111_u8 {
            let mut headers = of("acme");
            for (place, scheme) in SecurityScheme::ALL.iter().enumerate() {
                if taken & (1 << place) != 0 {
                    headers.insert(scheme.header(), beta[scheme.header()].clone());
                }
            }
            let refusal = activations.admit(&headers).unwrap_err();
            assert_eq!(
                (refusal.error, refusal.mixed),
                (CredentialsError::Wrong, true),
                "{taken:b}"
            );
        }
        assert_eq!(activations.mixed(), 126);
        for name in ["acme", "beta"] {
            let counts = counts(&activations, name);
            assert_eq!((counts.mixed, counts.wrong, counts.accepted), (126, 0, 0));
        }
    }

    #[test]
    fn a_mix_is_seen_in_incomplete_and_repeated_values_too() {
        let activations = acme_and_beta();
        let customer = SecurityScheme::CUSTOMER_ID.header();
        let mut repeated = of("acme");
        repeated.append(customer.clone(), of("beta")[&customer].clone());
        assert!(activations.admit(&repeated).unwrap_err().mixed);
        let mut incomplete = of("acme");
        incomplete.remove(SecurityScheme::SERVICE_ID.header());
        assert!(!activations.admit(&incomplete).unwrap_err().mixed);
        incomplete.insert(&customer, of("beta")[&customer].clone());
        assert!(activations.admit(&incomplete).unwrap_err().mixed);
        assert_eq!(activations.mixed(), 2);
    }

    /// An integrator has one application and service for all of its customers.
    #[test]
    fn values_that_activations_share_are_no_mix() {
        let with_secret =
            |secret: &str| Accepted::OneOf(vec![Credentials::made_up_with_secret(secret).unwrap()]);
        let activations = Activations::new(vec![
            Activation::new("one", with_secret("made-up-one")),
            Activation::new("two", with_secret("made-up-two")),
        ]);
        let sent = |secret: &str| headers(&Credentials::made_up_with_secret(secret).unwrap());
        assert_eq!(admitted(&activations, &sent("made-up-one")).unwrap(), "one");
        assert_eq!(admitted(&activations, &sent("made-up-two")).unwrap(), "two");
        assert!(!activations.admit(&sent("made-up-three")).unwrap_err().mixed);
        assert_eq!(counts(&activations, "one").wrong, 0, "nobody knows whose it was");
    }

    #[test]
    fn a_rotated_secret_is_refused_or_overlaps() {
        let activations = acme_and_beta();
        let acme = activations.get("acme").unwrap();
        let second = headers(&activations.rotate(&acme, OldSecret::Refused));
        assert_eq!(admitted(&activations, &of("acme")), None);
        assert_eq!(admitted(&activations, &second).unwrap(), "acme");
        assert_eq!(acme.counts().wrong, 1, "the old secret is still known as its own");

        let third = headers(&activations.rotate(&acme, OldSecret::Accepted));
        for overlapping in [&second, &third] {
            assert_eq!(admitted(&activations, overlapping).unwrap(), "acme");
        }
        activations.refuse_old(&acme);
        assert_eq!(admitted(&activations, &second), None);
        assert_eq!(admitted(&activations, &third).unwrap(), "acme");
        assert_eq!(admitted(&activations, &of("beta")).unwrap(), "beta");

        let mut old_secret_of_acme = of("beta");
        let secret = SecurityScheme::CLIENT_SECRET.header();
        old_secret_of_acme.insert(&secret, second[&secret].clone());
        assert!(activations.admit(&old_secret_of_acme).unwrap_err().mixed);
    }

    #[test]
    fn a_revoked_activation_is_refused_until_it_is_restored() {
        let activations = acme_and_beta();
        let acme = activations.get("acme").unwrap();
        activations.revoke(&acme, true);
        assert_eq!(admitted(&activations, &of("acme")), None);
        let rotated = headers(&activations.rotate(&acme, OldSecret::Refused));
        assert_eq!(admitted(&activations, &rotated), None, "a new secret restores nothing");
        assert_eq!(admitted(&activations, &of("beta")).unwrap(), "beta");
        activations.revoke(&acme, false);
        assert_eq!(admitted(&activations, &rotated).unwrap(), "acme");
    }

    #[test]
    fn the_sets_that_arrived_are_kept() {
        let activations = acme_and_beta();
        let acme = activations.get("acme").unwrap();
        let first = acme.credentials().unwrap();
        let second = activations.rotate(&acme, OldSecret::Accepted);
        for set in [&first, &second, &second] {
            activations.admit(&headers(set)).unwrap();
        }
        assert_eq!(acme.arrived_sets(), [(first, 1), (second, 2)]);
        assert!(activations.get("beta").unwrap().arrived_sets().is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let activations = acme_and_beta();
        let acme = activations.get("acme").unwrap();
        for _ in 0..200 {
            let rotated = activations.rotate(&acme, OldSecret::Refused);
            activations.admit(&headers(&rotated)).unwrap();
        }
        assert_eq!(acme.arrived_sets().len(), 64);
        assert_eq!(activations.table.read().by_credentials.len(), 2);
        assert!(format!("{:?}", acme.keys.lock()).len() < 10_000);
    }

    #[test]
    fn a_reset_restores_the_start() {
        let activations = acme_and_beta();
        let acme = activations.get("acme").unwrap();
        activations.rotate(&acme, OldSecret::Refused);
        activations.revoke(&acme, true);
        activations.add(Activation::made_up("gamma"));
        activations.reset();
        assert_eq!(admitted(&activations, &of("acme")).unwrap(), "acme");
        assert_eq!(admitted(&activations, &of("gamma")), None);
        assert_eq!(
            acme.counts(),
            ActivationCounts { requests: 1, accepted: 1, ..Default::default() }
        );
    }
}
