//! Values that are written as text: how each is read, printed, described in the schema and
//! complained about.
//!
//! Every kind is listed once, in [`complaint`], under the word that its schema carries in
//! `x-kind`, so the check of a file and the reading of it cannot disagree.

use std::{
    borrow::Cow,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use http::uri::Authority;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    domain::{Address, OperationPattern, Origin, PathPattern, ProblemBase, Span},
    secret::SecretText,
};

/// What is wrong with a text of that kind, if anything. Never quotes the text.
pub(in crate::config) fn complaint(kind: &str, text: &str) -> Option<String> {
    fn of<T: Kind>(text: &str) -> Option<String> {
        let own = |error: T::Err| T::COMPLAINT.map_or_else(|| error.to_string(), str::to_owned);
        text.parse::<T>().err().map(own)
    }
    let of = match kind {
        Span::KIND => of::<Span>,
        Bytes::KIND => of::<Bytes>,
        Address::KIND => of::<Address>,
        Origin::KIND => of::<Origin>,
        SocketAddr::KIND => of::<SocketAddr>,
        OperationPattern::KIND => of::<OperationPattern>,
        PathPattern::KIND => of::<PathPattern>,
        ProblemBase::KIND => of::<ProblemBase>,
        Name::KIND => of::<Name>,
        HostName::KIND => of::<HostName>,
        Identifier::KIND => of::<Identifier>,
        Method::KIND => of::<Method>,
        FilePath::KIND => of::<FilePath>,
        _ => of::<Plain>,
    };
    of(text)
}

/// A text of that kind.
pub(in crate::config) fn example(kind: &str) -> &'static str {
    match kind {
        Span::KIND => "30s",
        Bytes::KIND => "64KiB",
        Address::KIND => "127.0.0.1:8080",
        Origin::KIND => "https://api.pigello.io",
        SocketAddr::KIND => "10.0.0.7:443",
        OperationPattern::KIND => "subtenant.get",
        PathPattern::KIND => "/a/prefix/*",
        ProblemBase::KIND => "https://docs.example.org/errors.html#",
        HostName::KIND => "pigello.local",
        Method::KIND => "GET",
        FilePath::KIND => "/path/to/file",
        _ => "…",
    }
}

/// A kind of text.
trait Kind: FromStr<Err: fmt::Display> {
    /// The word for it in the schema.
    const KIND: &'static str;
    /// What an editor can check without us, as a regular expression.
    const PATTERN: Option<&'static str> = None;
    /// What to say of a text that is none, where the type's own words are too few.
    const COMPLAINT: Option<&'static str> = None;
}

impl Kind for Span {
    const KIND: &'static str = "duration";
    const PATTERN: Option<&'static str> = Some("^[0-9]+(\\.[0-9]+)? ?[a-zµ]+");
}
impl Kind for Address {
    const KIND: &'static str = "address";
}
impl Kind for Origin {
    const KIND: &'static str = "origin";
    const PATTERN: Option<&'static str> = Some("^https?://[^/]+/?$");
}
impl Kind for SocketAddr {
    const KIND: &'static str = "ip-and-port";
    const COMPLAINT: Option<&'static str> =
        Some("not an address; write `10.0.0.7:443` or `[::1]:443`, without a name");
}
impl Kind for OperationPattern {
    const KIND: &'static str = "operation-pattern";
    const PATTERN: Option<&'static str> =
        Some("^(\\*|[a-z0-9_]+\\.\\*|\\*\\.[a-z0-9_]+|[a-z0-9_]+\\.[a-z0-9_]+)$");
}
impl Kind for PathPattern {
    const KIND: &'static str = "path-pattern";
    const PATTERN: Option<&'static str> = Some("^/");
}

impl Kind for ProblemBase {
    const KIND: &'static str = "problem-base";
    const PATTERN: Option<&'static str> = Some("^(https?://|urn:|tag:).*[/#=:]$");
}

fn schema_of<T: Kind>() -> Schema {
    let mut schema = json_schema!({ "type": "string", "x-kind": T::KIND });
    if let Some(pattern) = T::PATTERN {
        schema.insert("pattern".to_owned(), pattern.into());
    }
    schema
}

/// A domain type that the file writes as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T>(pub T);

impl<T: fmt::Display> Serialize for Written<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer).map(Self)
    }
}

impl<T: Kind> JsonSchema for Written<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::KIND.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema_of::<T>()
    }
}

/// Reads a text without ever putting it into an error.
fn read<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    text.parse().map_err(|_| de::Error::custom("has the wrong form"))
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident($inner:ty) = $kind:literal $(, $pattern:literal)?; $as:ident -> $borrowed:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub(in crate::config) $inner);

        impl $name {
            /// The text.
            pub fn $as(&self) -> &$borrowed {
                &self.0
            }
        }

        impl Kind for $name {
            const KIND: &'static str = $kind;
            $(const PATTERN: Option<&'static str> = Some($pattern);)?
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                read(deserializer)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $kind.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schema_of::<Self>()
            }
        }
    };
}

text! {
    /// The name of a listener, profile, credential set or caller.
    Name(String) = "name", "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"; as_str -> str
}
text! {
    /// A value of `Host`: a name or an address, perhaps with a port. In lower case.
    HostName(String) = "host"; as_str -> str
}
text! {
    /// One of the identifiers of a credential set. Not a secret, and still nobody's business.
    Identifier(String) = "identifier"; as_str -> str
}
text! {
    /// A file or folder. Relative ones are relative to the file they stand in.
    FilePath(PathBuf) = "path"; as_path -> Path
}
text! {
    /// A method that the gateway proxies.
    Method(String) = "method", "^(GET|POST|PUT|PATCH|DELETE|OPTIONS)$"; as_str -> str
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && text.len() <= 64 && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err("not a name; write up to 64 letters, digits, `.`, `_` and `-`")
        }
    }
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not a host; write a name or an address, perhaps with a port, like \
                             `pigello.local` or `[::1]:8080`";
        let authority: Authority = text.parse().map_err(|_| WRONG)?;
        let port = text.strip_prefix(authority.host()).unwrap_or_default();
        let plain = !text.contains(['@', '*']) && !authority.host().is_empty();
        if plain && (port.is_empty() || authority.port_u16().is_some()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(WRONG)
        }
    }
}

impl FromStr for Identifier {
    type Err = crate::secret::SecretTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The same law as for a value from any other source: exactly one header value.
        SecretText::parse(text.as_bytes())
            .map(|_| Self(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl FromStr for FilePath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("is empty; write a path"),
            text if text.contains('\0') => Err("holds a NUL; no path does"),
            text => Ok(Self(text.into())),
        }
    }
}

impl FromStr for Method {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => Ok(Self(text.to_owned())),
            _ => Err("not a method that is proxied; write `GET`, `POST`, `PUT`, `PATCH`, \
                      `DELETE` or `OPTIONS`"),
        }
    }
}

/// Any other text.
struct Plain;

impl Kind for Plain {
    const KIND: &'static str = "text";
}

impl FromStr for Plain {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("is empty"),
            text if text.contains(char::is_control) => Err("holds a control character"),
            _ => Ok(Self),
        }
    }
}

/// A number of bytes that prints the way the configuration writes it: `64KiB`, `1MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// So many KiB.
    pub const fn kibi(count: u64) -> Self {
        Self(count * 1024)
    }

    /// So many MiB.
    pub const fn mebi(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }
}

impl Kind for Bytes {
    const KIND: &'static str = "size";
    const PATTERN: Option<&'static str> = Some("^[0-9]+(\\.[0-9]+)? ?([kKMGT]i?)?B$");
}

impl FromStr for Bytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A bare number is refused: nobody should have to guess its unit.
        match text.parse::<bytesize::ByteSize>() {
            Ok(size) if text.ends_with('B') && size.as_u64() < u64::MAX => Ok(Self(size.as_u64())),
            _ => Err("not a size; write it with a unit, like \"64KiB\", \"1MiB\" or \"2GiB\""),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let whole = |shift: u32| self.0 != 0 && self.0.trailing_zeros() >= shift;
        match UNITS.into_iter().find(|(_, shift)| whole(*shift)) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_what_they_print() {
        for text in ["0B", "17B", "64KiB", "1MiB", "1536KiB", "2GiB", "3TiB"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        assert_eq!("1kB".parse(), Ok(Bytes(1000)));
        for text in ["", "64", "64 parsecs", "-1KiB", "99999999999TiB", "many KiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for text in ["pigello.local", "PIGELLO.local:8080", "[::1]:8080", "10.0.0.7"] {
            assert!(text.parse::<HostName>().is_ok(), "{text:?}");
        }
        for text in ["", "https://x", "a/b", "user@x", "*.local", "x:", "x:99999", "a b"] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_complaint_quotes_the_text() {
        let kinds = [
            "duration",
            "size",
            "address",
            "origin",
            "ip-and-port",
            "operation-pattern",
            "path-pattern",
            "name",
            "host",
            "method",
        ];
        for kind in kinds {
            let complaint = complaint(kind, "canary made up!").unwrap();
            assert!(!complaint.contains("canary"), "{kind}: {complaint}");
        }
    }
}
