//! Every form is found, alone and inside another one, however the text is cut; innocent texts are not held.

use std::fmt::Write as _;

use base64::Engine as _;
use proptest::prelude::*;

use super::*;

/// With everything that a form changes, with what looks like escapes, and like digits.
const SECRETS: [&str; 6] = [
    "made-up/secret+with \"all\\ & <sorts>",
    "ab%41cd&lt;ef&#47;gh%2Fij=3D",
    "0123456789abcdef0123456789abcdef",
    "bWFkZS11cC9zZWNyZXQ+d2l0aD9hbGw=",
    "=41=42made=up==nobody=has='this'",
    "eightchr",
];

type Form = fn(&str) -> String;

fn each(text: &str, write: impl Fn(&mut String, u8)) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        write(&mut out, byte);
        out
    })
}

fn unless(text: &str, plain: fn(u8) -> bool, write: impl Fn(&mut String, u8)) -> String {
    each(text, |out, byte| if plain(byte) { out.push(char::from(byte)) } else { write(out, byte) })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn base32(text: &str) -> String {
    let bits = each(text, |out, byte| write!(out, "{byte:08b}").unwrap());
    let groups: Vec<_> = bits.as_bytes().chunks(5).collect();
    let digit = |group: &&[u8]| {
        let group = format!("{:0<5}", std::str::from_utf8(group).unwrap());
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from_str_radix(&group, 2).unwrap()])
    };
    groups.iter().map(digit).collect()
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn wrapped(text: &str, width: usize, line_break: &str) -> String {
    let lines: Vec<_> = text.as_bytes().chunks(width).collect();
    lines.iter().map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join(line_break)
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

const FORMS: &[(&str, Form)] = &[
    ("plain", |text| text.to_owned()),
    ("percent", |text| unless(text, is_word, |out, byte| write!(out, "%{byte:02X}").unwrap())),
    ("percent, lower", |text| {
        unless(text, is_word, |out, byte| write!(out, "%{byte:02x}").unwrap())
    }),
    ("percent, / kept", |text| {
        unless(
            text,
            |byte| is_word(byte) || byte == b'/',
            |out, byte| {
                write!(out, "%{byte:02X}").unwrap();
            },
        )
    }),
    ("percent, all", |text| each(text, |out, byte| write!(out, "%{byte:02X}").unwrap())),
    ("percent, unicode", |text| each(text, |out, byte| write!(out, "%u{byte:04X}").unwrap())),
    ("form", |text| form_urlencoded::byte_serialize(text.as_bytes()).collect()),
    ("json", |text| serde_json::to_string(text).unwrap()),
    ("json, php", |text| serde_json::to_string(text).unwrap().replace('/', "\\/")),
    ("json, django", |text| {
        unless(
            text,
            |byte| !b"<>&\"\\'".contains(&byte),
            |out, byte| {
                write!(out, "\\u{byte:04X}").unwrap();
            },
        )
    }),
    ("unicode, all", |text| each(text, |out, byte| write!(out, "\\u{byte:04x}").unwrap())),
    ("unicode, braces", |text| each(text, |out, byte| write!(out, "\\u{{{byte:x}}}").unwrap())),
    ("unicode, long", |text| each(text, |out, byte| write!(out, "\\U{byte:08x}").unwrap())),
    ("python", |text| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))),
    ("hex escapes", |text| each(text, |out, byte| write!(out, "\\x{byte:02x}").unwrap())),
    ("octal", |text| each(text, |out, byte| write!(out, "\\{byte:03o}").unwrap())),
    ("css", |text| {
        unless(
            text,
            |byte| is_word(byte) || byte < b' ',
            |out, byte| write!(out, "\\{byte:x} ").unwrap(),
        )
    }),
    ("css, six digits", |text| each(text, |out, byte| write!(out, "\\{byte:06x}").unwrap())),
    ("html", |text| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.replace('"', "&quot;").replace('\'', "&#x27;")
    }),
    ("html, jinja", |text| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.replace('"', "&#34;").replace('\'', "&#39;")
    }),
    ("html, handlebars", |text| {
        unless(
            text,
            |byte| !b"&<>\"'`=".contains(&byte),
            |out, byte| {
                write!(out, "&#x{byte:X};").unwrap();
            },
        )
    }),
    ("html, template", |text| {
        text.replace('&', "&amp;").replace('+', "&#43;").replace('<', "&lt;")
    }),
    ("html, names", |text| {
        each(text, |out, byte| match NAMED.iter().find(|(char, _)| *char == byte) {
            Some((_, name)) => write!(out, "&{name};").unwrap(),
            None => out.push(char::from(byte)),
        })
    }),
    ("html, decimal", |text| each(text, |out, byte| write!(out, "&#{byte:04};").unwrap())),
    ("html, no semicolon", |text| {
        unless(
            text,
            |byte| byte.is_ascii_hexdigit(),
            |out, byte| write!(out, "&#{byte:08}").unwrap(),
        )
    }),
    ("quoted-printable", |text| {
        unless(
            text,
            |byte| is_word(byte) || byte == b' ',
            |out, byte| {
                write!(out, "={byte:02X}").unwrap();
            },
        )
    }),
    ("quoted-printable, lines", |text| {
        let lines: Vec<_> = text.as_bytes().chunks(7).collect();
        let lines = lines.iter().map(|line| std::str::from_utf8(line).unwrap().replace('=', "=3D"));
        lines.collect::<Vec<_>>().join("=\r\n")
    }),
    ("base64", |text| base64(text)),
    ("base64, off by one", |text| base64(format!("a{text}b"))),
    ("base64, off by two", |text| base64(format!("ab{text}"))),
    ("base64, behind a word", |text| format!("token{}", base64(text))),
    ("base64, url", |text| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)),
    ("base64, mixed", |text| base64(text).replacen('/', "_", 1)),
    ("base64, mime", |text| wrapped(&base64(text), 20, "\r\n")),
    ("base64, pem", |text| wrapped(&base64(text), 64, "\n")),
    ("base64, powershell", |text| base64(wide(text))),
    ("base32", base32),
    ("base32, lower", |text| base32(text).to_lowercase()),
    ("hex", |text| each(text, |out, byte| write!(out, "{byte:02x}").unwrap())),
    ("hex, upper", |text| each(text, |out, byte| write!(out, "{byte:02X}").unwrap())),
    ("hex, colons", |text| each(text, |out, byte| write!(out, "{byte:02X}:").unwrap())),
    ("hex, spaces", |text| each(text, |out, byte| write!(out, "{byte:02x} ").unwrap())),
    ("hex, dashes", |text| each(text, |out, byte| write!(out, "{byte:02X}-").unwrap())),
    ("hex, 0x", |text| each(text, |out, byte| write!(out, "0x{byte:02x}, ").unwrap())),
    ("utf-16", |text| String::from_utf8(wide(text)).unwrap()),
    ("utf-16, big end first", |text| {
        each(text, |out, byte| {
            out.push('\0');
            out.push(char::from(byte));
        })
    }),
];

const NAMED: &[(u8, &str)] = &[
    (b'/', "sol"),
    (b'+', "plus"),
    (b'"', "quot"),
    (b'\\', "bsol"),
    (b'&', "amp"),
    (b'<', "lt"),
    (b'>', "gt"),
    (b'%', "percnt"),
    (b';', "semi"),
    (b'#', "num"),
    (b'=', "equals"),
    (b'\'', "apos"),
];

/// What a search of the pieces says: whether it was found, and what had left by then.
fn in_pieces<'a>(search: &SecretSearch, pieces: impl Iterator<Item = &'a [u8]>) -> (bool, Vec<u8>) {
    let (mut kept, mut held, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        held.extend_from_slice(piece);
        let (keep, hold) = match search.search(&kept) {
            SecretMatch::Present => return (true, left),
            SecretMatch::Absent => (kept.len(), kept.len()),
            SecretMatch::Beginning { keep, hold } => (keep, hold),
        };
        assert!(keep <= hold && hold <= kept.len());
        let clear = held.len().saturating_sub(kept.len() - hold);
        left.extend(held.drain(..clear));
        kept.drain(..keep);
    }
    left.extend(held);
    (false, left)
}

#[test]
fn each_form_is_found_alone_and_in_each_other() {
    for secret in SECRETS {
        let search = SecretSearch::new(secret);
        for (name, form) in FORMS {
            let text = form(secret);
            assert!(search.is_in(text.as_bytes()), "{name}: {text}");
            assert!(search.is_in(format!("<p>x: {text}</p>").as_bytes()), "{name}: {text}");
            for (outer_name, outer) in FORMS {
                let text = outer(&text);
                assert!(search.is_in(text.as_bytes()), "{name} in {outer_name}: {text}");
            }
        }
    }
}

#[test]
fn backslashes_that_each_nesting_doubles_count_as_one() {
    let secret = SECRETS[0];
    let mut text = secret.to_owned();
    for _ in 0..5 {
        text = serde_json::to_string(&text).unwrap();
        assert!(SecretSearch::new(secret).is_in(text.as_bytes()), "{text}");
    }
}

#[test]
fn two_encodings_may_be_mixed() {
    let search = SecretSearch::new("made-up/secret+that \"nobody\" has");
    for text in [
        "made-up%2Fsecret&#43;that \\u0022nobody&quot; has",
        "made-up\\/secret+that+&quot;nobody\\x22%20has",
        "made-up/secret that \"nobody\" has",
        "made-up&sol;secret%2bthat%20%22nobody%2522 has",
    ] {
        assert!(search.is_in(text.as_bytes()), "{text}");
    }
    let search = SecretSearch::new("ab%41cd%42ef/gh");
    for text in ["ab%2541cd%42ef/gh", "ab%41cd%2542ef%2Fgh", "ab&#37;41cd%42ef&sol;gh"] {
        assert!(search.is_in(text.as_bytes()), "{text}");
    }
}

#[test]
fn a_field_name_is_compared_in_lower_case() {
    let search = SecretSearch::new("Made-Up-Secret/42");
    assert!(search.is_in_name("x-made-up-secret%2f42"));
    assert!(!search.is_in_name("x-made-up-secret"));
    assert!(!search.is_in(b"made-up-secret/42"), "the case of a value counts");
}

#[test]
fn a_short_secret_is_not_searched_for() {
    let search = SecretSearch::new("short");
    assert!(!search.is_in(b"a short text") && !search.is_in_name("short"));
    assert_eq!(search.search(b"a short text, s"), SecretMatch::Absent);
}

#[test]
fn a_search_does_not_print_the_secret() {
    assert_eq!(format!("{:?}", SecretSearch::new(SECRETS[0])), "SecretSearch(…)");
}

#[test]
fn innocent_texts_are_neither_refused_nor_held() {
    let image = base64(
        (0..=255).cycle().take(5000).map(|byte: u8| byte.wrapping_mul(31)).collect::<Vec<_>>(),
    );
    for secret in SECRETS {
        let search = SecretSearch::new(secret);
        for text in [
            "{\"id\": \"550e8400-e29b-41d4-a716-446655440000\", \"n\": [1, 2, 3], \"t\": \"2026-11-29T18:05:00+01:00\"}\n",
            "data: {\"user\": \"\\u00c5sa \\\"\\u00d6\\\" <a@example.com>\", \"next\": \"/list/?_page=2&_page_size=10\"}\n\n",
            "<a href=\"/x?a=1&amp;b=2\">100&nbsp;%</a> &lt;made-up&gt;\r\n",
            "made made-up/secret+without made-up",
            &format!("data:image/png;base64,{image}"),
        ] {
            let (found, left) = in_pieces(&search, text.as_bytes().chunks(97));
            assert!(!found, "{text}");
            assert_eq!(left, text.as_bytes());
            if !secret.contains(text.chars().last().unwrap()) {
                match search.search(text.as_bytes()) {
                    SecretMatch::Absent => {}
                    SecretMatch::Beginning { hold, .. } => assert_eq!(hold, text.len(), "{text}"),
                    SecretMatch::Present => panic!("{text}"),
                }
            }
        }
    }
}

#[test]
fn a_text_that_comes_byte_by_byte_takes_linear_time() {
    let search = SecretSearch::new(SECRETS[0]);
    let almost = "made-up/secret+with \"all\\ & <so";
    for text in [base64(almost.repeat(100)), almost.repeat(100), "&#x6d;\\\\\\".repeat(500)] {
        let text = text.repeat(256 * 1024 / 8 / text.len());
        let (found, left) = in_pieces(&search, text.as_bytes().chunks(1));
        assert!(!found);
        assert_eq!(left.len(), text.len());
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let search = SecretSearch::new("eightchr");
    let text = ["e", &"\0".repeat(5000)].concat();
    let SecretMatch::Beginning { keep, .. } = search.search(text.as_bytes()) else { panic!() };
    assert_eq!(text.len() - keep, 800);
}

prop_compose! {
    /// The secret in two forms, one inside the other, with innocent text around each.
    fn nested()(
        secret in prop::sample::select(&SECRETS[..]),
        inner in prop::sample::select(FORMS),
        outer in prop::sample::select(FORMS),
        around in prop::collection::vec("[ -~\n]{0,12}", 4),
    ) -> (&'static str, String) {
        // What stands before an escape may be a part of it, as in `%2` before `5` and a secret in base64.
        let apart = |text: &str| text.replace(['%', '&', '\\', '='], ":");
        let around: Vec<_> = around.iter().map(|text| apart(text)).collect();
        let inside = format!("{} {} {}", around[0], inner.1(secret), around[1]);
        (secret, format!("{} {} {}", around[2], outer.1(&inside), around[3]))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_form_in_a_form_passes_however_it_is_cut(
        (secret, text) in nested(),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let search = SecretSearch::new(secret);
        prop_assert!(search.is_in(text.as_bytes()), "{}", text);
        let mut rest = text.as_bytes();
        let pieces = cuts.iter().cycle().map_while(|cut| {
            let (piece, left) = rest.split_at_checked(*cut).unwrap_or((rest, &[]));
            rest = left;
            Some(piece).filter(|piece| !piece.is_empty())
        });
        let (found, left) = in_pieces(&search, pieces);
        prop_assert!(found, "{}", text);
        let left = String::from_utf8_lossy(&left);
        prop_assert!(!left.contains(secret), "{}", text);
    }

    #[test]
    fn the_plain_secret_is_held_from_its_first_byte(before in "[a-z ]{0,20}", cut in 1_usize..20) {
        let search = SecretSearch::new(SECRETS[0]);
        let text = format!("{before}{}", SECRETS[0]);
        let (found, left) = in_pieces(&search, text.as_bytes().chunks(cut));
        prop_assert!(found && before.as_bytes().starts_with(&left));
    }

    #[test]
    fn any_text_is_searched_in_any_pieces(text in prop::collection::vec(any::<u8>(), 0..300), cut in 1_usize..50) {
        let search = SecretSearch::new(SECRETS[1]);
        let (found, left) = in_pieces(&search, text.chunks(cut));
        prop_assert!(!found && left == text);
    }
}
