//! A file of expectations, read with every mistake in it.
//!
//! ```toml
//! [[expect]]
//! caller = "billing"
//! request = "GET /accounts/users/customer/subtenant/list/"    # or `operation`, or `method` and `path`
//! verdict = "allowed"                                         # as `explain --expect` takes it
//!
//! [[expect]]
//! operation = "protectedidentity.*"
//! only = ["audit"]                                            # these callers may, and nobody else
//! profile = "customer-acme"                                   # with this profile
//! ```

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    ops::Range,
    path::Path,
    sync::Arc,
};

use toml_edit::{Document, Item, Table};

use crate::{
    cli::{
        decision::{
            Decisions, Entrance, Expectation, Field, field, line_of, profile_field, unknown,
        },
        failure::Message,
    },
    config::suggestion,
    domain::{Operation, OperationPattern, ProfileName, UNIDENTIFIED},
};

/// One expectation.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// `FILE:LINE` of its table.
    pub(super) place: String,
    pub(super) what: What<'a>,
}

/// What is expected.
#[derive(Debug)]
pub(super) enum What<'a> {
    /// That this becomes of each request.
    Verdict { entrance: Entrance<'a>, requests: Vec<Request>, verdict: Expectation },
    /// That of all callers only these may use any of the operations.
    Only {
        pattern: String,
        operations: Vec<Arc<Operation>>,
        callers: BTreeSet<String>,
        /// With this profile, or with any of their own.
        profile: Option<ProfileName>,
    },
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// With the field that names its profile.
    pub(super) fields: Vec<Field>,
    /// The profile that it names.
    pub(super) profile: Option<ProfileName>,
}

/// Reads a file. What is wrong goes to `mistakes`, and the rest is still read.
pub(super) fn read<'a>(
    path: &Path,
    decisions: &Decisions<'a>,
    mistakes: &mut Vec<Message>,
) -> Vec<Expected<'a>> {
    let text = match text_of(path) {
        Ok(text) => text,
        Err(error) => {
            mistakes.push(Message::new(format!("{}: {error}", path.display()), None));
            return Vec::new();
        }
    };
    let mut reader = Reader { path, text: &text, decisions, mistakes: Vec::new() };
    let expected = match Document::parse(&*text) {
        Ok(document) => reader.document(document.as_table()),
        Err(error) => {
            let reason = error.message().lines().next().unwrap_or("does not parse");
            reader.mistake(error.span(), format!("not TOML: {reason}"), None);
            Vec::new()
        }
    };
    let mut found = reader.mistakes;
    found.sort_by_key(|(line, _)| *line);
    mistakes.extend(found.into_iter().map(|(_, mistake)| mistake));
    expected
}

fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("the file is larger than 1 MiB"));
    }
    Ok(text)
}

/// Reads one file.
struct Reader<'r, 'a> {
    path: &'r Path,
    text: &'r str,
    decisions: &'r Decisions<'a>,
    /// With the line of each.
    mistakes: Vec<(Option<usize>, Message)>,
}

impl<'a> Reader<'_, 'a> {
    fn document(&mut self, document: &Table) -> Vec<Expected<'a>> {
        self.refuse_unknown_keys(document, &["expect"]);
        let tables = match document.get("expect") {
            Some(Item::ArrayOfTables(tables)) => tables,
            Some(_) => {
                self.mistake(
                    span(document, "expect"),
                    "expect: write each one as a table, [[expect]]",
                    None,
                );
                return Vec::new();
            }
            None => {
                self.mistake(None, "there is no [[expect]], so nothing is tested", None);
                return Vec::new();
            }
        };
        tables.iter().filter_map(|table| self.expectation(table)).collect()
    }

    fn expectation(&mut self, table: &Table) -> Option<Expected<'a>> {
        let known = self.mistakes.len();
        self.refuse_unknown_keys(table, &KEYS);
        let place = self.place(table.span());
        let what = match (table.contains_key("verdict"), table.contains_key("only")) {
            (true, false) => self.verdict(table),
            (false, true) => self.only(table),
            (false, false) => {
                let hint = "give `verdict`, or `only` with `operation`".to_owned();
                self.mistake(table.span(), "the table says nothing that is expected", Some(hint));
                None
            }
            (true, true) => {
                self.mistake(span(table, "only"), "`verdict` and `only` exclude each other", None);
                None
            }
        };
        // With a mistake in it, it could pass for another reason than the one that is meant.
        let what = what.filter(|_| self.mistakes.len() == known)?;
        Some(Expected { place, what })
    }

    fn verdict(&mut self, table: &Table) -> Option<What<'a>> {
        let verdict = self.text(table, "verdict").and_then(|text| match text.parse() {
            Ok(verdict) => Some(verdict),
            Err(error) => {
                self.mistake(span(table, "verdict"), format!("verdict: {error}"), None);
                None
            }
        });
        let requests = self.requests(table);
        let entrance = self.entrance(table);
        Some(What::Verdict { entrance: entrance?, requests: requests?, verdict: verdict? })
    }

    fn entrance(&mut self, table: &Table) -> Option<Entrance<'a>> {
        let (listener, caller) = (self.text(table, "listener"), self.text(table, "caller"));
        // Whoever has no name proves nothing.
        let caller = caller.filter(|name| name != UNIDENTIFIED);
        if listener.is_none() && caller.is_none() {
            let entrance = self.decisions.strangers_entrance();
            if entrance.is_none() {
                let message = "every listener is bound to a caller, so nobody is without a name";
                self.mistake(table.span(), message, Some("name a `caller`".to_owned()));
            }
            return entrance;
        }
        match self.decisions.entrance(listener.as_deref(), caller.as_deref()) {
            Ok(entrance) => Some(entrance),
            Err(failure) => {
                let (text, hint) = failure.text();
                let key = if caller.is_some() { "caller" } else { "listener" };
                self.mistake(span(table, key), format!("{key}: {text}"), hint.map(str::to_owned));
                None
            }
        }
    }

    /// The requests of `request`, of `method` and `path`, or of each operation of `operation`.
    fn requests(&mut self, table: &Table) -> Option<Vec<Request>> {
        let mut fields = self.fields(table)?;
        let profile = if table.contains_key("profile") { Some(self.profile(table)?) } else { None };
        fields.extend(profile.iter().filter_map(|name| profile_field(name.as_str())));
        let given = ["request", "path", "operation"].map(|key| table.contains_key(key));
        let request = |method: &str, target: &str| Request {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: fields.clone(),
            profile: profile.clone(),
        };
        match given {
            [false, false, true] if !table.contains_key("method") => {
                let (_, operations) = self.operations(table)?;
                let requests = operations.iter().map(|operation| {
                    request(operation.method().as_str(), &Decisions::target_of(operation))
                });
                Some(requests.collect())
            }
            [true, false, false] if !table.contains_key("method") => {
                let text = self.text(table, "request")?;
                let Some((method, target)) = text.trim().split_once(char::is_whitespace) else {
                    let hint =
                        "request = \"GET /accounts/users/customer/subtenant/list/\"".to_owned();
                    self.mistake(
                        span(table, "request"),
                        "request: write the method, a space and the path",
                        Some(hint),
                    );
                    return None;
                };
                self.method(table, "request", method)?;
                Some(vec![request(method, target.trim_start())])
            }
            [false, true, false] => {
                let (method, path) = (self.text(table, "method")?, self.text(table, "path")?);
                self.method(table, "method", &method)?;
                Some(vec![request(&method, &path)])
            }
            _ => {
                let message = "give one of `request`, `operation`, or `method` with `path`";
                self.mistake(table.span(), message, None);
                None
            }
        }
    }

    fn method(&mut self, table: &Table, key: &str, method: &str) -> Option<()> {
        let line = line_of(method, "/").map(drop);
        line.map_err(|failure| {
            self.mistake(span(table, key), format!("{key}: {}", failure.text().0), None);
        })
        .ok()
    }

    /// The profile, if the configuration has it.
    fn profile(&mut self, table: &Table) -> Option<ProfileName> {
        let text = self.text(table, "profile")?;
        let settings = self.decisions.settings();
        let name = ProfileName::new(&*text);
        if settings.profile(&name).is_some() {
            return Some(name);
        }
        let known: Vec<_> = settings.profiles.keys().map(ProfileName::as_str).collect();
        let failure = unknown("profile", &text, &known);
        let (text, hint) = failure.text();
        self.mistake(span(table, "profile"), format!("profile: {text}"), hint.map(str::to_owned));
        None
    }

    fn fields(&mut self, table: &Table) -> Option<Vec<Field>> {
        let texts =
            if table.contains_key("headers") { self.texts(table, "headers")? } else { Vec::new() };
        let fields: Option<Vec<_>> = texts.iter().map(|text| field(text)).collect();
        if fields.is_none() {
            let hint = "headers = [\"Name: value\"]".to_owned();
            self.mistake(span(table, "headers"), "headers: one of them is no header", Some(hint));
        }
        fields
    }

    fn only(&mut self, table: &Table) -> Option<What<'a>> {
        for key in ["caller", "listener", "headers", "request", "method", "path"] {
            if table.contains_key(key) {
                let message = format!("{key}: `only` is about an `operation` and all callers");
                self.mistake(span(table, key), message, None);
            }
        }
        let callers = self.texts(table, "only");
        let mut known = self.decisions.callers();
        known.push(UNIDENTIFIED);
        for name in callers.iter().flatten().filter(|name| !known.contains(&name.as_str())) {
            let failure = unknown("caller", name, &known);
            let (text, hint) = failure.text();
            self.mistake(span(table, "only"), format!("only: {text}"), hint.map(str::to_owned));
        }
        if !table.contains_key("operation") {
            self.mistake(table.span(), "`only` needs an `operation`", None);
            return None;
        }
        let (pattern, operations) = self.operations(table)?;
        let profile = if table.contains_key("profile") { Some(self.profile(table)?) } else { None };
        Some(What::Only { pattern, operations, callers: callers?.into_iter().collect(), profile })
    }

    /// The operations of the pattern in `operation`.
    fn operations(&mut self, table: &Table) -> Option<(String, Vec<Arc<Operation>>)> {
        let text = self.text(table, "operation")?;
        let all = self.decisions.settings().catalog.operations();
        let pattern: Option<OperationPattern> = text.parse().ok();
        let operations: Vec<_> = all
            .iter()
            .filter(|operation| pattern.as_ref().is_some_and(|pattern| pattern.matches(operation)))
            .cloned()
            .collect();
        if operations.is_empty() {
            let names: Vec<_> = all.iter().map(|operation| operation.name()).collect();
            let hint = suggestion(&text, &names, "the operations are").or_else(|| {
                Some("write `entity.action`, `entity.*`, `*.action` or `*`".to_owned())
            });
            let message = format!("operation: there is no operation `{}`", text.escape_debug());
            self.mistake(span(table, "operation"), message, hint);
            return None;
        }
        Some((text, operations))
    }

    fn text(&mut self, table: &Table, key: &str) -> Option<String> {
        let item = table.get(key)?;
        if let Some(text) = item.as_str() {
            return Some(text.to_owned());
        }
        self.mistake(span(table, key), format!("{key}: expected a text in quotes"), None);
        None
    }

    fn texts(&mut self, table: &Table, key: &str) -> Option<Vec<String>> {
        let values = table.get(key)?.as_array();
        let texts: Option<Vec<_>> = values.and_then(|values| {
            values.iter().map(|value| value.as_str().map(str::to_owned)).collect()
        });
        if texts.is_none() {
            let message = format!("{key}: expected a list of texts, like [\"one\", \"two\"]");
            self.mistake(span(table, key), message, None);
        }
        texts
    }

    fn refuse_unknown_keys(&mut self, table: &Table, known: &[&str]) {
        for (key, _) in table {
            if !known.contains(&key) {
                let hint = suggestion(key, known, "the keys are");
                let message = format!("{}: there is no such key", key.escape_debug());
                self.mistake(span(table, key), message, hint);
            }
        }
    }

    fn mistake(&mut self, at: Option<Range<usize>>, text: impl Into<String>, hint: Option<String>) {
        let line = self.line(at.clone());
        let text = format!("{}: {}", self.place(at), text.into());
        self.mistakes.push((line, Message::new(text, hint)));
    }

    fn place(&self, at: Option<Range<usize>>) -> String {
        let path = self.path.display();
        self.line(at).map_or_else(|| path.to_string(), |line| format!("{path}:{line}"))
    }

    fn line(&self, at: Option<Range<usize>>) -> Option<usize> {
        let before = self.text.as_bytes().get(..at?.start)?;
        Some(memchr::memchr_iter(b'\n', before).count() + 1)
    }
}

/// Where a key is.
fn span(table: &Table, key: &str) -> Option<Range<usize>> {
    table.key(key).and_then(toml_edit::Key::span)
}

const KEYS: [&str; 10] = [
    "caller",
    "listener",
    "profile",
    "request",
    "method",
    "path",
    "operation",
    "headers",
    "verdict",
    "only",
];
/// No file of expectations is larger, but what a wrong path leads to may be.
const MAX_BYTES: u64 = 1024 * 1024;
