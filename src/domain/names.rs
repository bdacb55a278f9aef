//! The names that a configuration gives to its parts.
//!
//! A name is cheap to clone, appears in logs, metrics and the audit log, and never contains anything
//! that a caller sent.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Whether a configuration can give that name to something.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && text.len() <= 64 && text.bytes().all(fits)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A name from the configuration.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

name! {
    /// The name of a `[[listeners]]` entry.
    ListenerName
}
name! {
    /// The name of a profile: of a `[profiles.…]` table, or of a member of a template.
    ProfileName
}
name! {
    /// The name of a `[credentials.…]` table.
    CredentialsName
}
