//! The seven values that every call carries, and how a request spells them.
//!
//! Names are compared as Django behind WSGI does it, where `X_PIGELLO_CLIENT_SECRET` and
//! `X-PIGELLO-CLIENT-SECRET` are one variable. A second value under the other spelling is therefore
//! refused here as it would be at Pigello.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderMap, HeaderName, HeaderValue, header::InvalidHeaderValue};
use uuid::{Builder, Uuid};

/// One of the seven security schemes of Pigello's reference: a header that every call carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecurityScheme {
    key: &'static str,
    header: &'static str,
}

impl SecurityScheme {
    pub(crate) const CUSTOMER_ID: Self = Self::new("customer_id", "x-pigello-customer-id");
    pub(crate) const APPLICATION_ID: Self = Self::new("application_id", "x-pigello-application-id");
    pub(crate) const SERVICE_ID: Self = Self::new("service_id", "x-pigello-service-id");
    pub(crate) const SERVICE_VERSION_ID: Self =
        Self::new("service_version_id", "x-pigello-service-version-id");
    const CLIENT_CT: Self = Self::new("client_ct", "x-pigello-client-ct");
    // The names of this scheme and its header differ; the other six agree.
    const CLIENT_OBJECT_ID: Self = Self::new("client_object_id", "x-pigello-client-entity");
    pub(crate) const CLIENT_SECRET: Self = Self::new("client_secret", "x-pigello-client-secret");

    /// The seven.
    pub const ALL: [Self; 7] = [
        Self::CUSTOMER_ID,
        Self::APPLICATION_ID,
        Self::SERVICE_ID,
        Self::SERVICE_VERSION_ID,
        Self::CLIENT_CT,
        Self::CLIENT_OBJECT_ID,
        Self::CLIENT_SECRET,
    ];

    const fn new(key: &'static str, header: &'static str) -> Self {
        Self { key, header }
    }

    /// The name: `client_secret`.
    pub const fn key(self) -> &'static str {
        self.key
    }

    /// The header: `x-pigello-client-secret`.
    pub const fn header(self) -> HeaderName {
        HeaderName::from_static(self.header)
    }

    /// Whether the value is a secret; the other six identify.
    pub fn is_secret(self) -> bool {
        self == Self::CLIENT_SECRET
    }

    /// The scheme that a header belongs to, in either spelling.
    fn of(name: &HeaderName) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| is_spelled(name.as_str(), scheme.header))
    }
}

impl fmt::Display for SecurityScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)
    }
}

/// Made-up values, which only the mock accepts.
pub const MADE_UP_VALUES: [(SecurityScheme, &str); 7] = [
    (SecurityScheme::CUSTOMER_ID, "1f3a5c70-0000-4000-8000-00000000c001"),
    (SecurityScheme::APPLICATION_ID, "1f3a5c70-0000-4000-8000-00000000a001"),
    (SecurityScheme::SERVICE_ID, "1f3a5c70-0000-4000-8000-00000000b001"),
    (SecurityScheme::SERVICE_VERSION_ID, "1f3a5c70-0000-4000-8000-00000000b101"),
    (SecurityScheme::CLIENT_CT, "organization.company"),
    (SecurityScheme::CLIENT_OBJECT_ID, "1f3a5c70-0000-4000-8000-00000000e001"),
    (SecurityScheme::CLIENT_SECRET, "made-up-secret-that-opens-only-the-mock"),
];

/// The made-up value of one scheme, for objects that mention it.
pub(crate) fn made_up(scheme: SecurityScheme) -> &'static str {
    let value = MADE_UP_VALUES.iter().find(|(other, _)| *other == scheme);
    value.map_or("", |(_, value)| value)
}

/// Seven values that belong together. `{:?}` does not show them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credentials(
    /// In the order of [`SecurityScheme::ALL`].
    Box<[HeaderValue]>,
);

impl Credentials {
    /// [`MADE_UP_VALUES`].
    pub fn made_up() -> Self {
        Self::new(MADE_UP_VALUES.iter().map(|(_, value)| HeaderValue::from_static(value)))
    }

    /// The made-up identifiers with another secret, as after a rotation.
    pub fn made_up_with_secret(secret: &str) -> Result<Self, InvalidHeaderValue> {
        Ok(Self::made_up().with_secret(&HeaderValue::from_str(secret)?))
    }

    /// Values made up from a name: the same for the same name, and all seven others for another.
    pub(crate) fn made_up_for(name: &str) -> Self {
        Self::new(SecurityScheme::ALL.map(|scheme| {
            if scheme.is_secret() { made_up_secret(name, 0) } else { made_up_id(name, scheme.key) }
        }))
    }

    /// The same identifiers with the secret after that many rotations.
    pub(crate) fn rotated(&self, name: &str, rotations: u64) -> Self {
        self.with_secret(&made_up_secret(name, rotations))
    }

    fn with_secret(&self, secret: &HeaderValue) -> Self {
        let values = self.values();
        Self::new(values.map(
            |(scheme, value)| {
                if scheme.is_secret() { secret.clone() } else { value.clone() }
            },
        ))
    }

    /// The values in the header fields of a request. The request must have each of them once.
    pub fn read(headers: &HeaderMap) -> Result<Self, CredentialsError> {
        let sent: Vec<_> = values_in(headers).collect();
        let mut missing = Vec::new();
        let mut values = Vec::with_capacity(SecurityScheme::ALL.len());
        for scheme in SecurityScheme::ALL {
            let mut same = sent.iter().filter(|(other, _)| *other == scheme);
            match (same.next(), same.next()) {
                (None, _) => missing.push(scheme.header),
                (Some((_, value)), None) => values.push((*value).clone()),
                (Some(_), Some(_)) => return Err(CredentialsError::Repeated(scheme.header)),
            }
        }
        if missing.is_empty() {
            Ok(Self::new(values))
        } else {
            Err(CredentialsError::Missing(missing))
        }
    }

    /// Takes the seven in the order of [`SecurityScheme::ALL`].
    fn new(values: impl IntoIterator<Item = HeaderValue>) -> Self {
        Self(values.into_iter().map(sensitive).collect())
    }

    /// The seven values, each with its scheme, in the order of [`SecurityScheme::ALL`].
    pub fn values(&self) -> impl Iterator<Item = (SecurityScheme, &HeaderValue)> {
        SecurityScheme::ALL.into_iter().zip(&self.0)
    }

    /// The value of one scheme as text; empty if it is not ASCII.
    pub(crate) fn text(&self, scheme: SecurityScheme) -> &str {
        let value = self.values().find(|(other, _)| *other == scheme);
        value.and_then(|(_, value)| value.to_str().ok()).unwrap_or_default()
    }

    /// Puts the seven values into header fields, in place of others with their names.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        for (scheme, value) in self.values() {
            headers.insert(scheme.header(), value.clone());
        }
    }
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn made_up_id(name: &str, what: &str) -> HeaderValue {
    header_value(&derived_id(name, what).to_string())
}

/// The secret after that many rotations.
fn made_up_secret(name: &str, rotations: u64) -> HeaderValue {
    let id = derived_id(name, &format!("secret {rotations}"));
    header_value(&format!("made-up-secret-{}", id.simple()))
}

/// An identifier made up from the name of an activation: a hash in the form of a version 4 UUID.
pub(crate) fn derived_id(name: &str, what: &str) -> Uuid {
    let mut context = Context::new(&SHA256);
    for part in [what, "\0", name] {
        context.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(byte, hashed)| *byte = *hashed);
    Builder::from_random_bytes(bytes).into_uuid()
}

#[expect(clippy::expect_used, reason = "hexadecimal digits and hyphens are a header value")]
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("visible ASCII is a header value")
}

/// Why a request has no credentials. Names headers, never their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The request lacks these headers.
    #[error("Headers are missing: {}.", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// The request has this header more than once.
    #[error("The header {0} was sent twice.")]
    Repeated(&'static str),
    /// The mock does not accept these values together.
    #[error("The seven values do not belong together.")]
    Wrong,
}

/// The credentials that one activation accepts.
#[derive(Clone, Debug)]
pub enum Accepted {
    /// Any seven values.
    Anything,
    /// One of these, the newest last; during a rotation there are two.
    OneOf(Vec<Credentials>),
}

impl Accepted {
    /// The sets that are accepted by name, the newest last.
    pub(crate) fn sets(&self) -> &[Credentials] {
        match self {
            Self::Anything => &[],
            Self::OneOf(sets) => sets,
        }
    }
}

/// Each of Pigello's values in the header fields of a request, in either spelling.
pub(crate) fn values_in(
    headers: &HeaderMap,
) -> impl Iterator<Item = (SecurityScheme, &HeaderValue)> {
    headers.iter().filter_map(|(name, value)| Some((SecurityScheme::of(name)?, value)))
}

/// Whether a header is one of Pigello's, in either spelling.
pub(crate) fn is_pigello(name: &HeaderName) -> bool {
    const PREFIX: &str = "x-pigello-";
    name.as_str().get(..PREFIX.len()).is_some_and(|start| is_spelled(start, PREFIX))
}

/// Whether a name is this one, with `_` for any `-`.
fn is_spelled(name: &str, hyphenated: &str) -> bool {
    name.len() == hyphenated.len()
        && name.bytes().zip(hyphenated.bytes()).all(|(a, b)| a == b || (a, b) == (b'_', b'-'))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn values_made_up_for_a_name_are_its_own() {
        let acme = Credentials::made_up_for("customer-acme");
        assert_eq!(acme, Credentials::made_up_for("customer-acme"));
        let mut all = HashSet::new();
        for name in ["customer-acme", "customer-acm", "", "Å, and more"] {
            let credentials = Credentials::made_up_for(name);
            let rotated = credentials.rotated(name, 1);
            let secret = SecurityScheme::CLIENT_SECRET;
            assert!(rotated.text(secret).starts_with("made-up-secret-"));
            assert_ne!(rotated.text(secret), credentials.text(secret));
            assert_eq!(
                rotated.values().zip(credentials.values()).filter(|(a, b)| a == b).count(),
                6
            );
            all.extend(credentials.values().map(|(_, value)| value.clone()));
        }
        assert_eq!(all.len(), 4 * 7);
        let shown = format!("{acme:?}");
        assert!(acme.values().all(|(_, value)| !shown.contains(value.to_str().unwrap())));
    }

    #[test]
    fn both_spellings_are_one_name() {
        for (name, is_pigellos) in [
            ("x-pigello-client-secret", true),
            ("x_pigello_client-secret", true),
            ("x_pigello_anything", true),
            ("x-pigell0-client-secret", false),
            ("x-pigello", false),
        ] {
            assert_eq!(is_pigello(&name.parse().unwrap()), is_pigellos, "{name}");
        }
        let entity = SecurityScheme::of(&"x_pigello-client_entity".parse().unwrap());
        assert_eq!(entity, Some(SecurityScheme::CLIENT_OBJECT_ID));
    }
}
