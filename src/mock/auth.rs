//! Whether a request carries the seven values: all of them, once each, all of one set.
//!
//! Names are read as Django reads them behind WSGI, where `X_PIGELLO_CLIENT_SECRET` and
//! `X-PIGELLO-CLIENT-SECRET` are one variable. So a second copy that was smuggled in under the
//! other spelling is seen here as it would be there.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    credentials::{CredentialSet, ValueName},
    secret::SecretText,
};

/// Which values the mock lets in.
#[derive(Clone, Debug)]
pub enum Accepted {
    /// Any seven values.
    Anything,
    /// The values of one of these sets; during a rotation there are two.
    Sets(Vec<Arc<CredentialSet>>),
}

impl Accepted {
    /// Checks a request's header fields. The reason names headers, never their values.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), String> {
        let mut missing = Vec::new();
        let mut values = Vec::new();
        for name in ValueName::ALL {
            match copies(headers, &name.header()).as_slice() {
                [] => missing.push(name.header().to_string()),
                [value] => values.push((name, *value)),
                _ => return Err(format!("The header {} was sent twice.", name.header())),
            }
        }
        if !missing.is_empty() {
            return Err(format!("Headers are missing: {}.", missing.join(", ")));
        }
        let right = match self {
            Self::Anything => true,
            Self::Sets(sets) => sets.iter().any(|set| {
                values.iter().all(|(name, value)| {
                    SecretText::parse(value.as_bytes())
                        .is_ok_and(|value| value.same_as(set.value(*name)))
                })
            }),
        };
        if right { Ok(()) } else { Err("The seven values do not belong together.".to_owned()) }
    }
}

fn copies<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a HeaderValue> {
    let folded = headers.iter().filter(|(own, _)| folded(own) == name.as_str());
    folded.map(|(_, value)| value).collect()
}

/// Whether a header is one of Pigello's, in any spelling.
pub(super) fn is_pigello(name: &HeaderName) -> bool {
    folded(name).starts_with("x-pigello-")
}

fn folded(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock;

    fn right() -> HeaderMap {
        let mut headers = HeaderMap::new();
        mock::credentials().write_to(&mut headers);
        headers
    }

    fn accepted() -> Accepted {
        Accepted::Sets(vec![mock::credentials()])
    }

    #[test]
    fn the_right_seven_are_let_in() {
        assert_eq!(accepted().check(&right()), Ok(()));
    }

    #[test]
    fn each_of_the_seven_is_needed_once_with_its_value() {
        for name in ValueName::ALL {
            let mut headers = right();
            headers.remove(name.header());
            let reason = accepted().check(&headers).unwrap_err();
            assert!(reason.contains(name.header().as_str()));
            assert!(Accepted::Anything.check(&headers).is_err());

            headers.insert(name.header(), HeaderValue::from_static("another"));
            let reason = accepted().check(&headers).unwrap_err();
            assert!(!reason.contains("another"));
            assert_eq!(Accepted::Anything.check(&headers), Ok(()));

            let mut headers = right();
            headers.append(name.header(), HeaderValue::from_static("again"));
            assert!(accepted().check(&headers).is_err());

            let mut headers = right();
            let underscored = name.header().as_str().replace('-', "_");
            let underscored = HeaderName::from_bytes(underscored.as_bytes()).unwrap();
            headers.append(underscored, HeaderValue::from_static("smuggled"));
            assert!(accepted().check(&headers).is_err(), "{name}");
        }
    }

    #[test]
    fn values_of_two_sets_do_not_mix() {
        let other = mock::credentials_with_secret("another-made-up-secret").unwrap();
        let both = Accepted::Sets(vec![mock::credentials(), Arc::clone(&other)]);
        let mut headers = right();
        assert_eq!(both.check(&headers), Ok(()));
        other.write_to(&mut headers);
        assert_eq!(both.check(&headers), Ok(()));
        let customer = ValueName::CustomerId.header();
        headers.insert(customer, HeaderValue::from_static("someone-else"));
        assert!(both.check(&headers).is_err());
    }
}
