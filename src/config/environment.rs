//! The layer of environment variables: `PIGELLO_GATEWAY_` and the key, with `__` between levels.
//!
//! figment's own reader of the environment guesses types (`0012` becomes 12, `[x]` a list); here a
//! variable becomes what the key takes, and an identifier stays the text it is.

use std::{ffi::OsString, iter::Peekable, slice, sync::Arc};

use figment::{
    Metadata, Profile, Provider, Source,
    value::{Dict, Map, Value},
};

use super::{
    key::{KeyPath, Shown},
    problem::{Place, Problem},
    secrets,
    shape::Shape,
};

/// What the names of variables that hold a configuration key begin with.
pub const PREFIX: &str = "PIGELLO_GATEWAY_";
/// Names the configuration file; it is no key.
pub const CONFIG: &str = "PIGELLO_GATEWAY_CONFIG";

/// One variable as a layer.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: Arc<str>,
    path: Vec<String>,
    value: Value,
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        Metadata::from("environment variable", Source::Custom(self.name.to_string()))
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut value = self.value.clone();
        for key in self.path.iter().rev() {
            value = Dict::from([(key.clone(), value)]).into();
        }
        Ok(Map::from([(Profile::Default, value.into_dict().unwrap_or_default())]))
    }
}

/// The variables that hold configuration keys, in the order of their names.
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
        if name == CONFIG || is_service_link(rest) {
            continue;
        }
        match variable(name, rest, value, shape, files) {
            Ok(variable) => variables.push(variable),
            Err(problem) => problems.push(problem),
        }
    }
    variables.sort_by(|one, other| one.name.cmp(&other.name));
    variables
}

/// Kubernetes gives every container variables about each service in its namespace; those about a
/// service named `pigello-gateway` look like keys of ours and are none.
fn is_service_link(rest: &str) -> bool {
    rest == "SERVICE_HOST"
        || rest == "SERVICE_PORT"
        || rest.starts_with("SERVICE_PORT_")
        || rest == "PORT"
        || rest
            .strip_prefix("PORT_")
            .is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()))
}

fn variable(
    name: &str,
    rest: &str,
    value: OsString,
    shape: &Shape,
    files: &Value,
) -> Result<Variable, Problem> {
    let name: Arc<str> = name.into();
    let place = || Place::Variable(Arc::clone(&name));
    if secrets::is_client_secret(rest) {
        return Err(secrets::refused(place(), KeyPath::root()));
    }
    let words: Vec<&str> = rest.split("__").collect();
    if words.iter().any(|word| word.is_empty()) {
        let message = "the name does not lead to a key: a level is empty";
        return Err(Problem::new(place(), KeyPath::root(), message)
            .hint("write the key in upper case, with two underscores between levels"));
    }
    let mut path = Vec::with_capacity(words.len());
    let shape = resolve(words.iter().peekable(), shape, Some(files), &mut path);
    let value = value.into_string().map_err(|_| {
        Problem::new(place(), KeyPath::root(), "the variable does not hold UTF-8 text")
    })?;
    Ok(Variable { path, value: typed(shape, value), name })
}

/// Spells the key the way the files do, and finds what stands there.
fn resolve<'a>(
    mut words: Peekable<slice::Iter<'_, &str>>,
    shape: &'a Shape,
    there: Option<&Value>,
    path: &mut Vec<String>,
) -> Option<&'a Shape> {
    let Some(word) = words.next() else { return Some(shape) };
    let lower = word.to_ascii_lowercase();
    let (key, shape, there) = match shape {
        Shape::Table(fields) => {
            let inner = there.and_then(Value::as_dict).and_then(|dict| dict.get(&lower));
            let shape = fields.get(&lower).map(|field| &field.shape);
            (lower, shape, inner)
        }
        Shape::Named(inner) => {
            // A name of the files may hold what a variable's name cannot.
            let known = there.and_then(Value::as_dict);
            let same = |name: &&String| name.to_ascii_lowercase().replace(['-', '.'], "_") == lower;
            let key = known.and_then(|dict| dict.keys().find(same)).cloned().unwrap_or(lower);
            let there = known.and_then(|dict| dict.get(&key));
            (key, Some(&**inner), there)
        }
        Shape::List(inner) => {
            let index: Option<usize> = lower.parse().ok();
            let there = there.and_then(Value::as_array).zip(index);
            let there = there.and_then(|(list, index)| list.get(index));
            (lower, Some(&**inner), there)
        }
        _ => (lower, None, None),
    };
    path.push(key);
    let Some(shape) = shape else {
        path.extend(words.map(|word| word.to_ascii_lowercase()));
        return None;
    };
    resolve(words, shape, there, path)
}

/// Takes the text for what the key wants; what does not fit stays text and is complained about
/// later, with all else.
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

/// What a person who wrote one underscore for two should have written.
pub(super) fn two_underscores(key: &str, known: &[&str]) -> Option<String> {
    let table = known.iter().find(|table| {
        key.strip_prefix(**table).is_some_and(|rest| rest.starts_with('_') && rest.len() > 1)
    })?;
    let rest = key.strip_prefix(table)?.trim_start_matches('_');
    let meant = format!("{PREFIX}{}__{}", table.to_ascii_uppercase(), rest.to_ascii_uppercase());
    Some(format!("levels are separated by two underscores: {}", Shown(&meant)))
}
