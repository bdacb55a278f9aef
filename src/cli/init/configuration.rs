//! The text of the configuration, and of the files that belong to a source.

use std::fmt::Write as _;

use super::{
    arguments::{Deployment, Login, Source},
    place::{KEY, STORE},
    plan::{Plan, Vault},
    secret::FOLDER,
};
use crate::{
    cli::vault_policy,
    credentials::{KvVersion, ValueName},
    domain::Address,
};

/// The configuration, with a comment at every choice.
pub(super) fn text(plan: &Plan) -> String {
    [
        HEAD.to_owned(),
        listener(plan),
        admin(plan),
        profile(plan),
        credentials(plan),
        plan.vault.as_ref().map(vault).unwrap_or_default(),
        caller(plan),
        audit(plan),
        runtime(plan).to_owned(),
    ]
    .concat()
}

fn listener(plan: &Plan) -> String {
    let reach = match &plan.listen {
        Address::Tcp(_) => "every process of this machine (or pod) can",
        Address::Unix(_) if plan.deployment == Deployment::Systemd => {
            "root and the members of the group pigello-callers can, because the socket\n\
             # has mode 0660 and that group (pigello-gateway.socket). `unix_uids = [1001]` in [[callers]],\n\
             # in place of `caller` here, lets in single users of the group and tells them apart"
        }
        Address::Unix(_) => {
            "whoever may open the socket can; \"unix_uids\" below could tell them apart"
        }
    };
    format!(
        "# Where the application calls instead of Pigello. Whoever reaches it is \"{caller}\":\n\
         # {reach}.\n\
         [[listeners]]\n\
         name = {quoted}\n\
         address = {address}\n\
         profile = {profile}\n\
         caller = {quoted}\n\n",
        caller = plan.caller,
        address = quoted(&plan.listen.to_string()),
        profile = quoted(&plan.profile),
        quoted = quoted(&plan.caller),
    )
}

fn admin(plan: &Plan) -> String {
    let address = match &plan.admin {
        Some(address) => format!("[admin]\naddress = {}\n", quoted(&address.to_string())),
        None => "# [admin]\n# address = \"unix:/…\"    # `pigello-gateway config show` says where it is\n".to_owned(),
    };
    let tokens = match plan.admin {
        Some(Address::Tcp(_)) => {
            "# token_file = \"…\"       # without one, only health and metrics are served here\n"
        }
        _ => "",
    };
    let metrics = match plan.deployment {
        Deployment::Kubernetes => {
            "# Metrics and health, for Prometheus and the kubelet.\n\
             [metrics]\naddress = \"0.0.0.0:9902\"\n\n"
        }
        Deployment::None | Deployment::Systemd => "",
    };
    format!(
        "# For operators: `pigello-gateway status`, `purge`, `refresh` and `page`. Only the gateway's user and root may\n\
         # open the socket.\n\
         {address}{tokens}\n{metrics}"
    )
}

fn profile(plan: &Plan) -> String {
    let plain = if plan.upstream.starts_with("http://") {
        "insecure_http = true      # without TLS, so only on this machine\n"
    } else {
        ""
    };
    let trust = plan.ca_file.as_ref().map(|file| {
        let why = if plan.is_mock() {
            "the mock's own authority"
        } else {
            "trusted instead of this machine's roots"
        };
        format!("ca_file = {}   # {why}\n", quoted(&file.display().to_string()))
    });
    format!(
        "# Which Pigello is called, and with which credentials.\n\
         [profiles.{name}]\n\
         upstream = {upstream}\n\
         credentials = {credentials}\n{plain}{trust}\n",
        name = key(&plan.profile),
        upstream = quoted(&plan.upstream),
        credentials = quoted(&plan.profile),
        trust = trust.unwrap_or_default(),
    )
}

fn credentials(plan: &Plan) -> String {
    let source = match (plan.source, &plan.vault) {
        (Source::Sealed, _) => format!(
            "source = \"sealed\"         # written by `pigello-gateway credentials`\n\
             file = \"{STORE}\"\n\
             key_file = \"{KEY}\"\n"
        ),
        (Source::Vault, Some(vault)) => format!(
            "source = \"vault\"          # a secret with the seven values under their names\n\
             mount = {}\n\
             path = {}\n\
             kv_version = 2\n\
             # max_stale = \"24h\"       # how long calls go on without the vault; without it, no end\n",
            quoted(&vault.mount),
            quoted(&vault.path)
        ),
        (Source::Vault, None) => String::new(),
        (Source::Directory, _) => {
            let path = if plan.mounts() { "/run/secrets/pigello" } else { FOLDER };
            format!(
                "source = \"directory\"      # one file a value, named like the value\npath = \"{path}\"\n"
            )
        }
        (Source::Environment, _) => {
            "source = \"environment\"    # PIGELLO_CUSTOMER_ID, …, PIGELLO_CLIENT_SECRET\n\
             prefix = \"PIGELLO_\"\n"
                .to_owned()
        }
    };
    format!(
        "# Where the seven values come from: {names}.\n\
         # The six identifiers may stand here as well, like customer_id = \"…\"; the secret never may.\n\
         [credentials.{profile}]\n{source}\n",
        names = wrapped_names(),
        profile = key(&plan.profile),
    )
}

fn wrapped_names() -> String {
    let names = ValueName::ALL.map(ValueName::key);
    let (first, rest) = names.split_at(3);
    format!("{},\n# {}", first.join(", "), rest.join(", "))
}

fn vault(vault: &Vault) -> String {
    let login = match vault.login {
        Login::Approle => {
            "method = \"approle\"\n\
             role_id = \"put-the-role-id-here\"    # `bao read auth/approle/role/pigello-gateway/role-id`\n\
             secret_id_file = \"secret-id\"        # a file beside this one that nobody else can read\n"
        }
        Login::Kubernetes => {
            "method = \"kubernetes\"\n\
             role = \"pigello-gateway\"            # its policy is vault-policy.hcl\n"
        }
        Login::Token => {
            "method = \"token\"\n\
             token_file = \"vault-token\"          # a file beside this one that nobody else can read\n"
        }
        Login::Cert => "method = \"cert\"\n",
    };
    let certificate = match vault.login {
        Login::Cert => {
            "certificate = \"vault-client.pem\"    # shown to the vault\n\
             private_key = \"vault-client-key.pem\"\n"
        }
        Login::Approle | Login::Kubernetes | Login::Token => "",
    };
    format!(
        "# HashiCorp Vault or OpenBao.\n\
         [vault]\n\
         address = {}\n\
         # ca_file = \"vault-ca.pem\"           # if this machine does not trust its certificate\n\
         {certificate}\n\
         [vault.auth]\n{login}\n",
        quoted(&vault.address.to_string())
    )
}

fn caller(plan: &Plan) -> String {
    let allow: Vec<_> = plan.allow.iter().map(|pattern| quoted(&pattern.to_string())).collect();
    format!(
        "# Who may do what. As soon as one entry exists, everyone else is refused.\n\
         # `pigello-gateway audit suggest-policy` says later what was really used.\n\
         [[callers]]\n\
         name = {}\n\
         allow = [{}]\n\n",
        quoted(&plan.caller),
        allow.join(", ")
    )
}

fn audit(plan: &Plan) -> String {
    let directory = match plan.deployment {
        Deployment::None => "audit",
        Deployment::Systemd | Deployment::Kubernetes => "/var/lib/pigello-gateway/audit",
    };
    format!(
        "# One record for every call.\n\
         [audit]\n\
         directory = \"{directory}\"\n\
         durability = \"batched\"    # \"synced\": no answer leaves before its record is on disk\n"
    )
}

fn runtime(plan: &Plan) -> &'static str {
    match plan.deployment {
        Deployment::Kubernetes => {
            "\n# A sidecar needs one; each has connections of its own.\n[runtime]\nworkers = 1\n"
        }
        Deployment::None | Deployment::Systemd => "",
    }
}

/// The vault policy for the gateway's login.
pub(super) fn policy(plan: &Plan) -> String {
    let Some(Vault { mount, path, .. }) = &plan.vault else { return String::new() };
    format!(
        "# What the gateway needs in the vault, and no more:\n\
         #   bao policy write pigello-gateway vault-policy.hcl\n\
         # and name it in the role that the gateway logs in with.\n{}",
        vault_policy(mount, path, KvVersion::V2)
    )
}

/// A file of environment variables to fill in.
pub(super) fn variables() -> String {
    let mut text = String::from("# The seven values. Readable by its owner alone; keep it so.\n");
    for name in ValueName::ALL {
        let written = writeln!(text, "PIGELLO_{}=", name.key().to_uppercase());
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    text
}

/// A key of TOML: in quotation marks if it has a `.`, which would make a table in a table.
pub(super) fn key(name: &str) -> String {
    toml_edit::Key::new(name).display_repr().into_owned()
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::value(text).to_string().trim().to_owned()
}

const HEAD: &str = "\
# The gateway between an application and Pigello, as `pigello-gateway init` made it.
#
#   pigello-gateway check --online --config FILE     what it means, and whether it works
#   pigello-gateway config schema                    every key, for editors
#
# A relative path is relative to this file. No secret stands here.

";
