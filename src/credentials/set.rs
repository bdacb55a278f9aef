//! The seven values of a credential set, which are one thing with one version.

use std::{array, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::secret::{SecretText, SecretTextError};

/// One of the seven values Pigello wants on every call, by the name of its security scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueName {
    /// Which customer of Pigello is called.
    CustomerId,
    /// The registered application.
    ApplicationId,
    /// The service below it.
    ServiceId,
    /// The version of the service that the customer activated.
    ServiceVersionId,
    /// The content type of the object the integration is activated on.
    ClientCt,
    /// The identifier of that object.
    ClientObjectId,
    /// The secret of that activation; the only secret of the seven.
    ClientSecret,
}

impl ValueName {
    /// The seven.
    pub const ALL: [Self; 7] = [
        Self::CustomerId,
        Self::ApplicationId,
        Self::ServiceId,
        Self::ServiceVersionId,
        Self::ClientCt,
        Self::ClientObjectId,
        Self::ClientSecret,
    ];

    /// The name in every source: a configuration key, a file's name, a field in a vault.
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

    /// The header Pigello reads it from (Pigello Core API reference, security schemes).
    pub const fn header(self) -> HeaderName {
        match self {
            Self::CustomerId => HeaderName::from_static("x-pigello-customer-id"),
            Self::ApplicationId => HeaderName::from_static("x-pigello-application-id"),
            Self::ServiceId => HeaderName::from_static("x-pigello-service-id"),
            Self::ServiceVersionId => HeaderName::from_static("x-pigello-service-version-id"),
            Self::ClientCt => HeaderName::from_static("x-pigello-client-ct"),
            // Scheme and header differ here; the other six pair by name.
            Self::ClientObjectId => HeaderName::from_static("x-pigello-client-entity"),
            Self::ClientSecret => HeaderName::from_static("x-pigello-client-secret"),
        }
    }

    /// Whether the value may stand in a configuration file.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::ClientSecret)
    }

    /// The value with that key.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.key() == key)
    }
}

impl fmt::Display for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// The version of a credential set as its source names it: `7` in a vault, a date in a mounted
/// folder. Safe to print.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SetVersion(Arc<str>);

impl SetVersion {
    /// Takes the source's own name for the version.
    pub fn new(version: impl Into<Arc<str>>) -> Self {
        Self(version.into())
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version, shared.
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

/// Seven values of one version, ready to be sent. It never changes: a rotation makes a new one.
pub struct CredentialSet {
    version: SetVersion,
    values: [SecretText; 7],
    headers: [(HeaderName, HeaderValue); 7],
}

impl CredentialSet {
    /// Puts a set together. Every value must be there: a request with six headers is never sent.
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

    /// The same values under another name for their version.
    pub(super) fn with_version(self, version: SetVersion) -> Self {
        Self { version, ..self }
    }

    /// The version all seven belong to.
    pub fn version(&self) -> &SetVersion {
        &self.version
    }

    /// One of the values.
    pub fn value(&self, name: ValueName) -> &SecretText {
        let [first, ..] = &self.values;
        // `ValueName` and `values` have the same seven places.
        self.values.get(name as usize).unwrap_or(first)
    }

    /// Writes the seven values, once each, over whatever stood under their names.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
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

/// The values found so far.
#[derive(Debug, Default)]
pub struct PartialSet([Option<SecretText>; 7]);

impl PartialSet {
    /// Nothing yet.
    pub fn new() -> Self {
        Self(array::from_fn(|_| None))
    }

    /// Adds a value, over one that was there.
    pub fn insert(&mut self, name: ValueName, value: SecretText) {
        if let Some(place) = self.0.get_mut(name as usize) {
            *place = Some(value);
        }
    }

    /// A value that was found.
    pub fn get(&self, name: ValueName) -> Option<&SecretText> {
        self.0.get(name as usize).and_then(Option::as_ref)
    }

    /// Takes a value out.
    pub fn take(&mut self, name: ValueName) -> Option<SecretText> {
        self.0.get_mut(name as usize).and_then(Option::take)
    }
}

/// Why seven values do not make a set. Names values, never shows them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncompleteSet {
    /// Values that are nowhere.
    #[error("missing: {}", list(.0))]
    Missing(Vec<ValueName>),
    /// A value that cannot be sent.
    #[error("`{name}` {problem}")]
    Invalid {
        /// Which one.
        name: ValueName,
        /// What is wrong with it.
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
    fn six_values_are_no_set() {
        let mut values = partial();
        values.take(ValueName::ServiceId);
        let error = CredentialSet::new(SetVersion::new("7"), values).unwrap_err();
        assert_eq!(error, IncompleteSet::Missing(vec![ValueName::ServiceId]));
        assert_eq!(error.to_string(), "missing: `service_id`");
    }
}
