//! The fields that the cache adds to an answer: `Cache-Status` (RFC 9211) and `Age` (RFC 9111 §5.1).
//!
//! The values of hits repeat, so each thread keeps the last ones and a hit formats no text.

use std::{cell::RefCell, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// The crate `http` has no constant for it.
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request was forwarded to the upstream: the parameter `fwd` (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForwardReason {
    /// No stored response matches.
    Miss,
    /// The stored response is stale, or may not be used without validation.
    Stale,
    /// The stored response is fresh, but the request's directives do not allow its use.
    Request,
    /// The cache does not handle the request.
    Bypass,
}

impl ForwardReason {
    const fn name(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Bypass => "bypass",
        }
    }
}

/// `Cache-Status` of a response to a forwarded request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForwardedStatus {
    pub(super) reason: ForwardReason,
    /// The upstream's status, if the answer has another one.
    pub(super) status: Option<StatusCode>,
    pub(super) stored: bool,
    /// Another call made the request.
    pub(super) collapsed: bool,
    /// How long the stored response stays fresh.
    pub(super) ttl: Option<Duration>,
    /// One word that explains the rest.
    pub(super) detail: Option<&'static str>,
}

impl ForwardedStatus {
    pub(super) const fn new(reason: ForwardReason) -> Self {
        Self { reason, status: None, stored: false, collapsed: false, ttl: None, detail: None }
    }

    pub(super) fn value(&self) -> HeaderValue {
        let mut text = format!("{NAME}; fwd={}", self.reason.name());
        if let Some(status) = self.status {
            text.push_str("; fwd-status=");
            text.push_str(status.as_str());
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        if self.stored {
            text.push_str("; stored");
        }
        if let Some(ttl) = self.ttl {
            text.push_str("; ttl=");
            text.push_str(itoa::Buffer::new().format(ttl.as_secs()));
        }
        if let Some(detail) = self.detail {
            text.push_str("; detail=");
            text.push_str(detail);
        }
        from_text(&text)
    }
}

/// `Cache-Status` of a response that another member of the fleet has fetched: the cache nearest to the origin first.
pub(super) fn shared_hit(left: Duration, here: &ForwardedStatus) -> HeaderValue {
    let here = here.value();
    let here = here.to_str().unwrap_or(NAME);
    from_text(&format!("{NAME}-shared; hit; ttl={}, {here}", left.as_secs()))
}

/// `Cache-Status` of a fresh stored response.
pub(super) fn hit(left: Duration) -> HeaderValue {
    HITS.with_borrow_mut(|recent| {
        recent.value(left.as_secs(), |ttl| from_text(&format!("{NAME}; hit; ttl={ttl}")))
    })
}

/// `Cache-Status` of a stored response that is fresh as long as no notice of a change comes.
pub(super) fn coherent_hit(left: Duration) -> HeaderValue {
    COHERENT_HITS.with_borrow_mut(|recent| {
        recent.value(left.as_secs(), |ttl| {
            from_text(&format!("{NAME}; hit; ttl={ttl}; detail={COHERENT}"))
        })
    })
}

/// `Cache-Status` of a stale stored response. A negative `ttl` says how long it has been stale.
pub(super) fn stale_hit(stale_for: Duration, detail: &'static str) -> HeaderValue {
    from_text(&format!("{NAME}; hit; ttl=-{}; detail={detail}", stale_for.as_secs()))
}

/// `Age` (RFC 9111 §5.1).
pub(super) fn age(age: Duration) -> HeaderValue {
    AGES.with_borrow_mut(|recent| {
        recent.value(age.as_secs(), |seconds| {
            let mut buffer = itoa::Buffer::new();
            from_text(buffer.format(seconds))
        })
    })
}

fn from_text(text: &str) -> HeaderValue {
    // One allocation. The text is visible ASCII, so it is a valid value.
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(text.as_bytes()))
        .unwrap_or(const { HeaderValue::from_static(NAME) })
}

/// The last values, by the numbers in them.
struct Recent(Vec<Option<(u64, HeaderValue)>>);

impl Recent {
    fn value(&mut self, number: u64, make: impl FnOnce(u64) -> HeaderValue) -> HeaderValue {
        if self.0.is_empty() {
            self.0.resize(SLOTS, None);
        }
        let at = usize::try_from(number).unwrap_or_default() % SLOTS;
        match self.0.get_mut(at) {
            Some(Some((known, value))) if *known == number => value.clone(),
            Some(slot) => slot.insert((number, make(number))).1.clone(),
            None => make(number),
        }
    }
}

/// The `detail` of a response that lives for `coherent_ttl`.
pub(super) const COHERENT: &str = "coherent";

thread_local! {
    static HITS: RefCell<Recent> = const { RefCell::new(Recent(Vec::new())) };
    static COHERENT_HITS: RefCell<Recent> = const { RefCell::new(Recent(Vec::new())) };
    static AGES: RefCell<Recent> = const { RefCell::new(Recent(Vec::new())) };
}

const SLOTS: usize = 128;
const NAME: &str = "pigello-gateway";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_each_answer() {
        let seconds = Duration::from_secs;
        assert_eq!(hit(seconds(59)), "pigello-gateway; hit; ttl=59");
        assert_eq!(hit(seconds(59 + 128)), "pigello-gateway; hit; ttl=187");
        assert_eq!(hit(seconds(59)), "pigello-gateway; hit; ttl=59");
        let coherent = "pigello-gateway; hit; ttl=599; detail=coherent";
        assert_eq!(coherent_hit(seconds(599)), coherent);
        assert_eq!(
            stale_hit(seconds(7), "upstream-error"),
            "pigello-gateway; hit; ttl=-7; detail=upstream-error"
        );
        assert_eq!(age(Duration::from_millis(1999)), "1");
        let miss = ForwardedStatus::new(ForwardReason::Miss);
        assert_eq!(miss.value(), "pigello-gateway; fwd=miss");
        let stored = ForwardedStatus { stored: true, ttl: Some(seconds(60)), ..miss };
        assert_eq!(stored.value(), "pigello-gateway; fwd=miss; stored; ttl=60");
        let here = ForwardedStatus { stored: true, ..miss };
        assert_eq!(
            shared_hit(seconds(7), &here),
            "pigello-gateway-shared; hit; ttl=7, pigello-gateway; fwd=miss; stored"
        );
        let revalidated = ForwardedStatus {
            reason: ForwardReason::Stale,
            status: Some(StatusCode::NOT_MODIFIED),
            collapsed: true,
            detail: Some("x"),
            ..miss
        };
        assert_eq!(
            revalidated.value(),
            "pigello-gateway; fwd=stale; fwd-status=304; collapsed; detail=x"
        );
    }

    proptest::proptest! {
        /// The values that a thread keeps do not change a number.
        #[test]
        fn a_kept_value_has_its_own_number(numbers in proptest::collection::vec(0u64..1000, 1..50)) {
            for number in numbers {
                proptest::prop_assert_eq!(age(Duration::from_secs(number)), number.to_string());
            }
        }
    }
}
