//! The least policy a vault login needs.

use crate::credentials::KvVersion;

/// A policy that permits its holder to read one secret of a key-value engine.
///
/// Version 2 of the engine stores values below `data/`.
pub(super) fn vault_policy(mount: &str, path: &str, engine: KvVersion) -> String {
    let data = match engine {
        KvVersion::V1 => "",
        KvVersion::V2 => "data/",
    };
    format!("path \"{mount}/{data}{path}\" {{\n  capabilities = [\"read\"]\n}}\n")
}

/// A policy that permits its holder to make new versions of a secret of the second engine, and to destroy old ones.
pub(super) fn rotation_policy(mount: &str, path: &str) -> String {
    format!(
        "path \"{mount}/data/{path}\" {{\n  capabilities = [\"read\", \"create\", \"update\"]\n}}\n\
         path \"{mount}/destroy/{path}\" {{\n  capabilities = [\"update\"]\n}}\n"
    )
}
