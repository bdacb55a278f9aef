//! The variables of the vault's own tools, as defaults for the configuration.

use std::{env, path::PathBuf};

/// The environment's variables about a vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VaultVariables {
    /// `BAO_ADDR` or `VAULT_ADDR`.
    pub(super) address: Option<String>,
    /// `BAO_CACERT` or `VAULT_CACERT`.
    pub(super) ca_file: Option<PathBuf>,
    /// `BAO_NAMESPACE` or `VAULT_NAMESPACE`.
    pub(super) namespace: Option<String>,
    /// Whether `BAO_TOKEN` or `VAULT_TOKEN` is set. The token is read when it is used.
    pub(super) has_token: bool,
}

impl VaultVariables {
    /// Reads the variables. OpenBao's name comes first, as in its own tools.
    pub(super) fn read() -> Self {
        Self::from(|name| env::var_os(name).and_then(|value| value.into_string().ok()))
    }

    fn from(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let given =
                |prefix| lookup(&format!("{prefix}_{name}")).filter(|text| !text.is_empty());
            given("BAO").or_else(|| given("VAULT"))
        };
        Self {
            address: either("ADDR"),
            ca_file: either("CACERT").map(PathBuf::from),
            namespace: either("NAMESPACE"),
            has_token: either("TOKEN").is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_openbao_comes_first_and_empty_is_absent() {
        let variables = VaultVariables::from(|name| {
            let value = match name {
                "BAO_ADDR" => "https://bao.test:8200",
                "VAULT_ADDR" => "https://vault.test:8200",
                "BAO_NAMESPACE" => "",
                "VAULT_NAMESPACE" => "team",
                "VAULT_TOKEN" => "made-up",
                _ => return None,
            };
            Some(value.to_owned())
        });
        assert_eq!(variables.address.as_deref(), Some("https://bao.test:8200"));
        assert_eq!(variables.namespace.as_deref(), Some("team"));
        assert!(variables.has_token);
        assert_eq!(variables.ca_file, None);
    }
}
