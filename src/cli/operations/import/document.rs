//! Reads an OpenAPI description (OpenAPI Specification 3.0 and 3.1): its paths, methods and parameters.
//!
//! References are followed inside the file and never out of it.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use http::Method;
use serde_json::{Map, Value};
use serde_saphyr::Error as YamlError;

use crate::{
    cli::Failure,
    domain::{CanonicalTarget, visible},
};

/// Bounds of a file. The largest published descriptions have 13 MB and half a million values.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
const MAX_NODES: usize = 2_000_000;
const MAX_DEPTH: usize = 100;
/// Aliases of YAML may repeat so many values in all.
const MAX_REPEATED: usize = 1_000_000;
/// References to references.
const MAX_HOPS: usize = 16;

/// The text of a file, or of standard input.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let unusable = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
    };
    read.map_err(|error| unusable(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(unusable("it has more than 32 MiB".to_owned()));
    }
    Ok(text)
}

/// A description, parsed and of a version that is understood.
#[derive(Debug)]
pub(super) struct Description {
    root: Value,
}

/// A segment of a path.
#[derive(Debug)]
pub(super) enum Segment {
    Word(String),
    /// With its name in the file.
    Variable(String),
}

impl Segment {
    pub(super) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Variable(name) => Some(name),
            Self::Word(_) => None,
        }
    }

    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Variable(_) => None,
        }
    }
}

/// A method on a path.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// The path as the configuration writes it, with the server's base path.
    pub(super) template: String,
    pub(super) segments: Vec<Segment>,
    pub(super) has_body: bool,
    /// Whether the file leaves open that its variables are UUIDs.
    pub(super) is_unsaid: bool,
    /// One line about it.
    pub(super) about: String,
}

impl Endpoint {
    pub(super) fn skipped(&self, why: String) -> Skipped {
        Skipped { what: format!("{} {}", self.method, self.template), why }
    }
}

/// Something that is no operation, and why.
#[derive(Debug)]
pub(super) struct Skipped {
    pub(super) what: String,
    pub(super) why: String,
}

/// What a description has.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) remarks: Vec<String>,
}

impl Description {
    /// Parses JSON or YAML.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.trim_start_matches('\u{feff}');
        let root = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| unreadable("JSON", &error.to_string()))?
        } else {
            yaml(text)?
        };
        let root: Value = root;
        let version = match root.get("openapi") {
            Some(Value::String(version)) => version.clone(),
            // Unquoted in YAML.
            Some(Value::Number(version)) => version.to_string(),
            _ if root.get("swagger").is_some() => {
                return Err(Failure::usage("this is Swagger 2.0, and OpenAPI 3 is needed")
                    .hint("`npx swagger2openapi FILE` converts it"));
            }
            _ => {
                return Err(Failure::usage("this is no OpenAPI description: it has no `openapi`"));
            }
        };
        if version != "3" && !version.starts_with("3.") {
            return Err(Failure::usage(format!(
                "this is OpenAPI {}, and OpenAPI 3 is needed",
                visible(&version)
            )));
        }
        if !root.get("paths").is_some_and(Value::is_object) {
            return Err(Failure::usage("this description has no `paths`"));
        }
        Ok(Self { root })
    }

    /// Everything that can be called, in the order of the paths.
    pub(super) fn endpoints(&self) -> Found {
        let mut found = Found::default();
        let mut seen = BTreeSet::new();
        let paths = self.root.get("paths").and_then(Value::as_object);
        for (path, item) in paths.into_iter().flatten() {
            if path.starts_with("x-") {
                continue;
            }
            let resolved = if path.starts_with('/') {
                self.resolve(item)
            } else {
                Err("a path begins with `/`".to_owned())
            };
            let item = match resolved {
                Ok(item) => item,
                Err(why) => {
                    found.skipped.push(Skipped { what: path.clone(), why });
                    continue;
                }
            };
            for (key, operation) in item.iter() {
                let Some(kind) = MethodKind::of(key) else { continue };
                let what = || format!("{} {path}", key.to_ascii_uppercase());
                let made = match kind {
                    MethodKind::Proxied(method) => self.endpoint(path, &item, method, operation),
                    MethodKind::Head if item.get("get").is_some() => continue,
                    MethodKind::Head => {
                        Err("a HEAD belongs to a GET operation, and there is none".to_owned())
                    }
                    MethodKind::Other => Err("this method is not proxied".to_owned()),
                    MethodKind::Unknown => Err(format!(
                        "`{key}` is no method of OpenAPI, which has them in lower case"
                    )),
                };
                match made {
                    Ok(endpoint) if seen.insert((endpoint.template.clone(), key.clone())) => {
                        found.endpoints.push(endpoint);
                    }
                    Ok(endpoint) => {
                        let why = format!("{} is in the file twice", endpoint.template);
                        found.skipped.push(Skipped { what: what(), why });
                    }
                    Err(why) => found.skipped.push(Skipped { what: what(), why }),
                }
            }
        }
        let servers = self.root.get("servers").and_then(Value::as_array);
        if servers.is_some_and(|servers| servers.len() > 1) {
            found.remarks.push("of several `servers` the first gives the base path".to_owned());
        }
        found
    }

    fn endpoint(
        &self,
        path: &str,
        item: &Item<'_>,
        method: Method,
        operation: &Value,
    ) -> Result<Endpoint, String> {
        let operation = self.resolve(operation)?;
        let base = self.base_path(item, &operation)?;
        let (template, sample, segments) = template(&format!("{base}{path}"))?;
        if let Err(error) = sample.parse::<CanonicalTarget>() {
            return Err(format!("no request has this path: {error}"));
        }
        let mut is_unsaid = false;
        for name in segments.iter().filter_map(Segment::parameter) {
            is_unsaid |= self.is_unsaid(name, item, &operation)?;
        }
        let has_body = match operation.get("requestBody") {
            None | Some(Value::Null) => false,
            Some(Value::Object(_)) => true,
            Some(_) => return Err("its `requestBody` is no object".to_owned()),
        };
        Ok(Endpoint { method, template, segments, has_body, is_unsaid, about: about(&operation) })
    }

    /// Whether the file leaves open that a variable segment is a UUID. If it says that it is something else,
    /// no request could match.
    fn is_unsaid(&self, name: &str, item: &Item<'_>, operation: &Item<'_>) -> Result<bool, String> {
        // An operation's own parameters come before those of its path.
        let mut parameters = Vec::new();
        for from in [operation, item] {
            parameters.extend(list(from.get("parameters"), "parameters")?);
        }
        let of_parameter = |why| format!("a parameter of it: {why}");
        for parameter in parameters {
            let parameter = self.resolve(parameter).map_err(of_parameter)?;
            let text = |key| parameter.get(key).and_then(Value::as_str);
            if text("in") != Some("path") || text("name") != Some(name) {
                continue;
            }
            let Some(schema) = parameter.get("schema") else { return Ok(true) };
            // In OpenAPI 3.1 `true` is a schema, which says nothing.
            if *schema == Value::Bool(true) {
                return Ok(true);
            }
            let schema = self.resolve(schema).map_err(of_parameter)?;
            let is_text = match schema.get("type") {
                None => true,
                Some(Value::String(kind)) => kind == "string",
                Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
                Some(_) => false,
            };
            let format = schema.get("format").and_then(Value::as_str);
            return match format {
                _ if !is_text => {
                    Err(format!("`{{{name}}}` is no text, and a variable segment is a UUID"))
                }
                Some(format) if format.eq_ignore_ascii_case("uuid") => Ok(false),
                Some(format) => {
                    Err(format!("`{{{name}}}` is a {format}, and a variable segment is a UUID"))
                }
                None if schema.get("enum").is_some() => Err(format!(
                    "`{{{name}}}` is one of a few words, and a variable segment is a UUID"
                )),
                None => Ok(true),
            };
        }
        Ok(true)
    }

    /// The path of the first server that applies, without a `/` at its end.
    fn base_path(&self, item: &Item<'_>, operation: &Item<'_>) -> Result<String, String> {
        for servers in [operation.get("servers"), item.get("servers"), self.root.get("servers")] {
            if let Some(server) = list(servers, "servers")?.first() {
                return server_path(server);
            }
        }
        Ok(String::new())
    }

    /// Follows `$ref` inside the file. Fields beside it are kept, and come first. A null, which is nothing
    /// after a key of YAML, has no fields.
    fn resolve<'a>(&'a self, value: &'a Value) -> Result<Item<'a>, String> {
        let mut item = Item(Vec::new());
        let mut next = value;
        for _ in 0..MAX_HOPS {
            let fields = match next {
                Value::Object(fields) => fields,
                Value::Null => return Ok(item),
                _ => return Err("it is no object".to_owned()),
            };
            item.0.push(fields);
            let Some(reference) = fields.get("$ref") else { return Ok(item) };
            let reference = reference.as_str().ok_or("its `$ref` is no text")?;
            let Some(pointer) = reference.strip_prefix('#') else {
                return Err(
                    "it is described in another file (`$ref`), which is not read".to_owned()
                );
            };
            let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8_lossy();
            next = self
                .root
                .pointer(&pointer)
                .ok_or_else(|| format!("its `$ref` leads nowhere: {reference}"))?;
        }
        Err("its `$ref` leads in a circle".to_owned())
    }
}

/// An object together with those that it refers to.
#[derive(Debug)]
struct Item<'a>(Vec<&'a Map<String, Value>>);

impl<'a> Item<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.iter().find_map(|fields| fields.get(key))
    }

    /// Its fields, each once.
    fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let mut seen = BTreeSet::new();
        let fields = self.0.iter().copied().flatten();
        fields.filter(move |(key, _)| seen.insert(key.as_str())).collect::<Vec<_>>().into_iter()
    }
}

/// What a key of a path item is, if it is a method.
enum MethodKind {
    Proxied(Method),
    Head,
    Other,
    Unknown,
}

impl MethodKind {
    fn of(key: &str) -> Option<Self> {
        Some(match key {
            "get" => Self::Proxied(Method::GET),
            "post" => Self::Proxied(Method::POST),
            "put" => Self::Proxied(Method::PUT),
            "patch" => Self::Proxied(Method::PATCH),
            "delete" => Self::Proxied(Method::DELETE),
            "options" => Self::Proxied(Method::OPTIONS),
            "head" => Self::Head,
            "trace" | "connect" | "query" | "additionalOperations" => Self::Other,
            "$ref" | "summary" | "description" | "servers" | "parameters" => return None,
            extension if extension.starts_with("x-") => return None,
            _ => Self::Unknown,
        })
    }
}

fn unreadable(form: &str, why: &str) -> Failure {
    Failure::usage(format!("this is no {form} that can be read: {why}"))
}

fn yaml(text: &str) -> Result<Value, Failure> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 2,
            max_depth: MAX_DEPTH,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        strict_booleans: true,
        with_snippet: false,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| unreadable("YAML", &yaml_mistake(&error)))
}

/// The mistake in words of our own: the library's are for programmers, and name its options.
fn yaml_mistake(error: &YamlError) -> String {
    let mut inner = error;
    while let YamlError::AliasError { error, .. } | YamlError::WithSnippet { error, .. } = inner {
        inner = error;
    }
    let what = match inner {
        YamlError::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{}` is there twice", visible(key))
        }
        YamlError::DuplicateMappingKey { .. } => "a key is there twice".to_owned(),
        YamlError::MultipleDocuments { .. } => "it has more than one document (`---`)".to_owned(),
        YamlError::UnknownAnchor { .. } => "an alias (`*`) has no anchor (`&`)".to_owned(),
        YamlError::Eof { .. } => "it ends too early".to_owned(),
        YamlError::Budget { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => format!(
            "it has more than {MAX_NODES} values or {MAX_DEPTH} levels, or its aliases repeat too much"
        ),
        _ => "its syntax is wrong, or it is nested too deep".to_owned(),
    };
    match inner.location().or_else(|| error.location()) {
        Some(at) if at.line() > 0 => format!("{what} (line {}, column {})", at.line(), at.column()),
        _ => what,
    }
}

/// A list, empty if there is none.
fn list<'a>(value: Option<&'a Value>, key: &str) -> Result<&'a [Value], String> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(format!("`{key}` is no list")),
    }
}

/// The path of a server's URL (RFC 3986, section 3), without a `/` at its end.
fn server_path(server: &Value) -> Result<String, String> {
    let url = server.get("url").and_then(Value::as_str).ok_or("a server has no `url`")?;
    let url = filled_in(url, server);
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let scheme = url.split_once(':').filter(|(scheme, _)| !scheme.contains('/'));
    let reference = match scheme {
        Some((scheme, rest)) => {
            let is_http = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
            if !is_http || !rest.starts_with("//") {
                return Err(format!("the server's URL is not of HTTP: {url}"));
            }
            rest
        }
        None => url,
    };
    let path = match reference.strip_prefix("//") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => reference,
    };
    if let Some((_, rest)) = path.split_once('{') {
        let name = rest.split('}').next().unwrap_or_default();
        return Err(format!("the server's variable `{name}` has no default"));
    }
    let segments = path.split('/').filter(|segment| !matches!(*segment, "" | "."));
    Ok(segments.flat_map(|segment| ["/", segment]).collect())
}

/// The path in the form of the configuration, a path that matches it, and its segments.
///
/// Variables are numbered by their place, because two paths that differ in a variable's name are one path.
fn template(path: &str) -> Result<(String, String, Vec<Segment>), String> {
    let (mut template, mut sample, mut segments) = (String::new(), String::new(), Vec::new());
    let mut variables = 0;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        template.push('/');
        sample.push('/');
        let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match inner {
            Some(name) if !name.is_empty() && !name.contains(['{', '}', '*', '?', '#']) => {
                variables += 1;
                // `{pk}`, `{pk2}`, …
                let number = if variables == 1 { String::new() } else { variables.to_string() };
                template.extend(["{pk", &number, "}"]);
                sample.push_str(SAMPLE);
                segments.push(Segment::Variable(name.to_owned()));
            }
            _ if segment.contains(['{', '}']) => {
                return Err("a variable is a part of a segment; the gateway's are whole segments"
                    .to_owned());
            }
            _ if segment.contains(['*', '?', '#']) => {
                return Err("the path contains `*`, `?` or `#`".to_owned());
            }
            _ => {
                template.push_str(segment);
                sample.push_str(segment);
                if !segment.is_empty() {
                    segments.push(Segment::Word(segment.to_owned()));
                }
            }
        }
    }
    Ok((template, sample, segments))
}

/// A server's URL with the defaults of its variables. One without a default stays as it is.
fn filled_in(url: &str, server: &Value) -> String {
    let mut filled = String::new();
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else { break };
        let variable = server.get("variables").and_then(|variables| variables.get(name));
        filled.push_str(before);
        match variable.and_then(|variable| variable.get("default")) {
            Some(Value::String(default)) => filled.push_str(default),
            // Unquoted in YAML.
            Some(Value::Number(default)) => filled.push_str(&default.to_string()),
            _ => filled.extend(["{", name, "}"]),
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

/// The summary, else the beginning of the description, else the id.
fn about(operation: &Item<'_>) -> String {
    const LONGEST: usize = 90;
    let text = |key| {
        operation.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    };
    let told = text("summary").or_else(|| text("description")).or_else(|| text("operationId"));
    let line = told.and_then(|told| told.lines().next()).unwrap_or_default();
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = words.chars().take(LONGEST).collect();
    let more = if cut.len() < words.len() { "…" } else { "" };
    let is_old = operation.get("deprecated").and_then(Value::as_bool).unwrap_or_default();
    format!("{}{cut}{more}", if is_old { "(deprecated) " } else { "" })
}

/// An object that no request asks for.
const SAMPLE: &str = "00000000-0000-0000-0000-000000000000";
