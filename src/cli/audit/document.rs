//! The frame of the HTML files that `audit report` and `audit export` write: self-contained, no script, no font,
//! no request.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A document with a title, its style, and what stands in its `main` element.
pub(super) fn document(title: &str, style: &'static str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body { main { (content) } }
        }
    }
}
