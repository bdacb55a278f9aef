//! The prediction for a request, as JSON and as text.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::{
    cli::{decision::Verdict, failure::Styled},
    domain::UNIDENTIFIED,
};

/// The prediction for a request.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    /// The method.
    pub(super) method: String,
    /// The canonical path, as it is matched and sent; none if the path is not canonical.
    pub(super) path: Option<String>,
    /// The names of the query parameters.
    pub(super) query_keys: Vec<String>,
    /// The matched operation.
    pub(super) operation: Option<String>,
    /// The caller.
    pub(super) caller: Option<String>,
    /// Whether it came far enough to have a caller.
    #[serde(skip)]
    pub(super) is_identified: bool,
    /// The listener.
    pub(super) listener: String,
    /// What becomes of it.
    pub(super) verdict: Verdict,
    /// The label of the refusal on the trail.
    pub(super) error: Option<&'static str>,
    /// The deciding rule, in words.
    pub(super) why: String,
    /// The change that would allow the call, or a better way to ask.
    pub(super) hint: Option<String>,
    /// Fields that would not be sent, with the reason.
    pub(super) stripped: Vec<NotSent>,
    /// The profile, if it is known.
    pub(super) profile: Option<String>,
    /// The upstream.
    pub(super) upstream: Option<String>,
    /// The credential set it would be sent with, or the template of it.
    pub(super) credentials: Option<String>,
    /// Whether its response may be stored.
    pub(super) cacheable: bool,
    /// The reason.
    pub(super) cache: String,
}

/// A field that would not be sent.
#[derive(Debug, Serialize)]
pub(super) struct NotSent {
    /// Its name.
    pub(super) field: String,
    /// The reason.
    pub(super) why: &'static str,
}

impl Explanation {
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let style = Style::new().bold().fg_color(Some(self.verdict.colour().into()));
        let verdict = match self.verdict {
            Verdict::Reported => "let through, and reported",
            verdict => verdict.name(),
        };
        let or = |text: &Option<String>, none: &str| text.as_deref().unwrap_or(none).to_owned();
        writeln!(out, "{style}{verdict}{style:#}: {}", self.why)?;
        let line =
            |out: &mut dyn Write, name: &str, text: &str| writeln!(out, "  {name:<12} {text}");
        line(out, "path", &or(&self.path, "has no canonical reading"))?;
        if !self.query_keys.is_empty() {
            line(out, "query", &self.query_keys.join(", "))?;
        }
        if self.is_identified {
            line(out, "operation", &or(&self.operation, "none"))?;
            line(out, "caller", &or(&self.caller, UNIDENTIFIED))?;
        }
        line(out, "listener", &self.listener)?;
        if let Some(error) = self.error {
            line(out, "error", error)?;
        }
        if matches!(self.verdict, Verdict::Allowed | Verdict::Reported) {
            let (upstream, profile) = (or(&self.upstream, "nowhere"), or(&self.profile, "none"));
            line(out, "sent to", &format!("{upstream} (profile `{profile}`)"))?;
            line(out, "credentials", &or(&self.credentials, "none"))?;
        }
        for NotSent { field, why } in &self.stripped {
            line(out, "not sent", &format!("{field}: {why}"))?;
        }
        let cacheable = if self.cacheable { "yes" } else { "no" };
        line(out, "cacheable", &format!("{cacheable}: {}", self.cache))?;
        match &self.hint {
            Some(hint) => writeln!(out, "  {}: {hint}", Styled("hint", AnsiColor::Cyan)),
            None => Ok(()),
        }
    }
}
