//! Values that a configuration writes as text.
//!
//! A [`TextForm`] defines the text of a type once, for the JSON schema, the check of a file and serde.
//! No error quotes the text, which may be a secret in the wrong place.

use std::{
    borrow::Cow,
    fmt::Display,
    marker::PhantomData,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    address::Address,
    byte_size::ByteSize,
    duration::Span,
    log_origin::LogOrigin,
    names::{CredentialsName, ListenerName, ProfileName, is_name},
    network::Network,
    origin::Origin,
    path_pattern::PathPattern,
    pattern::OperationPattern,
    problem_base::ProblemBase,
    profile_pattern::ProfilePattern,
    proxy_choice::ProxyChoice,
    store_address::StoreAddress,
    verifier_key::VerifierKey,
    witness_url::WitnessUrl,
};

/// The text of a type.
pub trait TextForm {
    /// The name of the form, `x-kind` in the schema.
    const KIND: &'static str;
    /// A valid text, for a hint.
    const EXAMPLE: &'static str;
    /// A regular expression, for editors that check a file with the schema.
    const PATTERN: Option<&'static str> = None;

    /// Checks a text. The error never quotes it.
    fn check(text: &str) -> Result<(), String>;
}

/// A schema for a type with its text form elsewhere: `#[schemars(with = "Text<PathBuf>")]`.
#[derive(Debug)]
pub struct Text<T>(PhantomData<T>);

impl<T: TextForm> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::KIND.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string", "x-kind": T::KIND });
        if let Some(pattern) = T::PATTERN {
            schema.insert("pattern".to_owned(), pattern.into());
        }
        schema
    }
}

/// Gives types the schema of a text form.
macro_rules! text_schema {
    ($($type:ty as $form:ty),+ $(,)?) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                Text::<$form>::schema_name()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                Text::<$form>::json_schema(generator)
            }
        }
    )+};
}

/// Gives types that parse their `Display` text a text form, serde and a schema.
macro_rules! text_forms {
    ($($type:ty { $kind:literal, $example:literal $(, $pattern:literal)? })+) => {$(
        impl TextForm for $type {
            const KIND: &'static str = $kind;
            const EXAMPLE: &'static str = $example;
            $(const PATTERN: Option<&'static str> = Some($pattern);)?

            fn check(text: &str) -> Result<(), String> {
                parses::<Self>(text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(|_| de::Error::custom("has the wrong form"))
            }
        }

        text_schema!($type as $type);
    )+};
}

text_forms! {
    Span { "duration", "30s", "^[0-9]+(\\.[0-9]+)? ?[a-zµ]+" }
    ByteSize { "size", "64KiB", "^[0-9]+(\\.[0-9]+)? ?([kKMGT]i?)?B$" }
    Address { "address", "127.0.0.1:8080" }
    Network { "network", "192.0.2.0/24" }
    Origin { "origin", "https://api.pigello.io", "^https?://[^/]+/?$" }
    ProxyChoice { "proxy", "http://proxy.internal:3128", "^(environment|https?://[^/]+/?)$" }
    OperationPattern {
        "operation-pattern",
        "subtenant.get",
        "^(\\*|[a-z0-9_]+\\.\\*|\\*\\.[a-z0-9_]+|[a-z0-9_]+\\.[a-z0-9_]+)$"
    }
    ProfilePattern { "profile-pattern", "customer-*", "^([A-Za-z0-9][A-Za-z0-9._-]*|([a-z0-9][a-z0-9-]*)?\\*)$" }
    PathPattern { "path-pattern", "/a/prefix/*", "^/" }
    ProblemBase {
        "problem-base",
        "https://docs.example.org/errors.html#",
        "^(https?://|urn:|tag:).*[/#=:]$"
    }
    LogOrigin { "log-origin", "audit.example.org/pigello", "^[!-*,-~]+$" }
    WitnessUrl { "witness-url", "https://witness.example.org/w1", "^https?://[^?#]+$" }
    StoreAddress { "store-address", "valkey.internal:6379", "^([^/@?#]+|unix:/.+)$" }
    VerifierKey {
        "verifier-key",
        "witness.example.org/w1+eba12634+BNdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
        "^[^+]+\\+[0-9a-f]{8}\\+[A-Za-z0-9+/=]+$"
    }
}

text_schema!(ListenerName as Name, ProfileName as Name, CredentialsName as Name);

fn parses<T: FromStr<Err: Display>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop).map_err(|error| error.to_string())
}

/// The name of a listener, profile, credential set or caller.
#[derive(Debug)]
pub struct Name;

impl TextForm for Name {
    const KIND: &'static str = "name";
    const EXAMPLE: &'static str = "…";
    const PATTERN: Option<&'static str> = Some("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$");

    fn check(text: &str) -> Result<(), String> {
        if is_name(text) {
            Ok(())
        } else {
            Err("not a name; write up to 64 letters, digits, `.`, `_` and `-`, first a letter or a digit"
                .to_owned())
        }
    }
}

/// The path of a file or a directory.
impl TextForm for PathBuf {
    const KIND: &'static str = "path";
    const EXAMPLE: &'static str = "/path/to/file";

    fn check(text: &str) -> Result<(), String> {
        match text {
            "" => Err("is empty; write a path".to_owned()),
            text if text.contains('\0') => Err("holds a NUL; no path does".to_owned()),
            _ => Ok(()),
        }
    }
}

/// An address to connect to, without a name.
impl TextForm for IpAddr {
    const KIND: &'static str = "ip";
    const EXAMPLE: &'static str = "10.0.0.7";

    fn check(text: &str) -> Result<(), String> {
        let hint = "not an address; write `10.0.0.7` or `fd00::7`, without a name or port";
        parses::<Self>(text).map_err(|_| hint.to_owned())
    }
}

impl TextForm for SocketAddr {
    const KIND: &'static str = "ip-and-port";
    const EXAMPLE: &'static str = "10.0.0.7:443";

    fn check(text: &str) -> Result<(), String> {
        let hint = "not an address; write `10.0.0.7:443` or `[::1]:443`, without a name";
        parses::<Self>(text).map_err(|_| hint.to_owned())
    }
}
