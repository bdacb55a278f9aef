//! The seven values of a credential set, which have one version and are sent together.

mod builder;
mod identifiers;
mod json;

pub(super) use self::{
    builder::SetBuilder,
    json::{ValueFromJson, ValuesFromJson},
};
pub use self::{
    builder::{ValueProblem, ValueProblems, ValueTrouble},
    identifiers::{IdentifierError, Identifiers},
};

use std::{array, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    fleet::Identity,
    secret::{SecretText, SecretTextError},
};

/// One of the seven values that Pigello requires on every call, named by its security scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueName {
    /// The customer of Pigello.
    CustomerId,
    /// The registered application.
    ApplicationId,
    /// The service of that application.
    ServiceId,
    /// The version of the service that the customer activated.
    ServiceVersionId,
    /// The content type of the object that the integration is activated on.
    ClientCt,
    /// The identifier of that object.
    ClientObjectId,
    /// The secret of that activation; the only secret of the seven.
    ClientSecret,
}

impl ValueName {
    /// All seven, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::CustomerId,
        Self::ApplicationId,
        Self::ServiceId,
        Self::ServiceVersionId,
        Self::ClientCt,
        Self::ClientObjectId,
        Self::ClientSecret,
    ];

    /// The name in every source: a configuration key, a file name, a field in a vault.
    pub const fn key(self) -> &'static str {
        match self {
            Self::CustomerId => "customer_id",
            Self::ApplicationId => "application_id",
            Self::ServiceId => "service_id",
            Self::ServiceVersionId => "service_version_id",
            Self::ClientCt => "client_ct",
            Self::ClientObjectId => "client_object_id",
            Self::ClientSecret => "client_secret",
        }
    }

    /// The header that carries it (Pigello Core API reference, security schemes).
    pub const fn header(self) -> HeaderName {
        match self {
            Self::CustomerId => HeaderName::from_static("x-pigello-customer-id"),
            Self::ApplicationId => HeaderName::from_static("x-pigello-application-id"),
            Self::ServiceId => HeaderName::from_static("x-pigello-service-id"),
            Self::ServiceVersionId => HeaderName::from_static("x-pigello-service-version-id"),
            Self::ClientCt => HeaderName::from_static("x-pigello-client-ct"),
            // The only header that is not named like its scheme.
            Self::ClientObjectId => HeaderName::from_static("x-pigello-client-entity"),
            Self::ClientSecret => HeaderName::from_static("x-pigello-client-secret"),
        }
    }

    /// Whether it is a secret, which a configuration file must not hold.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::ClientSecret)
    }

    /// The value with that key, if it is one of the seven.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.key() == key)
    }
}

impl fmt::Display for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// The version of a credential set as its source names it, such as `7` in a vault or a date in a
/// folder. It may be printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SetVersion(Arc<str>);

impl SetVersion {
    /// A version with the name that the source gives it.
    pub fn new(version: impl Into<Arc<str>>) -> Self {
        Self(version.into())
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version as shared text.
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Seven values of one version, ready to be sent. It never changes: a rotation makes a new set.
pub struct CredentialSet {
    version: SetVersion,
    values: [SecretText; 7],
    headers: [(HeaderName, HeaderValue); 7],
}

impl CredentialSet {
    /// Makes a set. Fails if a value is missing, because a request needs all seven.
    pub fn new(version: SetVersion, mut values: PartialSet) -> Result<Self, IncompleteSet> {
        let missing: Vec<_> =
            ValueName::ALL.into_iter().filter(|name| values.get(*name).is_none()).collect();
        let mut headers = Vec::with_capacity(7);
        let mut taken = Vec::with_capacity(7);
        for name in ValueName::ALL {
            if let Some(value) = values.take(name) {
                match value.to_header_value() {
                    Ok(header) => headers.push((name.header(), header)),
                    Err(problem) => return Err(IncompleteSet::Invalid { name, problem }),
                }
                taken.push(value);
            }
        }
        match (headers.try_into(), taken.try_into()) {
            (Ok(headers), Ok(values)) => Ok(Self { version, values, headers }),
            _ => Err(IncompleteSet::Missing(missing)),
        }
    }

    /// Identifies the seven values by their content, without a word of it.
    pub fn identify(&self, identity: &mut Identity) {
        for value in &self.values {
            value.expose_to(|text| identity.add(text.as_bytes()));
        }
    }

    /// The same values with another version.
    pub(super) fn with_version(self, version: SetVersion) -> Self {
        Self { version, ..self }
    }

    /// The version of all seven.
    pub fn version(&self) -> &SetVersion {
        &self.version
    }

    /// One of the values.
    pub fn value(&self, name: ValueName) -> &SecretText {
        let [first, ..] = &self.values;
        // Every name has an index below seven.
        self.values.get(name as usize).unwrap_or(first)
    }

    /// Sets the seven headers. Replaces all fields with these names.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// A digest of all seven, by which those who had `before` can tell whether they now have the same. Its key is
    /// the secret of `before`: nobody else can try guesses.
    pub fn fingerprint_after(&self, before: &Self) -> String {
        let mut key = before.value(ValueName::ClientSecret).fingerprint(AFTER).to_string();
        for name in ValueName::ALL {
            key = self.value(name).fingerprint(key.as_bytes()).to_string();
        }
        key
    }

    /// Whether both sets hold the same seven values.
    pub fn same_values(&self, other: &Self) -> bool {
        self.values.iter().zip(&other.values).all(|(mine, theirs)| mine.same_as(theirs))
    }
}

impl fmt::Debug for CredentialSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialSet(version {})", self.version)
    }
}

/// What the digest of the secret before is for.
const AFTER: &[u8] = b"pigello-gateway rotation 1";

/// Some of the seven values.
#[derive(Debug, Default)]
pub struct PartialSet([Option<SecretText>; 7]);

impl PartialSet {
    /// No values.
    pub fn new() -> Self {
        Self(array::from_fn(|_| None))
    }

    /// Sets a value.
    pub fn insert(&mut self, name: ValueName, value: SecretText) {
        if let Some(slot) = self.0.get_mut(name as usize) {
            *slot = Some(value);
        }
    }

    /// The value, if it is there.
    pub fn get(&self, name: ValueName) -> Option<&SecretText> {
        self.0.get(name as usize).and_then(Option::as_ref)
    }

    /// Removes and returns the value.
    pub fn take(&mut self, name: ValueName) -> Option<SecretText> {
        self.0.get_mut(name as usize).and_then(Option::take)
    }
}

/// Why values do not make a set. It names values and never shows them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncompleteSet {
    /// Values are missing.
    #[error("missing: {}", list(.0))]
    Missing(Vec<ValueName>),
    /// A value cannot be sent.
    #[error("`{name}` {problem}")]
    Invalid {
        /// The value.
        name: ValueName,
        /// The reason.
        #[source]
        problem: SecretTextError,
    },
}

fn list(names: &[ValueName]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial() -> PartialSet {
        let mut values = PartialSet::new();
        for name in ValueName::ALL {
            values.insert(name, SecretText::parse(format!("made-up-{name}").as_bytes()).unwrap());
        }
        values
    }

    #[test]
    fn a_set_writes_all_seven_once() {
        let set = CredentialSet::new(SetVersion::new("7"), partial()).unwrap();
        let mut headers = HeaderMap::new();
        headers.append("x-pigello-client-secret", HeaderValue::from_static("forged"));
        headers.append("x-pigello-client-secret", HeaderValue::from_static("forged too"));
        set.write_to(&mut headers);
        assert_eq!(headers.len(), 7);
        for name in ValueName::ALL {
            let values: Vec<_> = headers.get_all(name.header()).iter().collect();
            assert_eq!(values, [format!("made-up-{name}").as_str()]);
            assert!(values.iter().all(|value| value.is_sensitive()));
            assert_eq!(ValueName::from_key(name.key()), Some(name));
        }
        assert!(!format!("{set:?}").contains("made-up"));
    }

    #[test]
    fn a_fingerprint_is_of_the_values_and_of_the_secret_before() {
        let set = |secret: &str| {
            let mut values = partial();
            values.insert(ValueName::ClientSecret, SecretText::parse(secret.as_bytes()).unwrap());
            CredentialSet::new(SetVersion::new(secret), values).unwrap()
        };
        let (old, new, other) = (set("made-up-1"), set("made-up-2"), set("made-up-3"));
        let fingerprint = new.fingerprint_after(&old);
        assert_eq!(set("made-up-2").fingerprint_after(&set("made-up-1")), fingerprint);
        assert_ne!(other.fingerprint_after(&old), fingerprint);
        assert_ne!(new.fingerprint_after(&other), fingerprint);
        assert_eq!(fingerprint.len(), 12);
    }

    #[test]
    fn six_values_are_no_set() {
        let mut values = partial();
        values.take(ValueName::ServiceId);
        let error = CredentialSet::new(SetVersion::new("7"), values).unwrap_err();
        assert_eq!(error, IncompleteSet::Missing(vec![ValueName::ServiceId]));
        assert_eq!(error.to_string(), "missing: `service_id`");
    }
}
