//! Texts in a unit of systemd, so that systemd reads what was meant: `systemd.syntax(7)`, and "Specifiers" in
//! `systemd.unit(5)`. A line break cannot be written; the plan has none in its paths.

/// The whole value of a setting that takes specifiers, as `ListenStream=` and the path of `LoadCredential=`.
pub(super) fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

/// The value of `EnvironmentFile=`, which is a pattern of file names (`glob(7)`).
pub(super) fn pattern(text: &str) -> String {
    escaped(&literal(text), "\\*?[")
}

/// A word of a command line: "Command lines" in `systemd.service(5)`.
pub(super) fn word(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:@".contains(letter);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", escaped(&literal(text).replace('$', "$$"), "\\\""))
}

/// The text with a backslash before each of these letters.
fn escaped(text: &str, letters: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letters.contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_setting_has_its_own_escapes() {
        for (text, written, globbed, quoted) in [
            ("/etc/a-b_c.d", "/etc/a-b_c.d", "/etc/a-b_c.d", "/etc/a-b_c.d"),
            ("/a b", "/a b", "/a b", r#""/a b""#),
            ("/p%h", "/p%%h", "/p%%h", r#""/p%%h""#),
            ("/d$HOME", "/d$HOME", "/d$HOME", r#""/d$$HOME""#),
            (r#"/q"x"#, r#"/q"x"#, r#"/q"x"#, r#""/q\"x""#),
            (r"/b\n", r"/b\n", r"/b\\n", r#""/b\\n""#),
            ("/s*[a]?", "/s*[a]?", r"/s\*\[a]\?", r#""/s*[a]?""#),
            ("/it's;å", "/it's;å", "/it's;å", r#""/it's;å""#),
        ] {
            assert_eq!(literal(text), written);
            assert_eq!(pattern(text), globbed);
            assert_eq!(word(text), quoted);
        }
    }
}
