//! Reads values out of JSON directly into secret types: no value passes through strings that are not
//! wiped, and no parser's error quotes one.

use std::fmt;

use serde::{Deserialize, de};

use super::{SetBuilder, ValueName, ValueTrouble};
use crate::secret::SecretText;

/// A JSON value in the place of a credential value. Reading it never fails: it holds the problem,
/// without the text.
pub(in crate::credentials) struct ValueFromJson(
    pub(in crate::credentials) Result<SecretText, ValueTrouble>,
);

impl<'de> Deserialize<'de> for ValueFromJson {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> de::Visitor<'de> for ValueVisitor {
    type Value = ValueFromJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ValueFromJson, E> {
        Ok(ValueFromJson(SecretText::parse(text.as_bytes()).map_err(ValueTrouble::Text)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<ValueFromJson, E> {
        Ok(ValueFromJson(Err(ValueTrouble::NotText)))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<ValueFromJson, E> {
        Ok(ValueFromJson(Err(ValueTrouble::NotText)))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<ValueFromJson, E> {
        Ok(ValueFromJson(Err(ValueTrouble::NotText)))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<ValueFromJson, E> {
        Ok(ValueFromJson(Err(ValueTrouble::NotText)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<ValueFromJson, E> {
        Ok(ValueFromJson(Err(ValueTrouble::NotText)))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<ValueFromJson, A::Error> {
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(ValueFromJson(Err(ValueTrouble::NotText)))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<ValueFromJson, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(ValueFromJson(Err(ValueTrouble::NotText)))
    }
}

/// A JSON object with some of the seven values, and with other fields.
#[derive(Debug, Default)]
pub(in crate::credentials) struct ValuesFromJson {
    pub(in crate::credentials) builder: SetBuilder,
    /// The names of the other fields.
    pub(in crate::credentials) others: Vec<String>,
}

impl<'de> Deserialize<'de> for ValuesFromJson {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ValuesFromJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("values by name")
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<ValuesFromJson, A::Error> {
                let mut values = ValuesFromJson::default();
                let mut seen = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let Some(name) = ValueName::from_key(&key) else {
                        map.next_value::<de::IgnoredAny>()?;
                        values.others.push(key);
                        continue;
                    };
                    let value = map.next_value::<ValueFromJson>()?.0;
                    // RFC 8259, section 4: which of two counts is left to each reader.
                    let value = if seen.contains(&name) { Err(ValueTrouble::Twice) } else { value };
                    seen.push(name);
                    match value {
                        Ok(value) => values.builder.take(name, value),
                        Err(trouble) => values.builder.refuse(name, trouble),
                    }
                }
                Ok(values)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
