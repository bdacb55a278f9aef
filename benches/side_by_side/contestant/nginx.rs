//! nginx doing the job: Debian's build with headers-more, its cache in memory.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use pigello_mock::MADE_UP_VALUES;

use crate::{workload::CACHED_BELOW, workplace::Workplace};

/// `cache` is a folder in memory, as the cache of the others is.
pub(super) fn configuration(
    place: &Workplace,
    cache: &Path,
    upstream: SocketAddr,
    listen: SocketAddr,
) -> String {
    let cache = cache.display();
    let root = place.path("").display().to_string();
    let root = root.trim_end_matches('/');
    let mut seven = String::new();
    for (name, value) in MADE_UP_VALUES {
        // Writing to a String cannot fail.
        let _written = writeln!(seven, "    proxy_set_header {} \"{value}\";", name.header());
    }
    // `sendfile off` is the fastest way of this build from such a cache.
    format!(
        r#"load_module /usr/lib/nginx/modules/ngx_http_headers_more_filter_module.so;
daemon off;
user root;
pid {root}/nginx.pid;
error_log {root}/error.log warn;
worker_processes 1;
worker_rlimit_nofile 65536;
events {{ worker_connections 8192; }}
http {{
  log_format line '$time_iso8601 $request_id $remote_addr "$request" $status $request_length $bytes_sent $request_time $upstream_status $upstream_response_time $upstream_cache_status';
  access_log {root}/access.log line buffer=64k flush=1s;
  sendfile off;
  tcp_nodelay on;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  open_file_cache max=1000 inactive=1h;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  proxy_cache_path {cache} levels=1:2 keys_zone=reads:10m max_size=64m inactive=1h use_temp_path=off;
  upstream pigello {{
    server {upstream};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }}
  server {{
    listen {listen} backlog=4096;
    more_clear_input_headers 'X-PIGELLO-*';
    proxy_http_version 1.1;
    proxy_set_header Host localhost;
    proxy_set_header Connection "";
{seven}    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate {root}/ca.pem;
    proxy_ssl_name localhost;
    proxy_ssl_server_name on;
    proxy_ssl_protocols TLSv1.3;
    location / {{ proxy_pass https://pigello; }}
    location {CACHED_BELOW} {{
      proxy_cache reads;
      proxy_cache_key $request_uri;
      proxy_cache_lock on;
      proxy_pass https://pigello;
    }}
  }}
}}
"#
    )
}
