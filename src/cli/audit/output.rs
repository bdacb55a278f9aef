//! The output formats of calls: a table, the trail's own lines, or comma-separated values.

use std::{
    borrow::Cow,
    io::{self, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde_json::Value;

use crate::audit::{CallLine, LineHead};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum CallFormat {
    /// Aligned text
    #[default]
    Table,
    /// The trail's own lines
    Json,
    /// Comma-separated values (RFC 4180)
    Csv,
}

impl CallFormat {
    pub(super) fn heading(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Table => writeln!(
                out,
                "{HEAD}{:<27} {:<16} {:<28} {:>6} {:<9} {:<11} {:>9}  {:<24} PATH{HEAD:#}",
                "TIME", "CALLER", "OPERATION", "STATUS", "OUTCOME", "CACHE", "MS", "ERROR"
            ),
            Self::Json => Ok(()),
            Self::Csv => writeln!(
                out,
                "time,seq,request_id,cause,caused_by,listener,profile,caller,caller_proof,peer,policy,\
                 operation,method,path,object_id,status,outcome,cache,upstream_status,attempts,\
                 credential_version,duration_us,request_bytes,response_bytes,error"
            ),
        }
    }

    pub(super) fn call(
        self,
        call: &CallLine<'_>,
        line: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        match self {
            Self::Table => row(call, out),
            Self::Json => {
                out.write_all(line)?;
                out.write_all(b"\n")
            }
            Self::Csv => values(call, out),
        }
    }
}

/// A line that is no call.
pub(super) struct MarkerLine<'a> {
    pub(super) head: LineHead<'a>,
    /// The line itself.
    pub(super) line: &'a [u8],
}

impl MarkerLine<'_> {
    /// Its own fields, as `name=value` with the values as JSON.
    fn details(&self) -> String {
        let fields: serde_json::Map<String, Value> =
            serde_json::from_slice(self.line).unwrap_or_default();
        let own = fields.iter().filter(|(name, value)| {
            !value.is_null()
                && !["kind", "schema", "seq", "time", "prev", "hash"].contains(&name.as_str())
        });
        let details = own.map(|(name, value)| match value {
            Value::String(text) => format!("{name}={}", printable(text)),
            other => format!("{name}={}", printable(&other.to_string())),
        });
        details.collect::<Vec<_>>().join(" ")
    }
}

impl CallFormat {
    /// The heading over markers.
    pub(super) fn marker_heading(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Table => writeln!(out, "{HEAD}{:<27} {:<13} DETAILS{HEAD:#}", "TIME", "KIND"),
            Self::Json => Ok(()),
            Self::Csv => writeln!(out, "time,seq,kind,details"),
        }
    }

    pub(super) fn marker(self, marker: &MarkerLine<'_>, out: &mut dyn Write) -> io::Result<()> {
        let LineHead { kind, seq, time } = marker.head;
        match self {
            Self::Table => writeln!(out, "{time:<27} {:<13} {}", printable(kind), marker.details()),
            Self::Json => {
                out.write_all(marker.line)?;
                out.write_all(b"\n")
            }
            Self::Csv => writeln!(out, "{time},{seq},{},{}", csv(kind), csv(&marker.details())),
        }
    }
}

fn row(call: &CallLine<'_>, out: &mut dyn Write) -> io::Result<()> {
    let or_dash =
        |text: &Option<Cow<'_, str>>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    let status = call.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let style = match (&*call.outcome, call.status) {
        ("failed", _) | (_, Some(500..)) => AnsiColor::Red.on_default(),
        ("refused", _) | (_, Some(400..)) => AnsiColor::Yellow.on_default(),
        _ => Style::new(),
    };
    writeln!(
        out,
        "{:<27} {:<16} {:<28} {style}{status:>6} {:<9}{style:#} {:<11} {:>9.1}  {:<24} {}",
        call.time,
        caller(call),
        call.operation.as_deref().map_or_else(|| printable(&call.method), printable),
        call.outcome,
        or_dash(&call.cache),
        Duration::from_micros(call.duration_us).as_secs_f64() * 1e3,
        or_dash(&call.error),
        or_dash(&call.path),
    )
}

/// The caller; of a call of the gateway's own, its cause.
fn caller(call: &CallLine<'_>) -> String {
    match (&call.cause, &call.caller) {
        (Some(cause), _) => format!("({})", printable(cause)),
        (None, Some(caller)) => printable(caller),
        (None, None) => "-".to_owned(),
    }
}

fn values(call: &CallLine<'_>, out: &mut dyn Write) -> io::Result<()> {
    let field = |text: &Option<Cow<'_, str>>| csv(text.as_deref().unwrap_or_default());
    let status = |status: Option<u16>| status.map(|status| status.to_string()).unwrap_or_default();
    let fields = [
        call.time.to_string(),
        call.seq.to_string(),
        call.request_id.to_string(),
        field(&call.cause),
        field(&call.caused_by),
        csv(&call.listener),
        csv(&call.profile),
        field(&call.caller),
        field(&call.caller_proof),
        field(&call.peer),
        field(&call.policy),
        field(&call.operation),
        csv(&call.method),
        field(&call.path),
        field(&call.object_id),
        status(call.status),
        call.outcome.to_string(),
        field(&call.cache),
        status(call.upstream_status),
        call.attempts.to_string(),
        field(&call.credential_version),
        call.duration_us.to_string(),
        call.request_bytes.to_string(),
        call.response_bytes.to_string(),
        field(&call.error),
    ];
    writeln!(out, "{}", fields.join(","))
}

/// Replaces control characters, so that the text is safe on a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A field of RFC 4180. A leading quote keeps spreadsheets from evaluating text as a formula.
fn csv(text: &str) -> String {
    let text = printable(text);
    let formula = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if text.contains(['"', ',']) || !formula.is_empty() {
        format!("\"{formula}{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

const HEAD: Style = Style::new().bold();
