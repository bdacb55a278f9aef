//! Values out of JSON, straight into secret types, so that none passes through a tree of strings
//! that nobody wipes, and none is quoted in a parser's error.

use std::fmt;

use serde::{Deserialize, de};

use super::{
    ValueName,
    set_builder::{SetBuilder, ValueTrouble},
};
use crate::secret::SecretText;

/// A JSON value where a credential value should stand. Reading one never fails: what is wrong
/// with it is inside, without the text.
pub(super) struct IncomingValue(pub(super) Result<SecretText, ValueTrouble>);

impl<'de> Deserialize<'de> for IncomingValue {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> de::Visitor<'de> for ValueVisitor {
    type Value = IncomingValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<IncomingValue, E> {
        Ok(IncomingValue(SecretText::parse(text.as_bytes()).map_err(ValueTrouble::Text)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<IncomingValue, E> {
        Ok(IncomingValue(Err(ValueTrouble::NotText)))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<IncomingValue, E> {
        Ok(IncomingValue(Err(ValueTrouble::NotText)))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<IncomingValue, E> {
        Ok(IncomingValue(Err(ValueTrouble::NotText)))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<IncomingValue, E> {
        Ok(IncomingValue(Err(ValueTrouble::NotText)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<IncomingValue, E> {
        Ok(IncomingValue(Err(ValueTrouble::NotText)))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<IncomingValue, A::Error> {
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(IncomingValue(Err(ValueTrouble::NotText)))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<IncomingValue, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(IncomingValue(Err(ValueTrouble::NotText)))
    }
}

/// A JSON object with some of the seven in it, and whatever else its owner keeps there.
#[derive(Debug, Default)]
pub(super) struct IncomingValues {
    pub(super) gathered: SetBuilder,
    /// The keys that are none of the seven.
    pub(super) others: Vec<String>,
}

impl<'de> Deserialize<'de> for IncomingValues {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = IncomingValues;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("values by name")
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<IncomingValues, A::Error> {
                let mut values = IncomingValues::default();
                while let Some(key) = map.next_key::<String>()? {
                    let Some(name) = ValueName::from_key(&key) else {
                        map.next_value::<de::IgnoredAny>()?;
                        values.others.push(key);
                        continue;
                    };
                    match map.next_value::<IncomingValue>()?.0 {
                        Ok(value) => values.gathered.take(name, value),
                        Err(trouble) => values.gathered.refuse(name, trouble),
                    }
                }
                Ok(values)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
