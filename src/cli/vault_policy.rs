//! The least policy a vault login needs.

/// A policy that permits its holder to read one secret of a key-value engine.
///
/// Version 2 of the engine stores values below `data/`.
pub(super) fn vault_policy(mount: &str, path: &str, kv_version: u8) -> String {
    let data = if kv_version == 1 { "" } else { "data/" };
    format!("path \"{mount}/{data}{path}\" {{\n  capabilities = [\"read\"]\n}}\n")
}
