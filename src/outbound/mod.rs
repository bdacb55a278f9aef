//! Calls that the gateway makes beside the path of a request: to a vault, to an OpenTelemetry
//! collector, to its own admin listener.
//!
//! The connections to Pigello are in [`crate::proxy::client`]; they share [`tls`] and [`forward_proxy`] with these.

pub mod forward_proxy;
pub mod resolve;
pub mod race;
pub mod roots;
pub mod certificates;
pub mod observed;
pub mod revocation;
pub mod tls;
pub mod client;
pub mod otlp;
pub mod backoff;

pub use backoff::{Backoff, retry_after, spread};
pub use certificates::{
    CertificateEnd, CertificateFile, CertificateUse, Nearness, Until, authorities_end, chain_end,
};
pub use client::{CallLimits, Client, ClientError, ClientSetupError};
pub use forward_proxy::{
    ForwardProxy, ForwardProxyError, ForwardProxySettings, Transport, TunnelError, socket_of,
};
pub use observed::{Observed, TOLERABLE_OFFSET};
pub use otlp::{Collector, CollectorError, CollectorSettings};
pub use resolve::{ResolveError, Resolver};
pub use revocation::{
    RevocationError, RevocationListError, RevocationPolicy, RevocationSettings, RevocationVerifier,
    list_ends, revocation_lists,
};
pub use roots::{LeftOut, NoRoots, Roots, RootsError, without_mark};
pub use tls::{ClientCertificate, TlsError, Trust, certificate_refusal, client_tls};
