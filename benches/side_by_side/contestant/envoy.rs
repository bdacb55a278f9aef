//! Envoy doing the job.
//!
//! Its cache filter fetches by itself on a miss, so filters behind it in the listener's chain are
//! skipped: there the upstream would get none of the seven, and the caller's forged ones. So the change
//! of headers stands in the clusters' chain. The route's change of `Host` is skipped as well on a miss.

use std::net::SocketAddr;

use pigello_mock::MADE_UP_VALUES;
use serde_json::{Value, json};

use crate::{workload::CACHED_BELOW, workplace::Workplace};

pub(super) fn configuration(place: &Workplace, upstream: SocketAddr, listen: SocketAddr) -> String {
    json!({
        "static_resources": {
            "listeners": [listener(place, listen)],
            "clusters": [
                cluster(place, upstream),
            ],
        },
        "stats_config": { "stats_matcher": { "reject_all": true } },
    })
    .to_string()
}

fn listener(place: &Workplace, listen: SocketAddr) -> Value {
    json!({
        "name": "callers",
        "address": socket_address(listen),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.\
                          http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "callers",
                "codec_type": "HTTP1",
                "access_log": [{
                    "name": "envoy.access_loggers.file",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.\
                                  FileAccessLog",
                        "path": place.path("access.log"),
                    },
                }],
                "http_filters": [cache(), router()],
                "route_config": { "virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        route(CACHED_BELOW, true),
                        route("/", false),
                    ],
                }] },
            },
        }] }],
    })
}

fn route(prefix: &str, cached: bool) -> Value {
    json!({
        "match": { "prefix": prefix },
        "route": { "cluster": "pigello", "host_rewrite_literal": "localhost", "timeout": "30s" },
        "typed_per_filter_config": if cached { json!({}) } else { json!({ CACHE: {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "disabled": true,
        } }) },
    })
}

/// Drops what callers send under such names, and adds the seven.
fn headers() -> Value {
    let mut mutations = vec![json!({
        "remove_on_match": { "key_matcher": { "prefix": "x-pigello-", "ignore_case": true } },
    })];
    mutations.extend(MADE_UP_VALUES.iter().map(|(name, value)| {
        json!({ "append": {
            "header": { "key": name.header().as_str(), "value": value },
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        } })
    }));
    json!({
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.\
                      HeaderMutation",
            "mutations": { "request_mutations": mutations },
        },
    })
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    })
}

fn cache() -> Value {
    json!({
        "name": CACHE,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cache.v3.CacheConfig",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.http.cache.simple_http_cache.v3.\
                          SimpleHttpCacheConfig",
            },
        },
    })
}

fn codec() -> Value {
    json!({
        "name": "envoy.filters.http.upstream_codec",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.\
                      UpstreamCodec",
        },
    })
}

fn cluster(place: &Workplace, upstream: SocketAddr) -> Value {
    json!({
        "name": "pigello",
        "type": "STATIC",
        "connect_timeout": "3s",
        "load_assignment": {
            "cluster_name": "pigello",
            "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": socket_address(upstream) },
            }] }],
        },
        "circuit_breakers": { "thresholds": [{
            "max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096,
        }] },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.\
                          HttpProtocolOptions",
                // As ALPN says.
                "auto_config": { "http_protocol_options": {}, "http2_protocol_options": {} },
                "http_filters": [headers(), codec()],
            },
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.\
                          UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": {
                    // Envoy's clients stop at TLS 1.2 unless they are told.
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3",
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "validation_context": {
                        "trusted_ca": { "filename": place.path("ca.pem") },
                        "match_typed_subject_alt_names": [{
                            "san_type": "DNS", "matcher": { "exact": "localhost" },
                        }],
                    },
                },
            },
        },
    })
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": {
        "address": address.ip().to_string(), "port_value": address.port(),
    } })
}

const CACHE: &str = "envoy.filters.http.cache";
