//! The layer of environment variables: `PIGELLO_GATEWAY_` and the key, with `__` between levels.
//!
//! figment's own reader of the environment guesses types (`0012` becomes 12, `[x]` a list). Here the
//! key decides the type, and an identifier stays text.

use std::{ffi::OsString, iter::Peekable, slice, sync::Arc};

use figment::value::Value;

use super::{secrets, service_links};
use crate::config::{
    key::{KeyPath, Shown},
    problem::{Location, Problem},
    schema::Shape,
};

/// The prefix of the variables that set a configuration key.
pub const PREFIX: &str = "PIGELLO_GATEWAY_";
/// The variable that names the configuration file; it sets no key.
pub const CONFIG: &str = "PIGELLO_GATEWAY_CONFIG";

/// A variable that sets a key.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: Arc<str>,
    pub(super) path: KeyPath,
    pub(super) value: Value,
}

/// Reads the variables that set keys, in the order of the keys.
pub(super) fn read(
    environment: impl Iterator<Item = (OsString, OsString)>,
    shape: &Shape,
    files: &Value,
    problems: &mut Vec<Problem>,
) -> Vec<Variable> {
    let mut variables = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if name == CONFIG || service_links::is_link(rest, &value) {
            continue;
        }
        match variable(name, rest, value, shape, files) {
            Ok(variable) => variables.push(variable),
            Err(problem) => problems.push(problem),
        }
    }
    variables.sort_by(|one, other| (&one.path, &one.name).cmp(&(&other.path, &other.name)));
    variables
}

fn variable(
    name: &str,
    rest: &str,
    value: OsString,
    shape: &Shape,
    files: &Value,
) -> Result<Variable, Problem> {
    let name: Arc<str> = name.into();
    let location = || Location::Variable(Arc::clone(&name));
    if secrets::is_client_secret(rest) {
        return Err(secrets::refused(location(), KeyPath::root()));
    }
    let words: Vec<&str> = rest.split("__").collect();
    if words.iter().any(|word| word.is_empty()) {
        let message = "the name does not lead to a key: a level is empty";
        return Err(Problem::new(location(), KeyPath::root(), message)
            .hint("write the key in upper case, with two underscores between levels"));
    }
    let mut path = KeyPath::root();
    let shape = resolve(words.iter().peekable(), shape, Some(files), &mut path)
        .map_err(|(path, length)| no_entry(location(), path, length))?;
    let value = value.into_string().map_err(|_| {
        Problem::new(location(), KeyPath::root(), "the variable does not hold UTF-8 text")
    })?;
    Ok(Variable { path, value: typed(shape, value), name })
}

/// Says that a list has no entry of that number.
pub(super) fn no_entry(location: Location, key: KeyPath, length: usize) -> Problem {
    Problem::new(location, key, "there is no such entry in the list")
        .hint(format!("entries are counted from 0; {length} begins a new one"))
}

/// Spells the key the way the files do, and finds the shape of its value. In a list only a number
/// leads on: otherwise the error is the path and the list's length.
fn resolve<'a>(
    mut words: Peekable<slice::Iter<'_, &str>>,
    shape: &'a Shape,
    there: Option<&Value>,
    path: &mut KeyPath,
) -> Result<Option<&'a Shape>, (KeyPath, usize)> {
    let Some(word) = words.next() else { return Ok(Some(shape)) };
    let lower = word.to_ascii_lowercase();
    let (shape, there) = match shape {
        Shape::Table(fields) => {
            let inner = there.and_then(Value::as_dict).and_then(|dict| dict.get(&lower));
            let shape = fields.get(&lower).map(|field| &field.shape);
            *path = path.key(lower);
            (shape, inner)
        }
        Shape::Named(inner) => {
            // A name in a file may have letters that a variable's name cannot have.
            let known = there.and_then(Value::as_dict);
            let same = |name: &&String| name.to_ascii_lowercase().replace(['-', '.'], "_") == lower;
            let key = known.and_then(|dict| dict.keys().find(same)).cloned().unwrap_or(lower);
            let there = known.and_then(|dict| dict.get(&key));
            *path = path.key(key);
            (Some(&**inner), there)
        }
        Shape::List(inner) => {
            let list = there.and_then(Value::as_array).unwrap_or_default();
            let Ok(index) = lower.parse() else { return Err((path.key(lower), list.len())) };
            *path = path.index(index);
            (Some(&**inner), list.get(index))
        }
        _ => {
            *path = path.key(lower);
            (None, None)
        }
    };
    if let Some(shape) = shape {
        return resolve(words, shape, there, path);
    }
    words.for_each(|word| *path = path.key(word.to_ascii_lowercase()));
    Ok(None)
}

/// Gives the text the type of the key. A text that does not fit stays text: `validate` reports it
/// with everything else.
fn typed(shape: Option<&Shape>, text: String) -> Value {
    match shape {
        Some(Shape::Boolean) => text.parse::<bool>().map_or(text.into(), Value::from),
        Some(Shape::Integer(..)) => text.parse::<i64>().map_or(text.into(), Value::from),
        Some(Shape::Number(..)) => text.parse::<f64>().map_or(text.into(), Value::from),
        Some(Shape::List(inner)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let items: Vec<Value> = items.map(|item| typed(Some(inner), item.to_owned())).collect();
            items.into()
        }
        _ => text.into(),
    }
}

/// Makes a hint for a key with one underscore where two are meant.
pub(in crate::config) fn two_underscores(key: &str, known: &[&str]) -> Option<String> {
    let table = known.iter().find(|table| {
        key.strip_prefix(**table).is_some_and(|rest| rest.starts_with('_') && rest.len() > 1)
    })?;
    let rest = key.strip_prefix(table)?.trim_start_matches('_');
    let meant = format!("{PREFIX}{}__{}", table.to_ascii_uppercase(), rest.to_ascii_uppercase());
    Some(format!("levels are separated by two underscores: {}", Shown(&meant)))
}
