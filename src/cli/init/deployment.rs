//! The deployment: systemd units, or a Kubernetes manifest.

use std::path::Path;

use super::{
    CONFIGURATION, File,
    arguments::{Deployment, Login, Source},
    configuration::{key, quoted},
    place::{KEY, Place, STORE},
    plan::Plan,
    secret::FOLDER,
    shown, unit,
};
use crate::{credentials::ValueName, domain::Address};

/// The systemd service unit.
pub(super) const SERVICE: &str = "pigello-gateway.service";
/// The systemd socket unit.
pub(super) const SOCKET: &str = "pigello-gateway.socket";
/// The Kubernetes manifest.
pub(super) const MANIFEST: &str = "kubernetes.yaml";
/// The changes to the configuration under systemd.
const OVERLAY: &str = "systemd.toml";
/// The directory of systemd's `LoadCredential=`.
const LOADED: &str = "/run/credentials/pigello-gateway.service";

/// The files of a deployment.
pub(super) fn files(plan: &Plan, configuration: &str) -> Vec<File> {
    match plan.deployment {
        Deployment::None => Vec::new(),
        Deployment::Systemd => {
            let loaded = loaded(plan);
            let mut files = vec![
                File {
                    name: SERVICE,
                    mode: 0o644,
                    text: service(plan, &loaded),
                    what: "the systemd service",
                },
                File { name: SOCKET, mode: 0o644, text: socket(plan), what: "its socket" },
            ];
            if !loaded.overlay.is_empty() {
                files.push(File {
                    name: OVERLAY,
                    mode: 0o644,
                    text: format!("{OVERLAY_HEAD}{}", loaded.overlay),
                    what: "where systemd puts what is secret; read over the configuration",
                });
            }
            files
        }
        Deployment::Kubernetes => vec![File {
            name: MANIFEST,
            mode: 0o644,
            text: manifest(plan, configuration),
            what: "the application with the gateway as its sidecar",
        }],
    }
}

/// The commands that install the units, each with what it does, for root on the machine that runs them.
pub(super) fn installation(plan: &Plan, place: &Place) -> Vec<(String, &'static str)> {
    let mut steps = Vec::new();
    if let Ok(program) = std::env::current_exe()
        && program != Path::new(PROGRAM)
    {
        let text = format!("install -m 0755 {} {PROGRAM}", shown(&program));
        steps.push((
            text,
            "as root, like all that follows: the program, where the units look for it",
        ));
    }
    if let Address::Unix(_) = plan.listen {
        let text = "groupadd -f --system pigello-callers".to_owned();
        steps.push((text, "the group whose members may use the socket"));
    }
    if plan.keeps_a_store() {
        let text = "id -u pigello-gateway >/dev/null 2>&1 || useradd --system --user-group \
                    --home-dir /nonexistent --shell /usr/sbin/nologin pigello-gateway";
        steps.push((text.to_owned(), "the user that runs the gateway"));
        let text = format!("chown -R pigello-gateway: {}", shown(&plan.directory));
        steps.push((text, "it owns the sealed store and its key"));
    }
    let units = [SERVICE, SOCKET].map(|unit| place.path(unit)).join(" ");
    let text = format!("install -m 0644 {units} /etc/systemd/system/ && systemctl daemon-reload");
    steps.push((text, "the units"));
    let text = format!("systemctl enable --now {SOCKET} {SERVICE}");
    steps.push((text, "runs the gateway, now and after every start of the machine"));
    steps
}

/// Paths hidden from the service: the unit protects home and temporary directories.
pub(super) fn out_of_reach(plan: &Plan) -> Option<String> {
    let hidden = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
    let below = hidden.into_iter().find(|folder| plan.directory.starts_with(folder))?;
    (plan.deployment == Deployment::Systemd).then(|| {
        format!(
            "the service cannot look into {below}; for the machine, write into /etc/pigello-gateway \
             (`--directory`)"
        )
    })
}

/// The files that the unit passes to the service and nobody else may read.
struct Loaded {
    /// Lines of the unit.
    unit: String,
    /// Configuration keys with the new paths.
    overlay: String,
}

fn loaded(plan: &Plan) -> Loaded {
    let file = |name: &str| plan.directory.join(name).display().to_string();
    let place = |name: &str| unit::literal(&file(name));
    let load = |names: &[&str], from: &dyn Fn(&str) -> String| {
        let line = |name: &&str| format!("LoadCredential={name}:{}\n", from(name));
        names.iter().map(line).collect::<Vec<_>>().concat()
    };
    let vault = |names: &[&str], overlay: String| Loaded { unit: load(names, &place), overlay };
    match (plan.source, plan.vault.as_ref().map(|vault| vault.login)) {
        (Source::Sealed, _) => Loaded {
            unit: format!(
                "# The owner of {STORE} and {KEY}; change them as that user, so that they stay its own:\n\
                 #   sudo -u pigello-gateway pigello-gateway credentials rotate …\n\
                 User=pigello-gateway\nGroup=pigello-gateway\n"
            ),
            overlay: String::new(),
        },
        (Source::Directory, _) => Loaded {
            unit: load(&ValueName::ALL.map(ValueName::key), &|name| {
                place(&format!("{FOLDER}/{name}"))
            }) + DYNAMIC,
            overlay: format!("[credentials.{}]\npath = \"{LOADED}\"\n", key(&plan.profile)),
        },
        (Source::Environment, _) => Loaded {
            unit: format!("EnvironmentFile={}\n{DYNAMIC}", unit::pattern(&file("credentials.env"))),
            overlay: String::new(),
        },
        (Source::Vault, Some(Login::Approle)) => vault(
            &["secret-id"],
            format!("[vault.auth]\nsecret_id_file = \"{LOADED}/secret-id\"\n"),
        )
        .dynamic(),
        (Source::Vault, Some(Login::Token)) => vault(
            &["vault-token"],
            format!("[vault.auth]\ntoken_file = \"{LOADED}/vault-token\"\n"),
        )
        .dynamic(),
        (Source::Vault, Some(Login::Cert)) => vault(
            &["vault-client-key.pem"],
            format!("[vault]\nprivate_key = \"{LOADED}/vault-client-key.pem\"\n"),
        )
        .dynamic(),
        (Source::Vault, Some(Login::Kubernetes) | None) => {
            Loaded { unit: DYNAMIC.to_owned(), overlay: String::new() }
        }
    }
}

impl Loaded {
    fn dynamic(mut self) -> Self {
        self.unit.push_str(DYNAMIC);
        self
    }
}

fn service(plan: &Plan, loaded: &Loaded) -> String {
    let over = if loaded.overlay.is_empty() { None } else { Some(OVERLAY) };
    let files = [CONFIGURATION].into_iter().chain(over);
    let files = files.map(|name| {
        let file = plan.directory.join(name).display().to_string();
        format!("--config {}", unit::word(&file))
    });
    let config = files.collect::<Vec<_>>().join(" ");
    include_str!("pigello-gateway.service")
        .replace("{{config}}", &config)
        .replace("{{secret}}\n", &loaded.unit)
}

fn socket(plan: &Plan) -> String {
    let (address, access) = match &plan.listen {
        Address::Tcp(address) => (address.to_string(), ""),
        Address::Unix(path) => (
            unit::literal(&plan.directory.join(path).display().to_string()),
            "# Only root and the members of this group may connect:\n\
             #   groupadd --system pigello-callers && usermod -aG pigello-callers USER\n\
             SocketUser=root\nSocketGroup=pigello-callers\nSocketMode=0660\nDirectoryMode=0755\n",
        ),
    };
    format!(
        "# The socket that the application uses. systemd keeps it open while the service restarts, so a\n\
         # connection that comes in meanwhile waits and is answered.\n\n\
         [Unit]\nDescription=Socket of the gateway to Pigello\n\n\
         [Socket]\nListenStream={address}\n{access}Backlog=4096\n\n\
         [Install]\nWantedBy=sockets.target\n"
    )
}

fn manifest(plan: &Plan, configuration: &str) -> String {
    let indented: Vec<_> = configuration
        .lines()
        .map(|line| if line.is_empty() { String::new() } else { format!("    {line}") })
        .collect();
    let (environment, mounts, volumes) = match plan.source {
        Source::Environment => (
            "          envFrom:\n            - secretRef: { name: pigello }    # PIGELLO_CUSTOMER_ID, …\n",
            "",
            "",
        ),
        Source::Directory => (
            "",
            "            - { name: pigello, mountPath: /run/secrets/pigello, readOnly: true }\n",
            "        - name: pigello\n          secret: { secretName: pigello }\n",
        ),
        Source::Vault | Source::Sealed => ("", "", ""),
    };
    let token = if plan.source == Source::Vault {
        "      automountServiceAccountToken: true    # the gateway logs in to the vault with it\n"
    } else {
        "      automountServiceAccountToken: false\n"
    };
    include_str!("kubernetes.yaml")
        .replace("{{name}}", &label(&plan.caller))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{url}}", &quoted(&format!("http://{}", plan.listen)))
        .replace("{{configuration}}\n", &(indented.join("\n") + "\n"))
        .replace("{{token}}\n", token)
        .replace("{{environment}}\n", environment)
        .replace("{{mounts}}\n", mounts)
        .replace("{{volumes}}\n", volumes)
}

/// A caller's name as the name of objects in Kubernetes and as a label (RFC 1123). The manifest has it in
/// quotation marks, because `123` and `no` are no texts in YAML.
fn label(caller: &str) -> String {
    let name = caller.to_ascii_lowercase().replace(['_', '.'], "-");
    // `NAME-gateway` is one as well.
    let name: String = name.chars().take(63 - "-gateway".len()).collect();
    name.trim_end_matches('-').to_owned()
}

/// Where the units look for the program.
const PROGRAM: &str = "/usr/bin/pigello-gateway";

const DYNAMIC: &str = "\
# A user of its own that exists only while it runs.
DynamicUser=yes
";

const OVERLAY_HEAD: &str = "\
# Over gateway.toml, when systemd runs the gateway: where it shows the service what is secret.

";
