//! The seven values that every call carries, and whether a request has the right ones.
//!
//! Names are compared as Django behind WSGI does it, where `X_PIGELLO_CLIENT_SECRET` and
//! `X-PIGELLO-CLIENT-SECRET` are one variable. A second value under the other spelling is therefore
//! refused here as it would be at Pigello.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header::InvalidHeaderValue};

/// One of the seven security schemes of Pigello's reference: a header that every call carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecurityScheme {
    key: &'static str,
    header: &'static str,
}

impl SecurityScheme {
    const CUSTOMER_ID: Self = Self::new("customer_id", "x-pigello-customer-id");
    pub(crate) const APPLICATION_ID: Self = Self::new("application_id", "x-pigello-application-id");
    pub(crate) const SERVICE_ID: Self = Self::new("service_id", "x-pigello-service-id");
    pub(crate) const SERVICE_VERSION_ID: Self =
        Self::new("service_version_id", "x-pigello-service-version-id");
    const CLIENT_CT: Self = Self::new("client_ct", "x-pigello-client-ct");
    // The names of this scheme and its header differ; the other six agree.
    const CLIENT_OBJECT_ID: Self = Self::new("client_object_id", "x-pigello-client-entity");
    const CLIENT_SECRET: Self = Self::new("client_secret", "x-pigello-client-secret");

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials(HeaderMap);

impl Credentials {
    /// [`MADE_UP_VALUES`].
    pub fn made_up() -> Self {
        let values = MADE_UP_VALUES.iter();
        Self::new(values.map(|(scheme, value)| (*scheme, HeaderValue::from_static(value))))
    }

    /// The made-up identifiers with another secret, as after a rotation.
    pub fn made_up_with_secret(secret: &str) -> Result<Self, InvalidHeaderValue> {
        let Self(mut headers) = Self::made_up();
        let scheme = SecurityScheme::CLIENT_SECRET;
        headers.insert(scheme.header(), sensitive(HeaderValue::from_str(secret)?));
        Ok(Self(headers))
    }

    /// The values in the header fields of a request. The request must have each of them once.
    pub fn read(headers: &HeaderMap) -> Result<Self, CredentialsError> {
        let mut missing = Vec::new();
        let mut values = Vec::new();
        for scheme in SecurityScheme::ALL {
            let same_name = headers.iter().filter(|(name, _)| hyphenated(name) == scheme.header);
            let found: Vec<_> = same_name.map(|(_, value)| value).collect();
            match found.as_slice() {
                [] => missing.push(scheme.header),
                [value] => values.push((scheme, (*value).clone())),
                _ => return Err(CredentialsError::Repeated(scheme.header)),
            }
        }
        if missing.is_empty() {
            Ok(Self::new(values))
        } else {
            Err(CredentialsError::Missing(missing))
        }
    }

    fn new(values: impl IntoIterator<Item = (SecurityScheme, HeaderValue)>) -> Self {
        let values = values.into_iter();
        Self(values.map(|(scheme, value)| (scheme.header(), sensitive(value))).collect())
    }

    /// Puts the seven values into header fields, in place of others with their names.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        headers.extend(self.0.clone());
    }
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
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

/// The credentials that the mock accepts.
#[derive(Clone, Debug)]
pub enum Accepted {
    /// Any seven values.
    Anything,
    /// One of these; during a rotation there are two.
    OneOf(Vec<Credentials>),
}

impl Accepted {
    /// Checks the header fields of a request.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), CredentialsError> {
        let credentials = Credentials::read(headers)?;
        match self {
            Self::OneOf(accepted) if !accepted.contains(&credentials) => {
                Err(CredentialsError::Wrong)
            }
            Self::OneOf(_) | Self::Anything => Ok(()),
        }
    }
}

/// Whether a header is one of Pigello's, in either spelling.
pub(crate) fn is_pigello(name: &HeaderName) -> bool {
    hyphenated(name).starts_with("x-pigello-")
}

fn hyphenated(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up_headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        Credentials::made_up().write_to(&mut headers);
        headers
    }

    fn accepted() -> Accepted {
        Accepted::OneOf(vec![Credentials::made_up()])
    }

    #[test]
    fn the_right_seven_are_accepted() {
        assert_eq!(accepted().check(&made_up_headers()), Ok(()));
        assert!(!format!("{:?}", accepted()).contains("made-up"));
    }

    #[test]
    fn each_of_the_seven_is_needed_once_with_its_value() {
        for scheme in SecurityScheme::ALL {
            let mut headers = made_up_headers();
            headers.remove(scheme.header());
            let error = accepted().check(&headers).unwrap_err();
            assert!(error.to_string().contains(scheme.header));
            assert!(Accepted::Anything.check(&headers).is_err());

            headers.insert(scheme.header(), HeaderValue::from_static("another"));
            let error = accepted().check(&headers).unwrap_err();
            assert!(!error.to_string().contains("another"));
            assert_eq!(Accepted::Anything.check(&headers), Ok(()));

            let mut headers = made_up_headers();
            headers.append(scheme.header(), HeaderValue::from_static("again"));
            assert!(accepted().check(&headers).is_err());

            let mut headers = made_up_headers();
            let underscored = scheme.header.replace('-', "_");
            let underscored = HeaderName::from_bytes(underscored.as_bytes()).unwrap();
            headers.append(underscored, HeaderValue::from_static("smuggled"));
            assert!(accepted().check(&headers).is_err(), "{scheme}");
        }
    }

    #[test]
    fn values_of_two_sets_do_not_mix() {
        let other = Credentials::made_up_with_secret("another-made-up-secret").unwrap();
        let both = Accepted::OneOf(vec![Credentials::made_up(), other.clone()]);
        let mut headers = made_up_headers();
        assert_eq!(both.check(&headers), Ok(()));
        other.write_to(&mut headers);
        assert_eq!(both.check(&headers), Ok(()));
        let customer = SecurityScheme::CUSTOMER_ID.header();
        headers.insert(customer, HeaderValue::from_static("someone-else"));
        assert_eq!(both.check(&headers), Err(CredentialsError::Wrong));
    }
}
