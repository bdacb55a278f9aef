//! Refuses secrets where they do not belong.
//!
//! A configuration is copied, committed, printed and mounted; a secret in it is in all these
//! places. So it is refused, and its value is dropped here, before anything could print it.

use figment::value::{Dict, Value};

use super::{
    key::KeyPath,
    layers::Places,
    problem::{Place, Problem},
};

/// Takes every secret out of the tree, with a problem for each.
pub(super) fn take_out(tree: &mut Value, places: &Places, problems: &mut Vec<Problem>) {
    walk(tree, &KeyPath::root(), places, problems);
}

fn walk(value: &mut Value, path: &KeyPath, places: &Places, problems: &mut Vec<Problem>) {
    match value {
        Value::Dict(_, dict) => {
            dict.retain(|key, _| match secret(path, key) {
                Some(refused) => {
                    let below = path.key(key);
                    problems.push(refused(places.of(&below), below));
                    false
                }
                None => true,
            });
            walk_all(dict, path, places, problems);
        }
        Value::Array(_, list) => {
            for (at, value) in list.iter_mut().enumerate() {
                walk(value, &path.index(at), places, problems);
            }
        }
        _ => {}
    }
}

fn walk_all(dict: &mut Dict, path: &KeyPath, places: &Places, problems: &mut Vec<Problem>) {
    for (key, value) in dict {
        walk(value, &path.key(key), places, problems);
    }
}

type Refused = fn(Place, KeyPath) -> Problem;

fn secret(path: &KeyPath, key: &str) -> Option<Refused> {
    let vault = path.segments().first() == KeyPath::root().key("vault").segments().first();
    match plain(key).as_str() {
        _ if is_client_secret(key) => Some(refused),
        "token" if vault => Some(|place, key| {
            vault_secret(place, key, "put the token in a file and name it with `token_file`")
        }),
        "secretid" if vault => Some(|place, key| {
            vault_secret(
                place,
                key,
                "put the secret id in a file and name it with `secret_id_file`",
            )
        }),
        "jwt" | "password" if vault => Some(|place, key| {
            vault_secret(place, key, "put it in a file and name that file, `jwt_file` for a token")
        }),
        _ => None,
    }
}

/// Whether a key means the client secret, however it is spelt, its header's name included.
pub(super) fn is_client_secret(key: &str) -> bool {
    plain(key).ends_with("clientsecret")
}

/// Says where the client secret belongs.
pub(super) fn refused(place: Place, key: KeyPath) -> Problem {
    let message = "the client secret may not stand in the configuration, nor in a variable that \
                   sets a key: it would be wherever the configuration is copied, printed or backed up";
    Problem::new(place, key, message).hint(
        "remove it here, treat it as known to others if the file was shared, and keep it in the \
         credential source: `client_secret` in the vault, the sealed store (`credentials set`), a \
         file of that name in the directory, or the variable PIGELLO_CLIENT_SECRET with \
         `source = \"environment\"`",
    )
}

fn vault_secret(place: Place, key: KeyPath, hint: &str) -> Problem {
    Problem::new(place, key, "a secret may not stand in the configuration").hint(hint)
}

fn plain(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
