//! A field of an object, and the kinds of fields there are.

use serde_json::{Map, Value, json};

/// An object as JSON.
pub(crate) type Object = Map<String, Value>;

/// One field of an entity.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    pub(super) read_only: bool,
    /// A create must send it.
    pub(super) required: bool,
}

impl Field {
    pub(super) const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, nullable: false, read_only: false, required: false }
    }

    pub(super) const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    pub(super) const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The value of a field that nobody has set.
    pub(super) fn empty(&self) -> Value {
        match self.kind {
            _ if self.nullable => Value::Null,
            Kind::Flag => json!(false),
            Kind::Number => json!(0),
            Kind::Many => json!([]),
            Kind::Structure => json!({}),
            Kind::Text(_) => json!(""),
            Kind::Date | Kind::Moment | Kind::Id | Kind::Relation | Kind::Any => Value::Null,
        }
    }
}

/// The type of a field's value. It decides which filter operators the field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A 32-bit integer or an enumeration of them.
    Number,
    /// Text of at most this many characters.
    Text(usize),
    /// `2019-08-24`.
    Date,
    /// `2019-08-24T14:15:22Z`.
    Moment,
    /// A UUID.
    Id,
    /// `{"id": "<uuid>"}`.
    Relation,
    /// An array of objects.
    Many,
    /// An object with fields of its own.
    Structure,
    /// Not documented.
    Any,
}
