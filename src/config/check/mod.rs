//! Makes sense of what is written: names lead somewhere, nothing contradicts, nothing is open that
//! should be closed. Goes on past every problem.
//!
//! A key that is absent here and should not be has been complained about by `fit` already, so the
//! checks pass over it in silence.

mod audit;
mod cache;
mod callers;
mod credentials;
mod listeners;
mod vault;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    key::KeyPath,
    layers::Places,
    problem::{Place, Problem, suggestion},
    raw::{self, FilePath, Name, Written},
    settings::{
        BreakerSettings, Limits, LogFormat, ProfileSettings, RetrySettings, RuntimeSettings,
        Settings, TelemetrySettings, Timeouts,
    },
};
use crate::domain::{CredentialsName, ProfileName, Span};

/// The settings that the configuration makes. They are of use only if no problem was found.
pub(super) fn check(
    raw: &raw::Config,
    places: &Places,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Option<Settings> {
    let mut checker = Checker { raw, places, problems, warnings };
    let catalog = callers::catalog(&mut checker)?;
    checker.unused_names();
    Some(Settings {
        listeners: checker.listeners(),
        admin: checker.admin(),
        profiles: checker.profiles(),
        credentials: checker.credentials(),
        vault: checker.vault(),
        callers: checker.callers(&catalog),
        policy: checker.policy(),
        problem_base: raw.problems.base.clone().map(|written| written.0).unwrap_or_default(),
        cache: checker.cache(&catalog),
        audit: checker.audit(),
        timeouts: checker.timeouts(),
        limits: checker.limits(),
        retry: RetrySettings {
            attempts: raw.retry.attempts,
            budget: raw.retry.budget,
            body_bytes: usize::try_from(raw.retry.body_bytes.0.0).unwrap_or(usize::MAX),
        },
        breaker: checker.breaker(),
        runtime: RuntimeSettings {
            workers: usize::try_from(raw.runtime.workers).ok().filter(|workers| *workers > 0),
        },
        telemetry: checker.telemetry(),
        catalog: Arc::new(catalog),
    })
}

struct Checker<'a> {
    raw: &'a raw::Config,
    places: &'a Places,
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn at(&self, key: &KeyPath, message: impl Into<String>) -> Problem {
        Problem::new(self.places.of(key), key.clone(), message)
    }

    fn problem(&mut self, key: &KeyPath, message: impl Into<String>, hint: impl Into<String>) {
        let problem = self.at(key, message).hint(hint);
        self.problems.push(problem);
    }

    fn warning(&mut self, key: &KeyPath, message: impl Into<String>, hint: impl Into<String>) {
        let warning = self.at(key, message).hint(hint);
        self.warnings.push(warning);
    }

    /// A name that must lead to one of the entries of a table.
    fn dangling(&mut self, key: &KeyPath, name: &Name, known: &[&str], what: &str, table: &str) {
        let name = name.as_str();
        let hint = suggestion(name, known, "there are")
            .unwrap_or_else(|| format!("add a [{table}.{name}] table, or name one that is there"));
        self.problem(key, format!("no {what} is named `{name}`"), hint);
    }

    fn unused_names(&mut self) {
        let raw = self.raw;
        let root = KeyPath::root();
        for name in raw.profiles.keys() {
            if !raw.listeners.iter().any(|listener| listener.profile.as_ref() == Some(name)) {
                let key = root.key("profiles").key(name.as_str());
                self.warning(
                    &key,
                    "no listener uses this profile",
                    "remove it if it is not needed",
                );
            }
        }
        for name in raw.credentials.keys() {
            if !raw.profiles.values().any(|profile| profile.credentials.as_ref() == Some(name)) {
                let key = root.key("credentials").key(name.as_str());
                self.warning(
                    &key,
                    "no profile uses these credentials",
                    "remove them if they are not needed",
                );
            }
        }
    }

    fn profiles(&mut self) -> BTreeMap<ProfileName, ProfileSettings> {
        let raw = self.raw;
        let entries = raw.profiles.iter();
        entries
            .filter_map(|(name, profile)| {
                let settings = self.profile(name, profile)?;
                Some((ProfileName::new(name.as_str()), settings))
            })
            .collect()
    }

    fn profile(&mut self, name: &Name, profile: &raw::Profile) -> Option<ProfileSettings> {
        let key = KeyPath::root().key("profiles").key(name.as_str());
        if let Some(credentials) = &profile.credentials
            && !self.raw.credentials.contains_key(credentials)
        {
            let known: Vec<_> = self.raw.credentials.keys().map(Name::as_str).collect();
            self.dangling(
                &key.key("credentials"),
                credentials,
                &known,
                "credential set",
                "credentials",
            );
        }
        let connect_to = profile.connect_to.as_ref().map(|written| written.0);
        if let Some(Written(upstream)) = &profile.upstream
            && !upstream.is_tls()
        {
            if !upstream.is_loopback() {
                self.problem(
                    &key.key("upstream"),
                    "plain `http://` leads to another machine, so the secret would travel in clear",
                    "write `https://`",
                );
            } else if !profile.insecure_http {
                self.problem(
                    &key.key("upstream"),
                    "plain `http://` sends the secret in clear, even if only to this machine",
                    "write `https://`, or allow it with `insecure_http = true` in this profile",
                );
            } else if connect_to.is_some_and(|address| !address.ip().is_loopback()) {
                self.problem(
                    &key.key("connect_to"),
                    "leads to another machine over plain `http://`",
                    "use an `https://` upstream, or dial a loopback address",
                );
            }
        }
        Some(ProfileSettings {
            upstream: profile.upstream.clone()?.0,
            credentials: CredentialsName::new(profile.credentials.as_ref()?.as_str()),
            ca_file: profile.ca_file.as_ref().map(to_path),
            connect_to,
            allow_private: profile.allow_private,
            insecure_http: profile.insecure_http,
        })
    }

    fn timeouts(&mut self) -> Timeouts {
        let raw = &self.raw.timeouts;
        let table = KeyPath::root().key("timeouts");
        let timeouts = Timeouts {
            connect: self.above_zero(&table.key("connect"), &raw.connect),
            request: self.above_zero(&table.key("request"), &raw.request),
            first_byte: self.above_zero(&table.key("first_byte"), &raw.first_byte),
            upstream_read: self.above_zero(&table.key("upstream_read"), &raw.upstream_read),
            idle: self.above_zero(&table.key("idle"), &raw.idle),
            header_read: self.above_zero(&table.key("header_read"), &raw.header_read),
            body_read: self.above_zero(&table.key("body_read"), &raw.body_read),
            drain: raw.drain.0.into(),
            drain_delay: raw.drain_delay.0.into(),
            upstream_idle: self.above_zero(&table.key("upstream_idle"), &raw.upstream_idle),
        };
        let parts = [
            ("connect", timeouts.connect),
            ("first_byte", timeouts.first_byte),
            ("upstream_read", timeouts.upstream_read),
        ];
        for (key, part) in parts {
            // A shorter whole call is not a mistake where the part was left at its default.
            let key = table.key(key);
            if part > timeouts.request && self.places.of(&key) != Place::Default {
                let message = "is longer than `timeouts.request`, so it never ends first";
                self.warning(&key, message, "make it shorter");
            }
        }
        timeouts
    }

    fn breaker(&mut self) -> BreakerSettings {
        let raw = &self.raw.breaker;
        let key = KeyPath::root().key("breaker").key("pause");
        BreakerSettings {
            failures: raw.enabled.then_some(raw.failures),
            pause: self.above_zero(&key, &raw.pause),
        }
    }

    fn above_zero(&mut self, key: &KeyPath, span: &Written<Span>) -> Duration {
        let duration = Duration::from(span.0);
        if duration.is_zero() {
            self.problem(key, "must be longer than zero", "write a duration like \"30s\"");
        }
        duration
    }

    fn limits(&mut self) -> Limits {
        let raw = &self.raw.limits;
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        if raw.header_bytes.0.0 == 0 {
            let key = KeyPath::root().key("limits").key("header_bytes");
            self.problem(&key, "must be more than zero", "write a size like \"32KiB\"");
        }
        Limits {
            request_body: raw.request_body.0.0,
            header_bytes: count(raw.header_bytes.0.0),
            header_count: count(raw.header_count.into()),
            connections: count(raw.connections.into()),
            in_flight: count(raw.in_flight.into()),
        }
    }

    fn telemetry(&self) -> TelemetrySettings {
        let telemetry = &self.raw.telemetry;
        TelemetrySettings {
            log_format: match telemetry.log_format {
                raw::LogFormat::Json => LogFormat::Json,
                raw::LogFormat::Pretty => LogFormat::Pretty,
            },
            log_level: match telemetry.log_level {
                raw::LogLevel::Error => tracing::Level::ERROR,
                raw::LogLevel::Warn => tracing::Level::WARN,
                raw::LogLevel::Info => tracing::Level::INFO,
                raw::LogLevel::Debug => tracing::Level::DEBUG,
                raw::LogLevel::Trace => tracing::Level::TRACE,
            },
            otlp_endpoint: telemetry.otlp_endpoint.clone().map(|written| written.0),
        }
    }
}

fn to_path(path: &FilePath) -> std::path::PathBuf {
    path.as_path().to_owned()
}
