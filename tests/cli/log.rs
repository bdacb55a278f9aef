//! The log as a stream: with `log_format = "json"`, one JSON object in each line and nothing else.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStderr, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{Place, exchange, get, program, told};

const JSON: &str = "[telemetry]\nlog_format = \"json\"\n";

/// A gateway whose log is the only place with its addresses.
struct Logging {
    child: Child,
    log: BufReader<ChildStderr>,
    lines: Vec<Value>,
}

impl Logging {
    fn start(config: &str) -> Self {
        let mut command = program();
        command.args(["serve", "--config", config]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log, lines: Vec::new() }
    }

    /// The address in the log of a listener.
    fn address_of(&mut self, listener: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "it ended: {:#?}", self.lines);
            let line: Value = serde_json::from_str(&line).unwrap();
            self.lines.push(line.clone());
            if line["message"] == "listening" && line["listener"] == listener {
                return line["address"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Ends it; returns all lines of the log, and standard output.
    fn end(mut self) -> (Vec<Value>, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.lines.extend(self.log.lines().map(|line| object(&line.unwrap())));
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        (self.lines, out)
    }
}

fn object(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(value["timestamp"].is_string() && value["level"].is_string(), "{line}");
    value
}

#[test]
fn a_gateway_that_logs_json_writes_nothing_else() {
    let place = Place::new(JSON);
    let config = place.config();
    let mut gateway = Logging::start(&config);
    let address = gateway.address_of("tcp");
    gateway.address_of("unix");
    assert!(gateway.address_of("admin").starts_with("unix:"));
    assert!(exchange(&address, &get("/nothing/")).starts_with("HTTP/1.1 403 "));
    let (lines, out) = gateway.end();
    assert_eq!(out, "");
    let refused = lines.iter().find(|line| line["message"] == "call refused").unwrap();
    assert_eq!(refused["kind"], "operation_unknown");
    assert!(lines.iter().any(|line| line["message"] == "ended"));
}

#[test]
fn what_keeps_a_gateway_from_starting_is_json_too() {
    let place = Place::new(&format!("{JSON}[limits]\nrequest_bodi = \"1B\"\nconnectoins = 1\n"));
    let start = |place: &Place| {
        let mut serve = program();
        serve.args(["serve", "--config", &place.config()]);
        told(serve.output().unwrap())
    };
    let (code, out, errors) = start(&place);
    assert_eq!((code, &*out), (Some(2), ""));
    let problems: Vec<_> = errors.lines().map(object).collect();
    assert_eq!(problems.len(), 2, "{errors}");
    assert!(errors.contains("did you mean `request_body`?") && errors.contains("gateway.toml:"));

    let place = Place::new(JSON);
    fs::remove_file(place.path("ca.pem")).unwrap();
    let (code, out, errors) = start(&place);
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(errors.lines().map(object).any(|line| line["level"] == "ERROR"), "{errors}");
}

#[test]
fn without_a_format_scripts_read_the_addresses_and_the_log_is_json() {
    let place = Place::new("");
    let mut gateway = crate::program::Running::start(&["serve", "--config", &place.config()]);
    let address = gateway.address_of("tcp");
    assert!(exchange(&address, &get("/nothing/")).starts_with("HTTP/1.1 403 "));
    let (code, errors) = gateway.end();
    assert_eq!(code, Some(0));
    assert!(errors.lines().map(object).any(|line| line["message"] == "call refused"), "{errors}");
}

#[test]
fn pretty_is_for_people() {
    let place = Place::new("[telemetry]\nlog_format = \"pretty\"\n");
    let mut gateway = crate::program::Running::start(&["serve", "--config", &place.config()]);
    gateway.address_of("admin");
    let (code, errors) = gateway.end();
    assert_eq!(code, Some(0));
    assert!(errors.contains("INFO pigello_gateway::cli::serve: listening listener="), "{errors}");
}

#[test]
fn early_errors_are_json_where_it_is_asked_for_anywhere_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let json = file("json.toml", JSON);
    let broken = file("broken.toml", "[listeners\n");
    let unknown = file("unknown.toml", "[limits]\nrequest_bodi = \"1B\"\n");
    let missing = folder.path().join("missing.toml").to_str().unwrap().to_owned();
    let start = |files: &[&str], format: Option<&str>| {
        let mut serve = program();
        serve.arg("serve").args(files.iter().flat_map(|file| ["--config", file]));
        serve.envs(format.map(|format| ("PIGELLO_GATEWAY_TELEMETRY__LOG_FORMAT", format)));
        let (code, out, errors) = told(serve.output().unwrap());
        assert_eq!((code, &*out), (Some(2), ""), "{errors}");
        errors
    };
    for (files, format) in [
        (&[&*broken][..], Some("json")),
        (&[&*missing], Some("json")),
        (&[&*json, &*broken], None),
        (&[&*missing, &*json], None),
    ] {
        let errors = start(files, format);
        assert!(errors.lines().map(object).all(|line| line["problem"].is_string()), "{errors}");
    }
    let hint = object(start(&[&json, &unknown], None).lines().next().unwrap());
    let words = (hint["problem"].as_str().unwrap(), hint["hint"].as_str());
    assert!(words.0.contains("request_bodi") && !words.0.contains('\n'), "{hint}");
    assert_eq!(words.1, Some("did you mean `request_body`?"));
    // Scripts read it.
    for (file, format) in [(&unknown, None), (&unknown, Some("pretty")), (&broken, None)] {
        let errors = start(&[file], format);
        assert!(errors.starts_with(&format!("error: {file}:")), "{errors}");
    }
}
