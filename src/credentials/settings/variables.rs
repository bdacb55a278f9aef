//! The variables of the vault's own tools, as defaults for the configuration.

use std::{env, path::PathBuf};

use crate::{domain::Origin, outbound::ClientCertificate};

/// The environment's variables about a vault. OpenBao's name comes first, as in its own tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VaultVariables {
    /// `BAO_ADDR` or `VAULT_ADDR`, and which of them.
    pub(super) address: Option<(&'static str, String)>,
    /// `BAO_CACERT` or `VAULT_CACERT`.
    pub(super) ca_file: Option<PathBuf>,
    /// `BAO_CLIENT_CERT` and `BAO_CLIENT_KEY`, or the same with `VAULT_`.
    pub(super) client_certificate: Option<ClientCertificate>,
    /// `BAO_NAMESPACE` or `VAULT_NAMESPACE`.
    pub(super) namespace: Option<String>,
    /// Whether `BAO_TOKEN` or `VAULT_TOKEN` is set. The token is read when it is used.
    pub(super) has_token: bool,
}

impl VaultVariables {
    /// Reads the variables.
    pub(super) fn read() -> Self {
        Self::from(of_process)
    }

    fn from(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &'static str| {
            lookup(name).filter(|text| !text.is_empty()).map(|text| (name, text))
        };
        let either = |bao, vault| given(bao).or_else(|| given(vault));
        let text = |bao, vault| either(bao, vault).map(|(_, text)| text);
        let certificate = text("BAO_CLIENT_CERT", "VAULT_CLIENT_CERT");
        let private_key = text("BAO_CLIENT_KEY", "VAULT_CLIENT_KEY");
        Self {
            address: either("BAO_ADDR", "VAULT_ADDR"),
            ca_file: text("BAO_CACERT", "VAULT_CACERT").map(PathBuf::from),
            client_certificate: certificate.zip(private_key).map(|(certificate, private_key)| {
                ClientCertificate {
                    certificate: certificate.into(),
                    private_key: private_key.into(),
                }
            }),
            namespace: text("BAO_NAMESPACE", "VAULT_NAMESPACE"),
            has_token: either("BAO_TOKEN", "VAULT_TOKEN").is_some(),
        }
    }
}

/// The vault's address that a variable gives, if it is one.
pub fn vault_address() -> Option<Origin> {
    VaultVariables::read().address?.1.parse().ok()
}

/// A variable of the vault's tools that is set and has no effect here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedVariable {
    /// Its name.
    pub name: String,
    /// What to do instead.
    pub instead: &'static str,
}

/// The variables of the vault's tools that are set and have no effect.
pub fn unused_vault_variables() -> Vec<UnusedVariable> {
    unused(of_process)
}

fn unused(lookup: impl Fn(&str) -> Option<String>) -> Vec<UnusedVariable> {
    let mut found = Vec::new();
    for (word, instead) in UNUSED {
        for name in [format!("BAO_{word}"), format!("VAULT_{word}")] {
            if lookup(&name).is_some_and(|text| !text.is_empty()) {
                found.push(UnusedVariable { name, instead });
            }
        }
    }
    for word in ["CLIENT_CERT", "CLIENT_KEY"] {
        let other = if word == "CLIENT_CERT" { "CLIENT_KEY" } else { "CLIENT_CERT" };
        let set = |word: &str| {
            ["BAO", "VAULT"].into_iter().any(|prefix| {
                lookup(&format!("{prefix}_{word}")).is_some_and(|text| !text.is_empty())
            })
        };
        if set(word) && !set(other) {
            let name = format!("VAULT_{word}");
            found.push(UnusedVariable { name, instead: "set both, the certificate and its key" });
        }
    }
    found
}

fn of_process(name: &str) -> Option<String> {
    env::var_os(name).and_then(|value| value.into_string().ok())
}

/// What the vault's tools know and the gateway does not. Their output formats and the like concern nobody
/// here.
const UNUSED: [(&str, &str); 9] = [
    ("AGENT_ADDR", AGENT),
    ("PROXY_ADDR", AGENT),
    ("CACERT_BYTES", "put the authority into a file and name it with `vault.ca_file`"),
    ("CAPATH", "name one file with all authorities with `vault.ca_file`"),
    ("HTTP_PROXY", "name a forward proxy with `vault.proxy`"),
    (
        "SKIP_VERIFY",
        "the vault's certificate is always checked: name its authority with `vault.ca_file`",
    ),
    ("SRV_LOOKUP", "name host and port with `vault.address`"),
    ("TLS_SERVER_NAME", "name the host of the vault's certificate in `vault.address`"),
    ("UNWRAP_TOKEN", "use `secret_id_wrapped` in [vault.auth]"),
];
const AGENT: &str = "to use an agent, name its address with `vault.address`";

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
                "VAULT_CLIENT_CERT" => "/made/up.pem",
                "BAO_CLIENT_KEY" => "/made/up.key",
                _ => return None,
            };
            Some(value.to_owned())
        });
        assert_eq!(variables.address, Some(("BAO_ADDR", "https://bao.test:8200".to_owned())));
        assert_eq!(variables.namespace.as_deref(), Some("team"));
        assert!(variables.has_token);
        assert_eq!(variables.ca_file, None);
        let certificate = variables.client_certificate.unwrap();
        assert_eq!(certificate.private_key, PathBuf::from("/made/up.key"));
    }

    #[test]
    fn what_has_no_effect_is_named() {
        let names = |set: &'static [&'static str]| -> Vec<String> {
            let found = unused(|name| set.contains(&name).then(|| "made-up".to_owned()));
            found.into_iter().map(|variable| variable.name).collect()
        };
        assert_eq!(names(&["VAULT_ADDR", "BAO_TOKEN", "VAULT_FORMAT"]), Vec::<String>::new());
        assert_eq!(
            names(&["VAULT_SKIP_VERIFY", "BAO_CAPATH", "VAULT_TLS_SERVER_NAME"]),
            ["BAO_CAPATH", "VAULT_SKIP_VERIFY", "VAULT_TLS_SERVER_NAME"]
        );
        assert_eq!(names(&["VAULT_CLIENT_CERT"]), ["VAULT_CLIENT_CERT"]);
    }
}
