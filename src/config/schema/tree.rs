//! The JSON Schema as a tree: which keys there are, and what each takes.
//!
//! A file is checked against the very schema that `config schema` prints. serde alone stops at the
//! first mistake, and its errors quote values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::config::types::text::{self, Kind};

/// The shape of a value.
#[derive(Debug)]
pub(in crate::config) enum Shape {
    /// A table with these keys.
    Table(BTreeMap<String, Field>),
    /// A table whose keys are names of the configuration's own.
    Named(Box<Self>),
    /// A list.
    List(Box<Self>),
    /// Text of a kind.
    Text(&'static Kind),
    /// One of these words.
    Choice(Vec<String>),
    /// A whole number between two bounds, both allowed.
    Integer(i128, i128),
    /// A number between two bounds, both allowed.
    Number(f64, f64),
    /// `true` or `false`.
    Boolean,
}

/// A key of a table.
#[derive(Debug)]
pub(in crate::config) struct Field {
    pub(in crate::config) shape: Shape,
    pub(in crate::config) required: bool,
}

impl Shape {
    /// Reads the root of a schema.
    pub(in crate::config) fn of_schema(schema: &Value) -> Self {
        Self::of(schema, schema)
    }

    fn of(schema: &Value, root: &Value) -> Self {
        let schema = resolve(schema, root);
        let of = |inner: &Value| Box::new(Self::of(inner, root));
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => match (schema.get("properties"), named(schema)) {
                (None, Some(inner)) => Self::Named(of(inner)),
                (properties, _) => Self::Table(fields(schema, properties, root)),
            },
            Some("array") => match schema.get("items") {
                Some(items) => Self::List(of(items)),
                None => Self::List(Box::new(Self::Text(text::kind("")))),
            },
            Some("boolean") => Self::Boolean,
            Some("integer") => {
                let (least, most) = bounds(schema);
                Self::Integer(least, most)
            }
            Some("number") => {
                let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
                let (least, most) = (bound("minimum"), bound("maximum"));
                Self::Number(least.unwrap_or(f64::MIN), most.unwrap_or(f64::MAX))
            }
            _ => match choices(schema) {
                Some(words) => Self::Choice(words),
                None => Self::Text(text::kind(word(schema, "x-kind").unwrap_or_default())),
            },
        }
    }

    /// An example of a value, for a hint.
    pub(in crate::config) fn example(&self) -> String {
        match self {
            Self::Table(_) | Self::Named(_) => "{ … }".to_owned(),
            Self::List(inner) => format!("[{}]", inner.example()),
            Self::Text(kind) => format!("\"{}\"", kind.example),
            Self::Choice(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                words.join(" | ")
            }
            Self::Integer(..) => "1".to_owned(),
            Self::Number(..) => "0.5".to_owned(),
            Self::Boolean => "true".to_owned(),
        }
    }

    /// The type, for a message about a value of another type.
    pub(in crate::config) fn wanted(&self) -> &'static str {
        match self {
            Self::Table(_) | Self::Named(_) => "a table",
            Self::List(_) => "a list",
            Self::Text(kind) => match kind.word {
                "duration" => "a duration in quotes, like \"30s\"",
                "size" => "a size in quotes, like \"64KiB\"",
                _ => "text in quotes",
            },
            Self::Choice(_) => "text in quotes",
            Self::Integer(..) => "a whole number",
            Self::Number(..) => "a number",
            Self::Boolean => "`true` or `false`",
        }
    }
}

/// Follows a reference. The keywords beside it (a description, a default) do not change the shape.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let target = word(schema, "$ref").and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn named(schema: &Value) -> Option<&Value> {
    let patterns = schema.get("patternProperties").and_then(Value::as_object);
    patterns.and_then(|patterns| patterns.values().next())
}

fn fields(schema: &Value, properties: Option<&Value>, root: &Value) -> BTreeMap<String, Field> {
    let required = schema.get("required").and_then(Value::as_array);
    let required =
        |key: &str| required.is_some_and(|list| list.iter().any(|name| name.as_str() == Some(key)));
    let properties = properties.and_then(Value::as_object).into_iter().flat_map(Map::iter);
    properties
        .map(|(key, inner)| {
            let field = Field { shape: Shape::of(inner, root), required: required(key) };
            (key.clone(), field)
        })
        .collect()
}

fn bounds(schema: &Value) -> (i128, i128) {
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64).map(i128::from);
    let most = match word(schema, "format") {
        Some("uint8") => u8::MAX.into(),
        Some("uint16") => u16::MAX.into(),
        Some("uint32") => u32::MAX.into(),
        _ => i128::MAX,
    };
    (bound("minimum").unwrap_or(i128::MIN), bound("maximum").unwrap_or(most))
}

fn choices(schema: &Value) -> Option<Vec<String>> {
    let of = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().map(of).collect();
    }
    let options = schema.get("oneOf").and_then(Value::as_array)?;
    options.iter().map(|option| option.get("const").and_then(of)).collect()
}

fn word<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Value::as_str)
}
