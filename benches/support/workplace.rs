//! A folder for one run of the gateway: its configuration, its made-up credentials, its trail.
//!
//! Everything is on that is on by default, and more: the caller is named and has a permission, so
//! that identification and authorization decide something.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use pigello_mock::{Authority, MADE_UP_VALUES};
use tempfile::TempDir;

use super::failure::{During as _, Failure};

/// The folder; it goes away with this.
#[derive(Debug)]
pub struct Workplace {
    folder: TempDir,
}

impl Workplace {
    /// Makes the folder, with a gateway of one worker in front of the upstream at that address.
    pub fn make(
        authority: &Authority,
        upstream: SocketAddr,
        listen: SocketAddr,
    ) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("pigello-gateway-bench-")
            .tempdir()
            .during("cannot make a folder for the gateway")?;
        let made = Self { folder };
        let credentials = made.path("credentials");
        fs::create_dir(&credentials).during("cannot make a folder for the credentials")?;
        for (name, value) in MADE_UP_VALUES {
            write(&credentials.join(name.key()), value)?;
        }
        write(&made.path("ca.pem"), authority.pem())?;
        write(&made.config(), &configuration(upstream, listen))?;
        Ok(made)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path("gateway.toml")
    }

    /// A file of that name in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).during(format_args!("cannot write {}", path.display()))
}

fn configuration(upstream: SocketAddr, listen: SocketAddr) -> String {
    format!(
        r#"[[listeners]]
name = "bench"
address = "{listen}"
profile = "bench"
caller = "bench"

[admin]
address = "127.0.0.1:0"

[profiles.bench]
upstream = "https://localhost:{port}"
connect_to = "{upstream}"
ca_file = "ca.pem"
credentials = "bench"

[credentials.bench]
source = "directory"
path = "credentials"

[[callers]]
name = "bench"
allow = ["subtenant.*", "tenant.*"]

[audit]
directory = "audit"

[runtime]
workers = 1
"#,
        port = upstream.port(),
    )
}

/// A read that the cache keeps.
pub const CACHED: &str = "/accounts/users/customer/subtenant/5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a01/";
/// A read that no cache rule matches.
pub const PROXIED: &str = "/accounts/users/customer/tenant/5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a02/";
/// Where a new object is sent.
pub const CREATED_AT: &str = "/accounts/users/customer/tenant/";
