//! The document around every page, and its security header fields.
//!
//! Style and script are inline, and the Content-Security-Policy lists their hashes. Nothing else is
//! loaded or run, no site can frame the page, and its forms can only post to it.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A sub-page with a link back to the status page.
pub(super) fn answer(status: StatusCode, title: &str, heading: &str, body: &Markup) -> Response {
    let page = document(
        title,
        "ok",
        &html! {
            header class="top" {
                p class="name" { a href="/" { "pigello-gateway" } }
                h1 { (heading) }
            }
            main { (body) }
        },
    );
    (status, with_policy(page)).into_response()
}

/// The whole document. `class` is the state of the gateway; the favicon has its colour.
pub(super) fn document(title: &str, class: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · pigello-gateway" }
                link rel="icon" href=(icon(class));
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

pub(super) fn with_policy(page: Markup) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        // Not `no-referrer`: it makes browsers send `Origin: null` with a form.
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (OPENER_POLICY, HeaderValue::from_static("same-origin")),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ];
    (headers, page.into_string()).into_response()
}

fn icon(class: &str) -> String {
    let colour = match class {
        "bad" => "c93434",
        "look" => "d08700",
        _ => "2a8a64",
    };
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
         %3Ccircle cx='8' cy='8' r='7' fill='%23{colour}'/%3E%3C/svg%3E"
    )
}

/// Content-Security-Policy, level 3.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The charts' styles come first, so that the page's own win.
const STYLE: &str = concat!(include_str!("../../telemetry/chart.css"), include_str!("style.css"));
const SCRIPT: &str = include_str!("script.js");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
