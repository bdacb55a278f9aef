//! What a login must be allowed in a vault, and no more.

use crate::credentials::KvVersion;

/// A policy that lets its holder read one secret of a key-value engine.
///
/// The second version of the engine keeps a secret's values below `data/`.
pub(super) fn vault_policy(mount: &str, path: &str, engine: KvVersion) -> String {
    let data = match engine {
        KvVersion::V1 => "",
        KvVersion::V2 => "data/",
    };
    format!("path \"{mount}/{data}{path}\" {{\n  capabilities = [\"read\"]\n}}\n")
}
