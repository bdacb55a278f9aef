//! The output formats of calls: a table, the trail's own lines, or comma-separated values.

use std::{
    borrow::Cow,
    io::{self, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

use crate::audit::CallLine;

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
                "time,seq,request_id,listener,profile,caller,operation,method,path,status,outcome,\
                 cache,duration_us,request_bytes,response_bytes,error"
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
        or_dash(&call.caller),
        call.operation.as_deref().map_or_else(|| printable(&call.method), printable),
        call.outcome,
        or_dash(&call.cache),
        Duration::from_micros(call.duration_us).as_secs_f64() * 1e3,
        or_dash(&call.error),
        or_dash(&call.path),
    )
}

fn values(call: &CallLine<'_>, out: &mut dyn Write) -> io::Result<()> {
    let field = |text: &Option<Cow<'_, str>>| csv(text.as_deref().unwrap_or_default());
    writeln!(
        out,
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
        call.time,
        call.seq,
        call.request_id,
        csv(&call.listener),
        csv(&call.profile),
        field(&call.caller),
        field(&call.operation),
        csv(&call.method),
        field(&call.path),
        call.status.map(|status| status.to_string()).unwrap_or_default(),
        call.outcome,
        field(&call.cache),
        call.duration_us,
        call.request_bytes,
        call.response_bytes,
        field(&call.error),
    )
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
