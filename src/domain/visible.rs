//! Text of strangers as people see it: what cannot be seen is written as an escape.
//!
//! A path or a name in a certificate can have characters that turn the direction of a line around, move the
//! cursor or show nothing. With them a line could look like another one.

use std::borrow::Cow;

/// The text with an escape, such as `\u{202e}`, in place of each character that is not [visible](is_visible).
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_visible) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_visible(character) {
            shown.push(character);
        } else {
            shown.push_str(&escape(character));
        }
    }
    Cow::Owned(shown)
}

/// Whether a character can be shown to a person as it is: it has a shape of its own and a direction.
///
/// The others are control and format characters (Unicode Cc, Cf), separators but the space (Zl, Zp, Zs),
/// private and unassigned ones (Co, Cn), marks that change another character, and [`BLANKS`].
pub fn is_visible(character: char) -> bool {
    // The debug form of these three has a backslash, although they can be seen.
    matches!(character, ' '..='~')
        || (character.escape_debug().count() == 1 && !BLANKS.contains(&character))
}

fn escape(character: char) -> String {
    let known = character.escape_debug();
    if known.len() > 1 { known.collect() } else { character.escape_unicode().collect() }
}

/// Letters and symbols that show nothing: the fillers of Hangul, and the empty pattern of Braille.
const BLANKS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}', '\u{2800}'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read_stays_as_it_is() {
        for text in ["", "billing", "/a/ö?x=\"1\"&y='2'\\", "Åsa Öberg", "日本", "a b", "…"]
        {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_an_escape() {
        for (class, characters) in [
            ("controls", "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}"),
            (
                "directions",
                "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2069}\u{200e}\u{61c}",
            ),
            ("format", "\u{ad}\u{200b}\u{200d}\u{2060}\u{feff}\u{fff9}\u{e0041}\u{180e}"),
            ("separators", "\u{2028}\u{2029}\u{a0}\u{3000}"),
            ("private use", "\u{e000}\u{f8ff}\u{f0000}\u{10fffd}"),
            ("no characters", "\u{fffe}\u{ffff}\u{fdd0}\u{1fffe}"),
            ("blanks", "\u{115f}\u{1160}\u{3164}\u{ffa0}\u{2800}"),
            ("marks", "\u{301}\u{fe0f}\u{34f}"),
        ] {
            for character in characters.chars() {
                let shown = visible(&format!("a{character}b")).into_owned();
                assert!(shown.is_ascii(), "{class}: {shown:?}");
                assert!(shown.starts_with("a\\") && shown.ends_with('b'), "{class}: {shown}");
            }
        }
        assert_eq!(visible("\u{202e}cod.exe"), "\\u{202e}cod.exe");
    }
}
