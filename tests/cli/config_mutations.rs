//! Laws: whatever stands in a file or in a variable, loading it returns, and tells no value.

use std::{ffi::OsString, fs};

use pigello_gateway::{config, credentials::ValueName};
use proptest::prelude::*;
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::config::{root, toml_files};

/// Stands for a value. It is no name, so nothing may ever tell it.
const SECRET: &str = "canary made up 0042";

/// One change to a configuration.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Replace(Junk),
    Rename(String),
    Add(String, Junk),
}

/// Something that stands where it should not.
#[derive(Clone, Debug)]
enum Junk {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Date,
    List(Vec<Self>),
    Table(Vec<(String, Self)>),
}

impl Junk {
    fn value(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Boolean(boolean) => (*boolean).into(),
            Self::Date => "1979-05-27".parse().unwrap(),
            Self::List(list) => list.iter().map(Self::value).collect(),
            Self::Table(table) => {
                table.iter().map(|(key, junk)| (key.as_str(), junk.value())).collect()
            }
        }
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "listeners",
            "name",
            "address",
            "profile",
            "profiles",
            "credentials",
            "source",
            "path",
            "operations",
            "rules",
            "ttl",
            "client_secret",
            "token",
            "allow",
            "tls",
            "vault",
            "auth",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn junk() -> impl Strategy<Value = Junk> {
    let leaf = prop_oneof![
        3 => Just(Junk::Text(SECRET.to_owned())),
        2 => prop::sample::select(vec!["", "30s", "1MiB", "127.0.0.1:0", "unix:/a", "*", "subtenant.get",
            "https://api.pigello.io", "production", "vault", "/a/*", "a\nb", "\u{202e}"])
            .prop_map(|text| Junk::Text(text.to_owned())),
        1 => any::<String>().prop_map(Junk::Text),
        1 => any::<i64>().prop_map(Junk::Integer),
        1 => any::<f64>().prop_map(Junk::Float),
        1 => any::<bool>().prop_map(Junk::Boolean),
        1 => Just(Junk::Date),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Junk::List),
            prop::collection::vec((key(), inner), 0..4).prop_map(Junk::Table),
        ]
    })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Remove),
        junk().prop_map(Change::Replace),
        key().prop_map(Change::Rename),
        (key(), junk()).prop_map(|(key, junk)| Change::Add(key, junk)),
    ]
}

/// Makes the change at the place with that number, counted through the whole document.
fn mutate(table: &mut Table, place: &mut usize, change: &Change) -> bool {
    let keys: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        if *place == 0 {
            match change {
                Change::Remove => drop(table.remove(&key)),
                Change::Replace(junk) => drop(table.insert(&key, Item::Value(junk.value()))),
                Change::Rename(name) => {
                    let item = table.remove(&key).unwrap();
                    table.insert(name, item);
                }
                Change::Add(name, junk) => drop(table.insert(name, Item::Value(junk.value()))),
            }
            return true;
        }
        *place -= 1;
        let done = match table.get_mut(&key) {
            Some(Item::Table(inner)) => mutate(inner, place, change),
            Some(Item::ArrayOfTables(list)) => {
                list.iter_mut().any(|inner| mutate(inner, place, change))
            }
            _ => false,
        };
        if done {
            return true;
        }
    }
    false
}

fn bases() -> Vec<String> {
    let files =
        toml_files("config/examples").into_iter().chain(toml_files("tests/cli/config/good"));
    let files = files.chain([root().join("config/gateway.toml")]);
    files.map(|path| fs::read_to_string(path).unwrap()).collect()
}

proptest! {
    #[test]
    fn no_change_of_a_configuration_panics_or_lets_a_value_out(
        base in prop::sample::select(bases()),
        changes in prop::collection::vec((0..60_usize, change()), 1..6),
    ) {
        let mut document: DocumentMut = base.parse().unwrap();
        for (mut place, change) in changes {
            mutate(document.as_table_mut(), &mut place, &change);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), document.to_string()).unwrap();
        match config::load(&[file.path().to_owned()], std::iter::empty()) {
            Ok(loaded) => {
                let shown = loaded.effective.to_toml();
                prop_assert!(shown.parse::<DocumentMut>().is_ok(), "{shown}");
            }
            Err(problems) => {
                // What fits the schema can be read: the two are made from the same types.
                prop_assert!(problems.iter().all(|it| it.message() != "cannot be read"), "{problems}");
                let told = problems.to_string();
                // What a certificate is recognised by is a name, and may be told.
                let told = told.replace(&format!("the name \"{SECRET}\""), "");
                prop_assert!(!told.contains(SECRET), "{told}");
            }
        }
    }

    #[test]
    fn no_file_panics(text in any::<String>()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        drop(config::load(&[file.path().to_owned()], std::iter::empty()));
    }

    #[test]
    fn no_variable_panics(
        variables in prop::collection::vec(("[A-Z0-9_]{0,40}", ".{0,20}"), 0..6),
        listeners in "(0|1|9|X)(__[A-Z]{0,8}){0,2}",
    ) {
        let path = root().join("config/gateway.toml");
        let names = variables.into_iter().chain([(format!("LISTENERS__{listeners}"), "x".to_owned())]);
        let variables: Vec<(OsString, OsString)> = names
            .map(|(name, value)| (format!("PIGELLO_GATEWAY_{name}").into(), value.into()))
            .collect();
        drop(config::load(&[path], variables.into_iter()));
    }

    /// An identifier is text, whatever it looks like.
    #[test]
    fn an_identifier_in_a_variable_stays_as_it_is(text in "[!-~]([ -~]{0,30}[!-~])?") {
        let path = root().join("config/gateway.toml");
        let name = "PIGELLO_GATEWAY_CREDENTIALS__PRODUCTION__CUSTOMER_ID";
        let variables = [(OsString::from(name), OsString::from(&text))];
        let settings = config::load(&[path], variables.into_iter()).unwrap().settings;
        let set = settings.credentials.values().next().unwrap();
        prop_assert_eq!(set.fixed.get(ValueName::CustomerId), Some(&*text));
    }
}
