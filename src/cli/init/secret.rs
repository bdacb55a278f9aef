//! The place of the secret: created as far as possible without the secret.

use pigello_mock::MADE_UP_VALUES;

use super::{
    Person, Plan,
    arguments::{Login, Source},
    place::{KEY, Place, STORE},
};
use crate::{
    cli::{
        Failure,
        credentials::{Console, seal},
    },
    credentials::{ValueName, sealed::SealedStore},
};

/// Creates the files and folders of the source.
pub(super) fn prepare(plan: &Plan, place: &Place, person: &mut Person<'_>) -> Result<(), Failure> {
    match plan.source {
        Source::Sealed => sealed(plan, place, person),
        Source::Directory if !plan.mounts() => {
            if place.file(FOLDER).is_dir() {
                // An existing directory keeps its permissions.
                writeln!(person.out, "kept  {}", place.path(FOLDER))?;
            } else {
                place.make_private(FOLDER)?;
                writeln!(
                    person.out,
                    "made  {:<44} for the seven files, readable by you alone",
                    place.path(FOLDER)
                )?;
            }
            made_up(plan).try_for_each(|(name, value)| place.write(&name, 0o600, value))
        }
        Source::Directory | Source::Vault | Source::Environment => Ok(()),
    }
}

/// The files written here.
pub(super) fn names(plan: &Plan) -> Vec<String> {
    let store = plan.keeps_a_store().then(|| STORE.to_owned());
    store.into_iter().chain(made_up(plan).map(|(name, _)| name)).collect()
}

/// The mock's values for a directory: one file each.
fn made_up(plan: &Plan) -> impl Iterator<Item = (String, &'static str)> {
    let here = plan.source == Source::Directory && !plan.mounts() && plan.is_mock();
    let values = MADE_UP_VALUES.into_iter().filter(move |_| here);
    values.map(|(name, value)| (format!("{FOLDER}/{}", name.key()), value))
}

fn sealed(plan: &Plan, place: &Place, person: &mut Person<'_>) -> Result<(), Failure> {
    let store = SealedStore::new(place.file(STORE), place.file(KEY));
    if store.file().exists() {
        writeln!(person.out, "kept  {}", place.path(STORE))?;
    } else {
        store.create()?;
        writeln!(person.out, "wrote {:<44} the sealed store", place.path(STORE))?;
        writeln!(
            person.out,
            "wrote {:<44} its key: keep it out of backups that hold the store",
            place.path(KEY)
        )?;
    }
    let Some(values) = &plan.values else { return Ok(()) };
    let mut console = Console::new(std::io::empty(), &mut person.out, std::io::sink());
    seal(&store, &plan.profile, values.clone(), &mut console)
}

/// The command that stores the seven values.
pub(super) fn next(plan: &Plan, place: &Place) -> Option<(String, &'static str)> {
    let names = ValueName::ALL.map(ValueName::key).join(",");
    match plan.source {
        Source::Sealed if plan.values.is_some() => None,
        Source::Sealed => Some((
            format!(
                "pigello-gateway credentials set --name {} --file {}",
                plan.profile,
                place.path(STORE)
            ),
            "asks for the seven values; the secret is not shown",
        )),
        Source::Directory if plan.mounts() => Some((
            format!("kubectl create secret generic pigello --from-file=./{FOLDER}"),
            "from a folder with one file a value, named customer_id to client_secret",
        )),
        Source::Directory => Some((
            format!("$EDITOR {}/{{{names}}}", place.path(FOLDER)),
            "one file a value; a line end behind it does not matter",
        )),
        Source::Environment if plan.mounts() => {
            let file = place.path("credentials.env");
            Some((
                format!(
                    "$EDITOR {file} && kubectl create secret generic pigello --from-env-file={file}"
                ),
                "put the seven values in, and make the Secret of the pod from them",
            ))
        }
        Source::Environment => Some((
            format!("$EDITOR {}", place.path("credentials.env")),
            "put the seven values in; a shell reads it with `set -a; . FILE; set +a`",
        )),
        Source::Vault => {
            let vault = plan.vault.as_ref()?;
            let then = match vault.login {
                Login::Approle => {
                    "then give it to the role, put the role's id into the configuration, its secret \
                     id into the file named there, and the seven values into the secret"
                }
                Login::Kubernetes => {
                    "then give it to the role `pigello-gateway`, and put the seven values into the \
                     secret"
                }
                Login::Token => {
                    "then make a token with it for the file that the configuration names, and put \
                     the seven values into the secret"
                }
                Login::Cert => {
                    "then give it to the client certificate that the configuration names, and put \
                     the seven values into the secret"
                }
            };
            let file = place.path("vault-policy.hcl");
            Some((format!("bao policy write pigello-gateway {file}"), then))
        }
    }
}

/// The directory of the seven files.
pub(super) const FOLDER: &str = "credentials";
