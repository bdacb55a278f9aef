//! The upstream under load: Debian's nginx, TLS 1.3 only, with kept connections. It has two addresses: one
//! offers HTTP/1.1 alone, the other HTTP/2 as well.

use std::{cell::Cell, fs, net::SocketAddr};

use http::StatusCode;
use pigello_mock::Authority;
use tempfile::TempDir;

use super::{Process, free_address};
use crate::{
    exchange,
    failure::{During as _, Failure},
    machine::{self, pinned},
    upstream::{CREATED, SUBTENANT},
    workload::Workload,
};

/// A running upstream, with the authority that vouches for it.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    http2: SocketAddr,
    /// Whom to trust.
    pub authority: Authority,
    counter: SocketAddr,
    asked: Cell<u64>,
    _process: Process,
    _folder: TempDir,
}

impl Origin {
    /// Starts it on the core of the rest.
    pub fn start(authority: Authority) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().during("cannot make a folder for the upstream")?;
        let issued = authority.server(&["localhost"]).during("cannot issue a certificate")?;
        let (address, http2, counter) = (free_address()?, free_address()?, free_address()?);
        let root = folder.path().display().to_string();
        for (name, text) in [
            ("server.pem", issued.certificate_pem()),
            ("server-key.pem", issued.private_key_pem()),
            ("subtenant.json", SUBTENANT),
            ("created.json", CREATED),
            ("nginx.conf", &configuration(&root, address, http2, counter)),
        ] {
            fs::write(folder.path().join(name), text).during("cannot write for the upstream")?;
        }
        let mut command = pinned(machine::REST, "nginx");
        command.arg("-c").arg(folder.path().join("nginx.conf")).arg("-p").arg(folder.path());
        let out = folder.path().join("out.log");
        let process = Process::start(command, &out, "the upstream".to_owned())?;
        process.wait_until_it_listens(address)?;
        Ok(Self {
            address,
            http2,
            authority,
            counter,
            asked: Cell::new(0),
            _process: process,
            _folder: folder,
        })
    }

    /// Where it listens for that work.
    pub fn address(&self, workload: Workload) -> SocketAddr {
        if workload.is_http2() { self.http2 } else { self.address }
    }

    /// How many requests have arrived so far, those that ask for this not counted.
    pub fn requests(&self) -> Result<u64, Failure> {
        let answer = exchange::get(self.counter, "/", "")?;
        if answer.status != StatusCode::OK {
            return Err(Failure::new("the upstream does not say how much it has answered"));
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let numbers = text.lines().nth(2).unwrap_or_default();
        let all = numbers.split_whitespace().nth(2).and_then(|number| number.parse::<u64>().ok());
        let all = all.ok_or_else(|| Failure::new("the upstream counts in another way"))?;
        let asked = self.asked.get() + 1;
        self.asked.set(asked);
        Ok(all.saturating_sub(asked))
    }
}

fn configuration(
    root: &str,
    address: SocketAddr,
    http2: SocketAddr,
    counter: SocketAddr,
) -> String {
    // The suite is fixed so that every contestant pays for the same one.
    format!(
        "daemon off;
user root;
pid {root}/nginx.pid;
error_log {root}/error.log crit;
worker_processes 2;
worker_rlimit_nofile 65536;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  open_file_cache max=100 inactive=1h;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  server {{
    listen {address} ssl backlog=4096;
    listen {http2} ssl http2 backlog=4096;
    server_name localhost;
    root {root};
    ssl_certificate {root}/server.pem;
    ssl_certificate_key {root}/server-key.pem;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;
    location / {{
      if ($request_method = POST) {{ return 201 '{CREATED}'; }}
      add_header Cache-Control max-age=3600;
      try_files /subtenant.json =404;
    }}
  }}
  server {{ listen {counter}; location / {{ stub_status; }} }}
}}
"
    )
}
