//! `GET /errors` and `GET /errors/NAME`: the reference of errors for the running version.

use axum::{extract::Path, http::StatusCode, response::Response};
use maud::{Markup, html};

use super::{
    format::{item, prose},
    shell,
};
use crate::error::{Fault, Kind};

/// All errors, grouped by fault.
pub(in crate::admin) async fn index() -> Response {
    let list = html! {
        @for fault in Fault::ALL {
            section {
                h2 { (fault.heading()) }
                ul class="errors" {
                    @for kind in Kind::ALL.iter().filter(|kind| kind.fault() == fault) {
                        li {
                            a href=(format!("/errors/{}", kind.label())) { code { (kind.label()) } }
                            " " (kind.title())
                        }
                    }
                }
            }
        }
    };
    shell::answer(StatusCode::OK, "Errors", "Errors", &list)
}

/// One error: its meaning, its consequences, its remedy.
pub(in crate::admin) async fn one(Path(label): Path<String>) -> Response {
    let Some(kind) = Kind::by_label(&label) else {
        let hint = html! {
            section { p { "The gateway has no error of this name. " a href="/errors" { "All errors" } } }
        };
        return shell::answer(StatusCode::NOT_FOUND, "No such error", "No such error", &hint);
    };
    shell::answer(StatusCode::OK, kind.label(), kind.title(), &entry(kind))
}

fn entry(kind: Kind) -> Markup {
    let manual = kind.manual();
    html! {
        section class="entry" {
            dl {
                (item("Name", html! { code { (kind.label()) } }))
                (item("Status", kind.status().as_u16()))
                (item("Proxy-Status", html! { code { "error=" (kind.proxy_error()) } }))
                (item("Whose doing", kind.fault().heading()))
            }
            h2 { "What happened" } p { (prose(manual.meaning)) }
            h2 { "Why it matters" } p { (prose(manual.matters)) }
            h2 { "What to do" } p { (prose(manual.remedy)) }
            p { a href="/errors" { "All errors" } }
        }
    }
}
