//! `operations`: what can be called and who may, and `[[operations]]` made from an OpenAPI description.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::program::{Place, output};

const CALLERS: &str = r#"
[[callers]]
name = "billing"
allow = ["subtenant.*", "realestate.get"]
[[callers]]
name = "reports"
allow = ["*.list"]
[[callers]]
name = "idle"
allow = []
[[operations]]
name = "realestate.get"
method = "GET"
path = "/objects/structural/realestate/{pk}/"
"#;

/// The program without a configuration of this machine.
fn alone(arguments: &[&str]) -> (Option<i32>, String, String) {
    output(&[&["operations"], arguments].concat())
}

fn with(place: &Place, arguments: &[&str]) -> (Option<i32>, String, String) {
    output(&[&["operations", "--config", &place.config()], arguments].concat())
}

fn names(json: &str) -> Vec<String> {
    let list: Vec<Value> = serde_json::from_str(json).unwrap();
    list.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn without_a_configuration_it_is_the_catalog() {
    let (code, out, notes) = alone(&[]);
    assert_eq!((code, out.lines().count()), (Some(0), 64), "{out}{notes}");
    assert!(out.contains("subtenant.get") && !out.contains("WHO MAY"), "{out}");
    assert!(notes.contains("without a configuration"), "{notes}");
    let (_, out, _) = alone(&["--json"]);
    let list: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(list.len(), 63);
    let first = json!({
        "name": "subtenantcontractconnection.get", "method": "GET", "built_in": true,
        "path": "/accounts/users/customer/subtenantcontractconnection/{pk}/",
    });
    assert_eq!(list[0], first);
    let (code, _, told) = alone(&["--caller", "billing"]);
    assert_eq!(code, Some(2), "{told}");
}

#[test]
fn a_pattern_or_a_part_of_a_name_chooses() {
    for (pattern, count) in [
        ("subtenant.*", 7),
        ("*.invite", 3),
        ("*", 63),
        ("tenant.get", 1),
        // A word is looked for in names and paths.
        ("workengagement", 12),
        ("/AUTH/invite/", 3),
        ("patch", 10),
    ] {
        let (code, out, told) = alone(&[pattern, "--json"]);
        assert_eq!((code, names(&out).len()), (Some(0), count), "{pattern}: {told}");
    }
    for (pattern, hint) in [
        ("subtenent", "did you mean `subtenant`?"),
        ("subtenent.get", "did you mean `subtenant.get`?"),
        ("tenent.*", "did you mean `tenant.*`?"),
        ("*.lisst", "did you mean `*.list`?"),
        ("zzz\u{1b}[31m", "there are: `subtenantcontractconnection`"),
        ("zzz.zz", "lists all"),
    ] {
        let (code, out, told) = alone(&[pattern]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{pattern}");
        assert!(told.contains(hint) && !told.contains('\u{1b}'), "{pattern}: {told}");
    }
}

#[test]
fn with_a_configuration_it_says_who_may() {
    let place = Place::new(CALLERS);
    let (code, out, told) = with(&place, &[]);
    assert_eq!(code, Some(0), "{told}");
    let line = |name: &str| {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        out.lines().map(words).find(|words| words[0] == name).unwrap()
    };
    assert_eq!(line("subtenant.list")[3..], ["billing,", "reports"]);
    assert_eq!(line("tenant.get")[3..], ["nobody"]);
    assert_eq!(
        line("realestate.get")[1..],
        ["+", "GET", "/objects/structural/realestate/{pk}/", "billing"]
    );

    let (_, out, _) = with(&place, &["--caller", "billing", "--json"]);
    assert_eq!(names(&out).len(), 8, "{out}");
    let (code, _, told) = with(&place, &["--caller", "biling"]);
    assert!(code == Some(2) && told.contains("did you mean `billing`?"), "{told}");
    for nothing in [&["--caller", "idle"][..], &["tenant.delete", "--caller", "billing"]] {
        let (code, _, told) = with(&place, nothing);
        assert!(code == Some(1) && told.contains("may use none"), "{told}");
    }

    let (_, out, _) = with(&place, &["realestate", "--json"]);
    let list: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(list[0]["callers"], json!(["billing"]));
    assert_eq!(list[0]["built_in"], json!(false));
    let (_, out, _) = with(&place, &["subtenant.list", "--csv"]);
    let expected = "operation,method,path,built_in,billing,reports,idle\n\
                    subtenant.list,GET,/accounts/users/customer/subtenant/list/,yes,yes,yes,no\n";
    assert_eq!(out, expected);
    let (_, out, _) = with(&place, &["subtenant.list", "--matrix"]);
    let words: Vec<_> = out.split_whitespace().collect();
    assert_eq!(
        words,
        ["OPERATION", "billing", "reports", "idle", "subtenant.list", "yes", "yes", "·"]
    );

    // Whoever the policy lets in without a rule has a column as well.
    let place = Place::new("[policy]\nunidentified = \"allow\"\nmode = \"report\"\n");
    let (_, out, told) = with(&place, &["tenant.get"]);
    assert!(out.trim_end().ends_with("everyone"), "{out}");
    assert!(told.contains("every call passes"), "{told}");
    let (code, _, told) = alone(&["--config", "/nowhere/gateway.toml"]);
    assert!(code == Some(2) && told.contains("/nowhere/gateway.toml"), "{told}");
}

/// The list is of a configuration that `check` takes.
#[test]
fn a_configuration_that_check_refuses_is_refused() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let config = ["--config", empty.path().to_str().unwrap()];
    let (code, _, check) = output(&[&["check"], &config[..]].concat());
    assert_eq!(code, Some(2), "{check}");
    for arguments in [&["--csv", "subtenant.get"][..], &["--json"], &["--matrix"], &[]] {
        let (code, out, told) = alone(&[&config[..], arguments].concat());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{told}");
        assert!(told.contains("there is no listener"), "{told}");
    }
}

#[test]
fn no_two_columns_have_one_name() {
    let names = ["operation", "method", "path", "built_in", "billing"];
    let callers = names.map(|name| format!("[[callers]]\nname = \"{name}\"\nallow = []\n"));
    let (code, out, told) = with(&Place::new(&callers.concat()), &["tenant.get", "--csv"]);
    assert_eq!(code, Some(0), "{told}");
    let heading = "operation,method,path,built_in,caller:operation,caller:method,caller:path,\
                   caller:built_in,billing";
    assert_eq!(out.lines().next(), Some(heading));
}

fn import(file: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    alone(&[&["import", file.to_str().unwrap()], more].concat())
}

/// `name method path`, a line each, from a fragment.
fn told(fragment: &str) -> Vec<String> {
    let table: toml_edit::DocumentMut = fragment.parse().unwrap();
    let entries = table["operations"].as_array_of_tables().unwrap().iter();
    let text = |entry: &toml_edit::Table, key| entry[key].as_str().unwrap().to_owned();
    entries
        .map(|entry| {
            let body = if entry.contains_key("body") { " body" } else { "" };
            format!(
                "{} {} {}{body}",
                text(entry, "name"),
                text(entry, "method"),
                text(entry, "path")
            )
        })
        .collect()
}

#[test]
fn a_description_becomes_operations_that_the_configuration_takes() {
    let file = crate::config::root().join("tests/cli/openapi/core.yaml");
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("operations.toml");
    let (code, out, notes) = import(&file, &["--out", made.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{notes}");
    let fragment = fs::read_to_string(&made).unwrap();
    assert_eq!(
        told(&fragment),
        [
            "landlord.invite POST /accounts/users/auth/invite/customer/landlord/",
            "subtenant.replace PUT /accounts/users/customer/subtenant/{pk}/",
            "account.create POST /economy/account/",
            // `tenant` is a built-in entity in another place.
            "contract_tenant.get GET /economy/contract/tenant/{pk}/",
            "row.get GET /economy/contract/{pk}/row/{pk2}/",
            "realestate.create POST /objects/structural/realestate/",
            "realestate.list GET /objects/structural/realestate/list/",
            "realestate.bulk_write POST /objects/structural/realestate/list/",
            "realestate.delete DELETE /objects/structural/realestate/{pk}/ body",
            "realestate.get GET /objects/structural/realestate/{pk}/",
            "realestate.update PATCH /objects/structural/realestate/{pk}/",
            "realestate.get_archive GET /objects/structural/realestate/{pk}/archive/",
            "realestate.archive POST /objects/structural/realestate/{pk}/archive/",
        ]
    );
    for line in [
        "# Create a real estate\n[[operations]]",
        "# Writes many.\n",
        "# (deprecated) Delete a real estate",
    ] {
        assert!(fragment.contains(line), "{line} in\n{fragment}");
    }
    for line in [
        "13 operations; 1 more are built in already, 6 were left out",
        "1 operations have a text in their path",
        "left out GET /economy/invoice/{number}/: `{number}` is no text",
        "left out GET /economy/export.{format}: a variable is a part of a segment",
        "left out /economy/old/: it is described in another file",
        "left out /economy/circle/: its `$ref` leads in a circle",
        "left out GET /economy/a b/: no request has this path",
        "left out TRACE /objects/structural/realestate/{id}/: this method is not proxied",
    ] {
        assert!(notes.contains(line), "{line} in\n{notes}");
    }
    for text in [&fragment, &notes] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    }

    let place = Place::new(
        "[[callers]]\nname = \"billing\"\nallow = [\"realestate.*\", \"landlord.invite\"]\n",
    );
    let (code, out, errors) =
        output(&["check", "--config", &place.config(), "--config", made.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("may use 9 of 76 operations: realestate.* (8)"), "{out}");

    let (code, _, errors) = import(&file, &["--out", made.to_str().unwrap()]);
    assert!(code == Some(1) && errors.contains("exists"), "{errors}");
    // Standard output, standard input, and JSON.
    let (code, out, _) = import(&file, &[]);
    assert_eq!((code, &out), (Some(0), &fragment));
}

/// What a description of these paths becomes: each with a `get` of a UUID.
fn imported(paths: &[&str], server: &str) -> (Vec<String>, String) {
    let item = |path: &str| {
        let names = path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap());
        let parameters: Vec<_> = names
            .map(|name| json!({ "in": "path", "name": name, "schema": { "type": "string", "format": "uuid" } }))
            .collect();
        json!({ "get": { "parameters": parameters } })
    };
    let paths: serde_json::Map<_, _> =
        paths.iter().map(|path| ((*path).to_owned(), item(path))).collect();
    let description = json!({ "openapi": "3.1.0", "servers": [{ "url": server }], "paths": paths });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    fs::write(&file, description.to_string()).unwrap();
    let (code, out, notes) = import(&file, &[]);
    assert_eq!(code, Some(0), "{notes}");
    let operations = if out.contains("[[operations]]") { told(&out) } else { Vec::new() };
    let short = operations.into_iter().map(|line| line.replace(" GET ", " ")).collect();
    (short, notes)
}

#[test]
fn an_entity_stands_for_one_place() {
    for (paths, names) in [
        (
            &["/a/thing/{id}/", "/b/thing/{id}/"][..],
            &["a_thing.get /a/thing/{pk}/", "b_thing.get /b/thing/{pk}/"][..],
        ),
        // Also if no name is shared: `thing.*` would stand for both.
        (
            &["/a/thing/{id}/", "/b/thing/list/"],
            &["a_thing.get /a/thing/{pk}/", "b_thing.list /b/thing/list/"],
        ),
        (
            &["/x/a/thing/", "/y/a/thing/"],
            &["x_a_thing.list /x/a/thing/", "y_a_thing.list /y/a/thing/"],
        ),
        (
            &["/a/{x}/thing/{y}/", "/a/thing/{y}/"],
            &["a_thing.get /a/thing/{pk}/", "x_thing.get /a/{pk}/thing/{pk2}/"],
        ),
        (&["/Real-Estate/{id}/"], &["real_estate.get /Real-Estate/{pk}/"]),
        (&["/{id}/"], &["root.get /{pk}/"]),
        (&["/"], &["root.list /"]),
        // No order decides between them.
        (&["/thing/{id}", "/thing/{id}/"], &[]),
        (&["/a-b/{id}/", "/a_b/{id}/"], &[]),
        // One path, told twice.
        (&["/thing/{a}/", "/thing/{b}/"], &["thing.get /thing/{pk}/"]),
    ] {
        let (told, notes) = imported(paths, "/");
        assert_eq!(told, names, "{paths:?}: {notes}");
        let left_out = notes.lines().filter(|line| line.starts_with("left out ")).count();
        assert_eq!(left_out + told.len(), paths.len(), "{notes}");
    }
    for (server, path) in [
        ("https://api.pigello.io/core/v2/", "/core/v2/thing/"),
        ("/core", "/core/thing/"),
        ("core", "/core/thing/"),
        (".", "/thing/"),
        ("", "/thing/"),
        ("https://{environment}.pigello.io", "/thing/"),
        ("HTTPS://api.pigello.io/v2?a=/b/#/c", "/v2/thing/"),
        ("https://api.pigello.io?a=/b/", "/thing/"),
        ("//api.pigello.io/v2", "/v2/thing/"),
    ] {
        assert_eq!(imported(&["/thing/"], server).0, [format!("thing.list {path}")], "{server}");
    }
    assert!(
        imported(&["/thing/"], "https://x/{stage}/").1.contains("variable `stage` has no default")
    );
}

/// What the import says of a description in YAML without `openapi` and `info`.
fn imported_yaml(rest: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.yaml");
    fs::write(&file, format!("openapi: 3.0.3\n{rest}\n")).unwrap();
    import(&file, &[])
}

/// A value that is not of the kind that OpenAPI asks for makes no operation and no base path, and is told.
#[test]
fn a_value_of_another_kind_is_left_out_and_told() {
    for (rest, said) in [
        ("servers: x\npaths: {/a/: {get: {}}}", "GET /a/: `servers` is no list"),
        ("servers: {url: /x}\npaths: {/a/: {get: {}}}", "GET /a/: `servers` is no list"),
        ("servers: [{url: 5}]\npaths: {/a/: {get: {}}}", "GET /a/: a server has no `url`"),
        ("servers: [5]\npaths: {/a/: {get: {}}}", "GET /a/: a server has no `url`"),
        ("servers: [{}]\npaths: {/a/: {get: {}}}", "GET /a/: a server has no `url`"),
        ("servers: [{url: 'javascript:alert(1)'}]\npaths: {/a/: {get: {}}}", "is not of HTTP"),
        ("servers: [{url: 'ftp://host/x'}]\npaths: {/a/: {get: {}}}", "is not of HTTP"),
        ("servers: [{url: 'https:/x'}]\npaths: {/a/: {get: {}}}", "is not of HTTP"),
        ("servers: [{url: '{base}/v2'}]\npaths: {/a/: {get: {}}}", "`base` has no default"),
        ("paths: {/a/: {servers: x, get: {}}}", "GET /a/: `servers` is no list"),
        ("paths: {/a/: {get: {servers: [7]}}}", "GET /a/: a server has no `url`"),
        ("paths: {/a/: {get: x}}", "GET /a/: it is no object"),
        ("paths: {/a/: {get: []}}", "GET /a/: it is no object"),
        ("paths: {/a/: {get: {requestBody: x}}}", "GET /a/: its `requestBody` is no object"),
        ("paths: {/a/: {GET: {}}}", "GET /a/: `GET` is no method of OpenAPI"),
        ("paths: {/a/: []}", "/a/: it is no object"),
        ("paths: {/a/: 7}", "/a/: it is no object"),
        ("paths: {/a/: {$ref: 5}}", "/a/: its `$ref` is no text"),
        ("paths: {'/a/{b}/': {get: {parameters: 3}}}", "GET /a/{b}/: `parameters` is no list"),
        ("paths: {'/a/{b}/': {get: {parameters: [3]}}}", "a parameter of it: it is no object"),
        (
            "paths: {'/a/{b}/': {get: {parameters: [{in: path, name: b, schema: 3}]}}}",
            "a parameter of it: it is no object",
        ),
        ("servers: [{url: /v2}]\npaths: {relative/x: {get: {}}}", "relative/x: a path begins with"),
        ("paths: {'': {get: {}}}", ": a path begins with"),
    ] {
        let (code, out, notes) = imported_yaml(rest);
        assert_eq!(code, Some(0), "{rest}: {notes}");
        assert!(!out.contains("[[operations]]"), "{rest}: {out}");
        assert!(notes.contains("left out ") && notes.contains(said), "{rest}: {notes}");
    }
    // What a description may have.
    for (rest, path) in [
        ("servers: []\npaths: {/a/: {get: {}}}", "/a/"),
        (
            "servers: [{url: 'https://x:{port}{base}', variables: {port: {default: 8443}, base: {default: /v2/}}}]\n\
             paths: {/a/: {get: {}}}",
            "/v2/a/",
        ),
        (
            "paths: {'/a/{b}/': {get: {parameters: [{in: path, name: b, schema: true}]}}}",
            "/a/{pk}/",
        ),
        ("paths: {/a/: {get: {requestBody: null}, x-more: 5, summary: x}}", "/a/"),
    ] {
        let (_, out, notes) = imported_yaml(rest);
        let told = told(&out);
        assert!(told.len() == 1 && told[0].ends_with(&format!(" GET {path}")), "{told:?}: {notes}");
    }
}

#[test]
fn a_note_counts_only_what_is_imported() {
    let (_, _, notes) =
        imported_yaml("paths: {'/a/{b}/': {get: {}}, '/c/{d}': {get: {}}, '/c/{d}/': {get: {}}}");
    assert!(notes.contains("2 were left out"), "{notes}");
    assert!(notes.contains("note: 1 operations have a text in their path"), "{notes}");
}

/// A pattern of a caller takes what is imported, without a change of the caller.
#[test]
fn a_note_names_the_grants_that_grow() {
    let grown = |path: &str| {
        let (_, _, notes) = imported_yaml(&format!("paths: {{'{path}': {{get: {{}}}}}}"));
        let line = notes.lines().find(|line| line.contains("may use more at once"));
        line.and_then(|line| line.split_once("at once: ")).unwrap().1.to_owned()
    };
    let below = "/accounts/users/customer/subtenant/{pk}/extra/";
    assert_eq!(grown(below), "`*`, `subtenant.*`");
    assert_eq!(grown("/objects/realestate/{pk}/"), "`*`, `*.get`");
    assert_eq!(grown("/objects/realestate/{pk}/extra/"), "`*`");
    let (_, _, notes) = imported_yaml("paths: {}");
    assert!(!notes.contains("at once"), "{notes}");
}

/// The configuration would refuse the file, so it is not written.
#[test]
fn more_than_a_configuration_takes_is_an_error() {
    let line =
        |at| format!("  /area/a-word-that-is-longer-than-most-others-{at}/: {{get: {{}}}}\n");
    let paths = (0..12_000).map(line).collect::<Vec<_>>().concat();
    let folder = tempfile::tempdir().unwrap();
    let (file, made) = (folder.path().join("openapi.yaml"), folder.path().join("operations.toml"));
    fs::write(&file, format!("openapi: 3.0.3\npaths:\n{paths}")).unwrap();
    let (code, out, errors) = import(&file, &["--out", made.to_str().unwrap()]);
    assert_eq!((code, out.as_str(), made.exists()), (Some(1), "", false), "{errors}");
    assert!(errors.contains("12000 operations are more than the 1 MiB"), "{errors}");
}

#[test]
fn a_file_that_is_no_description_is_told_and_nothing_grows() {
    let folder = tempfile::tempdir().unwrap();
    let bomb =
        (1..30).fold("openapi: 3.0.0\na0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, at| {
            let before = format!("*a{}", at - 1);
            text + &format!("a{at}: &a{at} [{}]\n", [before.as_str(); 9].join(","))
        });
    let deep = format!("openapi: 3.0.0\nx: {}{}", "[".repeat(5000), "]".repeat(5000));
    let deep_json =
        format!("{{\"openapi\":\"3.0.0\",\"x\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let long = format!("openapi: 3.0.0\nx: {}\n", "y".repeat(33 << 20));
    for (text, said) in [
        ("swagger: '2.0'\npaths: {}\n", "Swagger 2.0"),
        ("openapi: 2.9\n", "OpenAPI 2.9"),
        ("openapi: 3.1.0\n", "has no `paths`"),
        ("openapi: 3.1.0\npaths: [1]\n", "has no `paths`"),
        ("{\"openapi\": ", "no JSON"),
        ("a: [b\n", "no YAML"),
        ("a: 1\na: 2\n", "no YAML"),
        ("a: 1\n---\nb: 1\n", "more than one document"),
        ("a: *b\n", "an alias (`*`) has no anchor"),
        ("openapi: 3.0.0\npaths: {/a/: {}, /a/: {}}\n", "the key `/a/` is there twice (line 2"),
        (&bomb, "its aliases repeat too much"),
        (&deep, "nested too deep"),
        ("just words", "no OpenAPI description"),
        ("", "no OpenAPI description"),
        (&bomb, "no YAML"),
        (&deep, "no YAML"),
        (&deep_json, "no JSON"),
        (&long, "more than 32 MiB"),
    ] {
        let file = folder.path().join("file");
        fs::write(&file, text).unwrap();
        let (code, out, errors) = import(&file, &[]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}: {errors}");
        assert!(errors.contains(said) && errors.lines().count() < 4, "{said}: {errors}");
        // What the libraries say is for programmers.
        for word in ["from_str", "Policy", "Options", "budget", "Events", "{"] {
            assert!(!errors.contains(word), "{said}: {errors}");
        }
    }
    for missing in ["nowhere.yaml", "/"] {
        assert_eq!(import(Path::new(missing), &[]).0, Some(2));
    }
    // Odd, and still a description.
    for odd in [
        "openapi: 3.0.0\nservers:\npaths: {/a/: null, /b/: {}, /c/: {get: null}, x-more: {get: {}}}\n",
        "openapi: '3.2.0'\npaths: {/c/: {get: {x: .inf, y: 99999999999999999999, z: 1e999, parameters: 3}, query: {}}}\n",
    ] {
        let file = folder.path().join("file");
        fs::write(&file, odd).unwrap();
        let (code, out, errors) = import(&file, &[]);
        assert_eq!(code, Some(0), "{errors}");
        assert_eq!(told(&out), ["c.list GET /c/"], "{out}");
    }
}

/// As many operations as the whole of a large API has.
#[test]
fn thousands_of_operations_are_imported_and_checked_at_once() {
    let paths: Vec<_> = (0..3000).map(|at| format!("/area{}/thing{at}/{{id}}/", at % 40)).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let began = std::time::Instant::now();
    let (told, _) = imported(&paths, "/");
    assert_eq!(told.len(), 3000);
    assert!(began.elapsed().as_secs() < 20);
}

#[test]
fn the_table_fits_a_narrow_terminal() {
    let place = Place::new(CALLERS);
    let program = env!("CARGO_BIN_EXE_pigello-gateway");
    let run = |more: &str| {
        let command =
            format!("stty cols 60; {program} operations --config {} {more}", place.config());
        let script =
            Command::new("script").args(["--quiet", "--command", &command, "/dev/null"]).output();
        String::from_utf8(script.unwrap().stdout).unwrap()
    };
    for more in ["", "--matrix"] {
        let shown = run(more);
        assert!(shown.contains("subtenant"), "{shown}");
        let longest = shown.lines().map(|line| line.trim_end().chars().count()).max();
        let notes = |line: &&str| line.starts_with("note: ");
        assert!(longest <= Some(60) || shown.lines().any(|line| notes(&line)), "{shown}");
    }
}
