//! The structure of the configuration: every unknown key, wrong type, malformed text and missing
//! key is reported, and left out.
//!
//! A required key that is missing or malformed gets a stand-in, so that the rest of its table can
//! still be read and checked. [`super::checker`] reports nothing about a stand-in, and with a
//! problem reported there are no settings, so none is ever used.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use figment::value::{Dict, Num, Value};

use crate::{
    config::{
        key::KeyPath,
        problem::{Location, Problem, listed, nearest, suggestion},
        read::{Locations, two_underscores},
        schema::{Field, Shape},
        types::text::Kind,
    },
    domain::{Address, Name, ProfilePattern, TextForm as _},
};

/// Returns the part of the tree that has the right structure.
pub(in crate::config) fn fit(
    tree: Value,
    shape: &Shape,
    locations: &Locations,
    problems: &mut Vec<Problem>,
) -> Value {
    let mut fitting = Fitting { locations, problems };
    fitting.value(shape, &KeyPath::root(), tree).unwrap_or_else(|| Dict::new().into())
}

struct Fitting<'a> {
    locations: &'a Locations,
    problems: &'a mut Vec<Problem>,
}

impl Fitting<'_> {
    fn value(&mut self, shape: &Shape, path: &KeyPath, value: Value) -> Option<Value> {
        match (shape, value) {
            (Shape::Table(fields), Value::Dict(tag, dict)) => {
                Some(Value::Dict(tag, self.table(fields, path, dict)))
            }
            (Shape::Named(inner), Value::Dict(tag, dict)) => {
                Some(Value::Dict(tag, self.named(inner, path, dict)))
            }
            (Shape::List(inner), Value::Array(tag, list)) => {
                let entries = list.into_iter().enumerate();
                // An entry keeps its number, whatever became of the ones before it.
                let fitted = entries.filter_map(|(at, value)| {
                    self.value(inner, &path.index(at), value).or_else(|| stand_in(inner))
                });
                Some(Value::Array(tag, fitted.collect()))
            }
            (Shape::Text(kind), Value::String(tag, text)) => {
                let text = self.text(kind, path, text)?;
                Some(Value::String(tag, text))
            }
            (Shape::Choice(words), Value::String(tag, text)) => {
                if words.contains(&text) {
                    return Some(Value::String(tag, text));
                }
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                let problem = self.problem(path, format!("must be one of {}", listed(&words)));
                let near = nearest(&text, words.iter().copied());
                self.problems.push(match near {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem,
                });
                None
            }
            (Shape::Integer(least, most), Value::Num(tag, number)) if is_whole(number) => {
                let whole = number.to_i128().or_else(|| number.to_u128()?.try_into().ok());
                if whole.is_some_and(|whole| (*least..=*most).contains(&whole)) {
                    return Some(Value::Num(tag, number));
                }
                self.out_of_bounds(path, *least, (*most < i128::MAX).then_some(*most));
                None
            }
            (Shape::Number(least, most), Value::Num(tag, number)) => {
                if as_float(number).is_some_and(|number| (*least..=*most).contains(&number)) {
                    return Some(Value::Num(tag, number));
                }
                self.out_of_bounds(path, least, (*most < f64::MAX).then_some(most));
                None
            }
            (Shape::Boolean, value @ Value::Bool(..)) => Some(value),
            (shape, value) => {
                self.wrong_type(shape, path, &value);
                None
            }
        }
    }

    fn table(&mut self, fields: &BTreeMap<String, Field>, path: &KeyPath, dict: Dict) -> Dict {
        let mut missing: BTreeMap<&str, &Field> = fields
            .iter()
            .filter(|(key, field)| field.required && !dict.contains_key(*key))
            .map(|(key, field)| (key.as_str(), field))
            .collect();
        let mut fitted = Dict::new();
        for (key, value) in dict {
            let below = path.key(&key);
            if let Some(field) = fields.get(&key) {
                let value = self.value(&field.shape, &below, value);
                let value = value.or_else(|| stand_in(&field.shape).filter(|_| field.required));
                fitted.extend(value.map(|value| (key, value)));
            } else {
                // A key that was meant is not missing as well.
                let meant = self.unknown(fields, &key, &below);
                missing.retain(|key, _| meant != Some(key));
            }
        }
        for (key, field) in fields {
            if field.required && !fitted.contains_key(key) {
                fitted.extend(stand_in(&field.shape).map(|value| (key.clone(), value)));
            }
        }
        for (key, field) in missing {
            let problem = self.problem(&path.key(key), "is missing");
            self.problems.push(problem.hint(format!("add `{key} = {}`", field.shape.example())));
        }
        fitted
    }

    fn named(&mut self, inner: &Shape, path: &KeyPath, dict: Dict) -> Dict {
        let mut fitted = Dict::new();
        for (name, value) in dict {
            let below = path.key(&name);
            let value = self.value(inner, &below, value);
            // The name of a template ends in `*`.
            let check = if *path == KeyPath::root().key("profiles") && name.ends_with('*') {
                ProfilePattern::check
            } else {
                Name::check
            };
            match check(&name) {
                Err(complaint) => self.problems.push(self.problem(&below, complaint)),
                // The name exists, even if its value is of no use.
                Ok(()) => {
                    fitted.extend(value.or_else(|| stand_in(inner)).map(|value| (name, value)));
                }
            }
        }
        fitted
    }

    fn text(&mut self, kind: &Kind, path: &KeyPath, text: String) -> Option<String> {
        if let Err(complaint) = (kind.check)(&text) {
            self.problems.push(self.problem(path, complaint));
            return None;
        }
        let resolve = |relative: &str| self.locations.of(path).resolve(relative);
        let resolved = match text.strip_prefix("unix:") {
            Some(socket) if kind.word == Address::KIND => {
                resolve(socket).map(|socket| format!("unix:{socket}"))
            }
            _ if kind.word == PathBuf::KIND => resolve(&text),
            _ => None,
        };
        Some(resolved.unwrap_or(text))
    }

    /// Reports an unknown key, and returns the one that was probably meant.
    fn unknown<'f>(
        &mut self,
        fields: &'f BTreeMap<String, Field>,
        key: &str,
        path: &KeyPath,
    ) -> Option<&'f str> {
        let known: Vec<_> = fields.keys().map(String::as_str).collect();
        let problem = self.problem(path, "there is no such key");
        let variable = matches!(problem.location(), Location::Variable(_));
        let hint = variable
            .then(|| two_underscores(key, &known))
            .flatten()
            .or_else(|| suggestion(key, &known, "the keys here are"));
        self.problems.push(match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
        nearest(key, known)
    }

    fn wrong_type(&mut self, shape: &Shape, path: &KeyPath, value: &Value) {
        let found = match value {
            Value::String(..) | Value::Char(..) => "text",
            Value::Bool(..) => "`true` or `false`",
            Value::Num(_, number) if is_whole(*number) => "a whole number",
            Value::Num(..) => "a fraction",
            Value::Dict(..) => "a table",
            Value::Array(..) => "a list",
            Value::Empty(..) => "nothing",
        };
        let wanted = shape.wanted();
        let problem = self.problem(path, format!("must be {wanted}, and {found} stands there"));
        self.problems.push(match (shape, value) {
            (Shape::List(_), Value::Dict(..)) => {
                problem.hint(format!("write [[{path}]] with two pairs of brackets"))
            }
            (Shape::List(_), _) => problem.hint("put brackets around it: […]"),
            _ => problem,
        });
    }

    fn out_of_bounds(
        &mut self,
        path: &KeyPath,
        least: impl fmt::Display,
        most: Option<impl fmt::Display>,
    ) {
        let message = match most {
            Some(most) => format!("must be between {least} and {most}"),
            None => format!("must be at least {least}"),
        };
        self.problems.push(self.problem(path, message));
    }

    fn problem(&self, path: &KeyPath, message: impl Into<String>) -> Problem {
        Problem::new(self.locations.of(path), path.clone(), message)
    }
}

/// A value in place of one that is of no use.
fn stand_in(shape: &Shape) -> Option<Value> {
    match shape {
        Shape::Table(fields) => {
            let required = fields.iter().filter(|(_, field)| field.required);
            let values =
                required.filter_map(|(key, field)| Some((key.clone(), stand_in(&field.shape)?)));
            Some(values.collect::<Dict>().into())
        }
        Shape::List(_) => Some(Vec::<Value>::new().into()),
        // Any number of listeners may have port 0.
        Shape::Text(kind) if kind.word == Address::KIND => Some("127.0.0.1:0".into()),
        Shape::Text(kind) => Some(kind.example.into()),
        _ => None,
    }
}

fn is_whole(number: Num) -> bool {
    !matches!(number, Num::F32(_) | Num::F64(_))
}

fn as_float(number: Num) -> Option<f64> {
    let whole = number.to_i128().or_else(|| number.to_u128()?.try_into().ok());
    number.to_f64().or_else(|| i32::try_from(whole?).ok().map(f64::from))
}
