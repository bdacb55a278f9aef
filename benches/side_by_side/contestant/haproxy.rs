//! HAProxy doing the job, with its small cache and its log on standard output.

use std::{fmt::Write as _, net::SocketAddr};

use pigello_mock::MADE_UP_VALUES;

use crate::{workload::CACHED_BELOW, workplace::Workplace};

pub(super) fn configuration(place: &Workplace, upstream: SocketAddr, listen: SocketAddr) -> String {
    let ca = place.path("ca.pem");
    let mut seven = String::new();
    for (name, value) in MADE_UP_VALUES {
        // Writing to a String cannot fail.
        let _written = writeln!(seven, "  http-request set-header {} {value}", name.header());
    }
    let server = format!(
        "server pigello {upstream} ssl verify required ca-file {} verifyhost localhost sni \
         str(localhost) alpn h2,http/1.1 ssl-min-ver TLSv1.3 pool-max-conn -1 pool-purge-delay 1h",
        ca.display()
    );
    format!(
        r"global
  nbthread 1
  maxconn 8192
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  option http-keep-alive
  http-reuse always
  timeout connect 3s
  timeout client 1h
  timeout server 30s
  timeout http-keep-alive 1h
cache reads
  total-max-size 64
  max-object-size 1048576
  max-age 3600
frontend callers
  bind {listen} backlog 4096
  http-request del-header x-pigello- -m beg
  http-request set-header Host localhost
{seven}  use_backend reads if {{ path_beg {CACHED_BELOW} }}
  default_backend others
backend reads
  http-request cache-use reads
  http-response cache-store reads
  {server}
backend others
  {server}
"
    )
}
