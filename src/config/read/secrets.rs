//! Refuses secrets where they do not belong.
//!
//! A configuration is copied, committed, printed and mounted, and a secret in it with it. So a
//! secret is refused, and its value is dropped here, before anything can print it.

use figment::value::Value;

use super::locations::Locations;
use crate::config::{
    key::KeyPath,
    problem::{Location, Problem},
};

/// Takes every secret out of the tree, with a problem for each.
pub(super) fn take_out(tree: &mut Value, locations: &Locations, problems: &mut Vec<Problem>) {
    walk(tree, &KeyPath::root(), locations, problems);
}

fn walk(value: &mut Value, path: &KeyPath, locations: &Locations, problems: &mut Vec<Problem>) {
    match value {
        Value::Dict(_, dict) => dict.retain(|key, value| {
            let below = path.key(key);
            if let Some(refused) = secret(path, key) {
                problems.push(refused(locations.of(&below), below));
                return false;
            }
            walk(value, &below, locations, problems);
            true
        }),
        Value::Array(_, list) => {
            for (at, value) in list.iter_mut().enumerate() {
                walk(value, &path.index(at), locations, problems);
            }
        }
        _ => {}
    }
}

type Refused = fn(Location, KeyPath) -> Problem;

fn secret(path: &KeyPath, key: &str) -> Option<Refused> {
    let vault = path.segments().first() == KeyPath::root().key("vault").segments().first();
    match plain(key).as_str() {
        _ if is_client_secret(key) => Some(refused),
        "token" if vault => Some(|location, key| {
            vault_secret(location, key, "put the token in a file and name it with `token_file`")
        }),
        "secretid" if vault => Some(|location, key| {
            vault_secret(
                location,
                key,
                "put the secret id in a file and name it with `secret_id_file`",
            )
        }),
        "jwt" | "password" if vault => Some(|location, key| {
            vault_secret(
                location,
                key,
                "put it in a file and name that file, `jwt_file` for a token",
            )
        }),
        _ => None,
    }
}

/// Whether a key means the client secret, in any spelling and also as its header's name.
pub(super) fn is_client_secret(key: &str) -> bool {
    plain(key).ends_with("clientsecret")
}

/// Says that the client secret is in the wrong place, and which place is right.
pub(super) fn refused(location: Location, key: KeyPath) -> Problem {
    let message = "the client secret may not stand in the configuration, nor in a variable that \
                   sets a key: it would be wherever the configuration is copied, printed or backed up";
    Problem::new(location, key, message).hint(
        "remove it here, treat it as known to others if the file was shared, and keep it in the \
         credential source: `client_secret` in the vault, the sealed store (`credentials set`), a \
         file of that name in the directory, or the variable PIGELLO_CLIENT_SECRET with \
         `source = \"environment\"`",
    )
}

fn vault_secret(location: Location, key: KeyPath, hint: &str) -> Problem {
    Problem::new(location, key, "a secret may not stand in the configuration").hint(hint)
}

fn plain(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
