//! What a login must be allowed in a vault, and no more.

/// A policy that lets its holder read one secret of a key-value engine.
///
/// The second version of the engine keeps a secret's values below `data/`.
pub(super) fn vault_policy(mount: &str, path: &str, kv_version: u8) -> String {
    let data = if kv_version == 1 { "" } else { "data/" };
    format!("path \"{mount}/{data}{path}\" {{\n  capabilities = [\"read\"]\n}}\n")
}
