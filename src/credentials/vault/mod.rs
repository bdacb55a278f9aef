//! Source `vault`: a key-value secret in HashiCorp Vault or OpenBao.

mod settings;

pub use settings::{ClientCertificate, KvVersion, TokenSource, VaultAuth, VaultSettings};
