//! The identifiers of one call: its request identifier and its W3C trace context.

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::{ContextV7, Timestamp, Uuid};

use super::hex;

/// The gateway's identifier of one call: a UUID of version 7, which sorts by time.
///
/// The gateway does not use a caller's `X-Request-Id`, because two callers could send the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A new identifier.
    pub fn fresh() -> Self {
        Self::at(SystemTime::now())
    }

    /// A new identifier of a call that arrived at that time. The identifiers of one thread sort in order,
    /// also within a millisecond. Those of different threads differ by random bits (RFC 9562 §6.2).
    pub fn at(time: SystemTime) -> Self {
        thread_local! {
            static COUNTER: ContextV7 = const { ContextV7::new() };
        }
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
        COUNTER.with(|counter| Self(Uuid::new_v7(Timestamp::from_unix(counter, seconds, nanos))))
    }

    /// Writes the identifier into a buffer and returns it as text, without allocating.
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl FromStr for RequestId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; 36];
        f.write_str(self.encode(&mut buffer))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The position of the call in a distributed trace (W3C Trace Context, `traceparent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    parent: u64,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// Continues the caller's trace if `traceparent` is valid, or begins one.
    ///
    /// A new trace identifier is the request identifier. Its low 62 bits are random, as the specification
    /// requires of the rightmost bytes.
    pub fn continue_or_begin(traceparent: Option<&[u8]>, id: RequestId) -> Self {
        let (high, low) = id.0.as_u64_pair();
        let span = (high ^ low.rotate_left(32)).max(1);
        match traceparent.and_then(parse_traceparent) {
            Some((trace, parent, flags)) => Self { trace, parent, span, flags },
            None => Self { trace: id.0.as_u128(), parent: 0, span, flags: 0 },
        }
    }

    /// The trace identifier. The audit log has it as `trace_id`, in 32 hexadecimal digits.
    pub fn trace_id(&self) -> u128 {
        self.trace
    }

    /// The caller's span, if the caller sent one.
    pub fn parent_id(&self) -> Option<u64> {
        (self.parent != 0).then_some(self.parent)
    }

    /// The span of this call.
    pub fn span_id(&self) -> u64 {
        self.span
    }

    /// Whether the caller asked for the trace to be recorded.
    pub fn sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The `traceparent` to send upstream, with this call's span as the parent.
    pub fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex::write(&mut text[3..35], &self.trace.to_be_bytes());
        hex::write(&mut text[36..52], &self.span.to_be_bytes());
        hex::write(&mut text[53..], &[self.flags]);
        text
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>` in lower case, without identifiers of zero (W3C Trace Context §3.2). A
/// later version may have more after the flags.
fn parse_traceparent(value: &[u8]) -> Option<(u128, u64, u8)> {
    let text = std::str::from_utf8(value).ok()?;
    let lower_hex =
        |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut parts = text.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths_fit =
        version.len() == 2 && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
    if !lengths_fit
        || ![version, trace, parent, flags].into_iter().all(lower_hex)
        || version == "ff"
    {
        return None;
    }
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
    Some((trace, parent, u8::from_str_radix(flags, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn a_valid_traceparent_is_continued() {
        let sent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::continue_or_begin(Some(sent), RequestId::fresh());
        assert_eq!(context.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.parent_id(), Some(0x00f0_67aa_0ba9_02b7));
        assert!(context.sampled());
        let onward = String::from_utf8(context.traceparent().to_vec()).unwrap();
        let own = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-01", context.span_id());
        assert_eq!(onward, own);
        assert!(!onward.contains("00f067aa0ba902b7"), "the parent upstream is our span: {onward}");
    }

    #[test]
    fn identifiers_begin_with_the_time_and_sort_in_order() {
        let time = UNIX_EPOCH + Duration::from_millis(0x0123_4567_89ab);
        // On other threads, because a counter that has seen a later time does not go back.
        let made = move || (0..1000).map(|_| RequestId::at(time).to_string()).collect::<Vec<_>>();
        let [ids, others] = [made, made].map(|made| thread::spawn(made).join().unwrap());
        assert!(ids.iter().all(|id| id.starts_with("01234567-89ab-7")), "{}", ids[0]);
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert!(!others.iter().any(|other| ids.contains(other)));
    }

    #[test]
    fn an_invalid_traceparent_begins_a_new_trace() {
        let nonsense: [&[u8]; 8] = [
            b"",
            b"00",
            b"00-0-0-0",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ];
        for sent in nonsense {
            let id = RequestId::fresh();
            let context = TraceContext::continue_or_begin(Some(sent), id);
            assert_eq!(context.parent_id(), None, "{sent:?}");
            assert_ne!(context.trace_id(), 0);
            assert_ne!(context.span_id(), 0);
        }
    }
}
