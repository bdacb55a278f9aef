//! The reference of the configuration, as a page: every key with its type, default and meaning.
//!
//! It is made from the schema, so it says what the code does.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::schema::schema;

/// The page `docs/src/reference/configuration.md`.
pub fn manual() -> String {
    let schema = schema();
    let mut page = Page { definitions: &schema, text: String::new() };
    page.line("# Configuration reference");
    page.line("");
    page.line("<!-- Made from the schema; `UPDATE_EXPECTED=1 cargo nextest run --test cli docs` writes it anew. -->");
    page.line("");
    page.line(description(&schema));
    page.line("");
    page.line("`pigello-gateway check` says what a configuration means, `config show` where each value comes from.");
    page.line("");
    page.line("Durations are `250ms`, `30s`, `10m`, `2h30m`, `90d` or `2w`, as [for the commands](commands.md#times-and-durations).");
    page.table("", &schema, false);
    page.text
}

struct Page<'a> {
    definitions: &'a Value,
    text: String,
}

impl<'a> Page<'a> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// One table, then the tables below it.
    fn table(&mut self, path: &str, table: &'a Value, entries: bool) {
        let mut below = Vec::new();
        let mut rows = Vec::new();
        let required = table.get("required").and_then(Value::as_array);
        let properties = table.get("properties").and_then(Value::as_object);
        for (key, property) in properties.into_iter().flatten() {
            let kind = self.resolve(property);
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let items = kind.get("items").map(|items| self.resolve(items));
            let by_name = kind.get("patternProperties").and_then(Value::as_object);
            let values = by_name
                .and_then(|patterns| patterns.values().next())
                .or_else(|| kind.get("additionalProperties"))
                .map(|values| self.resolve(values));
            if kind.get("properties").is_some() {
                below.push((inner, kind, false));
            } else if let Some(items) = items.filter(|items| items.get("properties").is_some()) {
                below.push((inner, items, true));
            } else if let Some(values) = values.filter(|values| values.get("properties").is_some())
            {
                below.push((format!("{inner}.NAME"), values, false));
            } else {
                let must = required.is_some_and(|required| required.contains(&key.as_str().into()));
                let default = property
                    .get("default")
                    .or_else(|| table.get("default").and_then(|defaults| defaults.get(key)));
                rows.push(row(key, property, kind, items, default, must));
            }
        }
        if !path.is_empty() {
            let heading = if entries { format!("[[{path}]]") } else { format!("[{path}]") };
            let _infallible = write!(self.text, "\n## `{heading}`\n\n{}\n", description(table));
        }
        if !rows.is_empty() {
            self.line("\n| key | type | default | meaning |\n| --- | --- | --- | --- |");
            for row in &rows {
                self.line(row);
            }
        }
        for (path, table, entries) in below {
            self.table(&path, table, entries);
        }
    }

    /// Follows a reference.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str);
        name.and_then(|name| name.strip_prefix("#/$defs/"))
            .and_then(|name| self.definitions.get("$defs")?.get(name))
            .unwrap_or(schema)
    }
}

fn row(
    key: &str,
    property: &Value,
    kind: &Value,
    items: Option<&Value>,
    default: Option<&Value>,
    must: bool,
) -> String {
    let default = match default {
        Some(value) => format!("`{value}`"),
        None if must => "required".to_owned(),
        None => String::new(),
    };
    let own = property.get("description").or_else(|| kind.get("description"));
    let mut meaning = own.and_then(Value::as_str).unwrap_or_default().replace("\n\n", " ");
    for choice in kind.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        if let Some(value) = choice.get("const").and_then(Value::as_str) {
            let _infallible = write!(meaning, " `{value}`: {}", description(choice));
        }
    }
    let items = items.map(|items| format!("list of {}", type_name(items)));
    let kind = items.unwrap_or_else(|| type_name(kind));
    format!("| `{key}` | {kind} | {default} | {} |", meaning.replace('|', "\\|"))
}

fn type_name(schema: &Value) -> String {
    if schema.get("oneOf").is_some() || schema.get("enum").is_some() {
        return "word".to_owned();
    }
    let name = schema.get("type").and_then(Value::as_str).unwrap_or("value");
    match (name, schema.get("minimum"), schema.get("maximum")) {
        ("integer" | "number", Some(min), Some(max)) => format!("number, {min} to {max}"),
        ("integer" | "number", Some(min), None) if *min != 0 => format!("number, from {min}"),
        ("integer" | "number", ..) => "number".to_owned(),
        ("string", ..) => "text".to_owned(),
        (name, ..) => name.to_owned(),
    }
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}
