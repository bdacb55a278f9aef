//! The fragment of a configuration that an import ends with.

use std::fmt::Write as _;

use super::Imported;
use crate::domain::visible;

/// The text. `source` is the name of the file that it was made from.
pub(super) fn text(source: &str, imported: &[Imported]) -> String {
    let mut text = format!(
        "# {} operations, made from {} by `pigello-gateway operations import`.\n\
         #\n\
         # Put them into the configuration, or give this file as one more --config. A list in a later file\n\
         # replaces that of an earlier one. `allow` names them like the built-in ones; `pigello-gateway\n\
         # operations` lists all.\n",
        imported.len(),
        visible(source)
    );
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{line}");
    };
    for Imported { operation, body, about, .. } in imported {
        line(format_args!(""));
        if !about.is_empty() {
            line(format_args!("# {}", visible(about)));
        }
        line(format_args!("[[operations]]"));
        line(format_args!("name = {}", quoted(operation.name())));
        line(format_args!("method = {}", quoted(operation.method().as_str())));
        line(format_args!("path = {}", quoted(operation.template())));
        if *body {
            line(format_args!("body = true    # the description has a body for it"));
        }
    }
    text
}

fn quoted(text: &str) -> String {
    toml_edit::value(text).to_string().trim().to_owned()
}
