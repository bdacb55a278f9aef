//! The effective configuration: every key, its value, and the location the value comes from.
//!
//! Identifiers are cut short. A secret cannot be here, because [`crate::config::read`] drops it.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::{
    config::{
        key::{KeyPath, Segment},
        problem::Location,
        read::Locations,
        types::Config,
    },
    credentials::ValueName,
};

/// Every key with its value and its origin.
#[derive(Debug)]
pub struct Effective {
    document: DocumentMut,
    origins: BTreeMap<KeyPath, Location>,
}

impl Effective {
    pub(in crate::config) fn new(config: &Config, locations: &Locations) -> Self {
        let mut document = toml_edit::ser::to_document(config).unwrap_or_default();
        let mut origins = BTreeMap::new();
        expand(document.as_table_mut());
        each_value(document.as_table_mut(), &KeyPath::root(), &mut |path, value| {
            redact(path, value);
            origins.insert(path.clone(), locations.exactly(path));
        });
        Self { document, origins }
    }

    /// As TOML that could be a configuration file, with each key's origin in a comment.
    pub fn to_toml(&self) -> String {
        let mut document = self.document.clone();
        each_value(document.as_table_mut(), &KeyPath::root(), &mut |path, value| {
            let origin = self.origin(path).to_string();
            let origin: String = origin.chars().filter(|c| !c.is_control()).collect();
            value.decor_mut().set_suffix(format!("  # {origin}"));
        });
        document.to_string()
    }

    /// As one JSON object: `configuration` as the file has it, `origins` by key.
    pub fn to_json(&self) -> Json {
        let configuration: Json =
            toml_edit::de::from_document(self.document.clone()).unwrap_or_default();
        let origins = self.origins.iter();
        let origins: serde_json::Map<String, Json> =
            origins.map(|(key, location)| (key.to_string(), location.to_string().into())).collect();
        json!({ "configuration": configuration, "origins": origins })
    }

    /// Every value, identifiers cut short, by the key that the audit trail has for it: `callers[billing].allow`.
    pub fn values(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        flatten(self.document.as_table(), "", &mut values);
        values
    }

    /// Where the value of a key came from.
    pub fn origin(&self, key: &KeyPath) -> &Location {
        self.origins.get(key).unwrap_or(&Location::Default)
    }

    /// Every key that has a value, with its origin.
    pub fn origins(&self) -> impl Iterator<Item = (&KeyPath, &Location)> {
        self.origins.iter()
    }
}

/// Writes inline tables as tables, as people write a configuration.
pub(super) fn expand(table: &mut Table) {
    for (_, item) in table.iter_mut() {
        let taken = std::mem::take(item);
        let taken = taken.into_table().map_or_else(|item| item, Item::Table);
        *item = taken.into_array_of_tables().map_or_else(|item| item, Item::ArrayOfTables);
        match item {
            Item::Table(inner) => {
                inner.set_implicit(true);
                expand(inner);
            }
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(expand),
            // A list without tables remains a list.
            Item::None | Item::Value(_) => {}
        }
    }
}

/// Every value by its key: `callers[billing].allow`. An entry of a list goes by its name if it has one, so that
/// a further entry does not change the keys of the others.
pub(super) fn flatten(table: &Table, prefix: &str, values: &mut BTreeMap<String, String>) {
    for (key, item) in table {
        let key = format!("{prefix}{key}");
        match item {
            Item::None => {}
            Item::Value(value) => {
                values.insert(key, value.clone().decorated("", "").to_string());
            }
            Item::Table(inner) => flatten(inner, &format!("{key}."), values),
            Item::ArrayOfTables(entries) => {
                for (at, entry) in entries.iter().enumerate() {
                    let name = entry.get("name").and_then(Item::as_str);
                    let name = name.map_or_else(|| at.to_string(), str::to_owned);
                    flatten(entry, &format!("{key}[{name}]."), values);
                }
            }
        }
    }
}

fn each_value(table: &mut Table, path: &KeyPath, visit: &mut impl FnMut(&KeyPath, &mut Value)) {
    for (key, item) in table.iter_mut() {
        let below = path.key(key.get());
        match item {
            Item::None => {}
            Item::Value(value) => visit(&below, value),
            Item::Table(inner) => each_value(inner, &below, visit),
            Item::ArrayOfTables(tables) => {
                for (at, inner) in tables.iter_mut().enumerate() {
                    each_value(inner, &below.index(at), visit);
                }
            }
        }
    }
}

/// Cuts identifiers short: enough is left to tell two apart, and too little to use one. A shortened
/// one does not change, so that the output of `config show` can be read and shown again.
fn redact(path: &KeyPath, value: &mut Value) {
    const SHOWN: usize = 4;
    const CUT: &str = "****";
    let identifier = match path.segments() {
        [Segment::Key(table), _, Segment::Key(key)] => match table.as_str() {
            "credentials" => ValueName::from_key(key).is_some(),
            "vault" => key == "role_id",
            _ => false,
        },
        _ => false,
    };
    if let (true, Some(text)) = (identifier, value.as_str())
        && !text.ends_with(CUT)
    {
        let long = text.chars().count() > 2 * SHOWN;
        let shown: String = text.chars().take(if long { SHOWN } else { 0 }).collect();
        *value = format!("{shown}{CUT}").into();
    }
}
