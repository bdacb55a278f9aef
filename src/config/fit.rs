//! Fits a tree into the shape of the configuration: every unknown key, wrong type, malformed text
//! and missing key is told, and what is left out of the result for it is nothing else.

use std::{collections::BTreeMap, fmt, path::Path};

use figment::value::{Dict, Num, Value};

use super::{
    environment,
    key::KeyPath,
    layers::Places,
    problem::{Place, Problem, listed, nearest, suggestion},
    raw,
    shape::{Field, Shape},
};

/// The part of the tree that fits.
pub(super) fn fit(
    tree: Value,
    shape: &Shape,
    places: &Places,
    problems: &mut Vec<Problem>,
) -> Value {
    let mut fitting = Fitting { places, problems };
    fitting.value(shape, &KeyPath::root(), tree).unwrap_or_else(|| Dict::new().into())
}

struct Fitting<'a> {
    places: &'a Places,
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
                    self.value(inner, &path.index(at), value).or_else(|| empty(inner))
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
                fitted.extend(self.value(&field.shape, &below, value).map(|value| (key, value)));
            } else {
                // A key that was meant is not missing as well.
                let meant = self.unknown(fields, &key, &below);
                missing.retain(|key, _| meant != Some(key));
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
            match raw::complaint("name", &name) {
                Some(complaint) => self.problems.push(self.problem(&below, complaint)),
                // The name is taken, even if nothing usable stands under it.
                None => fitted.extend(value.or_else(|| empty(inner)).map(|value| (name, value))),
            }
        }
        fitted
    }

    fn text(&mut self, kind: &str, path: &KeyPath, text: String) -> Option<String> {
        if let Some(complaint) = raw::complaint(kind, &text) {
            self.problems.push(self.problem(path, complaint));
            return None;
        }
        if kind == "path"
            && let Some(resolved) = resolve(&self.places.of(path), &text)
        {
            return Some(resolved);
        }
        Some(text)
    }

    /// Tells of an unknown key, and returns the one that was probably meant.
    fn unknown<'f>(
        &mut self,
        fields: &'f BTreeMap<String, Field>,
        key: &str,
        path: &KeyPath,
    ) -> Option<&'f str> {
        let known: Vec<_> = fields.keys().map(String::as_str).collect();
        let problem = self.problem(path, "there is no such key");
        let variable = matches!(problem.place(), Place::Variable(_));
        let hint = variable
            .then(|| environment::two_underscores(key, &known))
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
        Problem::new(self.places.of(path), path.clone(), message)
    }
}

/// What stands in for a table that is none, so that what refers to it is not wrong too.
fn empty(shape: &Shape) -> Option<Value> {
    matches!(shape, Shape::Table(_)).then(|| Dict::new().into())
}

/// A relative path is meant from where it is written; `None` if there is nothing to add.
pub(super) fn resolve(place: &Place, text: &str) -> Option<String> {
    let Place::File { path, .. } = place else { return None };
    let folder = std::path::absolute(path).ok()?;
    let resolved = folder.parent()?.join(Path::new(text));
    resolved.into_os_string().into_string().ok()
}

fn is_whole(number: Num) -> bool {
    !matches!(number, Num::F32(_) | Num::F64(_))
}

fn as_float(number: Num) -> Option<f64> {
    let whole = number.to_i128().or_else(|| number.to_u128()?.try_into().ok());
    number.to_f64().or_else(|| i32::try_from(whole?).ok().map(f64::from))
}
