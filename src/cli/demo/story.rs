//! The demo's calls, and its output.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use bytes::Bytes;
use clap::Parser as _;
use comfy_table::Table;
use http::{HeaderMap, Method, Request, StatusCode};
use pigello_mock::{EXAMPLE_SUBTENANT, MADE_UP_VALUES};
use serde_json::Value;

use super::set_up::{Curtain, Stage};
use crate::{
    audit::{self as trail, ReadItem, TrailReadError},
    cli::{Failure, audit},
    domain::Address,
    error::Chain,
    outbound::{CallLimits, Client},
    secret::SecretBuffer,
};

const FORGED: &str = "forged-by-the-caller";
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Introduces the parts.
pub(super) fn opening(out: &mut impl Write, stage: &Stage) -> io::Result<()> {
    writeln!(
        out,
        "{BOLD}pigello-gateway demo{BOLD:#}: all of it on this machine, nothing set up before\n"
    )?;
    let line = |out: &mut dyn Write, name: &str, text: String| writeln!(out, "  {name:<13}{text}");
    line(out, "Pigello", format!("{}, a mock behind TLS", stage.pigello.origin()))?;
    line(
        out,
        "credentials",
        format!(
            "{}, encrypted (age), its key beside it",
            stage.path("credentials.sealed").display()
        ),
    )?;
    line(
        out,
        "gateway",
        format!("http://{} for the caller `billing`, who may use subtenant.*", stage.gateway),
    )?;
    line(out, "audit trail", stage.path("audit").display().to_string())
}

/// Makes the calls, one after another.
pub(super) async fn calls(out: &mut impl Write, stage: &Stage) -> Result<(), Failure> {
    let caller = Application::new(stage);
    let subtenant = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");

    scene(out, 1, "A plain call, with a forged secret that must not get through")?;
    let forged = [("X-PIGELLO-CLIENT-SECRET", FORGED), ("Connection", "X-PIGELLO-CLIENT-SECRET")];
    let miss = caller.call(out, Method::GET, &subtenant, &forged, "").await?;
    received(out, stage)?;

    scene(out, 2, "The same call again: answered from memory, Pigello is not asked")?;
    let hit = caller.call(out, Method::GET, &subtenant, &[], "").await?;
    let ratio = miss.time.as_secs_f64() / hit.time.as_secs_f64().max(1e-9);
    writeln!(out, "     {ratio:.0} times as fast")?;

    scene(out, 3, "An update: the object in memory is dropped, so the next read is new")?;
    let update = r#"{"first_name": "Majken"}"#;
    caller.call(out, Method::PATCH, &subtenant, &[], update).await?;
    let fresh = caller.call(out, Method::GET, &subtenant, &[], "").await?;
    let name =
        fresh.json().get("first_name").and_then(Value::as_str).unwrap_or_default().to_owned();
    writeln!(out, "     first_name is now {name}")?;

    scene(out, 4, "A call that `billing` may not make: refused here, Pigello never sees it")?;
    let refused =
        caller.call(out, Method::GET, "/accounts/users/customer/tenant/list/", &[], "").await?;
    let detail =
        refused.json().get("detail").and_then(Value::as_str).unwrap_or_default().to_owned();
    writeln!(out, "     {detail}")?;

    let expected = [miss.status, hit.status, fresh.status, refused.status]
        == [StatusCode::OK, StatusCode::OK, StatusCode::OK, StatusCode::FORBIDDEN];
    let asked = stage.pigello.handle().request_count();
    if expected && hit.headers.contains_key("age") && asked == 3 && name == "Majken" {
        Ok(())
    } else {
        Err(Failure::failed("the gateway did not do what this page says it does"))
    }
}

fn scene(out: &mut impl Write, number: u32, title: &str) -> io::Result<()> {
    writeln!(out, "\n{BOLD}{number}. {title}{BOLD:#}")
}

/// The request that the mock received: the seven values once each, the secret masked, the forged
/// value nowhere.
fn received(out: &mut impl Write, stage: &Stage) -> Result<(), Failure> {
    let requests = stage.pigello.handle().requests();
    let Some(request) = requests.last() else {
        return Err(Failure::failed("Pigello received no request"));
    };
    writeln!(out, "     Pigello received")?;
    for (scheme, made_up) in MADE_UP_VALUES {
        let header = scheme.header();
        let values = request.values(header.as_str());
        if values != [made_up] {
            return Err(Failure::failed(format!("Pigello received `{header}` wrongly")));
        }
        let shown = if scheme.is_secret() {
            "•••••••• (the real one, masked here)"
        } else {
            made_up
        };
        writeln!(out, "       {:<32}{shown}", header.as_str())?;
    }
    writeln!(out, "     and nothing of the forged one")?;
    Ok(())
}

/// Suggestions for `--keep-running`. `page` is the link to the status page.
pub(super) fn keep_running(out: &mut impl Write, stage: &Stage, page: &str) -> io::Result<()> {
    writeln!(
        out,
        "\n{BOLD}Still running{BOLD:#}; Ctrl-C ends it. The status page (the link works once):\n"
    )?;
    writeln!(out, "  {page}\n")?;
    writeln!(out, "Calls of your own, and what the gateway says of them:\n")?;
    let object = format!("accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    writeln!(out, "  curl -i http://{}/{object}", stage.gateway)?;
    let audit = stage.path("audit");
    writeln!(out, "  pigello-gateway audit tail --follow --directory {}", audit.display())?;
    for command in ["status", "page"] {
        writeln!(out, "  pigello-gateway {command} --address {}", stage.admin)?;
    }
    writeln!(out, "  curl -s http://{}/metrics", stage.metrics)?;
    out.flush()
}

/// The audit trail, verified.
pub(super) fn trail(out: &mut impl Write, curtain: &Curtain) -> Result<(), Failure> {
    scene(out, 5, "The audit trail: one record for every call, in a chain that shows any edit")?;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "  ",
        "method",
        "operation",
        "caller",
        "status",
        "outcome",
        "cache",
        "sent",
        "credentials",
    ]);
    let mut secret_seen = false;
    let told = |error: TrailReadError| Failure::failed(Chain(&error).to_string());
    let files = trail::files(&curtain.audit_directory()).map_err(told)?;
    trail::read_through(&files, |found| {
        let ReadItem::Line(line) = found else { return Ok(ControlFlow::Continue(())) };
        let text = String::from_utf8_lossy(line);
        secret_seen |= text.contains(FORGED)
            || MADE_UP_VALUES.iter().any(|(name, value)| name.is_secret() && text.contains(value));
        if let Ok(record) = serde_json::from_slice::<Value>(line)
            && record.get("kind").and_then(Value::as_str) == Some("call")
        {
            let cell = |field: &str| match record.get(field) {
                None | Some(Value::Null) => "–".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            table.add_row([
                "  ".to_owned(),
                cell("method"),
                cell("operation"),
                cell("caller"),
                cell("status"),
                cell("outcome"),
                cell("cache"),
                cell("attempts"),
                cell("credential_version"),
            ]);
        }
        Ok(ControlFlow::Continue(()))
    })
    .map_err(told)?;
    writeln!(out, "{table}")?;
    verify(out, curtain)?;
    if secret_seen {
        return Err(Failure::failed("a secret is on the audit trail"));
    }
    writeln!(out, "     no secret is in it, neither the real one nor the forged one")?;
    writeln!(
        out,
        "\nEverything is removed again. For a gateway of your own: pigello-gateway init"
    )?;
    Ok(())
}

/// Verifies the chain with the command that an auditor would use.
fn verify(out: &mut impl Write, curtain: &Curtain) -> Result<(), Failure> {
    let directory = curtain.audit_directory();
    let command = AuditCommand::try_parse_from(["audit", "verify"])
        .map_err(|error| Failure::failed(error.to_string()))?;
    let (mut told, mut notes) = (Vec::new(), Vec::new());
    let streams = audit::Streams { out: &mut told, notes: &mut notes, width: None };
    let verdict = command
        .args
        .run(&audit::Trails::at(&[directory]), streams)
        .map_err(|error| Failure::failed(Chain(&error).to_string()))?;
    for line in String::from_utf8_lossy(&told).lines() {
        writeln!(out, "     {line}")?;
    }
    match verdict {
        audit::AuditExit::Success => Ok(()),
        audit::AuditExit::NotProved => Err(Failure::failed("the audit trail is not proved")),
        audit::AuditExit::Wrong | audit::AuditExit::NotCovered => {
            Err(Failure::failed("the audit trail does not hold together"))
        }
    }
}

#[derive(clap::Parser)]
struct AuditCommand {
    #[command(flatten)]
    args: audit::AuditArgs,
}

/// The application beside the gateway: it knows one address and no credentials.
struct Application {
    client: Client,
}

/// The response it received.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: SecretBuffer,
    time: Duration,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Application {
    fn new(stage: &Stage) -> Self {
        Self { client: Client::local(&Address::Tcp(stage.gateway), LIMITS) }
    }

    async fn call(
        &self,
        out: &mut impl Write,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Result<Answer, Failure> {
        writeln!(out, "     {method} {target}")?;
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            writeln!(out, "     {DIM}{name}: {value}{DIM:#}")?;
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            writeln!(out, "     {DIM}{body}{DIM:#}")?;
            request = request.header("content-type", "application/json");
        }
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::failed(format!("the call broke off: {}", Chain(error)))
        };
        let body = Bytes::from_static(body.as_bytes());
        let request = request.body(body).map_err(|error| failed(&error))?;
        let began = Instant::now();
        let answer = self.client.send(request).await.map_err(|error| failed(&error))?;
        let (status, headers) = (answer.status, answer.headers.clone());
        let body = answer.body().await.map_err(|error| failed(&error))?;
        let answer = Answer { status, headers, body, time: began.elapsed() };
        tell(out, &answer)?;
        Ok(answer)
    }
}

fn tell(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let colour = if answer.status.is_success() { AnsiColor::Green } else { AnsiColor::Yellow };
    let style = colour.on_default().bold();
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    write!(
        out,
        "   {style}→ {}{style:#} in {:.2} ms",
        answer.status,
        answer.time.as_secs_f64() * 1000.0
    )?;
    for name in ["cache-status", "proxy-status"] {
        if let Some(value) = header(name) {
            write!(out, "   {DIM}{name}:{DIM:#} {value}")?;
        }
    }
    writeln!(out)
}

/// The body limit is above any response of the mock.
const LIMITS: CallLimits = CallLimits { time: Duration::from_secs(30), body: 1024 * 1024 };
