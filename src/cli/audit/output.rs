//! The output formats of records: a table, the trail's own lines, or comma-separated values.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::search::{FoundContent, FoundLine};
use crate::{
    audit::{CALL_FIELDS, CallLine, LineHead},
    cli::time::Zone,
    domain::{UNIDENTIFIED, UUID_LENGTH, is_uuid, visible},
};

/// How records are shown.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OutputArgs {
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
    /// Show all columns of the table, however wide the terminal is: also the request id and the proof
    #[arg(long)]
    wide: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// Aligned text; it fits a terminal, and is as wide as it needs to be elsewhere
    #[default]
    Table,
    /// The trail's own lines
    Json,
    /// Comma-separated values (RFC 4180) of all fields
    Csv,
}

/// Prints records, below a heading.
pub(super) struct Printer<'a> {
    format: OutputFormat,
    columns: Vec<Column>,
    /// The width of the terminal.
    width: Option<usize>,
    zone: &'a Zone,
    out: &'a mut dyn Write,
}

impl<'a> Printer<'a> {
    /// `width` is the terminal's, if the output is one. `several` says that records are of several trails.
    pub(super) fn new(
        args: OutputArgs,
        (width, several): (Option<usize>, bool),
        zone: &'a Zone,
        out: &'a mut dyn Write,
    ) -> Self {
        let width = width.filter(|_| !args.wide);
        let mut columns = match width {
            _ if args.wide => ALL.to_vec(),
            Some(width) if width < ROOMY => NARROW.to_vec(),
            Some(_) => FITTED.to_vec(),
            None => PLAIN.to_vec(),
        };
        if several {
            columns.insert(1, TRAIL);
        }
        Self { format: args.format, columns, width, zone, out }
    }

    /// The heading over calls.
    pub(super) fn heading(&mut self) -> io::Result<()> {
        match self.format {
            OutputFormat::Table => {
                let cells =
                    self.columns.iter().map(|column| (column.name.to_owned(), Style::new()));
                let line = self.aligned(cells.collect());
                writeln!(self.out, "{HEAD}{line}{HEAD:#}")
            }
            OutputFormat::Json => Ok(()),
            OutputFormat::Csv => {
                writeln!(self.out, "{}", csv_fields().collect::<Vec<_>>().join(","))
            }
        }
    }

    /// The heading over markers.
    pub(super) fn marker_heading(&mut self) -> io::Result<()> {
        match self.format {
            OutputFormat::Table => {
                writeln!(self.out, "{HEAD}{:<27} {:<13} DETAILS{HEAD:#}", "TIME", "KIND")
            }
            OutputFormat::Json => Ok(()),
            OutputFormat::Csv => writeln!(self.out, "time,seq,kind,details,trail"),
        }
    }

    /// One record.
    pub(super) fn print(&mut self, found: FoundLine<'_>) -> io::Result<()> {
        match (self.format, found.content) {
            (OutputFormat::Json, _) => self.json(found),
            (OutputFormat::Table, FoundContent::Call(call)) => {
                let cells = self.columns.iter().map(|column| {
                    let style = if column.is_verdict { verdict(call) } else { Style::new() };
                    ((column.text)(&Cell { call, trail: found.trail, zone: self.zone }), style)
                });
                let line = self.aligned(cells.collect());
                writeln!(self.out, "{line}")
            }
            (OutputFormat::Csv, FoundContent::Call(_)) => {
                let fields: Map<String, Value> =
                    serde_json::from_slice(found.line).unwrap_or_default();
                let values = csv_fields().map(|name| match (name, fields.get(name)) {
                    (TRAIL_FIELD, _) => csv(found.trail.unwrap_or_default()),
                    (_, value) => csv(&flat(value.unwrap_or(&Value::Null))),
                });
                let line = values.collect::<Vec<_>>().join(",");
                writeln!(self.out, "{line}")
            }
            (OutputFormat::Table, FoundContent::Marker(LineHead { kind, time, .. })) => {
                let time = self.zone.show(time);
                let details = details(found);
                writeln!(self.out, "{time:<27} {:<13} {details}", visible(kind))
            }
            (OutputFormat::Csv, FoundContent::Marker(LineHead { kind, seq, time })) => {
                let details = csv(&details(found));
                let trail = csv(found.trail.unwrap_or_default());
                writeln!(self.out, "{time},{seq},{},{details},{trail}", csv(kind))
            }
        }
    }

    /// The line as it is; of several trails, with the name of its own behind.
    fn json(&mut self, FoundLine { line, trail, .. }: FoundLine<'_>) -> io::Result<()> {
        if let (Some(trail), Some(open)) = (trail, line.strip_suffix(b"}")) {
            self.out.write_all(open)?;
            return writeln!(self.out, ",\"{TRAIL_FIELD}\":{}}}", Value::from(trail));
        }
        self.out.write_all(line)?;
        self.out.write_all(b"\n")
    }

    /// A row of the table. On a terminal no cell is wider than its column, and no row than the terminal.
    fn aligned(&self, cells: Vec<(String, Style)>) -> String {
        let mut line = String::new();
        let mut left = self.width.unwrap_or(usize::MAX);
        for (column, (text, style)) in self.columns.iter().zip(cells) {
            let is_last = column.width == 0;
            let width = column.width.min(left);
            let room = if is_last || self.width.is_none() { left } else { width };
            let text = cut(&text, room);
            let length = text.chars().count();
            let padding = " ".repeat(width.saturating_sub(length));
            let (before, after) = if column.is_number { (&*padding, "") } else { ("", &*padding) };
            // Writing to a string cannot fail.
            let _infallible = write!(line, "{before}{style}{text}{style:#}{after}");
            left = left.saturating_sub(width.max(length) + 1);
            if left == 0 {
                break;
            }
            line.push(' ');
        }
        line.trim_end().to_owned()
    }
}

/// The beginning of a text, with an ellipsis if it is longer.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    Cow::Owned(kept + if width == 0 { "" } else { "…" })
}

/// Red for failures, yellow for refusals.
fn verdict(call: &CallLine<'_>) -> Style {
    match (&*call.outcome, call.status) {
        ("failed", _) | (_, Some(500..)) => AnsiColor::Red.on_default(),
        ("refused", _) | (_, Some(400..)) => AnsiColor::Yellow.on_default(),
        _ => Style::new(),
    }
}

/// A column of the table of calls.
#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    /// Characters; 0 for the last one, which gets the rest.
    width: usize,
    is_number: bool,
    is_verdict: bool,
    text: fn(&Cell<'_>) -> String,
}

/// What a column shows a part of.
struct Cell<'a> {
    call: &'a CallLine<'a>,
    trail: Option<&'a str>,
    zone: &'a Zone,
}

impl Column {
    const fn new(name: &'static str, width: usize, text: fn(&Cell<'_>) -> String) -> Self {
        Self { name, width, is_number: false, is_verdict: false, text }
    }

    const fn number(self) -> Self {
        Self { is_number: true, ..self }
    }

    const fn verdict(self) -> Self {
        Self { is_verdict: true, ..self }
    }
}

fn shown(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| visible(text).into_owned())
}

/// The caller; of a call of the gateway's own, its cause.
fn caller(call: &CallLine<'_>) -> String {
    match (&call.cause, &call.caller) {
        (Some(cause), _) => format!("({})", visible(cause)),
        (None, caller) => visible(caller.as_deref().unwrap_or(UNIDENTIFIED)).into_owned(),
    }
}

fn operation(call: &CallLine<'_>) -> String {
    visible(call.operation.as_deref().unwrap_or(&call.method)).into_owned()
}

/// What a narrow table has room for besides: the error, and the object or else the path.
fn gist(call: &CallLine<'_>) -> String {
    let object = match (&call.operation, &call.object_id) {
        (Some(_), object) => object.as_deref().map(shortened),
        (None, _) => call.path.as_deref().map(|path| visible(&shortened(path)).into_owned()),
    };
    let error = call.error.as_deref().map(|error| visible(error).into_owned());
    error.into_iter().chain(object).collect::<Vec<_>>().join(" ")
}

/// A text with the first eight digits of each UUID and of each hashed name.
fn shortened(text: &str) -> String {
    let short = |segment: &str| match segment {
        uuid if uuid.len() == UUID_LENGTH && is_uuid(uuid) => cut(uuid, 9).into_owned(),
        hashed if hashed.starts_with('~') => cut(hashed, 10).into_owned(),
        other => other.to_owned(),
    };
    text.split('/').map(short).collect::<Vec<_>>().join("/")
}

const TIME: Column = Column::new("TIME", 27, |cell| cell.zone.show(&cell.call.time));
/// To the second, without the offset.
const SHORT_TIME: Column = Column::new("TIME", 19, |cell| {
    let time = cell.zone.show(&cell.call.time).replace('T', " ");
    time.chars().take(19).collect()
});
/// The same without the year.
const DAY_TIME: Column =
    Column::new("TIME", 14, |cell| (SHORT_TIME.text)(cell).chars().skip(5).collect());
const TRAIL: Column = Column::new("TRAIL", 14, |cell| shown(cell.trail));
const CALLER: Column = Column::new("CALLER", 16, |cell| caller(cell.call));
const PROOF: Column = Column::new("PROOF", 28, |cell| shown(cell.call.caller_proof.as_deref()));
const LISTENER: Column = Column::new("LISTENER", 12, |cell| shown(Some(&cell.call.listener)));
const OPERATION: Column = Column::new("OPERATION", 28, |cell| operation(cell.call));
const STATUS: Column = Column::new("STATUS", 6, |cell| {
    cell.call.status.map_or_else(|| "-".to_owned(), |status| status.to_string())
})
.number()
.verdict();
const OUTCOME: Column =
    Column::new("OUTCOME", 9, |cell| visible(&cell.call.outcome).into_owned()).verdict();
const CACHE: Column = Column::new("CACHE", 11, |cell| shown(cell.call.cache.as_deref()));
const MS: Column = Column::new("MS", 9, |cell| {
    format!("{:.1}", Duration::from_micros(cell.call.duration_us).as_secs_f64() * 1e3)
})
.number();
const REQUEST_ID: Column = Column::new("REQUEST ID", 36, |cell| shown(Some(&cell.call.request_id)));
const ERROR: Column = Column::new("ERROR", 24, |cell| shown(cell.call.error.as_deref()));
const PATH: Column = Column::new("PATH", 0, |cell| shown(cell.call.path.as_deref()));
const GIST: Column = Column::new("WHAT", 0, |cell| gist(cell.call));

const fn narrower(column: Column, width: usize) -> Column {
    Column { width, ..column }
}

/// Where the output is no terminal.
const PLAIN: &[Column] = &[TIME, CALLER, OPERATION, STATUS, OUTCOME, CACHE, MS, ERROR, PATH];
/// With `--wide`.
const ALL: &[Column] = &[
    TIME, CALLER, PROOF, LISTENER, OPERATION, STATUS, OUTCOME, CACHE, MS, REQUEST_ID, ERROR, PATH,
];
/// For terminals of [`ROOMY`] characters and more.
const FITTED: &[Column] = &[
    SHORT_TIME,
    narrower(CALLER, 14),
    narrower(OPERATION, 22),
    STATUS,
    OUTCOME,
    narrower(MS, 7),
    GIST,
];
/// For narrower ones.
const NARROW: &[Column] =
    &[DAY_TIME, narrower(CALLER, 12), narrower(OPERATION, 18), STATUS, narrower(MS, 7), GIST];
const ROOMY: usize = 100;

/// A marker's own fields, as `name=value` with the values as JSON.
fn details(found: FoundLine<'_>) -> String {
    let fields: Map<String, Value> = serde_json::from_slice(found.line).unwrap_or_default();
    let own = fields.iter().filter(|(name, value)| {
        !value.is_null()
            && !["kind", "schema", "seq", "time", "prev", "hash"].contains(&name.as_str())
    });
    let own = own.map(|(name, value)| format!("{name}={}", visible(&plain(value))));
    let trail = found.trail.map(|trail| format!("{TRAIL_FIELD}={}", visible(trail)));
    own.chain(trail).collect::<Vec<_>>().join(" ")
}

/// A text without its quotes, and everything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The columns that earlier versions had, in their order; the other fields come behind them.
const FIRST_CSV_FIELDS: [&str; 25] = [
    "time",
    "seq",
    "request_id",
    "cause",
    "caused_by",
    "listener",
    "profile",
    "caller",
    "caller_proof",
    "peer",
    "policy",
    "operation",
    "method",
    "path",
    "object_id",
    "status",
    "outcome",
    "cache",
    "upstream_status",
    "attempts",
    "credential_version",
    "duration_us",
    "request_bytes",
    "response_bytes",
    "error",
];

/// The name of the field that says which of several trails a record is from.
const TRAIL_FIELD: &str = "trail";

/// Every field of a call, and its trail.
fn csv_fields() -> impl Iterator<Item = &'static str> {
    let others = CALL_FIELDS.into_iter().filter(|field| !FIRST_CSV_FIELDS.contains(field));
    FIRST_CSV_FIELDS.into_iter().chain(others).chain([TRAIL_FIELD])
}

/// A value in one field: lists with `;` between their items, objects as `name=value`, nothing for null.
fn flat(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(";"),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}={}", flat(value)));
            fields.collect::<Vec<_>>().join(";")
        }
        other => plain(other),
    }
}

/// A field of RFC 4180. Spreadsheets evaluate text that begins like a formula, so it gets a leading quote.
pub(in crate::cli) fn csv(text: &str) -> String {
    let begins_formula =
        text.trim_start().starts_with(FORMULA) || text.starts_with(['\t', '\r', '\n']);
    let quote = if begins_formula { "'" } else { "" };
    let text = visible(text);
    if begins_formula || text.contains(['"', ',', ';', '\'']) {
        format!("\"{quote}{}\"", text.replace('"', "\"\""))
    } else {
        text.into_owned()
    }
}

/// How formulas begin, in full width too.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

const HEAD: Style = Style::new().bold();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_evaluates_nothing() {
        for (text, field) in [
            ("billing", "billing"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            (" =1", "\"' =1\""),
            ("＝1", "\"'＝1\""),
            ("\t=1", "\"'\\t=1\""),
            ("\r=1", "\"'\\r=1\""),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(csv(text), field, "{text:?}");
        }
    }

    #[test]
    fn every_field_has_a_column_and_none_moved() {
        let fields: Vec<_> = csv_fields().collect();
        assert_eq!(fields[..25], FIRST_CSV_FIELDS);
        for field in CALL_FIELDS {
            assert_eq!(fields.iter().filter(|other| **other == field).count(), 1, "{field}");
        }
        assert_eq!(fields.len(), CALL_FIELDS.len() + 1);
        let value = serde_json::json!({ "a": ["x", "y"], "b": null, "c": 1 });
        assert_eq!(flat(&value), "a=x;y;b=;c=1");
    }

    #[test]
    fn a_long_text_is_cut_and_uuids_are_short() {
        assert_eq!(
            (cut("abc", 3), cut("abcd", 3), cut("abcd", 0)),
            ("abc".into(), "ab…".into(), "".into())
        );
        assert_eq!(
            shortened("/a/0190d1c2-9a4e-7cc3-8f00-1234567890ab/~0123456789abcdef/b/"),
            "/a/0190d1c2…/~01234567…/b/"
        );
    }
}
