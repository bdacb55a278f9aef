//! Service links: the variables that Kubernetes sets in a pod about the services of its namespace.
//!
//! The kubelet makes them from a service's name, in upper case and with `_` for `-`. Those of every service
//! whose name begins with `pigello-gateway` begin like the variables that set our keys, whoever installed it.

use std::ffi::OsStr;

/// Whether a variable, here without our prefix, is a service link. The name decides, except for `…_PORT`:
/// a person may try to set a port with `METRICS_PORT=9902`, and a link has a URL there.
pub(super) fn is_link(rest: &str, value: &OsStr) -> bool {
    let words: Vec<_> = rest.split('_').collect();
    match *words {
        [.., "SERVICE", "HOST" | "PORT"] => true,
        _ if words.windows(2).any(|words| words == ["SERVICE", "PORT"]) => true,
        [.., "PORT", number, protocol]
        | [.., "PORT", number, protocol, "PORT" | "PROTO" | "ADDR"]
            if is_port(number, protocol) =>
        {
            true
        }
        [.., "PORT"] => value.to_str().is_some_and(is_url),
        _ => false,
    }
}

/// `443` and `TCP`
fn is_port(number: &str, protocol: &str) -> bool {
    number.parse::<u16>().is_ok() && matches!(protocol, "TCP" | "UDP" | "SCTP")
}

/// `tcp://10.0.0.1:443`
fn is_url(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{schema, schema::Shape};

    #[test]
    fn every_variable_of_a_service_is_a_link() {
        for service in ["", "BILLING_", "LIMITS_", "2_", "ADMIN_", "_ODD_", "PORT_", "SERVICE_"] {
            for (name, value) in [
                ("SERVICE_HOST", "fd00::1"),
                ("SERVICE_PORT", "443"),
                ("SERVICE_PORT_HTTPS", "443"),
                ("SERVICE_PORT_HTTP_ALT", "443"),
                ("PORT", "tcp://[fd00::1]:443"),
                ("PORT_443_TCP", "tcp://10.0.0.1:443"),
                ("PORT_443_TCP_PORT", "443"),
                ("PORT_443_TCP_PROTO", "tcp"),
                ("PORT_443_TCP_ADDR", "10.0.0.1"),
                ("PORT_53_UDP", "udp://10.0.0.1:53"),
                ("PORT_9_SCTP_ADDR", "10.0.0.1"),
            ] {
                assert!(is_link(&format!("{service}{name}"), value.as_ref()), "{service}{name}");
            }
        }
    }

    #[test]
    fn what_a_person_may_have_meant_is_none() {
        for (name, value) in [
            ("TIMEOUT__CONNECT", "3s"),
            ("METRICS_PORT", "9902"),
            ("METRICS__PORT", "9902"),
            ("ADMIN_ADDRESS", "127.0.0.1:9901"),
            ("LISTENERS__0__PORT", "8080"),
            ("PORT", "8080"),
            ("PORT_HTTP", "8080"),
            ("PORT_443_TCP_NAME", "https"),
            ("PORT_99999_TCP", "tcp://10.0.0.1:99999"),
            ("SERVICE_HOSTS", "a"),
        ] {
            assert!(!is_link(name, value.as_ref()), "{name}");
        }
    }

    #[test]
    fn no_key_is_named_like_a_link() {
        fn look(shape: &Shape, name: &str) {
            assert!(!is_link(name, "tcp://10.0.0.1:443".as_ref()), "{name}");
            match shape {
                Shape::Table(fields) => fields.iter().for_each(|(key, field)| {
                    let level = if name.is_empty() { "" } else { "__" };
                    look(&field.shape, &format!("{name}{level}{}", key.to_ascii_uppercase()));
                }),
                Shape::Named(inner) => look(inner, &format!("{name}__X")),
                Shape::List(inner) => look(inner, &format!("{name}__0")),
                _ => {}
            }
        }
        look(&Shape::of_schema(&schema()), "");
    }
}
